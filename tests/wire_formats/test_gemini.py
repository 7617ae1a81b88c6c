"""The Gemini dialect beside the conformance suite: streams, addresses, signatures, arguments in pieces, vectors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recordings import Ours

from anyllm import errors
from anyllm._framing.body_events import JSONEvent
from anyllm.errors import APIError
from anyllm.types import CompletionParams, EmbeddingParams, Message, Reasoning, ToolCall
from anyllm.types._accumulate import Assembler
from anyllm.wire.gemini.dialect import GeminiDialect
from anyllm.wire.gemini.partial_arguments import PartialArguments


def one(*parts: Any, **candidate: Any) -> dict[str, Any]:
    """An event with one candidate."""
    return {"candidates": [{"content": {"parts": list(parts), "role": "model"}, **candidate}]}


def decode(*bodies: Any, dialect: GeminiDialect | None = None) -> Ours:
    return Ours(dialect or GeminiDialect(), [b"data: " + json.dumps(body).encode() + b"\r\n\r\n" for body in bodies])


# -- the decoder -------------------------------------------------------------------------------------------------------


def test_usage_of_every_event_is_kept() -> None:
    """A stream that is cancelled has counted what came."""
    counted = [{"promptTokenCount": 3, "candidatesTokenCount": at, "totalTokenCount": 3 + at} for at in range(3)]
    ours = decode(*[{**one({"text": "a"}), "usageMetadata": usage} for usage in counted])
    assert [chunk.usage.completion_tokens for chunk in ours.chunks if chunk.usage] == [0, 1, 2]
    assert ours.answer.usage is not None
    assert ours.answer.usage.raw == counted[-1]


@pytest.mark.parametrize(
    ("number", "gemini", "vertex"), [(6, "LANGUAGE", "BLOCKLIST"), (8, "PROHIBITED_CONTENT", "SPII")]
)
def test_numbered_finish_reasons_differ_between_gemini_and_vertex(number: int, gemini: str, vertex: str) -> None:
    event = one({"text": "a"}, finishReason=number)
    assert decode(event).answer.raw_finish_reason == gemini
    assert decode(event, dialect=GeminiDialect(vertex_numbers=True)).answer.raw_finish_reason == vertex


@pytest.mark.parametrize(
    ("reason", "code"), [("JAILBREAK", "JAILBREAK"), (4, "PROHIBITED_CONTENT"), (40, "40"), ([1], "[1]")]
)
def test_reason_of_a_blocked_prompt_is_named(reason: Any, code: str) -> None:
    error = decode({"promptFeedback": {"blockReason": reason}}).error
    assert isinstance(error, errors.ContentFilterError)
    assert error.code == code
    assert error.body == {"promptFeedback": {"blockReason": reason}}


def test_a_finish_reason_is_given_once() -> None:
    ours = decode(*[one({"text": text}, finishReason="STOP") for text in "ab"], one(finishReason="SAFETY"))
    ends = [(chunk.finish_reason, chunk.raw_finish_reason) for chunk in ours.chunks]
    assert ends == [("stop", "STOP"), (None, None), ("content_filter", "SAFETY")]


def test_index_that_is_left_out_is_0_beside_another() -> None:
    """As Google's JSON leaves out every 0."""
    first = {"content": {"parts": [{"text": "b"}]}, "index": 1}, {"content": {"parts": [{"text": "a"}]}}
    ours = decode({"candidates": first})
    assert [(choice.index, choice.message.content) for choice in ours.answer.choices] == [(0, "a"), (1, "b")]
    ours = decode({"candidates": [{"content": {"parts": [{"text": text}]}} for text in "ab"]})
    assert [(choice.index, choice.message.content) for choice in ours.answer.choices] == [(0, "a"), (1, "b")]


