"""The client: requests, answers and streams, events and callbacks, ends, several models, limits and caches."""

from __future__ import annotations

import copy
import functools
import gc
import pickle
import threading
from typing import Any, List

import attrs
import pytest
from conftest import TIMEOUT, join
from loopback import OFF, join_workers, silent_after, until, workers

import anyllm
from anyllm import Client, Message, StreamingOptions
from anyllm.caching import MemoryCache
from anyllm.client import ChatStream
from anyllm.client._routing import Router, Target
from anyllm.errors import (
    AnyLLMError,
    AuthenticationError,
    Cancelled,
    DeadlineExceeded,
    IncompleteStreamError,
    InvalidRequestError,
    RateLimitError,
    ServerError,
    UnsupportedProviderError,
)
from anyllm.limits import CircuitAttempt, CircuitBreaker, CircuitOpenError, RateLimit, StreamLimit
from anyllm.structured import StructuredOutputError
from anyllm.testing import Cut, Reply, Stall, chat_events, fake, serve

ONCE = StreamingOptions(retry=anyllm.Retry(attempts=1), timeouts=OFF)
CALLS = ["chat", "chat_stream", "stream", "stream_with_usage"]
#: For tests of a whole answer and of a stream.
ASK: Any = {
    "chat": Client.chat,
    "stream": lambda client, *args, **fields: client.chat_stream(*args, **fields).collect(),
}
both_ways = pytest.mark.parametrize("ask", ASK.values(), ids=ASK)


def client(*answers: Any, **settings: Any) -> Client:
    settings.setdefault("options", ONCE)
    return Client("m", provider=fake(*answers), **settings)


def at(url: str, **settings: Any) -> Client:
    settings.setdefault("options", ONCE)
    return Client("compatible/m", base_url=f"{url}/v1", **settings)


PARAMS = anyllm.CompletionParams(model="m", messages=[Message.user("Hi")], max_tokens=7)
#: A whole answer without usage.
WELL = Reply.json({"choices": [{"message": {"content": "well"}, "finish_reason": "stop"}]})


async def too_late(_: str) -> None:
    """Nobody awaits it."""


# -- requests -----------------------------------------------------------------------------------------------------


HI = {"role": "user", "content": "Hi"}


@pytest.mark.parametrize("messages", ["Hi", Message.user("Hi"), HI, [Message.user("Hi")], [HI]])
def test_messages_may_be_a_text_a_message_or_a_conversation(messages: Any):
    provider = fake("well")
    chat_client = Client("m", provider=provider, temperature=0)
    assert chat_client.chat(messages, max_tokens=5).content == "well"
    assert "".join(chat_client.stream(messages)) == "well"
    assert [request["messages"] for request in provider.requests] == [[HI]] * 2
    assert [request["temperature"] for request in provider.requests] == [0, 0]
    assert [request.get("max_tokens") for request in provider.requests] == [5, None]
    assert [request["model"] for request in provider.requests] == ["m", "m"]


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: client("well", temprature=0), TypeError, "did you mean 'temperature'"),
        (lambda: client("well").chat("Hi", max_token=5), TypeError, "did you mean 'max_tokens'"),
        (lambda: client("well").chat_stream("Hi", seeed=5), TypeError, "did you mean 'seed'"),
        (lambda: client("well").stream("Hi", on_delta=print), TypeError, "'on_delta' belongs to the options"),
        (
            lambda: client("well").chat("Hi", system="Brief."),
            TypeError,
            r"'system' is a message: \[anyllm.Message.system",
        ),
        (lambda: StreamingOptions(on_delta=too_late), TypeError, "on_delta must be a plain function"),
        (lambda: StreamingOptions(timeouts=30), TypeError, "timeouts: expected Timeouts or a dict, not int"),
        (lambda: client("well").chat("Hi", ctx=5.0), TypeError, "ctx must be a Context, not float"),
        (lambda: Client("openai/m", fallback="anthropic/m"), TypeError, "fallback must be a list"),
        (lambda: client("well").chat(5), TypeError, "messages must be a list"),
        (lambda: Client("gpt-4o"), UnsupportedProviderError, "openai/gpt-4o"),
        (lambda: Client("openai/m", strategy="best"), ValueError, "strategy must be one of order"),
        (
            lambda: Client(fake("x")),
            TypeError,
            r"not FakeProvider; a provider goes here: Client\('gpt-4o-mini', provider=",
        ),
        (lambda: Client().chat("Hi"), TypeError, r"which model\? Client\('openai/gpt-4o-mini'\), or model="),
        (lambda: Client().stream("Hi"), TypeError, "which model"),
        (lambda: Client().embed("Hi"), TypeError, "which model"),
        (lambda: Client().models(), TypeError, "whose models"),
        (lambda: Client(api_key="x"), TypeError, "whose api_key"),
        (lambda: Client(fallback=["openai/m"]), TypeError, "fallback= comes after a model"),
        (lambda: client("well").chat("Hi", stream=True), TypeError, r"for stream=True call chat_stream\(\)"),
        (lambda: client("well").chat(PARAMS.evolve(stream=True)), TypeError, r"for stream=True call chat_stream\(\)"),
        (lambda: client("well").stream("Hi", stream=False), TypeError, r"for stream=False call chat\(\)"),
        (lambda: client("well", stream=True), TypeError, "stream is no setting of a Client"),
    ],
)
def test_a_wrong_argument_is_an_error_where_it_is_written(call: Any, error: Any, words: str):
    with pytest.raises(error, match=words):
        call()


