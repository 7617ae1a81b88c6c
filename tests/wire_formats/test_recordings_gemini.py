"""
Recorded responses of Google's hosts, each read three ways: by us, plainly by this file, and by the official client.
"""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from recordings import Exceptions, Ours, Recording, calls_of, each, marks, recordings_of, replaying

from anyllm import errors
from anyllm._framing.detect import JSONEvent, events
from anyllm.errors import AnyLLMError, APIError, IncompleteStreamError
from anyllm.types import FINISH_REASONS, ChatCompletion, CompletionParams, Message
from anyllm.types._accumulate import Assembler
from anyllm.wire.gemini.dialect import GeminiDialect

#: Reasons that are no end but a failure.
FAILURES = ("MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL")

STREAMS = [recording for recording in recordings_of("gemini") if recording.status == 200]
REFUSALS = [recording for recording in recordings_of("gemini", "gemini-unary") if recording.status != 200]
WITH_SIZES = [recording for recording in STREAMS if recording.sizes]

pytestmark = marks([*STREAMS, *REFUSALS])
each_stream = each(STREAMS)


def dialect_of(recording: Recording) -> GeminiDialect:
    return GeminiDialect(provider=recording.provider)


def read(recording: Recording, reads: list[bytes] | None = None) -> Ours:
    return Ours(dialect_of(recording), reads or [recording.body])


# -- a plain reading ---------------------------------------------------------------------------------------------------


class Plain:
    """A recording as a person would read it: the parts of each event, joined."""

    def __init__(self, bodies: list[dict[str, Any]]) -> None:
        self.text: dict[int, str] = {}
        self.reasoning: dict[int, str] = {}
        self.finish: dict[int, str] = {}
        self.calls: dict[int, list[dict[str, Any]]] = {}
        self.signatures: list[str] = []
        self.usage: dict[str, Any] | None = None
        self.failed = ""
        for body in bodies:
            self._read(body)

    @property
    def unfinished(self) -> set[int]:
        return set(self.text) - set(self.finish)

    def _read(self, body: dict[str, Any]) -> None:
        usage = body.get("usageMetadata") or {}
        if "promptTokenCount" in usage:
            self.usage = usage
        for candidate in body.get("candidates") or []:
            index = candidate.get("index", 0)
            if candidate.get("finishReason") in FAILURES:
                self.failed = candidate["finishReason"]
                return
            self.text.setdefault(index, "")
            self.reasoning.setdefault(index, "")
            for part in (candidate.get("content") or {}).get("parts") or []:
                where = self.reasoning if part.get("thought") else self.text
                where[index] += part.get("text", "")
                self.signatures += [part["thoughtSignature"]] if "thoughtSignature" in part else []
                if "functionCall" in part:
                    self._call(self.calls.setdefault(index, []), part["functionCall"])
            if candidate.get("finishReason"):
                self.finish[index] = candidate["finishReason"]

    def _call(self, calls: list[dict[str, Any]], call: dict[str, Any]) -> None:
        if call.get("name"):
            calls.append({"id": call.get("id"), "name": call["name"], "args": dict(call.get("args") or {})})
            calls[-1]["open"] = call.get("willContinue", False)
            return
        for piece in call.get("partialArgs") or []:
            name = piece["jsonPath"][2:]  # those that were recorded are all "$.name", and strings
            calls[-1]["args"][name] = calls[-1]["args"].get(name, "") + piece["stringValue"]
        calls[-1]["open"] = call.get("willContinue", False)


def bodies_in(body: bytes) -> list[dict[str, Any]]:
    """The events, of a stream or of an array."""
    text = body.decode()
    if text.startswith("["):
        return list(json.loads(text))
    lines = text.replace("\r\n", "\n").split("\n")
    return [json.loads(line[5:]) for line in lines if line.startswith("data:")]


