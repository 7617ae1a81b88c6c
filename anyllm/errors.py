"""
Every way a call can fail, as one tree.

    AnyLLMError
    ├── Cancelled                       the Context was cancelled, or the stream abandoned
    ├── DeadlineExceeded                the Context's time ran out          (also a TimeoutError)
    ├── StreamTimeoutError              one of the stream's clocks ran out  (also a TimeoutError)
    ├── NetworkError                    no answer: name, connection, TLS, reset
    ├── IncompleteStreamError           the answer ended before its end was said
    ├── MalformedStreamError            the answer cannot be read, or is larger than the limit
    ├── APIError                        the provider said no
    │   ├── AuthenticationError             401
    │   ├── PermissionDeniedError           403
    │   ├── InsufficientFundsError          402, or a spent quota
    │   ├── RateLimitError                  429
    │   ├── InvalidRequestError             400, 404, 409, 413, 422
    │   │   ├── ContextLengthExceededError
    │   │   ├── ContentFilterError
    │   │   └── UnsupportedParameterError       also raised before anything is sent
    │   ├── ModelNotFoundError              404 that names the model
    │   └── ServerError                     408, 5xx
    │       └── OverloadedError                 503, 529
    ├── MissingAPIKeyError              before any request
    ├── UnsupportedProviderError        before any request
    └── LocalUnavailableError           the local model cannot run here

Facts are attributes, never only text. Every error survives pickle and copy, with its partial response; only
the foreign exception behind it (``__cause__``) stays in the process it came from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anyllm.types import ChatCompletion

#: Shorter secrets are not replaced in messages: they would match ordinary words.
_SHORTEST_SECRET = 6


class AnyLLMError(Exception):
    """
    The root of every error that anyllm raises or puts on an ``errors`` channel.

    Attributes:
        message: What happened, without the facts that ``str()`` adds around it.
        provider: The provider's name ("openai"), or None when none was reached.
        code: The provider's own code ("rate_limit_exceeded"), or None.
        partial: The response so far, a `ChatCompletion`, or None when nothing had come.
        is_retryable: Whether the same call may succeed later, unchanged.
    """

    is_retryable: bool = False

    def __init__(
        self,
        message: str = "",
        *,
        provider: str | None = None,
        code: str | None = None,
        partial: ChatCompletion | None = None,
        is_retryable: bool | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.provider = provider
        self.code = code
        self.partial = partial
        if is_retryable is not None:
            self.is_retryable = is_retryable

    def _label(self) -> str:
        return self.code or ""

    def _facts(self) -> list[str]:
        return []

    def __str__(self) -> str:
        """One line: ``provider: code: message (facts)``, whatever the provider sent."""
        parts = [part for part in (self.provider, self._label(), self.message) if part]
        facts = self._facts()
        line = ": ".join(parts) or type(self).__name__
        return " ".join((line + (f" ({', '.join(facts)})" if facts else "")).split())

    def __reduce__(self) -> tuple[Any, ...]:
        # Keyword-only arguments defeat Exception's own pickling, which replays `args`.
        return _rebuild, (type(self), self.args, self.__dict__.copy())


def _rebuild(cls: type[AnyLLMError], args: tuple[Any, ...], state: dict[str, Any]) -> AnyLLMError:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class Cancelled(AnyLLMError):
    """
    The call was cancelled: by `Context.cancel`, by `Stream.cancel`, or because nobody receives any more.

    Attributes:
        cause: What `cancel(cause)` was given; "abandoned" when the consumer let go of the stream.
    """

    def __init__(self, message: str = "cancelled", *, cause: object = None, **kwargs: Any) -> None:
        super().__init__(message, **kwargs)
        self.cause = cause
        if isinstance(cause, BaseException):
            self.__cause__ = cause

    def _facts(self) -> list[str]:
        return [] if self.cause is None else [f"cause: {self.cause}"]


class DeadlineExceeded(AnyLLMError, TimeoutError):
    """The Context's own time, the total, ran out. Retrying needs a new Context."""

    def __init__(self, message: str = "deadline exceeded", **kwargs: Any) -> None:
        super().__init__(message, **kwargs)


class StreamTimeoutError(AnyLLMError, TimeoutError):
    """
    One of the clocks of `Timeouts` ran out while we waited for the provider.

    Attributes:
        clock: Which one: "connect", "first_content" or "idle".
        seconds: Its limit.
    """

    is_retryable = True

    def __init__(self, message: str = "", *, clock: str, seconds: float, **kwargs: Any) -> None:
        super().__init__(message, **kwargs)
        self.clock = clock
        self.seconds = seconds


