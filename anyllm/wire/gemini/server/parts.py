"""
The parts of a client's request in Google's format, as the parts of our messages.

Source: https://ai.google.dev/api/caching#Part
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Optional

from anyllm.errors import AnyLLMError
from anyllm.types import Message, _convert
from anyllm.types._convert import json_bytes
from anyllm.wire._base.request_fields import Fields, wrong
from anyllm.wire.gemini.content import contents_in_json

__all__ = ["GoogleFields", "content_part", "parts_in", "refuse_rest", "result_text"]

#: Kinds of sound with another name in our messages.
_SOUNDS = {"mpeg": "mp3", "x-wav": "wav"}
#: Suffixes of the URLs of images.
_IMAGES = (".png", ".jpg", ".jpeg", ".gif", ".webp", ".heic", ".heif")
_SNAKE = re.compile(r"_([a-z0-9])")


def _camel(value: Any) -> dict[str, Any]:
    """An object with its keys as Google writes them, which win over the same keys in snake_case."""
    made: dict[str, Any] = {}
    for key, item in value.items():
        name = _SNAKE.sub(lambda found: found[1].upper(), key)
        if name == key or made.get(name) is None:
            made[name] = item
    return made


class GoogleFields(Fields):
    """The keys of an object as Google writes them, and in the snake_case of some clients."""

    def __init__(self, body: Any, where: str = "") -> None:
        super().__init__(_camel(body) if isinstance(body, Mapping) else body, where)


def parts_in(fields: Fields, where: str) -> Iterator[Fields]:
    """The parts of a content, which may have no other keys."""
    for place, part in enumerate(fields.take("parts", list) or ()):
        yield GoogleFields(part, f"{where}.parts[{place}]")
    if not where.startswith("functionResponse"):
        refuse_rest(fields, where)


def refuse_rest(fields: Fields, where: str) -> None:
    """Refuse keys that a message has no place for."""
    rest = fields.rest()
    if rest:
        raise wrong(f"{where}.{next(iter(rest))}", f"{where}: {', '.join(rest)[:200]} cannot be passed on")


def content_part(fields: Fields, signature: Optional[str] = None) -> dict[str, Any]:
    """A part in OpenAI's shape; keys that it does not have stay Google's own."""
    text = fields.take("text", str)
    blob = fields.take("inlineData", dict) if text is None else None
    file = fields.take("fileData", dict) if text is None and blob is None else None
    extra = fields.rest()
    if signature:
        extra["thoughtSignature"] = signature
    if text is not None:
        part = {"type": "text", "text": text}
    elif blob is not None:
        part = _blob(GoogleFields(blob, "inlineData"))
    elif file is not None:
        part = _file(GoogleFields(file, "fileData"))
    elif extra:
        part = {"type": next(iter(extra))}
    else:
        raise wrong("contents", "a part of the contents holds nothing")
    extra = {**part.pop("extra", {}), **extra}
    return {**part, "extra": extra} if extra else part


def _blob(fields: Fields) -> dict[str, Any]:
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
        return {"type": "input_audio", "input_audio": {"data": data, "format": _SOUNDS.get(form, form)}}
    return {"type": "file", "file": {"file_data": url, **({"filename": name} if name else {})}}


def _file(fields: Fields) -> dict[str, Any]:
    url, kind = fields.need("fileUri", str), fields.take("mimeType", str)
    fields.take("displayName", str)
    refuse_rest(fields, "fileData")
    path = url.partition("?")[0].lower()
    if (kind or "").startswith("image/") or (not kind and path.endswith(_IMAGES)):
        part: dict[str, Any] = {"type": "image_url", "image_url": {"url": url}}
    else:
        part = {"type": "file", "file": {"file_data": url}}
    own = {"fileData": {**({"mimeType": kind} if kind else {}), "fileUri": url}}
    return part if _as_sent(part) == own else {**part, "extra": own}


def _as_sent(part: Mapping[str, Any]) -> Any:
    """The part that we would send to Google for *part*; a type that its URL does not show would be lost."""
    try:
        return contents_in_json([Message.user([part])], "")["contents"][0]["parts"][0]
    except AnyLLMError:
        return None


def result_text(response: Mapping[str, Any]) -> str:
    """A result as text; Google accepts objects only, so a text stands in one."""
    text = response.get("result")
    if len(response) == 1 and isinstance(text, str):
        try:
            is_object = isinstance(_convert.loads(text), dict)
        except ValueError:
            is_object = False
        if not is_object:
            return text
    return json_bytes(response).decode()
