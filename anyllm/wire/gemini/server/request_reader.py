"""
Requests in Google's ``generateContent``: contents become messages, settings become parameters.

Strategy: keys that a message, a tool or a parameter of ours can hold are taken out of the request; the others stay
where they were, object in object, so that a provider of Google's format finds them in their places. Keys are read in
camelCase, and in the snake_case that some clients send. Calls need no id there: one without gets one, and so does its
result.

Sources: https://ai.google.dev/api/generate-content, https://ai.google.dev/api/caching#Content
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Optional

import attrs

from anyllm.wire._base.chat_request import ChatRequest, MadeIds, params_of, parted
from anyllm.wire._base.json_values import without_none
from anyllm.wire._base.request_fields import Fields, wrong
from anyllm.wire.gemini.candidate import Candidate
from anyllm.wire.gemini.content import TOOL_PARTS
from anyllm.wire.gemini.dialect import GeminiDialect
from anyllm.wire.gemini.fields import JSON_TYPE, MODES, SETTINGS, UNSPECIFIED
from anyllm.wire.gemini.server.parts import GoogleFields, content_part, parts_in, refuse_rest, result_text
from anyllm.wire.gemini.server.schema import json_schema
from anyllm.wire.gemini.server.seal import unsealed
from anyllm.wire.gemini.server.writer import Gemini

__all__ = ["read_generate"]

#: Settings by type; all others are integers.
_NUMBERS, _FLAGS = ("temperature", "top_p"), ("logprobs",)
_CHOICES = {mode: choice for choice, mode in MODES.items()}

#: Roles of turns; results stand in a user's turn, or had roles of their own in earlier versions.
_MODEL, _OTHERS = "model", ("user", "function", "tool")

#: How the answer is billed and counted.
_IGNORABLE = frozenset(("labels", "serviceTier"))
#: Keys of a function that describe its results.
_RESULT_KEYS = frozenset(("response", "responseJsonSchema"))


def read_generate(body: Any, *, model: str, stream: bool, array: bool = False) -> ChatRequest:
    """
    A request for an answer; its URL has the model and the method.

    Args:
        model: With or without "models/".
        stream: Whether the method is ``streamGenerateContent``.
        array: Whether the stream is a JSON list: without ``alt=sse``.

    Raises:
        InvalidRequestError: it is malformed.
    """
    try:
        return _read(body, model[len("models/") :] if model.startswith("models/") else model, stream, array)
    except RecursionError as exc:
        raise wrong(None, "the body is nested too deeply") from exc


def _read(body: Any, model: str, stream: bool, array: bool) -> ChatRequest:
    fields = GoogleFields(body)
    fields.take("model")  # some clients repeat it; the URL counts
    messages = _system(fields.take("systemInstruction", dict))
    messages += _Conversation().read(fields.need("contents", list))
    config = _Config(fields.optional_object("generationConfig"))
    tools, own_tools, ignorable_tools = _tools(fields.objects("tools"))
    choice, own_choice = _choice(fields.optional_object("toolConfig"))
    params = params_of({**config.params, "model": model, "messages": messages, "tools": tools, "tool_choice": choice})
    own = {"generationConfig": config.unknown_fields, "tools": own_tools, "toolConfig": own_choice}
    unknown_fields, ignorable_fields = parted({**fields.rest(), **_nonempty(own)}, _IGNORABLE)
    ignorable_fields.update(_nonempty({"generationConfig": config.ignorable_fields, "tools": ignorable_tools}))
    answer_format = Gemini(model, array, include_thoughts=config.include_thoughts)
    return ChatRequest(params, stream, answer_format, unknown_fields, (GeminiDialect,), ignorable_fields)


# -- the conversation --------------------------------------------------------------------------------------------------


def _system(value: Optional[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The system message, if there is an instruction; its role has no meaning."""
    if value is None:
        return []
    fields = GoogleFields(value, "systemInstruction")
    fields.take("role")
    return _message("system", list(parts_in(fields, "systemInstruction")))


