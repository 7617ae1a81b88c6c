"""
Parameters in both directions: settings, the form of the answer, thinking, tools, the choice among them.

`write_params` makes the fields of a provider's request. `RequestParams` reads those of a client's request: what our
parameters can hold is taken out of them; the rest stays where it was, object in object, so that a provider of Google's
format finds it in its place.

Sources: https://ai.google.dev/api/generate-content, https://ai.google.dev/gemini-api/docs/thinking,
https://ai.google.dev/gemini-api/docs/structured-output, https://ai.google.dev/api/caching#FunctionCallingConfig,
https://ai.google.dev/api/caching#Schema
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from anyllm.types import CompletionParams
from anyllm.wire._base.conversation import Function, functions_in, schema_in, tool_choice_in
from anyllm.wire._base.encode_json import effort_in
from anyllm.wire._base.json_values import without_none
from anyllm.wire._base.request_fields import Fields
from anyllm.wire.gemini.fields import BUDGETS, JSON_TYPE, LEVELS, MODES, SETTINGS, UNSPECIFIED
from anyllm.wire.gemini.parts import camel_case

_GENERATION = re.compile(r"gemini-(?:[a-z]+-)*(\d+)")
_CHOICES = {mode: choice for choice, mode in MODES.items()}
#: Keys of a function that describe its results.
_RESULT_KEYS = frozenset(("response", "responseJsonSchema"))

#: Counts in a schema, which the JSON of Google's own libraries writes as text.
_COUNTS = ("maxItems", "maxLength", "maxProperties", "minItems", "minLength", "minProperties")
#: Keys of Google's subset of OpenAPI that JSON schema has under other names.
_SCHEMA_KEYS = {"defs": "$defs", "ref": "$ref"}

# -- writing -----------------------------------------------------------------------------------------------------------


def write_params(params: CompletionParams, model: str, provider: str) -> dict[str, Any]:
    """
    The fields without the conversation; the form of thinking depends on *model*.

    Raises:
        UnsupportedParameterError: Google does not support a parameter.
        InvalidRequestError: the parameters cannot be sent at all.
    """
    config = without_none({theirs: getattr(params, ours) for ours, (theirs, _) in SETTINGS.items()})
    if params.stop is not None:
        config["stopSequences"] = [params.stop] if isinstance(params.stop, str) else params.stop
    kind, schema, _ = schema_in(params, provider)
    if kind is not None:
        config.update({"responseMimeType": JSON_TYPE, **without_none({"responseJsonSchema": schema})})
    thinking = _write_thinking(params, model, provider)
    if thinking:
        config["thinkingConfig"] = thinking
    body = {"generationConfig": config, "tools": _write_tools(params, provider)}
    choice, name = tool_choice_in(params, provider)
    if choice is not None:
        names = {} if name is None else {"allowedFunctionNames": [name]}
        body["toolConfig"] = {"functionCallingConfig": {"mode": MODES.get(choice, "ANY"), **names}}
    return {key: value for key, value in body.items() if value}


def _write_thinking(params: CompletionParams, model: str, provider: str) -> dict[str, Any] | None:
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


def _has_levels(model: str) -> bool:
    """Whether a model thinks by levels: the third generation and later; "gemini-flash-latest" always is one."""
    generation = _GENERATION.search(model)
    if generation is None:
        return "gemini-" in model and model.endswith("-latest")
    return int(generation[1]) >= 3


def _write_tools(params: CompletionParams, provider: str) -> list[dict[str, Any]]:
    """
    The functions, and Google's own tools as they are.

    A schema goes under the key for JSON Schema, not under that for the subset of OpenAPI. ``strict`` has no equal:
    Google keeps to the schema in every forced call.
    """
    tools = functions_in(params, provider)
    functions = [
        without_none({"name": tool.name, "description": tool.description, "parametersJsonSchema": tool.parameters})
        for tool in tools
        if isinstance(tool, Function)
    ]
    declared: list[dict[str, Any]] = [{"functionDeclarations": functions}] if functions else []
    return declared + [dict(tool) for tool in tools if not isinstance(tool, Function)]


# -- reading -----------------------------------------------------------------------------------------------------------


class RequestParams:
    """
    The parameters of a client's request.

    Attributes:
        values: Our parameters.
        unknown_fields: Fields for which there is no parameter.
        ignorable_fields: Fields that only providers of Google's format need.
        include_thoughts: Whether the client asks for the thoughts.

    Raises:
        InvalidRequestError: a field is malformed.
    """

    def __init__(self, fields: Fields) -> None:
        self.values: dict[str, Any] = {}
        self.unknown_fields: dict[str, Any] = {}
        self.ignorable_fields: dict[str, Any] = {}
        self._read_config(fields.optional_object("generationConfig"))
        self._read_tools(fields.objects("tools"))
        self._read_choice(fields.optional_object("toolConfig"))

    def _read_config(self, fields: Fields) -> None:
        for ours, (name, kind) in SETTINGS.items():
            self.values[ours] = fields.integer(name) if kind is int else fields.take(name, kind)
        self.values["stop"] = fields.texts("stopSequences")
        own = {**self._read_format(fields), **self._read_thinking(fields.optional_object("thinkingConfig"))}
        modalities = fields.take("responseModalities", list)
        if modalities not in (None, [], ["TEXT"]):
            own["responseModalities"] = modalities
        own = {**fields.rest(), **own}
        if own:
            self.unknown_fields["generationConfig"] = own

    def _read_format(self, fields: Fields) -> dict[str, Any]:
        """The form of the answer; one of our own parameters cannot express, as Google has it."""
        kind = fields.take("responseMimeType", str)
        schema, whole = fields.take("responseSchema", dict), fields.take("responseJsonSchema", dict)
        if kind not in (None, "", "text/plain", JSON_TYPE):  # one of a list, for example, which is no JSON
            return without_none({"responseMimeType": kind, "responseSchema": schema, "responseJsonSchema": whole})
        if schema is not None or whole is not None:
            inner = {"name": "answer", "schema": _json_schema(schema) if whole is None else whole}
            self.values["response_format"] = {"type": "json_schema", "json_schema": inner}
        elif kind == JSON_TYPE:
            self.values["response_format"] = {"type": "json_object"}
        return {}

    def _read_thinking(self, thinking: Fields) -> dict[str, Any]:
        budget, level = thinking.integer("thinkingBudget"), thinking.take("thinkingLevel", str) or ""
        asks_for_thoughts = thinking.take("includeThoughts", bool)
        self.include_thoughts = bool(asks_for_thoughts)
        self.values["thinking_budget"] = budget
        if level and not level.endswith(UNSPECIFIED):
            self.values["reasoning_effort"] = level.lower()
        # Google's models send thoughts on request, and our requests with a budget or an effort always request them.
        is_set = asks_for_thoughts is not None or budget or self.values.get("reasoning_effort")
        include = {"includeThoughts": self.include_thoughts} if is_set else {}
        rest = thinking.rest()
        if include and not rest:
            self.ignorable_fields["generationConfig"] = {"thinkingConfig": include}
        return {"thinkingConfig": {**rest, **include}} if rest else {}

    def _read_tools(self, tools: Sequence[tuple[Fields, Any]]) -> None:
        """
        The functions. All tools stay as they came, too, if some are Google's own; and so they do, to be ignored by
        others, if functions describe their results, which the official client does for each Python function.
        """
        functions: list[dict[str, Any]] = []
        has_own, describes_results = False, False
        for fields, _ in tools:
            for inner, _ in fields.objects("functionDeclarations"):
                functions.append({"type": "function", "function": _read_function(inner)})
                more = inner.rest().keys()
                has_own, describes_results = has_own or not more <= _RESULT_KEYS, describes_results or bool(more)
            has_own = has_own or bool(fields.keys())
        self.values["tools"] = functions or None
        if has_own or describes_results:
            rest = self.unknown_fields if has_own else self.ignorable_fields
            rest["tools"] = [tool for _, tool in tools]

    def _read_choice(self, fields: Fields) -> None:
        calling = fields.optional_object("functionCallingConfig")
        mode, names = calling.take("mode", str) or "", calling.texts("allowedFunctionNames") or []
        choice: Any = _CHOICES.get(mode.upper())
        own = calling.rest()
        if choice is None and mode and not mode.endswith(UNSPECIFIED):
            own["mode"] = mode
        if choice == "required" and len(names) == 1:
            choice = {"type": "function", "function": {"name": names[0]}}
        elif names:
            own["allowedFunctionNames"] = names
        self.values["tool_choice"] = choice
        own = {**fields.rest(), **({"functionCallingConfig": own} if own else {})}
        if own:
            self.unknown_fields["toolConfig"] = own


def _read_function(fields: Fields) -> dict[str, Any]:
    function = {"name": fields.need("name", str), "description": fields.take("description", str)}
    schema, whole = fields.take("parameters", dict), fields.take("parametersJsonSchema", dict)
    function["parameters"] = whole if whole is not None else _json_schema(schema)
    return without_none(function)


def _json_schema(value: Any) -> Any:
    """A schema in Google's subset of OpenAPI, as JSON schema."""
    if not isinstance(value, Mapping):
        return value
    schema: dict[str, Any] = {}
    for name, item in value.items():
        key: str = _SCHEMA_KEYS.get(name) or camel_case(name)
        if key == "type" and isinstance(item, str):
            schema.update({} if item.endswith(UNSPECIFIED) else {key: item.lower()})
        elif key in ("properties", "$defs") and isinstance(item, Mapping):
            schema[key] = {inner: _json_schema(of) for inner, of in item.items()}
        elif key in ("anyOf", "prefixItems") and isinstance(item, list):
            schema[key] = [_json_schema(of) for of in item]
        elif key in ("items", "additionalProperties"):
            schema[key] = _json_schema(item)
        elif key in _COUNTS and isinstance(item, str) and item.isdecimal() and item.isascii():
            schema[key] = int(item)
        elif key == "$ref" and isinstance(item, str):
            schema[key] = item.replace("#/defs/", "#/$defs/")
        elif item is not None and key != "nullable":
            schema[key] = item
    return _or_null(schema) if value.get("nullable") is True else schema


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    if isinstance(schema.get("type"), str):
        schema["type"] = [schema["type"], "null"]
    for key, null in (("anyOf", {"type": "null"}), ("enum", None)):
        if isinstance(schema.get(key), list):
            schema[key] = [*schema[key], null]
    return schema
