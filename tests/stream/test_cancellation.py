"""
Cancelling in every phase of a call: the consumer is freed with its error, the worker ends, the server sees the end.

Each phase is a context manager in `PHASES`: it gives a provider, a function that waits until a call is in that phase,
and one that waits until the server has seen the connection's end.
"""

from __future__ import annotations

import contextlib
import functools
import random
import select
import socket
import struct
import threading
from typing import Any, Callable, Iterator, NamedTuple

import loopback
import pytest
from conftest import TIMEOUT, join
from loopback import PARAMS, silent_after, until, wait_for

import anyllm
from anyllm._stream import active_calls, recovery
from anyllm._transport import connections
from anyllm.testing import Reply, Signal, Stall, blackhole, chat_events, serve


class Phase(NamedTuple):
    provider: anyllm.Provider
    reached: Callable[[Any], Any]  # its argument is the stream, None for a whole answer
    closed: Callable[[], Any]


def _closed(server: Any) -> Callable[[], Any]:
    return lambda: server.wait_closed(TIMEOUT) or pytest.fail("the connection is still open")


@contextlib.contextmanager
def resolving(monkeypatch: pytest.MonkeyPatch) -> Iterator[Phase]:
    """The one phase in which the worker stays behind, until the resolver returns."""
    waiting, go_on = loopback.hanging_resolver(monkeypatch)
    try:
        yield Phase(loopback.provider("http://name.invalid"), lambda _: wait_for(waiting), go_on.set)
    finally:
        go_on.set()


@contextlib.contextmanager
def connecting(monkeypatch: pytest.MonkeyPatch) -> Iterator[Phase]:
    with blackhole() as (host, port):
        before = loopback.unanswered(port)
        yield Phase(
            loopback.provider(f"http://{host}:{port}"),
            lambda _: until(lambda: loopback.unanswered(port) > before),
            lambda: until(lambda: loopback.unanswered(port) <= before),
        )


@contextlib.contextmanager
def shaking_hands(monkeypatch: pytest.MonkeyPatch) -> Iterator[Phase]:
    with contextlib.closing(loopback.Mute()) as server:
        yield Phase(loopback.provider(server.url), lambda _: server.wait_until_received(), server.wait_closed)


def _server(reply: Reply, secure: bool) -> Any:
    return serve(reply, tls=loopback.tls().server if secure else None)


def _provider(server: Any) -> anyllm.Provider:
    return loopback.provider(server.url, verify=loopback.tls().bundle if server.url.startswith("https") else None)


@contextlib.contextmanager
def waiting_for_headers(monkeypatch: pytest.MonkeyPatch, secure: bool = False) -> Iterator[Phase]:
    here = threading.Event()
    with _server(Reply(before_headers=[Signal(here), Stall()]), secure) as server:
        yield Phase(_provider(server), lambda _: wait_for(here), _closed(server))


@contextlib.contextmanager
def in_the_body(monkeypatch: pytest.MonkeyPatch, framing: str, secure: bool = False) -> Iterator[Phase]:
    here = threading.Event()
    with _server(silent_after(here, framing=framing), secure) as server:
        yield Phase(_provider(server), lambda stream: _received(here, stream), _closed(server))


def _received(sent: threading.Event, stream: Any) -> None:
    """The server has sent everything, and the worker has read it."""
    wait_for(sent)
    if stream is not None:
        until(lambda: stream.partial.content == "one two")


@contextlib.contextmanager
def with_a_full_queue(monkeypatch: pytest.MonkeyPatch) -> Iterator[Phase]:
    options = loopback.PLAIN.evolve(buffer=2)
    with serve(Reply.sse(chat_events(["word "] * 1000))) as server:
        provider = loopback.provider(server.url, options=options)
        yield Phase(provider, lambda stream: until(stream.chunks.full), _closed(server))


