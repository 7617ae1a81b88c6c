"""
Our providers against a server that others wrote, in another language: aimock, which speaks what llmock does not, cuts
emoji in two, and breaks off after any event.

ANYLLM_AIMOCK says where its executable is, node_modules/.bin/llmock of the npm package @copilotkit/aimock.

Strategy: one server for all tests. It is told at run time what to answer, and keeps what it was asked, read in its own
way, which shows that more than we understand our requests.

What it gets wrong, by recordings and documents of the real hosts, is left out or asserted as what it is:

- Ollama's reasoning comes as ``reasoning_content``, not ``thinking``; its answers always end with "stop", and no tokens
  are counted.
- Cohere's reasoning comes as text, and the plan before its calls only in streams.
- Responses that were cut end with ``response.completed``, not ``response.incomplete``, and do not say why.
- Gemini's calls end with FUNCTION_CALL, not STOP.
- The errors of Cohere and Ollama have OpenAI's shape, Bedrock's that of Anthropic without a header that names them.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, Iterator, Optional, Tuple

import pytest
import requests
from recordings import IS_LONG, is_long

import anyllm
from anyllm.errors import (
    APIError,
    AuthenticationError,
    ConnectionLostError,
    ContentFilterError,
    ContextLengthExceededError,
    IncompleteStreamError,
    InsufficientFundsError,
    InvalidRequestError,
    MalformedStreamError,
    ModelNotFoundError,
    NetworkError,
    OverloadedError,
    PermissionDeniedError,
    RateLimitError,
    ServerError,
    StreamTimeoutError,
)

pytestmark = pytest.mark.long
if not is_long():
    pytest.skip(IS_LONG, allow_module_level=True)
LLMOCK = os.environ.get("ANYLLM_AIMOCK", "")
if not LLMOCK:
    pytest.skip("ANYLLM_AIMOCK does not say where aimock's llmock is", allow_module_level=True)
if shutil.which("node") is None:
    pytest.skip("node, which aimock needs, is not installed", allow_module_level=True)
#: Bedrock needs botocore, which Python 3.9 cannot have with urllib3 2.
HAS_BOTOCORE = importlib.util.find_spec("botocore") is not None
#: Each provider, and where on the server its base URL is.
HOSTS = {
    "openai": "/v1",
    "openai-responses": "/v1",
    "azure": "",
    "openrouter": "/api/v1",
    "anthropic": "",
    "gemini": "",
    "vertex": "/v1/projects/p/locations/somewhere",
    "bedrock": "",
    "ollama": "",
    "cohere": "",
}
#: `HOSTS` without those that aimock serves differently from the provider; see above.
THINKING = [name for name in HOSTS if name not in ("ollama", "cohere")]
COUNTING = [name for name in HOSTS if name != "ollama"]
CUTTING = [name for name in HOSTS if name not in ("ollama", "openai-responses")]

KEYS = {"bedrock": "ID:SECRET"}
ONCE = anyllm.StreamingOptions(retry=anyllm.Retry(attempts=1))
QUICKLY = anyllm.StreamingOptions(retry=anyllm.Retry(backoff=0.001))
#: Seconds until a test fails instead of hanging.
TIMEOUT = 30
TEXT = "one two three four five six"
#: Characters of one and of two UTF-16 units, one of several characters, and some of more at either end.
EMOJI = "\U0001f600a\u00e9 b\U0001f469\u200d\U0001f680\u4e2d\U0001f1e9\U0001f1ea!\U0001f3c1"
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
CALLS = [
    {"name": "get_weather", "arguments": {"city": "Paris"}},
    {"name": "get_weather", "arguments": {"city": "S\u00e3o Paulo", "days": [1, 2.5], "if": {"dry": None}}},
]


class Mock:
    """The server, as a test sees it."""

    def __init__(self, url: str, session: requests.Session) -> None:
        self.url = url
        self._session = session

    def will(self, *fixtures: dict[str, Any]) -> None:
        """From now on, answer with the first of *fixtures* that matches, and forget all before."""
        self._control("reset")
        self._control("fixtures", {"fixtures": [{"match": {}, **fixture} for fixture in fixtures]})

    def fails_once(self, status: int) -> None:
        """Refuse one request, before those that are to be refused already."""
        self._control("error", {"status": status, "body": {"message": "Not now."}})

    def requests(self) -> list[dict[str, Any]]:
        """The requests since `will`, as the server read them: ``path``, ``headers``, ``body`` in OpenAI's words."""
        found: list[dict[str, Any]] = self._control("journal", method="GET")
        return found

    def _control(self, what: str, body: Optional[dict[str, Any]] = None, method: str = "POST") -> Any:
        answer = self._session.request(method, f"{self.url}/__aimock/{what}", json=body, timeout=TIMEOUT)
        assert answer.ok, answer.text
        return answer.json()


