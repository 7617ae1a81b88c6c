"""A run asks, calls, tells and asks again, the same over every format; and it ends as it was told to."""

from __future__ import annotations

import contextlib
import contextvars
import copy
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
from anyllm.agent import Agent, AgentResult, BudgetExceededError
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
from anyllm.testing import Reply, Stall, fake, serve
from anyllm.tools import Tool
from anyllm.types import Message, ToolCall

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


def results_in(messages: Any) -> List[Any]:
    """What the tools' messages say, of ours or of a request in OpenAI's shape."""
    return [message["content"] for message in messages if message["role"] == "tool"]


def events_of(agent: Agent, *args: Any, **kwargs: Any) -> List[StreamEvent]:
    """The events of a run, also of one that ends with an error."""
    events: List[StreamEvent] = []
    with contextlib.suppress(AnyLLMError):
        events.extend(agent.stream(*args, **kwargs))  # which keeps those that came before the error
    return events


# -- every format: two turns, two calls at once


def openai_calls() -> Reply:
    first = chunk(
        {"tool_calls": [{"index": 0, "id": "k1", "type": "function", "function": {"name": "weather", "arguments": ""}}]}
    )
    rest = chunk({"tool_calls": [{"index": 0, "function": {"arguments": '{"city":"Graz"}'}}]})
    other = {"index": 1, "id": "k2", "type": "function", "function": {"name": "clock", "arguments": '{"zone":"CET"}'}}
    return Reply.sse([first, rest, chunk({"tool_calls": [other]}), chunk({}, "tool_calls"), usage(10, 5)])


def openai_results(body: Any) -> List[Tuple[str, Any]]:
    ids = {call["id"]: call["function"]["name"] for call in body["messages"][-3]["tool_calls"]}
    assert json.loads(body["messages"][-3]["tool_calls"][0]["function"]["arguments"]) == {"city": "Graz"}
    return [(ids[message["tool_call_id"]], message["content"]) for message in body["messages"][-2:]]


def anthropic(*blocks: Any, stop: str) -> Reply:
    start = {"id": "m1", "type": "message", "role": "assistant", "model": "m", "content": [], "stop_reason": None}
    events: List[Any] = [
        {"type": "message_start", "message": {**start, "usage": {"input_tokens": 10, "output_tokens": 1}}}
    ]
    for index, (block, delta) in enumerate(blocks):
        events.append({"type": "content_block_start", "index": index, "content_block": block})
        events.append({"type": "content_block_delta", "index": index, "delta": delta})
        events.append({"type": "content_block_stop", "index": index})
    events.append({"type": "message_delta", "delta": {"stop_reason": stop}, "usage": {"output_tokens": 5}})
    events.append({"type": "message_stop"})
    return Reply.sse([(event["type"], event) for event in events], done=False)


def anthropic_calls() -> Reply:
    return anthropic(
        (
            {"type": "tool_use", "id": "t1", "name": "weather", "input": {}},
            {"type": "input_json_delta", "partial_json": '{"city":"Graz"}'},
        ),
        (
            {"type": "tool_use", "id": "t2", "name": "clock", "input": {}},
            {"type": "input_json_delta", "partial_json": '{"zone":"CET"}'},
        ),
        stop="tool_use",
    )


def anthropic_answer() -> Reply:
    return anthropic(({"type": "text", "text": ""}, {"type": "text_delta", "text": ANSWER}), stop="end_turn")


def anthropic_results(body: Any) -> List[Tuple[str, Any]]:
    calls, results = body["messages"][-2]["content"], body["messages"][-1]["content"]
    assert body["messages"][-1]["role"] == "user"
    assert calls[0]["input"] == {"city": "Graz"}
    ids = {call["id"]: call["name"] for call in calls}
    contents = [(ids[result["tool_use_id"]], result["content"]) for result in results]
    return [(name, text if isinstance(text, str) else text[0]["text"]) for name, text in contents]


