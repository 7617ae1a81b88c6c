"""Recorded responses of Cohere's older API, each read three ways: by us, plainly by this file, and by its client."""

from __future__ import annotations

import contextlib
import http.server
import json
import threading
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from recordings import Ours, Recording, calls_of, each, marks, recordings_of

from anyllm import errors
from anyllm._framing.detect import events
from anyllm.errors import AnyLLMError, APIError, IncompleteStreamError
from anyllm.types import FINISH_REASONS, ChatCompletion, CompletionParams, Message
from anyllm.types._accumulate import Assembler
from anyllm.wire.cohere_v1.dialect import CohereV1Dialect

ALL = recordings_of("cohere-v1")
ANSWERS = [recording for recording in ALL if recording.status == 200]
WHOLE = [recording for recording in ANSWERS if recording.format == "json"]
STREAMS = [recording for recording in ANSWERS if recording.format != "json"]
WITH_SIZES = [recording for recording in STREAMS if recording.sizes]
REFUSALS = [recording for recording in ALL if recording.status != 200]

pytestmark = marks(ALL)
each_stream = each(STREAMS)

#: Finish reasons that are no ends but failures.
FAILED = {"ERROR": errors.ServerError, "ERROR_TOXIC": errors.ContentFilterError, "TIMEOUT": errors.ServerError}
FAILED["ERROR_LIMIT"] = errors.ContextLengthExceededError


def read(recording: Recording, reads: list[bytes] | None = None) -> Ours:
    return Ours(CohereV1Dialect(), reads or [recording.body])


# -- a plain reading ---------------------------------------------------------------------------------------------------


class Plain:
    """A recording as a person would read it: JSON on each line, pieces joined."""

    def __init__(self, bodies: list[dict[str, Any]]) -> None:
        self.id = ""
        self.text = ""
        self.ended = self.began = False
        self.finish: str | None = None
        self.usage: dict[str, Any] | None = None
        self.calls: list[tuple[str, Any]] = []
        pieces: dict[Any, list[str]] = {}
        for body in bodies:
            self._read(body.get("event_type"), body)
            piece = body.get("tool_call_delta") or {}
            if "index" in piece:
                pieces.setdefault(piece["index"], []).append(piece.get("name") or "")
                pieces[piece["index"]].append(piece.get("parameters") or "")
        if self.ended and not self.calls:  # the host has said them in pieces only
            self.calls = [(names[0], json.loads("".join(names[1:]) or "{}")) for names in pieces.values()]

    def _read(self, kind: Any, body: dict[str, Any]) -> None:
        if kind == "stream-start":
            self.began, self.id = True, body.get("generation_id") or ""
        elif kind in ("text-generation", "tool-calls-chunk"):
            self.began = True
            self.text += body.get("text") or (body.get("tool_call_delta") or {}).get("text") or ""
        elif kind == "tool-calls-generation":
            self.began = True
            self.text = self.text or body.get("text") or ""
            self.calls = [(call["name"], call["parameters"]) for call in body["tool_calls"]]
        elif kind == "stream-end":
            answer = body.get("response") or {}
            self.began = self.ended = True
            self.id = self.id or answer.get("generation_id") or answer.get("response_id") or ""
            self.text = self.text or answer.get("text") or ""
            self.finish = body.get("finish_reason") or answer.get("finish_reason")
            self.usage = answer.get("meta")
            calls = answer.get("tool_calls")
            if calls:
                self.calls = [(call["name"], call["parameters"]) for call in calls]


def bodies_in(body: bytes) -> list[dict[str, Any]]:
    """The JSON of each line, which a stream of server-sent events writes "data:" before; half a line is none."""
    found = []
    for line in body.decode("utf-8", "replace").splitlines():
        text = line[5:].strip() if line.startswith("data:") else line.strip()
        if text.startswith("{"):
            with contextlib.suppress(ValueError):
                found.append(json.loads(text))
    return found


