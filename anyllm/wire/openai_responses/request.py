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
from anyllm.wire._base.json_values import without_none
from anyllm.wire.openai_responses.fields import LOGPROBS, PARAMETERS
from anyllm.wire.openai_responses.input_items import input_items
from anyllm.wire.openai_responses.tools import choice_value, format_object, tool_object


def request_body(params: CompletionParams, *, model: str, stream: bool, provider: str) -> dict[str, Any]:
    """
    The request's JSON.

    Raises:
        UnsupportedParameterError: the provider does not support what a parameter asks for.
        InvalidRequestError: the parameters cannot be sent at all.
    """
    effort, text_format = effort_in(params, provider), format_object(params, provider)
    # Usage comes with every response, asked for or not.
    options = {name: value for name, value in (params.stream_options or {}).items() if name != "include_usage"}
    body = {
        "model": model,
        "input": input_items(params.messages, provider),
        **{key: getattr(params, name) for name, (key, _) in PARAMETERS.items()},
        "reasoning": None if effort is None else {"effort": effort},
        "include": [LOGPROBS] if params.logprobs or params.top_logprobs is not None else None,
        "text": None if text_format is None else {"format": text_format},
        "tools": [tool_object(tool) for tool in functions_in(params, provider)] or None,
        "tool_choice": choice_value(params, provider),
        "stream": True if stream else None,
        "stream_options": (options or None) if stream else None,
    }
    return _with_extra(without_none(body), params.extra_body or {})


def _with_extra(body: dict[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    """
    *body* with the caller's own keys, which win.

    Where both are objects they are merged, as are the lists of what to include, so that ``reasoning.summary`` can
    stand beside the effort and ``text.verbosity`` beside the format.
    """
    for name, value in extra.items():
        own = body.get(name)
        if isinstance(value, Mapping) and isinstance(own, Mapping):
            body[name] = {**own, **value}
        elif name == "include" and isinstance(value, (list, tuple)) and isinstance(own, list):
            body[name] = [*own, *(item for item in value if item not in own)]
        else:
            body[name] = value
    return body
