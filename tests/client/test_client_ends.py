"""Regression tests of a client's calls: ends that hung, leaked or were silent, and answers from a wrong cache."""

from __future__ import annotations

import logging
import threading
from typing import Any, Callable, List

import attrs
import pytest
from conftest import TIMEOUT, Task
from loopback import OFF, PARAMS, until

import anyllm
from anyllm import Client
from anyllm.caching import MemoryCache
from anyllm.client._routing import Router, Target
from anyllm.errors import AnyLLMError, DeadlineExceeded, InvalidRequestError, NetworkError, ServerError
from anyllm.limits import CircuitBreaker, RateLimit, StreamLimit
from anyllm.structured import StructuredOutputError
from anyllm.testing import Cut, Reply, Stall, fake, serve

SOON = 0.02


def again(policy: str, **fields: Any) -> anyllm.StreamingOptions:
    return anyllm.StreamingOptions(
        retry=anyllm.Retry(**{"backoff": 0, "after_content": policy, **fields}), timeouts=OFF
    )


def event(delta: Any, finish_reason: Any = None) -> Any:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}


def two(first: Any, second: Any, **settings: Any) -> Client:
    """A client of the provider *first*, which falls back to *second*."""
    return Client("m", provider=first, fallback=[Target(second, "m2", is_own=True)], **settings)


