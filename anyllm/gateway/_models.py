"""
Which models there are, and what is behind a name that a client says.

A name is looked for among the configuration's own, without ":latest" (which Ollama's clients add), then among its
patterns, the longest first, and is else a model string, "provider/model".
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Optional, Union

import attrs

from anyllm.client._routing import Target
from anyllm.context import Context
from anyllm.errors import AnyLLMError, ModelNotFoundError
from anyllm.gateway._config import Config, ModelEntry
from anyllm.gateway._provider_lists import ProviderLists, known_at
from anyllm.gateway._route import Limits, Route
from anyllm.limits._shared import PerProcess
from anyllm.options import StreamingOptions
from anyllm.providers.registry import route
from anyllm.types import CompletionParams
from anyllm.wire._base.model_info import ModelInfo

__all__ = ["Models"]

#: Names that were asked for lately; each has a client, which is cheap. The longest that one can be, in characters.
_KEPT, _LONGEST = 512, 512


class Models:
    """
    All that can be asked for. Shared between threads.

    Args:
        config: What the gateway was told.
        options: How calls behave, where an entry does not say.

    Raises:
        ValueError: an entry is wrong; the message names it.
    """

    def __init__(self, config: Config, options: Optional[StreamingOptions] = None) -> None:
        self._options = options or StreamingOptions()
        self._server = config.server
        self._entries = {name: entry for name, entry in config.models.items() if not name.endswith("*")}
        patterns = [name[:-1] for name in config.models if name.endswith("*")]
        self._patterns = {start: config.models[f"{start}*"] for start in sorted(patterns, key=len, reverse=True)}
        self._limits: dict[str, Limits] = {}  # by the entry's name
        self._lock = threading.Lock()
        self._routes: OrderedDict[str, Route] = OrderedDict()  # those that were asked for, the latest last
        self._lists_here = PerProcess(lambda _: ProviderLists())  # a child has none of the threads that fetch
        self._own: dict[str, Route] = {}  # of the entries
        for name, entry in config.models.items():
            self._check(name, entry)

    def _check(self, name: str, entry: ModelEntry) -> None:
        """Say now what is wrong with an entry, and not by the first request that asks for it."""
        try:
            CompletionParams(model="m", messages=[], **entry.params)
            self._limits[name] = Limits.of(entry)
            if name in self._entries:
                self._own[name] = self._route(name, name, entry)
            else:
                self._route(name, name, _filled(entry, "x"))
        except (TypeError, ValueError, AnyLLMError) as exc:
            raise ValueError(f"models.{name}: {exc}") from exc

    def find(self, name: str) -> Route:
        """
        What is behind *name*.

        Raises:
            ModelNotFoundError: nothing is.
        """
        bare = name[: -len(":latest")] if name.endswith(":latest") else name
        own = self._own.get(bare)
        if own is not None:
            return own
        with self._lock:
            known = self._routes.get(bare)
            if known is not None:
                self._routes.move_to_end(bare)
                return known
        made = self._made(bare)
        with self._lock:
            made = self._routes.setdefault(bare, made)
            while len(self._routes) > _KEPT:
                self._routes.popitem(last=False)
        return made

    def _made(self, name: str) -> Route:
        if len(name) > _LONGEST:
            raise _not_found(f"no model has a name of {len(name)} characters")
        for start, entry in self._patterns.items():
            if name.startswith(start):
                return self._route(name, f"{start}*", _filled(entry, name[len(start) :]))
        if self._server.only_listed:
            raise _not_found(f"there is no model {name!r} here")
        try:
            route(name, None)
        except AnyLLMError as exc:
            raise _not_found(f"there is no model {name!r} here: {exc}") from exc
        return self._route(name, "", ModelEntry(model=name))

    def _route(self, name: str, entry_name: str, entry: ModelEntry) -> Route:
        """Its fallbacks may be model strings, or names of the configuration's own, which are asked where those are."""
        fallback: list[Union[str, Target]] = [
            Route(other, self._entries[other], self._options).target if other in self._entries else other
            for other in entry.fallback
        ]
        return Route(name, entry, self._options, self._limits.get(entry_name, Limits()), fallback)

    # -- what there is ---------------------------------------------------------------------------------------------

    def known(self, name: str, ctx: Context) -> ModelInfo:
        """
        What is known of the model *name*, whether it is listed or not.

        Raises:
            ModelNotFoundError: there is none.
        """
        found = self.find(name)
        if found.name not in self._own and self._lists_providers:
            listed = next((known for known in self._lists.all(ctx) if known.name == found.name), None)
            if listed is not None:
                return listed
        return known_at(found.target.host, found.name, 0, found.entry.context_length)

    def listed(self, ctx: Context) -> list[ModelInfo]:
        """The configuration's own, then those of every provider whose key is set, where they are to be listed."""
        own = [
            known_at(found.target.host, name, 0, found.entry.context_length)
            for name, found in self._own.items()
            if not found.entry.hidden
        ]
        if not self._lists_providers:
            return own
        return own + [known for known in self._lists.all(ctx) if known.name not in self._entries]

    @property
    def _lists(self) -> ProviderLists:
        return self._lists_here()

    @property
    def _lists_providers(self) -> bool:
        return self._server.list_providers and not self._server.only_listed


def _filled(entry: ModelEntry, rest: str) -> ModelEntry:
    """A pattern's entry for a name that ends in *rest*."""
    return attrs.evolve(entry, model=entry.model.replace("*", rest))


def _not_found(what: str) -> ModelNotFoundError:
    return ModelNotFoundError(what, status_code=404, code="model_not_found", param="model")
