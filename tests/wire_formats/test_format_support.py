"""What each provider says of itself is what its requests do; and structured output for hosts that have none."""

from __future__ import annotations

import json
from typing import Any, Dict, List

import attrs
import pytest

import anyllm
from anyllm.errors import InvalidRequestError, UnsupportedParameterError
from anyllm.providers.table import lookup
from anyllm.providers.table.row import Row
from anyllm.testing import Reply, chat_events, serve
from anyllm.types import CompletionParams, ContentPart, Message
from anyllm.wire._base.protocols import Dialect

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
FORMATS: Dict[str, Any] = {
    "json_object": {"type": "json_object"},
    "json_schema": {"type": "json_schema", "json_schema": {"name": "place", "schema": SCHEMA}},
}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
#: A value for each parameter that hosts may have no words for, which does ask for something.
ASKS: Dict[str, Any] = {
    "temperature": 0.5,
    "top_p": 0.5,
    "max_tokens": 5000,
    "stop": ["END"],
    "n": 2,
    "seed": 1,
    "user": "u",
    "tools": [TOOL],
    "parallel_tool_calls": False,
    "logprobs": True,
    "top_logprobs": 2,
    "thinking_budget": 2000,
    "stream_options": {"of_its_own": True},
}
#: Values with which the same parameters ask for what is so anyway.
ASKS_NOTHING: Dict[str, Any] = {"n": 1, "logprobs": False, "top_logprobs": 0, "parallel_tool_calls": True}
MEDIA = {
    "image": ContentPart.from_image(b"\x89PNG\r\n\x1a\n"),
    "file": ContentPart.from_file(b"%PDF-1.4", filename="a.pdf"),
    "audio": ContentPart.from_audio(b"RIFF\0\0\0\0WAVEfmt "),
}
#: Refused but for some values: some providers can turn reasoning off, but not limit it.
IN_PART = {("hunyuan", "thinking_budget"), ("ollama", "thinking_budget"), ("ollama_cloud", "thinking_budget")}
#: All but the one whose format depends on the model; its formats are other rows' too.
ROWS = [row for row in lookup.ROWS if row.name != "bedrock_invoke"]
EVERY_ROW = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)


def request(dialect: Dialect, content: Any = "Hi", **fields: Any) -> Any:
    """The body's JSON; the model is one that its host has, if any must be."""
    model = "us.anthropic.claude-haiku-4-5" if "bedrock" in type(dialect).__module__ else "m"
    params = CompletionParams(model, [Message.user(content)], **fields)
    return json.loads(dialect.request(params, model=model, stream=True).body)


def switches_reasoning_only(row: Row) -> bool:
    """Whether the host's words for reasoning turn it off, and do not limit it."""
    dialect: Any = row.dialect
    return getattr(dialect, "no_thinking", None) is not None and dialect.thinking_budget_key is None


@EVERY_ROW
def test_what_is_refused_raises_and_what_is_not_is_sent(row: Row) -> None:
    support = row.dialect.support
    assert set(support.refused) <= set(ASKS)
    for name, value in ASKS.items():
        more = {"logprobs": True} if name == "top_logprobs" and "logprobs" not in support.refused else {}
        more.update({"tools": [TOOL]} if name == "parallel_tool_calls" else {})
        if name in support.refused:
            with pytest.raises(UnsupportedParameterError) as caught:
                request(row.dialect, **{**more, name: value})
            assert (caught.value.param, caught.value.provider) == (name, row.dialect.provider)
        elif (row.name, name) not in IN_PART and not (name == "thinking_budget" and switches_reasoning_only(row)):
            assert request(row.dialect, **more, **{name: value}) != request(row.dialect, **more), name


@EVERY_ROW
def test_what_asks_for_nothing_is_no_matter(row: Row) -> None:
    for name, value in ASKS_NOTHING.items():
        request(row.dialect, **{name: value})
    request(row.dialect, stream_options={"include_usage": True})


@EVERY_ROW
def test_what_a_message_may_show_is_sent_and_the_rest_refused(row: Row) -> None:
    for kind, part in MEDIA.items():
        if kind in row.dialect.support.media:
            assert request(row.dialect, ["Look", part]) != request(row.dialect, ["Look"])
        else:
            with pytest.raises(UnsupportedParameterError) as caught:
                request(row.dialect, ["Look", part])
            assert (caught.value.param, caught.value.provider) == (part.type, row.dialect.provider)


