"""
The gateway: a WSGI application that answers clients of several formats with any provider's models.

Strategy: a table lists the operations, a method and a path each, with the format of their errors. What every request
needs is done once, around the operation: check the origin and the key, take a slot; write the log and the metrics.
"""

from __future__ import annotations

import http.client
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Optional

import attrs

from anyllm._concurrency.per_process import PerProcess
from anyllm._hints.extras import pip_install
from anyllm.errors import AnyLLMError, APIError, ModelNotFoundError
from anyllm.formats import AnthropicMessages, Format, Gemini, OllamaChat, OpenAIChat
from anyllm.gateway._answer_slots import AnswerSlots
from anyllm.gateway._auth import allowed_origin, check_key, check_origin
from anyllm.gateway._chat_page import PATHS, page
from anyllm.gateway._client_keys import Keys
from anyllm.gateway._config import Config
from anyllm.gateway._handler import answer
from anyllm.gateway._metrics import GatewayMetrics
from anyllm.gateway._models import Models
from anyllm.gateway._request_context import RequestContext, RequestHead
from anyllm.gateway._responses import GatewayResponse, error_response, json_response
from anyllm.options import StreamingOptions
from anyllm.types import EmbeddingParams, Embeddings
from anyllm.wire._base.chat_request import ChatRequest
from anyllm.wire.anthropic_messages.models import anthropic_model, anthropic_models
from anyllm.wire.anthropic_messages.server.request_reader import read_messages
from anyllm.wire.gemini.server.request_reader import read_generate
from anyllm.wire.ollama import embeddings as ollama_embeddings
from anyllm.wire.ollama import models as ollama_models
from anyllm.wire.ollama.server.request_reader import load_answer
from anyllm.wire.ollama.server.request_reader import read_chat as read_ollama_chat
from anyllm.wire.ollama.server.request_reader import read_generate as read_ollama_generate
from anyllm.wire.openai_chat import embeddings as openai_embeddings
from anyllm.wire.openai_chat.models import list_object, model_object
from anyllm.wire.openai_chat.server.request_reader import read_chat
from anyllm.wire.openai_responses.server.request_reader import read_responses

_log = logging.getLogger("anyllm.gateway")

_OPENAI, _ANTHROPIC, _OLLAMA, _GEMINI = OpenAIChat(), AnthropicMessages(), OllamaChat(), Gemini()
_GEMINI_PATHS = ("/v1beta/models/", "/v1/models/", "/v1alpha/models/")
_PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, POST, OPTIONS",
    "Access-Control-Allow-Headers": "*, Authorization",
    "Access-Control-Max-Age": "600",
}


@attrs.define(frozen=True)
class Operation:
    """
    A method and a path of the gateway's API.

    Attributes:
        method: "GET" or "POST".
        path: Of the URL; one that ends in "/" stands for every longer path.
        format: The format of error responses.
        handle: Makes the response.
        needs_key: Whether the client must send a key, if the gateway has any.
        needs_slot: Whether it counts against the limits of concurrent answers.
    """

    method: str
    path: str
    format: Format
    handle: Callable[[RequestContext], GatewayResponse]
    needs_key: bool = True
    needs_slot: bool = False

    def is_at(self, path: str) -> bool:
        """Whether a request for *path* is for this operation, whatever its method."""
        if self.path.endswith("/") and self.path != "/":
            return path.startswith(self.path) and path != self.path
        return path == self.path


@attrs.define(frozen=True)
class Rejection:
    """A request that is rejected before its body is read: status, reason phrase, message. Has waitress's names."""

    code: int
    reason: str
    body: str


def check(config: Config) -> None:
    """
    Check a configuration without making a gateway.

    Raises:
        ValueError: an entry is wrong; the message names it.
    """
    Models(config)


