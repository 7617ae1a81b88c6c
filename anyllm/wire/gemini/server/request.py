"""
Requests in Google's ``generateContent``: contents become messages, settings become parameters.

Strategy: what goes into a message, a tool or a parameter of ours is taken out of the request; the rest stays where it
was, object in object, so that a host of Google's finds it in its place. Keys are read in camelCase, and in the
snake_case that some clients send. Calls need no id there: one without is given one, and so is its result.

Sources: https://ai.google.dev/api/generate-content, https://ai.google.dev/api/caching#Content
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Optional

import attrs

from anyllm.errors import AnyLLMError
from anyllm.types import Message, Reasoning, _convert
from anyllm.wire._base.chat_request import ChatRequest, MadeIds, params_of, parted
from anyllm.wire._base.request_fields import Fields, wrong
from anyllm.wire._base.writer import json_bytes
from anyllm.wire.gemini import signatures
from anyllm.wire.gemini.contents import contents_in_json
from anyllm.wire.gemini.dialect import GeminiDialect as Dialect
from anyllm.wire.gemini.server.writer import Gemini, unsealed
from anyllm.wire.gemini.tool_calls import with_signature

__all__ = ["read_generate"]

#: Google's settings, and our parameters.
_NUMBERS = {"temperature": "temperature", "topP": "top_p"}
_INTEGERS = {"maxOutputTokens": "max_tokens", "candidateCount": "n", "seed": "seed", "logprobs": "top_logprobs"}
_MODES = {"AUTO": "auto", "NONE": "none", "ANY": "required"}
_JSON = "application/json"

#: Whose turn it is; results are a user's, or had roles of their own in earlier versions.
_MODEL, _OTHERS = "model", ("user", "function", "tool")
_SOUNDS = {"mpeg": "mp3", "x-wav": "wav"}
_IMAGES = (".png", ".jpg", ".jpeg", ".gif", ".webp", ".heic", ".heif")

#: Counts in a schema, which the JSON of Google's own libraries writes as text.
_COUNTS = ("maxItems", "maxLength", "maxProperties", "minItems", "minLength", "minProperties")
#: Keys of Google's subset of OpenAPI that JSON schema has under other names, in snake_case too.
_KEYS = {
    **{re.sub("[A-Z]", lambda found: f"_{found[0].lower()}", name): name for name in _COUNTS},
    "any_of": "anyOf",
    "additional_properties": "additionalProperties",
    "property_ordering": "propertyOrdering",
    "defs": "$defs",
    "ref": "$ref",
}
#: How the answer is billed and counted.
_HINTS = frozenset(("labels", "serviceTier"))
_UNSPECIFIED = "_UNSPECIFIED"
#: What a function may say of its results.
_ANSWERS = frozenset(("response", "responseJsonSchema"))
_SNAKE = re.compile(r"_([a-z0-9])")


def read_generate(body: Any, *, model: str, stream: bool, array: bool = False) -> ChatRequest:
    """
    A request for an answer; what it asks, and whether as it comes, stands in its URL.

    Args:
        model: With or without "models/".
        stream: Whether the method is ``streamGenerateContent``.
        array: Whether a stream is wanted as a JSON list: without ``alt=sse``.

    Raises:
        InvalidRequestError: it cannot be understood.
    """
    try:
        return _read(body, model[len("models/") :] if model.startswith("models/") else model, stream, array)
    except RecursionError as exc:
        raise wrong(None, "the body is nested too deeply") from exc


def _read(body: Any, model: str, stream: bool, array: bool) -> ChatRequest:
    fields = _fields(body)
    fields.take("model")  # which some say again; the URL counts
    system = fields.take("systemInstruction", dict)
    messages = [] if system is None else _told(system)
    messages += _Conversation().read(fields.need("contents", list))
    config = _Config(fields.take("generationConfig", dict) or {})
    tools, own_tools, hinted_tools = _tools(fields.take("tools", list))
    choice, own_choice = _choice(fields.take("toolConfig", dict))
    params = params_of({**config.given, "model": model, "messages": messages, "tools": tools, "tool_choice": choice})
    own = {"generationConfig": config.unknown_fields, "tools": own_tools, "toolConfig": own_choice}
    unknown_fields, ignorable_fields = parted({**fields.rest(), **_said(own)}, _HINTS)
    ignorable_fields.update(_said({"generationConfig": config.ignorable_fields, "tools": hinted_tools}))
    wanted = Gemini(model, array, include_thoughts=config.include_thoughts)
    return ChatRequest(params, stream, wanted, unknown_fields, (Dialect,), ignorable_fields)


# -- the conversation --------------------------------------------------------------------------------------------------


def _told(value: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What the model is told before the conversation; its role says nothing."""
    fields = _fields(value, "systemInstruction")
    fields.take("role")
    return _shown("system", list(_parts(fields, "systemInstruction")))


