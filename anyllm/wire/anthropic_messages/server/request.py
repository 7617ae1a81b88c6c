"""
Requests in Anthropic's Messages: turns of blocks become messages, and settings ours where we have such.

Strategy: a block that other hosts have no words for (its own tools' calls and results, files it keeps) stays a part of
Anthropic's own, which its dialect sends as it is and others refuse. A setting that we say only in part is left in
`ChatRequest.unknown_fields` whole, since what is sent beside our parameters replaces a key and does not add to it.

Sources: https://platform.claude.com/docs/en/api/messages,
https://platform.claude.com/docs/en/build-with-claude/extended-thinking,
https://platform.claude.com/docs/en/build-with-claude/structured-outputs
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any, Optional, Union

from anyllm.types import ContentPart, FunctionCall, Message, Reasoning, ToolCall
from anyllm.wire._base.chat_request import ChatRequest, params_of, parted
from anyllm.wire._base.request_fields import Fields, wrong
from anyllm.wire._base.writer import json_bytes
from anyllm.wire.anthropic_messages.dialect import AnthropicMessagesDialect as Dialect
from anyllm.wire.anthropic_messages.server.writer import AnthropicMessages

__all__ = ["read_messages"]

_ROLES = ("user", "assistant", "system")
_CHOICES = {"auto": "auto", "any": "required", "none": "none"}
_THOUGHTS = ("thinking", "redacted_thinking")
#: What may stand in a call, a result and a tool that we have a place for; with more, they are Anthropic's own.
_OF_CALLS = frozenset(("type", "id", "name", "input", "cache_control", "extra_content"))
_OF_RESULTS = frozenset(("type", "tool_use_id", "content", "is_error", "cache_control"))
_OF_TOOLS = frozenset(("type", "name", "description", "input_schema", "strict", "cache_control"))
#: What says of each no more than what is so anyway, or how soon the pieces of a call are sent.
_USUAL: Mapping[str, Sequence[Any]] = {
    "caller": ({"type": "direct"},),
    "allowed_callers": (["direct"],),
    "defer_loading": (False,),
    "eager_input_streaming": (True, False),
}
#: What says nothing of the answer.
_HINTS = frozenset(("metadata", "service_tier", "inference_geo", "cache_control", "speed"))
#: The effort of adaptive thinking that says none.
_EFFORT = "high"


def read_messages(body: Any) -> ChatRequest:
    """
    A request for a message.

    Raises:
        InvalidRequestError: it cannot be understood.
    """
    fields = Fields(body)
    model = fields.need("model", str)
    stream = bool(fields.take("stream", bool))
    given: dict[str, Any] = {
        "model": model,
        "max_tokens": fields.need("max_tokens", int),
        "temperature": fields.take("temperature", float),
        "top_p": fields.take("top_p", float),
        "stop": _stop(fields),
        "messages": [*_system(fields), *_conversation(fields)],
        "tools": [_tool(tool, item) for tool, item in fields.objects("tools")] or None,
    }
    unknown_fields: dict[str, Any] = {}
    for read in (_choice, _user, _thinking_and_output):
        said, left = read(fields)
        given.update(said)
        unknown_fields.update(left)
    wanted = AnthropicMessages(model=model)
    unknown_fields, ignorable_fields = parted({**fields.rest(), **unknown_fields}, _HINTS)
    return ChatRequest(params_of(given), stream, wanted, unknown_fields, (Dialect,), ignorable_fields)


# -- settings: ours, and what is left of Anthropic's -------------------------------------------------------------------

_Settings = tuple[dict[str, Any], dict[str, Any]]


def _stop(fields: Fields) -> Optional[list[str]]:
    texts = fields.take("stop_sequences", list)
    if not all(isinstance(text, str) for text in texts or ()):
        raise wrong("stop_sequences", "stop_sequences must be a list of strings")
    return texts or None


def _choice(fields: Fields) -> _Settings:
    said = fields.take("tool_choice", dict)
    if said is None:
        return {}, {}
    choice = Fields(said, "tool_choice")
    kind = choice.need("type", str)
    ours: dict[str, Any] = {"parallel_tool_calls": False if choice.take("disable_parallel_tool_use", bool) else None}
    if kind == "tool":
        ours["tool_choice"] = {"type": "function", "function": {"name": choice.need("name", str)}}
    elif kind in _CHOICES:
        ours["tool_choice"] = _CHOICES[kind]
    else:
        raise wrong("tool_choice.type", f"tool_choice.type must be auto, any, tool or none, not {kind!r:.80}")
    return ours, {"tool_choice": said} if choice.rest() else {}


def _user(fields: Fields) -> _Settings:
    said = fields.take("metadata", dict) or {}
    metadata = Fields(said, "metadata")
    ours = {"user": metadata.take("user_id", str)}
    return ours, {"metadata": said} if metadata.rest() else {}


def _thinking_and_output(fields: Fields) -> _Settings:
    """How much to think, and in which form to answer, of which each says a part under ``output_config``."""
    thinking_said, output_said = fields.take("thinking", dict) or {}, fields.take("output_config", dict) or {}
    thinking, output = Fields(thinking_said, "thinking"), Fields(output_said, "output_config")
    kind = thinking.need("type", str) if thinking_said else None
    ours: dict[str, Any] = {}
    if kind == "enabled":
        ours["thinking_budget"] = thinking.need("budget_tokens", int)
    elif kind == "disabled":
        ours["thinking_budget"] = 0
    elif kind == "adaptive":
        ours["reasoning_effort"] = output.take("effort", str) or _EFFORT
    is_shown = thinking.take("display", str) in (None, "summarized")
    is_ours = is_shown and kind in (None, "enabled", "disabled", "adaptive")
    wanted, where = output.take("format", dict), "output_config.format"
    if wanted is None:
        wanted, where = fields.take("output_format", dict), "output_format"
    if wanted is not None:
        ours["response_format"] = _format(Fields(wanted, where), where)
    left: dict[str, Any] = {} if is_ours and not thinking.rest() else {"thinking": thinking_said}
    return ours, {**left, "output_config": output_said} if output.rest() else left


def _format(wanted: Fields, where: str) -> dict[str, Any]:
    kind = wanted.need("type", str)
    if kind != "json_schema":
        raise wrong(f"{where}.type", f"{where}.type must be json_schema, not {kind!r:.80}")
    schema = wanted.need("schema", dict)
    return {"type": "json_schema", "json_schema": {"name": wanted.take("name", str) or "answer", "schema": schema}}


def _tool(tool: Fields, item: Mapping[str, Any]) -> Mapping[str, Any]:
    """A function in OpenAI's shape; a tool of Anthropic's own as it is."""
    kind = tool.take("type", str)
    if kind not in (None, "custom") or _has_more(item, _OF_TOOLS):
        return item
    function = {
        "name": tool.need("name", str),
        "description": tool.take("description", str),
        "parameters": tool.need("input_schema", dict),
        "strict": tool.take("strict", bool),
    }
    made: dict[str, Any] = {"type": "function", "function": _without_none(function)}
    cached = tool.take("cache_control", dict)
    return made if cached is None else {**made, "cache_control": cached}


# -- the conversation --------------------------------------------------------------------------------------------------


def _system(fields: Fields) -> list[Message]:
    said = fields.take("system", str, list)
    if not said:
        return []
    if isinstance(said, str):
        return [Message.system(said)]
    return [Message.system(_short([_part(block, item) for block, item in _blocks(said, "system")]))]


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
    blocks = _blocks(content, f"{where}.content")
    return _answers(blocks) if role == "assistant" else _said(role, blocks)


_Blocks = list[tuple[Fields, Mapping[str, Any]]]


def _blocks(content: Sequence[Any], where: str) -> _Blocks:
    return [(Fields(block, f"{where}[{place}]"), block) for place, block in enumerate(content)]


def _said(role: str, blocks: _Blocks) -> list[Message]:
    """A turn of the user's: each result of a call is a message of its own, and so is what stands between them."""
    messages: list[Message] = []
    parts: list[ContentPart] = []
    for block, item in blocks:
        if item.get("type") != "tool_result" or _has_more(item, _OF_RESULTS):
            parts.append(_part(block, item))
            continue
        if parts:
            messages.append(Message(role, _short(parts)))
            parts = []
        messages.append(_result(block))
    return [*messages, Message(role, _short(parts))] if parts or not messages else messages


