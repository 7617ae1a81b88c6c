"""The client: text in, an answer or a stream out, errors raised; and nobody leaks, whoever lets go of what."""

from __future__ import annotations

import copy
import gc
import pickle
import threading
from typing import Any, Callable, List

import attrs
import pytest
from conftest import TIMEOUT
from loopback import OFF, join_workers, silent_after, until, workers

import anyllm
from anyllm import Client, Message, StreamingOptions
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
from anyllm.structured import StructuredOutputError
from anyllm.testing import Cut, Reply, Stall, chat_events, fake, serve

ONCE = StreamingOptions(retry=anyllm.Retry(attempts=1), timeouts=OFF)


def client(*answers: Any, **settings: Any) -> Client:
    settings.setdefault("options", ONCE)
    return Client("m", provider=fake(*answers), **settings)


def at(url: str, **settings: Any) -> Client:
    settings.setdefault("options", ONCE)
    return Client("compatible/m", base_url=f"{url}/v1", **settings)


async def too_late(_: str) -> None:
    """Nobody awaits it."""


# -- what is asked -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "messages", ["Hi", Message.user("Hi"), [Message.user("Hi")], [{"role": "user", "content": "Hi"}]]
)
def test_messages_may_be_a_text_a_message_or_a_conversation(messages: Any):
    provider = fake("well")
    chat_client = Client("m", provider=provider, temperature=0)
    assert chat_client.chat(messages, max_tokens=5).content == "well"
    assert "".join(chat_client.stream(messages)) == "well"
    assert [request["messages"] for request in provider.requests] == [[{"role": "user", "content": "Hi"}]] * 2
    assert [request["temperature"] for request in provider.requests] == [0, 0]
    assert [request.get("max_tokens") for request in provider.requests] == [5, None]
    assert [request["model"] for request in provider.requests] == ["m", "m"]


def test_a_typo_is_an_error_where_it_is_written():
    with pytest.raises(TypeError, match="did you mean 'temperature'"):
        client("well", temprature=0)
    with pytest.raises(TypeError, match="did you mean 'max_tokens'"):
        client("well").chat("Hi", max_token=5)
    with pytest.raises(TypeError, match="did you mean 'seed'"):
        client("well").chat_stream("Hi", seeed=5)
    with pytest.raises(TypeError, match="'on_delta' belongs to the options"):
        client("well").stream("Hi", on_delta=print)
    with pytest.raises(TypeError, match=r"'system' is a message: \[anyllm.Message.system"):
        client("well").chat("Hi", system="Be brief.")
    with pytest.raises(TypeError, match="on_delta must be a plain function"):
        StreamingOptions(on_delta=too_late)
    with pytest.raises(TypeError, match="timeouts: expected Timeouts or a dict, not int"):
        StreamingOptions(timeouts=30)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="ctx must be a Context, not float"):
        client("well").chat("Hi", ctx=5.0)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="fallback must be a list"):
        Client("openai/m", fallback="anthropic/m")
    with pytest.raises(TypeError, match="messages must be a list"):
        client("well").chat(5)  # type: ignore[arg-type]
    with pytest.raises(UnsupportedProviderError, match="openai/gpt-4o"):
        Client("gpt-4o")
    with pytest.raises(ValueError, match="strategy must be one of order"):
        Client("openai/m", strategy="best")


def test_extra_body_carries_unknown_parameters():
    provider = fake("well")
    Client("m", provider=provider).chat("Hi", extra_body={"top_k": 3})
    assert provider.requests[0]["top_k"] == 3


def test_another_model_of_the_same_provider_gets_the_same_key():
    """And one of another host never gets it."""
    answer = Reply.json({"choices": [{"message": {"content": "well"}, "finish_reason": "stop"}]})
    with serve(answer) as server, serve(answer) as other, pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLLM_BASE_URL", f"{other.url}/v1")
        chat_client = at(server.url, api_key="key-of-the-tests")
        chat_client.chat("Hi", model="compatible/another")
        chat_client.chat_stream("Hi", model="compatible/third").collect()
        chat_client.chat("Hi", model="vllm/m")
        assert [request.json()["model"] for request in server.requests] == ["another", "third"]
        assert {request.headers["Authorization"] for request in server.requests} == {"Bearer key-of-the-tests"}
        assert "Authorization" not in other.requests[0].headers


def test_a_key_beside_a_provider_goes_with_each_call():
    with serve(
        Reply.json({"choices": [{"message": {"content": "well"}, "finish_reason": "stop"}]}),
        Reply.sse(chat_events("well")),
    ) as server:
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


