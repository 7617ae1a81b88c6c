"""
The lists of models that providers have: each asked for at most once at a time, and kept for some minutes.

Strategy: a list is fetched on a thread of its own, under a time of its own, for whoever asks meanwhile; who asks waits
only as long as its own Context lets it. A list that cannot be had is logged, and what was known before stays.
"""

from __future__ import annotations

import importlib.util
import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Optional

import attrs

from anyllm.channel import select
from anyllm.context import Context
from anyllm.providers.registry import Provider, host_of, list_models
from anyllm.providers.table import lookup
from anyllm.wire._base.model_info import ModelInfo

__all__ = ["ProviderLists", "known_at"]

_log = logging.getLogger("anyllm.gateway")

#: Seconds for which a list is good, and after which one that could not be had is asked for again.
_AGE, _AGE_OF_FAILURE = 300.0, 15.0
#: Seconds to wait for a provider.
_PATIENCE = 5.0


@attrs.define
class _List:
    """What is known of one provider's."""

    models: tuple[ModelInfo, ...] = ()
    until: float = float("-inf")  # monotonic
    fetching: Optional[Context] = None  # ended when it has been fetched


class ProviderLists:
    """
    Shared between threads.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()  # of what follows; nobody waits under it
        self._lists: dict[str, _List] = {}

    def all(self, ctx: Context) -> list[ModelInfo]:
        """The models of every provider whose key is set now, and of those that run in this process."""
        names = [row.name for row in lookup.ROWS if row.capabilities.list_models and row.set_variable()]
        running = [fetching for name in names if (fetching := self._fetching(name)) is not None]
        patience = ctx.child(_PATIENCE + 1)
        for fetching in running:
            try:
                select(fetching.done(), patience.done())
            except queue.Empty:  # cannot be, without a time-out
                break
        with self._lock:
            return [known for name in names for known in self._lists[name].models] + _at_hand()

    def _fetching(self, name: str) -> Optional[Context]:
        """What ends when the list has been fetched; None where it need not be."""
        with self._lock:
            known = self._lists.setdefault(name, _List())
            is_due = known.fetching is None and known.until <= self._clock()
            if is_due:
                known.fetching = Context()
            fetching = known.fetching
        if is_due:  # not under the lock: `start` waits, and lets gevent's greenlets run
            threading.Thread(target=self._fetch, args=(name, known), name="anyllm-list", daemon=True).start()
        return fetching

    def _fetch(self, name: str, known: _List) -> None:
        models, age = None, _AGE_OF_FAILURE
        try:
            host = host_of(name)
            found = list_models(Context(_PATIENCE), name)
            models = tuple(known_at(host, f"{name}/{model.id}", model.created, _length(model.raw)) for model in found)
            age = _AGE
        except Exception as exc:  # whatever a host may say, it is to be left out and not to be the end of others
            _log.warning("the models of %s are not listed: %s", name, exc)
        with self._lock:
            fetching, known.fetching = known.fetching, None
            known.until = self._clock() + age
            known.models = known.models if models is None else models
        if fetching is not None:
            fetching.cancel()


def known_at(host: Provider, name: str, created: int = 0, context_length: Optional[int] = None) -> ModelInfo:
    """What can be said of a model by what its host can do."""
    able = host.capabilities
    words = {
        "completion": able.completion,
        "tools": able.tools,
        "vision": "image" in able.media,
        "thinking": able.reasoning,
        "embedding": able.embedding,
    }
    return ModelInfo(name, host.name, created, context_length, [word for word in words if words[word]])


def _at_hand() -> list[ModelInfo]:
    """The models that run in this process, where they can: they are not started for being listed."""
    if importlib.util.find_spec("xllamacpp") is None:
        return []
    rows = [row for row in lookup.ROWS if row.endpoint is not None]
    return [known_at(host_of(row.name), f"{row.name}/{model}") for row in rows for model in row.models]


def _length(raw: Any) -> Optional[int]:
    """Where a host says how much a model can hold, it says it under one of these names."""
    names = ("context_length", "context_window", "max_context_length", "inputTokenLimit", "max_model_len")
    values = (raw.get(name) for name in names) if isinstance(raw, Mapping) else ()
    return next((value for value in values if isinstance(value, int)), None)
