"""`CompletionParams`: the parameters of a completion."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Optional, Union

import attrs

from anyllm._hints.arguments import check_keywords, explain_frozen
from anyllm.types import _convert
from anyllm.types._base import Serializable
from anyllm.types._messages import Message

REASONING_EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max", "auto")
#: Values of `CompletionParams.structured`.
STRUCTURED = ("native", "emulate")
_MESSAGE_FIELDS = frozenset(field.name for field in attrs.fields(Message))


def _messages(value: Any) -> tuple[Message, ...]:
    if isinstance(value, (str, bytes, Mapping, Message)) or not isinstance(value, Iterable):
        raise TypeError(f"messages must be a list, as in [Message.user('Hello')], not {type(value).__name__}")
    return tuple(_message(at, item) for at, item in enumerate(value))


def _message(at: int, item: Any) -> Message:
    if not isinstance(item, (Message, Mapping)):
        example = f"Message.user({item!r:.40})" if isinstance(item, str) else "Message.user('Hello')"
        raise TypeError(f"messages[{at}]: expected Message or a dict, not {type(item).__name__}; write {example}")
    if isinstance(item, Mapping):  # other clients' messages have unknown keys that are None or empty
        item = {name: value for name, value in item.items() if name in _MESSAGE_FIELDS or value not in (None, [])}
    return _convert.structure(Message, item)


def _optional(*types: type, repr: bool = True) -> Any:
    def check(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        is_bool = isinstance(value, bool) and bool not in types
        if value is not None and (is_bool or not isinstance(value, types)):
            names = " or ".join(kind.__name__ for kind in types)
            raise TypeError(f"{attribute.name} must be {names} or None, not {type(value).__name__}")

    return attrs.field(default=None, kw_only=True, validator=check, repr=repr)


def _texts(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    texts = [value] if isinstance(value, str) else value
    if texts is None:
        return
    if not isinstance(texts, (list, tuple)) or not all(isinstance(text, str) for text in texts):
        raise TypeError(f"{attribute.name} must be a str or a list of str, not {value!r:.60}")


@check_keywords
@explain_frozen
@attrs.define(frozen=True)
class CompletionParams(Serializable):
    """
    The parameters of a completion. Never mutated; the request is fixed when a call with them returns.

    Attributes:
        model: "provider/model", as in "openai/gpt-4o-mini"; without the provider if that is passed separately.
        messages: The conversation: a list of `Message` or of dicts.
        temperature: Randomness, 0 to 2 with most providers.
        top_p: Nucleus sampling, 0 to 1.
        max_tokens: The longest answer, in tokens, with reasoning if the provider counts that.
        stop: A text, or a list of texts, at which the answer ends.
        n: The number of answers.
        seed: For providers that can repeat an answer.
        user: An id of your user, for the provider's abuse checks.
        tools: Functions the model may call, in OpenAI's JSON shape.
        tool_choice: "auto", "none", "required", or one tool in OpenAI's shape.
        parallel_tool_calls: Whether several calls may come in one answer.
        response_format: ``{"type": "json_object"}``, or ``{"type": "json_schema", ...}``.
        structured: If the provider does not support the format: "native" (the default) refuses the call, "emulate"
            instructs the model in the prompt, which it may not follow.
        reasoning_effort: "none", "minimal", "low", "medium", "high", "xhigh", "max" or "auto".
        thinking_budget: The longest reasoning, in tokens; 0 turns it off.
        logprobs: Whether to return log probabilities.
        top_logprobs: The number of alternatives for each token.
        stream: True is accepted by `completion_stream`, False by `completion`; otherwise it is a TypeError.
        stream_options: ``{"include_usage": False}`` turns the usage chunk off; other keys are passed on.
        functions: The older form of tools.
        function_call: The older form of tool_choice.
        extra_body: Keys added to the request's JSON; they win over everything else.
        extra_headers: Headers added to the request; they win over everything else.
    """

    model: str = attrs.field(validator=attrs.validators.instance_of(str))
    messages: tuple[Message, ...] = attrs.field(converter=_messages)
    temperature: Optional[float] = _optional(int, float)
    top_p: Optional[float] = _optional(int, float)
    max_tokens: Optional[int] = _optional(int)
    stop: Union[str, Sequence[str], None] = attrs.field(default=None, kw_only=True, validator=_texts)
    n: Optional[int] = _optional(int)
    seed: Optional[int] = _optional(int)
    user: Optional[str] = _optional(str)
    tools: Optional[Sequence[Mapping[str, Any]]] = _optional(list, tuple)
    tool_choice: Union[str, Mapping[str, Any], None] = _optional(str, Mapping)
    parallel_tool_calls: Optional[bool] = _optional(bool)
    response_format: Optional[Mapping[str, Any]] = _optional(Mapping)
    structured: Optional[str] = _optional(str)
    reasoning_effort: Optional[str] = _optional(str)
    thinking_budget: Optional[int] = _optional(int)
    logprobs: Optional[bool] = _optional(bool)
    top_logprobs: Optional[int] = _optional(int)
    stream: Optional[bool] = _optional(bool)
    stream_options: Optional[Mapping[str, Any]] = _optional(Mapping)
    functions: Optional[Sequence[Mapping[str, Any]]] = _optional(list, tuple)
    function_call: Union[str, Mapping[str, Any], None] = _optional(str, Mapping)
    extra_body: Optional[Mapping[str, Any]] = _optional(Mapping)
    extra_headers: Optional[Mapping[str, str]] = _optional(Mapping, repr=False)  # may hold a key

    def evolve(self, **changes: Any) -> CompletionParams:
        """A copy with *changes*."""
        return attrs.evolve(self, **changes)
