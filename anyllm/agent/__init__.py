"""
Agents: a model with tools, which calls tools and gets their results until it answers.

Strategy: a run is one generator, on the thread of its reader; only tools run on threads of ours, because a hanging tool
must not hold up a cancelled run. These threads refer to the Context and a channel for their results, and not to the
run: dropping the run, at any moment, ends all of it.

The transcript can be sent at any time: each tool call has an id, arguments that are an object, and a result, even if
the model sent none or the run ended early.
"""

from __future__ import annotations

from anyllm.agent._agent import Agent
from anyllm.agent._result import AgentResult, BudgetExceededError

__all__ = ["Agent", "AgentResult", "BudgetExceededError"]
