"""How a call behaves on the wire: checked where it is written, and immutable."""

from __future__ import annotations

import copy
import math
import pickle
from typing import Any

import attrs
import pytest

from anyllm import Retry, StreamingOptions, Timeouts


def test_the_defaults_are_the_promised_ones():
    assert attrs.asdict(StreamingOptions()) == {
        "timeouts": {"connect": 10.0, "first_content": 600.0, "idle": 300.0},
        "retry": {"attempts": 3, "backoff": 0.5, "max_backoff": 8.0, "jitter": 0.25, "max_retry_after": 60.0},
        "buffer": 64,
        "max_event_bytes": 16 * 1024 * 1024,
    }


@pytest.mark.parametrize("field", ["connect", "first_content", "idle"])
def test_timeouts_are_seconds_or_none(field: str):
    for good in (None, 0, 1, 0.5, math.inf):
        assert getattr(Timeouts(**{field: good}), field) == good
    for bad in ("1", True, [1], 1j):
        with pytest.raises(TypeError, match=rf"{field} must be seconds \(a number\) or None"):
            Timeouts(**{field: bad})
    for bad in (-1, -0.1, math.nan):
        with pytest.raises(ValueError, match=f"{field} must not be negative or NaN"):
            Timeouts(**{field: bad})


@pytest.mark.parametrize("field", ["backoff", "max_backoff", "max_retry_after", "jitter"])
def test_waits_are_numbers(field: str):
    """None would mean no limit for a time-out; for a wait it means nothing."""
    assert getattr(Retry(**{field: 1}), field) == 1
    for bad in (None, "1", True):
        with pytest.raises(TypeError, match=field):
            Retry(**{field: bad})
    for number in (-1, math.nan):
        with pytest.raises(ValueError, match=field):
            Retry(**{field: number})


def test_jitter_is_a_share():
    """More than all of a wait cannot be taken away from it."""
    with pytest.raises(ValueError, match="jitter must be a share"):
        Retry(jitter=1.5)


@pytest.mark.parametrize(
    ("cls", "field"), [(Retry, "attempts"), (StreamingOptions, "buffer"), (StreamingOptions, "max_event_bytes")]
)
def test_counts_are_at_least_one(cls: Any, field: str):
    assert getattr(cls(**{field: 1}), field) == 1
    for bad in (1.0, "1", True, None):
        with pytest.raises(TypeError, match=f"{field} must be an int"):
            cls(**{field: bad})
    for number in (0, -1):
        with pytest.raises(ValueError, match=f"{field} must be at least 1"):
            cls(**{field: number})


@pytest.mark.parametrize(
    ("cls", "typo", "meant"),
    [(Timeouts, "conect", "connect"), (Retry, "attempt", "attempts"), (StreamingOptions, "bufer", "buffer")],
)
def test_an_unknown_name_is_answered_with_the_nearest(cls: Any, typo: str, meant: str):
    with pytest.raises(TypeError, match=f"{cls.__name__} has no '{typo}'; did you mean '{meant}'?"):
        cls(**{typo: 1})
    with pytest.raises(TypeError):
        cls(1)


@pytest.mark.parametrize("value", [Timeouts(), Retry(), StreamingOptions()])
def test_options_are_immutable_values(value: Any):
    for field in attrs.fields(type(value)):
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            setattr(value, field.name, None)
    for again in (copy.copy(value), copy.deepcopy(value), pickle.loads(pickle.dumps(value))):
        assert again == value
        assert hash(again) == hash(value)


def test_evolve_gives_a_changed_copy():
    before = StreamingOptions()
    after = before.evolve(buffer=3, timeouts=Timeouts(idle=None))
    assert (before.buffer, after.buffer, after.timeouts.idle) == (64, 3, None)
    with pytest.raises(TypeError, match="did you mean 'buffer'"):
        before.evolve(bufer=3)
    with pytest.raises(ValueError, match="buffer"):
        before.evolve(buffer=0)


def test_plain_dicts_are_accepted_for_values():
    options = StreamingOptions(timeouts={"idle": 3}, retry={"attempts": 1})  # type: ignore[arg-type]
    assert options == StreamingOptions(timeouts=Timeouts(idle=3), retry=Retry(attempts=1))
    with pytest.raises(TypeError, match="did you mean 'idle'"):
        StreamingOptions(timeouts={"idel": 3})  # type: ignore[arg-type]
    for field in ("timeouts", "retry"):
        with pytest.raises(TypeError, match="or a dict, not int"):
            StreamingOptions(**{field: 3})
