"""
An answer to a request for one, streamed or whole.

What a client asked for in its own format and no parameter of ours says goes to hosts that speak that format. For others
it is refused by name, unless leaving it out changes nothing of the answer, or the gateway was told to drop it; what was
left out, a header says.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Optional

import attrs

from anyllm.errors import AnyLLMError, UnsupportedParameterError
from anyllm.formats import Body, OpenAIChat, headers
from anyllm.gateway._cache_marks import without_cache_marks
from anyllm.gateway._config import Server
from anyllm.gateway._models import Models
from anyllm.gateway._request_context import OUTLET, RequestContext
from anyllm.gateway._responses import GatewayResponse, json_reply, problem
from anyllm.gateway._route import Route
from anyllm.providers.table import lookup
from anyllm.types import CompletionParams
from anyllm.wire._base.chat_request import ChatRequest
from anyllm.wire._base.encode_json import merge_objects

__all__ = ["answer"]

#: Parameters of ours that say nothing of the answer.
_HINTS = frozenset(("user",))


def answer(exchange: RequestContext, asked: ChatRequest, models: Models, server: Server) -> GatewayResponse:
    """
    Ask the model, and reply in the client's format: with the answer, or with the error.

    Raises:
        AnyLLMError: there is no such model, or something was asked for that it has no words for.
    """
    route = models.find(asked.params.model)
    exchange.model, exchange.provider = route.name, route.target.host.name
    exchange.is_stream = asked.stream
    if isinstance(asked.format, OpenAIChat):
        asked = attrs.evolve(asked, format=attrs.evolve(asked.format, price=route.price))
    params, dropped = _fitted(asked, route, server)
    while True:
        reply = (
            _streamed(exchange, asked, route, params, server)
            if asked.stream
            else _whole(exchange, asked, route, params)
        )
        name = _droppable(reply.error, params, server)
        if name is None:
            break
        params = params.evolve(**{name: None})
        dropped.append(name)
    if dropped:
        reply.headers["x-anyllm-dropped"] = ", ".join(name[:80] for name in dropped[:20])
    return reply


def _fitted(asked: ChatRequest, route: Route, server: Server) -> tuple[CompletionParams, list[str]]:
    """The parameters as the route's hosts take them, and the keys that were left out."""
    params = asked.params
    if route.speaks(asked.native):
        extra = merge_objects(asked.native_fields, params.extra_body or {})
        return params.evolve(extra_body=extra or None), []
    name = next(iter(asked.unknown_fields), None)
    if name is not None and server.unsupported == "refuse":
        host = route.target.host.name
        raise UnsupportedParameterError(
            f"{name} is not something {host} takes through this API", status_code=400, param=name, provider=host
        )
    dropped = [*asked.unknown_fields, *asked.ignorable_fields]
    if not all(lookup.get(target.host.name).cache_marks for target in route.client.targets):
        bare = without_cache_marks(params)
        if bare is not params:
            params, dropped = bare, [*dropped, "cache_control"]
    return params, dropped


def _droppable(error: Optional[BaseException], params: CompletionParams, server: Server) -> Optional[str]:
    """The parameter that a host has no words for, where the request can go without it."""
    if not isinstance(error, UnsupportedParameterError) or error.status_code is not None:
        return None  # what the host itself refused has been sent, and may have been meant
    name = error.param or ""
    if name == "messages" or getattr(params, name, None) is None:
        return None
    return name if name in _HINTS or server.unsupported == "drop" else None


def _whole(exchange: RequestContext, asked: ChatRequest, route: Route, params: CompletionParams) -> GatewayResponse:
    try:
        completion = route.whole(exchange.ctx, params)
    except AnyLLMError as exc:
        return problem(exc, asked.format)
    exchange.usage = completion.usage
    return json_reply(asked.format.whole(completion))


def _streamed(
    exchange: RequestContext, asked: ChatRequest, route: Route, params: CompletionParams, server: Server
) -> GatewayResponse:
    stream, outlet = route.stream(exchange.ctx, params), exchange.environ.get(OUTLET)
    body = Body(stream, asked.format, server.keep_alive, exchange.chunk, outlet)
    # Our own server sees that a client leaves while nothing is written; others do not, and so must not wait long.
    error = body.begin(server.patience if outlet is not None else min(server.patience, server.keep_alive))
    if error is not None:
        return problem(error, asked.format)
    return GatewayResponse(200, headers(asked.format), _Watched(body, exchange))


class _Watched:
    """A body whose end the exchange hears of."""

    def __init__(self, body: Body, exchange: RequestContext) -> None:
        self._body = body
        self._exchange = exchange
        self._is_over = False

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            return next(self._body)
        except BaseException:
            self._is_over = True
            self._exchange.error = self._body.error
            self._exchange.over()
            raise

    def close(self) -> None:
        """The server calls it in any case: before the end when the client has gone."""
        if not self._is_over:
            self._exchange.leave()
        self._body.close()
        self._exchange.error = self._exchange.error or self._body.error
        self._exchange.over()
