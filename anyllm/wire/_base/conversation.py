"""
System messages, tool calls, media, tools and response formats of a conversation, checked, for all dialects.

The input has OpenAI's shape; dialects write other shapes from these values.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import unquote_to_bytes

import attrs

from anyllm.types import CompletionParams, ContentPart, Message, ToolCall
from anyllm.wire._base.encode_json import invalid, unsupported
from anyllm.wire._base.json_values import without_none

_SYSTEM = ("system", "developer")

#: `Reasoning.field` of reasoning from OpenAI's Responses, whose details are output items; several formats read it.
OUTPUT_ITEMS = "output_items"


def with_beginning(params: CompletionParams, text: str) -> CompletionParams:
    """*params* with *text* as a last assistant message, for providers that continue it."""
    return params.evolve(messages=(*params.messages, Message.assistant(text)))


def lift_system(messages: Iterable[Message]) -> tuple[list[Message], list[Message]]:
    """The system messages, wherever they are, and the other messages."""
    system: list[Message] = []
    rest: list[Message] = []
    for message in messages:
        (system if message.role in _SYSTEM else rest).append(message)
    return system, rest


def names_of_calls(messages: Iterable[Message]) -> dict[str, str]:
    """The function of each tool call by the call's id, which some providers require with the result."""
    return {call.id: call.name or "" for message in messages for call in message.tool_calls if call.id}


def arguments_of(call: ToolCall, provider: str) -> dict[str, Any]:
    """
    The arguments of an earlier call, for providers that require an object.

    Raises:
        InvalidRequestError: they are not an object.
    """
    try:
        return call.parse()
    except ValueError as exc:
        raise invalid("messages", f"{exc}; the provider requires an object as arguments", provider) from exc


# -- media -------------------------------------------------------------------------------------------------------------


@attrs.define(frozen=True)
class Media:
    """
    An image, a document or audio.

    Attributes:
        kind: "image", "file" or "audio".
        url: Its URL; None if the bytes or a file id are given.
        media_type: Such as "image/png"; None if unknown.
        base64: The bytes in base64; None if there is a URL or a file id.
        name: The name of a file.
        file_id: The id of a file that was uploaded to the provider.
        detail: The level of detail of an image.
    """

    kind: str
    url: str | None = None
    media_type: str | None = None
    base64: str | None = attrs.field(default=None, repr=False)
    name: str | None = None
    file_id: str | None = None
    detail: str | None = None


def media_in(part: ContentPart, provider: str) -> Media | None:
    """
    The media in *part*; None for text, and for types that only one provider's API has.

    Raises:
        InvalidRequestError: the part is not in OpenAI's shape.
    """
    if part.type == "image_url":
        image = _shape(part.image_url, "image_url", provider)
        url = _text(image.get("url"), "image_url.url", provider)
        return _located("image", url, provider, detail=image.get("detail"))
    if part.type == "input_audio":
        audio = _shape(part.input_audio, "input_audio", provider)
        form = _text(audio.get("format") or "wav", "input_audio.format", provider)
        media_type = {"mp3": "audio/mpeg"}.get(form, f"audio/{form}")
        return Media("audio", media_type=media_type, base64=_text(audio.get("data"), "input_audio.data", provider))
    if part.type == "file":
        file = _shape(part.file, "file", provider)
        name, file_id = file.get("filename"), file.get("file_id")
        if file_id:
            return Media("file", name=name, file_id=_text(file_id, "file.file_id", provider))
        return _located("file", _text(file.get("file_data"), "file.file_data", provider), provider, name=name)
    return None


def _located(kind: str, url: str, provider: str, **fields: Any) -> Media:
    if not url.startswith("data:"):
        return Media(kind, url=url, **fields)
    head, comma, data = url[5:].partition(",")
    media_type, *options = head.split(";")
    if not comma:
        raise invalid("messages", "a data URL has no comma", provider)
    if "base64" not in [option.strip().lower() for option in options]:
        data = base64.b64encode(unquote_to_bytes(data)).decode()
    else:
        try:
            base64.b64decode(data, validate=True)
        except (binascii.Error, ValueError) as exc:
            raise invalid("messages", f"a data URL is no base64: {exc}", provider) from exc
    return Media(kind, media_type=media_type.strip() or "text/plain", base64=data, **fields)


