"""
Parts in both directions: text, media, function calls and their results.

Keys that only Google's parts have are in `ContentPart.extra`: this format sends them as they are, others refuse them.
``cache_control`` and ``detail`` have no place there. Keys of a client's request are read in camelCase, and in the
snake_case that some clients send.

Functions that write raise InvalidRequestError for content that cannot be sent; functions that read, for a malformed
part.

Sources: https://ai.google.dev/api/caching#Part, https://ai.google.dev/gemini-api/docs/file-input-methods
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from anyllm.errors import AnyLLMError
from anyllm.types import ContentPart, FunctionCall, Message, ToolCall, _convert
from anyllm.wire._base.conversation import Media, media_in
from anyllm.wire._base.encode_json import invalid, unsupported
from anyllm.wire._base.json_values import json_object, text
from anyllm.wire._base.request_fields import Fields, wrong

#: The roles of messages that are results of functions.
RESULT_ROLES = ("tool", "function")
#: Media types by the suffix of a URL, of the types that Google accepts and does not look up itself.
_TYPES = {
    **{kind: f"image/{kind}" for kind in ("png", "jpeg", "webp", "heic", "heif", "gif")},
    **{kind: f"audio/{kind}" for kind in ("wav", "aiff", "aac", "ogg", "flac")},
    **{kind: f"video/{kind}" for kind in ("mp4", "mpeg", "mpg", "webm", "wmv")},
    **{kind: f"text/{kind}" for kind in ("html", "css", "csv", "xml", "rtf")},
    "jpg": "image/jpeg",
    "mp3": "audio/mpeg",
    "mov": "video/quicktime",
    "pdf": "application/pdf",
    "txt": "text/plain",
    "md": "text/markdown",
    "json": "application/json",
}
#: Formats of audio with another name in our messages.
_AUDIO_FORMATS = {"mpeg": "mp3", "x-wav": "wav"}
_GENERATED_ID = re.compile(r"call_\d+")
_SNAKE = re.compile(r"_([a-z0-9])")

# -- objects of a client's request -------------------------------------------------------------------------------------


class GoogleFields(Fields):
    """The keys of an object as Google writes them, which win over the same keys in snake_case."""

    def __init__(self, body: Any, where: str = "") -> None:
        if isinstance(body, Mapping):
            own = {key: item for key, item in body.items() if item is not None and key == camel_case(key)}
            body = {**{camel_case(key): item for key, item in body.items()}, **own}
        super().__init__(body, where)


def camel_case(key: str) -> str:
    """A key as Google writes it."""
    return _SNAKE.sub(lambda found: found[1].upper(), key)


def parts_in(fields: Fields, where: str) -> Iterator[Fields]:
    """The parts of a content, which may have no other keys."""
    for place, part in enumerate(fields.take("parts", list) or ()):
        yield GoogleFields(part, f"{where}.parts[{place}]")
    refuse_rest(fields, where)


def refuse_rest(fields: Fields, where: str) -> None:
    """Refuse keys that a message has no place for."""
    rest = fields.rest()
    if rest:
        raise wrong(f"{where}.{next(iter(rest))}", f"{where}: {', '.join(rest)[:200]} cannot be passed on")


# -- text and media ----------------------------------------------------------------------------------------------------


def write_parts(message: Message, provider: str) -> list[dict[str, Any]]:
    """The parts of a message's content."""
    if message.name is not None and message.role not in RESULT_ROLES:
        reason = "the provider does not support the parameter name: write it into the content"
        raise unsupported("name", reason, provider)
    if isinstance(message.content, str):
        return [{"text": message.content}]
    return [_write_part(part, provider) for part in message.content or ()]


def read_part(fields: Fields, signature: str | None = None) -> dict[str, Any]:
    """A part in OpenAI's shape; keys that it does not have stay Google's own."""
    part: dict[str, Any]
    if (content := fields.take("text", str)) is not None:
        part = {"type": "text", "text": content}
    elif (blob := fields.take("inlineData", dict)) is not None:
        part = _read_blob(GoogleFields(blob, "inlineData"))
    elif (file := fields.take("fileData", dict)) is not None:
        part = _read_file(GoogleFields(file, "fileData"))
    elif rest := fields.rest():
        part = {"type": next(iter(rest))}
    else:
        raise wrong("contents", "a part of the contents holds nothing")
    extra = {**part.pop("extra", {}), **fields.rest(), **({"thoughtSignature": signature} if signature else {})}
    return {**part, "extra": extra} if extra else part


