"""
Events of streams and agents, and the callbacks for them.

Strategy: an `Events` makes events of chunks: the beginning, growth and end of a tool call, the success or failure of
the stream. Its only state is the tool calls that have begun, and the JSON document if the text is one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, Optional

import attrs

from anyllm._hints.arguments import explain_frozen
from anyllm._hints.names import add_name_hints, own_names
from anyllm.errors import AnyLLMError
from anyllm.json_stream import JSONStream, JSONStreamError
from anyllm.options import StreamingOptions
from anyllm.types import ChatCompletion, ChatCompletionChunk, FunctionCall, Message, RetryNotice, ToolCall, Usage
from anyllm.types._accumulate import CallParts

__all__ = ["TYPES", "Events", "StreamEvent", "call_back"]

TYPES = (
    *("start", "text", "reasoning", "tool_call_start", "tool_call_delta", "tool_call", "tool_result"),
    *("json_error", "usage", "retry", "complete", "error"),
)


@add_name_hints
@explain_frozen
@attrs.define(frozen=True, kw_only=True)
class StreamEvent:
    """
    An event of a stream or an agent.

    Attributes:
        type: One of `TYPES`. "start" comes first and "complete" or "error" last, each once; "usage" at most once.
        provider: The provider that answers.
        model: The model that answers.
        request_id: The provider's id of the request, once it has answered.
        elapsed: Seconds since the start.
        text: For "text" and "reasoning": the added text.
        tool_call: For "tool_call_start": the call with its id and name; for "tool_call_delta": the added fragment; for
            "tool_call": the whole call; for "tool_result": the call that was run.
        value: For "tool_call_delta": the arguments so far, a dict; for "text", if the text is JSON: the document so
            far, None before it begins. It is one object that grows: copy it to store it. For an agent's "complete": the
            `AgentResult`.
        json_error: For "json_error": the error in a text that should be JSON, and its position. The event comes once,
            as soon as the text is wrong, and ``value`` does not grow any more after it; for a document that is only
            incomplete (``is_truncated``) it comes at the end.
        result: For "tool_result": the message with the result.
        usage: For "usage", which an agent has for each turn.
        retry: For "retry": the number and the reason of the attempt that begins.
        completion: For "complete": the whole answer.
        error: For "error": the error that ended the stream.
        turn: The turn of an agent, from 1; 0 outside of agents.
    """

    type: str
    provider: str = ""
    model: str = ""
    request_id: Optional[str] = None
    elapsed: float = 0.0
    text: str = ""
    tool_call: Optional[ToolCall] = None
    value: Any = None
    json_error: Optional[JSONStreamError] = None
    result: Optional[Message] = None
    usage: Optional[Usage] = None
    retry: Optional[RetryNotice] = None
    completion: Optional[ChatCompletion] = None
    error: Optional[AnyLLMError] = None
    turn: int = 0

    def evolve(self, **changes: Any) -> StreamEvent:
        """A copy with *changes*."""
        return attrs.evolve(self, **changes)

    def __dir__(self) -> list[str]:
        return own_names(self)


class Events:
    """
    Makes events of the chunks of one stream. Used by one thread.

    Args:
        provider: The provider, until a chunk names it.
        model: The model of the request, until a chunk names it.
        request_id: Returns the provider's id of the request, or None.
        json: Whether the text is JSON, to be parsed while it comes.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        provider: str = "",
        model: str = "",
        *,
        request_id: Callable[[], Optional[str]] = lambda: None,
        json: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._provider = provider
        self._model = model
        self._request_id = request_id
        self._json = json
        self._clock = clock
        self._started = clock()
        self._reset()

    def _reset(self) -> None:
        self._document = JSONStream() if self._json else None
        self._has_text = False
        self._calls: dict[int, _OpenToolCall] = {}

    def start(self) -> StreamEvent:
        """The first event."""
        return self._event("start")

    def of(self, chunk: ChatCompletionChunk) -> Iterator[StreamEvent]:
        """The events for choice 0 of *chunk*."""
        self._provider = chunk.provider or self._provider
        self._model = chunk.model or self._model
        if chunk.retry is not None:
            if chunk.retry.policy != "continue":
                self._reset()
            yield self._event("retry", retry=chunk.retry)
        if chunk.reasoning:
            yield self._event("reasoning", text=chunk.reasoning)
        if chunk.content:
            yield from self._text(chunk.content)
        for fragment in chunk.tool_calls:
            yield from self._fragment(fragment)

    def whole(self, completion: ChatCompletion) -> Iterator[StreamEvent]:
        """The events of an answer that comes as a whole, including the last ones."""
        if completion.reasoning:
            yield self._event("reasoning", text=completion.reasoning)
        if completion.content:
            yield from self._text(completion.content)
        for call in completion.tool_calls:
            yield self._event("tool_call", tool_call=call)
        yield from self.complete(completion)

    def complete(self, completion: ChatCompletion) -> Iterator[StreamEvent]:
        """The last events of a successful stream: tool calls that are whole now, usage, and "complete"."""
        yield from self._end_of_document()
        for call in self._calls.values():
            yield from self._whole_call(call)
        if completion.usage is not None:
            yield self._event("usage", usage=completion.usage)
        yield self._event("complete", completion=completion)

    def fail(self, error: AnyLLMError) -> StreamEvent:
        """The last event of a stream that failed."""
        return self._event("error", error=error)

    def _event(self, kind: str, **fields: Any) -> StreamEvent:
        return StreamEvent(
            type=kind,
            provider=self._provider,
            model=self._model,
            request_id=self._request_id(),
            elapsed=self._clock() - self._started,
            **fields,
        )

    def _text(self, text: str) -> Iterator[StreamEvent]:
        document = self._document
        if document is None:
            yield self._event("text", text=text)
            return
        was_valid = document.error is None
        document.feed(text)
        self._has_text = True
        value = document.value
        yield self._event("text", text=text, value=None if value is JSONStream.NOTHING else value)
        if was_valid and document.error is not None:
            yield self._event("json_error", json_error=document.error)

    def _end_of_document(self) -> Iterator[StreamEvent]:
        document = self._document
        if document is None or document.error is not None or not self._has_text:
            return
        try:
            document.finish()
        except JSONStreamError as exc:
            yield self._event("json_error", json_error=exc)

    # -- tool calls ------------------------------------------------------------------------------------------------

    def _fragment(self, fragment: ToolCall) -> Iterator[StreamEvent]:
        call = self._calls.get(fragment.index)
        if call is None:
            for other in self._calls.values():
                if other.is_complete:
                    yield from self._whole_call(other)
            call = self._calls[fragment.index] = _OpenToolCall(fragment.index)
        had_begun = call.has_begun
        call.add(fragment)
        if call.has_begun and not had_begun:
            yield self._event(
                "tool_call_start", tool_call=ToolCall(call.id, FunctionCall(call.name), call.type, call.index)
            )
        if fragment.arguments:
            yield self._event("tool_call_delta", tool_call=fragment, value=call.arguments_so_far())

    def _whole_call(self, call: _OpenToolCall) -> Iterator[StreamEvent]:
        if not call.has_event:
            call.has_event = True
            yield self._event("tool_call", tool_call=call.whole(call.index))


