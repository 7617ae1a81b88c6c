"""Whatever a provider sends, no wire format raises anything but our errors, and no half of a character comes out."""

from __future__ import annotations

import contextlib
import functools
import json
from pathlib import Path
from typing import Any

import pytest
from choice_streams import check_forms, collected
from conftest import at_length
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from json_mutations import ODD_VALUES, places, replaced
from profiles import PROFILES, Profile, each_profile, each_transcript, odd_json, wrapped

from anyllm._framing.body_events import JSONEvent
from anyllm.errors import AnyLLMError, APIError, MalformedStreamError
from anyllm.types import CompletionParams, Message

LAX = settings(max_examples=300, suppress_health_check=list(HealthCheck))


def check_stream(profile: Profile, bodies: list[Any]) -> None:
    """Only our own errors come out, no half of a character, and what came can be sent back or is refused in words."""
    dialect = profile.dialect(provider="p")
    chunks, answer, error = collected(dialect, [profile.event(body) for body in bodies])
    check_forms(chunks, "p", begins=())
    for chunk in chunks:
        json.dumps(chunk.to_dict(raw=True), ensure_ascii=False).encode()
    json.dumps(answer.to_dict(raw=True), ensure_ascii=False).encode()
    assert error is not None or answer.choices
    if error is not None:
        str(error).encode()
        json.dumps(getattr(error, "body", None), ensure_ascii=False, default=str).encode()
    if answer.choices:
        with contextlib.suppress(AnyLLMError):
            params = CompletionParams("m", [Message.user("Hi"), answer.to_message(), Message.user("So?")])
            dialect.request(params, model=profile.model, stream=True)


def check_answers(profile: Profile, body: bytes) -> None:
    """The same of a whole answer, vectors, models, and of a refusal."""
    dialect = profile.dialect(provider="p")
    for name in ("response", "embeddings", "models"):
        try:
            getattr(dialect, name, dialect.response)(body)
        except AnyLLMError as exc:
            str(exc).encode()
    error = dialect.error(400, {}, body)
    assert isinstance(error, APIError)
    str(error).encode()
    assert len(str(error)) < 2500
    json.dumps(error.body, ensure_ascii=False, default=str).encode()


# -- what hypothesis thinks of -----------------------------------------------------------------------------------------


@each_profile
@LAX
@given(data=st.data())
def test_random_json_raises_only_our_errors(profile: Profile, data: st.DataObject) -> None:
    bodies = data.draw(st.lists(odd_json(profile), max_size=4))
    check_stream(profile, bodies)
    for body in bodies:
        check_answers(profile, json.dumps(body).encode())


@each_profile
@LAX
@given(data=st.data())
def test_random_events_raise_only_our_errors(profile: Profile, data: st.DataObject) -> None:
    """Events of known kinds, with anything in them."""
    keys = profile.keys.split()
    fields = st.dictionaries(st.sampled_from(keys), odd_json(profile), max_size=4)
    kinds = st.sampled_from(profile.words.split() or ["stop"])
    typed = st.builds(lambda kind, rest: {**rest, keys[0]: kind}, kinds, fields)
    named = st.builds(lambda name, rest: {name: rest}, st.sampled_from(keys), fields)
    begun = profile.stream(["a"])
    bodies = data.draw(st.lists(typed | named, max_size=5))
    check_stream(profile, [*begun[: data.draw(st.integers(0, 2))], *bodies, *begun[data.draw(st.integers(1, 4)) :]])


@each_profile
@LAX
@given(data=st.data())
def test_changed_transcripts_raise_only_our_errors(profile: Profile, data: st.DataObject) -> None:
    """Up to three parts of a stream are other ones, or are missing."""
    bodies = profile.bodies_of_transcript(data.draw(st.sampled_from(profile.cases)).read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(list(places(bodies))))
        if path and data.draw(st.booleans()):
            bodies = replaced(bodies, path, data.draw(odd_json(profile)))
        elif len(path) > 1 and isinstance(path[-1], str):
            holder: Any = functools.reduce(lambda value, key: value[key], path[:-1], bodies)
            bodies = replaced(bodies, path[:-1], {key: item for key, item in holder.items() if key != path[-1]})
    check_stream(profile, bodies)


@each_profile
@LAX
@given(body=st.binary(max_size=60), status=st.integers(100, 799), headers=st.dictionaries(st.text(), st.text()))
def test_any_bytes_give_our_errors(profile: Profile, body: bytes, status: int, headers: dict[str, str]) -> None:
    check_answers(profile, body)
    error = profile.dialect(provider="p").error(status, headers, body)
    assert (error.status_code, error.provider) == (status, "p")
    assert str(error)


# -- every part of every event -----------------------------------------------------------------------------------------


@pytest.mark.partly
@each_transcript
def test_mutated_transcripts_raise_only_our_errors(profile: Profile, path: Path) -> None:
    """Each part of each event is of another type in turn; in the default run, of one."""
    bodies = profile.bodies_of_transcript(path.read_bytes())
    tried = at_length(len(ODD_VALUES), default=1)
    for number, place in enumerate(places(bodies)):
        for at in range(tried if place else 0):
            value = ODD_VALUES[(number * tried + at) % len(ODD_VALUES)]
            changed = replaced(bodies, place, value)
            check_stream(profile, changed)
            check_answers(profile, json.dumps(changed[place[0]]).encode())


