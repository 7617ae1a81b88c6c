"""Requests in Anthropic's Messages: read, and written again by our dialect, they are the same."""

from __future__ import annotations

import json
from typing import Any, Dict, List

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recordings import answering

from anyllm.errors import InvalidRequestError
from anyllm.types import CompletionParams, ContentPart, Reasoning
from anyllm.wire.anthropic_messages.dialect import AnthropicMessagesDialect as Dialect
from anyllm.wire.anthropic_messages.server.request_reader import read_messages
from anyllm.wire.anthropic_messages.server.writer import AnthropicMessages

HI = {"role": "user", "content": "Hi"}
CACHE = {"type": "ephemeral"}
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
FORM = {"type": "json_schema", "schema": SCHEMA}
SEARCH = {"type": "web_search_20250305", "name": "web_search", "max_uses": 2}
USE = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
RESULT = {"type": "tool_result", "tool_use_id": "t", "content": "42"}
THOUGHT = {"type": "thinking", "thinking": "Hm.", "signature": "s"}


def body(*messages: Any, **more: Any) -> Dict[str, Any]:
    return {"model": "m", "max_tokens": 10, "messages": list(messages or (HI,)), **more}


def read(*messages: Any, **more: Any) -> CompletionParams:
    return read_messages(body(*messages, **more)).params


def sent(params: CompletionParams, *, stream: bool = False) -> Any:
    return json.loads(Dialect().request(params, model=params.model, stream=stream).body)


def again(said: Any) -> Any:
    asked = read_messages(said)
    return sent(asked.params.evolve(extra_body=asked.native_fields), stream=asked.stream)


def answer(*blocks: Any) -> Dict[str, Any]:
    return {"role": "assistant", "content": list(blocks)}


def text(said: str, **more: Any) -> Dict[str, Any]:
    return {"type": "text", "text": said, **more}


# -- what only Anthropic understands ---------------------------------------------------------------------------------

#: What Anthropic's clients send that our dialect never would.
REQUESTS: Dict[str, Dict[str, Any]] = {
    "host's tools": body(
        HI,
        answer(
            text("I look.", citations=[{"type": "page_location", "cited_text": "x"}]),
            {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
            {"type": "web_search_tool_result", "tool_use_id": "s", "content": []},
            text("Found."),
        ),
        HI,
    ),
    "thoughts between": body(
        HI,
        answer(
            {"type": "thinking", "thinking": "A", "signature": "a"},
            text("B"),
            {"type": "thinking", "thinking": "C", "signature": "c"},
            {"type": "redacted_thinking", "data": "d"},
            {"type": "tool_use", "id": "t", "name": "f", "input": {}},
        ),
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": [text("x")]}, text("y")]},
    ),
    "host's calls": body(
        HI,
        answer({"type": "tool_use", "id": "t", "name": "f", "input": {}, "caller": {"type": "code", "tool_id": "s"}}),
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "1"}]},
    ),
    "host's files": body(
        {
            "role": "user",
            "content": [
                {"type": "image", "source": {"type": "file", "file_id": "f"}},
                {"type": "document", "source": {"type": "content", "content": [text("A")]}, "title": "T"},
                {
                    "type": "document",
                    "source": {"type": "url", "url": "https://a.example"},
                    "citations": {"enabled": True},
                },
                {"type": "search_result", "source": "s", "title": "t", "content": [text("A")]},
                {"type": "container_upload", "file_id": "f"},
            ],
        }
    ),
    "tools with more": body(tools=[{"name": "f", "input_schema": SCHEMA, "input_examples": [{"a": 1}]}]),
    "further": body(top_k=5, service_tier="auto", container="c", metadata={"user_id": "u", "trace": "t"}),
    "thoughts left out": body(thinking={"type": "enabled", "budget_tokens": 5, "display": "omitted"}),
    "thinking of tomorrow": body(thinking={"type": "between_tools"}),
    "effort without thinking": body(output_config={"effort": "low", "format": FORM}),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_what_only_anthropic_understands_comes_back_as_it_was(name: str):
    assert again(REQUESTS[name]) == {**REQUESTS[name]}


