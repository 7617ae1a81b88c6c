"""Stream from Volcengine Ark. The key is read from ARK_API_KEY."""

import anyllm

client = anyllm.Client("volcengine/doubao-seed-1-6", timeout=120)
stream = client.chat_stream("Write one sentence about the sea.", max_tokens=200)
for chunk in stream:
    print(chunk.content, end="", flush=True)
print(f"\n{stream.completion.usage.total_tokens} tokens, {stream.completion.finish_reason}")
