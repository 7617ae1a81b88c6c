"""Requests in OpenAI's chat completions, read: what test_conformance_servers.py does not try for every format."""

from __future__ import annotations

import json
from typing import Any

import pytest

from anyllm.types import CompletionParams, FunctionCall, Message, ToolCall
from anyllm.wire.openai_chat.dialect import OpenAIChatDialect as Dialect
from anyllm.wire.openai_chat.server.request_reader import read_chat
from anyllm.wire.openai_chat.server.writer import OpenAIChat


@pytest.mark.parametrize(
    ("fields", "include_usage"),
    [
        ({}, True),
        ({"stream": True}, False),
        ({"stream": True, "stream_options": {"include_usage": False}}, False),
        ({"stream": True, "stream_options": {"include_usage": True}}, True),
    ],
)
def test_usage_is_written_where_it_was_asked_for_and_in_whole_answers(fields: Any, include_usage: bool):
    request = read_chat({"model": "m", "messages": [{"role": "user", "content": "Hi"}], **fields})
    assert request.format == OpenAIChat(include_usage=include_usage, model="m")


def test_what_is_older_or_rarer_is_read_as_it_was_written():
    """The form before tools, a custom tool's free text, and a sound that the provider has."""
    turns = [
        Message.assistant(tool_calls=[ToolCall(None, FunctionCall("f", "{}"))]),
        Message("function", "7", name="f"),
        Message.assistant(tool_calls=[ToolCall("c", FunctionCall("sql", "select"), "custom")]),
        Message.tool("7", "c"),
        Message.assistant(refusal="No.", audio={"id": "audio_1"}),
    ]
    params = CompletionParams("m", turns)
    assert read_chat(json.loads(Dialect().request(params, model="m", stream=False).body)).params == params
