"""
An answer that was cut after its first content: what can be asked to go on, and the two halves stitched together.

Strategy: a model goes on from the text it is given, but hosts refuse a text that ends with white space, which many
answers do where they are cut. So it is left out of what is sent, and looked for at the beginning of what comes: what is
said again is dropped, and if the model goes on otherwise, nothing is.

A host that does not know this way of asking ignores the text and begins a new answer, whose text would then stand
behind the one that was cut. So what comes is compared with the beginning of what was there, and kept back as long as
it is the same: if all of that, or enough of it, comes again, it is a new answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Optional

import attrs

from anyllm._framing.event import Event
from anyllm.errors import InvalidRequestError
from anyllm.types import ChatCompletion, ChatCompletionChunk, ChunkChoice, ChunkDelta
from anyllm.wire._base.dialect import Decoder

__all__ = ["Stitched", "text_to_continue"]

#: Characters at the beginning of two answers that are not the same by chance.
_SAME_BEGINNING = 32


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
        begun: The text that was sent, for the model to go on from.
        tail: White space at the end of what came before, which was not sent and may come again.
    """

    def __init__(self, decoder: Decoder, begun: str, tail: str) -> None:
        self._decoder = decoder
        self._tail = tail
        self._goes_on = False  # something new has come: what follows is as the decoder has it
        self._beginning = begun.lstrip()[:_SAME_BEGINNING]
        self._same = ""  # what came again of the beginning
        self._held: list[ChatCompletionChunk] = []  # the chunks that brought it

    @property
    def done(self) -> bool:
        return self._decoder.done

    @property
    def complete(self) -> bool:
        return self._decoder.complete

    def feed(self, event: Event) -> Sequence[ChatCompletionChunk]:
        return self._continuing(self._decoder.feed(event))

    def finish(self) -> Sequence[ChatCompletionChunk]:
        return (*self._continuing(self._decoder.finish()), *self._release())

    def _continuing(self, chunks: Sequence[ChatCompletionChunk]) -> tuple[ChatCompletionChunk, ...]:
        """
        What of *chunks* is now sure to continue the earlier answer.

        Raises:
            InvalidRequestError: they are those of a new answer.
        """
        found: list[ChatCompletionChunk] = []
        for chunk in chunks:
            if not self._beginning or not (chunk.content or self._held):  # reasoning, for example, is not compared
                found += self._stitched(chunk)
                continue
            self._held.append(chunk)
            self._compare(chunk)
            if not self._beginning or any(choice.finish_reason for choice in chunk.choices):
                found += self._release()
        return tuple(found)

    def _compare(self, chunk: ChatCompletionChunk) -> None:
        """Compare the text of *chunk* with what is left of the beginning, which is "" once it differs."""
        text = chunk.content if self._same else chunk.content.lstrip()
        expected = self._beginning[len(self._same) :]
        if not text.startswith(expected):
            if expected.startswith(text):
                self._same += text
            else:
                self._beginning = ""
            return
        raise InvalidRequestError("the host does not continue an answer: it began a new one", param="messages")

    def _release(self) -> Iterator[ChatCompletionChunk]:
        """The chunks that were held: they are no new answer."""
        held, self._held, self._beginning = self._held, [], ""
        for chunk in held:
            yield from self._stitched(chunk)

    def _stitched(self, chunk: ChatCompletionChunk) -> Iterator[ChatCompletionChunk]:
        if self._goes_on:
            yield chunk
            return
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
