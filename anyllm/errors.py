"""
Every way a call can fail, as one tree.

    AnyLLMError
    ├── Cancelled                       the Context was cancelled, or the stream abandoned
    ├── DeadlineExceeded                the Context's time ran out          (also a TimeoutError)
    │   └── WaitTooLongError                a rate limit would wait longer than the Context lasts
    ├── StreamTimeoutError              one of the stream's clocks ran out  (also a TimeoutError)
    ├── NetworkError                    no answer: name, connection, TLS, reset
    ├── IncompleteStreamError           the answer ended before its end was said
    │   └── ConnectionLostError             the network broke it off            (also a NetworkError)
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
    ├── LocalUnavailableError           the local model cannot run here
    ├── StructuredOutputError           the answer is not of the shape that was asked for       (`anyllm.structured`)
    ├── ToolArgumentsError              a call's arguments are not those of its tool            (`anyllm.tools`)
    ├── BudgetExceededError             an agent's budget ran out before there was an answer    (`anyllm.agent`)
    ├── CircuitOpenError                the host fails, so the call is not made
    └── LimitTooSmallError              one call is more than a rate limit gives in a minute

Facts are attributes, never only text. Every error survives pickle and copy, with its partial response; only
the foreign exception behind it (``__cause__``) stays in the process it came from.
"""

from __future__ import annotations

import contextlib
import pickle
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anyllm.types import ChatCompletion

__all__ = [
    "APIError",
    "AnyLLMError",
    "AuthenticationError",
    "Cancelled",
    "CircuitOpenError",
    "ConnectionLostError",
    "ContentFilterError",
    "ContextLengthExceededError",
    "DeadlineExceeded",
    "IncompleteStreamError",
    "InsufficientFundsError",
    "InvalidRequestError",
    "LimitTooSmallError",
    "LocalUnavailableError",
    "MalformedStreamError",
    "MissingAPIKeyError",
    "ModelNotFoundError",
    "NetworkError",
    "OverloadedError",
    "PermissionDeniedError",
    "RateLimitError",
    "ServerError",
    "StreamTimeoutError",
    "UnsupportedParameterError",
    "UnsupportedProviderError",
    "WaitTooLongError",
]

#: Shorter secrets are not replaced in messages: they would match ordinary words.
_SHORTEST_SECRET = 6
#: As much of a longer one as may be shown.
_LONGEST_REST = 12


class AnyLLMError(Exception):
    """
    The root of every error that anyllm raises or puts on an ``errors`` channel.

    Attributes:
        message: What happened, without the facts that ``str()`` adds around it.
        provider: The provider's name ("openai"), or None when none was reached.
        code: The provider's own code ("rate_limit_exceeded"), or None.
        partial: The response so far, a `ChatCompletion`, or None when nothing had come.
        is_retryable: Whether the same call may succeed later, unchanged.
        hint: What may be wrong on our side, where the error does not say it itself, or None: for a 404 that does not
            speak of the model, the URL that was asked and how ``base_url`` should look.
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
        """One line: ``provider: code: message (facts)``, whatever the provider sent."""
        parts = [part for part in (self.provider, self._label(), self.message) if part]
        facts = self._facts() + ([self.hint] if self.hint else [])
        line = ": ".join(parts) or type(self).__name__
        return " ".join((line + (f" ({', '.join(facts)})" if facts else "")).split())

    def __reduce__(self) -> tuple[Any, ...]:
        # Keyword-only arguments defeat Exception's own pickling, which replays `args`.
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
        cause: What `cancel(cause)` was given; "abandoned" when the consumer let go of the stream.
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
        except Exception:  # a lock, a Context, an exception that takes two arguments: it may be anything
            state["cause"] = repr(self.cause)
        return rebuild, (kind, args, state)


class DeadlineExceeded(AnyLLMError, TimeoutError):
    """
    The total ran out: the Context's own time, or that of `Timeouts`. Retrying needs a new Context.

    Attributes:
        clock: "total", beside the clocks of `StreamTimeoutError`.
    """

    clock = "total"

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
    """
    No usable answer from the host: name resolution, connection, TLS, a proxy, a reset.

    In the middle of an answer it is a `ConnectionLostError`, which is an `IncompleteStreamError` too.
    """

    is_retryable = True


class IncompleteStreamError(AnyLLMError):
    """The bytes ended before the answer did; ``partial`` holds what came."""

    is_retryable = True


class ConnectionLostError(IncompleteStreamError, NetworkError):
    """
    The connection broke in the middle of the answer: it was reset, or ended inside the body.

    Where a host marks the end of a body by closing the connection, nobody can tell that from a cut: the answer is then
    an `IncompleteStreamError`. Before the first content a lost connection is tried again (see `Retry`).
    """

    @classmethod
    def instead_of(cls, error: IncompleteStreamError) -> ConnectionLostError:
        """*error*, which a broken connection caused, as one of this class."""
        lost = _rebuild(cls, error.args, error.__dict__)
        assert isinstance(lost, cls)
        return lost


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
    """The key is missing, wrong or expired (401). Asking again does not help before the key is another."""


class PermissionDeniedError(APIError):
    """The key is good, but not for this model, region or endpoint (403)."""


class InsufficientFundsError(APIError):
    """The account cannot pay: no balance, or a quota that waiting does not refill (402)."""


class RateLimitError(APIError):
    """
    Too many requests or tokens for now (429). ``retry_after`` has the seconds to wait, where the provider says so.

    Such a call is tried again by itself, see `Retry`; this is the error of the last try.
    """

    is_retryable = True


class InvalidRequestError(APIError):
    """
    The provider does not accept the request as it stands (400, 404, 409, 413, 422); ``param`` names the parameter at
    fault, where the provider says so. Also raised before anything is sent, for what no provider would accept.
    """


class ContextLengthExceededError(InvalidRequestError):
    """The messages, and the answer that ``max_tokens`` asks for, do not fit in the model's context."""