@pytest.mark.parametrize("second", ["f", "g"])
def test_a_call_that_was_never_ended_is_not_complete(second: str) -> None:
    """A whole call after it, of the same function or another, is a call of its own."""
    ours = decode(
        one({"functionCall": {"name": "f", "willContinue": True}}),
        one({"functionCall": {"name": second, "args": {"a": 1}}}),
        one({"functionCall": {"name": second, "args": {"a": 2}}}),
        one({"functionCall": {}}),
    )
    calls = [(call.id, call.name, call.arguments, call.is_complete) for call in ours.answer.tool_calls]
    assert calls == [
        ("call_0", "f", "{", False),
        ("call_1", second, '{"a":1}', True),
        ("call_2", second, '{"a":2}', True),
    ]


def test_empty_call_is_skipped() -> None:
    ours = decode(one({"functionCall": {}}), one({"functionCall": {"name": "f", "args": None}}, finishReason="STOP"))
    assert [(call.id, call.arguments) for call in ours.answer.tool_calls] == [("call_0", "{}")]


def test_a_call_after_the_end_is_still_a_call() -> None:
    call = {"functionCall": {"name": "f", "args": {}}}
    ours = decode(one({"text": "a"}, finishReason="STOP"), one(call, finishReason="STOP"))
    assert ours.error is None
    assert ours.answer.finish_reason == "tool_calls"


def test_pieces_of_arguments_count_as_progress() -> None:
    """So a long argument does not run into the idle clock."""
    decoder, assembler = GeminiDialect().decoder(), Assembler()
    piece = {"jsonPath": "$.a", "stringValue": "x", "willContinue": True}
    began = one({"functionCall": {"name": "f", "willContinue": True}})
    goes_on = one({"functionCall": {"partialArgs": [piece], "willContinue": True}})
    progress = [
        assembler.add(chunk) for body in (began, goes_on) for chunk in decoder.feed(JSONEvent(json.dumps(body)))
    ]
    assert progress == [True, True]
    assert assembler.snapshot().tool_calls[0].arguments == '{"a":"x'


def test_error_of_a_gateway_is_read_in_its_own_form() -> None:
    for body in ({"error": "overloaded"}, {"error": None}, {"code": 500, "message": "went wrong"}):
        assert isinstance(decode(body).error, APIError)
    event = JSONEvent('{"message": "went wrong"}', "error")
    with pytest.raises(APIError, match="went wrong"):
        GeminiDialect().decoder().feed(event)


# -- errors ------------------------------------------------------------------------------------------------------------


def test_exhausted_quota_is_a_rate_limit_with_a_delay() -> None:
    """OpenAI says the same where there is no money left."""
    details = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.5s"}]
    message = "You exceeded your current quota, please check your plan"
    body = {"error": {"code": 429, "message": message, "status": "RESOURCE_EXHAUSTED", "details": details}}
    error = GeminiDialect().error(429, {}, json.dumps(body).encode())
    assert (type(error), error.retry_after) == (errors.RateLimitError, 34.5)


# -- the request -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("gemini-2.5-flash", "/models/gemini-2.5-flash"),
        ("models/gemini-2.5-flash", "/models/gemini-2.5-flash"),
        ("tunedModels/mine-1", "/tunedModels/mine-1"),
        ("a b/c?d", "/models/a%20b%2Fc%3Fd"),
        ("../x", "/models/..%2Fx"),
    ],
)
def test_path_names_the_model(model: str, path: str) -> None:
    params = CompletionParams(model, [Message.user("Hi")])
    stream = GeminiDialect().request(params, model=model, stream=True)
    whole = GeminiDialect().request(params, model=model, stream=False)
    assert (stream.method, stream.path) == ("POST", f"{path}:streamGenerateContent?alt=sse")
    assert (whole.method, whole.path) == ("POST", f"{path}:generateContent")
    assert stream.body == whole.body
    assert stream.headers == {"Content-Type": "application/json", "Accept": "text/event-stream"}
    assert whole.headers["Accept"] == "application/json"


