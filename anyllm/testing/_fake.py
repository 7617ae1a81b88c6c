"""A provider without a socket, for unit tests of code that uses anyllm."""

from __future__ import annotations

import copy
import itertools
import json
import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Optional, Union

import attrs

from anyllm._concurrency import waiters
from anyllm._framing.detect import events
from anyllm._transport.http import AbortableCall, Transport
from anyllm._transport.sockets import Aborted
from anyllm.errors import AnyLLMError
from anyllm.providers.provider import Provider
from anyllm.providers.table import lookup
from anyllm.testing._replies import Stall, chat_events
from anyllm.types import ChatCompletion, ChatCompletionChunk, Choice, FunctionCall, Message, ToolCall, _convert
from anyllm.types._accumulate import Assembler
from anyllm.types._openai_chunk import chunk_object, fragment_object
from anyllm.types._replay import fragments, replayed
from anyllm.wire._base.dialect import Dialect

__all__ = ["FakeProvider", "fake", "tool_call"]

_ROW = next(row for row in lookup.ROWS if row.name == "compatible")
#: Seconds between two looks at whether a stalled call has ended.
_POLL = 0.005

#: A part of an answer; see `fake`.
Piece = Union[str, ToolCall, ChatCompletionChunk, Mapping[str, Any], AnyLLMError, type[AnyLLMError], Stall, type[Stall]]
#: What one call answers; see `fake`.
Answer = Union[Piece, Message, ChatCompletion, Iterable[Piece]]
_ACCEPTED = (
    "an answer is a text; a ToolCall; a Message or a ChatCompletion, or a dict in the shape of one; an error of "
    "anyllm's, or its class; a Stall; or a list of texts, ToolCalls, chunks (dicts too), errors and Stalls"
)
_OF_MESSAGES = frozenset(field.name for field in attrs.fields(Message))


class FakeProvider(Provider):
    """
    A provider that answers from a script; the real pump and the real dialect run, nothing is sent.

    Args:
        answers: As `fake` takes them.

    Attributes:
        requests: The JSON body of each request, in order.

    Raises:
        TypeError: an answer is none.
    """

    def __init__(self, answers: tuple[Answer, ...]) -> None:
        self._script = _Script(_checked(answers))
        super().__init__(_ROW, base_url="http://fake.invalid", transport=self._script)

    @property
    def requests(self) -> list[Any]:
        """The JSON body of each request, in order."""
        return list(self._script.requests)


def fake(*answers: Answer) -> FakeProvider:
    """
    A provider that gives *answers*, one a call; the last one again and again.

    Args:
        answers: For each call one of

            - a text, which is streamed word by word;
            - a `ToolCall` (`tool_call` makes one), or a list of them and of texts;
            - a `Message` or a `ChatCompletion`, or a dict in the shape of one: ``{"content": "Hello"}``;
            - an `AnyLLMError` or its class, which is raised, and tried again if it is retryable;
            - a `Stall`: nothing comes until its event is set or the call ends;
            - a list of pieces, each a text, a ToolCall, a `ChatCompletionChunk` or a dict in the shape of OpenAI's, an
              error or a Stall. It ends well by itself, unless it holds chunks: then it is sent as it is, and so ends
              well only if they do.

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
        arguments: A dict, or JSON text, which may be broken on purpose.
        id: What the result will quote; without one, the fake numbers its calls: "call_1", "call_2".

    Example::

        provider = fake(tool_call("weather", {"city": "Paris"}), "It is sunny.")
    """
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    return ToolCall(id, FunctionCall(name, text))


class _Script(Transport):
    """Takes the transport's place."""

    def __init__(self, answers: list[Union[AnyLLMError, list[Any]]]) -> None:
        super().__init__()
        self._answers = answers
        self._lock = threading.Lock()  # guards the list of requests, whose length says which answer is next
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
            raise copy.copy(answer)  # each call's own
        return _FakeResponse(call, _ROW.dialect, answer)


# -- what is answered, checked where it is given -----------------------------------------------------------------------


def _checked(answers: Iterable[Any]) -> list[Union[AnyLLMError, list[Any]]]:
    """Each answer as an error to raise, or as events (dicts), errors and stalls."""
    checked: list[Union[AnyLLMError, list[Any]]] = []
    ids = (f"call_{number}" for number in itertools.count(1))
    for number, answer in enumerate(answers, 1):
        where = f"answer {number} of fake()"
        error = _error(answer, where)
        checked.append(_events(answer, where, ids) if error is None else error)
    return checked


def _events(answer: Any, where: str, ids: Iterator[str]) -> list[Any]:
    if isinstance(answer, str):
        return list(chat_events(answer))
    completion = _completion(answer, where, ids)
    if completion is not None:
        return [chunk_object(chunk) for chunk in replayed(completion)]
    if isinstance(answer, (Mapping, ToolCall, ChatCompletionChunk, Stall)) or answer is Stall:
        answer = [answer]
    if isinstance(answer, (bytes, type)) or not isinstance(answer, Iterable):
        raise TypeError(f"{where} is {_kind(answer)}: {_ACCEPTED}")
    return _in_pieces(list(answer), where, ids)


