"""
The conversation, as version 1 takes it: a preamble, the turns so far, and what is to be answered now.

What is to be answered is a user's message, or the results of the tools that the model called last, beside an empty
message. A call has no id here: a result repeats the call itself. What models thought has no place, and is left out.

Sources: https://docs.cohere.com/v1/reference/chat (message, chat_history, preamble, tool_results),
https://docs.cohere.com/v1/docs/multi-step-tool-use
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import takewhile
from typing import Any

from anyllm.errors import InvalidRequestError
from anyllm.types import Message, ToolCall, _convert
from anyllm.wire._base.conversation import arguments_of
from anyllm.wire._base.encode_json import unsupported

#: How the roles of messages are called here; the older "function" is a tool.
_ROLES = {
    "user": "USER",
    "assistant": "CHATBOT",
    "system": "SYSTEM",
    "developer": "SYSTEM",
    "tool": "TOOL",
    "function": "TOOL",
}


def conversation_in(messages: Iterable[Message], provider: str) -> dict[str, Any]:
    """
    The keys of the request that hold the conversation.

    What the model is told before all else is the preamble; what it is told later stands where it was said.

    Raises:
        UnsupportedParameterError: a message holds what this host is not shown.
        InvalidRequestError: a message cannot be sent, or the last one is none that can be answered.
    """
    messages = [*messages]
    told = [*takewhile(_is_told, messages)]
    turns = _turns(messages[len(told) :], provider)
    body = _asked(turns, provider)
    if len(turns) > 1:
        body["chat_history"] = turns[:-1]
    if told:
        body["preamble"] = "\n\n".join(_text(message, provider) for message in told)
    return body


def _is_told(message: Message) -> bool:
    return _ROLES.get(message.role) == "SYSTEM"


def _asked(turns: list[dict[str, Any]], provider: str) -> dict[str, Any]:
    last = turns[-1] if turns else {"role": "SYSTEM"}
    if last["role"] == "USER":
        return {"message": last["message"]}
    if last["role"] == "TOOL":
        return {"message": "", "tool_results": last["tool_results"]}
    raise _wrong("this host answers a user's message, or the results of tools: one of these must come last", provider)


def _turns(messages: Iterable[Message], provider: str) -> list[dict[str, Any]]:
    """The turns, the results of tools in a row as one."""
    turns: list[dict[str, Any]] = []
    calls: dict[str, ToolCall] = {}
    for message in messages:
        role = _ROLES.get(message.role)
        if role is None:
            raise _wrong(f"a message cannot have the role {message.role!r}", provider)
        if role == "TOOL":
            if not turns or turns[-1]["role"] != role:
                turns.append({"role": role, "tool_results": []})
            turns[-1]["tool_results"].append(_result(message, calls, provider))
        else:
            turns.append(_turn(role, message, provider))
        for call in message.tool_calls:
            # Made-up ids, "call_0", come again in every answer: the latest call is meant.
            calls.update({name: call for name in (call.id, f"function {call.name}") if name})
    return turns


def _turn(role: str, message: Message, provider: str) -> dict[str, Any]:
    if message.name is not None:
        raise unsupported("name", "this host does not tell speakers apart by name", provider)
    turn: dict[str, Any] = {"role": role, "message": _text(message, provider)}
    if message.tool_calls:
        turn["tool_calls"] = [_call(call, provider) for call in message.tool_calls]
    return turn


def _text(message: Message, provider: str) -> str:
    content = message.content
    for part in () if content is None or isinstance(content, str) else content:
        if part.type != "text":
            raise unsupported(part.type, f"this host is shown text, not {part.type}", provider)
    return message.text or message.refusal or ""


# -- tool calls and their results --------------------------------------------------------------------------------------


def _call(call: ToolCall, provider: str) -> dict[str, Any]:
    if not call.name:
        raise _wrong("an earlier tool call has no name", provider)
    return {"name": call.name, "parameters": arguments_of(call, provider)}


def _result(message: Message, calls: Mapping[str, ToolCall], provider: str) -> dict[str, Any]:
    """A result beside the call that it answers: by its id, or the last call of the function that it names."""
    call = calls.get(message.tool_call_id or f"function {message.name}")
    if call is None:
        said = repr(message.tool_call_id) if message.tool_call_id else "no tool_call_id"
        raise _wrong(f"a tool's result has {said}, and no earlier call has that id", provider)
    return {"call": _call(call, provider), "outputs": _outputs(_text(message, provider))}


def _outputs(text: str) -> list[dict[str, Any]]:
    """A result as the list of objects that the host wants: its own objects, or its text in one."""
    try:
        found = _convert.loads(text)
    except ValueError:
        found = None
    if isinstance(found, dict):
        return [found]
    if isinstance(found, list) and found and all(isinstance(item, dict) for item in found):
        return found
    return [{"output": text}]


def _wrong(what: str, provider: str) -> InvalidRequestError:
    return InvalidRequestError(what, provider=provider, param="messages")
