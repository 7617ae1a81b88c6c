"""The Ollama dialect: hand-written transcripts, requests (also beside the official client's), errors, hostile input."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import choice_streams
import pytest
from choice_streams import Captured, Result, answering
from hypothesis import example, given, settings
from hypothesis import strategies as st

from anyllm import errors
from anyllm._framing.detect import JSONEvent
from anyllm.errors import (
    AnyLLMError,
    APIError,
    IncompleteStreamError,
    InvalidRequestError,
    MalformedStreamError,
    UnsupportedParameterError,
)
from anyllm.types import (
    REASONING_EFFORTS,
    CompletionParams,
    ContentPart,
    EmbeddingParams,
    Message,
    text_alone,
)
from anyllm.wire.ollama.base_url import host_url
from anyllm.wire.ollama.dialect import OllamaDialect

PNG = "iVBORw0KGgo="


def decode(reads: list[bytes]) -> Result:
    return choice_streams.decode(OllamaDialect(), reads)


def ndjson(*bodies: Any) -> list[bytes]:
    return [json.dumps(body).encode() + b"\n" for body in bodies]


def line(content: Any = "", *, done: Any = False, **more: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": content, **more.pop("message", {})}
    return {"model": "m", "created_at": "2025-05-01T10:00:00Z", "message": message, "done": done, **more}


END = line(done=True, done_reason="stop")


# -- the stream --------------------------------------------------------------------------------------------------------


def test_ordinary_lines_are_cheap_and_keep_what_the_host_said() -> None:
    (first, second), _, _ = decode(ndjson(line("a"), line("b", x=[1])))
    assert text_alone(first) is None
    assert text_alone(second) == "b"
    assert second.raw["x"] == [1]
    assert (second.model, second.created) == ("m", 1746093600)
    assert second.choices[0].delta.content == "b"


@pytest.mark.parametrize("done", [1, "true", None, [], {}])
def test_only_true_is_the_end(done: Any) -> None:
    _, answer, error = decode(ndjson(line("a", done=done, done_reason="stop")))
    assert isinstance(error, IncompleteStreamError)
    assert answer.finish_reason is None


@pytest.mark.parametrize(
    ("raw", "normalised"), [("stop", "stop"), ("length", "length"), ("load", "unknown"), ("unload", "unknown")]
)
def test_finish_reason_is_normalised_and_kept(raw: str, normalised: str) -> None:
    _, answer, error = decode(ndjson(line("a", done=True, done_reason=raw)))
    assert error is None
    assert (answer.finish_reason, answer.raw_finish_reason) == (normalised, raw)


def test_stop_with_calls_means_tool_calls_but_length_does_not() -> None:
    call = line(message={"tool_calls": [{"function": {"name": "f", "arguments": {}}}]})
    for raw, normalised in (("stop", "tool_calls"), ("length", "length")):
        chunks, answer, _ = decode(ndjson(call, line(done=True, done_reason=raw)))
        assert (chunks[-1].finish_reason, answer.finish_reason) == (normalised, normalised)


def test_arguments_that_are_text_are_kept_as_they_are() -> None:
    """Compatible servers send OpenAI's form."""
    call = {"function": {"name": "f", "arguments": '{"a": 1}'}}
    _, answer, _ = decode(ndjson(line(message={"tool_calls": [call]}), END))
    assert [call.arguments for call in answer.tool_calls] == ['{"a": 1}']


@pytest.mark.parametrize("error", ["", None, False, {}])
def test_empty_error_beside_an_answer_is_none(error: Any) -> None:
    _, answer, raised = decode(ndjson(line("a", error=error), {**END, "error": error}))
    assert raised is None
    assert answer.content == "a"


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        ({"error": "server busy, please try again"}, APIError, "server busy"),
        ({"error": {"message": "slow down", "code": 429}}, errors.RateLimitError, "slow down"),
        ({"error": ""}, APIError, "without a message"),
        ({"message": "forbidden", "code": 403}, errors.PermissionDeniedError, "forbidden"),
        ({"detail": "the prompt is too long"}, errors.ContextLengthExceededError, "too long"),
        (line("a", error="and then it broke"), APIError, "and then it broke"),
    ],
)
def test_error_in_the_stream_is_raised(body: Any, kind: type[AnyLLMError], words: str) -> None:
    _, answer, error = decode(ndjson(line("a"), body, END))
    assert type(error) is kind
    assert words in str(error)
    assert answer.content == "a"


