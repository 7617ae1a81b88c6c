"""Web sites that answer with a stream: applications of each framework, servers of both interfaces, and their client."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import socketserver
import threading
import wsgiref.simple_server
from typing import Any, Callable, Iterator, List, Optional, Tuple

import attrs
import pytest

import anyllm
from anyllm import asgi, wsgi
from anyllm.channel import open_channel
from anyllm.testing import Reply, Stall, chat_events
from anyllm.types import ChatCompletionChunk, ChunkChoice, ChunkDelta

PARAMS = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
TIMEOUT = 30
KEY = "sk-very-secret-1234567890"
#: Seconds: what comes in the same test, and what does not.
SOON, NEVER = 0.01, 3600.0
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
DONE = ("done", {"finish_reason": "stop", "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}})

Application = Callable[..., Any]


# -- streams -----------------------------------------------------------------------------------------------------------


def ask(url: str) -> anyllm.Stream:
    options = anyllm.StreamingOptions(retry=anyllm.Retry(attempts=1))
    return anyllm.completion_stream(
        anyllm.Context(timeout=60), PARAMS, provider="compatible", base_url=url, api_key=KEY, options=options
    )


def begun(*pieces: str, end: Any = None) -> Reply:
    """A stream that begins with these pieces, and then stalls or has another *end*."""
    return Reply.sse([*chat_events(pieces, finish_reason=None, usage=False), end or Stall()])


def held(go: threading.Event, first: str = "one") -> Reply:
    """A stream whose second piece comes when *go* is set."""
    events = chat_events(first, finish_reason=None, usage=False)
    return Reply.sse([*events, Stall(go), *chat_events([" two"], role=False)])


def piece(content: Optional[str] = None, **delta: Any) -> ChatCompletionChunk:
    return ChatCompletionChunk(choices=(ChunkChoice(0, ChunkDelta(content=content, **delta)),))


class Pair:
    """A stream by hand, with *items* in it."""

    def __init__(self, *items: Any) -> None:
        self.sender, self.chunks = open_channel(16)
        self.failure, self.errors = open_channel(1)
        self.cancelled: List[Any] = []
        for item in items:
            self.sender.put(item)

    def cancel(self, cause: Any = None) -> None:
        self.cancelled.append(cause)

    def end(self, error: Any = None) -> Pair:
        self.failure.close(error)
        self.sender.close()
        return self


# -- applications ------------------------------------------------------------------------------------------------------


def bare(stream: Callable[[], Any], **options: Any) -> Application:
    return lambda environ, start_response: wsgi.respond(environ, start_response, stream(), **options)


def in_flask(stream: Callable[[], Any], **options: Any) -> Application:
    flask = pytest.importorskip("flask")
    app = flask.Flask("test")
    app.get("/")(lambda: wsgi.answer(stream(), **options))
    return app.wsgi_app  # type: ignore[no-any-return]


def in_flask_body(stream: Callable[[], Any], **options: Any) -> Application:
    flask = pytest.importorskip("flask")
    app = flask.Flask("test")
    options.pop("first_content_timeout", None)
    app.get("/")(lambda: flask.Response(wsgi.body(stream(), **options), headers=wsgi.headers()))
    return app.wsgi_app  # type: ignore[no-any-return]


def in_bottle(stream: Callable[[], Any], **options: Any) -> Application:
    bottle = pytest.importorskip("bottle")
    app = bottle.Bottle()
    app.get("/")(lambda: bottle.HTTPResponse(*wsgi.answer(stream(), **options)))
    return app  # type: ignore[no-any-return]


def in_django(stream: Callable[[], Any], **options: Any) -> Application:
    pytest.importorskip("django")
    import django
    from django.conf import settings
    from django.core.handlers.wsgi import WSGIHandler
    from django.http import StreamingHttpResponse
    from django.urls import clear_url_caches, path

    if not settings.configured:
        settings.configure(ALLOWED_HOSTS=["*"], SECRET_KEY="x", ROOT_URLCONF=None, USE_I18N=False)
        django.setup()

    def view(request: Any) -> Any:
        response = wsgi.answer(stream(), **options)
        return StreamingHttpResponse(response.body, status=response.status, headers=response.headers)

    settings.ROOT_URLCONF = _Urls([path("", view)])
    clear_url_caches()
    return WSGIHandler()  # type: ignore[no-any-return]


@attrs.define(eq=False)
class _Urls:
    """Where Django expects a module."""

    urlpatterns: List[Any]


def in_starlette(stream: Callable[[], Any], **options: Any) -> Application:
    applications = pytest.importorskip("starlette.applications")
    from starlette.responses import StreamingResponse
    from starlette.routing import Route

    async def endpoint(_: Any) -> Any:
        return StreamingResponse(*await asgi.answer(stream(), **options))

    return applications.Starlette(routes=[Route("/", endpoint)])  # type: ignore[no-any-return]


def in_fastapi_body(stream: Callable[[], Any], **options: Any) -> Application:
    fastapi = pytest.importorskip("fastapi")
    from fastapi.responses import StreamingResponse

    app = fastapi.FastAPI()
    options.pop("first_content_timeout", None)

    @app.get("/")
    async def endpoint() -> Any:
        return StreamingResponse(asgi.body(stream(), **options), headers=asgi.headers())

    return app  # type: ignore[no-any-return]


# -- servers -----------------------------------------------------------------------------------------------------------


class _Quiet(wsgiref.simple_server.WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


class _Wsgiref(socketserver.ThreadingMixIn, wsgiref.simple_server.WSGIServer):
    daemon_threads = False  # so that closing the server joins them


@contextlib.contextmanager
def running(serve: Callable[[], Any], stop: Callable[[], Any]) -> Iterator[None]:
    """*serve* runs on a thread of its own, until *stop* is called."""
    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        stop()
        thread.join(TIMEOUT)


@contextlib.contextmanager
def wsgiref_server(app: Application) -> Iterator[int]:
    with (
        wsgiref.simple_server.make_server("127.0.0.1", 0, app, _Wsgiref, _Quiet) as server,
        running(lambda: server.serve_forever(0.01), server.shutdown),
    ):
        yield server.server_port


@contextlib.contextmanager
def cheroot_server(app: Application) -> Iterator[int]:
    cheroot = pytest.importorskip("cheroot.wsgi")

    class Connection(cheroot.Server.ConnectionClass):  # type: ignore[name-defined,misc]
        def close(self) -> None:
            """Close what is written to as well.

            cheroot leaves it to the garbage collector, where what a client that left has not received is an error.
            """
            super().close()
            with contextlib.suppress(OSError):
                self.wfile.close()

    server = cheroot.Server(("127.0.0.1", 0), app, numthreads=2, shutdown_timeout=TIMEOUT)
    server.ConnectionClass = Connection
    server.error_log = lambda *args, **kwargs: None
    server.prepare()
    with running(server.serve, server.stop):
        yield server.bind_addr[1]


@contextlib.contextmanager
def waitress_server(app: Application) -> Iterator[int]:
    waitress = pytest.importorskip("waitress")
    sockets: Any = {}
    server = waitress.server.create_server(app, host="127.0.0.1", port=0, map=sockets, threads=2)
    # The server's own thread must close it.
    with running(server.run, lambda: server.trigger.pull_trigger(lambda: waitress.wasyncore.close_all(sockets))):
        yield server.effective_port
    server.task_dispatcher.shutdown(timeout=TIMEOUT)


@contextlib.contextmanager
def uvicorn_server(app: Application) -> Iterator[int]:
    uvicorn = pytest.importorskip("uvicorn")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off", timeout_graceful_shutdown=1))
        with running(lambda: server.run([listening]), lambda: setattr(server, "should_exit", True)):
            yield listening.getsockname()[1]


@attrs.frozen
class Site:
    """An application and its server."""

    server: Callable[[Application], Any]
    make: Callable[..., Application]

    @property
    def is_async(self) -> bool:
        return self.server is uvicorn_server

    @property
    def leave_shows_after(self) -> float:
        """Seconds of silence after which a client that leaves is noticed: an async server notices it by itself."""
        return NEVER if self.is_async else SOON

    def __str__(self) -> str:
        return f"{self.server.__name__}-{self.make.__name__}"


#: One for each server and for each framework.
SITES = [
    *(Site(server, bare) for server in (wsgiref_server, cheroot_server, waitress_server)),
    *(Site(wsgiref_server, make) for make in (in_flask, in_flask_body, in_django, in_bottle)),
    *(Site(uvicorn_server, make) for make in (in_starlette, in_fastapi_body)),
]
#: Those that wait for the first content before they send a status.
WAITING = [site for site in SITES if site.make not in (in_flask_body, in_fastapi_body)]


# -- the client --------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def client(port: int, method: str = "GET", path: str = "/") -> Iterator[http.client.HTTPResponse]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
    with contextlib.closing(connection):
        connection.request(method, path)
        with contextlib.closing(connection.getresponse()) as response:
            yield response


def next_event(response: http.client.HTTPResponse) -> Tuple[str, Any]:
    """The next event's name and data, comments left out."""
    name = ""
    while line := response.readline().decode():
        key, _, value = line.rstrip("\n").partition(": ")
        if key == "event":
            name = value
        elif key == "data":
            assert response.readline() == b"\n"
            return name, json.loads(value)
    return "", None


def ask_and_leave(port: int, upstream: Any) -> None:
    """Send a request, and leave when the model has been asked."""
    with socket.create_connection(("127.0.0.1", port), TIMEOUT) as leaving:
        leaving.sendall(REQUEST)
        upstream.wait_for_requests(1, TIMEOUT)