def assert_same(answer: ChatCompletion, plain: Plain) -> None:
    assert {choice.index for choice in answer.choices} == set(plain.text)
    for choice in answer.choices:
        message, at = choice.message, choice.index
        assert (message.content or "") == plain.text[at]
        assert ((message.reasoning and message.reasoning.content) or "") == plain.reasoning[at]
        assert choice.raw_finish_reason == plain.finish.get(at)
        calls = plain.calls.get(at, [])
        assert [call.is_complete for call in message.tool_calls] == [not call["open"] for call in calls]
        whole = tuple(call for call in message.tool_calls if call.is_complete)
        assert calls_of(whole) == [
            (call["id"] or f"call_{place}", call["name"], call["args"])
            for place, call in enumerate(calls)
            if not call["open"]
        ]
    assert (answer.usage.raw if answer.usage else None) == plain.usage


@each_stream
def test_stream_is_what_a_plain_reading_gives(recording: Recording) -> None:
    ours, plain = read(recording), Plain(bodies_in(recording.body))
    if plain.failed:
        assert isinstance(ours.error, errors.ServerError), ours.error
        assert ours.error.code == plain.failed
        assert ours.error.is_retryable
    else:
        assert isinstance(ours.error, IncompleteStreamError) == bool(plain.unfinished), ours.error
        assert plain.unfinished or ours.error is None
    if not plain.failed:
        assert_same(ours.answer, plain)


@each_stream
def test_chunks_have_one_form_whoever_sent_them(recording: Recording) -> None:
    seen: set[int] = set()
    opened: dict[int, int] = {}
    for chunk in read(recording).chunks:
        assert chunk.provider == recording.provider
        assert chunk.raw is not None
        for choice in chunk.choices:
            assert choice.delta.role == (None if choice.index in seen else "assistant")
            seen.add(choice.index)
            assert choice.finish_reason in (None, *FINISH_REASONS)
            for fragment in choice.delta.tool_calls or ():
                count = opened.setdefault(choice.index, 0)
                begins = fragment.index == count
                opened[choice.index] += begins
                assert begins == bool(fragment.id) == bool(fragment.name)
                assert fragment.index < opened[choice.index]


@each_stream
def test_answers_are_worth_having(recording: Recording) -> None:
    """Calls parse, totals add up, and no end is of an unknown kind."""
    ours = read(recording)
    bodies = bodies_in(recording.body)
    assert ours.answer.model == bodies[0].get("modelVersion", "")
    assert ours.answer.id == bodies[0].get("responseId", "")
    for choice in ours.answer.choices:
        assert choice.finish_reason != "unknown"
        assert all(call.is_complete for call in choice.message.tool_calls)
        if choice.message.tool_calls:
            assert choice.finish_reason == "tool_calls"
    usage = ours.answer.usage
    if usage is not None:
        assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
        assert (usage.cache_read_tokens or 0) <= usage.prompt_tokens
        assert (usage.reasoning_tokens or 0) <= usage.completion_tokens


@each_stream
def test_whole_answer_is_what_the_stream_of_it_gives(recording: Recording) -> None:
    """Of recordings that are one event; their body is what the other method of the API answers."""
    bodies = bodies_in(recording.body)
    ours = read(recording)
    if len(bodies) > 1 or isinstance(ours.error, IncompleteStreamError):
        return
    body = json.dumps(bodies[0]).encode()
    if ours.error is not None:
        with pytest.raises(type(ours.error)) as raised:
            dialect_of(recording).response(body)
        assert str(raised.value) == str(ours.error)
        return
    whole = dialect_of(recording).response(body)
    assert whole == ours.answer
    assert whole.raw == bodies[0]