@pytest.fixture(scope="module")
def mock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mock]:
    place = tmp_path_factory.mktemp("aimock")
    fixtures, complaints = place / "fixtures.json", place / "complaints"
    fixtures.write_text('{"fixtures": []}')
    command = [LLMOCK, "-p", "0", "-h", "127.0.0.1", "-f", str(fixtures)]
    with contextlib.ExitStack() as stack:
        stderr = stack.enter_context(complaints.open("w"))
        process = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True))
        stack.callback(process.kill)
        session = stack.enter_context(requests.Session())
        yield Mock(address(process, complaints), session)


def address(process: subprocess.Popen[str], complaints: Path) -> str:
    assert process.stdout is not None
    for line in process.stdout:
        if "listening on" in line:
            return line.split()[-1]
    raise AssertionError(f"llmock did not start: {complaints.read_text()}")


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_VERSION", "AZURE_API_VERSION"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(params=HOSTS)
def host(request: pytest.FixtureRequest, mock: Mock) -> Iterator[anyllm.Provider]:
    with provider(request.param, mock) as host:
        yield host


@contextlib.contextmanager
def provider(name: str, mock: Mock, **more: Any) -> Iterator[anyllm.Provider]:
    if name == "bedrock" and not HAS_BOTOCORE:
        pytest.skip("botocore is not installed")
    settings = {"api_key": KEYS.get(name, "key"), "base_url": mock.url + HOSTS[name], "options": ONCE, **more}
    with contextlib.closing(anyllm.provider(name, **settings)) as host:
        yield host


def says(text: str, **more: Any) -> dict[str, Any]:
    return {"response": {"content": text, **more}}


def refuses(status: int, message: str, kind: Optional[str] = None, code: Optional[str] = None) -> dict[str, Any]:
    error = {key: value for key, value in (("message", message), ("type", kind), ("code", code)) if value}
    return {"response": {"error": error, "status": status, "retryAfter": 7}}


