"""The gateway behind its own server: streaming, clients that leave or are slow, timeouts, malformed requests."""

from __future__ import annotations

import contextlib
import gc
import http.client
import json
import random
import re
import socket
import struct
import threading
import types
from typing import Any, Iterator, List, Optional

import pytest
from conftest import TIMEOUT
from gate import CHAT, STREAM, before, listens
from loopback import descriptors, join_workers, needs_proc, silent_after, until, workers

import anyllm
from anyllm._concurrency.pipe import EMPTY
from anyllm._serving import body as _body
from anyllm._serving.stream_sources import SILENCE
from anyllm.channel import open_channel
from anyllm.formats import Body, OpenAIChat
from anyllm.gateway import Config, Gateway, GatewayServer, NeedsKeys, _server, hash_of, new_key
from anyllm.testing import Reply, Signal, Stall, chat_events, serve
from anyllm.types import ChatCompletionChunk, RetryNotice, text_chunk

pytest.importorskip("waitress")

CHAT_PATH = "/v1/chat/completions"
NOWHERE = "http://127.0.0.1:9"


def request(server: GatewayServer, body: Any = STREAM, path: str = CHAT_PATH, **headers: str) -> socket.socket:
    """A connection on which a request was sent."""
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(sent)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=TIMEOUT)
    connection.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + sent)
    return connection


def read_until(connection: socket.socket, sign: bytes) -> bytes:
    received = b""
    while sign not in received:
        piece = connection.recv(65536)
        assert piece, received
        received += piece
    return received


def read_all(connection: socket.socket) -> bytes:
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := connection.recv(65536):
            received += piece
    return received


