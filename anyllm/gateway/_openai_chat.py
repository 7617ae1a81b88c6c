"""
Requests in OpenAI's chat completions: ours are named after them, so most keys are taken as they are.

Source: https://platform.openai.com/docs/api-reference/chat/create
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from anyllm.dialects.openai_chat import OpenAIChat as Dialect
from anyllm.formats import OpenAIChat
from anyllm.gateway._asked import Asked, Fields, params_of, parted

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
#: Details in Anthropic's own form, which its hosts want back; they are told apart by what the reasoning is called.
_SIGNED = ("thinking", "redacted_thinking")


def read_chat(body: Any) -> Asked:
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
    further, hints = parted(fields.rest(), _HINTS)
    return Asked(params, stream, wanted, further, (Dialect,), hints)


def _message(message: Any) -> Any:
    """A message with its reasoning where we have it; what is no object is refused with the others."""
    if not isinstance(message, Mapping):
        return message
    said = {key: value for key, value in message.items() if key not in (*_REASONING, _DETAILS, "annotations")}
    found = next(((name, message[name]) for name in _REASONING if isinstance(message.get(name), str)), None)
    details = message.get(_DETAILS)
    details = [detail for detail in details if isinstance(detail, dict)] if isinstance(details, list) else None
    if found or details:
        field, text = found or (None, None)
        if any(detail.get("type") in _SIGNED for detail in details or ()):
            field = "thinking"
        signature = next((detail["signature"] for detail in details or () if detail.get("signature")), None)
        said["reasoning"] = {"content": text, "field": field, "signature": signature, "details": details}
    call = said.pop("function_call", None)  # the form before tools
    if isinstance(call, Mapping) and not said.get("tool_calls"):
        said["tool_calls"] = [{"function": dict(call)}]
    return said
