"""Google's generateContent, written: what is in the events, and that our own dialect reads the same out of them."""

from __future__ import annotations

import json
from typing import Any, Dict, List

import attrs
import pytest
from formats_of import chunks_in, together
from hypothesis import given, settings
from hypothesis import strategies as st

from anyllm import errors, formats
from anyllm._framing.detect import events
from anyllm.errors import AnyLLMError, APIError, IncompleteStreamError
from anyllm.types import (
    ChatCompletion,
    ChatCompletionChunk,
    Choice,
    ChunkChoice,
    ChunkDelta,
    FunctionCall,
    Message,
    Reasoning,
    RetryNotice,
    ToolCall,
    Usage,
    text_chunk,
)
from anyllm.types._accumulate import Assembler
from anyllm.types._convert import json_bytes
from anyllm.wire.gemini.dialect import GeminiDialect as Dialect
from anyllm.wire.gemini.server.seal import sealed, unsealed
from anyllm.wire.gemini.server.writer import Gemini

DIALECT = Dialect(provider="p")
SSE, ARRAY = Gemini(), Gemini(array=True)
FORMS = pytest.mark.parametrize("form", [SSE, ARRAY], ids=["sse", "array"])


def chunk(delta: Any = None, *, finish: Any = None, raw: Any = None, **more: Any) -> ChatCompletionChunk:
    choices = () if delta is None else (ChunkChoice(more.pop("index", 0), delta, finish, more.pop("said", finish)),)
    about = {"id": "a-1", "created": 7, "model": "m", **more}
    return ChatCompletionChunk(about.pop("id"), choices, provider="p", raw=raw, **about)


def text(said: str) -> ChatCompletionChunk:
    return text_chunk("a-1", said, 7, "m", None, None, "p", None)


def fragment(arguments: str, *, index: int = 0, call_id: Any = None, name: Any = None) -> ChatCompletionChunk:
    return chunk(ChunkDelta(tool_calls=(ToolCall(call_id, FunctionCall(name, arguments), index=index),)))


def said_of(chunks: List[Any], form: Gemini = SSE) -> bytes:
    return b"".join(formats.encode(iter(chunks), form))


def written(chunks: List[Any], form: Gemini = SSE) -> List[Any]:
    """The events."""
    said = said_of(chunks, form).decode()
    if form.array:
        return list(json.loads(said))
    return [json.loads(event[len("data: ") :]) for event in said.split("\n\n") if event]


def read_back(said: bytes) -> ChatCompletion:
    return together(chunks_in(DIALECT, said))


def native(*parts: Any, **candidate: Any) -> Dict[str, Any]:
    about = {"usageMetadata": {"promptTokenCount": 1, "totalTokenCount": 1}, "modelVersion": "m", "responseId": "r"}
    return {"candidates": [{"content": {"parts": list(parts), "role": "model"}, **candidate}], **about}


def decoded(*bodies: Any) -> List[ChatCompletionChunk]:
    decoder = DIALECT.decoder()
    said = b"".join(b"data: " + json.dumps(body).encode() + b"\r\n\r\n" for body in bodies)
    return [one for event in events([said], max_event_bytes=1 << 20) for one in decoder.feed(event)]


# -- any provider's answer ---------------------------------------------------------------------------------------------


STREAM = [
    chunk(ChunkDelta("assistant", "")),
    chunk(ChunkDelta(reasoning=Reasoning("hm", None, "reasoning_content"))),
    text('He said "é\u2028\U0001f600"'),
    text(" to her"),
    fragment("", call_id="c1", name="f"),
    fragment('{"x":'),
    fragment("", call_id="c2", name="g", index=1),
    fragment("1}"),
    fragment("{}", index=1),
    chunk(usage=Usage(3, 1, 4, 1)),
    chunk(ChunkDelta(), finish="tool_calls"),
    chunk(usage=Usage(3, 5, 8, 1, 2)),
]


