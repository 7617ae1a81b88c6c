"""The clocks of a call, driven by hand: time is what the test says, and nobody waits."""

from __future__ import annotations

import random
from typing import Any, Dict, List, Tuple

import pytest

from anyllm._concurrency import clock as _clock
from anyllm._concurrency import timer as _timer
from anyllm._concurrency.clock import Clock


class Time:
    """The time, for clock and timer alike."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


class HandTimer(_timer.Timer):
    """A timer whose thread is the test."""

    def _ensure_thread(self) -> None:
        pass


class Bench:
    """A clock, its timer, and what has fired."""

    def __init__(self, time: Time, timer: HandTimer) -> None:
        self.time = time
        self.timer = timer
        self.fired: List[Tuple[str, float]] = []
        self.looks = 0
        self.clock = Clock(lambda limit, seconds: self.fired.append((limit.name, seconds)))

    def at(self, seconds: float) -> List[Tuple[str, float]]:
        """Let the time be *seconds* after the beginning, with every look on the way at its own time."""
        end = 1000.0 + seconds
        while True:
            due, next_at = self.timer._due()
            for entry in due:
                self.looks += 1
                self.timer._fire(entry)
            if due:
                continue
            if next_at is None or next_at > end:
                self.time.now = end
                return self.fired
            self.time.now = max(self.time.now, next_at)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    time, timer = Time(), HandTimer()
    monkeypatch.setattr(_clock, "time", time)
    monkeypatch.setattr(_timer, "time", time)
    monkeypatch.setattr(_timer, "shared", timer)
    return Bench(time, timer)


#: The limit; what happens at which seconds; when nothing has fired yet, and when it has.
CASES: Dict[str, Tuple[float, List[Any], float, float]] = {
    "no progress": (10, [], 9.9, 10.2),
    "progress": (10, [step for at in range(9, 900, 9) for step in (at, "set_back")], 900.9, 901.2),
    # The caller was slow, not the host: 6 s before the pause and 4 after it are the limit.
    "a pause": (10, [6, "pause", 5000, "resume"], 5003.9, 5004.3),
    # A host that pings into a full queue gains nothing by it.
    "pauses": (10, [step for at in range(1, 18, 2) for step in (at, "pause", at + 1, "resume")], 18.8, 19.3),
    "progress before a pause": (10, [9, "set_back", "pause", 100, "resume"], 109.9, 110.3),
    # A caller that took 50 s before the last content, and 30 s after it, gives the host nothing for either.
    "progress in a pause": (10, [1, "pause", 51, "set_back", 81, "resume"], 90.9, 91.3),
    # A host that pings makes one with each read, and the timer looks between two of them, or in one.
    "many short pauses": (
        1,
        [step for at in range(1, 100) for step in (at / 100, "pause", at / 100 + 0.0001, "resume")],
        1.0098,
        1.011,
    ),
}


@pytest.mark.parametrize(("limit", "steps", "before", "after"), CASES.values(), ids=CASES)
def test_it_fires_once_when_the_limit_was_waited_for(
    bench: Bench, limit: float, steps: Any, before: float, after: float
):
    bench.clock.start("idle", limit)
    for step in steps:
        if isinstance(step, str):
            getattr(bench.clock, step)()
        else:
            assert bench.at(step) == []
    assert bench.at(before) == []
    assert bench.at(after) == [("idle", limit)]
    assert bench.at(after + 1000) == [("idle", limit)]


@pytest.mark.parametrize("seconds", [None, float("inf")])
def test_no_limit_never_fires(bench: Bench, seconds: Any):
    bench.clock.start("connect", seconds)
    assert bench.at(1e12) == []
    if seconds is None:
        assert not bench.timer._live
    bench.clock.stop()


def test_none_turns_off_what_was_on(bench: Bench):
    bench.clock.start("first_content", 10)
    bench.clock.start("idle", None)
    assert bench.at(100) == []
    assert not bench.timer._live


def test_zero_fires_at_once(bench: Bench):
    bench.clock.start("connect", 0)
    assert bench.at(0) == [("connect", 0)]


def test_progress_costs_no_look(bench: Bench):
    """Setting back is on the path of every chunk, so the timer looks once for each limit that passes."""
    bench.clock.start("idle", 10)
    for tick in range(10_000):
        bench.at(tick / 100)
        bench.clock.set_back()
    assert bench.looks <= 11


def test_starting_anew_forgets_the_old_name(bench: Bench):
    bench.clock.start("first_content", 10)
    bench.at(5)
    bench.clock.start("idle", 7)
    assert bench.at(11.9) == []
    assert bench.at(12.2) == [("idle", 7)]


def test_stopped_it_is_silent(bench: Bench):
    bench.clock.start("connect", 10)
    bench.at(5)
    bench.clock.stop()
    bench.clock.stop()
    assert bench.at(100) == []
    assert not bench.timer._live


def test_a_paused_clock_does_not_keep_the_timer_busy(bench: Bench):
    bench.clock.start("idle", 1)
    bench.at(0.9999)
    bench.clock.pause()
    bench.at(100)
    assert bench.looks <= 1001
    bench.clock.stop()


def test_a_look_in_the_middle_of_resume_does_not_count_the_pause(bench: Bench):
    """The timer's thread may look between any two steps of the worker's."""
    clock = bench.clock
    clock.start("idle", 10)
    bench.at(1)
    clock.pause()
    bench.at(1e6)

    class Watched(Clock):
        __slots__ = ()

        def __setattr__(self, name: str, value: Any) -> None:
            super().__setattr__(name, value)
            self._check(self._limit)

    clock.__class__ = Watched
    clock.resume()
    clock.__class__ = Clock
    assert bench.fired == []


def test_a_look_of_an_earlier_start_does_nothing(bench: Bench):
    bench.clock.start("connect", 1)
    old = bench.clock._limit
    bench.clock.start("connect", 100)
    bench.time.now += 50
    bench.clock._check(old)
    assert bench.fired == []


def test_it_can_begin_in_the_past(bench: Bench):
    bench.clock.start("first_content", 10, since=bench.time.now - 8)
    assert bench.at(1.9) == []
    assert bench.at(2.2) == [("first_content", 10)]


def test_it_agrees_with_a_plain_reckoning_of_waiting_time(bench: Bench):
    """Any mixture of progress, pauses and time: it fires when the limit was waited for in a row, and not before."""
    for seed in range(300):
        chance = random.Random(seed)
        bench.fired.clear()
        begin = bench.time.now - 1000.0
        bench.clock.start("idle", 10)
        now, waited, paused = begin, 0.0, False
        for _ in range(30):
            step = chance.random() * 5
            now += step
            fired = bool(bench.at(now))
            waited += 0 if paused else step
            if waited >= 10.11:
                assert fired
            if waited < 10:
                assert not fired
            if fired:
                break
            what = chance.randrange(3)
            if what == 0 and not paused:
                bench.clock.set_back()
                waited = 0.0
            elif what == 1:
                (bench.clock.resume if paused else bench.clock.pause)()
                paused = not paused
        bench.clock.stop()


def test_a_pause_at_its_limit_makes_it_late_by_a_glance(bench: Bench):
    bench.clock.start("idle", 1)
    bench.at(0.999)
    bench.clock.pause()
    bench.at(1.001)
    bench.clock.resume()
    assert bench.at(1.03) == [("idle", 1)]
    assert bench.looks <= 3
