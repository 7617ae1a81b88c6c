"""
Answer a chat request, streamed or whole.

A client's request may have fields for which we have no parameter. Providers of the client's format receive them. For
other providers the request is rejected, unless the fields do not affect the answer or the gateway is configured to drop
them; the header ``x-anyllm-dropped`` names those that were dropped.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Optional

import attrs

from anyllm.errors import AnyLLMError, UnsupportedParameterError
from anyllm.formats import Body, OpenAIChat, headers
from anyllm.gateway._cache_marks import without_cache_marks
from anyllm.gateway._config import ServerConfig
from anyllm.gateway._models import Models
from anyllm.gateway._request_context import OUTLET, RequestContext
from anyllm.gateway._responses import GatewayResponse, error_response, json_response
from anyllm.gateway._route import Route
from anyllm.providers.table import lookup
from anyllm.types import CompletionParams
from anyllm.wire._base.chat_request import ChatRequest
from anyllm.wire._base.encode_json import merge_objects

#: Parameters of ours that do not affect the answer.
_IGNORABLE = frozenset(("user",))


def answer(context: RequestContext, request: ChatRequest, models: Models, server: ServerConfig) -> GatewayResponse:
    """
    Ask the model, and respond in the client's format with its answer or its error.

    Raises:
        AnyLLMError: there is no such model, or its provider does not support a field of the request.
    """
    route = models.find(request.params.model)
    context.model, context.provider = route.name, route.target.provider.name
    context.is_stream = request.stream
    if isinstance(request.format, OpenAIChat):
        request = attrs.evolve(request, format=attrs.evolve(request.format, price=route.price))
    params, dropped = _supported(request, route, server)
    while True:
        if request.stream:
            response = _stream(context, request, route, params, server)
        else:
            response = _complete(context, request, route, params)
        name = _droppable(response.error, params, server)
        if name is None:
            break
        params = params.evolve(**{name: None})
        dropped.append(name)
    if dropped:
        response.headers["x-anyllm-dropped"] = ", ".join(name[:80] for name in dropped[:20])
    return response


def _supported(request: ChatRequest, route: Route, server: ServerConfig) -> tuple[CompletionParams, list[str]]:
    """The parameters that the route's providers support, and the names of dropped fields."""
    params = request.params
    if route.speaks(request.native):
        extra = merge_objects(request.native_fields, params.extra_body or {})
        return params.evolve(extra_body=extra or None), []
    name = next(iter(request.unknown_fields), None)
    if name is not None and server.unsupported == "refuse":
        provider = route.target.provider.name
        raise UnsupportedParameterError(
            f"{provider} does not support the parameter {name}", status_code=400, param=name, provider=provider
        )
    dropped = [*request.unknown_fields, *request.ignorable_fields]
    if not all(lookup.get(target.provider.name).cache_marks for target in route.client.targets):
        unmarked = without_cache_marks(params)
        if unmarked is not params:
            params, dropped = unmarked, [*dropped, "cache_control"]
    return params, dropped


def _droppable(error: Optional[BaseException], params: CompletionParams, server: ServerConfig) -> Optional[str]:
    """The parameter that the provider does not support, if the request may be sent without it."""
    if not isinstance(error, UnsupportedParameterError) or error.status_code is not None:
        return None  # with a status the provider itself refused it: it was sent, and may affect the answer
    name = error.param or ""
    if name == "messages" or getattr(params, name, None) is None:
        return None
    return name if name in _IGNORABLE or server.unsupported == "drop" else None


def _complete(context: RequestContext, request: ChatRequest, route: Route, params: CompletionParams) -> GatewayResponse:
    try:
        completion = route.complete(context.ctx, params)
    except AnyLLMError as exc:
        return error_response(exc, request.format)
    context.usage = completion.usage
    return json_response(request.format.whole(completion))


def _stream(
    context: RequestContext, request: ChatRequest, route: Route, params: CompletionParams, server: ServerConfig
) -> GatewayResponse:
    stream, outlet = route.stream(context.ctx, params), context.environ.get(OUTLET)
    body = Body(stream, request.format, server.keep_alive, context.record, outlet)
    # Our own server notices during a silence that the client has left; others notice only when they write.
    timeout = server.first_content_timeout
    error = body.begin(timeout if outlet is not None else min(timeout, server.keep_alive))
    if error is not None:
        return error_response(error, request.format)
    return GatewayResponse(200, headers(request.format), _RecordedBody(body, context))


class _RecordedBody(Iterator[bytes]):
    """The body of a stream; its end finishes the request."""

    def __init__(self, body: Body, context: RequestContext) -> None:
        self._body = body
        self._context = context
        self._is_over = False

    def __next__(self) -> bytes:
        try:
            return next(self._body)
        except BaseException:
            self._is_over = True
            self._context.error = self._body.error
            self._context.finish()
            raise

    def close(self) -> None:
        """Called by the server in any case; before the end if the client has left."""
        if not self._is_over:
            self._context.abort()
        self._body.close()
        self._context.error = self._context.error or self._body.error
        self._context.finish()
