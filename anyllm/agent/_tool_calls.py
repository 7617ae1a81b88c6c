"""
The calls of one answer: their ids, and the threads that make them.

Strategy: tools run on threads of ours, because one that hangs must not keep a cancelled run. They know the Context and
a channel for their results, and not the run.
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

__all__ = ["Ids", "begin", "sendable", "waiting_in"]

_log = logging.getLogger("anyllm")

#: Characters of an exception's words that the model is told.
_LONGEST_REASON = 300


class Ids:
    """
    The ids of one answer's calls: the host's, and new ones for those that have none, or another's.

    Without an id a call goes back in a form that results cannot refer to, or not at all.
    """

    def __init__(self) -> None:
        self._by_index: dict[int, str] = {}

    def forget(self) -> None:
        """The answer begins anew."""
        self._by_index.clear()

    def named(self, call: ToolCall) -> ToolCall:
        """*call* with its id."""
        known = self._by_index.get(call.index)
        if known is None:
            is_taken = call.id in self._by_index.values()
            known = (
                call.id if call.id and not is_taken else uuid.uuid4().hex[:9]
            )  # Mistral takes nine, no more nor less
            self._by_index[call.index] = known
        return call if call.id == known else attrs.evolve(call, id=known)

    def given_to(self, calls: Sequence[ToolCall]) -> list[ToolCall]:
        """The calls of the whole answer, under the ids by which they were told."""
        return [self.named(call) for call in calls]


def sendable(call: ToolCall) -> ToolCall:
    """*call* as it may go back to the model: half of the hosts refuse arguments that are no object."""
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


_Work = tuple[int, ToolCall, contextvars.Context]


def begin(
    ctx: Context, tools: Mapping[str, Tool], calls: Sequence[ToolCall], parallel: int
) -> tuple[Channel[Any], Optional[AnyLLMError]]:
    """Start threads that make *calls*; gives the channel of places and texts (or what was raised)."""
    outcomes, results = open_channel(len(calls))
    # Each call gets the context variables of who runs the agent: a request's id, an open span.
    work = deque((place, call, contextvars.copy_context()) for place, call in enumerate(calls))
    for started in range(min(parallel, len(calls))):
        thread = threading.Thread(target=_work, args=(ctx, tools, work, outcomes), name="anyllm-tool", daemon=True)
        try:
            thread.start()
        except RuntimeError as exc:
            if not started:
                error = AnyLLMError(f"cannot start a thread: {exc}")
                error.__cause__ = exc
                return results, error
            break  # those that run do all of it
    return results, None


def _work(ctx: Context, tools: Mapping[str, Tool], work: deque[_Work], outcomes: Sender[Any]) -> None:
    """On a thread of ours: make calls until there are none, or the run is over."""
    while work and not ctx.cancelled:
        try:
            place, call, context = work.popleft()
        except IndexError:  # another thread took the last one
            return
        outcome: Any
        try:
            outcome = context.run(_text_of, ctx, tools, call)
        except BaseException as exc:
            outcome = exc
        outcomes.put((place, outcome))


def waiting_in(outcomes: Channel[Any]) -> dict[int, str]:
    """The texts of calls that were over before the run was."""
    waiting = [outcomes.get_nowait() for _ in range(outcomes.qsize())]
    return {item[0]: item[1] for item in waiting if item is not None and isinstance(item[1], str)}


def _text_of(ctx: Context, tools: Mapping[str, Tool], call: ToolCall) -> str:
    """What the model is told of *call*: its result, or why there is none."""
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


#: Names of what nobody may be shown, and what such a value looks like behind its name, in a URL, or by itself.
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
#: Characters in which they are looked for; few of these are shown.
_LONGEST_SEARCH = 4000
#: Shorter values would be found in ordinary words.
_SHORTEST_SECRET = 8


def _without_secrets(exc: BaseException) -> str:
    """What *exc* says, in a line, without what the environment or its form shows to be a secret."""
    try:
        text = str(exc)
    except Exception:  # its own words are broken
        return ""
    for name, value in os.environ.items():
        if _SECRET_NAME.search(name) and len(value) >= _SHORTEST_SECRET:
            text = text.replace(value, "[key]")
    text = text[:_LONGEST_SEARCH]
    for pattern, instead in _SECRETS:
        text = pattern.sub(instead, text)
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST_REASON else text[:_LONGEST_REASON] + "…"
