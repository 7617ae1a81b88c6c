"""Have a long prompt kept by the provider, and see what was read from there. Without a key a script plays the model."""

import os
import sys

import anyllm
from anyllm.testing import fake

model, provider = os.environ.get("ANYLLM_MODEL", "anthropic/claude-haiku-4-5"), None
if model.startswith("anthropic/") and not os.environ.get("ANTHROPIC_API_KEY"):
    print("no model is asked: set ANTHROPIC_API_KEY, or ANYLLM_MODEL to another", file=sys.stderr)
    provider = fake("Hello!")

messages = [
    {"role": "system", "content": "You are helpful. " * 1500, "cache_control": {"type": "ephemeral"}},
    {"role": "user", "content": "Hello"},
]
client = anyllm.Client(model, provider=provider, max_tokens=20)
for turn in ("first", "second"):
    usage = client.stream_with_usage(messages).usage
    print(f"{turn}: {usage.prompt_tokens} tokens, {usage.cache_read_tokens or 0} of them from the cache")
