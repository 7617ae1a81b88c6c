"""Stream from Tencent Hunyuan, through its own API. Two keys sign the request; without them the answer is scripted."""

import os
import sys

import anyllm
from anyllm.testing import fake

provider = None
if not (os.environ.get("TENCENT_SECRET_ID") and os.environ.get("TENCENT_SECRET_KEY")):
    print("scripted answers: set TENCENT_SECRET_ID and TENCENT_SECRET_KEY", file=sys.stderr)
    provider = fake("The sea is wide.")

client = anyllm.Client("hunyuan/hunyuan-turbos-latest", provider=provider, timeout=120)
stream = client.chat_stream("Write one sentence about the sea.")
for chunk in stream:
    print(chunk.content, end="", flush=True)
print(f"\n{stream.completion.usage.total_tokens} tokens, {stream.completion.finish_reason}")