def _result(block: Fields) -> Message:
    call_id = block.need("tool_use_id", str)
    failed = block.take("is_error", bool)
    content = block.take("content", str, list)
    said: Union[str, list[ContentPart], None] = content
    if isinstance(content, list):
        said = [_part(part, item) for part, item in _blocks(content, "tool_result.content")]
    if failed:
        said = _failed(said)
    return Message.tool(said, call_id, cache_control=block.take("cache_control", dict))


def _failed(said: Union[str, list[ContentPart], None]) -> Union[str, list[ContentPart]]:
    """The result of a call that failed, which a message has no flag for: the words say so, if they do not already."""
    text = said if isinstance(said, str) else " ".join(part.text or "" for part in said or ())
    if "error" in text.lower():
        return said or ""
    if isinstance(said, list):
        return [ContentPart(text="Error:"), *said]
    return f"Error: {said}" if said else "Error"


def _answers(blocks: _Blocks) -> list[Message]:
    """
    A turn of the model's: one message, as long as what it thought comes first.

    What was thought after something was said begins another, so that it stays where it was. Not after a call, whose
    result other hosts want next.
    """
    answers: list[_Answer] = [_Answer()]
    for block, item in blocks:
        if item.get("type") in _THOUGHTS and answers[-1].parts and not answers[-1].calls:
            answers.append(_Answer())
        answers[-1].add(block, item)
    return [answer.message() for answer in answers]


