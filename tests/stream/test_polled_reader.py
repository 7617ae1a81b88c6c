"""
Answers in pieces of every size, over every connection, for receivers of every kind: nothing is lost, doubled or moved.

They are read by a thread of their own and by the loop, which must make no difference.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import random
import socket
import threading
import weakref
from typing import Any, Callable, Iterator, List

import loopback
import pytest
from conftest import TIMEOUT, join
from loopback import HEAD, LAST, PARAMS, chunk, event, request_from, silent_after, until, wait_for

import anyllm
from anyllm._concurrency import loop
from anyllm._concurrency.pipe import EMPTY
from anyllm.testing import Cut, Reply, Signal, Stall, chat_events, serve

secure_too = pytest.mark.parametrize("secure", [False, True], ids=["plain", "TLS"])
WORDS = [f"{number} " for number in range(800)]


def server_of(reply: Any, secure: bool = False) -> Any:
    return serve(reply, tls=loopback.tls().server if secure else None)


def stream(server: Any, **options: Any) -> anyllm.Stream:
    verify = loopback.tls().bundle if server.url.startswith("https") else None
    provider = loopback.provider(server.url, verify=verify, options=loopback.PLAIN.evolve(**options))
    return provider.completion_stream(anyllm.Context(), PARAMS)


def until_first_text(answer: anyllm.Stream) -> None:
    while not answer.chunks.get(timeout=TIMEOUT).content:  # type: ignore[union-attr]
        pass


# Pieces.


@contextlib.contextmanager
def sending(write: Callable[[socket.socket], object], secure: bool) -> Iterator[Any]:
    """A server that answers each request by *write*, in pieces that are also TLS records."""
    context = loopback.tls().server if secure else None

    def handle(client: socket.socket) -> None:
        if context is None:
            while request_from(client):
                write(client)
            return
        with contextlib.suppress(OSError), context.wrap_socket(client, server_side=True) as wrapped:
            while request_from(wrapped):
                write(wrapped)

    with contextlib.closing(loopback.Raw(handle, "https" if secure else "http")) as server:
        yield server
        loopback.join_workers()
        until(lambda: not loop.shared._users)
        gc.collect()


def body(words: List[str]) -> bytes:
    events = [event(word) for word in words]
    return b"".join(map(chunk, [*events, event(finish="stop"), b"data: [DONE]\n\n"])) + LAST


@secure_too
def test_single_bytes(secure: bool) -> None:
    def write(client: socket.socket) -> None:
        for byte in HEAD + body(["one ", "two"]):
            client.sendall(bytes((byte,)))

    with sending(write, secure) as server:
        assert stream(server).collect().content == "one two"


@secure_too
def test_the_whole_body_in_one_piece_with_the_headers(secure: bool) -> None:
    """It is in a buffer, or in a decrypted record, where no socket shows it."""
    with sending(lambda client: client.sendall(HEAD + body(WORDS[:20])), secure) as server:
        assert stream(server).collect().content == "".join(WORDS[:20])
        assert stream(server, read_size=1).collect().content == "".join(WORDS[:20])


@secure_too
def test_a_part_of_the_body_with_the_headers_and_then_silence(secure: bool) -> None:
    go_on = threading.Event()

    def write(client: socket.socket) -> None:
        client.sendall(HEAD + chunk(event("one ")))
        wait_for(go_on)
        client.sendall(body(["two"]))

    with sending(write, secure) as server:
        answer = stream(server)
        until_first_text(answer)
        go_on.set()
        assert answer.collect().content == "one two"
        del answer  # and with it the provider, whose connection the server waits for


@secure_too
@pytest.mark.parametrize("read_size", [1, 7, None])
def test_reads_smaller_than_records(secure: bool, read_size: Any) -> None:
    """What TLS has decrypted and not given yet, it has taken from the socket."""
    with server_of(Reply.sse(chat_events(WORDS[:100]), event_per_write=False), secure) as server:
        assert stream(server, read_size=read_size).collect().content == "".join(WORDS[:100])


@secure_too
@pytest.mark.usefixtures("fast_switches")
def test_pieces_of_random_sizes(secure: bool) -> None:
    chance = random.Random(5)
    data = HEAD + body(WORDS)

    def write(client: socket.socket) -> None:
        at = 0
        while at < len(data):
            size = chance.choice((1, 3, 50, 2000, 20000))
            client.sendall(data[at : at + size])
            at += size

    with sending(write, secure) as server:
        for _ in range(3):
            assert stream(server).collect().content == "".join(WORDS)


@secure_too
def test_a_flood_of_large_events(secure: bool) -> None:
    pieces = [str(number % 10) * 100_000 for number in range(60)]
    with server_of(Reply.sse(chat_events(pieces)), secure) as server:
        assert stream(server).collect().content == "".join(pieces)


def test_a_tunnel(monkeypatch: pytest.MonkeyPatch) -> None:
    with server_of(Reply.sse(chat_events(WORDS[:50])), secure=True) as server, loopback.tunnel() as proxy:
        loopback.use_proxy(monkeypatch, proxy.url)
        assert stream(server).collect().content == "".join(WORDS[:50])
        assert proxy.requested.is_set()


def test_a_complete_answer_gives_its_connection_back() -> None:
    with server_of(Reply.sse(chat_events("one two"))) as server:
        provider = loopback.provider(server.url)
        for _ in range(10):
            answer = provider.completion_stream(anyllm.Context(), PARAMS)
            assert answer.collect().content == "one two"
            answer._pump.join(TIMEOUT)
        assert server.connections == 1


# Receivers.


@pytest.mark.usefixtures("fast_switches")
@pytest.mark.parametrize("buffer", [1, 2, 5, 64])
def test_items_come_once_and_in_order(buffer: int) -> None:
    with server_of(Reply.sse(chat_events(WORDS))) as server:
        answer = stream(server, buffer=buffer)
        assert [item.content for item in answer.chunks if item.content] == WORDS
        assert answer.errors.get(timeout=TIMEOUT) is None


@pytest.mark.usefixtures("fast_switches")
def test_several_receivers_get_each_item_once(spawn: Any) -> None:
    with server_of(Reply.sse(chat_events(WORDS))) as server:
        answer = stream(server, buffer=3)
        received = join(
            [spawn(lambda: [int(item.content) for item in answer.chunks if item.content]) for _ in range(3)]
        )
    assert sorted(itertools.chain(*received)) == list(range(len(WORDS)))
    assert all(items == sorted(items) for items in received)


def cancel(answer: List[anyllm.Stream]) -> None:
    answer[0].cancel("enough")


def drop(answer: List[anyllm.Stream]) -> None:
    del answer[0]
    gc.collect()


@pytest.mark.parametrize(("end", "cause"), [(cancel, "enough"), (drop, "abandoned")])
def test_a_stream_that_waits_for_room_can_be_ended(end: Any, cause: str, spawn: Any) -> None:
    with server_of(Reply.sse(chat_events(WORDS))) as server:
        answer = [stream(server, buffer=1)]
        errors, pump = answer[0].errors, weakref.proxy(answer[0]._pump)
        pipe = answer[0]._pump._chunks_pipe
        until(lambda: pipe.senders)
        spawn(end, answer).join()
        assert errors.get(timeout=TIMEOUT).cause == cause  # type: ignore[union-attr]
        with contextlib.suppress(ReferenceError):
            pump.join(TIMEOUT)
        assert server.wait_closed(TIMEOUT)
        until(lambda: not pipe.senders)


def test_a_deadline_ends_a_stream_that_waits_for_room(later: Any) -> None:
    with server_of(Reply.sse(chat_events(WORDS))) as server:
        provider = loopback.provider(server.url, options=loopback.PLAIN.evolve(buffer=1))
        answer = provider.completion_stream(anyllm.Context(timeout=1000), PARAMS)
        until(lambda: answer._pump._chunks_pipe.senders)
        later.forward()
        assert isinstance(answer.errors.get(timeout=TIMEOUT), anyllm.DeadlineExceeded)
        assert server.wait_closed(TIMEOUT)


@pytest.mark.parametrize("clock", ["first_content", "idle"])
def test_a_silent_provider_meets_the_clock(clock: str, later: Any) -> None:
    sent = threading.Event()
    events = [] if clock == "first_content" else chat_events("one", finish_reason=None, usage=False)
    with server_of(Reply.sse([*events, Signal(sent), Stall()], done=False)) as server:
        limit: Any = {"connect": None, "first_content": None, "idle": None, clock: 1000}
        answer = stream(server, timeouts=anyllm.Timeouts(**limit))
        wait_for(sent)
        if events:
            until_first_text(answer)
        until(lambda: answer._pump._attempt.content_clock.runs)
        later.forward()
        error = answer.errors.get(timeout=TIMEOUT)
        assert isinstance(error, anyllm.StreamTimeoutError)
        assert error.clock == clock
        assert server.wait_closed(TIMEOUT)


# Forwarders.


class Forward:
    """Takes the content; at its hundredth item it does something."""

    def __init__(self, then: Callable[[], Any] = lambda: True) -> None:
        self.content: List[str] = []
        self.threads: List[str] = []
        self._then = then

    def __call__(self, take: Callable[[], Any]) -> bool:
        self.threads.append(threading.current_thread().name)
        while True:
            item = take()
            if item is EMPTY or item is None:
                return item is EMPTY
            if item.content:
                self.content.append(item.content)
                if len(self.content) == 100 and not self._then():
                    return False


@contextlib.contextmanager
def gated(secure: bool = False) -> Iterator[Any]:
    """A server whose answer goes on behind its first word when `go_on` is set."""
    go_on = threading.Event()
    first = chat_events("first", finish_reason=None, usage=False)
    with server_of(Reply.sse([*first, Stall(go_on), *chat_events(WORDS, role=False)]), secure) as server:
        server.go_on = go_on
        yield server
        loopback.join_workers()
        until(lambda: not loop.shared._users)


def forwarded(server: Any, forward: Forward, spawn: Any, **options: Any) -> Any:
    """A stream behind its first word that *forward* receives, and the task that waits."""
    answer = stream(server, **options)
    until_first_text(answer)
    task = spawn(answer.chunks.forward, forward)
    until(lambda: answer.chunks._pipe.forwarder)
    return answer, task


def rest(answer: anyllm.Stream) -> List[str]:
    return [item.content for item in answer.chunks if item.content]


@secure_too
@pytest.mark.usefixtures("fast_switches")
@pytest.mark.parametrize("buffer", [1, 64])
def test_a_forwarder_receives_all_on_the_thread_that_reads(secure: bool, buffer: int, driver: str, spawn: Any) -> None:
    forward = Forward()
    with gated(secure) as server:
        answer, task = forwarded(server, forward, spawn, buffer=buffer)
        server.go_on.set()
        task.join()
        assert forward.content + rest(answer) == WORDS
        assert set(forward.threads) == {"anyllm-loop" if driver == "loop" else "anyllm-call"}
        assert answer.errors.get(timeout=TIMEOUT) is None


def test_a_forwarder_that_fails_or_stops_leaves_the_rest(spawn: Any) -> None:
    def fail() -> bool:
        raise LookupError("cannot write")

    for then in (fail, lambda: False):
        forward = Forward(then)
        with gated() as server:
            answer, task = forwarded(server, forward, spawn, buffer=4)
            server.go_on.set()
            with pytest.raises(LookupError) if then is fail else contextlib.nullcontext():
                task.join()
            assert (forward.content, rest(answer)) == (WORDS[:100], WORDS[100:])
            assert answer.errors.get(timeout=TIMEOUT) is None


def test_a_forwarder_that_takes_its_time_loses_nothing(spawn: Any) -> None:
    go_on = threading.Event()
    forward = Forward(lambda: go_on.wait(TIMEOUT))
    with gated() as server:
        answer, task = forwarded(server, forward, spawn, buffer=1)
        server.go_on.set()
        until(lambda: len(forward.content) == 100)
        go_on.set()
        task.join()
        assert forward.content + rest(answer) == WORDS


def test_a_forwarder_that_cancels_its_own_stream(spawn: Any) -> None:
    held: List[anyllm.Stream] = []

    def cancel_own() -> bool:
        held[0].cancel("from its forwarder")
        return True

    forward = Forward(cancel_own)
    with gated() as server:
        answer, task = forwarded(server, forward, spawn, buffer=4)
        held.append(answer)
        server.go_on.set()
        task.join()
        assert answer.errors.get(timeout=TIMEOUT).cause == "from its forwarder"  # type: ignore[union-attr]
        received = forward.content + rest(answer)
        assert received == WORDS[: len(received)]
        assert server.wait_closed(TIMEOUT)


@pytest.mark.parametrize("how", ["cancels", "drops", "leaves to the collector"])
def test_a_forwarder_that_ends_another_stream(how: str, spawn: Any) -> None:
    """On the thread that reads both: the other one may be ready in the same turn."""
    held: List[Any] = []
    sent = threading.Event()

    def end_other() -> bool:
        other = held.pop()
        if how == "cancels":
            other.cancel()
        elif how == "leaves to the collector":
            page: List[Any] = [other]
            page.append(page)
            del page
        del other
        gc.collect()
        return True

    forward = Forward(end_other)
    with gated() as server, server_of(silent_after(sent)) as silent:
        held.append(stream(silent))
        errors = held[0].errors
        until_first_text(held[0])
        answer, task = forwarded(server, forward, spawn)
        server.go_on.set()
        task.join()
        assert isinstance(errors.get(timeout=TIMEOUT), anyllm.Cancelled)
        assert forward.content + rest(answer) == WORDS
        assert silent.wait_closed(TIMEOUT)


# Growth.


@loopback.needs_proc
@pytest.mark.usefixtures("fast_switches")
def test_nothing_is_left_of_streams_that_ended_in_every_way(spawn: Any) -> None:
    """No descriptor, watched socket, user of the loop or call, and the connections of complete ones are reused."""
    one = chat_events("one", finish_reason=None, usage=False)
    replies = {
        "complete": Reply.sse(chat_events("a b c")),
        "cut": Reply.sse([*one, Cut("eof")], done=False),
        "reset": Reply.sse([*one, Cut("reset")], done=False),
        "refused": Reply(status=400, body=[b"{}"]),
        "cancelled": silent_after(threading.Event()),
        "dropped": silent_after(threading.Event()),
        "dropped in the middle": Reply.sse(chat_events(["word "] * 500)),
    }
    calls: List[Any] = []

    def reply(request: Any) -> Reply:
        return replies[request.json()["model"]]

    with serve(reply) as server:
        provider = loopback.provider(server.url, options=loopback.PLAIN.evolve(buffer=4))

        def call(chance: random.Random) -> None:
            for _ in range(75):
                how = chance.choice(list(replies))
                answer = provider.completion_stream(anyllm.Context(), {**PARAMS, "model": how})
                calls.append(weakref.ref(answer._pump))
                if how in ("complete", "cut", "reset", "refused"):
                    for _ in answer.chunks:
                        pass
                    assert (answer.errors.get(timeout=TIMEOUT) is None) == (how == "complete")
                else:
                    answer.chunks.get(timeout=TIMEOUT)
                    if how == "cancelled":
                        answer.cancel()
                        assert isinstance(answer.errors.get(timeout=TIMEOUT), anyllm.Cancelled)
                del answer

        def settle() -> int:
            """How many descriptors there are when all calls are over, and the loop and idle connections are closed."""
            loopback.join_workers()
            until(lambda: not loop.shared._users)
            provider.close()
            assert server.wait_closed(TIMEOUT)
            until(lambda: loop.shared._thread is None)
            return loopback.descriptors()

        # The server opens some of its own before it answers for the first time.
        provider.completion_stream(anyllm.Context(), {**PARAMS, "model": "complete"}).collect()
        before = settle()
        join([spawn(call, random.Random(number)) for number in range(4)])
        settle()
        until(lambda: gc.collect() >= 0 and not any(call() for call in calls))
        assert not loop.shared._soon
        until(lambda: gc.collect() >= 0 and loopback.descriptors() <= before)
