"""Print an answer while it arrives."""

import os

import anyllm

client = anyllm.Client(os.environ.get("ANYLLM_MODEL", "local/smollm2"), temperature=0.2)
for text in client.stream("Tell me a short story about a robot.", max_tokens=120):
    print(text, end="", flush=True)
print()
