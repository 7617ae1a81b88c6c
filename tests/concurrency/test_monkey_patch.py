"""
Monkey patching that comes after `import anyllm`: gunicorn's ``--preload -k gevent``, and programs that patch late.

Each program runs in a process of its own, with the server in this one; one that hangs is ended by its own guard.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pathlib
import socket
import subprocess
import sys
import textwrap
import threading
from typing import Any, Callable, Iterator, List

import loopback
import pytest
from conftest import ROOT, TIMEOUT, under_gevent

from anyllm.testing import Cut, RecordedRequest, Reply, Server, Stall, blackhole, chat_events, serve

pytestmark = [
    pytest.mark.gevent,
    pytest.mark.skipif(importlib.util.find_spec("gevent") is None, reason="gevent is not installed"),
    pytest.mark.skipif(under_gevent(), reason="a process that patches late cannot be patched early"),
]

needs_eventlet = pytest.mark.skipif(importlib.util.find_spec("eventlet") is None, reason="eventlet is not installed")
needs_gunicorn = pytest.mark.skipif(importlib.util.find_spec("gunicorn") is None, reason="gunicorn is not installed")

PATCH = "from gevent import monkey; monkey.patch_all()"
PATCHES = {
    "all": PATCH,
    "all but select": "from gevent import monkey; monkey.patch_all(select=False)",
    "all but dns and time": "from gevent import monkey; monkey.patch_all(dns=False, time=False)",
    "all but threads": "from gevent import monkey; monkey.patch_all(thread=False)",
    "in a thread": """
        def patch():
            from gevent import monkey
            monkey.patch_all()
        patching = threading.Thread(target=patch)
        patching.start()
        patching.join()
    """,
    "eventlet": "import eventlet; eventlet.monkey_patch()",
}

#: The program before it patches.
PASTS = {
    "imported": "",
    "used": "assert answer(ask('hello')) == ('Hello world', None)",
    "used long ago": """
        with anyllm.Context(timeout=60) as past:
            assert answer(ask('hello', past)) == ('Hello world', None)
        anyllm._concurrency.timer.shared._thread.join()
    """,
}

PRELUDE = """
    import queue, socket, threading
    import anyllm
    from anyllm._transport import sockets
    from anyllm.channel import open_channel

    host = anyllm.provider("compatible", base_url={url!r} + "/v1", api_key="key-of-the-tests", verify={bundle!r})

    def ask(text, ctx=None, host=host):
        ctx = anyllm.Context() if ctx is None else ctx
        return host.completion_stream(ctx, {{"model": "m", "messages": [{{"role": "user", "content": text}}]}})

    def answer(stream):
        return "".join(chunk.content for chunk in stream.chunks), stream.errors.get()

    def until_first_text(stream):
        while not stream.chunks.get().content:
            pass

    def at_once(*functions):
        threads = [threading.Thread(target=function) for function in functions]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
"""

#: A program notices the patch here, if it does not make a call.
A_DEADLINE = "noticed = anyllm.Context(timeout=1).done()"

#: The promises of anyllm everywhere. A greenlet that waits on a native lock or socket never comes back.
PROMISES = """
    # Streams, and again on the connection of the first.
    for _ in range(3):
        assert answer(ask("hello")) == ("Hello world", None)

    # Deadlines: before the headers, and in the middle of an answer.
    for text in ("silent", "stall"):
        content, error = answer(ask(text, anyllm.Context(timeout=0.2)))
        assert isinstance(error, anyllm.DeadlineExceeded), error
    clock = {"options": anyllm.StreamingOptions(timeouts=anyllm.Timeouts(idle=0.2), retry=anyllm.Retry(attempts=1))}
    content, error = answer(ask("stall", host=anyllm.provider("compatible", **given, **clock)))
    assert isinstance(error, anyllm.StreamTimeoutError) and error.clock == "idle", error

    # A cancel from elsewhere, while this thread waits.
    ctx = anyllm.Context()
    stream = ask("stall", ctx)
    until_first_text(stream)
    cancelling = threading.Thread(target=ctx.cancel)
    cancelling.start()
    content, error = answer(stream)
    assert isinstance(error, anyllm.Cancelled), error
    cancelling.join()

    # Channels.
    sender, channel = open_channel(1)
    try:
        channel.get(timeout=0.05)
        raise AssertionError("nothing was put")
    except queue.Empty:
        pass
    putting = threading.Thread(target=sender.put, args=("item",))
    putting.start()
    assert channel.get() == "item"
    putting.join()
    assert anyllm.Context(timeout=0.05).wait()

    # The host hears of the end of a call at its next write.
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen(1)
    ours = socket.create_connection(listening.getsockname())
    theirs, _ = listening.accept()
    call = sockets.AbortableCall()
    call.hold(ours)
    call.abort()
    ours.close()
    try:
        theirs.send(b"the first write, not only the second")
        raise AssertionError("the connection was not reset")
    except (ConnectionResetError, BrokenPipeError):
        theirs.close()
        listening.close()

    # Several at once: the host answers none of them before all have come.
    answers = []
    at_once(*[lambda: answers.append(answer(ask("together")))] * 4)
    assert answers == [("Hello world", None)] * 4, answers
    assert anyllm.active_streams() == 0
