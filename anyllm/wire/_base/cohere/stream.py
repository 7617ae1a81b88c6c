"""What the streams of Cohere's two APIs have in common: how their chunks are made, and how their fields are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from anyllm.errors import IncompleteStreamError, MalformedStreamError
from anyllm.types import ChatCompletionChunk, ChunkChoice, ChunkDelta, Usage
from anyllm.wire._base.finish_reasons import json_type
from anyllm.wire._base.surrogate_joiner import Halves, mend, mend_all

__all__ = ["CohereStream"]


class CohereStream:
    """
    The state and the tools of a decoder, which says what events mean: `_whole` what a whole answer does.

    Args:
        provider: Stands in every chunk and error.
    """

    __slots__ = ("_began", "_ended", "_events", "_halves", "_id", "_place", "_provider", "_waiting")

    #: The event with which an answer ends.
    _last: ClassVar[str]

    def __init__(self, *, provider: str) -> None:
        self._provider = provider
        self._id = ""
        self._events = 0
        self._began = self._ended = False
        self._halves = Halves()
        self._waiting = self._halves.waiting
        #: The event, and the place in the answer, that the waiting halves belong to.
        self._place: tuple[Any, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether the event with which an answer ends was seen, after a beginning."""
        return self._ended

    def feed_whole(self, body: dict[str, Any]) -> Sequence[ChatCompletionChunk]:
        """
        The chunks of a whole, decoded answer.

        Raises:
            APIError, MalformedStreamError: as `feed`.
        """
        try:
            body = mend_all(body)
        except RecursionError as exc:
            raise self._malformed("the answer is nested too deeply") from exc
        return self._whole(body, body)

    def finish(self) -> Sequence[ChatCompletionChunk]:
        """
        What was held back, at the end of the bytes: nothing, if that is a good end.

        Raises:
            IncompleteStreamError: the event with which an answer ends never came.
        """
        if not self._ended:
            raise IncompleteStreamError(self._what_is_missing(), provider=self._provider)
        return ()

    def _whole(self, body: dict[str, Any], raw: Any) -> Sequence[ChatCompletionChunk]:
        raise NotImplementedError

    def _what_is_missing(self, came: str = "the stream ended") -> str:
        what = self._last if self._began else "any answer came"
        return f"{came} before {what} ({self._events} events)"

    def _chunk(
        self,
        raw: Any,
        delta: ChunkDelta | None = None,
        *,
        usage: Usage | None = None,
        logprobs: dict[str, Any] | None = None,
    ) -> ChatCompletionChunk:
        choices: tuple[ChunkChoice, ...] = ()
        if delta is not None:
            if not self._began:
                self._began = True
                delta.role = "assistant"
            choices = (ChunkChoice(0, delta, None, None, logprobs),)
        return ChatCompletionChunk(
            self._id, choices, 0, "", "chat.completion.chunk", usage, None, None, self._provider, raw
        )

    def _object(self, body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
        value = body.get(name)
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise self._malformed(f"{name} is {json_type(value)}")
        return value

    def _text(self, body: Mapping[str, Any], name: str) -> str:
        value = body.get(name)
        if value is None or isinstance(value, str):
            return value or ""
        raise self._malformed(f"{name} is {json_type(value)}")

    def _malformed(self, what: str) -> MalformedStreamError:
        return MalformedStreamError(mend(what), provider=self._provider)