def test_usage_counts_what_is_a_count() -> None:
    def usage_of(**figures: Any) -> Any:
        return decode(ndjson({**END, **figures}))[1].usage

    usage = usage_of(prompt_eval_count=4.0, eval_count="2", total_duration=3, x_count=1)
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (4, 2, 6)
    assert usage.raw == {"prompt_eval_count": 4.0, "eval_count": "2", "total_duration": 3, "x_count": 1}
    assert usage_of(total_duration=3) is None
    assert usage_of(prompt_eval_count=-1, eval_count=None) is None
    assert usage_of(prompt_eval_count=True, eval_count=[1]) is None


@pytest.mark.parametrize(
    "time",
    [None, 7, "", "2025-05-01", "2025-13-01T10:00:00Z", "0001-01-01T00:00:00Z", "0001-01-01T00:00:00+23:59", "9" * 40],
)
def test_time_that_cannot_be_read_is_none(time: Any) -> None:
    assert decode(ndjson({**END, "created_at": time}))[1].created == 0


# -- whole answers -----------------------------------------------------------------------------------------------------


def test_whole_answer_of_generate_is_read() -> None:
    answer = OllamaDialect().response(b'{"model": "m", "response": "Hi", "done": true, "done_reason": "stop"}')
    assert (answer.content, answer.finish_reason, answer.model) == ("Hi", "stop", "m")


def test_whole_answer_that_is_not_done_is_incomplete() -> None:
    with pytest.raises(IncompleteStreamError):
        OllamaDialect().response(json.dumps(line("Hi")).encode())


def test_whole_answer_with_an_error_inside_is_that_error() -> None:
    with pytest.raises(APIError, match="broke"):
        OllamaDialect().response(b'{"error": "it broke"}')
    with pytest.raises(APIError, match="broke"):
        OllamaDialect().response(json.dumps({**END, "error": "it broke"}).encode())


# -- requests ----------------------------------------------------------------------------------------------------------


def params(*messages: Any, **fields: Any) -> CompletionParams:
    return CompletionParams(model="ollama/m", messages=messages or ({"role": "user", "content": "Hi"},), **fields)


def sent(*messages: Any, stream: bool = False, **fields: Any) -> dict[str, Any]:
    request = OllamaDialect().request(params(*messages, **fields), model="m", stream=stream)
    body: dict[str, Any] = json.loads(request.body)
    return body


def sent_message(message: Any) -> dict[str, Any]:
    found: dict[str, Any] = sent(message)["messages"][0]
    return found


def test_every_parameter_has_its_place() -> None:
    body = sent(
        temperature=0,
        top_p=0.5,
        max_tokens=10,
        stop="x",
        seed=7,
        n=1,
        logprobs=True,
        top_logprobs=3,
        tool_choice="auto",
        stream_options={"include_usage": True},
        response_format={"type": "json_object"},
        reasoning_effort="high",
    )
    options = {"temperature": 0, "top_p": 0.5, "num_predict": 10, "seed": 7, "stop": ["x"]}
    assert {key: value for key, value in body.items() if key not in ("model", "messages", "stream")} == {
        "options": options,
        "logprobs": True,
        "top_logprobs": 3,
        "format": "json",
        "think": "high",
    }


@pytest.mark.parametrize(
    ("given", "think"),
    [
        ({}, None),
        ({"reasoning_effort": "auto"}, None),
        ({"reasoning_effort": "none"}, False),
        ({"reasoning_effort": "minimal"}, "low"),
        ({"reasoning_effort": "low"}, "low"),
        ({"reasoning_effort": "medium"}, "medium"),
        ({"reasoning_effort": "high"}, "high"),
        ({"reasoning_effort": "xhigh"}, "high"),
        ({"reasoning_effort": "max"}, "max"),
        ({"thinking_budget": 0}, False),
        ({"thinking_budget": 0, "reasoning_effort": "none"}, False),
        ({"extra_body": {"think": True}, "reasoning_effort": "low"}, True),
    ],
)
def test_effort_is_a_level_of_think(given: dict[str, Any], think: Any) -> None:
    assert sent(**given).get("think") == think


