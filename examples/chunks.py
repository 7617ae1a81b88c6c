"""The fields of a chunk: model, text of each choice, finish reason, usage."""

import os

import anyllm

client = anyllm.Client(os.environ.get("ANYLLM_MODEL", "local/smollm2"), temperature=0.2)
for chunk in client.chat_stream("Count to three in words.", max_tokens=50):
    for choice in chunk.choices:
        print(f"{chunk.model} {chunk.id} choice {choice.index}: {choice.delta.content!r}", choice.finish_reason or "")
    if chunk.usage:
        print(f"{chunk.usage.total_tokens} tokens; the provider's event has the keys {sorted(chunk.raw)}")