def asking(**more: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": "Hello"}], **more}


def stream(host: anyllm.Provider, *, options: Any = None, **more: Any) -> anyllm.Stream:
    return host.completion_stream(anyllm.Context(timeout=TIMEOUT), asking(**more), options=options)


def streamed(host: anyllm.Provider, **more: Any) -> anyllm.ChatCompletion:
    return stream(host, **more).collect()


def whole(host: anyllm.Provider, *, options: Any = None, **more: Any) -> anyllm.ChatCompletion:
    return host.completion(anyllm.Context(timeout=TIMEOUT), asking(**more), options=options)


def error_of(call: Any, host: anyllm.Provider, **more: Any) -> Any:
    with pytest.raises(anyllm.AnyLLMError) as caught:
        call(host, **more)
    assert caught.value.provider == host.name
    return caught.value


def calls_of(answer: anyllm.ChatCompletion) -> list[Tuple[str, Any]]:
    assert all(call.is_complete and call.id for call in answer.tool_calls)
    assert len({call.id for call in answer.tool_calls}) == len(answer.tool_calls)
    return [(call.name, call.parse()) for call in answer.tool_calls]


def summary(answer: anyllm.ChatCompletion) -> Tuple[Any, ...]:
    """The content of an answer, without its ids and times."""
    usage = answer.usage
    return (
        *(answer.content, answer.reasoning, answer.refusal, calls_of(answer), answer.finish_reason),
        *(answer.raw_finish_reason, answer.model, answer.provider),
        usage and (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens),
    )


# -- answers -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 20])
def test_an_answer_streamed_to_its_end_is_the_whole_answer(host: anyllm.Provider, mock: Mock, size: int):
    mock.will({**says(TEXT, usage={"prompt_tokens": 11, "completion_tokens": 7}), "chunkSize": size})
    answer = streamed(host)
    assert (answer.content, answer.finish_reason) == (TEXT, "stop")
    assert summary(answer) == summary(whole(host))
    assert answer.usage is not None
    assert answer.usage.source == "provider"
    if host.name in COUNTING:
        assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (11, 7)


def test_chunks_come_one_by_one(host: anyllm.Provider, mock: Mock):
    mock.will({**says(TEXT), "chunkSize": 4})
    chunks, errors = stream(host)
    texts = [chunk.content for chunk in chunks if chunk.content]
    assert errors.get() is None
    assert texts == [TEXT[at : at + 4] for at in range(0, len(TEXT), 4)]


@pytest.mark.parametrize("host", CUTTING, indirect=True)
def test_an_answer_that_was_too_long_says_so(host: anyllm.Provider, mock: Mock):
    mock.will(says("one two", finishReason="length"))
    answer = streamed(host)
    assert answer.finish_reason == "length"
    assert summary(answer) == summary(whole(host))


@pytest.mark.parametrize("host", CUTTING, indirect=True)
def test_an_unknown_finish_reason_stays_unknown(host: anyllm.Provider, mock: Mock):
    mock.will(says("one two", finishReason="brand_new"))
    answer = streamed(host)
    assert (answer.content, answer.finish_reason, answer.raw_finish_reason) == ("one two", "unknown", "brand_new")
    assert summary(answer) == summary(whole(host))


def test_an_end_without_a_reason_stays_unknown(mock: Mock):
    """Status "incomplete", and nothing that says why: no reason is made up for it."""
    mock.will(says("one two", finishReason="length"))
    with provider("openai-responses", mock) as host:
        answer = streamed(host)
        assert (answer.content, answer.finish_reason, answer.raw_finish_reason) == ("one two", "unknown", "incomplete")
        assert summary(answer) == summary(whole(host))


def test_a_failed_answer_is_an_error_even_without_error_details(mock: Mock):
    """Status "failed", at the end of a stream, and of a whole answer, that are otherwise good."""
    mock.will(says("one two", finishReason="content_filter"))
    with provider("openai-responses", mock) as host:
        error = error_of(streamed, host)
        assert (type(error), error.partial.content) == (APIError, "one two")
        assert type(error_of(whole, host)) is APIError


def test_server_side_searches_are_not_tool_calls(mock: Mock):
    mock.will({**says(TEXT, reasoning="Let me look.", webSearches=["numbers", "more"]), "chunkSize": 4})
    with provider("openai-responses", mock) as host:
        answer = streamed(host)
        assert (answer.content, answer.reasoning, answer.tool_calls) == (TEXT, "Let me look.", ())
        assert summary(answer) == summary(whole(host))
        messages = [anyllm.Message.user("Hello"), answer.to_message(), anyllm.Message.user("Go on")]
        assert streamed(host, messages=messages).content == TEXT


@pytest.mark.parametrize("host", THINKING, indirect=True)
def test_thoughts_come_beside_the_answer(host: anyllm.Provider, mock: Mock):
    mock.will({**says("Yes.", reasoning="Let me think about it."), "chunkSize": 3})
    answer = streamed(host)
    assert (answer.content, answer.reasoning) == ("Yes.", "Let me think about it.")
    assert summary(answer) == summary(whole(host))


def test_a_comment_that_proves_life_is_no_answer(mock: Mock):
    mock.will({**says(TEXT), "openRouterProcessing": True})
    with provider("openrouter", mock) as host:
        chunks, errors = stream(host)
        assert "".join(chunk.content for chunk in chunks) == TEXT
        assert errors.get() is None


def test_streams_side_by_side_do_not_mix(mock: Mock):
    with contextlib.ExitStack() as stack:
        hosts = [stack.enter_context(provider(name, mock)) for name in HOSTS if name != "bedrock" or HAS_BOTOCORE]
        texts = [f"I am {host.name}." for host in hosts]
        mock.will(*({**says(f"{TEXT}. {one}"), "match": {"userMessage": one}, "latency": 1} for one in texts))
        streams = [stream(host, messages=[anyllm.Message.user(one)]) for host, one in zip(hosts, texts)]
        assert [each.collect().content for each in streams] == [f"{TEXT}. {one}" for one in texts]


# -- characters cut in two ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 3])
def test_emoji_that_were_cut_in_two_arrive_whole(host: anyllm.Provider, mock: Mock, size: int):
    mock.will({**says(EMOJI), "chunkSize": size})
    chunks, errors = stream(host)
    texts = [chunk.content for chunk in chunks]
    assert errors.get() is None
    assert "".join(texts) == EMOJI
    assert "".join(texts).encode() == EMOJI.encode()
    assert whole(host).content == EMOJI


@pytest.mark.parametrize("host", THINKING, indirect=True)
def test_emoji_in_thoughts_arrive_whole(host: anyllm.Provider, mock: Mock):
    mock.will({**says(EMOJI, reasoning=EMOJI), "chunkSize": 1})
    answer = streamed(host)
    assert (answer.reasoning, answer.content) == (EMOJI, EMOJI)
    assert summary(answer) == summary(whole(host))


def test_emoji_in_arguments_arrive_whole(host: anyllm.Provider, mock: Mock):
    call = {"name": "get_weather", "arguments": {"city": EMOJI}}
    mock.will({"response": {"toolCalls": [call, call]}, "chunkSize": 1})
    answer = streamed(host, tools=[WEATHER])
    assert calls_of(answer) == [("get_weather", {"city": EMOJI})] * 2


# -- tools -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", ["", "Let me see."])
@pytest.mark.parametrize("size", [1, 20])
def test_tools_are_called_and_answered(host: anyllm.Provider, mock: Mock, content: str, size: int):
    first = {"content": content, "toolCalls": CALLS} if content else {"toolCalls": CALLS}
    mock.will(
        {"match": {"hasToolResult": False}, "response": first, "chunkSize": size},
        {"match": {"toolResultContains": "degrees"}, **says("Both are warm.")},
    )
    answer = streamed(host, tools=[WEATHER])
    assert (answer.content, answer.finish_reason) == (content, "tool_calls")
    assert calls_of(answer) == [(call["name"], call["arguments"]) for call in CALLS]
    at_once = whole(host, tools=[WEATHER])
    assert (at_once.content, at_once.finish_reason) == (content, "tool_calls")
    assert calls_of(at_once) == calls_of(answer)
    for turn in (answer, at_once):
        results = [anyllm.Message.tool(f"{30 + at} degrees", call.id) for at, call in enumerate(turn.tool_calls)]
        messages = [anyllm.Message.user("Hello"), turn.to_message(), *results]
        assert streamed(host, tools=[WEATHER], messages=messages).content == "Both are warm."


def test_a_call_may_come_before_the_text(host: anyllm.Provider, mock: Mock):
    blocks = [{"type": "toolCall", **CALLS[0]}, {"type": "text", "text": "One."}, {"type": "toolCall", **CALLS[1]}]
    mock.will({"response": {"blocks": blocks}, "chunkSize": 2})
    for answer in (streamed(host, tools=[WEATHER]), whole(host, tools=[WEATHER])):
        assert (answer.content, answer.finish_reason) == ("One.", "tool_calls")
        assert calls_of(answer) == [(call["name"], call["arguments"]) for call in CALLS]


def test_a_conversation_is_understood(host: anyllm.Provider, mock: Mock):
    """The request as the server read it: each role and text, the call, its result, and the numbers."""
    function = {"name": "get_weather", "arguments": '{"city":"Paris"}'}
    call = {"id": "call_1", "type": "function", "function": function}
    messages = [
        anyllm.Message.system("Be brief."),
        anyllm.Message.user(f"Hello {EMOJI}"),
        anyllm.Message(role="assistant", content="Let me see.", tool_calls=[call]),
        anyllm.Message.tool("18 degrees", "call_1"),
    ]
    mock.will(says("Warm."))
    more = {"messages": messages, "tools": [WEATHER], "temperature": 0.5, "max_tokens": 100}
    streamed(host, **more)
    whole(host, **more)
    in_pieces, at_once = (request["body"] for request in mock.requests())
    assert in_pieces["stream"] is True
    assert not at_once.get("stream")
    assert in_pieces["messages"] == at_once["messages"]
    read = in_pieces["messages"]
    assert read[:2] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": f"Hello {EMOJI}"},
    ]
    *assistant, result = read[2:]
    assert "".join(turn["content"] or "" for turn in assistant) == "Let me see."
    (call,) = (call for turn in assistant for call in turn.get("tool_calls", ()))
    assert call["function"] == function
    assert result["role"] == "tool"
    assert "18 degrees" in result["content"]
    assert result.get("tool_call_id") in (call["id"], None)  # Ollama's have none
    (tool,) = in_pieces["tools"]
    assert tool["function"]["name"] == "get_weather"
    # Gemini's schema comes as parametersJsonSchema, which is newer than the field that the server reads.
    assert tool["function"].get("parameters") in (WEATHER["function"]["parameters"], None)
    assert in_pieces["temperature"] == 0.5
    assert 100 in (in_pieces.get("max_tokens"), in_pieces.get("max_completion_tokens"))


