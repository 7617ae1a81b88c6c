"""
The error tree: every way a call can fail.

    AnyLLMError
    ├── Cancelled                       the Context was cancelled, or the stream abandoned
    ├── DeadlineExceeded                the Context's time ran out          (also a TimeoutError)
    │   └── WaitTooLongError                a rate limit would wait longer than the Context lasts
    ├── StreamTimeoutError              one of the stream's clocks ran out  (also a TimeoutError)
    ├── NetworkError                    no answer: name, connection, TLS, reset
    ├── IncompleteStreamError           the answer ended without its end mark
    │   └── ConnectionLostError             the connection broke               (also a NetworkError)
    ├── MalformedStreamError            the answer cannot be decoded, or is larger than the limit
    ├── APIError                        the provider answered with an error
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
    ├── LocalUnavailableError           the local model cannot run here
    ├── StructuredOutputError           the answer does not match the requested schema   (`anyllm.structured`)
    ├── ToolArgumentsError              a call's arguments do not match its tool         (`anyllm.tools`)
    ├── BudgetExceededError             an agent's budget ran out before its answer      (`anyllm.agent`)
    ├── CircuitOpenError                the provider keeps failing, so no call is made
    └── LimitTooSmallError              one call needs more tokens than a rate limit gives in a minute

Facts are attributes, not only text. Every error survives pickle and copy, with its partial response, but without the
foreign exception behind it (``__cause__``).
"""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anyllm.types import ChatCompletion


class AnyLLMError(Exception):
    """
    The root of every error that anyllm raises or puts on an ``errors`` channel.

    Attributes:
        message: What happened, without the facts that ``str()`` adds.
        provider: The provider's name ("openai"), or None when none was reached.
        code: The provider's own code ("rate_limit_exceeded"), or None.
        partial: The response so far, a `ChatCompletion`; None if nothing had come.
        is_retryable: Whether the same call may succeed later.
        hint: What may be wrong with the call, or None: for a 404 that is not about the model, the URL of the request
            and how ``base_url`` should look.
    """

    is_retryable: bool = False
    hint: str | None = None

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
        """One line: ``provider: code: message (facts)``."""
        parts = [part for part in (self.provider, self._label(), self.message) if part]
        facts = self._facts() + ([self.hint] if self.hint else [])
        line = ": ".join(parts) or type(self).__name__
        return " ".join((line + (f" ({', '.join(facts)})" if facts else "")).split())

    def __reduce__(self) -> tuple[Any, ...]:
        # Exception's own pickling calls the class with `args` only, and lacks the keyword-only arguments.
        return _rebuild, (type(self), self.args, self.__dict__.copy())

    def __copy__(self) -> AnyLLMError:
        return _rebuild(type(self), self.args, self.__dict__)


def _rebuild(cls: type[AnyLLMError], args: tuple[Any, ...], state: dict[str, Any]) -> AnyLLMError:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class Cancelled(AnyLLMError):
    """
    The call was cancelled: by `Context.cancel`, by `Stream.cancel`, or because nobody receives any more.

    Attributes:
        cause: The argument of `cancel(cause)`; "abandoned" when the consumer dropped the stream.
    """

    def __init__(self, message: str = "cancelled", *, cause: object = None, **kwargs: Any) -> None:
        super().__init__(message, **kwargs)
        self.cause = cause
        if isinstance(cause, BaseException):
            self.__cause__ = cause

    def _facts(self) -> list[str]:
        return [] if self.cause is None else [f"cause: {self.cause}"]

    def __reduce__(self) -> tuple[Any, ...]:
        rebuild, (kind, args, state) = super().__reduce__()
        try:
            pickle.loads(pickle.dumps(self.cause))
        except Exception:  # a lock, a Context, an exception with two arguments: the cause may be anything
            state["cause"] = repr(self.cause)
        return rebuild, (kind, args, state)


class DeadlineExceeded(AnyLLMError, TimeoutError):
    """
    The total time ran out: the Context's timeout, or `Timeouts.total`. Retrying needs a new Context.

    Attributes:
        clock: "total", as `StreamTimeoutError.clock` names the other clocks.
    """

    clock = "total"

    def __init__(self, message: str = "deadline exceeded", **kwargs: Any) -> None:
        super().__init__(message, **kwargs)


class StreamTimeoutError(AnyLLMError, TimeoutError):
    """
    One of the clocks of `Timeouts` ran out while we waited for the provider.

    Attributes:
        clock: Which one: "connect", "first_content" or "idle".
        seconds: Its limit in seconds.
    """

    is_retryable = True

    def __init__(self, message: str = "", *, clock: str, seconds: float, **kwargs: Any) -> None:
        super().__init__(message, **kwargs)
        self.clock = clock
        self.seconds = seconds


class NetworkError(AnyLLMError):
    """
    No usable answer from the host: name resolution, connection, TLS, a proxy or a reset failed.

    In the middle of an answer it is a `ConnectionLostError`, which is an `IncompleteStreamError` too.
    """

    is_retryable = True


