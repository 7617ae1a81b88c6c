"""Reasoning models: reasoning and answer, separately."""

import os

import anyllm

ctx = anyllm.Context(timeout=120)
chunks, errors = anyllm.completion_stream(
    ctx,
    anyllm.CompletionParams(
        model=os.environ.get("ANYLLM_MODEL", "local/smollm2"),
        messages=[anyllm.Message.user("How many r are in strawberry?")],
        reasoning_effort="medium",
        max_tokens=1000,
    ),
)
print("Thinking...")
for chunk in chunks:
    if chunk.reasoning:
        print(f"({chunk.reasoning})", end="", flush=True)
    print(chunk.content, end="", flush=True)
print()
if (error := errors.get()) is not None:
    raise error