# -- what comes --------------------------------------------------------------------------------------------------------


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


def test_collect_gives_the_whole_answer_after_partial_reading():
    stream = client(["one", " two", " three"]).chat_stream("Hi")
    for chunk in stream:
        if chunk.content:
            break
    assert stream.collect().content == "one two three"


def test_the_error_is_raised_at_the_end():
    cut = Reply.sse([*chat_events("one two", finish_reason=None, usage=False), Cut("clean")], done=False)
    with serve(cut) as server:
        stream = at(server.url).chat_stream("Hi")
        texts: List[str] = []
        with pytest.raises(IncompleteStreamError) as caught:
            texts.extend(chunk.content for chunk in stream)
        assert "".join(texts) == "one two"
        assert caught.value.partial is not None
        assert caught.value.partial.content == "one two" == stream.partial.content
        with pytest.raises(IncompleteStreamError):
            stream.collect()
        with pytest.raises(IncompleteStreamError):
            "".join(at(server.url).stream("Hi"))


def test_stream_with_usage_is_the_whole_answer():
    answer = client("one two three").stream_with_usage("Hi", max_tokens=9)
    assert (answer.content, answer.usage.completion_tokens, answer.usage.source) == ("one two three", 3, "provider")


def test_usage_is_estimated_and_marked_where_the_provider_sends_none():
    events = [*chat_events("one two three four", usage=False)]
    answer = client(events).stream_with_usage("Hello there")
    assert answer.usage is not None
    assert answer.usage.source == "estimated"
    assert 0 < answer.usage.confidence < 1
    assert answer.usage.prompt_tokens > 0 < answer.usage.completion_tokens
    assert client(events, options=ONCE.evolve(usage="provider")).stream_with_usage("Hi").usage is None
    partial = client(events, options=ONCE.evolve(usage="character")).chat_stream("Hi").collect()
    assert partial.usage is not None


def test_an_answer_has_a_price_where_one_is_known():
    prices = {"compatible/m": {"input_usd": 1_000_000, "output_usd": 2_000_000}}
    answer = client("one two three", prices=prices).stream_with_usage("Hi")
    assert answer.usage is not None
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


def test_get_json_reads_a_fenced_block():
    assert client('```json\n{"a": [1]}\n```').chat("Hi").get_json() == {"a": [1]}
    with pytest.raises(ValueError, match=r"."):
        client("no json").chat("Hi").get_json()


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
        chat_client = at(server.url)
        assert chat_client.embed("Hi", dimensions=2).vectors == ((1.0, 2.0),) or chat_client is not None
        assert [model.id for model in chat_client.models()] == ["m"]


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
    assert events[-1].completion is not None
    assert events[-1].completion.tool_calls == tuple(calls)


def test_events_of_json_hold_the_document_so_far():
    stream = client(['{"a": [1, ', "2], ", '"b": "x', 'y"}']).chat_stream("Hi", options=ONCE.evolve(json=True))
    values = [str(event.value) for event in stream.events() if event.type == "text"]
    assert values == ["{'a': [1]}", "{'a': [1, 2]}", "{'a': [1, 2], 'b': 'x'}", "{'a': [1, 2], 'b': 'xy'}"]


def events_of_json(*pieces: str) -> List[anyllm.StreamEvent]:
    return list(client(list(pieces)).chat_stream("Hi", options=ONCE.evolve(json=True)).events())


def test_broken_json_is_an_event_as_soon_as_it_shows():
    events = events_of_json('{"a": 1', ", b: 2}", " and more")
    assert [event.type for event in events] == ["start", "text", "text", "json_error", "text", "usage", "complete"]
    (broken,) = (event for event in events if event.type == "json_error")
    assert broken.json_error is not None
    assert (broken.json_error.position, broken.json_error.is_truncated) == (9, False)
    assert [event.value for event in events if event.type == "text"] == [{"a": 1}] * 3
    assert events[-1].completion is not None


@pytest.mark.parametrize("pieces", [["```json\n", "{"], ["Here it is"], [" ", "[1]"]])
def test_before_the_document_begins_its_value_is_none(pieces: Any):
    """And not the sentinel that the reader of the document has for that."""
    first = next(event for event in events_of_json(*pieces) if event.type == "text")
    assert first.value is None


