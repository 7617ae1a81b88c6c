"""Stream from Anthropic, thinking included. The key is read from ANTHROPIC_API_KEY."""

import anyllm

client = anyllm.Client("anthropic/claude-sonnet-4-5", timeout=120)
stream = client.chat_stream("Write one sentence about the sea.", max_tokens=4000, reasoning_effort="low")
for chunk in stream:
    print(chunk.reasoning, end="", flush=True)
    print(chunk.content, end="", flush=True)
print(f"\n{stream.completion.usage.total_tokens} tokens, {stream.completion.finish_reason}")
