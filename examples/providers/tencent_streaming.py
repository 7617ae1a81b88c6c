"""Stream from Tencent Hunyuan, through its own API. TENCENT_SECRET_ID and TENCENT_SECRET_KEY sign the request."""

import anyllm

client = anyllm.Client("hunyuan/hunyuan-turbos-latest", timeout=120)
stream = client.chat_stream("Write one sentence about the sea.")
for chunk in stream:
    print(chunk.content, end="", flush=True)
print(f"\n{stream.completion.usage.total_tokens} tokens, {stream.completion.finish_reason}")