def reset(connection: socket.socket) -> None:
    """Leave without a word, as a killed process does."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


@contextlib.contextmanager
def gateway(url: str, **config: Any) -> Iterator[GatewayServer]:
    with GatewayServer(before(url, server={"port": 0, **config.pop("server", {})}, **config)) as server:
        yield server


# -- as it comes -------------------------------------------------------------------------------------------------------


def test_a_piece_arrives_before_the_next_is_sent():
    """The upstream holds the second back until the client has the first."""
    has_first = threading.Event()
    first, second = chat_events(["one"], finish_reason=None, usage=False), chat_events(["two"])
    reply = Reply.sse([*first, Stall(has_first), *second])
    with serve(reply) as upstream, gateway(upstream.url) as server, contextlib.closing(request(server)) as client:
        assert b'"one"' in read_until(client, b'"one"')
        has_first.set()
        assert b"[DONE]" in read_until(client, b"[DONE]")


def test_a_silent_model_is_no_silent_line():
    with (
        serve(silent_after(threading.Event())) as upstream,
        gateway(upstream.url, server={"keep_alive": 0.05}) as server,
    ):
        client = request(server)
        read_until(client, b": keep-alive")
        client.close()


def test_a_connection_is_used_again():
    """After a whole answer, and after an error."""
    whole = {"choices": [{"index": 0, "message": {"content": "x"}, "finish_reason": "stop"}]}
    with serve(Reply.json(whole)) as upstream, gateway(upstream.url) as server:
        client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=TIMEOUT)
        for body, status in ((CHAT, 200), ({**CHAT, "model": "nope"}, 404), (CHAT, 200)):
            client.request("POST", CHAT_PATH, json.dumps(body))
            before_it = client.sock
            answer = client.getresponse()
            assert answer.status == status
            answer.read()
            assert client.sock is before_it
        client.request("HEAD", "/healthz")
        answer = client.getresponse()
        assert (answer.status, answer.read()) == (200, b"")
        client.close()


# -- writing from other threads ----------------------------------------------------------------------------------------


class Outlet:
    """Records the writes and their threads; *room* is the number of writes that do not block."""

    def __init__(self, room: float = float("inf"), error: Optional[Exception] = None) -> None:
        self.room = room
        self.error = error
        self.written: List[bytes] = []
        self.threads: List[str] = []

    def has_room(self) -> bool:
        return len(self.written) < self.room

    def write(self, data: bytes) -> None:
        if self.error is not None:
            raise self.error
        self.written.append(data)
        self.threads.append(threading.current_thread().name)


def piece(text: str) -> Any:
    return text_chunk("", text, 0, "", None, None, "", None)


class Pair:
    """The two channels of a stream, and their send ends."""

    def __init__(self) -> None:
        self.sender, self.chunks = open_channel(64)
        self.failed, self.errors = open_channel(1)

    def say(self, *texts: str) -> None:
        assert self.sender.put_many([piece(text) for text in texts])

    def end(self, error: Any = None) -> None:
        self.failed.close(error)
        self.sender.close()


def waiting_for(pair: Pair, outlet: Outlet, **options: Any) -> Any:
    """A thread that iterates a body after its first text; and the list of what it gets."""
    body = Body(pair, OpenAIChat(), outlet=outlet, **options)
    pair.say("first")
    assert body.begin(TIMEOUT) is None
    from_body: List[bytes] = []
    thread = threading.Thread(target=lambda: from_body.extend(body))
    thread.start()
    until(lambda: pair.chunks._pipe.forwarder)
    return thread, from_body


def texts_in(pieces: Any) -> str:
    return b"".join(re.findall(rb'"content":"(.*?)"', b"".join(pieces))).decode()


def test_the_thread_that_brings_a_chunk_writes_it():
    """To wake it for each costs more than the chunk."""
    pair, outlet = Pair(), Outlet()
    thread, from_body = waiting_for(pair, outlet)
    pair.say("a")
    pair.say("b", "c")
    assert texts_in(outlet.written) == "abc"
    assert len(outlet.written) == 2, "what came together is one write"
    assert set(outlet.threads) == {threading.current_thread().name}
    assert texts_in(from_body) == "first"
    pair.end()
    thread.join(TIMEOUT)
    assert b"[DONE]" in from_body[-1]


@pytest.mark.parametrize(
    ("outlet", "passed_on", "from_body"),
    [(Outlet(room=1), "ab", "firstc"), (Outlet(error=OSError("the client has left")), "", "firstabc")],
    ids=["no room", "a write that fails"],
)
def test_what_cannot_be_written_at_once_is_left_to_the_servers_thread(outlet, passed_on, from_body):
    """That thread may wait for the client; the one that brings chunks may not."""
    pair = Pair()
    thread, pieces = waiting_for(pair, outlet)
    pair.say("a", "b")
    pair.say("c")
    pair.end()
    thread.join(TIMEOUT)
    assert (texts_in(outlet.written), texts_in(pieces)) == (passed_on, from_body)


def test_an_error_while_passing_on_is_the_answers_error():
    """Not in the thread that brought the chunk."""
    pair, outlet = Pair(), Outlet()
    thread, from_body = waiting_for(pair, outlet)
    assert pair.sender.put(ChatCompletionChunk(retry=RetryNotice("restart", 2, "cut off", 0.0)))
    thread.join(TIMEOUT)
    assert b"begins anew" in from_body[-1]


def test_writes_of_other_threads_delay_the_keep_alive(monkeypatch):
    """The server's thread has slept all the while; only silence is silence."""
    now = Clock()
    monkeypatch.setattr(_body, "time", types.SimpleNamespace(monotonic=now))
    body = Body(Pair(), OpenAIChat(), 5.0, outlet=Outlet())
    source: Any = body._source

    def silence(timeout: Optional[float], pass_on: Any) -> Any:
        """In which something is written, the first time."""
        now.now += timeout
        waits.append(timeout)
        if len(waits) == 1:
            now.now -= 2
            items = iter([piece("a")])
            assert pass_on(lambda: next(items, EMPTY))
            now.now += 2
        return SILENCE

    waits: List[Optional[float]] = []
    monkeypatch.setattr(source, "next", silence)
    assert next(body) == OpenAIChat.keep_alive
    assert waits == [5.0, 3.0]