def test_every_effort_has_a_meaning() -> None:
    for effort in REASONING_EFFORTS:
        sent(reasoning_effort=effort)


def test_schema_is_the_format_itself() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    wanted = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": True}}
    assert sent(response_format=wanted)["format"] == schema
    assert "format" not in sent(response_format={"type": "text"})


def test_tools_are_sent_in_openais_shape() -> None:
    function = {"name": "f", "description": "d", "parameters": {"type": "object", "x": 1}, "strict": True}
    own = {"type": "web_search", "limit": 3}
    assert sent(tools=[{"type": "function", "function": function}, own], functions=[{"name": "g"}])["tools"] == [
        {"type": "function", "function": function},
        own,
        {"type": "function", "function": {"name": "g"}},
    ]


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({"user": "u"}, "user"),
        ({"parallel_tool_calls": False}, "parallel_tool_calls"),
        ({"n": 2}, "n"),
        ({"n": 0}, "n"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": "none"}, "tool_choice"),
        ({"tool_choice": {"type": "function", "function": {"name": "f"}}}, "tool_choice"),
        ({"tool_choice": {"type": "allowed_tools"}}, "tool_choice"),
        ({"function_call": {"name": "f"}}, "function_call"),
        ({"thinking_budget": 1024}, "thinking_budget"),
        ({"stream_options": {"include_usage": True, "other": 1}}, "stream_options"),
    ],
)
def test_what_the_host_cannot_do_is_named(given: dict[str, Any], name: str) -> None:
    with pytest.raises(UnsupportedParameterError) as caught:
        sent(**given)
    assert caught.value.param == name
    assert name in str(caught.value)
    assert caught.value.provider == "ollama"


@pytest.mark.parametrize(
    ("part", "name"),
    [
        ({"type": "image_url", "image_url": {"url": "https://host.example/a.png"}}, "image_url"),
        ({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}, "input_audio"),
        ({"type": "file", "file": {"file_data": "data:application/pdf;base64,AAAA"}}, "file"),
        ({"type": "file", "file": {"file_id": "f1"}}, "file"),
        ({"type": "video_url", "text": "x"}, "video_url"),
        ({"type": "text", "text": "x", "annotations": [1]}, "annotations"),
    ],
)
def test_parts_the_host_cannot_take_are_named(part: Any, name: str) -> None:
    with pytest.raises(UnsupportedParameterError) as caught:
        sent_message(Message.user([part]))
    assert caught.value.param == name
    assert name in str(caught.value)


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": [{"type": "function", "function": {}}]},
        {"tools": [7]},
        {"response_format": {"type": "json_schema"}},
    ],
)
def test_what_cannot_be_sent_at_all_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        sent(**fields)
    assert caught.value.provider == "ollama"


def test_extra_body_and_headers_win_and_options_are_joined() -> None:
    """Who adds ``num_ctx`` keeps the temperature."""
    extra = {"model": "other", "keep_alive": "10m", "options": {"num_ctx": 8192, "seed": 2}}
    request = OllamaDialect().request(
        params(temperature=0.5, seed=1, extra_body=extra, extra_headers={"accept": "x/y", "X-Title": "t"}),
        model="m",
        stream=True,
    )
    body = json.loads(request.body)
    assert (body["model"], body["keep_alive"]) == ("other", "10m")
    assert body["options"] == {"temperature": 0.5, "seed": 2, "num_ctx": 8192}
    assert request.headers == {"Content-Type": "application/json", "accept": "x/y", "X-Title": "t"}
    assert extra["options"] == {"num_ctx": 8192, "seed": 2}
    assert sent(temperature=1, extra_body={"options": None})["options"] is None