# -- what is read ------------------------------------------------------------------------------------------------------


def test_an_answer_is_wanted_in_the_format_with_the_model_that_was_asked():
    asked = read_messages(body(stream=True))
    assert (asked.params.model, asked.stream, asked.native) == ("m", True, (Dialect,))
    assert asked.format == AnthropicMessages(model="m")


def test_results_come_before_the_words_that_follow_them():
    """As other hosts want them: each a message of its own, straight after the calls."""
    result = {"type": "tool_result", "tool_use_id": "a", "content": "1"}
    said = [result, {**result, "tool_use_id": "b"}, text("Go on"), text("please")]
    params = read(HI, {"role": "user", "content": said})
    assert [message.role for message in params.messages] == ["user", "tool", "tool", "user"]
    assert [message.tool_call_id for message in params.messages[1:3]] == ["a", "b"]
    assert params.messages[3].text == "Go onplease"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("no such file", "Error: no such file"),
        ("TypeError: x", "TypeError: x"),
        (None, "Error"),
        ([text("no such file")], "Error:no such file"),
        ([text("an error")], "an error"),
    ],
)
def test_a_result_that_failed_says_so_in_words(content: Any, said: str):
    result = {"type": "tool_result", "tool_use_id": "a", "content": content, "is_error": True}
    (message,) = read({"role": "user", "content": [result]}).messages
    assert message.text == said


def test_thoughts_without_a_signature_are_other_hosts_and_go_back_to_none_of_this_format():
    """Anthropic refuses them; a host that wants its reasoning back gets the text."""
    turn = answer({"type": "thinking", "thinking": "Hm.", "signature": ""}, text("A"))
    message = read(HI, turn, HI).messages[1]
    assert message.reasoning == Reasoning("Hm.")
    assert again(body(HI, turn, HI))["messages"][1] == {"role": "assistant", "content": "A"}


def test_documents_are_files_for_other_hosts_with_their_titles_as_names():
    source = {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}
    said = {"role": "user", "content": [{"type": "document", "source": source, "title": "a.pdf"}]}
    (part,) = read(said).messages[0].content or ()
    assert part == ContentPart("file", file={"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="})


def test_what_must_go_back_with_a_call_is_read_from_beside_its_input():
    signed = {"google": {"thought_signature": "s"}}
    call = {"type": "tool_use", "id": "a", "name": "f", "input": {"x": [1]}, "extra_content": signed}
    (read_call,) = read(HI, answer({**call, "caller": {"type": "direct"}})).messages[1].tool_calls
    assert (read_call.id, read_call.name, read_call.parse(), read_call.extra_content) == ("a", "f", {"x": [1]}, signed)


def test_thoughts_after_a_call_do_not_part_it_from_its_result():
    call = {"type": "tool_use", "id": "a", "name": "f", "input": {}}
    turn = answer(text("A"), call, {"type": "thinking", "thinking": "x", "signature": "s"}, {**call, "id": "b"})
    messages = read(HI, turn).messages
    assert [len(message.tool_calls) for message in messages] == [0, 2]


@pytest.mark.parametrize(
    ("thinking", "config", "expected"),
    [
        ({"type": "adaptive"}, None, ("high", None)),
        ({"type": "adaptive", "display": "summarized"}, {"effort": "low"}, ("low", None)),
        ({"type": "enabled", "budget_tokens": 9}, None, (None, 9)),
        ({"type": "disabled"}, None, (None, 0)),
        (None, None, (None, None)),
    ],
)
def test_how_much_to_think(thinking: Any, config: Any, expected: Any):
    asked = read_messages(body(thinking=thinking, output_config=config))
    assert (asked.params.reasoning_effort, asked.params.thinking_budget) == expected
    assert asked.unknown_fields == {}


