"""Metrics for Prometheus, with prometheus-client if that is installed."""

from __future__ import annotations

import os
from typing import Any, Optional

from anyllm.gateway._request_context import RequestContext

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)


class GatewayMetrics:
    """
    The metrics of one gateway.

    Labels have few values: operations' paths, providers, statuses; never text of a client.
    """

    def __init__(self) -> None:
        self._client = _client()
        if self._client is None:
            return
        client: Any = self._client
        self._registry = client.CollectorRegistry()
        registry: dict[str, Any] = {"registry": self._registry}
        self._requests = client.Counter(
            "anyllm_requests", "Requests, when they are over.", ("endpoint", "provider", "status"), **registry
        )
        self._running = client.Gauge(
            "anyllm_requests_running", "Requests that are being answered.", multiprocess_mode="livesum", **registry
        )
        self._tokens = client.Counter(
            "anyllm_tokens", "Tokens, as providers count them.", ("provider", "kind"), **registry
        )
        self._left = client.Counter(
            "anyllm_clients_left", "Clients that left before their answer was whole.", **registry
        )
        self._errors = client.Counter(
            "anyllm_errors", "Answers that failed, also in the middle.", ("provider", "error"), **registry
        )
        self._first = client.Histogram(
            "anyllm_first_content_seconds", "To the first content.", ("provider",), buckets=_SECONDS, **registry
        )
        self._seconds = client.Histogram(
            "anyllm_request_seconds", "To the end of the answer.", ("endpoint",), buckets=_SECONDS, **registry
        )

    def start(self) -> None:
        """Count a request that begins."""
        if self._client is not None:
            self._running.inc()

    def finish(self, context: RequestContext) -> None:
        """Count a request that is over."""
        if self._client is None:
            return
        self._running.dec()
        endpoint, provider = context.endpoint or "(unknown)", context.provider
        self._requests.labels(endpoint, provider, str(context.status)).inc()
        self._seconds.labels(endpoint).observe(context.seconds)
        if context.first_content is not None:
            self._first.labels(provider).observe(context.first_content)
        if context.client_left:
            self._left.inc()
        elif context.error is not None:
            self._errors.labels(provider, type(context.error).__name__).inc()
        usage = context.usage
        if usage is not None:
            self._tokens.labels(provider, "prompt").inc(max(0, usage.prompt_tokens))
            self._tokens.labels(provider, "completion").inc(max(0, usage.completion_tokens))

    def text(self) -> Optional[tuple[str, bytes]]:
        """The content type and the text of all metrics; None without prometheus-client."""
        if self._client is None:
            return None
        client: Any = self._client
        registry = self._registry
        if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):  # of all workers
            from prometheus_client import multiprocess

            registry = client.CollectorRegistry()
            multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return str(client.CONTENT_TYPE_LATEST), bytes(client.generate_latest(registry))


def _client() -> Any:
    try:
        import prometheus_client
    except ModuleNotFoundError:
        return None
    return prometheus_client
