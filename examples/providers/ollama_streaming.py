"""Stream from Ollama, through its own API. No key is needed."""

import anyllm

client = anyllm.Client("ollama/llama3.2", timeout=120)
stream = client.chat_stream("Write one sentence about the sea.", max_tokens=200)
for chunk in stream:
    print(chunk.content, end="", flush=True)
print(f"\n{stream.completion.usage.total_tokens} tokens, {stream.completion.finish_reason}")