def test_a_document_that_ends_too_early_is_an_event_before_the_end():
    events = events_of_json('{"a": ', "[1")
    assert [event.type for event in events] == ["start", "text", "text", "json_error", "usage", "complete"]
    error = events[3].json_error
    assert error is not None
    assert error.is_truncated


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
    seen: List[anyllm.StreamEvent] = []
    stream = client(["one", ServerError("down")]).chat_stream("Hi")
    with pytest.raises(ServerError) as caught:
        seen.extend(stream.events())
    assert [event.type for event in seen] == ["start", "text", "error"]
    assert seen[-1].error is caught.value


def test_tries_before_the_first_content_are_events_and_no_chunks():
    options = StreamingOptions(retry=anyllm.Retry(backoff=0))
    answers = [RateLimitError("slow down"), "well"]
    events = list(client(*answers, options=options).chat_stream("Hi").events())
    assert [event.type for event in events] == ["start", "retry", "text", "usage", "complete"]
    assert events[1].retry is not None
    assert "slow down" in events[1].retry.reason
    assert all(chunk.retry is None for chunk in client(*answers, options=options).chat_stream("Hi"))


class CallbackLog:
    """All callbacks, noting what they were told and on which thread."""

    def __init__(self) -> None:
        self.log: List[Any] = []
        self.threads = set()
        self.options = ONCE.evolve(
            on_start=self._recorder("start"),
            on_delta=self._recorder("delta"),
            on_reasoning=self._recorder("reasoning"),
            on_tool_call=self._recorder("tool_call"),
            on_usage=self._recorder("usage"),
            on_complete=self._recorder("complete"),
            on_error=self._recorder("error"),
        )

    def _recorder(self, name: str) -> Callable[..., None]:
        def record(*args: Any) -> None:
            self.threads.add(threading.current_thread())
            self.log.append((name, *args))

        return record


@pytest.mark.parametrize("how", ["chunks", "events", "collect", "text_stream"])
def test_callbacks_are_called_in_order_and_once_on_the_readers_thread(how: str):
    callbacks = CallbackLog()
    stream = client(with_tools(), options=callbacks.options).chat_stream("Hi")
    assert callbacks.log == [], "nobody has read"
    reading = {"chunks": lambda: list(stream), "events": lambda: list(stream.events()), "collect": stream.collect}
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
        assert callbacks.log == [
            ("start",),
            ("reasoning", "hm"),
            ("delta", "one two"),
            ("usage", answer.usage),
            ("complete", answer),
        ]
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


@pytest.mark.parametrize("how", ["break", "break events", "del", "unread", "close", "with", "text", "callbacks"])
def test_a_dropped_stream_ends(how: str, no_collector: None):
    content_sent = threading.Event()
    with serve(silent_after(content_sent)) as server:
        chat_client = at(server.url, options=ONCE.evolve(on_delta=print if how == "callbacks" else None))
        if how == "unread":
            chat_client.chat_stream("Hi")
        elif how == "break events":
            for event in chat_client.chat_stream("Hi").events():
                if event.text:
                    break
        elif how == "text":
            for _ in chat_client.stream("Hi"):
                break
        elif how in ("break", "callbacks"):
            for chunk in chat_client.chat_stream("Hi"):
                if chunk.content:
                    break
        else:
            stream = chat_client.chat_stream("Hi")
            next(chunk for chunk in stream if chunk.content)
            if how == "del":
                del stream
            elif how == "close":
                stream.close()
            else:
                with stream:
                    pass
        chunk = event = None
        join_workers()
        until(lambda: not workers())


def test_cancel_frees_the_reader_from_another_thread():
    content_sent = threading.Event()
    with serve(silent_after(content_sent)) as server:
        stream = at(server.url).chat_stream("Hi")
        thread = threading.Thread(target=lambda: content_sent.wait(TIMEOUT) and stream.cancel("enough"))
        thread.start()
        with pytest.raises(Cancelled, match="enough"):
            stream.collect()
        thread.join()


def test_a_context_ends_the_call_but_a_call_does_not_end_the_context():
    ctx = anyllm.Context(TIMEOUT)
    chat_client = client("well")
    chat_client.chat_stream("Hi", ctx=ctx).collect()
    chat_client.chat_stream("Hi", ctx=ctx).cancel()
    chat_client.chat("Hi", ctx=ctx)
    assert ctx.error is None
    ctx.cancel()
    with pytest.raises(Cancelled):
        chat_client.chat_stream("Hi", ctx=ctx).collect()
    with pytest.raises(Cancelled):
        chat_client.chat("Hi", ctx=ctx)


