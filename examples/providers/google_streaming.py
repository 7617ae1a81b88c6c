"""Stream from Google's Gemini. The key is read from GEMINI_API_KEY."""

import anyllm

client = anyllm.Client("gemini/gemini-2.5-flash", timeout=120)
stream = client.chat_stream("Write one sentence about the sea.", max_tokens=200)
for chunk in stream:
    print(chunk.content, end="", flush=True)
print(f"\n{stream.completion.usage.total_tokens} tokens, {stream.completion.finish_reason}")
