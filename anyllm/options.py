"""Options of a call: timeouts, retries, limits, callbacks, and presets of them. Durations are seconds."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, Optional, TypeVar

import attrs
from attrs.validators import instance_of, optional

from anyllm._hints.arguments import (
    check_keywords,
    explain_frozen,
    non_negative,
    one_of,
    validator,
    whole_number,
)
from anyllm._hints.names import MODULE, no_attribute
from anyllm.errors import AnyLLMError
from anyllm.types import _convert

__all__ = [
    "AFTER_CONTENT",
    "DEBUG",
    "DEFAULT",
    "DRIVERS",
    "HIGH_THROUGHPUT",
    "JSON_MODE",
    "LOW_LATENCY",
    "USAGE",
    "Retry",
    "StreamingOptions",
    "Timeouts",
]

#: Values of `Retry.after_content`.
AFTER_CONTENT = ("raise", "restart", "continue")
#: Values of `StreamingOptions.driver`.
DRIVERS = ("thread", "loop")
#: Values of `StreamingOptions.usage`.
USAGE = ("auto", "tiktoken", "character", "provider")

T = TypeVar("T")


def _share(name: str, value: Any) -> None:
    if non_negative(name, value, "a number") > 1:
        raise ValueError(f"{name} must be a share, from 0 to 1: {value!r}")


def _function(name: str, value: Any) -> None:
    if value is not None and not callable(value):
        raise TypeError(f"{name} must be a function or None, not {type(value).__name__}")
    if inspect.iscoroutinefunction(value):
        raise TypeError(f"{name} must be a plain function: an async one would not be awaited")


_limit: Any = optional(validator(non_negative, "seconds (a number) or None"))
_duration = validator(non_negative)
_count = validator(whole_number)


@check_keywords
@explain_frozen
@attrs.define(frozen=True, kw_only=True)
class Timeouts:
    """
    The four clocks of a call. The first that runs out ends it, with an error whose ``clock`` names it.

    The first three run only while we wait for the provider. Keep-alive comments, pings and empty deltas are no
    progress: they do not set a clock back. Time is monotonic.

    Attributes:
        connect: Seconds for name resolution, connection and TLS together; None for no limit.
        first_content: Seconds from the start of an attempt to its first content (for a whole answer, to its
            end); None for no limit.
        idle: Seconds between one content and the next; None for no limit.
        total: Seconds for the whole call, with retries and slow consumers, like a timeout of the Context; None for no
            limit but the Context's.
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
    The retry policy. Before the first content a call is retried after failed and broken connections, 408, 409, 429,
    5xx, and the same errors sent as an event. After content it is only retried with `after_content`, so that no text
    comes twice unexpectedly.

    Attributes:
        attempts: The number of attempts, including the first; 1 for no retry.
        errors: The number of attempts by class of error; errors of these classes are always retried:
            ``{RateLimitError: 6, ServerError: 1}``. If several classes match, the nearest counts.
        backoff: Seconds before the second attempt; doubled for each one after that.
        max_backoff: The longest backoff in seconds.
        jitter: The largest random reduction of each wait, as a share from 0 to 1, so that callers spread out.
        max_retry_after: The longest ``Retry-After`` in seconds. If the provider asks for more, or for more than the
            Context has left, the error is raised at once.
        after_content: What happens if a stream is interrupted after its first content. "raise": raise the error, with
            the answer so far as its ``partial``. "restart": start the answer again. "continue": send the text so far
            for the model to continue, if the provider supports that (``capabilities.prefill``) and the answer is only
            text; else raise the error. A chunk with ``retry`` set comes between the two parts.
    """

    attempts: int = attrs.field(default=3, validator=_count)
    backoff: float = attrs.field(default=0.5, validator=_duration)
    max_backoff: float = attrs.field(default=8.0, validator=_duration)
    jitter: float = attrs.field(default=0.25, validator=validator(_share))
    max_retry_after: float = attrs.field(default=60.0, validator=_duration)
    errors: Mapping[type[AnyLLMError], int] = attrs.field(factory=dict, converter=_attempts_by_error, hash=False)
    after_content: str = attrs.field(default="raise", validator=validator(one_of, AFTER_CONTENT))


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
    The options of a call that are not sent to the model. Immutable; `evolve` returns a changed copy.

    Attributes:
        timeouts: The clocks.
        retry: The retry policy.
        buffer: How many chunks may wait for a slow consumer before the worker stops reading, which slows the provider
            down. A batch may be up to four times as many and is put whole, because switching threads costs more than
            decoding: up to five times *buffer* can wait, and `Channel.qsize` counts them.
        driver: What reads the answer: "thread", a thread for each call; or "loop", one thread for all calls with this
            option, which need less memory, and less time where a receiver is registered (`Channel.forward`).
            Compressed answers, answers that end with the connection, calls with *debug*, and greenlets have their own
            thread all the same.
        read_size: The most bytes of one read; None adapts it to the number of streams.
        max_event_bytes: The largest event, whole answer or error body, in bytes.
        compression: Whether to request a compressed answer, which saves bytes and delays small events.
        keep_partial: Whether errors have the answer so far as ``partial``.
        debug: Whether to log each step of a call at DEBUG to the logger "anyllm": the request without its body, and the
            beginning of the answer; never a key. The environment variable ANYLLM_LOG=debug does so for every call.
        usage: How tokens are counted if the provider sends no usage: "tiktoken", which downloads its vocabulary if
            necessary; "character"; "auto" for the first of these that works without a network; or "provider" for not at
            all. Counted usage is marked "estimated".
        json: Whether to parse the text as JSON as it comes: events then have the document so far, or the error.
        on_start: Called once, before everything else.
        on_delta: Called with each piece of text.
        on_reasoning: Called with each piece of reasoning.
        on_tool_call: Called with each whole `ToolCall`.
        on_json_error: Called once with the `anyllm.json_stream.JSONStreamError`, as soon as the text is no valid JSON
            (with `json`). The stream goes on, unless the function raises.
        on_retry: Called with the `RetryNotice` of each retry; after "restart" the text begins again.
        on_usage: Called once with the `Usage`, if there is any.
        on_complete: Called once with the `ChatCompletion`, if the stream is complete.
        on_error: Called once with the error, if the stream fails.

    Everything from `usage` on is for a `Client`, which calls the callbacks on the thread that reads, or waits for a
    whole answer. `completion_stream`, which returns a pair of channels, refuses them.
    """

    timeouts: Timeouts = attrs.field(factory=Timeouts, converter=_timeouts)
    retry: Retry = attrs.field(factory=Retry, converter=_retry)
    buffer: int = attrs.field(default=64, validator=_count)
    driver: str = attrs.field(default="thread", validator=validator(one_of, DRIVERS))
    read_size: Optional[int] = attrs.field(default=None, validator=optional(_count))
    max_event_bytes: int = attrs.field(default=16 * 1024 * 1024, validator=_count)
    compression: bool = attrs.field(default=False, validator=instance_of(bool))
    keep_partial: bool = attrs.field(default=True, validator=instance_of(bool))
    debug: bool = attrs.field(default=False, validator=instance_of(bool))
    usage: str = attrs.field(default="auto", validator=validator(one_of, USAGE))
    json: bool = attrs.field(default=False, validator=instance_of(bool))
    on_start: Any = attrs.field(default=None, validator=validator(_function))
    on_delta: Any = attrs.field(default=None, validator=validator(_function))
    on_reasoning: Any = attrs.field(default=None, validator=validator(_function))
    on_tool_call: Any = attrs.field(default=None, validator=validator(_function))
    on_json_error: Any = attrs.field(default=None, validator=validator(_function))
    on_retry: Any = attrs.field(default=None, validator=validator(_function))
    on_usage: Any = attrs.field(default=None, validator=validator(_function))
    on_complete: Any = attrs.field(default=None, validator=validator(_function))
    on_error: Any = attrs.field(default=None, validator=validator(_function))

    def evolve(self, **changes: Any) -> StreamingOptions:
        """A copy with *changes*; an unknown name is a TypeError, as at construction."""
        return attrs.evolve(self, **changes)


