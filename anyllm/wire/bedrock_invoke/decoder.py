"""
Decoder of InvokeModel's streams: frames to events in a family's format, and those to chunks.

A frame named "chunk" contains ``{"bytes": ...}``, an event of the model's maker in base64. Bedrock adds keys to that
event, ``amazon-bedrock-invocationMetrics`` to the last one. The family's decoder decides whether the answer is
complete: the metrics end the bytes, not the answer.

Source: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_PayloadPart.html
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any

from anyllm._framing.event import Event, JSONEvent
from anyllm.types import ChatCompletionChunk
from anyllm.wire._base import bedrock_errors
from anyllm.wire._base.decode_json import event_object
from anyllm.wire._base.decoder import BaseDecoder
from anyllm.wire._base.json_values import json_type
from anyllm.wire._base.protocols import Decoder
from anyllm.wire.bedrock_invoke.families import BEDROCK_PREFIX, Family, family_of, unknown_format
from anyllm.wire.bedrock_invoke.reasoning_tags import ReasoningTags
from anyllm.wire.bedrock_invoke.usage import METRICS, invocation_usage

_BYTES = "bytes"


class InvokeDecoder(BaseDecoder):
    """
    Turns one response's events into chunks. Used by one thread, for one response.

    Args:
        families: The formats that can be read.
        provider: The provider's name, in every chunk and error.
    """

    __slots__ = ("_families", "_has_usage", "_is_last", "_reader", "_tags")

    def __init__(self, families: Sequence[Family], *, provider: str) -> None:
        super().__init__(provider=provider)
        self._families = families
        #: The family of the first event, and its decoder.
        self._reader: tuple[Family, Decoder] | None = None
        self._tags = ReasoningTags()
        #: Whether the family's events had usage; whether Bedrock's metrics came, which are in the last event.
        self._has_usage = self._is_last = False

    @property
    def done(self) -> bool:
        """Whether the family's terminal marker came, or Bedrock's metrics after a complete answer."""
        if self._reader is None:
            return False
        _, decoder = self._reader
        return decoder.done or (self._is_last and decoder.complete)

    @property
    def complete(self) -> bool:
        """Whether the family's decoder has a complete answer."""
        return self._reader is not None and self._reader[1].complete

    def feed(self, event: Event) -> Sequence[ChatCompletionChunk]:
        """The chunks of *event*; errors as `Decoder.feed` has them."""
        if self.done or not event.data.strip():
            return ()
        self._events += 1
        text, payload = self._unwrap(event)
        if not text.strip():
            return ()
        if self._reader is None:
            self._reader = self._choose_family(payload)
            if self._reader is None:
                return ()
        family, decoder = self._reader
        try:
            inner = family.convert_event(text, payload)
        except (ValueError, OverflowError, RecursionError) as exc:
            raise self._malformed("an event holds what cannot be written as JSON") from exc
        chunks = [*decoder.feed(inner)] if inner is not None else []
        for chunk in chunks:
            chunk.raw = payload
            if family.splits_reasoning:
                self._tags.split(chunk)
            if chunk.usage is not None:
                chunk.usage = family.read_usage(payload) or chunk.usage
                self._has_usage = self._has_usage or chunk.usage.total_tokens > 0
        return self._with_metrics(chunks, payload)

    def finish(self) -> Sequence[ChatCompletionChunk]:
        """The chunks that were held back, at the end of the bytes; errors as `Decoder.finish` has them."""
        return super().finish() if self._reader is None else [*self._reader[1].finish(), *self._tags.finish()]

    def _missing_end(self) -> str:
        return f"the stream ended before any answer came ({self._events} events)"

    # -- one event ---------------------------------------------------------------------------------------

    def _unwrap(self, event: Event) -> tuple[str, dict[str, Any]]:
        """The maker's event, as text and decoded; a proxy may already have unwrapped it."""
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
            raise self._malformed("the bytes of a chunk are not base64") from exc

    def _choose_family(self, first: Mapping[str, Any]) -> tuple[Family, Decoder] | None:
        """The family of an answer that begins with *first*, and its decoder; None if it has only Bedrock's keys."""
        family = family_of(first, self._families)
        if family is not None:
            return family, family.dialect.decoder()
        if first and all(key.startswith(BEDROCK_PREFIX) for key in first):
            return None
        raise unknown_format(first, self._provider)

    def _with_metrics(self, chunks: list[ChatCompletionChunk], payload: dict[str, Any]) -> list[ChatCompletionChunk]:
        """*chunks* with Bedrock's token counts, if the family has sent none."""
        if METRICS not in payload:
            return chunks
        self._is_last = True
        usage = None if self._has_usage else invocation_usage(payload)
        if usage is not None:
            self._has_usage = True
            if not chunks:
                chunks.append(ChatCompletionChunk(provider=self._provider, raw=payload))
            chunks[-1].usage = usage
        return chunks
