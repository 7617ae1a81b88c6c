"""Every wire format reads its hand-written transcripts, and the smallest streams and answers, as it must."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from choice_streams import check_answer, check_error, check_forms, collected, decode
from hypothesis import given, settings
from hypothesis import strategies as st
from profiles import PROFILES, Profile, each_profile, each_transcript

from anyllm._framing.body_events import JSONEvent, events
from anyllm.errors import AnyLLMError, IncompleteStreamError, MalformedStreamError
from anyllm.providers.table import lookup
from anyllm.types._chunks import text_alone
from anyllm.wire._base.surrogate_joiner import mend

# -- transcripts -------------------------------------------------------------------------------------------------------


@each_transcript
def test_transcript_gives_the_expected_answer(profile: Profile, path: Path) -> None:
    expected = json.loads(path.with_suffix(".json").read_text("utf-8"))
    chunks, answer, error = collected(profile.dialect(provider="p"), profile.transcript_events(path.read_bytes()))
    check_error(error, expected, "p")
    check_answer(answer, expected, error)
    assert len(chunks) == expected.get("chunks", len(chunks))
    counted = [chunk for chunk in chunks if chunk.usage is not None]
    assert len(counted) == expected.get("chunks_with_usage", len(counted))
    check_forms(chunks, "p", begins=profile.begins)
    assert all(isinstance(chunk.raw, dict) for chunk in chunks)


@each_transcript
def test_transcript_cut_at_every_byte_gives_the_same_chunks(profile: Profile, path: Path) -> None:
    body, dialect = path.read_bytes(), profile.dialect(provider="p")
    whole, _, error = collected(dialect, profile.transcript_events(body))
    shapes = [body, *profile.other_shapes(body)]
    if len(shapes) > 1:
        profile.require()
    for shape in shapes:
        for reads in ([shape], [shape[at : at + 1] for at in range(len(shape))]):
            pieces, _, piecewise_error = decode(dialect, reads)
            assert pieces == whole
            assert str(piecewise_error) == str(error)


@each_transcript
def test_cut_at_every_event_is_never_silently_short(profile: Profile, path: Path) -> None:
    """The decoder says whether the end of the bytes would be a good end, and such an answer lacks nothing."""
    found, dialect = profile.transcript_events(path.read_bytes()), profile.dialect(provider="p")
    chunks, whole, error = collected(dialect, found)
    was_complete = was_done = False
    for at in range(len(found) + 1):
        decoder, before = dialect.decoder(), []
        try:
            for event in found[:at]:
                before += decoder.feed(event)
        except AnyLLMError:
            assert error is not None
            return
        complete, done = decoder.complete, decoder.done
        assert complete >= (was_complete and path.stem not in profile.goes_on.split()), "a whole answer stays one"
        assert done >= was_done
        assert chunks[: len(before)] == before
        was_complete, was_done = complete, done
        if done:
            assert not decoder.feed(JSONEvent("{oops")), "nothing is read after the end"
        if not complete:
            with pytest.raises(IncompleteStreamError):
                decoder.finish()
        elif error is None and path.stem not in profile.goes_on.split():
            _, answer, cut_error = collected(dialect, found[:at])
            assert cut_error is None
            assert answer.to_message() == whole.to_message()


WHOLE = [
    pytest.param(profile, path, id=f"{profile.name}-{path.name.partition('.')[0]}")
    for profile in PROFILES
    for path in sorted(profile.folder.glob("*.whole.json"))
]


@pytest.mark.parametrize(("profile", "path"), WHOLE)
def test_whole_answer_equals_the_same_answer_streamed(profile: Profile, path: Path) -> None:
    """CASE.whole.json is what the provider answers where no stream is asked for; read as a stream, it is the same."""
    case = next(found for found in profile.cases if found.stem == path.name.partition(".")[0])
    dialect, body = profile.dialect(provider="p"), path.read_bytes()
    _, streamed, error = collected(dialect, profile.transcript_events(case.read_bytes()))
    assert error is None
    answer = dialect.response(b"\n \n" + body)
    assert answer.raw == json.loads(body)
    if profile.counts_apart:  # InvokeModel counts a whole answer in a header, and each maker under its own names
        raw = (streamed.usage.raw if streamed.usage else None) or {}
        assert answer.usage is not None or "inputTokenCount" in raw
        if answer.usage is not None and streamed.usage is not None:
            for name in ("prompt_tokens", "completion_tokens", "total_tokens", "cache_read_tokens"):
                assert getattr(answer.usage, name) == getattr(streamed.usage, name)
        streamed.usage = answer.usage
    assert answer == streamed
    _, instead, error = decode(dialect, [json.dumps(json.loads(body)).encode()])
    assert error is None
    assert instead.to_message() == streamed.to_message()


# -- the smallest stream -----------------------------------------------------------------------------------------------


def read(profile: Profile, bodies: list[Any]) -> Any:
    """Chunks, answer and error of a stream of these bodies."""
    return collected(profile.dialect(provider="p"), [profile.event(body) for body in bodies])


@each_profile
def test_smallest_stream_is_read_in_chunks_with_their_events(profile: Profile) -> None:
    bodies = profile.stream(["Hel", "lo"])
    chunks, answer, error = read(profile, bodies)
    assert error is None
    assert (answer.content, answer.finish_reason, answer.provider) == ("Hello", "stop", "p")
    raws = profile.raws(bodies)
    assert all(chunk.raw in raws for chunk in chunks)
    assert [chunk.content for chunk in chunks if chunk.content] == ["Hel", "lo"]
    (cheap,) = [chunk for chunk in chunks if text_alone(chunk) == "lo"]
    assert (cheap.id, cheap.model) == (answer.id, answer.model)
    assert cheap.choices[0].delta.content == "lo", "a running text makes objects only when somebody looks"


@each_profile
def test_usage_is_counted_once(profile: Profile) -> None:
    chunks, answer, _ = read(profile, profile.stream(["Hello"]))
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (3, 4, 7)
    assert chunks[-1].usage is not None
    assert answer.usage.raw


@each_profile
@pytest.mark.parametrize(
    ("counts", "figures"), [(("3", 4.0), (3, 4)), ((3, None), (3, 0)), ((None, 4), (0, 4)), (({}, [3]), None)]
)
def test_counts_are_counts(profile: Profile, counts: Any, figures: Any) -> None:
    """Texts and fractions without a fraction count; what is no number is none, and no error."""
    _, answer, error = read(profile, profile.stream(["Hello"], counts))
    assert error is None
    usage = answer.usage
    assert (usage and (usage.prompt_tokens, usage.completion_tokens)) == figures or (
        figures is None and usage is not None and usage.total_tokens == 0
    )


@each_profile
def test_complete_and_done_are_said_as_soon_as_they_are_so(profile: Profile) -> None:
    decoder, states = profile.dialect(provider="p").decoder(), ""
    assert not decoder.complete
    for body in profile.stream(["Hel", "lo"]):
        decoder.feed(profile.event(body))
        states += "d" if decoder.done else "c" if decoder.complete else "."
    assert states == profile.states
    assert not decoder.feed(JSONEvent("[DONE]"))
    assert decoder.complete
    assert decoder.done
    assert not decoder.feed(JSONEvent("{")), "nothing is read after the end"
    assert list(decoder.finish()) == []


@each_profile
def test_event_without_data_is_alive_and_says_nothing(profile: Profile) -> None:
    if profile.name == "ollama":
        return  # whose lines are never empty, as the framing sees to
    decoder = profile.dialect(provider="p").decoder()
    assert not decoder.feed(JSONEvent(""))
    assert not decoder.feed(JSONEvent(" "))
    assert not decoder.complete


@each_profile
def test_a_stream_of_nothing_is_incomplete(profile: Profile) -> None:
    with pytest.raises(IncompleteStreamError) as caught:
        profile.dialect(provider="p").decoder().finish()
    assert caught.value.provider == "p"


@each_profile
def test_smallest_whole_answer_is_that_of_the_smallest_stream(profile: Profile) -> None:
    """Also where a provider answers so although a stream was asked for."""
    body, dialect = profile.whole("Hello"), profile.dialect(provider="p")
    _, streamed, _ = read(profile, profile.stream(["Hel", "lo"]))
    answer = dialect.response(json.dumps(body).encode())
    assert answer.raw == body
    assert answer.to_message() == streamed.to_message()
    for name in ("finish_reason", "raw_finish_reason", "id", "provider"):
        assert getattr(answer, name) == getattr(streamed, name)
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (3, 4, 7)
    _, instead, error = collected(dialect, events([json.dumps(body).encode()], max_event_bytes=1 << 20))
    assert error is None
    assert instead.to_message() == streamed.to_message()


HIGH, LOW, MARK = "\ud83d", "\ude00", "\ufffd"


@each_profile
@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        (["a", HIGH, LOW + "b"], "a\U0001f600b"),
        (["a", LOW + "b"], f"a{MARK}b"),
        (["a", HIGH, "b"], f"a{MARK}b"),
        (["a", HIGH, HIGH + LOW], f"a{MARK}\U0001f600"),
        (["a", HIGH], f"a{MARK}"),
    ],
)
def test_character_cut_in_two_is_one_again_and_a_half_alone_is_a_mark(
    profile: Profile, pieces: list[str], expected: str
) -> None:
    """Nobody can encode a half: it would break whatever prints or stores the answer."""
    assert read(profile, profile.stream(pieces))[1].content == expected


def test_every_dialect_has_a_profile() -> None:
    missing = {type(row.dialect) for row in lookup.ROWS} - {type(profile.dialect(provider="p")) for profile in PROFILES}
    assert not missing


@each_profile
@given(text=st.text(alphabet="a\ud83d\ude00é", min_size=1, max_size=12), size=st.integers(1, 3))
@settings(max_examples=100)
def test_text_cut_anywhere_is_the_mended_text(profile: Profile, text: str, size: int) -> None:
    """A character that comes in two halves is one, and a half without another is U+FFFD."""
    chunks, answer, _ = read(profile, profile.stream([text[at : at + size] for at in range(0, len(text), size)]))
    assert answer.content == mend(text)
    json.dumps([chunk.to_dict(raw=True) for chunk in chunks], ensure_ascii=False).encode()


@each_profile
def test_page_of_html_is_named_as_one(profile: Profile) -> None:
    page = "<!DOCTYPE html><html><head><title>502 Bad\nGateway</title></head><body>long</body></html>"
    with pytest.raises(MalformedStreamError, match=r"web page \(502 Bad Gateway\)") as caught:
        profile.dialect(provider="p").decoder().feed(JSONEvent(page))
    assert caught.value.provider == "p"
    with pytest.raises(MalformedStreamError, match=r"^p: the answer .*502 Bad Gateway"):
        profile.dialect(provider="p").response(page.encode())
