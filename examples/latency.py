"""Why to stream: the first word arrives long before the last."""

import os
import time

import anyllm

client = anyllm.Client(os.environ.get("ANYLLM_MODEL", "local/smollm2"), temperature=0.2)
question = "Write two sentences about the sea."

start = time.perf_counter()
client.chat(question, max_tokens=50)
print(f"whole answer: everything after {time.perf_counter() - start:.2f} s")

stream = client.chat_stream(question, max_tokens=50)
stream.collect()
timing = stream.timing
print(f"stream: first word after {timing.first_content:.2f} s, last after {timing.total:.2f} s")
print(f"{timing.tokens_per_second or 0:.0f} tokens per second, longest gap {timing.longest_gap:.2f} s")
