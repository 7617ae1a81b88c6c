"""
A client's request in Anthropic's Messages: turns of blocks become messages, settings our parameters.

Source: https://platform.claude.com/docs/en/api/messages
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional, Union

from anyllm.types import ContentPart, Message, ToolCall
from anyllm.wire._base.chat_request import ChatRequest, params_of, parted
from anyllm.wire._base.json_values import without_none
from anyllm.wire._base.request_fields import Fields, objects_in, wrong
from anyllm.wire.anthropic_messages.content import read_call, read_part, read_parts, read_thinking, short_parts
from anyllm.wire.anthropic_messages.dialect import AnthropicMessagesDialect as Dialect
from anyllm.wire.anthropic_messages.fields import THINKING, THINKING_BLOCKS, TOOL_USE
from anyllm.wire.anthropic_messages.parameters import has_more, read_params
from anyllm.wire.anthropic_messages.server.writer import AnthropicMessages

__all__ = ["read_messages"]

_ROLES = ("user", "assistant", "system")
#: The keys of a call and of a result that we read; with more, they are Anthropic's own.
_CALL_KEYS = frozenset(("type", "id", "name", "input", "cache_control", "extra_content"))
_RESULT_KEYS = frozenset(("type", "tool_use_id", "content", "is_error", "cache_control"))
#: Fields that do not change the answer.
_IGNORABLE = frozenset(("metadata", "service_tier", "inference_geo", "cache_control", "speed"))

_Blocks = list[tuple[Fields, Mapping[str, Any]]]
_Content = Union[str, list[ContentPart], None]


def read_messages(body: Any) -> ChatRequest:
    """
    A request for a message.

    Raises:
        InvalidRequestError: it cannot be understood.
    """
    fields = Fields(body)
    model, stream = fields.need("model", str), bool(fields.take("stream", bool))
    params, rest = read_params(fields)
    messages = [*_system(fields), *_conversation(fields)]
    unknown_fields, ignorable_fields = parted({**fields.rest(), **rest}, _IGNORABLE)
    return ChatRequest(
        params_of({"model": model, "messages": messages, **params}),
        stream,
        AnthropicMessages(model=model),
        unknown_fields,
        (Dialect,),
        ignorable_fields,
    )


def _system(fields: Fields) -> list[Message]:
    system = fields.take("system", str, list)
    if not system:
        return []
    return [Message.system(system if isinstance(system, str) else short_parts(read_parts(system, "system")))]


def _conversation(fields: Fields) -> list[Message]:
    turns = fields.objects("messages")
    if not turns:
        raise wrong("messages", "messages is missing, or empty")
    return [message for place, (turn, _) in enumerate(turns) for message in _turn(turn, f"messages[{place}]")]


def _turn(turn: Fields, where: str) -> list[Message]:
    role = turn.need("role", str)
    if role not in _ROLES:
        raise wrong(f"{where}.role", f"{where}.role must be user, assistant or system, not {role!r:.80}")
    content = turn.need("content", str, list)
    if isinstance(content, str):
        return [Message(role, content)]
    blocks = objects_in(content, f"{where}.content")
    return _answers(blocks) if role == "assistant" else _inputs(role, blocks)


# -- turns of the user -------------------------------------------------------------------------------------------------


def _inputs(role: str, blocks: _Blocks) -> list[Message]:
    """The messages of a turn: each tool result is one, and so are the parts between results."""
    messages: list[Message] = []
    parts: list[ContentPart] = []
    for block, item in blocks:
        if item.get("type") != "tool_result" or has_more(item, _RESULT_KEYS):
            parts.append(read_part(block, item))
            continue
        if parts:
            messages.append(Message(role, short_parts(parts)))
            parts = []
        messages.append(_result(block))
    return [*messages, Message(role, short_parts(parts))] if parts or not messages else messages


def _result(block: Fields) -> Message:
    call_id, failed = block.need("tool_use_id", str), block.take("is_error", bool)
    content: _Content = block.take("content", str, list)
    if isinstance(content, list):
        content = read_parts(content, "tool_result.content")
    content = _failed(content) if failed else content
    return Message.tool(content, call_id, cache_control=block.take("cache_control", dict))


def _failed(content: _Content) -> _Content:
    """The result of a call that failed. Messages have no flag for that, so the text must mention an error."""
    text = content if isinstance(content, str) else " ".join(part.text or "" for part in content or ())
    if "error" in text.lower():
        return content
    if isinstance(content, list):
        return [ContentPart(text="Error:"), *content]
    return f"Error: {content}" if content else "Error"


# -- turns of the assistant --------------------------------------------------------------------------------------------


def _answers(blocks: _Blocks) -> list[Message]:
    """
    The messages of a turn: one, as long as thinking comes first.

    Thinking after other content begins another, so that its place is not lost. Not after a call, whose result must come
    next.
    """
    answers: list[_Answer] = [_Answer()]
    for block, item in blocks:
        if item.get("type") in THINKING_BLOCKS and answers[-1].parts and not answers[-1].calls:
            answers.append(_Answer())
        answers[-1].add(block, item)
    return [answer.message() for answer in answers]


class _Answer:
    """The blocks of one message of the assistant."""

    def __init__(self) -> None:
        self.parts: list[ContentPart] = []
        self.calls: list[ToolCall] = []
        self._thinking: list[dict[str, Any]] = []
        self._cache_control: Optional[dict[str, Any]] = None  # of the last call that has one

    def add(self, block: Fields, item: Mapping[str, Any]) -> None:
        kind = item.get("type")
        if kind in THINKING_BLOCKS:
            block.need("thinking" if kind == THINKING else "data", str)
            block.take("signature", str)
            self._thinking.append(without_none(item))
        elif kind == TOOL_USE and not has_more(item, _CALL_KEYS):
            self._cache_control = block.take("cache_control", dict) or self._cache_control
            self.calls.append(read_call(block, len(self.calls)))
        else:
            self.parts.append(read_part(block, item))

    def message(self) -> Message:
        return Message.assistant(
            short_parts(self.parts) if self.parts else None,
            tool_calls=tuple(self.calls),
            reasoning=read_thinking(self._thinking),
            cache_control=self._cache_control,
        )
