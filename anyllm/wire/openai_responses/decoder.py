"""
The decoder: typed events of a stream, or a whole response, to chunks.

Strategy: nearly every event is a piece of text for the message that grows, and is seen to be one at once. All others
go by their type, from the JSON, because some providers name no events (OpenRouter). An item that is repeated whole,
when it is over and in the last event, adds what no piece brought; a whole response is read as such a last event. What
the answer does not show (searches, annotations, pings) is a chunk without choices, for those who read ``raw``.

Source: https://platform.openai.com/docs/api-reference/responses-streaming
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Optional, Tuple

from anyllm._framing.body_events import Event
from anyllm.errors import IncompleteStreamError
from anyllm.types import ChatCompletionChunk, ChunkChoice, ChunkDelta, _convert, text_chunk
from anyllm.wire._base import api_errors, error_body
from anyllm.wire._base.decode_json import no_json, no_object
from anyllm.wire._base.decoder import BaseDecoder
from anyllm.wire._base.json_values import json_object, json_type, text, whole_number
from anyllm.wire._base.surrogate_joiner import REPLACEMENT
from anyllm.wire.openai_responses import fields
from anyllm.wire.openai_responses.fields import DELTAS, FINAL_STATUSES, ITEM_TYPES, TEXT, TEXT_DELTA
from anyllm.wire.openai_responses.received_items import ReceivedItem, ReceivedItems
from anyllm.wire.openai_responses.replay_items import to_replay

#: Id, time, model, tier.
_About = Tuple[str, int, str, Optional[str]]


class ResponsesDecoder(BaseDecoder):
    """Turns one response's events into chunks. Used by one thread, for one response."""

    __slots__ = ("_about", "_begun", "_ended", "_finished", "_growing", "_items")

    def __init__(self, *, provider: str) -> None:
        super().__init__(provider=provider)
        self._about: _About = ("", 0, "", None)
        self._items = ReceivedItems()
        self._finished: list[tuple[int, dict[str, Any]]] = []
        self._growing: ReceivedItem | None = None  # the message that grew last, after the role was sent
        self._begun = False
        self._ended = False

    @property
    def complete(self) -> bool:
        """Whether the response's last event was seen."""
        return self._ended

    def feed(self, event: Event) -> Sequence[ChatCompletionChunk]:
        """The chunks that *event* brings; errors as `Decoder.feed` has them."""
        data = event.data
        if self._done or (len(data) < 10 and self._is_empty(data)):
            return ()
        self._events += 1
        try:
            body, raw = _convert.loads_strictly(data), data
        except _convert.NOT_JSON:  # perhaps only halves of characters, which a less strict reader accepts
            try:
                body = raw = self._joined(_convert.loads(data))
            except ValueError as exc:
                raise no_json(event, self._provider) from exc
        else:
            if self._waiting:
                body = self._joined(body)
        if type(body) is not dict:
            raise no_object(body, event, self._provider)
        kind = body.get("type")
        if kind == TEXT_DELTA:
            message, delta = self._growing, body.get("delta")
            if message is not None and type(delta) is str and delta and not body.get("logprobs"):
                item_id = body.get("item_id")
                if item_id == message.id and item_id:
                    message.pieces[TEXT].append(delta)
                    chunk_id, created, model, tier = self._about
                    return (text_chunk(chunk_id, delta, created, model, None, tier, self._provider, raw),)
        try:
            return tuple(self._read(kind if type(kind) is str else event.event, event.event, body, raw))
        except RecursionError as exc:
            raise self._malformed("an event is nested too deeply") from exc

    def feed_whole(self, response: dict[str, Any]) -> Sequence[ChatCompletionChunk]:
        """
        The chunks of a whole, decoded response.

        Raises:
            APIError, MalformedStreamError: as `feed`.
            IncompleteStreamError: the provider is still working on it, in the background.
        """
        response = self._repaired(response, "the answer")
        status = response.get("status")
        if isinstance(status, str) and status not in FINAL_STATUSES:
            raise IncompleteStreamError(f"the response is not over, but {status}", provider=self._provider)
        try:
            return tuple(self._end(response, response, None))
        except RecursionError as exc:
            raise self._malformed("the answer is nested too deeply") from exc

    def _missing_end(self) -> str:
        what = "before response.completed" if self._begun else "before any answer came"
        came = "with [DONE]" if self._done else "at the end of the bytes"
        return f"the stream ended {came} {what} ({self._events} events)"

    # -- one event ---------------------------------------------------------------------------------------

    def _read(self, kind: str, name: str, body: dict[str, Any], raw: Any) -> Iterable[ChatCompletionChunk]:
        if kind in DELTAS:
            return self._piece(kind, body, raw)
        if body.get("error") or kind == "error" or name == "error":
            raise api_errors.from_body(self._provider, body)
        if kind == fields.ITEM_ADDED:
            return self._item_begins(body, raw)
        if kind == fields.ITEM_DONE:
            return self._item_ends(body, raw)
        response = body.get("response")
        if kind in fields.ENDS:
            return self._end(json_object(response), raw, fields.ENDS[kind])
        if isinstance(response, dict):
            self._learn(response)
            return (self._chunk(raw) if self._begun else self._chunk(raw, ChunkDelta()),)
        if body.get("object") == "response" and isinstance(body.get("output"), list):
            return self.feed_whole(body)  # a provider that sent a whole response although the request was for a stream
        if not kind.startswith("response.") and error_body.looks_like_error(body):
            raise api_errors.from_body(self._provider, body)
        return (self._chunk(raw),)

    def _piece(self, kind: str, body: Mapping[str, Any], raw: Any) -> Iterator[ChatCompletionChunk]:
        form, piece = DELTAS[kind], body.get("delta")
        if piece is not None and not isinstance(piece, str):
            raise self._malformed(f"a delta is {json_type(piece)}")
        item = self._items.find(form.item, body.get("item_id"), body.get("output_index"))
        logprobs = body.get("logprobs") if form.type == TEXT else None
        delta = self._items.add(item, form.type, piece, body.get(form.number)) if piece else None
        if delta is None and not logprobs:
            yield self._chunk(raw)
            return
        yield self._chunk(raw, delta or ChunkDelta(), logprobs=logprobs)
        if form.type == TEXT and delta is not None:
            self._growing = item

    def _item_begins(self, body: Mapping[str, Any], raw: Any) -> Iterator[ChatCompletionChunk]:
        raw_item, delta = json_object(body.get("item")), None
        if (kind := raw_item.get("type")) in ITEM_TYPES:
            self._growing = None
            item = self._items.begin(str(kind), raw_item, body.get("output_index"))
            if item.is_new_call:
                item.learn(raw_item)
                delta = self._items.begin_call(item) if item.call_id and item.name else None
        yield self._chunk(raw, delta)

    def _item_ends(self, body: Mapping[str, Any], raw: Any) -> Iterator[ChatCompletionChunk]:
        raw_item, place = body.get("item"), body.get("output_index")
        yield from self._lone_halves(raw)
        if isinstance(raw_item, dict):
            self._finished.append((whole_number(place) or 0, raw_item))
            if (kind := raw_item.get("type")) in ITEM_TYPES:
                item = self._items.find(str(kind), raw_item.get("id"), place)
                yield from self._whole_item(item, raw_item, raw)
                return
        yield self._chunk(raw)

    def _end(self, response: Mapping[str, Any], raw: Any, status: str | None) -> Iterator[ChatCompletionChunk]:
        """The last event, or a whole response; *status* is the one that the event's type stands for."""
        self._learn(response)
        if response.get("status") in FINAL_STATUSES:
            status = response["status"]
        if status in ("failed", "cancelled") or response.get("error"):
            error = response.get("error") or f"the response ended with the status {status!r} and no error"
            raise api_errors.from_body(self._provider, {"error": error})
        yield from self._lone_halves(raw)
        output = response.get("output")
        if not isinstance(output, list) or not output:
            # Some answers that nobody stored end with an empty list: what came before is all there is.
            output = [item for _, item in sorted(self._finished, key=lambda placed: placed[0])]
        for raw_item, item in self._items.match(output):
            for chunk in self._whole_item(item, raw_item, raw):
                if chunk.choices:
                    yield chunk
        if self._items.are_waiting():
            raise self._malformed("a tool call has no name")
        if status == "incomplete":
            status = text(json_object(response.get("incomplete_details")).get("reason")) or status
        finish = None if status is None else fields.read_finish(status, has_tool_calls=self._items.calls > 0)
        delta = ChunkDelta(reasoning=to_replay(output, response.get("store")))
        yield self._chunk(raw, delta, ends=(finish, status), usage=response.get("usage"))
        self._ended = self._done = True

    def _whole_item(self, item: ReceivedItem, raw_item: Mapping[str, Any], raw: Any) -> Iterator[ChatCompletionChunk]:
        """What an item that is repeated whole adds to its pieces; a chunk without choices if nothing."""
        is_silent = True
        item.is_over = True
        if item.is_new_call:
            item.learn(raw_item)
        for part_type, whole in fields.texts_in(raw_item, item.type):
            missing = item.missing(part_type, whole)
            delta = self._items.add(item, part_type, missing, item.part) if missing else None
            if delta is not None:
                yield self._chunk(raw, delta, logprobs=fields.logprobs_in(raw_item) if part_type == TEXT else None)
                is_silent = False
        if item.is_new_call and item.name and (delta := self._items.begin_call(item)) is not None:
            yield self._chunk(raw, delta)
        elif is_silent:
            yield self._chunk(raw)

    def _learn(self, response: Mapping[str, Any]) -> None:
        """Id, time, model, tier, and the custom tools of the request, as far as *response* has them."""
        chunk_id, created, model, tier = self._about
        self._about = (
            text(response.get("id")) or chunk_id,
            whole_number(response.get("created_at")) or created,
            text(response.get("model")) or model,
            text(response.get("service_tier")) or tier,
        )
        tools = response.get("tools")
        if isinstance(tools, list) and tools:
            self._items.custom_tools = frozenset(fields.custom_tools(tools))

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
        chunk_id, created, model, tier = self._about
        kind, counts = "chat.completion.chunk", fields.read_usage(usage)
        return ChatCompletionChunk(chunk_id, choices, created, model, kind, counts, None, tier, self._provider, raw)

    # -- text that is not as it should be ----------------------------------------------------------------

    def _is_empty(self, data: str) -> bool:
        """Whether a short event is empty, or the mark that some providers put behind the last one."""
        stripped = data.strip()
        self._done = stripped.upper() == "[DONE]"
        return self._done or not stripped

    def _joined(self, body: Any) -> Any:
        """*body* without halves of surrogate pairs: a delta continues the one before it, other texts stand alone."""
        repaired = self._repaired(body)
        kind, delta = (body.get("type"), body.get("delta")) if isinstance(body, dict) else (None, None)
        if isinstance(delta, str) and isinstance(kind, str) and kind in DELTAS:
            names = ("item_id", "output_index", DELTAS[kind].number)
            places = (value if isinstance(value := body.get(name), (int, str)) else None for name in names)
            repaired["delta"] = self._halves.mend(delta, (kind, *places))
        return repaired

    def _lone_halves(self, raw: Any) -> Iterator[ChatCompletionChunk]:
        """U+FFFD for the halves of characters that nothing came to join, as pieces of their texts."""
        for kind, item_id, place, index in self._halves.take():
            body = {"item_id": item_id, "output_index": place, DELTAS[kind].number: index, "delta": REPLACEMENT}
            yield from self._piece(kind, body, raw)
