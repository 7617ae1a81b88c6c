"""One run of an agent: turn after turn, until there is an answer, or a budget is used up."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any, Optional, Union

import attrs

from anyllm.agent._result import AgentResult, BudgetExceededError, total_cost, total_usage
from anyllm.agent._tool_calls import CallIds, finished_results, sendable, start_calls
from anyllm.channel import select
from anyllm.context import Context, own_error
from anyllm.errors import AnyLLMError, DeadlineExceeded, IncompleteStreamError
from anyllm.events import StreamEvent
from anyllm.options import StreamingOptions
from anyllm.tools import Tool
from anyllm.types import ChatCompletion, Message, ToolCall

#: Values of ``tool_choice`` that do not force a call.
_NOT_FORCED = (None, "auto", "none")


@attrs.define(frozen=True, kw_only=True)
class AgentSettings:
    """
    The settings that all runs of an agent share.

    Attributes:
        client: A `Client`, or an object with the same ``chat_stream``.
        options: The options of its calls, without callbacks.
        definitions: The definitions of the tools, for the model.
        tools: The tools by name.
        parallel: How many tool calls of one turn run at once.
        max_turns, max_tokens, timeout, max_cost_usd: The budgets, as `Agent` has them.
    """

    client: Any
    options: StreamingOptions
    definitions: list[dict[str, Any]]
    tools: Mapping[str, Tool]
    parallel: int
    max_turns: int
    max_tokens: Optional[int]
    timeout: Optional[float]
    max_cost_usd: Optional[float]


class AgentRun:
    """One run, read by one thread."""

    def __init__(self, settings: AgentSettings, ctx: Context, messages: list[Message], params: dict[str, Any]) -> None:
        self._settings = settings
        self._caller_ctx = ctx
        self._params = params
        self._messages = messages
        self._turn = 0
        self._answers: list[ChatCompletion] = []
        self._texts: dict[int, str] = {}  # the results of the turn's calls, by the position of the call
        self._recorded = 0  # how many of them are in the transcript, in the order of the calls

    def events(self) -> Generator[StreamEvent, None, None]:
        """The events of the run; its `AnyLLMError` is raised after its event."""
        self._ctx = self._caller_ctx.child(self._settings.timeout)
        self._started = time.monotonic()
        try:
            error = yield from self._loop()
            if error is None:
                yield self._event("complete", completion=self._answers[-1], value=self._result("answer"))
                return
            if not isinstance(error, BudgetExceededError):
                vars(error)["result"] = self._result("error")
            yield self._event("error", error=error)
            raise error
        finally:
            self._ctx.cancel("abandoned")  # for tools that still run; does nothing after a complete run

    def _loop(self) -> Generator[StreamEvent, None, Optional[AnyLLMError]]:
        """All turns; returns the error that ended them, or None after an answer."""
        while True:
            self._turn += 1
            ids = CallIds()
            answer = yield from self._model_turn(ids)
            if isinstance(answer, AnyLLMError):
                return self._as_budget_error(answer)
            self._answers.append(answer)
            message = answer.to_message()
            calls = ids.with_ids(message.tool_calls)
            self._texts, self._recorded = {}, 0
            self._messages.append(attrs.evolve(message, tool_calls=[sendable(call) for call in calls]))
            if not calls:
                return None
            error: Optional[AnyLLMError] = self._exhausted_budget()
            if error is None:
                error = yield from self._run_calls(calls)
            if error is not None:
                return self._end_calls(calls, error)

    # -- turns -----------------------------------------------------------------------------------------------------

    def _model_turn(self, ids: CallIds) -> Generator[StreamEvent, None, Union[ChatCompletion, AnyLLMError]]:
        """The events of one turn; returns its answer or error."""
        params = dict(self._params)
        if self._turn > 1 and params.get("tool_choice") not in _NOT_FORCED:
            del params["tool_choice"]
        if self._settings.definitions:
            params["tools"] = self._settings.definitions
        settings = self._settings
        try:
            answer_stream = settings.client.chat_stream(
                list(self._messages), ctx=self._ctx, options=settings.options, **params
            )
        except AnyLLMError as exc:
            return exc
        with answer_stream as stream:
            events: Iterator[StreamEvent] = stream.events()
            while True:
                try:
                    event = next(events, None)
                except AnyLLMError as exc:
                    return exc
                if event is None or event.type == "error":
                    return (event and event.error) or IncompleteStreamError("the turn ended without an answer")
                if event.type == "complete" and event.completion is not None:
                    return event.completion
                if event.type == "retry" and event.retry is not None and event.retry.policy != "continue":
                    ids.clear()
                if event.type != "start" or self._turn == 1:
                    yield self._of_turn(event, ids)

    def _of_turn(self, event: StreamEvent, ids: CallIds) -> StreamEvent:
        call = event.tool_call
        if call is not None and event.type in ("tool_call_start", "tool_call"):
            call = ids.with_id(call)
        return event.evolve(turn=self._turn, elapsed=time.monotonic() - self._started, tool_call=call)

    def _event(self, kind: str, **fields: Any) -> StreamEvent:
        answer = self._answers[-1] if self._answers else ChatCompletion()
        return StreamEvent(
            type=kind,
            provider=answer.provider,
            model=answer.model,
            elapsed=time.monotonic() - self._started,
            turn=self._turn,
            **fields,
        )

    # -- tools -----------------------------------------------------------------------------------------------------

    def _run_calls(self, calls: Sequence[ToolCall]) -> Generator[StreamEvent, None, Optional[AnyLLMError]]:
        """Run *calls*, several at once; their results are events, in order. Returns the error that ended the run."""
        outcomes, error = start_calls(self._ctx, self._settings.tools, calls, self._settings.parallel)
        if error is not None:
            return error
        done = self._ctx.done()
        texts = self._texts
        while self._recorded < len(calls):
            channel, outcome = select(done, outcomes)
            if channel is done:
                texts.update(finished_results(outcomes))
                return self._context_error()
            index, text = outcome
            if isinstance(text, AnyLLMError):
                return text
            if isinstance(text, BaseException):
                raise text
            texts[index] = text
            while self._recorded in texts:
                yield self._record_result(calls[self._recorded], texts[self._recorded])
        return None

    def _record_result(self, call: ToolCall, text: str) -> StreamEvent:
        message = Message.tool(text, call.id or "")
        self._messages.append(message)
        self._recorded += 1
        return self._event("tool_result", tool_call=call, result=message)

    # -- the end ---------------------------------------------------------------------------------------------------

    def _end_calls(self, calls: Sequence[ToolCall], error: AnyLLMError) -> AnyLLMError:
        """*error*, after the remaining calls got a result in the transcript: their own, or that there is none."""
        for index in range(self._recorded, len(calls)):
            text = self._texts.get(index, "error: the run ended before there was a result")
            self._messages.append(Message.tool(text, calls[index].id or ""))
        if isinstance(error, BudgetExceededError):
            error.result = self._result(error.budget)
        return error

    def _context_error(self) -> AnyLLMError:
        """The Context's error as a new error of this run."""
        return self._as_budget_error(own_error(self._ctx, partial=self._answers[-1] if self._answers else None))

    def _as_budget_error(self, error: AnyLLMError) -> AnyLLMError:
        """*error*; a `BudgetExceededError` instead if the run's own timeout caused it."""
        is_own_timeout = isinstance(self._ctx.error, DeadlineExceeded) and self._caller_ctx.error is None
        limit = self._settings.timeout
        if limit is None or not is_own_timeout or not isinstance(error, DeadlineExceeded):
            return error
        budget_error = self._budget_error("seconds", limit, f"{limit:g} s", partial=error.partial)
        budget_error.__cause__ = error
        return budget_error

    def _exhausted_budget(self) -> Optional[BudgetExceededError]:
        """The error for a budget that is used up; None if another turn may begin."""
        settings = self._settings
        if self._turn >= settings.max_turns:
            return self._budget_error("turns", settings.max_turns, f"{settings.max_turns}")
        usage = total_usage(self._answers)
        if (limit := settings.max_tokens) is not None:
            if usage is None:
                return self._budget_error("tokens", limit, "the number of tokens used is unknown")
            if usage.total_tokens >= limit:
                return self._budget_error("tokens", limit, f"{usage.total_tokens} of {limit:g}")
        if (max_cost := settings.max_cost_usd) is not None:
            cost = total_cost(self._answers)
            if cost is None:
                return self._budget_error("cost", max_cost, "the price of the model is unknown; see prices=")
            if cost >= max_cost:
                return self._budget_error("cost", max_cost, f"{cost:.4g} of {max_cost:g} US dollars")
        return None

    def _budget_error(self, budget: str, limit: float, details: str, **fields: Any) -> BudgetExceededError:
        return BudgetExceededError(
            f"the run was not over when its {'money' if budget == 'cost' else budget} ran out: {details}",
            budget=budget,
            limit=limit,
            result=self._result(budget),
            **fields,
        )

    def _result(self, stopped_by: str) -> AgentResult:
        last = self._answers[-1] if self._answers else None
        return AgentResult(
            content=last.content if last else "",
            messages=list(self._messages),
            turns=self._turn,
            usage=total_usage(self._answers),
            cost_usd=total_cost(self._answers),
            completion=last,
            stopped_by=stopped_by,
        )