"""


class Upstream:
    """A host whose answer depends on the text of the request."""

    def __init__(self) -> None:
        self.released = threading.Event()
        self._together = threading.Event()
        self._waiting: List[None] = []
        self._cut_once: List[None] = []

    def __call__(self, request: RecordedRequest) -> Reply:
        if request.path == "/release":
            self.released.set()
        if request.method == "GET":
            return Reply.json({"object": "list", "data": [{"id": "m", "object": "model"}]})
        text = request.json()["messages"][-1]["content"]
        role, first, *rest = chat_events("Hello world")
        if text == "silent":
            return Reply(body=[Stall()])
        if text == "together":
            self._waiting.append(None)
            if len(self._waiting) % 4 == 0:
                self._together.set()
        if text == "let go":
            self.released.set()
        if text == "cut once":
            self._cut_once.append(None)
            if len(self._cut_once) == 1:
                return Reply(body=[b": begun\n\n", Stall(self.released), Cut("eof")])
        events = {
            "stall": [role, first, Stall()],
            "together": [role, Stall(self._together), first, *rest],
            "held": [role, first, Stall(self.released), *rest],
            "late": [Stall(self.released), role, first, Stall()],
        }
        return Reply.sse(events.get(text, [role, first, *rest]))


@contextlib.contextmanager
def serve_upstream(secure: bool) -> Iterator[Server]:
    """The server has an attribute more: the bundle that makes clients trust it, or None."""
    tls = loopback.tls() if secure else None
    with serve(Upstream(), tls=tls and tls.server) as server:
        server.bundle = tls and tls.bundle  # type: ignore[attr-defined]
        yield server


@pytest.fixture
def upstream() -> Iterator[Server]:
    with serve_upstream(False) as server:
        yield server


def program(url: str, bundle: Any, *parts: str) -> str:
    settings = {"base_url": f"{url}/v1", "api_key": "key-of-the-tests", "verify": bundle}
    return "\n".join(map(textwrap.dedent, (PRELUDE.format(url=url, bundle=bundle), f"given = {settings!r}", *parts)))


@pytest.fixture
def late(run_script: Callable[..., str]) -> Callable[..., str]:
    """Run a program made of the code before the patch, the patch, and the code after it."""

    def run(url: str, before: str, patch: str, *after: str, bundle: Any = None) -> str:
        printed = run_script(program(url, bundle, before, patch, *after, "print('the end')"), 40)
        assert printed.rstrip().endswith("the end"), printed
        # A KeyError of a thread that began before the patch; with eventlet each prints one.
        assert "<Thread(anyllm-" not in printed or "eventlet" in patch, printed
        return printed

    return run


def patches(*names: str, more: Any = ()) -> List[Any]:
    """Parameters: the patches of these *names*, and *more* values for each; skipped without their library."""
    return [
        pytest.param(PATCHES[name], *more, marks=needs_eventlet if name == "eventlet" else (), id=name)
        for name in names
    ]


@pytest.mark.parametrize("patch", patches(*PATCHES))
@pytest.mark.parametrize("past", PASTS)
def test_everything_works_after_a_late_patch(past: str, patch: str, late: Callable[..., str], upstream: Server) -> None:
    """One lock made at import, that of the timer, was enough to stop every greenlet for ever."""
    late(upstream.url, PASTS[past], patch, PROMISES)


@pytest.mark.parametrize("patch", patches("all", "all but threads", "eventlet"))
@pytest.mark.parametrize("past", PASTS)
def test_everything_works_over_tls_after_a_late_patch(past: str, patch: str, late: Callable[..., str]) -> None:
    """urllib3 has the native SSLContext then, of which each use ends in a RecursionError."""
    with serve_upstream(True) as server:
        late(server.url, PASTS[past], patch, PROMISES, bundle=server.bundle)


@needs_eventlet
def test_everything_works_after_an_early_patch_of_eventlets(run_script: Callable[..., str], upstream: Server) -> None:
    run_script(PATCHES["eventlet"] + "\n" + program(upstream.url, None, PROMISES), 40)


def test_deadlines_end_a_connect_after_a_late_patch(late: Callable[..., str]) -> None:
    after = """
        content, error = answer(ask("hello", anyllm.Context(timeout=0.2)))
        assert isinstance(error, anyllm.DeadlineExceeded), error
    """
    with blackhole() as (name, port):
        late(f"http://{name}:{port}", "", PATCH, after)


@pytest.mark.parametrize(("patch", "secure"), [*patches(*PATCHES, more=(False,)), pytest.param(PATCH, True, id="TLS")])
def test_streams_that_run_during_the_patch_go_on(patch: str, secure: bool, late: Callable[..., str]) -> None:
    """Their threads and sockets are native; their caller is a greenlet by then."""
    before = """
        streams = [ask("held"), ask("stall"), ask("stall", anyllm.Context(timeout=1))]
        for stream in streams:
            until_first_text(stream)
        pending = anyllm.Context(timeout=1)
        done = pending.done()
    """
    after = """
        held, stalled, timed = streams
        ends = []
        at_once(lambda: ends.append(answer(held)), lambda: ends.append(answer(ask("let go"))))
        assert [error for _, error in ends] == [None, None], ends
        timed_out = answer(timed)[1]
        assert isinstance(timed_out, anyllm.DeadlineExceeded), timed_out
        assert done.get() is None
        assert isinstance(pending.error, anyllm.DeadlineExceeded)
        stalled.cancel()
        assert isinstance(answer(stalled)[1], anyllm.Cancelled)
        for stream in streams:
            stream._pump.join(10)
            assert not stream._pump._runner.is_alive, stream
        assert anyllm.active_streams() == 0
    """
    with serve_upstream(secure) as server:
        late(server.url, before, patch, after, PROMISES, bundle=server.bundle)


@pytest.mark.parametrize("patch", patches(*PATCHES))
def test_streams_on_the_loop_go_on_after_the_patch(patch: str, late: Callable[..., str], upstream: Server) -> None:
    """The loop's thread is native too, and so must be the one on which it has an attempt repeated."""
    before = """
        options = anyllm.StreamingOptions(driver="loop")
        looped = anyllm.provider("compatible", **given, options=options)
        cut, held, stalled = (ask(text, host=looped) for text in ("cut once", "held", "stall"))
        timed = ask("stall", anyllm.Context(timeout=1), host=looped)
        for stream in (held, stalled, timed):
            until_first_text(stream)
        while anyllm._concurrency.loop.shared._users < 4:
            threading.Event().wait(0.001)
    """
    after = """
        ends = []
        release = lambda: ends.append(answer(ask("let go")))
        at_once(lambda: ends.append(answer(cut)), lambda: ends.append(answer(held)), release)
        assert [error for _, error in ends] == [None] * 3, ends
        assert isinstance(answer(timed)[1], anyllm.DeadlineExceeded)
        stalled.cancel()
        assert isinstance(answer(stalled)[1], anyllm.Cancelled)
        assert anyllm.active_streams() == 0
        # A connection of a native thread is not the next greenlet's.
        assert answer(ask("hello", host=looped)) == ("Hello world", None)
    """
    late(upstream.url, before, patch, after, PROMISES)