def test_the_older_output_format_is_the_same():
    wanted = FORM
    assert read(output_format=wanted).response_format == read(output_config={"format": wanted}).response_format


def test_how_finely_input_is_streamed_makes_a_function_no_tool_of_the_hosts():
    """Coding agents say it of all their tools, whichever host they ask."""
    (tool,) = read(tools=[{"name": "f", "input_schema": SCHEMA, "eager_input_streaming": True}]).tools or ()
    assert tool == {"type": "function", "function": {"name": "f", "parameters": SCHEMA}}


# -- what cannot be understood -----------------------------------------------------------------------------------------

WRONG: List[Any] = [
    (None, None),
    ([], None),
    ({}, "model"),
    ({"model": "m", "max_tokens": 1}, "messages"),
    ({"model": "m", "messages": [HI]}, "max_tokens"),
    (body(max_tokens="1"), "max_tokens"),
    (body(max_tokens=True), "max_tokens"),
    (body(stream="yes"), "stream"),
    (body(temperature="hot"), "temperature"),
    (body(stop_sequences=[1]), "stop_sequences"),
    (body("Hi"), "messages[0]"),
    (body({"role": "tool", "content": "x"}), "messages[0].role"),
    (body({"role": "user"}), "messages[0].content"),
    (body({"role": "user", "content": ["x"]}), "messages[0].content[0]"),
    (body({"role": "user", "content": [{"text": "x"}]}), "messages[0].content[0].type"),
    (body({"role": "user", "content": [{"type": "text"}]}), "messages[0].content[0].text"),
    (body({"role": "user", "content": [{"type": "image", "source": {"type": "base64"}}]}), "image.source.media_type"),
    (body(HI, answer({"type": "tool_use", "id": "a", "name": "f", "input": "{}"})), "messages[1].content[0].input"),
    (body(HI, answer({"type": "thinking", "signature": "s"})), "messages[1].content[0].thinking"),
    (body(tools=[{"name": "f"}]), "tools[0].input_schema"),
    (body(tool_choice={"type": "most"}), "tool_choice.type"),
    (body(tool_choice={"type": "tool"}), "tool_choice.name"),
    (body(thinking={"type": "enabled"}), "thinking.budget_tokens"),
    (body(output_config={"format": {"type": "grammar"}}), "output_config.format.type"),
    (body(metadata={"user_id": 5}), "metadata.user_id"),
]


@pytest.mark.parametrize(("said", "param"), WRONG, ids=lambda value: str(value)[:60])
def test_what_is_wrong_is_named(said: Any, param: Any):
    with pytest.raises(InvalidRequestError) as caught:
        read_messages(said)
    assert (caught.value.status_code, caught.value.param) == (400, param)


FULL = body(
    HI,
    answer(
        {"type": "thinking", "thinking": "A", "signature": "a"},
        text("B", cache_control=CACHE, citations=[{"type": "x"}]),
        {"type": "server_tool_use", "id": "s", "name": "w", "input": {}},
        {**USE, "input": {"a": 1}, "extra_content": {"g": 1}, "cache_control": CACHE},
    ),
    {
        "role": "user",
        "content": [
            {**RESULT, "content": [text("x")], "is_error": True, "cache_control": CACHE},
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
            {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "é"}, "title": "T"},
        ],
    },
    system=[text("S", cache_control=CACHE)],
    tools=[{"type": "custom", "name": "f", "description": "d", "input_schema": SCHEMA, "cache_control": CACHE}, SEARCH],
    tool_choice={"type": "tool", "name": "f", "disable_parallel_tool_use": True},
    thinking={"type": "adaptive", "display": "summarized"},
    output_config={"effort": "low", "format": FORM},
    metadata={"user_id": "u"},
    stop_sequences=["a"],
    top_k=3,
    stream=True,
)


def refused(said: Any) -> Any:
    """The status it is refused with; None if it is read."""
    try:
        read_messages(said)
    except InvalidRequestError as exc:
        return exc.status_code
    return None


