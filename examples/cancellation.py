"""Stop early: because the answer is long enough, or because of a timeout."""

import os

import anyllm

model = os.environ.get("ANYLLM_MODEL", "local/smollm2")
params = anyllm.CompletionParams(model=model, messages=[anyllm.Message.user("Count to a hundred.")], max_tokens=300)

ctx, cancel = anyllm.with_timeout(anyllm.background(), 30)
chunks, errors = anyllm.completion_stream(ctx, params)
length = 0
for chunk in chunks:
    length += len(chunk.content)
    if length > 5:
        cancel("enough")
        break

error = errors.get()
if isinstance(error, anyllm.Cancelled):
    print(f"cancelled ({error.cause}) after {len(error.partial.content)} characters")
elif isinstance(error, anyllm.DeadlineExceeded):
    print("timed out")
elif error is not None:
    raise error
else:
    print("the answer ended first")
