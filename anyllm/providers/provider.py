"""
The provider object that `provider` makes: a row of the table with the user's settings, and its calls.

An explicit setting wins over the environment, the environment over the row. A key from the environment is only sent to
the row's own host, or to the one that the environment names: an explicit base URL elsewhere never receives it.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Optional, TypeVar, Union, cast

import attrs
from urllib3.exceptions import LocationValueError
from urllib3.util import parse_url

from anyllm._hints.arguments import check_stream, unknown_keyword
from anyllm._hints.names import ATTRIBUTES, no_attribute
from anyllm._stream import stream as _stream
from anyllm._stream.call_spec import CallSpec, Destination
from anyllm._transport.http import Transport
from anyllm._transport.redaction import redact_url
from anyllm.context import Context
from anyllm.errors import (
    AnyLLMError,
    AuthenticationError,
    InvalidRequestError,
    MissingAPIKeyError,
    ModelNotFoundError,
    UnsupportedProviderError,
)
from anyllm.options import StreamingOptions, check_pair_options, streaming_options
from anyllm.providers.table.row import Capabilities, Row, UnsignedRequest
from anyllm.providers.url_env import first_set
from anyllm.types import ChatCompletion, CompletionParams, EmbeddingParams, Embeddings, Model, _convert
from anyllm.wire._base.protocols import Continuer, Dialect, Embedder, Lister, Request
from anyllm.wire._base.whole_answer import whole_answer

__all__ = ["ApiKey", "EmbeddingInput", "Options", "Params", "Provider", "check_call", "structured_options"]

ApiKey = Union[str, Callable[[], str], None]
Params = Union[CompletionParams, Mapping[str, Any]]
EmbeddingInput = Union[EmbeddingParams, Mapping[str, Any]]
Options = Union[StreamingOptions, Mapping[str, Any], None]
F = TypeVar("F", bound=Callable[..., Any])


def check_call(function: F) -> F:
    """Decorate a call of the API: a missing or swapped Context raises a TypeError that shows the right call."""

    names = frozenset(inspect.signature(function).parameters)

    @functools.wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        positional = [arg for arg in args if not isinstance(arg, Provider)]  # without self
        ctx = kwargs.get("ctx", positional[0] if positional else None)
        if not isinstance(ctx, Context) or len(positional) + len(kwargs.keys() & {"ctx", "params"}) < 2:
            name = function.__name__
            raise TypeError(
                f"{name}() takes a Context and parameters: "
                f"anyllm.{name}(anyllm.Context(timeout=60), {_example_params(name)})"
            )
        if not names.issuperset(kwargs):
            raise unknown_keyword(f"{function.__name__}()", kwargs, names - {"self"})
        return function(*args, **kwargs)

    return cast(F, checked)


def _example_params(name: str) -> str:
    if name == "embedding":
        return "anyllm.EmbeddingParams(model=..., input=[...])"
    return "anyllm.CompletionParams(model=..., messages=[...])"


class Provider:
    """
    A provider with its settings and connections. Made by `provider`; shared freely between threads.

    Attributes:
        name: The name of its row.
        capabilities: Its features.
        dialect: The client side of its wire format.
    """

    def __init__(
        self,
        row: Row,
        *,
        api_key: ApiKey = None,
        base_url: Optional[str] = None,
        options: Options = None,
        headers: Optional[Mapping[str, str]] = None,
        transport: Optional[Transport] = None,
    ) -> None:
        if not isinstance(row, Row) or transport is None:
            raise TypeError("a Provider is made by anyllm.provider(name, api_key=...)")
        _check_types(api_key, base_url)
        self.name = row.name
        self.dialect: Dialect = row.dialect
        self.capabilities: Capabilities = row.capabilities.of(self.dialect.support)
        self._row = row
        self._api_key = api_key
        self._base_url = base_url
        self._options = structured_options(options) or StreamingOptions()
        self._headers = dict(headers or {})
        self._transport = transport

    @check_call
    def completion_stream(
        self,
        ctx: Context,
        params: Params,
        *,
        api_key: ApiKey = None,
        base_url: Optional[str] = None,
        options: Options = None,
    ) -> _stream.Stream:
        """`anyllm.completion_stream` with this provider; the model in *params* is bare."""
        return _stream.stream(ctx, self._completion_spec(params, None, True, api_key, base_url, options))

    @check_call
    def completion(
        self,
        ctx: Context,
        params: Params,
        *,
        api_key: ApiKey = None,
        base_url: Optional[str] = None,
        options: Options = None,
    ) -> ChatCompletion:
        """`anyllm.completion` with this provider; the model in *params* is bare."""
        spec = self._completion_spec(params, None, False, api_key, base_url, options)
        return cast(ChatCompletion, _stream.call(ctx, spec))

    @check_call
    def embedding(
        self,
        ctx: Context,
        params: EmbeddingInput,
        *,
        api_key: ApiKey = None,
        base_url: Optional[str] = None,
        options: Options = None,
    ) -> Embeddings:
        """`anyllm.embedding` with this provider; the model in *params* is bare."""
        spec = self._embedding_spec(params, None, api_key, base_url, options)
        return cast(Embeddings, _stream.call(ctx, spec))

    def list_models(
        self,
        ctx: Context,
        *,
        api_key: ApiKey = None,
        base_url: Optional[str] = None,
        options: Options = None,
    ) -> list[Model]:
        """`anyllm.list_models` of this provider."""
        dialect = self.dialect

        def prepare() -> Request:
            if not isinstance(dialect, Lister) or not self.capabilities.list_models:
                raise UnsupportedProviderError("does not list its models")
            return dialect.models_request()

        parse = dialect.models if isinstance(dialect, Lister) else None
        return cast("list[Model]", _stream.call(ctx, self._call_spec(prepare, parse, "", api_key, base_url, options)))

    def close(self) -> None:
        """Close idle connections. Running streams go on, and the provider can still be used."""
        self._transport.close()

    def __repr__(self) -> str:
        url = "" if self._base_url is None else f" at {redact_url(self._base_url)}"
        return f"<Provider {self.name}{url}>"

    if not TYPE_CHECKING:  # type checkers must report unknown names

        def __getattr__(self, name):
            raise no_attribute("a Provider", name, ATTRIBUTES["Provider"])

    def __reduce__(self) -> Any:
        raise TypeError(
            "a Provider cannot be copied or pickled: make one in each process, and share it between threads"
        )

    # -- one call --------------------------------------------------------------------------------------------------

    def _completion_spec(
        self,
        params: Params,
        model: Optional[str],
        stream: bool,
        api_key: ApiKey,
        base_url: Optional[str],
        options: Options,
    ) -> CallSpec:
        """
        The specification of a completion of *model*, a name without the provider; None: the model in *params*.

        Raises:
            TypeError: ``params.stream`` contradicts *stream*.
        """
        values = _convert.structure(CompletionParams, params)
        name = values.model if model is None else model
        check_stream(values.stream, stream, whole="completion()", streamed="completion_stream()")
        dialect = self.dialect

        def prepare() -> Request:
            self._check_model(name)
            return dialect.request(values, model=name, stream=stream)

        parse = None if stream else functools.partial(whole_answer, dialect)
        spec = self._call_spec(prepare, parse, name, api_key, base_url, options)
        if not stream or not isinstance(dialect, Continuer) or not self.capabilities.prefill:
            return spec
        resumed = _without_idempotency_key(values)
        return attrs.evolve(spec, resume=lambda text: dialect.continuation(resumed, text, model=name))

    def _embedding_spec(
        self,
        params: EmbeddingInput,
        model: Optional[str],
        api_key: ApiKey,
        base_url: Optional[str],
        options: Options,
    ) -> CallSpec:
        """The specification of an embedding with *model*, a name without the provider; None: the one in *params*."""
        values = _convert.structure(EmbeddingParams, params)
        name = values.model if model is None else model
        dialect = self.dialect

        def prepare() -> Request:
            if not isinstance(dialect, Embedder) or not self.capabilities.embedding:
                raise UnsupportedProviderError("does not support embeddings")
            self._check_model(name)
            return dialect.embedding_request(values, model=name)

        parse = dialect.embeddings if isinstance(dialect, Embedder) else None
        return self._call_spec(prepare, parse, name, api_key, base_url, options)

    def _call_spec(
        self,
        prepare: Callable[[], Request],
        parse: Optional[Callable[[bytes], Any]],
        model: str,
        api_key: ApiKey,
        base_url: Optional[str],
        options: Options,
    ) -> CallSpec:
        """
        The specification of a call.

        Args:
            prepare: Makes the request; an `AnyLLMError` that it raises ends the call.
            parse: Reads a whole answer; None for a stream.
            model: For providers with a URL for each model.
        """
        _check_types(api_key, base_url)
        request: Union[Request, AnyLLMError]
        try:
            # Now: later changes to the caller's lists and dicts must not matter.
            request = prepare()
        except AnyLLMError as exc:
            request = exc
        return CallSpec(
            provider=self.name,
            dialect=self.dialect,
            request=request,
            destination=lambda: self._destination(api_key, base_url, model),
            transport=self._transport,
            options=structured_options(options) or self._options,
            parse=parse,
        )

    def _check_model(self, model: str) -> None:
        if not model:
            raise InvalidRequestError(f"the model is missing: write {self.name}/MODEL", param="model")
        if self._row.models and model not in self._row.models:
            names = ", ".join(self._row.models)
            raise ModelNotFoundError(f"there is no model {model!r} here, only {names}", param="model")

    @property
    def _server(self) -> Optional[str]:
        """The base URL from the settings or the environment; None for the row's."""
        return self._base_url or first_set(*self._row.base_url_vars)

    def _destination(self, api_key: ApiKey, base_url: Optional[str], model: str = "") -> Destination:
        """Where to send a request, and with which key. On the worker's thread: getting a key may take time."""
        row = self._row
        explicit_url = base_url or self._base_url
        explicit_key = self._api_key if api_key is None else api_key
        headers = {**row.headers, **self._headers}
        if row.start_server is not None and explicit_url is None:
            return self._destination_at(*row.start_server(), headers)
        custom = explicit_url or first_set(*row.base_url_vars)
        base = custom or row.base_url
        if base is None:
            alternatives = "".join(f" or set {name}" for name in row.base_url_vars)
            raise InvalidRequestError(f"the base URL is missing: pass base_url={alternatives}", param="base_url")
        is_own = self._is_own_host(base)
        from_environment = explicit_key is None and is_own
        key = _key_from_environment(row) if from_environment else _read_key(explicit_key)
        if key is None and is_own and row.key_required:
            name = " and ".join(row.key_pair_vars) or row.key_vars[0]
            problem = "no API key" if explicit_key is None else "api_key is empty"
            raise MissingAPIKeyError(f"{problem}: set {name} or pass api_key=", env_var=name)
        return self._destination_at(row.resolve_url(base, model), key, headers, custom)

    def _destination_at(
        self, base: str, key: Optional[str], headers: Mapping[str, str], custom: Optional[str] = None
    ) -> Destination:
        sign = self._row.sign
        if sign is None:
            authorization = self._row.auth(key) if key else {}
            return Destination(base.rstrip("/"), {**authorization, **headers}, key, custom_base_url=custom)

        def signature(method: str, url: str, headers: Mapping[str, str], body: bytes) -> Mapping[str, str]:
            return sign(UnsignedRequest(method=method, url=url, headers=headers, body=body, key=key))

        return Destination(base.rstrip("/"), headers, key, signature, custom)

    def _is_own_host(self, base: str) -> bool:
        """Whether the key in the environment may be sent to *base*."""
        own = (self._row.base_url, first_set(*self._row.base_url_vars))
        return any(url and _origin(url) == _origin(base) for url in own)