class NetworkError(AnyLLMError):
    """No usable answer from the host: name resolution, connection, TLS, a proxy, a reset before the answer."""

    is_retryable = True


class IncompleteStreamError(AnyLLMError):
    """The bytes ended before the answer did; ``partial`` holds what came."""

    is_retryable = True


class MalformedStreamError(AnyLLMError):
    """The answer is not in the format its dialect speaks, or one event is larger than the limit."""


class APIError(AnyLLMError):
    """
    The provider answered with an error, as an HTTP status or inside the stream.

    Attributes:
        status_code: The HTTP status, or the one that the event inside a 200 stream names; None if neither.
        type: The provider's type of error ("invalid_request_error"), or None.
        param: The parameter it complains about, or None.
        request_id: The provider's id for the request, to quote to its support.
        retry_after: Seconds to wait before another try, as the provider asked; None if it did not.
        body: The decoded JSON of the answer, or its text (at most some kilobytes).
    """

    def __init__(
        self,
        message: str = "",
        *,
        status_code: int | None = None,
        type: str | None = None,
        param: str | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
        body: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(message, **kwargs)
        self.status_code = status_code
        self.type = type
        self.param = param
        self.request_id = request_id
        self.retry_after = retry_after
        self.body = body

    def _label(self) -> str:
        status = "" if self.status_code is None else str(self.status_code)
        code = self.code or self.type
        return " ".join(part for part in (status, code if code != status else None) if part)

    def _facts(self) -> list[str]:
        facts = []
        if self.request_id:
            facts.append(f"request {self.request_id}")
        if self.retry_after is not None:
            facts.append(f"retry after {self.retry_after:g} s")
        return facts


class AuthenticationError(APIError):
    """The key is missing, wrong or expired (401)."""


class PermissionDeniedError(APIError):
    """The key is good, but not for this (403)."""


class InsufficientFundsError(APIError):
    """The account cannot pay: no balance, or a quota that waiting does not refill (402)."""


class RateLimitError(APIError):
    """Too many requests or tokens for now (429)."""

    is_retryable = True


class InvalidRequestError(APIError):
    """The provider does not accept the request as it stands (400, 404, 409, 413, 422)."""


class ContextLengthExceededError(InvalidRequestError):
    """The messages and the answer do not fit in the model's context."""


class ContentFilterError(InvalidRequestError):
    """A safety filter refused the request or cut the answer off."""


class UnsupportedParameterError(InvalidRequestError):
    """The host or model cannot do what ``param`` asks for."""


class ModelNotFoundError(APIError):
    """The host has no such model, or not for this key."""


class ServerError(APIError):
    """The provider failed (408, 5xx)."""

    is_retryable = True


class OverloadedError(ServerError):
    """The provider has too much to do (503, 529)."""


class MissingAPIKeyError(AnyLLMError):
    """
    No key was given and none is set.

    Attributes:
        env_var: The environment variable that would be read.
    """

    def __init__(self, message: str = "", *, env_var: str, **kwargs: Any) -> None:
        super().__init__(message, **kwargs)
        self.env_var = env_var


class UnsupportedProviderError(AnyLLMError):
    """The text before the first "/" or ":" of a model string names no provider."""


class LocalUnavailableError(AnyLLMError):
    """The local model cannot run here; the message says why and what to do."""


def scrub(error: AnyLLMError, secret: str | None) -> AnyLLMError:
    """Replace *secret*, should the provider have echoed it, in all that *error* and its causes say; returns *error*."""
    if secret and len(secret) >= _SHORTEST_SECRET:
        _scrub(error, secret, set())
    return error


def _scrub(error: BaseException, secret: str, seen: set[int]) -> None:
    """The causes are foreign, and quote what they choked on."""
    seen.add(id(error))
    inner = [error.__cause__, error.__context__, *error.args]
    error.args = _without(error.args, secret)
    for name, value in tuple(vars(error).items()):
        inner.append(value)
        clean = value if name == "partial" else _without(value, secret)
        if clean is not value:
            setattr(error, name, clean)
    for other in inner:
        if isinstance(other, BaseException) and id(other) not in seen:
            _scrub(other, secret, seen)


def _without(value: Any, secret: str) -> Any:
    if isinstance(value, str):
        return value.replace(secret, "[key]")
    if isinstance(value, bytes):
        return value.replace(secret.encode(), b"[key]")
    if type(value) is dict:
        return {_without(key, secret): _without(item, secret) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_without(item, secret) for item in value)
    return value