@each_stream
def test_every_signature_goes_back_on_its_part(recording: Recording) -> None:
    """The next request holds the parts that were signed, in their order, each with its text or call."""
    ours = read(recording)
    if ours.error is not None:
        return
    message = ours.answer.to_message()
    result = [Message.tool("{}", call.id or "") for call in message.tool_calls]
    params = CompletionParams("m", [Message.user("Hi"), message, *result, Message.user("Go on")])
    body = json.loads(dialect_of(recording).request(params, model="m", stream=True).body)
    sent = [part for turn in body["contents"] if turn["role"] == "model" for part in turn["parts"]]
    came = [
        part
        for event in bodies_in(recording.body)
        for candidate in event["candidates"]
        for part in (candidate.get("content") or {}).get("parts") or []
        if "thoughtSignature" in part
    ]
    assert [part["thoughtSignature"] for part in sent if "thoughtSignature" in part] == [
        part["thoughtSignature"] for part in came
    ]
    for part, wanted in zip((part for part in sent if "thoughtSignature" in part), came):
        if "partialArgs" in json.dumps(recording.body.decode()):
            assert part["functionCall"]["name"] == wanted["functionCall"]["name"]
        else:
            assert part == wanted


@each_stream
def test_cut_at_every_event_is_never_silently_short(recording: Recording) -> None:
    """And what has come is in the partial answer."""
    bodies = bodies_in(recording.body)
    decoder, assembler = dialect_of(recording).decoder(), Assembler()
    for fed, event in enumerate(events([recording.body], max_event_bytes=1 << 24)):
        plain = Plain(bodies[:fed])
        whole = bool(plain.text) and not plain.unfinished
        assert decoder.complete == whole
        with contextlib.nullcontext() if whole else pytest.raises(IncompleteStreamError):
            decoder.finish()
        assert_same(assembler.snapshot(), plain)
        try:
            for chunk in decoder.feed(event):
                assembler.add(chunk)
        except APIError:
            return


@pytest.mark.parametrize("recording", WITH_SIZES, ids=lambda recording: recording.id)
def test_read_sizes_do_not_matter(recording: Recording) -> None:
    assert read(recording, recording.reads).chunks == read(recording).chunks


@given(data=st.data())
@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
def test_cuts_do_not_matter(data: st.DataObject) -> None:
    recording = data.draw(st.sampled_from(STREAMS))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(recording.body)), max_size=20)))
    reads = [recording.body[start:end] for start, end in zip([0, *cuts], [*cuts, len(recording.body)])]
    ours, whole = read(recording, reads), read(recording)
    assert ours.chunks == whole.chunks
    assert str(ours.error) == str(whole.error)


# -- hostile input -----------------------------------------------------------------------------------------------------