def test_extra_body_carries_unknown_parameters_and_tools_may_be_functions():
    def look(at: str) -> None: ...

    provider = fake("well")
    Client("m", provider=provider).chat("Hi", extra_body={"top_k": 3}, tools=[look])
    assert provider.requests[0]["top_k"] == 3
    assert provider.requests[0]["tools"][0]["function"]["name"] == "look"


def test_another_model_of_the_same_provider_gets_the_same_key():
    """And one of another host never gets it."""
    with serve(WELL) as server, serve(WELL) as other, pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLLM_BASE_URL", f"{other.url}/v1")
        chat_client = at(server.url, api_key="key-of-the-tests")
        chat_client.chat("Hi", model="compatible/another")
        chat_client.chat_stream("Hi", model="compatible/third").collect()
        chat_client.chat("Hi", model="vllm/m")
        assert [request.json()["model"] for request in server.requests] == ["another", "third"]
        assert {request.headers["Authorization"] for request in server.requests} == {"Bearer key-of-the-tests"}
        assert "Authorization" not in other.requests[0].headers


def test_a_key_beside_a_provider_goes_with_each_call():
    with serve(Reply.chat("well")) as server:
        provider = anyllm.provider("compatible", base_url="http://127.0.0.1:9", api_key="another")
        chat_client = Client("m", provider=provider, api_key="key-of-the-tests", base_url=f"{server.url}/v1")
        chat_client.chat("Hi")
        chat_client.chat_stream("Hi", model="m2").collect()
        assert {request.headers["Authorization"] for request in server.requests} == {"Bearer key-of-the-tests"}


def test_beside_a_provider_models_are_bare():
    provider = fake("well")
    chat_client = Client("m", provider=provider)
    chat_client.chat("Hi", model="org/another")
    assert provider.requests[0]["model"] == "org/another"
    with pytest.raises(UnsupportedProviderError):
        Client("compatible/m", base_url="http://127.0.0.1").chat("Hi", model="gpt-4o")


def test_tries_of_one_call_have_one_idempotency_key():
    replies = [Reply.error(500, "down"), Reply.sse(chat_events("well"))]
    with serve(*replies) as server:
        options = ONCE.evolve(retry=anyllm.Retry(backoff=0))
        chat_client = at(server.url, options=options)
        chat_client.chat_stream("Hi", idempotency_key=True).collect()
        chat_client.chat_stream("Hi", idempotency_key="mine").collect()
        keys = [request.headers["Idempotency-Key"] for request in server.requests]
    assert keys[0] == keys[1] != keys[2]
    assert keys[2] == "mine"


# -- answers --------------------------------------------------------------------------------------------------------


def test_a_stream_iterates_its_chunks_and_keeps_the_answer():
    stream = client("one two").chat_stream("Hi")
    with pytest.raises(RuntimeError, match="not been read to its end"):
        _ = stream.completion
    assert "".join(chunk.content for chunk in stream) == "one two"
    assert stream.completion.content == "one two"
    assert stream.completion.finish_reason == "stop"
    assert stream.collect() is stream.completion
    assert list(stream) == []
    assert stream.partial is stream.completion


def test_the_error_is_raised_at_the_end():
    cut = Reply.sse([*chat_events("one two", finish_reason=None, usage=False), Cut("clean")], done=False)
    with serve(cut) as server:
        stream = at(server.url).chat_stream("Hi")
        texts: List[str] = []
        with pytest.raises(IncompleteStreamError) as caught:
            texts.extend(chunk.content for chunk in stream)
        assert "".join(texts) == "one two"
        assert caught.value.partial.content == "one two" == stream.partial.content
        for call in (stream.collect, lambda: list(at(server.url).stream("Hi"))):
            with pytest.raises(IncompleteStreamError):
                call()


def test_stream_with_usage_is_the_whole_answer():
    answer = client("one two three").stream_with_usage("Hi", max_tokens=9)
    assert (answer.content, answer.usage.completion_tokens, answer.usage.source) == ("one two three", 3, "provider")


