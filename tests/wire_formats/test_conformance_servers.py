"""What every format promises that servers speak: requests are read, and answers and errors are written."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import attrs
import pytest
from all_servers import READERS, SERVERS, each_reader, each_server
from choice_streams import collected
from chunk_builders import MODEL, STREAM, WHOLE, call, chunk, restart, slow_text, streams, text
from formats_of import chunks_in, together
from hypothesis import given, settings
from hypothesis import strategies as st
from json_mutations import json_with, places, replaced
from profiles import PROFILES
from server_profile import ServerProfile

from anyllm import errors, formats
from anyllm._framing.body_events import events
from anyllm.errors import AnyLLMError, IncompleteStreamError, InvalidRequestError
from anyllm.types import ChatCompletion, ChatCompletionChunk, Choice, ChunkDelta, Message, Usage

# -- requests ----------------------------------------------------------------------------------------------------------


@each_reader
@given(data=st.data(), stream=st.booleans())
@settings(max_examples=200)
def test_request_is_read_as_it_was_written(server: ServerProfile, data: st.DataObject, stream: bool) -> None:
    params = data.draw(server.params)
    body = json.loads(server.dialect().request(params, model=server.model, stream=stream).body)
    request = server.read(body)
    assert request.params == server.params_read(params)
    assert (request.unknown_fields, request.native) == ({}, (server.client.dialect,))
    if server.name != "gemini":  # whose URL says whether to stream, and whose thoughts are asked for beside a budget
        assert (request.stream, request.ignorable_fields) == (stream, {})


UNCHANGED = [
    pytest.param(server, body, id=f"{server.name}-{name}")
    for server in READERS
    for name, body in server.unchanged.items()
]


@pytest.mark.parametrize(("server", "body"), UNCHANGED)
def test_request_reaches_a_provider_of_its_format_unchanged(server: ServerProfile, body: Any) -> None:
    assert server.sent(server.read(body)) == body


WRONG = [
    pytest.param(server, body, param, id=f"{server.name}-{param}-{number}")
    for server in READERS
    for number, (body, param) in enumerate(server.wrong)
]


@pytest.mark.parametrize(("server", "body", "param"), WRONG)
def test_what_cannot_be_understood_is_named(server: ServerProfile, body: Any, param: str | None) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        server.read(body)
    assert (caught.value.status_code, caught.value.param) == (400, param)


ODD_VALUES = (None, True, 0, 1.5, math.inf, "", "x", "\ud83d", [], [None], ["x"], [[]], {}, {"type": "x"}, {"type": {}})


def read_or_refused(server: ServerProfile, body: Any) -> None:
    """It is read, or refused with status 400; and what is read can be sent, or is refused with an error of ours."""
    try:
        request = server.read(body)
    except InvalidRequestError as exc:
        status = exc.status_code
    else:
        status = None
    assert status in (None, 400)
    if status is not None:
        return
    try:
        server.sent(request)
    except AnyLLMError:
        return


@each_reader
def test_odd_value_in_any_place_is_read_or_refused(server: ServerProfile) -> None:
    server.sent(server.read(server.full))  # so that the rest breaks what would have been good
    for place in places(server.full):
        for value in ODD_VALUES:
            read_or_refused(server, replaced(server.full, place, value))


def keys_and_words(value: Any) -> list[str]:
    """The keys of a document, and its short texts."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    own = list(value) if isinstance(value, dict) else [value] if isinstance(value, str) and len(value) < 20 else []
    return sorted({*own, *(word for item in inner for word in keys_and_words(item))})


@each_reader
@given(data=st.data())
@settings(max_examples=200)
def test_random_json_in_any_place_is_read_or_refused(server: ServerProfile, data: st.DataObject) -> None:
    odd = json_with(keys_and_words(server.full)) | st.sampled_from(keys_and_words(server.full))
    read_or_refused(
        server, replaced(server.full, data.draw(st.sampled_from(list(places(server.full)))), data.draw(odd))
    )


@each_reader
@pytest.mark.parametrize("depth", [5_000, 100_000])
def test_nesting_without_end_is_refused(server: ServerProfile, depth: int) -> None:
    deep: Any = {}
    for _ in range(depth):
        deep = {"items": deep}
    (place,) = [place for place in places(server.deep) if replaced(server.deep, place, "DEEP") == server.deep]
    with pytest.raises(InvalidRequestError):
        server.sent(server.read(replaced(server.deep, place, deep)))


