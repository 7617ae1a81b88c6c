"""
The parameters, media and response formats that a wire format supports, and the check of a request for them.

Strategy: every request passes `checked` before its body is written. An unsupported parameter is refused by name, unless
its value is the default anyway (one answer, usage with the stream). An unsupported response_format is refused too,
unless the caller asks for emulation by a system message.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from anyllm.types import STRUCTURED, CompletionParams, Message, _convert
from anyllm.wire._base.conversation import schema_in
from anyllm.wire._base.encode_json import unsupported

__all__ = ["FormatSupport", "checked", "refuse_stream_options"]


@attrs.define(frozen=True, kw_only=True)
class FormatSupport:
    """
    What a wire format supports.

    Attributes:
        formats: The supported types of ``response_format``, of "json_object" and "json_schema".
        formats_of_its_own: Whether providers may have other types, which are sent unchanged.
        own_sounds: Whether audio in an answer is sent back by its id; if not, its transcript is sent.
        media: The supported media in messages, of "image", "file" and "audio".
        refused: The unsupported parameters; "stream_options" means all of them but include_usage.
        prefill: Whether a model can continue a given beginning of an answer.
    """

    formats: tuple[str, ...] = ("json_object", "json_schema")
    formats_of_its_own: bool = False
    own_sounds: bool = False
    media: tuple[str, ...] = ("image", "file")
    refused: tuple[str, ...] = ()
    prefill: bool = False


_FORMATS = ("json_object", "json_schema")
#: Values that are the default anyway.
_DEFAULTS: Mapping[str, Any] = {"n": 1, "logprobs": False, "top_logprobs": 0, "parallel_tool_calls": True}


def checked(params: CompletionParams, support: FormatSupport, provider: str) -> CompletionParams:
    """
    *params*, adapted to what the format supports.

    Raises:
        UnsupportedParameterError: the format does not support a parameter.
        InvalidRequestError: the response_format is malformed.
    """
    for name in support.refused:
        value = getattr(params, name)
        if name == "stream_options":
            refuse_stream_options(value, provider)
        elif value is not None and value != _DEFAULTS.get(name):
            raise unsupported(name, f"the provider does not support the parameter {name}", provider)
    if not support.own_sounds and any(message.audio is not None for message in params.messages):
        params = params.evolve(messages=[_without_audio(message) for message in params.messages])
    return _with_format(params, support, provider)


def _without_audio(message: Message) -> Message:
    transcript = message.audio and message.audio.get("transcript")
    return attrs.evolve(message, content=message.content or transcript or None, audio=None)


def refuse_stream_options(options: Mapping[str, Any] | None, provider: str) -> None:
    """Raise an UnsupportedParameterError for options other than ``include_usage``."""
    for name in options or ():
        if name != "include_usage":  # usage always comes
            raise unsupported(
                "stream_options", f"the provider does not support the parameter stream_options.{name}", provider
            )


# -- structured output -------------------------------------------------------------------------------------------------


def _with_format(params: CompletionParams, support: FormatSupport, provider: str) -> CompletionParams:
    if params.structured is not None and params.structured not in STRUCTURED:
        why = f"structured must be one of {', '.join(STRUCTURED)}, not {params.structured!r}"
        raise unsupported("structured", why, provider)
    native, kind = support.formats, (params.response_format or {}).get("type")
    if support.formats_of_its_own and (kind in native or kind not in _FORMATS):
        return params
    kind, schema, _ = schema_in(params, provider)
    if kind is None or kind in native:
        return params
    if params.structured != "emulate":
        others = f" (it supports {', '.join(native)})" if native else ""
        why = (
            f"the provider does not support response_format {kind}{others}; "
            "structured='emulate' asks for it in a system message"
        )
        raise unsupported("response_format", why, provider)
    return params.evolve(
        messages=_with_instruction(params.messages, schema),
        response_format={"type": "json_object"} if "json_object" in native else None,
    )


def _with_instruction(messages: tuple[Message, ...], schema: Mapping[str, Any] | None) -> list[Message]:
    """*messages* with a system message that asks for JSON, after the system messages at the beginning."""
    text = "Answer with one JSON object and with nothing else: no explanation, no code fence."
    if schema is not None:
        text += f" It must be valid under this JSON schema:\n{_convert.dumps(schema).decode()}"
    at = next((at for at, message in enumerate(messages) if message.role not in ("system", "developer")), len(messages))
    return [*messages[:at], Message.system(text), *messages[at:]]
