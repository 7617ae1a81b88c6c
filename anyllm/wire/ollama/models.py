"""
The models on an Ollama server: fetch one, look at one, remove one. Requests out, answers in, as dialects do it.

Sources: https://docs.ollama.com/api/pull, https://docs.ollama.com/api-reference/show-model-details,
https://docs.ollama.com/api/delete
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from anyllm._framing.detect import Event
from anyllm.errors import IncompleteStreamError
from anyllm.wire._base import api_errors
from anyllm.wire._base.decode_json import event_object, no_answer, whole_json
from anyllm.wire._base.dialect import Request
from anyllm.wire._base.encode_json import in_bytes
from anyllm.wire._base.getters import whole_number

__all__ = [
    "ModelDetails",
    "PullProgress",
    "PullDecoder",
    "delete_request",
    "model_details",
    "pull_request",
    "show_request",
]

#: What the last line of a pull says.
_SUCCESS = "success"


@attrs.define(frozen=True)
class PullProgress:
    """
    How far a pull has come: one line of it.

    Attributes:
        status: What the host is at: "pulling manifest", "pulling 6a0746a1ec1a", "success".
        digest: The file it fetches; None between files.
        total: That file's size in bytes; None when not said.
        completed: How many bytes of it are there; None when not said.
        raw: The host's own line, decoded.
    """

    status: str = ""
    digest: str | None = None
    total: int | None = None
    completed: int | None = None
    raw: Any = attrs.field(default=None, eq=False, repr=False)

    @property
    def is_last(self) -> bool:
        """Whether the model is there, whole."""
        return self.status == _SUCCESS


@attrs.define(frozen=True)
class ModelDetails:
    """
    What a host knows of a model that it has.

    Attributes:
        capabilities: "completion", "tools", "vision", "thinking", "embedding", "insert"; empty in old versions.
        context_length: The longest prompt and answer together that the model was made for, in tokens; None when
            not said. The server's own limit may be lower.
        family: "llama".
        parameter_size: "8.0B".
        quantization: "Q4_K_M".
        raw: The host's own answer, decoded.
    """

    capabilities: tuple[str, ...] = ()
    context_length: int | None = None
    family: str = ""
    parameter_size: str = ""
    quantization: str = ""
    raw: Any = attrs.field(default=None, eq=False, repr=False)


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
    """The request to remove *model* from the server; the good answer's body is empty. Errors as `pull_request`."""
    return _request("DELETE", "/api/delete", {"model": model}, provider)


def show_request(model: str, *, provider: str = "ollama") -> Request:
    """The request for what is known of *model*; the answer is for `model_details`. Errors as `pull_request`."""
    return _request("POST", "/api/show", {"model": model}, provider)


def _request(method: str, path: str, body: Mapping[str, Any], provider: str) -> Request:
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    return Request(method, path, headers, in_bytes(body, provider))


class PullDecoder:
    """
    Turns the lines of a pull into `PullProgress`. Used by one thread, for one response.

    Args:
        provider: Stands in every error.
    """

    __slots__ = ("_done", "_latest", "_provider")

    def __init__(self, *, provider: str = "ollama") -> None:
        self._provider = provider
        self._done = False
        self._latest = ""

    @property
    def done(self) -> bool:
        """Whether the host said that the model is there: nothing after it is read."""
        return self._done

    @property
    def complete(self) -> bool:
        """The same: there is no other good end."""
        return self._done

    def feed(self, event: Event) -> Sequence[PullProgress]:
        """
        What a line says; nothing after the last one.

        Raises:
            APIError: the line is the host's error.
            MalformedStreamError: the line cannot be read.
        """
        if self._done:
            return ()
        body, _ = event_object(event, self._provider)
        if body.get("error"):
            raise api_errors.from_body(self._provider, body)
        if not isinstance(body.get("status"), str):
            raise no_answer(body, "status", self._provider)
        progress = PullProgress(
            body["status"],
            _text(body, "digest") or None,
            whole_number(body.get("total")),
            whole_number(body.get("completed")),
            body,
        )
        self._latest, self._done = progress.status, progress.is_last
        return (progress,)

    def finish(self) -> Sequence[PullProgress]:
        """
        Nothing, at the end of the bytes: no line is held back.

        Raises:
            IncompleteStreamError: the host did not say that the model is there.
        """
        if not self._done:
            what = f"the pull ended before it succeeded (it was at {self._latest or 'its beginning'!r})"
            raise IncompleteStreamError(what, provider=self._provider)
        return ()


def model_details(body: bytes, *, provider: str = "ollama") -> ModelDetails:
    """
    What the answer to `show_request` says.

    Raises:
        APIError: the body is the host's error.
        MalformedStreamError: the body cannot be read.
    """
    answer = whole_json(body, provider)
    if not isinstance(answer, dict) or answer.get("error") or not isinstance(answer.get("details"), dict):
        raise no_answer(answer, "details", provider)
    details = answer["details"]
    capabilities = answer.get("capabilities")
    return ModelDetails(
        tuple(name for name in capabilities if isinstance(name, str)) if isinstance(capabilities, list) else (),
        _context_length(answer.get("model_info")),
        _text(details, "family"),
        _text(details, "parameter_size"),
        _text(details, "quantization_level"),
        answer,
    )


def _context_length(info: Any) -> int | None:
    """It stands under the architecture's name: ``llama.context_length``."""
    if not isinstance(info, dict):
        return None
    return next((whole_number(value) for key, value in info.items() if key.endswith(".context_length")), None)


def _text(holder: Mapping[str, Any], name: str) -> str:
    value = holder.get(name)
    return value if isinstance(value, str) else ""