def has_error(recording: Recording) -> bool:
    """Whether the host broke off with an error of its own."""
    return any("event_type" not in body or body.get("error") for body in bodies_in(recording.body))


def assert_same(answer: ChatCompletion, plain: Plain) -> None:
    assert len(answer.choices) == plain.began
    assert answer.id == plain.id
    assert answer.content == plain.text
    assert answer.raw_finish_reason == plain.finish
    raw = answer.usage.raw if answer.usage else None
    has_counts = bool(plain.usage) and not {"tokens", "billed_units"}.isdisjoint(plain.usage or {})
    assert raw == (plain.usage if has_counts else None)


@each_stream
def test_stream_is_what_a_plain_reading_gives(recording: Recording) -> None:
    ours, plain = read(recording), Plain(bodies_in(recording.body))
    if has_error(recording):
        assert isinstance(ours.error, APIError)
    elif recording.cut_short or not plain.ended:
        assert isinstance(ours.error, IncompleteStreamError)
    elif plain.finish in FAILED:
        assert type(ours.error) is FAILED[plain.finish]
        return
    else:
        assert ours.error is None
        assert [(call.name, call.parse()) for call in ours.answer.tool_calls] == plain.calls
        assert [call.id for call in ours.answer.tool_calls] == [f"call_{at}" for at in range(len(plain.calls))]
    assert_same(ours.answer, plain)


@each_stream
def test_chunks_have_one_form(recording: Recording) -> None:
    began, opened = False, 0
    for chunk in read(recording).chunks:
        assert chunk.provider == "cohere_v1"
        assert isinstance(chunk.raw, dict)
        for choice in chunk.choices:
            assert choice.index == 0
            assert choice.delta.role == (None if began else "assistant")
            began = True
            assert choice.finish_reason in (None, *FINISH_REASONS)
            for fragment in choice.delta.tool_calls or ():
                begins = fragment.index == opened
                opened += begins
                assert begins == bool(fragment.id) == bool(fragment.name)
                assert fragment.index < opened


@each_stream
def test_answers_are_worth_having(recording: Recording) -> None:
    """Calls parse, totals add up, and the next turn can hold the answer."""
    ours = read(recording)
    if ours.error is not None:
        return
    answer = ours.answer
    if answer.tool_calls and answer.raw_finish_reason == "COMPLETE":
        assert answer.finish_reason == "tool_calls"
    assert all(call.is_complete for call in answer.tool_calls)
    if answer.usage is not None:
        assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    results = [Message.tool("{}", call.id or "") for call in answer.tool_calls]
    params = CompletionParams("m", [Message.user("Hi"), answer.to_message(), *(results or [Message.user("So?")])])
    sent = json.loads(CohereV1Dialect().request(params, model="m", stream=True).body)
    turn = sent["chat_history"][1]
    assert (turn["role"], turn["message"]) == ("CHATBOT", answer.content)
    assert [call["name"] for call in turn.get("tool_calls", ())] == [call.name for call in answer.tool_calls]


@each_stream
def test_cut_at_every_event_is_never_silently_short(recording: Recording) -> None:
    """And what has come is in the partial answer."""
    bodies = bodies_in(recording.body)
    decoder, assembler = CohereV1Dialect().decoder(), Assembler()
    for fed, event in enumerate(events([recording.body], max_event_bytes=1 << 24)):
        plain = Plain(bodies[:fed])
        assert decoder.complete == decoder.done == plain.ended
        with contextlib.nullcontext() if plain.ended else pytest.raises(IncompleteStreamError):
            decoder.finish()
        assert_same(assembler.snapshot(), plain)
        try:
            for chunk in decoder.feed(event):
                assembler.add(chunk)
        except APIError:
            assert Plain(bodies).finish in FAILED or has_error(recording)
            return
    assert decoder.complete == Plain(bodies).ended


