"""
A client's request in OpenAI's Responses, read into our parameters.

Source: https://platform.openai.com/docs/api-reference/responses/create
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from anyllm.wire._base.chat_request import ChatRequest, params_of, parted
from anyllm.wire._base.request_fields import Fields, wrong
from anyllm.wire.openai_responses.dialect import OpenAIResponsesDialect
from anyllm.wire.openai_responses.fields import LOGPROBS, PARAMETERS, echo_of
from anyllm.wire.openai_responses.input_items import read_input
from anyllm.wire.openai_responses.server.writer import OpenAIResponses
from anyllm.wire.openai_responses.tools import read_choice, read_format, read_tool

__all__ = ["read_responses"]

#: Keys that do not change the answer; a provider without a limit of its own refuses what `truncation` would cut.
_IGNORABLE = frozenset(
    (
        *("include", "metadata", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention"),
        *("safety_identifier", "service_tier", "store", "stream_options", "truncation"),
    )
)
#: Keys of ``reasoning`` that choose the form in which thoughts are shown; they are shown in any case.
_FORMS_OF_THOUGHTS = frozenset(("summary", "generate_summary"))
#: Keys that give a request its input when it has none.
_OTHER_INPUT = ("previous_response_id", "conversation", "prompt")
#: Parameters whose default value is no request.
_DEFAULTS = {"truncation": "disabled", "service_tier": "auto"}


def read_responses(body: Any) -> ChatRequest:
    """
    A request for a response.

    Earlier responses that it refers to (``previous_response_id``, ``conversation``) are left to providers that speak
    this format; nothing is stored here, and the response says so (``store``).

    Raises:
        InvalidRequestError: it cannot be understood, or refers to what nobody keeps.
    """
    fields = Fields(body)
    format = OpenAIResponses(fields.need("model", str), echo_of(body))
    stream = bool(fields.take("stream", bool))
    if fields.take("background", bool):
        raise wrong("background", "nothing is stored here, so no response can go on in the background")
    unknown: dict[str, Any] = {}
    if fields.take("store", bool) is False:
        unknown["store"] = False  # a provider that would store the response must know
    params = {
        "model": format.model,
        "messages": _messages(fields, body),
        **{name: fields.take(key, kind) for name, (key, kind) in PARAMETERS.items()},
        "tools": [read_tool(tool, raw) for tool, raw in fields.objects("tools")] or None,
        "tool_choice": read_choice(fields.take("tool_choice", str, dict)),
        "reasoning_effort": _inner(fields, "reasoning", "effort", str, unknown),
        "response_format": read_format(_inner(fields, "text", "format", dict, unknown)),
    }
    identifier = fields.take("safety_identifier", str)
    if params["user"] is None:
        params["user"] = identifier
    elif identifier is not None:
        unknown["safety_identifier"] = identifier
    include = fields.take("include", list) or []
    params["logprobs"] = True if LOGPROBS in include else None
    if others := [name for name in include if name != LOGPROBS]:
        unknown["include"] = others
    for name, default in _DEFAULTS.items():
        if (value := fields.take(name, str)) not in (None, default):
            unknown[name] = value
    ignorable = _IGNORABLE if unknown.get("reasoning", {}).keys() - _FORMS_OF_THOUGHTS else _IGNORABLE | {"reasoning"}
    unknown_fields, ignorable_fields = parted({**fields.rest(), **unknown}, ignorable)
    native = (OpenAIResponsesDialect,)
    return ChatRequest(params_of(params), stream, format, unknown_fields, native, ignorable_fields)


def _messages(fields: Fields, body: Mapping[str, Any]) -> list[dict[str, Any]]:
    instructions, items = fields.take("instructions", str), fields.take("input", str, list)
    if items is None and not any(body.get(name) for name in _OTHER_INPUT):
        raise wrong("input", "input is missing")
    messages = [{"role": "user", "content": items}] if isinstance(items, str) else read_input(items or ())
    return messages if instructions is None else [{"role": "system", "content": instructions}, *messages]


def _inner(fields: Fields, name: str, key: str, kind: type, unknown: dict[str, Any]) -> Any:
    """The value of *key* in the object *name*; its other keys are added to *unknown*."""
    inner = Fields(fields.take(name, dict) or {}, name)
    value = inner.take(key, kind)
    if rest := inner.rest():
        unknown[name] = rest
    return value
