"""
Splits off reasoning that Bedrock puts into the text of OpenAI's models, between ``<reasoning>`` and ``</reasoning>``.

Strategy: reasoning comes before the answer, in one block per event, so tags are looked for only there and not in the
answer. A tag may still be split between events: text that could be part of one is held back until that is clear.

Source: https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-openai.html
"""

from __future__ import annotations

import attrs

from anyllm.types import ChatCompletionChunk, Choice, ChunkChoice, ChunkDelta, Reasoning

__all__ = ["ReasoningTags", "split_choice"]

_OPEN, _CLOSE = "<reasoning>", "</reasoning>"


class _TagSplitter:
    """Splits one choice's text: call `feed` for each piece."""

    __slots__ = ("_done", "_inside", "_pending")

    def __init__(self) -> None:
        self._pending = ""
        self._inside = self._done = False

    def feed(self, text: str, *, is_last: bool = False) -> tuple[str, str]:
        """The reasoning, and the answer, in the pending text and *text*; with all pending text of the last piece."""
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
        if is_last:  # pending text is of the same kind as the text before it
            pending, self._pending = self._pending, ""
            reasoning.append(pending if self._inside else "")
            text += "" if self._inside else pending
        return "".join(reasoning), text


def _partial_tag_length(text: str) -> int:
    """The number of characters at the end of *text* that may begin the closing tag."""
    return next((size for size in range(len(_CLOSE) - 1, 0, -1) if text.endswith(_CLOSE[:size])), 0)


class ReasoningTags:
    """Splits the reasoning off the text of a stream's chunks. Used by one thread, for one response."""

    __slots__ = ("_by_choice", "_last")

    def __init__(self) -> None:
        self._by_choice: dict[int, _TagSplitter] = {}
        self._last = ChatCompletionChunk()

    def split(self, chunk: ChatCompletionChunk) -> None:
        """Move the reasoning in *chunk* from its content to its reasoning."""
        for choice in chunk.choices:
            delta, tags = choice.delta, self._by_choice.setdefault(choice.index, _TagSplitter())
            reasoning, text = tags.feed(delta.content or "", is_last=choice.finish_reason is not None)
            if reasoning or text or delta.content:
                delta.content = text or None
                delta.reasoning = _reasoning(reasoning) or delta.reasoning
        self._last = chunk

    def finish(self) -> list[ChatCompletionChunk]:
        """Chunks with the pending text, at the end of the stream."""
        pieces = [(index, *tags.feed("", is_last=True)) for index, tags in self._by_choice.items()]
        choices = [
            ChunkChoice(index, ChunkDelta(None, text or None, reasoning=_reasoning(reasoning)))
            for index, reasoning, text in pieces
            if reasoning or text
        ]
        return [attrs.evolve(self._last, choices=(choice,), usage=None) for choice in choices]


def split_choice(choice: Choice) -> Choice:
    """A choice of a whole answer, with the reasoning moved from its content to its reasoning."""
    message = choice.message
    if not isinstance(message.content, str):
        return choice
    reasoning, text = _TagSplitter().feed(message.content, is_last=True)
    if not reasoning:
        return choice
    return attrs.evolve(choice, message=attrs.evolve(message, content=text or None, reasoning=Reasoning(reasoning)))


def _reasoning(text: str) -> Reasoning | None:
    return Reasoning(text) if text else None
