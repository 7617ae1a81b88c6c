"""Retries before the first content of a stream, and after it."""

import os

import anyllm

options = anyllm.StreamingOptions(
    # Before the first content, calls with temporary errors are retried. After it, only with `after_content`: "restart"
    # begins the answer again, "continue" lets the model continue its text, if the provider can.
    retry=anyllm.Retry(attempts=3, backoff=0.5, after_content="restart"),
    keep_partial=True,  # errors have the answer so far
)
client = anyllm.Client(os.environ.get("ANYLLM_MODEL", "local/smollm2"), options=options, temperature=0.2)
try:
    for chunk in client.chat_stream("Write one sentence about the sea.", max_tokens=100):
        if chunk.retry:
            print(f"\n[restarts after: {chunk.retry.reason}]")
        print(chunk.content, end="", flush=True)
    print()
except anyllm.AnyLLMError as error:
    print(f"failed after all attempts: {error}; the text so far: {error.partial and error.partial.content!r}")
