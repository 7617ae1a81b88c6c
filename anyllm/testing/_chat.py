"""Answers of OpenAI's chat completions as JSON objects: the events of a stream, and whole answers."""

from __future__ import annotations

import re
from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence, Union


def chat_events(
    text_or_pieces: Union[str, Iterable[str]],
    *,
    model: str = "test-model",
    finish_reason: Optional[str] = "stop",
    usage: Union[bool, Mapping[str, Any]] = True,
    role: bool = True,
    id: str = "chatcmpl-test",
    tool_calls: Sequence[Any] = (),
) -> List[Dict[str, Any]]:
    """
    The events of one OpenAI chat completion, ready for `Reply.sse`.

    Args:
        text_or_pieces: The text: a str is split into words, with their white space; an iterable has one chunk for
            each item.
        model: The `model` of every chunk.
        finish_reason: The finish reason, in a chunk after the text; "stop" becomes "tool_calls" if there are any. None
            omits this chunk.
        usage: Whether to end with a chunk of usage and no choices: True counts each piece as a token, a dict is sent
            unchanged.
        role: Whether to begin with a chunk that has the role and an empty content.
        id: The `id` of every chunk.
        tool_calls: Calls after the text: `ToolCall`s, or dicts in OpenAI's shape. Each is sent in two fragments: id and
            name, then the arguments.

    Returns:
        Dicts in the shape of `chat.completion.chunk`.

    Source: https://platform.openai.com/docs/api-reference/chat-streaming
    """
    if isinstance(text_or_pieces, str):
        text_or_pieces = re.findall(r"\s*\S+|\s+$", text_or_pieces)
    pieces = list(text_or_pieces)

    def chunk(choices: List[Dict[str, Any]], **more: Any) -> Dict[str, Any]:
        fixed = {"id": id, "object": "chat.completion.chunk", "created": 1700000000, "model": model}
        return {**fixed, "choices": choices, **more}

    def choice(delta: Dict[str, Any], reason: Optional[str] = None) -> List[Dict[str, Any]]:
        return [{"index": 0, "delta": delta, "finish_reason": reason}]

    events = [chunk(choice({"role": "assistant", "content": ""}))] if role else []
    events += [chunk(choice({"content": piece})) for piece in pieces]
    for index, call in enumerate(_call_objects(tool_calls)):
        function = call["function"]
        start = {**call, "index": index, "function": {"name": function["name"], "arguments": ""}}
        events.append(chunk(choice({"tool_calls": [start]})))
        rest = {"index": index, "function": {"arguments": function["arguments"]}}
        events.append(chunk(choice({"tool_calls": [rest]})))
    if finish_reason is not None:
        events.append(chunk(choice({}, _reason(finish_reason, tool_calls))))
    if usage is True:
        n = len(pieces)
        usage = {"prompt_tokens": 1, "completion_tokens": n, "total_tokens": n + 1}
    if usage:
        events.append(chunk([], usage=usage))
    return events


def chat_completion(
    text_or_pieces: Union[str, Iterable[str], None],
    *,
    model: str = "test-model",
    finish_reason: Optional[str] = "stop",
    usage: Union[bool, Mapping[str, Any]] = True,
    id: str = "chatcmpl-test",
    tool_calls: Sequence[Any] = (),
) -> Dict[str, Any]:
    """
    One whole OpenAI chat completion, ready for `Reply.json`: the sum of the events of `chat_events`.

    Args:
        text_or_pieces: The text; None for calls alone. All other arguments are those of `chat_events`.

    Returns:
        A dict in the shape of ``chat.completion``.

    Source: https://platform.openai.com/docs/api-reference/chat/object
    """
    events = chat_events(text_or_pieces or (), usage=usage)
    text = "".join(event["choices"][0]["delta"].get("content", "") for event in events if event["choices"])
    message: Dict[str, Any] = {"role": "assistant", "content": text or None if tool_calls else text}
    if tool_calls:
        message["tool_calls"] = _call_objects(tool_calls)
    choice = {"index": 0, "message": message, "finish_reason": _reason(finish_reason, tool_calls)}
    body = {"id": id, "object": "chat.completion", "created": 1700000000, "model": model, "choices": [choice]}
    final_usage = events[-1].get("usage")
    return {**body, "usage": final_usage} if final_usage else body


def _call_objects(calls: Sequence[Any]) -> List[Dict[str, Any]]:
    """The calls in OpenAI's shape, each with an id."""
    objects = []
    for number, call in enumerate(calls, 1):
        source = call if isinstance(call, Mapping) else call.to_dict()
        function = {"name": source["function"]["name"], "arguments": source["function"].get("arguments", "")}
        objects.append(
            {"id": source.get("id") or f"call_{number}", "type": source.get("type", "function"), "function": function}
        )
    return objects


def _reason(finish_reason: Optional[str], tool_calls: Sequence[Any]) -> Optional[str]:
    return "tool_calls" if tool_calls and finish_reason == "stop" else finish_reason