def test_messages_in_ollamas_shape() -> None:
    assert sent_message(Message.system("Be brief.", name="ops")) == {"role": "system", "content": "Be brief."}
    assert sent_message(Message("developer", "Be brief.")) == {"role": "system", "content": "Be brief."}
    assert sent_message(Message.assistant(refusal="No.")) == {"role": "assistant", "content": "No."}
    assert sent_message(Message.assistant()) == {"role": "assistant", "content": ""}
    parts = [{"type": "text", "text": "See "}, ContentPart.from_image(f"data:image/png;base64,{PNG}"), "this."]
    assert sent_message(Message.user(parts)) == {"role": "user", "content": "See this.", "images": [PNG]}


def test_reasoning_goes_back_as_thinking() -> None:
    reasoning = {"content": "Hm", "field": "reasoning_content", "signature": "s"}
    message = sent_message(Message.assistant("Yes", reasoning=reasoning))
    assert message == {"role": "assistant", "content": "Yes", "thinking": "Hm"}
    assert sent_message(Message.assistant("Yes", reasoning={"signature": "s"})) == {
        "role": "assistant",
        "content": "Yes",
    }
    assert sent_message(Message.user("Yes", reasoning="Hm")) == {"role": "user", "content": "Yes"}


def test_results_name_the_function_of_the_turn_before_them() -> None:
    """Made-up ids begin anew with each answer: the same one means another call later on."""

    def turn(name: str) -> list[Message]:
        call = {"id": "call_0", "function": {"name": name, "arguments": '{"a": 1}'}}
        return [Message.assistant(tool_calls=[call]), Message.tool("42", "call_0")]

    messages = sent(Message.user("Hi"), *turn("first"), *turn("second"))["messages"]
    assert [message.get("tool_name") for message in messages] == [None, None, "first", None, "second"]
    assert messages[1] == {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"id": "call_0", "function": {"name": "first", "arguments": {"a": 1}}}],
    }
    assert messages[2] == {"role": "tool", "content": "42", "tool_name": "first", "tool_call_id": "call_0"}


def test_result_of_an_unknown_call_is_sent_without_a_name() -> None:
    assert sent_message(Message.tool("42", "k")) == {"role": "tool", "content": "42", "tool_call_id": "k"}
    named = {"role": "tool", "content": "42", "tool_name": "f"}
    assert sent_message(Message.tool("42", "", name="f")) == named
    assert sent_message(Message("function", "42", name="f")) == named  # the form before tools


def test_calls_whose_arguments_are_no_object_are_refused() -> None:
    for arguments in ("{", "[1]", "text"):
        with pytest.raises(InvalidRequestError) as caught:
            sent_message(Message.assistant(tool_calls=[{"id": "k", "function": {"name": "f", "arguments": arguments}}]))
        assert caught.value.param == "messages"
    call = sent_message(Message.assistant(tool_calls=[{"function": {"name": "f"}}]))["tool_calls"][0]
    assert call == {"function": {"name": "f", "arguments": {}}}


# -- beside the official client ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def official() -> Iterator[tuple[Any, Captured]]:
    """The official client, and what a loopback server got from it."""
    ollama = pytest.importorskip("ollama")
    with (
        answering(json.dumps(END).encode(), "application/x-ndjson") as (url, captured),
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("NO_PROXY", "*")
        patch.delenv("OLLAMA_API_KEY", raising=False)
        with ollama.Client(host=url) as client:
            yield client, captured


USER = {"role": "user", "content": "Hi"}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string", "description": "Which"}}, "required": ["city"]}
TOOL = {"type": "function", "function": {"name": "weather", "description": "d", "parameters": SCHEMA}}
STRICT = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 1}}, "additionalProperties": False}
STRICT_TOOL = {"type": "function", "function": {"name": "count", "parameters": STRICT, "strict": True}}
OUR_CALL = {"id": "call_0", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
THEIR_CALL = {"function": {"name": "weather", "arguments": {"city": "Oslo"}}}
IMAGE = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}

#: What we send in other words than the official client, and why.
DIFFERENCES = {
    "tools": "it sends an empty list where there are no tools; we send none",
    "messages.*.content": "it leaves an empty one out, though the API's documents require it",
    "messages.*.tool_calls.*.id": "it drops the id that the server's newer versions give and take",
    "messages.*.tool_call_id": "it drops the id that the server's newer versions take",
    "tools.*.function.strict": "it drops what its own classes do not know",
    "tools.*.function.parameters.additionalProperties": "it drops what its own classes do not know",
    "tools.*.function.parameters.properties.n.minimum": "it drops what its own classes do not know",
}

