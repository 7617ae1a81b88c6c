"""Callbacks for text, usage, the end and errors, on the thread that reads."""

import os

import anyllm

options = anyllm.StreamingOptions(
    on_start=lambda: print("Stream started"),
    on_delta=lambda text: print(f"Received: {text!r}"),
    on_reasoning=lambda text: print(f"Reasoning: {text!r}"),
    on_tool_call=lambda call: print(f"Tool call: {call.name}({call.arguments})"),
    on_usage=lambda usage: print(f"Usage: {usage.total_tokens} tokens"),
    on_complete=lambda completion: print(f"Complete: {completion.content}"),
    on_error=lambda error: print(f"Error: {error}"),
)
client = anyllm.Client(os.environ.get("ANYLLM_MODEL", "local/smollm2"), temperature=0.2)
client.stream_with_usage("Tell me a joke.", options=options, max_tokens=60)
