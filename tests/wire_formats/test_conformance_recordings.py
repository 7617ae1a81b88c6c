"""Recorded responses: every wire format reads what a plain reading reads, however they are cut, changed or short."""

from __future__ import annotations

import contextlib
import json
import random
from typing import Any

import pytest
from choice_streams import check_forms, collected
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from json_mutations import places, replaced
from profiles import Profile, each_recorded, is_stream, recorded
from readings import Reading, assert_same
from recordings import Ours, Recording, marks

from anyllm import errors
from anyllm._framing.body_events import events
from anyllm.errors import AnyLLMError, APIError, IncompleteStreamError
from anyllm.types import ChatCompletion, CompletionParams, Message
from anyllm.types._accumulate import Assembler

pytestmark = marks([recording for _, recording in recorded()])
each_stream = each_recorded(is_stream)
#: A recording that hypothesis chooses, and with it the profile.
STREAMS = [(profile, recording) for profile, recording in recorded() if is_stream(recording)]
LAX = settings(max_examples=300, suppress_health_check=list(HealthCheck))
#: Beyond so many bytes a recording is not cut at each of them.
LARGE = 64 * 1024


def plain(profile: Profile, body: bytes) -> Reading:
    return profile.reading(profile.bodies(body))


def ends_well(profile: Profile, recording: Recording, reading: Reading) -> bool:
    """Whether the end of the recorder's bytes is a good end; some providers say no reason, which a switch allows."""
    says_done = getattr(profile.of(recording), "done_is_complete", False) and b"data: [DONE]" in recording.body
    return reading.ended or says_done


@each_stream
def test_stream_is_what_a_plain_reading_gives(profile: Profile, recording: Recording) -> None:
    profile.require()
    ours, reading = profile.read(recording), plain(profile, recording.body)
    if reading.error:
        assert isinstance(ours.error, getattr(errors, reading.error)), ours.error
        assert isinstance(ours.error, APIError)
        assert reading.words in str(ours.error)
        assert reading.code is None or ours.error.code == reading.code
    elif ends_well(profile, recording, reading):
        assert ours.error is None
    else:
        assert isinstance(ours.error, IncompleteStreamError), ours.error
    if reading.is_comparable:
        assert_same(ours.answer, reading)


@each_stream
def test_chunks_have_one_form_whoever_sent_them(profile: Profile, recording: Recording) -> None:
    profile.require()
    chunks = profile.read(recording).chunks
    check_forms(chunks, recording.provider)
    raws = profile.raws(profile.bodies(recording.body))
    at = 0
    for chunk in chunks:  # each is of a later event than the one before, or of the same
        while at < len(raws) and raws[at] != chunk.raw:
            at += 1
        assert at < len(raws), "raw is not what was sent"
    reading = profile.reading(profile.bodies(recording.body))
    assert not reading.id or {chunk.id for chunk in chunks} == {reading.id}
    assert not reading.model or {chunk.model for chunk in chunks} == {reading.model}


@each_stream
def test_answers_are_worth_having(profile: Profile, recording: Recording) -> None:
    """Calls parse, totals add up, no end but a pause is of an unknown kind, and the next turn can hold the answer."""
    profile.require()
    ours = profile.read(recording)
    for choice in ours.answer.choices:
        calls = choice.message.tool_calls
        assert choice.finish_reason != "unknown" or choice.raw_finish_reason == "pause_turn"
        assert not calls or choice.finish_reason in ("tool_calls", "length", None)
        assert calls or choice.finish_reason != "tool_calls"
        if choice.finish_reason not in ("length", None):
            assert all(call.is_complete for call in calls if call.type == "function")
    usage = ours.answer.usage
    if usage is not None:
        assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
        assert (usage.cache_read_tokens or 0) <= usage.prompt_tokens
        # Some providers count reasoning with another tokenizer, a few tokens off.
        assert (usage.reasoning_tokens or 0) <= usage.completion_tokens * 1.1
    if ours.error is None and ours.answer.choices:
        check_next_turn(profile, recording, ours.answer)


def check_next_turn(profile: Profile, recording: Recording, answer: ChatCompletion) -> None:
    """The next request repeats the text and the calls of the answer, and refers to the calls in their results."""
    message = answer.to_message()
    results = [Message.tool("{}", call.id or "") for call in message.tool_calls]
    params = CompletionParams("m", [Message.user("Hi"), message, *results, Message.user("Go on")])
    body = json.loads(profile.of(recording).request(params, model=profile.model, stream=True).body)
    texts = list(strings_in(body))
    assert not message.text or message.text in "".join(texts)
    for call in message.tool_calls:
        if not (call.id or "").startswith("call_") or len(call.id or "") > 8:
            assert texts.count(call.id) >= 2
        assert call.name in texts


def strings_in(value: Any) -> Any:
    """The texts in a JSON value, in their order."""
    if isinstance(value, str):
        yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from strings_in(item)


# -- cuts --------------------------------------------------------------------------------------------------------------


