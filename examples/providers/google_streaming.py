"""Stream from Google's Gemini. The key is read from GEMINI_API_KEY; without it the answer is scripted."""

import os
import sys

import anyllm
from anyllm.testing import fake

provider = None
if not os.environ.get("GEMINI_API_KEY"):
    print("scripted answers: set GEMINI_API_KEY", file=sys.stderr)
    provider = fake("The sea is wide.")

client = anyllm.Client("gemini/gemini-2.5-flash", provider=provider, timeout=120)
stream = client.chat_stream("Write one sentence about the sea.", max_tokens=200)
for chunk in stream:
    print(chunk.content, end="", flush=True)
print(f"\n{stream.completion.usage.total_tokens} tokens, {stream.completion.finish_reason}")
