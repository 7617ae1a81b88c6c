"""What the tests of Cohere's two versions share: requests, tools, calls and whole answers."""

from __future__ import annotations

import json
from typing import Any

from anyllm.types import CompletionParams, FunctionCall, Message, ToolCall
from anyllm.wire._base.protocols import Request
from anyllm.wire.cohere_v1.dialect import CohereV1Dialect
from anyllm.wire.cohere_v2.dialect import CohereV2Dialect

DIALECTS: dict[int, Any] = {1: CohereV1Dialect, 2: CohereV2Dialect}
HI = [Message.user("Hi")]
CALL = ToolCall("c1", FunctionCall("f", '{"x": 1}'))
PNG = "data:image/png;base64,iVBORw0KGgo="
SCHEMA = {"type": "object", "properties": {"x": {"type": "integer"}}}
FORECAST = {
    "type": "object",
    "title": "Forecast",
    "properties": {
        "city": {"type": "string", "description": "Where."},
        "days": {"type": "integer", "title": "Days"},
        "scale": {"type": "number"},
        "brief": {"type": "boolean"},
        "hours": {"type": "array", "items": {"type": "integer"}},
        "grid": {"type": "array", "items": {"type": "array", "items": {"type": "string"}}},
        "any": {"type": "array"},
        "more": {"type": "object"},
    },
    "required": ["city", "days"],
    "additionalProperties": False,
}
#: The same for version 1, whose tools have Python's types.
FORECAST_SENT = {
    "city": {"description": "Where.", "type": "str", "required": True},
    "days": {"type": "int", "required": True},
    "scale": {"type": "float", "required": False},
    "brief": {"type": "bool", "required": False},
    "hours": {"type": "List[int]", "required": False},
    "grid": {"type": "List[List[str]]", "required": False},
    "any": {"type": "List", "required": False},
    "more": {"type": "Dict", "required": False},
}
#: A tool in the shape of version 1.
OWN = {"name": "search", "description": "d", "parameter_definitions": {"q": {"type": "str", "required": True}}}


def function(parameters: Any = None, name: str | None = "f", **fields: Any) -> dict[str, Any]:
    """A function tool in OpenAI's shape."""
    schema = {} if parameters is None else {"parameters": parameters}
    return {"type": "function", "function": {**({"name": name} if name else {}), **schema, **fields}}


TOOL = function({"type": "object"}, description="d")


def request_of(version: int, messages: Any = None, *, stream: bool = True, **params: Any) -> Request:
    request: Request = DIALECTS[version]().request(
        CompletionParams("command", messages or HI, **params), model="command", stream=stream
    )
    assert (request.method, request.path) == ("POST", f"/v{version}/chat")
    return request


def sent(version: int, messages: Any = None, **params: Any) -> dict[str, Any]:
    """The body of the request."""
    body: dict[str, Any] = json.loads(request_of(version, messages, **params).body)
    return body


def a_call(name: str, arguments: Any, call_id: str | None = "x") -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


COUNTS = {"billed_units": {"input_tokens": 3, "output_tokens": 2}, "tokens": {"input_tokens": 10, "output_tokens": 4}}


def whole(version: int, reason: str, text: str = "") -> dict[str, Any]:
    """A whole answer."""
    if version == 1:
        fields = {"response_id": "r1", "generation_id": "g1", "meta": {"api_version": {"version": "1"}, **COUNTS}}
        return {"text": text, "finish_reason": reason, **fields}
    content = [{"type": "text", "text": text}] if text else []
    return {"id": "c1", "finish_reason": reason, "message": {"role": "assistant", "content": content}, "usage": COUNTS}
