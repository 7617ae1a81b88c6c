"""Tokens and cost of a streamed answer. Prices come with `pip install genai-prices`, or from you."""

import os

import anyllm

model = os.environ.get("ANYLLM_MODEL", "local/smollm2")
client = anyllm.Client(model, prices={model: {"input_usd": 0.15, "output_usd": 0.60}}, temperature=0.2)
response = client.stream_with_usage("Explain quantum computing in one sentence.", max_tokens=100)
print(f"Response: {response.content}")
print(f"Tokens: {response.usage.total_tokens} ({response.usage.source})")
print(f"Cost: ${response.cost_usd:.6f} (input {response.cost.input_usd:.6f}, output {response.cost.output_usd:.6f})")
