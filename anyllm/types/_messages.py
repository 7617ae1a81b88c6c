"""The turns of a conversation."""

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
    One part of a message that is more than text, in OpenAI's shape.

    Attributes:
        type: "text", "image_url", "input_audio", "file", or what a host adds.
        text: For "text".
        image_url: For "image_url": ``{"url": ..., "detail": ...}``; the URL may be a data URL.
        input_audio: For "input_audio": ``{"data": base64, "format": "wav"}``.
        file: For "file": ``{"file_data": data URL, "filename": ...}`` or ``{"file_id": ...}``.
        cache_control: For hosts that cache on request: ``{"type": "ephemeral"}``.
        extra: Keys of a host that are not in this list, sent as they are.
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
        An image to look at.

        Args:
            source: A URL, a data URL, the path of a file, or the bytes themselves.
            detail: How closely: "low", "high" or "auto", where a host knows them.
            media_type: "image/png"; found out from the bytes or the file's name if not given.

        Raises:
            OSError: the file cannot be read.
            ValueError: nobody knows the media type.
        """
        url = {"url": as_url(source, media_type)}
        return cls("image_url", image_url={**url, "detail": detail} if detail else url)

    @classmethod
    def from_file(
        cls, source: Source, *, filename: Optional[str] = None, media_type: Optional[str] = None
    ) -> ContentPart:
        """
        A document to read, a PDF for example; *source* and errors as `from_image` has them.

        Args:
            filename: Its name; that of the file if *source* is a path.
        """
        name = filename or file_name(source)
        data = {"file_data": as_url(source, media_type)}
        return cls("file", file={"filename": name, **data} if name else data)

    @classmethod
    def from_audio(cls, source: Source, *, format: Optional[str] = None) -> ContentPart:
        """
        A sound to hear: the path of a file, or the bytes themselves.

        Args:
            format: "wav", "mp3"; found out from the bytes or the file's name if not given.

        Raises:
            OSError: the file cannot be read.
            ValueError: nobody knows the format.
        """
        data, found = as_sound(source)
        return cls("input_audio", input_audio={"data": data, "format": format or found})


def _part(value: Any) -> ContentPart:
    if isinstance(value, str):
        return ContentPart(text=value)
    if not isinstance(value, Mapping):
        return _convert.structure(ContentPart, value)
    known = {field.name for field in attrs.fields(ContentPart)}
    extra = {key: item for key, item in value.items() if key not in known}
    plain = {key: item for key, item in value.items() if key in known}
    if extra:
        plain["extra"] = {**(plain.get("extra") or {}), **extra}
    return _convert.structure(ContentPart, plain)


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


#: What a message without a content may be; hosts know more roles than these.
_ROLES = ("system", "developer", "user", "assistant", "tool", "function", "model")


@check_keywords
@explain_frozen
@attrs.define(frozen=True)
class Message(Serializable):
    """
    One turn of the conversation.

    Attributes:
        role: "system", "developer", "user", "assistant" or "tool".
        content: Text, or a list of `ContentPart` (or dicts in that shape).
        name: The speaker, where a host tells speakers of one role apart.
        tool_calls: On "assistant": the calls it made.
        tool_call_id: On "tool": the id of the call this answers.
        reasoning: On "assistant": its reasoning, to be sent back where a host wants that.
        cache_control: For hosts that cache on request.
        refusal: On "assistant": what it said instead of answering.
        audio: On "assistant": the sound it answered with, as OpenAI has it; to be sent back by its id.
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
        """What the model is told before the conversation."""
        return cls("system", content, **fields)

    @classmethod
    def user(cls, content: Any, **fields: Any) -> Message:
        """What the user says."""
        return cls("user", content, **fields)

    @classmethod
    def assistant(cls, content: Any = None, **fields: Any) -> Message:
        """What the model said in an earlier turn."""
        return cls("assistant", content, **fields)

    @classmethod
    def tool(cls, content: Any, tool_call_id: str, **fields: Any) -> Message:
        """The result of a tool call; *tool_call_id* is the call's ``id``."""
        return cls("tool", content, tool_call_id=tool_call_id, **fields)

    @property
    def text(self) -> str:
        """The content's text; "" when there is none."""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text or "" for part in self.content or ())
