"""The Ollama dialect beside the conformance suite: lines, errors in the stream, addresses, vectors and models."""

from __future__ import annotations

import json
from typing import Any

import choice_streams
import pytest
from choice_streams import Result
from hypothesis import example, given, settings
from hypothesis import strategies as st

from anyllm import errors
from anyllm.errors import AnyLLMError, APIError, IncompleteStreamError, MalformedStreamError
from anyllm.types import text_alone
from anyllm.wire.ollama.base_url import host_url
from anyllm.wire.ollama.dialect import OllamaDialect


def decode(reads: list[bytes]) -> Result:
    return choice_streams.decode(OllamaDialect(), reads)


def ndjson(*bodies: Any) -> list[bytes]:
    return [json.dumps(body).encode() + b"\n" for body in bodies]


def line(content: Any = "", *, done: Any = False, **more: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": content, **more.pop("message", {})}
    return {"model": "m", "created_at": "2025-05-01T10:00:00Z", "message": message, "done": done, **more}


END = line(done=True, done_reason="stop")


# -- the stream --------------------------------------------------------------------------------------------------------


def test_ordinary_lines_are_cheap_and_keep_the_providers_fields() -> None:
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


# -- beside the official client ----------------------------------------------------------------------------------------


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


def test_too_large_a_number_is_malformed() -> None:
    with pytest.raises(MalformedStreamError, match="too large"):
        OllamaDialect().embeddings(b'{"embeddings": [[1' + b"0" * 400 + b"]]}")