@each_stream
def test_cut_at_every_event_is_never_silently_short(profile: Profile, recording: Recording) -> None:
    """And what has come is in the partial answer."""
    profile.require()
    bodies = profile.bodies(recording.body)
    decoder, assembler = profile.of(recording).decoder(), Assembler()
    is_long = len(bodies) > 400  # reading them all again each time takes quadratic time
    for fed, event in enumerate(events([recording.body], max_event_bytes=1 << 24)):
        reading = profile.reading(bodies[:fed])
        assert decoder.complete == reading.ended
        assert not decoder.done
        with contextlib.nullcontext() if reading.ended else pytest.raises(IncompleteStreamError):
            decoder.finish()
        if not is_long or fed % 7 == 0:
            assert_same(assembler.snapshot(), reading)
        try:
            for chunk in decoder.feed(event):
                assembler.add(chunk)
        except APIError:
            assert profile.reading(bodies).error
            return
        if decoder.done:
            break
    assert decoder.complete == ends_well(profile, recording, profile.reading(bodies))
    has_marker = profile.done_at in recording.body.decode("utf-8", "ignore") + json.dumps(bodies)
    assert decoder.done == (has_marker if profile.done_at else decoder.complete)
    assert_same(assembler.snapshot(), profile.reading(bodies))


@each_stream
def test_cut_at_every_byte_gives_the_same_chunks(profile: Profile, recording: Recording) -> None:
    """A large one in pieces of a few bytes; and as the network brought it, where that was recorded."""
    profile.require()
    dice, size, body = random.Random(recording.id), len(recording.body), recording.body
    places = range(size + 1) if size <= LARGE else sorted({0, size, *(dice.randrange(size) for _ in range(LARGE))})
    check_reads(profile, recording, [body[start:end] for start, end in zip(places, places[1:])])
    if recording.sizes:
        check_reads(profile, recording, recording.reads)


def check_reads(profile: Profile, recording: Recording, reads: list[bytes]) -> None:
    ours, whole = profile.read(recording, reads), profile.read(recording)
    assert ours.chunks == whole.chunks
    assert str(ours.error) == str(whole.error)


@LAX
@given(data=st.data())
def test_cuts_anywhere_do_not_matter(data: st.DataObject) -> None:
    profile, recording = data.draw(st.sampled_from(STREAMS))
    profile.require()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(recording.body)), max_size=20)))
    places = [0, *cuts, len(recording.body)]
    check_reads(profile, recording, [recording.body[start:end] for start, end in zip(places, places[1:])])