SIGNED = [
    {"reasoning": "Which city?", "reasoningSignature": "c2lnbmVk"},
    {"redactedThinking": ["aGlkZGVu", "bW9yZQ=="]},
    {"reasoning": "Which city?", "reasoningSignature": "c2lnbmVk", "redactedThinking": ["aGlkZGVu"]},
]


@pytest.mark.parametrize("thought", SIGNED)
@pytest.mark.parametrize("call", [streamed, whole])
def test_signed_thoughts_go_back_with_the_calls_they_led_to(mock: Mock, thought: dict[str, Any], call: Any):
    """A strict server rejects a second turn without them, as Anthropic does with thinking."""
    mock.will(
        {"match": {"hasToolResult": False}, "response": {"toolCalls": CALLS[:1], **thought}, "chunkSize": 3},
        {"match": {"hasToolResult": True}, **says("Warm.")},
    )
    more = {"tools": [WEATHER], "reasoning_effort": "low", "extra_headers": {"X-AIMock-Strict": "true"}}
    with provider("anthropic", mock) as host:
        answer = call(host, **more)
        assert answer.reasoning == thought.get("reasoning", "")
        turn, result = answer.to_message(), anyllm.Message.tool("18 degrees", answer.tool_calls[0].id)
        back = [anyllm.Message.user("Hello"), turn, result]
        assert streamed(host, messages=back, **more).content == "Warm."
        forgetful = anyllm.Message(role="assistant", tool_calls=turn.tool_calls)
        error = error_of(streamed, host, messages=[back[0], forgetful, result], **more)
        assert type(error) is InvalidRequestError


