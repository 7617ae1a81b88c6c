"""
The models on an Ollama server: fetch one, look at one, remove one.

``anyllm.list_models(ctx, "ollama")`` says which there are.
"""

from __future__ import annotations

from typing import Any, Optional, Union, cast

import attrs

from anyllm._stream import stream
from anyllm.context import Context
from anyllm.errors import UnsupportedProviderError
from anyllm.providers.provider import ApiKey, Options, Provider
from anyllm.providers.registry import provider_for
from anyllm.wire._base.dialect import Request
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

Host = Union[str, Provider]


class _Latest:
    """What a pull adds up to: how far it has come."""

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
class _Pulls(OllamaDialect):
    """The dialect of a pull's answer."""

    def decoder(self) -> Any:
        return PullDecoder(provider=self.provider)


def pull(
    ctx: Context,
    model: str,
    *,
    provider: Host = "ollama",
    insecure: bool = False,
    api_key: ApiKey = None,
    base_url: Optional[str] = None,
    options: Options = None,
) -> stream.Stream:
    """
    Fetch *model* from its library, and say how far that is.

    Args:
        ctx: Ends the pull when it ends; the host keeps what is there, and the next pull goes on from it.
        model: "llama3.2", "hf.co/user/repository".
        provider: The server: "ollama", or an object that `anyllm.provider` made.
        insecure: Allow a library of one's own whose certificate cannot be checked.

    Returns:
        A stream like any other, cancellable and with one error at most, whose chunks are `PullProgress`; its
        ``collect()`` waits for the end, and gives the last.
    """
    host = _host(provider)

    def prepare() -> Request:
        return pull_request(model, insecure=insecure, provider=host.name)

    spec = host._call_spec(prepare, None, model, api_key, base_url, options)
    return stream.stream(ctx, attrs.evolve(spec, dialect=_Pulls(provider=host.name), new_accumulator=_Latest))


def show(
    ctx: Context,
    model: str,
    *,
    provider: Host = "ollama",
    api_key: ApiKey = None,
    base_url: Optional[str] = None,
    options: Options = None,
) -> ModelDetails:
    """
    What the server knows of *model*: what it can do, how long its context is.

    Raises:
        ModelNotFoundError: the server does not have it.
        AnyLLMError: why there is no answer.
    """
    host = _host(provider)

    def parse(body: bytes) -> ModelDetails:
        return model_details(body, provider=host.name)

    spec = host._call_spec(lambda: show_request(model, provider=host.name), parse, model, api_key, base_url, options)
    return cast(ModelDetails, stream.call(ctx, spec))


def delete(
    ctx: Context,
    model: str,
    *,
    provider: Host = "ollama",
    api_key: ApiKey = None,
    base_url: Optional[str] = None,
    options: Options = None,
) -> None:
    """
    Remove *model* from the server.

    Raises:
        ModelNotFoundError: the server does not have it.
        AnyLLMError: why it is not removed.
    """
    host = _host(provider)

    def prepare() -> Request:
        return delete_request(model, provider=host.name)

    stream.call(
        ctx, host._call_spec(prepare, lambda body: True, model, api_key, base_url, options)
    )  # its answer is empty


def _host(provider: Host) -> Provider:
    host = provider_for(provider)
    if not isinstance(host.dialect, OllamaDialect):
        raise UnsupportedProviderError("is no Ollama server", provider=host.name)
    return host
