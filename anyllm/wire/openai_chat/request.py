"""
The request: parameters and messages in OpenAI's JSON, and the request to continue an answer.

Source: https://platform.openai.com/docs/api-reference/chat/create
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from anyllm.types import CompletionParams, ContentPart, Message, ToolCall
from anyllm.types._openai_chunk import call_object
from anyllm.wire._base.encode_json import effort_in, unsupported
from anyllm.wire.openai_chat.reasoning import add_reasoning

#: Parameters with the same name, and the same value, in every OpenAI-compatible API.
SAME_NAMES = (
    *("temperature", "top_p", "stop", "n", "user", "tools", "tool_choice", "parallel_tool_calls"),
    *("response_format", "logprobs", "top_logprobs", "functions", "function_call"),
)


def messages_in_json(messages: tuple[Message, ...], *, reasoning_key: str | None) -> list[dict[str, Any]]:
    """
    Messages in OpenAI's shape, without nulls.

    Args:
        messages: The conversation.
        reasoning_key: The key for reasoning that does not know under which it came; None sends none at all.
    """
    return [_message(message, reasoning_key) for message in messages]


def plain_params(params: CompletionParams, provider: str) -> dict[str, Any]:
    """The parameters in `SAME_NAMES`, and the reasoning effort; `UnsupportedParameterError` if it is none of ours."""
    body = {name: value for name in SAME_NAMES if (value := getattr(params, name)) is not None}
    effort = effort_in(params, provider)
    if effort is not None:
        body["reasoning_effort"] = effort
    return body


def _message(message: Message, reasoning_key: str | None) -> dict[str, Any]:
    body: dict[str, Any] = {"role": message.role}
    content = message.content
    if content is not None:
        body["content"] = content if isinstance(content, str) else [_part(part) for part in content]
    for name in ("name", "tool_call_id", "refusal", "cache_control"):
        if (value := getattr(message, name)) is not None:
            body[name] = value
    if message.tool_calls:
        body.update(_calls(message.tool_calls))
    if message.audio is not None and message.audio.get("id"):
        body["audio"] = {"id": message.audio["id"]}  # the provider has the rest
    if message.role == "assistant" and message.reasoning is not None and reasoning_key is not None:
        add_reasoning(body, message.reasoning, reasoning_key)
    return body


def _part(part: ContentPart) -> dict[str, Any]:
    body: dict[str, Any] = {"type": part.type}
    for name in ("text", "image_url", "input_audio", "file", "cache_control"):
        if (value := getattr(part, name)) is not None:
            body[name] = value
    return {**body, **(part.extra or {})}


def _calls(calls: tuple[ToolCall, ...]) -> dict[str, Any]:
    """Tool calls; the one without an id came in the form before tools, and goes back in it."""
    first = calls[0]
    if len(calls) == 1 and first.id is None and first.type == "function":
        return {"function_call": {"name": first.name or "", "arguments": first.arguments}}
    return {"tool_calls": [{**call_object(call), "id": call.id or ""} for call in calls]}


@attrs.define(frozen=True, kw_only=True)
class Prefill:
    """
    How a provider is asked to continue the beginning of an answer, which is the last message.

    Attributes:
        message: Keys to add to the message.
        body: Keys to add to the request.
    """

    message: Mapping[str, Any] = attrs.field(factory=dict)
    body: Mapping[str, Any] = attrs.field(factory=dict)

    def applied(
        self, params: CompletionParams, text: str, *, reasoning_key: str | None, provider: str
    ) -> CompletionParams:
        """*params* with *text* as the beginning; `UnsupportedParameterError` if the messages are in ``extra_body``."""
        extra = dict(params.extra_body or {})
        if "messages" in extra:
            raise unsupported("extra_body", "an answer cannot be continued after messages in extra_body", provider)
        messages = messages_in_json((*params.messages, Message.assistant(text)), reasoning_key=reasoning_key)
        messages[-1].update(self.message)
        return params.evolve(extra_body={**extra, **self.body, "messages": messages})
