"""
Each dialect against a server that others wrote, which speaks it and breaks it: llmock, in a process of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any, Iterator

import pytest
import requests
from recordings import IS_LONG, is_long

import anyllm
from anyllm import errors
from anyllm.errors import (
    AuthenticationError,
    ConnectionLostError,
    ContextLengthExceededError,
    IncompleteStreamError,
    InvalidRequestError,
    MalformedStreamError,
    OverloadedError,
    RateLimitError,
    ServerError,
    StreamTimeoutError,
)

pytestmark = pytest.mark.long
if not is_long():
    pytest.skip(IS_LONG, allow_module_level=True)
pytest.importorskip("llmock")

#: Prints where each API is, and ends when its standard input does.
SERVER = """
import json, sys
from llmock.testing import BASE_PATHS, LLMockServer
with LLMockServer() as server:
    print(json.dumps({**{name: server.base_url(name) for name in BASE_PATHS}, "": server.url}), flush=True)
    sys.stdin.read()
"""
#: Our providers, and llmock's names of their APIs.
PROVIDERS = {
    "openai": "openai",
    "openai-responses": "openai",
    "anthropic": "anthropic",
    "gemini": "gemini",
    "cohere": "cohere",
    "mistral": "mistral",
    "groq": "groq",
}
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
ONCE = anyllm.StreamingOptions(retry=anyllm.Retry(attempts=1))
TIMEOUT = 30
TEXT = "one two three four five six"


class Mock:
    """The server, as a test sees it."""

    def __init__(self, urls: dict[str, str]) -> None:
        self.urls = urls

    def will(self, *behaviours: dict[str, Any]) -> None:
        """The faults of the next requests."""
        answer = requests.post(f"{self.urls['']}/_llmock/scenario", json={"behaviors": behaviours}, timeout=TIMEOUT)
        assert answer.status_code == 201, answer.text

    def reset(self) -> None:
        requests.post(f"{self.urls['']}/_llmock/reset", timeout=TIMEOUT).raise_for_status()


@pytest.fixture(scope="module")
def mock() -> Iterator[Mock]:
    with subprocess.Popen([sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield Mock(json.loads(process.stdout.readline()))
        process.communicate(timeout=TIMEOUT)


@pytest.fixture(params=PROVIDERS)
def host(request: pytest.FixtureRequest, mock: Mock) -> Iterator[anyllm.Provider]:
    mock.reset()
    name = request.param
    host = anyllm.provider(name, api_key="key", base_url=mock.urls[PROVIDERS[name]], options=ONCE)
    yield host
    host.close()


def reply(text: str, **more: Any) -> dict[str, Any]:
    return {"type": "reply", "text": text, **more}


def ask(host: anyllm.Provider, **more: Any) -> anyllm.Stream:
    messages = [{"role": "user", "content": "Hello"}]
    return host.completion_stream(anyllm.Context(timeout=TIMEOUT), {"model": "m", "messages": messages, **more})


def error_of(stream: anyllm.Stream) -> Any:
    with pytest.raises(anyllm.AnyLLMError) as caught:
        stream.collect()
    assert caught.value.provider
    return caught.value


def test_an_answer_is_streamed_to_its_end(host: anyllm.Provider, mock: Mock):
    mock.will(reply("Good morning, world.", times=2))
    streamed = ask(host).collect()
    assert streamed.content == "Good morning, world."
    assert streamed.finish_reason == "stop"
    # Mistral itself sends usage without being asked, and rejects the option; the mock needs the option.
    assert streamed.usage is not None or host.name == "mistral"
    params = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}
    whole = host.completion(anyllm.Context(timeout=TIMEOUT), params)
    assert (whole.content, whole.finish_reason) == (streamed.content, streamed.finish_reason)


def test_a_tool_is_called_and_answered(host: anyllm.Provider, mock: Mock):
    call = {"name": "get_weather", "arguments": {"city": "Paris"}}
    mock.will({"type": "reply", "tool_calls": [call]}, reply("Sunny."))
    answer = ask(host, tools=[WEATHER]).collect()
    (call,) = answer.tool_calls
    assert (call.name, call.parse()) == ("get_weather", {"city": "Paris"})
    assert answer.finish_reason == "tool_calls"
    messages = [anyllm.Message.user("Hello"), answer.to_message(), anyllm.Message.tool("18 degrees", call.id)]
    assert ask(host, tools=[WEATHER], messages=messages).collect().content == "Sunny."


@pytest.mark.parametrize("after", [1, 3])
@pytest.mark.parametrize(
    ("kind", "error_class"),
    [
        ("disconnect", ConnectionLostError),
        ("truncate", IncompleteStreamError),
        ("malformed", MalformedStreamError),
    ],
)
def test_a_broken_stream_is_a_typed_error(host: anyllm.Provider, mock: Mock, kind: str, error_class: type, after: int):
    mock.will(reply(TEXT), {"type": "stream_fault", "kind": kind, "after_chunks": after})
    error = error_of(ask(host))
    assert type(error) is error_class
    partial = error.partial.content if error.partial else ""
    assert TEXT.startswith(partial)
    assert partial != TEXT


def test_a_stall_is_a_time_out(host: anyllm.Provider, mock: Mock):
    mock.will(reply(TEXT), {"type": "stream_fault", "kind": "stall", "after_chunks": 4, "stall_seconds": 5})
    options = ONCE.evolve(timeouts=anyllm.Timeouts(connect=10, first_content=0.5, idle=0.5))
    messages = [{"role": "user", "content": "Hello"}]
    stream = host.completion_stream(anyllm.Context(), {"model": "m", "messages": messages}, options=options)
    assert isinstance(error_of(stream), StreamTimeoutError)


@pytest.mark.parametrize(
    ("status", "code", "message", "error_class"),
    [
        (400, None, None, InvalidRequestError),
        (400, "context_length_exceeded", "maximum context length was exceeded", ContextLengthExceededError),
        (401, None, None, AuthenticationError),
        (429, None, None, RateLimitError),
        (500, None, None, ServerError),
        (503, None, None, OverloadedError),
        (529, None, None, OverloadedError),
    ],
)
def test_a_refusal_is_the_right_error(
    host: anyllm.Provider, mock: Mock, status: int, code: Any, message: Any, error_class: type
):
    retry_after = 7.0 if status == 429 else None
    mock.will({"type": "fail", "status": status, "retry_after": retry_after, "code": code, "message": message})
    error = error_of(ask(host))
    assert isinstance(error, error_class)
    assert isinstance(error, errors.APIError)
    assert error.status_code == status
    if retry_after:
        assert error.retry_after == retry_after


def test_a_refusal_before_the_answer_is_tried_again(host: anyllm.Provider, mock: Mock):
    mock.will({"type": "fail", "status": 503, "times": 2}, reply("There you are."))
    messages = [{"role": "user", "content": "Hello"}]
    stream = host.completion_stream(
        anyllm.Context(timeout=TIMEOUT), {"model": "m", "messages": messages}, options={"retry": {"backoff": 0.01}}
    )
    assert stream.collect().content == "There you are."