@FORMS
def test_our_dialect_reads_the_same_answer(form):
    answer = read_back(said_of(STREAM, form))
    assert answer.content == 'He said "é\u2028\U0001f600" to her'
    assert (answer.reasoning, answer.finish_reason) == ("hm", "tool_calls")
    assert [(call.id, call.name, call.parse()) for call in answer.tool_calls] == [
        ("c1", "f", {"x": 1}),
        ("c2", "g", {}),
    ]
    assert answer.usage == Usage(3, 5, 8, 1, 2)
    assert (answer.id, answer.model) == ("a-1", "m")


def test_the_end_is_one_event_with_the_calls_the_reason_and_the_tokens():
    """Which clients of Google's look for together; a call goes out whole."""
    *before, last = written(STREAM)
    head = {"modelVersion": "m", "responseId": "a-1"}
    said = ({"text": "hm", "thought": True}, {"text": 'He said "é\u2028\U0001f600"'}, {"text": " to her"})
    assert before == [
        {"candidates": [{"content": {"parts": [part], "role": "model"}, "index": 0}], **head} for part in said
    ]
    calls = [
        {"functionCall": {"id": "c1", "name": "f", "args": {"x": 1}}},
        {"functionCall": {"id": "c2", "name": "g", "args": {}}},
    ]
    assert last == {
        "candidates": [{"content": {"parts": calls, "role": "model"}, "finishReason": "STOP", "index": 0}],
        "usageMetadata": {
            "promptTokenCount": 3,
            "candidatesTokenCount": 4,
            "totalTokenCount": 8,
            "thoughtsTokenCount": 1,
            "cachedContentTokenCount": 2,
        },
        **head,
    }


@pytest.mark.parametrize(
    ("finish", "said", "expected"),
    [
        (None, None, {"finishReason": "STOP"}),
        ("stop", "end_turn", {"finishReason": "STOP"}),
        ("length", "max_tokens", {"finishReason": "MAX_TOKENS"}),
        ("content_filter", "refusal", {"finishReason": "SAFETY"}),
        ("unknown", "pause_turn", {"finishReason": "OTHER", "finishMessage": "pause_turn"}),
    ],
)
def test_a_finish_reason_is_put_into_googles_words(finish, said, expected):
    """One that is missing as well: there is no other sign of the end. What has no word is told beside it."""
    last = written([text("a"), chunk(ChunkDelta(), finish=finish, said=said)])[-1]["candidates"][0]
    assert {key: last[key] for key in last if key.startswith("finish")} == expected
    whole = ChatCompletion("i", (Choice(0, Message.assistant("a"), finish, said),))
    candidate = json.loads(SSE.whole(whole))["candidates"][0]
    assert {key: candidate[key] for key in candidate if key.startswith("finish")} == expected


@FORMS
def test_nothing_is_an_answer_that_says_nothing(form):
    assert read_back(said_of([], form)).finish_reason == "stop"


@FORMS
@pytest.mark.parametrize("chunks", [STREAM, decoded(native({"text": "a"}), native({"text": "b"}, finishReason="STOP"))])
def test_the_end_is_said_by_end_alone(form, chunks):
    """The connection may break at any time before that."""
    writer = form.writer()
    said = b"".join(map(writer.chunk, chunks))
    with pytest.raises(IncompleteStreamError):
        read_back(said)
    assert read_back(said + writer.end()).finish_reason


def test_several_answers_are_told_apart():
    chunks = [
        chunk(ChunkDelta("assistant", "one"), index=1),
        chunk(ChunkDelta("assistant", "two"), index=0),
        chunk(ChunkDelta(), index=0, finish="stop"),
        chunk(ChunkDelta(None, " more"), index=1),
        chunk(ChunkDelta(), index=1, finish="length"),
    ]
    answer = read_back(said_of(chunks))
    said = [(choice.index, choice.message.content, choice.finish_reason) for choice in answer.choices]
    assert said == [(0, "two", "stop"), (1, "one more", "length")]


def test_text_after_the_end_is_not_lost():
    answer = read_back(
        said_of([text("a"), chunk(ChunkDelta(), finish="stop"), chunk(ChunkDelta(None, "b")), text("c")])
    )
    assert answer.content == "abc"


