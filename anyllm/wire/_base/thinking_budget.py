"""
How much Claude is to think, in the fields that its models take at Anthropic and at Bedrock.

Strategy: an effort becomes a budget of tokens, which every model up to Claude 4.6 takes. Later models refuse budgets
and take the effort; the name of a model does not say which kind it is, at gateways least of all. So the budget is sent
first, and the effort to the models that refuse it.

Sources: https://platform.claude.com/docs/en/build-with-claude/extended-thinking,
https://platform.claude.com/docs/en/build-with-claude/adaptive-thinking
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from anyllm.types import CompletionParams
from anyllm.wire._base.encode_json import effort_in

__all__ = ["bodies_to_send", "budget_of", "max_tokens_with", "thinking_fields"]

#: Named in the error of a model that takes no budget.
_REFUSED = "thinking.type.enabled"

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


def max_tokens_with(max_tokens: int, budget: int) -> int:
    """The limit of an answer, which includes thinking: one that leaves no room for the answer is raised by *budget*."""
    return max_tokens + budget if budget and max_tokens <= budget else max_tokens


def thinking_fields(params: CompletionParams, budget: int) -> list[dict[str, Any]]:
    """
    The fields for *budget*; then, where an effort became the budget, those for models that take an effort.

    The latter leave their thinking out of the answer unless they are asked to show it.
    """
    fields = [{"thinking": {"type": "enabled", "budget_tokens": budget} if budget else {"type": "disabled"}}]
    effort = params.reasoning_effort
    if budget and effort is not None and params.thinking_budget is None:
        thinking = {"type": "adaptive", "display": "summarized"}
        fields.append({"thinking": thinking, "output_config": {"effort": _EFFORTS.get(effort, effort)}})
    return fields


def bodies_to_send(
    bodies: list[dict[str, Any]], extra: Mapping[str, Any] | None, key: str
) -> tuple[dict[str, Any], dict[str, Mapping[str, Any]]]:
    """
    The body of a request, and the fallback for models that refuse its budget; ``extra_body`` wins in both.

    Args:
        bodies: One body for each of `thinking_fields`.
        extra: The caller's ``extra_body``.
        key: The key of the thinking; there is no fallback if the caller set it.
    """
    extra = extra or {}
    first, *newer = ({**body, **extra} for body in bodies)
    return first, {_REFUSED: newer[0]} if newer and key not in extra else {}
