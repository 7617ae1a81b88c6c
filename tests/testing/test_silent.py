"""Servers that send nothing, or never accept a connection."""

from __future__ import annotations

import socket
import sys

import pytest

from anyllm.testing import blackhole, silent

TIMEOUT = 30  # seconds; an upper bound against hanging


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT)


def test_silent_server_accepts_and_sends_nothing():
    with silent() as server, connect(server.port) as sock:
        assert server.wait_for_connections(1) == 1
        sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
        sock.setblocking(False)
        with pytest.raises(BlockingIOError):
            sock.recv(1)
        assert not server.wait_closed(timeout=0)


def test_silent_server_reads_nothing():
    """So a client also hangs while it sends a large body."""
    with silent() as server, connect(server.port) as sock:
        server.wait_for_connections(1)
        sock.setblocking(False)
        with pytest.raises((BlockingIOError, socket.timeout)):  # the second is gevent's
            sock.sendall(b"x" * 100_000_000)


def test_silent_server_notices_that_its_clients_left():
    with silent(scheme="https") as server:
        assert server.url == f"https://127.0.0.1:{server.port}"
        for _ in range(2):
            with connect(server.port) as sock:
                sock.sendall(b"x" * 10_000)
        assert server.wait_for_connections(2) == 2
        assert server.wait_closed()


def test_closing_a_silent_server_disconnects_its_clients():
    with silent() as server:
        sock = connect(server.port)
        server.wait_for_connections(1)
    with sock:
        assert sock.recv(1) == b""


def test_wait_for_connections_times_out():
    with silent() as server, pytest.raises(TimeoutError, match="0 of 1"):
        server.wait_for_connections(1, timeout=0)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems answer when the queue is full")
def test_no_client_connects_to_a_blackhole():
    with blackhole() as address:
        for _ in range(3):
            with pytest.raises(socket.timeout):
                socket.create_connection(address, timeout=0.3)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, timeout=TIMEOUT)
