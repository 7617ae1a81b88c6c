"""What comes of a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Optional

import attrs

from anyllm.errors import AnyLLMError
from anyllm.types import ChatCompletion, Message, Serializable, Usage

__all__ = ["AgentResult", "BudgetExceededError", "cost_of_all", "sum_of"]


@attrs.define(frozen=True)
class AgentResult(Serializable):
    """
    What came of a run.

    Attributes:
        content: The text of the last answer.
        messages: The whole conversation, what was given and the system's message included; with one more of the user's
            it is the input of the next run.
        turns: How often the model was asked.
        usage: The tokens of all turns together; None if none are known. Where one of them was estimated, so is the sum,
            with the lowest confidence of all.
        cost_usd: What all turns cost together, in US dollars; None where that of any is not known.
        completion: The last answer.
        stopped_by: "answer", or the budget that ran out: "turns", "tokens", "seconds" or "cost"; "error" where the run
            ended with another error.
    """

    content: str = ""
    messages: list[Message] = attrs.field(factory=list)
    turns: int = 0
    usage: Optional[Usage] = None
    cost_usd: Optional[float] = None
    completion: Optional[ChatCompletion] = None
    stopped_by: str = "answer"


class BudgetExceededError(AnyLLMError):
    """
    A run was not over when one of its budgets was.

    Attributes:
        budget: Which: "turns", "tokens", "seconds" or "cost".
        limit: What it was, in turns, tokens, seconds or US dollars.
        result: What there is: an `AgentResult`, whose conversation another run may go on with.
    """

    def __init__(
        self,
        message: str = "",
        *,
        budget: str,
        limit: float,
        result: Optional[AgentResult] = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(message, **kwargs)
        self.budget = budget
        self.limit = limit
        self.result = result


def sum_of(answers: Sequence[ChatCompletion]) -> Optional[Usage]:
    usages = [answer.usage for answer in answers if answer.usage is not None]
    if not usages:
        return None

    def parts(name: str) -> Optional[int]:
        said = [getattr(usage, name) for usage in usages if getattr(usage, name) is not None]
        return sum(said) if said else None

    return Usage(
        prompt_tokens=sum(usage.prompt_tokens for usage in usages),
        completion_tokens=sum(usage.completion_tokens for usage in usages),
        total_tokens=sum(usage.total_tokens for usage in usages),
        reasoning_tokens=parts("reasoning_tokens"),
        cache_read_tokens=parts("cache_read_tokens"),
        cache_write_tokens=parts("cache_write_tokens"),
        source=next((usage.source for usage in usages if usage.source != "provider"), "provider"),
        confidence=min(usage.confidence for usage in usages),
    )


def cost_of_all(answers: Sequence[ChatCompletion]) -> Optional[float]:
    costs = [answer.cost_usd for answer in answers]
    return sum(cost for cost in costs if cost is not None) if None not in costs and costs else None
