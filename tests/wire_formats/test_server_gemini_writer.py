"""Google's generateContent, written: what is in the events, and that our own dialect reads the same out of them."""

from __future__ import annotations

import json
from typing import Any

import attrs
import pytest
from chunk_builders import STREAM, call, chunk, restart, text, thought
from hypothesis import given, settings
from hypothesis import strategies as st
from server_gemini import ARRAY_PROFILE, PROFILE
from server_profile import ServerProfile

from anyllm import errors
from anyllm._framing.body_events import events
from anyllm.errors import AnyLLMError, IncompleteStreamError
from anyllm.types import (
    ChatCompletion,
    ChatCompletionChunk,
    Choice,
    ChunkChoice,
    ChunkDelta,
    FunctionCall,
    Message,
    Reasoning,
    ToolCall,
)
from anyllm.types._convert import json_bytes
from anyllm.wire.gemini.dialect import GeminiDialect as Dialect
from anyllm.wire.gemini.server.writer import Gemini
from anyllm.wire.gemini.signatures import sealed, unsealed

DIALECT = Dialect(provider="p")
SSE, ARRAY = Gemini(), Gemini(array=True)
FORMS = pytest.mark.parametrize("server", [PROFILE, ARRAY_PROFILE], ids=["sse", "array"])
read_back = PROFILE.read_back


def written(chunks: list[Any], server: ServerProfile = PROFILE, **settings: Any) -> list[Any]:
    """The events."""
    return server.events(server.written(chunks, **settings))


def native(*parts: Any, **candidate: Any) -> dict[str, Any]:
    about = {"usageMetadata": {"promptTokenCount": 1, "totalTokenCount": 1}, "modelVersion": "m", "responseId": "r"}
    return {"candidates": [{"content": {"parts": list(parts), "role": "model"}, **candidate}], **about}


def decoded(*bodies: Any) -> list[ChatCompletionChunk]:
    decoder = DIALECT.decoder()
    output = b"".join(b"data: " + json.dumps(body).encode() + b"\r\n\r\n" for body in bodies)
    return [one for event in events([output], max_event_bytes=1 << 20) for one in decoder.feed(event)]


# -- any provider's answer ---------------------------------------------------------------------------------------------


def test_the_end_is_one_event_with_the_calls_the_reason_and_the_tokens():
    """Which clients of Google's look for together; a call goes out whole."""
    *before, last = written(STREAM)
    head = {"modelVersion": "m", "responseId": "a-1"}
    texts = ({"text": "h", "thought": True}, {"text": "m", "thought": True}, {"text": 'He said "é\u2028'})
    assert before[:3] == [
        {"candidates": [{"content": {"parts": [part], "role": "model"}, "index": 0}], **head} for part in texts
    ]
    calls = [
        {"functionCall": {"id": "c0", "name": "f", "args": {"x": 1}}},
        {"functionCall": {"id": "c1", "name": "g", "args": {}}},
    ]
    assert last == {
        "candidates": [{"content": {"parts": calls, "role": "model"}, "finishReason": "STOP", "index": 0}],
        "usageMetadata": {
            "promptTokenCount": 3,
            "candidatesTokenCount": 1,
            "totalTokenCount": 5,
            "thoughtsTokenCount": 1,
            "cachedContentTokenCount": 2,
        },
        **head,
    }


def test_text_after_the_end_is_not_lost():
    chunks = [text("a"), chunk(ChunkDelta(), finish="stop"), chunk(ChunkDelta(None, "b")), text("c")]
    assert read_back(PROFILE.written(chunks)).content == "abc"


@pytest.mark.parametrize(("finish", "word"), [("tool_calls", "MALFORMED_FUNCTION_CALL"), ("length", "MAX_TOKENS")])
def test_a_call_whose_arguments_are_no_object_is_told_as_google_tells_it(finish, word):
    """It has no place for them; and one that was cut off is no mistake of the model's."""
    chunks = [text("a"), call(0, '{"x":', "f"), chunk(ChunkDelta(), finish=finish)]
    last = written(chunks)[-1]["candidates"][0]
    assert (last["finishReason"], last["content"]["parts"]) == (word, [{"text": ""}])
    assert 'f: {"x":' in last["finishMessage"]