@pytest.mark.parametrize(("finish", "word"), [("tool_calls", "MALFORMED_FUNCTION_CALL"), ("length", "MAX_TOKENS")])
def test_a_call_whose_arguments_are_no_object_is_told_as_google_tells_it(finish, word):
    """It has no place for them; and one that was cut off is no mistake of the model's."""
    chunks = [text("a"), fragment('{"x":', call_id="c", name="f"), chunk(ChunkDelta(), finish=finish)]
    last = written(chunks)[-1]["candidates"][0]
    assert (last["finishReason"], last["content"]["parts"]) == (word, [{"text": ""}])
    assert 'f: {"x":' in last["finishMessage"]


def test_what_another_provider_wants_back_is_sealed_where_google_signs():
    """On the first call, or on an empty part: clients send back both."""
    kept = Reasoning(None, "sig", "thinking", [{"type": "thinking", "thinking": "hm", "signature": "sig"}])
    thought = [chunk(ChunkDelta(reasoning=Reasoning("hm", None, "thinking"))), chunk(ChunkDelta(reasoning=kept))]
    ends = {"text": [text("a")], "call": [fragment("{}", call_id="c", name="f")]}
    for name, more in ends.items():
        (part,) = written([*thought, *more])[-1]["candidates"][0]["content"]["parts"]
        assert unsealed(part["thoughtSignature"]) == kept
        assert ("functionCall" in part) == (name == "call")
        whole = read_back(said_of([*thought, *more]))
        assert whole.reasoning == "hm"
    message = Message.assistant("a", reasoning=attrs.evolve(kept, content="hm"))
    parts = json.loads(SSE.whole(ChatCompletion("i", (Choice(0, message, "stop"),))))["candidates"][0]["content"][
        "parts"
    ]
    assert parts[:2] == [{"text": "hm", "thought": True}, {"text": "a"}]
    assert unsealed(parts[2]["thoughtSignature"]) == kept


@given(st.text(max_size=8), st.one_of(st.none(), st.text(max_size=3)))
@settings(max_examples=100, deadline=None)
def test_only_what_was_sealed_is_unsealed(said, field):
    reasoning = Reasoning(None, said, field, [{"type": said}])
    seal = sealed(reasoning)
    assert unsealed(seal) == unsealed(seal.replace("-", "+").replace("_", "/").rstrip("=")) == reasoning
    assert unsealed(said) is None
    assert unsealed(seal[:7]) is None


def test_a_signature_of_googles_goes_out_on_its_own():
    """Of a chunk that came through an API of OpenAI's form, and of one whose event is not at hand."""
    call = ToolCall("c", FunctionCall("f", "{}"), extra_content={"google": {"thought_signature": "QQ=="}})
    chunks = [chunk(ChunkDelta(reasoning=Reasoning("hm", "Qg==", "thought"))), chunk(ChunkDelta(tool_calls=(call,)))]
    answer = read_back(said_of(chunks))
    assert answer.tool_calls[0].extra_content == call.extra_content
    reasoning = answer.to_message().reasoning
    assert reasoning is not None
    assert (reasoning.content, reasoning.signature) == ("hm", "Qg==")


def test_thoughts_are_left_out_for_clients_that_did_not_ask():
    quiet = Gemini(include_thoughts=False)
    assert "hm" not in json.dumps(written(STREAM, quiet))
    assert read_back(said_of(STREAM, quiet)).content == read_back(said_of(STREAM)).content
    signed = {"text": "deep", "thought": True, "thoughtSignature": "QQ=="}
    own = decoded(native({"text": "hm", "thought": True}), native(signed, {"text": "a"}, finishReason="STOP"))
    first, second = written(own, quiet)
    assert first["candidates"][0]["content"]["parts"] == []
    assert second["candidates"][0]["content"]["parts"] == [{**signed, "text": ""}, {"text": "a"}]
    whole = DIALECT.response(json.dumps(native({"text": "hm", "thought": True}, {"text": "a"})).encode())
    for answer in (whole, attrs.evolve(whole, raw=None)):
        assert "hm" not in quiet.whole(answer).decode()
        assert "hm" in SSE.whole(answer).decode()


