"""
How much Claude is to think, in the fields that its models take at Anthropic and at Bedrock.

Strategy: an effort becomes a budget of tokens, which every model up to Claude 4.6 takes. Later models refuse budgets
and take the effort; the name of a model does not say which kind it is, at gateways least of all. So the budget is sent
first, and the effort to the models that refuse it.

Sources: https://platform.claude.com/docs/en/build-with-claude/extended-thinking,
https://platform.claude.com/docs/en/build-with-claude/adaptive-thinking
"""

from __future__ import annotations

from typing import Any

from anyllm.types import CompletionParams
from anyllm.wire._base.encode_json import effort_in

__all__ = ["REFUSED", "adaptive_of", "budget_of", "thinking_field"]

#: Named in the error of a model that takes no budget.
REFUSED = "thinking.type.enabled"

_BUDGETS = {"none": 0, "minimal": 1024, "low": 1024, "medium": 4096, "high": 16384, "xhigh": 32000, "max": 32000}
#: Efforts that have another name here.
_EFFORTS = {"minimal": "low"}


def budget_of(params: CompletionParams, provider: str) -> int | None:
    """
    The tokens to think with: 0 turns thinking off, None leaves it to the provider. A budget goes before an effort.

    Raises:
        UnsupportedParameterError: the reasoning effort is none that we know.
    """
    effort = effort_in(params, provider)
    if params.thinking_budget is not None:
        return params.thinking_budget
    return None if effort is None else _BUDGETS[effort]


def thinking_field(budget: int) -> dict[str, Any]:
    """The field ``thinking`` for a budget."""
    return {"type": "enabled", "budget_tokens": budget} if budget else {"type": "disabled"}


def adaptive_of(params: CompletionParams) -> dict[str, Any] | None:
    """
    The fields for models that take an effort; None where no effort became a budget.

    Such models leave their thinking out of the answer unless they are asked to show it.
    """
    effort = params.reasoning_effort
    if params.thinking_budget is not None or effort is None or not _BUDGETS.get(effort):
        return None
    display = {"type": "adaptive", "display": "summarized"}
    return {"thinking": display, "output_config": {"effort": _EFFORTS.get(effort, effort)}}