def test_usage_is_estimated_and_marked_where_the_provider_sends_none():
    events = [*chat_events("one two three four", usage=False)]
    answer = client(events).stream_with_usage("Hello there")
    assert answer.usage.source == "estimated"
    assert 0 < answer.usage.confidence < 1
    assert answer.usage.prompt_tokens > 0 < answer.usage.completion_tokens
    assert client(events, options=ONCE.evolve(usage="provider")).stream_with_usage("Hi").usage is None
    partial = client(events, options=ONCE.evolve(usage="character")).chat_stream("Hi").collect()
    assert partial.usage is not None


def test_an_answer_has_a_price_where_one_is_known():
    prices = {"compatible/m": {"input_usd": 1_000_000, "output_usd": 2_000_000}}
    answer = client("one two three", prices=prices).stream_with_usage("Hi")
    assert answer.cost_usd == answer.usage.prompt_tokens + 2 * answer.usage.completion_tokens
    assert client("one").chat("Hi").cost_usd is None


@attrs.define
class City:
    name: str
    people: int


def test_a_response_class_parses_the_answer():
    provider = fake('{"name": "Paris", "people": 2100000}')
    chat_client = Client("m", provider=provider)
    assert chat_client.chat("Hi", response_format=City).parsed == City("Paris", 2100000)
    answer = chat_client.chat_stream("Hi", response_format=City).collect()
    assert answer.parsed == City("Paris", 2100000)
    assert answer.get_json() == {"name": "Paris", "people": 2100000}
    assert provider.requests[0]["response_format"]["json_schema"]["schema"]["properties"]["people"]["type"] == "integer"
    with pytest.raises(StructuredOutputError, match="people") as caught:
        client('{"name": "Paris", "people": "many"}').chat("Hi", response_format=City)
    assert caught.value.partial is not None


def test_timing_is_complete_at_the_end():
    stream = client(["one", " two", " three"]).chat_stream("Hi")
    stream.collect()
    timing = stream.timing
    assert timing.first_content is not None
    assert 0 <= timing.mean_gap <= timing.longest_gap <= timing.total
    assert timing.first_content <= timing.total
    assert timing.contents >= 3


def test_an_answer_without_a_word_is_one():
    stream = client(chat_events("", usage=False)).chat_stream("Hi")
    assert stream.collect().content == ""
    assert stream.timing.first_content is None
    types = [event.type for event in client(chat_events("", usage=False)).chat_stream("Hi").events()]
    assert types == ["start", "usage", "complete"]


def test_embeddings_and_models():
    with serve(
        Reply.json({"data": [{"index": 0, "embedding": [1.0, 2.0]}], "model": "e", "usage": {"prompt_tokens": 1}}),
        Reply.json({"data": [{"id": "m"}]}),
    ) as server:
        assert at(server.url).embed("Hi", dimensions=2).vectors == [[1.0, 2.0]]
        assert [model.id for model in at(server.url).models()] == ["m"]


# -- events and callbacks ----------------------------------------------------------------------------------------------


TOOL = [
    {"index": 0, "id": "a", "type": "function", "function": {"name": "look", "arguments": ""}},
    {"index": 0, "function": {"arguments": '{"at": "the'}},
    {"index": 0, "function": {"arguments": ' sky"}'}},
    {"index": 1, "id": "b", "type": "function", "function": {"name": "wait", "arguments": "{}"}},
]


def with_tools() -> List[Any]:
    first, *middle, last, usage = chat_events("let me see")
    thought = {**first, "choices": [{"index": 0, "delta": {"reasoning_content": "hm"}, "finish_reason": None}]}
    calls = [
        {**first, "choices": [{"index": 0, "delta": {"tool_calls": [call]}, "finish_reason": None}]} for call in TOOL
    ]
    return [first, thought, *middle, *calls, last, usage]


def test_events_come_in_the_order_of_the_stream():
    events = list(client(with_tools()).chat_stream("Hi").events())
    assert [event.type for event in events] == [
        *("start", "reasoning", "text", "text", "text"),
        *("tool_call_start", "tool_call_delta", "tool_call_delta"),
        *("tool_call", "tool_call_start", "tool_call_delta", "tool_call"),
        *("usage", "complete"),
    ]
    deltas = [event for event in events if event.type == "tool_call_delta"]
    assert [event.value for event in deltas[:2]] == [{"at": "the sky"}] * 2, "one dict, which grows"
    calls = [event.tool_call for event in events if event.type == "tool_call"]
    assert [(call.id, call.name, call.parse()) for call in calls if call] == [
        ("a", "look", {"at": "the sky"}),
        ("b", "wait", {}),
    ]
    assert {event.provider for event in events} == {"compatible"}
    assert events[-1].model == "test-model"
    assert [event.elapsed for event in events] == sorted(event.elapsed for event in events)
    assert events[-1].completion.tool_calls == tuple(calls)


