"""A run asks, calls, tells and asks again, the same over every format; and it ends as it was told to."""

from __future__ import annotations

import contextlib
import contextvars
import gc
import json
import logging
import pickle
import threading
import weakref
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

import attrs
import pytest
from conftest import TIMEOUT, LaterTime, Task
from loopback import until

import anyllm
from anyllm import formats
from anyllm.agent import Agent, AgentResult, BudgetExceededError
from anyllm.caching import replayed
from anyllm.client import Client
from anyllm.errors import (
    AnyLLMError,
    Cancelled,
    DeadlineExceeded,
    IncompleteStreamError,
    RateLimitError,
    UnsupportedProviderError,
)
from anyllm.events import StreamEvent
from anyllm.options import Retry, StreamingOptions
from anyllm.testing import Reply, Stall, fake, serve, tool_call
from anyllm.tools import Tool
from anyllm.types import ChatCompletion, Choice, Message, ToolCall, Usage
from anyllm.wire.anthropic_messages.server.request_reader import read_messages
from anyllm.wire.gemini.server.request_reader import read_generate
from anyllm.wire.ollama.server.request_reader import read_chat as read_ollama_chat
from anyllm.wire.openai_chat.server.request_reader import read_chat
from anyllm.wire.openai_responses.server.request_reader import read_responses

NO_RESULT = "error: the run ended before there was a result"
QUESTION = "Weather and time in Graz?"
ANSWER = "Sunny, and noon."


@attrs.define
class Report:
    degrees: int
    sky: str
    wind: Optional[str] = None


# -- a model that speaks OpenAI's format, without a socket


def chunk(delta: Dict[str, Any], finish: Optional[str] = None, **more: Any) -> Dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "c", "object": "chat.completion.chunk", "model": "m", "choices": [choice], **more}


def usage(prompt: int, completion: int) -> Dict[str, Any]:
    counts = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    return {"id": "c", "object": "chat.completion.chunk", "model": "m", "choices": [], "usage": counts}


def calling(*calls: Tuple[Optional[str], str, str], tokens: Tuple[int, int] = (10, 5)) -> List[Dict[str, Any]]:
    """An answer that makes calls, given as id, name and arguments."""
    chunks = [chunk({"role": "assistant", "content": ""})]
    for index, (call_id, name, arguments) in enumerate(calls):
        function = {"name": name, "arguments": arguments}
        call = {"index": index, "type": "function", "function": function, **({"id": call_id} if call_id else {})}
        chunks.append(chunk({"tool_calls": [call]}))
    return [*chunks, chunk({}, "tool_calls"), usage(*tokens)]


def saying(text: str, tokens: Tuple[int, int] = (20, 2)) -> List[Dict[str, Any]]:
    return [chunk({"role": "assistant", "content": text}), chunk({}, "stop"), usage(*tokens)]


def agent_over(*answers: Any, **options: Any) -> Tuple[Agent, Any]:
    provider = fake(*answers)
    return Agent(provider, model="m", **options), provider


F = Tool(lambda: 1, name="f")
CALL = calling(("a", "f", "{}"))
DONE = saying("Done.")


def raising(error: BaseException) -> Tool:
    def fail() -> None:
        raise error

    return Tool(fail)


