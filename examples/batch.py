"""Many prompts at once, with a limit."""

import os
from concurrent.futures import ThreadPoolExecutor

import anyllm
from anyllm.options import HIGH_THROUGHPUT

client = anyllm.Client(
    os.environ.get("ANYLLM_MODEL", "local/smollm2"), options=HIGH_THROUGHPUT, max_streams=4, temperature=0.2
)
prompts = [f"Say the number {number} in words." for number in range(1, 7)]
# Ctrl-C ends the context first, which cancels all calls; then the pool has nothing to wait for.
with ThreadPoolExecutor(max_workers=len(prompts)) as pool, anyllm.Context() as ctx:
    answers = pool.map(lambda prompt: client.stream_with_usage(prompt, ctx=ctx, max_tokens=30), prompts)
    for prompt, answer in zip(prompts, answers):
        print(f"{prompt} {answer.content.strip()!r}")
