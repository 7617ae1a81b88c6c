"""
The parts of a message as Anthropic's content blocks: text, images, documents.

Sources: https://platform.claude.com/docs/en/build-with-claude/vision,
https://platform.claude.com/docs/en/build-with-claude/pdf-support, https://platform.claude.com/docs/en/build-with-claude/files
"""

from __future__ import annotations

import base64
from typing import Any

from anyllm.errors import InvalidRequestError, UnsupportedParameterError
from anyllm.types import ContentPart
from anyllm.wire._base.conversation import Media, media_in

_PDF = "application/pdf"


def block_of(part: ContentPart, provider: str) -> dict[str, Any]:
    """
    The block for *part*; one of a type that only Anthropic knows is sent as it is.

    Raises:
        UnsupportedParameterError: it shows what this host cannot be shown.
        InvalidRequestError: it is not what it says to be.
    """
    media = media_in(part, provider)
    block = _native(part) if media is None else _shown(media, provider)
    if part.cache_control is not None:
        block["cache_control"] = part.cache_control
    return {**block, **(part.extra or {})}


def _native(part: ContentPart) -> dict[str, Any]:
    text = part.text if part.text is not None or part.type != "text" else ""
    return {"type": part.type} if text is None else {"type": part.type, "text": text}


def _shown(media: Media, provider: str) -> dict[str, Any]:
    if media.kind == "audio":
        raise UnsupportedParameterError(
            "input_audio is not something this host takes", provider=provider, param="input_audio"
        )
    if media.kind == "image" or (media.media_type or "").startswith("image/"):
        return {"type": "image", "source": _source(media)}
    block: dict[str, Any] = {"type": "document", "source": _document(media, provider)}
    if media.name:
        block["title"] = media.name
    return block


def _document(media: Media, provider: str) -> dict[str, Any]:
    if media.base64 is None or media.media_type == _PDF:
        return _source(media)
    if not (media.media_type or "").startswith("text/"):
        raise UnsupportedParameterError(
            f"a file of type {media.media_type} is not something this host takes: PDF, text and images are",
            provider=provider,
            param="file",
        )
    try:
        text = base64.b64decode(media.base64).decode()
    except UnicodeDecodeError as exc:
        raise InvalidRequestError(
            f"a file of type {media.media_type} is no UTF-8 text", provider=provider, param="file"
        ) from exc
    return {"type": "text", "media_type": "text/plain", "data": text}


def _source(media: Media) -> dict[str, Any]:
    """Where it lies: with the host, at a URL, or here."""
    if media.file_id is not None:
        return {"type": "file", "file_id": media.file_id}
    if media.url is not None:
        return {"type": "url", "url": media.url}
    return {"type": "base64", "media_type": media.media_type, "data": media.base64}