@pytest.mark.parametrize("comes", ["chunk", "end"])
def test_a_chunk_that_arrives_while_the_last_one_is_passed_on_is_not_lost(comes):
    """Between the end of one thread's work and the start of the other's."""
    pair, passed_on = Pair(), []

    def pass_on(take: Any) -> bool:
        while (item := take()) is not EMPTY:
            if item is None:
                return False
            passed_on.append(item)
        if passed_on == ["a"]:
            pair.sender.put("b") if comes == "chunk" else pair.end()
        return True

    thread = threading.Thread(target=pair.chunks.forward, args=[pass_on])
    thread.start()
    until(lambda: pair.chunks._pipe.forwarder)
    assert pair.sender.put("a")
    assert passed_on == (["a", "b"] if comes == "chunk" else ["a"])
    pair.end()
    thread.join(TIMEOUT)
    assert not thread.is_alive()


def test_closing_a_channel_writes_nothing():
    """The close may come from a signal handler, between the put of an item and the wake-up of the waiter."""
    pair, outlet = Pair(), Outlet()
    thread, from_body = waiting_for(pair, outlet)
    pair.chunks._pipe.items.append(piece("a"))
    pair.end()
    thread.join(TIMEOUT)
    assert not outlet.written
    assert texts_in(from_body) == "firsta"


@pytest.mark.parametrize("end", ["end", "error", "cancel"])
def test_no_end_is_slept_through(end):
    """Whoever it is that brings it, and in whatever moment between two chunks."""
    for number in range(200):
        pair, outlet = Pair(), Outlet()
        thread, _ = waiting_for(pair, outlet, keep_alive=None)
        closer = threading.Thread(target=pair.end, args=[anyllm.Cancelled("x") if end == "error" else None])
        if end == "cancel":
            closer = threading.Thread(target=pair.sender.close)
            pair.failed.close()
        closer.start()
        for _ in range(number % 5):
            pair.sender.put(piece("a"))
        closer.join(TIMEOUT)
        thread.join(TIMEOUT)
        assert not thread.is_alive()


def test_all_arrives_in_order_with_a_client_that_takes_it_in_fits():
    """So that now the one thread writes, now the other."""
    words = [f"{number:05}" * 20 for number in range(3000)]
    with serve(Reply.sse(chat_events(words))) as upstream, gateway(upstream.url) as server:
        client = request(server)
        received = b""
        chance = random.Random(2)
        while b"[DONE]" not in received[-200:]:
            piece = client.recv(chance.choice([100, 1 << 16, 1 << 20]))
            assert piece
            received += piece
        client.close()
    assert texts_in(b'"content":"' + part for part in received.split(b'"content":"')[1:]) == "".join(words)


# -- clients that have left --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("leave", [socket.socket.close, reset], ids=["end", "reset"])
@pytest.mark.parametrize(
    ("body", "word"), [(STREAM, b""), (CHAT, b""), (STREAM, b"two")], ids=["stream", "whole", "in the middle"]
)
def test_a_client_that_leaves_ends_the_call(leave, body, word):
    """Before the first token nothing is written, so no write can tell."""
    reply = silent_after(threading.Event()) if word else Reply.sse([Stall()], done=False)
    with serve(reply) as upstream, gateway(upstream.url) as server:
        client = request(server, body)
        upstream.wait_for_requests(1)
        read_until(client, word)
        leave(client)
        assert upstream.wait_closed(TIMEOUT)
        join_workers()
        until(lambda: server.gateway.running == 0)


