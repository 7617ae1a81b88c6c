"""
The conversation in a version 1 request: a preamble, the chat history, and the current turn.

The current turn is a user's message, or the results of the latest tool calls with an empty message. Tool calls have no
ids: a result repeats its call. Reasoning has no field, and is left out.

Sources: https://docs.cohere.com/v1/reference/chat (message, chat_history, preamble, tool_results),
https://docs.cohere.com/v1/docs/multi-step-tool-use
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import takewhile
from typing import Any

from anyllm.types import Message, ToolCall, _convert
from anyllm.wire._base.conversation import arguments_of
from anyllm.wire._base.encode_json import invalid, unsupported

#: Our roles and Cohere's; OpenAI's older "function" is a tool.
_ROLES = {
    "user": "USER",
    "assistant": "CHATBOT",
    "system": "SYSTEM",
    "developer": "SYSTEM",
    "tool": "TOOL",
    "function": "TOOL",
}


def conversation_fields(messages: Iterable[Message], provider: str) -> dict[str, Any]:
    """
    The fields of the request that contain the conversation.

    System messages at the beginning are the preamble; later ones stay in the chat history.

    Raises:
        UnsupportedParameterError: a message contains something that the provider does not accept.
        InvalidRequestError: a message cannot be sent, or the last one is not from a user or a tool.
    """
    messages = [*messages]
    system = [*takewhile(_is_system, messages)]
    turns = _turns(messages[len(system) :], provider)
    body = _current_turn(turns, provider)
    if len(turns) > 1:
        body["chat_history"] = turns[:-1]
    if system:
        body["preamble"] = "\n\n".join(_text(message, provider) for message in system)
    return body


def _is_system(message: Message) -> bool:
    return _ROLES.get(message.role) == "SYSTEM"


def _current_turn(turns: list[dict[str, Any]], provider: str) -> dict[str, Any]:
    last = turns[-1] if turns else {"role": "SYSTEM"}
    if last["role"] == "USER":
        return {"message": last["message"]}
    if last["role"] == "TOOL":
        return {"message": "", "tool_results": last["tool_results"]}
    raise invalid("messages", "the last message must be a user's message or a tool result", provider)


def _turns(messages: Iterable[Message], provider: str) -> list[dict[str, Any]]:
    """The turns; consecutive tool results are one turn."""
    turns: list[dict[str, Any]] = []
    calls: dict[str, ToolCall] = {}
    for message in messages:
        role = _ROLES.get(message.role)
        if role is None:
            raise invalid("messages", f"a message cannot have the role {message.role!r}", provider)
        if role == "TOOL":
            if not turns or turns[-1]["role"] != role:
                turns.append({"role": role, "tool_results": []})
            turns[-1]["tool_results"].append(_result(message, calls, provider))
        else:
            turns.append(_turn(role, message, provider))
        for call in message.tool_calls:
            # Made-up ids such as "call_0" repeat in every answer, so the latest call wins.
            calls.update({name: call for name in (call.id, f"function {call.name}") if name})
    return turns


def _turn(role: str, message: Message, provider: str) -> dict[str, Any]:
    if message.name is not None:
        raise unsupported("name", "the provider does not support names of speakers", provider)
    turn: dict[str, Any] = {"role": role, "message": _text(message, provider)}
    if message.tool_calls:
        turn["tool_calls"] = [_call(call, provider) for call in message.tool_calls]
    return turn


def _text(message: Message, provider: str) -> str:
    content = message.content
    for part in () if content is None or isinstance(content, str) else content:
        if part.type != "text":
            raise unsupported(part.type, f"the provider accepts text, not {part.type}", provider)
    return message.text or message.refusal or ""


# -- tool calls and their results --------------------------------------------------------------------------------------


def _call(call: ToolCall, provider: str) -> dict[str, Any]:
    if not call.name:
        raise invalid("messages", "an earlier tool call has no name", provider)
    return {"name": call.name, "parameters": arguments_of(call, provider)}


def _result(message: Message, calls: Mapping[str, ToolCall], provider: str) -> dict[str, Any]:
    """A result with its call: the call with that id, or the last call of the function that it names."""
    call = calls.get(message.tool_call_id or f"function {message.name}")
    if call is None:
        call_id = repr(message.tool_call_id) if message.tool_call_id else "no tool_call_id"
        raise invalid("messages", f"a tool's result has {call_id}, and no earlier call has that id", provider)
    return {"call": _call(call, provider), "outputs": _outputs(_text(message, provider))}


def _outputs(text: str) -> list[dict[str, Any]]:
    """A result as the list of objects that Cohere requires: the objects in it, or one with its text."""
    try:
        value = _convert.loads(text)
    except ValueError:
        value = None
    if isinstance(value, dict):
        return [value]
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        return value
    return [{"output": text}]
