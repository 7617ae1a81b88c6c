"""Errors: classes, attributes, and the answer so far."""

import os
import sys

import anyllm

client = anyllm.Client(os.environ.get("ANYLLM_MODEL", "local/smollm2"), temperature=0.2)
try:
    for text in client.stream("Hello", max_tokens=100, timeout=120):
        print(text, end="", flush=True)
    print()
except anyllm.RateLimitError as error:
    print(f"\ntoo many requests; again in {error.retry_after or 'some'} seconds", file=sys.stderr)
except (anyllm.NetworkError, anyllm.IncompleteStreamError) as error:
    print(f"\nthe connection broke: {error}", file=sys.stderr)
except anyllm.AnyLLMError as error:
    text = error.partial.content if error.partial else ""
    print(f"\n{error} (after {len(text)} characters)", file=sys.stderr)
finally:
    print("stream ended")