@each_stream
def test_cut_at_every_byte_gives_the_same_chunks(recording: Recording) -> None:
    pieces = [recording.body[at : at + 1] for at in range(len(recording.body))]
    ours, whole = read(recording, pieces), read(recording)
    assert ours.chunks == whole.chunks
    assert str(ours.error) == str(whole.error)


@pytest.mark.parametrize("recording", WITH_SIZES, ids=lambda recording: recording.id)
def test_read_sizes_do_not_matter(recording: Recording) -> None:
    assert read(recording, recording.reads).chunks == read(recording).chunks


@each_stream
def test_cut_short_anywhere_is_the_whole_or_an_error(recording: Recording) -> None:
    """Only what follows the last event may be missing."""
    whole = read(recording)
    for end in range(0, len(recording.body), max(1, len(recording.body) // 200)):
        ours = read(recording, [recording.body[:end]])
        if ours.error is None:
            assert ours.answer == whole.answer
        else:
            assert isinstance(ours.error, IncompleteStreamError) or type(ours.error) is type(whole.error)


@each_stream
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_spoilt_event_raises_our_errors_only(recording: Recording, data: st.DataObject) -> None:
    bodies = bodies_in(recording.body)
    kinds = sorted({str(body.get("event_type")) for body in bodies})
    kind = data.draw(st.sampled_from(kinds))
    place = data.draw(st.sampled_from([at for at, body in enumerate(bodies) if str(body.get("event_type")) == kind]))
    spot = data.draw(st.sampled_from(list(_spots(bodies[place]))))
    _spoil(bodies[place], spot, data.draw(_ODD))
    lines = b"".join(json.dumps(body).encode() + b"\n" for body in bodies)
    error = read(recording, [lines]).error
    assert error is None or isinstance(error, AnyLLMError)


_ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["text", "name", "parameters", "x"]), inner, max_size=2)
    ),
    max_leaves=6,
)


