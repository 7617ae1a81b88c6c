"""Names that users bring from other libraries are answered with ours."""

from __future__ import annotations

import json
import re
from typing import Any, Callable, Dict, Iterable

import attrs
import pytest

import anyllm
from anyllm import Client, CompletionParams, Message, Retry, StreamingOptions, Timeouts
from anyllm._hints import names
from anyllm.events import StreamEvent
from anyllm.testing import fake

CTX = anyllm.Context()
PARAMS = {"model": "m", "messages": [Message.user("Hi")]}
OWNERS: Dict[str, Any] = {
    "Timeouts": Timeouts,
    "Retry": Retry,
    "StreamingOptions": StreamingOptions,
    "CompletionParams": CompletionParams,
}
#: Everything that takes options, each with a name that it does not know.
PLACES: Dict[str, Callable[..., Any]] = {
    "StreamingOptions": StreamingOptions,
    "Timeouts": Timeouts,
    "Retry": Retry,
    "CompletionParams": lambda **options: CompletionParams(**PARAMS, **options),
    "Client": lambda **options: Client("m", provider=fake(), **options),
    "chat": lambda **options: Client("m", provider=fake()).chat("Hi", **options),
    "chat_stream": lambda **options: Client("m", provider=fake()).chat_stream("Hi", **options),
    "stream": lambda **options: Client("m", provider=fake()).stream("Hi", **options),
    "stream_with_usage": lambda **options: Client("m", provider=fake()).stream_with_usage("Hi", **options),
    "provider": lambda **options: anyllm.provider("openai", **options),
    "completion": lambda **options: anyllm.completion(CTX, PARAMS, **options),
    "completion_stream": lambda **options: fake().completion_stream(CTX, PARAMS, **options),
    "Agent": lambda **options: anyllm.Agent("openai/m", **options),
}
#: The options of the guides, and what stands in the answer.
GUIDES = {
    "enable_usage_aggregation": "usage=",
    "aggregator_type": "usage='auto', 'tiktoken' or 'character'",
    "enable_json_stream_handler": "json=True",
    "validate_json_incrementally": "json=True",
    "connection_timeout": "connect=",
    "read_timeout": "idle=",
    "total_timeout": "total=",
    "retry_on_connection_error": "attempts=",
    "max_reconnect_attempts": "attempts=",
    "reconnect_delay": "backoff=",
    "preserve_partial_response": "keep_partial=",
    "chunk_size": "read_size=",
    "buffer_size": "buffer=",
    "enable_compression": "compression=",
    "streaming_options": "options=",
    "return_usage": "stream_with_usage",
}


@pytest.mark.parametrize("name", GUIDES)
@pytest.mark.parametrize("place", PLACES)
def test_an_option_of_a_guide_is_answered_with_ours_wherever_it_stands(place: str, name: str):
    with pytest.raises(TypeError) as caught:
        PLACES[place](**{name: 1})
    words = str(caught.value)
    assert repr(name) in words
    timeless = name == "total_timeout" and place not in ("StreamingOptions", "Timeouts", "Retry", "CompletionParams")
    assert ("timeout=" if timeless else GUIDES[name]) in words