def test_path_of_vertex_is_a_switch() -> None:
    vertex = GeminiDialect(provider="vertex", models_path="/publishers/google/models")
    request = vertex.request(CompletionParams("m", [Message.user("Hi")]), model="gemini-2.5-pro", stream=True)
    assert request.path == "/publishers/google/models/gemini-2.5-pro:streamGenerateContent?alt=sse"


# -- the conversation --------------------------------------------------------------------------------------------------


def turns(*messages: Message) -> Any:
    request = GeminiDialect().request(CompletionParams("m", messages), model="m", stream=True)
    return json.loads(request.body)["contents"]


@pytest.mark.parametrize(
    "parts",
    [
        [{"text": "a"}, {"text": "", "thoughtSignature": "QQ=="}],
        [{"text": "ab", "thoughtSignature": "QQ=="}],
        [{"text": "a"}, {"text": "b", "thoughtSignature": "QQ=="}, {"text": "c"}],
        [{"text": "t", "thought": True, "thoughtSignature": "QQ=="}, {"text": "a"}],
        [{"text": "t", "thought": True}, {"text": "a", "thoughtSignature": "Qg=="}],
        [{"functionCall": {"name": "f", "args": {"a": 1}}, "thoughtSignature": "QQ=="}],
        [{"text": "a"}, {"functionCall": {"id": "1", "name": "f", "args": {}}, "thoughtSignature": "QQ=="}],
        [{"executableCode": {"code": "1"}, "thoughtSignature": "QQ=="}, {"codeExecutionResult": {}}, {"text": "a"}],
        [{"text": "a"}, {"toolCall": {"id": "1"}}, {"toolResponse": {"id": "1"}}, {"text": "b"}],
    ],
)
def test_what_was_signed_goes_back_as_it_came(parts: list[dict[str, Any]]) -> None:
    """And so it does when the conversation was kept as JSON."""
    events = [one(part) for part in parts]
    ours = decode(*events, one(finishReason="STOP"))
    assert ours.error is None
    message = ours.answer.to_message()
    for turn in (message, Message.from_dict(json.loads(json.dumps(message.to_dict())))):
        assert turns(Message.user("Hi"), turn)[1] == {"role": "model", "parts": parts}
    whole = GeminiDialect().response(json.dumps(one(*parts, finishReason="STOP")).encode())
    assert whole.to_message() == message


def test_a_signature_alone_goes_back_on_an_empty_text() -> None:
    ours = decode(one({"text": "a"}), one({"thoughtSignature": "QQ=="}, finishReason="STOP"))
    found = turns(Message.user("Hi"), ours.answer.to_message())
    assert found[1]["parts"] == [{"text": "a"}, {"text": "", "thoughtSignature": "QQ=="}]


def test_signature_of_a_part_that_is_not_kept_is_not_moved_to_another() -> None:
    """Images are in raw only."""
    image = {"inlineData": {"mimeType": "image/png", "data": "AAAA"}, "thoughtSignature": "QQ=="}
    ours = decode(one({"text": "a"}, image, finishReason="STOP"))
    assert ours.answer.to_message() == Message.assistant("a")
    assert ours.chunks[0].raw["candidates"][0]["content"]["parts"][1] == image


@pytest.mark.parametrize(
    "detail",
    [
        {"type": "gemini.signed", "of": "text", "start": 50, "end": 90, "thoughtSignature": "QQ=="},
        {"type": "gemini.signed", "of": "text", "start": "x", "end": None},
        {"type": "gemini.signed", "of": "text", "start": -5, "end": -9, "thoughtSignature": 3},
        {"type": "gemini.part", "of": "text", "start": 0, "part": 7},
        {"type": "gemini.part", "of": "text"},
        {"type": ["gemini.part"], "of": []},
    ],
)
def test_details_that_do_not_fit_the_text_cost_none_of_it(detail: dict[str, Any]) -> None:
    """A text that was shortened by hand, or details that were."""
    message = Message("assistant", "abc", reasoning=Reasoning(None, None, "thought", [detail]))
    parts = turns(Message.user("a"), message)[1]["parts"]
    assert "".join(part.get("text", "") for part in parts) == "abc"


