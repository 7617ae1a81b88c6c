"""
The parts of a message as Converse's content blocks: text, images, documents, videos.

Source: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ContentBlock.html
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from anyllm.types import ContentPart
from anyllm.wire._base.block_turns import Block
from anyllm.wire._base.conversation import Media, media_in
from anyllm.wire._base.encode_json import invalid, unsupported

_OPENXML = "application/vnd.openxmlformats-officedocument"

#: The kind of block of each media type, and the name of its format.
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
#: The same by the ending of a file's name, for files in S3, or of no type that is listed.
_ENDINGS = {form: (kind, form) for kind, form in _FORMATS.values()}
_ENDINGS.update({"jpg": ("image", "jpeg"), "3gp": ("video", "three_gp"), "mpg": ("video", "mpg")})

_TEXT = ("document", "txt")
_NAMELESS = "document"


def part_blocks(part: ContentPart, provider: str) -> list[Block]:
    """
    The block of a part, and the cache point after it; a block that only Converse has is sent as it is.

    Raises:
        UnsupportedParameterError: the provider does not support such media.
        InvalidRequestError: the part is not what its type says.
    """
    media = media_in(part, provider)
    block = _native_block(part, provider) if media is None else {**_media_block(media, provider), **(part.extra or {})}
    return [block, *cache_point(part.cache_control)]


def cache_point(cache_control: Mapping[str, Any] | None) -> list[Block]:
    """The block up to which the prompt is cached; none without *cache_control*."""
    if cache_control is None:
        return []
    ttl = cache_control.get("ttl")
    return [{"cachePoint": {"type": "default", **({"ttl": ttl} if ttl is not None else {})}}]


def with_unique_names(blocks: Iterable[Any], names: set[str]) -> list[Any]:
    """*blocks* with numbers in the names of documents that stand in *names* already: a name must be unique."""
    return [_with_unique_name(block, names) for block in blocks]


def _with_unique_name(block: Any, names: set[str]) -> Any:
    if not isinstance(block, dict):
        return block
    result, document = block.get("toolResult"), block.get("document")
    if isinstance(result, dict) and isinstance(result.get("content"), (list, tuple)):
        return {**block, "toolResult": {**result, "content": with_unique_names(result["content"], names)}}
    if not isinstance(document, dict) or not isinstance(document.get("name"), str):
        return block
    name, count = document["name"], 1
    while name in names:
        count += 1
        name = f"{document['name']} {count}"
    names.add(name)
    return {**block, "document": {**document, "name": name}}


def _native_block(part: ContentPart, provider: str) -> Block:
    if part.type == "text":
        text = part.text if part.text is not None or part.extra else ""
        return {**({} if text is None else {"text": text}), **(part.extra or {})}
    if not part.extra:
        raise invalid("messages", f"a part cannot have the type {part.type!r}", provider)
    return dict(part.extra)


def _media_block(media: Media, provider: str) -> Block:
    if media.kind == "audio":
        raise unsupported("input_audio", "input_audio is not supported", provider)
    param = "image_url" if media.kind == "image" else "file"
    if media.file_id is not None:
        raise unsupported("file", "file_id is not supported: send the file", provider)
    source = _source(media, param, provider)
    kind, form = _format_of(media) or (None, None)
    if kind is None:
        raise unsupported(param, f"{param} of {media.media_type or media.url} is not supported", provider)
    name = {"name": _document_name(media)} if kind == "document" else {}
    return {kind: {"format": form, "source": source, **name}}


def _format_of(media: Media) -> tuple[str, str] | None:
    """The kind of block and its format; by the file's ending where the type is missing, or that of any text."""
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
    raise unsupported(param, f"{param} cannot be a URL: send the bytes, or an s3:// address", provider)


def _document_name(media: Media) -> str:
    """A document's name without its ending, in the letters that are allowed in one."""
    name = media.name or (media.url or "").rpartition("/")[2]
    stem, dot, _ = name.rpartition(".")
    words = re.sub(r"[^A-Za-z0-9()\[\]-]+", " ", stem if dot else name).split()
    return " ".join(words)[:180] or _NAMELESS
