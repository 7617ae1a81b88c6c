"""The call that holds a socket: abort against every change of hands, in each order, and no descriptor left."""

from __future__ import annotations

import os
import socket
import ssl
import threading
from typing import Any, Iterator, Tuple

import loopback
import pytest
from conftest import TIMEOUT

from anyllm._transport import sockets
from anyllm._transport.sockets import AbortableCall, Aborted

Pair = Tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """A socket and its peer."""
    ours, theirs = socket.socketpair()
    theirs.settimeout(TIMEOUT)
    with ours, theirs:
        yield ours, theirs


def is_open(sock: socket.socket, peer: socket.socket) -> bool:
    """Whether what *sock* sends arrives at *peer*, and back."""
    try:
        sock.sendall(b"?")
        return peer.recv(1) == b"?"
    except OSError:
        return False


# Order.


def test_abort_without_a_socket_says_so():
    call = AbortableCall()
    assert not call.abort()
    assert call.aborted
    assert call.release()


def test_hold_after_abort_shuts_the_socket_down(pair):
    """The abort came during name resolution: the socket must not be used any more."""
    sock, peer = pair
    call = AbortableCall()
    call.abort()
    with pytest.raises(Aborted):
        call.hold(sock)
    assert peer.recv(1) == b""
    assert call.release()


def test_abort_shuts_the_held_socket_down_once(pair):
    sock, peer = pair
    call = AbortableCall()
    call.hold(sock)
    assert call.abort()
    assert not call.abort()
    assert peer.recv(1) == b""
    assert sock.fileno() >= 0  # closing is its owner's business
    assert not call.release()


