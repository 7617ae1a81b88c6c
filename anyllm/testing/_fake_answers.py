"""Answers for the fake provider: every accepted shape becomes an error to raise, or a list of events."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Optional, Union

import attrs

from anyllm.errors import AnyLLMError
from anyllm.providers.table import lookup
from anyllm.testing._chat import chat_events
from anyllm.testing._steps import Stall
from anyllm.types import ChatCompletion, ChatCompletionChunk, Choice, Message, ToolCall, _convert
from anyllm.types._openai_chunk import chunk_object, fragment_object
from anyllm.types._replay import fragments, replayed

#: The provider that is faked.
ROW = lookup.get("compatible")

#: A part of an answer; see `fake`.
Piece = Union[str, ToolCall, ChatCompletionChunk, Mapping[str, Any], AnyLLMError, type[AnyLLMError], Stall, type[Stall]]
#: The answer to one call; see `fake`.
Answer = Union[Piece, Message, ChatCompletion, Iterable[Piece]]
_ACCEPTED = (
    "an answer is a text; a ToolCall; a Message or a ChatCompletion, or a dict in the shape of one; an error of "
    "anyllm's, or its class; a Stall; or a list of texts, ToolCalls, chunks (dicts too), errors and Stalls"
)
_MESSAGE_FIELDS = frozenset(field.name for field in attrs.fields(Message))


def scripted(answers: Iterable[Any]) -> list[Union[AnyLLMError, list[Any]]]:
    """Each answer as an error to raise, or as events (dicts), errors and stalls."""
    script: list[Union[AnyLLMError, list[Any]]] = []
    ids = (f"call_{number}" for number in itertools.count(1))
    for number, answer in enumerate(answers, 1):
        where = f"answer {number} of fake()"
        error = _error(answer, where)
        script.append(_events(answer, where, ids) if error is None else error)
    return script


def _events(answer: Any, where: str, ids: Iterator[str]) -> list[Any]:
    if isinstance(answer, str):
        return list(chat_events(answer))
    completion = _completion(answer, where, ids)
    if completion is not None:
        return [chunk_object(chunk) for chunk in replayed(completion)]
    if isinstance(answer, (Mapping, ToolCall, ChatCompletionChunk, Stall)) or answer is Stall:
        answer = [answer]
    if isinstance(answer, (bytes, type)) or not isinstance(answer, Iterable):
        raise TypeError(f"{where} is {_type_name(answer)}: {_ACCEPTED}")
    return _piece_events(list(answer), where, ids)


def _piece_events(answer: list[Any], where: str, ids: Iterator[str]) -> list[Any]:
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
    """The error to raise; None if *value* is not an error."""
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
            f"{where} is {_type_name(value)}: an error is one of anyllm's, as anyllm.RateLimitError('slow down')"
        )
    return None


def _completion(answer: Any, where: str, ids: Iterator[str]) -> Optional[ChatCompletion]:
    """The whole answer; None if *answer* is not one."""
    if isinstance(answer, Mapping):
        choices = answer.get("choices")
        if isinstance(choices, (list, tuple)) and any("message" in choice for choice in choices):
            answer = _from_dict(answer, where)
        elif answer and _MESSAGE_FIELDS.issuperset(answer):
            answer = _convert.structure(Message, {"role": "assistant", **answer})
    if isinstance(answer, Message):
        answer = ChatCompletion("chatcmpl-test", (Choice(message=answer),), 1700000000, "test-model")
    if not isinstance(answer, ChatCompletion):
        return None
    return attrs.evolve(answer, choices=tuple(_completed(choice, ids) for choice in answer.choices))


def _from_dict(answer: Mapping[str, Any], where: str) -> ChatCompletion:
    """Reads OpenAI's shape, and that of `ChatCompletion.to_dict`, which also has a provider."""
    try:
        if answer.get("object") == "chat.completion" and "provider" not in answer:
            return ROW.dialect.response(_convert.dumps(dict(answer)))
        return ChatCompletion.from_dict(answer)
    except (TypeError, AnyLLMError) as exc:
        raise TypeError(f"{where}: {exc}") from exc


def _completed(choice: Choice, ids: Iterator[str]) -> Choice:
    """The choice with a finish reason, and with ids of its calls."""
    message = choice.message
    calls = tuple(call if call.id else attrs.evolve(call, id=next(ids)) for call in message.tool_calls)
    reason = choice.finish_reason or ("tool_calls" if calls else "stop")
    return attrs.evolve(choice, message=attrs.evolve(message, tool_calls=calls), finish_reason=reason)


def _chunk(piece: Any, where: str) -> Any:
    if isinstance(piece, ChatCompletionChunk):
        return chunk_object(piece)
    if not isinstance(piece, Mapping):
        raise TypeError(f"{where} is {_type_name(piece)}: {_ACCEPTED}")
    if not piece.keys() & {"choices", "error", "usage"}:
        raise TypeError(
            f"{where} is a dict without 'choices': a piece is a chat.completion.chunk; a whole message is no piece"
        )
    return dict(piece)


def _type_name(value: Any) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else f"of type {type(value).__name__}"


def _delta(text: str) -> dict[str, Any]:
    (event,) = chat_events([text], role=False, finish_reason=None, usage=False)
    return event


def _call_delta(fragment: ToolCall) -> dict[str, Any]:
    event = _delta("")
    event["choices"][0]["delta"] = {"tool_calls": [fragment_object(fragment)]}
    return event
