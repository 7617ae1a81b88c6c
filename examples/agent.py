"""An agent: a model that calls your functions until it has its answer."""

import os

import anyllm
from anyllm.agent import Agent


def multiply(a: int, b: int) -> int:
    """The product of two numbers."""
    return a * b


agent = Agent(
    os.environ.get("ANYLLM_MODEL", "openai/gpt-4o-mini"),
    tools=[multiply],
    system="Answer in one sentence. Use the tools to reckon.",
    max_turns=5,
)
for event in agent.stream("What is {a} times {b}?", variables={"a": 12, "b": 34}, ctx=anyllm.Context(timeout=120)):
    if event.type == "text":
        print(event.text, end="", flush=True)
    elif event.type == "tool_call":
        print(f"[{event.tool_call.name} {event.tool_call.parse()}]")
    elif event.type == "tool_result":
        print(f"[gave {event.result.content}]")
print()
