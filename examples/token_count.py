"""Count tokens while they arrive, and compare with the provider's count."""

import os

import anyllm
from anyllm.tokens import count_tokens

model = os.environ.get("ANYLLM_MODEL", "local/smollm2")
stream = anyllm.Client(model, temperature=0.2).chat_stream("List three programming languages.", max_tokens=100)
text = ""
for chunk in stream:
    text += chunk.content
    print(f"\rtokens so far: about {count_tokens(text, model).tokens}", end="", flush=True)
usage = stream.completion.usage
print(f"\n{usage.completion_tokens} tokens, {usage.source}")
