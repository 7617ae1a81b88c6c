"""How a call behaves: its clocks, its retries, its bounds, what is made of what comes. Durations are seconds."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from typing import Any, Optional, TypeVar

import attrs

from anyllm._hints.arguments import check_keywords, explain_frozen, whole_number
from anyllm._hints.names import MODULE, no_attribute
from anyllm.errors import AnyLLMError
from anyllm.types import _convert

__all__ = [
    "AFTER_CONTENT",
    "DEBUG",
    "DEFAULT",
    "HIGH_THROUGHPUT",
    "JSON_MODE",
    "LOW_LATENCY",
    "USAGE",
    "Retry",
    "StreamingOptions",
    "Timeouts",
]

#: What may follow when a stream is cut after its first content.
AFTER_CONTENT = ("raise", "restart", "continue")
#: How tokens are counted that a provider did not count.
USAGE = ("auto", "tiktoken", "character", "provider")

T = TypeVar("T")


def _number(attribute: attrs.Attribute[Any], value: Any, what: str) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{attribute.name} must be {what}, not {type(value).__name__}")
    if math.isnan(value) or value < 0:
        raise ValueError(f"{attribute.name} must not be negative or NaN: {value!r}")


def _limit(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if value is not None:
        _number(attribute, value, "seconds (a number) or None")


def _duration(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    _number(attribute, value, "seconds (a number)")


def _share(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    _number(attribute, value, "a number")
    if value > 1:
        raise ValueError(f"{attribute.name} must be a share, from 0 to 1: {value!r}")


def _at_least(least: int) -> Any:
    def check(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        whole_number(attribute.name, value, least)

    return check


def _one_of(*words: str) -> Any:
    def check(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        if value not in words:
            raise ValueError(f"{attribute.name} must be one of {', '.join(words)}, not {value!r}")

    return check


def _function(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if value is not None and not callable(value):
        raise TypeError(f"{attribute.name} must be a function or None, not {type(value).__name__}")
    if inspect.iscoroutinefunction(value):
        raise TypeError(f"{attribute.name} must be a plain function: nobody would await an async one")


@check_keywords
@explain_frozen
@attrs.define(frozen=True, kw_only=True)
class Timeouts:
    """
    The four clocks of a call; whichever runs out first ends it, with an error whose ``clock`` names it.

    The first three run only while we wait for the provider. Keep-alive comments, pings and empty deltas prove that the
    host is alive, not that it makes progress: they do not set a clock back. Time is monotonic.

    Attributes:
        connect: Seconds for name, connection and TLS together; None for no limit.
        first_content: Seconds from the start of a try to its first content (for a whole answer, to its
            end); None for no limit.
        idle: Seconds between one content and the next; None for no limit.
        total: Seconds for everything, further tries and slow consumers included, as if the Context had them; None for
            no limit but the Context's.
    """

    connect: Optional[float] = attrs.field(default=10.0, validator=_limit)
    first_content: Optional[float] = attrs.field(default=600.0, validator=_limit)
    idle: Optional[float] = attrs.field(default=300.0, validator=_limit)
    total: Optional[float] = attrs.field(default=None, validator=_limit)


def _attempts_by_error(value: Any) -> Mapping[type[AnyLLMError], int]:
    if not isinstance(value, Mapping):
        raise TypeError(f"errors must map classes of errors to attempts, not {type(value).__name__}")
    for kind, attempts in value.items():
        if not isinstance(kind, type) or not issubclass(kind, AnyLLMError):
            raise TypeError(f"errors: {kind!r} is no class of anyllm's errors")
        if isinstance(attempts, bool) or not isinstance(attempts, int) or attempts < 1:
            raise ValueError(f"errors: attempts for {kind.__name__} must be an int, at least 1: {attempts!r}")
    return dict(value)


@check_keywords
@explain_frozen
@attrs.define(frozen=True, kw_only=True)
class Retry:
    """
    What is tried again: before the first content failed and broken connections, 408, 409, 429, 5xx, and the same errors
    sent as an event; after content nothing, unless `after_content` says otherwise, so that no text comes twice by
    surprise.

    Attributes:
        attempts: How many tries in all; 1 never tries again.
        errors: How many for errors of some classes, which are then tried again whatever they are:
            ``{RateLimitError: 6, ServerError: 1}``. Of several that fit, the nearest class counts.
        backoff: Seconds before the second try; it doubles with each further one.
        max_backoff: The longest wait that doubling reaches, in seconds.
        jitter: The share of each wait that chance may take away, 0 to 1, so that callers spread out.
        max_retry_after: The longest ``Retry-After`` that is waited for, in seconds; asked for more, or for
            more than the Context has left, the error is raised at once.
        after_content: What follows when a stream is cut after its first content. "raise": the error, with what came as
            its ``partial``. "restart": the answer begins anew. "continue": the model is given what it said and goes on
            from there, where the provider has a way to ask that (``capabilities.prefill``) and only text was cut; else
            the error. A chunk with ``retry`` set stands between what was cut and what follows.
    """

    attempts: int = attrs.field(default=3, validator=_at_least(1))
    backoff: float = attrs.field(default=0.5, validator=_duration)
    max_backoff: float = attrs.field(default=8.0, validator=_duration)
    jitter: float = attrs.field(default=0.25, validator=_share)
    max_retry_after: float = attrs.field(default=60.0, validator=_duration)
    errors: Mapping[type[AnyLLMError], int] = attrs.field(factory=dict, converter=_attempts_by_error, hash=False)
    after_content: str = attrs.field(default="raise", validator=_one_of(*AFTER_CONTENT))


def _timeouts(value: Any) -> Timeouts:
    return _structured(Timeouts, "timeouts", value)


def _retry(value: Any) -> Retry:
    return _structured(Retry, "retry", value)


def _structured(cls: type[T], name: str, value: Any) -> T:
    try:
        return _convert.structure(cls, value)
    except TypeError as exc:
        raise TypeError(f"{name}: {exc}") from exc


@check_keywords
@explain_frozen
@attrs.define(frozen=True, kw_only=True)
class StreamingOptions:
    """
    Everything about a call that is not said to the model. Immutable; `evolve` gives a changed copy.

    Attributes:
        timeouts: The clocks.
        retry: What is tried again, how often, and after which waits.
        buffer: How many chunks may wait for a slow consumer before the worker stops reading, which slows the provider
            down. The batch of one read may be up to four times as many and is put whole, because changing threads costs
            more than decoding: up to five times *buffer* can wait, and `Channel.qsize` counts them.
        read_size: How many bytes one read takes at most; None suits it to how many streams run.
        max_event_bytes: The largest event, whole answer or error body that is read, in bytes.
        compression: Whether to ask for a compressed answer, which saves bytes on the wire and delays small events.
        keep_partial: Whether errors carry what came before them.
        debug: Whether to log each step of a call at DEBUG to the logger "anyllm": what is sent, without its body, and
            how the answer begins; never a key. The environment variable ANYLLM_LOG=debug does so for every call.
        usage: How tokens are counted where the provider does not say: "tiktoken", which fetches its vocabulary where it
            has none; "character"; "auto" for the first of these that works here without a network; or "provider" for
            not at all. What is counted is marked "estimated".
        json: Whether the text is JSON, to be parsed as it comes: events then hold the document so far, and say when it
            is none.
        on_start: Called once, before everything else.
        on_delta: Called with each piece of text.
        on_reasoning: Called with each piece of reasoning.
        on_tool_call: Called with each whole `ToolCall`.
        on_json_error: Called once with the `anyllm.json_stream.JSONStreamError`, as soon as text that was to be JSON
            (`json`) shows that it is none. The stream goes on, unless the function raises.
        on_retry: Called with the `RetryNotice` of each retry; after "restart" the text begins again.
        on_usage: Called once with the `Usage`, if there is any.
        on_complete: Called once with the `ChatCompletion`, if the stream ends well.
        on_error: Called once with the error, if it does not.

    Everything from `usage` on is for a `Client`, whose callbacks run on the thread that reads, or waits for a whole
    answer; the pair of channels has nobody to call them, and refuses those.
    """

    timeouts: Timeouts = attrs.field(factory=Timeouts, converter=_timeouts)
    retry: Retry = attrs.field(factory=Retry, converter=_retry)
    buffer: int = attrs.field(default=64, validator=_at_least(1))
    read_size: Optional[int] = attrs.field(default=None, validator=attrs.validators.optional(_at_least(1)))
    max_event_bytes: int = attrs.field(default=16 * 1024 * 1024, validator=_at_least(1))
    compression: bool = attrs.field(default=False, validator=attrs.validators.instance_of(bool))
    keep_partial: bool = attrs.field(default=True, validator=attrs.validators.instance_of(bool))
    debug: bool = attrs.field(default=False, validator=attrs.validators.instance_of(bool))
    usage: str = attrs.field(default="auto", validator=_one_of(*USAGE))
    json: bool = attrs.field(default=False, validator=attrs.validators.instance_of(bool))
    on_start: Any = attrs.field(default=None, validator=_function)
    on_delta: Any = attrs.field(default=None, validator=_function)
    on_reasoning: Any = attrs.field(default=None, validator=_function)
    on_tool_call: Any = attrs.field(default=None, validator=_function)
    on_json_error: Any = attrs.field(default=None, validator=_function)
    on_retry: Any = attrs.field(default=None, validator=_function)
    on_usage: Any = attrs.field(default=None, validator=_function)
    on_complete: Any = attrs.field(default=None, validator=_function)
    on_error: Any = attrs.field(default=None, validator=_function)

    def evolve(self, **changes: Any) -> StreamingOptions:
        """A copy with *changes*; an unknown name is a TypeError, as at construction."""
        return attrs.evolve(self, **changes)


def streaming_options(options: Any) -> StreamingOptions:
    """
    *options*, which may be a dict.

    Raises:
        TypeError: they are none.
    """
    field = {Timeouts: "timeouts", Retry: "retry"}.get(type(options))
    if field is not None:
        kind = type(options).__name__
        raise TypeError(f"expected StreamingOptions or a dict, not {kind}: write StreamingOptions({field}={kind}(...))")
    if options is StreamingOptions:
        raise TypeError("expected StreamingOptions or a dict, not the class: write StreamingOptions(...)")
    return _convert.structure(StreamingOptions, options)


#: What only a `Client` does.
_DEFAULTS = {field.name: field.default for field in attrs.fields(StreamingOptions)}
_COMFORT = ("json", *(field.name for field in attrs.fields(StreamingOptions) if field.name.startswith("on_")))


def in_the_pump(options: StreamingOptions) -> StreamingOptions:
    """*options* without what a `Client` does itself."""
    return options.evolve(usage="auto", **{name: _DEFAULTS[name] for name in _COMFORT})


def for_the_pair(options: StreamingOptions) -> StreamingOptions:
    """
    *options*, as they are.

    Raises:
        TypeError: they ask for what only a `Client` does.
    """
    asked = next((name for name in _COMFORT if getattr(options, name)), None)
    if asked is not None or options.usage not in ("auto", "provider"):
        raise TypeError(f"{asked or 'usage'} is for the streams of a Client: anyllm.Client(model).chat_stream(...)")
    return options


#: What every call does that is not told otherwise.
DEFAULT = StreamingOptions()
#: The text is JSON: events hold the document so far.
JSON_MODE = StreamingOptions(json=True)
#: For programs that read many streams and show none: many more chunks wait for who reads, and change threads at once.
HIGH_THROUGHPUT = StreamingOptions(buffer=1024, read_size=256 * 1024)
#: Each chunk on its way as soon as it is decoded, and a host that is slow to begin or goes silent given up early.
LOW_LATENCY = StreamingOptions(
    buffer=4,
    read_size=4 * 1024,
    timeouts=Timeouts(connect=3.0, first_content=30.0, idle=15.0),
    retry=Retry(backoff=0.1, max_backoff=1.0),
)
#: Every step of a call logged.
DEBUG = StreamingOptions(debug=True)


def __getattr__(name: str) -> Any:
    raise no_attribute(f"module {__name__!r}", name, MODULE)
