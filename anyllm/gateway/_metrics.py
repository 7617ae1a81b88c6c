"""Figures for Prometheus, through its own client; without it, none."""

from __future__ import annotations

import os
from typing import Any, Optional

from anyllm.gateway._request_context import RequestContext

__all__ = ["GatewayMetrics"]

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)


class GatewayMetrics:
    """
    What one gateway has done.

    Labels have few values: endpoints as they stand in the table, providers, statuses; never what a client made up.
    """

    def __init__(self) -> None:
        self._client = _client()
        if self._client is None:
            return
        made: Any = self._client
        self._registry = made.CollectorRegistry()
        to: dict[str, Any] = {"registry": self._registry}
        self._requests = made.Counter(
            "anyllm_requests", "Requests, when they are over.", ("endpoint", "provider", "status"), **to
        )
        self._running = made.Gauge(
            "anyllm_requests_running", "Requests that are being answered.", multiprocess_mode="livesum", **to
        )
        self._tokens = made.Counter("anyllm_tokens", "Tokens, as providers count them.", ("provider", "kind"), **to)
        self._left = made.Counter("anyllm_clients_left", "Clients that left before their answer was whole.", **to)
        self._errors = made.Counter(
            "anyllm_errors", "Answers that failed, also in the middle.", ("provider", "error"), **to
        )
        self._first = made.Histogram(
            "anyllm_first_content_seconds", "To the first content.", ("provider",), buckets=_SECONDS, **to
        )
        self._seconds = made.Histogram(
            "anyllm_request_seconds", "To the end of the answer.", ("endpoint",), buckets=_SECONDS, **to
        )

    def began(self) -> None:
        """A request has come."""
        if self._client is not None:
            self._running.inc()

    def over(self, exchange: RequestContext) -> None:
        """It is over."""
        if self._client is None:
            return
        self._running.dec()
        endpoint, provider = exchange.endpoint or "(unknown)", exchange.provider
        self._requests.labels(endpoint, provider, str(exchange.status)).inc()
        self._seconds.labels(endpoint).observe(exchange.seconds)
        if exchange.first_content is not None:
            self._first.labels(provider).observe(exchange.first_content)
        if exchange.client_left:
            self._left.inc()
        elif exchange.error is not None:
            self._errors.labels(provider, type(exchange.error).__name__).inc()
        usage = exchange.usage
        if usage is not None:
            self._tokens.labels(provider, "prompt").inc(max(0, usage.prompt_tokens))
            self._tokens.labels(provider, "completion").inc(max(0, usage.completion_tokens))

    def text(self) -> Optional[tuple[str, bytes]]:
        """The type and the text of all figures; None without prometheus-client."""
        if self._client is None:
            return None
        made: Any = self._client
        registry = self._registry
        if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):  # of all workers
            from prometheus_client import multiprocess

            registry = made.CollectorRegistry()
            multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return str(made.CONTENT_TYPE_LATEST), bytes(made.generate_latest(registry))


def _client() -> Any:
    try:
        import prometheus_client
    except ModuleNotFoundError:
        return None
    return prometheus_client
