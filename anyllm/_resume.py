"""
An answer that was cut after its first content: what can be asked to go on, and the two halves stitched together.

Strategy: a model goes on from the text it is given, but hosts refuse a text that ends with white space, which many
answers do where they are cut. So it is left out of what is sent, and looked for at the beginning of what comes: what is
said again is dropped, and if the model goes on otherwise, nothing is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Optional

import attrs

from anyllm._event import Event
from anyllm.dialects import Decoder
from anyllm.types import ChatCompletion, ChatCompletionChunk, ChunkChoice, ChunkDelta

__all__ = ["Stitched", "text_to_continue"]


def text_to_continue(answer: ChatCompletion) -> Optional[str]:
    """The text of *answer*, if that is all it consists of: of a call or a sound that was cut no model goes on."""
    message = answer.to_message()
    if len(answer.choices) != 1 or message.tool_calls or message.refusal or message.audio or answer.finish_reason:
        return None
    return message.text if message.text.strip() else None


class Stitched:
    """
    A decoder whose chunks go on where an earlier answer was cut. Used by one thread, for one response.

    Args:
        decoder: The dialect's.
        tail: White space at the end of what came before, which was not sent and may come again.
    """

    def __init__(self, decoder: Decoder, tail: str) -> None:
        self._decoder = decoder
        self._tail = tail
        self._goes_on = False  # something new has been said: what follows is as the decoder has it

    @property
    def done(self) -> bool:
        return self._decoder.done

    @property
    def complete(self) -> bool:
        return self._decoder.complete

    def feed(self, event: Event) -> Sequence[ChatCompletionChunk]:
        return tuple(self._stitched(self._decoder.feed(event)))

    def finish(self) -> Sequence[ChatCompletionChunk]:
        return tuple(self._stitched(self._decoder.finish()))

    def _stitched(self, chunks: Sequence[ChatCompletionChunk]) -> Iterator[ChatCompletionChunk]:
        for chunk in chunks:
            if self._goes_on:
                yield chunk
                continue
            choices = tuple(filter(None, map(self._going_on, chunk.choices)))
            if choices or not chunk.choices or chunk.usage:
                # Reasoning may come before the text that repeats what was not sent.
                self._goes_on = any(choice.delta.content for choice in choices)
                yield attrs.evolve(chunk, choices=choices)

    def _going_on(self, choice: ChunkChoice) -> Optional[ChunkChoice]:
        """*choice* without what was said before: who speaks, and the white space; None if that was all."""
        delta = attrs.evolve(choice.delta, role=None, content=self._without_tail(choice.delta.content))
        if delta == ChunkDelta() and choice.finish_reason is None and choice.logprobs is None:
            return None
        return attrs.evolve(choice, delta=delta)

    def _without_tail(self, text: Optional[str]) -> Optional[str]:
        if not text or not self._tail:
            return text or None
        same = 0
        while same < min(len(text), len(self._tail)) and text[same] == self._tail[same]:
            same += 1
        # The first that differs ends the comparison: nothing after it was said before.
        self._tail = self._tail[same:] if same == len(text) else ""
        return text[same:] or None