class _Answer:
    """A message of the model's, as it is read."""

    def __init__(self) -> None:
        self.parts: list[ContentPart] = []
        self.calls: list[ToolCall] = []
        self._thoughts: list[dict[str, Any]] = []
        self._cached: Optional[dict[str, Any]] = None  # of the last call

    def add(self, block: Fields, item: Mapping[str, Any]) -> None:
        kind = item.get("type")
        if kind in _THOUGHTS:
            block.need("thinking" if kind == "thinking" else "data", str)
            block.take("signature", str)
            self._thoughts.append(_without_none(item))
        elif kind == "tool_use" and not _has_more(item, _OF_CALLS):
            self._cached = block.take("cache_control", dict) or self._cached
            self.calls.append(_call(block, len(self.calls)))
        else:
            self.parts.append(_part(block, item))

    def message(self) -> Message:
        content = _short(self.parts) if self.parts else None
        return Message.assistant(
            content, tool_calls=tuple(self.calls), reasoning=self._reasoning(), cache_control=self._cached
        )

    def _reasoning(self) -> Optional[Reasoning]:
        """
        What was thought. Blocks that are not signed go back to no host of this format: they are other hosts' thoughts,
        which were given the empty signature that the format asks for.
        """
        if not self._thoughts:
            return None
        kept = [thought for thought in self._thoughts if thought.get("signature") != ""]
        text = "".join(thought.get("thinking") or "" for thought in self._thoughts)
        signature = next((said["signature"] for said in reversed(kept) if said.get("signature")), None)
        return Reasoning(text or None, signature, "thinking" if kept else None, kept or None)


def _call(block: Fields, place: int) -> ToolCall:
    call_id, name, arguments = block.need("id", str), block.need("name", str), block.need("input", dict)
    extra = block.take("extra_content", dict)
    try:
        text = json_bytes(arguments).decode()
    except (RecursionError, ValueError) as exc:
        raise wrong("messages", "the input of a tool_use block is nested too deeply") from exc
    return ToolCall(call_id, FunctionCall(name, text), index=place, extra_content=extra)


# -- the parts of a message --------------------------------------------------------------------------------------------


def _short(parts: Sequence[ContentPart]) -> Union[str, Sequence[ContentPart]]:
    """Text alone as text."""
    if len(parts) == 1 and parts[0] == ContentPart(text=parts[0].text):
        return parts[0].text or ""
    return parts


def _part(block: Fields, item: Mapping[str, Any]) -> ContentPart:
    """A block as a part: text, image and document in OpenAI's shape, whatever else as Anthropic has it."""
    kind = block.need("type", str)
    cached = block.take("cache_control", dict)
    shown: Optional[dict[str, Any]] = None
    if kind == "text":
        shown = {"type": "text", "text": block.need("text", str)}
    elif kind in ("image", "document"):
        shown = _shown(kind, block, item)
    if shown is None:
        known = ("type", "cache_control")
        extra = {key: value for key, value in item.items() if key not in known and value is not None}
        return ContentPart(kind, cache_control=cached, extra=extra or None)
    return ContentPart(**shown, cache_control=cached, extra=block.rest() or None)


def _shown(kind: str, block: Fields, item: Mapping[str, Any]) -> Optional[dict[str, Any]]:
    """An image or a document in OpenAI's shape; None of one that has none there."""
    source = Fields(block.need("source", dict), f"{kind}.source")
    where = source.need("type", str)
    if kind == "image":
        url = _located(where, source)
        return None if url is None else {"type": "image_url", "image_url": {"url": url}}
    if where == "file":
        file = {"file_id": source.need("file_id", str)}
    elif where == "text":
        text = source.need("data", str).encode("utf-8", "replace")
        file = {"file_data": f"data:text/plain;base64,{base64.b64encode(text).decode()}"}
    else:
        url = _located(where, source)
        if url is None:
            return None
        file = {"file_data": url}
    name = block.take("title", str)
    return {"type": "file", "file": {"filename": name, **file} if name else file}


def _located(where: str, source: Fields) -> Optional[str]:
    if where == "url":
        return str(source.need("url", str))
    if where == "base64":
        return f"data:{source.need('media_type', str)};base64,{source.need('data', str)}"
    return None


def _has_more(item: Mapping[str, Any], known: frozenset[str]) -> bool:
    """Whether something stands there that we have no place for, and that says more than what is so anyway."""
    unknown_fields = ((key, value) for key, value in item.items() if key not in known and value is not None)
    return any(value not in _USUAL.get(key, ()) for key, value in unknown_fields)


def _without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}
