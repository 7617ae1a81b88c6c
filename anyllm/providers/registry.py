"""
From a model string to a running call: the module-level calls, and the provider objects they share.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Optional, Union, cast

import attrs
import requests

from anyllm._hints.arguments import did_you_mean, explain_call, kind_of
from anyllm._stream import stream
from anyllm._stream.call_spec import CallSpec
from anyllm._transport.http import Transport
from anyllm.context import Context
from anyllm.errors import AnyLLMError, UnsupportedProviderError
from anyllm.options import StreamingOptions, Timeouts
from anyllm.providers.provider import ApiKey, EmbeddingInput, Options, Params, Provider, explains_itself, options_in
from anyllm.providers.row import Row
from anyllm.providers.table import lookup
from anyllm.types import ChatCompletion, CompletionParams, EmbeddingParams, Embeddings, Model, _convert

__all__ = [
    "Provider",
    "completion",
    "completion_stream",
    "embedding",
    "provider_for",
    "list_models",
    "provider",
    "route",
]


@explain_call("anyllm.provider('openai', api_key=...)")
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
    if not isinstance(name, str):
        hint = "; this is a provider already" if isinstance(name, Provider) else ""
        raise TypeError(f"provider must be a name, as in anyllm.provider('openai'), not {kind_of(name)}{hint}")
    row = _row(name, name)
    if timeouts is not None:
        options = (options_in(options) or StreamingOptions()).evolve(timeouts=timeouts)
    transport = Transport(verify=verify, session=session, direct=row.endpoint is not None and base_url is None)
    return Provider(row, api_key=api_key, base_url=base_url, options=options, headers=headers, transport=transport)


@explains_itself
def completion_stream(
    ctx: Context,
    params: Params,
    *,
    provider: Union[str, Provider, None] = None,
    api_key: ApiKey = None,
    base_url: Optional[str] = None,
    options: Options = None,
) -> stream.Stream:
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
    spec = _routed(
        params.model,
        provider,
        lambda host, model: host._completion_spec(params, model, True, api_key, base_url, options),
    )
    return stream.stream(ctx, spec)


@explains_itself
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
    spec = _routed(
        params.model,
        provider,
        lambda host, model: host._completion_spec(params, model, False, api_key, base_url, options),
    )
    return cast(ChatCompletion, stream.call(ctx, spec))


@explains_itself
def embedding(
    ctx: Context,
    params: EmbeddingInput,
    *,
    provider: Union[str, Provider, None] = None,
    api_key: ApiKey = None,
    base_url: Optional[str] = None,
    options: Options = None,
) -> Embeddings:
    """
    Make vectors of texts.

    Args:
        params: What to make vectors of, an `EmbeddingParams` or a dict in its shape.

    The other arguments and the raised TypeError are those of `completion_stream`.

    Raises:
        AnyLLMError: why there are none.
    """
    params = _convert.structure(EmbeddingParams, params)
    spec = _routed(
        params.model, provider, lambda host, model: host._embedding_spec(params, model, api_key, base_url, options)
    )
    return cast(Embeddings, stream.call(ctx, spec))


@explain_call("anyllm.list_models(anyllm.Context(), 'openai')")
def list_models(
    ctx: Context,
    provider: Union[str, Provider],
    *,
    api_key: ApiKey = None,
    base_url: Optional[str] = None,
    options: Options = None,
) -> list[Model]:
    """
    The models that a provider has, as it says itself.

    Args:
        provider: A name or object.

    The other arguments are those of `completion_stream`.

    Raises:
        AnyLLMError: why there is no list.
        TypeError: an argument has the wrong type.
    """
    if not isinstance(ctx, Context):
        raise TypeError("list_models() takes a Context and a provider: anyllm.list_models(anyllm.Context(), 'openai')")
    return provider_for(provider).list_models(ctx, api_key=api_key, base_url=base_url, options=options)


def provider_for(provider: Union[str, Provider]) -> Provider:
    """
    The provider object; the one that module-level calls share, for a name.

    Raises:
        UnsupportedProviderError: there is no such provider.
    """
    return provider if isinstance(provider, Provider) else _shared(_row(provider, provider).name)


def _routed(model: str, chosen: Union[str, Provider, None], spec: Callable[[Provider, str], CallSpec]) -> CallSpec:
    """The job that *job* makes of the provider and the bare model; where there is no such provider, one that fails."""
    try:
        host, bare = route(model, chosen)
    except AnyLLMError as exc:
        return attrs.evolve(spec(_shared("compatible"), "-"), provider="", request=exc)
    return spec(host, bare)


def route(model: str, chosen: Union[str, Provider, None]) -> tuple[Provider, str]:
    """
    The provider and the bare model.

    Raises:
        UnsupportedProviderError: there is no such provider.
    """
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
        raise TypeError(f"provider must be a name or a Provider, not {kind_of(name)}")
    if not name:
        raise UnsupportedProviderError(f"no provider is called ''; a model is written provider/model, as in {_EXAMPLE}")
    row = lookup.find(name)
    if row is not None:
        return row
    hint = did_you_mean(name.lower(), lookup.names())
    if not hint and said == name and name:
        hint = f"; a model is written provider/model, as in openai/{name}"
    where = "" if said == name else f" (the text before the first '/' or ':' of {said!r})"
    end = "" if hint.endswith("?") else "."
    raise UnsupportedProviderError(
        f"no provider is called {name!r}{where}{hint}{end} There are {_SOME} and more, see `anyllm providers`"
    )


_EXAMPLE = "openai/gpt-4o-mini"
_SOME = "openai, anthropic, gemini, ollama, openrouter, local"


class _SharedProviders:
    """
    The provider objects of the module-level calls, one for each name, each with one pool of connections.

    Of threads that ask for a name for the first time all get the same object.
    """

    def __init__(self) -> None:
        self._by_name: dict[str, Provider] = {}

    def __call__(self, name: str) -> Provider:
        try:
            return self._by_name[name]
        except KeyError:
            row = lookup.get(name)
            made = Provider(row, transport=Transport(direct=row.endpoint is not None))
            return self._by_name.setdefault(name, made)  # one step: of two that race, the first stays

    def cache_clear(self) -> None:
        """Forget them all, as `functools.cache` does."""
        self._by_name.clear()


_shared = _SharedProviders()