def test_events_of_json_hold_the_document_so_far():
    stream = client(['{"a": [1, ', "2], ", '"b": "x', 'y"}']).chat_stream("Hi", options=ONCE.evolve(json=True))
    values = [str(event.value) for event in stream.events() if event.type == "text"]  # one dict, which grows
    assert values == ["{'a': [1]}", "{'a': [1, 2]}", "{'a': [1, 2], 'b': 'x'}", "{'a': [1, 2], 'b': 'xy'}"]


def events_of_json(*pieces: str) -> List[anyllm.StreamEvent]:
    return list(client(list(pieces)).chat_stream("Hi", options=ONCE.evolve(json=True)).events())


@pytest.mark.parametrize(
    ("pieces", "types", "position"),
    [
        (['{"a": 1', ", b: 2}", " and more"], ["text", "text", "json_error", "text"], 9),
        (['{"a": ', "[1"], ["text", "text", "json_error"], None),
    ],
    ids=["broken", "cut off"],
)
def test_broken_json_is_an_event_as_soon_as_it_shows(pieces: Any, types: Any, position: Any):
    events = events_of_json(*pieces)
    assert [event.type for event in events] == ["start", *types, "usage", "complete"]
    (error,) = (event.json_error for event in events if event.type == "json_error")
    assert error.is_truncated == (position is None)
    assert position in (None, error.position)
    assert events[-1].completion.content == "".join(pieces)


def test_a_broken_document_has_the_value_before_the_error():
    events = events_of_json('{"a": 1', ", b: 2}", " and more")
    assert [event.value for event in events if event.type == "text"] == [{"a": 1}] * 3


@pytest.mark.parametrize("pieces", [["```json\n", "{"], ["Here it is"], [" ", "[1]"]])
def test_before_the_document_begins_its_value_is_none(pieces: Any):
    """And not the sentinel that the reader of the document has for that."""
    first = next(event for event in events_of_json(*pieces) if event.type == "text")
    assert first.value is None


@pytest.mark.parametrize("pieces", [['{"a": 1}'], ["1", "2"], ["```json\n[]\n```\n", "That is it."], []])
def test_a_whole_document_is_no_json_error(pieces: Any):
    assert not [event for event in events_of_json(*pieces) if event.type == "json_error"]


@pytest.mark.parametrize("call", ["chat", "stream_with_usage"])
def test_broken_json_is_called_back(call: str):
    errors: List[Any] = []
    options = ONCE.evolve(json=True, on_json_error=errors.append)
    assert getattr(client(['{"a": x', "}"]), call)("Hi", options=options).content == '{"a": x}'
    assert [type(error).__name__ for error in errors] == ["JSONStreamError"]


def test_a_restarted_answer_is_a_new_document():
    provider = fake(["{", anyllm.IncompleteStreamError("cut")], ["[1]"])
    options = anyllm.StreamingOptions(json=True, retry=anyllm.Retry(after_content="restart", backoff=0.0))
    events = list(Client("m", provider=provider, options=options).chat_stream("Hi").events())
    assert [event.value for event in events if event.type == "text"] == [{}, [1]]
    assert "json_error" not in [event.type for event in events]


def test_an_error_is_an_event_and_then_raised():
    events: List[anyllm.StreamEvent] = []
    stream = client(["one", ServerError("down")]).chat_stream("Hi")
    with pytest.raises(ServerError) as caught:
        events.extend(stream.events())
    assert [event.type for event in events] == ["start", "text", "error"]
    assert events[-1].error is caught.value


def test_attempts_before_the_first_content_are_events_and_no_chunks():
    def ask() -> Any:
        return client(RateLimitError("slow down"), "well", options={"retry": {"backoff": 0}}).chat_stream("Hi")

    is_retry(list(ask().events()), "slow down")
    assert all(chunk.retry is None for chunk in ask())


def is_retry(events: List[anyllm.StreamEvent], reason: str) -> None:
    assert [event.type for event in events] == ["start", "retry", "text", "usage", "complete"]
    assert reason in events[1].retry.reason


class CallbackLog:
    """Options with all callbacks, and their calls: names, arguments, threads."""

    def __init__(self) -> None:
        self.log: List[Any] = []
        self.threads = set()
        names = ("start", "delta", "reasoning", "tool_call", "usage", "complete", "error")
        self.options = ONCE.evolve(**{f"on_{name}": functools.partial(self._record, name) for name in names})

    def _record(self, *call: Any) -> None:
        self.threads.add(threading.current_thread())
        self.log.append(call)