def test_a_worker_of_before_the_patch_does_not_start_the_timer_of_greenlets(
    late: Callable[..., str], upstream: Server
) -> None:
    """Its first content starts a clock. A timer started by that would be a greenlet of a thread that runs none."""
    after = """
        import urllib.request

        noticed.__del__()
        anyllm._concurrency.timer.shared._thread.join()
        urllib.request.urlopen(given["base_url"][:-3] + "/release").close()
        until_first_text(stream)
        assert isinstance(answer(ask("stall", anyllm.Context(timeout=0.2)))[1], anyllm.DeadlineExceeded)
        stream.cancel()
    """
    late(upstream.url, "stream = ask('late')", PATCH, A_DEADLINE, after)
    assert [request.path for request in upstream.requests][1] == "/release"


@pytest.mark.fork
def test_a_patch_finds_the_timer_of_a_fork_not_started(late: Callable[..., str], upstream: Server) -> None:
    """The child starts it on a thread of its own, which may come when everything is patched already."""
    before = """
        import os, signal
        pending = anyllm.Context(timeout=0.5)
        done = pending.done()
        restart, anyllm._concurrency.timer.Timer._restart = anyllm._concurrency.timer.Timer._restart, lambda timer: None
        child = os.fork()
        if child:
            assert os.waitpid(child, 0)[1] == 0
            print("the end", flush=True)
            os._exit(0)
        signal.alarm(60)  # the guard is the parent's
        anyllm._concurrency.timer.Timer._restart = restart
    """
    after = """
        assert done.get() is None
        assert isinstance(pending.error, anyllm.DeadlineExceeded)
    """
    leave = "os._exit(0)  # the guard's thread is the parent's, and the child would wait for it"
    late(upstream.url, before, PATCH, A_DEADLINE, after, PROMISES, leave)


