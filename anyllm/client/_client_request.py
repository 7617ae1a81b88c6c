"""
One call of a client: sent to its models in turn, counted, priced and cached.

Strategy: a `ClientCall` is made once, and then either streamed (`plan`) or waited for (`complete`).
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, Optional

import attrs

from anyllm import caching, structured, tokens
from anyllm._stream import stream
from anyllm.client._admission import Admission, Lease
from anyllm.client._fallback_reader import Plan
from anyllm.client._routing import Router, Target, may_fall_back
from anyllm.context import Context
from anyllm.errors import AnyLLMError
from anyllm.events import Events, call_back
from anyllm.options import StreamingOptions, pump_options
from anyllm.pricing import cost_of
from anyllm.types import ChatCompletion, CompletionParams, Cost

_log = logging.getLogger("anyllm")

#: Tokens that the rate limit reserves for an answer without ``max_tokens``.
_USUAL_ANSWER = 1000
IDEMPOTENCY_KEY = "Idempotency-Key"
#: The finish reasons of answers that are cached: those that the model ended itself.
_WHOLE = ("stop", "tool_calls")


@attrs.define(frozen=True, kw_only=True)
class ClientResources:
    """
    The resources that all calls of a client share.

    Attributes:
        admission: The limits that a call must pass.
        prices: The caller's own prices.
        cache: Stores whole answers; None for no cache.
        cache_ttl: Seconds for which an answer is stored; None for the cache's default.
    """

    admission: Admission
    prices: Optional[Mapping[str, Any]] = None
    cache: Optional[caching.Guarded] = None
    cache_ttl: Optional[float] = None


@attrs.define(frozen=True, kw_only=True)
class ClientCall:
    """
    One call of a client.

    Attributes:
        ctx, options, targets, hedge: As in `Plan`.
        params: The request, with the first model's name.
        router: Records how fast each model was.
        response_class: The class of which the answer's ``parsed`` is an instance; None for none.
        resources: Shared with the client's other calls.
    """

    ctx: Context
    params: CompletionParams
    options: StreamingOptions
    targets: tuple[Target, ...]
    router: Router
    hedge: Optional[float]
    response_class: Any
    resources: ClientResources

    def plan(self) -> Plan:
        """The plan for streaming the answer."""
        cached, target = self._cached_answer()
        return Plan(
            ctx=self.ctx,
            options=self.options,
            targets=self.targets if cached is None else (target,),
            open=self._open,
            finish=self._finish if cached is None else functools.partial(self._finish, is_cached=True),
            record_wait=self.router.record_wait,
            record_failure=self.router.record_failure,
            hedge=self.hedge,
            cached_chunks=None if cached is None else lambda: caching.replayed(cached),
        )

    def complete_with_callbacks(self) -> ChatCompletion:
        """`complete`, with the callbacks of the options."""
        first = self.targets[0]
        events = Events(first.provider.name, first.model, json=self.options.json)
        call_back(self.options, events.start())
        try:
            answer = self.complete()
        except AnyLLMError as exc:
            call_back(self.options, events.fail(exc))
            raise
        for event in events.whole(answer):
            call_back(self.options, event)
        return answer

    def complete(self) -> ChatCompletion:
        """The whole answer of the first model that succeeds."""
        cached, target = self._cached_answer()
        if cached is not None:
            return self._finish(cached, target, is_cached=True)
        with self.ctx:
            for target in self.targets[:-1]:
                try:
                    return self._complete_at(target)
                except AnyLLMError as exc:
                    if not may_fall_back(exc):
                        raise
            return self._complete_at(self.targets[-1])

    def _complete_at(self, target: Target) -> ChatCompletion:
        lease = self._enter(target)
        started = time.monotonic()
        params = self.params.evolve(model=target.model)
        options = pump_options(self.options)
        send = functools.partial(target.provider.completion, self.ctx, params, options=options, **target.credentials)
        try:
            answer = call_with_lease(lease, lambda: self._add_usage(send()))
        except AnyLLMError as exc:
            if may_fall_back(exc):
                self.router.record_failure(target)
            raise
        self.router.record_wait(target, time.monotonic() - started)
        return self._finish(answer, target)

    def _open(self, target: Target, wait: bool) -> tuple[stream.Stream, Lease]:
        lease = self._enter(target, wait)
        options = pump_options(self.options)
        spec = target.provider._completion_spec(
            self.params, target.model, True, target.api_key, target.base_url, options
        )
        return stream.stream(self.ctx, attrs.evolve(spec, announce_retries=True)), lease

    def _enter(self, target: Target, wait: bool = True) -> Lease:
        return self.resources.admission.enter(self.ctx, target.provider.name, self._estimated_tokens, wait=wait)

    def _estimated_tokens(self) -> int:
        prompt = tokens.estimate_usage(self.params, ChatCompletion(), method="character").prompt_tokens
        return prompt + (self.params.max_tokens or _USUAL_ANSWER)

    def _finish(self, answer: ChatCompletion, target: Target, *, is_cached: bool = False) -> ChatCompletion:
        """Add usage, cost and ``parsed`` to *answer*, and store it in the cache."""
        self._add_usage(answer)
        cost = self._cost(answer, target)
        answer.cost = cost if cost is None or not is_cached else Cost(0.0, 0.0, 0.0, source="cache", model=cost.model)
        if self.response_class is not None and answer.finish_reason != "tool_calls":
            answer.parsed = self._parse(answer)
        if not is_cached:  # storing it again would extend its time
            self._store(answer, target)
        return answer

    def _parse(self, answer: ChatCompletion) -> Any:
        try:
            return structured.parse(answer, self.response_class)
        except AnyLLMError as exc:
            exc.provider, exc.partial = answer.provider or None, answer
            raise

    def _add_usage(self, answer: ChatCompletion) -> ChatCompletion:
        """Estimate the usage where the provider sent none; a failure of that is only logged."""
        if answer.usage is None and self.options.usage != "provider":
            try:
                answer.usage = tokens.estimate_usage(self.params, answer, method=self.options.usage)
            except (ImportError, OSError) as exc:
                _log.warning("tokens are not counted: %s", exc)
        return answer

    def _cost(self, answer: ChatCompletion, target: Target) -> Optional[Cost]:
        """The cost, by the model in the answer, which may be more exact than the request's; own prices by either."""
        if answer.usage is None:
            return None
        prices, tier = self.resources.prices, answer.service_tier
        names = [name for name in (answer.model, target.model) if name]
        for name in sorted(names, key=lambda name: not _has_own_price(name, target.provider.name, prices)):
            cost = cost_of(answer.usage, name, target.provider.name, prices=prices, service_tier=tier)
            if cost is not None:
                return cost
        return None

    # -- the cache -------------------------------------------------------------------------------------------------

    def _cached_answer(self) -> tuple[Optional[ChatCompletion], Target]:
        """An earlier answer of one of the models to this request, and the model."""
        cache = self.resources.cache
        for target in self.targets if cache is not None else ():
            key = self._cache_key(target)
            answer = caching.decode(cache.get(key)) if cache is not None and key is not None else None
            if answer is not None:
                return answer, target
        return None, self.targets[0]

    def _store(self, answer: ChatCompletion, target: Target) -> None:
        cache = self.resources.cache
        is_whole = answer.choices and all(choice.finish_reason in _WHOLE for choice in answer.choices)
        key = self._cache_key(target) if is_whole else None
        if cache is not None and key is not None:
            cache.set(key, caching.encode(answer), self.resources.cache_ttl)

    def _cache_key(self, target: Target) -> Optional[str]:
        """The key of *target*'s answer; None without a cache, and if the request cannot be encoded as JSON."""
        if self.resources.cache is None:
            return None
        headers = {**target.provider._headers, **(self.params.extra_headers or {})}
        headers.pop(IDEMPOTENCY_KEY, None)  # it is new for each call
        params = self.params.evolve(model=target.model, extra_headers=headers)
        try:
            return caching.cache_key(target.provider.name, target.base_url or target.provider._server, params)
        except TypeError:
            return None


def call_with_lease(lease: Lease, call: Callable[[], Any]) -> Any:
    """The result of *call*; ends the lease with it, or with its exception."""
    try:
        answer = call()
    except BaseException as exc:
        lease.end(exc, None)
        raise
    lease.end(None, answer.usage)
    return answer


def _has_own_price(model: str, provider: str, prices: Optional[Mapping[str, Any]]) -> bool:
    return bool(prices) and not {model, f"{provider}/{model}"}.isdisjoint(prices or ())
