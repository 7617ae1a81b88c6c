"""
The endpoints about models, in both directions: list, show, pull, delete, version, and those in memory.

Sources: https://docs.ollama.com/api/tags, https://docs.ollama.com/api-reference/show-model-details,
https://docs.ollama.com/api/pull, https://docs.ollama.com/api/delete
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs

from anyllm._framing.body_events import Event
from anyllm.errors import MalformedStreamError
from anyllm.types import Model
from anyllm.wire._base import api_errors
from anyllm.wire._base.dates import unix_seconds
from anyllm.wire._base.decode_json import event_object, no_answer, whole_json
from anyllm.wire._base.decoder import BaseDecoder
from anyllm.wire._base.encode_json import in_bytes
from anyllm.wire._base.json_values import text, whole_number
from anyllm.wire._base.model_info import ModelInfo
from anyllm.wire._base.protocols import Request
from anyllm.wire._base.request_fields import Fields
from anyllm.wire._base.writer import json_bytes
from anyllm.wire.ollama.fields import NANO, time_text

#: The answer to a client's ``GET /api/version``: the version whose API the gateway serves, for clients to compare.
VERSION_ANSWER = json_bytes({"version": "0.13.0"})
#: The answer to a client's ``GET /api/ps``: no model is in the memory of this machine.
MEMORY_ANSWER = json_bytes({"models": []})

#: The status of the last line of a pull.
_SUCCESS = "success"
#: What follows the architecture in the key of a model's context length: "llama.context_length".
_CONTEXT_LENGTH = ".context_length"


# -- list --------------------------------------------------------------------------------------------------------------


def read_list(answer: Any, provider: str) -> list[Model]:
    """
    The models of ``GET /api/tags``, decoded; errors as `Dialect.response` has them.

    ``created`` is when the server got or made the model.
    """
    items = answer.get("models") if isinstance(answer, dict) else None
    if not isinstance(items, list):
        raise no_answer(answer, "models", provider)
    return [_model(item, provider) for item in items]


def _model(item: Any, provider: str) -> Model:
    """One model; old versions have its name only under ``name``."""
    name = (text(item.get("model")) or text(item.get("name"))) if isinstance(item, dict) else ""
    if not name:
        raise MalformedStreamError("a model has no name", provider=provider)
    return Model(name, unix_seconds(item.get("modified_at")), "", provider, item)


def list_answer(models: Iterable[ModelInfo], now: float) -> bytes:
    """The answer to a client's ``GET /api/tags``; *now* is the time of models without one, in Unix seconds."""
    items = [
        {
            **dict.fromkeys(("name", "model"), model.tagged),
            "modified_at": _modified_at(model, now),
            "size": 0,
            "digest": hashlib.sha256(model.name.encode("utf-8", "replace")).hexdigest(),
            "details": _details(model),
        }
        for model in models
    ]
    return json_bytes({"models": items})


# -- show --------------------------------------------------------------------------------------------------------------


@attrs.define(frozen=True)
class ModelDetails:
    """
    What a server knows about a model that it has.

    Attributes:
        capabilities: "completion", "tools", "vision", "thinking", "embedding", "insert"; empty in old versions.
        context_length: The longest prompt and answer together that the model was made for, in tokens; None if
            unknown. The server's own limit may be lower.
        family: "llama".
        parameter_size: "8.0B".
        quantization: "Q4_K_M".
        raw: The server's own answer, decoded.
    """

    capabilities: tuple[str, ...] = ()
    context_length: int | None = None
    family: str = ""
    parameter_size: str = ""
    quantization: str = ""
    raw: Any = attrs.field(default=None, eq=False, repr=False)


def show_request(model: str, *, provider: str = "ollama") -> Request:
    """The request for the details of *model*; the answer is for `model_details`. Errors as `pull_request`."""
    return _request("POST", "/api/show", {"model": model}, provider)


def read_show_request(body: Any) -> str:
    """The name of the model in a client's request, ``name`` in older clients; errors as `read_chat` has them."""
    fields = Fields(body)
    older = fields.take("name", str)
    return str(fields.take("model", str) or older or fields.need("model", str))