@contextlib.contextmanager
def before_a_retry(monkeypatch: pytest.MonkeyPatch) -> Iterator[Phase]:
    here = threading.Event()
    decide = recovery.pause_before_retry
    monkeypatch.setattr(recovery, "pause_before_retry", lambda *args: here.set() or decide(*args))
    options = loopback.PLAIN.evolve(retry=anyllm.Retry(attempts=5))
    with serve(Reply.error(503, "busy", headers={"Retry-After": "60"})) as server:
        provider = loopback.provider(server.url, options=options)

        def closed() -> None:
            provider.close()  # the connection is idle: nobody's, and good for the next call
            _closed(server)()

        yield Phase(provider, lambda _: wait_for(here), closed)


@contextlib.contextmanager
def through_a_proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Phase]:
    """The test server can be a proxy too: it answers for any host."""
    here = threading.Event()
    with serve(silent_after(here)) as server:
        loopback.use_proxy(monkeypatch, server.url)
        yield Phase(loopback.provider("http://name.invalid"), lambda stream: _received(here, stream), _closed(server))
        assert server.requests[0].path.startswith("http://name.invalid/")


@contextlib.contextmanager
def requesting_a_tunnel(monkeypatch: pytest.MonkeyPatch) -> Iterator[Phase]:
    with loopback.tunnel(answer=b"") as proxy:
        loopback.use_proxy(monkeypatch, proxy.url)
        yield Phase(loopback.provider("https://name.invalid"), lambda _: wait_for(proxy.requested), proxy.wait_closed)


@contextlib.contextmanager
def through_a_tunnel(monkeypatch: pytest.MonkeyPatch, enter: Callable[..., Any]) -> Iterator[Phase]:
    with loopback.tunnel() as proxy:
        loopback.use_proxy(monkeypatch, proxy.url)
        with enter(monkeypatch) as phase:
            yield phase
        assert proxy.requested.is_set()


BODIES = {
    f"body, {framing}{', TLS' * secure}": functools.partial(in_the_body, framing=framing, secure=secure)
    for secure in (False, True)
    for framing in ("chunked", "length", "close")
}
PHASES = {
    "resolving": resolving,
    "connecting": connecting,
    "shaking hands": shaking_hands,
    "headers": waiting_for_headers,
    "headers, TLS": functools.partial(waiting_for_headers, secure=True),
    **BODIES,
    "full queue": with_a_full_queue,
    "retry wait": before_a_retry,
    "body, proxy": through_a_proxy,
    "requesting a tunnel": requesting_a_tunnel,
    "shaking hands, tunnel": functools.partial(through_a_tunnel, enter=shaking_hands),
    "body, chunked, tunnel": functools.partial(through_a_tunnel, enter=BODIES["body, chunked, TLS"]),
    "body, close, tunnel": functools.partial(through_a_tunnel, enter=BODIES["body, close, TLS"]),
}


def in_each(*but: str) -> Any:
    """Run a test in each phase, for its argument `enter`."""
    chosen = {name: enter for name, enter in PHASES.items() if name not in but}
    return pytest.mark.parametrize("enter", chosen.values(), ids=chosen.keys())


def _read(stream: anyllm.Stream) -> anyllm.AnyLLMError | None:
    """The error of *stream*, which is then over in every respect."""
    if not stream.chunks.full():
        while stream.chunks.get(timeout=TIMEOUT) is not None:
            pass
    error = stream.errors.get(timeout=TIMEOUT)
    assert stream.errors.get(timeout=TIMEOUT) is None
    for _ in stream.chunks:
        pass
    assert stream.chunks.get(timeout=TIMEOUT) is None
    return error


# In every phase.


