"""
A gateway before recorded hosts: one loopback server replays any recording, to whichever dialect asks for it.

The first part of a path that names a recording says which. Who asks for a stream gets what was recorded; who asks for
a whole answer gets the same answer whole, which no recorder kept: it is written by our own formats, in the format of
the host, so only hosts of a format that we write have one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, Optional

import attrs
import pytest
from formats_of import DIALECTS
from gate import ONCE
from recordings import Ours, Recording

from anyllm import formats
from anyllm.errors import AnyLLMError, UnsupportedProviderError
from anyllm.gateway import Config, Gateway, GatewayServer
from anyllm.providers.registry import provider_for
from anyllm.testing import RecordedRequest, Reply, serve
from anyllm.types import CompletionParams
from anyllm.wire._base.protocols import Dialect

__all__ = ["HI", "KEY", "Recorded", "Scene", "dialect_for", "host_for", "is_askable", "read", "replayed", "whole_of"]

HI = {"role": "user", "content": "Hi"}
#: The key of every upstream; clients of the gateway must not see it.
KEY = "sk-secret-of-the-gateway"
_KEY_VARIABLE = "ANYLLM_TEST_KEY_OF_UPSTREAMS"
#: The provider that speaks each recorded API, if the recorded provider has no row.
_SPEAKERS = {
    "chat": "compatible",
    "messages": "anthropic",
    "gemini": "gemini",
    "gemini-unary": "gemini",
    "converse-stream": "bedrock",
    "converse-unary": "bedrock",
    "invoke-stream": "bedrock_invoke",
    "invoke-unary": "bedrock_invoke",
    "cohere-v1": "cohere_v1",
    "cohere-v2": "cohere",
    "ollama-chat": "ollama",
    "ollama-generate": "ollama",
    "responses": "openai-responses",
}
#: The format of a whole answer of each API; of others it cannot be written.
_WHOLE = {"chat": "openai", "messages": "anthropic", "ollama-chat": "ollama", "ollama-generate": "ollama-generate"}


def host_for(recording: Recording) -> str:
    """The provider for it: the recorded one if its row has the recorded format, else another with that format."""
    speaker = _SPEAKERS[recording.api]
    try:
        host = provider_for(recording.provider)
    except UnsupportedProviderError:
        return speaker
    return host.name if type(host.dialect) is type(provider_for(speaker).dialect) else speaker


def model_for(recording: Recording) -> str:
    """Its model string. Which of Bedrock's formats a model speaks its name says; any other may have any name."""
    model = recording.about["model"] if recording.api.startswith("invoke") else "recorded"
    return f"{host_for(recording)}/{model}"


def dialect_for(recording: Recording) -> Dialect:
    """The dialect for it."""
    return provider_for(host_for(recording)).dialect


def read(recording: Recording) -> Ours:
    """The recording, as we read it without gateway or network."""
    return Ours(dialect_for(recording), [recording.body])


def is_askable(recording: Recording) -> bool:
    """Whether we can ask for it: InvokeModel wants each maker's own format, of which some are only read here."""
    if not recording.api.startswith("invoke"):
        return True
    model = recording.about["model"]
    try:
        dialect_for(recording).request(CompletionParams(model=model, messages=[HI]), model=model, stream=True)
    except AnyLLMError:
        return False
    return True


def whole_of(recording: Recording, ours: Ours) -> Optional[bytes]:
    """Its whole answer as the provider would send it; None if there is none, or no writer for its format."""
    if recording.api not in _WHOLE or ours.error is not None:
        return None
    return formats.encode_whole(ours.answer, _WHOLE[recording.api])


def is_streaming(request: RecordedRequest) -> bool:
    """Whether a request of any dialect asks for a stream."""
    if any(word in request.path for word in ("streamGenerateContent", "-stream", "streamRawPredict")):
        return True
    body = request.json()
    return bool(body.get("stream", "/api/" in request.path))


@attrs.define
class Recorded:
    """
    Recordings by name, as a script of `anyllm.testing.serve`.

    Attributes:
        by_name: What there is.
        wholes: The same answers whole, by the same names.
    """

    by_name: dict[str, Recording]
    wholes: dict[str, bytes] = attrs.field(factory=dict)

    def __call__(self, request: RecordedRequest) -> Reply:
        recording = self.by_name[next(part for part in request.path.split("/") if part in self.by_name)]
        if recording.status != 200 or is_streaming(request):
            return replayed(recording)
        return _closing(200, "application/json", self.wholes[recording.id])


def replayed(recording: Recording) -> Reply:
    """The response that was recorded: its status, its type, its bytes."""
    kind = recording.about["content_type"] or "application/json"
    return _closing(recording.status, kind, recording.body)


def _closing(status: int, kind: str, body: bytes) -> Reply:
    """A connection for each, so that no thread of the server's outlives a test."""
    headers = {"Connection": "close"}
    return Reply(status=status, content_type=kind, body=(body,), framing="length", headers=headers)


@attrs.define
class Scene:
    """
    A gateway before hosts that replay.

    Attributes:
        upstream: The URL of those, for clients that ask them themselves; a name follows.
        gateway: That of the gateway, where each recording is a model of that name.
    """

    upstream: str
    gateway: str

    @classmethod
    @contextlib.contextmanager
    def of(cls, recordings: Sequence[Recording], wholes: Optional[dict[str, bytes]] = None) -> Iterator[Scene]:
        """Both servers, as long as it lasts."""
        script = Recorded({recording.id: recording for recording in recordings}, wholes or {})
        with pytest.MonkeyPatch.context() as patch, serve(script) as upstream:
            patch.setenv("NO_PROXY", "*")
            patch.setenv(_KEY_VARIABLE, KEY)
            models = {recording.id: _entry(recording, upstream.url) for recording in recordings}
            server = {"port": 0, "list_providers": False, "max_streams": 8, "page": False}
            with GatewayServer(Gateway(Config(server=server, models=models), options=ONCE)) as gateway:
                yield cls(upstream.url, gateway.url)


def _entry(recording: Recording, url: str) -> dict[str, Any]:
    return {"model": model_for(recording), "base_url": f"{url}/{recording.id}", "api_key_env": _KEY_VARIABLE}


assert _SPEAKERS.keys() >= DIALECTS.keys()
