"""The whole answer of a stream: with collect(), and joined by hand."""

import os

import anyllm

model = os.environ.get("ANYLLM_MODEL", "local/smollm2")
params = anyllm.CompletionParams(
    model=model, messages=[anyllm.Message.user("Explain Python in one sentence.")], max_tokens=100, temperature=0.2
)

answer = anyllm.completion_stream(anyllm.Context(timeout=120), params).collect()
print(answer.content, f"[{answer.finish_reason}]")

chunks, errors = anyllm.completion_stream(anyllm.Context(timeout=120), params)
pieces, finish_reason = [], None
for chunk in chunks:
    pieces.append(chunk.content)  # "" if a chunk adds no text
    finish_reason = chunk.finish_reason or finish_reason
if (error := errors.get()) is not None:
    raise error
print("".join(pieces), f"[{finish_reason}]")
