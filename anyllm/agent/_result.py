"""The result of an agent's run, and the error for a budget that is used up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Optional

import attrs

from anyllm.errors import AnyLLMError
from anyllm.types import ChatCompletion, Message, Serializable, Usage

_COUNTS = (
    *("prompt_tokens", "completion_tokens", "total_tokens"),
    *("reasoning_tokens", "cache_read_tokens", "cache_write_tokens"),
)


@attrs.define(frozen=True)
class AgentResult(Serializable):
    """
    The result of a run.

    Attributes:
        content: The text of the last answer.
        messages: The whole conversation, with the input and the system message; with one more user message it is the
            input of the next run.
        turns: The number of requests to the model.
        usage: The tokens of all turns together; None if no turn has any. If one of them was estimated, the sum counts
            as estimated, with the lowest confidence of all.
        cost_usd: The cost of all turns together, in US dollars; None if the cost of any turn is unknown.
        completion: The last answer.
        stopped_by: "answer", or the budget that was used up: "turns", "tokens", "seconds" or "cost"; "error" after
            any other error.
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
    A budget was used up before the run had an answer.

    Attributes:
        budget: "turns", "tokens", "seconds" or "cost".
        limit: The budget, in turns, tokens, seconds or US dollars.
        result: The run so far: an `AgentResult`, whose conversation another run can continue.
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


def total_usage(answers: Sequence[ChatCompletion]) -> Optional[Usage]:
    usages = [answer.usage for answer in answers if answer.usage is not None]
    if not usages:
        return None

    def total(name: str) -> Any:
        counts = [count for usage in usages if (count := getattr(usage, name)) is not None]
        return sum(counts) if counts else None

    counts: dict[str, Any] = {name: total(name) for name in _COUNTS}
    return Usage(
        **counts,
        source=next((usage.source for usage in usages if usage.source != "provider"), "provider"),
        confidence=min(usage.confidence for usage in usages),
    )


def total_cost(answers: Sequence[ChatCompletion]) -> Optional[float]:
    costs = [answer.cost_usd for answer in answers]
    return sum(cost for cost in costs if cost is not None) if None not in costs and costs else None
