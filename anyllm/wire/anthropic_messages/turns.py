"""
The conversation in Anthropic's JSON: a system prompt, and turns of user and assistant that are lists of blocks.

Sources: https://platform.claude.com/docs/en/api/messages,
https://platform.claude.com/docs/en/agents-and-tools/tool-use/implement-tool-use (results),
https://platform.claude.com/docs/en/build-with-claude/extended-thinking (what must be sent back)
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from anyllm.errors import InvalidRequestError, UnsupportedParameterError
from anyllm.types import Message, ToolCall
from anyllm.wire._base.conversation import arguments_of, lift_system
from anyllm.wire.anthropic_messages.content_parts import block_of
from anyllm.wire.anthropic_messages.reasoning import blocks_to_send_back

Block = dict[str, Any]

#: How the roles of messages are called here; the older "function" is a tool.
_ROLES = {"user": "user", "assistant": "assistant", "tool": "user", "function": "user"}


def system_in(messages: Iterable[Message], provider: str) -> dict[str, Any]:
    """
    The ``system`` key for all that the model is told before the conversation; empty when that is nothing.

    Raises:
        UnsupportedParameterError: it is more than text.
    """
    system, _ = lift_system(messages)
    blocks = [block for message in system for block in _content(message, provider) if block.get("text") != ""]
    if any(block.get("type") != "text" for block in blocks):
        raise UnsupportedParameterError(
            "a system message can only be text for this host", provider=provider, param="messages"
        )
    if not blocks:
        return {}
    if all(block.keys() == {"type", "text"} for block in blocks):
        return {"system": "\n\n".join(block["text"] for block in blocks)}
    return {"system": blocks}


def turns_in(messages: Iterable[Message], provider: str) -> list[dict[str, Any]]:
    """
    The turns, in which user and assistant alternate: messages of one role in a row are one turn.

    An assistant's message that says nothing is left out: models end with one after some tool results, and refuse
    to have it sent back.

    Raises:
        InvalidRequestError: a message has a role, a part or a call that cannot be sent.
        UnsupportedParameterError: a message holds what this host does not take.
    """
    turns: list[dict[str, Any]] = []
    for message in lift_system(messages)[1]:
        role = _ROLES.get(message.role)
        if role is None:
            raise _wrong(f"a message cannot have the role {message.role!r}", provider)
        blocks = _blocks(message, provider)
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += blocks
        elif blocks:
            turns.append({"role": role, "content": blocks})
    return [{**turn, "content": _short(turn["content"])} for turn in turns]


def _short(blocks: list[Block]) -> str | list[Block]:
    """Text alone is sent as text."""
    if len(blocks) == 1 and blocks[0].keys() == {"type", "text"} and blocks[0]["type"] == "text":
        return str(blocks[0]["text"])
    return blocks


def _blocks(message: Message, provider: str) -> list[Block]:
    if message.role == "assistant":
        return _assistant(message, provider)
    if message.role == "user":
        return _content(message, provider)
    return [_result(message, provider)]


def _assistant(message: Message, provider: str) -> list[Block]:
    """
    An earlier answer: what was thought, what was said, what was called, in the order that is asked for.

    Text without a word in it is left out: models write it before calls, and refuse to have it sent back.
    """
    said = [block for block in _content(message, provider) if block.get("type") != "text" or block["text"].strip()]
    if message.refusal:
        said.append({"type": "text", "text": message.refusal})
    calls = [_call(call, provider) for call in message.tool_calls]
    blocks = said + calls
    if message.cache_control is not None:
        _mark(blocks, message)
    return blocks_to_send_back(message.reasoning) + blocks


def _content(message: Message, provider: str) -> list[Block]:
    """The blocks of a message's content; of a message to be cached, the last one says so."""
    if message.name is not None:
        raise UnsupportedParameterError(
            "name is not something this host takes: write it into the content", provider=provider, param="name"
        )
    content = message.content
    if isinstance(content, str):
        blocks = [{"type": "text", "text": content}]
    else:
        blocks = [block_of(part, provider) for part in content or ()]
    if message.cache_control is not None and message.role != "assistant":
        _mark(blocks, message)
    return blocks


def _mark(blocks: Sequence[Block], message: Message) -> None:
    if blocks:
        blocks[-1].setdefault("cache_control", message.cache_control)


def _call(call: ToolCall, provider: str) -> Block:
    if not call.id or not call.name:
        raise _wrong("an earlier tool call has no id or no name", provider)
    return {"type": "tool_use", "id": _id(call.id), "name": call.name, "input": arguments_of(call, provider)}


def _result(message: Message, provider: str) -> Block:
    """The result of a call. Its ``name`` repeats the call's, and is not needed."""
    if not message.tool_call_id:
        raise _wrong("the result of a tool call has no tool_call_id", provider)
    block: Block = {"type": "tool_result", "tool_use_id": _id(message.tool_call_id)}
    content = message.content
    if content is not None:
        block["content"] = content if isinstance(content, str) else [block_of(part, provider) for part in content]
    if message.cache_control is not None:
        block["cache_control"] = message.cache_control
    return block


def _id(call_id: str) -> str:
    """An id as this host takes it. Those of other hosts, from earlier in the conversation, may hold dots and colons."""
    return re.sub(r"[^a-zA-Z0-9_-]", "_", call_id)


def _wrong(what: str, provider: str) -> InvalidRequestError:
    return InvalidRequestError(what, provider=provider, param="messages")