def _in_pieces(answer: list[Any], where: str, ids: Iterator[str]) -> list[Any]:
    pieces: list[Any] = []
    calls = 0
    is_raw = False
    for number, piece in enumerate(answer, 1):
        at = f"piece {number} of {where}"
        error = _error(piece, at)
        if error is not None:
            pieces.append(error)
            is_raw = True
        elif isinstance(piece, str):
            pieces.append(_delta(piece))
        elif isinstance(piece, ToolCall):
            call = piece if piece.id else attrs.evolve(piece, id=next(ids))
            pieces += [_call_delta(fragment) for fragment in fragments(call, calls)]
            calls += 1
        elif isinstance(piece, Stall) or piece is Stall:
            pieces.append(piece if isinstance(piece, Stall) else Stall())
        else:
            pieces.append(_chunk(piece, at))
            is_raw = True
    if is_raw:
        return pieces
    first, *last = chat_events([], finish_reason="tool_calls" if calls else "stop")
    return [first, *pieces, *last]


def _error(value: Any, where: str) -> Optional[AnyLLMError]:
    """The error to raise; None of what is none."""
    if isinstance(value, AnyLLMError):
        return value
    kind = value if isinstance(value, type) else type(value)
    if issubclass(kind, AnyLLMError):
        error: type[AnyLLMError] = kind
        try:
            return error(f"a faked {kind.__name__}")
        except TypeError as exc:
            raise TypeError(f"{where}: {kind.__name__} needs more than a message; give an instance of it") from exc
    if issubclass(kind, BaseException):
        raise TypeError(
            f"{where} is {_kind(value)}: an error is one of anyllm's, as anyllm.RateLimitError('slow down')"
        )
    return None


def _completion(answer: Any, where: str, ids: Iterator[str]) -> Optional[ChatCompletion]:
    """The whole answer that *answer* is; None of what is none."""
    if isinstance(answer, Mapping):
        choices = answer.get("choices")
        if isinstance(choices, (list, tuple)) and any("message" in choice for choice in choices):
            answer = _from_dict(answer, where)
        elif answer and _OF_MESSAGES.issuperset(answer):
            answer = _convert.structure(Message, {"role": "assistant", **answer})
    if isinstance(answer, Message):
        answer = ChatCompletion("chatcmpl-test", (Choice(message=answer),), 1700000000, "test-model")
    if not isinstance(answer, ChatCompletion):
        return None
    return attrs.evolve(answer, choices=tuple(_ended(choice, ids) for choice in answer.choices))


def _from_dict(answer: Mapping[str, Any], where: str) -> ChatCompletion:
    """In OpenAI's shape, as a host answered, or in that of `ChatCompletion.to_dict`, which also has a provider."""
    try:
        if answer.get("object") == "chat.completion" and "provider" not in answer:
            return _ROW.dialect.response(_convert.dumps(dict(answer)))
        return ChatCompletion.from_dict(answer)
    except (TypeError, AnyLLMError) as exc:
        raise TypeError(f"{where}: {exc}") from exc


def _ended(choice: Choice, ids: Iterator[str]) -> Choice:
    """With a finish reason, and ids of its calls."""
    message = choice.message
    calls = tuple(call if call.id else attrs.evolve(call, id=next(ids)) for call in message.tool_calls)
    reason = choice.finish_reason or ("tool_calls" if calls else "stop")
    return attrs.evolve(choice, message=attrs.evolve(message, tool_calls=calls), finish_reason=reason)


def _chunk(piece: Any, where: str) -> Any:
    if isinstance(piece, ChatCompletionChunk):
        return chunk_object(piece)
    if not isinstance(piece, Mapping):
        raise TypeError(f"{where} is {_kind(piece)}: {_ACCEPTED}")
    if not piece.keys() & {"choices", "error", "usage"}:
        raise TypeError(
            f"{where} is a dict without 'choices': a piece is a chat.completion.chunk; a whole message is no piece"
        )
    return dict(piece)


def _kind(value: Any) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else f"of type {type(value).__name__}"


def _delta(text: str) -> dict[str, Any]:
    (event,) = chat_events([text], role=False, finish_reason=None, usage=False)
    return event


def _call_delta(fragment: ToolCall) -> dict[str, Any]:
    event = _delta("")
    event["choices"][0]["delta"] = {"tool_calls": [fragment_object(fragment)]}
    return event


# -- the transport -----------------------------------------------------------------------------------------------------


class _FakeResponse:
    """Takes a `Response`'s place."""

    status = 200
    headers: Mapping[str, str] = {}
    broken: Optional[BaseException] = None

    def __init__(self, call: AbortableCall, dialect: Dialect, pieces: list[Any]) -> None:
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
        self._closed = waiters.new_waiter()
        self._event = event

    def wait(self) -> None:
        if self._event is None:
            waiters.wait(self._closed, None)
            return
        while not self._event.wait(_POLL):  # an Event cannot be waited for together with anything else
            if waiters.wait(self._closed, 0):
                return

    def close(self) -> None:
        waiters.release(self._closed)


def _body(answer: ChatCompletion) -> bytes:
    """A whole answer as the dialect's host would send it."""
    choices = [
        {"index": choice.index, "message": choice.message.to_dict(), "finish_reason": choice.raw_finish_reason}
        for choice in answer.choices
    ]
    usage = answer.usage.raw if answer.usage else None
    return _convert.dumps({"id": answer.id, "model": answer.model, "choices": choices, "usage": usage})