class _OpenToolCall(CallParts):
    """A tool call whose fragments are still coming."""

    def __init__(self, index: int) -> None:
        super().__init__()
        self.has_event = False
        self.index = index
        self._document = JSONStream()

    def add(self, fragment: ToolCall) -> None:
        super().add(fragment)
        self._document.feed(fragment.arguments)

    @property
    def has_begun(self) -> bool:
        return self.name is not None

    @property
    def is_complete(self) -> bool:
        """Whether the arguments are a whole JSON document. A call without arguments may still get some."""
        return self.has_begun and self._document.is_complete

    def arguments_so_far(self) -> Any:
        value = self._document.value
        return value if isinstance(value, dict) else {}


_CALLBACKS = {
    "start": ("on_start", None),
    "text": ("on_delta", "text"),
    "reasoning": ("on_reasoning", "text"),
    "tool_call": ("on_tool_call", "tool_call"),
    "json_error": ("on_json_error", "json_error"),
    "retry": ("on_retry", "retry"),
    "usage": ("on_usage", "usage"),
    "complete": ("on_complete", "completion"),
    "error": ("on_error", "error"),
}


def call_back(options: StreamingOptions, event: StreamEvent) -> None:
    """Call the callback of *options* for *event*, if there is one; its exceptions pass through."""
    name, field = _CALLBACKS.get(event.type, (None, None))
    function = name and getattr(options, name)
    if function:
        function(*(() if field is None else (getattr(event, field),)))


def has_callbacks(options: StreamingOptions) -> bool:
    """Whether *options* have any callback."""
    return any(getattr(options, name) for name, _ in _CALLBACKS.values())