# -- answers -----------------------------------------------------------------------------------------------------------


@each_server
def test_stream_is_read_as_the_answer(server: ServerProfile) -> None:
    body = server.written(STREAM)
    server.check(server.events(body))
    answer = server.read_back(body)
    assert (answer.content, answer.reasoning, answer.finish_reason) == (
        'He said "é\u2028\U0001f600"',
        "hm",
        "tool_calls",
    )
    assert [(made.id, made.name, made.parse()) for made in answer.tool_calls] == [
        ("c0", "f", {"x": 1}),
        ("c1", "g", {}),
    ]
    assert server.facts(answer) == server.facts(together(STREAM))
    assert server.facts(server.whole(together(STREAM))) == server.facts(together(STREAM))


@each_server
@given(chunks=streams())
@settings(max_examples=200)
def test_pieces_in_any_order_are_the_same_answer(server: ServerProfile, chunks: list[ChatCompletionChunk]) -> None:
    """As a stream and whole."""
    body, expected = server.written(chunks), server.facts(together(chunks))
    server.check(server.events(body))
    assert server.facts(server.read_back(body)) == expected
    assert server.facts(server.whole(together(chunks))) == expected


ENDS = [pytest.param(server, *row, id=f"{server.id}-{row[1]}") for server in SERVERS for row in server.ends]


@pytest.mark.parametrize(("server", "finish", "raw", "expected"), ENDS)
def test_end_is_put_into_the_words_of_the_format(server: ServerProfile, finish: Any, raw: Any, expected: Any) -> None:
    chunks = [text("x"), chunk(ChunkDelta(), finish, raw)]
    assert server.end(server.events(server.written(chunks))) == expected
    whole = ChatCompletion("i", (Choice(0, Message.assistant("x"), finish, raw),))
    body = json.loads(server.format().whole(whole))
    assert server.end([body]) == expected


@each_server
def test_answer_of_nothing_ends(server: ServerProfile) -> None:
    if server.ends_with_reason:
        with pytest.raises(IncompleteStreamError):
            server.read_back(server.written([]))
        return
    answer = server.read_back(server.written([]))
    assert (answer.content, answer.finish_reason) == ("", server.empty_end)
    server.check(server.events(server.written([])))


@each_server
def test_end_alone_ends_the_stream(server: ServerProfile) -> None:
    """The connection may break at any time before that; also where a provider of the format has said its end."""
    for chunks in (STREAM, own_chunks(server, "a", "b")):
        writer = server.format().writer()
        begun = [one for one in chunks if not (server.ends_with_reason and one.finish_reason)]
        body = b"".join(map(writer.chunk, begun))
        with pytest.raises(IncompleteStreamError):
            server.read_back(body)
        rest = b"".join(map(writer.chunk, chunks[len(begun) :])) + writer.end()
        assert server.read_back(body + rest).finish_reason == together(chunks).finish_reason


@each_server
def test_keep_alives_change_nothing(server: ServerProfile) -> None:
    format = server.format()
    writer = format.writer()
    pieces = [piece for piece in [*map(writer.chunk, STREAM), writer.end()] if piece]
    alive = format.keep_alive.join([b"", *pieces[:-1]]) + format.keep_alive + pieces[-1]
    assert format.keep_alive
    assert server.read_back(alive) == server.read_back(b"".join(pieces))


def without_made_names(server: ServerProfile, body: bytes) -> bytes:
    """The bytes without ids of items and times, which are others in each stream."""
    return re.sub(rb'(msg_\w+|"(created_at|\w+_duration)":("[^"]*"|\d+))', b"", body)


@each_server
def test_text_alone_is_written_as_any_text_is(server: ServerProfile) -> None:
    """From bytes that were made once."""
    words = ("a", "é", 'c"\u2028')
    fast, slow = (server.written(map(made, words)) for made in (text, slow_text))
    assert without_made_names(server, fast) == without_made_names(server, slow)


