"""
The writer of a stream: typed events for output items as they grow, and the response they are part of.

Strategy: what is shown (text, reasoning, calls) is written from the chunks, whoever sent them, and an event that only
adds text is put together from bytes that were made once. A provider that speaks Responses itself also says where items
and parts begin and end, and what they are called; what chunks cannot hold (its own tools' work, citations) is passed on
under our numbers. Its end of an item waits as long as the same event still brings text for it. Another provider's
reasoning becomes a summary, as that is what most clients show.

An error is written twice, as OpenAI does: as an ``error`` event, with the error both inside, where the official client
looks for it and raises, and flat, as it is documented; and as ``response.failed``, for clients that wait for that.

Source: https://platform.openai.com/docs/api-reference/responses-streaming
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Optional

import attrs

from anyllm.errors import IncompleteStreamError, InvalidRequestError, MalformedStreamError
from anyllm.types import ChatCompletionChunk, ChunkChoice, FunctionCall, Reasoning, ToolCall, text_alone
from anyllm.wire._base.conversation import OUTPUT_ITEMS
from anyllm.wire._base.json_values import json_object
from anyllm.wire._base.writer import Writer, json_bytes
from anyllm.wire._base.written_errors import openai_error
from anyllm.wire.openai_responses import fields
from anyllm.wire.openai_responses.fields import FORMS, ITEM_ADDED, ITEM_DONE, LIFECYCLE, MESSAGE, REASONING, TEXT
from anyllm.wire.openai_responses.replay_items import SEAL, output_items
from anyllm.wire.openai_responses.server.native_event import NativeEvent, native_event
from anyllm.wire.openai_responses.server.output import EventBuffer, Output, TextPart, WrittenItem


class ResponseWriter(Writer):
    """Makes events of one answer's chunks, with the keys of the *request* that its response repeats."""

    def __init__(self, model: str, request: Mapping[str, Any]) -> None:
        self.response: dict[str, Any] = {}  # all of it, once the answer is over
        self._request = request
        self._events = EventBuffer()
        self._output = Output(self._events)
        self._about: dict[str, Any] = {"id": "", "object": "response", "created_at": 0, "model": model}
        self._begun: set[str] = set()  # the events before the first item that were written
        self._native: Mapping[str, Any] = {}  # the response of a provider of this format, without its items
        self._native_output: Sequence[Any] = ()
        self._replayed: Sequence[Any] = ()  # items that a provider of this format wants back
        self._measures: dict[str, Any] = {}  # tier and usage
        self._finish: tuple[Optional[str], Optional[str]] = (None, None)
        self._calls: dict[int, WrittenItem] = {}
        self._unnamed: dict[int, ToolCall] = {}
        self._has_thoughts = False
        self._ending: Optional[tuple[NativeEvent, WrittenItem]] = None
        self._growing: Optional[TextPart] = None  # the part that a chunk which is only text continues
        self._around = (b"", b"", b"")

    def write(self, chunk: ChatCompletionChunk) -> bytes:
        text = text_alone(chunk)
        if text and self._growing is not None:
            self._growing.pieces.append(text)
            before, between, after = self._around
            number = self._events.number
            self._events.number = number + 1
            return b"%b%d%b%b%b" % (before, number, between, json_bytes(text), after)
        return self._events.collect(self._write, chunk, native_event(chunk.raw))

    def end(self, output: Optional[list[Any]] = None) -> bytes:
        """What follows the last chunk; *output* stands in the response in place of the items that were written."""
        return self._events.collect(self._end, output)

    def error(self, error: BaseException) -> bytes:
        return self._events.collect(self._fail, openai_error(error))

    def _write(self, chunk: ChatCompletionChunk, native: Optional[NativeEvent]) -> None:
        self._learn(chunk, native)
        self._begin(native)
        self._end_waiting(native)
        if native is not None:
            self._native_begin(native, is_shown=bool(chunk.choices))
        for choice in chunk.choices:
            self._add_choice(choice, native)
        if native is not None:
            self._native_end(native, is_shown=bool(chunk.choices))
        message = self._output.growing(MESSAGE) if self._ending is None else None
        part = message.open if message is not None else None
        if part is not None and part.form.type != TEXT:
            part = None
        if message is not None and part is not None and part is not self._growing:
            self._around = message.around_text()
        self._growing = part

    def _end(self, output: Optional[list[Any]]) -> None:
        if self._unnamed:
            raise IncompleteStreamError("a tool call has no name")
        reason = fields.incomplete_reason(*self._finish)
        status = "completed" if reason is None else "incomplete"
        self._begin(None)
        self._end_waiting(None)
        self._output.end_signed()
        native_items = [item for item in self._native_output or self._replayed if isinstance(item, dict)]
        for native in native_items:
            item = self._output.find(native.get("type"), native.get("id"))
            if item is not None:
                item.settle(native)
        for item in [*self._output.items]:
            self._output.end(item, status)
        for native in native_items:
            self._add_late(native)
        details = None if reason in (None, "incomplete") else {"reason": reason}
        items = [item.written() for item in self._output.items] if output is None else output
        self.response = self._response(status, output=items, incomplete_details=details, **self._measures)
        self._events.add(f"response.{status}", {"response": self.response})

    def _fail(self, error: Mapping[str, Any]) -> None:
        failed = {"code": error.get("code") or error.get("type"), "message": error.get("message")}
        output = [item.written() for item in self._output.items]
        response = self._response("failed", error=failed, output=output, **self._measures)
        self._events.add("error", {**{key: error.get(key) for key in ("code", "message", "param")}, "error": error})
        self._events.add("response.failed", {"response": response})

    # -- the response ----------------------------------------------------------------------------------------------

    def _learn(self, chunk: ChatCompletionChunk, native: Optional[NativeEvent]) -> None:
        """Id and time once, the model when it is known, the last tier and usage."""
        about = self._about
        if not about["id"]:
            about["id"] = chunk.id or f"resp_{uuid.uuid4().hex}"
        if not about["created_at"]:  # some providers of this format send their own late
            about["created_at"] = chunk.created or (int(time.time()) if native is None else 0)
        about["model"] = chunk.model or about["model"]
        if chunk.service_tier is not None:
            self._measures["service_tier"] = chunk.service_tier
        if chunk.usage is not None:
            self._measures["usage"] = fields.usage_object(chunk.usage, native is not None)
        if native is not None and native.response:
            self._native = {key: value for key, value in native.response.items() if key != "output"}
            output = native.response.get("output")
            self._native_output = output if native.is_end and isinstance(output, (list, tuple)) else ()

    def _begin(self, native: Optional[NativeEvent]) -> None:
        """The events before the first item that have not been written; a provider may send them one by one."""
        kinds: tuple[str, ...] = () if self._begun else (LIFECYCLE[0], LIFECYCLE[2])
        if native is not None and native.type in LIFECYCLE:
            kinds = (LIFECYCLE[0], native.type)
        for kind in kinds:
            if kind not in self._begun:
                self._begun.add(kind)
                status = "queued" if kind == "response.queued" else "in_progress"
                self._events.add(kind, {"response": self._response(status, output=[])})

    def _response(self, status: str, **values: Any) -> dict[str, Any]:
        if not self._about["id"]:
            self._learn(ChatCompletionChunk(), None)
        return fields.response_object(self._about, self._native, self._request, status=status, **values)

    # -- chunks ----------------------------------------------------------------------------------------------------

    def _add_choice(self, choice: ChunkChoice, native: Optional[NativeEvent]) -> None:
        delta = choice.delta
        if choice.index != 0:
            raise InvalidRequestError("this format has no place for a second answer", status_code=400, param="n")
        if delta.audio is not None:
            raise InvalidRequestError("this format has no place for sounds", status_code=400, param="modalities")
        if delta.reasoning is not None:
            self._add_reasoning(delta.reasoning, native)
        logprobs = choice.logprobs.get("content") if choice.logprobs else None
        logprobs = logprobs if isinstance(logprobs, list) else None
        if delta.content or logprobs:
            self._add_text(TEXT, delta.content or "", native, logprobs)
        if delta.refusal:
            self._add_text(fields.REFUSAL, delta.refusal, native)
        for call in delta.tool_calls or ():
            self._add_fragment(call, native)
        if choice.finish_reason is not None:
            self._finish = (choice.finish_reason, choice.raw_finish_reason)

    def _add_reasoning(self, reasoning: Reasoning, native: Optional[NativeEvent]) -> None:
        if reasoning.field == OUTPUT_ITEMS:
            self._replayed = output_items(reasoning)
        elif reasoning.signature is not None or reasoning.details is not None:
            self._output.sign(reasoning)
        if reasoning.content:
            is_thought = native is not None and native.type == "response.reasoning_text.delta"
            self._add_text(fields.THOUGHT if is_thought else fields.SUMMARY, reasoning.content, native)

    def _add_text(
        self, part_type: str, text: str, native: Optional[NativeEvent], logprobs: Optional[list[Any]] = None
    ) -> None:
        """Text of a message or a reasoning, in the part that the provider names, or else in the one that grows."""
        form = FORMS[part_type]
        number = native.number if native is not None and native.word == "delta" else None
        item = self._find(form.item, native)
        if item is None or item.is_over:
            item = self._output.growing(form.item) or self._output.new(form.item)
        self._output.grown[form.item] = item
        part = item.open
        is_other_part = part is not None and None not in (number, part.number) and number != part.number
        if part is None or part.form is not form or is_other_part:
            item.begin_part(form, number)
            if form.item == REASONING and self._has_thoughts and text.startswith(fields.PARAGRAPH):
                text = text[len(fields.PARAGRAPH) :]  # which stands between two parts without being sent
        self._has_thoughts = self._has_thoughts or form.item == REASONING
        item.add(text, logprobs)

    def _add_fragment(self, call: ToolCall, native: Optional[NativeEvent]) -> None:
        item = self._calls.get(call.index)
        if item is not None:
            if item.is_over and call.arguments:
                raise MalformedStreamError("a tool call goes on after its end")
            if call.arguments:
                item.add(call.arguments)
            return
        begun = self._unnamed.pop(call.index, None)
        if begun is not None:
            function = FunctionCall(call.name, begun.arguments + call.arguments)
            extra = {**(begun.extra_content or {}), **(call.extra_content or {})} or None
            call = attrs.evolve(call, id=begun.id or call.id, function=function, extra_content=extra)
        if call.name:
            self._begin_call(call, call.name, native)
        else:
            self._unnamed[call.index] = call

    def _begin_call(self, call: ToolCall, name: str, native: Optional[NativeEvent]) -> None:
        extra = dict(call.extra_content or {})
        own = dict(json_object(extra.pop("openai", None)))
        self._output.end_others(fields.FUNCTION_CALL)
        item = self._output.add(fields.call_item_type(call), own.pop("item_id", None), native)
        self._calls[call.index] = item
        item.call_id, item.name = call.id or f"call_{uuid.uuid4().hex}", name
        item.learn(own)
        if extra:
            item.extra[fields.EXTRA_CONTENT] = extra
        item.begin()
        if call.arguments:
            item.add(call.arguments)

    # -- events of a provider that speaks this format ----------------------------------------------------------------

    def _native_begin(self, native: NativeEvent, *, is_shown: bool) -> None:
        kind, is_added = native.item_type, native.type == ITEM_ADDED
        is_whole = native.type == ITEM_DONE and (is_shown or kind == REASONING)
        if is_added and self._is_foreign(native.item):
            self._begin_foreign(native.item, native)
        elif native.part is not None and native.word == "added":
            grown = self._find(kind, native)
            if grown is not None and not grown.is_over:
                self._output.grown[grown.type] = grown
                grown.begin_part(native.part, native.number)
        elif kind in (MESSAGE, REASONING) and (is_added or (is_whole and self._find(kind, native) is None)):
            item = self._output.grown[kind] = self._output.add(kind, native.item_id, native)
            item.learn(native.item)
            item.begin()

    def _native_end(self, native: NativeEvent, *, is_shown: bool) -> None:
        item = self._find(native.item_type, native)
        if native.type == ITEM_DONE and self._is_foreign(native.item):
            if item is None or item.is_over:
                item = self._begin_foreign(native.item, native)
            item.native = dict(native.item)
            item.end()
        elif native.type == ITEM_DONE and item is not None and not item.is_over:
            self._ending = (native, item)
            if not is_shown:
                self._end_waiting(None)
        elif native.type in (ITEM_ADDED, ITEM_DONE):
            return
        elif item is not None and item.is_foreign:
            self._events.add(native.type, {**native.event, "output_index": item.index})
        elif native.is_ours:
            if native.part is not None and native.word == "done" and item is not None:
                item.end_part()
        elif not native.is_end and not native.response:
            self._pass_on(native, item)

    def _pass_on(self, native: NativeEvent, item: Optional[WrittenItem]) -> None:
        """An event that chunks cannot hold, under our numbers; nothing if those of its item are not known."""
        if item is None:
            if native.place is None and not native.item_id:
                self._events.add(native.type, native.event)
            return
        where: dict[str, Any] = {"item_id": item.id, "output_index": item.index}
        part = item.open
        if part is not None and part.form.number and native.number is not None:
            where[part.form.number] = part.place
            if "annotation" in native.event:
                part.annotations.append(native.event["annotation"])
        self._events.add(native.type, {**native.event, **where})

    def _find(self, item_type: Optional[str], native: Optional[NativeEvent]) -> Optional[WrittenItem]:
        """The item of a type, or of any, that a provider's event is about."""
        return None if native is None else self._output.find(item_type, native.item_id, native.place)

    def _is_foreign(self, item: Mapping[str, Any]) -> bool:
        """
        Whether chunks cannot hold an item: the work of a provider with tools of its own.

        A call of a custom tool that is not among the response's tools is one of those (xAI's searches).
        """
        kind, name, tools = item.get("type"), item.get("name"), self._native.get("tools")
        if kind == fields.CUSTOM_CALL and isinstance(tools, list) and tools and isinstance(name, str):
            return name not in fields.custom_tools(tools)
        return isinstance(kind, str) and kind not in fields.ITEM_TYPES

    def _begin_foreign(self, raw: Mapping[str, Any], native: Optional[NativeEvent]) -> WrittenItem:
        """Begin an item that chunks cannot hold."""
        item = self._output.add(str(raw.get("type")), raw.get("id"), native)
        item.is_foreign, item.native = True, dict(raw)
        item.begin()
        return item

    def _add_late(self, raw: Mapping[str, Any]) -> None:
        """An item that stands in the last event alone: the provider's own work, or reasoning that it wants back."""
        if self._output.find(raw.get("type"), raw.get("id")) is not None:
            return
        if self._is_foreign(raw):
            self._begin_foreign(raw, None).end()
        elif raw.get("type") == REASONING and raw.get(SEAL):
            is_written = any(item.extra.get(SEAL) == raw[SEAL] for item in self._output.items)
            if not is_written:  # begin it without its text, which the chunks have brought
                item = self._output.add(REASONING, raw.get("id"))
                item.learn(raw)
                item.begin()
                item.end()

    def _end_waiting(self, native: Optional[NativeEvent]) -> None:
        """The end of an item that brought text itself, once all of that is written."""
        if self._ending is None or (native is not None and native.event == self._ending[0].event):
            return
        (ended, item), self._ending = self._ending, None
        item.settle(ended.item)
        self._output.end(item)
