"""The comfort layer where it was broken: each of these failed before it was mended."""

from __future__ import annotations

import dataclasses
import json
import logging
from typing import Any, Dict, List, Set, Tuple, TypedDict

import attrs
import pytest

import anyllm
from anyllm import structured, wsgi
from anyllm.agent import Agent
from anyllm.caching import MemoryCache
from anyllm.client import Client
from anyllm.errors import NetworkError
from anyllm.limits import CircuitOpenError, RateLimit
from anyllm.processing import EventProcessor
from anyllm.structured._schema import schema_of, strict
from anyllm.testing import Reply, Stall, fake, serve
from anyllm.tools import tool


def whole(text: str) -> Reply:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    return Reply.json({"id": "x", "model": "m", "choices": [choice], "usage": usage})


def calling(name: str, arguments: str) -> List[Any]:
    call = {"index": 0, "id": "c0", "type": "function", "function": {"name": name, "arguments": arguments}}
    base = {"id": "x", "model": "m", "object": "chat.completion.chunk"}
    return [
        {**base, "choices": [{"index": 0, "delta": {"role": "assistant", "tool_calls": [call]}}]},
        {**base, "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]},
    ]


def test_two_servers_do_not_share_answers():
    cache = MemoryCache()
    with serve(whole("one")) as one, serve(whole("two")) as two:
        for server, text in ((one, "one"), (two, "two")):
            host = anyllm.provider("compatible", base_url=server.url)
            assert Client("m", provider=host, cache=cache).chat("Hi").content == text


def test_servers_named_by_the_environment_do_not_share_answers(monkeypatch: pytest.MonkeyPatch):
    cache = MemoryCache()
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    with serve(whole("one")) as one, serve(whole("two")) as two:
        for server, text in ((one, "one"), (two, "two")):
            monkeypatch.setenv("OPENAI_BASE_URL", server.url)
            assert Client("openai/m", cache=cache).chat("Hi").content == text


def test_headers_of_the_provider_are_part_of_the_key():
    cache = MemoryCache()
    with serve(lambda request: whole(request.headers["x-route"])) as server:
        for route in ("a", "b"):
            host = anyllm.provider("compatible", base_url=server.url, headers={"x-route": route})
            assert Client("m", provider=host, cache=cache).chat("Hi").content == route


@pytest.mark.parametrize("ask", [Client.chat, Client.stream_with_usage])
def test_a_cache_hit_does_not_extend_the_ttl(ask: Any):
    now = [0.0]
    chat_client = Client("m", provider=fake("old", "new"), cache=MemoryCache(clock=lambda: now[0]), cache_ttl=60)
    assert ask(chat_client, "Hi").content == "old"
    now[0] = 50
    assert ask(chat_client, "Hi").content == "old"
    now[0] = 100
    assert ask(chat_client, "Hi").content == "new"


@attrs.define
class Point:
    x: int


def test_an_answer_that_does_not_parse_is_not_cached():
    chat_client = Client("m", provider=fake("no json", '{"x": 1}'), cache=MemoryCache())
    with pytest.raises(structured.StructuredOutputError):
        chat_client.chat("Hi", response_format=Point)
    assert chat_client.chat("Hi", response_format=Point).parsed == Point(1)


@dataclasses.dataclass
class Place:
    city: str
    days: int = 1


class Optionals(TypedDict, total=False):
    q: int


@attrs.define
class Holder:
    inner: Optionals
    by_number: Dict[int, str] = attrs.field(factory=dict)


@tool(strict=True)
def weather(place: Place) -> str:
    return f"{place.city} {place.days}"


@tool
def numbered(names: Dict[int, str]) -> Dict[int, str]:
    return names


def test_null_stands_for_a_default_inside_a_strict_tools_arguments_too():
    assert weather.call({"place": {"city": "Paris", "days": None}}) == "Paris 1"


def test_null_stands_for_a_key_that_may_be_missing():
    assert structured.parse('{"inner": {"q": null}}', Holder) == Holder({})


def test_keys_that_are_numbers():
    assert structured.parse('{"inner": {}, "by_number": {"1": "x"}}', Holder) == Holder({}, {1: "x"})
    assert numbered.call('{"names": {"1": "x"}}') == {1: "x"}


@attrs.define
class Shapes:
    at: Tuple[float, float]
    tags: Set[str]
    data: bytes


@attrs.define
class Pair:
    pair: Tuple[int, str]


@attrs.define
class Bare:
    items: list  # type: ignore[type-arg]


def test_the_strict_schema_has_only_keywords_that_openai_permits():
    schema = json.dumps(structured.response_format(Shapes))
    assert '"strict": true' in schema
    for keyword in ("prefixItems", "uniqueItems", "contentEncoding"):
        assert keyword not in schema


@pytest.mark.parametrize("cls", [Pair, Bare])
def test_lists_that_have_no_strict_form(cls: Any):
    with pytest.raises(ValueError, match="no strict form"):
        strict(schema_of(cls))
    assert structured.response_format(cls)["json_schema"]["strict"] is False


class Shop:
    @classmethod
    @tool
    def price(cls, item: str) -> str:
        return f"{cls.__name__} {item}"

    @tool
    def stock(self, item: str) -> str:
        return item


def test_a_classmethod_without_a_docstring():
    assert Agent(fake("x"), model="m", tools=[Shop.price])  # RecursionError before 3.13


def test_a_tool_of_a_bound_tool_does_not_ask_for_self():
    renamed = tool(name="count")(Shop().stock)
    assert renamed.call({"item": "tea"}) == "tea"


class WordlessError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


@tool
def broken() -> None:
    raise WordlessError


def test_an_error_whose_words_fail_does_not_end_the_run():
    assert Agent(fake(calling("broken", "{}"), "done"), model="m", tools=[broken]).run("go").content == "done"


def test_a_call_without_arguments_goes_back_with_an_object():
    provider = fake(calling("broken", ""), "done")
    Agent(provider, model="m", tools=[broken]).run("go")
    (message,) = (one for one in provider.requests[1]["messages"] if one["role"] == "assistant")
    assert message["tool_calls"][0]["function"]["arguments"] == "{}"


def test_a_transformer_that_raises_stop_iteration_does_not_look_like_the_end():
    def transform(event: Any) -> Any:
        raise StopIteration

    processor = EventProcessor().add_transformer(transform)
    with Client("m", provider=fake("one")).chat_stream("Hi") as stream, pytest.raises(RuntimeError):
        list(processor.process(stream))


def test_a_failed_call_returns_its_tokens_for_the_next_model(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    with serve(whole("two")) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        failing = fake(NetworkError("refused", is_retryable=False))
        limit = RateLimit(tokens_per_minute=1500)
        chat_client = Client("m", provider=failing, fallback=["openai/m"], rate_limit=limit)
        assert chat_client.chat("Hi", timeout=5).content == "two"


def test_an_open_breaker_is_a_503():
    assert wsgi.status(CircuitOpenError("x", retry_after=3)) == 503


def test_a_silent_chat_stream_gets_keep_alives():
    body: Any = wsgi.body(Client("m", provider=fake(["one", Stall()])).chat_stream("Hi", timeout=2), keep_alive=0.01)
    assert any(b"one" in piece for piece in body)
    assert next(body) == b": keep-alive\n\n"
    body.close()


def test_a_fake_call_that_ends_before_its_stall_is_no_bug(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.ERROR, logger="anyllm"):
        for _ in range(20):
            params = anyllm.CompletionParams("m", [anyllm.Message.user("Hi")])
            stream = anyllm.completion_stream(anyllm.Context(), params, provider=fake(["one", Stall()]))
            next(chunk for chunk in stream.chunks if chunk.content)
            stream.cancel()
            stream.errors.get()
    assert not caplog.records


def test_a_cached_answer_costs_nothing_with_any_idempotency_key():
    provider = fake("one two")
    prices = {"compatible/m": {"input_usd": 1, "output_usd": 1}}
    chat_client = Client("m", provider=provider, cache=MemoryCache(), prices=prices)
    costs = [chat_client.chat("Hi", idempotency_key=True).cost for _ in range(2)]
    assert [cost.source for cost in costs if cost] == ["override", "cache"]
    assert [bool(cost.total_usd) for cost in costs if cost] == [True, False]
    assert len(provider.requests) == 1
