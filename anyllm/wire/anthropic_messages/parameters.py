"""
Parameters in both directions: sampling, tools, the choice among them, the form of the answer, thinking.

`write_params` and `thinking_bodies` make a provider's request of our parameters. `read_params` reads them from a
client's request. A setting of which we have a parameter for only a part stays whole in the fields that are passed on:
they replace a key, and do not add to it.

All raise InvalidRequestError for a value of the wrong shape, and UnsupportedParameterError for a tool_choice in none of
OpenAI's forms and for an effort that we do not know.

Sources: https://platform.claude.com/docs/en/api/messages,
https://platform.claude.com/docs/en/build-with-claude/structured-outputs
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from anyllm.types import CompletionParams
from anyllm.wire._base.conversation import Function, functions_in, schema_in, tool_choice_in
from anyllm.wire._base.encode_json import merge_objects, named_values
from anyllm.wire._base.json_values import without_none
from anyllm.wire._base.request_fields import Fields, wrong
from anyllm.wire._base.thinking_budget import budget_of, max_tokens_with, thinking_fields

__all__ = ["has_more", "read_params", "thinking_bodies", "write_params"]

_DEFAULT_MAX_TOKENS = 4096
#: The effort of adaptive thinking without one.
_DEFAULT_EFFORT = "high"
#: Our choices among tools, and Anthropic's.
_CHOICES = {"auto": "auto", "none": "none", "required": "any", "named": "tool"}
_CHOICES_READ = {theirs: ours for ours, theirs in _CHOICES.items() if ours != "named"}
_TOOL_KEYS = frozenset(("type", "name", "description", "input_schema", "strict", "cache_control"))
#: Values that change nothing, or only how soon the pieces of a call are sent.
_DEFAULTS: Mapping[str, Sequence[Any]] = {
    "caller": ({"type": "direct"},),
    "allowed_callers": (["direct"],),
    "defer_loading": (False,),
    "eager_input_streaming": (True, False),
}


def has_more(item: Mapping[str, Any], keys: frozenset[str]) -> bool:
    """Whether *item* has keys beside these whose values are not the defaults: then it is Anthropic's own."""
    rest = ((key, value) for key, value in item.items() if key not in keys and value is not None)
    return any(value not in _DEFAULTS.get(key, ()) for key, value in rest)


# -- all parameters ----------------------------------------------------------------------------------------------------


def write_params(params: CompletionParams, provider: str) -> dict[str, Any]:
    """The parameters that are set, without the conversation and the thinking."""
    body = named_values(params, {"temperature": "temperature", "top_p": "top_p", "stop": "stop_sequences"})
    if params.user is not None:
        body["metadata"] = {"user_id": params.user}
    if params.tools is not None or params.functions is not None:
        body["tools"] = [_write_tool(tool) for tool in functions_in(params, provider)]
    choice = _write_choice(params, provider)
    if choice is not None:
        body["tool_choice"] = choice
    _, schema, _ = schema_in(params, provider)
    if schema is not None:
        body["output_config"] = {"format": {"type": "json_schema", "schema": schema}}
    return body


def read_params(fields: Fields) -> tuple[dict[str, Any], dict[str, Any]]:
    """Our parameters, without the conversation, and the fields of the request that they do not cover."""
    ours: dict[str, Any] = {
        "max_tokens": fields.need("max_tokens", int),
        "temperature": fields.take("temperature", float),
        "top_p": fields.take("top_p", float),
        "stop": _read_stop(fields),
        "tools": [_read_tool(tool, item) for tool, item in fields.objects("tools")] or None,
    }
    rest: dict[str, Any] = {}
    for name, read in (("tool_choice", _read_choice), ("metadata", _read_user)):
        if (body := fields.take(name, dict)) is not None:
            inner = Fields(body, name)
            ours.update(read(inner))
            rest.update({name: body} if inner.rest() else {})
    thinking, thinking_rest = _read_thinking_and_output(fields)
    return {**ours, **thinking}, {**rest, **thinking_rest}


def _read_stop(fields: Fields) -> list[str] | None:
    texts: list[str] | None = fields.take("stop_sequences", list)
    if not all(isinstance(text, str) for text in texts or ()):
        raise wrong("stop_sequences", "stop_sequences must be a list of strings")
    return texts or None


def _read_user(metadata: Fields) -> dict[str, Any]:
    return {"user": metadata.take("user_id", str)}


# -- tools -------------------------------------------------------------------------------------------------------------