def test_refusals_sounds_and_probabilities_are_told_in_googles_way():
    sound = chunk(ChunkDelta(audio={"id": "x", "data": "UklGRg==", "transcript": "spoken"}))
    probable = {"content": [{"token": "a", "logprob": -1.0, "top_logprobs": [{"token": "b", "logprob": -2.0}]}]}
    likely = ChatCompletionChunk("a-1", (ChunkChoice(0, ChunkDelta(None, "a"), logprobs=probable),), provider="p")
    said = written([chunk(ChunkDelta(refusal="No.")), sound, likely])
    first, second, third = (event["candidates"][0] for event in said[:3])
    assert first["content"]["parts"] == [{"text": "No."}]
    blob = {"inlineData": {"mimeType": "audio/wav", "data": "UklGRg=="}}
    assert second["content"]["parts"] == [{"text": "spoken"}, blob]
    assert third["logprobsResult"] == {
        "chosenCandidates": [{"token": "a", "logProbability": -1.0}],
        "topCandidates": [{"candidates": [{"token": "b", "logProbability": -2.0}]}],
    }


def test_the_model_is_the_providers_or_the_formats():
    unnamed = ChatCompletionChunk("", (ChunkChoice(0, ChunkDelta(None, "a")),))
    assert {event["modelVersion"] for event in written([unnamed, unnamed], Gemini("asked"))} == {"asked"}
    assert {event["modelVersion"] for event in written(STREAM, Gemini("asked"))} == {"m"}
    assert json.loads(Gemini("asked").whole(ChatCompletion()))["modelVersion"] == "asked"


def test_what_was_gathered_of_an_answer_that_begins_anew_is_forgotten():
    again = ChatCompletionChunk(retry=RetryNotice("restart", 2, "cut off"))
    begun = [chunk(ChunkDelta("assistant")), fragment('{"a":', call_id="c", name="f")]
    assert read_back(said_of([*begun, again, text("fresh")])).tool_calls == ()


def test_half_an_emoji_is_written():
    assert written([text("a"), text("\ud83d")])[1]["candidates"][0]["content"]["parts"] == [{"text": "\ud83d"}]


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_any_order_of_fragments_gives_the_same_answer(data):
    """Calls in any pieces, interleaved with text and thoughts in any way."""
    arguments = [json.dumps(data.draw(st.dictionaries(st.text(max_size=3), st.integers(), max_size=2))) for _ in "ab"]
    lanes: List[List[ChatCompletionChunk]] = [[text(piece) for piece in data.draw(st.lists(st.text(max_size=3)))]]
    thoughts = data.draw(st.lists(st.text(min_size=1, max_size=3), max_size=3))
    lanes.append([chunk(ChunkDelta(reasoning=Reasoning(piece, field="reasoning"))) for piece in thoughts])
    for at, whole in enumerate(arguments):
        cut = data.draw(st.integers(0, len(whole)))
        lanes.append([fragment(whole[:cut], index=at, call_id=f"c{at}", name="f"), fragment(whole[cut:], index=at)])
    chunks, assembler = [chunk(ChunkDelta("assistant"))], Assembler()
    while any(lanes):
        chunks.append(data.draw(st.sampled_from([lane for lane in lanes if lane])).pop(0))
    for one in chunks:
        assembler.add(attrs.evolve(one))
    answer, expected = read_back(said_of(chunks, data.draw(st.sampled_from([SSE, ARRAY])))), assembler.snapshot()
    assert (answer.content, answer.reasoning) == (expected.content, expected.reasoning)
    assert [(call.id, call.parse()) for call in answer.tool_calls] == [
        (call.id, call.parse()) for call in expected.tool_calls
    ]


# -- Google's own ------------------------------------------------------------------------------------------------------

RICH = [
    {**native({"text": "a", "thought": True}), "createTime": "2026-03-12T18:08:22.490453Z"},
    native({"text": "b"}, groundingMetadata={"webSearchQueries": ["q"]}, safetyRatings=[{"category": "C"}]),
    native({"inlineData": {"mimeType": "image/png", "data": "QQ=="}}),
    native({"executableCode": {"code": "1"}}, {"text": "c", "thoughtSignature": "QQ=="}),
    native({"functionCall": {"name": "f", "willContinue": True}}),
    native({"functionCall": {"partialArgs": [{"jsonPath": "$.a", "numberValue": 1}]}}),
    native({"text": ""}, finishReason="STOP", avgLogprobs=-0.5, citationMetadata={"citations": []}),
    {"usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": 9, "totalTokenCount": 10}},
]


