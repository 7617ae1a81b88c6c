"""Tokens as the provider reports them, or None; by default, missing ones are estimated."""

import os

import anyllm

client = anyllm.Client(os.environ.get("ANYLLM_MODEL", "local/smollm2"), max_tokens=30)
for usage in ("provider", "auto"):
    options = anyllm.StreamingOptions(usage=usage)
    # Here the provider does not report usage; without `stream_options` it does.
    answer = client.stream_with_usage("Say hello.", options=options, stream_options={"include_usage": False})
    if answer.usage is None:
        print(f"{usage}: not reported")
    else:
        print(f"{usage}: {answer.usage.total_tokens} tokens, {answer.usage.source}")