def gemini(*parts: Any) -> Reply:
    usage = {"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 15}
    content = {"parts": list(parts), "role": "model"}
    return Reply.sse(
        [{"candidates": [{"content": content, "finishReason": "STOP", "index": 0}], "usageMetadata": usage}], done=False
    )


def gemini_calls() -> Reply:
    return gemini(
        {"functionCall": {"name": "weather", "args": {"city": "Graz"}}, "thoughtSignature": "c2ln"},
        {"functionCall": {"name": "clock", "args": {"zone": "CET"}}},
    )


def gemini_results(body: Any) -> List[Tuple[str, Any]]:
    calls, results = body["contents"][-2]["parts"], body["contents"][-1]["parts"]
    assert calls[0]["functionCall"] == {"name": "weather", "args": {"city": "Graz"}}
    assert calls[0]["thoughtSignature"] == "c2ln"
    answers = [result["functionResponse"] for result in results]
    assert not any("id" in answer for answer in answers)  # the host gave none
    return [(answer["name"], _said(answer["response"])) for answer in answers]


def _said(response: Any) -> str:
    """A text stands under a key of its own; an object is the response itself."""
    values = list(response.values())
    return values[0] if len(values) == 1 else json.dumps(response, separators=(",", ":"))


def ollama(message: Dict[str, Any], **end: Any) -> Reply:
    whole = {"model": "m", "created_at": "2025-05-01T10:00:00Z", "message": {"role": "assistant", **message}}
    last = {**whole, "message": {"role": "assistant", "content": ""}, "done": True, "done_reason": "stop"}
    return Reply.ndjson([{**whole, "done": False}, {**last, "prompt_eval_count": 10, "eval_count": 5}])


def ollama_calls() -> Reply:
    return ollama(
        {
            "content": "",
            "tool_calls": [
                {"function": {"name": "weather", "arguments": {"city": "Graz"}}},
                {"function": {"name": "clock", "arguments": {"zone": "CET"}}},
            ],
        }
    )


def ollama_results(body: Any) -> List[Tuple[str, Any]]:
    calls = body["messages"][-3]["tool_calls"]
    assert calls[0]["function"] == {"name": "weather", "arguments": {"city": "Graz"}}
    return [(message["tool_name"], message["content"]) for message in body["messages"][-2:]]


def cohere(*events: Any, reason: str) -> Reply:
    usage = {"tokens": {"input_tokens": 10, "output_tokens": 5}}
    start = {"id": "c1", "type": "message-start", "delta": {"message": {"role": "assistant", "content": []}}}
    end = {"type": "message-end", "delta": {"finish_reason": reason, "usage": usage}}
    return Reply.sse([(event["type"], event) for event in (start, *events, end)])


def cohere_calls() -> Reply:
    def call(index: int, call_id: str, name: str, arguments: str) -> List[Any]:
        opening = {"id": call_id, "type": "function", "function": {"name": name, "arguments": ""}}
        more = {"function": {"arguments": arguments}}
        return [
            {"type": "tool-call-start", "index": index, "delta": {"message": {"tool_calls": opening}}},
            {"type": "tool-call-delta", "index": index, "delta": {"message": {"tool_calls": more}}},
            {"type": "tool-call-end", "index": index},
        ]

    return cohere(
        *call(0, "a1", "weather", '{"city":"Graz"}'), *call(1, "b1", "clock", '{"zone":"CET"}'), reason="TOOL_CALL"
    )


def cohere_answer() -> Reply:
    return cohere(
        {"type": "content-start", "index": 0, "delta": {"message": {"content": {"type": "text", "text": ""}}}},
        {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": ANSWER}}}},
        {"type": "content-end", "index": 0},
        reason="COMPLETE",
    )


def cohere_results(body: Any) -> List[Tuple[str, Any]]:
    ids = {call["id"]: call["function"]["name"] for call in body["messages"][-3]["tool_calls"]}
    found = []
    for message in body["messages"][-2:]:
        content = message["content"]
        found.append(
            (ids[message["tool_call_id"]], content if isinstance(content, str) else content[0]["document"]["data"])
        )
    return found


FORMATS: Dict[str, Tuple[Callable[[], Reply], Callable[[], Reply], Callable[[Any], Any]]] = {
    "compatible": (openai_calls, lambda: Reply.sse(saying(ANSWER, (10, 5))), openai_results),
    "anthropic": (anthropic_calls, anthropic_answer, anthropic_results),
    "gemini": (gemini_calls, lambda: gemini({"text": ANSWER}), gemini_results),
    "ollama": (ollama_calls, lambda: ollama({"content": ANSWER}), ollama_results),
    "cohere": (cohere_calls, cohere_answer, cohere_results),
}


@pytest.mark.parametrize("name", FORMATS)
def test_a_run_has_the_same_transcript_over_every_format(name: str) -> None:
    calls, answer, results = FORMATS[name]
    both = threading.Barrier(2, timeout=TIMEOUT)  # which only calls that run at once get past

    def weather(city: str) -> Report:
        """The weather."""
        both.wait()
        return Report(18, f"sunny in {city}")

    def clock(zone: str, hours: bool = True) -> str:
        both.wait()
        return f"noon {zone}"

    with serve(lambda _: calls(), lambda _: answer(), repeat_last=False) as server:
        provider = anyllm.provider(name, api_key="key", base_url=server.url)
        agent = Agent(provider, model="m", tools=[weather, clock], system="Be {how}.")
        result = agent.run(QUESTION, ctx=anyllm.Context(TIMEOUT), variables={"how": "brief"})
        provider.close()
        second = server.requests[1].json()

    expected = {"weather": '{"degrees":18,"sky":"sunny in Graz"}', "clock": "noon CET"}
    assert [(kind, text) for kind, text in results(second)] == list(expected.items())
    assert [message.role for message in result.messages] == ["system", "user", "assistant", "tool", "tool", "assistant"]
    system, user, called, one, two, last = result.messages
    assert (system.text, user.text, last.text) == ("Be brief.", QUESTION, ANSWER)
    assert [(call.name, call.parse()) for call in called.tool_calls] == [
        ("weather", {"city": "Graz"}),
        ("clock", {"zone": "CET"}),
    ]
    assert [one.text, two.text] == list(expected.values())
    assert [one.tool_call_id, two.tool_call_id] == [call.id for call in called.tool_calls]
    assert len({call.id for call in called.tool_calls}) == 2
    assert (result.content, result.turns, result.stopped_by) == (ANSWER, 2, "answer")
    assert result.usage is not None
    assert (result.usage.total_tokens, result.usage.source) == (30, "provider")
    assert result.completion is not None
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

    agent, _ = agent_over(calling(("a", "slow", "{}"), ("b", "quick", "{}")), saying("Done."), tools=[slow, quick])
    events = list(agent.stream("Go."))
    assert [(event.type, event.turn) for event in events] == [
        ("start", 1),
        ("tool_call_start", 1),
        ("tool_call_delta", 1),
        ("tool_call", 1),
        ("tool_call_start", 1),
        ("tool_call_delta", 1),
        ("tool_call", 1),
        ("usage", 1),
        ("tool_result", 1),
        ("tool_result", 1),
        ("text", 2),
        ("usage", 2),
        ("complete", 2),
    ]
    results = [event for event in events if event.type == "tool_result"]
    assert [(event.tool_call.name, event.result.text) for event in results] == [("slow", "slow"), ("quick", "quick")]  # type: ignore[union-attr]
    assert [event.result.tool_call_id for event in results] == ["a", "b"]  # type: ignore[union-attr]
    assert isinstance(events[-1].value, AgentResult)
    assert events[-1].value.content == "Done."
    assert [event.elapsed for event in events] == sorted(event.elapsed for event in events)


def test_a_result_is_an_event_while_later_calls_run() -> None:
    was_told = threading.Event()

    def quick() -> str:
        return "quick"

    def slow() -> str:
        assert was_told.wait(TIMEOUT)
        return "slow"

    agent, _ = agent_over(calling(("a", "quick", "{}"), ("b", "slow", "{}")), saying("Done."), tools=[quick, slow])
    results = []
    for event in agent.stream("Go."):
        if event.type == "tool_result" and event.result is not None:
            was_told.set()
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
    agent, _ = agent_over(
        calling(("a", "f", "{}")), saying("Done."), tools=[Tool(lambda: 1, name="f")], options=options
    )
    agent.run("Go.")
    assert log == ["start", "f", "Done.", "Done."]


def test_an_error_ends_a_run_as_its_last_event_and_is_raised() -> None:
    agent, _ = agent_over(
        calling(("a", "f", "{}")), RateLimitError("slow down", is_retryable=False), tools=[Tool(lambda: 7, name="f")]
    )
    events: List[StreamEvent] = []
    with pytest.raises(RateLimitError, match="slow down") as caught:
        events.extend(agent.stream("Go."))
    assert [event.type for event in events].count("error") == 1
    assert events[-1].error is caught.value
    result = caught.value.result  # type: ignore[attr-defined]
    assert [message.role for message in result.messages] == ["user", "assistant", "tool"]
    assert (result.stopped_by, result.turns) == ("error", 2)
    with pytest.raises(RateLimitError):
        agent.run("Go.")


# -- tools that go wrong


def test_the_model_gets_the_error_of_a_call() -> None:
    def fail(city: str) -> None:
        raise ValueError(f"no such city:\n{city}")

    def nothing() -> object:
        return object()

    agent, provider = agent_over(
        calling(
            ("a", "fail", '{"city": "Atlantis"}'),
            ("b", "fail", '{"town": "Graz"}'),
            ("c", "fial", "{}"),
            ("d", "nothing", "{}"),
            ("e", "fail", '{"city": "Gr'),
        ),
        saying("Sorry."),
        tools=[fail, nothing],
    )
    assert agent.run("Go.").content == "Sorry."
    failed, wrong, unknown, no_json, cut = results_in(provider.requests[1]["messages"])
    assert failed == "error: ValueError: no such city: Atlantis"
    assert wrong.startswith("error: fail: $.city: missing; $.town: unknown argument")
    assert unknown == "error: there is no tool 'fial'; did you mean 'fail'?"
    assert no_json.startswith("error: TypeError: the result of nothing cannot be written as JSON")
    assert cut == """error: fail: $: the arguments are not JSON: {"city": "Gr"""


def test_arguments_that_are_no_object_become_an_empty_one() -> None:
    """Half of the hosts refuse a conversation with others; what the model wrote is in the error."""
    agent, provider = agent_over(calling(("a", "f", '{"x": ')), saying("Sorry."), tools=[Tool(lambda: 1, name="f")])
    result = agent.run("Go.")
    assert result.messages[1].tool_calls[0].arguments == "{}"
    assert provider.requests[1]["messages"][1]["tool_calls"][0]["function"]["arguments"] == "{}"
    assert '{"x":' in results_in(provider.requests[1]["messages"])[0]


def test_no_secret_and_no_traceback_reaches_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_API_KEY", "abcdefgh-12345")
    errors = [
        "cannot reach https://user:hunter22@shop.example/x?api_key=zzzz9999&page=2",
        "the key abcdefgh-12345 is over",
        "Authorization: Bearer eyJhbGciOi.xyz",
        "bad sk-proj-0123456789abcdef",
        "x" * 5000,
    ]

    def fail(place: int) -> None:
        raise RuntimeError(errors[place])

    calls = [(str(place), "fail", json.dumps({"place": place})) for place in range(len(errors))]
    agent, provider = agent_over(calling(*calls), saying("Sorry."), tools=[fail])
    agent.run("Go.")
    results = results_in(provider.requests[1]["messages"])
    for text, secret in zip(results, ("hunter22", "abcdefgh-12345", "eyJhbGciOi", "0123456789abcdef", "x" * 1000)):
        assert text.startswith("error: RuntimeError: ")
        assert secret not in text
    assert "zzzz9999" not in results[0]
    assert "page=2" in results[0]
    assert not any("Traceback" in text or "test_agent" in text for text in results)


@pytest.mark.parametrize("end", [SystemExit(3), KeyboardInterrupt(), Cancelled("mine")])
def test_exit_and_interrupt_in_a_tool_end_the_run(end: BaseException) -> None:
    def stop() -> None:
        raise end

    agent, provider = agent_over(calling(("a", "stop", "{}")), saying("Never."), tools=[stop])
    with pytest.raises(type(end)) as caught:
        agent.run("Go.")
    assert caught.value is end
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
    with pytest.raises(Cancelled) as caught:
        outer.run("Outer.", ctx=ctx)
    result = caught.value.result  # type: ignore[attr-defined]
    assert result.messages[0].text == "Outer."
    assert results_in(provider.requests[1]["messages"])[0].startswith("error: BudgetExceededError: ")


def test_a_failure_is_logged_by_name_alone(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise ValueError("with a secret")

    agent, _ = agent_over(calling(("a", "fail", "{}")), saying("Sorry."), tools=[fail])
    with caplog.at_level(logging.INFO, logger="anyllm"):
        agent.run("Go.")
    assert "the tool fail failed: ValueError" in caplog.text
    assert "secret" not in caplog.text


def test_calls_without_ids_or_with_the_same_get_their_own() -> None:
    agent, provider = agent_over(
        calling((None, "f", '{"x": 1}')),
        calling(("same", "f", '{"x": 2}'), ("same", "f", '{"x": 3}')),
        saying("Done."),
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
    agent, _ = agent_over(answer, tools=[Tool(lambda: 1, name="f")], max_turns=2)
    with pytest.raises(BudgetExceededError) as caught:
        agent.run("Go.")
    assert caught.value.result is not None
    roles = [message.role for message in caught.value.result.messages]
    assert roles == ["user", "assistant", "tool", "tool", "assistant", "tool", "tool"]
    texts = [message.text for message in caught.value.result.messages if message.role == "tool"]
    assert texts == ["1", "1", *["error: the run ended before there was a result"] * 2]


def test_a_restarted_answer_has_the_ids_of_its_new_calls() -> None:
    call = {"index": 0, "id": "old", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    cut = [chunk({"tool_calls": [call]}), IncompleteStreamError("cut")]
    options = {"retry": {"after_content": "restart", "backoff": 0}}
    f = Tool(lambda: 1, name="f")
    agent, provider = agent_over(cut, calling(("new", "f", "{}")), saying("Done."), tools=[f], options=options)
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

    calls = [(str(place), "f", "{}") for place in range(6)]
    agent, _ = agent_over(calling(*calls), saying("Done."), tools=[f], parallel=2)
    assert agent.run("Go.").content == "Done."
    assert most == [2]


def test_a_tool_sees_the_context_variables_of_the_agents_caller() -> None:
    who = contextvars.ContextVar("who", default="nobody")

    def f() -> str:
        return who.get()

    agent, provider = agent_over(calling(("a", "f", "{}")), saying("Done."), tools=[f])
    token = who.set("request 7")
    try:
        agent.run("Go.")
    finally:
        who.reset(token)
    assert results_in(provider.requests[1]["messages"]) == ["request 7"]


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
    never = []

    def quick() -> str:
        return "quick"

    def after() -> None:
        never.append(1)

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
    with pytest.raises(Cancelled) as caught:
        task.join()
    assert caught.value.cause == "enough"
    assert hanging.thread is not None
    assert hanging.thread.is_alive()
    assert hanging.ctx is not None
    assert hanging.ctx.cancelled
    result = caught.value.result  # type: ignore[attr-defined]
    assert [message.role for message in result.messages] == ["user", "assistant", "tool", "tool", "tool", "tool"]
    assert result.messages[2].text == "error: the run ended before there was a result"
    assert caught.value.partial is not None
    hanging.free.set()
    hanging.thread.join(TIMEOUT)
    assert never == []
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
    with pytest.raises(Cancelled) as caught:
        agent.run("Go.", ctx=ctx)
    texts = [message.text for message in caught.value.result.messages if message.role == "tool"]  # type: ignore[attr-defined]
    assert texts[0].startswith("error: the run ended")
    assert texts[1] == "quick"


def test_the_timeout_of_a_run_ends_a_hanging_tool_and_is_a_budget(
    hanging: Hanging, spawn: Callable[..., Task], later: LaterTime
) -> None:
    agent, _ = agent_over(calling(("a", "hang", "{}")), tools=[hanging.hang], timeout=1000)
    run = spawn(agent.run, "Go.")
    assert hanging.begun.wait(TIMEOUT)
    later.forward()
    with pytest.raises(BudgetExceededError) as caught:
        run.join()
    error = caught.value
    assert (error.budget, error.limit) == ("seconds", 1000)
    assert isinstance(error.__cause__, DeadlineExceeded)
    assert error.result is not None
    assert error.result.stopped_by == "seconds"
    assert [message.role for message in error.result.messages] == ["user", "assistant", "tool"]


def test_the_timeout_of_a_run_ends_a_running_answer(later: LaterTime) -> None:
    agent, _ = agent_over(["Once upon", Stall()], timeout=1000)
    events = agent.stream("Go.")
    assert any(event.type == "text" for event in events)  # and what follows is left in it
    later.forward()
    with pytest.raises(BudgetExceededError) as caught:
        list(events)
    assert caught.value.budget == "seconds"
    assert caught.value.partial is not None
    assert caught.value.partial.content == "Once upon"


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
    assert [event.type for event in events_of(agent, "Go.", ctx=ctx)] == ["start", "error"]
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
    assert hanging.ctx is not None
    assert not hanging.ctx.cancelled
    del events
    assert hanging.ctx.cancelled


def test_a_run_that_is_over_leaves_nothing_behind() -> None:
    seen: List[Any] = []

    def f(ctx: anyllm.Context) -> None:
        seen.append(weakref.ref(ctx))

    parent = anyllm.Context()
    agent, _ = agent_over(calling(("a", "f", "{}")), saying("Done."), tools=[f])
    agent.run("Go.", ctx=parent)
    gc.collect()
    assert seen[0]() is None
    assert not parent.cancelled


# -- budgets


def counted(**options: Any) -> Tuple[Agent, Any, List[int]]:
    """An agent whose model calls for ever, at 15 tokens a turn, and what was called."""
    called: List[int] = []
    agent, provider = agent_over(
        calling(("a", "f", "{}"), tokens=(10, 5)), tools=[Tool(lambda: called.append(1), name="f")], **options
    )
    return agent, provider, called


@pytest.mark.parametrize(
    ("options", "budget", "turns"),
    [
        ({"max_turns": 3}, "turns", 3),
        ({"max_tokens": 30}, "tokens", 2),
        ({"max_tokens": 31}, "tokens", 3),
        ({"max_cost_usd": 0.04, "prices": {"compatible/m": {"input_usd": 1000, "output_usd": 2000}}}, "cost", 2),
        ({"max_cost_usd": 0.05, "prices": {"compatible/m": {"input_usd": 1000, "output_usd": 2000}}}, "cost", 3),
    ],
)
def test_a_budget_that_has_run_out_ends_the_run(options: Any, budget: str, turns: int) -> None:
    agent, provider, called = counted(**options)
    with pytest.raises(BudgetExceededError) as caught:
        agent.run("Go.")
    error, limit = caught.value, next(value for name, value in options.items() if name != "prices")
    assert (error.budget, error.limit) == (budget, limit)
    assert len(provider.requests) == turns
    assert len(called) == turns - 1  # nobody would have been told of the last one's result
    assert error.result is not None
    assert (error.result.stopped_by, error.result.turns) == (budget, turns)
    assert error.result.usage is not None
    assert error.result.usage.total_tokens == 15 * turns
    assert error.result.messages[-1].role == "tool"
    assert error.result.messages[-1].text == "error: the run ended before there was a result"
    assert "ran out" in str(error)


def test_an_answer_over_the_budget_is_an_answer() -> None:
    agent, _ = agent_over(saying("Done.", (900, 100)), max_turns=1, max_tokens=10)
    result = agent.run("Go.")
    assert (result.content, result.stopped_by) == ("Done.", "answer")


def test_an_unknown_cost_exceeds_the_budget() -> None:
    agent, provider, _ = counted(max_cost_usd=1000)
    with pytest.raises(BudgetExceededError, match="the price of the model is unknown") as caught:
        agent.run("Go.")
    assert caught.value.result is not None
    assert caught.value.result.cost_usd is None
    assert len(provider.requests) == 1


def test_costs_and_tokens_are_summed_over_turns() -> None:
    agent, _ = agent_over(
        calling(("a", "f", "{}"), tokens=(10, 5)),
        saying("Done.", (20, 2)),
        tools=[Tool(lambda: 1, name="f")],
        prices={"compatible/m": {"input_usd": 1000, "output_usd": 2000}},
    )
    result = agent.run("Go.")
    assert result.usage is not None
    assert (result.usage.prompt_tokens, result.usage.completion_tokens, result.usage.total_tokens) == (30, 7, 37)
    assert result.usage.cache_read_tokens is None
    assert result.cost_usd == pytest.approx(0.044)


def test_uncounted_tokens_are_estimated_or_end_the_run() -> None:
    silent = calling(("a", "f", "{}"))[:-1]
    f = Tool(lambda: 1, name="f")
    agent, _ = agent_over(silent, saying("Done."), tools=[f], options={"usage": "character"})
    result = agent.run("Go.")
    assert result.usage is not None
    assert result.usage.source == "estimated"
    assert result.usage.confidence < 1
    agent, _ = agent_over(silent, saying("Done."), tools=[f], options={"usage": "provider"}, max_tokens=1000)
    with pytest.raises(BudgetExceededError, match="the number of tokens used is unknown"):
        agent.run("Go.")


def test_another_run_continues_after_a_budget_ended_one() -> None:
    agent, provider = agent_over(
        calling(("a", "f", "{}")), saying("Done."), tools=[Tool(lambda: 1, name="f")], max_turns=1, system="Be brief."
    )
    with pytest.raises(BudgetExceededError) as caught:
        agent.run("Go.")
    assert caught.value.result is not None
    result = agent.run([*caught.value.result.messages, Message.user("And now?")])
    assert result.content == "Done."
    roles = [message["role"] for message in provider.requests[1]["messages"]]
    assert roles == ["system", "user", "assistant", "tool", "user"]


def test_the_error_survives_pickle_and_copy_with_its_result() -> None:
    agent, _, _ = counted(max_turns=1)
    with pytest.raises(BudgetExceededError) as caught:
        agent.run("Go.")
    for twin in (pickle.loads(pickle.dumps(caught.value)), copy.copy(caught.value)):
        assert (twin.budget, twin.limit, twin.result) == ("turns", 1, caught.value.result)
        assert str(twin) == str(caught.value)
    assert caught.value.result is not None
    assert AgentResult.from_dict(caught.value.result.to_dict()) == caught.value.result


# -- what is asked


def test_variables_stand_where_they_are_named_and_nowhere_else() -> None:
    agent, provider = agent_over(saying("Done."), system='Say {x}. JSON: {"a": {"b": 1}} {{x}} {} {0} {x!r}')
    agent.run("For {who}.", variables={"x": "{who}", "who": "me", "more": 1})
    system, user = (message["content"] for message in provider.requests[0]["messages"])
    assert system == 'Say {who}. JSON: {"a": {"b": 1}} {x} {} {0} {x!r}'
    assert user == "For me."


def test_without_variables_and_in_a_conversation_nothing_is_replaced() -> None:
    agent, provider = agent_over(saying("Done."), system="Say {x} {{y}}.")
    agent.run("For {who}.")
    agent.run([Message.user("For {who}.")], variables={"x": 1, "y": 2})
    first, second = (request["messages"] for request in provider.requests)
    assert [message["content"] for message in first] == ["Say {x} {{y}}.", "For {who}."]
    assert [message["content"] for message in second] == ["Say 1 {y}.", "For {who}."]


def test_a_missing_variable_is_named_before_any_request() -> None:
    agent, provider = agent_over(saying("Done."), system="Say {name}.")
    for ask in (agent.run, agent.stream):
        with pytest.raises(ValueError, match=r"no variable for \{name\}; did you mean 'names'"):
            ask("Go.", variables={"names": 1})
    assert provider.requests == []


def test_a_system_message_of_the_conversation_stays() -> None:
    agent, provider = agent_over(saying("Done."), system="New.")
    agent.run([{"role": "system", "content": "Old."}, {"role": "user", "content": "Go."}])
    agent.run(Message.user("Go."))
    assert [request["messages"][0]["content"] for request in provider.requests] == ["Old.", "New."]


def test_parameters_go_with_each_turn_and_those_of_a_run_win() -> None:
    agent, provider = agent_over(
        calling(("a", "f", "{}")), saying("Done."), tools=[Tool(lambda: 1, name="f")], temperature=0.5, seed=1
    )
    agent.run("Go.", seed=2, max_tokens=77)
    assert [(one["temperature"], one["seed"]) for one in provider.requests] == [(0.5, 2)] * 2
    assert all(77 in (one.get("max_tokens"), one.get("max_completion_tokens")) for one in provider.requests)


def test_a_forced_call_is_forced_once() -> None:
    f = Tool(lambda: 1, name="f")
    for choice, later in (
        ("required", None),
        ({"type": "function", "function": {"name": "f"}}, None),
        ("auto", "auto"),
    ):
        agent, provider = agent_over(calling(("a", "f", "{}")), saying("Done."), tools=[f], tool_choice=choice)
        agent.run("Go.")
        assert [request.get("tool_choice") for request in provider.requests] == [choice, later]


def test_an_agent_takes_a_model_name_a_provider_or_a_client() -> None:
    provider = fake(calling(("a", "f", "{}")), saying("Done."))
    client = Client("m", provider=provider, temperature=0.25, options=StreamingOptions(retry=Retry(attempts=1)))
    agent = Agent(client, tools=[Tool(lambda: 1, name="f")])
    assert agent.run("Go.").content == "Done."
    assert [request["temperature"] for request in provider.requests] == [0.25, 0.25]
    assert repr(agent).endswith("m> with f>")
    assert "openai" in repr(Agent("openai/gpt-4o-mini"))
    with pytest.raises(TypeError, match="needs its model"):
        Agent(provider)
    with pytest.raises(TypeError, match="not int"):
        Agent(3)  # type: ignore[arg-type]


def test_any_object_that_streams_as_a_client_will_do() -> None:
    """One that wraps a Client, for example; and one whose events end without telling of the error."""

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

    events = events_of(Agent(Failing()), "Go.")  # type: ignore[arg-type]
    assert [event.type for event in events] == ["start", "text", "error"]
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
        return Reply.sse(saying(texts[0]) if len(messages) > 1 else calling(("a", "f", "{}")))

    with serve(reply) as server:
        provider = anyllm.provider("compatible", base_url=server.url)
        agent = Agent(provider, model="m", tools=[f])
        tasks = [spawn(agent.run, name) for name in ("one", "two")]
        assert [task.join().content for task in tasks] == ["one", "two"]
        provider.close()


def test_the_models_tool_call_is_passed_on_unchanged() -> None:
    """What hosts sign comes back as it was."""
    extra = {"google": {"thought_signature": "sig"}}
    call = {
        "index": 0,
        "id": "a",
        "type": "function",
        "function": {"name": "f", "arguments": "{}"},
        "extra_content": extra,
    }
    first = [chunk({"tool_calls": [call]}), chunk({}, "tool_calls"), usage(1, 1)]
    agent, provider = agent_over(first, saying("Done."), tools=[Tool(lambda: 1, name="f")])
    result = agent.run("Go.")
    assert provider.requests[1]["messages"][1]["tool_calls"][0]["extra_content"] == extra
    assert isinstance(result.messages[1].tool_calls[0], ToolCall)
