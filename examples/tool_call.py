"""Tool calls: put together from their fragments, answered, and sent back for the next turn."""

import os

import anyllm

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


model = os.environ.get("ANYLLM_MODEL", "openai/gpt-4o-mini")
messages = [anyllm.Message.user("What is the weather in Paris? Use the tool.")]
with anyllm.Context(timeout=120) as ctx:
    for _turn in range(3):
        params = anyllm.CompletionParams(model=model, messages=messages, tools=[WEATHER])
        answer = anyllm.completion_stream(ctx, params).collect()
        messages.append(answer.to_message())
        if not answer.tool_calls:
            break
        for call in answer.tool_calls:
            print(f"[{call.name} {call.parse()}]")
            messages.append(anyllm.Message.tool(weather(**call.parse()), call.id or ""))
print(answer.content)