def in_time(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """The result of a call; the test fails where it hangs."""
    task = Task(call, *args, **kwargs)
    task.start()
    return task.join()


@pytest.mark.parametrize("limit", [{"max_streams": 1}, {"rate_limit": RateLimit(1)}])
def test_a_hedge_for_which_there_is_no_room_is_not_waited_for(limit: Any, spawn: Any):
    """The place it would take is that of the stream beside which it would run."""
    speak = threading.Event()
    chat_client = two(fake([Stall(speak), "first"]), fake("second"), hedge=0.0, **limit)
    stream = chat_client.chat_stream("Hi")
    reader = spawn(stream.collect)
    until(lambda: stream._reader._hedge is None)
    speak.set()
    assert reader.join().content == "first"


def test_a_slot_comes_back_with_the_cancel():
    """Not with the last reference, which a variable may hold for long."""
    chat_client = Client("m", provider=fake("hello big world"), max_streams=1)
    with chat_client.chat_stream("Hi") as stream:
        next(chunk for chunk in stream if chunk.content)
    assert in_time(lambda: chat_client.chat_stream("Hi").collect().content) == "hello big world"


def test_a_refused_request_cancels_the_hedge(spawn: Any):
    refuse = threading.Event()
    slow, limit = fake([Stall()]), StreamLimit(5)
    chat_client = two(fake([Stall(refuse), InvalidRequestError("bad")]), slow, hedge=0.0, max_streams=limit)
    stream = chat_client.chat_stream("Hi")
    task = spawn(lambda: (until(lambda: slow.requests), refuse.set()))
    with pytest.raises(InvalidRequestError):
        stream.collect()
    task.join()
    until(lambda: (anyllm.active_streams(), limit.active) == (0, 0))


def test_a_dropped_probe_is_no_success():
    now = [0.0]
    breaker = CircuitBreaker(1, 60, 1, clock=lambda: now[0])
    breaker.before(anyllm.Context()).failed(ServerError("down"))
    now[0] = 5
    events = Client("m", provider=fake([Stall()]), breaker=breaker).chat_stream("Hi").events()
    next(events)
    events.close()  # type: ignore[attr-defined]
    assert breaker.state == "half_open"


@pytest.mark.parametrize(
    ("events", "chunks"),
    [([event({"role": "assistant"}), event({"refusal": "no"})], 2), ([event({"content": ""})] * 500, 400)],
    ids=["a refusal", "a flood without content"],
)
def test_chunks_without_text_are_handed_on(events: Any, chunks: int):
    """No other model is called meanwhile."""
    go_on = threading.Event()
    stream = iter(Client("m", provider=fake([*events, Stall(go_on), event({}, "stop")])).chat_stream("Hi"))
    received = [in_time(next, stream) for _ in range(chunks)]
    assert received[-1].choices[0].delta.refusal == events[-1]["choices"][0]["delta"].get("refusal")
    go_on.set()
    list(stream)


@pytest.mark.parametrize("by_client", [True, False])
def test_a_restarted_text_that_is_shorter_is_an_error(by_client: bool):
    provider = fake(["Hello world", NetworkError("cut", is_retryable=True)], "Hello")
    if by_client:
        texts = Client("m", provider=provider, options=again("restart")).stream("Hi")
    else:
        texts = provider.completion_stream(anyllm.Context(TIMEOUT), PARAMS, options=again("restart")).text_stream
    with pytest.raises(NetworkError):
        list(texts)


def test_white_space_after_reasoning_is_not_repeated():
    with serve(
        Reply.sse([event({"content": "Hello "}), Cut("clean")], done=False),
        Reply.sse([event({"reasoning_content": "hm"}), event({"content": " world"}), event({}, "stop")]),
    ) as server:
        host = anyllm.provider("mistral", api_key="none", base_url=server.url)
        stream = host.completion_stream(anyllm.Context(TIMEOUT), PARAMS, options=again("continue"))
        assert stream.collect().content == "Hello world"


def test_a_try_that_brings_nothing_changes_nothing():
    error = {"error": {"message": "overloaded", "code": 503}}
    with serve(
        Reply.sse([event({"content": "Hello world"}), Cut("clean")], done=False),
        Reply.sse([event({"role": "assistant", "content": ""}), error], done=False),
    ) as server:
        host = anyllm.provider("compatible", base_url=server.url)
        stream = host.completion_stream(anyllm.Context(TIMEOUT), PARAMS, options=again("restart", attempts=2))
        with pytest.raises(AnyLLMError) as caught:
            stream.collect()
        assert caught.value.partial.content == "Hello world" == stream.partial.content


def test_a_later_reader_gets_the_error_too():
    stream = Client("m", provider=fake(["one", ServerError("down")])).chat_stream("Hi")
    for _ in range(2):
        with pytest.raises(ServerError):
            list(stream.events())


def test_callbacks_hear_all_of_a_stream_that_is_read_in_two_ways():
    calls: List[str] = []
    names = ("on_start", "on_delta", "on_usage", "on_complete")
    options = anyllm.StreamingOptions(**{name: lambda *_, name=name: calls.append(name) for name in names})
    stream = Client("m", provider=fake("one two"), options=options).chat_stream("Hi")
    stream.events()
    next(chunk for chunk in stream if chunk.content)
    list(stream.events())
    assert calls == ["on_start", "on_delta", "on_delta", "on_usage", "on_complete"]


def test_callbacks_get_the_restart():
    calls: List[Any] = []
    options = again("restart").evolve(on_delta=calls.append, on_retry=lambda retry: calls.append(retry.policy))
    provider = fake(["one", NetworkError("cut", is_retryable=True)], "two")
    Client("m", provider=provider, options=options).chat_stream("Hi").collect()
    assert calls == ["one", "restart", "two"]


def test_the_clients_time_counts_beside_a_context():
    chat_client = Client("m", provider=fake([Stall()]), timeout=SOON)
    with pytest.raises(DeadlineExceeded):
        in_time(chat_client.chat, "Hi", ctx=anyllm.Context())


def test_the_total_is_for_all_models_and_for_waiting():
    options = anyllm.StreamingOptions(timeouts=anyllm.Timeouts(total=SOON), retry=anyllm.Retry(attempts=1))
    second = fake([Stall()])
    chat_client = two(fake(ServerError("down")), second, options=options)
    with pytest.raises(DeadlineExceeded):
        in_time(chat_client.chat_stream("Hi").collect)
    chat_client = Client("m", provider=fake("one"), rate_limit=RateLimit(1), options=options)
    chat_client.chat("Hi", options={})
    with pytest.raises(DeadlineExceeded):
        in_time(chat_client.chat, "Hi")


def test_a_fallback_at_the_clients_provider_goes_to_the_clients_server(monkeypatch: pytest.MonkeyPatch):
    missing = Reply.json({"error": {"message": "no such model"}}, status=404)
    with serve(Reply.chat("well")) as own, serve(missing, Reply.chat("well")) as other:
        monkeypatch.setenv("OPENAI_BASE_URL", f"{own.url}/v1")
        monkeypatch.setenv("OPENAI_API_KEY", "key-of-the-environment")
        chat_client = Client(
            "openai/gpt-4o", api_key="key-of-the-tests", base_url=f"{other.url}/v1", fallback=["openai/gpt-4o-mini"]
        )
        chat_client.chat("Hi")
        assert (len(own.requests), len(other.requests)) == (0, 2)


# -- several models ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["chat", "stream"])
def test_a_model_that_fails_is_not_the_fastest(how: str):
    first, second = fake(ServerError("down")), fake("second")
    chat_client = two(first, second, strategy="fastest", options={"retry": {"attempts": 1}})
    for _ in range(3):
        answer = chat_client.chat("Hi") if how == "chat" else chat_client.chat_stream("Hi").collect()
        assert answer.content == "second"
    assert len(first.requests) == 1


def test_a_model_that_loses_is_not_the_fastest():
    loser = fake([Stall()])
    chat_client = two(loser, fake("second"), strategy="fastest", hedge=0.5)
    for _ in range(3):
        assert chat_client.chat_stream("Hi").collect().content == "second"
    assert len(loser.requests) == 1


def test_old_measurements_are_ignored():
    now = [0.0]
    targets = [Target(anyllm.provider("compatible", base_url="http://127.0.0.1"), name) for name in ("a", "b")]
    router = Router(targets, "fastest", None, clock=lambda: now[0])
    router.record_failure(targets[0])
    router.record_wait(targets[1], 1.0)
    assert router.order() == (targets[1], targets[0])
    now[0] = 1000.0
    assert router.order() == (targets[0], targets[1])


def test_an_answer_of_any_of_the_models_is_found_again():
    first, second = fake(ServerError("down")), fake("second")
    chat_client = two(first, second, cache=MemoryCache(), options={"retry": {"attempts": 1}})
    assert [chat_client.chat("Hi").content for _ in range(3)] == ["second"] * 3
    assert (len(first.requests), len(second.requests)) == (1, 1)


def test_estimated_tokens_settle_the_reservation():
    events = [event({"role": "assistant", "content": "one two"}), event({}, "stop")]
    chat_client = Client("m", provider=fake(events), rate_limit=RateLimit(tokens_per_minute=2000), max_tokens=1500)
    for _ in range(3):
        in_time(lambda: chat_client.chat_stream("Hi").collect())
        in_time(chat_client.chat, "Hi")


def test_an_answer_is_not_lost_because_tokens_cannot_be_counted(monkeypatch: pytest.MonkeyPatch):
    def fail(*_: Any, **__: Any) -> Any:
        raise OSError("no vocabulary")

    monkeypatch.setattr("anyllm.tokens.estimate_usage", fail)
    events = [event({"role": "assistant", "content": "one two"}), event({}, "stop")]
    chat_client = Client("m", provider=fake(events), options={"usage": "tiktoken"})
    assert (chat_client.chat("Hi").content, chat_client.chat_stream("Hi").collect().usage) == ("one two", None)


# -- settings ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "error"),
    [
        ({"rate_limit": 5}, TypeError),
        ({"max_streams": "3"}, TypeError),
        ({"breaker": True}, TypeError),
        ({"cache": "memory"}, TypeError),
        ({"cache_ttl": -1}, ValueError),
        ({"hedge": "x"}, TypeError),
        ({"hedge": float("nan")}, ValueError),
        ({"timeout": "5"}, TypeError),
        ({"timeout": -1}, ValueError),
        ({"prices": {"m": "x"}}, TypeError),
    ],
    ids=repr,
)
def test_a_wrong_setting_raises_where_it_is_given(setting: Any, error: Any):
    with pytest.raises(error):
        Client("compatible/m", **setting)


