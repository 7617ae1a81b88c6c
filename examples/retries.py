"""What happens when a stream breaks: before its first content, and after it."""

import os

import anyllm

options = anyllm.StreamingOptions(
    # Before the first content, calls are tried again that may do better then. After it, only if you say what follows:
    # "restart" begins the answer anew, "continue" asks the model to go on from what it said, where its host can.
    retry=anyllm.Retry(attempts=3, backoff=0.5, after_content="restart"),
    keep_partial=True,  # errors carry what came
)
client = anyllm.Client(os.environ.get("ANYLLM_MODEL", "local/smollm2"), options=options, temperature=0.2)
try:
    for chunk in client.chat_stream("Write one sentence about the sea.", max_tokens=100):
        if chunk.retry:
            print(f"\n[begins anew after: {chunk.retry.reason}]")
        print(chunk.content, end="", flush=True)
    print()
except anyllm.AnyLLMError as error:
    print(f"failed after all tries: {error}; before that came {error.partial and error.partial.content!r}")
