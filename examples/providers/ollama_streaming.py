"""Stream from Ollama, through its own API. It needs no key, but a running Ollama."""

import sys

import anyllm

client = anyllm.Client("ollama/llama3.2", timeout=120)
stream = client.chat_stream("Write one sentence about the sea.", max_tokens=200)
try:
    for chunk in stream:
        print(chunk.content, end="", flush=True)
except anyllm.NetworkError as error:
    sys.exit(f"{error} Start Ollama, or set OLLAMA_HOST to its address")
except anyllm.ModelNotFoundError as error:
    sys.exit(f"{error}. Run `ollama pull llama3.2`")
print(f"\n{stream.completion.usage.total_tokens} tokens, {stream.completion.finish_reason}")
