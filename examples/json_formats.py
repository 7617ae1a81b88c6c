"""A stream as JSON for other programs: one document, or a line for each piece."""

import os

import anyllm
from anyllm import formats

client = anyllm.Client(os.environ.get("ANYLLM_MODEL", "local/smollm2"), max_tokens=30)

print("NDJSON, one document per line:")
for line in formats.encode(client.chat_stream("Say hello."), "ndjson"):
    print(line.decode(), end="", flush=True)

print("JSON, one list:")
for piece in formats.encode(client.chat_stream("Say hello."), "json"):
    print(piece.decode(), end="", flush=True)
print()