def test_a_client_closes_its_own_connections():
    with serve(Reply.chat("well")) as server:
        with Client("compatible/m", base_url=server.url) as chat_client:
            chat_client.chat("Hi")
            assert server.open_connections == 1
        assert server.wait_closed(TIMEOUT)
        assert chat_client.chat("Hi").content == "well"


def test_a_continuation_has_no_idempotency_key():
    """A host that knows idempotency keys would answer it with what it said before."""
    with serve(
        Reply.sse([event({"content": "Hello "}), Cut("clean")], done=False),
        Reply.sse([event({"content": "world"}), event({}, "stop")]),
    ) as server:
        chat_client = Client("llama_cpp/m", base_url=server.url, options=again("continue"))
        assert chat_client.chat_stream("Hi", idempotency_key=True).collect().content == "Hello world"
        assert [request.headers.get("Idempotency-Key") is None for request in server.requests] == [False, True]


# -- an interrupted reader ---------------------------------------------------------------------------------------------


def interrupt(_: Any) -> None:
    raise KeyboardInterrupt


def is_interrupted(stream: Any, text: str) -> None:
    """Each way to the whole answer of *stream* raises an error with *text* as the partial answer."""
    for whole_answer in (stream.collect, lambda: stream.completion, stream.collect):
        with pytest.raises(anyllm.Cancelled, match="interrupted: `partial` has") as caught:
            whole_answer()
        assert caught.value.partial.content == text
    assert stream.partial.content == text
    assert "failed" in repr(stream)


