"""
Which models there are, and what is behind a name that a client says.

A name is looked for among the configuration's own, without ":latest" (which Ollama's clients add), then among its
patterns, the longest first, and is else a model string, "provider/model".
"""

from __future__ import annotations

import importlib.util
import logging
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Optional, Union

import attrs

from anyllm._chat_stream import ChatStream
from anyllm._registry import Provider, host_of, list_models, route
from anyllm._routing import Target
from anyllm._stream import Stream
from anyllm.client import Client
from anyllm.context import Context
from anyllm.errors import AnyLLMError, MissingAPIKeyError, ModelNotFoundError
from anyllm.gateway._config import Config, ModelEntry
from anyllm.gateway._known import Known
from anyllm.limits import RateLimit
from anyllm.options import StreamingOptions, in_the_pump
from anyllm.pricing import cost_of
from anyllm.providers import _rows
from anyllm.types import ChatCompletion, CompletionParams, EmbeddingParams, Embeddings, Usage

__all__ = ["Models", "Route"]

_log = logging.getLogger("anyllm.gateway")

#: Names that were asked for lately; each has a client, which is cheap.
_KEPT = 512
#: Seconds for which a provider's list is good, and how long to wait for one.
_LIST_AGE, _LIST_PATIENCE = 300.0, 5.0


class Route:
    """
    What is behind a name: a model, and those that are asked when it fails.

    Args:
        name: As the client said it.
        entry: What the configuration says of it.
        options: How its calls behave.
        fallback: What is asked when it fails.

    Raises:
        TypeError, ValueError, UnsupportedProviderError: the entry is wrong.
    """

    def __init__(
        self,
        name: str,
        entry: ModelEntry,
        options: StreamingOptions,
        fallback: Sequence[Union[str, Target]] = (),
    ) -> None:
        self.name = name
        self.entry = entry
        self.options = StreamingOptions(**entry.options) if entry.options else options
        self.client = Client(
            entry.model,
            base_url=entry.base_url,
            api_key=_key_of(entry),
            options=self.options,
            fallback=fallback,
            rate_limit=RateLimit(**entry.rate_limit) if entry.rate_limit else None,
            max_streams=entry.max_streams,
        )

    @property
    def target(self) -> Target:
        """The model that is asked first."""
        return self.client.targets[0]

    def speaks(self, dialects: tuple[type, ...]) -> bool:
        """Whether every host that may be asked speaks one of these formats."""
        return all(isinstance(target.host.dialect, dialects) for target in self.client.targets)

    def stream(self, ctx: Context, params: CompletionParams) -> Union[Stream, ChatStream]:
        """The answer as it comes; the pair itself where nothing stands between, which saves a thread."""
        params = self._with_defaults(params)
        if self.entry.fallback or self.entry.rate_limit or self.entry.max_streams:
            return self.client.chat_stream(list(params.messages), ctx=ctx, **_given(params))
        target = self.target
        how = in_the_pump(self.options)
        return target.host.completion_stream(ctx, params.evolve(model=target.model), options=how, **target.where)

    def whole(self, ctx: Context, params: CompletionParams) -> ChatCompletion:
        """
        The whole answer.

        Raises:
            AnyLLMError: why there is none.
        """
        params = self._with_defaults(params)
        return self.client.chat(list(params.messages), ctx=ctx, **_given(params))

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


def _given(params: CompletionParams) -> dict[str, Any]:
    """What was said, without what a client's calls have places of their own for."""
    fields = (field.name for field in attrs.fields(CompletionParams) if field.name not in ("model", "messages"))
    return {name: value for name in fields if (value := getattr(params, name)) is not None}