@pytest.mark.parametrize("how", ["chunks", "events", "collect", "text_stream"])
def test_callbacks_are_called_in_order_and_once_on_the_readers_thread(how: str):
    callbacks = CallbackLog()
    stream = client(with_tools(), options=callbacks.options).chat_stream("Hi")
    assert callbacks.log == []
    reading = {
        "chunks": lambda: list(stream.chunks),
        "events": lambda: list(stream.events()),
        "collect": stream.collect,
    }
    reading.get(how, lambda: list(stream.text_stream))()  # type: ignore[no-untyped-call]
    assert [name for name, *_ in callbacks.log] == [
        *("start", "reasoning", "delta", "delta", "delta", "tool_call", "tool_call", "usage", "complete")
    ]
    assert callbacks.log[2] == ("delta", "let")
    assert callbacks.log[-1] == ("complete", stream.completion)
    assert callbacks.threads == {threading.current_thread()}
    list(stream)
    assert len(callbacks.log) == 9


def test_callbacks_are_called_for_whole_answers_too():
    callbacks = CallbackLog()
    message = {"role": "assistant", "content": "one two", "reasoning_content": "hm"}
    with serve(
        Reply.json({"choices": [{"message": message, "finish_reason": "stop"}], "usage": {"prompt_tokens": 1}}),
        Reply.error(400, "no"),
    ) as server:
        answer = at(server.url, options=callbacks.options).chat("Hi")
        begin = [("start",), ("reasoning", "hm"), ("delta", "one two")]
        assert callbacks.log == [*begin, ("usage", answer.usage), ("complete", answer)]
        del callbacks.log[:]
        with pytest.raises(InvalidRequestError) as caught:
            at(server.url, options=callbacks.options).chat("Hi")
    assert callbacks.log == [("start",), ("error", caught.value)]


def test_the_error_callback_is_called_once_and_nothing_after_it():
    callbacks = CallbackLog()
    stream = client(["one", ServerError("down")], options=callbacks.options).chat_stream("Hi")
    with pytest.raises(ServerError) as caught:
        stream.collect()
    assert [name for name, *_ in callbacks.log] == ["start", "delta", "error"]
    assert callbacks.log[-1][1] is caught.value


@pytest.mark.parametrize("name", ["on_start", "on_delta", "on_usage", "on_complete", "on_error"])
@pytest.mark.parametrize("how", ["chunks", "events"])
def test_a_callback_that_raises_ends_the_stream_with_that_error(name: str, how: str):
    def fail(*_: Any) -> None:
        raise ZeroDivisionError("mine")

    answers: List[Any] = ["one", ServerError("down")] if name == "on_error" else with_tools()
    stream = client(answers, options=ONCE.evolve(**{name: fail})).chat_stream("Hi")
    with pytest.raises(ZeroDivisionError, match="mine"):
        list(stream if how == "chunks" else stream.events())
    join_workers()


# -- the end, whoever makes it -----------------------------------------------------------------------------------------


