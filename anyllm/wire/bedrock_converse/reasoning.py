"""
Reasoning in Converse's JSON: how a request asks for it, and its blocks in both directions.

Converse has no parameter for it: the models of each maker have their own, in ``additionalModelRequestFields``. A maker
signs or hides what its models thought, and wants the blocks back unchanged. `Reasoning.details` holds them, one for
each block, in the order they came.

Sources: https://docs.aws.amazon.com/bedrock/latest/userguide/inference-reasoning.html,
https://docs.aws.amazon.com/bedrock/latest/userguide/claude-messages-extended-thinking.html,
https://docs.aws.amazon.com/nova/latest/nova2-userguide/extended-thinking.html,
https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-openai.html
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Any

from anyllm.types import CompletionParams, Reasoning
from anyllm.wire._base.block_turns import Block
from anyllm.wire._base.encode_json import effort_in, unsupported
from anyllm.wire._base.thinking_budget import budget_of, max_tokens_with, thinking_fields

#: Where a model's own parameters stand in a request.
FIELDS = "additionalModelRequestFields"

#: The key of a block, the type of its detail, and `Reasoning.field`.
REASONING = "reasoningContent"
_TEXT, _HIDDEN = "reasoningText", "redactedContent"

#: The efforts of models that have three.
_THREE_EFFORTS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high"}


def bodies(body: dict[str, Any], params: CompletionParams, model: str, provider: str) -> list[dict[str, Any]]:
    """
    *body* with how much to think; then, where an effort became a budget for Claude, the same for newer models.

    Raises:
        UnsupportedParameterError: the model is not known to support the parameter.
    """
    effort, budget = effort_in(params, provider), params.thinking_budget
    if effort is None and budget is None:
        return [body]
    if "claude" in model or "anthropic." in model:
        budget, limits = budget_of(params, provider) or 0, body.get("inferenceConfig", {})
        if "maxTokens" in limits:
            limits = {**limits, "maxTokens": max_tokens_with(limits["maxTokens"], budget)}
            body = {**body, "inferenceConfig": limits}
        return [{**body, FIELDS: fields} for fields in thinking_fields(params, budget)]
    name, value = ("reasoning_effort", effort) if budget is None else ("thinking_budget", budget)
    fields = _effort_fields(model, "none" if budget == 0 else effort if budget is None else None)
    if fields is None:
        why = f"{model} is not known to support {name} {value!r}; its own parameters go into extra_body"
        raise unsupported(name, f"{why}={{{FIELDS!r}: ...}}", provider)
    return [{**body, FIELDS: fields}]


def _effort_fields(model: str, effort: str | None) -> dict[str, Any] | None:
    """The parameters of models that take an effort; None where they do not take this one."""
    level = _THREE_EFFORTS.get(effort or "")
    if "openai.gpt-oss" in model:
        return {"reasoning_effort": level} if level else None  # it always thinks
    if "amazon.nova-2" in model:
        if effort == "none":
            return {"reasoningConfig": {"type": "disabled"}}
        return {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": level}} if level else None
    return None


# -- blocks ------------------------------------------------------------------------------------------------------------


def whole_reasoning(text: str, signature: str, hidden: Sequence[str]) -> list[Reasoning]:
    """
    What a block of reasoning adds when it is whole.

    Args:
        text: All of its text.
        signature: All of its signature; "" when there is none.
        hidden: The pieces that only the model's maker can read, each in base64.

    Raises:
        ValueError: *hidden* is no base64.
    """
    found = []
    if text or signature:
        detail = {"type": REASONING, _TEXT: {"text": text, **({"signature": signature} if signature else {})}}
        found.append(Reasoning(None, signature or None, REASONING, [detail]))
    if hidden:
        found.append(Reasoning(None, None, REASONING, [{"type": REASONING, _HIDDEN: _joined(hidden)}]))
    return found


def _joined(pieces: Sequence[str]) -> str:
    """The pieces as one: each is encoded alone, and may end in padding."""
    if len(pieces) == 1:
        return pieces[0]
    try:
        return base64.b64encode(b"".join(base64.b64decode(piece, validate=True) for piece in pieces)).decode()
    except (binascii.Error, ValueError) as exc:
        raise ValueError("redactedContent is no base64") from exc


def blocks_to_send_back(reasoning: Reasoning | None) -> list[Block]:
    """
    The blocks to send back with an earlier answer.

    Reasoning of another format, and text that is not signed, are left out: these models refuse it.
    """
    if reasoning is None or reasoning.field not in (None, REASONING):
        return []
    if not reasoning.details:
        text = {"text": reasoning.content or "", "signature": reasoning.signature}
        return [{REASONING: {_TEXT: text}}] if reasoning.signature else []
    own = [detail for detail in reasoning.details if detail.get("type") == REASONING]
    inner = [{key: value for key, value in detail.items() if key in (_TEXT, _HIDDEN)} for detail in own]
    return [{REASONING: value} for value in inner if value.get(_HIDDEN) or _is_signed(value.get(_TEXT))]


def _is_signed(text: Any) -> bool:
    return isinstance(text, dict) and bool(text.get("signature"))
