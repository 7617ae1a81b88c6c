"""Arguments of a client's calls: their checks, and their conversion to messages, options and parameters."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Optional, TypeVar, Union, cast

import attrs

from anyllm._hints.arguments import did_you_mean, kind_of, non_negative
from anyllm._hints.names import replacement_for
from anyllm.options import Retry, StreamingOptions, Timeouts
from anyllm.types import CompletionParams, Message

#: A text, a message, a conversation of messages, or `CompletionParams`; or dicts with the keys of these.
Messages = Union[str, Message, CompletionParams, Mapping[str, Any], Sequence[Union[Message, Mapping[str, Any]]]]
F = TypeVar("F", bound=Callable[..., Any])

_EXAMPLES = {
    "rate_limit": ", as in anyllm.limits.RateLimit(requests_per_minute=60)",
    "breaker": ", as in anyllm.limits.CircuitBreaker()",
}
_PARAMS = frozenset(field.name for field in attrs.fields(CompletionParams))
_OPTIONS = frozenset(field.name for cls in (StreamingOptions, Timeouts, Retry) for field in attrs.fields(cls))


def require_messages(method: F) -> F:
    """Method decorator: show the right call where the messages are missing, which Python's own TypeError does not."""

    @functools.wraps(method)
    def checked(client: Any, *args: Any, **kwargs: Any) -> Any:
        if not args and "messages" not in kwargs:
            name = method.__name__
            other = next((key for key in ("prompt", "input", "text", "message", "request") if key in kwargs), None)
            hint = "" if other is None else f", or messages= instead of {other}="
            raise TypeError(f"{name}() needs messages as its first argument: client.{name}('Hello'){hint}")
        return method(client, *args, **kwargs)

    return cast(F, checked)


def check_types(**arguments: tuple[Any, Any]) -> None:
    """Raise a TypeError for a value that is neither None nor of its types; each name has both as a pair."""
    for name, (value, types) in arguments.items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, types)):
            expected = " or ".join(one.__name__ for one in (types if isinstance(types, tuple) else (types,)))
            raise TypeError(f"{name} must be {expected}{_EXAMPLES.get(name, '')}, not {kind_of(value)}")


def optional_seconds(name: str, value: Optional[float]) -> Optional[float]:
    return None if value is None else non_negative(name, value, "seconds (a number) or None")


def check_parameter_names(params: Mapping[str, Any], settings: Collection[str]) -> None:
    """Raise a TypeError for a name that `CompletionParams` lacks; it says where the name belongs, as to *settings*."""
    name = next((name for name in params if name not in _PARAMS), None)
    if name is None:
        return
    instead = replacement_for(name, "a model")
    if name in _OPTIONS:
        raise TypeError(f"{name!r} belongs to the options: {instead}")
    if name in settings:
        raise TypeError(f"{name!r} is a setting of the Client, for all of its calls: Client(..., {name}=...)")
    if name == "system":
        raise TypeError("'system' is a message: [anyllm.Message.system(...), anyllm.Message.user(...)]")
    if instead is not None:
        raise TypeError(f"a model has no parameter {name!r}; write {instead}")
    hint = did_you_mean(name, {*_PARAMS, *settings})
    raise TypeError(f"a model has no parameter {name!r}{hint}; parameters of only one provider go into extra_body")


def split_params(messages: Messages) -> tuple[Any, dict[str, Any]]:
    """The messages and the other parameters of *messages*, which may be `CompletionParams` or a dict with its keys."""
    if isinstance(messages, CompletionParams):
        fields = {field.name: getattr(messages, field.name) for field in attrs.fields(CompletionParams)}
        params = {name: value for name, value in fields.items() if value is not None}
    elif isinstance(messages, Mapping) and "messages" in messages:
        params = dict(messages)
    else:
        return messages, {}
    return params.pop("messages"), params


def message_list(messages: Any) -> Sequence[Any]:
    if isinstance(messages, str):
        return [Message.user(messages)]
    if isinstance(messages, Message) or (isinstance(messages, Mapping) and "role" in messages):
        return [messages]
    if isinstance(messages, Mapping):
        raise TypeError(
            "a dict is a message, with 'role' and 'content', or parameters, with 'messages'; this one has "
            + (", ".join(map(repr, messages)) or "nothing")
        )
    if not isinstance(messages, Iterable) or isinstance(messages, (bytes, type)):
        raise TypeError(
            "messages must be a list, as in [Message.user('Hello')], or a text, a Message or CompletionParams, "
            f"not {kind_of(messages)}"
        )
    return cast(Sequence[Any], messages)
