"""
The stream of a host that speaks OpenAI's Responses: typed events to chunks.

Strategy: nearly every event is a piece of text for the message that speaks, and is seen to be one at once. All others
go by their type, from the JSON, because some hosts name no events (OpenRouter). An item that is repeated whole, when it
is over and in the last event, adds what no piece brought; a whole answer is read as such a last event. What the answer
does not show (searches, annotations, pings) is a chunk without choices, for those who read ``raw``.

Source: https://platform.openai.com/docs/api-reference/responses-streaming
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Optional, Tuple

from anyllm._framing.detect import Event
from anyllm.errors import IncompleteStreamError
from anyllm.types import ChatCompletionChunk, ChunkChoice, ChunkDelta, _convert, text_chunk
from anyllm.wire._base import api_errors, error_body
from anyllm.wire._base.decode_json import no_json, no_object
from anyllm.wire._base.decoder import BaseDecoder
from anyllm.wire._base.finish_reasons import finish_reason
from anyllm.wire._base.getters import json_type, text, whole_number
from anyllm.wire._base.surrogate_joiner import mend_all
from anyllm.wire.openai_responses import replay_items
from anyllm.wire.openai_responses.event_texts import (
    ENDS,
    PIECES,
    STATUSES,
    TEXT_DELTA,
    EventHalves,
    Piece,
    custom_tools,
)
from anyllm.wire.openai_responses.output_items import CALLS, KINDS, TEXT, Item, Items, logprobs_in, wholes
from anyllm.wire.openai_responses.usage import read_usage

#: What the reasons for an end mean that other formats do not know.
_REASONS = {"completed": "stop", "max_output_tokens": "length"}

#: Id, time, model, fingerprint, tier.
_About = Tuple[str, int, str, Optional[str], Optional[str]]


class ResponsesDecoder(BaseDecoder):
    """
    Turns one response's events into chunks. Used by one thread, for one response.

    Args:
        provider: Stands in every chunk and error.
    """

    __slots__ = (
        *("_about", "_begun", "_done", "_ended", "_event_joiner", "_finished"),
        *("_items", "_speaker"),
    )

    def __init__(self, *, provider: str) -> None:
        super().__init__(provider=provider)
        self._about: _About = ("", 0, "", None, None)
        self._items = Items()
        self._finished: list[tuple[int, dict[str, Any]]] = []
        self._speaker: Item | None = None  # the message that was given text last, once the role is said
        self._event_joiner = EventHalves(self._halves)
        self._begun = False
        self._ended = False
        self._done = False

    @property
    def done(self) -> bool:
        """Whether the response's last event was seen: nothing after it is read."""
        return self._done

    @property
    def complete(self) -> bool:
        """Whether the response's last event was seen."""
        return self._ended

    def feed(self, event: Event) -> Sequence[ChatCompletionChunk]:
        """
        The chunks that *event* brings.

        Raises:
            APIError: the event is the provider's error.
            MalformedStreamError: the event cannot be read.
        """
        data = event.data
        if self._done or (len(data) < 10 and self._says_nothing(data)):
            return ()
        self._events += 1
        try:
            body, raw = _convert.loads_strictly(data), data
        except _convert.NOT_JSON:
            body = raw = self._loosely(event)
        else:
            if self._waiting:
                body = self._mended(body)
        if type(body) is not dict:
            raise no_object(body, event, self._provider)
        kind = body.get("type")
        if kind == TEXT_DELTA:
            speaker, delta = self._speaker, body.get("delta")
            if speaker is not None and type(delta) is str and delta and not body.get("logprobs"):
                item_id = body.get("item_id")
                if item_id == speaker.id and item_id is not None:
                    speaker.given[TEXT].append(delta)
                    chunk_id, created, model, fingerprint, tier = self._about
                    return (text_chunk(chunk_id, delta, created, model, fingerprint, tier, self._provider, raw),)
        try:
            return tuple(self._read(kind if type(kind) is str else event.event, event.event, body, raw))
        except RecursionError as exc:
            raise self._malformed("an event is nested too deeply") from exc

    def feed_whole(self, response: dict[str, Any]) -> Sequence[ChatCompletionChunk]:
        """
        The chunks of a whole, decoded response.

        Raises:
            APIError, MalformedStreamError: as `feed`.
            IncompleteStreamError: the host is still at it, in the background.
        """
        try:
            response = mend_all(response)
            status = response.get("status")
            if isinstance(status, str) and status not in STATUSES:
                raise IncompleteStreamError(f"the response is not over, but {status}", provider=self._provider)
            return tuple(self._end(response, response, None))
        except RecursionError as exc:
            raise self._malformed("the answer is nested too deeply") from exc

    def _missing_end(self) -> str:
        what = "before response.completed" if self._begun else "before any answer came"
        came = "with [DONE]" if self._done else "at the end of the bytes"
        return f"the stream ended {came} {what} ({self._events} events)"

    # -- one event ---------------------------------------------------------------------------------------

    def _read(
        self, kind: str, name: str, body: dict[str, Any], raw: Any
    ) -> Iterator[ChatCompletionChunk] | Sequence[ChatCompletionChunk]:
        if kind in PIECES:
            return self._piece(PIECES[kind], body, raw)
        if body.get("error") or kind == "error" or name == "error":
            raise api_errors.from_body(self._provider, body)
        if kind == "response.output_item.added":
            return self._item_begins(body, raw)
        if kind == "response.output_item.done":
            return self._item_ends(body, raw)
        response = body.get("response")
        if kind in ENDS:
            return self._end(response if isinstance(response, dict) else {}, raw, ENDS[kind])
        if isinstance(response, dict):
            self._note(response)
            return (self._chunk(raw, ChunkDelta()),) if not self._begun else (self._chunk(raw),)
        if body.get("object") == "response" and isinstance(body.get("output"), list):
            return self.feed_whole(body)  # a host that was asked for a stream and sent the whole
        if not kind.startswith("response.") and error_body.looks_like_error(body):
            raise api_errors.from_body(self._provider, body)
        return (self._chunk(raw),)

    def _piece(self, piece: Piece, body: Mapping[str, Any], raw: Any) -> Iterator[ChatCompletionChunk]:
        text = body.get("delta")
        if text is not None and not isinstance(text, str):
            raise self._malformed(f"a delta is {json_type(text)}")
        item = self._items.find(piece.kind, body.get("item_id"), body.get("output_index"))
        logprobs = body.get("logprobs") if piece.what == TEXT else None
        delta = self._items.give(item, piece.what, text, body.get(piece.number)) if text else None
        if delta is None and not logprobs:
            yield self._chunk(raw)
            return
        yield self._chunk(raw, delta or ChunkDelta(), logprobs=logprobs)
        if piece.what == TEXT and delta is not None:
            self._speaker = item

    def _item_begins(self, body: Mapping[str, Any], raw: Any) -> Iterator[ChatCompletionChunk]:
        raw_item = body.get("item")
        kind = raw_item.get("type") if isinstance(raw_item, dict) else None
        delta = None
        if isinstance(raw_item, dict) and kind in KINDS:
            self._speaker = None
            item = self._items.begin(str(kind), raw_item, body.get("output_index"))
            if item.kind in CALLS and item.index is None:
                item.learn(raw_item)
                delta = self._items.begin_call(item) if item.call_id and item.name else None
        yield self._chunk(raw, delta)

    def _item_ends(self, body: Mapping[str, Any], raw: Any) -> Iterator[ChatCompletionChunk]:
        raw_item, place = body.get("item"), body.get("output_index")
        yield from self._left_over(raw)
        if isinstance(raw_item, dict):
            self._finished.append((whole_number(place) or 0, raw_item))
            kind = raw_item.get("type")
            if kind in KINDS:
                item = self._items.find(str(kind), raw_item.get("id"), place)
                yield from self._whole_item(item, raw_item, raw)
                return
        yield self._chunk(raw)

    def _end(self, response: Mapping[str, Any], raw: Any, meant: str | None) -> Iterator[ChatCompletionChunk]:
        """The last event, or a whole answer; *meant* is the status that the event's type stands for."""
        self._note(response)
        status = response.get("status")
        if status not in STATUSES:
            status = meant
        if status in ("failed", "cancelled") or response.get("error"):
            raise self._failed(response, status)
        yield from self._left_over(raw)
        output = response.get("output")
        if not isinstance(output, list) or not output:
            # Some answers that nobody stored end with an empty list: what came before is all there is.
            output = [item for _, item in sorted(self._finished, key=_by_place)]
        for raw_item, item in self._items.at_the_end(output):
            for chunk in self._whole_item(item, raw_item, raw):
                if chunk.choices:
                    yield chunk
        if self._items.are_waiting():
            raise self._malformed("a tool call has no name")
        word = self._word(status, response)
        finish = None
        if word is not None:
            finish = finish_reason(_REASONS.get(word, word), has_tool_calls=self._items.has_calls)
        yield self._chunk(
            raw,
            ChunkDelta(reasoning=replay_items.to_keep(output, response.get("store"))),
            ends=(finish, word),
            usage=response.get("usage"),
        )
        self._ended = self._done = True

    # -- items -------------------------------------------------------------------------------------------

    def _whole_item(self, item: Item, raw_item: Mapping[str, Any], raw: Any) -> Iterator[ChatCompletionChunk]:
        """What an item that is repeated whole adds to what its pieces said; a chunk without choices if nothing."""
        silent = True
        item.over = True
        if item.kind in CALLS and item.index is None:
            item.learn(raw_item)
        for what, whole in wholes(raw_item, item.kind):
            missing = item.missing(what, whole)
            delta = self._items.give(item, what, missing, item.part) if missing else None
            if delta is not None:
                yield self._chunk(raw, delta, logprobs=logprobs_in(raw_item) if what == TEXT else None)
                silent = False
        if item.kind in CALLS and item.index is None and item.name:
            delta = self._items.begin_call(item)
            if delta is not None:
                yield self._chunk(raw, delta)
                silent = False
        if silent:
            yield self._chunk(raw)

    # -- the response ------------------------------------------------------------------------------------

    def _note(self, response: Mapping[str, Any]) -> None:
        """Id, time, model, tier, and the custom tools of the request, as far as the host says them."""
        chunk_id, created, model, _, tier = self._about
        self._about = (
            text(response.get("id")) or chunk_id,
            whole_number(response.get("created_at")) or created,
            text(response.get("model")) or model,
            None,
            text(response.get("service_tier")) or tier,
        )
        tools = response.get("tools")
        if isinstance(tools, list) and tools:
            self._items.custom_tools = frozenset(custom_tools(tools))

    def _word(self, status: str | None, response: Mapping[str, Any]) -> str | None:
        """The host's own word for why it ended."""
        if status == "incomplete":
            details = response.get("incomplete_details")
            reason = text(details.get("reason")) if isinstance(details, dict) else ""
            return reason or status
        return status

    def _failed(self, response: Mapping[str, Any], status: Any) -> Exception:
        error = response.get("error") or f"the response ended with the status {status!r} and no error"
        return api_errors.from_body(self._provider, {"error": error})

    def _chunk(
        self,
        raw: Any,
        delta: ChunkDelta | None = None,
        *,
        ends: tuple[str | None, str | None] = (None, None),
        logprobs: Any = None,
        usage: Any = None,
    ) -> ChatCompletionChunk:
        choices: tuple[ChunkChoice, ...] = ()
        if delta is not None:
            if not self._begun:
                self._begun = True
                delta.role = "assistant"
            log = {"content": logprobs} if isinstance(logprobs, list) and logprobs else None
            choices = (ChunkChoice(0, delta, *ends, log),)
        chunk_id, created, model, fingerprint, tier = self._about
        return ChatCompletionChunk(
            chunk_id,
            choices,
            created,
            model,
            "chat.completion.chunk",
            read_usage(usage),
            fingerprint,
            tier,
            self._provider,
            raw,
        )

    # -- text that is not as it should be ----------------------------------------------------------------

    def _says_nothing(self, data: str) -> bool:
        """Whether a short event is empty, or the mark that some hosts put behind the last one."""
        text = data.strip()
        if text.upper() == "[DONE]":
            self._done = True
            return True
        return not text

    def _loosely(self, event: Event) -> Any:
        """JSON that holds halves of characters, as only a less strict reader takes it."""
        try:
            body = _convert.loads(event.data)
        except ValueError as exc:
            raise no_json(event, self._provider) from exc
        return self._mended(body)

    def _mended(self, body: Any) -> Any:
        try:
            return self._event_joiner.mend(body) if isinstance(body, dict) else body
        except RecursionError as exc:
            raise self._malformed("an event is nested too deeply") from exc

    def _left_over(self, raw: Any) -> Iterator[ChatCompletionChunk]:
        """U+FFFD for the halves of characters that nothing came to join."""
        for body in self._event_joiner.left_over():
            yield from self._piece(PIECES[body["type"]], body, raw)


def _by_place(finished: tuple[int, dict[str, Any]]) -> int:
    return finished[0]