#: Our parameters, the official client's for the same call, and which of the differences are to be seen.
CALLS: dict[str, tuple[dict[str, Any], dict[str, Any], set[str]]] = {
    "text": ({}, {}, set()),
    "system": (
        {"messages": [{"role": "system", "content": "Be brief."}, USER]},
        {"messages": [{"role": "system", "content": "Be brief."}, USER]},
        set(),
    ),
    "sampling": (
        {"temperature": 0.5, "top_p": 0.9, "seed": 7, "max_tokens": 100},
        {"options": {"temperature": 0.5, "top_p": 0.9, "seed": 7, "num_predict": 100}},
        set(),
    ),
    "stop": ({"stop": ["a", "b"]}, {"options": {"stop": ["a", "b"]}}, set()),
    "json": ({"response_format": {"type": "json_object"}}, {"format": "json"}, set()),
    "schema": (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": STRICT}}},
        {"format": STRICT},
        set(),
    ),
    "no thinking": ({"reasoning_effort": "none"}, {"think": False}, set()),
    "thinking": ({"reasoning_effort": "high"}, {"think": "high"}, set()),
    "logprobs": ({"logprobs": True, "top_logprobs": 2}, {"logprobs": True, "top_logprobs": 2}, set()),
    "keep_alive": (
        {"extra_body": {"keep_alive": "5m", "options": {"num_ctx": 4096}}, "temperature": 1.0},
        {"keep_alive": "5m", "options": {"temperature": 1.0, "num_ctx": 4096}},
        set(),
    ),
    "image": (
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "See"}, IMAGE, IMAGE]}]},
        {"messages": [{"role": "user", "content": "See", "images": [PNG, PNG]}]},
        set(),
    ),
    "tools": ({"tools": [TOOL], "tool_choice": "auto"}, {"tools": [TOOL]}, set()),
    "strict tools": (
        {"tools": [STRICT_TOOL]},
        {"tools": [STRICT_TOOL]},
        {
            "tools.*.function.strict",
            "tools.*.function.parameters.additionalProperties",
            "tools.*.function.parameters.properties.n.minimum",
        },
    ),
    "result": (
        {
            "tools": [TOOL],
            "messages": [
                USER,
                {"role": "assistant", "tool_calls": [OUR_CALL], "reasoning": "Hm"},
                {"role": "tool", "content": "cold", "tool_call_id": "call_0"},
            ],
        },
        {
            "tools": [TOOL],
            "messages": [
                USER,
                {"role": "assistant", "tool_calls": [THEIR_CALL], "thinking": "Hm"},
                {"role": "tool", "content": "cold", "tool_name": "weather"},
            ],
        },
        {"messages.*.content", "messages.*.tool_calls.*.id", "messages.*.tool_call_id"},
    ),
    "earlier turn": (
        {"messages": [USER, {"role": "assistant", "content": "Yes", "reasoning": "Hm"}, USER]},
        {"messages": [USER, {"role": "assistant", "content": "Yes", "thinking": "Hm"}, USER]},
        set(),
    ),
}


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, str, Any]]:
    """Each leaf: where exactly, where in general, and what."""
    if isinstance(value, dict) and value:
        items: Any = value.items()
    elif isinstance(value, list) and value:
        items = enumerate(value)
    else:
        yield path, ".".join("*" if step.isdigit() else step for step in path.split(".")), value
        return
    for key, item in items:
        yield from leaves(item, f"{path}.{key}" if path else str(key))