class _Conversation:
    """Messages of one conversation, as they are read."""

    def __init__(self) -> None:
        self._messages: list[dict[str, Any]] = []
        self._calls: dict[str, str] = {}  # the functions of calls that have no result yet, by id
        self._known: dict[str, str] = {}  # of all calls
        self._made = MadeIds()

    def read(self, contents: Sequence[Any]) -> list[dict[str, Any]]:
        answer: list[Fields] = []  # in several pieces where a client kept a stream's
        for place, content in enumerate(contents):
            where = f"contents[{place}]"
            fields = _fields(content, where)
            role = fields.take("role", str) or "user"
            if role != _MODEL and role not in _OTHERS:
                raise wrong(f"{where}.role", f"{where}.role must be user or model, not {role[:40]!r}")
            parts = list(_parts(fields, where))
            if role == _MODEL:
                answer += parts
                continue
            self._add_answer(answer)
            answer = []
            self._add_turn(parts)
        self._add_answer(answer)
        return self._messages

    def _add_turn(self, parts: Sequence[Fields]) -> None:
        """A turn that is not the model's: results of calls, and what the user says, in their order."""
        shown: list[Fields] = []
        for fields in parts:
            result = fields.take("functionResponse", dict)
            if result is None:
                shown.append(fields)
                continue
            self._messages += _shown("user", shown)
            shown = []
            self._messages.append(self._result(_fields(result, "functionResponse")))
        self._messages += _shown("user", shown)

    def _result(self, fields: Fields) -> dict[str, Any]:
        name = fields.need("name", str)
        call_id = fields.take("id", str) or next((made for made, of in self._calls.items() if of == name), None)
        call_id = call_id or self._made.new(self._known)
        self._calls.pop(call_id, None)
        content: Any = _result_text(fields.take("response", dict) or {})
        shown = [_shown_part(part) for part in _parts(fields, "functionResponse")]
        _refuse(fields, "functionResponse")
        message = {"role": "tool", "tool_call_id": call_id}
        message["content"] = [{"type": "text", "text": content}, *shown] if shown else content
        return message if self._known.get(call_id) == name else {**message, "name": name}

    def _add_answer(self, parts: Sequence[Fields]) -> None:
        answer = _Answer()
        for fields in parts:
            call = fields.take("functionCall", dict)
            if call is None:
                answer.add(fields)
            else:
                answer.calls.append(self._call(_fields(call, "functionCall"), answer.signature_of(fields)))
                _refuse(fields, "functionCall")
        message = answer.message()
        if len(message) > 1:
            self._messages.append(message)

    def _call(self, fields: Fields, signature: Optional[str]) -> dict[str, Any]:
        name, call_id = fields.need("name", str), fields.take("id", str) or self._made.new(self._known)
        arguments = json_bytes(fields.take("args", dict) or {}).decode()
        _refuse(fields, "functionCall")
        self._calls[call_id] = self._known[call_id] = name
        call: dict[str, Any] = {"id": call_id, "function": {"name": name, "arguments": arguments}}
        return {**call, "extra_content": with_signature(signature)} if signature else call


