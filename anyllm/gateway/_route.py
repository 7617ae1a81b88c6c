"""What is behind a name: a model, who hosts it, and what is asked when it fails."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, Optional, TypeVar, Union

import attrs

from anyllm._stream.stream import Stream
from anyllm.client import Client
from anyllm.client._chat_stream import ChatStream
from anyllm.client._routing import Target
from anyllm.context import Context
from anyllm.errors import MissingAPIKeyError
from anyllm.gateway._config import ModelEntry
from anyllm.limits import RateLimit, StreamLimit
from anyllm.options import StreamingOptions, in_the_pump
from anyllm.pricing import cost_of
from anyllm.types import ChatCompletion, CompletionParams, EmbeddingParams, Embeddings, Usage
from anyllm.wire._base.request_fields import wrong

__all__ = ["Limits", "Route"]

R = TypeVar("R")


@attrs.define(frozen=True)
class Limits:
    """
    What all names of one entry share.

    Attributes:
        rate: Requests and tokens a minute; None for no limit.
        streams: How many at once; None for no limit.
    """

    rate: Optional[RateLimit] = None
    streams: Optional[StreamLimit] = None

    @classmethod
    def of(cls, entry: ModelEntry) -> Limits:
        """
        Those that an entry asks for.

        Raises:
            TypeError, ValueError: it asks for what there is not.
        """
        return cls(
            RateLimit(**entry.rate_limit) if entry.rate_limit else None,
            StreamLimit(entry.max_streams) if entry.max_streams else None,
        )


class Route:
    """
    A name that can be asked for. Shared between threads.

    Args:
        name: As the client said it.
        entry: What the configuration says of it.
        options: How its calls behave, where the entry does not say.
        limits: What it shares with the entry's other names.
        fallback: What is asked when it fails.

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
        said = StreamingOptions(**entry.options) if entry.options else options
        # No format has words for an estimate, and its clients would take it for the host's own count.
        self.options = said.evolve(usage="provider") if said.usage == "auto" else said
        self._is_plain = not fallback and limits == Limits()
        self.client = Client(
            entry.model,
            base_url=entry.base_url,
            api_key=_key_of(entry),
            options=self.options,
            fallback=fallback,
            rate_limit=limits.rate,
            max_streams=limits.streams,
        )

    @property
    def target(self) -> Target:
        """The model that is asked first."""
        return self.client.targets[0]

    def speaks(self, dialects: tuple[type, ...]) -> bool:
        """Whether every host that may be asked speaks one of these formats."""
        return all(isinstance(target.host.dialect, dialects) for target in self.client.targets)

    def stream(self, ctx: Context, params: CompletionParams) -> Union[Stream, ChatStream]:
        """
        The answer as it comes; the pair itself where nothing stands between, which saves a thread.

        Raises:
            InvalidRequestError: the tools are none.
        """
        params = self._with_defaults(params)
        if not self._is_plain:
            return _called(self.client.chat_stream, ctx, params)
        asked, how = self._plain(params)
        return self.target.host.completion_stream(ctx, asked, **how)

    def whole(self, ctx: Context, params: CompletionParams) -> ChatCompletion:
        """
        The whole answer.

        Raises:
            AnyLLMError: why there is none.
        """
        params = self._with_defaults(params)
        if not self._is_plain:
            return _called(self.client.chat, ctx, params)
        asked, how = self._plain(params)
        return self.target.host.completion(ctx, asked, **how)

    def embed(self, ctx: Context, wanted: EmbeddingParams) -> Embeddings:
        """
        Vectors of texts.

        Raises:
            AnyLLMError: why there are none.
        """
        return self.client.embed(wanted.input, ctx=ctx, dimensions=wanted.dimensions)

    def price(self, usage: Usage, model: str) -> Optional[float]:
        """What an answer cost in US dollars, by the model that answered or the one that was asked; None if unknown."""
        target = self.target
        named = cost_of(usage, model, target.host.name) if model else None
        cost = named or cost_of(usage, target.model, target.host.name)
        return None if cost is None else cost.total_usd

    def _plain(self, params: CompletionParams) -> tuple[CompletionParams, dict[str, Any]]:
        target = self.target
        return params.evolve(model=target.model), {"options": in_the_pump(self.options), **target.where}

    def _with_defaults(self, params: CompletionParams) -> CompletionParams:
        own = {name: value for name, value in self.entry.params.items() if getattr(params, name) is None}
        return params.evolve(**own) if own else params


def _key_of(entry: ModelEntry) -> Optional[Callable[[], str]]:
    name = entry.api_key_env
    if name is None:
        return None

    def read() -> str:
        value = os.environ.get(name, "").strip()
        if not value:
            raise MissingAPIKeyError(f"{name} is not set", env_var=name)
        return value

    return read


def _called(call: Callable[..., R], ctx: Context, params: CompletionParams) -> R:
    """A client's call with what was said; it reads tools as people write them."""
    fields = (field.name for field in attrs.fields(CompletionParams) if field.name not in ("model", "messages"))
    given = {name: value for name in fields if (value := getattr(params, name)) is not None}
    try:
        return call(list(params.messages), ctx=ctx, **given)
    except (TypeError, ValueError) as exc:
        raise wrong("tools", str(exc)) from exc
