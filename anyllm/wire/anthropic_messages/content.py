"""
Content blocks in both directions: parts of messages (text, images, documents), tool calls, thinking.

A block that only Anthropic's format has (results of its own tools, files it stores) is a part of the same type whose
keys are in `ContentPart.extra`: this format sends it as it is, others refuse it.

Functions that write for a provider raise UnsupportedParameterError for media that it does not support, and all raise
InvalidRequestError for a part or a block that does not have the shape of its type.

Sources: https://platform.claude.com/docs/en/build-with-claude/vision,
https://platform.claude.com/docs/en/build-with-claude/pdf-support, https://platform.claude.com/docs/en/build-with-claude/files,
https://platform.claude.com/docs/en/build-with-claude/extended-thinking#preserving-thinking-blocks
"""

from __future__ import annotations

import base64
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from anyllm.errors import InvalidRequestError
from anyllm.types import ContentPart, FunctionCall, Message, Reasoning, ToolCall
from anyllm.wire._base.block_turns import Block
from anyllm.wire._base.conversation import Media, media_in
from anyllm.wire._base.encode_json import unsupported
from anyllm.wire._base.json_values import without_none
from anyllm.wire._base.request_fields import Fields, objects_in, wrong
from anyllm.wire._base.writer import json_bytes
from anyllm.wire.anthropic_messages.fields import NUMBER, REDACTED, TEXT, THINKING, THINKING_BLOCKS, TOOL_USE

_PDF = "application/pdf"

# -- parts of messages -------------------------------------------------------------------------------------------------


def part_block(part: ContentPart, provider: str) -> Block:
    """The block of a part."""
    media = media_in(part, provider)
    if media is not None:
        block = _media_block(media, provider)
    elif part.text is not None or part.type == TEXT:
        block = {"type": part.type, "text": part.text or ""}
    else:
        block = {"type": part.type}
    if part.cache_control is not None:
        block["cache_control"] = part.cache_control
    return {**block, **(part.extra or {})}


def read_part(block: Fields, item: Mapping[str, Any]) -> ContentPart:
    """The part of a block, *item*."""
    kind = block.need("type", str)
    cached = block.take("cache_control", dict)
    shape: dict[str, Any] | None = None
    if kind == TEXT:
        shape = {"type": TEXT, "text": block.need("text", str)}
    elif kind in ("image", "document"):
        shape = _read_media(kind, block)
    if shape is not None:
        return ContentPart(**shape, cache_control=cached, extra=block.rest() or None)
    extra = without_none({key: value for key, value in item.items() if key not in ("type", "cache_control")})
    return ContentPart(kind, cache_control=cached, extra=extra or None)


def read_parts(content: Sequence[Any], where: str) -> list[ContentPart]:
    """The parts of a list of blocks."""
    return [read_part(block, item) for block, item in objects_in(content, where)]


def short_parts(parts: Sequence[ContentPart]) -> str | Sequence[ContentPart]:
    """A single part of text as text."""
    return parts[0].text or "" if len(parts) == 1 and parts[0] == ContentPart(text=parts[0].text) else parts


def _media_block(media: Media, provider: str) -> Block:
    if media.kind == "audio":
        raise unsupported("input_audio", "input_audio is not supported", provider)
    if media.kind == "image" or (media.media_type or "").startswith("image/"):
        return {"type": "image", "source": _source(media)}
    is_text = media.base64 is not None and media.media_type != _PDF
    source = _text_source(media, provider) if is_text else _source(media)
    return {"type": "document", "source": source, **({"title": media.name} if media.name else {})}


def _source(media: Media) -> Block:
    if media.file_id is not None:
        return {"type": "file", "file_id": media.file_id}
    if media.url is not None:
        return {"type": "url", "url": media.url}
    return {"type": "base64", "media_type": media.media_type, "data": media.base64}


def _text_source(media: Media, provider: str) -> Block:
    kind = media.media_type or ""
    if not kind.startswith("text/"):
        why = f"a file of type {media.media_type} is not supported: only PDF, text and images are"
        raise unsupported("file", why, provider)
    try:
        text = base64.b64decode(media.base64 or "").decode()
    except UnicodeDecodeError as exc:
        raise InvalidRequestError(f"a file of type {kind} is not UTF-8 text", provider=provider, param="file") from exc
    return {"type": "text", "media_type": "text/plain", "data": text}


