"""
A host of models, and what it takes to reach it: the object that `provider` makes.

An explicit option wins over the environment, the environment over the row. A key from the environment belongs to the
row's own host, or to the one that the environment names: an explicit base URL elsewhere never receives it.
"""

from __future__ import annotations

import functools
import inspect
import os
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
from anyllm.options import StreamingOptions, for_the_pair, streaming_options
from anyllm.providers.row import Capabilities, Row, Signable
from anyllm.types import ChatCompletion, CompletionParams, EmbeddingParams, Embeddings, Model, _convert
from anyllm.wire._base.dialect import Continuer, Dialect, Embedder, Lister, Request
from anyllm.wire._base.whole_answer import whole_answer

__all__ = ["ApiKey", "EmbeddingInput", "Options", "Params", "Provider", "explains_itself", "options_in"]

ApiKey = Union[str, Callable[[], str], None]
Params = Union[CompletionParams, Mapping[str, Any]]
EmbeddingInput = Union[EmbeddingParams, Mapping[str, Any]]
Options = Union[StreamingOptions, Mapping[str, Any], None]
F = TypeVar("F", bound=Callable[..., Any])


def explains_itself(function: F) -> F:
    """Answer a missing or swapped Context with the right call, which Python's own TypeError does not show."""

    names = frozenset(inspect.signature(function).parameters)

    @functools.wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        given = [arg for arg in args if not isinstance(arg, Provider)]
        ctx = kwargs.get("ctx", given[0] if given else None)
        if not isinstance(ctx, Context) or len(given) + len(kwargs.keys() & {"ctx", "params"}) < 2:
            name = function.__name__
            raise TypeError(
                f"{name}() takes a Context and parameters: anyllm.{name}(anyllm.Context(timeout=60), {_wanted(name)})"
            )
        if not names.issuperset(kwargs):
            raise unknown_keyword(f"{function.__name__}()", kwargs, names - {"self"})
        return function(*args, **kwargs)

    return cast(F, checked)


def _wanted(name: str) -> str:
    if name == "embedding":
        return "anyllm.EmbeddingParams(model=..., input=[...])"
    return "anyllm.CompletionParams(model=..., messages=[...])"


class Provider:
    """
    A host of models, with what it takes to reach it. Made by `provider`; shared freely between threads.

    Attributes:
        name: The name in the table.
        capabilities: What can be asked of it, as data.
        dialect: The format it speaks.
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
        self._options = options_in(options) or StreamingOptions()
        self._headers = dict(headers or {})
        self._transport = transport

    @explains_itself
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
        params = _convert.structure(CompletionParams, params)
        return _stream.stream(ctx, self._completion_spec(params, params.model, True, api_key, base_url, options))

    @explains_itself
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
        params = _convert.structure(CompletionParams, params)
        spec = self._completion_spec(params, params.model, False, api_key, base_url, options)
        return cast(ChatCompletion, _stream.call(ctx, spec))

    @explains_itself
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
        params = _convert.structure(EmbeddingParams, params)
        return cast(
            Embeddings, _stream.call(ctx, self._embedding_spec(params, params.model, api_key, base_url, options))
        )

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
                raise UnsupportedProviderError("does not say which models it has")
            return dialect.models_request()

        parse = dialect.models if isinstance(dialect, Lister) else None
        return cast("list[Model]", _stream.call(ctx, self._call_spec(prepare, parse, "", api_key, base_url, options)))

    def close(self) -> None:
        """Close idle connections; running streams go on, and the provider can be used again."""
        self._transport.close()

    def __repr__(self) -> str:
        where = "" if self._base_url is None else f" at {redact_url(self._base_url)}"
        return f"<Provider {self.name}{where}>"

    if not TYPE_CHECKING:  # which is to find names that are not there

        def __getattr__(self, name):
            raise no_attribute("a Provider", name, ATTRIBUTES["Provider"])

    def __reduce__(self) -> Any:
        raise TypeError(
            "a Provider cannot be copied or pickled: make one in each process, and share it between threads"
        )

    # -- one call --------------------------------------------------------------------------------------------------

    def _completion_spec(
        self,
        params: CompletionParams,
        model: str,
        stream: bool,
        api_key: ApiKey,
        base_url: Optional[str],
        options: Options,
    ) -> CallSpec:
        """
        The job of asking *model*, named without its provider.

        Raises:
            TypeError: *params* ask for a stream and the call is none, or the other way round.
        """
        check_stream(params.stream, stream, whole="completion()", streamed="completion_stream()")
        dialect = self.dialect

        def prepare() -> Request:
            self._check_model(model)
            return dialect.request(params, model=model, stream=stream)

        parse = None if stream else functools.partial(whole_answer, dialect)
        spec = self._call_spec(prepare, parse, model, api_key, base_url, options)
        if not stream or not isinstance(dialect, Continuer) or not self.capabilities.prefill:
            return spec
        anew = _as_another_request(params)
        return attrs.evolve(spec, resume=lambda text: dialect.continuation(anew, text, model=model))

    def _embedding_spec(
        self,
        params: EmbeddingParams,
        model: str,
        api_key: ApiKey,
        base_url: Optional[str],
        options: Options,
    ) -> CallSpec:
        """The job of making vectors with *model*, named without its provider."""
        dialect = self.dialect

        def prepare() -> Request:
            if not isinstance(dialect, Embedder) or not self.capabilities.embedding:
                raise UnsupportedProviderError("makes no embeddings")
            self._check_model(model)
            return dialect.embedding_request(params, model=model)

        parse = dialect.embeddings if isinstance(dialect, Embedder) else None
        return self._call_spec(prepare, parse, model, api_key, base_url, options)

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
        The job of sending what *prepare* makes.

        Args:
            prepare: Makes the request, here and now; an `AnyLLMError` that it raises ends the call.
            parse: Reads a whole answer; None for a stream.
            model: For hosts that have a URL for each.
        """
        _check_types(api_key, base_url)
        request: Union[Request, AnyLLMError]
        try:
            # Made here and now: what the caller changes in its lists and dicts afterwards changes nothing.
            request = prepare()
        except AnyLLMError as exc:
            request = exc
        return CallSpec(
            provider=self.name,
            dialect=self.dialect,
            request=request,
            destination=lambda: self._target(api_key, base_url, model),
            transport=self._transport,
            options=options_in(options) or self._options,
            parse=parse,
        )

    def _check_model(self, model: str) -> None:
        if not model:
            raise InvalidRequestError(f"no model is named: write {self.name}/MODEL", param="model")
        if self._row.models and model not in self._row.models:
            there = ", ".join(self._row.models)
            raise ModelNotFoundError(f"there is no model {model!r} here, only {there}", param="model")

    @property
    def _server(self) -> Optional[str]:
        """Where calls go, if that is not the provider's own place."""
        return self._base_url or _from_environment(self._row.base_url_vars)

    def _target(self, api_key: ApiKey, base_url: Optional[str], model: str = "") -> Destination:
        """Where to send, and with which key. On the worker's thread: a key may take time to get."""
        explicit = base_url or self._base_url
        given = self._api_key if api_key is None else api_key
        headers = {**self._row.headers, **self._headers}
        if self._row.endpoint is not None and explicit is None:
            return self._target_at(*self._row.endpoint(), headers)
        custom = explicit or _from_environment(self._row.base_url_vars)
        base = custom or self._row.base_url
        if base is None:
            wanted = "".join(f" or set {name}" for name in self._row.base_url_vars)
            raise InvalidRequestError(f"say where the server is: pass base_url={wanted}", param="base_url")
        is_own = self._is_own(base)
        key = _called(given) if given is not None or not is_own else _key_of(self._row)  # which belongs to its own host
        if key is None and is_own and self._row.key_required:
            name = " and ".join(self._row.key_pair_vars) or self._row.key_vars[0]
            what = "no API key" if given is None else "api_key is empty"
            raise MissingAPIKeyError(f"{what}: set {name} or pass api_key=", env_var=name)
        return self._target_at(self._row.locate(base, model), key, headers, custom)

    def _target_at(
        self, base: str, key: Optional[str], headers: Mapping[str, str], custom: Optional[str] = None
    ) -> Destination:
        sign = self._row.sign
        if sign is None:
            authorization = self._row.auth(key) if key else {}
            return Destination(base.rstrip("/"), {**authorization, **headers}, key, custom_base_url=custom)

        def signature(method: str, url: str, headers: Mapping[str, str], body: bytes) -> Mapping[str, str]:
            return sign(Signable(method=method, url=url, headers=headers, body=body, key=key))

        return Destination(base.rstrip("/"), headers, key, signature, custom)

    def _is_own(self, base: str) -> bool:
        """Whether that is the host which this provider's key in the environment belongs to."""
        own = (self._row.base_url, _from_environment(self._row.base_url_vars))
        return any(url and _origin(url) == _origin(base) for url in own)


