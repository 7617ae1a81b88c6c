"""Azure OpenAI: both forms of its URL and both kinds of key, compared with the official client."""

from __future__ import annotations

from typing import Any, Tuple

import pytest

import anyllm
from anyllm.providers import azure
from anyllm.testing import Reply, chat_events, serve

TOKEN = "eyJhbGciOiJub25lIn0.e30.c2lnbmF0dXJl"
PARAMS = {"model": "azure/my deployment", "messages": [{"role": "user", "content": "Hi"}]}


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_VERSION", "AZURE_API_VERSION", "AZURE_OPENAI_API_KEY", "AZURE_OPENAI_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)


ENDPOINT = "https://me.openai.azure.com"
PLACES = [
    (ENDPOINT, None, f"{ENDPOINT}/openai/v1"),
    (f"{ENDPOINT}/", "preview", f"{ENDPOINT}/openai/v1"),
    (ENDPOINT, "2024-10-21", f"{ENDPOINT}/openai/deployments/a%2Fb?api-version=2024-10-21"),
    (f"{ENDPOINT}/openai/v1/", "2024-10-21", f"{ENDPOINT}/openai/v1/"),
    ("https://gateway/azure?key=1", None, "https://gateway/azure?key=1"),
]


@pytest.mark.parametrize(("endpoint", "version", "base_url"), PLACES)
def test_an_endpoint_becomes_a_base_url(endpoint: str, version: Any, base_url: str, monkeypatch: pytest.MonkeyPatch):
    if version:
        monkeypatch.setenv("OPENAI_API_VERSION", version)
    assert azure.resolve_url(endpoint, "a/b") == base_url


def sent(**kwargs: Any) -> Tuple[str, Any]:
    """Path and headers of one request."""
    with serve(Reply.sse(chat_events("Hi"))) as server:
        base_url = server.url + kwargs.pop("path", "")
        assert anyllm.completion_stream(anyllm.Context(), PARAMS, base_url=base_url, **kwargs).collect().content == "Hi"
        (request,) = server.requests
        return request.path, request.headers


def test_a_key_has_a_header_of_its_own():
    path, headers = sent(api_key="key")
    assert path == "/openai/v1/chat/completions"
    assert headers["api-key"] == "key"
    assert "authorization" not in headers


@pytest.mark.parametrize("token", [TOKEN, lambda: TOKEN])
def test_a_token_of_entra_is_a_bearer(token: Any):
    _, headers = sent(api_key=token)
    assert headers["authorization"] == f"Bearer {TOKEN}"
    assert "api-key" not in headers


def test_the_query_of_a_base_url_stays_behind_the_path():
    path, _ = sent(api_key="key", path="/openai/deployments/d?api-version=2024-10-21")
    assert path == "/openai/deployments/d/chat/completions?api-version=2024-10-21"


@pytest.mark.long
def test_a_dated_version_asks_the_deployment_as_the_official_client_does(monkeypatch: pytest.MonkeyPatch):
    openai = pytest.importorskip("openai")
    monkeypatch.setenv("OPENAI_API_VERSION", "2024-10-21")
    whole = {"id": "1", "choices": [], "created": 0, "model": "m", "object": "chat.completion"}
    with serve(Reply.json(whole)) as server, openai.AzureOpenAI(azure_endpoint=server.url, api_key="key") as client:
        client.chat.completions.create(model="my deployment", messages=PARAMS["messages"])
        (official,) = server.requests
    path, headers = sent(api_key="key")
    assert (path, headers["api-key"]) == (official.path, official.headers["api-key"])
