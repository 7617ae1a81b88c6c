"""
The gateway's models: find the route for a name, and list them.

A name is looked up in the configuration without ":latest" (which Ollama's clients add), then matched with the
configuration's patterns, longest first. Any other name is a model string, "provider/model".
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Optional, Union

import attrs

from anyllm._concurrency.per_process import PerProcess
from anyllm.client._routing import Target
from anyllm.context import Context
from anyllm.errors import AnyLLMError, ModelNotFoundError
from anyllm.gateway._config import Config, ModelEntry
from anyllm.gateway._provider_lists import ProviderLists, model_info
from anyllm.gateway._route import Limits, Route
from anyllm.options import StreamingOptions
from anyllm.providers.registry import route
from anyllm.types import CompletionParams
from anyllm.wire._base.model_info import ModelInfo

#: How many routes for names outside the configuration are cached; each has a client, which is cheap.
_CACHE_SIZE = 512
_MAX_NAME_LENGTH = 512  # characters


class Models:
    """The models that clients can ask for. Shared between threads. Arguments and errors as in `Gateway`."""

    def __init__(self, config: Config, options: Optional[StreamingOptions] = None) -> None:
        self._options = options or StreamingOptions()
        self._server = config.server
        self._entries = {name: entry for name, entry in config.models.items() if not name.endswith("*")}
        patterns = [name[:-1] for name in config.models if name.endswith("*")]
        self._patterns = {start: config.models[f"{start}*"] for start in sorted(patterns, key=len, reverse=True)}
        self._limits: dict[str, Limits] = {}  # by the entry's name
        self._lock = threading.Lock()
        self._recent: OrderedDict[str, Route] = OrderedDict()  # of other names, the latest last; under the lock
        self._lists = PerProcess(lambda _: ProviderLists())  # a forked child has none of the fetching threads
        self._configured: dict[str, Route] = {}
        for name, entry in config.models.items():
            self._check(name, entry)

    def _check(self, name: str, entry: ModelEntry) -> None:
        """Raise now if an entry is wrong, not at the first request for it."""
        try:
            CompletionParams(model="m", messages=[], **entry.params)
            self._limits[name] = Limits.of(entry)
            if name in self._entries:
                self._configured[name] = self._route(name, name, entry)
            else:
                self._route(name, name, _expand(entry, "x"))
        except (TypeError, ValueError, AnyLLMError) as exc:
            raise ValueError(f"models.{name}: {exc}") from exc

    def find(self, name: str) -> Route:
        """The route for *name*; ModelNotFoundError if there is no such model."""
        bare = name[: -len(":latest")] if name.endswith(":latest") else name
        configured = self._configured.get(bare)
        if configured is not None:
            return configured
        with self._lock:
            cached = self._recent.get(bare)
            if cached is not None:
                self._recent.move_to_end(bare)
                return cached
        made = self._make(bare)
        with self._lock:
            made = self._recent.setdefault(bare, made)
            while len(self._recent) > _CACHE_SIZE:
                self._recent.popitem(last=False)
        return made

    def _make(self, name: str) -> Route:
        if len(name) > _MAX_NAME_LENGTH:
            raise _not_found(f"no model has a name of {len(name)} characters")
        for start, entry in self._patterns.items():
            if name.startswith(start):
                return self._route(name, f"{start}*", _expand(entry, name[len(start) :]))
        if self._server.only_listed:
            raise _not_found(f"there is no model {name!r} here")
        try:
            route(name, None)
        except AnyLLMError as exc:
            raise _not_found(f"there is no model {name!r} here: {exc}") from exc
        return self._route(name, "", ModelEntry(model=name))

    def _route(self, name: str, entry_name: str, entry: ModelEntry) -> Route:
        """A fallback is another entry's name, which stands for that entry's model and server, or a model string."""
        fallback: list[Union[str, Target]] = [
            Route(other, self._entries[other], self._options).target if other in self._entries else other
            for other in entry.fallback
        ]
        return Route(name, entry, self._options, self._limits.get(entry_name, Limits()), fallback)

    # -- metadata ------------------------------------------------------------------------------------------------------

    def info(self, name: str, ctx: Context) -> ModelInfo:
        """The metadata of the model *name*, whether it is listed or not; errors as `find`."""
        found = self.find(name)
        if found.name not in self._configured and self._lists_providers:
            listed = next((model for model in self._lists().all(ctx) if model.name == found.name), None)
            if listed is not None:
                return listed
        return _info(found)

    def all(self, ctx: Context) -> list[ModelInfo]:
        """The configured models, then, unless turned off, those of every provider whose key is set."""
        configured = [_info(found) for found in self._configured.values() if not found.entry.hidden]
        if not self._lists_providers:
            return configured
        return configured + [model for model in self._lists().all(ctx) if model.name not in self._entries]

    @property
    def _lists_providers(self) -> bool:
        return self._server.list_providers and not self._server.only_listed


def _info(found: Route) -> ModelInfo:
    return model_info(found.target.provider, found.name, 0, found.entry.context_length)


def _expand(entry: ModelEntry, rest: str) -> ModelEntry:
    """A pattern's entry, for a name in which the pattern's "*" is *rest*."""
    return attrs.evolve(entry, model=entry.model.replace("*", rest))


def _not_found(message: str) -> ModelNotFoundError:
    return ModelNotFoundError(message, status_code=404, code="model_not_found", param="model")
