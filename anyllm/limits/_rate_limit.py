"""
Rate limit: so many requests and tokens a minute.

Strategy: the ledger has one entry for each call of the last minute. The libraries for this (limits, pyrate-limiter)
keep an entry for each token or a thread for each limit, and wait where nothing wakes them; limits reads the wall clock.
Only `RateLimit.acquire` takes a lock, that of the ledger, and it never waits while it holds it.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Optional

import attrs

from anyllm._concurrency import waiters
from anyllm._concurrency.per_process import PerProcess
from anyllm._hints.arguments import whole_number
from anyllm.context import Context, check_context, raise_if_ended
from anyllm.errors import LimitTooSmallError, WaitTooLongError

_MINUTE = 60.0


@attrs.define(eq=False)
class _Entry:
    """Requests and tokens that were allowed at the time *when*; *counts* for a minute from then."""

    when: float
    requests: int
    tokens: int
    counts: bool = True


@attrs.define(eq=False)
class _RateWaiter:
    """A thread in line for the rate; it stays in line, and is woken to look, until it may go."""

    tokens: int
    gave_up: bool = False
    lock: threading.Lock = attrs.field(factory=waiters.new_waiter)

    def wake(self) -> None:
        """Have it look again. Takes no lock."""
        waiters.release(self.lock)

    def give_up(self) -> None:
        """Its Context has ended."""
        self.gave_up = True
        self.wake()


class _Ledger:
    """
    The calls of the last minute, and the line of waiting threads. Only the holder of `lock` uses them.

    `Reservation.settle` takes no lock: it appends to `corrections` and wakes the first in line, which reads them.
    """

    def __init__(self, requests: Optional[int], tokens: Optional[int], inherited: Optional[_Ledger]) -> None:
        #: Held while the ledger is read and written; never while waiting, and never by settling or cancelling.
        self.lock = threading.Lock()
        self.line: deque[_RateWaiter] = deque()
        self.corrections: deque[tuple[_Entry, int]] = inherited.corrections.copy() if inherited else deque()
        self._log: deque[_Entry] = inherited._log.copy() if inherited else deque()
        self._limits = (requests, tokens)
        self._requests = sum(entry.requests for entry in self._log)
        self._tokens = sum(entry.tokens for entry in self._log)

    def spend(self, waiter: _RateWaiter, now: float) -> Optional[_Entry]:
        """Record the call of *waiter* and take it out of the line, if it is the first there and the limits allow it."""
        self._catch_up(now)
        if self.line[0] is not waiter or not self._fits(self._requests + 1, self._tokens + waiter.tokens):
            return None
        self.line.popleft()
        if self.line:
            self.line[0].wake()
        return self._add(_Entry(now, 1, waiter.tokens))

    def seconds_until(self, waiter: _RateWaiter, now: float) -> float:
        """Seconds until *waiter* may go, when all before it in line go as soon as they may."""
        before = []
        for other in self.line:
            if other is waiter:
                break
            if not other.gave_up:
                before.append(other.tokens)
        return self._time_of_last(now, [*before, waiter.tokens]) - now

    def leave(self, waiter: _RateWaiter) -> None:
        """Take *waiter* out of the line, if it is still there; the next one may then be the first."""
        with self.lock:
            if waiter in self.line:
                was_first = self.line[0] is waiter
                self.line.remove(waiter)
                if was_first and self.line:
                    self.line[0].wake()

    def look_again(self) -> None:
        """Wake the first in line. Takes no lock: a thread that becomes the first now looks anyway."""
        try:
            first = self.line[0]
        except IndexError:
            return
        first.wake()

    def _time_of_last(self, now: float, calls: Iterable[int]) -> float:
        """When the last of *calls*, each of so many tokens, may go."""
        log, requests, spent = self._log.copy(), self._requests, self._tokens
        for tokens in calls:
            while not self._fits(requests + 1, spent + tokens):
                oldest = log.popleft()
                requests, spent = requests - oldest.requests, spent - oldest.tokens
                now = max(now, oldest.when + _MINUTE)
            log.append(_Entry(now, 1, tokens))
            requests, spent = requests + 1, spent + tokens
        return now

    def _fits(self, requests: int, tokens: int) -> bool:
        max_requests, max_tokens = self._limits
        too_many = max_requests is not None and requests > max_requests
        return not too_many and (max_tokens is None or tokens <= max_tokens)

    def _catch_up(self, now: float) -> None:
        while self._log and self._log[0].when + _MINUTE <= now:
            old = self._log.popleft()
            old.counts = False
            self._requests, self._tokens = self._requests - old.requests, self._tokens - old.tokens
        while self.corrections:
            entry, used = self.corrections.popleft()
            more = used - entry.tokens
            if more > 0:
                self._add(_Entry(now, 0, more))  # from now, so that it never ends too early
            elif entry.counts:
                entry.tokens, self._tokens = used, self._tokens + more

    def _add(self, entry: _Entry) -> _Entry:
        self._log.append(entry)
        self._requests, self._tokens = self._requests + entry.requests, self._tokens + entry.tokens
        return entry


class Reservation:
    """
    The tokens that `RateLimit.acquire` has reserved for a call.

    Attributes:
        tokens: The number of tokens.
    """

    __slots__ = ("_entry", "_settle", "tokens")

    def __init__(self, tokens: int, settle: Callable[[int], None]) -> None:
        self.tokens = tokens
        self._settle = [settle]

    def settle(self, tokens_used: int) -> None:
        """
        Report the tokens that the call used; a second time does nothing. Takes no lock: safe in a signal handler.

        Tokens that were reserved and not used are free at once. Tokens beyond the reservation count from now on, and
        later calls wait for them.

        Args:
            tokens_used: Usually `Usage.total_tokens`; 0 when the call was never sent.
        """
        whole_number("tokens_used", tokens_used, 0)
        try:
            settle = self._settle.pop()
        except IndexError:
            return
        settle(tokens_used)

    def __repr__(self) -> str:
        return f"<Reservation of {self.tokens} tokens{'' if self._settle else ', settled'}>"


class RateLimit:
    """
    A limit of requests and tokens in any 60 seconds; first come, first served.

    Shared freely between threads. A child process starts with the usage of its parent, and counts for itself from then
    on::

        reservation = limit.acquire(ctx, tokens=1500)
        answer = anyllm.completion(ctx, params)
        reservation.settle(answer.usage.total_tokens)

    Args:
        requests_per_minute: None for no limit.
        tokens_per_minute: None for no limit.
        clock: Monotonic seconds.

    Raises:
        TypeError, ValueError: a limit is no int, or less than 1.
    """

    def __init__(
        self,
        requests_per_minute: Optional[int] = None,
        tokens_per_minute: Optional[int] = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        for name, value in (("requests_per_minute", requests_per_minute), ("tokens_per_minute", tokens_per_minute)):
            if value is not None:
                whole_number(name, value, 1)
        self.requests_per_minute = requests_per_minute
        self.tokens_per_minute = tokens_per_minute
        self._clock = clock
        self._ledger = PerProcess(lambda inherited: _Ledger(requests_per_minute, tokens_per_minute, inherited))

    def acquire(self, ctx: Context, tokens: int = 0) -> Reservation:
        """
        Wait until one more call, of *tokens*, is allowed.

        Args:
            ctx: Ends the wait.
            tokens: The tokens of prompt and answer together: an estimate, which `Reservation.settle` corrects.

        Returns:
            The reservation, needed only to settle it.

        Raises:
            Cancelled, DeadlineExceeded: the Context ended.
            WaitTooLongError: the Context would end before the call may go, after those before it in line; raised at
                once.
            LimitTooSmallError: *tokens* is more than the limit of a minute.
        """
        check_context(ctx, "ctx must be")
        self._check_possible(tokens)
        raise_if_ended(ctx)
        ledger = self._ledger()
        waiter = _RateWaiter(tokens)
        unwatch: Callable[[], object] = lambda: None  # noqa: E731  # replaced once we have to wait
        try:
            with ledger.lock:
                ledger.line.append(waiter)
            is_watched = False
            while True:
                raise_if_ended(ctx)
                entry, until = self._look(ctx, ledger, waiter)
                if entry is not None:
                    return self._reservation(tokens, entry)
                if not is_watched:
                    unwatch, is_watched = ctx._on_end(waiter.give_up), True
                waiters.wait(waiter.lock, until)  # returns at once if something changed since we looked
        finally:
            unwatch()
            ledger.leave(waiter)

    def _look(self, ctx: Context, ledger: _Ledger, waiter: _RateWaiter) -> tuple[Optional[_Entry], Optional[float]]:
        """The entry of *waiter*'s call; or the monotonic time to look again, None to wait until it is woken."""
        remaining = ctx.remaining()
        with ledger.lock:
            now = self._clock()
            entry = ledger.spend(waiter, now)
            is_first = entry is None and ledger.line[0] is waiter
            if entry is not None or not (is_first or remaining is not None):
                return entry, None
            wait = ledger.seconds_until(waiter, now)
        if remaining is not None and wait >= remaining:
            raise WaitTooLongError(
                f"the rate limit allows this call in {wait:.3g} s, but its Context ends in {remaining:.3g} s",
                seconds=wait,
            )
        return None, time.monotonic() + wait if is_first else None

    def _reservation(self, tokens: int, entry: _Entry) -> Reservation:
        def settle(used: int) -> None:
            ledger = self._ledger()
            ledger.corrections.append((entry, used))
            ledger.look_again()

        return Reservation(tokens, settle)

    def _check_possible(self, tokens: int) -> None:
        whole_number("tokens", tokens, 0)
        limit = self.tokens_per_minute
        if limit is not None and tokens > limit:
            raise LimitTooSmallError(
                f"one call needs {tokens} tokens, and the limit is {limit} a minute",
                tokens=tokens,
                tokens_per_minute=limit,
            )

    def __repr__(self) -> str:
        return f"RateLimit({self.requests_per_minute}, {self.tokens_per_minute})"
