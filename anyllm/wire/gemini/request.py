"""
The request: parameters in Google's JSON.

Sources: https://ai.google.dev/api/generate-content, https://ai.google.dev/gemini-api/docs/thinking,
https://ai.google.dev/gemini-api/docs/structured-output, https://ai.google.dev/api/caching#FunctionCallingConfig
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from anyllm.types import CompletionParams
from anyllm.wire._base.conversation import Function, functions_in, schema_in, tool_choice_in
from anyllm.wire._base.encode_json import effort_in
from anyllm.wire.gemini.contents import contents_in_json

#: Our names and Google's, in ``generationConfig``.
_PLAIN = {
    "temperature": "temperature",
    "top_p": "topP",
    "max_tokens": "maxOutputTokens",
    "n": "candidateCount",
    "seed": "seed",
    "logprobs": "responseLogprobs",
    "top_logprobs": "logprobs",
}

#: Tokens to think with; "high" is the most that all models take.
#: Source: https://ai.google.dev/gemini-api/docs/openai#thinking
_BUDGETS = {"none": 0, "minimal": 512, "low": 1024, "medium": 8192, "high": 24576, "xhigh": 24576, "max": 24576}
#: From Gemini 3 on, levels; only 0 is still a budget. A level that a model does not have, it refuses.
_LEVELS = {"minimal": "MINIMAL", "low": "LOW", "medium": "MEDIUM", "high": "HIGH", "xhigh": "XHIGH", "max": "XHIGH"}

_MODES = {"auto": "AUTO", "none": "NONE", "required": "ANY", "named": "ANY"}
_GENERATION = re.compile(r"gemini-(?:[a-z]+-)*(\d+)")


def body_of(params: CompletionParams, *, model: str, provider: str) -> dict[str, Any]:
    """
    The body; *model* only says how thinking is asked for.

    Raises:
        UnsupportedParameterError: the host cannot do what a parameter asks for.
        InvalidRequestError: the parameters cannot be sent at all.
    """
    body = contents_in_json(params.messages, provider)
    config = {theirs: value for ours, theirs in _PLAIN.items() if (value := getattr(params, ours)) is not None}
    if params.stop is not None:
        config["stopSequences"] = [params.stop] if isinstance(params.stop, str) else params.stop
    config.update(_format(params, provider))
    thinking = _thinking(params, model, provider)
    if thinking:
        config["thinkingConfig"] = thinking
    if config:
        body["generationConfig"] = config
    body.update(_tools(params, provider))
    return merged(body, params.extra_body or {})


def merged(body: Mapping[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    """*body* with *extra*, which wins; objects are merged, so that one more setting does not cost the others."""
    whole = dict(body)
    for key, value in extra.items():
        before = whole.get(key)
        both = isinstance(before, Mapping) and isinstance(value, Mapping)
        whole[key] = merged(before, value) if both else value  # type: ignore[arg-type]  # both are mappings
    return whole


def _format(params: CompletionParams, provider: str) -> dict[str, Any]:
    kind, schema, _ = schema_in(params, provider)
    if kind is None:
        return {}
    wanted: dict[str, Any] = {"responseMimeType": "application/json"}
    return {**wanted, "responseJsonSchema": schema} if schema is not None else wanted


def _thinking(params: CompletionParams, model: str, provider: str) -> dict[str, Any] | None:
    """How much to think; where both are given, the budget says exactly what the effort says roughly."""
    effort = effort_in(params, provider)
    if params.thinking_budget is not None:
        amount: dict[str, Any] = {"thinkingBudget": params.thinking_budget}
    elif effort is None:
        return None
    elif effort in _LEVELS and _takes_levels(model):
        amount = {"thinkingLevel": _LEVELS[effort]}
    else:
        amount = {"thinkingBudget": _BUDGETS[effort]}
    return amount if amount.get("thinkingBudget") == 0 else {**amount, "includeThoughts": True}


def _takes_levels(model: str) -> bool:
    """Whether the model is of the third generation or later; "gemini-flash-latest" always is."""
    generation = _GENERATION.search(model)
    if generation is None:
        return "gemini-" in model and model.endswith("-latest")
    return int(generation[1]) >= 3


def _tools(params: CompletionParams, provider: str) -> dict[str, Any]:
    tools = functions_in(params, provider)
    functions = [_declaration(tool) for tool in tools if isinstance(tool, Function)]
    sent = [{"functionDeclarations": functions}] if functions else []
    sent += [dict(tool) for tool in tools if not isinstance(tool, Function)]
    body: dict[str, Any] = {"tools": sent} if sent else {}
    choice, name = tool_choice_in(params, provider)
    if choice is not None:
        calling: dict[str, Any] = {"mode": _MODES[choice]}
        if name is not None:
            calling["allowedFunctionNames"] = [name]
        body["toolConfig"] = {"functionCallingConfig": calling}
    return body


def _declaration(function: Function) -> dict[str, Any]:
    """
    A function; its schema goes under the key that takes all of JSON Schema, not the subset of OpenAPI's.

    ``strict`` has no word of its own: Google keeps to the schema of each call that it is made to make.
    """
    body: dict[str, Any] = {"name": function.name}
    if function.description is not None:
        body["description"] = function.description
    if function.parameters is not None:
        body["parametersJsonSchema"] = function.parameters
    return body