@each_profile
def test_mutated_whole_answers_raise_only_our_errors(profile: Profile) -> None:
    for path in profile.folder.glob("*.whole.json"):
        whole = json.loads(path.read_text("utf-8"))
        for body in (whole, profile.refusal("no")):
            for place in places(body):
                for value in ODD_VALUES:
                    check_answers(profile, json.dumps(replaced(body, place, value)).encode())


# -- depth -------------------------------------------------------------------------------------------------------------


#: Depths, and what stands at the bottom: half a character, too, so that the whole event has to be mended.
DEPTHS = [(depth, bottom) for depth in (300, 900, 3000, 1) for bottom in ("1", '"\\ud83d"', "1" + "0" * 400)]


@pytest.mark.partly
@each_profile
def test_deep_nesting_anywhere_raises_only_our_errors(profile: Profile) -> None:
    """In the place of each part of an event, of a whole answer and of a refusal."""
    spots = [(body, place) for body in bodies_of_every_shape(profile) for place in places(body)]
    tried = at_length(3, default=1)
    for number, (body, place) in enumerate(spots[:: at_length(1, default=10)]):
        for at in range(tried):
            depth, bottom = DEPTHS[(number * tried + at) % len(DEPTHS)]
            deep = '{"message": [' * depth + bottom + "]}" * depth
            check_deep(profile, body, place, deep)
            check_answers(profile, json.dumps(replaced(body, place, "DEEP")).replace('"DEEP"', deep).encode())


def bodies_of_every_shape(profile: Profile) -> list[Any]:
    """The first event, whole answer or refusal that has just these keys at these places."""
    wholes = [json.loads(path.read_text("utf-8")) for path in sorted(profile.folder.glob("*.whole.json"))]
    streamed = [body for path in profile.cases for body in profile.bodies_of_transcript(path.read_bytes())]
    found: dict[Any, Any] = {}
    for body in (profile.refusal("no"), *wholes, *streamed):
        found.setdefault(tuple(tuple(key for key in place if key != 1) for place in places(body)), body)
    return list(found.values())


def check_deep(profile: Profile, body: Any, place: tuple[Any, ...], deep: str) -> None:
    event = profile.event(replaced(body, place, "DEEP"))
    text = json.dumps(replaced(body, place, "DEEP")).replace('"DEEP"', deep)
    if event.event == "chunk":
        event = JSONEvent(wrapped(text), "chunk")
    else:
        event = JSONEvent(event.data.replace('"DEEP"', deep), event.event)
    _, answer, error = collected(profile.dialect(provider="p"), [event, event])
    assert error is not None or answer.choices
    str(error).encode()


@each_profile
@pytest.mark.parametrize(
    "text", ['{"a":' * 200_000 + "1" + "}" * 200_000, "[" * 100_000 + "]" * 100_000, "[" * 100_000]
)
def test_nesting_without_end_is_malformed(profile: Profile, text: str) -> None:
    dialect = profile.dialect(provider="p")
    with pytest.raises(MalformedStreamError):
        dialect.decoder().feed(JSONEvent(text))
    with pytest.raises(MalformedStreamError):
        dialect.response(text.encode())
    assert dialect.error(400, {}, text.encode()).status_code == 400


# -- nonsense ----------------------------------------------------------------------------------------------------------


@each_profile
@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("{", "no JSON"),
        ("plain words", "no JSON"),
        ("{oops", "no JSON"),
        ("null", "null, not an object"),
        ("[]", "a list, not an object"),
        ('"text"', "a string, not an object"),
        ("7", "a number, not an object"),
    ],
)
def test_nonsense_is_a_malformed_stream(profile: Profile, data: str, words: str) -> None:
    with pytest.raises(MalformedStreamError, match=f"an event is {words}") as caught:
        profile.dialect(provider="p").decoder().feed(JSONEvent(data))
    assert caught.value.provider == "p"
    assert len(str(caught.value)) < 250


@each_profile
@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "is empty"),
        (b"{}", "(is empty|has no)"),
        (b"7", "is a number"),
        (b"[]", "is a list"),
        (b"null", "is null"),
        (b'"text"', "is a string"),
        *((body, "is no JSON") for body in (b"no", b"{", b"\xff\xfe", b'{"a": [1, ' * 9)),
    ],
)
def test_whole_answer_that_is_none_is_malformed(profile: Profile, body: bytes, words: str) -> None:
    with pytest.raises(MalformedStreamError, match=f"^p: the answer {words}") as caught:
        profile.dialect(provider="p").response(body)
    assert caught.value.provider == "p"


NO_ANSWERS = [pytest.param(profile, body, id=profile.name) for profile in PROFILES for body in profile.no_answers]


@pytest.mark.parametrize(("profile", "body"), NO_ANSWERS)
def test_object_that_is_no_answer_is_malformed(profile: Profile, body: Any) -> None:
    with pytest.raises(MalformedStreamError, match=r"^p: the answer "):
        profile.dialect(provider="p").response(json.dumps(body).encode())