def _write_part(part: ContentPart, provider: str) -> dict[str, Any]:
    media = media_in(part, provider)
    if media is not None:
        body = _write_media(media)
    elif part.text is not None:
        body = {"text": part.text}
    elif part.extra:
        body = {}
    else:
        raise invalid("messages", f"the provider does not support parts of type {part.type!r}", provider)
    return {**body, **(part.extra or {})}


def _write_media(media: Media) -> dict[str, Any]:
    if media.base64 is not None:
        return {"inlineData": {"mimeType": media.media_type, "data": media.base64}}
    uri = media.url or media.file_id or ""
    return {"fileData": _file_data(media.media_type or _type_of(uri), uri)}


def _read_blob(fields: Fields) -> dict[str, Any]:
    kind, data = fields.need("mimeType", str), fields.need("data", str)
    name = fields.take("displayName", str)
    refuse_rest(fields, "inlineData")
    data = data.replace("-", "+").replace("_", "/")  # Google accepts, and its clients send, base64 for URLs
    data += "=" * (-len(data) % 4)
    url = f"data:{kind};base64,{data}"
    if kind.startswith("image/"):
        return {"type": "image_url", "image_url": {"url": url}}
    if kind.startswith("audio/"):
        form = kind[len("audio/") :]
        return {"type": "input_audio", "input_audio": {"data": data, "format": _AUDIO_FORMATS.get(form, form)}}
    return {"type": "file", "file": {"file_data": url, **({"filename": name} if name else {})}}


def _read_file(fields: Fields) -> dict[str, Any]:
    """A file by its URL; Google's own form goes along where ours loses its type, which its URL does not show."""
    url, kind = fields.need("fileUri", str), fields.take("mimeType", str)
    fields.take("displayName", str)
    refuse_rest(fields, "fileData")
    if (kind or _type_of(url) or "").startswith("image/"):
        part: dict[str, Any] = {"type": "image_url", "image_url": {"url": url}}
    else:
        part = {"type": "file", "file": {"file_data": url}}
    own = {"fileData": _file_data(kind, url)}
    try:
        is_same = _write_part(ContentPart(**part), "") == own
    except AnyLLMError:
        is_same = False
    return part if is_same else {**part, "extra": own}


def _file_data(kind: str | None, uri: str) -> dict[str, Any]:
    return {**({"mimeType": kind} if kind else {}), "fileUri": uri}


def _type_of(uri: str) -> str | None:
    """The media type that a URL's suffix shows; None if it shows none."""
    try:
        path = urlsplit(uri).path
    except ValueError:  # a URL that is malformed, which is the provider's to refuse
        return None
    return _TYPES.get(path.rpartition(".")[2].lower())


# -- function calls, and their results ---------------------------------------------------------------------------------


def is_generated_id(call_id: str | None) -> bool:
    """Whether we generated *call_id*, because the provider sent none; such ids are not sent."""
    return not call_id or _GENERATED_ID.fullmatch(call_id) is not None


def write_call(call: ToolCall, arguments: Mapping[str, Any], *, with_id: bool) -> dict[str, Any]:
    """The part of a call, with its signature."""
    function = {**({"id": call.id} if with_id else {}), "name": call.name or "", "args": arguments}
    signature = text(json_object((call.extra_content or {}).get("google")).get("thought_signature"))
    return {"functionCall": function, **({"thoughtSignature": signature} if signature else {})}


def signed_call(call_id: str | None, function: FunctionCall, index: int, signature: str | None) -> ToolCall:
    """A fragment of a call, with its signature where Google's OpenAI-compatible endpoint has it."""
    extra = {"google": {"thought_signature": signature}} if signature else None
    return ToolCall(call_id, function, index=index, extra_content=extra)


def write_result(content: str) -> dict[str, Any]:
    """A result, which must be an object: any other text becomes one."""
    value = _object_or_none(content)
    return {"result": content} if value is None else value


def read_result(response: Mapping[str, Any]) -> str:
    """A result as text, which may stand in an object."""
    content = response.get("result")
    if len(response) == 1 and isinstance(content, str) and _object_or_none(content) is None:
        return content
    return _convert.json_bytes(response).decode()


def _object_or_none(content: str) -> dict[str, Any] | None:
    try:
        value = _convert.loads(content)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
