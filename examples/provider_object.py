"""A provider as an object, with its own key: its capabilities, and calls without a client."""

import os

import anyllm

name, _, model = os.environ.get("ANYLLM_MODEL", "local/smollm2").partition("/")
key = os.environ.get("MY_SECRET_KEY")  # may also be a function, which is called before each request

provider = anyllm.provider(name, api_key=key)  # without a key, the provider's variable is read
print(f"{provider.name}: tools {provider.capabilities.tools}, vectors {provider.capabilities.embedding}")
messages = [anyllm.Message.user("What is the capital of France? Answer in one sentence.")]
params = anyllm.CompletionParams(model=model, messages=messages, max_tokens=50)
print(provider.completion(anyllm.Context(timeout=120), params).content)
for text in provider.completion_stream(anyllm.Context(timeout=120), params).text_stream:
    print(text, end="", flush=True)
print()
provider.close()