def test_after_ctrl_c_the_whole_answer_is_an_error():
    """`collect()` said "iterate it, or collect() it"."""
    stream = Client("m", provider=fake(["Hel", Stall()])).chat_stream("Hi", options={"timeouts": OFF})
    assert next(chunk for chunk in stream if chunk.content).content == "Hel"
    with pytest.raises(KeyboardInterrupt):
        stream._chunks.throw(KeyboardInterrupt)  # as if it had come while the generator waited
    is_interrupted(stream, "Hel")


def test_an_exception_of_a_callback_interrupts_the_reading():
    options = anyllm.StreamingOptions(timeouts=OFF, on_delta=interrupt)
    stream = Client("m", provider=fake(["Hel", Stall()])).chat_stream("Hi", options=options)
    with pytest.raises(KeyboardInterrupt):
        list(stream)
    is_interrupted(stream, "Hel")


def test_leaving_a_loop_is_no_interruption():
    stream = Client("m", provider=fake(["Hel", "lo"])).chat_stream("Hi")
    for chunk in stream:
        if chunk.content:
            break
    with pytest.raises(RuntimeError, match="not been read to its end"):
        stream.completion  # noqa: B018  # a property that raises
    assert stream.collect().content == "Hello"


# -- caches ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["provider", "environment"])
def test_two_servers_do_not_share_answers(where: str, monkeypatch: pytest.MonkeyPatch):
    cache = MemoryCache()
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    with serve(Reply.chat("one")) as one, serve(Reply.chat("two")) as two:
        for server, text in ((one, "one"), (two, "two")):
            monkeypatch.setenv("OPENAI_BASE_URL", server.url)
            settings = {"model": "openai/m"}
            if where == "provider":
                settings = {"model": "m", "provider": anyllm.provider("compatible", base_url=server.url)}
            assert Client(**settings, cache=cache).chat("Hi").content == text


def test_headers_of_the_provider_are_part_of_the_key():
    cache = MemoryCache()
    with serve(lambda request: Reply.chat(request.headers["x-route"])(request)) as server:
        for route in ("a", "b"):
            host = anyllm.provider("compatible", base_url=server.url, headers={"x-route": route})
            assert Client("m", provider=host, cache=cache).chat("Hi").content == route


@pytest.mark.parametrize("ask", [Client.chat, Client.stream_with_usage])
def test_a_cache_hit_does_not_extend_the_ttl(ask: Any):
    now = [0.0]
    chat_client = Client("m", provider=fake("old", "new"), cache=MemoryCache(clock=lambda: now[0]), cache_ttl=60)
    for now[0], text in ((0, "old"), (50, "old"), (100, "new")):
        assert ask(chat_client, "Hi").content == text


@attrs.define
class Point:
    x: int


def test_an_answer_that_does_not_parse_is_not_cached():
    chat_client = Client("m", provider=fake("no json", '{"x": 1}'), cache=MemoryCache())
    with pytest.raises(StructuredOutputError):
        chat_client.chat("Hi", response_format=Point)
    assert chat_client.chat("Hi", response_format=Point).parsed == Point(1)


def test_a_cached_answer_costs_nothing_with_any_idempotency_key():
    provider = fake("one two")
    prices = {"compatible/m": {"input_usd": 1, "output_usd": 1}}
    chat_client = Client("m", provider=provider, cache=MemoryCache(), prices=prices)
    costs = [chat_client.chat("Hi", idempotency_key=True).cost for _ in range(2)]
    assert [(cost.source, bool(cost.total_usd)) for cost in costs if cost] == [("override", True), ("cache", False)]
    assert len(provider.requests) == 1


# -- others ------------------------------------------------------------------------------------------------------------


def test_a_failed_call_returns_its_tokens_for_the_next_model(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    with serve(Reply.chat("two")) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        failing = fake(NetworkError("refused", is_retryable=False))
        limit = RateLimit(tokens_per_minute=1500)
        chat_client = Client("m", provider=failing, fallback=["openai/m"], rate_limit=limit)
        assert chat_client.chat("Hi", timeout=5).content == "two"


def test_a_fake_call_that_ends_before_its_stall_is_no_bug(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.ERROR, logger="anyllm"):
        for _ in range(20):
            stream = anyllm.completion_stream(anyllm.Context(), PARAMS, provider=fake(["one", Stall()]))
            next(chunk for chunk in stream.chunks if chunk.content)
            stream.cancel()
            stream.errors.get()
    assert not caplog.records