@EVERY_ROW
@pytest.mark.parametrize("kind", FORMATS)
def test_a_format_is_the_hosts_own_or_refused_or_asked_for_in_words(row: Row, kind: str) -> None:
    plain = request(row.dialect)
    if kind in row.dialect.support.formats:
        native = request(row.dialect, response_format=FORMATS[kind])
        assert native != plain
        assert request(row.dialect, response_format=FORMATS[kind], structured="native") == native
        assert request(row.dialect, response_format=FORMATS[kind], structured="emulate") == native
        return
    with pytest.raises(UnsupportedParameterError, match=r"structured='emulate'") as caught:
        request(row.dialect, response_format=FORMATS[kind])
    assert caught.value.param == "response_format"
    body = json.dumps(request(row.dialect, response_format=FORMATS[kind], structured="emulate"))
    assert "one JSON object" in body
    assert ("city" in body) == (kind == "json_schema")


@pytest.mark.parametrize("structured", ["emulated", ""])
def test_another_word_for_structured_is_refused(structured: str) -> None:
    with pytest.raises(UnsupportedParameterError, match="native, emulate") as caught:
        request(ROWS[0].dialect, structured=structured)
    assert caught.value.param == "structured"


def test_a_schema_is_asked_for_beside_a_format_that_the_host_keeps_to() -> None:
    """DeepSeek writes JSON when told to, and knows no schemas."""
    row = lookup.find("deepseek")
    assert row is not None
    sent = request(row.dialect, response_format=FORMATS["json_schema"], structured="emulate")
    assert sent["response_format"] == {"type": "json_object"}
    assert sent["messages"][0]["role"] == "system"
    assert json.dumps(SCHEMA, separators=(",", ":")) in sent["messages"][0]["content"]


def test_the_words_stand_behind_what_else_the_model_is_told_first() -> None:
    row = lookup.find("deepseek")
    assert row is not None
    roles: List[str] = ["system", "developer", "user", "assistant", "system", "user"]
    params = CompletionParams(
        "m",
        [Message(role, role) for role in roles],
        response_format=FORMATS["json_schema"],
        structured="emulate",
    )
    sent = json.loads(row.dialect.request(params, model="m", stream=False).body)["messages"]
    assert [message["role"] for message in sent] == [*roles[:2], "system", *roles[2:]]
    assert [message.role for message in params.messages] == roles  # the caller's own are not touched


@pytest.mark.parametrize("wrong", [{"type": "json_schema"}, {"type": "json_schema", "json_schema": {}}])
def test_a_format_in_nobodys_shape_is_an_error_where_it_is_translated(wrong: Any) -> None:
    for row in ROWS:
        if row.dialect.support.formats_of_its_own and "json_schema" in row.dialect.support.formats:
            assert (
                request(row.dialect, response_format=wrong)["response_format"] == wrong
            )  # the host says what is wrong
        else:
            with pytest.raises(InvalidRequestError):
                request(row.dialect, response_format=wrong, structured="emulate")


def test_a_format_that_only_some_hosts_know_goes_as_it_is() -> None:
    """Perplexity's, vLLM's and others'."""
    regex = {"type": "regex", "regex": {"regex": "[0-9]+"}}
    for name in ("perplexity", "deepseek", "vllm"):
        row = lookup.find(name)
        assert row is not None
        assert request(row.dialect, response_format=regex)["response_format"] == regex


def test_a_provider_says_what_its_format_takes() -> None:
    host = anyllm.provider("anthropic", api_key="key")
    assert host.capabilities.formats == ("json_schema",)
    assert host.capabilities.media == ("image", "file")
    assert "seed" in host.capabilities.refused
    assert host.capabilities.tools
    assert attrs.asdict(host.capabilities)["list_models"] is True
    host.close()


def test_a_format_is_emulated_end_to_end() -> None:
    with serve(Reply.sse(chat_events(['{"city": ', '"Paris"}']))) as server:
        host = anyllm.provider("deepseek", api_key="key", base_url=server.url)
        params = {"model": "m", "messages": [{"role": "user", "content": "Where is the Louvre?"}]}
        fields = {**params, "response_format": FORMATS["json_schema"], "structured": "emulate"}
        assert host.completion_stream(anyllm.Context(timeout=30), fields).collect().content == '{"city": "Paris"}'
        assert b"valid under this JSON schema" in server.requests[0].body
        host.close()


def test_a_sound_goes_back_by_its_id_or_as_what_it_said() -> None:
    """The host that made it has it; no other does."""
    sound = {"id": "audio_1", "data": "AAAA", "transcript": "Hello."}
    messages = [Message.user("Hi"), Message.assistant(audio=sound), Message.user("And?")]
    for row in ROWS:
        model = "us.anthropic.claude" if row.name == "bedrock" else "m"
        sent = row.dialect.request(CompletionParams(model, messages), model=model, stream=False).body.decode()
        assert ("audio_1" in sent) == row.dialect.support.own_sounds
        assert ("Hello." in sent) != row.dialect.support.own_sounds
        assert "AAAA" not in sent
