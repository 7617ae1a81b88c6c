"""Messages of a conversation: `Message` and `ContentPart`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Optional, Union

import attrs

from anyllm._hints.arguments import check_keywords, explain_frozen
from anyllm.types import _convert
from anyllm.types._base import Serializable
from anyllm.types._media import Source, as_sound, as_url, file_name
from anyllm.types._parts import Reasoning, ToolCall


@explain_frozen
@attrs.define(frozen=True)
class ContentPart(Serializable):
    """
    One part of a message with several parts, in OpenAI's shape.

    Attributes:
        type: "text", "image_url", "input_audio", "file", or a provider's own type.
        text: For "text".
        image_url: For "image_url": ``{"url": ..., "detail": ...}``; the URL may be a data URL.
        input_audio: For "input_audio": ``{"data": base64, "format": "wav"}``.
        file: For "file": ``{"file_data": data URL, "filename": ...}`` or ``{"file_id": ...}``.
        cache_control: For providers that cache on request: ``{"type": "ephemeral"}``.
        extra: A provider's other keys, sent as they are.
    """

    type: str = "text"
    text: Optional[str] = None
    image_url: Optional[dict[str, Any]] = None
    input_audio: Optional[dict[str, Any]] = None
    file: Optional[dict[str, Any]] = None
    cache_control: Optional[dict[str, Any]] = None
    extra: Optional[dict[str, Any]] = None

    @classmethod
    def from_image(
        cls, source: Source, *, detail: Optional[str] = None, media_type: Optional[str] = None
    ) -> ContentPart:
        """
        An image.

        Args:
            source: A URL, a data URL, the path of a file, or the bytes themselves.
            detail: The resolution: "low", "high" or "auto", if the provider supports it.
            media_type: "image/png"; by default from the bytes or the file's name.

        Raises:
            OSError: the file cannot be read.
            ValueError: the media type is unknown.
        """
        url = {"url": as_url(source, media_type)}
        return cls("image_url", image_url={**url, "detail": detail} if detail else url)

    @classmethod
    def from_file(
        cls, source: Source, *, filename: Optional[str] = None, media_type: Optional[str] = None
    ) -> ContentPart:
        """
        A document, a PDF for example; *source* and errors as in `from_image`.

        Args:
            filename: Its name; by default that of the file if *source* is a path.
        """
        name = filename or file_name(source)
        data = {"file_data": as_url(source, media_type)}
        return cls("file", file={"filename": name, **data} if name else data)

    @classmethod
    def from_audio(cls, source: Source, *, format: Optional[str] = None) -> ContentPart:
        """
        Audio: the path of a file, or the bytes themselves.

        Args:
            format: "wav", "mp3"; by default from the bytes or the file's name.

        Raises:
            OSError: the file cannot be read.
            ValueError: the format is unknown.
        """
        data, detected = as_sound(source)
        return cls("input_audio", input_audio={"data": data, "format": format or detected})


def _part(value: Any) -> ContentPart:
    if isinstance(value, str):
        return ContentPart(text=value)
    if not isinstance(value, Mapping):
        return _convert.structure(ContentPart, value)
    names = {field.name for field in attrs.fields(ContentPart)}
    extra = {key: item for key, item in value.items() if key not in names}
    fields = {key: item for key, item in value.items() if key in names}
    if extra:
        fields["extra"] = {**(fields.get("extra") or {}), **extra}
    return _convert.structure(ContentPart, fields)


def _content(value: Any) -> Any:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, (bytes, Mapping)) or not isinstance(value, Iterable):
        raise TypeError(f"content must be a str or a list of parts, not {type(value).__name__}")
    return tuple(_part(item) for item in value)


def _tool_calls(value: Any) -> tuple[ToolCall, ...]:
    return tuple(_convert.structure(ToolCall, item) for item in value or ())


def _reasoning(value: Any) -> Optional[Reasoning]:
    if isinstance(value, str):
        return Reasoning(content=value)
    return None if value is None else _convert.structure(Reasoning, value)


#: The roles of messages without content; with content any role is accepted.
_ROLES = ("system", "developer", "user", "assistant", "tool", "function", "model")


@check_keywords
@explain_frozen
@attrs.define(frozen=True)
class Message(Serializable):
    """
    One message of a conversation.

    Attributes:
        role: "system", "developer", "user", "assistant" or "tool".
        content: Text, or a list of `ContentPart` (or dicts in that shape).
        name: The speaker, for providers that distinguish speakers of one role.
        tool_calls: On "assistant": the calls it made.
        tool_call_id: On "tool": the id of the call whose result this is.
        reasoning: On "assistant": its reasoning, which is sent back to providers that require it.
        cache_control: For providers that cache on request.
        refusal: On "assistant": the text of its refusal.
        audio: On "assistant": its audio in OpenAI's shape, which is sent back by its id.
    """

    role: str = attrs.field(validator=attrs.validators.instance_of(str))
    content: Union[str, tuple[ContentPart, ...], None] = attrs.field(default=None, converter=_content)
    name: Optional[str] = None
    tool_calls: tuple[ToolCall, ...] = attrs.field(default=(), converter=_tool_calls)
    tool_call_id: Optional[str] = None
    reasoning: Optional[Reasoning] = attrs.field(default=None, converter=_reasoning)
    cache_control: Optional[dict[str, Any]] = None
    refusal: Optional[str] = None
    audio: Optional[dict[str, Any]] = attrs.field(default=None, repr=False)

    def __attrs_post_init__(self) -> None:
        if self.content is None and not self.tool_calls and self.role not in _ROLES:
            raise TypeError(f"the first value of a Message is its role: write Message.user({self.role!r:.40})")

    @classmethod
    def system(cls, content: Any, **fields: Any) -> Message:
        """Instructions to the model, before the conversation."""
        return cls("system", content, **fields)

    @classmethod
    def user(cls, content: Any, **fields: Any) -> Message:
        """A message of the user."""
        return cls("user", content, **fields)

    @classmethod
    def assistant(cls, content: Any = None, **fields: Any) -> Message:
        """An earlier answer of the model."""
        return cls("assistant", content, **fields)

    @classmethod
    def tool(cls, content: Any, tool_call_id: str, **fields: Any) -> Message:
        """The result of a tool call; *tool_call_id* is the call's ``id``."""
        return cls("tool", content, tool_call_id=tool_call_id, **fields)

    @property
    def text(self) -> str:
        """The text of the content; "" if there is none."""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text or "" for part in self.content or ())
