"""Show progress: a dot for each piece, and a line with the numbers."""

import os
import sys

import anyllm
from anyllm.reading import Progress

client = anyllm.Client(os.environ.get("ANYLLM_MODEL", "local/smollm2"), temperature=0.2)
question = "List three programming languages."

print("Generating response", end="", flush=True)
pieces = []
for text in client.stream(question, max_tokens=50):
    pieces.append(text)
    print(".", end="", flush=True)
print(f"\n{''.join(pieces)}")

progress = Progress()
for _ in progress.show(client.chat_stream(question, max_tokens=50), file=sys.stderr):
    pass  # `show` redraws the line on the terminal
print(progress.line())
