"""`Agent`: a model with tools and budgets; starts runs."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from typing import Any, Optional, Union

import attrs

from anyllm._hints.arguments import did_you_mean, explain_call, positive_number, unknown_keyword, whole_number
from anyllm.agent._agent_run import AgentRun, AgentSettings
from anyllm.agent._result import AgentResult
from anyllm.client import Client
from anyllm.context import Context, check_context
from anyllm.events import StreamEvent, call_back
from anyllm.options import CALLBACKS, DEFAULT, StreamingOptions
from anyllm.providers.provider import Options, Provider
from anyllm.tools import tools_in
from anyllm.types import CompletionParams, Message, _convert

#: Parameters that a run sets itself, or does not support.
_NOT_PARAMS = ("messages", "tools", "functions", "function_call", "stream", "n")
_SYSTEM = ("system", "developer")

Input = Union[str, Message, Mapping[str, Any], Iterable[Union[Message, Mapping[str, Any]]]]


class Agent:
    """
    A model with tools and budgets. Shared freely between threads: each run has its own state.

        @anyllm.tool
        def weather(city: str) -> str:
            \"\"\"The weather in a city.\"\"\"
            return "18 degrees, sunny"

        agent = Agent("openai/gpt-4o-mini", tools=[weather], system="Answer in {language}.")
        print(agent.run("What is the weather in Paris?", variables={"language": "French"}).content)

    Budgets are checked between turns: an answer is never cut, and one without tool calls ends the run successfully
    whatever it used. Only *timeout* interrupts a turn. A budget that is used up is a `BudgetExceededError`, because the
    run has no answer then.

    Args:
        model: "provider/model"; a `Provider`, with the bare model as *params*' ``model``; or a `Client`.
        tools: `Tool`s, functions, and definitions (dicts) of tools that the provider runs itself.
        system: The system message; ``{name}`` in it is replaced by a run's variable.
        max_turns: The most requests to the model.
        max_tokens: Tokens of all turns together, prompts included, after which no further turn begins. The length of a
            single answer is limited by ``max_tokens`` of a run, or of a Client.
        timeout: Seconds for a whole run.
        max_cost_usd: US dollars after which no further turn begins; none begins either after a turn of unknown cost.
        parallel: How many tool calls of one turn run at once.
        options: Options of the model's calls; the callbacks are called for the whole run.
        prices: Your own prices, as in `anyllm.pricing.cost_of`; a Client has its own.
        params: Parameters of `CompletionParams` for each turn. A ``tool_choice`` that forces a call holds for a run's
            first turn only: in later turns the model could not answer.

    Raises:
        TypeError: *model* is no model, there is no such parameter, or one has the wrong type.
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
        client_options: StreamingOptions = getattr(client, "options", DEFAULT)
        self._options = client_options if options is None else _convert.structure(StreamingOptions, options)
        self._system = system
        self._settings = AgentSettings(
            client=client,
            options=self._options.evolve(**dict.fromkeys(CALLBACKS)),
            definitions=definitions,
            tools=by_name,
            parallel=whole_number("parallel", parallel),
            max_turns=whole_number("max_turns", max_turns),
            max_tokens=_budget("max_tokens", max_tokens),
            timeout=_budget("timeout", timeout),
            max_cost_usd=_budget("max_cost_usd", max_cost_usd),
        )
        self._params = _checked_params(params)

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
        Run until the model answers, and return the result.

        Args:
            input: The user's message, or the conversation so far; if that begins with a system message, it stays.
            ctx: Ends the run.
            variables: Replace ``{name}`` in the system message, and in an *input* that is a text. Other braces stay as
                they are, ``{{name}}`` becomes ``{name}``, and without variables nothing is replaced.
            params: Parameters of `CompletionParams` for this run; ``max_tokens`` limits each answer.

        Raises:
            BudgetExceededError: a budget was used up before there was an answer.
            AnyLLMError: the error that ended the run; its ``result`` has the run so far.
            ValueError: a placeholder has no variable.
            TypeError: an argument has the wrong type.

        A tool that fails does not end the run: the model gets a line that begins with "error:". `Cancelled`,
        KeyboardInterrupt and SystemExit of a tool do end it. When the Context ends, the run ends at once; a tool that
        is still running is abandoned, and may check the Context that it got.
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
        A run as events, each with its ``turn``.

        One "start" comes first. The events of a turn follow while its answer comes, with a "tool_call" for each call,
        then a "tool_result" for each, in the order of the calls, as soon as it and those before it are ready.
        "complete" comes last, with the last answer as its ``completion`` and the `AgentResult` as its ``value``; or
        "error", which is then raised. Dropping the iterator ends the run.

        The run begins with the first event that is read. Arguments and errors are those of `run`; TypeErrors and
        ValueErrors are raised by this call.
        """
        return self._start(input, ctx, variables, params)

    def _start(
        self, input: Input, ctx: Optional[Context], variables: Optional[Mapping[str, Any]], params: Mapping[str, Any]
    ) -> Generator[StreamEvent, None, None]:
        caller_ctx = Context() if ctx is None else check_context(ctx, "ctx must be")
        messages = _conversation(self._system, input, variables)
        run = AgentRun(self._settings, caller_ctx, messages, {**self._params, **_checked_params(params)})
        return _with_callbacks(run, self._options)

    def __repr__(self) -> str:
        return f"<Agent {self._settings.client!r} with {', '.join(self._settings.tools) or 'no tools'}>"


def _with_callbacks(run: AgentRun, options: StreamingOptions) -> Generator[StreamEvent, None, None]:
    """The events of a run, each after its callback."""
    with contextlib.closing(run.events()) as events:
        for event in events:
            call_back(options, event)
            yield event


def _client(model: Any, params: dict[str, Any], prices: Optional[Mapping[str, Any]]) -> Any:
    """The agent's client: a `Client`, or an object with the same ``chat_stream``."""
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


def _checked_params(params: Mapping[str, Any]) -> dict[str, Any]:
    """*params*, after a check that raises in the caller's call, and not in the first turn."""
    names = {field.name for field in attrs.fields(CompletionParams)}.difference(_NOT_PARAMS)
    if not names.issuperset(params):
        raise unknown_keyword("Agent", params, names)
    rest = {name: value for name, value in params.items() if name not in ("model", "response_format")}
    CompletionParams("", [], **rest)
    return dict(params)


def _budget(name: str, value: Any) -> Any:
    return None if value is None else positive_number(name, value)


def _conversation(system: Optional[str], input: Input, variables: Optional[Mapping[str, Any]]) -> list[Message]:
    if isinstance(input, str):
        messages = [Message.user(_fill(input, variables))]
    else:
        conversation: Any = [input] if isinstance(input, (Message, Mapping)) else input
        messages = list(CompletionParams("", conversation).messages)
    if system is not None and not (messages and messages[0].role in _SYSTEM):
        messages.insert(0, Message.system(_fill(system, variables)))
    return messages


_PLACEHOLDER = re.compile(r"\{\{([^\W\d]\w*)\}\}|\{([^\W\d]\w*)\}")


def _fill(text: str, variables: Optional[Mapping[str, Any]]) -> str:
    """*text* with its placeholders replaced; placeholders in the values are not replaced."""
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