class _Answer:
    """One answer of the model's, as its parts are read; see `signatures` for how it is kept."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []
        self._texts: list[str] = []
        self._thoughts: list[str] = []
        self._details: list[dict[str, Any]] = []
        self._signature: Optional[str] = None
        self._seal: Optional[Reasoning] = None
        self._parts: list[dict[str, Any]] = []  # the same as parts of a content
        self._is_shown = False  # there is more in them than text

    def signature_of(self, fields: Fields) -> Optional[str]:
        """The signature of a part, if it is Google's; what another provider had sealed is kept."""
        fields.take("thought", bool)
        signature: Optional[str] = fields.take("thoughtSignature", str)
        found = unsealed(signature) if signature else None
        self._seal = found or self._seal
        return None if found else signature or None

    def add(self, fields: Fields) -> None:
        """A part that is no call."""
        whole = fields.rest()
        if not signatures.TOOL_PARTS.isdisjoint(whole):
            self._details.append(signatures.tool_part(len("".join(self._texts)), whole))
            self._parts.append({"type": "part", "extra": whole})
            return
        is_thought = whole.get("thought") is True
        signature = self.signature_of(fields)
        text = fields.take("text", str)
        rest = fields.rest()
        if text is None and rest:
            self._is_shown = True
            self._parts.append(_shown_part(fields, signature))
            return
        self._is_shown = self._is_shown or bool(rest)
        texts = self._thoughts if is_thought else self._texts
        if signature:
            of, start = "thought" if is_thought else "text", len("".join(texts))
            self._details.append(signatures.signed(of, start, len(text or ""), signature))
            self._signature = signature
            rest = {**rest, "thoughtSignature": signature}
        texts.append(text or "")
        if not is_thought and (text or rest):
            self._parts.append({"type": "text", "text": text or "", "extra": rest or None})

    def message(self) -> dict[str, Any]:
        """The message; nothing but its role if it says nothing."""
        text, thought = "".join(self._texts), "".join(self._thoughts) or None
        said: dict[str, Any] = {"content": self._parts if self._is_shown else text or None}
        said["tool_calls"] = self.calls
        if self._seal is not None:
            said["reasoning"] = attrs.evolve(self._seal, content=thought)
        elif thought or self._details:
            said["reasoning"] = Reasoning(thought, self._signature, signatures.FIELD, self._details or None)
        return {"role": "assistant", **{name: value for name, value in said.items() if value}}


def _shown(role: str, parts: Sequence[Fields]) -> list[dict[str, Any]]:
    """The message that shows *parts*, if there are any; a single text is a text."""
    shown = [_shown_part(fields) for fields in parts]
    if not shown:
        return []
    is_text = len(shown) == 1 and shown[0].keys() == {"type", "text"}
    return [{"role": role, "content": shown[0]["text"] if is_text else shown}]


def _shown_part(fields: Fields, signature: Optional[str] = None) -> dict[str, Any]:
    """A part in OpenAI's shape; what that has no words for stays Google's own."""
    text = fields.take("text", str)
    blob = fields.take("inlineData", dict) if text is None else None
    file = fields.take("fileData", dict) if text is None and blob is None else None
    extra = fields.rest()
    if signature:
        extra["thoughtSignature"] = signature
    if text is not None:
        part = {"type": "text", "text": text}
    elif blob is not None:
        part = _blob(_fields(blob, "inlineData"))
    elif file is not None:
        part = _file(_fields(file, "fileData"), dict(file))
    elif extra:
        part = {"type": next(iter(extra))}
    else:
        raise wrong("contents", "a part of the contents holds nothing")
    extra = {**part.pop("extra", {}), **extra}
    return {**part, "extra": extra} if extra else part


def _blob(fields: Fields) -> dict[str, Any]:
    kind, data = fields.need("mimeType", str), fields.need("data", str)
    name = fields.take("displayName", str)
    _refuse(fields, "inlineData")
    data = data.replace("-", "+").replace("_", "/")  # Google takes, and its clients send, base64 for URLs
    data += "=" * (-len(data) % 4)
    url = f"data:{kind};base64,{data}"
    if kind.startswith("image/"):
        return {"type": "image_url", "image_url": {"url": url}}
    if kind.startswith("audio/"):
        form = kind[len("audio/") :]
        return {"type": "input_audio", "input_audio": {"data": data, "format": _SOUNDS.get(form, form)}}
    return {"type": "file", "file": {"file_data": url, **({"filename": name} if name else {})}}


def _file(fields: Fields, said: Mapping[str, Any]) -> dict[str, Any]:
    url, kind = fields.need("fileUri", str), fields.take("mimeType", str)
    fields.take("displayName", str)
    _refuse(fields, "fileData")
    path = url.partition("?")[0].lower()
    if (kind or "").startswith("image/") or (not kind and path.endswith(_IMAGES)):
        part: dict[str, Any] = {"type": "image_url", "image_url": {"url": url}}
    else:
        part = {"type": "file", "file": {"file_data": url}}
    own = {"fileData": {**({"mimeType": kind} if kind else {}), "fileUri": url}}
    return part if _as_written(part) == own else {**part, "extra": own}


def _as_written(part: Mapping[str, Any]) -> Any:
    """What a host of Google's would get for *part*; a type that cannot be told from the address would be lost."""
    try:
        return contents_in_json([Message.user([part])], "")["contents"][0]["parts"][0]
    except AnyLLMError:
        return None