def _without_idempotency_key(params: CompletionParams) -> CompletionParams:
    """*params* for a request that continues an answer: it must not count as a repetition of the first one."""
    headers = params.extra_headers or {}
    others = {name: value for name, value in headers.items() if name.lower() != "idempotency-key"}
    return params if len(others) == len(headers) else params.evolve(extra_headers=others or None)


def _check_types(api_key: object, base_url: object) -> None:
    """Raise a TypeError from the call itself, not on the worker."""
    if api_key is not None and not isinstance(api_key, str) and not callable(api_key):
        raise TypeError(f"api_key must be a str, or a function that returns one, not {type(api_key).__name__}")
    if base_url is not None and not isinstance(base_url, str):
        raise TypeError(f"base_url must be a str, not {type(base_url).__name__}")


def structured_options(options: Options) -> Optional[StreamingOptions]:
    """
    Options, maybe from a dict; None if there are none.

    Raises:
        TypeError: an option has the wrong type, or needs a `Client`.
    """
    return None if options is None else check_pair_options(streaming_options(options))


def _read_key(key: ApiKey) -> Optional[str]:
    """The key, which a function may return; None if it is empty."""
    if not callable(key):
        return (key or "").strip() or None
    try:
        value = key()
    except AnyLLMError:
        raise
    except Exception as exc:
        raise AuthenticationError(f"api_key() failed: {type(exc).__name__}") from exc
    if not isinstance(value, str):
        raise AuthenticationError(f"api_key() must return a str, not {type(value).__name__}")
    return value.strip() or None


def _key_from_environment(row: Row) -> Optional[str]:
    pair = [value for name in row.key_pair_vars if (value := first_set(name))]
    return ":".join(pair) if pair and len(pair) == len(row.key_pair_vars) else first_set(*row.key_vars)


def _origin(url: str) -> tuple[Optional[str], Optional[str], Optional[int]]:
    """Scheme, host and port, by the parser of the connection: other parsers find other hosts in some URLs."""
    try:
        parts = parse_url(url)
    except LocationValueError:
        return url, None, None
    return parts.scheme, parts.host, parts.port or {"http": 80, "https": 443}.get(parts.scheme or "")