@each_stream
def test_cut_short_anywhere_is_the_whole_or_an_error(profile: Profile, recording: Recording) -> None:
    """Only what follows the end may be missing."""
    profile.require()
    whole, size = profile.read(recording), len(recording.body)
    tried = max(8, min(60, 2_000_000 // size))
    for end in [*range(1, size, max(1, size // tried)), size - 1]:
        check_cut_short(profile, recording, end, whole)


@LAX
@given(data=st.data())
def test_cut_short_where_nobody_expects_it_is_the_whole_or_an_error(data: st.DataObject) -> None:
    profile, recording = data.draw(st.sampled_from(STREAMS))
    profile.require()
    check_cut_short(profile, recording, data.draw(st.integers(1, len(recording.body) - 1)), profile.read(recording))


def check_cut_short(profile: Profile, recording: Recording, end: int, whole: Ours) -> None:
    ours, reading = profile.read(recording, [recording.body[:end]]), plain(profile, recording.body[:end])
    if ours.error is None:
        assert whole.error is None or not whole.answer.choices or isinstance(whole.error, APIError)
        assert reading.ended or getattr(profile.of(recording), "done_is_complete", False)
        if ours.answer.to_message() != whole.answer.to_message():  # after its end, something came that nobody foresaw
            assert_same(ours.answer, reading)
    else:
        assert isinstance(ours.error, IncompleteStreamError) or type(ours.error) is type(whole.error)


# -- changed events ----------------------------------------------------------------------------------------------------

ODD = st.sampled_from([None, True, 0, -1, 1.5, 1e300, "", "7", "x", "\ud83d", [], [None], {}, {"text": None}, [[{}]]])


@LAX
@given(data=st.data())
def test_changed_events_raise_only_our_errors(data: st.DataObject) -> None:
    """Any part of a recorded event may be of any type, or missing; what came can be sent back, or is refused."""
    profile, recording = data.draw(st.sampled_from(STREAMS))
    bodies = [body for body in profile.bodies(recording.body) if "exception" not in body]
    near = data.draw(st.integers(0, max(0, len(bodies) - 1)))
    bodies = bodies[:2] + bodies[near : near + 6] + bodies[-4:]
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(list(places(bodies))))
        bodies = replaced(bodies, path, data.draw(ODD)) if path else bodies
    dialect = profile.of(recording)
    chunks, answer, error = collected(dialect, [profile.event(body) for body in bodies])
    for chunk in chunks:
        json.dumps(chunk.to_dict(raw=True), ensure_ascii=False).encode()
    str(error).encode()
    json.dumps(answer.to_dict(raw=True), ensure_ascii=False).encode()
    if answer.choices:
        with contextlib.suppress(AnyLLMError):
            dialect.request(CompletionParams("m", [answer.to_message()]), model=profile.model, stream=True)
    for body in bodies:
        with contextlib.suppress(AnyLLMError):
            dialect.response(json.dumps(body).encode())


# -- whole answers and refusals ----------------------------------------------------------------------------------------


@each_stream
def test_whole_answer_equals_the_same_answer_streamed(profile: Profile, recording: Recording) -> None:
    """What the provider would have answered without a stream, as far as it can be known from the stream."""
    profile.require()
    ours, whole = profile.read(recording), profile.whole_of(profile.bodies(recording.body))
    if whole is None or isinstance(ours.error, IncompleteStreamError):
        return
    body = json.dumps(whole).encode()
    if ours.error is not None:
        with pytest.raises(type(ours.error)) as raised:
            profile.of(recording).response(body)
        assert str(raised.value) == str(ours.error)
        return
    answer = profile.of(recording).response(body)
    assert answer.raw == whole
    assert spelled_alike(answer) == spelled_alike(ours.answer)


def spelled_alike(answer: ChatCompletion) -> Any:
    """*answer* without what only one form has: the spaces in arguments, and the digits of log probabilities."""
    made = answer.to_dict()
    made.pop("raw", None)
    for choice in made["choices"]:
        choice.pop("logprobs", None)
        for call in choice["message"].get("tool_calls", ()):
            with contextlib.suppress(ValueError):
                call["function"]["arguments"] = json.loads(call["function"]["arguments"])
    return made


@each_recorded(lambda recording: recording.status == 200 and recording.format == "json")
def test_recorded_whole_answer_is_what_a_plain_reading_gives(profile: Profile, recording: Recording) -> None:
    body = json.loads(recording.body)
    answer = profile.of(recording).response(recording.body)
    assert answer.raw == body
    if profile.whole_event is not None:
        assert_same(answer, profile.reading([profile.whole_event(body)]))
    assert answer.content or answer.tool_calls or answer.reasoning or answer.finish_reason == "content_filter"
    assert all(call.is_complete for call in answer.tool_calls) or answer.finish_reason == "length"


#: The error of a status; and what a body says that is more than its status says.
BY_STATUS = {
    **dict.fromkeys((400, 413, 422, 424, 498), "InvalidRequestError"),
    401: "AuthenticationError",
    402: "InsufficientFundsError",
    403: "PermissionDeniedError",
    404: "ModelNotFoundError",
    429: "RateLimitError",
}
BY_WORDS = {
    "is not found for API version": "ModelNotFoundError",
    "maximum context length is": "ContextLengthExceededError",
    "maximum prompt length is": "ContextLengthExceededError",
    "Content violates usage guidelines": "ContentFilterError",
    '"model_not_found"': "ModelNotFoundError",
    "DeploymentNotFound": "ModelNotFoundError",
    "Invalid model:": "ModelNotFoundError",
    "is not a valid model ID": "ModelNotFoundError",
    "This is not a chat model": "ModelNotFoundError",
    "Incorrect API key provided": "AuthenticationError",
    "authentication_error": "AuthenticationError",
    "not supported with this model": "UnsupportedParameterError",
    "unsupported_value": "UnsupportedParameterError",
    "does not support parameter": "UnsupportedParameterError",
    "you uploaded is not supported": "UnsupportedParameterError",
}


@each_recorded(lambda recording: recording.status != 200)
def test_refusal_is_the_right_error_and_says_why(profile: Profile, recording: Recording) -> None:
    error = profile.of(recording).error(recording.status, {}, recording.body)
    text = recording.body.decode()
    kind = next((kind for words, kind in BY_WORDS.items() if words in text), None)
    assert type(error) is getattr(
        errors, kind or {**BY_STATUS, **profile.by_status}.get(recording.status, "ServerError")
    )
    assert (error.status_code, error.provider) == (recording.status, recording.provider)
    assert "<" not in str(error)
    try:
        body = json.loads(text)
    except ValueError:
        assert ("401 Authorization Required" if text.startswith("<html>") else text.split("\n")[0]) in str(error)
        return
    inner = body.get("error", body)
    words = inner if isinstance(inner, str) else inner.get("message") or inner.get("Message") or ""
    assert " ".join(words.split())[:200] in " ".join(str(error).split())
    for name in ("code", "type", "param") if profile.names_errors and isinstance(inner, dict) else ():
        assert getattr(error, name) == inner.get(name, getattr(error, name))
    assert "request_id" not in body or error.request_id == body["request_id"]


@each_recorded(lambda recording: recording.status != 200)
def test_refusal_inside_a_stream_is_an_error_that_says_why(profile: Profile, recording: Recording) -> None:
    with contextlib.suppress(ValueError):
        compact = json.dumps(json.loads(recording.body))
        body = json.loads(recording.body)
        inner = body.get("error", body)
        words = inner if isinstance(inner, str) else inner.get("message") or ""
        ours = Ours(profile.of(recording), [b"event: error\ndata: " + compact.encode() + b"\n\n"])
        assert isinstance(ours.error, AnyLLMError)
        assert " ".join(words.split())[:200] in " ".join(str(ours.error).split())