def error_of(kind: Any, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """The error that a call raises."""
    with pytest.raises(kind) as caught:
        call(*args, **kwargs)
    return caught.value


def results_in(messages: Any) -> List[Any]:
    """The tools' results, in the messages of a request in OpenAI's shape."""
    return [message["content"] for message in messages if message["role"] == "tool"]


def results_of(*calls: Any, tools: Any) -> List[Any]:
    """The results that the model gets of its calls, given as for `calling`."""
    agent, provider = agent_over(calling(*calls), DONE, tools=tools)
    assert agent.run("Go.").content == "Done."
    return results_in(provider.requests[1]["messages"])


def events_of(agent: Agent, *args: Any, **kwargs: Any) -> List[StreamEvent]:
    """The events of a run, also of one that ends with an error."""
    events: List[StreamEvent] = []
    with contextlib.suppress(AnyLLMError):
        events.extend(agent.stream(*args, **kwargs))  # keeps those before the error
    return events


def types_of(events: List[StreamEvent]) -> List[str]:
    return [event.type for event in events]


def roles_in(messages: Any) -> List[str]:
    return [message.role for message in messages]


# -- every format: two turns, two calls at once

ARGUMENTS = {"weather": {"city": "Graz"}, "clock": {"zone": "CET"}}
RESULTS = {"weather": '{"degrees":18,"sky":"sunny in Graz"}', "clock": "noon CET"}


def written(format: str, message: Message, finish_reason: str) -> Reply:
    """An answer as a stream in *format*."""
    answer = ChatCompletion("c", (Choice(0, message, finish_reason),), model="m", usage=Usage(10, 5, 15))
    data = b"".join(formats.encode(replayed(answer), format))
    return Reply(body=[data], content_type=formats.headers(format)["Content-Type"])


def replies_in(format: str) -> List[Reply]:
    calls = [tool_call(name, arguments, id=f"call_{name}") for name, arguments in ARGUMENTS.items()]
    return [
        written(format, Message.assistant(tool_calls=calls), "tool_calls"),
        written(format, Message.assistant(ANSWER), "stop"),
    ]


def cohere(*events: Any, reason: str) -> Reply:
    usage = {"tokens": {"input_tokens": 10, "output_tokens": 5}}
    start = {"id": "c1", "type": "message-start", "delta": {"message": {"role": "assistant", "content": []}}}
    end = {"type": "message-end", "delta": {"finish_reason": reason, "usage": usage}}
    return Reply.sse([(event["type"], event) for event in (start, *events, end)])


def cohere_replies() -> List[Reply]:
    """Cohere's format has no writer."""
    events: List[Any] = []
    for index, (name, arguments) in enumerate(ARGUMENTS.items()):
        call = {"id": f"c{index}", "type": "function", "function": {"name": name, "arguments": ""}}
        more = {"function": {"arguments": json.dumps(arguments)}}
        events.append({"type": "tool-call-start", "index": index, "delta": {"message": {"tool_calls": call}}})
        events.append({"type": "tool-call-delta", "index": index, "delta": {"message": {"tool_calls": more}}})
        events.append({"type": "tool-call-end", "index": index})
    text = {"type": "text", "text": ANSWER}
    content = {"type": "content-start", "index": 0, "delta": {"message": {"content": text}}}
    return [
        cohere(*events, reason="TOOL_CALL"),
        cohere(content, {"type": "content-end", "index": 0}, reason="COMPLETE"),
    ]


def cohere_messages(body: Any) -> Tuple[Message, ...]:
    """Its requests have the shape of OpenAI's, except for documents."""
    for message in body["messages"]:
        if message["role"] == "tool" and not isinstance(message["content"], str):
            (part,) = message["content"]
            message["content"] = part["document"]["data"]
    return read_chat(body).params.messages


#: Provider, the format of its replies, and what reads the conversation in its requests.
FORMATS: Dict[str, Tuple[Callable[[], List[Reply]], Callable[[Any], Any]]] = {
    "compatible": (lambda: replies_in("openai"), lambda body: read_chat(body).params.messages),
    "openai-responses": (lambda: replies_in("openai-responses"), lambda body: read_responses(body).params.messages),
    "anthropic": (lambda: replies_in("anthropic"), lambda body: read_messages(body).params.messages),
    "gemini": (lambda: replies_in("gemini"), lambda body: read_generate(body, model="m", stream=True).params.messages),
    "ollama": (lambda: replies_in("ollama"), lambda body: read_ollama_chat(body).params.messages),
    "cohere": (cohere_replies, cohere_messages),
}


@pytest.mark.parametrize("name", FORMATS)
def test_a_run_has_the_same_transcript_over_every_format(name: str) -> None:
    replies, read = FORMATS[name]
    both = threading.Barrier(2, timeout=TIMEOUT)  # which only calls that run at once get past

    def weather(city: str) -> Report:
        """The weather."""
        both.wait()
        return Report(18, f"sunny in {city}")

    def clock(zone: str, hours: bool = True) -> str:
        both.wait()
        return f"noon {zone}"

    with serve(*replies(), repeat_last=False) as server:
        provider = anyllm.provider(name, api_key="key", base_url=server.url)
        agent = Agent(provider, model="m", tools=[weather, clock], system="Be {how}.")
        result = agent.run(QUESTION, ctx=anyllm.Context(TIMEOUT), variables={"how": "brief"})
        provider.close()
        sent = read(server.requests[1].json())

    for messages in (sent, result.messages):
        assert roles_in(messages[:5]) == ["system", "user", "assistant", "tool", "tool"]
        called, *answers = messages[2:5]
        assert {call.name: call.parse() for call in called.tool_calls} == ARGUMENTS
        assert [message.text for message in answers] == list(RESULTS.values())
        assert [message.tool_call_id for message in answers] == [call.id for call in called.tool_calls]
        assert len({call.id for call in called.tool_calls}) == 2
    system, user, *_, last = result.messages
    assert (system.text, user.text, last.text, len(result.messages)) == ("Be brief.", QUESTION, ANSWER, 6)
    assert (result.content, result.turns, result.stopped_by) == (ANSWER, 2, "answer")
    assert (result.usage.total_tokens, result.usage.source) == (30, "provider")
    assert result.completion.content == ANSWER


# -- events


def test_events_come_in_order_with_their_turn() -> None:
    first_may_end = threading.Event()

    def slow() -> str:
        assert first_may_end.wait(TIMEOUT)
        return "slow"

    def quick() -> str:
        first_may_end.set()
        return "quick"

    agent, _ = agent_over(calling(("a", "slow", "{}"), ("b", "quick", "{}")), DONE, tools=[slow, quick])
    events = list(agent.stream("Go."))
    call = ["tool_call_start", "tool_call_delta", "tool_call"]
    first = ["start", *call, *call, "usage", "tool_result", "tool_result"]
    assert types_of(events) == [*first, "text", "usage", "complete"]
    assert [event.turn for event in events] == [1] * len(first) + [2] * 3
    results = [event for event in events if event.type == "tool_result"]
    assert [(event.tool_call.name, event.result.text, event.result.tool_call_id) for event in results] == [
        *(("slow", "slow", "a"), ("quick", "quick", "b"))
    ]
    assert isinstance(events[-1].value, AgentResult)
    assert events[-1].value.content == "Done."
    assert [event.elapsed for event in events] == sorted(event.elapsed for event in events)


def test_a_result_is_an_event_while_later_calls_run() -> None:
    was_received = threading.Event()

    def quick() -> str:
        return "quick"

    def slow() -> str:
        assert was_received.wait(TIMEOUT)
        return "slow"

    agent, _ = agent_over(calling(("a", "quick", "{}"), ("b", "slow", "{}")), DONE, tools=[quick, slow])
    results = []
    for event in agent.stream("Go."):
        if event.type == "tool_result" and event.result is not None:
            was_received.set()
            results.append(event.result.text)
    assert results == ["quick", "slow"]


def test_the_callbacks_are_called_for_the_whole_run_once() -> None:
    log: List[Any] = []
    options = {
        "on_start": lambda: log.append("start"),
        "on_delta": lambda text: log.append(text),
        "on_tool_call": lambda call: log.append(call.name),
        "on_complete": lambda answer: log.append(answer.content),
    }
    agent, _ = agent_over(CALL, DONE, tools=[F], options=options)
    agent.run("Go.")
    assert log == ["start", "f", "Done.", "Done."]


def test_an_error_ends_a_run_as_its_last_event_and_is_raised() -> None:
    agent, _ = agent_over(CALL, RateLimitError("slow down", is_retryable=False), tools=[F])
    events: List[StreamEvent] = []
    with pytest.raises(RateLimitError, match="slow down") as caught:
        events.extend(agent.stream("Go."))
    assert types_of(events).count("error") == 1
    assert events[-1].error is caught.value
    result = caught.value.result
    assert roles_in(result.messages) == ["user", "assistant", "tool"]
    assert (result.stopped_by, result.turns) == ("error", 2)
    with pytest.raises(RateLimitError):
        agent.run("Go.")


# -- tools that go wrong


def test_the_model_gets_the_error_of_a_call() -> None:
    def fail(city: str) -> None:
        raise ValueError(f"no such city:\n{city}")

    def nothing() -> object:
        return object()

    failed, wrong, unknown, no_json, cut = results_of(
        ("a", "fail", '{"city": "Atlantis"}'),
        ("b", "fail", '{"town": "Graz"}'),
        ("c", "fial", "{}"),
        ("d", "nothing", "{}"),
        ("e", "fail", '{"city": "Gr'),
        tools=[fail, nothing],
    )
    assert failed == "error: ValueError: no such city: Atlantis"
    assert wrong.startswith("error: fail: $.city: missing; $.town: unknown argument")
    assert unknown == "error: there is no tool 'fial'; did you mean 'fail'?"
    assert no_json.startswith("error: TypeError: the result of nothing cannot be written as JSON")
    assert cut == """error: fail: $: the arguments are not JSON: {"city": "Gr"""


@pytest.mark.parametrize("arguments", ["", '{"x": '])
def test_arguments_that_are_no_object_become_an_empty_one(arguments: str) -> None:
    """Half of the hosts refuse a conversation with others; the model's text is in the error."""
    agent, provider = agent_over(calling(("a", "f", arguments)), saying("Sorry."), tools=[F])
    result = agent.run("Go.")
    assert result.messages[1].tool_calls[0].arguments == "{}"
    assert provider.requests[1]["messages"][1]["tool_calls"][0]["function"]["arguments"] == "{}"
    assert arguments.strip() in results_in(provider.requests[1]["messages"])[0]


def test_no_secret_and_no_traceback_reaches_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_API_KEY", "abcdefgh-12345")
    url = "https://user:hunter22@shop.example/x?api_key=zzzz9999&page=2"
    errors = {
        f"cannot reach {url}": "hunter22",
        f"cannot open {url}": "zzzz9999",
        "the key abcdefgh-12345 is over": "abcdefgh-12345",
        "Authorization: Bearer eyJhbGciOi.xyz": "eyJhbGciOi",
        "bad sk-proj-0123456789abcdef": "0123456789abcdef",
        "x" * 5000: "x" * 1000,
    }

    def fail(message: str) -> None:
        raise RuntimeError(message)

    results = results_of(*(("a", "fail", json.dumps({"message": message})) for message in errors), tools=[fail])
    for text, secret in zip(results, errors.values()):
        assert text.startswith("error: RuntimeError: ")
        assert not any(word in text for word in (secret, "Traceback", "test_agent"))
    assert "page=2" in results[0]


class WordlessError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


def test_an_error_without_a_message_does_not_end_the_run() -> None:
    assert "WordlessError" in results_of(("a", "fail", "{}"), tools=[raising(WordlessError())])[0]


@pytest.mark.parametrize("end", [SystemExit(3), KeyboardInterrupt(), Cancelled("mine")])
def test_exit_and_interrupt_in_a_tool_end_the_run(end: BaseException) -> None:
    agent, provider = agent_over(calling(("a", "fail", "{}")), saying("Never."), tools=[raising(end)])
    assert error_of(type(end), agent.run, "Go.") is end
    assert len(provider.requests) == 1


def test_an_agent_may_be_the_tool_of_another() -> None:
    """What ends the inner run ends the outer one, whose own conversation its error then has."""
    ctx = anyllm.Context()
    inner, _ = agent_over(calling(("i", "stop", "{}")), tools=[Tool(ctx.cancel, name="stop")])
    counting, _, _ = counted(max_turns=1)

    def ask(ctx: anyllm.Context) -> str:
        return inner.run("Inner.", ctx=ctx).content

    def count(ctx: anyllm.Context) -> str:
        return counting.run("Inner.", ctx=ctx).content

    outer, provider = agent_over(calling(("a", "count", "{}")), calling(("b", "ask", "{}")), tools=[ask, count])
    assert error_of(Cancelled, outer.run, "Outer.", ctx=ctx).result.messages[0].text == "Outer."
    assert results_in(provider.requests[1]["messages"])[0].startswith("error: BudgetExceededError: ")


def test_a_failure_is_logged_by_name_alone(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="anyllm"):
        results_of(("a", "fail", "{}"), tools=[raising(ValueError("with a secret"))])
    assert "the tool fail failed: ValueError" in caplog.text
    assert "secret" not in caplog.text


def test_calls_without_ids_or_with_the_same_get_their_own() -> None:
    agent, provider = agent_over(
        calling((None, "f", '{"x": 1}')),
        calling(("same", "f", '{"x": 2}'), ("same", "f", '{"x": 3}')),
        DONE,
        tools=[Tool(lambda x: x, name="f")],
    )
    events = list(agent.stream("Go."))
    sent = provider.requests[2]["messages"]
    calls = [call for message in sent for call in message.get("tool_calls", ())]
    answers = [message for message in sent if message["role"] == "tool"]
    ids = [call["id"] for call in calls]
    assert len(set(ids)) == 3
    assert "same" in ids
    assert [answer["tool_call_id"] for answer in answers] == ids
    assert [json.loads(call["function"]["arguments"])["x"] for call in calls] == [1, 2, 3]
    for kind in ("tool_call_start", "tool_call", "tool_result"):
        assert [event.tool_call.id for event in events if event.type == kind] == ids  # type: ignore[union-attr]


def test_ids_that_come_again_in_a_later_turn_mean_the_later_calls() -> None:
    """Where the host gives none, each answer's calls are numbered anew."""
    answer = calling(("call_0", "f", "{}"), ("call_1", "f", "{}"))
    agent, _ = agent_over(answer, tools=[F], max_turns=2)
    messages = error_of(BudgetExceededError, agent.run, "Go.").result.messages
    assert roles_in(messages) == ["user", "assistant", "tool", "tool", "assistant", "tool", "tool"]
    assert [message.text for message in messages if message.role == "tool"] == ["1", "1", *[NO_RESULT] * 2]


def test_a_restarted_answer_has_the_ids_of_its_new_calls() -> None:
    cut = [*calling(("old", "f", "{}"))[:2], IncompleteStreamError("cut")]
    options = {"retry": {"after_content": "restart", "backoff": 0}}
    agent, provider = agent_over(cut, calling(("new", "f", "{}")), DONE, tools=[F], options=options)
    events = list(agent.stream("Go."))
    assert [event.tool_call.id for event in events if event.type == "tool_call"] == ["new"]  # type: ignore[union-attr]
    assert provider.requests[2]["messages"][-1]["tool_call_id"] == "new"


def test_an_error_before_the_request_is_an_event_too() -> None:
    (event,) = events_of(Agent("compatible/m"), "Go.", model="nobody/m")
    assert isinstance(event.error, UnsupportedProviderError)


def test_no_more_calls_run_at_once_than_were_allowed() -> None:
    running, most, lock = [0], [0], threading.Lock()
    both = threading.Barrier(2, timeout=TIMEOUT)

    def f() -> None:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        both.wait()
        with lock:
            running[0] -= 1

    agent, _ = agent_over(calling(*[("a", "f", "{}")] * 6), DONE, tools=[f], parallel=2)
    assert agent.run("Go.").content == "Done."
    assert most == [2]


def test_a_tool_sees_the_context_variables_of_the_agents_caller() -> None:
    variable = contextvars.ContextVar("variable", default="default")
    token = variable.set("request 7")
    try:
        assert results_of(("a", "f", "{}"), tools=[Tool(lambda: variable.get(), name="f")]) == ["request 7"]
    finally:
        variable.reset(token)


# -- ending early


class Hanging:
    """A tool that hangs until it is freed, whatever its Context says, and remembers the Context."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.free = threading.Event()
        self.ctx: Optional[anyllm.Context] = None
        self.thread: Optional[threading.Thread] = None

    def hang(self, ctx: anyllm.Context) -> str:
        self.ctx, self.thread = ctx, threading.current_thread()
        self.begun.set()
        assert self.free.wait(TIMEOUT)
        return "late"


@pytest.fixture
def hanging() -> Iterator[Hanging]:
    tool = Hanging()
    yield tool
    tool.free.set()
    if tool.thread is not None:
        tool.thread.join(TIMEOUT)


def test_a_cancelled_run_does_not_wait_for_a_tool_that_hangs(hanging: Hanging, spawn: Callable[..., Task]) -> None:
    late: List[int] = []

    def quick() -> str:
        return "quick"

    def after() -> None:
        late.append(1)

    agent, provider = agent_over(
        calling(("a", "hang", "{}"), ("b", "quick", "{}"), ("c", "hang", "{}"), ("d", "after", "{}")),
        saying("Never."),
        tools=[hanging.hang, quick, after],
        parallel=1,
    )
    ctx = anyllm.Context()
    task = spawn(agent.run, "Go.", ctx=ctx)
    assert hanging.begun.wait(TIMEOUT)
    ctx.cancel("enough")
    error = error_of(Cancelled, task.join)
    assert error.cause == "enough"
    assert hanging.thread.is_alive()
    assert hanging.ctx.cancelled
    assert roles_in(error.result.messages) == ["user", "assistant", "tool", "tool", "tool", "tool"]
    assert error.result.messages[2].text == NO_RESULT
    assert error.partial is not None
    hanging.free.set()
    hanging.thread.join(TIMEOUT)
    assert late == []
    assert len(provider.requests) == 1


def test_finished_results_are_in_the_transcript_of_an_ended_run(hanging: Hanging) -> None:
    """What a tool did is done, and the next run should know of it."""
    ctx = anyllm.Context()
    done = threading.Event()

    def quick() -> str:
        done.set()
        return "quick"

    def last() -> None:
        assert done.wait(TIMEOUT)
        assert hanging.begun.wait(TIMEOUT)
        ctx.cancel()

    agent, _ = agent_over(
        calling(("a", "hang", "{}"), ("b", "quick", "{}"), ("c", "last", "{}")),
        tools=[hanging.hang, quick, last],
        parallel=2,  # so that "last" comes after "quick" has put its result
    )
    messages = error_of(Cancelled, agent.run, "Go.", ctx=ctx).result.messages
    texts = [message.text for message in messages if message.role == "tool"]
    assert texts[:2] == [NO_RESULT, "quick"]


def test_the_timeout_of_a_run_ends_a_hanging_tool_and_is_a_budget(
    hanging: Hanging, spawn: Callable[..., Task], later: LaterTime
) -> None:
    agent, _ = agent_over(calling(("a", "hang", "{}")), tools=[hanging.hang], timeout=1000)
    run = spawn(agent.run, "Go.")
    assert hanging.begun.wait(TIMEOUT)
    later.forward()
    error = error_of(BudgetExceededError, run.join)
    assert (error.budget, error.limit, error.result.stopped_by) == ("seconds", 1000, "seconds")
    assert isinstance(error.__cause__, DeadlineExceeded)
    assert roles_in(error.result.messages) == ["user", "assistant", "tool"]


def test_the_timeout_of_a_run_ends_a_running_answer(later: LaterTime) -> None:
    agent, _ = agent_over(["Once upon", Stall()], timeout=1000)
    events = agent.stream("Go.")
    assert any(event.type == "text" for event in events)  # the rest is left in it
    later.forward()
    error = error_of(BudgetExceededError, list, events)
    assert (error.budget, error.partial.content) == ("seconds", "Once upon")


def test_the_callers_own_deadline_is_no_budget(hanging: Hanging, spawn: Callable[..., Task], later: LaterTime) -> None:
    agent, _ = agent_over(calling(("a", "hang", "{}")), tools=[hanging.hang], timeout=1e9)
    run = spawn(agent.run, "Go.", ctx=anyllm.Context(1000))
    assert hanging.begun.wait(TIMEOUT)
    later.forward()
    with pytest.raises(DeadlineExceeded):
        run.join()


def test_an_ended_context_sends_no_request() -> None:
    agent, provider = agent_over(saying("Never."))
    ctx = anyllm.Context()
    ctx.cancel()
    assert types_of(events_of(agent, "Go.", ctx=ctx)) == ["start", "error"]
    assert provider.requests == []


def test_dropping_the_iterator_ends_the_answer_and_its_thread() -> None:
    agent, _ = agent_over(["Once upon", Stall()])
    events = agent.stream("Go.")
    assert next(event for event in events if event.type == "text").text == "Once upon"
    assert anyllm.active_streams() == 1
    del events
    until(lambda: anyllm.active_streams() == 0)


def test_dropping_the_iterator_ends_the_tools_context(hanging: Hanging) -> None:
    def quick() -> str:
        assert hanging.begun.wait(TIMEOUT)
        return "quick"

    agent, _ = agent_over(calling(("a", "quick", "{}"), ("b", "hang", "{}")), tools=[quick, hanging.hang])
    events = agent.stream("Go.")
    assert next(event for event in events if event.type == "tool_result").turn == 1
    assert not hanging.ctx.cancelled
    del events
    assert hanging.ctx.cancelled


def test_a_run_that_is_over_leaves_nothing_behind() -> None:
    contexts: List[Any] = []

    def f(ctx: anyllm.Context) -> None:
        contexts.append(weakref.ref(ctx))

    parent = anyllm.Context()
    agent, _ = agent_over(CALL, DONE, tools=[f])
    agent.run("Go.", ctx=parent)
    gc.collect()
    assert contexts[0]() is None
    assert not parent.cancelled


# -- budgets


def counted(**options: Any) -> Tuple[Agent, Any, List[int]]:
    """An agent whose model calls for ever, at 15 tokens a turn, and what was called."""
    called: List[int] = []
    agent, provider = agent_over(CALL, tools=[Tool(lambda: called.append(1), name="f")], **options)
    return agent, provider, called


PRICES = {"compatible/m": {"input_usd": 1000, "output_usd": 2000}}


@pytest.mark.parametrize(
    ("options", "budget", "turns"),
    [
        ({"max_turns": 3}, "turns", 3),
        ({"max_tokens": 30}, "tokens", 2),
        ({"max_tokens": 31}, "tokens", 3),
        ({"max_cost_usd": 0.04, "prices": PRICES}, "cost", 2),
        ({"max_cost_usd": 0.05, "prices": PRICES}, "cost", 3),
    ],
)
def test_a_budget_that_has_run_out_ends_the_run(options: Any, budget: str, turns: int) -> None:
    agent, provider, called = counted(**options)
    error = error_of(BudgetExceededError, agent.run, "Go.")
    assert (error.budget, error.limit) == (budget, next(iter(options.values())))
    assert len(provider.requests) == turns
    assert len(called) == turns - 1  # the model would not have received the last result
    assert (error.result.stopped_by, error.result.turns) == (budget, turns)
    assert error.result.usage.total_tokens == 15 * turns
    assert (error.result.messages[-1].role, error.result.messages[-1].text) == ("tool", NO_RESULT)
    assert "ran out" in str(error)


def test_an_answer_over_the_budget_is_an_answer() -> None:
    agent, _ = agent_over(saying("Done.", (900, 100)), max_turns=1, max_tokens=10)
    result = agent.run("Go.")
    assert (result.content, result.stopped_by) == ("Done.", "answer")


def test_an_unknown_cost_exceeds_the_budget() -> None:
    agent, provider, _ = counted(max_cost_usd=1000)
    error = error_of(BudgetExceededError, agent.run, "Go.")
    assert "the price of the model is unknown" in str(error)
    assert error.result.cost_usd is None
    assert len(provider.requests) == 1


def test_costs_and_tokens_are_summed_over_turns() -> None:
    agent, _ = agent_over(CALL, DONE, tools=[F], prices=PRICES)
    result = agent.run("Go.")
    assert (result.usage.prompt_tokens, result.usage.completion_tokens, result.usage.total_tokens) == (30, 7, 37)
    assert result.usage.cache_read_tokens is None
    assert result.cost_usd == pytest.approx(0.044)


def test_uncounted_tokens_are_estimated_or_end_the_run() -> None:
    silent = CALL[:-1]
    agent, _ = agent_over(silent, DONE, tools=[F], options={"usage": "character"})
    result = agent.run("Go.")
    assert result.usage.source == "estimated"
    assert result.usage.confidence < 1
    agent, _ = agent_over(silent, DONE, tools=[F], options={"usage": "provider"}, max_tokens=1000)
    with pytest.raises(BudgetExceededError, match="the number of tokens used is unknown"):
        agent.run("Go.")


def test_another_run_continues_after_a_budget_ended_one() -> None:
    agent, provider = agent_over(CALL, DONE, tools=[F], max_turns=1, system="Be brief.")
    ended = error_of(BudgetExceededError, agent.run, "Go.").result
    assert agent.run([*ended.messages, Message.user("And now?")]).content == "Done."
    roles = [message["role"] for message in provider.requests[1]["messages"]]
    assert roles == ["system", "user", "assistant", "tool", "user"]


def test_a_result_survives_its_dict_and_pickle() -> None:
    agent, _, _ = counted(max_turns=1)
    result = error_of(BudgetExceededError, agent.run, "Go.").result
    assert AgentResult.from_dict(result.to_dict()) == result == pickle.loads(pickle.dumps(result))


# -- requests


def test_variables_stand_where_they_are_named_and_nowhere_else() -> None:
    agent, provider = agent_over(DONE, system='Say {x}. JSON: {"a": {"b": 1}} {{x}} {} {0} {x!r}')
    agent.run("For {who}.", variables={"x": "{who}", "who": "me", "more": 1})
    system, user = (message["content"] for message in provider.requests[0]["messages"])
    assert system == 'Say {who}. JSON: {"a": {"b": 1}} {x} {} {0} {x!r}'
    assert user == "For me."


def test_without_variables_and_in_a_conversation_nothing_is_replaced() -> None:
    agent, provider = agent_over(DONE, system="Say {x} {{y}}.")
    agent.run("For {who}.")
    agent.run([Message.user("For {who}.")], variables={"x": 1, "y": 2})
    first, second = (request["messages"] for request in provider.requests)
    assert [message["content"] for message in first] == ["Say {x} {{y}}.", "For {who}."]
    assert [message["content"] for message in second] == ["Say 1 {y}.", "For {who}."]


def test_a_missing_variable_is_named_before_any_request() -> None:
    agent, provider = agent_over(DONE, system="Say {name}.")
    for ask in (agent.run, agent.stream):
        with pytest.raises(ValueError, match=r"no variable for \{name\}; did you mean 'names'"):
            ask("Go.", variables={"names": 1})
    assert provider.requests == []


def test_a_system_message_of_the_conversation_stays() -> None:
    agent, provider = agent_over(DONE, system="New.")
    agent.run([{"role": "system", "content": "Old."}, {"role": "user", "content": "Go."}])
    agent.run(Message.user("Go."))
    assert [request["messages"][0]["content"] for request in provider.requests] == ["Old.", "New."]


def test_parameters_go_with_each_turn_and_those_of_a_run_win() -> None:
    agent, provider = agent_over(CALL, DONE, tools=[F], temperature=0.5, seed=1)
    agent.run("Go.", seed=2, max_tokens=77)
    assert [(one["temperature"], one["seed"]) for one in provider.requests] == [(0.5, 2)] * 2
    assert all(77 in (one.get("max_tokens"), one.get("max_completion_tokens")) for one in provider.requests)


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "f"}}, "auto"])
def test_a_forced_call_is_forced_once(choice: Any) -> None:
    agent, provider = agent_over(CALL, DONE, tools=[F], tool_choice=choice)
    agent.run("Go.")
    later = "auto" if choice == "auto" else None
    assert [request.get("tool_choice") for request in provider.requests] == [choice, later]


def test_an_agent_takes_a_model_name_a_provider_or_a_client() -> None:
    provider = fake(CALL, DONE)
    client = Client("m", provider=provider, temperature=0.25, options=StreamingOptions(retry=Retry(attempts=1)))
    agent = Agent(client, tools=[F])
    assert agent.run("Go.").content == "Done."
    assert [request["temperature"] for request in provider.requests] == [0.25, 0.25]
    assert repr(agent).endswith("m> with f>")
    assert "openai" in repr(Agent("openai/gpt-4o-mini"))
    with pytest.raises(TypeError, match="needs its model"):
        Agent(provider)
    with pytest.raises(TypeError, match="not int"):
        Agent(3)  # type: ignore[arg-type]


def test_any_object_that_streams_as_a_client_will_do() -> None:
    """One that wraps a Client, for example; and one whose events end without an error."""

    class Failing:
        def chat_stream(self, messages: Any, **params: Any) -> Any:
            return contextlib.nullcontext(self)

        def events(self) -> Iterator[StreamEvent]:
            yield StreamEvent(type="start")
            yield StreamEvent(type="text", text="Once")
            raise IncompleteStreamError("cut")

    class Silent(Failing):
        def events(self) -> Iterator[StreamEvent]:
            yield StreamEvent(type="start")

    assert types_of(events_of(Agent(Failing()), "Go.")) == ["start", "text", "error"]  # type: ignore[arg-type]
    with pytest.raises(IncompleteStreamError, match="cut"):
        Agent(Failing()).run("Go.")  # type: ignore[arg-type]
    with pytest.raises(IncompleteStreamError, match="without an answer"):
        Agent(Silent()).run("Go.")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"temprature": 1}, TypeError, "did you mean 'temperature'"),
        ({"temperature": "hot"}, TypeError, "temperature must be"),
        ({"messages": []}, TypeError, "no 'messages'"),
        ({"max_turns": 0}, ValueError, "max_turns"),
        ({"max_turns": 1.5}, TypeError, "max_turns"),
        ({"parallel": 0}, ValueError, "parallel"),
        ({"max_tokens": 0}, ValueError, "max_tokens"),
        ({"max_cost_usd": "1"}, TypeError, "max_cost_usd"),
        ({"timeout": -1}, ValueError, "timeout"),
        ({"tools": [1]}, TypeError, "a tool is"),
    ],
)
def test_a_wrong_argument_of_an_agent_raises_at_once(options: Any, error: Any, words: str) -> None:
    with pytest.raises(error, match=words):
        agent_over(saying("Never."), **options)


def test_a_wrong_argument_of_a_run_raises_at_once() -> None:
    agent, provider = agent_over(saying("Never."))
    for ask in (agent.run, agent.stream):
        with pytest.raises(TypeError, match="ctx must be a Context"):
            ask("Go.", ctx=3)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="did you mean 'seed'"):
            ask("Go.", sed=3)
        with pytest.raises(TypeError, match="messages must be"):
            ask(3)  # type: ignore[arg-type]
    assert provider.requests == []


def test_runs_of_one_agent_do_not_meet(spawn: Callable[..., Task]) -> None:
    both = threading.Barrier(2, timeout=TIMEOUT)

    def f() -> str:
        both.wait()
        return "met"

    def reply(request: Any) -> Reply:
        messages = request.json()["messages"]
        texts = [message["content"] for message in messages if message["role"] == "user"]
        return Reply.sse(saying(texts[0]) if len(messages) > 1 else CALL)

    with serve(reply) as server:
        provider = anyllm.provider("compatible", base_url=server.url)
        agent = Agent(provider, model="m", tools=[f])
        tasks = [spawn(agent.run, name) for name in ("one", "two")]
        assert [task.join().content for task in tasks] == ["one", "two"]
        provider.close()


def test_the_models_tool_call_is_passed_on_unchanged() -> None:
    """What hosts sign comes back as it was."""
    extra = {"google": {"thought_signature": "sig"}}
    agent, provider = agent_over(attrs.evolve(tool_call("f", {}, id="a"), extra_content=extra), DONE, tools=[F])
    result = agent.run("Go.")
    assert provider.requests[1]["messages"][1]["tool_calls"][0]["extra_content"] == extra
    assert isinstance(result.messages[1].tool_calls[0], ToolCall)