def test_a_timeout_is_the_calls_or_the_clients():
    chat_client = client([Stall()], timeout=0.01)
    for call in (lambda: chat_client.chat("Hi"), lambda: chat_client.chat_stream("Hi").collect()):
        with pytest.raises(DeadlineExceeded):
            call()
    with pytest.raises(DeadlineExceeded):
        client([Stall()]).stream_with_usage("Hi", timeout=0.01)


def test_making_a_stream_raises_nothing():
    stream = client(AuthenticationError("no")).chat_stream("Hi")
    with pytest.raises(AuthenticationError):
        list(stream)
    ctx = anyllm.Context()
    ctx.cancel()
    stream = client("well", max_streams=1).chat_stream("Hi", ctx=ctx)
    with pytest.raises(Cancelled):
        list(stream)


def test_a_stream_is_not_copied():
    with pytest.raises(TypeError, match="collect"):
        pickle.dumps(client("well").chat_stream("Hi"))


# -- several models ----------------------------------------------------------------------------------------------------


def several(*answers: Any, **settings: Any) -> Any:
    """A client of as many providers as *answers*, and these providers."""
    providers = [fake(*(answer if isinstance(answer, tuple) else (answer,))) for answer in answers]
    settings.setdefault("options", ONCE)
    fallback = [Target(provider, f"m{number}", is_own=True) for number, provider in enumerate(providers[1:], 1)]
    return Client("m0", provider=providers[0], fallback=fallback, **settings), providers


@pytest.mark.parametrize("how", ["chat", "stream"])
def test_the_next_model_answers_where_one_fails_without_content(how: str):
    chat_client, providers = several(ServerError("down"), RateLimitError("slow"), "third")
    answer = chat_client.chat("Hi") if how == "chat" else chat_client.chat_stream("Hi").collect()
    assert answer.content == "third"
    assert [len(provider.requests) for provider in providers] == [1, 1, 1]


def test_a_fallback_is_an_event():
    chat_client, _ = several(ServerError("down"), "second")
    events = list(chat_client.chat_stream("Hi").events())
    assert [event.type for event in events] == ["start", "retry", "text", "usage", "complete"]
    assert events[1].retry is not None
    assert (events[1].retry.policy, events[1].retry.attempt) == ("fallback", 2)
    assert "down" in events[1].retry.reason


def test_no_text_of_two_models_is_mixed():
    chat_client, providers = several(["one", ServerError("down")], "second")
    with pytest.raises(ServerError) as caught:
        chat_client.chat_stream("Hi").collect()
    assert caught.value.partial is not None
    assert caught.value.partial.content == "one"
    assert len(providers[1].requests) == 0


@pytest.mark.parametrize("error", [InvalidRequestError("wrong question", status_code=400), Cancelled()])
def test_an_invalid_request_does_not_fall_back(error: AnyLLMError):
    chat_client, providers = several(error, "second")
    with pytest.raises(type(error)):
        chat_client.chat_stream("Hi").collect()
    with pytest.raises(type(error)):
        chat_client.chat("Hi")
    assert len(providers[1].requests) == 0


def test_the_last_error_is_raised_where_all_fail():
    chat_client, _ = several(ServerError("first"), ServerError("last"))
    with pytest.raises(ServerError, match="last"):
        chat_client.chat_stream("Hi").collect()
    with pytest.raises(ServerError, match="last"):
        chat_client.chat("Hi")


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


def test_the_first_with_content_wins_and_the_others_are_cancelled():
    chat_client, providers = several([Stall()], "second", hedge=0.0)
    stream = chat_client.chat_stream("Hi")
    assert stream.collect().content == "second"
    join_workers()
    assert [len(provider.requests) for provider in providers] == [1, 1]


def test_whole_answers_are_hedged_too():
    chat_client, _ = several([Stall()], [Stall()], "third", hedge=0.0)
    assert chat_client.chat("Hi").content == "third"
    join_workers()


def test_an_answer_in_time_prevents_the_hedge():
    chat_client, providers = several("first", "second", hedge=TIMEOUT)
    assert chat_client.chat_stream("Hi").collect().content == "first"
    assert len(providers[1].requests) == 0


def test_hedges_that_all_fail_are_an_error():
    chat_client, _ = several(ServerError("first"), ServerError("second"), hedge=0.0)
    with pytest.raises(ServerError):
        chat_client.chat_stream("Hi").collect()