def model_details(body: bytes, *, provider: str = "ollama") -> ModelDetails:
    """The details in the answer to `show_request`; errors as `Dialect.response` has them."""
    answer = whole_json(body, provider)
    if not isinstance(answer, dict) or answer.get("error") or not isinstance(answer.get("details"), dict):
        raise no_answer(answer, "details", provider)
    details, info, capabilities = answer["details"], answer.get("model_info"), answer.get("capabilities")
    items = info.items() if isinstance(info, dict) else ()
    length = next((value for key, value in items if key.endswith(_CONTEXT_LENGTH)), None)
    return ModelDetails(
        tuple(name for name in capabilities if isinstance(name, str)) if isinstance(capabilities, list) else (),
        whole_number(length),
        text(details.get("family")),
        text(details.get("parameter_size")),
        text(details.get("quantization_level")),
        answer,
    )


def show_answer(model: ModelInfo, now: float) -> bytes:
    """The answer to a client's ``POST /api/show``; *now* as `list_answer` has it."""
    family = model.provider or "unknown"
    info: dict[str, Any] = {"general.architecture": family, "general.basename": model.name.rpartition("/")[2]}
    if model.context_length is not None:
        info[family + _CONTEXT_LENGTH] = model.context_length
    return json_bytes(
        {
            **dict.fromkeys(("modelfile", "parameters", "template"), ""),  # some clients require them
            "details": _details(model),
            "model_info": info,
            "capabilities": list(model.capabilities),
            "modified_at": _modified_at(model, now),
        }
    )


def _details(model: ModelInfo) -> dict[str, Any]:
    families = [model.provider] if model.provider else []
    unknown = dict.fromkeys(("parameter_size", "quantization_level"), "")
    return {"parent_model": "", "format": "", "family": model.provider, "families": families, **unknown}


def _modified_at(model: ModelInfo, now: float) -> str:
    return time_text(int((model.created if model.created > 0 else now) * NANO))


# -- pull and delete ---------------------------------------------------------------------------------------------------


@attrs.define(frozen=True)
class PullProgress:
    """
    One line of a pull.

    Attributes:
        status: The current step: "pulling manifest", "pulling 6a0746a1ec1a", "success".
        digest: The file that is fetched; None between files.
        total: That file's size in bytes; None if unknown.
        completed: How many of its bytes have arrived; None if unknown.
        raw: The server's own line, decoded.
    """

    status: str = ""
    digest: str | None = None
    total: int | None = None
    completed: int | None = None
    raw: Any = attrs.field(default=None, eq=False, repr=False)

    @property
    def is_last(self) -> bool:
        """Whether the whole model has arrived."""
        return self.status == _SUCCESS


def pull_request(model: str, *, insecure: bool = False, provider: str = "ollama") -> Request:
    """
    The request to fetch *model* from its library; the answer is a stream, for `PullDecoder`.

    Args:
        model: "llama3.2", "hf.co/user/repository".
        insecure: Allow a library of one's own whose certificate cannot be checked.
        provider: Stands in errors.

    Raises:
        InvalidRequestError: the name cannot be sent.
    """
    body = {"model": model, "stream": True}
    return _request("POST", "/api/pull", {**body, "insecure": True} if insecure else body, provider)


def delete_request(model: str, *, provider: str = "ollama") -> Request:
    """The request to remove *model* from the server; a good answer has an empty body. Errors as `pull_request`."""
    return _request("DELETE", "/api/delete", {"model": model}, provider)


def _request(method: str, path: str, body: Mapping[str, Any], provider: str) -> Request:
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    return Request(method, path, headers, in_bytes(body, provider))


class PullDecoder(BaseDecoder):
    """Turns the lines of a pull into `PullProgress`. Used by one thread, for one response."""

    __slots__ = ("_status",)

    def __init__(self, *, provider: str = "ollama") -> None:
        super().__init__(provider=provider)
        self._status = ""

    def feed(self, event: Event) -> Sequence[PullProgress]:
        """The progress in a line; nothing after the last one. Errors as `Decoder.feed` has them."""
        if self._done:
            return ()
        body, _ = event_object(event, self._provider)
        if body.get("error"):
            raise api_errors.from_body(self._provider, body)
        if not isinstance(body.get("status"), str):
            raise no_answer(body, "status", self._provider)
        self._status = body["status"]
        self._done = self._status == _SUCCESS
        total, completed = whole_number(body.get("total")), whole_number(body.get("completed"))
        return (PullProgress(self._status, text(body.get("digest")) or None, total, completed, body),)

    def _missing_end(self) -> str:
        return f"the pull ended before it succeeded (it was at {self._status or 'its beginning'!r})"