def test_a_deadline_that_the_caller_waits_for_needs_no_call(late: Callable[..., str], upstream: Server) -> None:
    """Nobody has started a call since the patch; only the Context is waited for."""
    late(upstream.url, PASTS["used long ago"], PATCH, "assert anyllm.Context(timeout=0.05).wait()")


def test_clients_and_limits_from_before_the_patch_are_used_after_it(late: Callable[..., str], upstream: Server) -> None:
    """Applications make their clients and limits when they are imported."""
    before = """
        import requests
        from anyllm import limits

        session = requests.Session()
        own = anyllm.provider("compatible", session=session, **{k: v for k, v in given.items() if k != "verify"})
        assert answer(ask("hello", host=own)) == ("Hello world", None)
        one, rate = limits.StreamLimit(1), limits.RateLimit(requests_per_minute=1000)
        client = anyllm.Client("m", provider=host, max_streams=one, rate_limit=rate)
        assert "".join(client.stream("hello")) == "Hello world"
    """
    after = """
        contents = []
        at_once(*[lambda: contents.append("".join(client.stream("hello")))] * 4)
        assert contents == ["Hello world"] * 4
        stream = ask("stall", host=own)
        until_first_text(stream)
        threading.Thread(target=stream.cancel).start()
        assert isinstance(answer(stream)[1], anyllm.Cancelled)
    """
    late(upstream.url, before, PATCH, after)


@pytest.mark.parametrize(("argument", "secure"), [("socket=False", False), ("socket=False", True), ("ssl=False", True)])
@pytest.mark.parametrize("early", [False, True])
def test_greenlets_on_native_sockets_are_refused(
    argument: str, secure: bool, early: bool, late: Callable[..., str], run_script: Callable[..., str]
) -> None:
    """A silent host would stop the process, with every deadline: nothing is sent, and the error says what to do."""
    patch = f"from gevent import monkey; monkey.patch_all({argument})"
    after = """
        content, error = answer(ask("silent", anyllm.Context(timeout=0.2)))
        assert type(error) is anyllm.AnyLLMError, error
        assert "gevent.monkey.patch_all()" in str(error), error
        assert not error.is_retryable
    """
    with serve_upstream(secure) as server:
        if early:
            run_script(patch + "\n" + program(server.url, server.bundle, after))
        else:
            late(server.url, PASTS["used"], patch, after, bundle=server.bundle)
        assert len(server.requests) == (0 if early else 1)