@needs_proc
def test_three_hundred_clients_that_leave_leak_nothing():
    """At a point of their own each: before the first token, in the middle, at the end."""
    answered = threading.Event()
    chance = random.Random(7)
    script = [Reply.sse([Stall()], done=False), silent_after(answered), Reply.sse(chat_events(["one", "two"]))]
    with serve(lambda _: chance.choice(script)) as upstream, gateway(upstream.url) as server:
        ask_in_time(server)  # from here on the number of descriptors is stable
        clients: List[socket.socket] = []
        rounds = [0, 0]
        for round_ in range(2):
            for number in range(150):
                clients.append(request(server))
                if chance.random() < 0.5:
                    (reset if number % 2 else socket.socket.close)(clients.pop(chance.randrange(len(clients))))
            for client in clients:
                client.close()
            clients.clear()
            until(lambda: not server._connections())  # some had not even been read when their client left
            until(lambda: server.gateway.running == 0 and not anyllm.active_streams() and not workers())
            until(lambda: upstream.open_connections <= 10)  # pooled connections of whole answers
            gc.collect()
            rounds[round_] = descriptors()
        assert rounds[1] <= rounds[0] + 10  # pooled connections, of which now more were needed at once
        ask_in_time(server)


def test_a_reader_that_stops_holds_back_the_model():
    """The buffer for it is bounded, and the provider is not read any further."""
    [piece] = chat_events(["x" * 10_000], finish_reason=None, usage=False)[-1:]
    all_sent = threading.Event()
    flood = Reply.sse([*[piece] * 5000, Signal(all_sent)], done=False)  # 50 MB
    with serve(flood) as upstream, gateway(upstream.url) as server:
        client = request(server)
        read_until(client, b"xxx")
        assert not all_sent.wait(1)
        client.close()
        assert upstream.wait_closed(TIMEOUT)


# -- slow clients ------------------------------------------------------------------------------------------------------