def _result_text(response: Mapping[str, Any]) -> str:
    """A result as text; Google takes objects only, so a text stands in one."""
    text = response.get("result")
    if len(response) == 1 and isinstance(text, str):
        try:
            is_object = isinstance(_convert.loads(text), dict)
        except ValueError:
            is_object = False
        if not is_object:
            return text
    return json_bytes(response).decode()


# -- tools -------------------------------------------------------------------------------------------------------------


def _tools(
    tools: Optional[Sequence[Any]],
) -> tuple[Optional[list[dict[str, Any]]], Optional[list[Any]], Optional[list[Any]]]:
    """
    The functions; and all tools as they are, where there is more to them.

    Tools of Google's own stand in the second place. Where functions only say what they answer, which their
    descriptions say for people, and the official client for each Python function, the tools stand in the third.
    """
    functions: list[dict[str, Any]] = []
    others, answers = False, False
    for place, tool in enumerate(tools or ()):
        where = f"tools[{place}]"
        fields = _fields(tool, where)
        declared = fields.take("functionDeclarations", list) or []
        others = others or not _camel(tool).keys() <= {"functionDeclarations"}
        for at, declaration in enumerate(declared):
            inner = _fields(declaration, f"{where}.functionDeclarations[{at}]")
            functions.append({"type": "function", "function": _function(inner)})
            more = inner.rest().keys()
            others, answers = others or not more <= _ANSWERS, answers or bool(more)
    whole = list(tools or ())
    return functions or None, whole if others else None, whole if answers and not others else None


def _function(fields: Fields) -> dict[str, Any]:
    said = {"name": fields.need("name", str), "description": fields.take("description", str)}
    schema, whole = fields.take("parameters", dict), fields.take("parametersJsonSchema", dict)
    said["parameters"] = whole if whole is not None else None if schema is None else _schema(schema)
    return {name: value for name, value in said.items() if value is not None}


def _choice(value: Optional[Mapping[str, Any]]) -> tuple[Any, dict[str, Any]]:
    """Which functions must be called; and what more is said of that, as Google has it."""
    if value is None:
        return None, {}
    fields = _fields(value, "toolConfig")
    calling = _fields(fields.take("functionCallingConfig", dict) or {}, "functionCallingConfig")
    mode = calling.take("mode", str) or ""
    names = calling.take("allowedFunctionNames", list) or []
    if not all(isinstance(name, str) for name in names):
        raise wrong("allowedFunctionNames", "allowedFunctionNames must be a list of strings")
    choice: Any = _MODES.get(mode.upper())
    own = calling.rest()
    if choice is None and mode and not mode.endswith(_UNSPECIFIED):
        own["mode"] = mode
    if choice == "required" and len(names) == 1:
        choice = {"type": "function", "function": {"name": names[0]}}
    elif names:
        own["allowedFunctionNames"] = names
    return choice, {**fields.rest(), **({"functionCallingConfig": own} if own else {})}


def _schema(value: Any) -> Any:
    """A schema in Google's subset of OpenAPI, as JSON schema."""
    if not isinstance(value, Mapping):
        return value
    schema: dict[str, Any] = {}
    is_nullable = False
    for name, item in value.items():
        key: str = _KEYS.get(name) or name
        if key == "nullable":
            is_nullable = item is True
        elif key == "type" and isinstance(item, str):
            schema.update({} if item.endswith(_UNSPECIFIED) else {key: item.lower()})
        elif key in ("properties", "$defs") and isinstance(item, Mapping):
            schema[key] = {inner: _schema(of) for inner, of in item.items()}
        elif key in ("anyOf", "prefixItems") and isinstance(item, list):
            schema[key] = [_schema(of) for of in item]
        elif key in ("items", "additionalProperties"):
            schema[key] = _schema(item)
        elif key in _COUNTS and isinstance(item, str) and item.isdecimal() and item.isascii():
            schema[key] = int(item)
        elif key == "$ref" and isinstance(item, str):
            schema[key] = item.replace("#/defs/", "#/$defs/")
        elif item is not None:
            schema[key] = item
    return _or_null(schema) if is_nullable else schema


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    if isinstance(schema.get("type"), str):
        schema["type"] = [schema["type"], "null"]
    if isinstance(schema.get("anyOf"), list):
        schema["anyOf"] = [*schema["anyOf"], {"type": "null"}]
    if isinstance(schema.get("enum"), list):
        schema["enum"] = [*schema["enum"], None]
    return schema


# -- settings ----------------------------------------------------------------------------------------------------------