# -- answers that break off --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("calls", [[], CALLS])
def test_an_answer_cut_after_any_event_is_an_error_with_what_came(
    host: anyllm.Provider, mock: Mock, calls: list[dict[str, Any]]
):
    """The connection is lost in the middle of the event that is counted last. Without a latency all would be lost."""
    response = {"content": TEXT, "reasoning": "Let me count."}
    if calls:
        response["toolCalls"] = calls
    mock.will({"response": response, "chunkSize": 9, "latency": 1})
    complete = streamed(host)
    texts, counts = [], []
    for events in range(1, 100):
        mock.will({"response": response, "chunkSize": 9, "latency": 1, "truncateAfterChunks": events})
        cut = stream(host)
        list(cut.chunks)
        error = cut.errors.get()
        if error is None:
            break
        if events == 1:
            assert (type(error), error.partial) == (NetworkError, None)  # not even the headers came
            continue
        assert type(error) is ConnectionLostError
        assert error.partial is not None
        texts.append(error.partial.content)
        counts.append(len(error.partial.tool_calls))
        assert complete.reasoning.startswith(error.partial.reasoning)
        for begun, whole_call in zip(error.partial.tool_calls, complete.tool_calls):
            assert begun.name == whole_call.name
            assert whole_call.function.arguments.startswith(begun.function.arguments)
    # Events after the end, such as usage, may be lost without making the answer incomplete.
    assert summary(cut.collect())[:8] == summary(complete)[:8]
    assert len(texts) >= 3
    assert texts == sorted(texts, key=len)
    assert all(complete.content.startswith(text) for text in texts)
    assert counts == sorted(counts)
    assert texts[0] != complete.content
    if not calls and host.name not in ("gemini", "vertex"):  # the last text has the finish reason
        assert texts[-1] == complete.content


def test_a_connection_that_is_lost_in_time_is_an_error_with_what_came(host: anyllm.Provider, mock: Mock):
    mock.will({**says(TEXT * 5), "chunkSize": 1, "latency": 20, "disconnectAfterMs": 150})
    error = error_of(streamed, host)
    assert isinstance(error, (IncompleteStreamError, NetworkError))
    partial = error.partial.content if error.partial else ""
    assert (TEXT * 5).startswith(partial)
    assert partial != TEXT * 5


@pytest.mark.parametrize("call", [streamed, whole])
def test_a_connection_that_is_lost_before_the_answer_is_a_network_error(host: anyllm.Provider, mock: Mock, call: Any):
    mock.will({**says(TEXT), "chaos": {"disconnectRate": 1}})
    error = error_of(call, host)
    assert type(error) is NetworkError
    assert error.is_retryable
    assert error.partial is None


def test_an_answer_that_is_no_json_is_malformed(host: anyllm.Provider, mock: Mock):
    mock.will({**says(TEXT), "chaos": {"malformedRate": 1}})
    error = error_of(whole, host)
    assert type(error) is MalformedStreamError
    assert "chaos" in str(error)


def test_a_stream_of_an_object_that_never_closes_is_incomplete(host: anyllm.Provider, mock: Mock):
    """A status of 200, a JSON content type, a clean end, and a body that is not JSON."""
    mock.will({**says(TEXT), "chaos": {"malformedRate": 1}})
    error = error_of(streamed, host)
    assert type(error) is IncompleteStreamError
    assert error.partial is None


