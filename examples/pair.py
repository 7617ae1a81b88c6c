"""Stream an answer with two channels: chunks, then at most one error."""

import os
import sys

import anyllm

ctx = anyllm.Context(timeout=120)
chunks, errors = anyllm.completion_stream(
    ctx,
    anyllm.CompletionParams(
        model=os.environ.get("ANYLLM_MODEL", "local/smollm2"),
        messages=[anyllm.Message.user(" ".join(sys.argv[1:]) or "Write one sentence about the sea.")],
        max_tokens=60,
    ),
)
for chunk in chunks:
    print(chunk.content, end="", flush=True)
print()
if (error := errors.get()) is not None:
    sys.exit(f"{type(error).__name__}: {error}")