#: The place and the name, and a part of the answer.
ANSWERS = {
    ("Timeouts", "connection_timeout"): "Timeouts has no 'connection_timeout'; write connect=...",
    (
        "StreamingOptions",
        "connection_timeout",
    ): "StreamingOptions has no 'connection_timeout'; write timeouts=anyllm.Timeouts(connect=...)",
    (
        "chat",
        "connection_timeout",
    ): "'connection_timeout'; write options=anyllm.StreamingOptions(timeouts=anyllm.Timeouts(connect=...))",
    ("Retry", "chunk_size"): "Retry has no 'chunk_size'; write options=anyllm.StreamingOptions(read_size=...)",
    ("StreamingOptions", "idle"): "StreamingOptions has no 'idle'; write timeouts=anyllm.Timeouts(idle=...)",
    ("StreamingOptions", "attempts"): "StreamingOptions has no 'attempts'; write retry=anyllm.Retry(attempts=...)",
    (
        "StreamingOptions",
        "temperature",
    ): "StreamingOptions has no 'temperature'; write anyllm.CompletionParams(temperature=...)",
    ("completion", "timeout"): "completion() has no 'timeout'; write anyllm.Context(timeout=...)",
    ("completion", "temperature"): "completion() has no 'temperature'; write anyllm.CompletionParams(temperature=...)",
    ("provider", "max_retries"): "options=anyllm.StreamingOptions(retry=anyllm.Retry(attempts=1 + ...))",
    ("provider", "api_kee"): "provider() has no 'api_kee'; did you mean 'api_key'?",
    ("chat", "request_timeout"): "a model has no parameter 'request_timeout'; write timeout=...",
    ("chat", "max_completion_tokens"): "write max_tokens=...",
    ("chat", "top_k"): "write extra_body={'top_k': ...}",
    ("chat", "fallback"): "'fallback' is a setting of the Client, for all of its calls: Client(..., fallback=...)",
    ("chat", "idle"): "'idle' belongs to the options: options=anyllm.StreamingOptions(timeouts=anyllm.Timeouts(idle",
    ("Client", "fallbak"): "did you mean 'fallback'?",
    ("Client", "prompt"): "write messages=...",
    ("Agent", "max_completion_tokens"): "Agent has no 'max_completion_tokens'; write max_tokens=...",
}


@pytest.mark.parametrize(("place", "name"), ANSWERS)
def test_the_answer_fits_the_place(place: str, name: str):
    with pytest.raises(TypeError, match=re.escape(ANSWERS[place, name])):
        PLACES[place](**{name: 1})


@pytest.mark.parametrize("name", names.OPTIONS)
def test_every_answer_names_what_there_is(name: str):
    """A table of spellings ages; each keyword in it is one that its class takes."""
    owner, spelling = names.OPTIONS[name]
    if owner:
        ours = {field.name for field in attrs.fields(OWNERS[owner])}
        assert name not in ours
        assert set(re.findall(r"\b(\w+)=", spelling)) <= ours


def test_a_dict_of_options_is_answered_too():
    with pytest.raises(TypeError, match=re.escape("timeouts=anyllm.Timeouts(connect=...)")):
        Client("m", provider=fake(), options={"connection_timeout": 5})


# -- what is read ------------------------------------------------------------------------------------------------------

CHUNK = anyllm.ChatCompletionChunk.from_dict({"choices": [{"delta": {"role": "assistant", "content": "Hi"}}]})
ANSWER = anyllm.ChatCompletion.from_dict({"choices": [{"message": {"role": "assistant", "content": '{"a": 1}'}}]})
USAGE = anyllm.Usage(1, 2, 3, cache_read_tokens=1)


@pytest.mark.parametrize(
    ("value", "name", "words"),
    [
        (CHUNK, "get_content", "chunk.content"),
        (CHUNK, "reasoning_content", "chunk.reasoning"),
        (CHUNK, "raw_chunk", "chunk.raw"),
        (CHUNK, "role", "chunk.choices[0].delta.role"),
        (CHUNK, "function_call", "chunk.tool_calls"),
        (CHUNK, "message", "chunk.content"),
        (CHUNK, "done", "chunk.finish_reason is not None"),
        (CHUNK, "Choices", ".choices"),
        (CHUNK, "SystemFingerprint", ".system_fingerprint"),
        (CHUNK, "finishReason", ".finish_reason"),
        (CHUNK, "ID", ".id"),
        (CHUNK.choices[0], "message", "choice.delta"),
        (ANSWER, "get_text", "answer.content"),
        (ANSWER, "message", "answer.to_message()"),
        (ANSWER.choices[0], "delta", "choice.message"),
        (ANSWER, "model_dump", ".to_dict()"),
        (USAGE, "get", "usage.cache_read_tokens"),
        (USAGE, "input_tokens", "usage.prompt_tokens"),
        (StreamEvent(type="text", text="x"), "delta", "event.text"),
        (StreamEvent(type="tool_call"), "metadata", "event.tool_call"),
    ],
)
def test_an_attribute_of_a_guide_is_answered_with_ours(value: Any, name: str, words: str):
    with pytest.raises(AttributeError, match=f"{type(value).__name__} has no {name!r}; write ") as caught:
        getattr(value, name)
    assert words in str(caught.value)
    assert not hasattr(value, name)


