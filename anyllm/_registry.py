"""
From a model string to a running call: provider objects, and the module-level calls over them.

An explicit option wins over the environment, the environment over the row. A key from the environment belongs to the
row's own host, or to the one that the environment names: an explicit base URL elsewhere never receives it.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping
from typing import Any, Optional, TypeVar, Union, cast

import attrs
import requests
from urllib3.exceptions import LocationValueError
from urllib3.util import parse_url

from anyllm import _convert, _stream
from anyllm._checks import did_you_mean
from anyllm._http import Transport, without_secrets
from anyllm._run import Job, Target
from anyllm.context import Context
from anyllm.errors import (
    AnyLLMError,
    AuthenticationError,
    InvalidRequestError,
    MissingAPIKeyError,
    ModelNotFoundError,
    UnsupportedProviderError,
)
from anyllm.options import StreamingOptions, Timeouts
from anyllm.providers import _rows
from anyllm.providers._rows import Capabilities, Row
from anyllm.types import ChatCompletion, CompletionParams

__all__ = ["Provider", "completion", "completion_stream", "provider"]

ApiKey = Union[str, Callable[[], str], None]
Params = Union[CompletionParams, Mapping[str, Any]]
Options = Union[StreamingOptions, Mapping[str, Any], None]
F = TypeVar("F", bound=Callable[..., Any])


def _explains_itself(function: F) -> F:
    """Answer a missing or swapped Context with the right call, which Python's own TypeError does not show."""

    @functools.wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        given = [arg for arg in args if not isinstance(arg, Provider)]
        ctx = kwargs.get("ctx", given[0] if given else None)
        if not isinstance(ctx, Context) or len(given) + len(kwargs.keys() & {"ctx", "params"}) < 2:
            name = function.__name__
            raise TypeError(
                f"{name}() takes a Context and parameters: "
                f"anyllm.{name}(anyllm.Context(timeout=60), anyllm.CompletionParams(model=..., messages=[...]))"
            )
        return function(*args, **kwargs)

    return cast(F, checked)


class Provider:
    """
    A host of models, with what it takes to reach it. Made by `provider`; shared freely between threads.

    Attributes:
        name: The name in the table.
        capabilities: What can be asked of it, as data.
    """

    def __init__(
        self,
        row: Row,
        *,
        api_key: ApiKey = None,
        base_url: Optional[str] = None,
        options: Options = None,
        headers: Optional[Mapping[str, str]] = None,
        transport: Transport,
    ) -> None:
        _check_types(api_key, base_url)
        self.name = row.name
        self.capabilities: Capabilities = row.capabilities
        self._row = row
        self._api_key = api_key
        self._base_url = base_url
        self._options = _options(options) or StreamingOptions()
        self._headers = dict(headers or {})
        self._transport = transport

    @_explains_itself
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
        return _stream.stream(ctx, self._job(params, params.model, True, api_key, base_url, options))

    @_explains_itself
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
        job = self._job(params, params.model, False, api_key, base_url, options)
        return cast(ChatCompletion, _stream.call(ctx, job))

    def close(self) -> None:
        """Close idle connections; running streams go on, and the provider can be used again."""
        self._transport.close()

    def __repr__(self) -> str:
        where = "" if self._base_url is None else f" at {without_secrets(self._base_url)}"
        return f"<Provider {self.name}{where}>"

    # -- one call --------------------------------------------------------------------------------------------------

    def _job(
        self,
        params: CompletionParams,
        model: str,
        stream: bool,
        api_key: ApiKey,
        base_url: Optional[str],
        options: Options,
    ) -> Job:
        _check_types(api_key, base_url)
        dialect = self._row.dialect
        request: Any
        try:
            self._check_model(model)
            # Made here and now: what the caller changes in its lists and dicts afterwards changes nothing.
            request = dialect.request(params, model=model, stream=stream)
        except AnyLLMError as exc:
            request = exc
        return Job(
            provider=self.name,
            dialect=dialect,
            request=request,
            target=lambda: self._target(api_key, base_url),
            transport=self._transport,
            options=_options(options) or self._options,
            parse=None if stream else dialect.response,
        )

    def _check_model(self, model: str) -> None:
        if not model:
            raise InvalidRequestError(f"no model is named: write {self.name}/MODEL", param="model")
        if self._row.models and model not in self._row.models:
            there = ", ".join(self._row.models)
            raise ModelNotFoundError(f"there is no model {model!r} here, only {there}", param="model")

    def _target(self, api_key: ApiKey, base_url: Optional[str]) -> Target:
        """Where to send, and with which key. On the worker's thread: a key may take time to get."""
        explicit = base_url or self._base_url
        given = self._api_key if api_key is None else api_key
        headers = {**self._row.headers, **self._headers}
        if self._row.endpoint is not None and explicit is None:
            return _target(*self._row.endpoint(), headers)
        base = explicit or _from_environment(self._row.base_url_vars) or self._row.base_url
        if base is None:
            wanted = "".join(f" or set {name}" for name in self._row.base_url_vars)
            raise InvalidRequestError(f"say where the server is: pass base_url={wanted}", param="base_url")
        key = _called(given) if given is not None else self._key_from_environment(base)
        return _target(base, key, headers)

    def _key_from_environment(self, base: str) -> Optional[str]:
        own = (self._row.base_url, _from_environment(self._row.base_url_vars))
        if not any(url and _origin(url) == _origin(base) for url in own):
            return None  # the key belongs to another host
        key = _from_environment(self._row.key_vars)
        if key is None and self._row.key_required:
            name = self._row.key_vars[0]
            raise MissingAPIKeyError(f"no API key: set {name} or pass api_key=", env_var=name)
        return key


