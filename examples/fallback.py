"""Several models: another one if the first fails or is slow."""

import os

import anyllm

model = os.environ.get("ANYLLM_MODEL", "local/smollm2")
client = anyllm.Client(
    model,
    fallback=[model],  # usually a model of another provider
    hedge=5.0,  # seconds without content before the next model is called too
    breaker={"failures": 5},  # stop calling a failing provider for a while
    temperature=0.2,
)
stream = client.chat_stream("What is the capital of France? Answer in one sentence.", max_tokens=100)
for event in stream.events():
    if event.type == "retry":
        print(f"[{event.retry.policy}: {event.retry.reason}]")
    print(event.text, end="", flush=True)
print(f"\nanswered by {stream.completion.provider}")
