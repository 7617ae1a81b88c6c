"""
A model with tools: ask, call what it calls, tell it the results, ask again, until it answers.

Strategy: a run is one generator, on the thread of whoever reads it; only tools run on threads of ours, because one that
hangs must not keep a cancelled run. They know the Context and a channel for their results, and not the run: letting go
of the run, at any moment, ends all of it.

The transcript is kept in a state in which it can be sent: each call has an id, arguments that are an object, and a
result, whatever the model or the end of the run left undone.
"""

from __future__ import annotations

from anyllm.agent._agent import Agent
from anyllm.agent._result import AgentResult, BudgetExceededError

__all__ = ["Agent", "AgentResult", "BudgetExceededError"]