class _Conversation:
    """The messages of one conversation."""

    def __init__(self) -> None:
        self._messages: list[dict[str, Any]] = []
        self._open: dict[str, str] = {}  # the functions of calls without a result yet, by id
        self._names: dict[str, str] = {}  # of all calls
        self._ids = MadeIds()

    def read(self, contents: Sequence[Any]) -> list[dict[str, Any]]:
        answer: list[Fields] = []  # in several contents where a client stored a stream's
        for place, content in enumerate(contents):
            where = f"contents[{place}]"
            fields = GoogleFields(content, where)
            role = fields.take("role", str) or "user"
            if role != _MODEL and role not in _OTHERS:
                raise wrong(f"{where}.role", f"{where}.role must be user or model, not {role[:40]!r}")
            parts = list(parts_in(fields, where))
            if role == _MODEL:
                answer += parts
                continue
            self._add_answer(answer)
            answer = []
            self._add_turn(parts)
        self._add_answer(answer)
        return self._messages

    def _add_turn(self, parts: Sequence[Fields]) -> None:
        """A turn that is not the model's: results of calls and content of the user, in their order."""
        content: list[Fields] = []
        for fields in parts:
            result = fields.take("functionResponse", dict)
            if result is None:
                content.append(fields)
                continue
            self._messages += _message("user", content)
            content = []
            self._messages.append(self._result(GoogleFields(result, "functionResponse")))
        self._messages += _message("user", content)

    def _result(self, fields: Fields) -> dict[str, Any]:
        name = fields.need("name", str)
        call_id = fields.take("id", str) or next((open_id for open_id, of in self._open.items() if of == name), None)
        call_id = call_id or self._ids.new(self._names)
        self._open.pop(call_id, None)
        content: Any = result_text(fields.take("response", dict) or {})
        media = [content_part(part) for part in parts_in(fields, "functionResponse")]
        refuse_rest(fields, "functionResponse")
        message = {"role": "tool", "tool_call_id": call_id}
        message["content"] = [{"type": "text", "text": content}, *media] if media else content
        return message if self._names.get(call_id) == name else {**message, "name": name}

    def _add_answer(self, parts: Sequence[Fields]) -> None:
        """An answer of the model, whose text, thoughts and calls are read as those of an answer to us are."""
        read: list[dict[str, Any]] = []
        content: list[dict[str, Any]] = []
        has_media, seal = False, None
        for fields in parts:
            part = fields.rest()
            sealed = unsealed(part["thoughtSignature"]) if fields.take("thoughtSignature", str) else None
            if sealed is not None:  # another provider's
                seal = sealed
                del part["thoughtSignature"]
            fields.take("thought", bool)
            call = fields.take("functionCall", dict)
            if call is not None:
                part["functionCall"] = self._call(GoogleFields(call, "functionCall"))
                refuse_rest(fields, "functionCall")
            elif not TOOL_PARTS.isdisjoint(part):
                content.append({"type": "part", "extra": part})
            elif fields.take("text", str) is None and fields.rest():
                has_media = True
                content.append(content_part(fields, part.get("thoughtSignature")))
                continue
            elif part.get("thought") is not True:
                extra = {key: value for key, value in part.items() if key not in ("text", "thought")}
                has_media = has_media or bool(extra.keys() - {"thoughtSignature"})
                if part.get("text") or extra:
                    content.append({"type": "text", "text": part.get("text") or "", "extra": extra or None})
            else:
                has_media = has_media or bool(fields.rest())
            read.append(part)
        try:
            delta = Candidate().delta({"content": {"parts": read}}, None)
        except ValueError as exc:
            raise wrong("contents", str(exc)) from exc
        reasoning = delta.reasoning
        if seal is not None:
            reasoning = attrs.evolve(seal, content=reasoning.content if reasoning else None)
        message = {
            "content": content if has_media else delta.content,
            "tool_calls": [attrs.evolve(call, index=0) for call in delta.tool_calls or ()],  # as clients send them
            "reasoning": reasoning,
        }
        if any(message.values()):
            self._messages.append({"role": "assistant", **_nonempty(message)})

    def _call(self, fields: Fields) -> dict[str, Any]:
        """A ``functionCall`` with an id."""
        name, call_id = fields.need("name", str), fields.take("id", str) or self._ids.new(self._names)
        call = {"id": call_id, "name": name, "args": fields.take("args", dict) or {}}
        refuse_rest(fields, "functionCall")
        self._open[call_id] = self._names[call_id] = name
        return call


def _message(role: str, parts: Sequence[Fields]) -> list[dict[str, Any]]:
    """The message of *parts*, if there are any; a single text is a text."""
    content = [content_part(fields) for fields in parts]
    if not content:
        return []
    is_text = len(content) == 1 and content[0].keys() == {"type", "text"}
    return [{"role": role, "content": content[0]["text"] if is_text else content}]


