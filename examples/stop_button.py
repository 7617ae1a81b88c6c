"""Cancel from another thread: press Enter while the answer streams."""

import os
import threading

import anyllm

ctx = anyllm.Context()


def stop_on_enter() -> None:
    try:
        input()
    except EOFError:
        return
    ctx.cancel("Enter was pressed")


threading.Thread(target=stop_on_enter, daemon=True).start()
print("Press Enter to stop.\n")
chunks, errors = anyllm.completion_stream(
    ctx,
    anyllm.CompletionParams(
        model=os.environ.get("ANYLLM_MODEL", "local/smollm2"),
        messages=[anyllm.Message.user("Write a long story about a robot.")],
        max_tokens=150,
    ),
)
for chunk in chunks:
    print(chunk.content, end="", flush=True)

error = errors.get()
if isinstance(error, anyllm.Cancelled):
    length = len(error.partial.content) if error.partial else 0
    print(f"\n\nstopped: {error.cause}; after {length} characters")
elif error is not None:
    raise error