class Clock:
    """Monotonic seconds that a test sets forth."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def ask_in_time(server: GatewayServer) -> None:
    client = request(server, {**CHAT, "model": "nope"})
    assert b"model_not_found" in read_until(client, b"model_not_found")
    client.close()


@pytest.mark.parametrize(
    "start",
    [b"POST / HT", b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n{"],
    ids=["headers", "body"],
)
def test_three_hundred_slow_senders_block_no_other_client(start, monkeypatch):
    """More of them than threads; others are answered meanwhile, and they are cut off in the end."""
    monkeypatch.setattr(_server, "_SPARE_THREADS", 2)
    with gateway(NOWHERE, server={"max_streams": 4}) as server:
        slow = [socket.create_connection(("127.0.0.1", server.port), timeout=TIMEOUT) for _ in range(300)]
        for client in slow:
            client.sendall(start)
        ask_in_time(server)
        for client in slow[:150]:
            client.sendall(b"X")
        ask_in_time(server)
        monkeypatch.setitem(_server._TIMEOUTS, "header", -1.0)  # expired
        monkeypatch.setitem(_server._TIMEOUTS, "body", -1.0)
        for client in slow:
            assert read_all(client) == b""
            client.close()
        monkeypatch.undo()
        ask_in_time(server)


def test_a_client_that_reads_nothing_is_disconnected(monkeypatch):
    piece = chat_events(["x" * 10_000], finish_reason=None, usage=False)[-1:]
    with serve(Reply.sse(piece * 3000, done=False)) as upstream, gateway(upstream.url) as server:
        client = request(server)
        read_until(client, b"xxx")
        monkeypatch.setitem(_server._TIMEOUTS, "blocked", -1.0)
        assert upstream.wait_closed(TIMEOUT)
        until(lambda: server.gateway.running == 0)
        client.close()


def test_an_idle_client_is_disconnected_but_not_one_that_waits_for_a_model(monkeypatch):
    with (
        serve(silent_after(threading.Event())) as upstream,
        gateway(upstream.url, server={"keep_alive": 0.5}) as server,
    ):
        waiting, idle = request(server), socket.create_connection(("127.0.0.1", server.port), timeout=TIMEOUT)
        read_until(waiting, b"two")
        monkeypatch.setitem(_server._TIMEOUTS, "idle", -1.0)
        assert read_all(idle) == b""
        read_until(waiting, b"keep-alive")
        waiting.close()
        idle.close()
        assert upstream.wait_closed(TIMEOUT)


# -- requests rejected before the application --------------------------------------------------------------------------


def raw(server: GatewayServer, sent: bytes) -> bytes:
    with contextlib.closing(socket.create_connection(("127.0.0.1", server.port), timeout=TIMEOUT)) as client:
        client.sendall(sent)
        return read_all(client)


HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (HEAD + b"Content-Length: 10000000000\r\n\r\n", 413),
        (HEAD + b"Expect: 100-continue\r\nContent-Length: 10000000000\r\n\r\n", 413),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"1000\r\n" + b"x" * 4096 + b"\r\n" + b"f0000000\r\n", 413),
        (HEAD + b"Content-Length: -5\r\n\r\n", 400),
        (HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n", 400),
        (HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (HEAD + b"no colon\r\n\r\n", 400),
        (HEAD + b"X: " + b"y" * 70_000 + b"\r\n\r\n", 431),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    ],
    ids=["large", "expected", "endless", "negative", "twice", "both", "chunk", "colon", "header", "tls", "http2"],
)
def test_malformed_requests_are_rejected_in_the_clients_format(sent, status):
    with gateway(NOWHERE, server={"max_body_bytes": 4000}) as server:
        received = raw(server, sent)
        assert received.startswith((f"HTTP/1.1 {status} ".encode(), f"HTTP/1.0 {status} ".encode())), received
        body = json.loads(received.partition(b"\r\n\r\n")[2])
        assert body["error"]["type"] == "invalid_request_error"
        ask_in_time(server)


def test_a_client_that_sends_too_much_can_read_the_error():
    """Closing the connection while data arrives would show the client a reset instead of the response."""
    with gateway(NOWHERE, server={"max_body_bytes": 4000}) as server:
        client = socket.create_connection(("127.0.0.1", server.port), timeout=TIMEOUT)
        client.sendall(HEAD + b"Content-Length: 3000000\r\n\r\n")
        with contextlib.suppress(OSError):
            for _ in range(300):
                client.sendall(b"x" * 10_000)
        assert b"413" in read_all(client)
        client.close()


def test_random_bytes_are_answered_or_disconnected(caplog):
    """No traceback, and the next client is answered."""
    chance = random.Random(5)
    with gateway(NOWHERE) as server:
        for number in range(300):
            noise = bytes(chance.randrange(256) for _ in range(chance.randrange(200)))
            sent = (HEAD if number % 2 else b"") + noise + b"\r\n\r\n"
            with contextlib.closing(socket.create_connection(("127.0.0.1", server.port), timeout=TIMEOUT)) as client:
                client.sendall(sent)
                client.shutdown(socket.SHUT_WR)
                received = read_all(client)
            assert not received or received.startswith(b"HTTP/1.")
            assert b"Traceback" not in received
        ask_in_time(server)
    assert "Traceback" not in caplog.text


# -- beginning and ending ----------------------------------------------------------------------------------------------


def test_without_keys_it_listens_on_loopback_only():
    for host in ("0.0.0.0", "::", "192.0.2.1", "example.org"):
        with pytest.raises(NeedsKeys, match="--new-key"):
            GatewayServer(Gateway(Config(server={"host": host, "port": 0})))
    keys = {"alice": hash_of(new_key())}
    with GatewayServer(Gateway(Config(server={"host": "0.0.0.0", "port": 0}, keys=keys))) as server:
        assert server.port > 0


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
def test_it_listens_on_ipv6_and_with_localhost_on_both():
    for host in ("::1", "localhost"):
        with GatewayServer(Gateway(Config(server={"host": host, "port": 0}))) as server:
            client = http.client.HTTPConnection("::1" if host == "::1" else "127.0.0.1", server.port, timeout=TIMEOUT)
            client.request("GET", "/healthz")
            assert client.getresponse().status == 200
            client.close()


def test_stopping_lets_answers_end_and_cancels_those_that_do_not():
    go_on = threading.Event()
    first, second = chat_events(["one"], finish_reason=None, usage=False), chat_events(["two"])
    with serve(Reply.sse([*first, Stall(go_on), *second]), silent_after(threading.Event())) as upstream:
        server = GatewayServer(before(upstream.url, server={"port": 0})).start()
        ending = request(server)
        read_until(ending, b'"one"')
        silent = request(server)
        read_until(silent, b"two")
        server.stop(grace=TIMEOUT)
        until(lambda: not listens(server.port))
        go_on.set()
        read_until(ending, b"[DONE]")
        assert anyllm.active_streams() == 1
        server.close(grace=0)
        assert b"[DONE]" not in read_all(silent)
        join_workers()
        assert anyllm.active_streams() == 0
        ending.close()
        silent.close()


def test_a_port_that_is_taken_is_an_error():
    with gateway(NOWHERE) as server, pytest.raises(OSError, match="in use"):
        GatewayServer(before(NOWHERE, server={"port": server.port}))


def test_many_streams_at_once_all_end():
    with serve(Reply.sse(chat_events([f"word{number} " for number in range(20)]))) as upstream:
        with gateway(upstream.url) as server:
            clients = [request(server) for _ in range(100)]
            for client in clients:
                received = read_until(client, b"[DONE]")
                assert received.count(b"word") == 20
                client.close()
        until(lambda: server.gateway.running == 0)


# -- hostile clients ---------------------------------------------------------------------------------------------------


def test_requests_sent_ahead_do_not_hide_that_the_client_has_left():
    """waitress reads nothing while many requests are queued, so it would not notice the end; too many end it."""
    with serve(Reply.sse([Stall()], done=False)) as upstream, gateway(upstream.url) as server:
        client = request(server)
        upstream.wait_for_requests(1)
        client.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n" * 5)
        assert read_all(client) == b""
        assert upstream.wait_closed(TIMEOUT)
        client.close()
        behind = request(server)
        upstream.wait_for_requests(2)
        behind.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        behind.close()
        assert upstream.wait_closed(TIMEOUT)
        until(lambda: server.gateway.running == 0)


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n", 401),
        (b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nx-api-key: wrong\r\n", 401),
        (b"POST /nothing HTTP/1.1\r\nHost: localhost\r\n", 404),
        (b"POST /healthz HTTP/1.1\r\nHost: localhost\r\n", 405),
    ],
    ids=["no key", "wrong key", "no path", "no method"],
)
def test_a_large_body_is_not_read_of_a_request_that_will_be_rejected(head, status):
    """A stranger's megabytes would lie in memory, or on the disk, until they are all there."""
    with gateway(NOWHERE, keys={"alice": hash_of(new_key())}) as server:
        received = raw(server, head + b"Content-Length: 30000000\r\n\r\n" + b"x" * 100_000)
        assert received.startswith(f"HTTP/1.1 {status} ".encode()), received
        assert json.loads(received.partition(b"\r\n\r\n")[2])["error"]["type"]


def test_with_a_key_a_large_body_is_read():
    key = new_key()
    with gateway(NOWHERE, keys={"alice": hash_of(key)}) as server:
        body = {**CHAT, "model": "nope", "user": "x" * 1_000_000}
        client = request(server, body, Authorization=f"Bearer {key}")
        read_until(client, b"model_not_found")
        client.close()


def test_a_url_that_is_none_is_refused():
    with gateway(NOWHERE) as server:
        assert raw(server, b"GET http://[/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").startswith(b"HTTP/1.")
        ask_in_time(server)


def test_closing_twice_or_before_the_start_leaks_nothing():
    server = GatewayServer(before(NOWHERE, server={"port": 0}))
    port = server.port
    server.close()
    server.close()
    until(lambda: not listens(port))
    with gateway(NOWHERE) as running:
        running.close()
        running.close()
        running.stop()
