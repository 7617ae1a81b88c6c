"""Cohere's dialect: chunks, messages, vectors and models; test_cohere.py has what version 1 has, too."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

import pytest
from choice_streams import decode, transcript
from cohere_requests import HI, PNG, a_call
from cohere_requests import sent as sent_by
from conftest import ROOT

from anyllm.errors import AnyLLMError, APIError, MalformedStreamError
from anyllm.types import ContentPart, EmbeddingParams, FunctionCall, Message, Reasoning, ToolCall
from anyllm.wire.cohere_v2.dialect import CohereV2Dialect, host_url

TRANSCRIPTS = ROOT / "tests" / "transcripts" / "cohere_v2"


def sent_turn(message: Message | dict[str, Any]) -> Any:
    return sent_by(2, [message])["messages"][0]


def test_chunks_keep_what_the_host_said() -> None:
    chunks, _, _ = decode(CohereV2Dialect(), [transcript("cohere_v2", "citations")])
    cited = [chunk for chunk in chunks if chunk.raw["type"].startswith("citation")]
    assert [chunk.choices for chunk in cited] == [(), ()]
    assert cited[0].raw["delta"]["message"]["citations"]["text"] == "Paris"


def test_half_an_emoji_without_its_other_half_is_replaced_in_every_shape_of_content() -> None:
    first, *_, last, _done, _rest = transcript("cohere_v2", "text").split(b"\n\n")
    shapes: list[Any] = [{"text": "a\ud83d"}, "a\ud83d", [{"text": "a\ud83d"}], ["a\ud83d"]]
    for content in shapes:
        delta = {"type": "content-delta", "index": 0, "delta": {"message": {"content": content}}}
        events = (first, b"data: %b" % json.dumps(delta).encode(), last)
        _, answer, error = decode(CohereV2Dialect(), [event + b"\n\n" for event in events])
        assert error is None
        assert answer.content == "a\ufffd"


# -- messages ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (Message.system("Be brief."), {"role": "system", "content": "Be brief."}),
        (Message("developer", "Be brief."), {"role": "system", "content": "Be brief."}),
        (Message.user(["a", {"type": "text", "text": "b"}]), {"role": "user", "content": ["a", "b"]}),
        (
            Message.user([ContentPart("image_url", image_url={"url": PNG, "detail": "low"})]),
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": PNG, "detail": "low"}}]},
        ),
        (
            Message.user([ContentPart.from_image("https://host/x.png")]),
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://host/x.png"}}]},
        ),
        (
            Message.user([{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}]),
            {"role": "user", "content": ["a"]},
        ),
        (Message.assistant("Hello"), {"role": "assistant", "content": "Hello"}),
        (Message.user("Hi", reasoning="Hm."), {"role": "user", "content": "Hi"}),
        (Message.assistant(None, refusal="No."), {"role": "assistant", "content": "No."}),
        (
            Message.assistant("4", reasoning=Reasoning("Hm.", field="thinking")),
            {"role": "assistant", "content": [{"type": "thinking", "thinking": "Hm."}, "4"]},
        ),
        (
            Message.assistant(["4"], reasoning="Hm."),
            {"role": "assistant", "content": [{"type": "thinking", "thinking": "Hm."}, "4"]},
        ),
        (
            Message.assistant(None, reasoning=Reasoning("Cut sho", field="thinking")),
            {"role": "assistant", "content": [{"type": "thinking", "thinking": "Cut sho"}]},
        ),
        (
            Message.assistant(
                None,
                tool_calls=[ToolCall("x", FunctionCall("f", "{}"))],
                reasoning=Reasoning("Plan.", field="tool_plan"),
            ),
            {"role": "assistant", "tool_plan": "Plan.", "tool_calls": [a_call("f", "{}")]},
        ),
        (
            Message.assistant(
                None,
                tool_calls=[ToolCall("x", FunctionCall("f", ""))],
                reasoning=Reasoning("From elsewhere.", field="reasoning_content"),
            ),
            {"role": "assistant", "tool_plan": "From elsewhere.", "tool_calls": [a_call("f", "{}")]},
        ),
        (
            Message.assistant(
                None, reasoning=Reasoning("A", details=[{"type": "reasoning.text", "text": "A", "index": 0}])
            ),
            {"role": "assistant", "content": [{"type": "thinking", "thinking": "A"}]},
        ),
        (Message.tool("22", "x"), {"role": "tool", "tool_call_id": "x", "content": "22"}),
        (Message.tool("22", "x", name="f"), {"role": "tool", "tool_call_id": "x", "content": "22"}),
        (
            Message.tool([{"type": "document", "document": {"id": "1", "data": {"t": 22}}}], "x"),
            {
                "role": "tool",
                "tool_call_id": "x",
                "content": [{"type": "document", "document": {"id": "1", "data": {"t": 22}}}],
            },
        ),
    ],
)
def test_messages_are_in_coheres_shape(message: Message, expected: dict[str, Any]) -> None:
    content = expected.get("content")
    if isinstance(content, list):
        expected = {
            **expected,
            "content": [{"type": "text", "text": part} if isinstance(part, str) else part for part in content],
        }
    assert sent_turn(message) == expected


@pytest.mark.parametrize("case", ["thinking_and_plan", "parallel_calls", "thinking", "text", "call_without_arguments"])
def test_answer_goes_back_as_it_came(case: str) -> None:
    body = (TRANSCRIPTS / f"{case}.whole.json").read_bytes()
    answer = CohereV2Dialect().response(body)
    came = {key: value for key, value in json.loads(body)["message"].items() if value}
    for call in came.get("tool_calls", ()):
        call["function"]["arguments"] = call["function"]["arguments"] or "{}"
    if case == "text":
        came["content"] = "Hello"
    assert sent_turn(answer.to_message()) == came


def test_calls_of_the_older_form_get_ids_and_their_results_find_them() -> None:
    call = ToolCall(None, FunctionCall("f", '{"x": 1}'))
    turns = sent_by(2, [*HI, Message.assistant(None, tool_calls=[call]), Message("function", "2", name="f")])
    assert turns["messages"][1]["tool_calls"][0]["id"] == "call_0"
    assert turns["messages"][2] == {"role": "tool", "tool_call_id": "call_0", "content": "2"}


# -- vectors and models ------------------------------------------------------------------------------------------------


def test_vectors_are_asked_for_documents_unless_told_otherwise() -> None:
    request = CohereV2Dialect().embedding_request(
        EmbeddingParams("e", ["a", "b"], extra_headers={"X-A": "1"}), model="e"
    )
    assert json.loads(request.body) == {
        "model": "e",
        "texts": ["a", "b"],
        "input_type": "search_document",
        "embedding_types": ["float"],
    }
    assert request.headers["X-A"] == "1"


PACKED = base64.b64encode(struct.pack("<2f", 1.5, -2.0)).decode()


@pytest.mark.parametrize(
    ("found", "vectors"),
    [
        ({"float": [[1, 2.5], [3.0, 4]]}, [[1.0, 2.5], [3.0, 4.0]]),
        ({"int8": [[1, -2]], "float": None}, [[1.0, -2.0]]),
        ({"int8": [[1, -2]], "float": [[0.5]]}, [[0.5]]),
        ({"base64": [PACKED]}, [[1.5, -2.0]]),
        ([[1, 2]], [[1.0, 2.0]]),
        ({"float": []}, []),
    ],
)
def test_vectors_are_read(found: Any, vectors: list[list[float]]) -> None:
    answer = {"id": "x", "embeddings": found, "meta": {"billed_units": {"input_tokens": 5}}}
    made = CohereV2Dialect().embeddings(json.dumps(answer).encode())
    assert made.vectors == vectors
    assert made.usage is not None
    assert (made.usage.prompt_tokens, made.usage.total_tokens) == (5, 5)
    assert (made.provider, made.raw) == ("cohere", answer)


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        (b'{"message": "invalid api token"}', APIError, "invalid api token"),
        (b'{"id": "x"}', MalformedStreamError, "no embeddings"),
        (b'{"embeddings": {"float": 3}}', MalformedStreamError, "known type"),
        (b'{"embeddings": {}}', MalformedStreamError, "known type"),
        (b'{"embeddings": {"float": [["a"]]}}', MalformedStreamError, "list of numbers"),
        (b'{"embeddings": {"base64": ["!"]}}', MalformedStreamError, "base64"),
        (b'{"embeddings": [[1' + b"0" * 400 + b"]]}", MalformedStreamError, "too large"),
        (b"7", MalformedStreamError, "a number"),
    ],
)
def test_what_are_no_vectors_is_said(body: bytes, kind: type[AnyLLMError], words: str) -> None:
    with pytest.raises(AnyLLMError, match=words) as caught:
        CohereV2Dialect().embeddings(body)
    assert type(caught.value) is kind


def test_models_are_listed() -> None:
    request = CohereV2Dialect().models_request()
    assert (request.method, request.path.partition("?")[0], request.body) == ("GET", "/v1/models", b"")
    item = {"name": "command-a-03-2025", "endpoints": ["chat"], "context_length": 256000}
    (model,) = CohereV2Dialect().models(json.dumps({"models": [item]}).encode())
    assert (model.id, model.created, model.provider, model.raw) == ("command-a-03-2025", 0, "cohere", item)


@pytest.mark.parametrize("body", [b'{"models": [1]}', b'{"models": [{"name": null}]}', b"[]", b'{"models": 3}'])
def test_what_is_no_list_of_models_is_said(body: bytes) -> None:
    with pytest.raises(MalformedStreamError):
        CohereV2Dialect().models(body)


@pytest.mark.parametrize("url", ["https://host", "https://host/v1", "https://host/v2", "https://host/v2/"])
def test_version_in_the_base_url_is_no_matter(url: str) -> None:
    assert host_url(url, "command") == "https://host"
    assert host_url("https://host/v1/proxy") == "https://host/v1/proxy"
