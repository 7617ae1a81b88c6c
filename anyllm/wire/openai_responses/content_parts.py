"""
Parts of a message's content: ours as parts of input and output items, and back.

Source: https://platform.openai.com/docs/api-reference/responses/create (input)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from anyllm.errors import UnsupportedParameterError
from anyllm.types import ContentPart
from anyllm.wire._base.conversation import media_in
from anyllm.wire._base.json_values import without_none
from anyllm.wire._base.request_fields import Fields
from anyllm.wire.openai_responses.fields import REFUSAL, TEXT

INPUT_TEXT = "input_text"
_TEXTS = (INPUT_TEXT, TEXT, "text")
#: Keys of a text in an answer that are of no use to any other provider.
_ABOUT_TEXT = ("annotations", "logprobs")


def part_object(part: ContentPart, text_type: str, provider: str) -> dict[str, Any]:
    """
    One of our parts; texts get the type *text_type*. A part of a type that only this format knows goes as it is.

    Raises:
        UnsupportedParameterError: the part is a sound.
        InvalidRequestError: the part is not in OpenAI's shape.
    """
    media = media_in(part, provider) if text_type == INPUT_TEXT else None
    if media is None and part.type == "text":
        body: dict[str, Any] = {"type": text_type, "text": part.text or ""}
    elif media is None:
        body = {"type": part.type, "text": part.text}
    elif media.kind == "audio":
        raise UnsupportedParameterError("Responses do not support audio input", provider=provider, param="input_audio")
    else:
        data = f"data:{media.media_type};base64,{media.base64}" if media.base64 is not None else None
        if media.kind == "image":
            body = {"type": "input_image", "image_url": data or media.url, "detail": media.detail or None}
        else:
            body = {"type": "input_file", "file_id": media.file_id, "file_data": data, "file_url": media.url}
            body["filename"] = media.name
    return {**without_none({**body, "cache_control": part.cache_control}), **(part.extra or {})}


def read_part(raw: Any, where: str) -> dict[str, Any]:
    """
    A client's part in our shape; one of a type that only this format knows stays as it is.

    Raises:
        InvalidRequestError: it cannot be understood.
    """
    part = Fields(raw, where)
    kind = part.need("type", str)
    if kind == REFUSAL:
        return {"type": kind, "refusal": part.need("refusal", str)}
    if kind in _TEXTS:
        body: dict[str, Any] = {"type": "text", "text": part.need("text", str)}
    elif kind == "input_image" and raw.get("image_url") is not None:
        image = {"url": part.need("image_url", str), "detail": part.take("detail", str)}
        body = {"type": "image_url", "image_url": without_none(image)}
    elif kind == "input_file" and _has_our_shape(raw):
        file = {name: part.take(name, str) for name in ("file_id", "file_data", "file_url", "filename")}
        url = file.pop("file_url")  # which stands in place of data in our shape
        body = {"type": "file", "file": without_none({**file, "file_data": file["file_data"] or url})}
    else:
        body = without_none({"type": kind, "text": part.take("text", str)})
    body.update(without_none({"cache_control": part.take("cache_control", dict)}))
    extra = {key: value for key, value in part.rest().items() if kind not in _TEXTS or key not in _ABOUT_TEXT}
    return {**body, "extra": extra} if extra else body


def _has_our_shape(file: Mapping[str, Any]) -> bool:
    """Whether a file is exactly one of an id, a URL, and data in a data URL."""
    data = file.get("file_data")
    if sum(value is not None for value in (data, file.get("file_url"), file.get("file_id"))) != 1:
        return False
    return data is None or (isinstance(data, str) and data.startswith("data:"))
