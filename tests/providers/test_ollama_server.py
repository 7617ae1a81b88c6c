"""Managing the models of an Ollama server: requests, compared with the official client's, and responses."""

from __future__ import annotations

import contextlib
import json
import pickle
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import anyllm
from anyllm._framing.body_events import JSONEvent, events
from anyllm.errors import (
    AnyLLMError,
    APIError,
    IncompleteStreamError,
    MalformedStreamError,
    ModelNotFoundError,
    UnsupportedProviderError,
)
from anyllm.providers import ollama
from anyllm.testing import Cut, Reply, Stall, serve
from anyllm.wire.ollama.models import (
    PullDecoder,
    PullProgress,
    delete_request,
    model_details,
    pull_request,
    show_request,
)

PULL = [
    {"status": "pulling manifest"},
    {"status": "pulling 6a0746a1ec1a", "digest": "sha256:6a07", "total": 900},
    {"status": "pulling 6a0746a1ec1a", "digest": "sha256:6a07", "total": 900, "completed": 450},
    {"status": "pulling 6a0746a1ec1a", "digest": "sha256:6a07", "total": 900, "completed": 900},
    {"status": "verifying sha256 digest"},
    {"status": "writing manifest"},
    {"status": "success"},
]
SHOWN = {
    "modelfile": "FROM x",
    "details": {"family": "llama", "parameter_size": "8.0B", "quantization_level": "Q4_K_M", "parent_model": ""},
    "model_info": {"general.architecture": "llama", "llama.context_length": 8192, "llama.block_count": 32},
    "capabilities": ["completion", "tools"],
}


def pulled(lines: list[Any], *, size: int | None = None) -> list[PullProgress]:
    body = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    reads = [body] if size is None else [body[at : at + size] for at in range(0, len(body), size)]
    decoder = PullDecoder(provider="host")
    found = [progress for event in events(reads, max_event_bytes=1 << 20) for progress in decoder.feed(event)]
    decoder.finish()
    return [progress for progress in found if progress is not None]


@pytest.mark.parametrize("size", [None, 1, 7])
def test_pull_is_read_line_by_line(size: int | None) -> None:
    found = pulled(PULL, size=size)
    assert [progress.raw for progress in found] == PULL
    assert found[0] == PullProgress("pulling manifest")
    assert found[2] == PullProgress("pulling 6a0746a1ec1a", "sha256:6a07", 900, 450)
    assert [progress.is_last for progress in found] == [False] * 6 + [True]


def test_pull_that_stops_anywhere_is_incomplete() -> None:
    for fed in range(len(PULL)):
        with pytest.raises(IncompleteStreamError, match="before it succeeded"):
            pulled(PULL[:fed])


def test_pull_is_over_when_it_succeeded() -> None:
    decoder = PullDecoder()
    assert not decoder.done
    assert decoder.feed(JSONEvent('{"status": "success"}')) == (PullProgress("success"),)
    assert decoder.done
    assert decoder.feed(JSONEvent('{"error": "late"}')) == ()


def test_error_during_a_pull_is_raised() -> None:
    with pytest.raises(APIError, match="manifest: file does not exist") as caught:
        pulled([PULL[0], {"error": "pull model manifest: file does not exist"}])
    assert caught.value.provider == "host"


def test_details_of_a_model_are_read() -> None:
    details = model_details(json.dumps(SHOWN).encode())
    assert details.capabilities == ("completion", "tools")
    assert details.context_length == 8192
    assert (details.family, details.parameter_size, details.quantization) == ("llama", "8.0B", "Q4_K_M")
    assert details.raw == SHOWN


def test_details_of_an_old_server_are_read() -> None:
    details = model_details(b'{"details": {"family": null}, "capabilities": null, "model_info": []}')
    assert (details.capabilities, details.context_length, details.family) == ((), None, "")


def test_malformed_details_are_an_error() -> None:
    with pytest.raises(ModelNotFoundError, match="not found"):
        model_details(b'{"error": "model \\"x\\" not found"}')
    with pytest.raises(MalformedStreamError, match="has no details"):
        model_details(b"{}")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("\ud83d"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(("status", "digest", "total", "completed", "error", "details", "family", "capabilities"))
            | st.sampled_from(("model_info", "x.context_length", "message", "code")),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)


