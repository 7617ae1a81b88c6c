"""The loopback server, tested with independent clients: http.client, requests and plain sockets."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from typing import Any, Iterator, List, Tuple

import pytest
import requests
from conftest import ROOT

import anyllm
from anyllm.testing import (
    Cut,
    Pause,
    RecordedRequest,
    Reply,
    Server,
    Signal,
    Stall,
    chat_events,
    keep_alive_comments,
    serve,
    silent,
    tool_call,
)

TIMEOUT = 30  # seconds; an upper bound against hanging
ENDLESS = 3600  # seconds
Contexts = Tuple[ssl.SSLContext, ssl.SSLContext]


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    yield
    assert [thread.name for thread in threading.enumerate() if "anyllm-testing" in thread.name] == []


@contextlib.contextmanager
def response_of(server: Server, method: str = "GET") -> Iterator[http.client.HTTPResponse]:
    """A response of *server*, with its body unread."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=TIMEOUT)
    try:
        connection.request(method, "/")
        yield connection.getresponse()
    finally:
        connection.close()


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT)


def connect_and_request(server: Server) -> socket.socket:
    """A plain socket that has sent a request."""
    sock = connect(server.port)
    sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    return sock


def read_all(server: Server) -> bytes:
    """Every byte that *server* sends until it closes."""
    with connect_and_request(server) as sock, sock.makefile("rb") as stream:
        return stream.read()


def get(server: Server, **kwargs: Any) -> requests.Response:
    return requests.get(server.url, timeout=TIMEOUT, **kwargs)


# -- replies


def test_sse_serves_chat_events():
    with serve(Reply.sse(chat_events("Hello world"))) as server:
        response = get(server)
    events = [line[len("data: ") :] for line in response.text.split("\n\n") if line]
    assert response.headers["Content-Type"] == "text/event-stream"
    assert events[-1] == "[DONE]"
    chunks = [json.loads(event) for event in events[:-1]]
    deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]
    assert deltas == [{"role": "assistant", "content": ""}, {"content": "Hello"}, {"content": " world"}, {}]
    assert chunks[-2]["choices"][0]["finish_reason"] == "stop"
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"] == {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}


def test_each_write_is_one_http_chunk():
    with serve(Reply(body=[b"ab", b"", b"cde"], headers={"Connection": "close"})) as server:
        body = read_all(server).partition(b"\r\n\r\n")[2]
    assert body == b"2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n"


def test_twenty_thousand_events_are_as_many_http_chunks():
    with serve(Reply.sse(["x"] * 20_000, done=False, headers={"connection": "close"})) as server:
        assert read_all(server).count(b"9\r\ndata: x\n\n\r\n") == 20_000


@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
def test_every_framing_carries_the_same_body(framing: str):
    with serve(Reply(body=[b"one ", b"two"], framing=framing)) as server, response_of(server) as response:
        assert response.read() == b"one two"
        assert response.getheader("Transfer-Encoding") == ("chunked" if framing == "chunked" else None)
        assert response.getheader("Content-Length") == ("7" if framing == "length" else None)


def test_headers_are_replaced_added_and_removed():
    headers = {"content-type": "application/x-ndjson", "X-Request-Id": "req_1", "Transfer-Encoding": None}
    with serve(Reply(headers=headers, framing="chunked")) as server, response_of(server) as response:
        assert response.getheaders() == [("content-type", "application/x-ndjson"), ("X-Request-Id", "req_1")]


def test_json_text_and_errors_have_a_content_length():
    replies = [
        Reply.json({"ä": 1}),
        Reply.text("hé", 201),
        Reply.error(429, {"error": "slow"}, headers={"Retry-After": "7"}),
        Reply.error(503, "down"),
        Reply.json([], framing="chunked"),
    ]
    with serve(*replies) as server, requests.Session() as session:
        value, text, slow, down, chunked = [session.get(server.url, timeout=TIMEOUT) for _ in replies]
    assert (value.json(), value.headers["Content-Type"]) == ({"ä": 1}, "application/json")
    assert (text.status_code, text.text, text.headers["Content-Length"]) == (201, "hé", "3")
    assert (slow.status_code, slow.reason, slow.json()) == (429, "Too Many Requests", {"error": "slow"})
    assert slow.headers["Retry-After"] == "7"
    assert (down.status_code, down.text) == (503, "down")
    assert down.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert "Content-Length" not in chunked.headers


