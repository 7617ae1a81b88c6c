"""
The endpoints that ask about models, as Ollama's clients read them.

Source: https://docs.ollama.com/api/tags, https://docs.ollama.com/api-reference/show-model-details
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

from anyllm.wire._base.chat_request import ChatRequest
from anyllm.wire._base.model_info import ModelInfo
from anyllm.wire._base.request_fields import Fields
from anyllm.wire._base.writer import json_bytes
from anyllm.wire.ollama.server.writer import OllamaChat, time_text

__all__ = ["loaded", "ps", "read_show", "show", "tags", "version"]

#: The version whose API this is; clients ask for it to see what they may use.
_VERSION = "0.13.0"
#: Values of keep_alive with which a request that asks nothing says goodbye.
_GONE = (0, "0", "0s", "0m", "0h")


def tags(models: Iterable[ModelInfo], now: float) -> bytes:
    """
    The body of ``GET /api/tags``.

    Args:
        models: What there is.
        now: Unix seconds, which stand for the time of a model that has none.
    """
    return json_bytes({"models": [_listed(model, now) for model in models]})


def show(model: ModelInfo, now: float) -> bytes:
    """The body of ``POST /api/show``; *now* as `tags` has it."""
    family = model.provider or "unknown"
    info: dict[str, Any] = {"general.architecture": family, "general.basename": model.name.rpartition("/")[2]}
    if model.context_length is not None:
        info[f"{family}.context_length"] = model.context_length
    return json_bytes(
        {
            **dict.fromkeys(("modelfile", "parameters", "template"), ""),  # some clients will not do without
            "details": _details(model),
            "model_info": info,
            "capabilities": list(model.capabilities),
            "modified_at": _modified(model, now),
        }
    )


def version() -> bytes:
    """The body of ``GET /api/version``."""
    return json_bytes({"version": _VERSION})


def ps() -> bytes:
    """The body of ``GET /api/ps``: no model lies in the memory of this machine."""
    return json_bytes({"models": []})


def loaded(asked: ChatRequest, now: float) -> bytes:
    """
    The answer to a request without messages: the model is there at once.

    Args:
        asked: Such a request; with a ``keep_alive`` of 0 it wanted the model gone, which is said as well.
        now: Unix seconds.
    """
    wanted = asked.format if isinstance(asked.format, OllamaChat) else OllamaChat()
    is_gone = asked.ignorable_fields.get("keep_alive") in _GONE
    return json_bytes(
        {
            "model": asked.params.model,
            "created_at": _time(now),
            **wanted.said({"content": ""}),
            "done": True,
            "done_reason": "unload" if is_gone else "load",
        }
    )


def read_show(body: Any) -> str:
    """
    Which model a request to ``/api/show`` asks about; older clients call it ``name``.

    Raises:
        InvalidRequestError: it cannot be understood.
    """
    fields = Fields(body)
    older = fields.take("name", str)
    return str(fields.take("model", str) or older or fields.need("model", str))


def _listed(model: ModelInfo, now: float) -> dict[str, Any]:
    return {
        "name": model.tagged,
        "model": model.tagged,
        "modified_at": _modified(model, now),
        "size": 0,
        "digest": hashlib.sha256(model.name.encode("utf-8", "replace")).hexdigest(),
        "details": _details(model),
    }


def _details(model: ModelInfo) -> dict[str, Any]:
    return {
        "parent_model": "",
        "format": "",
        "family": model.provider,
        "families": [model.provider] if model.provider else [],
        "parameter_size": "",
        "quantization_level": "",
    }


def _modified(model: ModelInfo, now: float) -> str:
    return _time(model.created if model.created > 0 else now)


def _time(seconds: float) -> str:
    whole = int(seconds)
    return time_text(whole, int((seconds - whole) * 10**9))
