"""Prompt caching: mark a long prompt, and see how much was read from the cache. Without a key, answers are scripted."""

import os
import sys

import anyllm
from anyllm.testing import fake

model, provider = os.environ.get("ANYLLM_MODEL", "anthropic/claude-haiku-4-5"), None
if model.startswith("anthropic/") and not os.environ.get("ANTHROPIC_API_KEY"):
    print("scripted answers: set ANTHROPIC_API_KEY, or ANYLLM_MODEL to another", file=sys.stderr)
    provider = fake("Hello!")

messages = [
    {"role": "system", "content": "You are helpful. " * 1500, "cache_control": {"type": "ephemeral"}},
    {"role": "user", "content": "Hello"},
]
client = anyllm.Client(model, provider=provider, max_tokens=20)
for turn in ("first", "second"):
    usage = client.stream_with_usage(messages).usage
    print(f"{turn}: {usage.prompt_tokens} tokens, {usage.cache_read_tokens or 0} of them from the cache")