def test_what_another_provider_wants_back_is_sealed_where_google_signs():
    """On the first call, or on an empty part: clients send back both."""
    signed_reasoning = Reasoning(None, "sig", "thinking", [{"type": "thinking", "thinking": "hm", "signature": "sig"}])
    thoughts = [thought("hm", None, "thinking"), chunk(ChunkDelta(reasoning=signed_reasoning))]
    ends = {"text": [text("a")], "call": [call(0, "{}", "f")]}
    for name, more in ends.items():
        (part,) = written([*thoughts, *more])[-1]["candidates"][0]["content"]["parts"]
        assert unsealed(part["thoughtSignature"]) == signed_reasoning
        assert ("functionCall" in part) == (name == "call")
        whole = read_back(PROFILE.written([*thoughts, *more]))
        assert whole.reasoning == "hm"
    message = Message.assistant("a", reasoning=attrs.evolve(signed_reasoning, content="hm"))
    parts = json.loads(SSE.whole(ChatCompletion("i", (Choice(0, message, "stop"),))))["candidates"][0]["content"][
        "parts"
    ]
    assert parts[:2] == [{"text": "hm", "thought": True}, {"text": "a"}]
    assert unsealed(parts[2]["thoughtSignature"]) == signed_reasoning


@given(st.text(max_size=8), st.one_of(st.none(), st.text(max_size=3)))
@settings(max_examples=100, deadline=None)
def test_only_what_was_sealed_is_unsealed(output, field):
    reasoning = Reasoning(None, output, field, [{"type": output}])
    seal = sealed(reasoning)
    assert unsealed(seal) == unsealed(seal.replace("-", "+").replace("_", "/").rstrip("=")) == reasoning
    assert unsealed(output) is None
    assert unsealed(seal[:7]) is None


def test_a_signature_of_googles_goes_out_on_its_own():
    """Of a chunk that came through an API of OpenAI's form, and of one whose event is not at hand."""
    call = ToolCall("c", FunctionCall("f", "{}"), extra_content={"google": {"thought_signature": "QQ=="}})
    chunks = [chunk(ChunkDelta(reasoning=Reasoning("hm", "Qg==", "thought"))), chunk(ChunkDelta(tool_calls=(call,)))]
    answer = read_back(PROFILE.written(chunks))
    assert answer.tool_calls[0].extra_content == call.extra_content
    reasoning = answer.to_message().reasoning
    assert reasoning is not None
    assert (reasoning.content, reasoning.signature) == ("hm", "Qg==")


def test_thoughts_are_left_out_for_clients_that_did_not_ask():
    output = PROFILE.written(STREAM, include_thoughts=False)
    assert b'"thought"' not in output
    assert read_back(output).content == read_back(PROFILE.written(STREAM)).content
    signed = {"text": "deep", "thought": True, "thoughtSignature": "QQ=="}
    own = decoded(native({"text": "hm", "thought": True}), native(signed, {"text": "a"}, finishReason="STOP"))
    first, second = written(own, include_thoughts=False)
    assert first["candidates"][0]["content"]["parts"] == []
    assert second["candidates"][0]["content"]["parts"] == [{**signed, "text": ""}, {"text": "a"}]
    whole = DIALECT.response(json.dumps(native({"text": "hm", "thought": True}, {"text": "a"})).encode())
    for answer in (whole, attrs.evolve(whole, raw=None)):
        assert "hm" not in Gemini(include_thoughts=False).whole(answer).decode()
        assert "hm" in SSE.whole(answer).decode()


def test_refusals_sounds_and_probabilities_are_told_in_googles_way():
    sound = chunk(ChunkDelta(audio={"id": "x", "data": "UklGRg==", "transcript": "spoken"}))
    probable = {"content": [{"token": "a", "logprob": -1.0, "top_logprobs": [{"token": "b", "logprob": -2.0}]}]}
    likely = ChatCompletionChunk("a-1", (ChunkChoice(0, ChunkDelta(None, "a"), logprobs=probable),), provider="p")
    output = written([chunk(ChunkDelta(refusal="No.")), sound, likely])
    first, second, third = (event["candidates"][0] for event in output[:3])
    assert first["content"]["parts"] == [{"text": "No."}]
    blob = {"inlineData": {"mimeType": "audio/wav", "data": "UklGRg=="}}
    assert second["content"]["parts"] == [{"text": "spoken"}, blob]
    assert third["logprobsResult"] == {
        "chosenCandidates": [{"token": "a", "logProbability": -1.0}],
        "topCandidates": [{"candidates": [{"token": "b", "logProbability": -2.0}]}],
    }


