"""The base of the decoders of both versions of Cohere's chat API."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from anyllm.types import ChatCompletionChunk, ChunkChoice, ChunkDelta, Usage
from anyllm.wire._base.decoder import BaseDecoder

__all__ = ["CohereStream"]


class CohereStream(BaseDecoder):
    """
    State and chunks of a decoder. Subclasses read the events, and whole answers in `_whole`.

    Args:
        provider: The provider's name, in every chunk and error.
    """

    __slots__ = ("_began", "_ended", "_id", "_place")

    #: The type of the last event of an answer.
    _last: ClassVar[str]

    def __init__(self, *, provider: str) -> None:
        super().__init__(provider=provider)
        self._id = ""
        self._began = self._ended = False
        #: The type of event, and the index in the answer, of the surrogate halves that wait for their partner.
        self._place: tuple[Any, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether the last event of the answer came, after its beginning."""
        return self._ended

    def feed_whole(self, body: dict[str, Any]) -> Sequence[ChatCompletionChunk]:
        """
        The chunks of a whole, decoded answer.

        Raises:
            APIError, MalformedStreamError: as `feed`.
        """
        body = self._repaired(body, "the answer")
        return self._whole(body, body)

    def _whole(self, body: dict[str, Any], raw: Any) -> Sequence[ChatCompletionChunk]:
        raise NotImplementedError

    def _missing_end(self, came: str = "the stream ended") -> str:
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
