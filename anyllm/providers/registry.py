"""The module-level calls (`completion_stream` and others), and the provider objects that they share."""

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
from anyllm.providers.provider import ApiKey, EmbeddingInput, Options, Params, Provider, check_call, structured_options
from anyllm.providers.table import lookup
from anyllm.providers.table.row import Row
from anyllm.types import ChatCompletion, CompletionParams, EmbeddingParams, Embeddings, Model, _convert

__all__ = [
    "Provider",
    "completion",
    "completion_stream",
    "embedding",
    "list_models",
    "provider",
    "provider_for",
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
    Make a provider object, with the calls of the module and its own connections.

    Args:
        name: As in a model string, or "compatible" for any server that speaks OpenAI's format.
        api_key: The key, or a function that returns it and is called for each request; else the environment's.
        base_url: As the format's official client defines it, for example "http://localhost:8000/v1".
        timeouts: The timeouts; short for ``options.evolve(timeouts=...)``.
        options: The options of its calls.
        session: Your `requests.Session`, for its adapters, proxies and headers. A cancel frees the caller at once, as
            always, but the worker thread only when the provider sends something.
        verify: False to accept any certificate, or the path of a CA bundle.
        headers: Sent with each request.

    Raises:
        UnsupportedProviderError: there is no such provider.
        TypeError: an argument has the wrong type.
    """
    if not isinstance(name, str):
        hint = "; this is a provider already" if isinstance(name, Provider) else ""
        raise TypeError(f"provider must be a name, as in anyllm.provider('openai'), not {kind_of(name)}{hint}")
    row = _find_row(name, name)
    if timeouts is not None:
        options = (structured_options(options) or StreamingOptions()).evolve(timeouts=timeouts)
    transport = Transport(verify=verify, session=session, direct=row.start_server is not None and base_url is None)
    return Provider(row, api_key=api_key, base_url=base_url, options=options, headers=headers, transport=transport)


@check_call
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

    Returns at once, without opening a socket on this thread. Errors of the network, the provider or the parameters'
    content are not raised; they arrive on ``errors``.

    Args:
        ctx: Ends the stream when it ends.
        params: The parameters, a `CompletionParams` or a dict in its shape.
        provider: A name or object; the model in *params* is then a name without the provider.
        api_key: The key for this call, or a function that returns it.
        base_url: The server for this call.
        options: The options of this call.

    Returns:
        The pair ``(chunks, errors)`` of channels, a `Stream`. ``errors`` gets at most one error, before ``chunks``
        closes; both always close.

    Raises:
        TypeError: an argument has the wrong type.
    """
    return stream.stream(ctx, _completion_spec(params, True, provider, api_key, base_url, options))


@check_call
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
        AnyLLMError: the call failed.
    """
    spec = _completion_spec(params, False, provider, api_key, base_url, options)
    return cast(ChatCompletion, stream.call(ctx, spec))


@check_call
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
        params: The texts and the model, an `EmbeddingParams` or a dict in its shape.

    The other arguments and the raised TypeError are those of `completion_stream`.

    Raises:
        AnyLLMError: the call failed.
    """
    params = _convert.structure(EmbeddingParams, params)
    spec = _spec_for(
        params.model, provider, lambda found, model: found._embedding_spec(params, model, api_key, base_url, options)
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
    List a provider's models.

    Args:
        provider: A name or object.

    The other arguments are those of `completion_stream`.

    Raises:
        AnyLLMError: the call failed.
        TypeError: an argument has the wrong type.
    """
    if not isinstance(ctx, Context):
        raise TypeError("list_models() takes a Context and a provider: anyllm.list_models(anyllm.Context(), 'openai')")
    return provider_for(provider).list_models(ctx, api_key=api_key, base_url=base_url, options=options)


def provider_for(provider: Union[str, Provider]) -> Provider:
    """
    The provider object; for a name, the one that the module-level calls share.

    Raises:
        UnsupportedProviderError: there is no such provider.
    """
    return provider if isinstance(provider, Provider) else _shared(_find_row(provider, provider).name)


def _completion_spec(
    params: Params,
    is_stream: bool,
    provider: Union[str, Provider, None],
    api_key: ApiKey,
    base_url: Optional[str],
    options: Options,
) -> CallSpec:
    """The specification of a completion, by the provider that the model or *provider* names."""
    values = _convert.structure(CompletionParams, params)
    return _spec_for(
        values.model,
        provider,
        lambda found, model: found._completion_spec(values, model, is_stream, api_key, base_url, options),
    )


def _spec_for(model: str, provider: Union[str, Provider, None], make: Callable[[Provider, str], CallSpec]) -> CallSpec:
    """The specification that *make* makes; if there is no such provider, one of a call that fails."""
    try:
        found, name = route(model, provider)
    except AnyLLMError as exc:
        return attrs.evolve(make(_shared("compatible"), "-"), provider="", request=exc)
    return make(found, name)


def route(model: str, provider: Union[str, Provider, None]) -> tuple[Provider, str]:
    """
    The provider for *model*, and the model's name without it.

    Raises:
        UnsupportedProviderError: there is no such provider.
    """
    if provider is not None:
        return provider_for(provider), model
    name, rest = _split_model(model)
    return _shared(_find_row(name, model).name), rest


def _split_model(model: str) -> tuple[str, str]:
    """The text before the first "/" or ":", and the text after it."""
    index = min((index for index in (model.find("/"), model.find(":")) if index >= 0), default=len(model))
    return model[:index], model[index + 1 :]


def _find_row(name: str, text: str) -> Row:
    """
    The row called *name*.

    Args:
        text: The model string that contains *name*, or *name* itself.

    Raises:
        UnsupportedProviderError: there is no such provider.
    """
    if not isinstance(name, str):
        raise TypeError(f"provider must be a name or a Provider, not {kind_of(name)}")
    if not name:
        raise UnsupportedProviderError(f"no provider is called ''; a model is written provider/model, as in {_EXAMPLE}")
    row = lookup.find(name)
    if row is not None:
        return row
    hint = did_you_mean(name.lower(), lookup.names())
    if not hint and text == name:
        hint = f"; a model is written provider/model, as in openai/{name}"
    source = "" if text == name else f" (the text before the first '/' or ':' of {text!r})"
    end = "" if hint.endswith("?") else "."
    raise UnsupportedProviderError(
        f"no provider is called {name!r}{source}{hint}{end} There are {_SOME} and more, see `anyllm providers`"
    )


_EXAMPLE = "openai/gpt-4o-mini"
_SOME = "openai, anthropic, gemini, ollama, openrouter, local"


class _SharedProviders:
    """
    The provider objects of the module-level calls, one for each name, each with one pool of connections.

    Threads that ask for the same name get the same object, the first time too.
    """

    def __init__(self) -> None:
        self._by_name: dict[str, Provider] = {}

    def __call__(self, name: str) -> Provider:
        try:
            return self._by_name[name]
        except KeyError:
            row = lookup.get(name)
            made = Provider(row, transport=Transport(direct=row.start_server is not None))
            return self._by_name.setdefault(name, made)  # atomic: of two racing threads, the first wins

    def cache_clear(self) -> None:
        """Remove all, as for a function with `functools.cache`."""
        self._by_name.clear()


_shared = _SharedProviders()