def test_what_was_gathered_of_an_answer_that_begins_anew_is_forgotten():
    again = restart()
    begun = [chunk(ChunkDelta("assistant")), call(0, '{"a":', "f")]
    assert read_back(PROFILE.written([*begun, again, text("fresh")])).tool_calls == ()


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
def test_an_event_of_googles_goes_on_as_it_came(server):
    assert written(decoded(*RICH), server) == RICH


def test_what_was_changed_on_the_way_is_not_told_as_it_was():
    """Text that a step has taken out is in the event still; what else was in the event is told all the same."""
    chunks = decoded(*RICH[:2], native({"text": "secret"}, {"inlineData": {"data": "QQ=="}}, avgLogprobs=-1))
    chunks[-1].choices = (ChunkChoice(0, ChunkDelta(None, "[removed]")),)
    output = written(chunks)
    assert output[:2] == RICH[:2]
    candidate = output[2]["candidates"][0]
    assert candidate["content"]["parts"] == [{"text": "[removed]"}, {"inlineData": {"data": "QQ=="}}]
    assert candidate["avgLogprobs"] == -1
    assert "secret" not in json.dumps(output)


def test_one_event_in_two_chunks_says_the_rest_of_it_once():
    first, *_ = decoded(native({"text": "ab"}, groundingMetadata={"q": 1}))
    halves = [attrs.evolve(first, choices=(ChunkChoice(0, ChunkDelta(None, half)),), raw=first.raw) for half in "ab"]
    output = json.dumps(written(halves))
    assert output.count("groundingMetadata") == 1
    assert read_back(PROFILE.written(halves)).content == "ab"


def test_a_whole_answer_of_googles_is_passed_on_as_it_came():
    body = native({"text": "a"}, {"inlineData": {"data": "QQ=="}}, finishReason="MODEL_ARMOR", safetyRatings=[])
    answer = DIALECT.response(json.dumps(body).encode())
    assert json.loads(SSE.whole(answer)) == body
    changed = attrs.evolve(answer, choices=(attrs.evolve(answer.choices[0], message=Message.assistant("b")),))
    candidate = json.loads(SSE.whole(changed))["candidates"][0]
    assert (candidate["content"]["parts"], candidate["finishReason"]) == ([{"text": "b"}], "MODEL_ARMOR")


# -- errors ------------------------------------------------------------------------------------------------------------


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
    output = json.loads(SSE.writer().error(error)[len("data: ") :])["error"]
    assert (output["code"], output["status"]) == (code, status)
    assert "a bug" not in output["message"]


def test_an_error_of_googles_is_passed_on_with_its_details():
    body = {"code": 429, "message": "slow", "status": "RESOURCE_EXHAUSTED", "details": [{"retryDelay": "3s"}]}
    error = DIALECT.error(429, {}, json.dumps({"error": body}).encode())
    assert json.loads(SSE.problem(error, 429)) == {"error": body}


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


def test_a_list_is_one_json_document_however_it_ends():
    assert ARRAY.content_type == "application/json"
    assert SSE.content_type == Gemini.content_type == "text/event-stream"
    assert written(STREAM, ARRAY_PROFILE) == written(STREAM)
    writer = ARRAY.writer()
    output = writer.chunk(STREAM[1]) + writer.chunk(STREAM[2]) + writer.error(IncompleteStreamError("cut"))
    assert [list(item) for item in json.loads(output)][-1] == ["error"]
    assert list(json.loads(ARRAY.writer().error(IncompleteStreamError("cut")))[0]) == ["error"]


def test_plain_text_is_put_together_from_bytes_made_once(monkeypatch):
    """Nothing but the text is encoded for it."""
    writer = SSE.writer()
    for one in STREAM[:3]:
        writer.chunk(one)
    encoded: list[Any] = []
    original = json_bytes
    monkeypatch.setattr(
        "anyllm.wire.gemini.server.writer.json_bytes", lambda value: encoded.append(value) or original(value)
    )
    writer.chunk(text("x"))
    before, encoded[:] = list(encoded), []
    writer.chunk(text("y"))
    assert (before[-1], encoded) == ("x", ["y"])
