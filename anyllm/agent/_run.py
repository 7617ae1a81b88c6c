"""One run: turn after turn, until there is an answer, or a budget is used up."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any, Optional, Union

import attrs

from anyllm.agent._result import AgentResult, BudgetExceededError, cost_of_all, sum_of
from anyllm.agent._tool_calls import Ids, begin, sendable, waiting_in
from anyllm.channel import select
from anyllm.context import Context, own_error
from anyllm.errors import AnyLLMError, DeadlineExceeded, IncompleteStreamError
from anyllm.events import StreamEvent
from anyllm.options import StreamingOptions
from anyllm.tools import Tool
from anyllm.types import ChatCompletion, Message, ToolCall

__all__ = ["AgentRun", "Terms"]

#: Choices of a tool that a model may always make.
_FREE = (None, "auto", "none")


@attrs.define(frozen=True, kw_only=True)
class Terms:
    """
    What all runs of an agent have in common.

    Attributes:
        client: What is asked: it has the ``chat_stream`` of a `Client`.
        options: How its calls behave, without callbacks.
        definitions: The tools as the model is told of them.
        tools: The same, by name, to be called.
        parallel: How many calls of one turn run at once.
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

    def __init__(self, terms: Terms, ctx: Context, messages: list[Message], params: dict[str, Any]) -> None:
        self._terms = terms
        self._given = ctx
        self._params = params
        self._messages = messages
        self._turn = 0
        self._answers: list[ChatCompletion] = []
        self._texts: dict[int, str] = {}  # the results of the turn's calls, by place
        self._told = 0  # how many of them are in the transcript, which has them in order

    def events(self) -> Generator[StreamEvent, None, None]:
        """
        All events.

        Raises:
            AnyLLMError: the run's error, after its event.
        """
        self._ctx = self._given.child(self._terms.timeout)
        self._since = time.monotonic()
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
            self._ctx.cancel("abandoned")  # which does nothing to a run that is over, but tells tools left behind

    def _loop(self) -> Generator[StreamEvent, None, Optional[AnyLLMError]]:
        """All turns; gives the error that ended them, or None where they ended with an answer."""
        while True:
            self._turn += 1
            ids = Ids()
            answer = yield from self._ask(ids)
            if isinstance(answer, AnyLLMError):
                return self._why(answer)
            self._answers.append(answer)
            message = answer.to_message()
            calls = ids.given_to(message.tool_calls)
            self._texts, self._told = {}, 0
            self._messages.append(attrs.evolve(message, tool_calls=[sendable(call) for call in calls]))
            if not calls:
                return None
            error = self._exhausted()
            if error is not None:
                return self._leave(calls, error)
            stop = yield from self._call(calls)
            if stop is not None:
                return self._leave(calls, stop)

    # -- asking ----------------------------------------------------------------------------------------------------

    def _ask(self, ids: Ids) -> Generator[StreamEvent, None, Union[ChatCompletion, AnyLLMError]]:
        """One turn's events, and its answer or error."""
        params = dict(self._params)
        if self._turn > 1 and params.get("tool_choice") not in _FREE:
            del params["tool_choice"]
        if self._terms.definitions:
            params["tools"] = self._terms.definitions
        terms = self._terms
        try:
            asked = terms.client.chat_stream(list(self._messages), ctx=self._ctx, options=terms.options, **params)
        except AnyLLMError as exc:
            return exc
        with asked as stream:
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
                    ids.forget()
                if event.type != "start" or self._turn == 1:
                    yield self._of_turn(event, ids)

    def _of_turn(self, event: StreamEvent, ids: Ids) -> StreamEvent:
        call = event.tool_call
        if call is not None and event.type in ("tool_call_start", "tool_call"):
            call = ids.named(call)
        return event.evolve(turn=self._turn, elapsed=time.monotonic() - self._since, tool_call=call)

    def _event(self, kind: str, **fields: Any) -> StreamEvent:
        answer = self._answers[-1] if self._answers else ChatCompletion()
        return StreamEvent(
            type=kind,
            provider=answer.provider,
            model=answer.model,
            elapsed=time.monotonic() - self._since,
            turn=self._turn,
            **fields,
        )

    # -- tools -----------------------------------------------------------------------------------------------------

    def _call(self, calls: Sequence[ToolCall]) -> Generator[StreamEvent, None, Optional[AnyLLMError]]:
        """Make *calls*, several at once, and tell their results in order; gives what ended the run meanwhile."""
        outcomes, error = begin(self._ctx, self._terms.tools, calls, self._terms.parallel)
        if error is not None:
            return error
        done = self._ctx.done()
        texts = self._texts
        while self._told < len(calls):
            channel, outcome = select(done, outcomes)
            if channel is done:
                texts.update(waiting_in(outcomes))
                return self._stopped()
            place, text = outcome
            if isinstance(text, AnyLLMError):
                return text
            if isinstance(text, BaseException):
                raise text
            texts[place] = text
            while self._told in texts:
                yield self._tell(calls[self._told], texts[self._told])
        return None

    def _tell(self, call: ToolCall, text: str) -> StreamEvent:
        message = Message.tool(text, call.id or "")
        self._messages.append(message)
        self._told += 1
        return self._event("tool_result", tool_call=call, result=message)

    # -- ends ------------------------------------------------------------------------------------------------------

    def _leave(self, calls: Sequence[ToolCall], error: AnyLLMError) -> AnyLLMError:
        """*error*; calls whose results nobody was told have them in the transcript, or a word that there are none."""
        for place in range(self._told, len(calls)):
            text = self._texts.get(place, "error: the run ended before there was a result")
            self._messages.append(Message.tool(text, calls[place].id or ""))
        if isinstance(error, BudgetExceededError):
            error.result = self._result(error.budget)
        return error

    def _stopped(self) -> AnyLLMError:
        """Why the Context ended, as an error of this run's own."""
        return self._why(own_error(self._ctx, partial=self._answers[-1] if self._answers else None))

    def _why(self, error: AnyLLMError) -> AnyLLMError:
        """*error*, or that the run's own seconds are over, if that is behind it."""
        is_ours = isinstance(self._ctx.error, DeadlineExceeded) and self._given.error is None
        limit = self._terms.timeout
        if limit is None or not is_ours or not isinstance(error, DeadlineExceeded):
            return error
        ran_out = self._ran_out("seconds", limit, f"{limit:g} s", partial=error.partial)
        ran_out.__cause__ = error
        return ran_out

    def _exhausted(self) -> Optional[BudgetExceededError]:
        """Why the model may not be asked again."""
        terms = self._terms
        if self._turn >= terms.max_turns:
            return self._ran_out("turns", terms.max_turns, f"{terms.max_turns}")
        usage = sum_of(self._answers)
        if terms.max_tokens is not None:
            if usage is None:
                return self._ran_out("tokens", terms.max_tokens, "nobody knows how many were used")
            if usage.total_tokens >= terms.max_tokens:
                return self._ran_out("tokens", terms.max_tokens, f"{usage.total_tokens} of {terms.max_tokens:g}")
        if terms.max_cost_usd is not None:
            cost = cost_of_all(self._answers)
            if cost is None:
                return self._ran_out("cost", terms.max_cost_usd, "nobody knows what the model costs; see prices=")
            if cost >= terms.max_cost_usd:
                return self._ran_out("cost", terms.max_cost_usd, f"{cost:.4g} of {terms.max_cost_usd:g} US dollars")
        return None

    def _ran_out(self, budget: str, limit: float, words: str, **fields: Any) -> BudgetExceededError:
        return BudgetExceededError(
            f"the run was not over when its {'money' if budget == 'cost' else budget} ran out: {words}",
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
            usage=sum_of(self._answers),
            cost_usd=cost_of_all(self._answers),
            completion=last,
            stopped_by=stopped_by,
        )
