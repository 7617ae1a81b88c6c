"""
The base of the decoders of both versions of Cohere's chat API: the order of events, tool calls, the end.

Strategy: nearly every event only adds text; a few look-ups recognize it. Every other type of event has a method, which
the subclass names in `_handlers`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

from anyllm._framing.body_events import Event
from anyllm.errors import APIError
from anyllm.types import ChatCompletionChunk, ChunkChoice, ChunkDelta, ToolCall, Usage, text_chunk
from anyllm.wire._base import api_errors, error_body
from anyllm.wire._base.cohere.errors import is_error, refine_error
from anyllm.wire._base.cohere.tool_calls import CohereToolCalls
from anyllm.wire._base.cohere.usage import read_usage
from anyllm.wire._base.decode_json import as_it_is, event_object
from anyllm.wire._base.decoder import BaseDecoder
from anyllm.wire._base.encode_json import put
from anyllm.wire._base.finish_reasons import finish_reason
from anyllm.wire._base.json_values import whole_number
from anyllm.wire._base.surrogate_joiner import REPLACEMENT

__all__ = ["Chunks", "CohereStream"]

Chunks = Sequence[ChatCompletionChunk]

_DONE = "[DONE]"


class CohereStream(BaseDecoder):
    """Turns one response's events into chunks. Used by one thread, for one response."""

    __slots__ = ("_began", "_calls", "_ended", "_has_text", "_id", "_place")

    #: The key of an event's type; the type of an error, and of the last event of an answer.
    _type_key: ClassVar[str]
    _error_type: ClassVar[str]
    _last: ClassVar[str]
    #: Whether a line ``[DONE]`` ends the stream; else it is ignored, as from a gateway.
    _done_ends: ClassVar[bool] = False
    #: The method of each type of event, and how the types begin whose chunks have only ``raw``.
    _handlers: ClassVar[Mapping[str, Callable[[Any, dict[str, Any], Any], Chunks]]]
    _raw_only: ClassVar[tuple[str, ...]]
    #: The keys of the objects around an event's index; by the type of event, the texts that continue in the next event.
    _index_parents: ClassVar[tuple[str, ...]] = ()
    _streamed_texts: ClassVar[Mapping[str, tuple[str, ...]]]

    def __init__(self, *, provider: str) -> None:
        super().__init__(provider=provider)
        self._id = ""
        self._began = self._ended = self._has_text = False
        self._calls = CohereToolCalls()
        #: The type and the index of the event whose surrogate halves wait for their partner.
        self._place: tuple[str, int | None] = ("", None)

    @property
    def complete(self) -> bool:
        """Whether the last event of the answer came, after its beginning."""
        return self._ended

    def feed(self, event: Event) -> Chunks:
        """The chunks of *event*; errors as `Decoder.feed` has them."""
        if self._done:
            return ()
        data = event.data
        if data[:1] != "{" and (data := data.strip()) in ("", _DONE):
            self._done = self._done_ends and bool(data)
            return ()
        body, raw = event_object(event, self._provider, as_it_is)
        self._events += 1
        if self._waiting or raw is body:
            return self._read_surrogates(body, event.event)
        if self._began and not self._ended and event.event != "error":
            text = self._text_only(body)
            if text:
                self._has_text = True
                return (text_chunk(self._id, text, 0, "", None, None, self._provider, raw),)
        return self._read(body, raw, event.event)

    def feed_whole(self, body: dict[str, Any]) -> Chunks:
        """The chunks of a whole, decoded answer; errors as `feed` has them."""
        body = self._repaired(body, "the answer")
        return self._whole(body, body)

    # -- for the versions ----------------------------------------------------------------------------------------------

    @staticmethod
    def _text_only(body: dict[str, Any]) -> str | None:
        """The text of an event that only adds text, as most do; None for other events."""
        raise NotImplementedError

    def _is_whole(self, body: dict[str, Any]) -> bool:
        """Whether an event without a type is a whole answer, from a provider or proxy that does not stream."""
        raise NotImplementedError

    def _whole(self, body: dict[str, Any], raw: Any) -> Chunks:
        raise NotImplementedError

    def _error(self, body: dict[str, Any]) -> APIError:
        """The error in an event."""
        return refine_error(api_errors.from_body(self._provider, body))

    # -- one event -----------------------------------------------------------------------------------------------------

    def _read(self, body: dict[str, Any], raw: Any, name: str) -> Chunks:
        kind = body.get(self._type_key)
        if name == "error" or kind == self._error_type or is_error(body):
            raise self._error(body)
        if self._ended:
            return ()
        if kind is None and not self._began and self._is_whole(body):
            return self._whole(body, raw)
        kind = kind if isinstance(kind, str) else name
        handler = self._handlers.get(kind)
        if handler is not None:
            return handler(self, body, raw)
        if error_body.looks_like_error(body):
            raise self._error(body)
        return (self._chunk(raw),) if kind.startswith(self._raw_only) else ()

    def _end(self, reason: str, usage: Any, raw: Any) -> list[ChatCompletionChunk]:
        """The last chunks of an answer, with its finish reason and token counts."""
        finish = finish_reason(reason, has_tool_calls=bool(self._calls)) if reason else None
        # A limit may have cut the arguments of the last call.
        chunks = [] if finish == "length" else self._call_chunks(self._calls.end_all(), raw)
        self._ended = self._began  # an end without a beginning belongs to another answer
        last = self._chunk(raw, ChunkDelta(), usage=read_usage(usage))
        last.choices[0].finish_reason, last.choices[0].raw_finish_reason = finish, reason or None
        return [*chunks, last]

    def _missing_end(self) -> str:
        came = f"{_DONE} came" if self._done and self._began else "the stream ended"
        return f"{came} before {self._last if self._began else 'any answer came'} ({self._events} events)"

    # -- chunks --------------------------------------------------------------------------------------------------------

    def _chunk(self, raw: Any, delta: ChunkDelta | None = None, usage: Usage | None = None) -> ChatCompletionChunk:
        choices: tuple[ChunkChoice, ...] = ()
        if delta is not None:
            if not self._began:
                self._began = True
                delta.role = "assistant"
            choices = (ChunkChoice(0, delta),)
        return ChatCompletionChunk(
            self._id, choices, 0, "", "chat.completion.chunk", usage, None, None, self._provider, raw
        )

    def _call_chunks(self, calls: Iterable[ToolCall | None], raw: Any) -> list[ChatCompletionChunk]:
        """A chunk for each of *calls*; a ValueError of their iterator is that of a malformed event."""
        try:
            return [self._chunk(raw, ChunkDelta(tool_calls=(call,))) for call in calls if call is not None]
        except ValueError as exc:
            raise self._malformed(str(exc)) from exc

    # -- surrogate pairs in two events ---------------------------------------------------------------------------------

    def _read_surrogates(self, body: dict[str, Any], name: str) -> Chunks:
        """The chunks of an event that may begin or end with half a surrogate pair."""
        kind = body.get(self._type_key)
        index = whole_number(_object_at(body, self._index_parents).get("index"))
        place = (kind if isinstance(kind, str) else name, index)
        before = [] if place == self._place else [*self._replacements()]
        self._place = place
        repaired: dict[str, Any] = self._repaired(body)
        for path in self._streamed_texts.get(place[0], ()):
            *parents, key = path.split(".")
            if isinstance(text := _object_at(body, parents).get(key), str):
                _object_at(repaired, parents)[key] = self._halves.mend(text, (path,))
        return (*before, *self._read(repaired, repaired, name))

    def _replacements(self) -> Iterator[ChatCompletionChunk]:
        """Chunks with U+FFFD in place of the halves that found no partner."""
        kind, index = self._place
        for (path,) in self._halves.take():
            body: dict[str, Any] = {self._type_key: kind}
            put(body, ".".join((*self._index_parents, "index")), index)
            put(body, path, REPLACEMENT)
            yield from self._read(body, body, "")


def _object_at(body: Any, path: Sequence[str]) -> dict[str, Any]:
    """The object at *path*, which may lead through lists of one object; an empty one if there is none."""
    for key in path:
        body = body.get(key) if isinstance(body, dict) else None
        body = body[0] if isinstance(body, list) and len(body) == 1 else body
    return body if isinstance(body, dict) else {}