def test_plain_http_needs_no_patched_tls(late: Callable[..., str], upstream: Server) -> None:
    late(upstream.url, "", "from gevent import monkey; monkey.patch_all(ssl=False)", PROMISES)


def test_the_gateway_lists_models_after_a_late_patch(late: Callable[..., str], upstream: Server) -> None:
    """It started a thread under a lock: the one who starts it waits, and the next to come finds the lock taken."""
    before = """
        import os
        os.environ.update(OPENAI_API_KEY="key-of-the-tests", OPENAI_BASE_URL=given["base_url"])
        from anyllm.gateway import Gateway
        gateway = Gateway()
    """
    after = """
        bodies = []
        def get():
            request = {"REQUEST_METHOD": "GET", "PATH_INFO": "/v1/models", "QUERY_STRING": "", "HTTP_HOST": "localhost"}
            bodies.append(b"".join(gateway(request, lambda status, headers: None)))
        at_once(get, get, get)
        assert [b"openai/m" in body for body in bodies] == [True] * 3, bodies
    """
    late(upstream.url, before, PATCH, after)


def test_googles_token_is_renewed_after_a_late_patch(late: Callable[..., str]) -> None:
    """Two calls need a new one; google-auth waits for a host while it has the lock."""
    pytest.importorskip("google.auth")
    after = """
        import time
        from anyllm.providers import google as _google

        class Credentials:
            valid, token = False, None
            def refresh(self, request):
                time.sleep(0.01)  # as a host would take
                self.valid, self.token = True, "token"

        credentials, tokens = Credentials(), []
        _google._environment_credentials = lambda: (credentials, "project")
        at_once(*[lambda: tokens.append(_google._token())] * 2)
        assert tokens == ["token"] * 2
    """
    late("http://localhost", "import anyllm.providers.google", PATCH, A_DEADLINE, after)


def test_the_local_model_loads_after_a_late_patch(late: Callable[..., str]) -> None:
    """Its weights are fetched under a lock, and its library is tried in a process of its own."""
    after = """
        import subprocess, sys
        from anyllm.providers.local import server

        def start():
            subprocess.run([sys.executable, "-c", ""], check=True)
            return server.Endpoint(base_url="http://localhost", api_key="key")

        server._server._start = start
        found = []
        at_once(*[lambda: found.append(server._server.endpoint())] * 2)
        assert found[0] is found[1]
    """
    late("http://localhost", "import anyllm.providers.local.server", PATCH, A_DEADLINE, after)


# -- gunicorn ----------------------------------------------------------------------------------------------------------

APPLICATION = """
    import os
    import anyllm
    from anyllm import wsgi

    host = anyllm.provider("compatible", base_url={url!r} + "/v1", api_key="key-of-the-tests")

    def ask(text, timeout=None):
        return host.completion_stream(
            anyllm.Context(timeout), {{"model": "m", "messages": [{{"role": "user", "content": text}}]}}
        )

    pending = done = stalled = None
    if os.environ.get("USE"):
        assert "".join(chunk.content for chunk in ask("hello").chunks) == "Hello world"
        pending = anyllm.Context(timeout=1)
        done = pending.done()
        stalled = ask("stall")
        stalled.chunks.get()

    def text(start_response, value):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [str(value).encode()]

    def app(environ, start_response):
        path = environ["PATH_INFO"].strip("/")
        if path == "active":
            return text(start_response, anyllm.active_streams())
        if path == "pending":
            done.get()
            return text(start_response, type(pending.error).__name__)
        if path == "stalled":
            return text(start_response, repr(stalled.errors.get()))
        timeout = 0.5 if environ["QUERY_STRING"] else None
        return wsgi.respond(environ, start_response, ask(path, timeout), keep_alive=0.1, first_content_timeout=0.1)
"""


