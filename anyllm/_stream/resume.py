"""
Continuing an interrupted answer: the text to continue from, and a decoder that joins the rest to it.

Strategy: a model continues the text that is sent to it, but providers refuse a text that ends with white space, and
many interrupted answers do. So the trailing white space is not sent, and if the rest begins with it, it is removed.

A provider that does not support this ignores the text and begins a new answer, whose text would then follow the
interrupted one. So the rest is compared with the beginning of the interrupted text, and held back while it is the same:
if enough of the beginning comes again, it is a new answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Optional

import attrs

from anyllm._framing.event import Event
from anyllm.errors import InvalidRequestError
from anyllm.types import ChatCompletion, ChatCompletionChunk, ChunkChoice, ChunkDelta
from anyllm.wire._base.protocols import Decoder

#: If so many characters at the beginning of two answers are the same, that is no chance.
_COMPARED_LENGTH = 32


def text_to_continue(answer: ChatCompletion) -> Optional[str]:
    """The text of *answer* if it consists of nothing else, else None: models do not continue tool calls or audio."""
    message = answer.to_message()
    if len(answer.choices) != 1 or message.tool_calls or message.refusal or message.audio or answer.finish_reason:
        return None
    return message.text if message.text.strip() else None


class ContinuationDecoder:
    """
    Decodes the rest of an interrupted answer. Used by one thread, for one response.

    Args:
        decoder: The dialect's.
        text: The text that was sent for the model to continue.
        tail: White space at the end of the interrupted answer, which was not sent and may come again.
    """

    def __init__(self, decoder: Decoder, text: str, tail: str) -> None:
        self._decoder = decoder
        self._tail = tail
        self._has_new_text = False  # from here on chunks pass unchanged
        self._beginning = text.lstrip()[:_COMPARED_LENGTH]  # "" when the comparison is over
        self._repeated = ""  # as much of the beginning as has come again
        self._held: list[ChatCompletionChunk] = []  # the chunks of the repeated text

    @property
    def done(self) -> bool:
        return self._decoder.done

    @property
    def complete(self) -> bool:
        return self._decoder.complete

    def feed(self, event: Event) -> Sequence[ChatCompletionChunk]:
        return self._join(self._decoder.feed(event))

    def finish(self) -> Sequence[ChatCompletionChunk]:
        return (*self._join(self._decoder.finish()), *self._release())

    def _join(self, chunks: Sequence[ChatCompletionChunk]) -> tuple[ChatCompletionChunk, ...]:
        """The chunks that certainly continue the interrupted answer; InvalidRequestError if they begin a new one."""
        joined: list[ChatCompletionChunk] = []
        for chunk in chunks:
            if not self._beginning or not (chunk.content or self._held):  # reasoning, for example, is not compared
                joined += self._without_repetition(chunk)
                continue
            self._held.append(chunk)
            self._compare(chunk)
            if not self._beginning or any(choice.finish_reason for choice in chunk.choices):
                joined += self._release()
        return tuple(joined)

    def _compare(self, chunk: ChatCompletionChunk) -> None:
        """Compare the text of *chunk* with the rest of the beginning, and end the comparison if it differs."""
        text = chunk.content if self._repeated else chunk.content.lstrip()
        expected = self._beginning[len(self._repeated) :]
        if not text.startswith(expected):
            if expected.startswith(text):
                self._repeated += text
            else:
                self._beginning = ""
            return
        raise InvalidRequestError("the provider began a new answer instead of continuing this one", param="messages")

    def _release(self) -> Iterator[ChatCompletionChunk]:
        """The chunks that were held: they do not belong to a new answer."""
        held, self._held, self._beginning = self._held, [], ""
        for chunk in held:
            yield from self._without_repetition(chunk)

    def _without_repetition(self, chunk: ChatCompletionChunk) -> Iterator[ChatCompletionChunk]:
        if self._has_new_text:
            yield chunk
            return
        choices = tuple(filter(None, map(self._new_part, chunk.choices)))
        if choices or not chunk.choices or chunk.usage:
            # Reasoning may come before the text that repeats the white space.
            self._has_new_text = any(choice.delta.content for choice in choices)
            yield attrs.evolve(chunk, choices=choices)

    def _new_part(self, choice: ChunkChoice) -> Optional[ChunkChoice]:
        """*choice* without the role and the repeated white space; None if nothing else is in it."""
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
        # The first character that differs ends the comparison: nothing after it is a repetition.
        self._tail = self._tail[same:] if same == len(text) else ""
        return text[same:] or None
