"""Embeddings and lists of models: requests, responses, and providers without them."""

from __future__ import annotations

import base64
import struct
from typing import Any

import pytest

import anyllm
from anyllm.errors import (
    APIError,
    AuthenticationError,
    InvalidRequestError,
    MalformedStreamError,
    MissingAPIKeyError,
    UnsupportedProviderError,
)
from anyllm.testing import Reply, serve
from anyllm.wire.openai_chat.dialect import OpenAIChatDialect

VECTORS = {
    "object": "list",
    "data": [{"object": "embedding", "index": 1, "embedding": [3, 4.5]}, {"index": 0, "embedding": [1.0, 2.0]}],
    "model": "small",
    "usage": {"prompt_tokens": 5, "total_tokens": 5},
}
MODELS = {"object": "list", "data": [{"id": "a/b", "created": 7, "owned_by": "us", "object": "model"}, {"id": "c"}]}
ctx = anyllm.Context


def test_vectors_come_in_the_order_of_the_texts():
    with serve(Reply.json(VECTORS)) as server:
        params = anyllm.EmbeddingParams("compatible/small", ["one", "two"], dimensions=2, extra_body={"user": "me"})
        embeddings = anyllm.embedding(ctx(), params, base_url=server.url, api_key="key")
        assert embeddings.vectors == [[1.0, 2.0], [3.0, 4.5]]
        assert (embeddings.model, embeddings.provider) == ("small", "compatible")
        assert embeddings.usage is not None
        assert (embeddings.usage.prompt_tokens, embeddings.usage.completion_tokens, embeddings.usage.total_tokens) == (
            5,
            0,
            5,
        )
        assert embeddings.raw == VECTORS
        (request,) = server.requests
        assert (request.path, request.headers["authorization"]) == ("/embeddings", "Bearer key")
        assert request.json() == {"model": "small", "input": ["one", "two"], "dimensions": 2, "user": "me"}


def test_one_text_and_a_dict_will_do():
    with serve(Reply.json({**VECTORS, "data": VECTORS["data"][1:]})) as server:
        host = anyllm.provider("compatible", base_url=server.url)
        assert host.embedding(ctx(), {"model": "small", "input": "one"}).vectors == [[1.0, 2.0]]
        assert server.requests[0].json()["input"] == ["one"]
        host.close()


def test_packed_vectors_are_unpacked():
    packed = base64.b64encode(struct.pack("<3f", 1.5, -2.0, 0.25)).decode()
    body = Reply.json({"data": [{"index": 0, "embedding": packed}]}).body
    assert OpenAIChatDialect().embeddings(b"".join(part for part in body if isinstance(part, bytes))).vectors == [
        [1.5, -2.0, 0.25]
    ]


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", MalformedStreamError),
        (b"[]", MalformedStreamError),
        (b"{}", MalformedStreamError),
        (b'{"data": 5}', MalformedStreamError),
        (b'{"data": ["x"]}', MalformedStreamError),
        (b'{"data": [{}]}', MalformedStreamError),
        (b'{"data": [{"embedding": ["x"]}]}', MalformedStreamError),
        (b'{"data": [{"embedding": [true]}]}', MalformedStreamError),
        (b'{"data": [{"embedding": [1' + b"0" * 400 + b"]}]}", MalformedStreamError),
        (b'{"data": [{"embedding": "no base64"}]}', MalformedStreamError),
        (b'{"data": [{"embedding": "AAA="}]}', MalformedStreamError),
        (b'{"error": {"message": "no such model"}}', APIError),
    ],
)
def test_malformed_embeddings_are_a_typed_error(body: bytes, kind: type):
    with pytest.raises(kind):
        OpenAIChatDialect().embeddings(body)


@pytest.mark.parametrize("items", [{"data": MODELS["data"]}, MODELS["data"], {"models": MODELS["data"]}])
def test_models_are_listed(items: Any):
    with serve(Reply.json(items)) as server:
        models = anyllm.list_models(ctx(), "compatible", base_url=server.url)
        assert [(model.id, model.created, model.owned_by, model.provider) for model in models] == [
            *(("a/b", 7, "us", "compatible"), ("c", 0, "", "compatible"))
        ]
        assert models[0].raw == MODELS["data"][0]
        host = anyllm.provider("compatible", base_url=server.url)
        assert anyllm.list_models(ctx(), host) == models
        host.close()
        assert {(request.method, request.path) for request in server.requests} == {("GET", "/models")}


@pytest.mark.parametrize("body", [b"", b"5", b"{}", b'{"data": [5]}', b'{"data": [{"id": 5}]}', b'{"data": null}'])
def test_a_malformed_list_is_a_typed_error(body: bytes):
    with pytest.raises(MalformedStreamError):
        OpenAIChatDialect().models(body)


def test_errors_are_those_of_every_call(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(MissingAPIKeyError):
        anyllm.list_models(ctx(), "openai")
    with pytest.raises(MissingAPIKeyError):
        anyllm.embedding(ctx(), {"model": "openai/m", "input": "x"})
    with serve(Reply.error(401, {"error": {"message": "wrong key"}})) as server:
        with pytest.raises(AuthenticationError, match="wrong key"):
            anyllm.list_models(ctx(), "compatible", base_url=server.url)
        with pytest.raises(AuthenticationError, match="wrong key"):
            anyllm.embedding(ctx(), {"model": "compatible/m", "input": "x"}, base_url=server.url)


def test_providers_without_embeddings_or_lists_raise():
    with pytest.raises(UnsupportedProviderError, match="local: does not support embeddings"):
        anyllm.embedding(ctx(), {"model": "local/smollm2", "input": "x"})
    with pytest.raises(UnsupportedProviderError, match="snowflake: does not list its models"):
        anyllm.list_models(ctx(), "snowflake", api_key="key", base_url="http://127.0.0.1:9")
    with pytest.raises(UnsupportedProviderError, match="no provider is called 'opnai'"):
        anyllm.embedding(ctx(), {"model": "opnai/m", "input": "x"})
    with pytest.raises(UnsupportedProviderError, match="no provider is called 'opnai'"):
        anyllm.list_models(ctx(), "opnai")
    with pytest.raises(InvalidRequestError, match="the model is missing"):
        anyllm.embedding(ctx(), {"model": "openai/", "input": "x"})


@pytest.mark.parametrize("wrong", [5, None, [5], b"x", {"a": 1}])
def test_input_that_is_not_text_is_a_type_error(wrong: Any):
    with pytest.raises(TypeError, match="input must be a str or a list of str"):
        anyllm.EmbeddingParams("m", wrong)


def test_a_missing_context_is_explained():
    with pytest.raises(TypeError, match="EmbeddingParams"):
        anyllm.embedding({"model": "m", "input": "x"})  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="takes a Context and a provider"):
        anyllm.list_models("openai", ctx())  # type: ignore[arg-type]
