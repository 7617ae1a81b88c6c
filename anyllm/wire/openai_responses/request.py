"""
The request: parameters in the JSON of Responses.

Source: https://platform.openai.com/docs/api-reference/responses/create
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from anyllm.types import CompletionParams
from anyllm.wire._base.conversation import functions_in
from anyllm.wire._base.encode_json import effort_in
from anyllm.wire.openai_responses.fields import LOGPROBS, PARAMETERS
from anyllm.wire.openai_responses.input_items import input_items
from anyllm.wire.openai_responses.tools import choice_value, format_object, tool_object


def body(params: CompletionParams, *, model: str, stream: bool, provider: str) -> dict[str, Any]:
    """
    The request's JSON.

    Raises:
        UnsupportedParameterError: the provider does not support what a parameter asks for.
        InvalidRequestError: the parameters cannot be sent at all.
    """
    request: dict[str, Any] = {"model": model, "input": input_items(params.messages, provider)}
    request.update(
        (key, value) for name, (key, _) in PARAMETERS.items() if (value := getattr(params, name)) is not None
    )
    if (effort := effort_in(params, provider)) is not None:
        request["reasoning"] = {"effort": effort}
    if params.logprobs or params.top_logprobs is not None:
        request["include"] = [LOGPROBS]
    if (text_format := format_object(params, provider)) is not None:
        request["text"] = {"format": text_format}
    if tools := [tool_object(tool) for tool in functions_in(params, provider)]:
        request["tools"] = tools
    if (choice := choice_value(params, provider)) is not None:
        request["tool_choice"] = choice
    if stream:
        request["stream"] = True
        # Usage comes with every response, asked for or not.
        if options := {key: value for key, value in (params.stream_options or {}).items() if key != "include_usage"}:
            request["stream_options"] = options
    return _with_extra(request, params.extra_body or {})


def _with_extra(request: dict[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    """
    *request* with the caller's own keys, which win.

    Where both are objects they are merged, as are the lists of what to include, so that ``reasoning.summary`` can
    stand beside the effort and ``text.verbosity`` beside the format.
    """
    for name, value in extra.items():
        own = request.get(name)
        if isinstance(value, Mapping) and isinstance(own, Mapping):
            request[name] = {**own, **value}
        elif name == "include" and isinstance(value, (list, tuple)) and isinstance(own, list):
            request[name] = [*own, *(item for item in value if item not in own)]
        else:
            request[name] = value
    return request