def test_status_without_a_body_sends_none():
    with serve(Reply(status=204, body=[b"x"])) as server, requests.Session() as session:
        for _ in range(2):
            assert session.get(server.url, timeout=TIMEOUT).content == b""
            assert session.head(server.url, timeout=TIMEOUT).content == b""
        assert server.connections == 1


@pytest.mark.parametrize("offset", range(7))
def test_recorded_body_is_cut_at_any_byte(offset: int):
    body = b"abcdef"
    with serve(Reply.recorded(body, sizes=4, cut_at=offset, framing="close")) as server:
        assert read_all(server).partition(b"\r\n\r\n")[2] == body[:offset]
    stalled = Reply.recorded(body, sizes=4, stall_at=offset).body
    assert b"".join(step for step in stalled if isinstance(step, bytes)) == body
    assert b"".join(stalled[: stalled.index(Stall())]) == body[:offset]  # type: ignore[arg-type]


def test_ndjson_sends_one_line_per_write():
    with serve(Reply.ndjson([{"a": 1}, Cut("eof")])) as server:
        response = requests.post(server.url, stream=True, timeout=TIMEOUT)
        assert response.headers["content-type"] == "application/x-ndjson"
        assert next(response.raw.stream(10)) == b'{"a":1}\n'


# -- requests


def test_request_is_recorded():
    with serve(Reply.json({})) as server:
        response = requests.post(f"{server.url}/v1/chat?x=1", json={"a": "é"}, headers={"X-Key": "k"}, timeout=TIMEOUT)
        assert response.ok
        (request,) = server.wait_for_requests(1)
    assert (request.method, request.path, request.json()) == ("POST", "/v1/chat?x=1", {"a": "é"})
    assert request.headers["x-key"] == request.headers["X-KEY"] == "k"
    assert "content-TYPE" in request.headers
    assert request.headers.get("missing") is None
    assert dict(request.headers)["X-Key"] == "k"


def test_repr_of_a_request_has_no_headers():
    """They contain keys, and logs of tests are public."""
    with serve(Reply.json({})) as server:
        requests.get(server.url, headers={"Authorization": "Bearer sk-secret"}, timeout=TIMEOUT)
    assert "sk-secret" not in repr(server.requests)


def test_chunked_request_body_is_joined():
    with serve(Reply.json({})) as server:
        requests.post(server.url, data=iter([b"ab", b"c" * 100_000]), timeout=TIMEOUT)
    assert server.requests[0].body == b"ab" + b"c" * 100_000