class Site:
    """A gunicorn that runs, and what its visitors get."""

    def __init__(self, address: str) -> None:
        self._address = address

    def visit(self, path: str) -> socket.socket:
        """A connection on which *path* has been asked for."""
        visitor = socket.socket(socket.AF_UNIX)
        visitor.settimeout(TIMEOUT)
        visitor.connect(self._address)
        visitor.sendall(f"GET /{path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
        return visitor

    def get(self, path: str) -> str:
        """The whole response; TimeoutError when nothing comes for long."""
        with self.visit(path) as visitor:
            return rest(visitor)


def rest(visitor: socket.socket) -> str:
    return b"".join(iter(lambda: visitor.recv(65536), b"")).decode()


def _listens(address: str) -> bool:
    """Whether a connection is taken: the file is there a moment before."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(address) == 0


@contextlib.contextmanager
def gunicorn(folder: pathlib.Path, source: str, *options: str, **environment: str) -> Iterator[Site]:
    """Run the application of *source* with one gevent worker."""
    (folder / "application.py").write_text(textwrap.dedent(source))
    (folder / "gunicorn.conf.py").write_text("")
    address = str(folder / "site.sock")
    command = [sys.executable, "-m", "gunicorn", "-k", "gevent", "-w", "1", "--graceful-timeout", "1", *options]
    paths = {"PYTHONPATH": f"{ROOT}{os.pathsep}{folder}", "PATH": "/usr/bin:/bin", "HOME": str(folder)}
    with open(folder / "log", "w+") as log:
        process = subprocess.Popen(
            [*command, "-b", f"unix:{address}", "application:app"],
            cwd=folder,
            env={**paths, **environment},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            loopback.until(lambda: _listens(address) or process.poll() is not None, 2 * TIMEOUT)
            yield Site(address)
        except BaseException:
            print((folder / "log").read_text())  # pytest shows it with the failure
            raise
        finally:
            process.terminate()
            try:
                process.wait(TIMEOUT)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
    assert "Traceback" not in (folder / "log").read_text()


@needs_gunicorn
@pytest.mark.fork
@pytest.mark.parametrize(
    ("options", "environment"),
    [([], {}), (["--preload"], {}), (["--preload"], {"USE": "1"})],
    ids=["loaded by the worker", "preloaded", "preloaded and used"],
)
def test_gunicorn_streams(options: List[str], environment: dict, tmp_path: pathlib.Path, upstream: Server) -> None:
    """With --preload the application is imported in the parent, which forks; only the child patches."""
    with gunicorn(tmp_path, APPLICATION.format(url=upstream.url), *options, **environment) as site:
        assert "event: done" in site.get("hello")
        assert "event: done" in site.get("hello")
        # A deadline: the answer has begun, so that the error is its last event.
        assert "DeadlineExceeded" in site.get("silent?timeout")
        assert "DeadlineExceeded" in site.get("stall?timeout")
        # Several at once: the host answers none of them before all have come.
        with contextlib.ExitStack() as visitors:
            four = [visitors.enter_context(site.visit("together")) for _ in range(4)]
            assert ["event: done" in rest(visitor) for visitor in four] == [True] * 4
        # A visitor who leaves cancels the call.
        with site.visit("stall") as visitor:
            while b"Hello" not in visitor.recv(65536):
                pass
            assert site.get("active").endswith("1")
        loopback.until(lambda: site.get("active").endswith("0"))
        if environment:
            assert site.get("pending").endswith("DeadlineExceeded")
            assert "Cancelled" in site.get("stalled")


def test_a_function_that_waits_for_a_deadline_runs_though_the_patch_came_in_between(late: Callable[..., str]) -> None:
    """The timer's thread began before the patch: a greenlet that it started would never run."""
    before = """
        import time
        ctx = anyllm.Context(timeout=0.3)
        done = []
        ctx.on_done(lambda: done.append(True))
        assert not ctx.cancelled
    """
    after = """
        end = time.monotonic() + 20
        while not done and time.monotonic() < end:
            time.sleep(0.01)
        assert done == [True]
    """
    late("http://localhost", before, PATCH, after)