@pytest.mark.long
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", CALLS)
def test_request_is_the_official_clients(name: str, stream: bool, official: tuple[Any, Captured]) -> None:
    (client, captured), (ours, theirs, seen) = official, CALLS[name]
    ours, theirs = {"messages": [USER], **ours}, {"messages": [USER], **theirs}
    captured.count = 0
    answer = client.chat("m", stream=stream, **theirs)
    if stream:
        list(answer)
    assert captured.count == 1
    request = OllamaDialect().request(CompletionParams(model="m", **ours), model="m", stream=stream)
    assert request.path == captured.path
    mine, other = list(leaves(json.loads(request.body))), list(leaves(captured.body))
    different = {general for at, general, value in mine if (at, general, value) not in other}
    different |= {general for at, general, value in other if (at, general, value) not in mine}
    assert different == (seen if "tools" in ours else seen | {"tools"})
    assert different <= set(DIFFERENCES)


HOSTS = [
    *("", "1.2.3.4", ":56789", "1.2.3.4:56789", "http://1.2.3.4", "https://1.2.3.4", "https://1.2.3.4:56789"),
    *("example.com", "example.com:56789", "example.com/", "example.com:56789/path/", "https://example.com/a/b"),
    *("[::1]", "[::1]:56789", "http://[::1]", "https://[::1]:56789/path", "[::1]/path", "http://", "localhost"),
    *("0.0.0.0", "http://localhost:11434/", "https://ollama.com", "unix://x", "HOST.example", "user:pw@host", "a?b#c"),
]


@pytest.fixture(scope="module")
def parse_host() -> Any:
    """The official client's own reading."""
    return pytest.importorskip("ollama._client")._parse_host


@pytest.mark.long
@pytest.mark.parametrize("text", HOSTS)
def test_host_is_read_as_the_official_client_reads_it(text: str, parse_host: Any) -> None:
    assert host_url(text) == parse_host(text)


@pytest.mark.long
@given(text=st.text(alphabet="a1.:/[]@ é", max_size=12) | st.sampled_from(HOSTS))
@settings(max_examples=300)
@example(text="://")
def test_any_host_is_read_as_the_official_client_reads_it(text: str, parse_host: Any) -> None:
    try:
        expected = parse_host(text)
    except ValueError:
        with pytest.raises(ValueError, match=r".*"):
            host_url(text)
    else:
        assert host_url(text) == expected


def test_hosts_without_the_official_client() -> None:
    assert host_url("") == "http://127.0.0.1:11434"
    assert host_url("0.0.0.0") == "http://0.0.0.0:11434"
    assert host_url("https://ollama.com/") == "https://ollama.com:443"
    assert host_url("[::1]:1/x/") == "http://[::1]:1/x"
    for wrong in ("host:port", "host:99999", "[::1"):
        with pytest.raises(ValueError, match=r".+"):
            host_url(wrong)


# -- vectors and models ------------------------------------------------------------------------------------------------


@pytest.mark.long
def test_vectors_are_asked_for_as_the_official_client_does(official: tuple[Any, Captured]) -> None:
    client, captured = official
    captured.count = 0
    with contextlib.suppress(Exception):  # the answer is none to this question
        client.embed("m", ["a", "b"], truncate=False, dimensions=2)
    params = EmbeddingParams("m", ["a", "b"], dimensions=2, extra_body={"truncate": False})
    request = OllamaDialect().embedding_request(params, model="m")
    assert captured.count == 1
    assert (request.path, json.loads(request.body)) == (captured.path, captured.body)
    assert request.method == "POST"


def test_vectors_are_read() -> None:
    body = {"model": "m", "embeddings": [[1, 2.5], [0.0, -1e-3]], "total_duration": 9, "prompt_eval_count": 4}
    made = OllamaDialect().embeddings(json.dumps(body).encode())
    assert made.vectors == [[1.0, 2.5], [0.0, -0.001]]
    assert (made.model, made.provider, made.raw) == ("m", "ollama", body)
    assert made.usage is not None
    assert (made.usage.prompt_tokens, made.usage.total_tokens) == (4, 4)
    assert made.usage.raw == {"total_duration": 9, "prompt_eval_count": 4}


def test_models_are_read() -> None:
    items = [
        {"name": "a:latest", "model": "a:latest", "modified_at": "2025-05-01T10:00:00.5-00:00", "size": 7},
        {"name": "b"},
    ]
    found = OllamaDialect().models(json.dumps({"models": items}).encode())
    assert [(model.id, model.created, model.provider, model.raw) for model in found] == [
        ("a:latest", 1746093600, "ollama", items[0]),
        ("b", 0, "ollama", items[1]),
    ]
    request = OllamaDialect().models_request()
    assert (request.method, request.path, request.body) == ("GET", "/api/tags", b"")