class Gateway:
    """
    The WSGI application. Shared between threads::

        application = anyllm.gateway.Gateway(anyllm.gateway.load("gateway.toml"))

    Args:
        config: The configuration; the defaults if not given.
        options: Options of calls, for models whose entry has none.

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
        self._slots = PerProcess(lambda _: AnswerSlots(*limits))  # a child has none of its parent's answers
        self._operations = self._table()

    @property
    def running(self) -> int:
        """The number of answers in progress."""
        return self._slots().running

    def _table(self) -> Sequence[Operation]:
        return (
            self._chat("/v1/chat/completions", _OPENAI, read_chat),
            self._chat("/v1/responses", _OPENAI, read_responses),
            self._chat("/v1/messages", _ANTHROPIC, read_messages),
            self._chat("/api/chat", _OLLAMA, read_ollama_chat),
            self._chat("/api/generate", _OLLAMA, read_ollama_generate),
            *(Operation("POST", path, _GEMINI, self._gemini, needs_slot=True) for path in _GEMINI_PATHS),
            Operation("POST", "/v1/embeddings", _OPENAI, self._embeddings, needs_slot=True),
            Operation("POST", "/api/embed", _OLLAMA, self._ollama_embeddings, needs_slot=True),
            Operation("GET", "/v1/models", _OPENAI, self._list_models),
            Operation("GET", "/v1/models/", _OPENAI, self._model),
            Operation("GET", "/api/tags", _OLLAMA, self._tags),
            Operation("POST", "/api/show", _OLLAMA, self._show),
            Operation("GET", "/api/ps", _OLLAMA, lambda _: json_response(ollama_models.MEMORY_ANSWER)),
            Operation(
                "GET", "/api/version", _OLLAMA, lambda _: json_response(ollama_models.VERSION_ANSWER), needs_key=False
            ),
            Operation("GET", "/healthz", _OPENAI, self._health, needs_key=False),
            Operation("GET", "/metrics", _OPENAI, self._metrics),
            *(Operation("GET", path, _OPENAI, self._page, needs_key=False) for path in PATHS if self._server.page),
        )

    def _chat(self, path: str, format: Format, read: Callable[[Any], ChatRequest]) -> Operation:
        """The operation at which clients of *format* ask for an answer."""

        def handle(context: RequestContext) -> GatewayResponse:
            request = read(context.json(self._server.max_body_bytes))
            if not request.params.messages and format is _OLLAMA:  # which asks only to load the model
                self._models.find(request.params.model)
                return json_response(load_answer(request, time.time()))
            return answer(context, request, self._models, self._server)

        return Operation("POST", path, format, handle, needs_slot=True)

    def precheck(self, method: str, path: str, query: str, headers: Mapping[str, str]) -> Optional[Rejection]:
        """
        Check a request before its body is read; *headers* are named as in a WSGI environment, without HTTP_.

        Returns:
            Why it will be rejected whatever its body is; None if it may be accepted.
        """
        head = RequestHead({"QUERY_STRING": query, **{f"HTTP_{name}": value for name, value in headers.items()}})
        try:
            operation, allowed = self._find(method, path)
            if operation is None:
                return Rejection(405 if allowed else 404, "Not Found", "no request with a body is accepted here")
            if self._keys:
                check_key(head, self._keys)
            else:
                check_origin(head, self._server)
        except APIError as exc:
            return Rejection(exc.status_code or 403, type(exc).__name__, exc.message)
        return None

    def error_body(self, path: str, status: int, reason: str) -> bytes:
        """The body of an error response for a request that the server rejected by itself."""
        return _format_of(path).problem(APIError(reason, status_code=status, type="invalid_request_error"), status)

    # -- one request -----------------------------------------------------------------------------------------------

    def __call__(self, environ: Mapping[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        context = RequestContext(environ, self._server.max_seconds, self._finish)
        self.metrics.start()
        try:
            response = self._respond(context)
            context.status, context.error = response.status, response.error
            start_response(
                f"{response.status} {http.client.responses.get(response.status, 'Error')}",
                self._headers(context, response),
            )
        except BaseException:
            context.finish()
            raise
        if context.method == "HEAD":
            getattr(response.body, "close", lambda: None)()
            response.body = ()
        if not hasattr(response.body, "close"):
            context.finish()
        return response.body

    def _respond(self, context: RequestContext) -> GatewayResponse:
        operation, allowed = self._find(context.method, context.path)
        if operation is None:
            return self._not_found(context, allowed)
        context.endpoint = operation.path
        try:
            if not self._keys:
                check_origin(context, self._server)
            if operation.needs_key:
                context.key_name = check_key(context, self._keys)
            if operation.needs_slot:
                self._slots().acquire(context.key_name)
                context.has_slot = True
            return operation.handle(context)
        except AnyLLMError as exc:
            return error_response(exc, operation.format)
        except Exception as exc:
            _log.exception("a bug ended request %s", context.id)
            return error_response(exc, operation.format)

    def _find(self, method: str, path: str) -> tuple[Optional[Operation], list[str]]:
        """The operation for a request, or None; and the methods that its path has."""
        method = "GET" if method == "HEAD" else method
        at_path = [operation for operation in self._operations if operation.is_at(path)]
        found = next((operation for operation in at_path if operation.method == method), None)
        return found, sorted({operation.method for operation in at_path})

    def _not_found(self, context: RequestContext, allowed: Sequence[str]) -> GatewayResponse:
        if allowed and context.method == "OPTIONS":
            return GatewayResponse(204, dict(_PREFLIGHT), ())
        path = context.path[:200]
        message = f"{path} accepts only {' and '.join(allowed)}" if allowed else f"there is no {path}"
        error = APIError(message, status_code=405 if allowed else 404, type="invalid_request_error")
        response = error_response(error, _format_of(context.path))
        if allowed:
            response.headers["Allow"] = ", ".join([*allowed, "OPTIONS"])
        return response

    def _headers(self, context: RequestContext, response: GatewayResponse) -> list[tuple[str, str]]:
        common = {"x-request-id": context.id, "request-id": context.id, "X-Content-Type-Options": "nosniff"}
        origin = allowed_origin(context, self._server)
        if origin is not None:
            common.update({"Access-Control-Allow-Origin": origin, "Vary": "Origin"})
        return [(name, _printable(value)) for name, value in {**common, **response.headers}.items()]

    def _finish(self, context: RequestContext) -> None:
        if context.has_slot:
            self._slots().release(context.key_name)
        self.metrics.finish(context)

    def _gemini(self, context: RequestContext) -> GatewayResponse:
        """Google's clients name the model and the method in the path."""
        model, _, method = context.path.partition("/models/")[2].rpartition(":")
        if method not in ("generateContent", "streamGenerateContent"):
            raise APIError(f"there is no method {method[:80]!r} here", status_code=404)
        is_array = context.query("alt") != "sse"
        body = context.json(self._server.max_body_bytes)
        request = read_generate(body, model=model, stream=method != "generateContent", array=is_array)
        return answer(context, request, self._models, self._server)

    # -- requests that need no answer of a model -------------------------------------------------------------------

    def _list_models(self, context: RequestContext) -> GatewayResponse:
        models = self._models.all(context.ctx)
        if context.header("anthropic-version"):
            return json_response(anthropic_models(models))
        return json_response(list_object(models))

    def _model(self, context: RequestContext) -> GatewayResponse:
        model = self._models.info(context.path[len("/v1/models/") :], context.ctx)
        write = anthropic_model if context.header("anthropic-version") else model_object
        return json_response(write(model))

    def _tags(self, context: RequestContext) -> GatewayResponse:
        return json_response(ollama_models.list_answer(self._models.all(context.ctx), time.time()))

    def _show(self, context: RequestContext) -> GatewayResponse:
        name = ollama_models.read_show_request(context.json(self._server.max_body_bytes))
        return json_response(ollama_models.show_answer(self._models.info(name, context.ctx), time.time()))

    def _embeddings(self, context: RequestContext) -> GatewayResponse:
        params = openai_embeddings.read_request(context.json(self._server.max_body_bytes))
        return json_response(openai_embeddings.embeddings_object(self._embed(context, params), params))

    def _ollama_embeddings(self, context: RequestContext) -> GatewayResponse:
        params = ollama_embeddings.read_request(context.json(self._server.max_body_bytes))
        return json_response(ollama_embeddings.embeddings_object(self._embed(context, params), params))

    def _embed(self, context: RequestContext, params: EmbeddingParams) -> Embeddings:
        route = self._models.find(params.model)
        context.model, context.provider = route.name, route.target.provider.name
        embeddings = route.embed(context.ctx, params)
        context.usage = embeddings.usage
        return embeddings

    def _page(self, context: RequestContext) -> GatewayResponse:
        response = page(context.path, context.header("If-None-Match"))
        assert response is not None  # the table has no other paths
        return response

    def _health(self, context: RequestContext) -> GatewayResponse:
        return json_response({"status": "ok", "running": self.running})

    def _metrics(self, context: RequestContext) -> GatewayResponse:
        metrics = self.metrics.text()
        if metrics is None:
            raise ModelNotFoundError(f"metrics need prometheus-client: {pip_install('serve')}", status_code=501)
        content_type, text = metrics
        return GatewayResponse(200, {"Content-Type": content_type, "Content-Length": str(len(text))}, [text])


def _format_of(path: str) -> Format:
    """The format of errors at a path without an operation: that of the API whose paths begin so."""
    if path.startswith("/api/"):
        return _OLLAMA
    if path.startswith("/v1beta/"):
        return _GEMINI
    return _ANTHROPIC if path.startswith("/v1/messages") else _OPENAI


def _printable(value: str) -> str:
    """*value* with "?" for every character that a header cannot contain: clients and providers chose some of them."""
    return "".join(letter if letter.isprintable() and ord(letter) < 127 else "?" for letter in value)
