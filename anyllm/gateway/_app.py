"""
The gateway: a WSGI application that answers clients of several formats with any provider's models.

Strategy: a table says which path is whose, and in which format that client reads errors; what stands before each answer
(where it comes from, whose key it shows, whether there is room) and after it (log, figures) is done once, here.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Optional

import attrs

from anyllm._hints.extras import pip_install
from anyllm.errors import AnyLLMError, APIError, ModelNotFoundError
from anyllm.formats import AnthropicMessages, Format, Gemini, OllamaChat, OpenAIChat
from anyllm.gateway._answer_slots import Slots
from anyllm.gateway._auth import allowed_origin, check_key, check_origin
from anyllm.gateway._config import Config
from anyllm.gateway._handler import answer
from anyllm.gateway._keys import Keys
from anyllm.gateway._metrics import GatewayMetrics
from anyllm.gateway._models import Models
from anyllm.gateway._page import PATHS, page
from anyllm.gateway._request_context import RequestContext, in_query
from anyllm.gateway._responses import GatewayResponse, json_reply, problem
from anyllm.limits._shared import PerProcess
from anyllm.options import StreamingOptions
from anyllm.types import EmbeddingParams, Embeddings
from anyllm.wire._base.chat_request import ChatRequest
from anyllm.wire.anthropic_messages.server.models import anthropic_model, anthropic_models
from anyllm.wire.anthropic_messages.server.request import read_messages
from anyllm.wire.gemini.server.request import read_generate
from anyllm.wire.ollama.server import embeddings as ollama_embeddings
from anyllm.wire.ollama.server import models as ollama_models
from anyllm.wire.ollama.server.request import read_chat as read_ollama_chat
from anyllm.wire.ollama.server.request import read_generate as read_ollama_generate
from anyllm.wire.openai_chat.server.embeddings import embeddings_object, read_embeddings
from anyllm.wire.openai_chat.server.models import model_object, openai_models
from anyllm.wire.openai_chat.server.request import read_chat
from anyllm.wire.openai_responses.server.request import read_responses

__all__ = ["Gateway", "check"]

_log = logging.getLogger("anyllm.gateway")

_OPENAI, _ANTHROPIC, _OLLAMA, _GEMINI = OpenAIChat(), AnthropicMessages(), OllamaChat(), Gemini()
_GEMINI_PATHS = ("/v1beta/models/", "/v1/models/", "/v1alpha/models/")
_PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, POST, OPTIONS",
    "Access-Control-Allow-Headers": "*, Authorization",
    "Access-Control-Max-Age": "600",
}


@attrs.define(frozen=True)
class Endpoint:
    """
    What answers at a path.

    Attributes:
        method: "GET" or "POST".
        path: As in the request; of one that ends in "/", all that begin so.
        format: How errors are said.
        handle: Makes the reply.
        is_open: Whether no key is needed.
        is_answer: Whether it takes one of the places for answers.
    """

    method: str
    path: str
    format: Format
    handle: Callable[[RequestContext], GatewayResponse]
    is_open: bool = False
    is_answer: bool = False


@attrs.define(frozen=True)
class Refused:
    """
    A refusal, as waitress has it.

    Attributes:
        code: The HTTP status.
        reason: Its words.
        body: What is wrong.
    """

    code: int
    reason: str
    body: str


class _Asking:
    """A request whose body has not come; the names of its headers are as in a WSGI environment, without HTTP_."""

    def __init__(self, query: str, headers: Mapping[str, str]) -> None:
        self._query = query
        self._headers = headers

    def header(self, name: str) -> str:
        return self._headers.get(name.upper().replace("-", "_"), "")

    def query(self, name: str) -> str:
        return in_query(self._query, name)


def check(config: Config) -> None:
    """
    Whether a gateway can be made of it.

    Raises:
        ValueError: an entry is wrong; the message names it.
    """
    Models(config)


class Gateway:
    """
    The WSGI application. Shared between threads::

        application = anyllm.gateway.Gateway(anyllm.gateway.load("gateway.toml"))

    Args:
        config: What it is told; the defaults if not given.
        options: How calls behave, where a model's entry does not say.

    Raises:
        ValueError: an entry is wrong; the message names it.

    Source: PEP 3333.
    """

    def __init__(self, config: Optional[Config] = None, *, options: Optional[StreamingOptions] = None) -> None:
        self.config = config or Config()
        self.metrics = GatewayMetrics()
        self._server = self.config.server
        self._keys = Keys(self.config.keys)
        self._models = Models(self.config, options)
        limits = self._server.max_streams, self._server.max_streams_per_key
        self._slots_here = PerProcess(lambda _: Slots(*limits))  # what a parent answers, its children do not
        self._endpoints = self._table()

    @property
    def running(self) -> int:
        """How many answers are on their way."""
        return self._slots.running

    @property
    def _slots(self) -> Slots:
        return self._slots_here()

    def _table(self) -> Sequence[Endpoint]:
        return (
            self._answers("/v1/chat/completions", _OPENAI, read_chat),
            self._answers("/v1/responses", _OPENAI, read_responses),
            self._answers("/v1/messages", _ANTHROPIC, read_messages),
            self._answers("/api/chat", _OLLAMA, read_ollama_chat),
            self._answers("/api/generate", _OLLAMA, read_ollama_generate),
            *(Endpoint("POST", path, _GEMINI, self._gemini, is_answer=True) for path in _GEMINI_PATHS),
            Endpoint("POST", "/v1/embeddings", _OPENAI, self._embeddings, is_answer=True),
            Endpoint("POST", "/api/embed", _OLLAMA, self._ollama_embeddings, is_answer=True),
            Endpoint("GET", "/v1/models", _OPENAI, self._list),
            Endpoint("GET", "/v1/models/", _OPENAI, self._one),
            Endpoint("GET", "/api/tags", _OLLAMA, self._tags),
            Endpoint("POST", "/api/show", _OLLAMA, self._show),
            Endpoint("GET", "/api/ps", _OLLAMA, lambda _: json_reply(ollama_models.ps())),
            Endpoint("GET", "/api/version", _OLLAMA, lambda _: json_reply(ollama_models.version()), is_open=True),
            Endpoint("GET", "/healthz", _OPENAI, self._health, is_open=True),
            Endpoint("GET", "/metrics", _OPENAI, self._figures),
            *(Endpoint("GET", path, _OPENAI, self._page, is_open=True) for path in PATHS if self._server.page),
        )

    def _answers(self, path: str, format: Format, read: Callable[[Any], ChatRequest]) -> Endpoint:
        def handle(exchange: RequestContext) -> GatewayResponse:
            asked = read(exchange.json(self._server.max_body_bytes))
            if not asked.params.messages and format is _OLLAMA:
                self._models.find(asked.params.model)
                return json_reply(ollama_models.loaded(asked, time.time()))  # what it says to have a model loaded
            return answer(exchange, asked, self._models, self._server)

        return Endpoint("POST", path, format, handle, is_answer=True)

    def refuses(self, method: str, path: str, query: str, headers: Mapping[str, str]) -> Optional[Refused]:
        """Whether a request is refused whatever its body is; for servers that ask before they read one."""
        asking = _Asking(query, headers)
        try:
            endpoint, allowed = self._find(method, path)
            if endpoint is None:
                return Refused(405 if allowed else 404, "Not Found", "nothing takes a body there")
            if self._keys:
                check_key(asking, self._keys)
            else:
                check_origin(asking, self._server)
        except APIError as exc:
            return Refused(exc.status_code or 403, type(exc).__name__, exc.message)
        return None

    def refusal(self, path: str, status: int, reason: str) -> bytes:
        """The body of a response to what a server refuses before it gets here."""
        return _format_at(path).problem(APIError(reason, status_code=status, type="invalid_request_error"), status)

    # -- one request -----------------------------------------------------------------------------------------------

    def __call__(self, environ: Mapping[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        exchange = RequestContext(environ, self._server.max_seconds, self._over)
        self.metrics.began()
        try:
            reply = self._reply(exchange)
            exchange.status, exchange.error = reply.status, reply.error
            sent = self._headers(exchange, reply)
            start_response(f"{reply.status} {_reason(reply.status)}", sent)
        except BaseException:
            exchange.over()
            raise
        if exchange.method == "HEAD":
            reply.body = _closed(reply.body)
        if not hasattr(reply.body, "close"):
            exchange.over()
        return reply.body

    def _reply(self, exchange: RequestContext) -> GatewayResponse:
        endpoint, allowed = self._find(exchange.method, exchange.path)
        if endpoint is None:
            return self._not_there(exchange, allowed)
        exchange.endpoint = endpoint.path
        try:
            if not self._keys:
                check_origin(exchange, self._server)
            if not endpoint.is_open:
                exchange.key_name = check_key(exchange, self._keys)
            if endpoint.is_answer:
                self._slots.take(exchange.key_name)
                exchange.holds_slot = True
            return endpoint.handle(exchange)
        except AnyLLMError as exc:
            return problem(exc, endpoint.format)
        except Exception as exc:
            _log.exception("a bug ended request %s", exchange.id)
            return problem(exc, endpoint.format)

    def _find(self, method: str, path: str) -> tuple[Optional[Endpoint], list[str]]:
        """What answers a request; and which methods its path has, where that is nothing."""
        method = "GET" if method == "HEAD" else method
        there = [endpoint for endpoint in self._endpoints if _is_at(endpoint.path, path)]
        found = next((endpoint for endpoint in there if endpoint.method == method), None)
        return found, sorted({endpoint.method for endpoint in there})

    def _not_there(self, exchange: RequestContext, allowed: Sequence[str]) -> GatewayResponse:
        if allowed and exchange.method == "OPTIONS":
            return GatewayResponse(204, dict(_PREFLIGHT), ())
        status = 405 if allowed else 404
        what = (
            f"{exchange.path[:200]} takes {' and '.join(allowed)}" if allowed else f"there is no {exchange.path[:200]}"
        )
        reply = problem(APIError(what, status_code=status, type="invalid_request_error"), _format_at(exchange.path))
        if allowed:
            reply.headers["Allow"] = ", ".join([*allowed, "OPTIONS"])
        return reply

    def _headers(self, exchange: RequestContext, reply: GatewayResponse) -> list[tuple[str, str]]:
        ours = {"x-request-id": exchange.id, "request-id": exchange.id, "X-Content-Type-Options": "nosniff"}
        origin = allowed_origin(exchange, self._server)
        if origin is not None:
            ours.update({"Access-Control-Allow-Origin": origin, "Vary": "Origin"})
        return [(name, _printable(value)) for name, value in {**ours, **reply.headers}.items()]

    def _over(self, exchange: RequestContext) -> None:
        if exchange.holds_slot:
            self._slots.give(exchange.key_name)
        self.metrics.over(exchange)

    def _gemini(self, exchange: RequestContext) -> GatewayResponse:
        """Google's clients say in the path which model is to do what."""
        model, _, method = exchange.path.partition("/models/")[2].rpartition(":")
        if method not in ("generateContent", "streamGenerateContent"):
            raise APIError(f"there is no method {method[:80]!r} here", status_code=404)
        is_array = exchange.query("alt") != "sse"
        body = exchange.json(self._server.max_body_bytes)
        asked = read_generate(body, model=model, stream=method != "generateContent", array=is_array)
        return answer(exchange, asked, self._models, self._server)

    # -- what is no answer -----------------------------------------------------------------------------------------

    def _list(self, exchange: RequestContext) -> GatewayResponse:
        models = self._models.listed(exchange.ctx)
        if exchange.header("anthropic-version"):
            return json_reply(anthropic_models(models))
        return json_reply(openai_models(models))

    def _one(self, exchange: RequestContext) -> GatewayResponse:
        model = self._models.known(exchange.path[len("/v1/models/") :], exchange.ctx)
        one = anthropic_model if exchange.header("anthropic-version") else model_object
        return json_reply(one(model))

    def _tags(self, exchange: RequestContext) -> GatewayResponse:
        return json_reply(ollama_models.tags(self._models.listed(exchange.ctx), time.time()))

    def _show(self, exchange: RequestContext) -> GatewayResponse:
        name = ollama_models.read_show(exchange.json(self._server.max_body_bytes))
        return json_reply(ollama_models.show(self._models.known(name, exchange.ctx), time.time()))

    def _embeddings(self, exchange: RequestContext) -> GatewayResponse:
        wanted = read_embeddings(exchange.json(self._server.max_body_bytes))
        return json_reply(embeddings_object(self._embedded(exchange, wanted), wanted))

    def _ollama_embeddings(self, exchange: RequestContext) -> GatewayResponse:
        wanted = ollama_embeddings.read_embed(exchange.json(self._server.max_body_bytes))
        return json_reply(ollama_embeddings.embedded(self._embedded(exchange, wanted), wanted))

    def _embedded(self, exchange: RequestContext, wanted: EmbeddingParams) -> Embeddings:
        route = self._models.find(wanted.model)
        exchange.model, exchange.provider = route.name, route.target.host.name
        made = route.embed(exchange.ctx, wanted)
        exchange.usage = made.usage
        return made

    def _page(self, exchange: RequestContext) -> GatewayResponse:
        found = page(exchange.path, exchange.header("If-None-Match"))
        assert found is not None  # the table has no other paths
        return found

    def _health(self, exchange: RequestContext) -> GatewayResponse:
        return json_reply({"status": "ok", "running": self._slots.running})

    def _figures(self, exchange: RequestContext) -> GatewayResponse:
        figures = self.metrics.text()
        if figures is None:
            raise ModelNotFoundError(f"figures need prometheus-client: {pip_install('serve')}", status_code=501)
        kind, text = figures
        return GatewayResponse(200, {"Content-Type": kind, "Content-Length": str(len(text))}, [text])


def _is_at(path: str, asked: str) -> bool:
    return asked.startswith(path) and asked != path if path.endswith("/") and path != "/" else asked == path


def _format_at(path: str) -> Format:
    """In which format errors are said where nothing is: by whose paths it looks like."""
    if path.startswith("/api/"):
        return _OLLAMA
    if path.startswith("/v1beta/"):
        return _GEMINI
    return _ANTHROPIC if path.startswith("/v1/messages") else _OPENAI


def _printable(value: str) -> str:
    """What a header can hold: a client's own words, or a provider's, may be in it."""
    return "".join(letter if letter.isprintable() and ord(letter) < 127 else "?" for letter in value)


def _reason(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"  # 529, for example


def _closed(body: Iterable[bytes]) -> Iterable[bytes]:
    close = getattr(body, "close", None)
    if close is not None:
        close()
    return ()