def _check_types(api_key: object, base_url: object) -> None:
    """What is wrong with a call is said where the call stands, not by the worker."""
    if api_key is not None and not isinstance(api_key, str) and not callable(api_key):
        raise TypeError(f"api_key must be a str, or a function that gives one, not {type(api_key).__name__}")
    if base_url is not None and not isinstance(base_url, str):
        raise TypeError(f"base_url must be a str, not {type(base_url).__name__}")


def _options(options: Options) -> Optional[StreamingOptions]:
    return None if options is None else _convert.structure(StreamingOptions, options)


def _target(base: str, key: Optional[str], headers: Mapping[str, str]) -> Target:
    key = key.strip() if key else None
    authorization = {"Authorization": f"Bearer {key}"} if key else {}
    return Target(base.rstrip("/"), {**authorization, **headers}, key)


def _called(key: ApiKey) -> Optional[str]:
    if not callable(key):
        return key
    try:
        value = key()
    except AnyLLMError:
        raise
    except Exception as exc:
        raise AuthenticationError(f"api_key() failed: {type(exc).__name__}") from exc
    if not isinstance(value, str):
        raise AuthenticationError(f"api_key() must give a str, not {type(value).__name__}")
    return value


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


# -- what users call ---------------------------------------------------------------------------------------------------


def provider(
    name: str,
    *,
    api_key: ApiKey = None,
    base_url: Optional[str] = None,
    timeouts: Union[Timeouts, Mapping[str, Any], None] = None,
    options: Options = None,
    session: Optional[requests.Session] = None,
    verify: Union[bool, str, None] = None,
    headers: Optional[Mapping[str, str]] = None,
) -> Provider:
    """
    A provider object, with the same calls as the module and connections of its own.

    Args:
        name: As in a model string, or "compatible" for any server that speaks OpenAI's format.
        api_key: The key, or a function that gives it and is asked for each request; else the environment is read.
        base_url: What the dialect's official client calls base_url, "http://localhost:8000/v1" for example.
        timeouts: The clocks; short for ``options.evolve(timeouts=...)``.
        options: How its calls behave.
        session: A `requests.Session` of yours to send with: its adapters, proxies and headers. A cancel frees the
            caller at once, as always; the worker thread is only freed when the host sends something.
        verify: False to trust any certificate, or the path of a CA bundle.
        headers: Sent with each request.

    Raises:
        UnsupportedProviderError: there is no such provider.
        TypeError: an argument has the wrong type.
    """
    row = _row(name, name)
    if timeouts is not None:
        options = (_options(options) or StreamingOptions()).evolve(timeouts=timeouts)
    transport = Transport(verify=verify, session=session, direct=row.endpoint is not None and base_url is None)
    return Provider(row, api_key=api_key, base_url=base_url, options=options, headers=headers, transport=transport)


