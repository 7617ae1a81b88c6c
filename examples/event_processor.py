"""Filter and transform the events of a stream."""

import os

import anyllm
from anyllm.processing import EventProcessor

processor = (
    EventProcessor()
    .add_filter(types=("text", "complete"))
    .add_transformer(lambda event: event.evolve(text=event.text.upper()))
)
client = anyllm.Client(os.environ.get("ANYLLM_MODEL", "local/smollm2"), temperature=0.2)
for event in processor.process(client.chat_stream("Say hello.", max_tokens=30)):
    print(event.text, end="", flush=True)
print()
