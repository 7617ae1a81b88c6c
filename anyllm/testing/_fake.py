"""`fake`: a provider with scripted answers and without sockets, for unit tests of code that uses anyllm."""

from __future__ import annotations

import copy
import json
import threading
from collections.abc import Iterator, Mapping
from typing import Any, Optional, Union

from anyllm._concurrency import waiters
from anyllm._framing.body_events import events
from anyllm._transport.http import Transport
from anyllm._transport.sockets import AbortableCall, Aborted
from anyllm.errors import AnyLLMError
from anyllm.providers.provider import Provider
from anyllm.testing._fake_answers import ROW, Answer, scripted
from anyllm.testing._steps import Stall
from anyllm.types import ChatCompletion, FunctionCall, ToolCall, _convert
from anyllm.types._accumulate import Assembler
from anyllm.wire._base.protocols import Dialect

#: Seconds between two checks whether a stalled call has ended.
_POLL = 0.005


class FakeProvider(Provider):
    """A provider with scripted answers, made by `fake`. The real pump and dialect run, but nothing is sent."""

    def __init__(self, answers: tuple[Answer, ...]) -> None:
        self._script = _Script(scripted(answers))
        super().__init__(ROW, base_url="http://fake.invalid", transport=self._script)

    @property
    def requests(self) -> list[Any]:
        """The JSON body of each request, in order."""
        return list(self._script.requests)


def fake(*answers: Answer) -> FakeProvider:
    """
    A provider with scripted *answers*, one per call; the last one is repeated.

    Args:
        answers: For each call one of

            - a text, which is streamed word by word;
            - a `ToolCall` (`tool_call` makes one), or a list of them and of texts;
            - a `Message` or a `ChatCompletion`, or a dict in the shape of one: ``{"content": "Hello"}``;
            - an `AnyLLMError` or its class, which is raised, and retried if it is retryable;
            - a `Stall`: nothing arrives until its event is set or the call ends;
            - a list of pieces, each a text, a ToolCall, a `ChatCompletionChunk` or a dict in the shape of OpenAI's, an
              error or a Stall. A proper end is added, unless the list contains chunks or errors: then it is sent as it
              is, and is complete only if its chunks are.

    Raises:
        TypeError: an answer is none of these; the message says which.

    Example::

        provider = fake(["Hel", "lo"], RateLimitError("slow down", is_retryable=False))
    """
    return FakeProvider(answers or ("",))


def tool_call(name: str, arguments: Union[Mapping[str, Any], str] = "", *, id: Optional[str] = None) -> ToolCall:
    """
    A tool call for `fake` and `Reply.chat` to answer with.

    Args:
        name: The function's name.
        arguments: A dict, or JSON text, which may be malformed on purpose.
        id: The id of the call; without one, the calls are numbered: "call_1", "call_2".

    Example::

        provider = fake(tool_call("weather", {"city": "Paris"}), "It is sunny.")
    """
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    return ToolCall(id, FunctionCall(name, text))


class _Script(Transport):
    """A transport that returns the scripted answers."""

    def __init__(self, answers: list[Union[AnyLLMError, list[Any]]]) -> None:
        super().__init__()
        self._answers = answers
        self._lock = threading.Lock()  # guards the list of requests, whose length selects the next answer
        self.requests: list[Any] = []

    def send(
        self, call: AbortableCall, method: str, url: str, headers: Mapping[str, str], body: bytes, **_: Any
    ) -> Any:
        request = _convert.loads(body)
        call.connected()
        with self._lock:
            answer = self._answers[min(len(self.requests), len(self._answers) - 1)]
            self.requests.append(request)
        if isinstance(answer, AnyLLMError):
            raise copy.copy(answer)  # a separate error for each call
        return _FakeResponse(call, ROW.dialect, answer)


class _FakeResponse:
    """A response whose body is a scripted answer."""

    status = 200
    headers: Mapping[str, str] = {}
    broken: Optional[BaseException] = None

    def __init__(self, call: AbortableCall, dialect: Dialect, pieces: list[Any]) -> None:
        self._call = call
        self._dialect = dialect
        self._pieces = pieces

    def watch(self, first: object) -> None:
        """Nothing is sent, so there is nothing to watch."""

    def poll(self) -> None:
        """There is no socket to watch, so each answer has a thread."""

    def reads(self) -> Iterator[bytes]:
        for piece in self._pieces:
            if isinstance(piece, AnyLLMError):
                raise copy.copy(piece)
            if isinstance(piece, Stall):
                self._stall(piece)
                if self._call.aborted:
                    self.broken = ConnectionError("the call was aborted")
                    return
            else:
                yield b"data: " + _convert.dumps(dict(piece)) + b"\n\n"
        yield b"data: [DONE]\n\n"

    def read(self, limit: int) -> bytes:
        decoder, whole = self._dialect.decoder(), Assembler()
        for event in events(self.reads(), max_event_bytes=limit):
            for chunk in decoder.feed(event):
                whole.add(chunk)
        decoder.finish()
        return _body(whole.snapshot())

    def has_more(self) -> bool:
        return False  # so that each piece is delivered before the next

    def drain(self, seconds: float) -> None:
        pass

    def close(self) -> None:
        pass

    def _stall(self, stall: Stall) -> None:
        waker = _Waker(stall.event)
        try:
            self._call.hold(waker, is_duplicate=True)
        except Aborted:  # the call ended before we stalled
            return
        waker.wait()
        self._call.release()


class _Waker:
    """Registered with the call in place of a socket: aborting the call closes it, which ends the stall."""

    def __init__(self, event: Optional[threading.Event]) -> None:
        self._closed = waiters.new_waiter()
        self._event = event

    def wait(self) -> None:
        if self._event is None:
            waiters.wait(self._closed, None)
            return
        while not self._event.wait(_POLL):  # nothing can wait for an Event and a waiter together
            if waiters.wait(self._closed, 0):
                return

    def close(self) -> None:
        waiters.release(self._closed)


def _body(answer: ChatCompletion) -> bytes:
    """A whole answer as a provider would send it."""
    choices = [
        {"index": choice.index, "message": choice.message.to_dict(), "finish_reason": choice.raw_finish_reason}
        for choice in answer.choices
    ]
    usage = answer.usage.raw if answer.usage else None
    return _convert.dumps({"id": answer.id, "model": answer.model, "choices": choices, "usage": usage})