# -- arguments in pieces -----------------------------------------------------------------------------------------------

LEAVES = st.one_of(st.none(), st.booleans(), st.integers(-9, 9), st.text(max_size=4))
TREES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3), st.dictionaries(st.text(max_size=3), inner, min_size=1, max_size=3)
    ),
    max_leaves=8,
)


def pieces_of(value: Any, path: str = "$") -> Iterator[dict[str, Any]]:
    """*value* as Vertex streams it, strings in two pieces."""
    if isinstance(value, dict):
        for key, item in value.items():
            quoted = key.replace("\\", "\\\\").replace("'", "\\'")
            yield from pieces_of(item, f"{path}['{quoted}']")
    elif isinstance(value, list):
        for at, item in enumerate(value):
            yield from pieces_of(item, f"{path}[{at}]")
    elif isinstance(value, str):
        half = len(value) // 2
        yield {"jsonPath": path, "stringValue": value[:half], "willContinue": True}
        yield {"jsonPath": path, "stringValue": value[half:]}
    elif value is None:
        yield {"jsonPath": path, "nullValue": "NULL_VALUE"}
    else:
        yield {"jsonPath": path, "boolValue" if isinstance(value, bool) else "numberValue": value}


@given(st.dictionaries(st.text(max_size=3), TREES, max_size=4))
@settings(max_examples=200)
def test_arguments_in_pieces_make_the_same_json(value: dict[str, Any]) -> None:
    arguments = PartialArguments()
    text = arguments.begin() + "".join(arguments.add(piece) for piece in pieces_of(value)) + arguments.end()
    assert json.loads(text) == value
    call = ToolCall("x", {"name": "f", "arguments": text[:-1]})  # type: ignore[arg-type]
    assert not call.is_complete


@pytest.mark.parametrize(
    "paths",
    [
        ["$.a", "$.a"],
        ["$.a.b", "$.a"],
        ["$.a", "$.a.b"],
        ["$.a.b", "$.c", "$.a.d"],
        ["$.a[1]"],
        ["$.a[0]", "$.a[2]"],
        ["$.a[0]", "$.a.b"],
        ["$"],
        ["$[0]"],
        ["a"],
        ["$.a[x]"],
        [""],
        [None],
        [7],
        ["$.a[" + "9" * 5000 + "]"],
    ],
)
def test_arguments_that_would_have_to_go_back_are_refused(paths: list[Any]) -> None:
    arguments = PartialArguments()
    *good, bad = [{"jsonPath": path, "numberValue": 1} for path in paths]
    for piece in good:
        arguments.add(piece)
    with pytest.raises(ValueError, match=r"."):
        arguments.add(bad)


# -- beside chat -------------------------------------------------------------------------------------------------------


def test_vectors_are_asked_for_and_read():
    params = EmbeddingParams("m", ["one", "two"], dimensions=2, extra_body={"taskType": "RETRIEVAL_QUERY"})
    request = GeminiDialect().embedding_request(params, model="m")
    assert request.path == "/models/m:batchEmbedContents"
    fields = {"model": "models/m", "outputDimensionality": 2, "taskType": "RETRIEVAL_QUERY"}
    assert json.loads(request.body)["requests"] == [
        {**fields, "content": {"parts": [{"text": text}]}} for text in ("one", "two")
    ]
    made = GeminiDialect().embeddings(b'{"embeddings": [{"values": [1, 0.5]}, {"values": [2, 3]}]}')
    assert made.vectors == [[1.0, 0.5], [2.0, 3.0]]


def test_models_are_listed_by_their_names():
    assert GeminiDialect().models_request().path == "/models?pageSize=1000"
    models = GeminiDialect().models(b'{"models": [{"name": "models/a"}, {"name": "tunedModels/b"}]}')
    assert [model.id for model in models] == ["a", "tunedModels/b"]
