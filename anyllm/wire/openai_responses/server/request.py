"""
Requests in OpenAI's Responses.

The items of the conversation are read by `_openai_responses_input`. Tools, their choice and the format of the answer
are flat here, where ours have an object inside that is named like their type.

Source: https://platform.openai.com/docs/api-reference/responses/create
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from anyllm.wire._base.chat_request import ChatRequest, params_of, parted
from anyllm.wire._base.request_fields import Fields, wrong
from anyllm.wire.openai_responses.dialect import OpenAIResponsesDialect as Dialect
from anyllm.wire.openai_responses.server.input_items import messages_in
from anyllm.wire.openai_responses.server.writer import OpenAIResponses

__all__ = ["read_responses"]

#: What says nothing of the answer; a host without a limit of its own refuses what `truncation` would cut.
_HINTS = frozenset(
    (
        *("include", "metadata", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention"),
        *("safety_identifier", "service_tier", "store", "stream_options", "truncation"),
    )
)
#: Keys of ``reasoning`` that say in which form thoughts are told; they are told in any case.
_OF_THOUGHTS = frozenset(("summary", "generate_summary"))
_LOGPROBS = "message.output_text.logprobs"
#: What of a request its response repeats.
_ECHOED = (
    *("instructions", "max_output_tokens", "max_tool_calls", "metadata", "parallel_tool_calls", "previous_response_id"),
    *("prompt_cache_key", "reasoning", "safety_identifier", "temperature", "text", "tool_choice", "tools"),
    *("top_logprobs", "top_p", "truncation", "user"),
)
#: What a request may go on from without an input of its own.
_OTHER_INPUT = ("previous_response_id", "conversation", "prompt")
#: Keys of a function that we have words for.
_OF_FUNCTIONS = frozenset(("type", "name", "description", "parameters", "strict", "cache_control"))


def read_responses(body: Any) -> ChatRequest:
    """
    A request for a response.

    What was kept of an earlier one (``previous_response_id``, ``conversation``) is left to hosts that speak this
    format; we keep nothing, and the response says so (``store``).

    Raises:
        InvalidRequestError: it cannot be understood, or refers to what nobody keeps.
    """
    fields = Fields(body)
    wanted = OpenAIResponses(fields.need("model", str), _echo(body))
    stream = bool(fields.take("stream", bool))
    if fields.take("background", bool):
        raise wrong("background", "nothing is kept here, so no response can go on in the background")
    unknown_fields: dict[str, Any] = {}
    if fields.take("store", bool) is False:
        unknown_fields["store"] = False  # a host that would keep it is to know
    given = {
        "model": wanted.model,
        "messages": _messages(fields, body),
        "temperature": fields.take("temperature", float),
        "top_p": fields.take("top_p", float),
        "max_tokens": fields.take("max_output_tokens", int),
        "top_logprobs": fields.take("top_logprobs", int),
        "parallel_tool_calls": fields.take("parallel_tool_calls", bool),
        "tools": [_tool(tool, own) for tool, own in fields.objects("tools")] or None,
        "tool_choice": _choice(fields.take("tool_choice", str, dict)),
        **_user(fields, unknown_fields),
        **_thinking(fields, unknown_fields),
        **_text(fields, unknown_fields),
        **_included(fields, unknown_fields),
    }
    for name, usual in (("truncation", "disabled"), ("service_tier", "auto")):
        value = fields.take(name, str)
        if value is not None and value != usual:
            unknown_fields[name] = value
    ignorable_fields = _HINTS if unknown_fields.get("reasoning", {}).keys() - _OF_THOUGHTS else _HINTS | {"reasoning"}
    left, hints_left = parted({**fields.rest(), **unknown_fields}, ignorable_fields)
    return ChatRequest(
        params_of(given), stream, wanted, unknown_fields=left, ignorable_fields=hints_left, native=(Dialect,)
    )


def _echo(body: Mapping[str, Any]) -> dict[str, Any]:
    said = {name: body[name] for name in _ECHOED if body.get(name) is not None}
    for name, usual in (("reasoning", {"effort": None, "summary": None}), ("text", {"format": {"type": "text"}})):
        if isinstance(said.get(name), Mapping):
            said[name] = {**usual, **said[name]}
    return {**said, "store": False}


def _messages(fields: Fields, body: Mapping[str, Any]) -> list[dict[str, Any]]:
    instructions = fields.take("instructions", str)
    before = [] if instructions is None else [{"role": "system", "content": instructions}]
    given = fields.take("input", str, list)
    if given is None:
        if not any(body.get(name) for name in _OTHER_INPUT):
            raise wrong("input", "input is missing")
        return before
    return [*before, *([{"role": "user", "content": given}] if isinstance(given, str) else messages_in(given))]


def _user(fields: Fields, unknown_fields: dict[str, Any]) -> dict[str, Any]:
    older, newer = fields.take("user", str), fields.take("safety_identifier", str)
    if older is not None and newer is not None:
        unknown_fields["safety_identifier"] = newer
    return {"user": newer if older is None else older}


def _thinking(fields: Fields, unknown_fields: dict[str, Any]) -> dict[str, Any]:
    inner = Fields(fields.take("reasoning", dict) or {}, "reasoning")
    effort = inner.take("effort", str)
    if rest := inner.rest():
        unknown_fields["reasoning"] = rest
    return {"reasoning_effort": effort}


def _text(fields: Fields, unknown_fields: dict[str, Any]) -> dict[str, Any]:
    inner = Fields(fields.take("text", dict) or {}, "text")
    form = inner.take("format", dict)
    if rest := inner.rest():
        unknown_fields["text"] = rest
    if form is not None and form.get("type") == "json_schema":
        schema = {key: value for key, value in form.items() if key != "type" and value is not None}
        form = {"type": "json_schema", "json_schema": schema}
    return {"response_format": form}


def _included(fields: Fields, unknown_fields: dict[str, Any]) -> dict[str, Any]:
    included = fields.take("include", list) or []
    if rest := [name for name in included if name != _LOGPROBS]:
        unknown_fields["include"] = rest
    return {"logprobs": True if _LOGPROBS in included else None}


# -- tools -------------------------------------------------------------------------------------------------------------


def _tool(tool: Fields, own: Mapping[str, Any]) -> dict[str, Any]:
    """A tool in our shape; one that only a host of this format knows, as it is."""
    kind = tool.take("type", str)
    if kind == "custom":
        tool.need("name", str)
        return _nested(own)
    if kind != "function":
        return dict(own)
    name = tool.need("name", str)
    if not name:
        raise wrong("tools", "a function has no name")
    said = {
        "description": tool.take("description", str),
        "parameters": tool.take("parameters", dict),
        "strict": tool.take("strict", bool),
    }
    cached = tool.take("cache_control", dict)
    if not _OF_FUNCTIONS.issuperset(key for key, value in own.items() if value is not None):
        return dict(own)
    function = {"name": name, **{key: value for key, value in said.items() if value is not None}}
    return {"type": kind, "function": function, **({} if cached is None else {"cache_control": cached})}


def _choice(choice: Any) -> Any:
    if not isinstance(choice, Mapping) or choice.get("type") not in ("function", "custom", "allowed_tools"):
        return choice
    nested = _nested(choice)
    tools = nested[choice["type"]].get("tools")
    if isinstance(tools, list):
        nested[choice["type"]]["tools"] = [_choice(tool) for tool in tools]
    return nested


def _nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """An object as chat completions have it: its keys in one inside that is named like its type."""
    kind = str(flat.get("type"))
    inner = {key: value for key, value in flat.items() if key != "type" and value is not None}
    form = inner.get("format")
    if isinstance(form, Mapping) and form.get("type") == "grammar":
        inner["format"] = _nested(form)
    return {"type": kind, kind: inner}
