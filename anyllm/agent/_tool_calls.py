"""
The tool calls of one answer: their ids, and the threads that run them.

Strategy: tools run on threads of ours, because a hanging tool must not hold up a cancelled run. The threads refer to
the Context and a channel for their results, and not to the run.
"""

from __future__ import annotations

import contextvars
import logging
import os
import re
import threading
import uuid
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Optional

import attrs

from anyllm._hints.arguments import did_you_mean
from anyllm.channel import Channel, Sender, open_channel
from anyllm.context import Context
from anyllm.errors import AnyLLMError, Cancelled
from anyllm.tools import Tool, ToolArgumentsError, result_text
from anyllm.types import FunctionCall, ToolCall

_log = logging.getLogger("anyllm")

#: Characters of an exception's message that the model gets.
_MAX_MESSAGE = 300


class CallIds:
    """
    The ids of one answer's calls: the provider's, and new ones for calls without an id or with that of another call.

    A call needs an id, because its result refers to it.
    """

    def __init__(self) -> None:
        self._by_index: dict[int, str] = {}

    def clear(self) -> None:
        """Forget the ids, because the answer restarts."""
        self._by_index.clear()

    def with_id(self, call: ToolCall) -> ToolCall:
        """*call* with its id."""
        call_id = self._by_index.get(call.index)
        if call_id is None:
            is_taken = call.id in self._by_index.values()
            # Mistral accepts ids of exactly nine characters.
            call_id = call.id if call.id and not is_taken else uuid.uuid4().hex[:9]
            self._by_index[call.index] = call_id
        return call if call.id == call_id else attrs.evolve(call, id=call_id)

    def with_ids(self, calls: Sequence[ToolCall]) -> list[ToolCall]:
        """The calls of the whole answer, with the ids that their events had."""
        return [self.with_id(call) for call in calls]


def sendable(call: ToolCall) -> ToolCall:
    """*call* in a form that can be sent to the model: many providers refuse arguments that are no object."""
    try:
        call.parse()
        arguments = call.arguments if call.arguments.strip() else "{}"
    except ValueError:
        arguments = "{}"
    name = call.name or "unnamed"
    return (
        call
        if (name, arguments) == (call.name, call.arguments)
        else attrs.evolve(call, function=FunctionCall(name, arguments))
    )


_QueuedCall = tuple[int, ToolCall, contextvars.Context]


def start_calls(
    ctx: Context, tools: Mapping[str, Tool], calls: Sequence[ToolCall], parallel: int
) -> tuple[Channel[Any], Optional[AnyLLMError]]:
    """Start threads that run *calls*; returns a channel of (index, result text or exception) pairs."""
    outcomes, results = open_channel(len(calls))
    # Each call has the context variables of the agent's caller: a request's id, an open span.
    work = deque((index, call, contextvars.copy_context()) for index, call in enumerate(calls))
    for started in range(min(parallel, len(calls))):
        thread = threading.Thread(
            target=_run_queued_calls, args=(ctx, tools, work, outcomes), name="anyllm-tool", daemon=True
        )
        try:
            thread.start()
        except RuntimeError as exc:
            if not started:
                error = AnyLLMError(f"cannot start a thread: {exc}")
                error.__cause__ = exc
                return results, error
            break  # the threads that run do all calls
    return results, None


def _run_queued_calls(ctx: Context, tools: Mapping[str, Tool], work: deque[_QueuedCall], outcomes: Sender[Any]) -> None:
    """On a thread of ours: run calls until there are none, or the run has ended."""
    while work and not ctx.cancelled:
        try:
            index, call, context = work.popleft()
        except IndexError:  # another thread took the last one
            return
        outcome: Any
        try:
            outcome = context.run(_result_text, ctx, tools, call)
        except BaseException as exc:
            outcome = exc
        outcomes.put((index, outcome))


def finished_results(outcomes: Channel[Any]) -> dict[int, str]:
    """The result texts that have come and were not received yet, by the index of the call."""
    waiting = [outcomes.get_nowait() for _ in range(outcomes.qsize())]
    return {item[0]: item[1] for item in waiting if item is not None and isinstance(item[1], str)}


def _result_text(ctx: Context, tools: Mapping[str, Tool], call: ToolCall) -> str:
    """The text for the model: the result of *call*, or its error."""
    name = call.name or ""
    tool = tools.get(name)
    if tool is None:
        return f"error: there is no tool {name!r}" + did_you_mean(name, tools)
    try:
        return result_text(tool.call(call.arguments, ctx=ctx), name)
    except Cancelled:
        raise
    except ToolArgumentsError as exc:
        return f"error: {exc}"
    except Exception as exc:
        _log.warning("the tool %s failed: %s", name, type(exc).__name__)
        _log.debug("the tool %s failed", name, exc_info=exc)
        return f"error: {type(exc).__name__}: {_without_secrets(exc)}".rstrip(": ")


#: Names of secret values, and the forms of such values: after their name, in a URL, or alone.
_SECRET_NAME = re.compile(r"key|token|secret|passw|credential|authorization|signature", re.IGNORECASE)
_SECRETS = (
    (re.compile(r"(//)[^/\s]+@"), r"\1"),  # greedy: a password may hold an @
    (re.compile(r"(?i)(authorization[\"']?\s?[=:]\s?[\"']?)(?:[\w-]+\s+)?[^\s\"'&,;)}]+"), r"\1[key]"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{6,}"), r"\1 [key]"),
    (
        re.compile(
            r"(?i)((?:key|token|secret|passw|credential|authorization|signature)[\w-]{0,32}[\"']?\s?[=:]\s?[\"']?)[^\s\"'&,;)}]+"
        ),
        r"\1[key]",
    ),
    (re.compile(r"\b(?:sk|pk|rk|gh[a-z]|xox[a-z]|AIza|AKIA|ASIA|eyJ)[-_]?[\w.-]{12,}"), "[key]"),
)
#: Characters of a message that are searched for secrets.
_MAX_SEARCH = 4000
#: Shorter values could be parts of ordinary words.
_SHORTEST_SECRET = 8


def _without_secrets(exc: BaseException) -> str:
    """The message of *exc* in one line, without secrets: values of the environment, and values that look like keys."""
    try:
        text = str(exc)
    except Exception:  # its __str__ fails
        return ""
    for name, value in os.environ.items():
        if _SECRET_NAME.search(name) and len(value) >= _SHORTEST_SECRET:
            text = text.replace(value, "[key]")
    text = text[:_MAX_SEARCH]
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    text = " ".join(text.split())
    return text if len(text) <= _MAX_MESSAGE else text[:_MAX_MESSAGE] + "…"
