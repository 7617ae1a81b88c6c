"""The clocks of a call: time limits on waiting for the provider, run by the shared timer."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple, Optional

from anyllm._concurrency import timer

#: Seconds between two checks of a clock whose limit is about to pass, while it runs.
_MIN_INTERVAL = 0.001
#: While it is paused, the interval is the time since the pause began, within these bounds.
_MIN_PAUSED_INTERVAL, _MAX_PAUSED_INTERVAL = 0.02, 0.1


class Limit(NamedTuple):
    """One start of a clock: its name ("connect", "first_content", "idle" or "tail"), seconds, and attempt."""

    name: str
    seconds: float
    attempt: Any


class Clock:
    """
    Fires when it has not been set back for so many seconds.

    Strategy: setting it back is on the path of every chunk, so that only stores the time. The timer checks this when
    the limit may have passed, and again later if it has not. Started, stopped and set back by one thread.

    Args:
        fire: Called on the timer's thread with the limit that ran out, and its seconds. It may be called late, when the
            attempt of the limit is over.
        attempt: The attempt that the clock belongs to.
    """

    __slots__ = ("_attempt", "_entries", "_fire", "_limit", "_paused", "_since", "_timer")

    def __init__(self, fire: Callable[[Limit, float], object], attempt: Any = None) -> None:
        self._fire = fire
        self._attempt = attempt
        self._timer = timer.shared  # native if the worker is, also after a late monkey patch
        self._limit: Optional[Limit] = None  # None when stopped
        self._entries: dict[timer.Entry, None] = {}  # more than one only while `start` races a check
        self._since = 0.0
        self._paused: Optional[float] = None  # since when it has been paused

    def start(self, name: str, seconds: Optional[float], *, since: Optional[float] = None) -> None:
        """Start the limit *name*, now or at the monotonic time *since*; None for *seconds* turns it off."""
        self.stop()
        self._since = time.monotonic() if since is None else since
        self._paused = None
        if seconds is not None:
            self._limit = limit = Limit(name, seconds, self._attempt)
            self._check_at(self._since + seconds, limit)

    def set_back(self) -> None:
        """Start again after progress."""
        self._since = now = time.monotonic()
        if self._paused is not None:
            self._paused = now  # the pause until now was before the progress

    def pause(self) -> None:
        """Stop counting: we do not wait for the provider now."""
        self._paused = time.monotonic()

    def resume(self) -> None:
        """Count again; the time since `pause` does not count."""
        paused = self._paused
        if paused is not None:
            self._since += time.monotonic() - paused
            self._paused = None  # last: a check in between must not count the pause

    @property
    def runs(self) -> bool:
        """Whether it counts now."""
        return self._limit is not None and self._paused is None

    def stop(self) -> None:
        """Remove the limit. Takes no lock."""
        self._limit = None
        while self._entries:
            try:
                self._entries.popitem()[0].cancel()
            except KeyError:
                break

    def _check_at(self, when: float, limit: Limit) -> None:
        entry = self._timer.call_at(when, lambda: self._check(limit))
        self._entries[entry] = None
        for other in self._entries.copy():
            if other.call is None:  # it was called, perhaps before it was added here
                self._entries.pop(other, None)
        if self._limit is not limit:  # stopped or started again meanwhile
            self._entries.pop(entry, None)
            entry.cancel()

    def _check(self, limit: Limit) -> None:
        if self._limit is not limit:
            return
        now = time.monotonic()
        paused = self._paused  # read before `_since`, which `resume` changes first
        waited = (now if paused is None else paused) - self._since
        due = now + limit.seconds - waited
        if due <= now and paused is None:
            self._fire(limit, limit.seconds)
        else:
            interval = _MIN_INTERVAL
            if paused is not None:
                interval = min(max(now - paused, _MIN_PAUSED_INTERVAL), _MAX_PAUSED_INTERVAL)
            self._check_at(max(due, now + interval), limit)
