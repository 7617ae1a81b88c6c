"""The clocks of a call: limits on waiting for the provider, kept by the shared timer."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Optional

from anyllm._concurrency import timer

__all__ = ["Clock", "Limit"]


#: Seconds between two looks at a clock whose limit has nearly passed: while it runs; and while it is paused, as long as
#: it has been, within these bounds.
_SOON, _LATER, _LATEST = 0.001, 0.02, 0.1


class Limit:
    """
    One start of a clock.

    Attributes:
        name: "connect", "first_content", "idle" or "tail".
        seconds: How long nothing may set the clock back.
        attempt: Which try of the call the clock belongs to.
    """

    __slots__ = ("attempt", "name", "seconds")

    def __init__(self, name: str, seconds: float, attempt: Any) -> None:
        self.name = name
        self.seconds = seconds
        self.attempt = attempt


class Clock:
    """
    Fires when nothing has set it back for so many seconds.

    Strategy: setting it back is on the path of every chunk, so that only notes the time. The timer looks at the note
    when the limit may have passed, and comes back later if it has not. Started, stopped and set back by one thread.

    Args:
        fire: Called on the timer's thread with the limit that ran out, and its seconds. It may come late: the try that
            the limit names may be over by then.
        attempt: Which try of the call it belongs to.
    """

    __slots__ = ("_attempt", "_entries", "_fire", "_limit", "_paused", "_since", "_timer")

    def __init__(self, fire: Callable[[Limit, float], object], attempt: Any = None) -> None:
        self._fire = fire
        self._attempt = attempt
        self._timer = timer.shared  # of the same kind as the worker, also after a late monkey patch
        self._limit: Optional[Limit] = None  # None when stopped
        self._entries: dict[timer.Entry, None] = {}  # more than one only while a start races a look
        self._since = 0.0
        self._paused: Optional[float] = None  # since when

    def start(self, name: str, seconds: Optional[float], *, since: Optional[float] = None) -> None:
        """Run as *name*, from now or from the monotonic instant *since*; None seconds is off."""
        self.stop()
        self._since = time.monotonic() if since is None else since
        self._paused = None
        if seconds is not None:
            self._limit = limit = Limit(name, seconds, self._attempt)
            self._look_at(self._since + seconds, limit)

    def set_back(self) -> None:
        """There was progress."""
        self._since = now = time.monotonic()
        if self._paused is not None:
            self._paused = now  # what was paused before it does not count for what comes after it

    def pause(self) -> None:
        """We are not waiting for the provider now."""
        self._paused = time.monotonic()

    def resume(self) -> None:
        """We are again; what passed meanwhile does not count."""
        paused = self._paused
        if paused is not None:
            self._since += time.monotonic() - paused
            self._paused = None  # last: a look in between must not count the pause

    @property
    def runs(self) -> bool:
        """Whether we wait for the provider now."""
        return self._limit is not None and self._paused is None

    def stop(self) -> None:
        """Forget the limit. Takes no lock."""
        self._limit = None
        while self._entries:
            try:
                self._entries.popitem()[0].cancel()
            except KeyError:
                break

    def _look_at(self, when: float, limit: Limit) -> None:
        entry = self._timer.call_at(when, lambda: self._look(limit))
        self._entries[entry] = None
        for other in self._entries.copy():
            if other.call is None:  # it has been called, perhaps before it was noted here
                self._entries.pop(other, None)
        if self._limit is not limit:  # stopped, or started anew, meanwhile
            self._entries.pop(entry, None)
            entry.cancel()

    def _look(self, limit: Limit) -> None:
        if self._limit is not limit:
            return
        now = time.monotonic()
        paused = self._paused  # before `_since`, which `resume` changes first
        waited = (now if paused is None else paused) - self._since
        due = now + limit.seconds - waited
        if due <= now and paused is None:
            self._fire(limit, limit.seconds)
        else:
            patience = _SOON if paused is None else min(max(now - paused, _LATER), _LATEST)
            self._look_at(max(due, now + patience), limit)
