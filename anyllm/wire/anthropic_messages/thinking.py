"""
How much to think: ``reasoning_effort`` and ``thinking_budget`` in Anthropic's terms.

Strategy: an effort becomes a budget of tokens, which every model up to Claude 4.6 takes. Later models refuse budgets
and want to be told the effort; a model's name does not say which kind it is, at gateways least of all, so the budget
is sent first, and the effort to whoever refuses it.

Sources: https://platform.claude.com/docs/en/build-with-claude/extended-thinking,
https://platform.claude.com/docs/en/build-with-claude/adaptive-thinking
"""

from __future__ import annotations

from typing import Any

from anyllm.types import CompletionParams
from anyllm.wire._base.encode_json import effort_in

#: What the message of a model names that takes no budget.
REFUSED = "thinking.type.enabled"

_DEFAULT_MAX_TOKENS = 4096
_BUDGETS = {"minimal": 1024, "low": 1024, "medium": 4096, "high": 16384, "xhigh": 32000, "max": 32000}
#: Anthropic's words for efforts that have another name there.
_EFFORTS = {"minimal": "low"}


def bodies(body: dict[str, Any], params: CompletionParams, provider: str) -> list[dict[str, Any]]:
    """
    *body* with how much to think, and, where that was our reading of an effort, the same in newer models' words.

    ``max_tokens`` is required, and counts thinking. One that leaves no room for the answer is raised by the budget. A
    budget that is given goes before an effort.

    Raises:
        UnsupportedParameterError: the reasoning effort is none that we know.
    """
    max_tokens = _DEFAULT_MAX_TOKENS if params.max_tokens is None else params.max_tokens
    effort, budget = effort_in(params, provider), params.thinking_budget
    if budget is None and effort is not None:
        budget = _BUDGETS.get(effort, 0)
    if budget is None:
        return [{**body, "max_tokens": max_tokens}]
    if budget == 0:
        return [{**body, "max_tokens": max_tokens, "thinking": {"type": "disabled"}}]
    if max_tokens <= budget:
        max_tokens += budget
    whole = {**body, "max_tokens": max_tokens, "thinking": {"type": "enabled", "budget_tokens": budget}}
    return [whole] if params.thinking_budget is not None else [whole, _adaptive(whole, str(effort))]


def _adaptive(body: dict[str, Any], effort: str) -> dict[str, Any]:
    """Thinking is shown as it is with a budget: these models leave it out unless they are asked."""
    return {
        **body,
        "thinking": {"type": "adaptive", "display": "summarized"},
        "output_config": {**body.get("output_config", {}), "effort": _EFFORTS.get(effort, effort)},
    }