@FORMS
def test_an_event_of_googles_goes_on_as_it_came(form):
    assert written(decoded(*RICH), form) == RICH


def test_what_was_changed_on_the_way_is_not_told_as_it_was():
    """Text that a step has taken out is in the event still; what else was in the event is told all the same."""
    chunks = decoded(*RICH[:2], native({"text": "secret"}, {"inlineData": {"data": "QQ=="}}, avgLogprobs=-1))
    chunks[-1].choices = (ChunkChoice(0, ChunkDelta(None, "[removed]")),)
    said = written(chunks)
    assert said[:2] == RICH[:2]
    candidate = said[2]["candidates"][0]
    assert candidate["content"]["parts"] == [{"text": "[removed]"}, {"inlineData": {"data": "QQ=="}}]
    assert candidate["avgLogprobs"] == -1
    assert "secret" not in json.dumps(said)


def test_a_text_that_was_changed_is_told_as_it_is():
    """A chunk of text alone holds the event as text."""
    first, second = decoded(native({"text": "a"}), native({"text": "secret"}))
    second.choices = "public"  # type: ignore[assignment]  # as `text_chunk` has it
    said = written([first, second])
    assert "secret" not in json.dumps(said)
    assert said[1]["candidates"][0]["content"]["parts"] == [{"text": "public"}]


def test_one_event_in_two_chunks_says_the_rest_of_it_once():
    first, *_ = decoded(native({"text": "ab"}, groundingMetadata={"q": 1}))
    halves = [attrs.evolve(first, choices=(ChunkChoice(0, ChunkDelta(None, half)),), raw=first.raw) for half in "ab"]
    said = json.dumps(written(halves))
    assert said.count("groundingMetadata") == 1
    assert read_back(said_of(halves)).content == "ab"


@pytest.mark.parametrize(
    "raw",
    [
        *({"candidates": shape} for shape in ([], [1], [None], [{"content": 1}], [{"content": {"parts": [1]}}], {})),
        *({"usageMetadata": {}, **more} for more in ({"error": {"message": "x"}}, {"error": None}, {"candidates": 3})),
        *([], '"x"', 3, None, {"promptFeedback": {"blockReason": "X"}}),
    ],
)
def test_the_shape_of_an_event_is_not_trusted(raw):
    chunks = [chunk(ChunkDelta("assistant", "a"), raw=raw), chunk(ChunkDelta(None, "b"), finish="stop", raw=raw)]
    assert read_back(said_of(chunks)).content == "ab"


def test_a_whole_answer_of_googles_is_passed_on_as_it_came():
    body = native({"text": "a"}, {"inlineData": {"data": "QQ=="}}, finishReason="MODEL_ARMOR", safetyRatings=[])
    answer = DIALECT.response(json.dumps(body).encode())
    assert json.loads(SSE.whole(answer)) == body
    changed = attrs.evolve(answer, choices=(attrs.evolve(answer.choices[0], message=Message.assistant("b")),))
    candidate = json.loads(SSE.whole(changed))["candidates"][0]
    assert (candidate["content"]["parts"], candidate["finishReason"]) == ([{"text": "b"}], "MODEL_ARMOR")


# -- errors ------------------------------------------------------------------------------------------------------------

KINDS = [
    errors.AuthenticationError,
    errors.PermissionDeniedError,
    errors.InsufficientFundsError,
    errors.RateLimitError,
    errors.InvalidRequestError,
    errors.ContextLengthExceededError,
    errors.ContentFilterError,
    errors.UnsupportedParameterError,
    errors.ModelNotFoundError,
    errors.ServerError,
    errors.OverloadedError,
]


