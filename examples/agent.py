"""An agent: a model that calls your functions until it has its answer. Without a key, the answers are scripted."""

import os
import sys

import anyllm
from anyllm.agent import Agent
from anyllm.testing import fake, tool_call


def multiply(a: int, b: int) -> int:
    """The product of two numbers."""
    return a * b


model, provider = os.environ.get("ANYLLM_MODEL", "openai/gpt-4o-mini"), None
if model.startswith("openai/") and not os.environ.get("OPENAI_API_KEY"):
    print("scripted answers: set OPENAI_API_KEY, or ANYLLM_MODEL to another that calls tools", file=sys.stderr)
    provider = fake(tool_call("multiply", {"a": 12, "b": 34}), "12 times 34 is 408.")

agent = Agent(
    anyllm.Client(model, provider=provider),
    tools=[multiply],
    system="Answer in one sentence. Use the tools to calculate.",
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