def places(value: Any) -> List[Any]:
    """The way to every value in it."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [[key, *way] for key, item in inner for way in ([], *places(item))]


def replaced(value: Any, way: Any, by: Any) -> Any:
    if not way:
        return by
    copy: Any = dict(value) if isinstance(value, dict) else list(value)
    copy[way[0]] = replaced(value[way[0]], way[1:], by)
    return copy


@pytest.mark.parametrize("by", [None, True, 0, 1.5, "x", "", [], [None], ["x"], [[]], {}, {"type": "x"}, {"type": {}}])
def test_a_wrong_type_anywhere_is_an_error_of_the_request(by: Any):
    """Or it is read: never another exception."""
    assert read_messages(FULL)
    ways = places(FULL)
    assert len(ways) > 100
    for way in ways:
        assert refused(replaced(FULL, way, by)) in (None, 400), way


def test_what_is_nested_too_deeply_is_an_error_of_the_request():
    deep: Any = {}
    for _ in range(5000):
        deep = {"a": deep}
    with pytest.raises(InvalidRequestError):
        read_messages(body(HI, answer({"type": "tool_use", "id": "a", "name": "f", "input": deep})))


KEYS = st.sampled_from(
    (
        *("model", "max_tokens", "messages", "role", "content", "type", "text", "source", "id", "name", "input"),
        *("tool_use_id", "signature", "data", "tools", "input_schema", "system", "url", "is_error", "thinking", "x"),
    )
)
WORDS = st.sampled_from(("user", "assistant", "text", "image", "tool_use", "tool_result", "thinking", "base64", ""))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | WORDS | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=20,
)


@settings(max_examples=150, deadline=None)
@given(said=JSON, messages=JSON, system=JSON, tools=JSON)
def test_random_json_is_read_or_an_error_of_the_request(said: Any, messages: Any, system: Any, tools: Any):
    whole = {"model": "m", "max_tokens": 1, "messages": messages, "system": system, "tools": tools}
    for request in (said, whole, {**whole, "messages": [{"role": "assistant", "content": messages}, HI]}):
        assert refused(request) in (None, 400)


# -- the official client -----------------------------------------------------------------------------------------------


@pytest.mark.long
def test_what_the_official_client_sends_is_read_and_sent_again():
    """A conversation with the client's own classes in it, as its users send answers back."""
    anthropic = pytest.importorskip("anthropic")
    seen: List[Any] = []
    use = {**USE, "extra_content": {"g": 1}}
    content = [THOUGHT, text("B"), {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}, use]
    reply = {"id": "i", "type": "message", "role": "assistant", "model": "m", "content": content}
    reply = {**reply, "stop_reason": "tool_use", "usage": {"input_tokens": 1, "output_tokens": 1}}
    asked: Any = {"model": "m", "max_tokens": 50, "tools": [{"name": "f", "input_schema": SCHEMA}]}
    with (
        keeping(seen, json.dumps(reply).encode()) as url,
        anthropic.Anthropic(base_url=url, api_key="none", max_retries=0) as client,
    ):
        first = client.messages.create(messages=[HI], **asked)
        turns = [HI, {"role": "assistant", "content": first.content}, {"role": "user", "content": [RESULT]}]
        client.messages.create(messages=turns, system="S", **asked)
    (call,) = read_messages(seen[1]).params.messages[2].tool_calls
    assert (call.id, call.extra_content) == ("t", {"g": 1})
    del seen[1]["messages"][1]["content"][3]["extra_content"]  # no host of Anthropic's wants it
    assert again(seen[1]) == seen[1]


def keeping(seen: List[Any], answer: bytes) -> Any:
    """The URL of a server that keeps what it is asked, and always gives the same answer."""

    def keep(_: str, body: bytes) -> bytes:
        seen.append(json.loads(body))
        return answer

    return answering(keep, content_type="application/json")
