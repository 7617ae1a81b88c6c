"""One server for the programs of pages and examples: it answers in the format of each request."""

from __future__ import annotations

import json
from typing import Any, Dict, List, Tuple

from anyllm import formats
from anyllm.testing import RecordedRequest, Reply, chat_events
from anyllm.types import ChatCompletion, ChatCompletionChunk, Choice, ChunkChoice, ChunkDelta, Message, Reasoning, Usage

__all__ = ["TEXT", "answer", "answer_as_openai"]

TEXT = "One fish. Two fish. Red fish."
USAGE = Usage(9, 9, 18)
WHOLE = ChatCompletion("c", (Choice(0, Message.assistant(TEXT), "stop", "stop"),), 1, "m", usage=USAGE)
#: What a path ends with or has in it, and the format that is spoken there.
PATHS = (("/api/chat", "ollama"), ("/responses", "openai-responses"), ("/v1/messages", "anthropic"))


def answer(request: RecordedRequest) -> Reply:
    path, body = request.path, request.json() if request.body else {}
    if path == "/api/pull":
        return Reply.ndjson([{"status": "pulling", "total": 2, "completed": 2}, {"status": "success"}])
    if path == "/api/show":
        return Reply.json(
            {"details": {}, "model_info": {"general.architecture": "llama", "llama.context_length": 8192}}
        )
    for end, format in PATHS:
        if path.endswith(end):
            return _written(format, body.get("stream", format == "ollama"))
    if ":streamGenerateContent" in path:
        return _written("gemini", True)
    if path.endswith("/v2/chat"):
        message = {"role": "assistant", "content": [{"type": "text", "text": TEXT}]}
        return Reply.json({"id": "c", "finish_reason": "COMPLETE", "message": message})
    if path.endswith("/converse-stream"):
        return Reply(body=[_frames()], content_type="application/vnd.amazon.eventstream")
    if "Messages" in body:
        choice = {"Index": 0, "Delta": {"Role": "assistant", "Content": TEXT}, "FinishReason": "stop"}
        usage = {"PromptTokens": 9, "CompletionTokens": 9, "TotalTokens": 18}
        return Reply.sse([{"Id": "h", "Created": 1, "Choices": [choice], "Usage": usage}], done=False)
    if isinstance(body.get("input"), dict):  # DashScope's
        return Reply.sse(
            [{"output": {"choices": [{"message": {"content": TEXT}, "finish_reason": "stop"}]}}], done=False
        )
    return answer_as_openai(request)


def _written(format: str, stream: bool) -> Reply:
    if not stream:
        return Reply(body=[formats.encode_whole(WHOLE, format)], content_type="application/json")
    deltas: List[Tuple[ChunkDelta, Any]] = [
        (ChunkDelta("assistant", reasoning=Reasoning("hm. ")), None),
        (ChunkDelta(content=TEXT), None),
        (ChunkDelta(), "stop"),
    ]
    chunks = [ChatCompletionChunk("c", (ChunkChoice(0, delta, end, end),), 1, "m") for delta, end in deltas]
    chunks.append(ChatCompletionChunk("c", (), 1, "m", usage=USAGE))
    body = b"".join(formats.encode(iter(chunks), format))
    return Reply(body=[body], content_type=formats.headers(format)["Content-Type"])


def _frames() -> bytes:
    from aws_frames import event  # needs an extra

    text = event("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": TEXT}})
    return event("messageStart", {"role": "assistant"}) + text + event("messageStop", {"stopReason": "end_turn"})


def answer_as_openai(request: RecordedRequest) -> Reply:
    """It calls a tool if there is one, and writes JSON if that is requested."""
    if request.path.endswith("/models"):
        return Reply.json({"data": [{"id": "gpt-4o-mini"}]})
    body = request.json()
    if "input" in body:
        vectors = [{"index": index, "embedding": [0.5]} for index, _ in enumerate(body["input"])]
        return Reply.json({"data": vectors, "usage": {"prompt_tokens": 2, "total_tokens": 2}})
    text = '{"name": "Lamp", "price": 12.5}' if body.get("response_format") else TEXT
    is_first_turn = all(message["role"] != "tool" for message in body["messages"])
    calls = [_call(tool["function"]) for tool in body.get("tools", ()) if is_first_turn]
    if not body.get("stream"):
        message: Dict[str, Any] = {"role": "assistant", "content": None if calls else text, "tool_calls": calls}
        choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if calls else "stop"}
        usage = {"prompt_tokens": 9, "completion_tokens": 9, "total_tokens": 18}
        return Reply.json({"id": "c", "model": "m", "choices": [choice], "usage": usage})
    if not calls:
        return Reply.sse(chat_events(text))
    first, end, usage_event = chat_events([], finish_reason="tool_calls")
    fragments = [{"index": at, **call} for at, call in enumerate(calls)]
    called = {**first, "choices": [{"index": 0, "delta": {"tool_calls": fragments}, "finish_reason": None}]}
    return Reply.sse([first, called, end, usage_event])


def _call(function: Dict[str, Any]) -> Dict[str, Any]:
    samples = {"integer": 7, "number": 1.5, "string": "Paris", "boolean": True}
    properties = function["parameters"]["properties"]
    arguments = {name: samples[schema["type"]] for name, schema in properties.items()}
    return {"id": "c1", "type": "function", "function": {"name": function["name"], "arguments": json.dumps(arguments)}}