def test_expect_100_continue_is_answered():
    with serve(Reply.json({})) as server, connect_and_request(server) as sock, sock.makefile("rb") as stream:
        server.wait_for_requests(1)
        while stream.readline() != b"\r\n":
            pass
        assert stream.read(2) == b"{}"
        sock.sendall(b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert stream.readline() == b"HTTP/1.1 100 Continue\r\n"
        sock.sendall(b"hi")
        assert server.wait_for_requests(2)[1].body == b"hi"


def test_replies_are_sent_in_order_and_the_last_one_is_repeated():
    with serve(Reply.text("1"), Reply.text("2")) as server:
        assert [get(server).text for _ in range(4)] == ["1", "2", "2", "2"]
    assert len(server.requests) == 4


def test_request_without_a_reply_gets_a_404():
    with serve(Reply.text("1"), repeat_last=False) as server:
        assert [get(server).status_code for _ in range(2)] == [200, 404]
    with serve() as server:
        assert "request 1" in get(server).text


def test_function_makes_the_reply():
    def route(request: RecordedRequest) -> Reply:
        return Reply.text(request.path)

    with serve(route) as server:
        for path in ("/a", "/b"):
            assert requests.get(server.url + path, timeout=TIMEOUT).text == path


@pytest.mark.parametrize("error", [AssertionError("wrong model"), pytest.fail.Exception("wrong model")])
def test_exception_of_a_function_is_raised_at_the_end(error: BaseException):
    def route(request: RecordedRequest) -> Reply:
        raise error

    with pytest.raises(type(error), match="wrong model") as caught, serve(route) as server:
        assert get(server).status_code == 500
    assert caught.value is error


def test_function_that_returns_no_reply_is_a_type_error():
    with pytest.raises(TypeError, match="returned NoneType"), serve(lambda request: None) as server:
        get(server)


def test_wait_for_requests_times_out():
    with serve() as server, pytest.raises(TimeoutError, match="0 of 1"):
        server.wait_for_requests(1, timeout=0)


# -- connections


def test_requests_share_a_connection():
    with serve(Reply.sse(["x"])) as server, requests.Session() as session:
        for _ in range(3):
            session.get(server.url, timeout=TIMEOUT)
        assert (server.connections, server.open_connections) == (1, 1)
        assert not server.wait_closed(timeout=0)
        session.close()
        assert server.wait_closed()
        assert server.open_connections == 0


@pytest.mark.parametrize("reply", [Reply(framing="close"), Reply(headers={"connection": "close"})])
def test_reply_can_close_its_connection(reply: Reply):
    with serve(reply) as server, requests.Session() as session:
        for _ in range(2):
            session.get(server.url, timeout=TIMEOUT)
        assert server.connections == 2


def test_client_can_close_its_connection():
    with serve(Reply.text("x")) as server, connect_and_request(server) as sock, sock.makefile("rb") as stream:
        sock.sendall(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")
        assert stream.read().count(b"HTTP/1.1 200 OK") == 2


def test_ended_connection_counts_as_open_until_the_client_closes_it():
    """Otherwise no test could notice a client that leaks its socket after an error."""
    with serve(Reply(body=[b"x", Cut("eof")])) as server:
        with connect_and_request(server) as sock:
            while sock.recv(1000):
                pass
            assert not server.wait_closed(timeout=0)
        assert server.wait_closed()


@pytest.mark.parametrize(
    "reply",
    [
        Reply(body=[b"x", Stall()]),
        Reply(body=[b"x", Stall(threading.Event())]),
        Reply(body=[b"x", Pause(ENDLESS)]),
        Reply(before_headers=[b"x", Stall()]),
        Reply(body=[b"x" * 1_000_000] * 100),
    ],
    ids=["stall", "stall-event", "pause", "header-wait", "flood"],
)
class TestIdleOrBlockedReply:
    def test_ends_when_its_client_leaves(self, reply: Reply):
        with serve(reply) as server:
            with connect_and_request(server) as sock:
                assert sock.recv(1)
            assert server.wait_closed()

    def test_does_not_delay_closing_the_server(self, reply: Reply):
        with contextlib.ExitStack() as clients:
            with serve(reply) as server:
                sock = clients.enter_context(connect_and_request(server))
                assert sock.recv(1)
            assert server.open_connections == 0


def test_server_closes_before_a_request():
    with serve() as server, connect(server.port):
        server.close()
        server.close()


def test_client_that_does_not_send_http_is_disconnected():
    with serve() as server, connect(server.port) as sock:
        sock.sendall(b"\x16\x03\x01\r\n\r\n")
        assert sock.recv(1) == b""
        assert server.requests == []


def test_many_concurrent_clients_are_served():
    texts: List[str] = []
    with serve(Reply.sse(chat_events("a b c"))) as server:
        clients = [threading.Thread(target=lambda: texts.append(get(server).text)) for _ in range(50)]
        for client in clients:
            client.start()
        for client in clients:
            client.join(TIMEOUT)
        assert server.wait_closed()
        assert server.connections == 50
    assert len(texts) == 50
    assert len(set(texts)) == 1


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts descriptors where Linux lists them")
def test_no_descriptor_is_left():
    def use() -> None:
        with serve(Reply(body=[b"x", Stall()])) as server, response_of(server) as response:
            response.read(1)
        with silent() as quiet, connect(quiet.port):
            quiet.wait_for_connections(1)

    use()
    before = len(os.listdir("/proc/self/fd"))
    use()
    assert len(os.listdir("/proc/self/fd")) == before


# -- faults


@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
def test_clean_cut_is_a_proper_end(framing: str):
    reply = Reply(body=[b"ab", Cut("clean"), b"never"], framing=framing)
    with serve(reply) as server, requests.Session() as session:
        assert [session.get(server.url, timeout=TIMEOUT).content for _ in range(2)] == [b"ab", b"ab"]
        assert server.connections == (2 if framing == "close" else 1)


@pytest.mark.parametrize("framing", ["chunked", "length"])
@pytest.mark.parametrize("rest", [[], [b"never"]])
def test_eof_cut_is_an_incomplete_body(framing: str, rest: List[bytes]):
    reply = Reply(body=[b"ab", Cut("eof"), *rest], framing=framing)
    with serve(reply) as server, response_of(server) as response:
        with pytest.raises(http.client.IncompleteRead) as caught:
            response.read()
        assert caught.value.partial == b"ab"


def test_eof_cut_without_framing_looks_like_a_proper_end():
    """This is why a client needs the final event of a stream."""
    with serve(Reply(body=[b"ab", Cut("eof"), b"never"], framing="close")) as server:
        assert get(server).content == b"ab"


def test_client_sees_a_reset():
    with serve(Reply(body=[b"ab", Cut("reset")])) as server, response_of(server) as response:
        assert response.read(2) == b"ab"
        with pytest.raises(ConnectionResetError):
            response.read()
        assert server.wait_closed()


def test_stall_ends_with_its_event():
    reached, go = threading.Event(), threading.Event()
    with serve(Reply(body=[b"ab", Signal(reached), Stall(go), b"cd"])) as server, response_of(server) as response:
        assert response.read(2) == b"ab"
        assert reached.wait(TIMEOUT)
        go.set()
        assert response.read() == b"cd"


def test_pause_ends_by_itself():
    with serve(Reply(body=[b"ab", Pause(0.01), b"cd"])) as server:
        assert get(server).content == b"abcd"


def test_signal_is_set_after_the_steps_before_it():
    reached = threading.Event()
    with serve(Reply(before_headers=[Signal(reached), Stall()])) as server, connect_and_request(server):
        assert reached.wait(TIMEOUT)
        assert len(server.requests) == 1


def test_client_may_send_its_next_request_during_a_stall():
    go = threading.Event()
    first, second = Reply(body=[b"ab", Stall(go)]), Reply.text("second", headers={"connection": "close"})
    with serve(first, second) as server, connect_and_request(server) as sock, sock.makefile("rb") as stream:
        server.wait_for_requests(1)
        sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
        go.set()
        assert stream.read().endswith(b"second")


def test_head_can_be_sent_in_pieces():
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
    trickle = [bytes([byte]) for byte in head]
    with serve(Reply(before_headers=trickle, raw_headers=b"", body=[b"ab"], framing="length")) as server:
        assert get(server).content == b"ab"


def test_raw_headers_are_sent_unchanged():
    head = b"HTTP/1.1 299 Odd\r\nX: y\r\n\r\n"
    with serve(Reply(raw_headers=head, body=[b"ab"], framing="close")) as server:
        response = get(server)
    assert (response.status_code, response.reason, response.content) == (299, "Odd", b"ab")


@pytest.mark.parametrize(("how", "error"), [("reset", ConnectionResetError), ("eof", http.client.RemoteDisconnected)])
def test_connection_can_end_before_the_headers(how: str, error: type):
    with serve(Reply(before_headers=[Cut(how)])) as server, pytest.raises(error), response_of(server):
        pass


def test_keep_alive_comments_pause_after_each():
    steps = keep_alive_comments(2, 0.5)
    assert steps == [b": keep-alive\n\n", Pause(0.5)] * 2
    with serve(Reply(body=keep_alive_comments(2, 0))) as server:
        assert get(server).text == ": keep-alive\n\n" * 2


# -- TLS


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Contexts:
    """A server's and a client's context."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("makes a certificate with the openssl command")
    folder = tmp_path_factory.mktemp("tls")
    cert, key = str(folder / "cert.pem"), str(folder / "key.pem")
    command = f"req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=x -keyout {key} -out {cert}"
    command += " -addext subjectAltName=IP:127.0.0.1"
    subprocess.run([openssl, *command.split(" ")], check=True, capture_output=True, timeout=200)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(cert, key)
    return server, ssl.create_default_context(cafile=cert)


@contextlib.contextmanager
def tls_socket(server: Server, context: ssl.SSLContext) -> Iterator[ssl.SSLSocket]:
    raw = connect(server.port)
    with context.wrap_socket(raw, server_hostname="127.0.0.1") as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        yield sock


def read_until(sock: socket.socket, mark: bytes) -> bytes:
    data = b""
    while mark not in data:
        data += sock.recv(1000)
    return data.partition(mark)[2]


def read_raw(sock: ssl.SSLSocket) -> bytes:
    """Read below TLS, because versions of Python report an end or a reset differently."""
    return socket.socket.recv(sock, 1000)


def test_tls_carries_requests_and_keeps_its_connection(tls: Contexts):
    with serve(Reply.text("secret"), tls=tls[0]) as server:
        assert server.url.startswith("https://127.0.0.1:")
        connection = http.client.HTTPSConnection("127.0.0.1", server.port, timeout=TIMEOUT, context=tls[1])
        for _ in range(2):
            connection.request("POST", "/", body=b"x" * 100_000)
            assert connection.getresponse().read() == b"secret"
        connection.close()
        assert server.wait_closed()
        assert server.connections == 1
        assert len(server.requests[1].body) == 100_000


@pytest.mark.parametrize(("cut", "has_close_notify"), [([], True), ([Cut("eof")], False)], ids=["clean", "eof"])
def test_only_a_clean_end_of_tls_has_a_close_notify(tls: Contexts, cut: List[Cut], has_close_notify: bool):
    reply = Reply(body=[b"ab", *cut], framing="close")
    with serve(reply, tls=tls[0]) as server, tls_socket(server, tls[1]) as sock:
        assert read_until(sock, b"\r\n\r\nab") == b""
        assert (read_raw(sock) != b"") == has_close_notify


def test_tls_client_sees_a_reset(tls: Contexts):
    reply = Reply(body=[b"ab", Cut("reset")])
    with serve(reply, tls=tls[0]) as server, tls_socket(server, tls[1]) as sock:
        assert read_until(sock, b"2\r\nab\r\n") == b""
        with pytest.raises(ConnectionResetError):
            read_raw(sock)


def test_stalled_tls_reply_ends_when_its_client_leaves(tls: Contexts):
    with serve(Reply(body=[b"ab", Stall()]), tls=tls[0]) as server:
        with tls_socket(server, tls[1]) as sock:
            read_until(sock, b"ab")
        assert server.wait_closed()


def test_server_closes_during_a_handshake(tls: Contexts):
    with serve(tls=tls[0]) as server, connect(server.port) as first, tls_socket(server, tls[1]):
        server.wait_for_requests(1)  # so the first client has been accepted too
        server.close()
        assert first.recv(1) == b""


def test_client_that_does_not_send_tls_is_disconnected(tls: Contexts):
    with serve(tls=tls[0]) as server:
        with connect(server.port) as sock, contextlib.suppress(ConnectionResetError):
            sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
            while sock.recv(1000):  # an alert
                pass
        assert server.wait_closed()
        assert server.requests == []


# -- gevent


@pytest.mark.gevent
def test_server_works_under_gevent():
    pytest.importorskip("gevent")
    script = """
from gevent import monkey; monkey.patch_all()
import threading, requests
from anyllm.testing import Cut, Reply, Stall, chat_events, serve
go = threading.Event()
stalled = Reply(body=[b"a", Stall(go), b"b"], framing="close")
with serve(Reply.sse(chat_events("Hello world")), stalled, Reply(body=[Stall()])) as server:
    assert "[DONE]" in requests.get(server.url, timeout=10).text
    with requests.get(server.url, timeout=10, stream=True) as response:
        assert response.raw.read(1) == b"a"
        go.set()
        assert response.raw.read() == b"b"
    requests.get(server.url, timeout=10, stream=True).close()
    assert server.wait_closed()
    still_open = requests.get(server.url, timeout=10, stream=True)
assert threading.active_count() == 1, threading.enumerate()
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, timeout=200, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


# -- Reply.chat

CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Paris"}'}}


@pytest.mark.parametrize(
    ("reply", "text", "calls", "reason"),
    [
        (Reply.chat("Hello big world"), "Hello big world", [], "stop"),
        (Reply.chat(["Hel", "lo"], finish_reason="length"), "Hello", [], "length"),
        (Reply.chat(tool_calls=[CALL]), "", ["weather"], "tool_calls"),
        (
            Reply.chat("Look: ", tool_calls=[tool_call("a", {"x": 1}), tool_call("b")]),
            "Look: ",
            ["a", "b"],
            "tool_calls",
        ),
        (Reply.chat(iter(["a", "b"])), "ab", [], "stop"),
    ],
)
def test_chat_answers_streamed_and_whole_calls(reply: Any, text: str, calls: List[str], reason: str):
    with serve(reply) as server:
        client = anyllm.Client("compatible/m", base_url=server.url)
        answers = [client.chat("Hi"), client.chat_stream("Hi").collect(), client.chat("Hi")]
        assert [request.json().get("stream", False) for request in server.requests] == [False, True, False]
    for answer in answers:
        assert (answer.content, answer.finish_reason) == (text, reason)
        assert [call.name for call in answer.tool_calls] == calls
        assert all(call.id and call.parse() is not None for call in answer.tool_calls)
        assert answer.usage == answers[0].usage
        assert answer.usage.source == "provider"


def test_chat_accepts_the_arguments_of_reply():
    with serve(Reply.chat("Hi", headers={"x-request-id": "req_1"}, usage=False)) as server:
        for stream in (True, False):
            answer = requests.post(f"{server.url}/x", json={"stream": stream}, timeout=10)
            assert answer.headers["x-request-id"] == "req_1"
            assert "usage" not in answer.text
        assert requests.get(server.url, timeout=10).json()["object"] == "chat.completion"