@pytest.mark.parametrize("value", [CHUNK, ANSWER, USAGE, StreamEvent(type="text", text="x")])
def test_answering_other_names_slows_no_attribute_down(value: Any):
    """Python reads every attribute of a class with a `__getattr__` more slowly, and one that it finds the same way."""
    assert not hasattr(type(value), "__getattr__")
    shown = dir(value)
    assert all(hasattr(value, name) for name in shown)
    assert "to_dict" in shown or "evolve" in shown


def test_an_attribute_that_nobody_has_is_an_ordinary_mistake():
    with pytest.raises(AttributeError, match=r"'ChatCompletionChunk' object has no attribute 'nonsense'"):
        _ = CHUNK.nonsense


@pytest.mark.parametrize("value", [CHUNK, ANSWER, USAGE], ids=lambda value: type(value).__name__)
def test_a_value_is_no_dict_and_no_list(value: Any):
    with pytest.raises(TypeError, match=r"has attributes and no keys: write \.choices, or \.to_dict\(\)"):
        value["choices"]
    with pytest.raises(TypeError, match="write attributes, or"):
        value[0]
    with pytest.raises(TypeError, match="not iterable"):
        iter(value)
    assert not isinstance(value, Iterable)


@pytest.mark.parametrize(
    ("value", "field", "words"),
    [
        # A transformer of events returns the changed copy.
        (StreamEvent(type="text", text="x"), "text", r"a StreamEvent is never changed; value\.evolve\(text="),
        (CompletionParams(**PARAMS), "temperature", r"value\.evolve\(temperature=\.\.\.\) gives a changed"),
        (Timeouts(), "connect", r"attrs\.evolve\(value, connect=\.\.\.\)"),
    ],
)
def test_a_frozen_value_says_how_it_is_changed(value: Any, field: str, words: str):
    with pytest.raises(attrs.exceptions.FrozenInstanceError, match=words):
        setattr(value, field, "X")


@pytest.mark.parametrize(("thing", "value"), [("Client", Client("m", provider=fake())), ("Provider", fake())])
def test_a_method_of_a_guide_is_answered_with_ours(thing: str, value: Any):
    for name, instead in names.ATTRIBUTES[thing].items():
        with pytest.raises(AttributeError, match=re.escape(f"a {thing} has no {name!r}; write {instead}")):
            getattr(value, name)


@pytest.mark.parametrize("name", names.MODULE)
def test_a_name_at_the_top_is_answered_with_ours(name: str):
    with pytest.raises(AttributeError, match=re.escape(names.MODULE[name])):
        getattr(anyllm, name)


@pytest.mark.parametrize("name", ["JSON_MODE", "HIGH_THROUGHPUT", "LOW_LATENCY"])
def test_a_preset_of_a_guide_is_answered_with_ours(name: str):
    with pytest.raises(AttributeError, match=rf"anyllm\.options\.{name}$"):
        getattr(anyllm.options, f"{name}_OPTIONS")
    assert isinstance(getattr(anyllm.options, name), StreamingOptions)


def test_answers_do_not_get_in_the_way_of_copies_and_json():
    """They look for many names that a value may not have."""
    assert json.loads(json.dumps(ANSWER.to_dict()))["choices"][0]["message"]["content"] == '{"a": 1}'
    assert [getattr(ANSWER, name, None) for name in ("__len__", "__array__", "_repr_html_", "items")] == [None] * 4


def test_too_many_values_of_a_class_without_keyword_only_fields_are_a_type_error():
    """The search for a keyword-only field to show raised StopIteration."""
    with pytest.raises(TypeError, match="positional arguments"):
        Message("user", "a", None, (), None, None, None, None, None, "too many")
