"""A 404 that means the URL names the URL, with a hint on base_url; a 404 about a model does not."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

import anyllm
from anyllm._transport.http_failures import wrong_url
from anyllm.cli._errors import message
from anyllm.errors import APIError, InvalidRequestError, MalformedStreamError, ModelNotFoundError
from anyllm.providers.table import lookup
from anyllm.testing import Reply, serve
from anyllm.wire._base.written_errors import message_of

SECRET = "sk-verysecret-0123456789"
PAGE = "<html><head><title>404 Not Found</title></head><body>nginx</body></html>"


def failed(reply: Reply, name: str = "compatible", path: str = "", model: str = "m", whole: bool = False) -> Any:
    """The error of a call to a host that answers with *reply*, the URL of the host, and the path that was requested."""
    row = lookup.find(name)
    assert row is not None
    key = f"id:{SECRET}" if row.key_pair_vars or row.sign else SECRET
    with serve(lambda _: reply) as server:
        provider = anyllm.provider(name, api_key=key, base_url=server.url + path)
        params = {"model": model, "messages": [{"role": "user", "content": "Hi"}]}
        ask = provider.completion if whole else lambda *args: provider.completion_stream(*args).collect()
        with pytest.raises(anyllm.AnyLLMError) as caught:
            ask(anyllm.Context(timeout=30), params)
        return caught.value, server.url, server.requests[0].path.partition("?")[0]


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("row", [row for row in lookup.ROWS if not row.models], ids=lambda row: row.name)
def test_every_provider_names_the_url_that_it_asked(row: Any, whole: bool) -> None:
    if row.name.startswith("bedrock"):
        pytest.importorskip("botocore")  # which signs
    error, url, path = failed(Reply.error(404, PAGE), row.name, model="anthropic.claude-x", whole=whole)
    assert type(error) is InvalidRequestError
    assert error.hint.startswith(f"requested {url}{path}")
    assert ("base_url usually ends in /v1" in error.hint) is (path in ("/chat/completions", "/responses"))
    assert "base_url" in error.hint or path == "/"
    assert error.hint in str(error)
    assert SECRET not in str(error)


@pytest.mark.parametrize(
    ("name", "path", "words"),
    [
        ("compatible", "", "base_url usually ends in /v1"),
        ("compatible", "/api", "base_url usually ends in /v1"),
        ("compatible", "/v1", "base_url is the part before /chat/completions"),
        ("compatible", "/v1/chat/completions", "base_url is the part before /chat/completions"),
        ("anthropic", "", "base_url is the part before /v1/messages"),
        ("anthropic", "/v1", "base_url must end before /v1/messages, without a version"),
        ("gemini", "/v1beta", "base_url is the part before /models/m:streamGenerateContent"),
        ("cohere", "/v2", "base_url is the part before /chat"),
        ("azure", "", "base_url is the part before /openai/v1"),
        ("ollama", "/v1", "base_url is the part before /api/chat"),
    ],
)
def test_what_is_said_of_the_base_url_fits_the_format(name: str, path: str, words: str) -> None:
    error, url, requested = failed(Reply.error(404, PAGE), name, path)
    assert error.hint == f"requested {url}{requested}; {words}"


@pytest.mark.parametrize(
    "body",
    [
        "",
        PAGE,
        "404 page not found",
        "<pre>Cannot POST /chat/completions</pre>",
        {"detail": "Not Found"},
        {"message": "no Route matched with those values"},
        {"error": {"message": "Invalid URL (POST /chat/completions)", "type": "invalid_request_error", "code": None}},
        {"error": {"message": "Unknown request URL: POST /x.", "type": "invalid_request_error", "code": "unknown_url"}},
        {"error": {"code": 404, "message": "File Not Found", "type": "not_found_error"}},
        {"error": {"code": "404", "message": "Resource not found"}},
        {"type": "error", "error": {"type": "not_found_error", "message": "Not found"}},
        {"error": "Unexpected endpoint or method. (POST /chat/completions)"},
        {"timestamp": "2025-01-01", "status": 404, "error": "Not Found", "path": "/chat/completions"},
        {"object": "error", "message": "The requested resource was not found", "code": 404},
        {},
    ],
)
def test_hosts_that_have_nothing_there_say_so_in_many_ways(body: Any) -> None:
    error, _, _ = failed(Reply.error(404, body))
    assert error.hint is not None
    assert "base_url usually ends in /v1" in error.hint


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "The model `gpt-9` does not exist", "code": "model_not_found"}},
        {"error": {"message": "The model `m` does not exist or you do not have access to it."}},
        {"error": "model 'm' not found"},
        {"type": "error", "error": {"type": "not_found_error", "message": "model: claude-9"}},
        {"error": {"code": 404, "message": "models/m is not found for API version v1beta", "status": "NOT_FOUND"}},
        {"error": {"code": "DeploymentNotFound", "message": "The API deployment for this resource does not exist."}},
        {"error": {"message": "No endpoints found that support tool use.", "code": 404}},
        {"error": {"message": "Previous response with id 'r' not found.", "param": "previous_response_id"}},
        {"error": {"message": "Project `p` was not found", "code": 404}},
        "The model m was not found",
    ],
)
def test_a_404_about_something_else_says_nothing_of_the_url(body: Any) -> None:
    error, url, _ = failed(Reply.error(404, body))
    assert error.hint is None
    assert url not in str(error)


def test_other_statuses_say_nothing_of_the_url() -> None:
    for status in (400, 401, 403, 410):
        assert failed(Reply.error(status, PAGE))[0].hint is None
    assert failed(Reply.error(405, "Method Not Allowed"))[0].hint is not None


@pytest.mark.parametrize("whole", [False, True])
def test_a_web_page_instead_of_an_answer_names_the_url(whole: bool) -> None:
    """A site that sends its start page for every path."""
    reply = Reply(body=[b"<!doctype html><title>Welcome</title>"], content_type="text/html; charset=utf-8")
    error, url, _ = failed(reply, whole=whole)
    assert isinstance(error, MalformedStreamError)
    assert error.hint == f"requested {url}/chat/completions; base_url usually ends in /v1"


def test_a_providers_own_url_is_not_doubted() -> None:
    error = InvalidRequestError("Not Found", status_code=404)
    hint = wrong_url(error, "https://api.example/v1/chat/completions", None, False)
    assert hint == "requested https://api.example/v1/chat/completions"
    assert wrong_url(ModelNotFoundError("no", status_code=404), "https://api.example/v1", None, False) is None
    assert wrong_url(APIError("moved", status_code=301), "https://api.example/v1", None, False) is None


def test_no_password_and_no_parameter_of_the_url_is_shown() -> None:
    error = InvalidRequestError("Not Found", status_code=404)
    base = "https://user:password@host.example/x?key=secret"
    hint = wrong_url(error, "https://user:password@host.example/x/chat/completions?key=secret", base, False)
    assert hint == "requested https://host.example/x/chat/completions; base_url usually ends in /v1"


def test_the_command_line_names_its_option_and_a_gateway_nothing() -> None:
    """Where a gateway's own models are served is not for its clients to see."""
    error, url, _ = failed(Reply.error(404, PAGE))
    assert message(error).endswith(f"(requested {url}/chat/completions; --base-url usually ends in /v1)")
    page, _, _ = failed(Reply(body=[b"<!doctype html><title>Welcome</title>"], content_type="text/html"))
    for one in (error, page):
        assert url not in message_of(one)
        assert one.hint is not None
        assert pickle.loads(pickle.dumps(one)).hint == one.hint