class IncompleteStreamError(AnyLLMError):
    """The body ended before the answer was complete; ``partial`` holds the answer so far."""

    is_retryable = True


class ConnectionLostError(IncompleteStreamError, NetworkError):
    """
    The connection broke in the middle of the answer: it was reset, or ended inside the body.

    If a host marks the end of a body by closing the connection, a break looks the same: then the error is an
    `IncompleteStreamError`. Before the first content there is another attempt (see `Retry`).
    """

    @classmethod
    def replacement_for(cls, error: IncompleteStreamError) -> ConnectionLostError:
        """A copy of *error* as this class, for an error that a broken connection caused."""
        lost = _rebuild(cls, error.args, error.__dict__)
        assert isinstance(lost, cls)
        return lost


class MalformedStreamError(AnyLLMError):
    """The answer is not in the dialect's format, or one event is larger than the limit."""


class APIError(AnyLLMError):
    """
    The provider answered with an error, as an HTTP status or inside the stream.

    Attributes:
        status_code: The HTTP status, or the one in the error event of a 200 stream; None if there is neither.
        type: The provider's type of error ("invalid_request_error"), or None.
        param: The parameter at fault, or None.
        request_id: The provider's id for the request, to quote to its support.
        retry_after: Seconds to wait before the next attempt, from the provider; None if it sends none.
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
    """The key is valid, but not for this model, region or endpoint (403)."""


class InsufficientFundsError(APIError):
    """The account cannot pay: no balance, or a quota that waiting does not refill (402)."""


class RateLimitError(APIError):
    """
    Too many requests or tokens for now (429). ``retry_after`` has the seconds to wait, if the provider sends them.

    Such a call is retried automatically, see `Retry`; this is the error of the last attempt.
    """

    is_retryable = True


class InvalidRequestError(APIError):
    """
    The provider refuses the request (400, 404, 409, 413, 422); ``param`` names the parameter at fault, if the provider
    does. Also raised before anything is sent, for requests that no provider would accept.
    """


class ContextLengthExceededError(InvalidRequestError):
    """The messages, together with ``max_tokens``, do not fit in the model's context."""


class ContentFilterError(InvalidRequestError):
    """A safety filter of the provider refused the request, or stopped the answer; ``partial`` holds it so far."""


class UnsupportedParameterError(InvalidRequestError):
    """The provider or model does not support the parameter named in ``param``; mostly raised before sending."""


class ModelNotFoundError(APIError):
    """The provider has no such model, or not for this key. `anyllm.list_models` lists the models."""


class ServerError(APIError):
    """The provider failed (408, 5xx, or an error in the stream). Retried automatically, see `Retry`."""

    is_retryable = True


class OverloadedError(ServerError):
    """The provider is overloaded (503, 529), or loads the model. Retried like any `ServerError`."""


class MissingAPIKeyError(AnyLLMError):
    """
    No API key was passed, and none is in the environment.

    Attributes:
        env_var: The environment variable that is read.
    """

    def __init__(self, message: str = "", *, env_var: str, **kwargs: Any) -> None:
        super().__init__(message, **kwargs)
        self.env_var = env_var


class UnsupportedProviderError(AnyLLMError):
    """The text before the first "/" or ":" of a model string is no provider's name."""


class LocalUnavailableError(AnyLLMError):
    """The local model cannot run here; the message says why, and how to change that."""


class CircuitOpenError(AnyLLMError):
    """
    The circuit breaker is open, because the provider keeps failing: the call is not made.

    Attributes:
        retry_after: Seconds until the breaker allows a trial call; None while one is running.
    """

    is_retryable = True

    def __init__(self, message: str = "", *, retry_after: float | None = None, **kwargs: Any) -> None:
        super().__init__(message, **kwargs)
        self.retry_after = retry_after


class LimitTooSmallError(AnyLLMError, ValueError):
    """
    One call needs more tokens than the limit gives in a minute, so waiting does not help.

    Attributes:
        tokens: The tokens that the call needs.
        tokens_per_minute: The limit.
    """

    def __init__(self, message: str = "", *, tokens: int, tokens_per_minute: int, **kwargs: Any) -> None:
        super().__init__(message, **kwargs)
        self.tokens = tokens
        self.tokens_per_minute = tokens_per_minute


class WaitTooLongError(DeadlineExceeded):
    """
    The rate limit would delay the call beyond the end of its Context. Raised without waiting.

    Attributes:
        seconds: The delay in seconds.
    """

    def __init__(self, message: str = "", *, seconds: float, **kwargs: Any) -> None:
        super().__init__(message, **kwargs)
        self.seconds = seconds


if not TYPE_CHECKING:
    __all__ = [name for name, value in globals().items() if isinstance(value, type) and issubclass(value, AnyLLMError)]
