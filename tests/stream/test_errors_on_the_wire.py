"""Failures of hosts and networks as the caller meets them: the right class, words to act on, and never the key."""

from __future__ import annotations

import json
import logging
import pickle
import re
import socket
import ssl
import traceback
from typing import Any, Dict, Iterator, List, Optional

import loopback
import pytest
import requests
import trustme

import anyllm
from anyllm.errors import (
    AnyLLMError,
    APIError,
    AuthenticationError,
    ConnectionLostError,
    ContentFilterError,
    ContextLengthExceededError,
    IncompleteStreamError,
    InsufficientFundsError,
    InvalidRequestError,
    MissingAPIKeyError,
    ModelNotFoundError,
    NetworkError,
    OverloadedError,
    PermissionDeniedError,
    RateLimitError,
    ServerError,
    UnsupportedParameterError,
)
from anyllm.testing import Cut, Reply, chat_events, serve

KEY = "sk-Secret0123456789abcdef"
PARAMS = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
OPTIONS = anyllm.StreamingOptions(retry=anyllm.Retry(attempts=1))
PROXY_VARS = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*PROXY_VARS, *(name.lower() for name in PROXY_VARS), "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """Everything that anybody logs, urllib3 included."""
    caplog.set_level(logging.DEBUG)
    yield caplog
    assert KEY not in caplog.text


def fail(url: Optional[str], *, whole: bool = False, key: Any = KEY, **more: Any) -> AnyLLMError:
    """The error of a call, which must be one of ours and must not show the key, in whatever way it is looked at."""
    params = {**PARAMS, **more.pop("params", {})}
    settings: Dict[str, Any] = {"provider": "compatible", "options": OPTIONS, **more, "api_key": key, "base_url": url}
    ctx = anyllm.Context(timeout=60)
    if whole:
        with pytest.raises(AnyLLMError) as caught:
            anyllm.completion(ctx, params, **settings)
        error = caught.value
    else:
        chunks, errors = anyllm.completion_stream(ctx, params, **settings)
        list(chunks)
        received = errors.get_nowait()
        assert isinstance(received, AnyLLMError)
        error = received
    assert_no_key_in(error)
    assert len(str(error).splitlines()) == 1
    assert "bug in anyllm" not in str(error)
    return error


def assert_no_key_in(error: BaseException, key: str = KEY) -> None:
    shown = [str(error), repr(error), "".join(traceback.format_exception(type(error), error, error.__traceback__))]
    cause: Optional[BaseException] = error
    while cause is not None:
        shown += [repr(cause), repr(cause.args), repr(vars(cause))]
        request = getattr(cause, "request", None)
        shown.append(repr(getattr(request, "headers", None)))
        cause = cause.__cause__ or cause.__context__
    shown.append(repr(pickle.dumps(error)))
    for text in shown:
        assert key not in text


def error_body(message: str, **more: Any) -> Any:
    return {"error": {"message": message, "type": None, "param": None, "code": None, **more}}


STATUSES: List[Any] = [
    (400, error_body("Invalid value"), InvalidRequestError),
    (400, error_body("The maximum is 8", code="context_length_exceeded"), ContextLengthExceededError),
    (400, error_body("filtered", code="content_filter"), ContentFilterError),
    (400, error_body("No 'seed'", code="unsupported_parameter", param="seed"), UnsupportedParameterError),
    (401, error_body("Incorrect API key provided", code="invalid_api_key"), AuthenticationError),
    (402, error_body("Insufficient balance"), InsufficientFundsError),
    (403, error_body("Country not supported"), PermissionDeniedError),
    (404, error_body("The model `gpt-9` does not exist", code="model_not_found"), ModelNotFoundError),
    (404, error_body("Unknown path"), InvalidRequestError),
    (408, error_body("Request timed out"), ServerError),
    (409, error_body("Conflict"), InvalidRequestError),
    (413, error_body("Too large"), InvalidRequestError),
    (422, error_body("Field required"), InvalidRequestError),
    (429, error_body("Rate limit reached", code="rate_limit_exceeded"), RateLimitError),
    (429, error_body("You exceeded your current quota", code="insufficient_quota"), InsufficientFundsError),
    (500, error_body("The server had an error"), ServerError),
    (502, error_body("Bad gateway"), ServerError),
    (503, error_body("The engine is overloaded"), OverloadedError),
    (504, error_body("Timed out"), ServerError),
    (529, error_body("Overloaded"), OverloadedError),
]


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize(("status", "body", "kind"), STATUSES)
def test_a_status_and_its_body_give_the_class(status: int, body: Any, kind: type, whole: bool, logged: Any):
    with serve(Reply.error(status, body, headers={"X-Request-Id": "req_1"})) as server:
        error = fail(server.url, whole=whole)
    assert type(error) is kind
    assert isinstance(error, APIError)
    assert error.message == body["error"]["message"]
    assert (error.status_code, error.request_id, error.provider) == (status, "req_1", "compatible")
    assert (error.code, error.param) == (body["error"]["code"], body["error"]["param"])
    assert error.body == body
    assert error.is_retryable == (kind in (ServerError, OverloadedError, RateLimitError) or status == 409)


BY_STATUS = {
    **{status: kind for status, _, kind in STATUSES},
    400: InvalidRequestError,
    404: InvalidRequestError,
    429: RateLimitError,
}


@pytest.mark.parametrize("body", ["", "<html><head><title>Nope</title></head></html>", "null", "[]", "{}", '{"error":'])
@pytest.mark.parametrize("status", sorted(BY_STATUS))
def test_a_status_alone_gives_the_class_and_some_words(status: int, body: str):
    """A proxy's page, or nothing, instead of the provider's JSON."""
    with serve(Reply.error(status, body)) as server:
        error = fail(server.url)
    assert type(error) is BY_STATUS[status]
    assert str(status) in str(error)
    assert error.message.strip()
    assert "<html>" not in str(error)


def test_an_error_is_one_line_with_the_facts():
    headers = {"X-Request-Id": "req_1", "Retry-After": "20"}
    body = error_body("Slow\ndown,\r\n please", code="rate_limit_exceeded")
    with serve(Reply.error(429, body, headers=headers)) as server:
        error = fail(server.url)
    line = "compatible: 429 rate_limit_exceeded: Slow down, please (request req_1, retry after 20 s)"
    assert str(error) == line
    assert error.retry_after == 20


EVENTS: List[Any] = [
    (error_body("Slow down", code="rate_limit_exceeded"), RateLimitError),
    (error_body("Overloaded", code=529), OverloadedError),
    (error_body("Provider returned error", code=502), ServerError),
    (error_body("Bad key", code=401), AuthenticationError),
    ({"error": "out of memory"}, APIError),
    (("error", {"message": "boom"}), APIError),
    (("error", "boom"), APIError),
]


@pytest.mark.parametrize("begun", ["", "so far"])
@pytest.mark.parametrize(("event", "kind"), EVENTS)
def test_an_error_event_gives_the_class(event: Any, kind: type, begun: str):
    events = chat_events(begun, finish_reason=None, usage=False) if begun else []
    with serve(Reply.sse([*events, event], headers={"X-Request-Id": "req_1"}, done=False)) as server:
        error = fail(server.url)
    assert type(error) is kind
    assert (error.partial.content if error.partial else "") == begun
    assert (error.provider, error.request_id) == ("compatible", "req_1")


def test_a_body_cut_short_of_a_whole_answer():
    with serve(Reply.recorded(b'{"choices": []}', cut_at=5, framing="length")) as server:
        error = fail(server.url, whole=True)
    assert type(error) is ConnectionLostError


@pytest.mark.parametrize(("kind", "attempts"), [(NetworkError, 2), (IncompleteStreamError, 2), (ServerError, 3)])
def test_a_lost_connection_is_tried_as_often_as_its_class_says(kind: Any, attempts: int):
    with serve(Reply(body=[b": x\n\n", Cut("eof"), b"x"])) as server:
        options = anyllm.StreamingOptions(retry=anyllm.Retry(errors={kind: 2}, backoff=0.0))
        assert type(fail(server.url, options=options)) is ConnectionLostError
        assert len(server.requests) == attempts


@pytest.mark.parametrize("whole", [False, True])
def test_a_name_that_does_not_resolve(whole: bool, monkeypatch: pytest.MonkeyPatch, logged: Any):
    def nowhere(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", nowhere)
    error = fail("http://no-such-host.invalid/v1", whole=whole)
    assert type(error) is NetworkError
    assert error.is_retryable
    assert "'no-such-host.invalid' cannot be resolved: check base_url and the network" in str(error)


@pytest.mark.parametrize("whole", [False, True])
def test_a_refused_connection(whole: bool, logged: Any):
    error = fail(f"{refusing_url()}/v1", whole=whole)
    assert type(error) is NetworkError
    assert error.is_retryable
    assert re.search(r"127\.0\.0\.1:\d+ refused the connection: is a server running there\?", str(error))
    assert isinstance(error.__cause__, requests.ConnectionError)  # the original, without the key


def refusing_url(user: str = "") -> str:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        return f"http://{user}127.0.0.1:{closed.getsockname()[1]}"


def test_a_certificate_that_is_not_trusted():
    with serve(Reply.sse(chat_events("hi")), tls=loopback.tls().server) as server:
        error = fail(server.url)
        assert server.requests == []
    assert type(error) is NetworkError
    assert not error.is_retryable
    assert "the certificate of 127.0.0.1 is not trusted" in str(error)
    assert "REQUESTS_CA_BUNDLE" in str(error)
    assert isinstance(error.__cause__, requests.RequestException)


def test_a_certificate_for_another_name(tmp_path: Any, monkeypatch: pytest.MonkeyPatch):
    authority = trustme.CA()
    bundle = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(bundle))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("else.invalid").configure_cert(context)
    with serve(Reply.sse(chat_events("hi")), tls=context) as server:
        error = fail(server.url)
        assert server.requests == []
    assert type(error) is NetworkError


def succeed(url: str, **settings: Any) -> str:
    provider = anyllm.provider("compatible", **{"base_url": url, "api_key": KEY, "options": OPTIONS, **settings})
    try:
        return provider.completion_stream(anyllm.Context(timeout=60), PARAMS).collect().content
    finally:
        provider.close()


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_the_environments_bundle_is_honoured(monkeypatch: pytest.MonkeyPatch):
    bundle = loopback.tls().bundle
    with serve(Reply.sse(chat_events("hi")), tls=loopback.tls().server) as server:
        assert succeed(server.url, verify=bundle) == "hi"
        assert succeed(server.url, verify=False) == "hi"
        for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
            monkeypatch.setenv(name, bundle)
            assert succeed(server.url) == "hi"
            monkeypatch.delenv(name)
        assert isinstance(fail(server.url), NetworkError)


def test_a_bundle_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/no/such/bundle.pem")
    error = fail("https://127.0.0.1:9")
    assert isinstance(error, (NetworkError, InvalidRequestError))
    assert "/no/such/bundle.pem" in str(error)


def test_plain_http_where_tls_was_meant():
    def answer(client: socket.socket) -> None:
        client.recv(1)
        client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        client.recv(65536)

    with loopback.raw(answer) as server:
        error = fail(server.url.replace("http:", "https:"))
    assert type(error) is NetworkError
    assert "TLS" in str(error)


def test_an_unset_key():
    error = fail(None, provider="openai", key=None)
    assert type(error) is MissingAPIKeyError
    assert error.env_var == "OPENAI_API_KEY"
    assert str(error) == "openai: no API key: set OPENAI_API_KEY or pass api_key="


@pytest.mark.parametrize("kind", ["text", "json"])
def test_a_huge_error_body_is_cut(kind: str):
    body = "x" * 3_000_000 if kind == "text" else json.dumps(error_body("x" * 3_000_000))
    options = OPTIONS.evolve(max_event_bytes=1_000_000)
    with serve(Reply.error(500, body)) as server:
        error = fail(server.url, options=options)
    assert type(error) is ServerError
    assert len(str(error)) < 10_000
    assert len(repr(error.body)) < 10_000


# -- P10: keys stay home -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(status: int, whole: bool):
    with serve(Reply.sse(chat_events("hi"))) as other:
        to = f"{other.url}/v1/chat/completions?key={KEY}"
        with serve(Reply.text("moved", status, headers={"Location": to})) as server:
            error = fail(server.url, whole=whole)
        assert other.requests == []
    assert type(error) is APIError
    assert f"redirects to 127.0.0.1:{other.port}" in str(error)
    assert "check the base URL" in str(error)


@pytest.mark.parametrize("key", [KEY, None])
def test_netrc_is_not_used(key: Optional[str], tmp_path: Any, monkeypatch: pytest.MonkeyPatch):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password something\ndefault login a password b\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    with serve(Reply.sse(chat_events("hi"))) as server:
        assert requests.utils.get_netrc_auth(server.url) == ("somebody", "something")  # it would be
        assert succeed(server.url, api_key=key) == "hi"
        (request,) = server.requests
    assert request.headers.get("authorization") == (f"Bearer {KEY}" if key else None)


def test_cookies_are_not_kept():
    reply = Reply.sse(chat_events("hi"), headers={"Set-Cookie": "id=1; Path=/"})
    with serve(reply, Reply.error(400, "no", headers={"Set-Cookie": "id=2"}), reply) as server:
        provider = anyllm.provider("compatible", base_url=server.url)
        for _ in range(3):
            list(provider.completion_stream(anyllm.Context(timeout=60), PARAMS).chunks)
        assert len(provider._transport.session().cookies) == 0
        provider.close()
        assert [request.headers.get("cookie") for request in server.requests] == [None] * 3


ECHOES = {
    "message": lambda: Reply.error(401, error_body(f"Incorrect API key provided: {KEY}.")),
    "text": lambda: Reply.error(401, f"bad key {KEY}"),
    "page": lambda: Reply.error(403, f"<html><title>{KEY}</title></html>"),
    "every field": lambda: Reply.error(400, error_body(KEY, code=KEY, param=KEY, type=KEY, deep=[{KEY: KEY}])),
    "headers": lambda: Reply.error(401, error_body("no"), headers={"X-Request-Id": KEY, "WWW-Authenticate": KEY}),
    "redirect": lambda: Reply.error(307, KEY, headers={"Location": f"https://{KEY}/"}),
    "event": lambda: Reply.sse([error_body(f"no {KEY}", code=401)], done=False),
    "event in the middle": lambda: Reply.sse([*chat_events("a", finish_reason=None), error_body(KEY)], done=False),
    "garbage": lambda: Reply.sse([f"{{{KEY}"], done=False),
    "page instead of a stream": lambda: Reply.text(f"<html>{KEY}", content_type="text/html"),
    "finish reason": lambda: Reply.sse([{"choices": [{"delta": {}, "finish_reason": f"error: {KEY}"}]}], done=False),
    "cut": lambda: Reply.recorded(b"data: " + KEY.encode(), cut_at=20, cut="reset"),
    "status line": lambda: Reply(raw_headers=f"HTTP/1.1 {KEY}\r\n\r\n".encode(), framing="close"),
}


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("where", ECHOES)
def test_a_key_that_the_host_echoes_is_not_shown(where: str, whole: bool, logged: Any):
    """`fail` looks at every face of the error, and at the causes behind it; `logged` at the log."""
    with serve(ECHOES[where]()) as server:
        fail(server.url, whole=whole)
        fail(server.url, whole=whole, key=lambda: KEY)
        assert server.requests[0].headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize(
    "broken", [f"{KEY}\nX-More: 1", f"{KEY}\r\n", f"{KEY}\u20ac", f"\u201c{KEY}\u201d", f"{KEY}\x00"]
)
def test_a_key_with_characters_that_cannot_be_sent(broken: str, logged: Any):
    with serve(Reply.sse(chat_events("hi"))) as server:
        if broken.strip() == KEY:  # pasted with its line end, as keys are
            assert succeed(server.url, api_key=broken) == "hi"
            assert server.requests[0].headers["authorization"] == f"Bearer {KEY}"
            return
        error = fail(server.url, key=broken)
        assert server.requests == []
    assert type(error) is InvalidRequestError
    assert "'Authorization' has characters that cannot be sent; is the key whole?" in str(error)


def test_a_header_of_the_callers_that_cannot_be_sent_is_not_shown(logged: Any):
    with serve(Reply.sse(chat_events("hi"))) as server:
        for value in (f" {KEY}", f"{KEY}\u20ac"):
            error = fail(server.url, key=None, params={"extra_headers": {"X-Key": value}})
            assert type(error) is InvalidRequestError
            assert "X-Key" in str(error)


NO_URLS = [
    *("localhost:8000", "127.0.0.1:8000/v1", "http://", "http://[::1", "http://host:port", "http://127.0.0.1:99999999"),
    *("ftp://127.0.0.1", "https:/x", "http://ho st/", "//x", "file:///etc/passwd", "http://\x00", "http://*", "  "),
    *("http://" + "a" * 300, "http://127.0.0.1:1\n/x", "http://.", "http://a..b", "nonsense", "http:///v1", "http://@"),
]


@pytest.mark.parametrize("url", NO_URLS)
@pytest.mark.parametrize("whole", [False, True])
def test_a_base_url_that_is_none(url: str, whole: bool, logged: Any):
    error = fail(url, whole=whole)
    assert type(error) is InvalidRequestError
    assert "base_url" in str(error)


def test_a_password_in_the_base_url_is_not_shown():
    for url in (f"http://me:{KEY}@[::1", f"ftp://me:{KEY}@127.0.0.1/", f"me:{KEY}@127.0.0.1", f"http://?key={KEY}"):
        assert type(fail(url, key=None)) is InvalidRequestError


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_the_environments_proxy_is_used(name: str, monkeypatch: pytest.MonkeyPatch):
    with serve(Reply.sse(chat_events("hi"))) as proxy:
        monkeypatch.setenv(name, proxy.url)
        assert succeed("http://models.invalid/v1") == "hi"
        (request,) = proxy.requests
    assert request.path == "http://models.invalid/v1/chat/completions"


def test_no_proxy_is_honoured(monkeypatch: pytest.MonkeyPatch):
    with serve(Reply.error(500, "a proxy")) as proxy, serve(Reply.sse(chat_events("hi"))) as server:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        assert succeed(server.url) == "hi"
        assert proxy.requests == []


def test_a_proxy_that_is_not_there(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HTTP_PROXY", refusing_url(f"me:{KEY}@"))
    assert type(fail("http://models.invalid/v1", key=None)) is NetworkError


def test_a_key_from_the_environment_only_goes_to_its_own_host(monkeypatch: pytest.MonkeyPatch):
    """An explicit base URL may be anybody's; one from the environment was set beside the key."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    ctx = anyllm.Context(timeout=60)

    def key_sent_to(server: Any, **settings: Any) -> Any:
        stream = anyllm.completion_stream(ctx, {**PARAMS, "model": "openai/m"}, **settings)
        assert stream.collect().content == "hi"
        return server.requests[-1].headers.get("authorization")

    def key_of(provider: Any, server: Any) -> Any:
        assert provider.completion_stream(ctx, PARAMS).collect().content == "hi"
        return server.requests[-1].headers.get("authorization")

    with serve(Reply.sse(chat_events("hi"))) as server:
        assert key_sent_to(server, base_url=server.url) is None
        provider = anyllm.provider("openai", base_url=server.url)
        assert key_of(provider, server) is None

        monkeypatch.setenv("OPENAI_BASE_URL", f"{server.url}/v1")
        assert key_sent_to(server) == f"Bearer {KEY}"
        assert server.requests[-1].path == "/v1/chat/completions"
        assert key_of(provider, server) == f"Bearer {KEY}"  # the same host, given explicitly
        provider.close()
    with serve(Reply.sse(chat_events("hi"))) as other:
        assert key_sent_to(other, base_url=other.url) is None
        assert key_sent_to(other, base_url=other.url, api_key="mine-own") == "Bearer mine-own"


OWN = [
    *("https://api.openai.com/v1", "https://api.openai.com", "https://API.OpenAI.com:443/v2/"),
    "https://api.openai.com/x@y",
]
OTHERS = [
    *("http://api.openai.com/v1", "https://api.openai.com:444/v1", "https://api.openai.com.evil.example/v1"),
    *("https://api.openai.com@evil.example/v1", "https://evil.example/api.openai.com", "https://openai.com/v1"),
    # Parsers disagree on these; what counts is where the connection goes.
    *(
        "https://evil.example\\@api.openai.com/v1",
        "https://evil.example?@api.openai.com",
        "https://evil.example#@api.openai.com",
    ),
    *("//api.openai.com/v1", "api.openai.com/v1", "https://[api.openai.com", "https://api.openai.com\t.evil.example/"),
]


@pytest.mark.parametrize("url", [*OWN, *OTHERS])
def test_whose_key_it_is_is_read_as_the_connection_reads_it(url: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    target = anyllm.provider("openai")._destination(None, url)
    assert (target.secret == KEY) == (url in OWN)
    assert ("Authorization" in target.headers) == (url in OWN)
