"""
The transport: requests over loopback, responses, the reuse of connections, errors.

Errors as callers meet them, redirects, proxies, certificates and keys are in `stream/test_errors_on_the_wire.py`.
"""

from __future__ import annotations

import gzip
import os
import socket
import ssl
import threading
from typing import Any, Iterator

import loopback
import pytest
import requests
from conftest import TIMEOUT, join

from anyllm._transport import connections
from anyllm._transport.http import Transport
from anyllm._transport.response import Response
from anyllm._transport.sockets import AbortableCall
from anyllm.errors import (
    IncompleteStreamError,
    InvalidRequestError,
    MalformedStreamError,
    NetworkError,
    StreamTimeoutError,
)
from anyllm.testing import Cut, Reply, Signal, Stall, blackhole, serve, silent

KEY = "sk-a-key-to-be-kept"
FRAMINGS = pytest.mark.parametrize("framing", ["chunked", "length", "close"])


@pytest.fixture
def transport() -> Iterator[Transport]:
    transport = Transport()
    yield transport
    transport.close()


def send(transport: Transport, url: str, body: bytes = b"{}", **kwargs: Any) -> Response:
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    kwargs.setdefault("connect_timeout", TIMEOUT)
    return transport.send(kwargs.pop("call", AbortableCall()), "POST", f"{url}/v1", headers, body, **kwargs)


def read(transport: Transport, url: str, **kwargs: Any) -> bytes:
    response = send(transport, url, **kwargs)
    body = b"".join(response.reads())
    assert response.broken is None
    response.close()
    return body


# What is sent, and what comes.


@FRAMINGS
@pytest.mark.parametrize("secure", [False, True])
def test_a_body_comes_whole(transport, framing, secure):
    tls = loopback.tls() if secure else None
    parts = [b"x" * size for size in (1, 10, 100_000, 3)]
    with serve(Reply(body=parts, framing=framing), tls=tls and tls.server) as server:
        transport = Transport(verify=tls and tls.bundle)
        for _ in range(2):
            assert read(transport, server.url) == b"".join(parts)
        transport.close()
        assert server.connections == (2 if framing == "close" else 1)
        request = server.requests[0]
        assert request.body == b"{}"
        assert request.headers["authorization"] == f"Bearer {KEY}"
        assert request.headers["accept-encoding"] == "identity"


def test_reads_come_as_they_arrive(transport):
    """Half an HTTP chunk is handed on: an event may be whole in it."""
    go_on = threading.Event()
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    with serve(
        Reply(raw_headers=head + b"6\r\nabc", body=[Stall(go_on), b"def\r\n0\r\n\r\n"], framing="length")
    ) as server:
        response = send(transport, server.url)
        reads = response.reads()
        assert next(reads) == b"abc"
        go_on.set()
        assert b"".join(reads) == b"def"
        assert response.broken is None
        response.close()


@FRAMINGS
def test_a_compressed_body_is_decoded_without_a_request_for_it(transport, framing):
    """Also when it comes a byte at a time."""
    body = gzip.compress(b"data: hello\n\n" * 100)
    reply = Reply(body=[bytes([byte]) for byte in body], framing=framing, headers={"Content-Encoding": "gzip"})
    with serve(reply) as server:
        assert read(transport, server.url) == b"data: hello\n\n" * 100


@pytest.mark.parametrize("how", ["eof", "reset"])
@pytest.mark.parametrize("framing", ["chunked", "length"])
def test_an_early_end_is_recorded_not_raised(transport, framing, how):
    with serve(Reply(body=[b"abc", Cut(how), b"def"], framing=framing)) as server:
        response = send(transport, server.url)
        body = b"".join(response.reads())
        assert b"abc".startswith(body)  # a reset may drop what has not been read
        assert isinstance(response.broken, Exception)
        response.close()


def test_a_whole_answer_within_the_limit_is_read(transport):
    with serve(Reply(body=[b"abcdef"])) as server:
        response = send(transport, server.url)
        assert response.read(6) == b"abcdef"
        response.close()


@pytest.mark.parametrize(
    ("body", "limit", "kind", "message"),
    [
        ([b"abcdef"], 5, MalformedStreamError, "max_event_bytes"),
        ([b"abc", Cut("eof"), b"d"], 100, IncompleteStreamError, None),
    ],
    ids=["too long", "cut"],
)
def test_a_whole_answer_has_a_limit_and_an_end(transport, body, limit, kind, message):
    with serve(Reply(body=body)) as server:
        response = send(transport, server.url)
        with pytest.raises(kind, match=message):
            response.read(limit)
        response.close()


@pytest.mark.parametrize(
    ("body", "limit", "expected"), [([b"abc", b"def"], 4, b"abcd"), ([b"abc", Cut("eof")], 100, b"abc")]
)
def test_error_bodies_are_cut_not_refused(transport, body, limit, expected):
    with serve(Reply(status=500, body=body)) as server:
        response = send(transport, server.url)
        assert response.status == 500
        assert response.text_so_far(limit) == expected
        response.close()