@pytest.mark.parametrize(
    ("fault", "clock"),
    [({"chaos": {"latencyMs": 5000}}, "first_content"), ({"streamingProfile": {"ttft": 0, "tps": 0.2}}, None)],
)
def test_a_stall_is_a_time_out(host: anyllm.Provider, mock: Mock, fault: dict[str, Any], clock: Optional[str]):
    """Before the headers; and after the first event, which in some formats is no content yet."""
    mock.will({**says(TEXT), "chunkSize": 4, **fault})
    options = ONCE.evolve(timeouts=anyllm.Timeouts(connect=10, first_content=0.3, idle=0.3))
    error = error_of(streamed, host, options=options)
    assert isinstance(error, StreamTimeoutError)
    has_begun = bool(error.partial and error.partial.content)
    assert error.clock == (clock or ("idle" if has_begun else "first_content"))
    if has_begun:
        assert error.partial.content == TEXT[:4]


def test_a_stalled_stream_can_be_cancelled(host: anyllm.Provider, mock: Mock):
    mock.will({**says(TEXT), "chunkSize": 4, "streamingProfile": {"ttft": 0, "tps": 0.2}})
    ctx = anyllm.Context()
    chunks, errors = host.completion_stream(ctx, asking())
    chunk = chunks.get(timeout=TIMEOUT) if host.name in ("gemini", "vertex", "ollama") else None
    ctx.cancel()
    error = errors.get(timeout=TIMEOUT)
    assert isinstance(error, anyllm.Cancelled)
    assert chunk is None or chunk.content == TEXT[:4]


# -- refusals ----------------------------------------------------------------------------------------------------------

OPENAI = ("openai", "openai-responses", "azure")
GOOGLE = ("gemini", "vertex")
#: Provider, status, type, code and message, as the providers send them; and our error class.
REFUSALS: list[Tuple[Tuple[str, ...], int, Optional[str], Optional[str], str, type[APIError]]] = [
    (OPENAI, 400, "invalid_request_error", None, "Invalid value for 'n'.", InvalidRequestError),
    (
        *(OPENAI, 400, "invalid_request_error", "context_length_exceeded"),
        *("This model's maximum context length is 8192 tokens.", ContextLengthExceededError),
    ),
    (
        *(("azure",), 400, None, "content_filter"),
        *("The response was filtered due to the prompt triggering the content policy.", ContentFilterError),
    ),
    (OPENAI, 401, "invalid_request_error", "invalid_api_key", "Incorrect API key provided.", AuthenticationError),
    (OPENAI, 403, None, "unsupported_country_region_territory", "Not from there.", PermissionDeniedError),
    (OPENAI, 404, "invalid_request_error", "model_not_found", "The model does not exist.", ModelNotFoundError),
    (("azure",), 404, None, "DeploymentNotFound", "The API deployment does not exist.", ModelNotFoundError),
    (OPENAI, 429, "requests", "rate_limit_exceeded", "Rate limit reached.", RateLimitError),
    (OPENAI, 429, "insufficient_quota", "insufficient_quota", "You have no more of it.", InsufficientFundsError),
    (OPENAI, 500, "server_error", None, "The server had an error.", ServerError),
    (OPENAI, 503, "server_error", None, "That model is currently loading.", OverloadedError),
    (("openrouter",), 402, None, None, "Insufficient credits", InsufficientFundsError),
    (("openrouter",), 404, None, None, "No endpoints found for m.", ModelNotFoundError),
    (("openrouter",), 429, None, None, "Provider returned error", RateLimitError),
    (("openrouter",), 502, None, None, "Provider returned error", ServerError),
    (("anthropic",), 400, "invalid_request_error", None, "max_tokens: Field required", InvalidRequestError),
    (
        *(("anthropic",), 400, "invalid_request_error", None),
        *("prompt is too long: 210000 tokens > 200000 maximum", ContextLengthExceededError),
    ),
    (("anthropic",), 401, "authentication_error", None, "invalid x-api-key", AuthenticationError),
    (("anthropic",), 403, "permission_error", None, "Your key may not do that.", PermissionDeniedError),
    (("anthropic",), 404, "not_found_error", None, "model: m", ModelNotFoundError),
    (("anthropic",), 413, "request_too_large", None, "Request exceeds the maximum size", InvalidRequestError),
    (("anthropic",), 429, "rate_limit_error", None, "This would exceed your limit.", RateLimitError),
    (("anthropic",), 500, "api_error", None, "Internal server error", ServerError),
    (("anthropic",), 529, "overloaded_error", None, "Overloaded", OverloadedError),
    (GOOGLE, 400, "INVALID_ARGUMENT", None, "Invalid value at 'contents'.", InvalidRequestError),
    (GOOGLE, 400, "INVALID_ARGUMENT", None, "API key not valid. Please pass one.", AuthenticationError),
    (
        *(GOOGLE, 400, "INVALID_ARGUMENT", None),
        *("The input token count (2) exceeds the maximum number of tokens allowed (1).", ContextLengthExceededError),
    ),
    (GOOGLE, 401, "UNAUTHENTICATED", None, "Request had invalid credentials.", AuthenticationError),
    (GOOGLE, 403, "PERMISSION_DENIED", None, "You may not do that.", PermissionDeniedError),
    (GOOGLE, 404, "NOT_FOUND", None, "models/m is not found for API version v1beta", ModelNotFoundError),
    (GOOGLE, 429, "RESOURCE_EXHAUSTED", None, "Resource has been exhausted.", RateLimitError),
    (GOOGLE, 500, "INTERNAL", None, "An internal error has occurred.", ServerError),
    (GOOGLE, 503, "UNAVAILABLE", None, "The model is overloaded.", OverloadedError),
    (("bedrock",), 400, "ValidationException", None, "Malformed input request.", InvalidRequestError),
    (
        *(("bedrock",), 400, "ValidationException", None),
        *("Input is too long for requested model.", ContextLengthExceededError),
    ),
    (("bedrock",), 400, "ValidationException", None, "The provided model identifier is invalid.", ModelNotFoundError),
    (("bedrock",), 403, "AccessDeniedException", None, "You may not do that.", PermissionDeniedError),
    (("bedrock",), 403, "UnrecognizedClientException", None, "The token is invalid.", AuthenticationError),
    (("bedrock",), 408, "ModelTimeoutException", None, "It took too long.", ServerError),
    (("bedrock",), 424, "ModelErrorException", None, "The model failed.", ServerError),
    (("bedrock",), 429, "ThrottlingException", None, "Too many requests, please wait.", RateLimitError),
    (("bedrock",), 500, "InternalServerException", None, "It failed.", ServerError),
    (("bedrock",), 503, "ServiceUnavailableException", None, "Try again later.", OverloadedError),
    (("ollama",), 400, None, None, '"m" does not support chat', InvalidRequestError),
    (("ollama",), 404, None, None, "model 'm' not found", ModelNotFoundError),
    (("ollama",), 500, None, None, "llama runner process has terminated", ServerError),
    (("ollama",), 503, None, None, "server busy, please try again.", OverloadedError),
    (("cohere",), 400, None, None, "invalid request: message must be there", InvalidRequestError),
    (("cohere",), 401, None, None, "invalid api token", AuthenticationError),
    (("cohere",), 404, None, None, "model 'm' not found", ModelNotFoundError),
    (("cohere",), 429, None, None, "You are past the limit of a trial key.", RateLimitError),
    (("cohere",), 498, None, None, "blocked output", ContentFilterError),
    (("cohere",), 500, None, None, "internal server error", ServerError),
]