class Models:
    """
    All that can be asked for. Shared between threads.

    Args:
        config: What the gateway was told.
        options: How calls behave, where an entry does not say.
        clock: Monotonic seconds.

    Raises:
        ValueError: an entry is wrong; the message names it.
    """

    def __init__(
        self,
        config: Config,
        options: Optional[StreamingOptions] = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._options = options or StreamingOptions()
        self._server = config.server
        self._entries = {name: entry for name, entry in config.models.items() if not name.endswith("*")}
        patterns = [(name[:-1], entry) for name, entry in config.models.items() if name.endswith("*")]
        self._patterns = sorted(patterns, key=lambda item: -len(item[0]))
        self._lock = threading.Lock()
        self._routes: OrderedDict[str, Route] = OrderedDict()  # the latest last
        self._lists = _Lists(clock)
        for name, entry in self._entries.items():
            try:
                self._routes[name] = self._route(name, entry)
                CompletionParams(model="m", messages=[], **entry.params)
            except (TypeError, ValueError, AnyLLMError) as exc:
                raise ValueError(f"models.{name}: {exc}") from exc

    def find(self, name: str) -> Route:
        """
        What is behind *name*.

        Raises:
            ModelNotFoundError, UnsupportedProviderError: nothing is.
        """
        with self._lock:
            known = self._routes.get(name)
            if known is not None:
                if name not in self._entries:
                    self._routes.move_to_end(name)
                return known
        entry = self._entry(name)
        made = self._route(name, entry)
        with self._lock:
            made = self._routes.setdefault(name, made)
            strays = [other for other in self._routes if other not in self._entries]
            for other in strays[: max(0, len(strays) - _KEPT)]:
                del self._routes[other]
        return made

    def _route(self, name: str, entry: ModelEntry) -> Route:
        """Its fallbacks may be model strings, or names of the configuration's own, which are asked where those are."""
        fallback: list[Union[str, Target]] = [
            Route(other, self._entries[other], self._options).target if other in self._entries else other
            for other in entry.fallback
        ]
        return Route(name, entry, self._options, fallback)

    def _entry(self, name: str) -> ModelEntry:
        bare = _untagged(name)
        if bare in self._entries:
            return self._entries[bare]
        for start, entry in self._patterns:
            if bare.startswith(start):
                return attrs.evolve(entry, model=entry.model.replace("*", bare[len(start) :]))
        if self._server.only_listed:
            raise ModelNotFoundError(f"there is no model {name!r} here", status_code=404, code="model_not_found")
        try:
            route(bare, None)
        except AnyLLMError as exc:
            raise ModelNotFoundError(
                f"there is no model {name!r} here: {exc}", status_code=404, code="model_not_found", param="model"
            ) from exc
        return ModelEntry(model=bare)

    def known(self, name: str, ctx: Context) -> Known:
        """
        What is known of the model *name*, whether it is listed or not.

        Raises:
            ModelNotFoundError: there is none.
        """
        found = self.find(name)
        bare = _untagged(name)
        listed = next((known for known in self.listed(ctx) if known.name in (name, bare)), None)
        return listed or _known(bare, found.target.host, 0, found.entry.context_length)

    def listed(self, ctx: Context) -> list[Known]:
        """The configuration's own, then those of every provider whose key is set, where they are to be listed."""
        own = [
            _known(name, self._routes[name].target.host, 0, entry.context_length)
            for name, entry in self._entries.items()
            if not entry.hidden
        ]
        if self._server.only_listed or not self._server.list_providers:
            return own
        return own + [known for known in self._lists.all(ctx) if known.name not in self._entries]


def _untagged(name: str) -> str:
    """Without what Ollama's clients add to a name that has no tag."""
    return name[: -len(":latest")] if name.endswith(":latest") else name


def _known(name: str, host: Provider, created: int = 0, context_length: Optional[int] = None) -> Known:
    able = host.capabilities
    words = {
        "completion": able.completion,
        "tools": able.tools,
        "vision": "image" in able.media,
        "thinking": able.reasoning,
        "embedding": able.embedding,
    }
    return Known(name, host.name, created, context_length, [word for word in words if words[word]])


class _Lists:
    """The lists of providers, each kept for some minutes; one that cannot be had is logged and left out."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: dict[str, tuple[float, list[Known]]] = {}

    def all(self, ctx: Context) -> list[Known]:
        names = [row.name for row in _rows.ROWS if row.capabilities.list_models and row.set_variable()]
        with self._lock:
            now = self._clock()
            stale = [name for name in names if self._kept.get(name, (-_LIST_AGE, []))[0] <= now - _LIST_AGE]
            threads = [threading.Thread(target=self._fetch, args=(ctx, name), daemon=True) for name in stale]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(_LIST_PATIENCE + 1)
            return [known for name in names for known in self._kept.get(name, (0.0, []))[1]] + _at_hand()

    def _fetch(self, ctx: Context, name: str) -> None:
        try:
            found = list_models(ctx.child(_LIST_PATIENCE), name)
        except AnyLLMError as exc:
            _log.warning("the models of %s are not listed: %s", name, exc)
            found = []
        host = host_of(name)
        known = [_known(f"{name}/{model.id}", host, model.created, _length(model.raw)) for model in found]
        self._kept[name] = (self._clock(), known)


def _at_hand() -> list[Known]:
    """The models that run in this process, where they can: they are not started for being listed."""
    if importlib.util.find_spec("xllamacpp") is None:
        return []
    rows = [row for row in _rows.ROWS if row.endpoint is not None]
    return [_known(f"{row.name}/{model}", host_of(row.name)) for row in rows for model in row.models]


def _length(raw: Any) -> Optional[int]:
    """Where a host says how much a model can hold, it says it under one of these names."""
    names = ("context_length", "context_window", "max_context_length", "inputTokenLimit", "max_model_len")
    values = (raw.get(name) for name in names) if isinstance(raw, Mapping) else ()
    return next((value for value in values if isinstance(value, int)), None)
