"""Any model's answer in Ollama's format, for programs that read no other."""

import os

import anyllm
from anyllm import formats

client = anyllm.Client(os.environ.get("ANYLLM_MODEL", "local/smollm2"))
for line in formats.encode(client.chat_stream("Say hello.", max_tokens=50), "ollama"):
    print(line.decode(), end="", flush=True)