def _read_media(kind: str, block: Fields) -> dict[str, Any] | None:
    """An image or a document in OpenAI's shape; None where that has none for its source."""
    source = Fields(block.need("source", dict), f"{kind}.source")
    where, url = source.need("type", str), None
    if where == "url":
        url = source.need("url", str)
    elif where == "base64":
        url = f"data:{source.need('media_type', str)};base64,{source.need('data', str)}"
    if kind == "image":
        return None if url is None else {"type": "image_url", "image_url": {"url": url}}
    if where == "file":
        file = {"file_id": source.need("file_id", str)}
    elif where == "text":
        text = source.need("data", str).encode("utf-8", "replace")
        file = {"file_data": f"data:text/plain;base64,{base64.b64encode(text).decode()}"}
    elif url is not None:
        file = {"file_data": url}
    else:
        return None
    name = block.take("title", str)
    return {"type": "file", "file": {"filename": name, **file} if name else file}


# -- tool calls --------------------------------------------------------------------------------------------------------


def call_block(call: ToolCall, arguments: dict[str, Any]) -> Block:
    """The block of a tool call for a client, with what must be sent back with it."""
    more = without_none({"extra_content": call.extra_content})
    return {"type": TOOL_USE, "id": call.id or new_id("toolu"), "name": call.name or "", **more, "input": arguments}


def read_call(block: Fields, index: int) -> ToolCall:
    """The tool call of a block."""
    call_id, name, arguments = block.need("id", str), block.need("name", str), block.need("input", dict)
    extra = block.take("extra_content", dict)
    try:
        text = json_bytes(arguments).decode()
    except (RecursionError, ValueError) as exc:
        raise wrong("messages", "the input of a tool_use block is nested too deeply") from exc
    return ToolCall(call_id, FunctionCall(name, text), index=index, extra_content=extra)


# -- answers for clients -----------------------------------------------------------------------------------------------


def answer_blocks(message: Message) -> list[Block]:
    """
    The blocks of a whole answer. Arguments of a call that are no object stand in one, as Anthropic wants them back.

    Source: https://platform.claude.com/docs/en/agents-and-tools/tool-use/fine-grained-tool-streaming
    """
    check_audio(message.audio)
    texts = [text_block(text) for text in (message.text, message.refusal) if text]
    return [*thinking_for_client(message.reasoning), *texts, *map(_whole_call, message.tool_calls)]


def text_block(text: str) -> Block:
    """A block of text."""
    return {"type": TEXT, "text": text}


def _whole_call(call: ToolCall) -> Block:
    try:
        return call_block(call, call.parse())
    except ValueError:
        return call_block(call, {"INVALID_JSON": call.arguments})


def new_id(prefix: str) -> str:
    """An id for an answer or a call that has none."""
    return f"{prefix}_{uuid.uuid4().hex}"


def check_audio(audio: Any) -> None:
    """Refuse audio, which the format does not have."""
    if audio is not None:
        raise InvalidRequestError("Anthropic's format has no audio", param="audio")


# -- thinking ----------------------------------------------------------------------------------------------------------


def read_thinking(blocks: Sequence[Block]) -> Reasoning | None:
    """
    The reasoning of an earlier answer.

    Blocks with an empty signature are another provider's reasoning, written for a client of this format. No provider of
    this format accepts them, so only their text is read.
    """
    if not blocks:
        return None
    signed = [block for block in blocks if block.get("signature") != ""]
    text = "".join(block.get("thinking") or "" for block in blocks)
    signature = next((block["signature"] for block in reversed(signed) if block.get("signature")), None)
    return Reasoning(text or None, signature, THINKING if signed else None, signed or None)


def thinking_for_provider(reasoning: Reasoning | None) -> list[Block]:
    """
    The blocks to send back with an earlier answer.

    Reasoning of another format, and text that is not signed, are left out: the provider accepts only its own.
    """
    if reasoning is None or reasoning.field not in (None, THINKING):
        return []
    if reasoning.details:
        return own_details(reasoning)
    return [_thinking_block(reasoning)] if reasoning.signature else []


def thinking_for_client(reasoning: Reasoning | None) -> list[Block]:
    """The blocks of an answer for a client, which expects a signature in each; "" where there is none."""
    if reasoning is None:
        return []
    if details := own_details(reasoning):
        return [detail if detail["type"] == REDACTED else {"signature": "", **detail} for detail in details]
    return [_thinking_block(reasoning)] if reasoning.content or reasoning.signature else []


def own_details(reasoning: Reasoning) -> list[Block]:
    """The details that are blocks of this format, as blocks."""
    own = [detail for detail in reasoning.details or () if detail.get("type") in THINKING_BLOCKS]
    return [{key: value for key, value in detail.items() if key != NUMBER} for detail in own]


def _thinking_block(reasoning: Reasoning) -> Block:
    return {"type": THINKING, "thinking": reasoning.content or "", "signature": reasoning.signature or ""}
