"""A provider without a socket, for unit tests of code that uses anyllm."""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Optional, Union

from anyllm import _convert, _waiting
from anyllm._assemble import Assembler
from anyllm._framing import events
from anyllm._http import Call, Transport
from anyllm._provider import Provider
from anyllm._sockets import Aborted
from anyllm.dialects import Dialect
from anyllm.errors import AnyLLMError
from anyllm.providers import _rows
from anyllm.testing._replies import Stall, chat_events
from anyllm.types import ChatCompletion

__all__ = ["FakeProvider", "fake"]

_ROW = next(row for row in _rows.ROWS if row.name == "compatible")
#: Seconds between two looks at whether a stalled call has ended.
_POLL = 0.005

#: What one call answers: text, pieces of text, `chat.completion.chunk` dicts, errors to raise, `Stall`s.
Answer = Union[str, AnyLLMError, Iterable[Union[str, Mapping[str, Any], AnyLLMError, Stall]]]


class FakeProvider(Provider):
    """
    A provider that answers from a script; the real pump and the real dialect run, nothing is sent.

    Attributes:
        requests: The JSON body of each request, in order.
    """

    def __init__(self, answers: tuple[Answer, ...]) -> None:
        self._script = _Script(answers)
        super().__init__(_ROW, base_url="http://fake.invalid", transport=self._script)

    @property
    def requests(self) -> list[Any]:
        return list(self._script.requests)


def fake(*answers: Answer) -> FakeProvider:
    """
    A provider that gives *answers*, one a call; the last one again and again.

    Args:
        answers: For each call: a text, which is streamed word by word; an `AnyLLMError`, which is raised (and tried
            again, if it is retryable); or a list of pieces, each a text, a `chat.completion.chunk` dict, an error, or a
            `Stall`, which says nothing more until its event is set or the call ends. A list of texts ends well by
            itself; one that holds dicts is sent as it is, and so ends well only if they do.

    Example::

        provider = fake(["Hel", "lo"], RateLimitError("slow down", is_retryable=False))
    """
    return FakeProvider(answers or ("",))


class _Script(Transport):
    """Takes the transport's place."""

    def __init__(self, answers: tuple[Answer, ...]) -> None:
        super().__init__()
        self._answers = answers
        self._lock = threading.Lock()  # guards the list of requests, whose length says which answer is next
        self.requests: list[Any] = []

    def send(self, call: Call, method: str, url: str, headers: Mapping[str, str], body: bytes, **_: Any) -> Any:
        request = _convert.loads(body)
        call.connected()
        with self._lock:
            answer = self._answers[min(len(self.requests), len(self._answers) - 1)]
            self.requests.append(request)
        if isinstance(answer, AnyLLMError):
            raise copy.copy(answer)  # each call's own
        return _FakeResponse(call, _ROW.dialect, _pieces(answer))


def _pieces(answer: Union[str, Iterable[Any]]) -> list[Any]:
    """The answer as events, errors and stalls."""
    if isinstance(answer, str):
        return list(chat_events(answer))
    said = list(answer)
    pieces = [_delta(piece) if isinstance(piece, str) else piece for piece in said]
    if any(isinstance(piece, (Mapping, AnyLLMError)) for piece in said):
        return pieces
    first, *last = chat_events([])
    return [first, *pieces, *last]


def _delta(text: str) -> dict[str, Any]:
    (event,) = chat_events([text], role=False, finish_reason=None, usage=False)
    return event


class _FakeResponse:
    """Takes a `Response`'s place."""

    status = 200
    headers: Mapping[str, str] = {}
    broken: Optional[BaseException] = None

    def __init__(self, call: Call, dialect: Dialect, pieces: list[Any]) -> None:
        self._call = call
        self._dialect = dialect
        self._pieces = pieces

    def watch(self, first: object) -> None:
        """Nothing is sent here."""

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
        return False  # so that each piece is handed on before the next

    def drain(self, seconds: float) -> None:
        pass

    def close(self) -> None:
        pass

    def _stall(self, stall: Stall) -> None:
        waker = _Waker(stall.event)
        try:
            self._call.hold(waker, ours=True)
        except Aborted:  # the call ended before we stalled
            return
        waker.wait()
        self._call.let_go()


class _Waker:
    """Stands where a socket would: aborting the call closes it, which ends the stall."""

    def __init__(self, event: Optional[threading.Event]) -> None:
        self._closed = _waiting.new_waiter()
        self._event = event

    def wait(self) -> None:
        if self._event is None:
            _waiting.wait(self._closed, None)
            return
        while not self._event.wait(_POLL):  # an Event cannot be waited for together with anything else
            if _waiting.wait(self._closed, 0):
                return

    def close(self) -> None:
        _waiting.release(self._closed)


def _body(answer: ChatCompletion) -> bytes:
    """A whole answer as the dialect's host would send it."""
    choices = [
        {"index": choice.index, "message": choice.message.to_dict(), "finish_reason": choice.raw_finish_reason}
        for choice in answer.choices
    ]
    usage = answer.usage.raw if answer.usage else None
    return _convert.dumps({"id": answer.id, "model": answer.model, "choices": choices, "usage": usage})
