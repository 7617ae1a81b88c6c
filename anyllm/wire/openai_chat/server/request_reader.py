"""
A client's request for a chat completion: our parameters are named after OpenAI's, so most keys are taken as they are.

Source: https://platform.openai.com/docs/api-reference/chat/create
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from anyllm.wire._base.chat_request import ChatRequest, params_of, parted
from anyllm.wire._base.request_fields import Fields
from anyllm.wire._base.tool_call_deltas import function_of
from anyllm.wire.openai_chat.dialect import OpenAIChatDialect as Dialect
from anyllm.wire.openai_chat.reasoning import KEYS, read_history
from anyllm.wire.openai_chat.request import SAME_NAMES
from anyllm.wire.openai_chat.server.writer import OpenAIChat

__all__ = ["read_chat"]

#: Fields that do not change the answer.
_IGNORABLE = frozenset(
    (
        *("metadata", "store", "safety_identifier", "service_tier", "prompt_cache_key", "prompt_cache_retention"),
        "prompt_cache_options",
    )
)
#: Keys that a client keeps in an answer's message, and sends back with it, though they are not part of the content.
_OF_THE_CLIENT = ("annotations", "parsed")


def read_chat(body: Any) -> ChatRequest:
    """
    A request for a chat completion.

    Raises:
        InvalidRequestError: it cannot be understood.
    """
    fields = Fields(body)
    model = fields.need("model", str)
    stream = bool(fields.take("stream", bool))
    options = fields.take("stream_options", dict) or {}
    newer, older = fields.take("max_completion_tokens", int), fields.take("max_tokens", int)
    params = {name: fields.take(name) for name in (*SAME_NAMES, "seed", "reasoning_effort", "thinking_budget")}
    params.update(model=model, max_tokens=older if newer is None else newer)
    params["messages"] = [_message(message) for message in fields.need("messages", list)]
    completion_params = params_of(params)
    format = OpenAIChat(include_usage=not stream or bool(options.get("include_usage")), model=model)
    unknown, ignorable = parted(fields.rest(), _IGNORABLE)
    return ChatRequest(completion_params, stream, format, unknown, (Dialect,), ignorable)


def _message(raw: Any) -> Any:
    """A message with its reasoning where we have it; one that is no object stays as it is, to be refused later."""
    if not isinstance(raw, Mapping):
        return raw
    message = {key: value for key, value in raw.items() if key not in KEYS and key not in _OF_THE_CLIENT}
    reasoning = read_history(raw)
    if reasoning is not None:
        message["reasoning"] = reasoning
    call = message.pop("function_call", None)  # the form before tools
    if isinstance(call, Mapping) and not message.get("tool_calls"):
        message["tool_calls"] = [{"function": dict(call)}]
    if isinstance(message.get("tool_calls"), list):
        message["tool_calls"] = [_call(call) for call in message["tool_calls"]]
    return message


def _call(call: Any) -> Any:
    """A call without the arguments as the client's helper parsed them; what is no call stays as it is."""
    if not isinstance(call, Mapping):
        return call
    try:
        function = function_of(call)
    except ValueError:
        function = {}
    if not function:
        return call
    others = {key: value for key, value in call.items() if key not in ("function", "custom")}
    return {**others, "function": {key: value for key, value in function.items() if key != "parsed_arguments"}}