def _as_another_request(params: CompletionParams) -> CompletionParams:
    """*params* without the key by which a host knows a request that it has answered before."""
    headers = params.extra_headers or {}
    left = {name: value for name, value in headers.items() if name.lower() != "idempotency-key"}
    return params if len(left) == len(headers) else params.evolve(extra_headers=left or None)


def _check_types(api_key: object, base_url: object) -> None:
    """What is wrong with a call is said where the call stands, not by the worker."""
    if api_key is not None and not isinstance(api_key, str) and not callable(api_key):
        raise TypeError(f"api_key must be a str, or a function that gives one, not {type(api_key).__name__}")
    if base_url is not None and not isinstance(base_url, str):
        raise TypeError(f"base_url must be a str, not {type(base_url).__name__}")


def options_in(options: Options) -> Optional[StreamingOptions]:
    """
    Options given as a dict, structured.

    Raises:
        TypeError: they have the wrong shape, or ask for what only a `Client` does.
    """
    return None if options is None else for_the_pair(streaming_options(options))


def _called(key: ApiKey) -> Optional[str]:
    """The key that was given; None when it is empty."""
    if not callable(key):
        return (key or "").strip() or None
    try:
        value = key()
    except AnyLLMError:
        raise
    except Exception as exc:
        raise AuthenticationError(f"api_key() failed: {type(exc).__name__}") from exc
    if not isinstance(value, str):
        raise AuthenticationError(f"api_key() must give a str, not {type(value).__name__}")
    return value.strip() or None


def _key_of(row: Row) -> Optional[str]:
    pair = [_from_environment((name,)) for name in row.key_pair_vars]
    if pair and all(pair):
        return ":".join(part for part in pair if part)
    return _from_environment(row.key_vars)


def _from_environment(names: tuple[str, ...]) -> Optional[str]:
    for name in names:
        value = os.environ.get(name, "").strip()
        if value:
            return value
    return None


def _origin(url: str) -> tuple[Optional[str], Optional[str], Optional[int]]:
    """Scheme, host and port, as the connection reads them: other parsers see other hosts in some URLs."""
    try:
        parts = parse_url(url)
    except LocationValueError:
        return url, None, None
    return parts.scheme, parts.host, parts.port or {"http": 80, "https": 443}.get(parts.scheme or "")