@pytest.mark.parametrize("body", [{}, [], {"embeddings": 7}, {"embeddings": [7]}, {"embeddings": [["x"]]}])
def test_what_are_no_vectors_is_malformed(body: Any) -> None:
    with pytest.raises(MalformedStreamError):
        OllamaDialect().embeddings(json.dumps(body).encode())


def test_too_large_a_number_is_malformed() -> None:
    with pytest.raises(MalformedStreamError, match="too large"):
        OllamaDialect().embeddings(b'{"embeddings": [[1' + b"0" * 400 + b"]]}")


@pytest.mark.parametrize("body", [{}, [], {"models": 7}, {"models": [7]}, {"models": [{"size": 7}]}])
def test_what_is_no_list_of_models_is_malformed(body: Any) -> None:
    with pytest.raises(MalformedStreamError):
        OllamaDialect().models(json.dumps(body).encode())


def test_errors_in_place_of_vectors_and_models() -> None:
    for read in (OllamaDialect().embeddings, OllamaDialect().models):
        with pytest.raises(errors.ModelNotFoundError, match="not found"):
            read(b'{"error": "model \\"x\\" not found"}')


# -- errors ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "said", "kind"),
    [
        (404, 'model "x" not found, try pulling it first', "ModelNotFoundError"),
        (404, "model 'x' not found", "ModelNotFoundError"),
        (400, "invalid option provided", "InvalidRequestError"),
        (400, "registry.ollama.ai/library/x does not support tools", "InvalidRequestError"),
        (400, "the input length exceeds the context length", "ContextLengthExceededError"),
        (400, "prompt too long; exceeded max context length by 7 tokens", "ContextLengthExceededError"),
        (401, "unauthorized", "AuthenticationError"),
        (403, "this model requires a subscription, upgrade for access", "PermissionDeniedError"),
        (429, "you've reached your hourly usage limit", "RateLimitError"),
        (500, "llama runner process has terminated: exit status 2", "ServerError"),
        (500, "model requires more system memory (9.0 GiB) than is available (7.1 GiB)", "ServerError"),
        (502, "upstream error", "ServerError"),
        (503, "server busy, please try again. maximum pending requests exceeded", "OverloadedError"),
    ],
)
def test_refusal_is_the_right_error_and_says_why(status: int, said: str, kind: str) -> None:
    error = OllamaDialect(provider="host").error(status, {}, json.dumps({"error": said}).encode())
    assert type(error) is getattr(errors, kind)
    assert (error.status_code, error.provider, error.body) == (status, "host", {"error": said})
    assert said in str(error)


# -- what cannot be read -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        '{"message": "x"}',
        '{"message": [7]}',
        '{"message": {"content": 7}}',
        '{"message": {"content": [{"type": "text"}]}}',
        '{"message": {"content": "", "thinking": true}}',
        '{"message": {"tool_calls": "x"}}',
        '{"message": {"tool_calls": [1]}}',
        '{"message": {"tool_calls": [{}]}}',
        '{"message": {"tool_calls": [{"function": "f"}]}}',
        '{"message": {"tool_calls": [{"function": {"arguments": {}}}]}}',
        '{"message": {"tool_calls": [{"function": {"name": 7}}]}}',
        '{"message": {"tool_calls": [{"id": 7, "function": {"name": "f"}}]}}',
        '{"message": {"tool_calls": [{"function": {"name": "f", "arguments": [1]}}]}}',
        '{"message": {}, "model": []}',
        '{"message": {}, "done": true, "done_reason": 7}',
        '{"response": 7}',
    ],
)
def test_nonsense_is_a_malformed_stream(data: str) -> None:
    with pytest.raises(MalformedStreamError) as caught:
        OllamaDialect(provider="host").decoder().feed(JSONEvent(data))
    assert caught.value.provider == "host"
    assert len(str(caught.value)) < 250