def test_a_long_request_may_take_longer_than_connecting(transport, monkeypatch):
    """The connect time-out would otherwise be the limit for sending everything."""
    timeouts = []
    original = connections._PlainConnection.send

    def send_and_look(self: Any, data: Any) -> Any:
        result = original(self, data)
        timeouts.append(self.sock.gettimeout())
        return result

    monkeypatch.setattr(connections._PlainConnection, "send", send_and_look)
    with serve(Reply(body=[b"x"])) as server:
        for _ in range(2):  # a new connection, and one from the pool
            read(transport, server.url, connect_timeout=5)
        assert server.connections == 1
    assert set(timeouts) == {None}


# Which connection serves next.


def test_a_connection_serves_again_after_a_drain(transport):
    """The end mark that follows the last event: read if it is there, so that the connection is kept."""
    with serve(Reply(body=[b"event", b"rest"])) as server:
        for _ in range(3):
            response = send(transport, server.url)
            assert next(response.reads())
            response.drain(TIMEOUT)
            response.close()
        assert server.connections == 1


@FRAMINGS
def test_a_connection_whose_body_was_not_read_is_closed(transport, framing):
    with serve(Reply(body=[b"abc", Stall(), b"def"], framing=framing)) as server:
        response = send(transport, server.url)
        assert next(response.reads())
        response.drain(0.01)
        response.close()
        assert server.wait_closed(TIMEOUT)


def test_a_connection_with_more_behind_the_end_does_not_serve_again(transport):
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    sneaky = Reply(raw_headers=head, body=[b"1\r\nx\r\n0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Le"], framing="length")
    with serve(sneaky, Reply(body=[b"good"])) as server:
        assert read(transport, server.url) == b"x"
        assert read(transport, server.url) == b"good"
        assert server.connections == 2


def test_an_aborted_connection_is_not_used_again(transport):
    with serve(Reply(body=[b"x"])) as server:
        read(transport, server.url)
        call = AbortableCall()
        call.abort()
        with pytest.raises(NetworkError):
            send(transport, server.url, call=call)
        assert server.wait_closed(TIMEOUT)
        assert read(transport, server.url) == b"x"
        assert len(server.requests) == 2


@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize("framing", ["chunked", "length"])
def test_has_more_says_whether_the_next_read_would_wait(framing, secure):
    tls = loopback.tls() if secure else None
    go_on, leave = threading.Event(), threading.Event()
    reply = Reply(body=[b"abc", Stall(go_on), b"x" * 100, Stall(leave)], framing=framing)
    with serve(reply, tls=tls and tls.server) as server:
        transport = Transport(verify=tls and tls.bundle)
        response = send(transport, server.url)
        reads = response.reads()
        assert next(reads) == b"abc"
        assert not response.has_more()
        go_on.set()
        loopback.until(response.has_more)
        response.read_size = 10
        assert len(next(reads)) <= 10
        assert response.has_more()
        response.read_size = 1000
        while response.has_more():
            next(reads)
        leave.set()
        assert list(reads) == []
        response.close()
        assert not response.has_more()
        transport.close()


def test_a_body_that_ends_with_the_connection_never_has_more(transport):
    with serve(Reply(body=[b"abc"], framing="close")) as server:
        response = send(transport, server.url)
        assert not response.has_more()
        assert list(response.reads()) == [b"abc"]


@FRAMINGS
def test_abort_ends_a_read(transport, framing, spawn):
    sent = threading.Event()
    with serve(Reply(body=[b"abc", Signal(sent), Stall(), b"x"], framing=framing)) as server:
        call = AbortableCall()
        response = send(transport, server.url, call=call)
        assert next(response.reads()) == b"abc"
        reader = spawn(lambda: list(response.reads()))
        loopback.wait_for(sent)
        assert call.abort()
        assert reader.join() == []
        response.close()
        assert server.wait_closed(TIMEOUT)


def test_abort_after_the_body_touches_no_neighbour(transport, spawn):
    """The connection is back in the pool, and serves somebody else, before the call that had it knows."""
    here, go_on = threading.Event(), threading.Event()
    with serve(Reply(body=[b"first"]), Reply(before_headers=[Signal(here), Stall(go_on)], body=[b"second"])) as server:
        call = AbortableCall()
        response = send(transport, server.url, call=call)
        assert b"".join(response.reads()) == b"first"
        neighbour = spawn(read, transport, server.url)
        loopback.wait_for(here)
        assert not call.abort()
        go_on.set()
        assert neighbour.join() == b"second"
        assert server.connections == 1
        response.close()


def test_close_closes_idle_connections(transport):
    with serve(Reply(body=[b"x"])) as server:
        read(transport, server.url)
        session = transport.session()  # somebody may still refer to it
        transport.close()
        assert server.wait_closed(TIMEOUT)
        assert read(transport, server.url) == b"x"
        assert transport.session() is not session