@FORMS
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_an_error_is_read_as_the_same_error(form, kind):
    """In the middle of a stream, before anything was said, and as a response of its own."""
    for error in (kind("it failed", retry_after=2.5, param="x"), kind("it failed", status_code=429, code="odd")):
        if error.status_code and kind not in (errors.RateLimitError, errors.InsufficientFundsError):
            continue  # a status that nobody says such a thing with
        for before in ([], [text("a"), text("b")]):
            writer = form.writer()
            said = b"".join(map(writer.chunk, before)) + writer.error(error)
            with pytest.raises(APIError) as caught:
                read_back(said)
            assert type(caught.value) is kind
            assert "it failed" in caught.value.message
            assert caught.value.retry_after == error.retry_after
        status = error.status_code or 400
        whole = DIALECT.error(status, {}, form.problem(error, status))
        assert whole.status_code == status
        assert "it failed" in whole.message


@pytest.mark.parametrize(
    ("error", "code", "status"),
    [
        (errors.Cancelled(), 503, "UNAVAILABLE"),
        (errors.DeadlineExceeded(), 504, "DEADLINE_EXCEEDED"),
        (IncompleteStreamError("cut"), 502, "INTERNAL"),
        (errors.UnsupportedProviderError("who?"), 404, "NOT_FOUND"),
        (errors.MissingAPIKeyError("none", env_var="X"), 502, "INTERNAL"),
        (ValueError("a bug"), 500, "INTERNAL"),
    ],
)
def test_an_error_that_no_provider_said_has_googles_words(error, code, status):
    said = json.loads(SSE.writer().error(error)[len("data: ") :])["error"]
    assert (said["code"], said["status"]) == (code, status)
    assert "a bug" not in said["message"]


def test_an_error_of_googles_is_passed_on_with_its_details():
    said = {"code": 429, "message": "slow", "status": "RESOURCE_EXHAUSTED", "details": [{"retryDelay": "3s"}]}
    error = DIALECT.error(429, {}, json.dumps({"error": said}).encode())
    assert json.loads(SSE.problem(error, 429)) == {"error": said}
    assert json.loads(ARRAY.problem(error, 429)) == [{"error": said}]


@pytest.mark.parametrize(
    "body",
    [
        {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 3}},
        native(finishReason="MALFORMED_FUNCTION_CALL", finishMessage="print(f())"),
    ],
)
def test_a_failure_that_is_no_error_of_googles_is_passed_on(body):
    with pytest.raises(AnyLLMError) as caught:
        decoded(body)
    for form in (SSE, ARRAY):
        with pytest.raises(AnyLLMError) as again:
            read_back(form.writer().error(caught.value))
        assert str(again.value) == str(caught.value)
        assert type(again.value) is type(caught.value)


# -- the forms ---------------------------------------------------------------------------------------------------------


@FORMS
def test_a_sign_of_life_changes_nothing(form):
    writer = form.writer()
    pieces = [writer.chunk(one) for one in STREAM] + [writer.end()]
    alive = form.keep_alive.join([b"", *(piece for piece in pieces if piece), b""])
    assert read_back(alive) == read_back(b"".join(pieces))


def test_a_list_is_one_json_document_however_it_ends():
    assert ARRAY.content_type == "application/json"
    assert SSE.content_type == Gemini.content_type == "text/event-stream"
    assert written(STREAM, ARRAY) == written(STREAM)
    writer = ARRAY.writer()
    said = writer.chunk(STREAM[1]) + writer.chunk(STREAM[2]) + writer.error(IncompleteStreamError("cut"))
    assert [list(item) for item in json.loads(said)][-1] == ["error"]
    assert list(json.loads(ARRAY.writer().error(IncompleteStreamError("cut")))[0]) == ["error"]


def test_plain_text_is_put_together_from_bytes_made_once(monkeypatch):
    """Nothing but the text is encoded for it."""
    writer = SSE.writer()
    for one in STREAM[:3]:
        writer.chunk(one)
    encoded: List[Any] = []
    real = json_bytes
    monkeypatch.setattr(
        "anyllm.wire.gemini.server.writer.json_bytes", lambda value: encoded.append(value) or real(value)
    )
    writer.chunk(text("x"))
    before, encoded[:] = list(encoded), []
    writer.chunk(text("y"))
    assert (before[-1], encoded) == ("x", ["y"])