@pytest.mark.parametrize("end", ["cancel", "its own cancel", "deadline"])
@in_each()
def test_an_end_frees_consumer_worker_and_socket_and_leaves_the_neighbour(enter, end, monkeypatch, spawn, later):
    """`Stream.cancel` ends a child of the Context, and a parent's deadline comes on the timer's thread."""
    sent, go_on = threading.Event(), threading.Event()
    script = [*chat_events("", finish_reason=None, usage=False), Signal(sent), Stall(go_on)]
    with serve(Reply.sse([*script, *chat_events("Hello", role=False)])) as server:
        common = anyllm.Context()
        neighbour = loopback.stream(server.url, common)
        wait_for(sent)
        with enter(monkeypatch) as phase:
            ctx = common.child(1000 if end == "deadline" else None).child()
            stream = phase.provider.completion_stream(ctx, PARAMS)
            phase.reached(stream)
            reader = spawn(_read, stream)
            if end == "deadline":
                later.forward()
            else:
                (ctx if end == "cancel" else stream).cancel("enough")
            error = reader.join()
            assert type(error) is (anyllm.DeadlineExceeded if end == "deadline" else anyllm.Cancelled)
            assert isinstance(error, TimeoutError) if end == "deadline" else error.cause == "enough"
            assert anyllm.active_streams() == 1
            assert ctx.cancelled == (end != "its own cancel")
            phase.closed()
        go_on.set()
        assert neighbour.collect().content == "Hello"
    loopback.join_workers()


@in_each("full queue")
def test_cancel_ends_a_whole_answer(enter, monkeypatch, spawn):
    with enter(monkeypatch) as phase:
        ctx = anyllm.Context()
        caller = spawn(phase.provider.completion, ctx, PARAMS)
        phase.reached(None)
        ctx.cancel()
        with pytest.raises(anyllm.Cancelled):
            caller.join()
        phase.closed()
        loopback.join_workers()


@loopback.needs_proc
@in_each("resolving")
def test_no_descriptor_is_left(enter, monkeypatch):
    """Duplicates of sockets are closed too."""
    loopback.tls()
    before = loopback.descriptors()
    with enter(monkeypatch) as phase:
        for _ in range(5):
            stream = phase.provider.completion_stream(anyllm.Context(), PARAMS)
            phase.reached(stream)
            stream.cancel()
            loopback.join_workers()
        phase.provider.close()
        phase.closed()
    until(lambda: loopback.descriptors() <= before)


@loopback.needs_proc
def test_a_reset_before_the_handshake_leaves_no_descriptor(monkeypatch):
    """Python forgets the socket then: the failed frame has it, and a reference to the error is one to the frame."""
    loopback.tls()
    connect = connections._TLSConnection._new_conn
    made = []

    def connect_and_wait(self: Any) -> socket.socket:
        sock = connect(self)
        peer, _ = listener.accept()
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()  # which resets
        select.select([sock], [], [], TIMEOUT)
        made.append(sock)
        return sock

    monkeypatch.setattr(connections._TLSConnection, "_new_conn", connect_and_wait)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        before = loopback.descriptors()
        provider = loopback.provider(f"https://127.0.0.1:{listener.getsockname()[1]}")
        stream = provider.completion_stream(anyllm.Context(), PARAMS)
        error = stream.errors.get(timeout=TIMEOUT)
        assert isinstance(error, anyllm.NetworkError)
        loopback.join_workers()
        assert made
        assert loopback.descriptors() == before


# Before and after.


@pytest.mark.parametrize("kind", [anyllm.Cancelled, anyllm.DeadlineExceeded])
def test_a_context_already_done_starts_nothing(kind):
    """No thread and no socket; two closed channels, and the error."""
    with serve(Reply.sse(chat_events("Hello"))) as server:
        provider = loopback.provider(server.url)
        ctx = anyllm.Context(timeout=0 if kind is anyllm.DeadlineExceeded else None)
        if kind is anyllm.Cancelled:
            ctx.cancel()
        before = threading.enumerate()
        stream = provider.completion_stream(ctx, PARAMS)
        assert threading.enumerate() == before
        assert stream.chunks.closed
        assert stream.errors.closed
        assert type(_read(stream)) is kind
        assert anyllm.active_streams() == 0
        with pytest.raises(kind):
            provider.completion(ctx, PARAMS)
        assert server.connections == 0


