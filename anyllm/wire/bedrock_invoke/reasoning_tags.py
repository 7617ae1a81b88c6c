"""
Reasoning that this host writes into the text of OpenAI's models, between ``<reasoning>`` and ``</reasoning>``.

Strategy: it stands before the answer, in a block for each event; so only there are tags looked for, and an answer that
speaks of them is left alone. A tag may come in pieces all the same: what could still become one is held back, and given
when it turns out to be text.

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
from anyllm.wire._base.dialect import Decoder, Dialect, FormatSupport, Request

__all__ = ["TaggedReasoning"]

_OPEN, _CLOSE = "<reasoning>", "</reasoning>"


class _Tags:
    """Splits one choice's text. `feed` for each piece, `finish` at the end."""

    __slots__ = ("_held", "_inside", "_over")

    def __init__(self) -> None:
        self._held = ""
        self._inside = self._over = False

    def feed(self, text: str) -> tuple[str, str]:
        """What of *text*, and of what was held back before it, is reasoning, and what is answer."""
        text, self._held = self._held + text, ""
        thoughts: list[str] = []
        while text and not self._over:
            if self._inside:
                thought, tag, text = text.partition(_CLOSE)
                self._inside = not tag
                kept = len(thought) if tag else len(thought) - _beginning_at_end(thought)
                thoughts.append(thought[:kept])
                self._held = thought[kept:]
            elif text.startswith(_OPEN):
                self._inside, text = True, text[len(_OPEN) :]
            elif _OPEN.startswith(text):
                self._held, text = text, ""
            else:
                self._over = True
        return "".join(thoughts), text

    def finish(self) -> tuple[str, str]:
        """What is still held back: text of whatever kind came before it."""
        held, self._held = self._held, ""
        return (held, "") if self._inside else ("", held)


def _beginning_at_end(text: str) -> int:
    """How many characters at the end of *text* may be the beginning of the closing tag."""
    return next((size for size in range(len(_CLOSE) - 1, 0, -1) if text.endswith(_CLOSE[:size])), 0)


class _TagsDecoder:
    """The chunks of another decoder, with the reasoning taken out of the text. Used by one thread, for one response."""

    __slots__ = ("_inner", "_last", "_tags")

    def __init__(self, inner: Decoder) -> None:
        self._inner = inner
        self._tags: dict[int, _Tags] = {}
        self._last = ChatCompletionChunk()

    @property
    def done(self) -> bool:
        """As the other says."""
        return self._inner.done

    @property
    def complete(self) -> bool:
        """As the other says."""
        return self._inner.complete

    def feed(self, event: Event) -> Sequence[ChatCompletionChunk]:
        """The chunks that *event* brings; errors are the other's."""
        return [self._split(chunk) for chunk in self._inner.feed(event)]

    def finish(self) -> Sequence[ChatCompletionChunk]:
        """What was held back: the beginning of a tag that is none. Errors are the other's."""
        chunks = [self._split(chunk) for chunk in self._inner.finish()]
        for index, tags in self._tags.items():
            thought, text = tags.finish()
            if thought or text:
                choice = ChunkChoice(index, ChunkDelta(None, text or None, reasoning=_reasoning(thought)))
                chunks.append(attrs.evolve(self._last, choices=(choice,), usage=None))
        return chunks

    def _split(self, chunk: ChatCompletionChunk) -> ChatCompletionChunk:
        for choice in chunk.choices:
            delta, tags = choice.delta, self._tags.setdefault(choice.index, _Tags())
            thought, text = tags.feed(delta.content or "")
            if choice.finish_reason is not None:
                last_thought, last_text = tags.finish()
                thought, text = thought + last_thought, text + last_text
            if thought or text or delta.content:
                delta.content = text or None
                delta.reasoning = _reasoning(thought) or delta.reasoning
        self._last = chunk
        return chunk


def _reasoning(thought: str) -> Reasoning | None:
    return Reasoning(thought) if thought else None


@attrs.define(frozen=True)
class TaggedReasoning:
    """
    Another dialect, whose hosts write reasoning into the text.

    Attributes:
        dialect: The other.
    """

    dialect: Dialect

    @property
    def support(self) -> FormatSupport:
        """What the other has words for."""
        return self.dialect.support

    def request(self, params: CompletionParams, *, model: str, stream: bool) -> Request:
        """The other's request."""
        return self.dialect.request(params, model=model, stream=stream)

    def decoder(self) -> Decoder:
        """A fresh decoder for one streamed response."""
        return _TagsDecoder(self.dialect.decoder())

    def response(self, body: bytes) -> ChatCompletion:
        """A whole response; errors are the other's."""
        completion = self.dialect.response(body)
        completion.choices = tuple(_split_choice(choice) for choice in completion.choices)
        return completion

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> APIError:
        """The error that an HTTP status, its headers and its body say."""
        return self.dialect.error(status, headers, body)


def _split_choice(choice: Choice) -> Choice:
    message, tags = choice.message, _Tags()
    if not isinstance(message.content, str):
        return choice
    thought, text = tags.feed(message.content)
    more_thought, more_text = tags.finish()
    thought, text = thought + more_thought, text + more_text
    if not thought:
        return choice
    return attrs.evolve(choice, message=attrs.evolve(message, content=text or None, reasoning=Reasoning(thought)))
