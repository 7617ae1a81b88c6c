"""A model of the gateway: its provider, its fallbacks, its limits, and the calls to it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Optional, TypeVar, Union

import attrs

from anyllm._stream.stream import Stream
from anyllm.client import Client
from anyllm.client._chat_stream import ChatStream
from anyllm.client._routing import Target
from anyllm.context import Context
from anyllm.errors import MissingAPIKeyError
from anyllm.gateway._config import ModelEntry
from anyllm.limits import RateLimit, StreamLimit
from anyllm.options import StreamingOptions, pump_options
from anyllm.pricing import cost_of
from anyllm.types import ChatCompletion, CompletionParams, EmbeddingParams, Embeddings, Usage
from anyllm.wire._base.request_fields import wrong

R = TypeVar("R")


@attrs.define(frozen=True)
class Limits:
    """
    Limits that all names of one entry share.

    Attributes:
        rate: Requests and tokens per minute; None for no limit.
        streams: Concurrent answers; None for no limit.
    """

    rate: Optional[RateLimit] = None
    streams: Optional[StreamLimit] = None

    @classmethod
    def of(cls, entry: ModelEntry) -> Limits:
        """The limits of an entry; TypeError or ValueError if one is wrong."""
        return cls(
            RateLimit(**entry.rate_limit) if entry.rate_limit else None,
            StreamLimit(entry.max_streams) if entry.max_streams else None,
        )


class Route:
    """
    A model, under the *name* that clients use, and the calls to it. Shared between threads.

    Args:
        entry: Its entry in the configuration, whose own options win over *options*.
        limits: Those that the entry's names share.
        fallback: Models to call when it fails.

    Raises:
        TypeError, ValueError, UnsupportedProviderError: the entry is wrong.
    """

    def __init__(
        self,
        name: str,
        entry: ModelEntry,
        options: StreamingOptions,
        limits: Limits = Limits(),  # noqa: B008  # a frozen value
        fallback: Sequence[Union[str, Target]] = (),
    ) -> None:
        self.name = name
        self.entry = entry
        options = StreamingOptions(**entry.options) if entry.options else options
        # No format can mark an estimate, and clients would take it for the provider's own count.
        self.options = options.evolve(usage="provider") if options.usage == "auto" else options
        self._calls_provider = not fallback and limits == Limits()
        self.client = Client(
            entry.model,
            base_url=entry.base_url,
            api_key=_api_key(entry),
            options=self.options,
            fallback=fallback,
            rate_limit=limits.rate,
            max_streams=limits.streams,
        )

    @property
    def target(self) -> Target:
        """The model itself, not a fallback."""
        return self.client.targets[0]

    def speaks(self, dialects: tuple[type, ...]) -> bool:
        """Whether every provider of the route speaks one of these dialects."""
        return all(isinstance(target.provider.dialect, dialects) for target in self.client.targets)

    def stream(self, ctx: Context, params: CompletionParams) -> Union[Stream, ChatStream]:
        """
        Stream an answer: the provider's own pair without limits and fallbacks, which saves a thread, and the loop saves
        another.
        """
        if self._calls_provider:
            return self._call_provider(self.target.provider.completion_stream, ctx, params)
        return _call_client(self.client.chat_stream, ctx, self._with_defaults(params))

    def complete(self, ctx: Context, params: CompletionParams) -> ChatCompletion:
        """Wait for a whole answer; raises the call's `AnyLLMError`."""
        if self._calls_provider:
            return self._call_provider(self.target.provider.completion, ctx, params)
        return _call_client(self.client.chat, ctx, self._with_defaults(params))

    def embed(self, ctx: Context, params: EmbeddingParams) -> Embeddings:
        """Make vectors of texts; raises the call's `AnyLLMError`."""
        return self.client.embed(params.input, ctx=ctx, dimensions=params.dimensions)

    def price(self, usage: Usage, model: str) -> Optional[float]:
        """The cost of an answer of *model*, or else of the route's model, in US dollars; None if unknown."""
        target = self.target
        by_answer = cost_of(usage, model, target.provider.name) if model else None
        cost = by_answer or cost_of(usage, target.model, target.provider.name)
        return None if cost is None else cost.total_usd

    def _call_provider(self, call: Callable[..., R], ctx: Context, params: CompletionParams) -> R:
        params = self._with_defaults(params).evolve(model=self.target.model)
        options = pump_options(self.options).evolve(driver="loop")
        return call(ctx, params, options=options, **self.target.credentials)

    def _with_defaults(self, params: CompletionParams) -> CompletionParams:
        defaults = {name: value for name, value in self.entry.params.items() if getattr(params, name) is None}
        return params.evolve(**defaults) if defaults else params


def _api_key(entry: ModelEntry) -> Optional[Callable[[], str]]:
    name = entry.api_key_env
    if name is None:
        return None

    def read() -> str:
        value = os.environ.get(name, "").strip()
        if not value:
            raise MissingAPIKeyError(f"{name} is not set", env_var=name)
        return value

    return read


def _call_client(call: Callable[..., R], ctx: Context, params: CompletionParams) -> R:
    """A `Client`'s call with *params*; it also accepts tools in forms that a wire format does not have."""
    fields = (field.name for field in attrs.fields(CompletionParams) if field.name not in ("model", "messages"))
    arguments = {name: value for name in fields if (value := getattr(params, name)) is not None}
    try:
        return call(list(params.messages), ctx=ctx, **arguments)
    except (TypeError, ValueError) as exc:
        raise wrong("tools", str(exc)) from exc
