"""Providers with signed requests: each attempt is signed, and the signer gets the exact request."""

from __future__ import annotations

from typing import Any, List, Mapping

import attrs
import pytest

import anyllm
from anyllm._transport.http import Transport
from anyllm.errors import AuthenticationError, MissingAPIKeyError
from anyllm.providers.provider import Provider
from anyllm.providers.table import lookup
from anyllm.providers.table.row import UnsignedRequest
from anyllm.testing import Reply, chat_events, serve

PARAMS = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
GOOD = Reply.sse(chat_events("Hi"))


def signed(sign: Any, base_url: str, **fields: Any) -> Provider:
    """An ordinary provider with signatures."""
    row = attrs.evolve(lookup.find("compatible"), name="signed", base_url=base_url, sign=sign, **fields)  # type: ignore[arg-type]
    return Provider(row, transport=Transport(), options={"retry": {"backoff": 0}})


def test_the_signer_gets_the_exact_request_and_adds_headers():
    received: List[UnsignedRequest] = []

    def sign(request: UnsignedRequest) -> Mapping[str, str]:
        received.append(request)
        return {"Authorization": f"Signature {len(received)}"}

    with serve(Reply.error(503), GOOD) as server:
        host = signed(sign, server.url + "/v1?version=2")
        assert host.completion_stream(anyllm.Context(), PARAMS, api_key="id:secret").collect().content == "Hi"
        first, second = server.requests
        assert [request.headers["authorization"] for request in (first, second)] == ["Signature 1", "Signature 2"]
        assert (received[0].method, received[0].url) == ("POST", server.url + "/v1/chat/completions?version=2")
        assert received[0].body == first.body
        assert received[0].key == "id:secret"
        assert all(first.headers[name] == value for name, value in received[0].headers.items())
        assert "secret" not in repr(received[0])
        host.close()


def test_a_pair_of_variables_makes_the_key(monkeypatch: pytest.MonkeyPatch):
    keys: List[Any] = []

    def sign(request: UnsignedRequest) -> Mapping[str, str]:
        keys.append(request.key)
        return {}

    with serve(GOOD) as server:
        pair = {"key_pair_vars": ("THE_ID", "THE_SECRET"), "key_required": True}
        host = signed(sign, server.url, **pair)
        with pytest.raises(MissingAPIKeyError, match="set THE_ID and THE_SECRET"):
            host.completion(anyllm.Context(), PARAMS)
        monkeypatch.setenv("THE_ID", "id")
        with pytest.raises(MissingAPIKeyError):
            host.completion(anyllm.Context(), PARAMS)
        monkeypatch.setenv("THE_SECRET", "secret")
        host.completion_stream(anyllm.Context(), PARAMS).collect()
        assert keys == ["id:secret"]
        host.close()


def test_a_signer_that_cannot_ends_the_call_with_its_error():
    def sign(request: UnsignedRequest) -> Mapping[str, str]:
        raise AuthenticationError("the key is no pair")

    with serve(GOOD) as server:
        host = signed(sign, server.url)
        with pytest.raises(AuthenticationError, match="the key is no pair"):
            host.completion_stream(anyllm.Context(), PARAMS).collect()
        assert server.requests == []
        host.close()