@pytest.mark.parametrize(
    ("name", "status", "kind", "code", "message", "error_class"),
    [
        pytest.param(name, *rest, id=f"{name}-{rest[0]}-{rest[-1].__name__}")
        for names, *rest in REFUSALS
        for name in names
    ],
)
def test_a_refusal_is_the_right_error(
    mock: Mock, name: str, status: int, kind: Any, code: Any, message: str, error_class: type
):
    mock.will(refuses(status, message, kind, code))
    with provider(name, mock) as host:
        for call in (streamed, whole):
            error = error_of(call, host)
            assert type(error) is error_class
            assert (error.status_code, error.message) == (status, message)
            assert error.request_id
            assert error.retry_after == (7.0 if status == 429 else None)
            assert message in str(error.body)
            assert error.partial is None
            assert error.code == code or name not in OPENAI


@pytest.mark.parametrize(
    ("fault", "error_class", "code", "retry_after"),
    [("dropRate", ServerError, "chaos_drop", None), ("rateLimitRate", RateLimitError, "chaos_ratelimit", 1.0)],
)
def test_chaos_is_a_refusal(
    host: anyllm.Provider, mock: Mock, fault: str, error_class: type, code: str, retry_after: Optional[float]
):
    mock.will({**says(TEXT), "chaos": {fault: 1}})
    for call in (streamed, whole):
        error = error_of(call, host)
        assert type(error) is error_class
        assert (error.code, error.retry_after) == (code, retry_after)


def test_an_error_in_a_good_status_is_an_error(host: anyllm.Provider, mock: Mock):
    mock.will(refuses(200, "You are past your limit.", "rate_limit_error"))
    for call in (streamed, whole):
        error = error_of(call, host)
        # OpenRouter's have no type, and a number, here that of the status, for a code.
        assert type(error) is (APIError if host.name == "openrouter" else RateLimitError)
        assert error.message == "You are past your limit."
        assert error.is_retryable
        assert error.request_id, call.__name__