def _write_tool(tool: Function | Mapping[str, Any]) -> Mapping[str, Any]:
    """A function; a tool of Anthropic's own (web search) as it is."""
    if not isinstance(tool, Function):
        return tool
    schema = {"type": "object", **(tool.parameters or {"properties": {}})}
    optional = {name: getattr(tool, name) for name in ("description", "strict", "cache_control")}
    return {"name": tool.name, "input_schema": schema, **without_none(optional)}


def _read_tool(tool: Fields, item: Mapping[str, Any]) -> Mapping[str, Any]:
    """A function in OpenAI's shape; a tool of Anthropic's own as it is."""
    if tool.take("type", str) not in (None, "custom") or has_more(item, _TOOL_KEYS):
        return item
    function = {
        "name": tool.need("name", str),
        "description": tool.take("description", str),
        "parameters": tool.need("input_schema", dict),
        "strict": tool.take("strict", bool),
    }
    cached = {"cache_control": tool.take("cache_control", dict)}
    return {"type": "function", "function": without_none(function), **without_none(cached)}


def _write_choice(params: CompletionParams, provider: str) -> dict[str, Any] | None:
    kind, name = tool_choice_in(params, provider)
    one_at_a_time = params.parallel_tool_calls is False
    if kind is None and not one_at_a_time:
        return None
    choice: dict[str, Any] = {"type": _CHOICES[kind or "auto"], **without_none({"name": name})}
    return {**choice, "disable_parallel_tool_use": True} if one_at_a_time and kind != "none" else choice


def _read_choice(choice: Fields) -> dict[str, Any]:
    kind = choice.need("type", str)
    parallel = False if choice.take("disable_parallel_tool_use", bool) else None
    if kind == _CHOICES["named"]:
        named = {"type": "function", "function": {"name": choice.need("name", str)}}
        return {"parallel_tool_calls": parallel, "tool_choice": named}
    if kind not in _CHOICES_READ:
        raise wrong("tool_choice.type", f"tool_choice.type must be auto, any, tool or none, not {kind!r:.80}")
    return {"parallel_tool_calls": parallel, "tool_choice": _CHOICES_READ[kind]}


# -- thinking, and the form of the answer ------------------------------------------------------------------------------


def thinking_bodies(body: dict[str, Any], params: CompletionParams, provider: str) -> list[dict[str, Any]]:
    """
    *body* with ``max_tokens`` and ``thinking``; then, where an effort became a budget, the same for newer models.

    ``max_tokens`` is required.
    """
    max_tokens = _DEFAULT_MAX_TOKENS if params.max_tokens is None else params.max_tokens
    budget = budget_of(params, provider)
    if budget is None:
        return [{**body, "max_tokens": max_tokens}]
    body = {**body, "max_tokens": max_tokens_with(max_tokens, budget)}
    return [merge_objects(body, fields) for fields in thinking_fields(params, budget)]


def _read_thinking_and_output(fields: Fields) -> tuple[dict[str, Any], dict[str, Any]]:
    """The effort of thinking stands in ``output_config``, so both are read together."""
    thinking_body, output_body = fields.take("thinking", dict) or {}, fields.take("output_config", dict) or {}
    thinking, output = Fields(thinking_body, "thinking"), Fields(output_body, "output_config")
    kind = thinking.need("type", str) if thinking_body else None
    ours: dict[str, Any] = {}
    if kind == "enabled":
        ours["thinking_budget"] = thinking.need("budget_tokens", int)
    elif kind == "disabled":
        ours["thinking_budget"] = 0
    elif kind == "adaptive":
        ours["reasoning_effort"] = output.take("effort", str) or _DEFAULT_EFFORT
    is_shown = thinking.take("display", str) in (None, "summarized")
    is_ours = is_shown and kind in (None, "enabled", "disabled", "adaptive") and not thinking.rest()
    form, where = output.take("format", dict), "output_config.format"
    if form is None:
        form, where = fields.take("output_format", dict), "output_format"  # the older name
    if form is not None:
        ours["response_format"] = _read_format(Fields(form, where), where)
    rest = {} if is_ours else {"thinking": thinking_body}
    return ours, {**rest, "output_config": output_body} if output.rest() else rest


def _read_format(form: Fields, where: str) -> dict[str, Any]:
    kind = form.need("type", str)
    if kind != "json_schema":
        raise wrong(f"{where}.type", f"{where}.type must be json_schema, not {kind!r:.80}")
    schema = form.need("schema", dict)
    return {"type": "json_schema", "json_schema": {"name": form.take("name", str) or "answer", "schema": schema}}
