"""Streams as responses of both interfaces, under real servers, to clients that come and go."""

from __future__ import annotations

import contextlib
import gc
import http.client
import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Iterator, List

import pytest
from conftest import ROOT
from sites import (
    DONE,
    KEY,
    NEVER,
    SITES,
    SOON,
    TIMEOUT,
    WAITING,
    Site,
    ask,
    ask_and_leave,
    bare,
    begun,
    cheroot_server,
    client,
    held,
    next_event,
)

import anyllm
from anyllm import errors, wsgi
from anyllm.testing import Cut, Reply, Stall, serve

each_site = pytest.mark.parametrize("site", SITES, ids=str)


@pytest.fixture
def without_gc() -> Iterator[None]:
    """Nothing ends because the garbage collector came by."""
    gc.disable()
    yield
    gc.enable()


@each_site
def test_each_piece_arrives_before_the_next_is_sent(site: Site):
    """The model says its second piece only once the client has read the first."""
    go = threading.Event()
    with (
        serve(held(go, "öne")) as upstream,
        site.server(site.make(lambda: ask(upstream.url))) as port,
        client(port) as response,
    ):
        assert response.status == 200
        for name, value in wsgi.headers().items():
            assert response.headers[name] == value
        assert next_event(response) == ("", {"content": "öne"})
        go.set()
        assert next_event(response) == ("", {"content": " two"})
        assert next_event(response) == DONE
        assert next_event(response) == ("", None)
    assert anyllm.active_streams() == 0


@each_site
@pytest.mark.parametrize("format", ["sse", "ndjson"])
@pytest.mark.usefixtures("without_gc")
def test_a_client_that_leaves_a_silent_model_ends_the_call(site: Site, format: str):
    streams: List[anyllm.Stream] = []

    def stream() -> anyllm.Stream:
        streams.append(ask(upstream.url))
        return streams[-1]

    with serve(begun("one")) as upstream:
        with site.server(site.make(stream, format=format, keep_alive=site.leave_shows_after)) as port:
            with client(port) as response:
                assert any(b"one" in line for line in iter(response.readline, b""))  # keep-alives may come before it
                assert upstream.open_connections == 1
            assert upstream.wait_closed(TIMEOUT)
        error = streams[0].errors.get(timeout=TIMEOUT)
    assert isinstance(error, errors.Cancelled)
    assert error.cause == "the client has left"


@each_site
@pytest.mark.usefixtures("without_gc")
def test_a_client_that_leaves_before_the_first_word_ends_the_call(site: Site):
    options = {"first_content_timeout": 0, "keep_alive": site.leave_shows_after}
    with serve(Reply.sse([Stall()])) as upstream, site.server(site.make(lambda: ask(upstream.url), **options)) as port:
        ask_and_leave(port, upstream)
        assert upstream.wait_closed(TIMEOUT)


#: A thread of a server of WSGI sees by writing only that its client has left.
by_server = pytest.mark.parametrize("site", SITES[:3], ids=str)


@by_server
def test_an_answer_waits_no_longer_than_a_silence_for_a_client_that_may_have_left(site: Site):
    """Nothing is written before the answer begins; only a write shows that nobody reads."""
    app = site.make(lambda: ask(upstream.url), keep_alive=SOON)
    with serve(Reply.sse([Stall()])) as upstream, site.server(app) as port:
        ask_and_leave(port, upstream)
        assert upstream.wait_closed(TIMEOUT)


@by_server
@pytest.mark.parametrize("seconds", [0, SOON])
def test_one_silence_shows_that_a_client_has_left(site: Site, seconds: float):
    """The next is an hour away. The first write succeeds, because the client's system has not answered it yet."""
    app = site.make(lambda: ask(upstream.url), first_content_timeout=seconds, keep_alive=NEVER)
    with serve(Reply.sse([Stall()])) as upstream, site.server(app) as port:
        ask_and_leave(port, upstream)
        assert upstream.wait_closed(TIMEOUT)


@pytest.mark.parametrize("site", WAITING, ids=str)
def test_an_error_before_the_first_word_has_its_status(site: Site):
    refused = {"error": {"message": f"key {KEY} of org-1 has too many requests", "code": "rate_limit_exceeded"}}
    with (
        serve(Reply.json(refused, 429, headers={"Retry-After": "6.5"})) as upstream,
        site.server(site.make(lambda: ask(upstream.url))) as port,
        client(port) as response,
    ):
        assert response.status == 429
        assert response.headers["Retry-After"] == "7"
        assert response.headers["Content-Type"] == "application/json"
        assert json.loads(response.read()) == {
            "error": {
                "type": "RateLimitError",
                "message": "The model has too many requests now.",
                "is_retryable": True,
                "retry_after": 7,
            }
        }


