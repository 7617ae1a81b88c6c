"""
Splits off reasoning that Bedrock puts into the text of OpenAI's models, between ``<reasoning>`` and ``</reasoning>``.

Strategy: reasoning comes before the answer, in one block per event, so tags are looked for only there and not in the
answer. A tag may still be split between events: text that could be part of one is held back until that is clear.

Source: https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-openai.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

from anyllm._framing.event import Event
from anyllm.errors import APIError
from anyllm.types import (
    ChatCompletion,
    ChatCompletionChunk,
    Choice,
    ChunkChoice,
    ChunkDelta,
    CompletionParams,
    Reasoning,
)
from anyllm.wire._base.protocols import Decoder, Dialect, FormatSupport, Request

__all__ = ["TaggedReasoningDialect"]

_OPEN, _CLOSE = "<reasoning>", "</reasoning>"


class _TagSplitter:
    """Splits one choice's text. `feed` for each piece, `finish` at the end."""

    __slots__ = ("_done", "_inside", "_pending")

    def __init__(self) -> None:
        self._pending = ""
        self._inside = self._done = False

    def feed(self, text: str) -> tuple[str, str]:
        """The reasoning, and the answer, in the pending text and *text*."""
        text, self._pending = self._pending + text, ""
        reasoning: list[str] = []
        while text and not self._done:
            if self._inside:
                inside, tag, text = text.partition(_CLOSE)
                self._inside = not tag
                end = len(inside) if tag else len(inside) - _partial_tag_length(inside)
                reasoning.append(inside[:end])
                self._pending = inside[end:]
            elif text.startswith(_OPEN):
                self._inside, text = True, text[len(_OPEN) :]
            elif _OPEN.startswith(text):
                self._pending, text = text, ""
            else:
                self._done = True
        return "".join(reasoning), text

    def finish(self) -> tuple[str, str]:
        """The pending text, as reasoning and answer: it is of the same kind as the text before it."""
        pending, self._pending = self._pending, ""
        return (pending, "") if self._inside else ("", pending)


def _partial_tag_length(text: str) -> int:
    """The number of characters at the end of *text* that may begin the closing tag."""
    return next((size for size in range(len(_CLOSE) - 1, 0, -1) if text.endswith(_CLOSE[:size])), 0)


class _TaggedReasoningDecoder:
    """Splits the reasoning off the text of another decoder's chunks. Used by one thread, for one response."""

    __slots__ = ("_inner", "_last", "_tags")

    def __init__(self, inner: Decoder) -> None:
        self._inner = inner
        self._tags: dict[int, _TagSplitter] = {}
        self._last = ChatCompletionChunk()

    @property
    def done(self) -> bool:
        """As the inner decoder's."""
        return self._inner.done

    @property
    def complete(self) -> bool:
        """As the inner decoder's."""
        return self._inner.complete

    def feed(self, event: Event) -> Sequence[ChatCompletionChunk]:
        """The chunks of *event*; errors as the inner decoder's."""
        return [self._split(chunk) for chunk in self._inner.feed(event)]

    def finish(self) -> Sequence[ChatCompletionChunk]:
        """The chunks that were held back, and the pending text; errors as the inner decoder's."""
        chunks = [self._split(chunk) for chunk in self._inner.finish()]
        for index, tags in self._tags.items():
            reasoning, text = tags.finish()
            if reasoning or text:
                choice = ChunkChoice(index, ChunkDelta(None, text or None, reasoning=_reasoning(reasoning)))
                chunks.append(attrs.evolve(self._last, choices=(choice,), usage=None))
        return chunks

    def _split(self, chunk: ChatCompletionChunk) -> ChatCompletionChunk:
        for choice in chunk.choices:
            delta, tags = choice.delta, self._tags.setdefault(choice.index, _TagSplitter())
            reasoning, text = tags.feed(delta.content or "")
            if choice.finish_reason is not None:
                last_reasoning, last_text = tags.finish()
                reasoning, text = reasoning + last_reasoning, text + last_text
            if reasoning or text or delta.content:
                delta.content = text or None
                delta.reasoning = _reasoning(reasoning) or delta.reasoning
        self._last = chunk
        return chunk


def _reasoning(text: str) -> Reasoning | None:
    return Reasoning(text) if text else None


@attrs.define(frozen=True)
class TaggedReasoningDialect:
    """
    A dialect whose providers put reasoning into the text, between tags.

    Attributes:
        dialect: The dialect of the stream with the tags.
    """

    dialect: Dialect

    @property
    def support(self) -> FormatSupport:
        """The parameters that the inner dialect supports."""
        return self.dialect.support

    def request(self, params: CompletionParams, *, model: str, stream: bool) -> Request:
        """The inner dialect's request."""
        return self.dialect.request(params, model=model, stream=stream)

    def decoder(self) -> Decoder:
        """A fresh decoder for one streamed response."""
        return _TaggedReasoningDecoder(self.dialect.decoder())

    def response(self, body: bytes) -> ChatCompletion:
        """A whole response; errors as the inner dialect's."""
        completion = self.dialect.response(body)
        completion.choices = tuple(_split_choice(choice) for choice in completion.choices)
        return completion

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> APIError:
        """The error of a response with that HTTP status."""
        return self.dialect.error(status, headers, body)


def _split_choice(choice: Choice) -> Choice:
    message, tags = choice.message, _TagSplitter()
    if not isinstance(message.content, str):
        return choice
    reasoning, text = tags.feed(message.content)
    last_reasoning, last_text = tags.finish()
    reasoning, text = reasoning + last_reasoning, text + last_text
    if not reasoning:
        return choice
    return attrs.evolve(choice, message=attrs.evolve(message, content=text or None, reasoning=Reasoning(reasoning)))