# -- tools -------------------------------------------------------------------------------------------------------------


def _tools(
    tools: Sequence[tuple[Fields, Any]],
) -> tuple[Optional[list[dict[str, Any]]], Optional[list[Any]], Optional[list[Any]]]:
    """
    The functions; all tools as they came, if some are Google's own; and all tools as they came, if functions only
    describe their results, which the official client does for each Python function.
    """
    functions: list[dict[str, Any]] = []
    has_own, describes_results = False, False
    for fields, _ in tools:
        for inner, _ in fields.objects("functionDeclarations"):
            functions.append({"type": "function", "function": _function(inner)})
            more = inner.rest().keys()
            has_own, describes_results = has_own or not more <= _RESULT_KEYS, describes_results or bool(more)
        has_own = has_own or bool(fields.keys())
    whole = [tool for _, tool in tools]
    return functions or None, whole if has_own else None, whole if describes_results and not has_own else None


def _function(fields: Fields) -> dict[str, Any]:
    function = {"name": fields.need("name", str), "description": fields.take("description", str)}
    schema, whole = fields.take("parameters", dict), fields.take("parametersJsonSchema", dict)
    function["parameters"] = whole if whole is not None else None if schema is None else json_schema(schema)
    return without_none(function)


def _choice(fields: Fields) -> tuple[Any, dict[str, Any]]:
    """Our ``tool_choice``, and the settings that it cannot express, as Google has them."""
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
    return choice, {**fields.rest(), **({"functionCallingConfig": own} if own else {})}


# -- settings ----------------------------------------------------------------------------------------------------------


class _Config:
    """
    A ``generationConfig``.

    Attributes:
        params: Our parameters.
        unknown_fields: Settings for which there is no parameter.
        ignorable_fields: Settings that only providers of Google's format need.
        include_thoughts: Whether the client asks for the thoughts.
    """

    def __init__(self, fields: Fields) -> None:
        self.params: dict[str, Any] = {}
        for ours, name in SETTINGS.items():
            if ours in _NUMBERS or ours in _FLAGS:
                self.params[ours] = fields.take(name, float if ours in _NUMBERS else bool)
            else:
                self.params[ours] = fields.integer(name)
        self.params["stop"] = fields.texts("stopSequences")
        own = {**self._format(fields), **self._thinking(fields)}
        modalities = fields.take("responseModalities", list)
        if modalities not in (None, [], ["TEXT"]):
            own["responseModalities"] = modalities
        self.unknown_fields = {**fields.rest(), **own}

    def _format(self, fields: Fields) -> dict[str, Any]:
        kind = fields.take("responseMimeType", str)
        schema, whole = fields.take("responseSchema", dict), fields.take("responseJsonSchema", dict)
        if kind not in (None, "", "text/plain", JSON_TYPE):  # one of a list, for example, which is no JSON
            own = {"responseMimeType": kind, "responseSchema": schema, "responseJsonSchema": whole}
            return without_none(own)
        if schema is not None or whole is not None:
            inner = {"name": "answer", "schema": json_schema(schema) if whole is None else whole}
            self.params["response_format"] = {"type": "json_schema", "json_schema": inner}
        elif kind == JSON_TYPE:
            self.params["response_format"] = {"type": "json_object"}
        return {}

    def _thinking(self, fields: Fields) -> dict[str, Any]:
        thinking = fields.optional_object("thinkingConfig")
        budget, level = thinking.integer("thinkingBudget"), thinking.take("thinkingLevel", str) or ""
        asks_for_thoughts = thinking.take("includeThoughts", bool)
        self.include_thoughts = bool(asks_for_thoughts)
        self.params["thinking_budget"] = budget
        if level and not level.endswith(UNSPECIFIED):
            self.params["reasoning_effort"] = level.lower()
        # Google's models send thoughts on request, and our requests with a budget or an effort always request them.
        is_set = asks_for_thoughts is not None or budget or self.params.get("reasoning_effort")
        include = {"includeThoughts": self.include_thoughts} if is_set else {}
        rest = thinking.rest()
        self.ignorable_fields = {"thinkingConfig": include} if include and not rest else {}
        return {"thinkingConfig": {**rest, **include}} if rest else {}


def _nonempty(own: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in own.items() if value}
