"""
The body of a request to version 1 of Cohere's API.

Source: https://docs.cohere.com/v1/reference/chat
"""

from __future__ import annotations

from typing import Any

from anyllm.types import CompletionParams
from anyllm.wire._base.conversation import functions_in, schema_in, tool_choice_in
from anyllm.wire._base.encode_json import effort_in, named_values, unsupported
from anyllm.wire.cohere_v1.history import conversation_fields
from anyllm.wire.cohere_v1.tools import tool_json

#: Our names of parameters with the same values, and Cohere's names.
_NAMES = {
    "temperature": "temperature",
    "top_p": "p",
    "max_tokens": "max_tokens",
    "seed": "seed",
    "stop": "stop_sequences",
}


def body_of(params: CompletionParams, *, model: str, stream: bool, provider: str) -> dict[str, Any]:
    """
    The body of the request; ``extra_body`` wins.

    Raises:
        UnsupportedParameterError: the provider does not support a parameter.
        InvalidRequestError: the messages or tools cannot be sent at all.
    """
    _refuse_unsupported(params, provider)
    body: dict[str, Any] = {"model": model, **conversation_fields(params.messages, provider), "stream": stream}
    body.update(named_values(params, _NAMES))
    tools = functions_in(params, provider)
    if tools:
        body["tools"] = [tool_json(tool, provider) for tool in tools]
    body.update(_format(params, provider))
    return {**body, **(params.extra_body or {})}


def _refuse_unsupported(params: CompletionParams, provider: str) -> None:
    if effort_in(params, provider) is not None:
        raise unsupported("reasoning_effort", "version 1 of the API has no reasoning effort", provider)
    choice, _ = tool_choice_in(params, provider)
    if choice not in (None, "auto"):
        key = "tool_choice" if params.tool_choice is not None else "function_call"
        what = f"version 1 of the API supports no {key} but auto; version 2 does"
        raise unsupported(key, what, provider)


def _format(params: CompletionParams, provider: str) -> dict[str, Any]:
    kind, schema, _ = schema_in(params, provider)
    if kind is None:
        return {}
    if schema is not None:
        return {"response_format": {"type": "json_object", "schema": schema}}
    return {"response_format": params.response_format}  # Cohere's own form, which may contain a schema
