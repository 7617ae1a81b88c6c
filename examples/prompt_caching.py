"""Have a long prompt kept by the provider, and see what was read from there."""

import os

import anyllm

messages = [
    {"role": "system", "content": "You are helpful. " * 300, "cache_control": {"type": "ephemeral"}},
    {"role": "user", "content": "Hello"},
]
client = anyllm.Client(os.environ.get("ANYLLM_MODEL", "anthropic/claude-3-haiku-20240307"), max_tokens=20)
usage = client.stream_with_usage(messages).usage
print(f"{usage.prompt_tokens} tokens, {usage.cache_read_tokens or 0} of them from the cache")