@pytest.fixture
def no_collector():
    """Letting go must do it: the collector may not come for a long time."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def read_some(stream: Any, *, then: Any = lambda stream: None) -> None:
    next(chunk for chunk in stream if chunk.content)
    then(stream)


def leave(items: Any) -> None:
    """Leave a loop after the first text."""
    for item in items:
        if isinstance(item, str) or getattr(item, "content", None) or getattr(item, "text", None):
            break


def unread(stream: Any) -> None:
    """Drop it."""


@pytest.mark.parametrize(
    "use",
    [
        lambda client: leave(client.chat_stream("Hi")),
        lambda client: leave(client.chat_stream("Hi", options=ONCE.evolve(on_delta=print))),
        lambda client: leave(client.chat_stream("Hi").events()),
        lambda client: leave(client.stream("Hi")),
        lambda client: unread(client.chat_stream("Hi")),
        lambda client: read_some(client.chat_stream("Hi")),
        lambda client: read_some(client.chat_stream("Hi"), then=ChatStream.close),
        lambda client: read_some(client.chat_stream("Hi"), then=lambda stream: stream.__exit__(None, None, None)),
    ],
    ids=["break", "callbacks", "break events", "break text", "unread", "del", "close", "with"],
)
def test_a_dropped_stream_ends(use: Any, no_collector: None):
    with serve(silent_after(threading.Event())) as server:
        use(at(server.url))
        join_workers()
        until(lambda: not workers())


def test_cancel_frees_the_reader_from_another_thread(spawn: Any):
    content_sent = threading.Event()
    with serve(silent_after(content_sent)) as server:
        stream = at(server.url).chat_stream("Hi")
        task = spawn(lambda: content_sent.wait(TIMEOUT) and stream.cancel("enough"))
        with pytest.raises(Cancelled, match="enough"):
            stream.collect()
        task.join()


def test_a_context_ends_the_call_but_a_call_does_not_end_the_context():
    ctx = anyllm.Context(TIMEOUT)
    chat_client = client("well")
    chat_client.chat_stream("Hi", ctx=ctx).collect()
    chat_client.chat_stream("Hi", ctx=ctx).cancel()
    chat_client.chat("Hi", ctx=ctx)
    assert ctx.error is None
    ctx.cancel()
    for ask in ASK.values():
        with pytest.raises(Cancelled):
            ask(chat_client, "Hi", ctx=ctx)


@both_ways
@pytest.mark.parametrize("owner", ["client", "call"])
def test_a_timeout_is_the_calls_or_the_clients(ask: Any, owner: str):
    for_client, for_call = ({"timeout": 0.01}, {}) if owner == "client" else ({}, {"timeout": 0.01})
    with pytest.raises(DeadlineExceeded):
        ask(client([Stall()], **for_client), "Hi", **for_call)


def test_making_a_stream_raises_nothing():
    stream = client(AuthenticationError("no")).chat_stream("Hi")
    with pytest.raises(AuthenticationError):
        list(stream)
    ctx = anyllm.Context()
    ctx.cancel()
    stream = client("well", max_streams=1).chat_stream("Hi", ctx=ctx)
    with pytest.raises(Cancelled):
        list(stream)


# -- several models ----------------------------------------------------------------------------------------------------


def several(*answers: Any, **settings: Any) -> Any:
    """A client of as many providers as *answers*, and these providers."""
    providers = [fake(*(answer if isinstance(answer, tuple) else (answer,))) for answer in answers]
    settings.setdefault("options", ONCE)
    fallback = [Target(provider, f"m{number}", is_own=True) for number, provider in enumerate(providers[1:], 1)]
    return Client("m0", provider=providers[0], fallback=fallback, **settings), providers


@both_ways
def test_the_next_model_answers_where_one_fails_without_content(ask: Any):
    chat_client, providers = several(ServerError("down"), RateLimitError("slow"), "third")
    assert ask(chat_client, "Hi").content == "third"
    assert [len(provider.requests) for provider in providers] == [1, 1, 1]


def test_a_fallback_is_an_event():
    chat_client, _ = several(ServerError("down"), "second")
    events = list(chat_client.chat_stream("Hi").events())
    is_retry(events, "down")
    assert (events[1].retry.policy, events[1].retry.attempt) == ("fallback", 2)


def test_no_text_of_two_models_is_mixed():
    chat_client, providers = several(["one", ServerError("down")], "second")
    with pytest.raises(ServerError) as caught:
        chat_client.chat_stream("Hi").collect()
    assert caught.value.partial.content == "one"
    assert len(providers[1].requests) == 0


@both_ways
@pytest.mark.parametrize("error", [InvalidRequestError("wrong question", status_code=400), Cancelled()])
def test_an_invalid_request_does_not_fall_back(ask: Any, error: AnyLLMError):
    chat_client, providers = several(error, "second")
    with pytest.raises(type(error)):
        ask(chat_client, "Hi")
    assert len(providers[1].requests) == 0


@both_ways
@pytest.mark.parametrize(("hedge", "words"), [(None, "last"), (0.0, "first|last")])
def test_the_last_error_is_raised_where_all_fail(ask: Any, hedge: Any, words: str):
    chat_client, _ = several(ServerError("first"), ServerError("last"), hedge=hedge)
    with pytest.raises(ServerError, match=words):
        ask(chat_client, "Hi")


def test_round_robin_begins_with_the_next():
    chat_client, _ = several("a", "b", "c", strategy="round_robin")
    assert [chat_client.chat("Hi").content for _ in range(4)] == ["a", "b", "c", "a"]


def test_cheapest_goes_by_price():
    prices = {"compatible/m0": {"input_usd": 9, "output_usd": 9}, "compatible/m2": {"input_usd": 1, "output_usd": 1}}
    targets = Client("compatible/m0", fallback=["compatible/m1", "compatible/m2"]).targets
    assert [target.model for target in Router(targets, "cheapest", prices).order()] == ["m2", "m0", "m1"]


def test_fastest_goes_by_the_first_content():
    router = Router(Client("compatible/m0", fallback=["compatible/m1", "compatible/m2"]).targets, "fastest", None)
    first, second, third = router.order()
    router.record_wait(first, 3.0)
    router.record_wait(second, 1.0)
    router.record_wait(third, 2.0)
    assert router.order() == (second, third, first)
    for _ in range(9):
        router.record_wait(second, 9.0)
    assert router.order()[0] == third


# -- hedging -----------------------------------------------------------------------------------------------------------


@both_ways
def test_the_first_with_content_wins_and_the_others_are_cancelled(ask: Any):
    chat_client, providers = several([Stall()], [Stall()], "third", hedge=0.0)
    assert ask(chat_client, "Hi").content == "third"
    join_workers()
    assert [len(provider.requests) for provider in providers] == [1, 1, 1]


@both_ways
def test_an_answer_in_time_prevents_the_hedge(ask: Any):
    chat_client, providers = several("first", "second", hedge=TIMEOUT)
    assert ask(chat_client, "Hi").content == "first"
    assert len(providers[1].requests) == 0


def test_a_cancel_ends_all_that_run(spawn: Any):
    chat_client, providers = several([Stall()], [Stall()], hedge=0.0)
    ctx = anyllm.Context()
    stream = chat_client.chat_stream("Hi", ctx=ctx)
    task = spawn(lambda: (until(lambda: providers[1].requests), ctx.cancel()))
    with pytest.raises(Cancelled):
        stream.collect()
    task.join()
    join_workers()


# -- what stands around a call -----------------------------------------------------------------------------------------


def test_equal_requests_are_sent_once():
    provider = fake("one two", "other")
    chat_client = Client("m", provider=provider, cache=MemoryCache())
    first = chat_client.chat_stream("Hi").collect()
    again = chat_client.chat_stream("Hi")
    chunks = list(again)
    assert "".join(chunk.content for chunk in chunks) == "one two"
    assert len(chunks) > 2
    assert again.completion.content == first.content
    assert again.completion.usage == first.usage
    assert chat_client.chat("Hi").content == "one two"
    assert len(provider.requests) == 1
    assert chat_client.chat("Hi!").content == "other"


def test_truncated_answers_are_not_cached():
    chat_client = client(chat_events("one", finish_reason="length"), "two", cache=MemoryCache())
    assert chat_client.chat("Hi").content == "one"
    assert chat_client.chat("Hi").content == "two"


def test_so_many_streams_run_at_once():
    chat_client = client([Stall()], "second", max_streams=1)
    first = chat_client.chat_stream("Hi")
    with pytest.raises(DeadlineExceeded):
        chat_client.chat_stream("Hi", timeout=0.01).collect()
    first.cancel()
    with pytest.raises(Cancelled):
        first.collect()
    assert chat_client.chat_stream("Hi").collect().content == "second"


def test_a_dropped_stream_returns_its_slot(no_collector: None):
    chat_client = client([Stall()], ["one", Stall()], "third", max_streams=1)
    chat_client.chat_stream("Hi")
    for chunk in chat_client.chat_stream("Hi", timeout=TIMEOUT):
        if chunk.content:
            break
    assert chat_client.chat_stream("Hi", timeout=TIMEOUT).collect().content == "third"


def test_the_breaker_stops_calls_to_a_failing_provider():
    provider = fake(ServerError("down"))
    chat_client = Client("m", provider=provider, options=ONCE, breaker={"failures": 2})
    for _ in range(2):
        with pytest.raises(ServerError):
            chat_client.chat("Hi")
    for ask in ASK.values():
        with pytest.raises(CircuitOpenError):
            ask(chat_client, "Hi")
    assert len(provider.requests) == 2


def test_an_open_breaker_is_a_reason_to_fall_back():
    chat_client, providers = several(ServerError("down"), "second", breaker={"failures": 1})
    for _ in range(2):
        with pytest.raises(CircuitOpenError):  # of the second, because both are at one provider here
            chat_client.chat_stream("Hi").collect()
    assert [len(provider.requests) for provider in providers] == [1, 0]


def test_cancelled_streams_do_not_count_for_or_against_the_provider():
    """Neither that it failed nor that it is well: a host that is being tried stays on trial."""
    ended: List[Any] = []

    class Listening(CircuitAttempt):
        def succeeded(self) -> None:
            ended.append("succeeded")

        def failed(self, error: BaseException) -> None:
            ended.append(type(error))

    class Open(CircuitBreaker):
        def before(self, ctx: anyllm.Context) -> Any:
            return Listening(self, self._current())

    chat_client, _ = several([Stall()], "second", hedge=0.0, breaker=Open())
    chat_client.chat_stream("Hi").collect()
    assert ended == [Cancelled, "succeeded"]
    del ended[:]
    for chunk in client(["one", Stall()], breaker=Open()).chat_stream("Hi"):
        if chunk.content:
            break
    assert ended == [Cancelled]


def test_a_reservation_is_settled_with_the_usage():
    limit = RateLimit(tokens_per_minute=2000)
    chat_client = client("one two", rate_limit=limit, max_tokens=1500)
    for _ in range(5):  # each reserves three quarters of the limit, and uses next to nothing of it
        chat_client.chat("Hi", timeout=TIMEOUT)
        chat_client.chat_stream("Hi", timeout=TIMEOUT).collect()


def test_two_hundred_threads_share_one_client(spawn: Any):
    slots = StreamLimit(7)
    chat_client = client(["one", " two"], max_streams=slots, breaker={"failures": 5}, rate_limit=RateLimit(10_000))

    def ask() -> int:
        stream = chat_client.chat_stream("Hi", timeout=TIMEOUT)
        active = slots.active
        assert stream.collect().content == "one two"
        return active

    assert 1 <= max(join([spawn(ask) for _ in range(200)])) <= 7
    assert slots.active == 0


def test_next_gives_the_next_chunk():
    stream = client(["a", "b"]).chat_stream("Hi")
    assert next(stream).content == ""
    assert next(stream).content == "a"
    assert [chunk.content for chunk in stream if chunk.content] == ["b"]
    with pytest.raises(StopIteration):
        next(stream)
    assert stream.completion.content == "ab"


def test_unknown_attributes_of_a_chat_stream_name_the_right_ones():
    stream = client("well").chat_stream("Hi")
    with pytest.raises(AttributeError, match=r"a ChatStream has no 'errors'.*except anyllm\.AnyLLMError"):
        _ = stream.errors
    with pytest.raises(AttributeError, match=r"a ChatStream has no 'content'.*stream\.collect\(\)"):
        _ = stream.content
    with pytest.raises(AttributeError, match="for chunk in stream"):
        _ = stream.get
    assert stream.collect().content == "well"


# -- whole parameters and other forms of a request -------------------------------------------------------------------


@pytest.mark.parametrize("params", [PARAMS, PARAMS.to_dict()], ids=["CompletionParams", "dict"])
@pytest.mark.parametrize("call", CALLS)
def test_every_call_takes_whole_params(call: str, params: Any):
    provider = fake("well")
    answer = getattr(Client("m", provider=provider, temperature=0), call)(params)
    if call == "chat_stream":
        answer = answer.collect()
    assert (answer.content if call != "stream" else "".join(answer)) == "well"
    (request,) = provider.requests
    assert request["messages"] == [HI]
    assert (request["model"], request["max_tokens"], request["temperature"]) == ("m", 7, 0)


def test_arguments_of_a_call_win_over_whole_params():
    provider = fake("well")
    Client("m", provider=provider, max_tokens=1).chat(PARAMS, max_tokens=9)
    assert provider.requests[0]["max_tokens"] == 9


def test_whole_params_choose_the_model():
    provider = fake("well")
    Client("m", provider=provider).chat(PARAMS.evolve(model="other"))
    assert provider.requests[0]["model"] == "other"


@pytest.mark.parametrize("model", ["m", "compatible/m"])
def test_whole_params_that_name_the_clients_own_model_fall_back_too(model: str):
    """They cannot be without a model; one that a call names beside them is asked alone."""
    provider = fake(ServerError("down", is_retryable=False), "from the second")
    chat_client = Client("m", provider=provider, fallback=["compatible/backup"], options=ONCE)
    assert chat_client.chat(PARAMS.evolve(model=model)).content == "from the second"
    assert [request["model"] for request in provider.requests] == ["m", "backup"]
    alone = Client("m", provider=fake(ServerError("down", is_retryable=False)), fallback=["compatible/x"], options=ONCE)
    with pytest.raises(ServerError):
        alone.chat(PARAMS, "m")


def test_a_client_may_have_no_model_of_its_own():
    provider = fake("well")
    chat_client = Client(provider=provider)
    assert chat_client.chat("Hi", model="a").content == chat_client.chat("Hi", "b").content == "well"
    assert list(chat_client.stream("Hi", model="c")) == ["well"]
    assert chat_client.stream_with_usage("Hi", "d").content == "well"
    assert [request["model"] for request in provider.requests] == ["a", "b", "c", "d"]
    assert repr(chat_client) == "<Client without a model>"


def test_a_client_without_a_model_keeps_the_key_of_its_provider():
    with serve(WELL) as server, Client(provider="compatible", api_key="k1", base_url=server.url) as chat_client:
        chat_client.chat("Hi", model="m")
        assert server.requests[0].headers["Authorization"] == "Bearer k1"
        assert server.requests[0].json()["model"] == "m"


def test_stream_may_agree_with_the_method():
    assert client("well").chat("Hi", stream=False).content == "well"
    assert client("well").chat_stream("Hi", stream=True).collect().content == "well"


@pytest.mark.parametrize("call", CALLS)
def test_a_call_without_a_question_shows_the_right_one(call: str):
    words = rf"{call}\(\) needs messages as its first argument: client\.{call}\('Hello'\)$"
    with pytest.raises(TypeError, match=words):
        getattr(client("well"), call)()
    with pytest.raises(TypeError, match=r"messages= instead of prompt=$"):
        getattr(client("well"), call)(prompt="Hi")


@pytest.mark.parametrize("carry", [copy.deepcopy, pickle.dumps])
def test_a_client_and_its_streams_cannot_be_copied(carry: Any):
    with pytest.raises(TypeError, match="make one in each process"):
        carry(client("well"))
    with pytest.raises(TypeError, match="collect"):
        carry(client("well").chat_stream("Hi"))