class ContentFilterError(InvalidRequestError):
    """A safety filter of the provider refused the request, or cut the answer off: ``partial`` then has what came."""


class UnsupportedParameterError(InvalidRequestError):
    """The host or model cannot do what the parameter named in ``param`` asks for; mostly raised before sending."""


class ModelNotFoundError(APIError):
    """The host has no such model, or not for this key. `anyllm.list_models` says which there are."""


class ServerError(APIError):
    """The provider failed (408, 5xx), or said so in the stream. Such a call is tried again by itself, see `Retry`."""

    is_retryable = True


class OverloadedError(ServerError):
    """The provider has too much to do (503, 529), or the model is being loaded. Tried again as any `ServerError`."""


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


class CircuitOpenError(AnyLLMError):
    """
    The host fails, so the call is not made.

    Attributes:
        retry_after: Seconds until the breaker lets a call try the host; None while one is trying.
    """

    is_retryable = True

    def __init__(self, message: str = "", *, retry_after: float | None = None, **kwargs: Any) -> None:
        super().__init__(message, **kwargs)
        self.retry_after = retry_after


class LimitTooSmallError(AnyLLMError, ValueError):
    """
    One call asks for more tokens than the limit gives in a minute: no waiting helps.

    Attributes:
        tokens: What the call asked for.
        tokens_per_minute: The limit.
    """

    def __init__(self, message: str = "", *, tokens: int, tokens_per_minute: int, **kwargs: Any) -> None:
        super().__init__(message, **kwargs)
        self.tokens = tokens
        self.tokens_per_minute = tokens_per_minute


class WaitTooLongError(DeadlineExceeded):
    """
    The rate would let the call go only after its Context has ended. Raised without waiting.

    Attributes:
        seconds: How long it would have had to wait.
    """

    def __init__(self, message: str = "", *, seconds: float, **kwargs: Any) -> None:
        super().__init__(message, **kwargs)
        self.seconds = seconds


def scrub(error: AnyLLMError, *secrets: str | None) -> AnyLLMError:
    """Replace *secrets*, should the provider have echoed one, in all that *error* and its causes say; returns it."""
    for secret in secrets:
        if secret and len(secret) >= _SHORTEST_SECRET:
            _scrub(error, secret)
    return error


def _scrub(error: BaseException, secret: str) -> None:
    """The causes are foreign, and quote what they choked on. A caller's own may refuse to be changed, and stay."""
    seen: set[int] = set()
    line = [error]
    while line:
        error = line.pop()
        if id(error) in seen:
            continue
        seen.add(id(error))
        said = {"args": error.args, **vars(error)}
        for name, value in said.items():
            clean = value if name == "partial" else _without(value, secret)
            if clean is not value and clean != value:
                with contextlib.suppress(Exception):
                    setattr(error, name, clean)
        found = [error.__cause__, error.__context__, *error.args, *said.values()]
        line += [other for other in found if isinstance(other, BaseException)]


def _without(value: Any, secret: str) -> Any:
    try:
        return _replaced(value, secret)
    except RecursionError:
        return None  # nested as nothing is that a person reads


def _replaced(value: Any, secret: str) -> Any:
    if isinstance(value, str):
        return _cut_out(value.replace(secret, "[key]"), secret)
    if isinstance(value, bytes):
        return value.replace(secret.encode(), b"[key]")
    if type(value) is dict:
        return {_replaced(key, secret): _replaced(item, secret) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_replaced(item, secret) for item in value)
    return value


def _cut_out(text: str, secret: str) -> str:
    """Messages are cut to a length, perhaps in the middle of the secret: its beginning goes too."""
    head = secret[:_LONGEST_REST]
    at = text.find(head)
    while len(secret) > _LONGEST_REST and at >= 0:
        end = at + len(head)
        while end < len(text) and end - at < len(secret) and text[end] == secret[end - at]:
            end += 1
        text = f"{text[:at]}[key]{text[end:]}"
        at = text.find(head, at)
    return text
