"""What newcomers do wrong is answered with what to do: they see nothing of us but this message."""

from __future__ import annotations

import copy
import pickle
from typing import Any, Callable, Dict, Tuple
from unittest import mock

import pytest

import anyllm
from anyllm import Client, Context, Message, Retry, StreamingOptions, Timeouts
from anyllm.testing import fake

PARAMS = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}


def client(**settings: Any) -> Client:
    return Client("m", provider=fake("Hello big world"), **settings)


MISTAKES: Dict[str, Tuple[Callable[[], Any], str]] = {
    # what is asked
    "a number": (lambda: client().chat(5), "or a text, a Message or CompletionParams, not int"),
    "bytes": (lambda: client().chat(b"Hi"), "or a text, a Message or CompletionParams, not bytes"),
    "a class": (lambda: client().chat(Message), "not the class Message"),
    "texts": (
        lambda: client().chat(["Hi"]),
        "expected Message or a dict, not str; write Message.user('Hi')",
    ),
    "a pair": (lambda: client().chat([("user", "Hi")]), "messages[0]: expected Message or a dict, not tuple"),
    "a dict of neither kind": (lambda: client().chat({"content": "Hi"}), "with 'messages'; this one has 'content'"),
    "an empty dict": (lambda: client().chat({}), "with 'messages'; this one has nothing"),
    "no role": (lambda: Message("Hello there"), "its role: write Message.user('Hello there')"),
    # parameters
    "tokens as text": (lambda: client().chat("Hi", max_tokens="5"), "max_tokens must be int or None, not str"),
    "stop": (lambda: client().chat("Hi", stop=[5]), "stop must be a str or a list of str, not [5]"),
    "a tool's name": (
        lambda: client().chat("Hi", tools="weather"),
        "tools must be a list of functions, Tools",
    ),
    "one tool": (lambda: client().chat("Hi", tools={"type": "function"}), "tools must be a list"),
    # options
    "timeouts as options": (
        lambda: client().chat("Hi", options=Timeouts()),
        "not Timeouts: write StreamingOptions(timeouts=Timeouts(...))",
    ),
    "retry as options": (
        lambda: anyllm.provider("openai", options=Retry()),
        "not Retry: write StreamingOptions(retry=Retry(...))",
    ),
    "the class of options": (
        lambda: client(options=StreamingOptions),
        "not the class: write StreamingOptions(...)",
    ),
    "values by place": (lambda: Timeouts(5), "Timeouts takes its values by name, as in Timeouts(connect=...)"),
    "params by place": (
        lambda: anyllm.CompletionParams("m", [], 0.5),
        "CompletionParams takes its values by name, as in CompletionParams(temperature=...)",
    ),
    "a number of streams": (lambda: client(max_streams=0), "max_streams must be at least 1: 0"),
    "a rate": (lambda: client(rate_limit=60), "as in anyllm.limits.RateLimit(requests_per_minute=60), not int"),
    # contexts and providers
    "a context's class": (
        lambda: client().chat("Hi", ctx=Context),
        "not the class Context: write anyllm.Context(timeout=60)",
    ),
    "a key by place": (lambda: Client("openai/m", "sk-1"), "write Client('openai/gpt-4o-mini', api_key=..."),
    "a provider's key by place": (
        lambda: anyllm.provider("openai", "sk-1"),
        "too many positional arguments; write anyllm.provider('openai', api_key=...)",
    ),
    "a provider's provider": (lambda: anyllm.provider(fake()), "not FakeProvider; this is a provider already"),
    "a function as provider": (lambda: Client("m", provider=fake), "a name or a Provider, not the function fake"),
    "a provider's class": (lambda: Client("m", provider=anyllm.Provider), "not the class Provider"),
    "Provider()": (lambda: anyllm.Provider("openai"), "a Provider is made by anyllm.provider(name"),
    "ChatStream()": (lambda: anyllm.ChatStream("Hi"), "is made by Client(...).chat_stream('Hello')"),
    "an agent's definition": (
        lambda: anyllm.Agent("openai/m").stream(definition={}),
        "write agent.stream('What is the weather in Paris?')",
    ),
    "models without a context": (
        lambda: anyllm.list_models("openai"),
        "write anyllm.list_models(anyllm.Context(), 'openai')",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_answered_with_what_to_write(name: str):
    mistake, words = MISTAKES[name]
    with pytest.raises((TypeError, ValueError)) as caught:
        mistake()
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("thing", [Context(), fake(), client()], ids=lambda thing: type(thing).__name__)
@pytest.mark.parametrize("copying", [copy.copy, copy.deepcopy, pickle.dumps])
def test_what_lives_in_a_process_is_not_copied(thing: Any, copying: Any):
    with pytest.raises(TypeError, match=r"cannot be copied or pickled: make one"):
        copying(thing)


def test_an_assignment_that_no_call_would_see_is_refused():
    asking = client()
    with pytest.raises(AttributeError, match=r"make another one, Client\(\.\.\., temperature=\.\.\.\)"):
        asking.temperature = 0
    asking.options = StreamingOptions(buffer=3)
    with mock.patch.object(asking, "chat", return_value="mocked"):
        assert asking.chat("Hi") == "mocked"
    assert asking.chat("Hi").content == "Hello big world"
    own = type("Own", (Client,), {})("m", provider=fake())
    own.colour = "red"
    assert own.colour == "red"


def test_an_empty_model_says_how_models_are_written():
    with pytest.raises(anyllm.UnsupportedProviderError, match="written provider/model, as in openai/gpt-4o-mini"):
        Client("")


def test_a_stream_that_was_read_or_cancelled_stays_so():
    stream = client().chat_stream("Hi")
    assert len(list(stream)) > 3
    assert list(stream) == list(stream.text_stream) == []
    assert stream.collect().content == "Hello big world", "whatever was read before"
    cancelled = Client("m", provider=fake(["a", anyllm.testing.Stall])).chat_stream("Hi")
    cancelled.cancel("enough")
    for read in (cancelled.collect, cancelled.collect):
        with pytest.raises(anyllm.Cancelled, match="enough"):
            read()
