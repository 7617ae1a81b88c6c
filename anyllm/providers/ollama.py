"""
Manage the models of an Ollama server: pull, show and delete them.

``anyllm.list_models(ctx, "ollama")`` lists them.
"""

from __future__ import annotations

from typing import Any, Optional, Union, cast

import attrs

from anyllm._stream import stream
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
    server = _server(provider)

    def prepare() -> Request:
        return pull_request(model, insecure=insecure, provider=server.name)

    spec = server._call_spec(prepare, None, model, api_key, base_url, options)
    dialect = _PullDialect(provider=server.name)
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
    server = _server(provider)

    def parse(body: bytes) -> ModelDetails:
        return model_details(body, provider=server.name)

    spec = server._call_spec(
        lambda: show_request(model, provider=server.name), parse, model, api_key, base_url, options
    )
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
    server = _server(provider)

    def prepare() -> Request:
        return delete_request(model, provider=server.name)

    # The response has no body.
    stream.call(ctx, server._call_spec(prepare, lambda body: True, model, api_key, base_url, options))


def _server(provider: ProviderLike) -> Provider:
    found = provider_for(provider)
    if not isinstance(found.dialect, OllamaDialect):
        raise UnsupportedProviderError("is not an Ollama server", provider=found.name)
    return found
