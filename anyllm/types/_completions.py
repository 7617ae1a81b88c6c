"""Whole answers: `ChatCompletion` and `Choice`."""

from __future__ import annotations

import re
from typing import Any, Optional

import attrs

from anyllm.types import _convert
from anyllm.types._base import FirstChoice, Serializable, first_choice
from anyllm.types._cost import Cost
from anyllm.types._messages import Message
from anyllm.types._parts import RetryNotice, ToolCall, Usage

#: A document in a Markdown fence, which may follow text and may not be closed. JSON's strings have no line breaks.
_FENCED = re.compile(r"^[ \t]*```[\w+.-]*(?P<json>.*?)(?:\n[ \t]*```|```\s*\Z|\Z)", re.DOTALL | re.MULTILINE)


@attrs.define
class Choice(Serializable):
    """
    One whole answer.

    Attributes:
        index: Which of the ``n`` answers.
        message: The answer, to be appended to the conversation.
        finish_reason: One of `FINISH_REASONS`; None if the provider sent none.
        raw_finish_reason: The provider's own value.
        logprobs: The provider's own object; for a stream, all pieces joined.
    """

    index: int = 0
    message: Message = attrs.field(factory=lambda: Message("assistant"))
    finish_reason: Optional[str] = None
    raw_finish_reason: Optional[str] = None
    logprobs: Optional[dict[str, Any]] = None


@attrs.define
class ChatCompletion(FirstChoice):
    """
    A whole response, from `completion` or `Stream.collect`; or an incomplete one, as an error's ``partial``.

    Attributes:
        id, created, model, system_fingerprint, service_tier, provider: As on `ChatCompletionChunk`.
        choices: The answers, by index.
        object: "chat.completion".
        usage: Tokens; None if the provider sent none.
        raw: The provider's own answer, decoded; None for a stream.
        cost: The cost, which `Client` computes; None elsewhere, and without a price.
        parsed: An instance of the class that was passed to a `Client` as ``response_format``.
        retries: The retries after the first content, with `Retry.after_content`.
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
        """The text of choice 0; "" if there is none."""
        return self.to_message().text

    @property
    def reasoning(self) -> str:
        """The reasoning of choice 0; "" if there is none."""
        reasoning = self.to_message().reasoning
        return (reasoning.content or "") if reasoning else ""

    @property
    def refusal(self) -> str:
        """The refusal of choice 0; "" if there is none."""
        return self.to_message().refusal or ""

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The tool calls of choice 0."""
        return self.to_message().tool_calls

    @property
    def cost_usd(self) -> Optional[float]:
        """The cost in US dollars; None if it is unknown."""
        return None if self.cost is None else self.cost.total_usd

    def get_json(self) -> Any:
        """
        The text of choice 0 parsed as JSON, without a Markdown code fence around it.

        Raises:
            ValueError: it is not JSON; the message names a refusal or a spent token limit as the reason.
                `anyllm.structured.parse` also validates it, and repairs it on request.
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

    def to_message(self) -> Message:
        """The answer as a message for the next turn, with reasoning, signatures and tool calls."""
        choice = first_choice(self.choices)
        return choice.message if choice else Message("assistant")


def cause_of_no_answer(answer: ChatCompletion) -> Optional[str]:
    """Why choice 0 of *answer* is missing or incomplete, for error messages; None if that is unknown."""
    if answer.refusal:
        return f"the model refused ({answer.refusal})"
    if answer.finish_reason == "content_filter":
        return "a content filter ended the answer"
    if answer.finish_reason == "length":
        return (
            "the token limit ended the answer" if answer.content else "the token limit was spent before any text came"
        )
    return None