def test_threads_share_one_session_and_pool(transport, spawn):
    barrier = threading.Barrier(8, timeout=TIMEOUT)
    sessions = join([spawn(lambda: (barrier.wait(), transport.session())[1]) for _ in range(8)])
    assert len(set(map(id, sessions))) == 1
    with serve(Reply(body=[b"x"])) as server:

        def reads() -> None:
            for _ in range(20):
                assert read(transport, server.url) == b"x"

        join([spawn(reads) for _ in range(4)])
        assert server.connections <= 4
        assert len(server.requests) == 80


@loopback.needs_proc
def test_no_descriptor_is_left():
    loopback.tls()
    before = loopback.descriptors()
    for framing in ("chunked", "length", "close"):
        with serve(Reply(body=[b"x"], framing=framing), tls=loopback.tls().server) as server:
            transport = Transport(verify=loopback.tls().bundle)
            for _ in range(5):
                read(transport, server.url)
            transport.close()
    loopback.until(lambda: loopback.descriptors() <= before)


# Errors.


def _refusing() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_the_second_address_is_tried(transport, monkeypatch):
    """localhost is often both ::1 and 127.0.0.1, and the server listens at one of them."""
    with serve(Reply(body=[b"x"])) as server:
        good = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", server.port))
        bad = (*good[:4], ("127.0.0.1", int(_refusing().rpartition(":")[2])))
        monkeypatch.setattr(socket, "getaddrinfo", lambda *args: [bad, good])
        assert read(transport, "http://two.invalid") == b"x"


@pytest.mark.parametrize("where", ["connecting", "shaking hands"])
def test_a_time_out_while_connecting_is_the_connect_clocks(transport, where):
    """Whichever is faster, the socket's own or the pump's clock: the same error. Its class differs before 3.10."""
    if where == "connecting":
        with blackhole() as (host, port), pytest.raises(StreamTimeoutError) as caught:
            send(transport, f"http://{host}:{port}", connect_timeout=0.05)
    else:
        with silent(scheme="https") as server, pytest.raises(StreamTimeoutError) as caught:
            send(transport, server.url, connect_timeout=0.05)
    assert caught.value.clock == "connect"
    assert caught.value.is_retryable


def test_a_host_that_hangs_up(transport):
    with serve(Reply(before_headers=[Cut("eof")])) as server, pytest.raises(NetworkError, match=r"127\.0\.0\.1"):
        send(transport, server.url)


@pytest.mark.parametrize("value", ["bad\nkey", "bad\x00key", "schlüssel", 7])
def test_a_header_that_cannot_be_sent_is_named_without_its_value(transport, value):
    with pytest.raises(InvalidRequestError, match="Authorization") as caught:
        transport.send(AbortableCall(), "POST", "http://name.invalid/", {"Authorization": value}, b"")
    assert str(value) not in str(caught.value)


# The environment, and the caller's session.


def test_tunnels_through_the_proxy_are_kept(monkeypatch):
    transport = Transport(verify=loopback.tls().bundle)
    with serve(Reply(body=[b"x"]), tls=loopback.tls().server) as server, loopback.tunnel() as proxy:
        loopback.use_proxy(monkeypatch, proxy.url)
        for _ in range(3):
            assert read(transport, server.url) == b"x"
        transport.close()
        assert proxy.requested.is_set()
        assert server.connections == 1


def test_a_proxy_that_refuses(transport, monkeypatch):
    with loopback.tunnel(answer=b"HTTP/1.1 403 Forbidden\r\n\r\n") as proxy, silent() as server:
        loopback.use_proxy(monkeypatch, proxy.url)
        with pytest.raises(NetworkError, match="proxy"):
            send(transport, server.url.replace("http:", "https:"))


def test_a_given_session_is_used_as_it_is():
    """Its adapters tell nobody when they have connected, so the connect clock must not wait for them."""
    connected = []
    session = requests.Session()
    session.headers["X-Mine"] = "yes"
    with session, serve(Reply(body=[b"x"])) as server:
        transport = Transport(session=session)
        assert read(transport, server.url, call=AbortableCall(on_connected=lambda: connected.append(True))) == b"x"
        assert server.requests[0].headers["x-mine"] == "yes"
        assert connected


def test_tls_contexts_are_the_systems(transport):
    """Nothing of ours weakens them."""
    with serve(Reply(body=[b"x"]), tls=loopback.tls().server) as server:
        transport = Transport(verify=loopback.tls().bundle)
        response = send(transport, server.url)
        sock: Any = response._raw.connection.sock
        assert sock.context.verify_mode == ssl.CERT_REQUIRED
        response.close()
        transport.close()


@pytest.mark.skipif(not hasattr(os, "register_at_fork"), reason="only for systems that fork")
def test_a_child_starts_with_a_fresh_session(transport):
    """What the handler does, without a fork: test_fork.py has those."""
    session = transport.session()
    transport._lock.acquire()  # as a thread that does not exist in the child may have
    transport._reset()
    assert transport.session() is not session
    session.close()
