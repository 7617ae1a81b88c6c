"""The agent: a model, its tools and its budgets, and how a run of them is begun."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from typing import Any, Optional, Union

import attrs

from anyllm._hints.arguments import did_you_mean, explain_call, unknown_keyword, whole_number
from anyllm.agent._result import AgentResult
from anyllm.agent._run import AgentRun, Terms
from anyllm.client import Client
from anyllm.context import Context
from anyllm.events import StreamEvent, call_back
from anyllm.options import DEFAULT, StreamingOptions
from anyllm.providers.provider import Options, Provider
from anyllm.tools import tools_in
from anyllm.types import CompletionParams, Message, _convert

__all__ = ["Agent"]

#: What a run is told by other names, or not at all.
_NOT_PARAMS = ("messages", "tools", "functions", "function_call", "stream", "n")
_SYSTEM = ("system", "developer")

Input = Union[str, Message, Mapping[str, Any], Iterable[Union[Message, Mapping[str, Any]]]]


class Agent:
    """
    A model with tools, and limits to what it may use. Shared freely between threads: each run has its own state.

        @anyllm.tool
        def weather(city: str) -> str:
            \"\"\"The weather in a city.\"\"\"
            return "18 degrees, sunny"

        agent = Agent("openai/gpt-4o-mini", tools=[weather], system="Answer in {language}.")
        print(agent.run("What is the weather in Paris?", variables={"language": "French"}).content)

    A budget is looked at between turns: an answer is never cut, and one that needs no further turn ends the run well
    whatever it used. Only the seconds end whatever runs. A budget that has run out is a `BudgetExceededError`, because
    the run has no answer then.

    Args:
        model: "provider/model"; a `Provider`, with the bare model as *params*' ``model``; or a `Client`.
        tools: `Tool`s, functions, and definitions (dicts) of what the host runs itself.
        system: What the model is told first; ``{name}`` in it is filled from a run's variables.
        max_turns: How often the model is asked, at most.
        max_tokens: Tokens of all turns together, prompts included, after which the model is not asked again. The
            longest single answer is the ``max_tokens`` of a run, or of a Client.
        timeout: Seconds for a whole run.
        max_cost_usd: US dollars after which the model is not asked again. Where the cost of a turn is not known, it is
            not asked again either.
        parallel: How many calls of one turn run at once.
        options: How the model's calls behave; the callbacks are called for the whole run.
        prices: Prices of your own, as `anyllm.pricing.cost_of` takes them; a Client has its own.
        params: Parameters of `CompletionParams` for each turn. A ``tool_choice`` that forces a call holds for a run's
            first turn: in the others it would leave the model no way to answer.

    Raises:
        TypeError: *model* is none, there is no such parameter, or one has the wrong type.
        ValueError: a budget is not positive, or two tools have the same name.
    """

    def __init__(
        self,
        model: Union[str, Provider, Client],
        /,
        *,
        tools: Sequence[Any] = (),
        system: Optional[str] = None,
        max_turns: int = 10,
        max_tokens: Optional[int] = None,
        timeout: Optional[float] = None,
        max_cost_usd: Optional[float] = None,
        parallel: int = 4,
        options: Options = None,
        prices: Optional[Mapping[str, Any]] = None,
        **params: Any,
    ) -> None:
        definitions, by_name = tools_in(tools)
        client = _client(model, params, prices)
        own: StreamingOptions = getattr(client, "options", DEFAULT)
        self._options = own if options is None else _convert.structure(StreamingOptions, options)
        self._system = system
        self._terms = Terms(
            client=client,
            options=self._options.evolve(**dict.fromkeys(_callbacks())),
            definitions=definitions,
            tools=by_name,
            parallel=whole_number("parallel", parallel),
            max_turns=whole_number("max_turns", max_turns),
            max_tokens=_positive("max_tokens", max_tokens),
            timeout=_positive("timeout", timeout),
            max_cost_usd=_positive("max_cost_usd", max_cost_usd),
        )
        self._params = _checked(params)

    @explain_call("agent.run('What is the weather in Paris?')")
    def run(
        self,
        input: Input,
        *,
        ctx: Optional[Context] = None,
        variables: Optional[Mapping[str, Any]] = None,
        **params: Any,
    ) -> AgentResult:
        """
        Run to the answer.

        Args:
            input: What the user says, or the conversation so far; one that begins with a system's message keeps that.
            ctx: Ends the run.
            variables: What ``{name}`` in the system's message, and in an *input* that is a text, stands for. Other
                braces stay as they are, ``{{name}}`` becomes ``{name}``, and without variables nothing is changed.
            params: Parameters of `CompletionParams` for this run; ``max_tokens`` is that of each answer.

        Raises:
            BudgetExceededError: a budget ran out before there was an answer.
            AnyLLMError: why there is none; its ``result`` has the run so far.
            ValueError: a placeholder has no variable.
            TypeError: an argument has the wrong type.

        A tool that fails does not end the run: the model is told why, in a line that begins with "error:". What is no
        error but an end (`Cancelled`, KeyboardInterrupt, SystemExit) does. When the Context ends, so does the run, at
        once; a tool that is still running is left behind, and may ask the Context that it was given.
        """
        result = None
        with contextlib.closing(self._start(input, ctx, variables, params)) as events:
            for event in events:
                if event.type == "complete":
                    result = event.value
        assert isinstance(result, AgentResult)  # else an error was raised
        return result

    @explain_call("agent.stream('What is the weather in Paris?')")
    def stream(
        self,
        input: Input,
        *,
        ctx: Optional[Context] = None,
        variables: Optional[Mapping[str, Any]] = None,
        **params: Any,
    ) -> Iterator[StreamEvent]:
        """
        The same as events, each with its ``turn``.

        One "start" comes first. A turn's events follow as its answer comes, with a "tool_call" for each call, then a
        "tool_result" for each, in the order of the calls, as soon as it and those before it are there. "complete" comes
        last, with the last answer as its ``completion`` and the `AgentResult` as its ``value``; or "error", which is
        then raised. Letting go of the iterator ends the run.

        The model is asked when the first event is asked for. Args and raised errors are those of `run`; the TypeErrors
        and ValueErrors are raised here.
        """
        return self._start(input, ctx, variables, params)

    def _start(
        self, input: Input, ctx: Optional[Context], variables: Optional[Mapping[str, Any]], params: Mapping[str, Any]
    ) -> Generator[StreamEvent, None, None]:
        if ctx is not None and not isinstance(ctx, Context):
            raise TypeError(f"ctx must be a Context, not {type(ctx).__name__}")
        messages = _conversation(self._system, input, variables)
        run = AgentRun(self._terms, ctx or Context(), messages, {**self._params, **_checked(params)})
        return _told(run, self._options)

    def __repr__(self) -> str:
        return f"<Agent {self._terms.client!r} with {', '.join(self._terms.tools) or 'no tools'}>"


def _told(run: AgentRun, options: StreamingOptions) -> Generator[StreamEvent, None, None]:
    """The events of a run, each after its callback. The run begins when its first event is asked for."""
    events = run.events()
    try:
        for event in events:
            call_back(options, event)
            yield event
    finally:
        events.close()


def _client(model: Any, params: dict[str, Any], prices: Optional[Mapping[str, Any]]) -> Any:
    """What is asked: a `Client`, or whatever has its ``chat_stream``."""
    if isinstance(model, str):
        if "model" in params:
            raise TypeError("an Agent has one model: Agent('provider/model', ...)")
        return Client(model, prices=prices)
    if isinstance(model, Provider):
        if "model" not in params:
            raise TypeError("an Agent over a Provider needs its model: Agent(provider, model='...')")
        return Client(params.pop("model"), provider=model, prices=prices)
    if callable(getattr(model, "chat_stream", None)):
        if prices is not None:
            raise TypeError("prices are the Client's: Client(model, prices=...)")
        return model
    raise TypeError(f"model must be 'provider/model', a Provider or a Client, not {type(model).__name__}")


def _checked(params: Mapping[str, Any]) -> dict[str, Any]:
    """What is wrong with parameters is said where they are given, and not by the first turn."""
    known = {field.name for field in attrs.fields(CompletionParams)}.difference(_NOT_PARAMS)
    if not known.issuperset(params):
        raise unknown_keyword("Agent", params, known)
    rest = {name: value for name, value in params.items() if name not in ("model", "response_format")}
    CompletionParams("", [], **rest)
    return dict(params)


def _callbacks() -> list[str]:
    return [field.name for field in attrs.fields(StreamingOptions) if field.name.startswith("on_")]


def _positive(name: str, value: Any) -> Any:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a number or None, not {type(value).__name__}")
    if not value > 0:
        raise ValueError(f"{name} must be positive: {value!r}")
    return value


def _conversation(system: Optional[str], input: Input, variables: Optional[Mapping[str, Any]]) -> list[Message]:
    if isinstance(input, str):
        messages = [Message.user(_filled(input, variables))]
    else:
        given: Any = [input] if isinstance(input, (Message, Mapping)) else input
        messages = list(CompletionParams("", given).messages)
    if system is not None and not (messages and messages[0].role in _SYSTEM):
        messages.insert(0, Message.system(_filled(system, variables)))
    return messages


_PLACEHOLDER = re.compile(r"\{\{([^\W\d]\w*)\}\}|\{([^\W\d]\w*)\}")


def _filled(text: str, variables: Optional[Mapping[str, Any]]) -> str:
    """*text* with the variables in their places. What they hold is not looked at again."""
    if variables is None:
        return text

    def value(match: re.Match[str]) -> str:
        escaped, name = match.groups()
        if escaped is not None:
            return f"{{{escaped}}}"
        if name not in variables:
            raise ValueError(f"there is no variable for {{{name}}}" + did_you_mean(name, map(str, variables)))
        return str(variables[name])

    return _PLACEHOLDER.sub(value, text)