@each_site
@pytest.mark.parametrize("format", ["sse", "ndjson"])
def test_an_error_after_the_first_word_is_the_last_event(site: Site, format: str):
    with (
        serve(begun("one", end=Cut("eof"))) as upstream,
        site.server(site.make(lambda: ask(upstream.url), format=format)) as port,
        client(port) as response,
    ):
        assert response.status == 200
        events = response.read().decode().rstrip("\n").split("\n\n" if format == "sse" else "\n")
    assert len(events) == 2
    name, _, data = events[-1].rpartition("data: ")
    assert name == ("event: error\n" if format == "sse" else "")
    assert json.loads(data)["error"]["type"] == "ConnectionLostError"
    assert "Traceback" not in data


def test_a_text_that_is_cut_off_is_not_whole_to_the_client():
    """A text has no place to say so: the connection breaks."""
    with (
        serve(begun("one", end=Cut("eof"))) as upstream,
        cheroot_server(bare(lambda: ask(upstream.url), format="text")) as port,
        client(port) as response,
    ):
        assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
        assert response.read(3) == b"one"
        with pytest.raises(http.client.IncompleteRead):
            response.read()


def test_head_has_no_body_and_ends_the_call():
    with (
        serve(begun("one")) as upstream,
        cheroot_server(bare(lambda: ask(upstream.url))) as port,
        client(port, "HEAD") as response,
    ):
        assert response.status == 200
        assert response.read() == b""
        assert upstream.wait_closed(TIMEOUT)


# -- processes ---------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def process(*command: str, cwd: Path, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """A Python that serves, killed should it hang; its stderr, and that it had no traceback, after SIGTERM."""
    with subprocess.Popen(
        [sys.executable, *command],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        killer = threading.Timer(60, running.kill)
        killer.start()
        try:
            yield running
            running.terminate()
            assert running.stderr is not None
            assert "Traceback" not in running.stderr.read()
        finally:
            killer.cancel()
            killer.join()
            running.kill()


def port_of(running: subprocess.Popen[str], sign: str) -> int:
    assert running.stderr is not None
    line = next(line for line in running.stderr if sign in line)
    return int(re.findall(r"127.0.0.1:(\d+)", line)[0])


#: The stream's next silence is an hour away, so that only the first can show that nobody reads.
UNDER_GUNICORN = """
import os
import anyllm
from anyllm import wsgi

def app(environ, start_response):
    params = anyllm.CompletionParams("compatible/m", [anyllm.Message.user("hello")])
    stream = anyllm.completion_stream(anyllm.Context(), params, base_url=os.environ["UPSTREAM"])
    return wsgi.respond(environ, start_response, stream, first_content_timeout=0.01, keep_alive=3600)
"""


@pytest.mark.once
@pytest.mark.parametrize("worker", ["sync", "gthread", "gevent"], ids="{}-worker".format)
def test_gunicorn_ends_the_call_of_a_client_that_leaves(worker: str, tmp_path: Path):
    pytest.importorskip("gunicorn")
    (tmp_path / "site_under_test.py").write_text(UNDER_GUNICORN)
    command = ["-m", "gunicorn", "-k", worker, "-b", "127.0.0.1:0", "--graceful-timeout", "1", "site_under_test:app"]
    with (
        serve(Reply.sse([Stall()])) as upstream,
        process(*command, cwd=tmp_path, UPSTREAM=f"{upstream.url}/v1") as gunicorn,
    ):
        ask_and_leave(port_of(gunicorn, "Listening at"), upstream)
        assert upstream.wait_closed(TIMEOUT)


#: Serves until SIGTERM.
RUN_WSGI = """
import signal, sys, threading, wsgiref.simple_server
import {module}
server = wsgiref.simple_server.make_server("127.0.0.1", 0, {module}.{app})
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
print(f"serves at 127.0.0.1:{{server.server_port}}", file=sys.stderr, flush=True)
server.serve_forever(0.01)
"""
RUN_ASGI = """
import uvicorn
import {module}
uvicorn.run({module}.{app}, port=0)
"""


@pytest.mark.parametrize(
    ("module", "app", "needs", "program", "sign"),
    [
        ("flask_stream", "app", "flask", RUN_WSGI, "serves at"),
        ("django_stream", "application", "django", RUN_WSGI, "serves at"),
        ("starlette_stream", "app", "uvicorn", RUN_ASGI, "Uvicorn running on"),
    ],
    ids=["flask", "django", "starlette"],
)
def test_an_example_streams(module: str, app: str, needs: str, program: str, sign: str):
    pytest.importorskip(needs)
    go = threading.Event()
    with serve(held(go)) as upstream:
        host = {"ANYLLM_MODEL": "openai/gpt-4o-mini", "OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": upstream.url}
        with (
            process("-c", program.format(module=module, app=app), cwd=ROOT / "examples", **host) as running,
            client(port_of(running, sign), path="/ask?q=Why%3F") as response,
        ):
            assert next_event(response) == ("", {"content": "one"})
            go.set()
            assert next_event(response) == ("", {"content": " two"})
            assert next_event(response) == DONE
        assert upstream.requests[0].json()["messages"][0]["content"] == "Why?"