@_explains_itself
def completion_stream(
    ctx: Context,
    params: Params,
    *,
    provider: Union[str, Provider, None] = None,
    api_key: ApiKey = None,
    base_url: Optional[str] = None,
    options: Options = None,
) -> _stream.Stream:
    """
    Stream an answer.

    Returns at once: nothing is opened on this thread, and nothing that the network, the provider or the parameters'
    content can cause is raised; it arrives on ``errors``.

    Args:
        ctx: Ends the stream when it ends.
        params: What to ask, a `CompletionParams` or a dict in its shape.
        provider: A name or object; the model in *params* is then bare.
        api_key: The key for this call, or a function that gives it.
        base_url: The server for this call.
        options: How this call behaves.

    Returns:
        The pair ``(chunks, errors)`` of channels, a `Stream`. ``errors`` gets at most one error, before ``chunks``
        closes; both always close.

    Raises:
        TypeError: an argument has the wrong type.
    """
    params = _convert.structure(CompletionParams, params)
    return _stream.stream(ctx, _job(params, True, provider, api_key, base_url, options))


@_explains_itself
def completion(
    ctx: Context,
    params: Params,
    *,
    provider: Union[str, Provider, None] = None,
    api_key: ApiKey = None,
    base_url: Optional[str] = None,
    options: Options = None,
) -> ChatCompletion:
    """
    Wait for a whole answer.

    Args and raised TypeError are those of `completion_stream`.

    Raises:
        AnyLLMError: why there is no answer.
    """
    params = _convert.structure(CompletionParams, params)
    return cast(ChatCompletion, _stream.call(ctx, _job(params, False, provider, api_key, base_url, options)))


def _job(
    params: CompletionParams,
    stream: bool,
    chosen: Union[str, Provider, None],
    api_key: ApiKey,
    base_url: Optional[str],
    options: Options,
) -> Job:
    try:
        host, model = _route(params.model, chosen)
    except AnyLLMError as exc:
        nowhere = _shared("compatible")._job(params, "-", stream, None, None, options)
        return attrs.evolve(nowhere, provider="", request=exc)
    return host._job(params, model, stream, api_key, base_url, options)


def _route(model: str, chosen: Union[str, Provider, None]) -> tuple[Provider, str]:
    """The provider and the bare model."""
    if isinstance(chosen, Provider):
        return chosen, model
    if chosen is not None:
        return _shared(_row(chosen, chosen).name), model
    name, rest = _split(model)
    return _shared(_row(name, model).name), rest


def _split(model: str) -> tuple[str, str]:
    """The text before the first "/" or ":", and the text after it."""
    cut = min((at for at in (model.find("/"), model.find(":")) if at >= 0), default=len(model))
    return model[:cut], model[cut + 1 :]


def _row(name: str, said: str) -> Row:
    if not isinstance(name, str):
        raise TypeError(f"provider must be a name or a Provider, not {type(name).__name__}")
    row = _rows.find(name)
    if row is not None:
        return row
    hint = did_you_mean(name.lower(), _rows.names())
    if not hint and said == name and name:
        hint = f"; a model is written provider/model, as in openai/{name}"
    where = "" if said == name else f" (the text before the first '/' or ':' of {said!r})"
    there_are = ", ".join(_rows.names())
    raise UnsupportedProviderError(f"no provider is called {name!r}{where}{hint} [there are: {there_are}]")


@functools.cache
def _shared(name: str) -> Provider:
    """The provider object of the module-level calls: one for each row, with one pool of connections."""
    row = _rows.find(name)
    assert row is not None
    return Provider(row, transport=Transport(direct=row.endpoint is not None))