def _shape(value: Any, name: str, provider: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise invalid("messages", f"{name} must be an object, not {type(value).__name__}", provider)
    return value


def _text(value: Any, name: str, provider: str) -> str:
    if not isinstance(value, str) or not value:
        raise invalid("messages", f"{name} must be a text, not {value!r:.40}", provider)
    return value


# -- tools and formats -------------------------------------------------------------------------------------------------


@attrs.define(frozen=True)
class Function:
    """
    A function that the model may call.

    Attributes:
        name: Its name.
        description: What it does; None if not given.
        parameters: The JSON schema of its arguments; None for none.
        strict: Whether the arguments must match the schema exactly; None if not given.
        cache_control: For providers that cache on request.
    """

    name: str
    description: str | None = None
    parameters: Mapping[str, Any] | None = None
    strict: bool | None = None
    cache_control: Mapping[str, Any] | None = None


def functions_in(params: CompletionParams, provider: str) -> list[Function | Mapping[str, Any]]:
    """
    The tools; a tool that is not a function in OpenAI's shape stays as it is, for providers with other tools.

    Raises:
        InvalidRequestError: a tool has no name, or is not an object.
    """
    tools: list[Any] = [*(params.tools or ())]
    tools += [{"type": "function", "function": function} for function in params.functions or ()]
    return [_function(tool, provider) for tool in tools]


def _function(tool: Any, provider: str) -> Function | Mapping[str, Any]:
    if not isinstance(tool, Mapping):
        raise invalid("tools", f"a tool must be an object: {tool!r:.40}", provider)
    inner = tool.get("function")
    if tool.get("type", "function") != "function" or not isinstance(inner, Mapping):
        return tool
    name = inner.get("name")
    if not isinstance(name, str) or not name:
        raise invalid("tools", "a tool has no function.name", provider)
    cache_control = tool.get("cache_control") or inner.get("cache_control")
    return Function(name, inner.get("description"), inner.get("parameters"), inner.get("strict"), cache_control)


def tool_choice_in(params: CompletionParams, provider: str) -> tuple[str | None, str | None]:
    """
    Which tools the model must call: "auto", "none", "required", "named" and the name, or None if not given.

    Raises:
        UnsupportedParameterError: it has none of OpenAI's forms.
    """
    choice = params.tool_choice if params.tool_choice is not None else params.function_call
    if choice is None or choice in ("auto", "none", "required"):
        return choice, None
    if isinstance(choice, Mapping):
        inner = choice.get("function", choice)
        name = inner.get("name") if isinstance(inner, Mapping) else None
        if isinstance(name, str) and name:
            return "named", name
    why = f"tool_choice must be auto, none, required, or name a function, not {choice!r:.80}"
    raise unsupported("tool_choice", why, provider)


def schema_in(params: CompletionParams, provider: str) -> tuple[str | None, Mapping[str, Any] | None, str]:
    """
    The response format: "json_object", "json_schema" with its schema and name, or None for text.

    Raises:
        InvalidRequestError: a json_schema has no schema.
        UnsupportedParameterError: it has none of OpenAI's forms.
    """
    response_format = {"type": "text"} if params.response_format is None else params.response_format
    kind = response_format.get("type")
    if kind in ("text", "json_object"):
        return (None if kind == "text" else "json_object"), None, ""
    if kind != "json_schema":
        why = f"response_format must be text, json_object or json_schema, not {kind!r}"
        raise unsupported("response_format", why, provider)
    inner = response_format.get("json_schema")
    schema = inner.get("schema") if isinstance(inner, Mapping) else None
    if not isinstance(inner, Mapping) or not isinstance(schema, Mapping):
        raise invalid("response_format", "response_format needs json_schema.schema", provider)
    return "json_schema", schema, str(inner.get("name") or "answer")


def tool_object(tool: Function | Mapping[str, Any]) -> Mapping[str, Any]:
    """A tool in OpenAI's shape, for formats that share it; a tool that is not a `Function` stays as it is."""
    if not isinstance(tool, Function):
        return tool
    optional = {"description": tool.description, "parameters": tool.parameters, "strict": tool.strict}
    return {"type": "function", "function": {"name": tool.name, **without_none(optional)}}
