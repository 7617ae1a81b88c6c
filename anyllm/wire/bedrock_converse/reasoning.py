"""
Reasoning: how it is asked for, what a decoder keeps of it, and what the next request sends back.

Converse has no parameter for it: each maker's models have one of their own, in ``additionalModelRequestFields``. What
a model thought is signed, or hidden, by its maker, who wants the blocks back unchanged. `Reasoning.details` holds them,
one for each block, in the order they came.

Sources: https://docs.aws.amazon.com/bedrock/latest/userguide/inference-reasoning.html,
https://docs.aws.amazon.com/bedrock/latest/userguide/claude-messages-extended-thinking.html,
https://docs.aws.amazon.com/nova/latest/nova2-userguide/extended-thinking.html,
https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-openai.html
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from anyllm.errors import UnsupportedParameterError
from anyllm.types import CompletionParams, Reasoning
from anyllm.wire._base.encode_json import effort_in

#: Where a model's own parameters stand in a request.
FIELDS = "additionalModelRequestFields"
#: What the message of a Claude model names that takes no budget.
REFUSED = "thinking.type.enabled"

#: The key of a block, and what stands in the details and in `Reasoning.field`.
REASONING = "reasoningContent"
_TEXT, _HIDDEN = "reasoningText", "redactedContent"

#: Claude's budgets for efforts, in tokens, and its words for those that have another name there.
_BUDGETS = {"none": 0, "minimal": 1024, "low": 1024, "medium": 4096, "high": 16384, "xhigh": 32000, "max": 32000}
_CLAUDE_EFFORTS = {"minimal": "low"}
#: The three efforts that other models know, for all that we know.
_THREE_EFFORTS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high"}


def bodies(body: dict[str, Any], params: CompletionParams, model: str, provider: str) -> list[dict[str, Any]]:
    """
    *body* with how much to think, and, where that was our reading of an effort, the same in newer models' words.

    Raises:
        UnsupportedParameterError: the model does not take what is asked for, or its name does not say whose it is.
    """
    effort, budget = effort_in(params, provider), params.thinking_budget
    if effort is None and budget is None:
        return [body]
    if "claude" in model or "anthropic." in model:
        return _claude(body, effort, budget)
    asked = "thinking_budget" if budget is not None else "reasoning_effort"
    fields = _by_effort(model, "none" if budget == 0 else effort if budget is None else None)
    if fields is None:
        said = repr(effort if budget is None else budget)
        raise UnsupportedParameterError(
            f"{asked} {said} is nothing that the model {model} is known to take; its own parameters go into "
            f"extra_body={{{FIELDS!r}: ...}}",
            provider=provider,
            param=asked,
        )
    return [{**body, FIELDS: fields}]


def _claude(body: dict[str, Any], effort: str | None, budget: int | None) -> list[dict[str, Any]]:
    """
    A budget that is given goes before an effort.

    Claude counts thinking in ``maxTokens``: one that leaves no room for the answer is raised by the budget.
    """
    tokens = _BUDGETS[effort or "none"] if budget is None else budget
    if tokens == 0:
        return [{**body, FIELDS: {"thinking": {"type": "disabled"}}}]
    limits = dict(body.get("inferenceConfig", {}))
    if limits.get("maxTokens", tokens + 1) <= tokens:
        limits["maxTokens"] += tokens
        body = {**body, "inferenceConfig": limits}
    whole = {**body, FIELDS: {"thinking": {"type": "enabled", "budget_tokens": tokens}}}
    if budget is not None:
        return [whole]
    # Thinking is shown as it is with a budget: models that think by effort leave it out unless they are asked.
    adaptive = {
        "thinking": {"type": "adaptive", "display": "summarized"},
        "output_config": {"effort": _CLAUDE_EFFORTS.get(effort or "", effort)},
    }
    return [whole, {**body, FIELDS: adaptive}]


def _by_effort(model: str, effort: str | None) -> dict[str, Any] | None:
    """The parameters of models that take an effort; None where they do not take this one."""
    known = _THREE_EFFORTS.get(effort or "")
    if "openai.gpt-oss" in model:
        return {"reasoning_effort": known} if known else None  # it always thinks
    if "amazon.nova-2" in model:
        if effort == "none":
            return {"reasoningConfig": {"type": "disabled"}}
        return {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": known}} if known else None
    return None


# -- blocks ------------------------------------------------------------------------------------------------------------


def thought(text: str) -> Reasoning:
    """A fragment of a block that can be read."""
    return Reasoning(text, None, REASONING)


def signed(text: str, signature: str) -> Reasoning:
    """The end of a block that can be read, which is when it is whole; the signature is "" when there is none."""
    inner = {"text": text, "signature": signature} if signature else {"text": text}
    return Reasoning(None, signature or None, REASONING, [{"type": REASONING, _TEXT: inner}])


def hidden(data: str) -> Reasoning:
    """A whole block that only its maker can read."""
    return Reasoning(None, None, REASONING, [{"type": REASONING, _HIDDEN: data}])


def blocks_to_send_back(reasoning: Reasoning | None) -> list[dict[str, Any]]:
    """
    The blocks for an earlier answer's reasoning.

    What is neither signed nor hidden, or comes from another format, is no use to these models: they refuse it.
    """
    if reasoning is None or reasoning.field not in (None, REASONING):
        return []
    if reasoning.details:
        blocks = [{REASONING: _inner(detail)} for detail in reasoning.details if detail.get("type") == REASONING]
        return [block for block in blocks if _is_wanted(block[REASONING])]
    if not reasoning.signature:
        return []
    return [{REASONING: {_TEXT: {"text": reasoning.content or "", "signature": reasoning.signature}}}]


def _inner(detail: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in detail.items() if key in (_TEXT, _HIDDEN)}


def _is_wanted(inner: Mapping[str, Any]) -> bool:
    text = inner.get(_TEXT)
    return bool(inner.get(_HIDDEN)) or (isinstance(text, Mapping) and bool(text.get("signature")))