class _Config:
    """
    A ``generationConfig``.

    Attributes:
        given: Our parameters.
        unknown_fields: What they do not say.
        ignorable_fields: What only Google's hosts need to be told.
        include_thoughts: Whether the client wants to read what the model thinks.
    """

    def __init__(self, value: Mapping[str, Any]) -> None:
        where = "generationConfig"
        fields = _fields(value, where)
        self.given: dict[str, Any] = {ours: fields.take(name, float) for name, ours in _NUMBERS.items()}
        self.given.update({ours: _whole(fields, name, where) for name, ours in _INTEGERS.items()})
        self.given["logprobs"] = fields.take("responseLogprobs", bool)
        self.given["stop"] = _texts(fields.take("stopSequences", list), f"{where}.stopSequences")
        own = {**self._format(fields), **self._thinking(fields)}
        if fields.take("responseModalities", list) not in (None, [], ["TEXT"]):
            own["responseModalities"] = value.get("responseModalities", value.get("response_modalities"))
        self.unknown_fields = {**fields.rest(), **own}

    def _format(self, fields: Fields) -> dict[str, Any]:
        kind = fields.take("responseMimeType", str)
        schema, whole = fields.take("responseSchema", dict), fields.take("responseJsonSchema", dict)
        if kind not in (None, "", "text/plain", _JSON):  # one of a list, for example, which is no JSON
            own = {"responseMimeType": kind, "responseSchema": schema, "responseJsonSchema": whole}
            return {name: said for name, said in own.items() if said is not None}
        if schema is not None or whole is not None:
            inner = {"name": "answer", "schema": _schema(schema) if whole is None else whole}
            self.given["response_format"] = {"type": "json_schema", "json_schema": inner}
        elif kind == _JSON:
            self.given["response_format"] = {"type": "json_object"}
        return {}

    def _thinking(self, fields: Fields) -> dict[str, Any]:
        where = "generationConfig.thinkingConfig"
        thinking = _fields(fields.take("thinkingConfig", dict) or {}, where)
        budget, level = _whole(thinking, "thinkingBudget", where), thinking.take("thinkingLevel", str) or ""
        wants = thinking.take("includeThoughts", bool)
        self.include_thoughts = bool(wants)
        self.given["thinking_budget"] = budget
        if level and not level.endswith(_UNSPECIFIED):
            self.given["reasoning_effort"] = level.lower()
        # Hosts of Google's tell thoughts if they are asked, which our requests with a budget or an effort always do.
        is_said = wants is not None or budget or self.given.get("reasoning_effort")
        hint = {"includeThoughts": self.include_thoughts} if is_said else {}
        rest = thinking.rest()
        self.ignorable_fields = {"thinkingConfig": hint} if hint and not rest else {}
        return {"thinkingConfig": {**rest, **hint}} if rest else {}


# -- reading -----------------------------------------------------------------------------------------------------------


def _said(own: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in own.items() if value}


def _camel(value: Any) -> dict[str, Any]:
    """The keys of an object as Google writes them; one that is there twice counts as it is written so."""
    made: dict[str, Any] = {}
    for key, item in value.items():
        name = _SNAKE.sub(lambda found: found[1].upper(), key)
        if name == key or made.get(name) is None:
            made[name] = item
    return made


def _fields(value: Any, where: str = "") -> Fields:
    return Fields(_camel(value) if isinstance(value, Mapping) else value, where)


def _parts(fields: Fields, where: str) -> Iterator[Fields]:
    """The parts of a content, which has nothing else."""
    for place, part in enumerate(fields.take("parts", list) or ()):
        yield _fields(part, f"{where}.parts[{place}]")
    if not where.startswith("functionResponse"):
        _refuse(fields, where)


def _refuse(fields: Fields, where: str) -> None:
    """What a message has no place for."""
    rest = fields.rest()
    if rest:
        raise wrong(f"{where}.{next(iter(rest))}", f"{where}: {', '.join(rest)[:200]} cannot be passed on")


def _whole(fields: Fields, name: str, where: str) -> Optional[int]:
    """A whole number, also one that is written with a fraction of 0."""
    value = fields.take(name, float)
    if isinstance(value, float) and not value.is_integer():
        raise wrong(f"{where}.{name}", f"{where}.{name} must be an integer, not {value}")
    return None if value is None else int(value)


def _texts(value: Optional[Sequence[Any]], where: str) -> Optional[list[str]]:
    if value is not None and not all(isinstance(text, str) for text in value):
        raise wrong(where, f"{where} must be a list of strings")
    return list(value) if value else None
