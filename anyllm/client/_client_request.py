"""
One call of a client, to whichever of its models answers.

Strategy: a call is put together once, and then streamed or waited for; what stands around it is the client's.
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Mapping
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
from anyllm.options import StreamingOptions, in_the_pump
from anyllm.pricing import cost_of
from anyllm.types import ChatCompletion, CompletionParams, Cost

__all__ = ["IDEMPOTENCY", "ClientResources", "ClientCall", "ended"]

_log = logging.getLogger("anyllm")

#: Tokens that an answer without a ``max_tokens`` is taken to have, where a rate is kept.
_USUAL_ANSWER = 1000
IDEMPOTENCY = "Idempotency-Key"
#: Answers worth keeping: those that ended by themselves.
_WHOLE = ("stop", "tool_calls")


@attrs.define(frozen=True, kw_only=True)
class ClientResources:
    """
    What stands around each call of a client.

    Attributes:
        admission: What it waits for.
        prices: Prices of the caller's own.
        cache: Where whole answers are kept; None for nowhere.
        cache_ttl: Seconds for which they are.
    """

    admission: Admission
    prices: Optional[Mapping[str, Any]] = None
    cache: Optional[caching.Guarded] = None
    cache_ttl: Optional[float] = None


@attrs.define(frozen=True, kw_only=True)
class ClientCall:
    """One call of a client: to whichever of its models answers."""

    ctx: Context
    params: CompletionParams
    options: StreamingOptions
    targets: tuple[Target, ...]
    router: Router
    hedge: Optional[float]
    wanted: Any  # the class that the answer is to be an instance of
    resources: ClientResources

    def plan(self) -> Plan:
        """How it is streamed."""
        known, target = self._known()
        return Plan(
            ctx=self.ctx,
            options=self.options,
            targets=self.targets if known is None else (target,),
            open=self._open,
            finished=self._finished if known is None else functools.partial(self._finished, is_kept=True),
            noted=self.router.note,
            failed=self.router.failed,
            hedge=self.hedge,
            kept=None if known is None else lambda: caching.replayed(known),
        )

    def whole_told(self) -> ChatCompletion:
        """`whole`, with the callbacks for what it brings."""
        first = self.targets[0]
        events = Events(first.host.name, first.model, json=self.options.json)
        call_back(self.options, events.start())
        try:
            answer = self.whole()
        except AnyLLMError as exc:
            call_back(self.options, events.fail(exc))
            raise
        for event in events.whole(answer):
            call_back(self.options, event)
        return answer

    def whole(self) -> ChatCompletion:
        """Its whole answer, from the first model that has one."""
        known, target = self._known()
        if known is not None:
            return self._finished(known, target, is_kept=True)
        with self.ctx:
            for target in self.targets[:-1]:
                try:
                    return self._whole_of(target)
                except AnyLLMError as exc:
                    if not may_fall_back(exc):
                        raise
            return self._whole_of(self.targets[-1])

    def _whole_of(self, target: Target) -> ChatCompletion:
        lease = self._enter(target)
        since = time.monotonic()
        how = in_the_pump(self.options)
        params = self.params.evolve(model=target.model)
        ask = functools.partial(target.host.completion, self.ctx, params, options=how, **target.where)
        try:
            answer = ended(lease, lambda: self._count(ask()))
        except AnyLLMError as exc:
            if may_fall_back(exc):
                self.router.failed(target)
            raise
        self.router.note(target, time.monotonic() - since)
        return self._finished(answer, target)

    def _open(self, target: Target, wait: bool) -> tuple[stream.Stream, Lease]:
        lease = self._enter(target, wait)
        where = (target.api_key, target.base_url)
        spec = target.host._completion_spec(self.params, target.model, True, *where, in_the_pump(self.options))
        return stream.stream(self.ctx, attrs.evolve(spec, announce_retries=True)), lease

    def _enter(self, target: Target, wait: bool = True) -> Lease:
        return self.resources.admission.enter(self.ctx, target.host.name, self._tokens, wait=wait)

    def _tokens(self) -> int:
        prompt = tokens.estimate_usage(self.params, ChatCompletion(), method="character").prompt_tokens
        return prompt + (self.params.max_tokens or _USUAL_ANSWER)

    def _finished(self, answer: ChatCompletion, target: Target, *, is_kept: bool = False) -> ChatCompletion:
        self._count(answer)
        cost = self._cost(answer, target)
        answer.cost = cost if cost is None or not is_kept else Cost(0.0, 0.0, 0.0, source="cache", model=cost.model)
        if self.wanted is not None and answer.finish_reason != "tool_calls":
            answer.parsed = self._parsed(answer)
        if not is_kept:  # which would begin its time anew
            self._keep(answer, target)
        return answer

    def _parsed(self, answer: ChatCompletion) -> Any:
        try:
            return structured.parse(answer, self.wanted)
        except AnyLLMError as exc:
            exc.provider, exc.partial = answer.provider or None, answer
            raise

    def _count(self, answer: ChatCompletion) -> ChatCompletion:
        """Estimate the usage where nobody counted; an answer is not lost because that fails."""
        if answer.usage is None and self.options.usage != "provider":
            try:
                answer.usage = tokens.estimate_usage(self.params, answer, method=self.options.usage)
            except (ImportError, OSError) as exc:
                _log.warning("tokens are not counted: %s", exc)
        return answer

    def _cost(self, answer: ChatCompletion, target: Target) -> Optional[Cost]:
        """By the model that answered, which may say more than what was asked for; but prices of one's own by either."""
        if answer.usage is None:
            return None
        prices, tier = self.resources.prices, answer.service_tier
        names = [name for name in (answer.model, target.model) if name]
        for name in sorted(names, key=lambda name: not _is_priced(name, target.host.name, prices)):
            cost = cost_of(answer.usage, name, target.host.name, prices=prices, service_tier=tier)
            if cost is not None:
                return cost
        return None

    # -- the cache -------------------------------------------------------------------------------------------------

    def _known(self) -> tuple[Optional[ChatCompletion], Target]:
        """What one of the models answered before, and which."""
        cache = self.resources.cache
        for target in self.targets if cache is not None else ():
            key = self._key(target)
            known = caching.decode(cache.get(key)) if cache is not None and key is not None else None
            if known is not None:
                return known, target
        return None, self.targets[0]

    def _keep(self, answer: ChatCompletion, target: Target) -> None:
        cache = self.resources.cache
        is_whole = answer.choices and all(choice.finish_reason in _WHOLE for choice in answer.choices)
        key = self._key(target) if is_whole else None
        if cache is not None and key is not None:
            cache.set(key, caching.encode(answer), self.resources.cache_ttl)

    def _key(self, target: Target) -> Optional[str]:
        """What the answer of *target* is kept under; None if it is not kept, or the question cannot be written down."""
        if self.resources.cache is None:
            return None
        headers = {**target.host._headers, **(self.params.extra_headers or {})}
        headers.pop(IDEMPOTENCY, None)  # new for each call
        params = self.params.evolve(model=target.model, extra_headers=headers)
        try:
            return caching.cache_key(target.host.name, target.base_url or target.host._server, params)
        except TypeError:
            return None


def ended(lease: Lease, call: Any) -> Any:
    """What *call* gives; the lease is told how it ended."""
    try:
        answer = call()
    except BaseException as exc:
        lease.end(exc, None)
        raise
    lease.end(None, answer.usage)
    return answer


def _is_priced(model: str, provider: str, prices: Optional[Mapping[str, Any]]) -> bool:
    return bool(prices) and not {model, f"{provider}/{model}"}.isdisjoint(prices or ())
