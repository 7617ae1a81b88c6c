"""Tool calls: joined from fragments, answered, and sent back. Without a key, the answers are scripted."""

import os
import sys

import anyllm
from anyllm.testing import fake, tool_call

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather in a city now.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def weather(city: str) -> str:
    return f"18 degrees and sunny in {city}"


model, provider = os.environ.get("ANYLLM_MODEL", "openai/gpt-4o-mini"), None
if model.startswith("openai/") and not os.environ.get("OPENAI_API_KEY"):
    print("scripted answers: set OPENAI_API_KEY, or ANYLLM_MODEL to another that calls tools", file=sys.stderr)
    provider = fake(tool_call("weather", {"city": "Paris"}), "It is sunny in Paris, at 18 degrees.")

messages = [anyllm.Message.user("What is the weather in Paris? Use the tool.")]
with anyllm.Context(timeout=120) as ctx:
    for _turn in range(3):
        params = anyllm.CompletionParams(model=model, messages=messages, tools=[WEATHER])
        answer = anyllm.completion_stream(ctx, params, provider=provider).collect()
        messages.append(answer.to_message())
        if not answer.tool_calls:
            break
        for call in answer.tool_calls:
            print(f"[{call.name} {call.parse()}]")
            messages.append(anyllm.Message.tool(weather(**call.parse()), call.id or ""))
print(answer.content)
