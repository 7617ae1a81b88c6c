"""Options of a call: timeouts, retries, limits. `anyllm.options` has presets."""

import os

import anyllm
from anyllm.options import DEBUG, HIGH_THROUGHPUT, JSON_MODE, LOW_LATENCY

options = anyllm.StreamingOptions(
    timeouts=anyllm.Timeouts(connect=5.0, first_content=60.0, idle=30.0, total=300.0),
    retry=anyllm.Retry(attempts=3, backoff=1.0, errors={anyllm.RateLimitError: 6}),
    usage="auto",  # without the provider's count: tiktoken if it has its vocabulary, else a formula
    buffer=256,  # chunks that may wait for a slow reader
    read_size=4096,  # bytes
    compression=True,  # on the wire
)
client = anyllm.Client(os.environ.get("ANYLLM_MODEL", "local/smollm2"), options=options, max_tokens=50)
print(client.chat("Say hello.").content)

for name, preset in (("low latency", LOW_LATENCY), ("high throughput", HIGH_THROUGHPUT)):
    response = client.stream_with_usage("Say hello.", options=preset)
    print(f"{name}: {response.usage.total_tokens} tokens")
print(f"JSON_MODE parses the answer while it arrives: {JSON_MODE.json}; DEBUG logs each step: {DEBUG.debug}")
