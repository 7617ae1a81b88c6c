"""Count tokens while they come, and compare with what the provider counted."""

import os

import anyllm
from anyllm.tokens import count_tokens

model = os.environ.get("ANYLLM_MODEL", "local/smollm2")
stream = anyllm.Client(model, temperature=0.2).chat_stream("List three programming languages.", max_tokens=100)
said = ""
for chunk in stream:
    said += chunk.content
    print(f"\rtokens so far: about {count_tokens(said, model).tokens}", end="", flush=True)
usage = stream.completion.usage
print(f"\n{usage.completion_tokens} tokens, {usage.source}")