def streaming_options(options: Any) -> StreamingOptions:
    """
    *options*, which may be a dict, as `StreamingOptions`.

    Raises:
        TypeError: *options* is neither.
    """
    field = {Timeouts: "timeouts", Retry: "retry"}.get(type(options))
    if field is not None:
        kind = type(options).__name__
        raise TypeError(f"expected StreamingOptions or a dict, not {kind}: write StreamingOptions({field}={kind}(...))")
    if options is StreamingOptions:
        raise TypeError("expected StreamingOptions or a dict, not the class: write StreamingOptions(...)")
    return _convert.structure(StreamingOptions, options)


_DEFAULTS = {field.name: field.default for field in attrs.fields(StreamingOptions)}
#: The options that are callbacks.
CALLBACKS = tuple(name for name in _DEFAULTS if name.startswith("on_"))
#: Options that only a `Client` supports.
_CLIENT_OPTIONS = ("json", *CALLBACKS)


def pump_options(options: StreamingOptions) -> StreamingOptions:
    """*options* for the pump, without those that a `Client` implements."""
    return options.evolve(usage="auto", **{name: _DEFAULTS[name] for name in _CLIENT_OPTIONS})


def check_pair_options(options: StreamingOptions) -> StreamingOptions:
    """
    *options*, for a call that returns a pair of channels.

    Raises:
        TypeError: one of them is only supported by a `Client`.
    """
    name = next((name for name in _CLIENT_OPTIONS if getattr(options, name)), None)
    if name is not None or options.usage not in ("auto", "provider"):
        raise TypeError(f"{name or 'usage'} is for the streams of a Client: anyllm.Client(model).chat_stream(...)")
    return options


#: The default options of every call.
DEFAULT = StreamingOptions()
#: The text is parsed as JSON: events have the document so far.
JSON_MODE = StreamingOptions(json=True)
#: For programs that read many streams and display none: more chunks are buffered, and put in larger batches.
HIGH_THROUGHPUT = StreamingOptions(buffer=1024, read_size=256 * 1024)
#: Each chunk is put as soon as it is decoded, and slow or silent providers time out early.
LOW_LATENCY = StreamingOptions(
    buffer=4,
    read_size=4 * 1024,
    timeouts=Timeouts(connect=3.0, first_content=30.0, idle=15.0),
    retry=Retry(backoff=0.1, max_backoff=1.0),
)
#: Every step of a call is logged.
DEBUG = StreamingOptions(debug=True)


def __getattr__(name: str) -> Any:
    raise no_attribute(f"module {__name__!r}", name, MODULE)
