"""
So much a minute.

Strategy: the rate is a log with one entry for each call of the last minute. The libraries for this (limits,
pyrate-limiter) keep an entry for each token, a thread for each limit, and wait where nothing wakes them; limits reads
the wall clock. Only `RateLimit.acquire` has a lock, for its books, and never waits while it holds it.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Optional

from anyllm._concurrency import waiters
from anyllm._hints.arguments import whole_number
from anyllm.context import Context
from anyllm.errors import LimitTooSmallError, WaitTooLongError
from anyllm.limits._shared import PerProcess, check_context, raise_if_ended

__all__ = ["RateLimit", "Reservation"]

_MINUTE = 60.0


class _Entry:
    """What was let through at an instant; *counts* until that is a minute ago."""

    __slots__ = ("counts", "requests", "tokens", "when")

    def __init__(self, when: float, requests: int, tokens: int) -> None:
        self.when = when
        self.requests = requests
        self.tokens = tokens
        self.counts = True


class _Caller:
    """Who stands in line for the rate."""

    __slots__ = ("gave_up", "tokens", "waiter")

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens
        self.gave_up = False
        self.waiter = waiters.new_waiter()

    def wake(self) -> None:
        """Let it look again. Takes no lock."""
        waiters.release(self.waiter)

    def give_up(self) -> None:
        """Its Context has ended."""
        self.gave_up = True
        self.wake()


class _Ledger:
    """
    The log of the last minute and the line of those who wait, for the holder of `lock` alone.

    Whoever settles holds no lock: it appends to `corrections`, then wakes the first in line, who looks.
    """

    def __init__(self, requests: Optional[int], tokens: Optional[int], inherited: Optional[_Ledger]) -> None:
        #: Held while the books are read and written; never while waiting, and never by who settles or cancels.
        self.lock = threading.Lock()
        self.line: deque[_Caller] = deque()
        self.corrections: deque[tuple[_Entry, int]] = inherited.corrections.copy() if inherited else deque()
        self._log: deque[_Entry] = inherited._log.copy() if inherited else deque()
        self._most = (requests, tokens)
        self._requests = sum(entry.requests for entry in self._log)
        self._tokens = sum(entry.tokens for entry in self._log)

    def spend(self, caller: _Caller, now: float) -> Optional[_Entry]:
        """Let *caller* through, if it is the first in line and fits in this minute."""
        self._catch_up(now)
        if self.line[0] is not caller or not self._fits(self._requests + 1, self._tokens + caller.tokens):
            return None
        self.line.popleft()
        if self.line:
            self.line[0].wake()
        return self._add(_Entry(now, 1, caller.tokens))

    def wait_of(self, caller: _Caller, now: float) -> float:
        """Seconds until *caller* may go, when all before it in line go as soon as they may."""
        before = []
        for other in self.line:
            if other is caller:
                break
            if not other.gave_up:
                before.append(other.tokens)
        return self._instant(now, [*before, caller.tokens]) - now

    def leave(self, caller: _Caller) -> None:
        """Step out of the line, if still in it; the next one may then be the first."""
        with self.lock:
            if caller in self.line:
                was_first = self.line[0] is caller
                self.line.remove(caller)
                if was_first and self.line:
                    self.line[0].wake()

    def look_again(self) -> None:
        """Wake the first in line. Takes no lock: who becomes the first just now looks anyway."""
        try:
            first = self.line[0]
        except IndexError:
            return
        first.wake()

    def _instant(self, now: float, asked: Iterable[int]) -> float:
        log, requests, spent = self._log.copy(), self._requests, self._tokens
        for tokens in asked:
            while not self._fits(requests + 1, spent + tokens):
                oldest = log.popleft()
                requests, spent = requests - oldest.requests, spent - oldest.tokens
                now = max(now, oldest.when + _MINUTE)
            log.append(_Entry(now, 1, tokens))
            requests, spent = requests + 1, spent + tokens
        return now

    def _fits(self, requests: int, tokens: int) -> bool:
        most_requests, most_tokens = self._most
        too_many = most_requests is not None and requests > most_requests
        return not too_many and (most_tokens is None or tokens <= most_tokens)

    def _catch_up(self, now: float) -> None:
        while self._log and self._log[0].when + _MINUTE <= now:
            old = self._log.popleft()
            old.counts = False
            self._requests, self._tokens = self._requests - old.requests, self._tokens - old.tokens
        while self.corrections:
            entry, used = self.corrections.popleft()
            more = used - entry.tokens
            if more > 0:
                self._add(_Entry(now, 0, more))  # now, when it is known: never too early
            elif entry.counts:
                entry.tokens, self._tokens = used, self._tokens + more

    def _add(self, entry: _Entry) -> _Entry:
        self._log.append(entry)
        self._requests, self._tokens = self._requests + entry.requests, self._tokens + entry.tokens
        return entry


class Reservation:
    """
    What `RateLimit.acquire` let through.

    Attributes:
        tokens: What was asked for.
    """

    __slots__ = ("_entry", "_settle", "tokens")

    def __init__(self, tokens: int, settle: Callable[[int], None]) -> None:
        self.tokens = tokens
        self._settle = [settle]

    def settle(self, tokens_used: int) -> None:
        """
        Say what the call really used; a second time does nothing. Takes no lock: safe in a signal handler.

        What was reserved and not used is free at once. What was used beyond that counts from now on, and those who
        come next wait for it.

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
    So many requests and tokens in any 60 seconds, first come, first served.

    Shared freely between threads. A child process goes on with what its parent had used when it forked, and counts for
    itself from then on::

        reservation = limit.acquire(ctx, tokens=1500)
        answer = anyllm.completion(ctx, params)
        reservation.settle(answer.usage.total_tokens)

    Args:
        requests_per_minute: None for no limit.
        tokens_per_minute: None for no limit.
        clock: Gives seconds that never go back.

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
        self._books = PerProcess(lambda inherited: _Ledger(requests_per_minute, tokens_per_minute, inherited))

    def acquire(self, ctx: Context, tokens: int = 0) -> Reservation:
        """
        Wait until one more call, of *tokens*, is allowed.

        Args:
            ctx: Ends the wait.
            tokens: What the call will use, prompt and answer; an estimate, see `Reservation.settle`.

        Returns:
            What was let through; needed only to settle.

        Raises:
            Cancelled, DeadlineExceeded: the Context ended.
            WaitTooLongError: it would end before its turn comes, those before it in line included; raised at once.
            LimitTooSmallError: *tokens* is more than a whole minute's.
        """
        check_context(ctx)
        self._check_possible(tokens)
        raise_if_ended(ctx)
        books = self._books()
        caller = _Caller(tokens)
        unwatch: Callable[[], object] = lambda: None  # noqa: E731  # what `on_done` gives, once we have to wait
        try:
            with books.lock:
                books.line.append(caller)
            is_watched = False
            while True:
                raise_if_ended(ctx)
                entry, until = self._look(ctx, books, caller)
                if entry is not None:
                    return self._reservation(tokens, entry)
                if not is_watched:
                    unwatch, is_watched = ctx._on_end(caller.give_up), True
                waiters.wait(caller.waiter, until)  # at once, when something changed since we looked
        finally:
            unwatch()
            books.leave(caller)

    def _look(self, ctx: Context, books: _Ledger, caller: _Caller) -> tuple[Optional[_Entry], Optional[float]]:
        """What *caller* is let through with; or the monotonic instant to look again, None when woken for it."""
        left = ctx.remaining()
        with books.lock:
            now = self._clock()
            entry = books.spend(caller, now)
            is_first = entry is None and books.line[0] is caller
            if entry is not None or not (is_first or left is not None):
                return entry, None
            wait = books.wait_of(caller, now)
        if left is not None and wait >= left:
            raise WaitTooLongError(
                f"the rate limit lets this call go in {wait:.3g} s, but its Context ends in {left:.3g} s", seconds=wait
            )
        return None, time.monotonic() + wait if is_first else None

    def _reservation(self, tokens: int, entry: _Entry) -> Reservation:
        def settle(used: int) -> None:
            books = self._books()
            books.corrections.append((entry, used))
            books.look_again()

        return Reservation(tokens, settle)

    def _check_possible(self, tokens: int) -> None:
        whole_number("tokens", tokens, 0)
        most = self.tokens_per_minute
        if most is not None and tokens > most:
            raise LimitTooSmallError(
                f"one call asks for {tokens} tokens, and the limit is {most} a minute",
                tokens=tokens,
                tokens_per_minute=most,
            )

    def __repr__(self) -> str:
        return f"RateLimit({self.requests_per_minute}, {self.tokens_per_minute})"