@each_server
def test_half_a_character_is_escaped(server: ServerProfile) -> None:
    """It encodes to no UTF-8, and must not end the stream."""
    body = server.written([text("a"), text("\ud83d"), slow_text("\ud83d")])
    assert body.decode().count("\\ud83d") >= 2
    assert server.read_back(body).finish_reason == server.read_back(server.written([text("a")])).finish_reason


@each_server
def test_large_number_in_a_call_stays_one(server: ServerProfile) -> None:
    (made,) = server.read_back(server.written([call(0, json.dumps({"n": 10**30}), "f")])).tool_calls
    assert made.parse() == {"n": 10**30}


@each_server
def test_model_is_the_providers_or_the_requests(server: ServerProfile) -> None:
    nameless = attrs.evolve(slow_text("a"), model="", id="")
    assert server.read_back(server.written([nameless, nameless], model="mine")).model == "mine"
    assert server.read_back(server.written(STREAM, model="mine")).model == MODEL
    whole = server.dialect().response(server.format(model="mine").whole(attrs.evolve(WHOLE, model="")))
    assert whole.model == "mine"


@each_server
def test_last_count_of_tokens_holds(server: ServerProfile) -> None:
    counts = [chunk(usage=Usage(number, number, 2 * number)) for number in (1, 2, 3)]
    body = server.written([text("a"), *counts])
    usage = server.read_back(body).usage
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (3, 3, 6)
    running = [attrs.evolve(slow_text("a"), usage=Usage(1, 1, 2)), *counts]
    assert server.read_back(server.written(running)).usage == usage


@each_server
def test_refusal_is_one_or_is_text(server: ServerProfile) -> None:
    chunks = [chunk(ChunkDelta("assistant", refusal="I ")), chunk(ChunkDelta(refusal="won't"))]
    for answer in (server.read_back(server.written(chunks)), server.whole(together(chunks))):
        expected = ("", "I won't") if "refusal" in server.keeps else ("I won't", "")
        assert (answer.content, answer.to_message().refusal or "") == expected


SECOND = [
    chunk(ChunkDelta("assistant", "one"), index=1),
    chunk(ChunkDelta("assistant", "two"), index=0),
    chunk(ChunkDelta(), "stop", index=0),
    chunk(ChunkDelta(None, " more"), index=1),
    chunk(ChunkDelta(), "length", index=1),
]


@each_server
def test_several_choices_are_kept_apart_or_refused_by_name(server: ServerProfile) -> None:
    several = ChatCompletion("i", (Choice(0, Message.assistant("a")), Choice(1, Message.assistant("b"))))
    if not server.no_choices:
        found = server.read_back(server.written(SECOND)).choices
        assert [(choice.index, choice.message.content, choice.finish_reason) for choice in found] == [
            (0, "two", "stop"),
            (1, "one more", "length"),
        ]
        assert [choice.message.content for choice in server.whole(several).choices] == ["a", "b"]
        return
    check_refused(server, SECOND[0], several, server.no_choices)


@each_server
def test_sound_has_a_place_or_is_refused_by_name(server: ServerProfile) -> None:
    audio = {"id": "x", "data": "UklGRg==", "transcript": "spoken"}
    whole = ChatCompletion("i", (Choice(0, Message("assistant", audio=audio), "stop"),))
    if not server.no_audio:
        assert b"UklGRg==" in server.written([chunk(ChunkDelta(audio=audio))])
        assert b"spoken" in server.format().whole(whole)
        return
    check_refused(server, chunk(ChunkDelta(audio=audio)), whole, server.no_audio)