def test_a_stream_that_was_complete_is_no_error():
    with serve(Reply.sse(chat_events("Hello"))) as server:
        ctx = anyllm.Context()
        stream = loopback.stream(server.url, ctx)
        until(lambda: stream.chunks.closed)
        ctx.cancel()
        assert "".join(stream.text_stream) == "Hello"
        assert stream.errors.get(timeout=TIMEOUT) is None


def test_cancelling_a_complete_stream_keeps_its_connection():
    """`with` around a stream cancels at its end, which must not cost the next call a handshake."""
    with serve(Reply.sse(chat_events("Hello"), framing="length")) as server:
        provider = loopback.provider(server.url)
        for _ in range(20):
            with provider.completion_stream(anyllm.Context(), PARAMS) as stream:
                assert "".join(chunk.content for chunk in stream.chunks) == "Hello"
            loopback.join_workers()
        assert server.connections == 1


def test_chunks_already_waiting_are_still_received():
    sent = threading.Event()
    with serve(silent_after(sent)) as server:
        stream = loopback.stream(server.url)
        _received(sent, stream)
        until(lambda: stream.chunks.qsize() == 3)
        stream.cancel()
        assert "".join(chunk.content for chunk in stream.chunks) == "one two"
        error = stream.errors.get(timeout=TIMEOUT)
        assert error.partial.content == "one two"


def test_a_cancel_between_two_attempts_ends_the_second(monkeypatch):
    """At the moment when the connection of the first attempt has ended and the second has none yet."""
    ctx = anyllm.Context()
    monkeypatch.setattr(recovery, "pause_before_retry", lambda *args: ctx.cancel() or 0.0)
    with serve(Reply.error(503, "busy")) as server:
        with pytest.raises(anyllm.Cancelled):
            loopback.provider(server.url).completion(ctx, PARAMS)
        loopback.join_workers()
        assert len(server.requests) == 1


def test_ctrl_c_in_the_middle_of_an_end_leaves_nobody_waiting(monkeypatch):
    """The next one does what was left undone: here the second cancel, in life often the worker."""
    sent = threading.Event()
    with serve(silent_after(sent)) as server:
        stream = loopback.stream(server.url)
        wait_for(sent)
        pop = active_calls._active.pop

        class Interrupted(dict):
            def pop(self, *args: Any) -> Any:
                monkeypatch.undo()
                pop(*args)
                raise KeyboardInterrupt

        monkeypatch.setattr(active_calls, "_active", Interrupted(active_calls._active))
        with pytest.raises(KeyboardInterrupt):
            stream._pump._stop()
        stream.cancel()
        assert type(_read(stream)) is anyllm.Cancelled
        assert server.wait_closed(TIMEOUT)
        loopback.join_workers()


# Neighbours.


def test_cancels_that_race_completion_harm_no_neighbour(fast_switches, spawn):
    """On one pool: a connection goes to the next call the moment the last one is over."""
    with serve(Reply.sse(chat_events("Hello big world", usage=False))) as server:
        provider = loopback.provider(server.url)

        def neighbours() -> int:
            good = 0
            for _ in range(50):
                good += provider.completion_stream(anyllm.Context(), PARAMS).collect().content == "Hello big world"
            return good

        def cancels(chance: random.Random) -> int:
            for _ in range(25):
                stream = provider.completion_stream(anyllm.Context(), PARAMS)
                for _ in range(chance.randrange(6)):
                    stream.chunks.get(timeout=TIMEOUT)
                stream.cancel()
                error = stream.errors.get(timeout=TIMEOUT)
                assert error is None or type(error) is anyllm.Cancelled, error
            return 0

        tasks = [spawn(neighbours) for _ in range(4)] + [spawn(cancels, random.Random(seed)) for seed in range(4)]
        assert sum(join(tasks)) == 200
        loopback.join_workers()
        assert anyllm.active_streams() == 0