def _spots(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    for key, item in value.items() if isinstance(value, dict) else ():
        yield (*way, key)
        yield from _spots(item, (*way, key))


def _spoil(body: dict[str, Any], spot: tuple[Any, ...], value: Any) -> None:
    *way, last = spot
    for key in way:
        body = body[key]
    body[last] = value


@each_stream
def test_whole_answer_is_what_its_stream_gives(recording: Recording) -> None:
    """Of a stream's last event, which repeats the answer; its calls are written as the model wrote them, or by us."""
    ours, plain = read(recording), Plain(bodies_in(recording.body))
    if ours.error is not None or not plain.ended:
        return
    answer = bodies_in(recording.body)[-1].get("response")
    if not answer or "text" not in answer:
        return
    whole = CohereV1Dialect().response(json.dumps(answer).encode())
    assert whole.content == ours.answer.content
    assert whole.id == ours.answer.id
    assert whole.usage == ours.answer.usage
    if answer.get("tool_calls") is not None:
        assert calls_of(whole.tool_calls) == calls_of(ours.answer.tool_calls)


@each(WHOLE)
def test_whole_answer_is_what_a_plain_reading_gives(recording: Recording) -> None:
    body = json.loads(recording.body)
    assert_same(CohereV1Dialect().response(recording.body), Plain([{"event_type": "stream-end", "response": body}]))


# -- errors ------------------------------------------------------------------------------------------------------------

BY_STATUS: dict[int, type[APIError]] = {
    **dict.fromkeys((400, 413, 422, 498), errors.InvalidRequestError),
    401: errors.AuthenticationError,
    402: errors.InsufficientFundsError,
    403: errors.PermissionDeniedError,
    404: errors.ModelNotFoundError,
    429: errors.RateLimitError,
}


@each(REFUSALS)
def test_refusal_is_the_right_error_and_says_why(recording: Recording) -> None:
    error = CohereV1Dialect().error(recording.status, {}, recording.body)
    assert isinstance(error, BY_STATUS.get(recording.status, errors.ServerError))
    assert error.status_code == recording.status
    assert error.provider == "cohere_v1"
    said = " ".join(str(json.loads(recording.body).get("message") or "").split())
    assert said[:200] in " ".join(str(error).split())


# -- the official client -----------------------------------------------------------------------------------------------


class _Replay(http.server.BaseHTTPRequestHandler):
    wbufsize = -1  # head and body in one write
    recordings: ClassVar[dict[str, Recording]] = {}

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        recording = self.recordings[self.path.split("/")[1]]
        self.send_response(recording.status)
        self.send_header("Content-Type", recording.about.get("content_type") or "application/stream+json")
        self.send_header("Content-Length", str(len(recording.body)))
        self.end_headers()
        self.wfile.write(recording.body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def base_url() -> Iterator[str]:
    """A loopback server that replays any recording under its id."""
    server = http.server.HTTPServer(("127.0.0.1", 0), _Replay)
    _Replay.recordings = {recording.id: recording for recording in ALL}
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_PROXY", "*")
        yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join(10)
    assert not thread.is_alive()


class Official:
    """A recording as the official client of version 1 gives it, its pieces joined as its documentation joins them."""

    def __init__(self, base_url: str, recording: Recording) -> None:
        import httpx

        cohere = pytest.importorskip("cohere")
        self.text = ""
        self.id: str | None = None
        self.finish: str | None = None
        self.last: Any = None
        with httpx.Client() as transport:
            client = cohere.Client("none", base_url=f"{base_url}/{recording.id}", httpx_client=transport)
            for event in client.chat_stream(model="m", message="Hi"):
                self._add(event)

    def _add(self, event: Any) -> None:
        kind = getattr(event, "event_type", None)  # what it does not know, it gives as it came
        if kind == "stream-start":
            self.id = event.generation_id
        elif kind in ("text-generation", "tool-calls-chunk"):
            self.text += event.text or ""
        elif kind == "stream-end":
            self.finish, self.last = event.finish_reason, event.response


@pytest.mark.long
@each([recording for recording in STREAMS if recording.format == "ndjson"])
def test_stream_is_what_the_official_client_gives(recording: Recording, base_url: str) -> None:
    """It reads lines only; where they end, it ends too, and says nothing of it."""
    ours, theirs = read(recording), Official(base_url, recording)
    if theirs.last is None or has_error(recording):
        assert ours.error is not None
        return
    if theirs.finish in FAILED:
        assert type(ours.error) is FAILED[theirs.finish]
        return
    answer = ours.answer
    assert ours.error is None
    assert answer.content == (theirs.text or theirs.last.text or "")
    assert answer.raw_finish_reason == (theirs.finish or theirs.last.finish_reason)
    assert answer.id == (theirs.id or theirs.last.generation_id or theirs.last.response_id)
    if theirs.last.tool_calls is not None:
        calls = [(call.name, call.parameters) for call in theirs.last.tool_calls]
        assert [(call.name, call.parse()) for call in answer.tool_calls] == calls
    counted = theirs.last.meta and (theirs.last.meta.tokens or theirs.last.meta.billed_units)
    if counted:
        assert answer.usage is not None
        figures = (answer.usage.prompt_tokens, answer.usage.completion_tokens)
        assert figures == (counted.input_tokens or 0, counted.output_tokens or 0)


@pytest.mark.long
@each(REFUSALS)
def test_refusal_is_what_the_official_client_raises(recording: Recording, base_url: str) -> None:
    cohere = pytest.importorskip("cohere")
    import httpx

    with httpx.Client() as transport:
        client = cohere.Client("none", base_url=f"{base_url}/{recording.id}", httpx_client=transport)
        with pytest.raises(cohere.core.api_error.ApiError) as caught:
            client.chat(model="m", message="Hi", request_options={"max_retries": 0})
    error = CohereV1Dialect().error(recording.status, {}, recording.body)
    assert caught.value.status_code == error.status_code
    assert caught.value.body == error.body