ODD = st.recursive(
    st.one_of(
        *(st.none(), st.booleans(), st.integers(-3, 30), st.floats(), st.text(max_size=5)),
        st.sampled_from(["$.a", "$.a[0].b", "STOP", "[DONE]", "call_0"]),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=6,
)


def places_in(value: Any, here: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if here:
        yield here
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from places_in(item, (*here, key))


@given(data=st.data())
@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_change_of_a_value_raises_anything_foreign(data: st.DataObject) -> None:
    recording = data.draw(st.sampled_from(STREAMS))
    decoder, assembler = dialect_of(recording).decoder(), Assembler()
    bodies = bodies_in(recording.body)
    at = data.draw(st.integers(0, len(bodies) - 1))
    *way, last = data.draw(st.sampled_from(sorted(places_in(bodies[at]), key=str)))
    holder: Any = bodies[at]
    for step in way:
        holder = holder[step]
    holder[last] = data.draw(ODD)
    with contextlib.suppress(AnyLLMError):
        for body in bodies:
            for chunk in decoder.feed(JSONEvent(json.dumps(body))):
                assembler.add(chunk)
        decoder.finish()
    answer = assembler.snapshot()
    with contextlib.suppress(AnyLLMError):
        params = CompletionParams("m", [answer.to_message()])
        dialect_of(recording).request(params, model="m", stream=True)
    with contextlib.suppress(AnyLLMError):
        dialect_of(recording).response(json.dumps(bodies[at]).encode())


# -- errors ------------------------------------------------------------------------------------------------------------

BY_STATUS = {400: "InvalidRequestError", 404: "ModelNotFoundError", 429: "RateLimitError"}


@pytest.mark.parametrize("recording", REFUSALS, ids=lambda recording: recording.id)
def test_refusal_is_the_right_error_and_says_why(recording: Recording) -> None:
    error = dialect_of(recording).error(recording.status, {}, recording.body)
    assert type(error) is getattr(errors, BY_STATUS[recording.status])
    assert error.status_code == recording.status
    assert error.provider == recording.provider
    assert json.loads(recording.body)["error"]["message"] in str(error)


# -- the official client -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    """The official client, and behind it any recording as the model of that id."""
    genai = pytest.importorskip("google.genai")
    # The client asks for SSE and can read nothing else: arrays are sent to it as events.
    bodies = {
        recording.id: b"".join(
            b"data: " + json.dumps(body).encode() + b"\r\n\r\n" for body in bodies_in(recording.body)
        )
        for recording in STREAMS
    }
    with replaying(bodies, at=_model_in, content_type="text/event-stream") as base_url:
        official = genai.Client(api_key="none", http_options=genai.types.HttpOptions(base_url=base_url))
        yield official
        official.close()


def _model_in(path: str) -> str:
    return path.rpartition("/")[2].partition(":")[0]


class Official:
    """A recording as the official client gives it, its pieces joined as its documentation joins them."""

    def __init__(self, client: Any, recording: Recording) -> None:
        self.text: dict[int, str] = {}
        self.reasoning: dict[int, str] = {}
        self.finish: dict[int, str] = {}
        self.calls: dict[int, list[tuple[Any, ...]]] = {}
        self.signatures: list[bytes] = []
        self.usage: Any = None
        for chunk in client.models.generate_content_stream(model=recording.id, contents="Hi"):
            self._add(chunk)

    def _add(self, chunk: Any) -> None:
        usage = chunk.usage_metadata
        if usage and usage.prompt_token_count is not None:
            self.usage = usage
        for candidate in chunk.candidates or ():
            at = candidate.index or 0
            for part in (candidate.content and candidate.content.parts) or ():
                where = self.reasoning if part.thought else self.text
                where[at] = where.get(at, "") + (part.text or "")
                if part.function_call:
                    call = part.function_call
                    self.calls.setdefault(at, []).append((call.id, call.name, call.args or {}))
                if part.thought_signature:
                    self.signatures.append(part.thought_signature)
            if candidate.finish_reason:
                self.finish[at] = candidate.finish_reason.value


def has_calls_in_pieces(bodies: list[dict[str, Any]]) -> bool:
    return "willContinue" in json.dumps(bodies)


EXCEPTIONS = Exceptions("google-genai")


@pytest.mark.long
@each_stream
def test_stream_is_what_the_official_client_gives(recording: Recording, client: Any) -> None:
    ours, theirs = read(recording), Official(client, recording)
    in_pieces = has_calls_in_pieces(bodies_in(recording.body))
    if isinstance(ours.error, APIError):
        assert ours.error.code == theirs.finish[0]  # which it takes for an end like any other
        return
    for choice in ours.answer.choices:
        at, reasoning = choice.index, choice.message.reasoning
        assert (choice.message.content or "") == theirs.text.get(at, "")
        assert ((reasoning and reasoning.content) or "") == theirs.reasoning.get(at, "")
        assert choice.raw_finish_reason == theirs.finish.get(at)
        calls = [[call_id or f"call_{n}", *call] for n, (call_id, *call) in enumerate(theirs.calls.get(at, []))]
        made = [list(call) for call in calls_of(choice.message.tool_calls)]
        EXCEPTIONS.check(recording, "calls", made, calls, has_cause=in_pieces)
    signatures = [
        base64.urlsafe_b64encode(signature).decode().rstrip("=").replace("-", "+").replace("_", "/")
        for signature in theirs.signatures
    ]
    assert signatures == [signature.rstrip("=") for signature in Plain(bodies_in(recording.body)).signatures]
    usage = ours.answer.usage
    assert (usage is None) == (theirs.usage is None)
    if usage is not None:
        known = theirs.usage.model_dump(mode="json", by_alias=True, exclude_none=True)
        known.pop("trafficType", None)
        raw = usage.raw or {}
        assert {name: raw[name] for name in known} == known
