"""Helpers of the gateway's tests: requests to the WSGI application, and a gateway with an upstream server."""

from __future__ import annotations

import io
import json
import socket
from typing import Any, Dict, List, Mapping, Optional

import anyllm
from anyllm.gateway import Config, Gateway

ONCE = anyllm.StreamingOptions(retry=anyllm.Retry(attempts=1))


class Response:
    """A response of the application."""

    def __init__(self, status: str, headers: List[Any], body: bytes) -> None:
        self.status = int(status.split()[0])
        self.headers: Dict[str, str] = dict(headers)
        self.body = body

    def json(self) -> Any:
        return json.loads(self.body)


def environ_of(method: str, path: str, body: Any = b"", headers: Optional[Mapping[str, str]] = None) -> Dict[str, Any]:
    """The WSGI environment of a request."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    environ = {
        "REQUEST_METHOD": method,
        "PATH_INFO": path,
        "CONTENT_LENGTH": str(len(data)),
        "wsgi.input": io.BytesIO(data),
        "HTTP_HOST": "127.0.0.1:8080",
    }
    for name, value in (headers or {}).items():
        environ[f"HTTP_{name.upper().replace('-', '_')}"] = value
    return environ


def ask(app: Any, method: str, path: str, body: Any = b"", headers: Optional[Mapping[str, str]] = None) -> Response:
    """Send a request to the application, and read its response to the end."""
    return call(app, environ_of(method, path, body, headers))


def call(app: Any, environ: Dict[str, Any]) -> Response:
    """Call the application with an environment, and read its response to the end."""
    started: List[Any] = []
    answer = app(environ, lambda *args: started.append(args))
    try:
        data = b"".join(answer)
    finally:
        if hasattr(answer, "close"):
            answer.close()
    [(status, headers)] = started
    return Response(status, headers, data)


def post(app: Any, path: str, body: Any = b"", **headers: str) -> Response:
    return ask(app, "POST", path, body, {name.replace("_", "-"): value for name, value in headers.items()})


def get(app: Any, path: str, **headers: str) -> Response:
    return ask(app, "GET", path, b"", {name.replace("_", "-"): value for name, value in headers.items()})


def before(url: str, provider: str = "compatible", **config: Any) -> Gateway:
    """A gateway whose model "m" is at *url*."""
    models = config.pop("models", {})
    server = {"list_providers": False, **config.pop("server", {})}
    entry = {"model": f"{provider}/upstream-model", "base_url": url}
    return Gateway(Config(server=server, models={"m": entry, **models}, **config), options=ONCE)


def listens(port: int) -> bool:
    """Whether a server on this machine accepts connections at *port*."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


CHAT = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
STREAM = {**CHAT, "stream": True}