def test_closing_an_aborted_connection_tells_the_peer_at_once():
    """Else a host blocked in a write may wait for a minute: its system only hears that the window is still shut."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        ours = socket.create_connection(listening.getsockname(), TIMEOUT)
        theirs, _ = listening.accept()
    with theirs:
        call = AbortableCall()
        call.hold(ours)
        call.abort()
        ours.close()
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            theirs.send(b"the first write, not only the second")


def test_abort_after_release_touches_nothing(pair):
    sock, peer = pair
    call = AbortableCall()
    call.hold(sock)
    assert call.release()
    assert not call.abort()
    assert is_open(sock, peer)


def test_swap_lets_go_of_the_first(pair):
    first, peer = pair
    second, other = socket.socketpair()
    with second, other:
        call = AbortableCall()
        call.hold(first)
        call.swap(second)
        call.abort()
        assert is_open(first, peer)
        assert other.recv(1) == b""


def test_swap_after_abort_fails(pair):
    sock, _ = pair
    call = AbortableCall()
    call.hold(sock)
    call.abort()
    duplicate = sockets.duplicate(sock)
    with pytest.raises(Aborted):
        call.swap(duplicate, is_duplicate=True)
    assert duplicate.fileno() == -1


@pytest.mark.parametrize("end", [AbortableCall.abort, AbortableCall.release])
def test_a_duplicate_is_closed_in_the_end(pair, end):
    sock, peer = pair
    duplicate = sockets.duplicate(sock)
    call = AbortableCall()
    call.hold(duplicate, is_duplicate=True)
    end(call)
    assert duplicate.fileno() == -1
    assert is_open(sock, peer) == (end is AbortableCall.release)


def test_a_duplicate_shuts_the_connection(pair):
    """Shutting is the connection's, not the descriptor's: that is why a duplicate can stand in."""
    sock, peer = pair
    call = AbortableCall()
    call.hold(sockets.duplicate(sock), is_duplicate=True)
    call.abort()
    assert peer.recv(1) == b""
    assert sock.recv(1) == b""


def test_release_waits_for_an_abort_that_was_faster(pair, monkeypatch, spawn):
    """Else the owner could close the descriptor, and the abort shut down another socket with the same number."""
    sock, _ = pair
    shutting, go_on = threading.Event(), threading.Event()
    over = []

    def slow(sock: Any) -> None:
        shutting.set()
        assert go_on.wait(TIMEOUT)
        over.append(True)

    monkeypatch.setattr(sockets, "_shut_down", slow)
    monkeypatch.setattr(sockets, "_ABORT_TIMEOUT", TIMEOUT)
    call = AbortableCall()
    call.hold(sock)
    abort = spawn(call.abort)
    loopback.wait_for(shutting)
    release = spawn(lambda: (call.release(), tuple(over)))
    go_on.set()
    assert release.join() == (False, (True,))
    assert abort.join()


def test_an_abort_that_never_ends_does_not_hold_the_owner_for_ever(pair, monkeypatch):
    """Its thread was killed, at exit for example."""
    sock, _ = pair
    monkeypatch.setattr(sockets, "_ABORT_TIMEOUT", 0.01)
    call = AbortableCall()
    call.hold(sock)
    call._slot.clear()  # what an abort begins with
    assert not call.release()


def test_abort_may_interrupt_anything():
    """In a signal handler or a finalizer: it never waits for the code that it interrupted, at any line."""

    class Interrupting(list):
        def append(self, item: Any) -> None:
            call.abort()
            super().append(item)
            call.abort()

        def pop(self, *args: Any) -> Any:
            call.__class__.abort(other)
            return super().pop(*args)

    call, other = AbortableCall(), AbortableCall()
    call._slot = Interrupting()
    sock, peer = socket.socketpair()
    with sock, peer:
        with pytest.raises(Aborted):
            call.hold(sock)
        assert peer.recv(1) == b""


def test_races_have_one_winner(fast_switches, spawn):
    """After release said yes the socket is whole; after it said no the abort is over."""
    rounds = 400
    calls = [AbortableCall() for _ in range(rounds)]
    pairs = [socket.socketpair() for _ in range(rounds)]
    barrier = threading.Barrier(2, timeout=TIMEOUT)

    def owner() -> int:
        released = 0
        for call, (sock, peer) in zip(calls, pairs):
            barrier.wait()
            try:
                call.hold(sock)
                call.swap(sockets.duplicate(sock), is_duplicate=True)
                mine = call.release()
            except Aborted:
                mine = False
            released += mine
            assert is_open(sock, peer) == mine
        return released

    def canceller() -> int:
        hit = 0
        for call in calls:
            barrier.wait()
            call.abort()
            hit += 1
        return hit

    task = spawn(owner)
    assert canceller() == rounds
    assert 0 <= task.join() <= rounds
    for sock, peer in pairs:
        sock.close()
        peer.close()


# TLS, and forks.


def test_abort_leaves_the_state_of_tls_alone(spawn):
    """SSLSocket.shutdown() would drop it under the thread that reads."""
    client, server = socket.socketpair()
    trust = ssl.create_default_context(cafile=loopback.tls().bundle)
    task = spawn(loopback.tls().server.wrap_socket, server, server_side=True)
    with trust.wrap_socket(client, server_hostname="localhost") as sock, task.join():
        call = AbortableCall()
        call.hold(sock)
        assert call.abort()
        assert sock.version()
        assert sock.recv(1) == b""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="only for systems that fork")
def test_forgetting_leaves_the_connection_alone_and_reads_its_end():
    """What a child does; the parent's handle is played by a duplicate."""
    sock, peer = socket.socketpair()
    sock.settimeout(TIMEOUT)
    peer.settimeout(TIMEOUT)
    with sock, peer, sock.dup() as parents:
        call = AbortableCall()
        call.hold(sock)
        call.forget()
        assert not call.abort()
        assert call.release()
        assert sock.recv(1) == b""
        assert is_open(parents, peer)
        parents.close()
        assert peer.recv(1) == b""  # the child's copy does not keep it open


@loopback.needs_proc
def test_nothing_leaks(pair):
    sock, _ = pair
    before = loopback.descriptors()
    for how in range(300):
        call = AbortableCall()
        if how % 3 == 0:
            call.abort()
        try:
            call.hold(sockets.duplicate(sock), is_duplicate=True)
            if how % 3 == 1:
                call.abort()
            call.swap(sockets.duplicate(sock), is_duplicate=True)
        except Aborted:
            pass
        call.release()
    assert loopback.descriptors() == before
