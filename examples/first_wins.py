"""Call two models at once, and keep the faster one."""

import os

import anyllm

MODELS = os.environ.get("ANYLLM_MODELS", "local/smollm2,local/smollm2").split(",")


def fastest(prompt: str) -> anyllm.Stream:
    """The stream with the earliest first chunk; the others are cancelled."""
    streams = [
        anyllm.completion_stream(
            anyllm.Context(timeout=120),
            anyllm.CompletionParams(model=model, messages=[anyllm.Message.user(prompt)], max_tokens=100),
        )
        for model in MODELS
    ]
    ready, _ = anyllm.select(*(stream.chunks for stream in streams))
    for stream in streams:
        if stream.chunks is not ready:
            stream.cancel("another was faster")
    return next(stream for stream in streams if stream.chunks is ready)


answer = fastest("What is the capital of France? Answer in one sentence.").collect()
print(f"{answer.provider}/{answer.model}: {answer.content}")
