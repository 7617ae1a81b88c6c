"""Vertex AI's URLs and authorization: by token, by API key, and by the real google-auth."""

from __future__ import annotations

import functools
import json
import os
from pathlib import Path
from typing import Any, Iterator
from urllib.parse import parse_qs

import pytest
from conftest import hide_package

import anyllm
from anyllm.errors import AuthenticationError, InvalidRequestError
from anyllm.providers import google as _google
from anyllm.providers.table.row import UnsignedRequest
from anyllm.testing import Reply, Server, serve

URL = "https://europe-west4-aiplatform.googleapis.com/v1/projects/p/locations/europe-west4/publishers/google/models/m"
ANSWER = {"candidates": [{"content": {"parts": [{"text": "Hi"}], "role": "model"}, "finishReason": "STOP", "index": 0}]}
PARAMS = {"model": "vertex/gemini-2.5-flash", "messages": [{"role": "user", "content": "Hi"}]}


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of this machine's, and no asking of the machine's own service account."""
    for name in list(os.environ):
        if name.startswith(("GOOGLE_", "VERTEX_", "CLOUDSDK_", "GCLOUD_", "CLOUD_ML_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path / "gcloud"))
    _google._default.cache_clear()


def authorized(key: str | None = None, url: str = URL, **headers: str) -> Any:
    return _google.authorize(UnsignedRequest(method="POST", url=url, headers=headers, body=b"{}", key=key))


# -- places ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("location", "host"),
    [
        (None, "aiplatform.googleapis.com"),
        ("global", "aiplatform.googleapis.com"),
        ("us-central1", "us-central1-aiplatform.googleapis.com"),
        ("eu", "aiplatform.eu.rep.googleapis.com"),
    ],
)
def test_the_location_determines_the_host(location: str | None, host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "p")
    if location:
        monkeypatch.setenv("GOOGLE_CLOUD_LOCATION", location)
    place = f"https://{host}/v1/projects/p/locations/{location or 'global'}"
    assert _google.resolve_url(_google.BASE_URL, "m") == place


@pytest.mark.long
def test_the_host_is_the_official_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    vertex = pytest.importorskip("anthropic.lib.vertex._client")
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "p")
    for location in ("global", "us", "eu", "us-east5"):
        monkeypatch.setenv("GOOGLE_CLOUD_LOCATION", location)
        with vertex.AnthropicVertex(region=location, project_id="p", access_token="t") as client:
            official = str(client.base_url).rstrip("/")
        assert _google.resolve_url(_google.BASE_URL, "m") == f"{official}/projects/p/locations/{location}"


def test_a_url_without_a_place_for_a_project_is_taken_as_it_is() -> None:
    assert _google.resolve_url("https://gateway/vertex", "m") == "https://gateway/vertex"


def test_a_missing_project_names_the_variable() -> None:
    with pytest.raises(InvalidRequestError, match="GOOGLE_CLOUD_PROJECT"):
        _google.resolve_url(_google.BASE_URL, "m")


# -- keys --------------------------------------------------------------------------------------------------------------


def test_a_token_is_a_bearer_and_an_api_key_has_a_header_of_its_own() -> None:
    assert authorized("ya29.token") == {"Authorization": "Bearer ya29.token"}
    assert authorized("AIzaKey") == {"x-goog-api-key": "AIzaKey"}


def test_the_callers_own_authorization_wins() -> None:
    assert authorized("token", authorization="mine") == {}


def test_the_environments_token_goes_before_the_default_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VERTEX_ACCESS_TOKEN", "from the environment")
    assert authorized() == {"Authorization": "Bearer from the environment"}


@pytest.mark.parametrize(
    "url",
    [
        "https://aiplatform.googleapis.com.evil.example/v1",
        "https://storage.googleapis.com/v1",
        "http://aiplatform.googleapis.com/v1",
        "https://gateway/v1",
        "https://[::1/v1",
    ],
)
def test_no_other_host_receives_the_environments_credentials(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VERTEX_ACCESS_TOKEN", "secret")
    assert authorized(url=url) == {}


# -- default credentials -----------------------------------------------------------------------------------------------


class Google:
    """A loopback server that hands out tokens, and answers for Vertex."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.server = server
        self.file = folder / "account.json"
        account = {
            "type": "service_account",
            "project_id": "my-project",
            "private_key": _private_key(),
            "client_email": "me@my-project.example",
            "token_uri": f"{server.url}/token",
        }
        self.file.write_text(json.dumps(account))

    def requests(self, path: str) -> list[Any]:
        return [request for request in self.server.requests if request.path.startswith(path)]


