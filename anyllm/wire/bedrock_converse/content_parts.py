"""
The parts of a message as Converse's content blocks: text, images, documents, videos.

Source: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ContentBlock.html
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from anyllm.errors import InvalidRequestError, UnsupportedParameterError
from anyllm.types import ContentPart
from anyllm.wire._base.conversation import Media, media_in

Block = dict[str, Any]

_OPENXML = "application/vnd.openxmlformats-officedocument"

#: What kind of block a media type is, and its format there.
_FORMATS = {
    **{f"image/{name}": ("image", name) for name in ("png", "jpeg", "gif", "webp")},
    "image/jpg": ("image", "jpeg"),
    "application/pdf": ("document", "pdf"),
    "application/msword": ("document", "doc"),
    f"{_OPENXML}.wordprocessingml.document": ("document", "docx"),
    "application/vnd.ms-excel": ("document", "xls"),
    f"{_OPENXML}.spreadsheetml.sheet": ("document", "xlsx"),
    "text/csv": ("document", "csv"),
    "text/html": ("document", "html"),
    "text/markdown": ("document", "md"),
    "text/plain": ("document", "txt"),
    **{f"video/{name}": ("video", name) for name in ("mp4", "webm", "mpeg")},
    "video/quicktime": ("video", "mov"),
    "video/x-matroska": ("video", "mkv"),
    "video/x-flv": ("video", "flv"),
    "video/x-ms-wmv": ("video", "wmv"),
    "video/3gpp": ("video", "three_gp"),
}
#: The same by the ending of a file's name, for files that lie at AWS, or that are of no type that is known.
_ENDINGS = {form: (kind, form) for kind, form in _FORMATS.values()}
_ENDINGS.update({"jpg": ("image", "jpeg"), "3gp": ("video", "three_gp"), "mpg": ("video", "mpg")})

_TEXT = ("document", "txt")
_NAMELESS = "document"


def blocks_of(part: ContentPart, provider: str) -> list[Block]:
    """
    The block for *part*, and the cache point after it; a block that only Converse knows is sent as it is.

    Raises:
        UnsupportedParameterError: it shows what this host cannot be shown.
        InvalidRequestError: it is not what it says to be.
    """
    media = media_in(part, provider)
    block = _native(part, provider) if media is None else {**_shown(media, provider), **(part.extra or {})}
    return [block, *cache_point(part.cache_control)]


def cache_point(cache_control: Mapping[str, Any] | None) -> list[Block]:
    """What says that all before it is to be cached; nothing where nobody asked for that."""
    if cache_control is None:
        return []
    ttl = cache_control.get("ttl")
    return [{"cachePoint": {"type": "default", **({"ttl": ttl} if ttl is not None else {})}}]


def tell_apart(blocks: Iterable[Any], names: set[str]) -> list[Any]:
    """*blocks* with documents numbered that have a name of *names*, or one another's: the host takes each once."""
    return [_told_apart(block, names) for block in blocks]


def _told_apart(block: Any, names: set[str]) -> Any:
    if not isinstance(block, dict):
        return block
    result, document = block.get("toolResult"), block.get("document")
    if isinstance(result, dict) and isinstance(result.get("content"), (list, tuple)):
        return {**block, "toolResult": {**result, "content": tell_apart(result["content"], names)}}
    if not isinstance(document, dict) or not isinstance(document.get("name"), str):
        return block
    name, count = document["name"], 1
    while name in names:
        count += 1
        name = f"{document['name']} {count}"
    names.add(name)
    return {**block, "document": {**document, "name": name}}


def _native(part: ContentPart, provider: str) -> Block:
    if part.type == "text":
        text = part.text if part.text is not None or part.extra else ""
        return {**({} if text is None else {"text": text}), **(part.extra or {})}
    if not part.extra:
        raise InvalidRequestError(
            f"a part of type {part.type!r} is nothing that this host knows", provider=provider, param="messages"
        )
    return dict(part.extra)


def _shown(media: Media, provider: str) -> Block:
    if media.kind == "audio":
        raise _refused("input_audio is not something this host takes", "input_audio", provider)
    param = "image_url" if media.kind == "image" else "file"
    if media.file_id is not None:
        raise _refused("file_id is not something this host takes: send the file", "file", provider)
    source = _source(media, param, provider)
    found = _format_of(media)
    if found is None:
        what = media.media_type or media.url
        raise _refused(f"{param} of {what} is not something this host takes", param, provider)
    kind, form = found
    block: Block = {"format": form, "source": source}
    if kind == "document":
        block["name"] = _name_of(media)
    return {kind: block}


def _format_of(media: Media) -> tuple[str, str] | None:
    """The kind of block and its format; by the name where the type does not say, or is any text's."""
    media_type = media.media_type or ""
    ending = (media.name or media.url or "").rpartition(".")[2].lower()
    if media_type in ("", "text/plain", "application/octet-stream") and ending in _ENDINGS:
        return _ENDINGS[ending]
    return _FORMATS.get(media_type, _TEXT if media_type.startswith("text/") else None)


def _source(media: Media, param: str, provider: str) -> Block:
    if media.url is None:
        return {"bytes": media.base64}
    if media.url.startswith("s3://"):
        return {"s3Location": {"uri": media.url}}
    raise _refused(f"{param} cannot be a URL for this host: send the bytes, or an s3:// address", param, provider)


def _name_of(media: Media) -> str:
    """A document's name, of the letters that the host takes in one, and without its ending."""
    name = media.name or (media.url or "").rpartition("/")[2]
    stem, dot, _ = name.rpartition(".")
    words = re.sub(r"[^A-Za-z0-9()\[\]-]+", " ", stem if dot else name).split()
    return " ".join(words)[:180] or _NAMELESS


def _refused(what: str, param: str, provider: str) -> UnsupportedParameterError:
    return UnsupportedParameterError(what, provider=provider, param=param)
