"""Stream from Anthropic, with thinking. The key is read from ANTHROPIC_API_KEY; without it the answer is scripted."""

import os
import sys

import anyllm
from anyllm.testing import fake

provider = None
if not os.environ.get("ANTHROPIC_API_KEY"):
    print("scripted answers: set ANTHROPIC_API_KEY", file=sys.stderr)
    provider = fake("The sea is wide.")

client = anyllm.Client("anthropic/claude-sonnet-4-5", provider=provider, timeout=120)
stream = client.chat_stream("Write one sentence about the sea.", max_tokens=4000, reasoning_effort="low")
for chunk in stream:
    print(chunk.reasoning, end="", flush=True)
    print(chunk.content, end="", flush=True)
print(f"\n{stream.completion.usage.total_tokens} tokens, {stream.completion.finish_reason}")