def check_refused(server: ServerProfile, item: ChatCompletionChunk, whole: ChatCompletion, param: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        server.format().writer().chunk(item)
    assert caught.value.param == param
    with pytest.raises(AnyLLMError):
        server.read_back(server.written([text("a"), item]))
    with pytest.raises(InvalidRequestError):
        server.format().whole(whole)


@each_server
def test_answer_that_begins_anew_is_an_error_once_a_part_was_sent(server: ServerProfile) -> None:
    writer = server.format().writer()
    assert writer.chunk(restart()) == b""
    writer.chunk(text("a"))
    with pytest.raises(IncompleteStreamError):
        writer.chunk(restart())
    assert server.read_back(server.written([restart(), text("a")])).content == "a"


# -- a provider of the same format -------------------------------------------------------------------------------------


def own_chunks(server: ServerProfile, *pieces: str) -> list[ChatCompletionChunk]:
    """The chunks of a provider's own stream."""
    chunks, _, error = collected(server.dialect(), map(server.client.event, server.client.stream(list(pieces))))
    assert error is None
    return chunks


@each_server
def test_own_stream_is_passed_on_chunk_by_chunk(server: ServerProfile) -> None:
    chunks = own_chunks(server, "Hel", "lo")
    found = [one for one in chunks_in(server.dialect(), server.written(chunks)) if one.choices]
    assert found == [one for one in chunks if one.choices]


@each_server
def test_own_answer_is_passed_on(server: ServerProfile) -> None:
    own = server.client.whole("Hello")
    if server.id == "ollama-generate":
        return  # whose answers have other keys
    answer = server.dialect().response(json.dumps(own).encode())
    check_holds(json.loads(server.format().whole(answer)), {**own, "created_at": None})


def check_holds(written: Any, own: Any) -> None:
    """What was written has all that a provider's own document has, and perhaps more; times are left out."""
    if isinstance(own, dict):
        for name in own.keys() - {"created_at"}:
            check_holds(written[name], own[name])
    elif isinstance(own, list):
        assert len(written) == len(own)
        for one, other in zip(written, own):
            check_holds(one, other)
    else:
        assert written == own


@each_server
@pytest.mark.parametrize("is_alone", [True, False])
def test_text_that_was_changed_on_the_way_is_not_undone(server: ServerProfile, is_alone: bool) -> None:
    """The event beside a chunk still has the text that was taken out."""
    chunks = own_chunks(server, "a", "secret")
    changed = []
    for one in chunks:
        if one.content == "secret":
            if is_alone:  # as `text_chunk` has it
                one.choices = "***"  # type: ignore[assignment]
            else:
                one.choices = (attrs.evolve(one.choices[0], delta=ChunkDelta(None, "***")),)
        changed.append(one)
    body = server.written(changed)
    assert b"secret" not in body
    assert server.read_back(body).content == "a***"
    answer = server.dialect().response(json.dumps(server.client.whole("secret")).encode())
    (choice,) = answer.choices
    answer.choices = (attrs.evolve(choice, message=Message.assistant("***")),)
    assert b"secret" not in server.format().whole(answer)
    assert server.whole(answer).content == "***"


ODD_RAWS = [
    *([], 7, '"x"', None, {"type": []}, {"type": "message_start", "message": 3}, {"message": {"x": 1}, "done": "no"}),
    *({"done": False, "message": None}, {"done": False, "response": 7}, {"promptFeedback": {"blockReason": "X"}}),
    *({"candidates": shape} for shape in ([], [1], [None], [{"content": 1}], [{"content": {"parts": [1]}}], {})),
    *({"usageMetadata": {}, **more} for more in ({"error": {"message": "x"}}, {"error": None}, {"candidates": 3})),
    *({"type": kind, "index": [], "delta": {"type": {}}} for kind in ("content_block_delta", "message_delta")),
    *({"type": kind, "content_block": []} for kind in ("content_block_start", "message")),
    *(body for profile in PROFILES for body in profile.stream(["c"])),
]


@each_server
def test_raw_events_are_not_trusted(server: ServerProfile) -> None:
    """Chunks may come from anywhere."""
    own = server.client.stream(["c"])
    for raw in ODD_RAWS:
        if raw in own:
            continue
        chunks = [
            chunk(ChunkDelta("assistant", "a"), raw=raw),
            chunk(raw=raw),
            chunk(usage=Usage(1, 1, 2), raw=raw),
            chunk(ChunkDelta(None, "b"), raw=raw),
            chunk(ChunkDelta(), "stop", raw=raw),
        ]
        assert server.read_back(server.written(chunks)).content == "ab", raw


@each_server
@given(data=st.data())
@settings(max_examples=100)
def test_changed_raw_events_raise_only_our_errors(server: ServerProfile, data: st.DataObject) -> None:
    transcripts = [server.client.bodies_of_transcript(path.read_bytes()) for path in server.client.cases]
    bodies = data.draw(st.sampled_from([bodies for bodies in transcripts if bodies]))
    place = data.draw(st.sampled_from([place for place in places(bodies) if len(place) > 1]))
    odd = json_with(server.client.keys.split())
    chunks, _, _ = collected(server.dialect(), map(server.client.event, bodies))
    raws = replaced(bodies, place, data.draw(odd))
    for one in chunks:
        for raw, body in zip(raws, bodies):
            if one.raw == body:
                one.raw = raw
    body = server.written(chunks)
    body.decode()
    server.events(body)


# -- errors ------------------------------------------------------------------------------------------------------------

FAILURES: list[Any] = [
    errors.AuthenticationError("who?", status_code=401),
    errors.InsufficientFundsError("pay", status_code=402),
    errors.PermissionDeniedError("no", status_code=403),
    errors.ModelNotFoundError('model "x" not found', status_code=404),
    errors.InvalidRequestError("bad", status_code=400, param="x"),
    errors.UnsupportedParameterError("no seed", status_code=400, param="seed"),
    errors.ContextLengthExceededError("the prompt is too long", status_code=400),
    errors.ContentFilterError("flagged", status_code=400),
    errors.RateLimitError("slow down", status_code=429, retry_after=2.5),
    errors.ServerError("oops", status_code=500),
    errors.OverloadedError("later", status_code=503),
]


@each_server
@pytest.mark.parametrize("error", FAILURES, ids=lambda error: type(error).__name__)
def test_error_is_read_as_the_same_error(server: ServerProfile, error: Any) -> None:
    """As a response, before the answer, and in the middle of it."""
    name, format = type(error).__name__, server.format()
    assert formats.status(error, format) == error.status_code
    found = server.dialect().error(error.status_code, {}, format.problem(error, error.status_code))
    assert (type(found).__name__, found.status_code) == (server.other_errors.get(name, name), error.status_code)
    assert error.message in found.message
    for chunks in ([], [text("a"), text("b")]):
        writer = format.writer()
        body = b"".join(map(writer.chunk, chunks)) + writer.error(error)
        with pytest.raises(AnyLLMError) as caught:
            server.read_back(body)
        assert type(caught.value).__name__ == server.other_stream_errors(name)
        assert error.message in str(caught.value)


@each_server
@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.NetworkError("down"), 502),
        (IncompleteStreamError("cut"), 502),
        (errors.MalformedStreamError("garbage"), 502),
        (errors.StreamTimeoutError("late", clock="idle", seconds=1), 504),
        (errors.DeadlineExceeded(), 504),
        (errors.Cancelled(), 503),
        (errors.MissingAPIKeyError("no key", env_var="X"), 502),
        (errors.UnsupportedProviderError("who?"), 404),
        (errors.APIError("odd", status_code=200), 502),
        (KeyError("secret"), 500),
    ],
    ids=lambda value: type(value).__name__,
)
def test_error_of_no_provider_has_a_status_and_a_message(server: ServerProfile, error: Any, status: int) -> None:
    format = server.format()
    assert formats.status(error, format) == status
    body = format.problem(error, status)
    assert server.dialect().error(status, {}, body).message
    streamed = format.writer().chunk(text("a")) + format.writer().error(error)
    with pytest.raises(AnyLLMError):
        server.read_back(streamed)
    assert b"secret" not in body + streamed, "a bug is not shown"
    assert not isinstance(error, KeyError) or b"internal error" in body


@each_server
def test_refusal_of_a_provider_of_the_format_is_quoted(server: ServerProfile) -> None:
    own = server.client.refusal("What went wrong")
    error = server.dialect().error(400, {}, json.dumps(own).encode())
    written = json.loads(server.format().problem(error, 400))
    check_holds(written, server.refusal(own))


@each_server
def test_error_follows_the_answer_so_far(server: ServerProfile) -> None:
    def failing() -> Any:
        yield from STREAM[:5]
        raise errors.NetworkError("down")

    body = server.written(failing())
    _, answer, error = collected(server.dialect(), events([body], max_event_bytes=1 << 20))
    assert isinstance(error, AnyLLMError)
    assert "down" in str(error)
    assert (answer.content, answer.finish_reason) == ('He said "é\u2028\U0001f600"', None)
