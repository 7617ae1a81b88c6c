"""
The conversation in Converse's JSON: a system prompt, and turns of user and assistant that are lists of blocks.

Sources: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Message.html,
https://docs.aws.amazon.com/bedrock/latest/userguide/tool-use-inference-call.html (results)
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from anyllm.errors import InvalidRequestError, UnsupportedParameterError
from anyllm.types import Message, ToolCall
from anyllm.wire._base.conversation import arguments_of, lift_system
from anyllm.wire.bedrock_converse.content_parts import Block, blocks_of, cache_point, tell_apart
from anyllm.wire.bedrock_converse.reasoning import blocks_to_send_back

#: How the roles of messages are called here; the older "function" is a tool.
_ROLES = {"user": "user", "assistant": "assistant", "tool": "user", "function": "user"}
#: What a system prompt may hold beside text.
_SYSTEM = {"text", "cachePoint", "guardContent"}


def system_in(messages: Iterable[Message], provider: str) -> dict[str, Any]:
    """
    The ``system`` key for all that the model is told before the conversation; empty when that is nothing.

    Raises:
        UnsupportedParameterError: it is more than text.
    """
    system, _ = lift_system(messages)
    blocks = [block for message in system for block in _content(message, provider) if not _is_blank(block)]
    if any(not _SYSTEM.issuperset(block) for block in blocks):
        raise UnsupportedParameterError(
            "a system message can only be text for this host", provider=provider, param="messages"
        )
    return {"system": blocks} if blocks else {}


def turns_in(messages: Iterable[Message], provider: str) -> list[dict[str, Any]]:
    """
    The turns, in which user and assistant alternate: messages of one role in a row are one turn.

    An assistant's message that says nothing is left out: models end with one after some tool results, and refuse to
    have it sent back.

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
    names: set[str] = set()
    return [{**turn, "content": tell_apart(turn["content"], names)} for turn in turns]


def _blocks(message: Message, provider: str) -> list[Block]:
    if message.role == "assistant":
        return _assistant(message, provider)
    if message.role == "user":
        return _content(message, provider)
    return _result(message, provider)


def _assistant(message: Message, provider: str) -> list[Block]:
    """
    An earlier answer: what was thought, what was said, what was called, in the order that is asked for.

    Text without a word in it is left out: models write it before calls, and refuse to have it sent back.
    """
    said = [block for block in _content(message, provider) if not _is_blank(block)]
    if message.refusal:
        said.append({"text": message.refusal})
    called = [_call(call, provider) for call in message.tool_calls]
    thought = blocks_to_send_back(message.reasoning)
    cached = cache_point(message.cache_control) if called or said else []
    return [*thought, *said, *called, *cached]


def _content(message: Message, provider: str) -> list[Block]:
    """The blocks of a message's content; of a message to be cached, the last one says so."""
    if message.name is not None:
        raise UnsupportedParameterError(
            "name is not something this host takes: write it into the content", provider=provider, param="name"
        )
    blocks = _shown(message, provider)
    return blocks if message.role == "assistant" else [*blocks, *_cached(message, blocks)]


def _shown(message: Message, provider: str) -> list[Block]:
    content = message.content
    if isinstance(content, str):
        return [{"text": content}]
    return [block for part in content or () for block in blocks_of(part, provider)]


def _cached(message: Message, blocks: list[Block]) -> list[Block]:
    """The cache point that a message asks for, unless its last part did already."""
    return [] if not blocks or "cachePoint" in blocks[-1] else cache_point(message.cache_control)


def _call(call: ToolCall, provider: str) -> Block:
    if not call.id or not call.name:
        raise _wrong("an earlier tool call has no id or no name", provider)
    return {"toolUse": {"toolUseId": _id(call.id), "name": call.name, "input": arguments_of(call, provider)}}


def _result(message: Message, provider: str) -> list[Block]:
    """The result of a call, and the cache point after it. Its ``name`` repeats the call's, and is not needed."""
    if not message.tool_call_id:
        raise _wrong("the result of a tool call has no tool_call_id", provider)
    blocks = [block for block in _shown(message, provider) if not _is_blank(block)]
    shown = [block for block in blocks if "cachePoint" not in block]
    points = [block for block in blocks if "cachePoint" in block] or cache_point(message.cache_control)
    return [{"toolResult": {"toolUseId": _id(message.tool_call_id), "content": shown}}, *points[-1:]]


def _is_blank(block: Block) -> bool:
    """Whether it is text without a word in it, which the host refuses."""
    return block.keys() == {"text"} and not str(block["text"]).strip()


def _id(call_id: str) -> str:
    """An id as this host takes it. Those of other hosts, from earlier in the conversation, may hold other signs."""
    return re.sub(r"[^a-zA-Z0-9_-]", "_", call_id)


def _wrong(what: str, provider: str) -> InvalidRequestError:
    return InvalidRequestError(what, provider=provider, param="messages")
