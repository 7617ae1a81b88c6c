"""Tokens as the provider counted them, or not at all; by default they are estimated where it does not count."""

import os

import anyllm

client = anyllm.Client(os.environ.get("ANYLLM_MODEL", "local/smollm2"), max_tokens=30)
for usage in ("provider", "auto"):
    options = anyllm.StreamingOptions(usage=usage)
    # A stream whose provider is not asked to count; leave that out, and it is.
    answer = client.stream_with_usage("Say hello.", options=options, stream_options={"include_usage": False})
    if answer.usage is None:
        print(f"{usage}: nobody counted")
    else:
        print(f"{usage}: {answer.usage.total_tokens} tokens, {answer.usage.source}")
