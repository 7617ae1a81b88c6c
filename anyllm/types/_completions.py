"""Whole answers."""

from __future__ import annotations

import re
from typing import Any, Optional

import attrs

from anyllm.types import _convert
from anyllm.types._base import Serializable, first_choice
from anyllm.types._cost import Cost
from anyllm.types._messages import Message
from anyllm.types._parts import RetryNotice, ToolCall, Usage

#: A document in a Markdown fence, which may follow words, and may never be closed. JSON's strings have no line breaks.
_FENCED = re.compile(r"^[ \t]*```[\w+.-]*(?P<json>.*?)(?:\n[ \t]*```|```\s*\Z|\Z)", re.DOTALL | re.MULTILINE)


@attrs.define
class Choice(Serializable):
    """
    One whole answer.

    Attributes:
        index: Which of the ``n`` answers.
        message: What was said, ready to be appended to the conversation.
        finish_reason: One of `FINISH_REASONS`; None when the provider gave none.
        raw_finish_reason: The provider's own word for it.
        logprobs: As the provider sent them; of a stream, all its pieces together.
    """

    index: int = 0
    message: Message = attrs.field(factory=lambda: Message("assistant"))
    finish_reason: Optional[str] = None
    raw_finish_reason: Optional[str] = None
    logprobs: Optional[dict[str, Any]] = None


@attrs.define
class ChatCompletion(Serializable):
    """
    A whole response: from `completion`, from `Stream.collect`, or, unfinished, as an error's ``partial``.

    Attributes:
        id, created, model, system_fingerprint, service_tier, provider: As on `ChatCompletionChunk`.
        choices: The answers, by index.
        object: "chat.completion".
        usage: Tokens; None when the provider sent none.
        raw: The provider's own answer, decoded; None for a stream.
        cost: What it cost; None where nobody reckoned it, as `Client` does, or no price is known.
        parsed: The instance of the class that a `Client` was given as ``response_format``.
        retries: The further tries that it took after its first content, where `Retry.after_content` asks for them.
    """

    id: str = ""
    choices: tuple[Choice, ...] = ()
    created: int = 0
    model: str = ""
    object: str = "chat.completion"
    usage: Optional[Usage] = None
    system_fingerprint: Optional[str] = None
    service_tier: Optional[str] = None
    provider: str = ""
    raw: Optional[Any] = attrs.field(default=None, eq=False, repr=False)
    retries: tuple[RetryNotice, ...] = attrs.field(default=(), metadata={"omit_default": True})
    cost: Optional[Cost] = None
    parsed: Optional[Any] = attrs.field(default=None, eq=False, repr=False, metadata={"stays": True})

    @property
    def content(self) -> str:
        """The text of choice 0; "" when there is none."""
        return self.to_message().text

    @property
    def reasoning(self) -> str:
        """The reasoning of choice 0; "" when there is none."""
        reasoning = self.to_message().reasoning
        return (reasoning.content or "") if reasoning else ""

    @property
    def refusal(self) -> str:
        """What choice 0 said instead of answering; "" when it did not refuse."""
        return self.to_message().refusal or ""

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The tool calls of choice 0."""
        return self.to_message().tool_calls

    @property
    def cost_usd(self) -> Optional[float]:
        """What it cost in US dollars; None where that is not known."""
        return None if self.cost is None else self.cost.total_usd

    def get_json(self) -> Any:
        """
        The text of choice 0 as JSON, out of a Markdown code fence if it stands in one.

        Raises:
            ValueError: it is no JSON; the message says so if a refusal or a spent token limit is why.
                `anyllm.structured.parse` also checks it, and repairs it on request.
        """
        text = self.content
        fenced = None if text.lstrip()[:1] in ("{", "[", '"') else _FENCED.search(text)
        try:
            return _convert.loads(fenced["json"] if fenced else text)
        except ValueError as exc:
            cause = cause_of_no_answer(self)
            if cause is None:
                raise
            raise ValueError(f"{cause}: {exc}") from exc

    @property
    def finish_reason(self) -> Optional[str]:
        """Why choice 0 ended."""
        choice = first_choice(self.choices)
        return choice.finish_reason if choice else None

    @property
    def raw_finish_reason(self) -> Optional[str]:
        """The provider's own word for why choice 0 ended."""
        choice = first_choice(self.choices)
        return choice.raw_finish_reason if choice else None

    def to_message(self) -> Message:
        """The answer as a turn to append to the conversation: reasoning, signatures and tool calls included."""
        choice = first_choice(self.choices)
        return choice.message if choice else Message("assistant")


def cause_of_no_answer(answer: ChatCompletion) -> Optional[str]:
    """Why choice 0 of *answer* is not what it was to be, in words; None where nothing says so."""
    if answer.refusal:
        return f"the model refused ({answer.refusal})"
    if answer.finish_reason == "content_filter":
        return "a content filter ended the answer"
    if answer.finish_reason == "length":
        return (
            "the token limit ended the answer" if answer.content else "the token limit was spent before any text came"
        )
    return None
