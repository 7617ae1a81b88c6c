"""
The events of one response, out of chunks.

Strategy: chunks say what is shown. A host that speaks this format says in the same events where items begin and end;
its word that one is over waits as long as the same event still brings text for it. What it says that chunks have no
words for is passed on under our numbers. Nothing is written for a chunk that is refused, and no number is used up.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Optional

import attrs

from anyllm.errors import AnyLLMError, IncompleteStreamError, InvalidRequestError, MalformedStreamError
from anyllm.types import (
    ChatCompletionChunk,
    ChunkChoice,
    FunctionCall,
    Reasoning,
    ToolCall,
    text_alone,
)
from anyllm.wire._base.client_errors import openai_error
from anyllm.wire._base.reasoning_origins import OUTPUT_ITEMS
from anyllm.wire._base.writer import Writer, json_bytes
from anyllm.wire.openai_responses.output_items import CALLS, CUSTOM_CALL, FUNCTION_CALL, MESSAGE, PARAGRAPH, REASONING
from anyllm.wire.openai_responses.server.native_events import ADDED, DONE, LIFE, Told, is_foreign, told_by
from anyllm.wire.openai_responses.server.output import SEALED, Output
from anyllm.wire.openai_responses.server.output_items import REFUSED, SUMMARY, TEXT, THOUGHT, Events, Item, Part
from anyllm.wire.openai_responses.server.response_object import incomplete_reason, response_object, usage_object

__all__ = ["ResponseWriter"]


class ResponseWriter(Writer):
    """
    Makes events of one answer's chunks.

    Args:
        model: What the response says of its model where the provider did not say.
        request: What of the request it echoes.

    Attributes:
        response: The whole response, once the answer is over.
    """

    def __init__(self, model: str, request: Mapping[str, Any]) -> None:
        self.response: dict[str, Any] = {}
        self._request = request
        self._events = Events()
        self._about: dict[str, Any] = {"id": "", "object": "response", "created_at": 0, "model": model}
        self._life: set[str] = set()  # the events before the first item that were written
        self._own: Mapping[str, Any] = {}  # the response of a host that speaks this format, without its items
        self._own_output: Sequence[Any] = ()
        self._further: dict[str, Any] = {}  # tier and tokens
        self._finish: tuple[Optional[str], Optional[str]] = (None, None)
        self._output = Output(self._events)
        self._calls: dict[int, Item] = {}
        self._unnamed: dict[int, ToolCall] = {}
        self._kept: Sequence[Any] = ()  # items that a host of this format wants back
        self._has_thought = False
        self._ending: Optional[tuple[Told, Item]] = None
        self._speaking: Optional[Part] = None  # what a chunk that is only text goes on with
        self._around = (b"", b"", b"")

    def write(self, chunk: ChatCompletionChunk) -> bytes:
        text = text_alone(chunk)
        if text and self._speaking is not None:
            self._speaking.pieces.append(text)
            before, between, after = self._around
            return b"%b%d%b%b%b" % (before, self._events.take(), between, json_bytes(text), after)
        number = self._events.number
        try:
            return self._written(chunk, told_by(chunk.raw))
        except AnyLLMError:
            self._events.number = number
            raise

    def _written(self, chunk: ChatCompletionChunk, told: Optional[Told]) -> bytes:
        self._note(chunk, told)
        said = [self._begin(told), self._end_waiting(told)]
        if told is not None:
            said.append(self._host_begins(told, chunk))
        said += [self._choice(choice, told) for choice in chunk.choices]
        if told is not None:
            said.append(self._host_ends(told, chunk))
        self._speak()
        return b"".join(said)

    def end(self, output: Optional[list[Any]] = None) -> bytes:
        """
        What follows the last chunk.

        Args:
            output: The items of the response, where those that were written are not to stand in it.

        Raises:
            IncompleteStreamError: a call has no name.
        """
        if self._unnamed:
            raise IncompleteStreamError("a tool call has no name")
        reason = incomplete_reason(*self._finish)
        status = "completed" if reason is None else "incomplete"
        said = [self._begin(None), self._end_waiting(None), self._output.end_signed()]
        own_output = [own for own in self._own_output or self._kept if isinstance(own, dict)]
        for own in own_output:
            item = self._output.named(own.get("type"), own.get("id"))
            if item is not None:
                item.settle(own)
        said += [self._output.end(item, status) for item in self._output.items]
        said += [self._late(own) for own in own_output]
        items = [item.written() for item in self._output.items] if output is None else output
        details = None if reason in (None, "incomplete") else {"reason": reason}
        self.response = self._response(status, output=items, incomplete_details=details, **self._further)
        return b"".join(said) + self._events.write(f"response.{status}", {"response": self.response})

    def error(self, error: BaseException) -> bytes:
        said = openai_error(error)
        flat = {name: said.get(name) for name in ("code", "message", "param")}
        failed = {"code": said.get("code") or said.get("type"), "message": said.get("message")}
        output = [item.written() for item in self._output.items]
        response = self._response("failed", **{"error": failed, "output": output, **self._further})
        return self._events.write("error", {**flat, "error": said}) + self._events.write(
            "response.failed", {"response": response}
        )

    # -- the response ----------------------------------------------------------------------------------------------

    def _note(self, chunk: ChatCompletionChunk, told: Optional[Told]) -> None:
        """Id and time once, the model when it is known, the last tier and tokens."""
        about = self._about
        if not about["id"]:
            about["id"] = chunk.id or f"resp_{uuid.uuid4().hex}"
        if not about["created_at"]:  # a host of this format is quoted, and some say it late
            about["created_at"] = chunk.created or (int(time.time()) if told is None else 0)
        about["model"] = chunk.model or about["model"]
        if chunk.service_tier is not None:
            self._further["service_tier"] = chunk.service_tier
        if chunk.usage is not None:
            self._further["usage"] = usage_object(chunk.usage, told is not None)
        if told is not None and told.response:
            self._own = {key: value for key, value in told.response.items() if key != "output"}
            output = told.response.get("output")
            self._own_output = output if told.is_end and isinstance(output, (list, tuple)) else ()

    def _begin(self, told: Optional[Told]) -> bytes:
        """The events before the first item, as far as they have not been written; a host may tell them one by one."""
        wanted = (LIFE[0], LIFE[2]) if not self._life else ()
        if told is not None and told.kind in LIFE:
            wanted = (LIFE[0], told.kind)
        said = []
        for kind in wanted:
            if kind not in self._life:
                self._life.add(kind)
                status = "queued" if kind == "response.queued" else "in_progress"
                said.append(self._events.write(kind, {"response": self._response(status, output=[])}))
        return b"".join(said)

    def _response(self, status: str, **said: Any) -> dict[str, Any]:
        if not self._about["id"]:
            self._note(ChatCompletionChunk(), None)
        return response_object(self._about, self._own, self._request, status=status, **said)

    # -- what chunks say -------------------------------------------------------------------------------------------

    def _choice(self, choice: ChunkChoice, told: Optional[Told]) -> bytes:
        delta = choice.delta
        if choice.index != 0:
            raise InvalidRequestError("this format has no place for a second answer", status_code=400, param="n")
        if delta.audio is not None:
            raise InvalidRequestError("this format has no place for sounds", status_code=400, param="modalities")
        said = []
        if delta.reasoning is not None:
            said.append(self._thoughts(delta.reasoning, told))
        logprobs = choice.logprobs.get("content") if choice.logprobs else None
        logprobs = logprobs if isinstance(logprobs, list) else None
        if delta.content or logprobs:
            said.append(self._text(MESSAGE, TEXT, delta.content or "", told, logprobs))
        if delta.refusal:
            said.append(self._text(MESSAGE, REFUSED, delta.refusal, told))
        said += [self._fragment(call, told) for call in delta.tool_calls or ()]
        if choice.finish_reason is not None:
            self._finish = (choice.finish_reason, choice.raw_finish_reason)
        return b"".join(said)

    def _thoughts(self, reasoning: Reasoning, told: Optional[Told]) -> bytes:
        if reasoning.field == OUTPUT_ITEMS:
            self._kept = reasoning.details or ()
        elif reasoning.signature is not None or reasoning.details is not None:
            self._output.sign(reasoning)
        if not reasoning.content:
            return b""
        kind = THOUGHT if told is not None and told.kind == "response.reasoning_text.delta" else SUMMARY
        return self._text(REASONING, kind, reasoning.content, told)

    def _text(
        self, item_kind: str, kind: str, text: str, told: Optional[Told], logprobs: Optional[list[Any]] = None
    ) -> bytes:
        """Text of a message or a reasoning, in the part that the host says, or else in the one that grows."""
        said = []
        number = told.number if told is not None and told.word == "delta" else None
        item = self._output.told(told, item_kind) or self._output.growing(item_kind)
        if item is None or item.is_over:
            item, begun = self._output.new(item_kind)
            said.append(begun)
        self._output.grown[item_kind] = item
        part = item.open
        if part is None or part.kind != kind or _differ(number, part.number):
            said.append(item.begin_part(self._events, kind, number))
            if item_kind == REASONING and self._has_thought and text.startswith(PARAGRAPH):
                text = text[len(PARAGRAPH) :]  # which stands between two parts without being said
        self._has_thought = self._has_thought or item_kind == REASONING
        return b"".join(said) + item.add(self._events, text, logprobs)

    def _fragment(self, call: ToolCall, told: Optional[Told]) -> bytes:
        item = self._calls.get(call.index)
        if item is not None:
            if item.is_over and call.arguments:
                raise MalformedStreamError("a tool call goes on after its end")
            return item.add(self._events, call.arguments) if call.arguments else b""
        held = self._unnamed.pop(call.index, None)
        if held is not None:
            function = FunctionCall(call.name, held.arguments + call.arguments)
            extra = {**(held.extra_content or {}), **(call.extra_content or {})} or None
            call = attrs.evolve(call, id=held.id or call.id, function=function, extra_content=extra)
        if not call.name:
            self._unnamed[call.index] = call
            return b""
        return self._new_call(call, told)

    def _new_call(self, call: ToolCall, told: Optional[Told]) -> bytes:
        unknown_fields = dict(call.extra_content or {})
        own = unknown_fields.pop("openai", None)
        own = own if isinstance(own, Mapping) else {}
        over = self._output.end_others(CALLS[0])
        item = self._output.add(CUSTOM_CALL if call.type == "custom" else FUNCTION_CALL, own.get("item_id"))
        item.place = told.place if told is not None else None
        item.is_native = told is not None
        item.call_id, item.name = call.id or f"call_{uuid.uuid4().hex}", call.name or ""
        item.learn(own)
        item.extra.pop("item_id", None)
        if unknown_fields:
            item.extra["extra_content"] = unknown_fields
        self._calls[call.index] = item
        begun = over + item.begin(self._events)
        return begun + item.add(self._events, call.arguments) if call.arguments else begun

    def _speak(self) -> None:
        """Let the next chunk that is only text go on with the message that was given some last."""
        item = self._output.growing(MESSAGE)
        speaking = item.open if item is not None and self._ending is None else None
        if speaking is not None and speaking.kind != TEXT:
            speaking = None
        if speaking is not None and item is not None and speaking is not self._speaking:
            self._around = item.around_text()
        self._speaking = speaking

    # -- what a host of this format says beside its chunks -----------------------------------------------------------

    def _host_begins(self, told: Told, chunk: ChatCompletionChunk) -> bytes:
        kind, own = told.item_kind, told.item
        if told.kind in (ADDED, DONE) and kind is not None:
            if is_foreign(own, self._own.get("tools")):
                return self._foreign(told, own) if told.kind == ADDED else b""
            found = self._output.told(told, kind)
            is_new = told.kind == ADDED or (found is None and bool(chunk.choices or kind == REASONING))
            if kind in (MESSAGE, REASONING) and is_new:
                item = self._output.grown[kind] = self._output.add(kind, told.item_id)
                item.place, item.is_native = told.place, True
                item.learn(own)
                return item.begin(self._events)
        elif told.part_kind is not None and told.word == "added":
            item_ = self._output.told(told, kind)
            if item_ is not None and not item_.is_over and item_.kind == kind:
                self._output.grown[item_.kind] = item_
                return item_.begin_part(self._events, told.part_kind, told.number)
        return b""

    def _host_ends(self, told: Told, chunk: ChatCompletionChunk) -> bytes:
        kind = told.item_kind
        item = self._output.told(told, kind)
        if told.kind == DONE:
            if is_foreign(told.item, self._own.get("tools")):
                return self._foreign_done(told)
            if item is None or item.is_over:
                return b""
            if chunk.choices:
                self._ending = (told, item)
                return b""
            item.settle(told.item)
            return self._output.end(item)
        if told.kind == ADDED:
            return b""
        if item is not None and item.is_foreign:
            return self._events.write(told.kind, {**told.event, "output_index": item.index})
        if told.is_of_ours:
            ends = told.part_kind is not None and told.word == "done" and item is not None and item.open is not None
            return item.end_part(self._events) if ends and item is not None else b""
        return self._beside(told, item)

    def _beside(self, told: Told, item: Optional[Item]) -> bytes:
        """An event that chunks have no words for, under our numbers; nothing where those are not known."""
        if told.is_end or told.response:
            return b""
        if item is None:
            is_loose = told.place is None and told.item_id is None
            return self._events.write(told.kind, told.event) if is_loose else b""
        where: dict[str, Any] = {"item_id": item.id, "output_index": item.index}
        if item.open is not None and told.number is not None:
            where[item.open.form.number] = item.open.place
            if "annotation" in told.event:
                item.open.annotations.append(told.event["annotation"])
        return self._events.write(told.kind, {**told.event, **where})

    def _foreign(self, told: Optional[Told], own: Mapping[str, Any]) -> bytes:
        item = self._output.add(str(own.get("type")), own.get("id"))
        item.is_foreign = item.is_native = True
        item.keep(own)
        item.place = None if told is None else told.place
        return item.begin(self._events)

    def _foreign_done(self, told: Told) -> bytes:
        item, begun = self._output.told(told, told.item_kind), b""
        if item is None or item.is_over:
            begun, item = self._foreign(told, told.item), self._output.items[-1]
        item.keep(told.item)
        return begun + self._output.end(item)

    def _late(self, own: Mapping[str, Any]) -> bytes:
        """An item that stands in the last event alone: a host's own, or reasoning that is wanted back as it was."""
        if self._output.named(own.get("type"), own.get("id")) is not None:
            return b""
        if is_foreign(own, self._own.get("tools")):
            begun = self._foreign(None, own)
            return begun + self._output.end(self._output.items[-1])
        seal = own.get(SEALED)
        if (
            own.get("type") != REASONING
            or not seal
            or any(item.extra.get(SEALED) == seal for item in self._output.items)
        ):
            return b""
        item = self._output.add(REASONING, own.get("id"))  # without its text, which the chunks have brought
        item.is_native = True
        item.learn(own)
        return item.begin(self._events) + self._output.end(item)

    def _end_waiting(self, told: Optional[Told]) -> bytes:
        """The end of an item that brought text itself, once all of that is written."""
        if self._ending is None or (told is not None and told.event == self._ending[0].event):
            return b""
        (ended, item), self._ending = self._ending, None
        item.settle(ended.item)
        return self._output.end(item)


def _differ(one: Optional[int], other: Optional[int]) -> bool:
    return one is not None and other is not None and one != other
