"""
Requests in OpenAI's chat completions: ours are named after them, so most keys are taken as they are.

Source: https://platform.openai.com/docs/api-reference/chat/create
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Optional

from anyllm.wire._base.chat_request import ChatRequest, params_of, parted
from anyllm.wire._base.reasoning_origins import OUTPUT_ITEMS
from anyllm.wire._base.request_fields import Fields
from anyllm.wire.openai_chat.dialect import OpenAIChatDialect as Dialect
from anyllm.wire.openai_chat.server.writer import OpenAIChat

__all__ = ["read_chat"]

#: What goes by the same name here and there.
_SAME = (
    *("temperature", "top_p", "stop", "n", "seed", "user", "tools", "tool_choice", "parallel_tool_calls"),
    *("response_format", "reasoning_effort", "thinking_budget", "logprobs", "top_logprobs"),
    *("functions", "function_call"),
)
#: What says nothing of the answer.
_HINTS = frozenset(
    (
        *("metadata", "store", "safety_identifier", "service_tier", "prompt_cache_key", "prompt_cache_retention"),
        "prompt_cache_options",
    )
)
#: The names under which clients send back what a model thought.
_REASONING = ("reasoning_content", "reasoning", "thinking", "thought")
_DETAILS = "reasoning_details"
#: The one of them that we give to what came under no name, which says nothing of how its host wants it back.
_ANY_REASONING = "reasoning_content"
#: What a client keeps in an answer's message, and sends back with it, though it is no part of what was said.
_OF_THE_CLIENT = ("annotations", "parsed")
#: Details in Anthropic's own form, which its hosts want back; they are told apart by what the reasoning is called.
_SIGNED = ("thinking", "redacted_thinking")
#: How the details of OpenRouter, Gemini and Bedrock are called; those of Responses are its output items, of any type.
_DETAILED = ("reasoning.", "gemini.", "reasoningContent")


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
    given = {name: fields.take(name) for name in _SAME}
    messages = [_message(message) for message in fields.need("messages", list)]
    params = params_of({**given, "model": model, "messages": messages, "max_tokens": older if newer is None else newer})
    wanted = OpenAIChat(include_usage=not stream or bool(options.get("include_usage")), model=model)
    unknown_fields, ignorable_fields = parted(fields.rest(), _HINTS)
    return ChatRequest(params, stream, wanted, unknown_fields, (Dialect,), ignorable_fields)


def _message(message: Any) -> Any:
    """A message with its reasoning where we have it; what is no object is refused with the others."""
    if not isinstance(message, Mapping):
        return message
    said = {key: value for key, value in message.items() if key not in (*_REASONING, _DETAILS, *_OF_THE_CLIENT)}
    found = next(((name, message[name]) for name in _REASONING if isinstance(message.get(name), str)), None)
    details = message.get(_DETAILS)
    details = (
        [_unnumbered(detail) for detail in details if isinstance(detail, dict)] if isinstance(details, list) else None
    )
    if found or details:
        name, text = found or (None, None)
        signature = next((detail["signature"] for detail in details or () if detail.get("signature")), None)
        field = _origin(name, details or ())
        said["reasoning"] = {"content": text, "field": field, "signature": signature, "details": details}
    call = said.pop("function_call", None)  # the form before tools
    if isinstance(call, Mapping) and not said.get("tool_calls"):
        said["tool_calls"] = [{"function": dict(call)}]
    if isinstance(said.get("tool_calls"), list):
        said["tool_calls"] = [_call(call) for call in said["tool_calls"]]
    return said


def _origin(name: Optional[str], details: Sequence[Mapping[str, Any]]) -> Optional[str]:
    """
    `Reasoning.field`: whose reasoning it is, by its details where it has any, since hosts want back nobody else's.

    Args:
        name: The key that the text stood under.
    """
    kinds = [detail.get("type") for detail in details]
    if any(kind in _SIGNED for kind in kinds):
        return "thinking"
    if kinds and all(isinstance(kind, str) and not kind.startswith(_DETAILED) for kind in kinds):
        return OUTPUT_ITEMS
    return None if name == _ANY_REASONING else name


def _call(call: Any) -> Any:
    """A call without what the client's helper has made of its arguments, and sends back beside them."""
    function = call.get("function") if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping) or "parsed_arguments" not in function:
        return call
    return {**call, "function": {key: value for key, value in function.items() if key != "parsed_arguments"}}


def _unnumbered(detail: dict[str, Any]) -> dict[str, Any]:
    """A detail as its host said it: the number is OpenRouter's, or ours, which other hosts would refuse."""
    if str(detail.get("type")).startswith("reasoning."):
        return detail
    return {key: value for key, value in detail.items() if key != "index"}