@given(st.lists(JSON, max_size=3))
@settings(max_examples=200)
def test_random_json_raises_only_our_errors(values: list[Any]) -> None:
    decoder = PullDecoder()
    with contextlib.suppress(AnyLLMError):
        for value in values:
            decoder.feed(JSONEvent(json.dumps(value)))
    for value in values:
        with contextlib.suppress(AnyLLMError):
            model_details(json.dumps(value).encode())


# -- beside the official client ----------------------------------------------------------------------------------------


def parts(request: Any) -> tuple[str, str, Any]:
    """Of a request that we make, or of one that a server received."""
    return request.method, request.path, json.loads(request.body)


@pytest.mark.long
def test_requests_are_the_official_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    official = pytest.importorskip("ollama")
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.delenv("OLLAMA_API_KEY", raising=False)
    replies = [Reply.ndjson(PULL), Reply(body=[], framing="length"), Reply.json(SHOWN)]
    with serve(*replies) as server, official.Client(host=server.url) as client:
        official_progress = list(client.pull("m", stream=True, insecure=True))
        client.delete("m")
        official_details = client.show("m")
        assert [parts(request) for request in server.requests] == [
            parts(pull_request("m", insecure=True)),
            parts(delete_request("m")),
            parts(show_request("m")),
        ]
    ours = [(progress.status, progress.digest, progress.total, progress.completed) for progress in pulled(PULL)]
    assert ours == [(line.status, line.digest, line.total, line.completed) for line in official_progress]
    details = model_details(json.dumps(SHOWN).encode())
    assert details.family == official_details.details.family
    assert list(details.capabilities) == official_details.capabilities


def test_pull_from_the_public_library_does_not_mention_certificates() -> None:
    assert parts(pull_request("m")) == ("POST", "/api/pull", {"model": "m", "stream": True})


# -- over real HTTP ----------------------------------------------------------------------------------------------------


def test_a_pull_is_a_stream_of_its_progress():
    with serve(Reply.ndjson(PULL)) as server:
        chunks, errors = ollama.pull(anyllm.Context(), "llama3.2", base_url=server.url)
        assert [progress.raw for progress in chunks] == PULL
        assert errors.get() is None
        assert ollama.pull(anyllm.Context(), "llama3.2", base_url=server.url).collect().is_last
        assert (server.requests[0].path, server.requests[0].json()["model"]) == ("/api/pull", "llama3.2")


def test_a_pull_that_is_cut_says_how_far_it_came():
    with serve(Reply.ndjson([*PULL[:3], Cut("reset")])) as server:
        with pytest.raises(IncompleteStreamError) as caught:
            ollama.pull(anyllm.Context(), "m", base_url=server.url).collect()
        assert caught.value.partial.completed == 450
        assert pickle.loads(pickle.dumps(caught.value)).partial.completed == 450


def test_a_pull_is_cancelled_like_any_stream():
    with serve(Reply.ndjson([PULL[0], Stall()])) as server:
        stream = ollama.pull(anyllm.Context(), "m", base_url=server.url)
        assert stream.chunks.get(timeout=15).status == "pulling manifest"
        stream.cancel()
        assert list(stream.chunks) == []
        assert isinstance(stream.errors.get(), anyllm.Cancelled)
        assert server.wait_closed(15)


def test_show_and_delete():
    with serve(Reply.json(SHOWN), Reply(body=[], framing="length")) as server:
        assert ollama.show(anyllm.Context(), "m", base_url=server.url) == model_details(json.dumps(SHOWN).encode())
        assert ollama.delete(anyllm.Context(), "m", base_url=server.url) is None
        assert [(request.method, request.path) for request in server.requests] == [
            *(("POST", "/api/show"), ("DELETE", "/api/delete"))
        ]


def test_a_missing_model_is_model_not_found():
    with serve(Reply.error(404, {"error": "model 'm' not found"})) as server:
        for call in (ollama.show, ollama.delete, lambda *args, **kwargs: ollama.pull(*args, **kwargs).collect()):
            with pytest.raises(ModelNotFoundError, match="model 'm' not found"):
                call(anyllm.Context(), "m", base_url=server.url)


def test_only_ollama_has_models_to_manage():
    with pytest.raises(UnsupportedProviderError, match="openai: is not an Ollama server"):
        ollama.pull(anyllm.Context(), "m", provider="openai")
