"""The gateway behind nginx with its usual settings: buffering, compression, its own connections."""

from __future__ import annotations

import contextlib
import http.client
import json
import shutil
import socket
import subprocess
import threading
import zlib
from pathlib import Path
from typing import Any, Callable, Iterator

import pytest
from conftest import TIMEOUT
from gate import STREAM, before, listens
from loopback import join_workers, silent_after, until

from anyllm.gateway import GatewayServer
from anyllm.testing import Reply, Stall, chat_events, serve

pytest.importorskip("waitress")
NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
pytestmark = [pytest.mark.once, pytest.mark.skipif(NGINX is None, reason="nginx is not installed")]

#: The defaults, with buffering on; and compression of everything.
SETTINGS = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    gzip on;
    gzip_min_length 1;
    gzip_types *;
    proxy_buffering on;
    server {{
        listen 127.0.0.1:{port};
        location / {{ proxy_pass http://127.0.0.1:{upstream}; {more} }}
    }}
}}
"""


@contextlib.contextmanager
def nginx(folder: Path, upstream: int, more: str = "") -> Iterator[int]:
    """It, in front of a port; gives its own."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    path = folder / "nginx.conf"
    path.write_text(SETTINGS.format(folder=folder, port=port, upstream=upstream, more=more))
    assert NGINX is not None
    process = subprocess.Popen([NGINX, "-c", str(path), "-e", str(folder / "error.log")], stderr=subprocess.DEVNULL)
    try:
        until(lambda: listens(port))
        yield port
    finally:
        process.terminate()
        process.wait(TIMEOUT)


def send(port: int, body: Any = STREAM, path: str = "/v1/chat/completions", **headers: str) -> Any:
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
    client.request("POST", path, json.dumps(body), headers)
    return client, client.getresponse()


@pytest.mark.parametrize("more", ["", "proxy_http_version 1.1; proxy_set_header Connection '';"], ids=["1.0", "1.1"])
@pytest.mark.parametrize("accepted", ["identity", "gzip"])
def test_pieces_arrive_as_they_come(tmp_path, more, accepted):
    """The upstream holds the second back until the client has the first; compressed or not."""
    has_first = threading.Event()
    first, second = chat_events(["one"], finish_reason=None, usage=False), chat_events(["two"])
    with contextlib.ExitStack() as stack:
        upstream = stack.enter_context(serve(Reply.sse([*first, Stall(has_first), *second])))
        server = stack.enter_context(GatewayServer(before(upstream.url, server={"port": 0})))
        client, answer = send(stack.enter_context(nginx(tmp_path, server.port, more)), **{"Accept-Encoding": accepted})
        assert answer.status == 200
        plain = read_of(answer)
        received = b""
        while b'"one"' not in received:
            received += plain()
        has_first.set()
        while b"[DONE]" not in received:
            received += plain()
        client.close()


def read_of(answer: http.client.HTTPResponse) -> Callable[[], bytes]:
    """Read what has arrived, decompressed."""
    if answer.getheader("Content-Encoding") != "gzip":
        return lambda: answer.read1(65536)
    unpacked = zlib.decompressobj(zlib.MAX_WBITS | 16)
    return lambda: unpacked.decompress(answer.read1(65536))


def test_a_client_that_leaves_ends_the_call_through_it_too(tmp_path):
    answered = threading.Event()
    with contextlib.ExitStack() as stack:
        upstream = stack.enter_context(serve(silent_after(answered)))
        server = stack.enter_context(GatewayServer(before(upstream.url, server={"port": 0})))
        client, answer = send(stack.enter_context(nginx(tmp_path, server.port)))
        while b"two" not in answer.read1(65536):
            pass
        answer.close()
        client.close()
        assert upstream.wait_closed(TIMEOUT)
        join_workers()
        until(lambda: server.gateway.running == 0)


def test_its_visitors_need_keys_or_its_name_must_be_the_gateways(tmp_path):
    """nginx sends the name of its upstream as Host, unless it is configured to pass on the client's."""
    more = "proxy_set_header Host $http_host;"
    with serve(Reply.sse(chat_events(["Paris"]))) as upstream:
        for hosts, status in (((), 403), (("chat.example",), 200)):
            app = before(upstream.url, server={"port": 0, "hosts": hosts})
            with GatewayServer(app) as server, nginx(tmp_path, server.port, more) as port:
                client, answer = send(port, Host="chat.example")
                assert answer.status == status
                answer.read()
                client.close()