def test_a_cancel_ends_all_that_run():
    chat_client, providers = several([Stall()], [Stall()], hedge=0.0)
    ctx = anyllm.Context()
    stream = chat_client.chat_stream("Hi", ctx=ctx)
    thread = threading.Thread(target=lambda: (until(lambda: providers[1].requests), ctx.cancel()))
    thread.start()
    with pytest.raises(Cancelled):
        stream.collect()
    thread.join()
    join_workers()


# -- what stands around a call -----------------------------------------------------------------------------------------


def test_equal_requests_are_sent_once():
    from anyllm.caching import MemoryCache

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
    from anyllm.caching import MemoryCache

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
    from anyllm.limits import CircuitOpenError

    provider = fake(ServerError("down"))
    chat_client = Client("m", provider=provider, options=ONCE, breaker={"failures": 2})
    for _ in range(2):
        with pytest.raises(ServerError):
            chat_client.chat("Hi")
    with pytest.raises(CircuitOpenError):
        chat_client.chat("Hi")
    with pytest.raises(CircuitOpenError):
        chat_client.chat_stream("Hi").collect()
    assert len(provider.requests) == 2


def test_an_open_breaker_is_a_reason_to_fall_back():
    chat_client, providers = several(ServerError("down"), "second", breaker={"failures": 1})
    for _ in range(2):
        with pytest.raises(anyllm.limits.CircuitOpenError):  # of the second, because both are at one provider here
            chat_client.chat_stream("Hi").collect()
    assert [len(provider.requests) for provider in providers] == [1, 0]


def test_cancelled_streams_do_not_count_for_or_against_the_provider():
    """Neither that it failed nor that it is well: a host that is being tried stays on trial."""
    ended: List[Any] = []

    class Listening(anyllm.limits.CircuitAttempt):
        def succeeded(self) -> None:
            ended.append("succeeded")

        def failed(self, error: BaseException) -> None:
            ended.append(type(error))

    class Open(anyllm.limits.CircuitBreaker):
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
    limit = anyllm.limits.RateLimit(tokens_per_minute=2000)
    chat_client = client("one two", rate_limit=limit, max_tokens=1500)
    for _ in range(5):  # each reserves three quarters of the limit, and uses next to nothing of it
        chat_client.chat("Hi", timeout=TIMEOUT)
        chat_client.chat_stream("Hi", timeout=TIMEOUT).collect()


def test_two_hundred_threads_share_one_client():
    most = 7
    running: List[int] = []
    lock = threading.Lock()
    peak = [0]

    class Counting:
        def __enter__(self) -> None:
            with lock:
                running.append(1)
                peak[0] = max(peak[0], len(running))

        def __exit__(self, *_: Any) -> None:
            with lock:
                running.pop()

    chat_client = client(
        ["one", " two"], max_streams=most, breaker={"failures": 5}, rate_limit=anyllm.limits.RateLimit(10_000)
    )
    failures: List[BaseException] = []

    def ask() -> None:
        try:
            stream = chat_client.chat_stream("Hi", timeout=TIMEOUT)
            with Counting():
                assert stream.collect().content == "one two"
        except BaseException as exc:
            failures.append(exc)

    threads = [threading.Thread(target=ask) for _ in range(200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT)
    assert not failures
    assert not any(thread.is_alive() for thread in threads)
    assert peak[0] <= most


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


# -- what may be asked, and how a newcomer asks it ---------------------------------------------------------------------

ASKED = anyllm.CompletionParams(model="m", messages=[Message.user("Hi")], max_tokens=7)
IN_A_DICT = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 7}


@pytest.mark.parametrize("params", [ASKED, IN_A_DICT], ids=["CompletionParams", "dict"])
@pytest.mark.parametrize("call", ["chat", "chat_stream", "stream", "stream_with_usage"])
def test_every_call_takes_whole_params(call: str, params: Any):
    provider = fake("well")
    answer = getattr(Client("m", provider=provider, temperature=0), call)(params)
    if call == "chat_stream":
        answer = answer.collect()
    assert (answer.content if call != "stream" else "".join(answer)) == "well"
    (request,) = provider.requests
    assert request["messages"] == [{"role": "user", "content": "Hi"}]
    assert (request["model"], request["max_tokens"], request["temperature"]) == ("m", 7, 0)


def test_arguments_of_a_call_win_over_whole_params():
    provider = fake("well")
    Client("m", provider=provider, max_tokens=1).chat(ASKED, max_tokens=9)
    assert provider.requests[0]["max_tokens"] == 9


def test_whole_params_choose_the_model():
    provider = fake("well")
    Client("m", provider=provider).chat(ASKED.evolve(model="other"))
    assert provider.requests[0]["model"] == "other"


