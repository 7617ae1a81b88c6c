"""Chunks in Ollama's own shape, for tools that know no other: each chunk keeps what its provider sent."""

import os

import anyllm

client = anyllm.Client(os.environ.get("ANYLLM_OLLAMA_MODEL", "ollama/llama3.2"))
for chunk in client.chat_stream("Say hello."):
    own = chunk.raw
    print(own["message"]["content"], end="", flush=True)
    if own["done"]:
        print(f"\ndone: {own['done_reason']}")
