"""
What a format has words for, as data; and what that means for a request.

Strategy: a request passes `checked` before anything of it is written. What the format has no words for is refused by
name; what only says what is so anyway (one answer, usage with the stream) is no matter. A response_format that hosts do
not keep to is refused too, unless the caller would have it asked for in words.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from anyllm.types import STRUCTURED, CompletionParams, Message, _convert
from anyllm.wire._base.conversation import schema_in
from anyllm.wire._base.encode_json import unsupported

__all__ = ["FormatSupport", "checked"]


@attrs.define(frozen=True, kw_only=True)
class FormatSupport:
    """
    What a format has words for.

    Attributes:
        formats: The types of ``response_format`` that hosts keep to, of "json_object" and "json_schema".
        formats_of_its_own: Whether hosts may have more of them, which go as they are.
        own_sounds: Whether sounds that a model answered with go back by their ids; elsewhere goes what they said.
        media: What a message may show, of "image", "file" and "audio".
        refused: The parameters that it has no words for; "stream_options" is all of them but include_usage.
        prefill: Whether a model can be asked to go on from the beginning of an answer.
    """

    formats: tuple[str, ...] = ("json_object", "json_schema")
    formats_of_its_own: bool = False
    own_sounds: bool = False
    media: tuple[str, ...] = ("image", "file")
    refused: tuple[str, ...] = ()
    prefill: bool = False


_FORMATS = ("json_object", "json_schema")
#: What asks for nothing: it is so anyway.
_NOTHING: Mapping[str, Any] = {"n": 1, "logprobs": False, "top_logprobs": 0, "parallel_tool_calls": True}


def checked(params: CompletionParams, support: FormatSupport, provider: str) -> CompletionParams:
    """
    *params* as the format has words for them.

    Raises:
        UnsupportedParameterError: it has none for one of them.
        InvalidRequestError: the response_format is in nobody's shape.
    """
    for name in support.refused:
        value = getattr(params, name)
        if name == "stream_options":
            _refuse_stream_options(value, provider)
        elif value is not None and value != _NOTHING.get(name):
            raise unsupported(name, f"the provider does not support the parameter {name}", provider)
    if not support.own_sounds and any(message.audio is not None for message in params.messages):
        params = params.evolve(messages=[_without_sound(message) for message in params.messages])
    return _with_format(params, support, provider)


def _without_sound(message: Message) -> Message:
    said = message.audio and message.audio.get("transcript")
    return attrs.evolve(message, content=message.content or said or None, audio=None)


def _refuse_stream_options(options: Mapping[str, Any] | None, provider: str) -> None:
    for name in options or ():
        if name != "include_usage":  # which comes anyway, asked for or not
            raise unsupported(
                "stream_options", f"the provider does not support the parameter stream_options.{name}", provider
            )


# -- structured output -------------------------------------------------------------------------------------------------


def _with_format(params: CompletionParams, support: FormatSupport, provider: str) -> CompletionParams:
    if params.structured is not None and params.structured not in STRUCTURED:
        why = f"structured must be one of {', '.join(STRUCTURED)}, not {params.structured!r}"
        raise unsupported("structured", why, provider)
    native, wanted = support.formats, params.response_format or {}
    if support.formats_of_its_own and (wanted.get("type") in native or wanted.get("type") not in _FORMATS):
        return params
    kind, schema, _ = schema_in(params, provider)
    if kind is None or kind in native:
        return params
    if params.structured != "emulate":
        others = "".join(f" {other} is supported;" for other in native)
        refused = f"the provider does not support the response_format {kind};"
        why = f"{refused}{others} structured='emulate' asks for it in words"
        raise unsupported("response_format", why, provider)
    return params.evolve(
        messages=_asking(params.messages, schema),
        response_format={"type": "json_object"} if "json_object" in native else None,
    )


def _asking(messages: tuple[Message, ...], schema: Mapping[str, Any] | None) -> list[Message]:
    """The conversation, in which the model is told to write JSON; behind what else it is told at the beginning."""
    words = "Answer with one JSON object and with nothing else: no explanation, no code fence."
    if schema is not None:
        words += f" It must be valid under this JSON schema:\n{_convert.dumps(schema).decode()}"
    at = next((at for at, message in enumerate(messages) if message.role not in ("system", "developer")), len(messages))
    return [*messages[:at], Message.system(words), *messages[at:]]