@pytest.mark.parametrize("model", ["m", "compatible/m"])
def test_whole_params_that_name_the_clients_own_model_fall_back_too(model: str):
    """They cannot be without a model; one that a call names beside them is asked alone."""
    provider = fake(ServerError("down", is_retryable=False), "from the second")
    chat_client = Client("m", provider=provider, fallback=["compatible/backup"], options=ONCE)
    assert chat_client.chat(ASKED.evolve(model=model)).content == "from the second"
    assert [request["model"] for request in provider.requests] == ["m", "backup"]
    alone = Client("m", provider=fake(ServerError("down", is_retryable=False)), fallback=["compatible/x"], options=ONCE)
    with pytest.raises(ServerError):
        alone.chat(ASKED, "m")


def test_one_message_as_a_dict_is_a_message():
    provider = fake("well")
    Client("m", provider=provider).chat({"role": "user", "content": "Hi"})
    assert provider.requests[0]["messages"] == [{"role": "user", "content": "Hi"}]


def test_a_client_may_have_no_model_of_its_own():
    provider = fake("well")
    chat_client = Client(provider=provider)
    assert chat_client.chat("Hi", model="a").content == chat_client.chat("Hi", "b").content == "well"
    assert list(chat_client.stream("Hi", model="c")) == ["well"]
    assert chat_client.stream_with_usage("Hi", "d").content == "well"
    assert [request["model"] for request in provider.requests] == ["a", "b", "c", "d"]
    assert repr(chat_client) == "<Client without a model>"
    with pytest.raises(TypeError, match=r"which model\? Client\('openai/gpt-4o-mini'\), or model="):
        chat_client.chat("Hi")
    with pytest.raises(TypeError, match="which model"):
        Client().stream("Hi")
    with pytest.raises(TypeError, match="which model"):
        Client().embed("Hi")
    with pytest.raises(TypeError, match="whose models"):
        Client().models()
    with pytest.raises(TypeError, match="whose api_key"):
        Client(api_key="x")
    with pytest.raises(TypeError, match="fallback= comes after a model"):
        Client(fallback=["openai/m"])


def test_a_client_without_a_model_keeps_the_key_of_its_provider():
    answer = Reply.json({"choices": [{"message": {"content": "well"}, "finish_reason": "stop"}]})
    with (
        serve(answer) as server,
        Client(provider="compatible", api_key="k1", base_url=server.url, options=ONCE) as chat_client,
    ):
        chat_client.chat("Hi", model="m")
        assert server.requests[0].headers["Authorization"] == "Bearer k1"
        assert server.requests[0].json()["model"] == "m"


def test_stream_must_match_the_method():
    """Who writes stream=True expects chunks, and would iterate a whole answer."""
    chat_client = client("well")
    assert chat_client.chat("Hi", stream=False).content == "well"
    assert chat_client.chat_stream("Hi", stream=True).collect().content == "well"
    with pytest.raises(TypeError, match=r"for stream=True call chat_stream\(\)"):
        chat_client.chat("Hi", stream=True)
    with pytest.raises(TypeError, match=r"for stream=True call chat_stream\(\)"):
        chat_client.chat(ASKED.evolve(stream=True))
    with pytest.raises(TypeError, match=r"for stream=False call chat\(\)"):
        chat_client.stream("Hi", stream=False)
    with pytest.raises(TypeError, match="stream is no setting of a Client"):
        client("well", stream=True)


@pytest.mark.parametrize("call", ["chat", "chat_stream", "stream", "stream_with_usage"])
def test_a_call_without_a_question_shows_the_right_one(call: str):
    with pytest.raises(
        TypeError, match=rf"{call}\(\) needs messages as its first argument: client\.{call}\('Hello'\)$"
    ):
        getattr(client("well"), call)()
    with pytest.raises(TypeError, match=r"messages= instead of prompt=$"):
        getattr(client("well"), call)(prompt="Hi")


def test_a_provider_in_the_models_place_is_answered():
    with pytest.raises(
        TypeError, match=r"not FakeProvider; a provider goes here: Client\('gpt-4o-mini', provider=\.\.\.\)"
    ):
        Client(fake("well"))  # type: ignore[arg-type]


@pytest.mark.parametrize("copying", [copy.deepcopy, pickle.dumps])
def test_a_client_cannot_be_copied(copying: Any):
    with pytest.raises(TypeError, match="make one in each process"):
        copying(client("well"))