@functools.cache
def _private_key() -> str:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pkcs8, none = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, pkcs8, none).decode()


@pytest.fixture
def google(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Google]:
    pytest.importorskip("google.auth")

    def reply(request: Any) -> Reply:
        if request.path == "/token":
            return Reply.json({"access_token": "fetched", "expires_in": 3600, "token_type": "Bearer"})
        return Reply.sse([ANSWER], done=False)

    with serve(reply) as server:
        google = Google(server, tmp_path)
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(google.file))
        monkeypatch.setenv("VERTEX_BASE_URL", f"{server.url}/v1/projects/my-project/locations/global")
        yield google


def test_default_credentials_stream_an_answer_and_their_token_is_fetched_once(google: Google) -> None:
    for _ in range(2):
        assert anyllm.completion_stream(anyllm.Context(timeout=30), PARAMS).collect().content == "Hi"
    (requests,) = google.requests("/token")
    assert "assertion" in parse_qs(requests.body.decode())
    for request in google.requests("/v1/"):
        assert request.headers["authorization"] == "Bearer fetched"
        assert request.path == (
            "/v1/projects/my-project/locations/global/publishers/google/models/gemini-2.5-flash:"
            "streamGenerateContent?alt=sse"
        )


def test_the_project_may_be_that_of_the_default_credentials(google: Google) -> None:
    place = "https://aiplatform.googleapis.com/v1/projects/my-project/locations/global"
    assert _google.resolve_url(_google.BASE_URL, "m") == place


@pytest.mark.long
def test_claude_on_vertex_gets_the_official_clients_request(google: Google) -> None:
    anthropic = pytest.importorskip("anthropic")
    messages: Any = PARAMS["messages"]
    base_url = f"{google.server.url}/v1"
    with anthropic.AnthropicVertex(
        region="global", project_id="my-project", access_token="fetched", base_url=base_url, max_retries=0
    ) as client:
        client.messages.create(model="claude-of-tomorrow", max_tokens=10, messages=messages, stream=True).close()
    params = {**PARAMS, "model": "vertex_anthropic/claude-of-tomorrow", "max_tokens": 10}
    list(anyllm.completion_stream(anyllm.Context(timeout=30), params).chunks)
    official, ours = google.requests("/v1/")
    assert ours.path == official.path
    versions = [json.loads(request.body).pop("anthropic_version") for request in (ours, official)]
    assert versions[0] == "vertex-2023-10-16"  # the one whose streams we read; newer clients ask for newer ones
    assert {**json.loads(ours.body), "anthropic_version": versions[1]} == json.loads(official.body)
    assert ours.headers["authorization"] == official.headers["authorization"]


def test_a_file_that_makes_no_sense_is_our_error(google: Google) -> None:
    google.file.write_text("{}")
    with pytest.raises(AuthenticationError, match="gcloud auth application-default login"):
        authorized()


def test_a_token_that_is_refused_is_our_error(google: Google) -> None:
    account = json.loads(google.file.read_text())
    google.file.write_text(json.dumps({**account, "token_uri": "http://127.0.0.1:9/token"}))
    with pytest.raises(AuthenticationError, match="no access token"):
        authorized()


def test_without_google_auth_the_error_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    hide_package(monkeypatch, "google")
    with pytest.raises(InvalidRequestError, match="pip install google-auth"):
        authorized()
