"""
The request: parameters in Google's JSON.

Sources: https://ai.google.dev/api/generate-content, https://ai.google.dev/gemini-api/docs/thinking,
https://ai.google.dev/gemini-api/docs/structured-output, https://ai.google.dev/api/caching#FunctionCallingConfig
"""

from __future__ import annotations

import re
from typing import Any

from anyllm.types import CompletionParams
from anyllm.wire._base.conversation import Function, functions_in, schema_in, tool_choice_in
from anyllm.wire._base.encode_json import effort_in, merge_objects
from anyllm.wire.gemini.content import contents_in_json
from anyllm.wire.gemini.fields import BUDGETS, JSON_TYPE, LEVELS, MODES, SETTINGS

_GENERATION = re.compile(r"gemini-(?:[a-z]+-)*(\d+)")


def body_of(params: CompletionParams, *, model: str, provider: str) -> dict[str, Any]:
    """
    The body; how thinking is asked for depends on *model*.

    Raises:
        UnsupportedParameterError: Google does not support a parameter.
        InvalidRequestError: the parameters cannot be sent at all.
    """
    body = contents_in_json(params.messages, provider)
    config = {theirs: value for ours, theirs in SETTINGS.items() if (value := getattr(params, ours)) is not None}
    if params.stop is not None:
        config["stopSequences"] = [params.stop] if isinstance(params.stop, str) else params.stop
    config.update(_format(params, provider))
    thinking = _thinking(params, model, provider)
    if thinking:
        config["thinkingConfig"] = thinking
    if config:
        body["generationConfig"] = config
    body.update(_tools(params, provider))
    return merge_objects(body, params.extra_body or {})


def _has_levels(model: str) -> bool:
    """Whether a model thinks by levels: the third generation and later; "gemini-flash-latest" always is one."""
    generation = _GENERATION.search(model)
    if generation is None:
        return "gemini-" in model and model.endswith("-latest")
    return int(generation[1]) >= 3


def _format(params: CompletionParams, provider: str) -> dict[str, Any]:
    kind, schema, _ = schema_in(params, provider)
    if kind is None:
        return {}
    body: dict[str, Any] = {"responseMimeType": JSON_TYPE}
    return body if schema is None else {**body, "responseJsonSchema": schema}


def _thinking(params: CompletionParams, model: str, provider: str) -> dict[str, Any] | None:
    """``thinkingConfig``; a budget is exact, so it wins over an effort."""
    effort = effort_in(params, provider)
    if params.thinking_budget is not None:
        amount: dict[str, Any] = {"thinkingBudget": params.thinking_budget}
    elif effort is None:
        return None
    elif effort in LEVELS and _has_levels(model):
        amount = {"thinkingLevel": LEVELS[effort]}
    else:
        amount = {"thinkingBudget": BUDGETS[effort]}
    return amount if amount.get("thinkingBudget") == 0 else {**amount, "includeThoughts": True}


def _tools(params: CompletionParams, provider: str) -> dict[str, Any]:
    tools = functions_in(params, provider)
    functions = [_declaration(tool) for tool in tools if isinstance(tool, Function)]
    declared = [{"functionDeclarations": functions}] if functions else []
    declared += [dict(tool) for tool in tools if not isinstance(tool, Function)]
    body: dict[str, Any] = {"tools": declared} if declared else {}
    choice, name = tool_choice_in(params, provider)
    if choice is not None:
        calling: dict[str, Any] = {"mode": MODES.get(choice, "ANY")}
        if name is not None:
            calling["allowedFunctionNames"] = [name]
        body["toolConfig"] = {"functionCallingConfig": calling}
    return body


def _declaration(function: Function) -> dict[str, Any]:
    """
    A function; its schema goes under the key for JSON Schema, not under that for the subset of OpenAPI.

    ``strict`` has no equal: Google keeps to the schema in every forced call.
    """
    body: dict[str, Any] = {"name": function.name}
    if function.description is not None:
        body["description"] = function.description
    if function.parameters is not None:
        body["parametersJsonSchema"] = function.parameters
    return body