# -- tries -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", [streamed, whole])
@pytest.mark.parametrize("statuses", [(500, 503), (200, 502)])
def test_a_refusal_before_the_answer_is_tried_again(
    host: anyllm.Provider, mock: Mock, call: Any, statuses: Tuple[int, int]
):
    mock.will(says(TEXT))
    for status in reversed(statuses):
        mock.fails_once(status)
    assert call(host, options=QUICKLY).content == TEXT
    assert [request["response"]["status"] for request in mock.requests()] == [*statuses, 200]


def test_a_lost_connection_before_the_answer_is_tried_again(host: anyllm.Provider, mock: Mock):
    mock.will(
        {**says(TEXT), "match": {"sequenceIndex": 0}, "chaos": {"disconnectRate": 1}},
        {**says(TEXT), "match": {"sequenceIndex": 1}},
    )
    assert streamed(host, options=QUICKLY).content == TEXT
    assert len(mock.requests()) == 2


def test_nothing_is_retried_after_content(host: anyllm.Provider, mock: Mock):
    mock.will({**says(TEXT), "chunkSize": 3, "latency": 1, "truncateAfterChunks": 9})
    error = error_of(streamed, host, options=QUICKLY)
    assert type(error) is ConnectionLostError
    assert error.partial.content
    assert TEXT.startswith(error.partial.content)
    assert len(mock.requests()) == 1


def test_a_long_retry_after_raises(host: anyllm.Provider, mock: Mock):
    refusal = refuses(429, "Come back later.")
    refusal["response"]["retryAfter"] = 600
    mock.will(refusal)
    error = error_of(streamed, host, options=QUICKLY)
    assert (type(error), error.retry_after) == (RateLimitError, 600.0)
    assert len(mock.requests()) == 1


# -- places and keys ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "path"),
    [
        ("", "/openai/v1/chat/completions"),
        ("2024-10-21", "/openai/deployments/m/chat/completions?api-version=2024-10-21"),
    ],
)
def test_azure_is_found_by_either_url(mock: Mock, monkeypatch: pytest.MonkeyPatch, version: str, path: str):
    monkeypatch.setenv("OPENAI_API_VERSION", version)
    mock.will(says(TEXT))
    with provider("azure", mock) as host:
        assert streamed(host).content == TEXT
        assert whole(host).content == TEXT
    for request in mock.requests():
        assert request["path"] == path
        assert "api-key" in request["headers"]
        assert "authorization" not in request["headers"]


@pytest.mark.parametrize(("key", "is_signed"), [("ID:SECRET", True), ("ID:SECRET:SESSION", True), ("bearer", False)])
def test_bedrock_takes_either_key_and_any_model_id(mock: Mock, key: str, is_signed: bool):
    model = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
    mock.will(says(TEXT))
    with provider("bedrock", mock, api_key=key) as host:
        assert streamed(host, model=model).content == TEXT
        assert whole(host, model=model).content == TEXT
    for request in mock.requests():
        assert requests.utils.unquote(request["path"]).startswith(f"/model/{model}/converse")
        assert "authorization" in request["headers"]
        assert ("x-amz-date" in request["headers"]) is is_signed
        assert request["headers"].get("x-amz-security-token") == ("SESSION" if key.endswith("SESSION") else None)


# Ollama's and Gemini's are only served under paths, and in forms, that are older than those we ask for.
@pytest.mark.parametrize("name", ["openai", "azure", "openrouter", "cohere"])
def test_vectors_come_for_each_text(mock: Mock, name: str):
    mock.will({"match": {"inputText": "one"}, "response": {"embedding": [0.5, -0.25, 1.0]}})
    with provider(name, mock) as host:
        found = host.embedding(anyllm.Context(timeout=TIMEOUT), {"model": "m", "input": ["one", "one two"]})
    assert [list(vector) for vector in found.vectors] == [[0.5, -0.25, 1.0]] * 2


@pytest.mark.parametrize("name", ["openai", "azure", "openrouter", "ollama"])
def test_models_are_listed(mock: Mock, name: str):
    mock.will({"match": {"model": "maker/one"}, **says(TEXT)}, {"match": {"model": "two"}, **says(TEXT)})
    with provider(name, mock) as host:
        found = {model.id for model in host.list_models(anyllm.Context(timeout=TIMEOUT))}
    assert {"maker/one", "two"} <= found
