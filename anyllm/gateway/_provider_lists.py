"""
A cache of the model lists of providers.

Strategy: a thread fetches each list, with its own timeout, for all callers; a caller waits only as long as its own
Context allows. If fetching fails, a warning is logged and the previous list stays.
"""

from __future__ import annotations

import importlib.util
import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Optional

import attrs

from anyllm.channel import select
from anyllm.context import Context
from anyllm.providers.registry import Provider, list_models, provider_for
from anyllm.providers.table import lookup
from anyllm.wire._base.model_info import ModelInfo

_log = logging.getLogger("anyllm.gateway")

#: Seconds until a list is fetched again, after a success and after a failure.
_MAX_AGE, _RETRY_AFTER = 300.0, 15.0
#: Seconds to wait for a provider.
_TIMEOUT = 5.0


@attrs.define
class _CachedList:
    """
    One provider's list.

    Attributes:
        models: As last fetched.
        expires: When to fetch it again, in monotonic seconds.
        fetching: Ends when the running fetch is over; None if none is running.
    """

    models: tuple[ModelInfo, ...] = ()
    expires: float = float("-inf")
    fetching: Optional[Context] = None


class ProviderLists:
    """The model lists of all providers whose keys are set. Shared between threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()  # guards the lists; no thread waits while it holds it
        self._lists: dict[str, _CachedList] = {}

    def all(self, ctx: Context) -> list[ModelInfo]:
        """The models of every provider whose key is set now, and those that run in this process."""
        names = lookup.listing_names()
        running = [fetching for name in names if (fetching := self._refresh(name)) is not None]
        limit = ctx.child(_TIMEOUT + 1)
        for fetching in running:
            select(fetching.done(), limit.done())
        with self._lock:
            return [model for name in names for model in self._lists[name].models] + _in_this_process()

    def _refresh(self, name: str) -> Optional[Context]:
        """Fetch the list if it has expired; returns what ends when a running fetch is over, or None."""
        with self._lock:
            cached = self._lists.setdefault(name, _CachedList())
            is_due = cached.fetching is None and cached.expires <= self._clock()
            if is_due:
                cached.fetching = Context()
            fetching = cached.fetching
        if is_due:  # not under the lock: `start` waits, and lets gevent's greenlets run
            threading.Thread(target=self._fetch, args=(name, cached), name="anyllm-list", daemon=True).start()
        return fetching

    def _fetch(self, name: str, cached: _CachedList) -> None:
        models, seconds = None, _RETRY_AFTER
        try:
            provider = provider_for(name)
            models = tuple(
                model_info(provider, f"{name}/{model.id}", model.created, _context_length(model.raw))
                for model in list_models(Context(_TIMEOUT), name)
            )
            seconds = _MAX_AGE
        except Exception as exc:  # one provider's failure must not spoil the list of all
            _log.warning("the models of %s are not listed: %s", name, exc)
        with self._lock:
            fetching, cached.fetching = cached.fetching, None
            cached.expires = self._clock() + seconds
            cached.models = cached.models if models is None else models
        if fetching is not None:
            fetching.cancel()


def model_info(provider: Provider, name: str, created: int = 0, context_length: Optional[int] = None) -> ModelInfo:
    """The metadata of a model, with its provider's capabilities in Ollama's terms."""
    capabilities = provider.capabilities
    supported = {
        "completion": capabilities.completion,
        "tools": capabilities.tools,
        "vision": "image" in capabilities.media,
        "thinking": capabilities.reasoning,
        "embedding": capabilities.embedding,
    }
    return ModelInfo(name, provider.name, created, context_length, [term for term in supported if supported[term]])


def _in_this_process() -> list[ModelInfo]:
    """The models that can run in this process; listing does not start them."""
    if importlib.util.find_spec("xllamacpp") is None:
        return []
    rows = [row for row in lookup.ROWS if row.start_server is not None]
    return [model_info(provider_for(row.name), f"{row.name}/{model}") for row in rows for model in row.models]


def _context_length(raw: Any) -> Optional[int]:
    """The context length in a provider's own model object, under any of the names that providers use."""
    names = ("context_length", "context_window", "max_context_length", "inputTokenLimit", "max_model_len")
    values = (raw.get(name) for name in names) if isinstance(raw, Mapping) else ()
    return next((value for value in values if isinstance(value, int)), None)
