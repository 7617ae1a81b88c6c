"""How a call behaves on the wire: checked where it is written, and immutable."""

from __future__ import annotations

import copy
import math
import pickle
from typing import Any

import attrs
import pytest

import anyllm
from anyllm import Retry, StreamingOptions, Timeouts


def test_the_defaults_are_the_promised_ones():
    assert attrs.asdict(StreamingOptions()) == {
        "timeouts": {"connect": 10.0, "first_content": 600.0, "idle": 300.0, "total": None},
        "retry": {
            "attempts": 3,
            "backoff": 0.5,
            "max_backoff": 8.0,
            "jitter": 0.25,
            "max_retry_after": 60.0,
            "errors": {},
            "after_content": "raise",
        },
        "buffer": 64,
        "driver": "thread",
        "read_size": None,
        "max_event_bytes": 16 * 1024 * 1024,
        "compression": False,
        "keep_partial": True,
        "debug": False,
        "usage": "auto",
        "json": False,
        **dict.fromkeys(("on_start", "on_delta", "on_reasoning", "on_tool_call", "on_json_error")),
        **dict.fromkeys(("on_retry", "on_usage", "on_complete", "on_error")),
    }


@pytest.mark.parametrize("field", ["connect", "first_content", "idle", "total"])
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


def test_errors_are_counted_by_their_class():
    kinds = {anyllm.RateLimitError: 6, anyllm.ServerError: 1}
    retry = Retry(errors=kinds)
    kinds.clear()
    assert retry.errors == {anyllm.RateLimitError: 6, anyllm.ServerError: 1}
    for bad in ([anyllm.ServerError], {ValueError: 2}, {"RateLimitError": 2}):
        with pytest.raises(TypeError, match="errors"):
            Retry(errors=bad)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="RateLimitError"):
        Retry(errors={anyllm.RateLimitError: 0})


def test_words_are_checked():
    with pytest.raises(ValueError, match="after_content must be one of raise, restart, continue, not 'again'"):
        Retry(after_content="again")
    with pytest.raises(ValueError, match="usage must be one of auto"):
        StreamingOptions(usage="guess")
    with pytest.raises(TypeError, match="on_delta must be a function or None, not str"):
        StreamingOptions(on_delta="print")


def test_callbacks_survive_a_dict():
    """As plain options do, which are structured from dicts."""
    assert anyllm.Client("local/smollm2", options={"on_delta": print}).options.on_delta is print


@pytest.mark.parametrize("asked", [{"on_delta": print}, {"json": True}, {"usage": "character"}])
def test_the_pair_refuses_what_only_a_client_does(asked: Any):
    """Nobody would call it, and it would not be missed."""
    with pytest.raises(TypeError, match=rf"{next(iter(asked))} is for the streams of a Client"):
        anyllm.provider("compatible", base_url="http://127.0.0.1", options=asked)
    params = {"model": "local/smollm2", "messages": []}
    with pytest.raises(TypeError, match="Client"):
        anyllm.completion_stream(anyllm.Context(), params, options=StreamingOptions(**asked))


def test_presets_are_options():
    presets = anyllm.options
    assert StreamingOptions() == presets.DEFAULT
    assert presets.JSON_MODE.json
    assert presets.DEBUG.debug
    assert presets.HIGH_THROUGHPUT.buffer > presets.DEFAULT.buffer > presets.LOW_LATENCY.buffer
    assert presets.LOW_LATENCY.evolve(buffer=1).timeouts == presets.LOW_LATENCY.timeouts
