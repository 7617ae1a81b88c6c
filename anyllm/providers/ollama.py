"""
Manage the models of an Ollama server: pull, show and delete them.

``anyllm.list_models(ctx, "ollama")`` lists them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Optional, Union, cast

import attrs

from anyllm._stream import stream
from anyllm._stream.call_spec import CallSpec
from anyllm.context import Context
from anyllm.errors import UnsupportedProviderError
from anyllm.providers.provider import ApiKey, Options, Provider
from anyllm.providers.registry import provider_for
from anyllm.wire._base.protocols import Request
from anyllm.wire.ollama.dialect import OllamaDialect
from anyllm.wire.ollama.models import (
    ModelDetails,
    PullDecoder,
    PullProgress,
    delete_request,
    model_details,
    pull_request,
    show_request,
)

__all__ = ["ModelDetails", "PullProgress", "delete", "pull", "show"]

ProviderLike = Union[str, Provider]


class _LatestProgress:
    """The accumulator of a pull: keeps the latest progress."""

    def __init__(self) -> None:
        self._latest = PullProgress()

    @property
    def has_begun(self) -> bool:
        return bool(self._latest.status)

    def add(self, progress: PullProgress) -> bool:
        self._latest = progress
        return True

    def snapshot(self) -> PullProgress:
        return self._latest


@attrs.define(frozen=True, kw_only=True)
class _PullDialect(OllamaDialect):
    """The dialect for the answer to a pull."""

    def decoder(self) -> Any:
        return PullDecoder(provider=self.provider)


def pull(
    ctx: Context,
    model: str,
    *,
    provider: ProviderLike = "ollama",
    insecure: bool = False,
    api_key: ApiKey = None,
    base_url: Optional[str] = None,
    options: Options = None,
) -> stream.Stream:
    """
    Download *model* to the server, with its progress as a stream.

    Args:
        ctx: Ends the pull when it ends. The server keeps the part that it has, and the next pull continues it.
        model: "llama3.2", "hf.co/user/repository".
        provider: The server: "ollama", or an object that `anyllm.provider` made.
        insecure: Accept a model library without a valid certificate.

    Returns:
        A stream whose chunks are `PullProgress`; its ``collect()`` waits for the end and returns the last one.
    """
    prepare = functools.partial(pull_request, insecure=insecure)
    spec = _spec(provider, prepare, None, model, api_key, base_url, options)
    dialect = _PullDialect(provider=spec.provider)
    return stream.stream(ctx, attrs.evolve(spec, dialect=dialect, new_accumulator=_LatestProgress))


def show(
    ctx: Context,
    model: str,
    *,
    provider: ProviderLike = "ollama",
    api_key: ApiKey = None,
    base_url: Optional[str] = None,
    options: Options = None,
) -> ModelDetails:
    """
    The details of *model*: its capabilities, its context length.

    Raises:
        ModelNotFoundError: the server does not have it.
        AnyLLMError: the call failed.
    """
    spec = _spec(provider, show_request, model_details, model, api_key, base_url, options)
    return cast(ModelDetails, stream.call(ctx, spec))


def delete(
    ctx: Context,
    model: str,
    *,
    provider: ProviderLike = "ollama",
    api_key: ApiKey = None,
    base_url: Optional[str] = None,
    options: Options = None,
) -> None:
    """
    Delete *model* from the server.

    Raises:
        ModelNotFoundError: the server does not have it.
        AnyLLMError: the call failed.
    """
    # The response has no body.
    stream.call(ctx, _spec(provider, delete_request, lambda _body, **_: True, model, api_key, base_url, options))


def _spec(
    provider: ProviderLike,
    prepare: Callable[..., Request],
    parse: Optional[Callable[..., Any]],
    model: str,
    *settings: Any,
) -> CallSpec:
    server = provider_for(provider)
    if not isinstance(server.dialect, OllamaDialect):
        raise UnsupportedProviderError("is not an Ollama server", provider=server.name)
    parse = None if parse is None else functools.partial(parse, provider=server.name)
    return server._call_spec(functools.partial(prepare, model, provider=server.name), parse, model, *settings)
