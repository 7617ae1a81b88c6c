"""
The stream: frames to events of a family's own, and these to chunks.

A frame called "chunk" holds ``{"bytes": ...}``, an event of the model's maker in base64. The host adds keys of its own
to that, ``amazon-bedrock-invocationMetrics`` to the last one. Whether the answer is whole, the family's decoder says:
what the host has counted is the end of the bytes, not of the answer.

Source: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_PayloadPart.html
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any

from anyllm._framing.event import Event, JSONEvent
from anyllm.errors import IncompleteStreamError, MalformedStreamError
from anyllm.types import ChatCompletionChunk
from anyllm.wire._base import bedrock_errors
from anyllm.wire._base.decode_json import event_object
from anyllm.wire._base.dialect import Decoder
from anyllm.wire._base.getters import json_type
from anyllm.wire.bedrock_invoke.families import Family, family_of, no_family
from anyllm.wire.bedrock_invoke.usage import METRICS, usage_of

_BYTES = "bytes"


class InvokeDecoder:
    """
    Turns one response's events into chunks. Used by one thread, for one response.

    Args:
        families: Who reads what.
        provider: Stands in every chunk and error.
    """

    __slots__ = ("_counted", "_events", "_families", "_is_last", "_provider", "_reader")

    def __init__(self, families: Sequence[Family], *, provider: str) -> None:
        self._families = families
        self._provider = provider
        #: The family that the first event was of, and its decoder.
        self._reader: tuple[Family, Decoder] | None = None
        self._events = 0
        #: Whether the family has said how many tokens it took; whether the host has, which is its last word.
        self._counted = self._is_last = False

    @property
    def done(self) -> bool:
        """Whether the terminal marker was seen: the family's, or the host's own after a whole answer."""
        if self._reader is None:
            return False
        _, decoder = self._reader
        return decoder.done or (self._is_last and decoder.complete)

    @property
    def complete(self) -> bool:
        """Whether the answer is whole as it stands, as its family says."""
        return self._reader is not None and self._reader[1].complete

    def feed(self, event: Event) -> Sequence[ChatCompletionChunk]:
        """
        The chunks that *event* brings.

        Raises:
            APIError: the event is the provider's error.
            MalformedStreamError: the event cannot be read, or is in a format that nobody reads here.
        """
        if self.done or not event.data.strip():
            return ()
        self._events += 1
        text, payload = self._unwrapped(event)
        if not text.strip():
            return ()
        if self._reader is None:
            self._reader = self._begin(payload)
            if self._reader is None:
                return ()
        family, decoder = self._reader
        try:
            inner = family.event_of(text, payload)
        except (ValueError, OverflowError, RecursionError) as exc:
            raise self._malformed("an event holds what cannot be written as JSON") from exc
        chunks = [*decoder.feed(inner)] if inner is not None else []
        for chunk in chunks:
            chunk.raw = payload
            if chunk.usage is not None:
                chunk.usage = family.usage_of(payload) or chunk.usage
                self._counted = self._counted or chunk.usage.total_tokens > 0
        return self._with_metrics(chunks, payload)

    def finish(self) -> Sequence[ChatCompletionChunk]:
        """
        What was held back, at the end of the bytes.

        Raises:
            IncompleteStreamError: the answer is not whole.
        """
        if self._reader is None:
            what = f"the stream ended before any answer came ({self._events} events)"
            raise IncompleteStreamError(what, provider=self._provider)
        return self._reader[1].finish()

    # -- one event ---------------------------------------------------------------------------------------

    def _unwrapped(self, event: Event) -> tuple[str, dict[str, Any]]:
        """The maker's event, as text and decoded; from a proxy that unwraps them, the event itself."""
        body, _ = event_object(event, self._provider)
        if _BYTES not in body or event.event == "error":
            error = bedrock_errors.error_in(event.event, body, self._provider)
            if error is not None:
                raise error
            return event.data, body
        text = self._text_in(body[_BYTES])
        return text, event_object(JSONEvent(text), self._provider)[0] if text.strip() else {}

    def _text_in(self, value: Any) -> str:
        if not isinstance(value, str):
            raise self._malformed(f"the bytes of a chunk are {json_type(value)}")
        try:
            return base64.b64decode(value, validate=True).decode("utf-8", "replace")
        except (binascii.Error, ValueError) as exc:
            raise self._malformed("the bytes of a chunk are no base64") from exc

    def _begin(self, first: Mapping[str, Any]) -> tuple[Family, Decoder] | None:
        """The family of an answer that begins with *first*; None when only the host says something of its own."""
        family = family_of(first, self._families)
        if family is not None:
            return family, family.dialect.decoder()
        if first and all(key.startswith("amazon-bedrock-") for key in first):
            return None
        raise no_family(first, self._provider)

    def _with_metrics(self, chunks: list[ChatCompletionChunk], payload: dict[str, Any]) -> list[ChatCompletionChunk]:
        """*chunks* with what the host counted, where the family counts nothing."""
        if METRICS not in payload:
            return chunks
        self._is_last = True
        usage = None if self._counted else usage_of(payload)
        if usage is not None:
            self._counted = True
            if not chunks:
                chunks.append(ChatCompletionChunk(provider=self._provider, raw=payload))
            chunks[-1].usage = usage
        return chunks

    def _malformed(self, what: str) -> MalformedStreamError:
        return MalformedStreamError(what, provider=self._provider)
