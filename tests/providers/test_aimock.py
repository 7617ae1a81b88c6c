"""
Our providers against a server that others wrote, in another language: aimock, which speaks each provider's format, cuts
emoji in two, and breaks off after any event.

ANYLLM_AIMOCK says where its executable is, node_modules/.bin/llmock of the npm package @copilotkit/aimock.

Strategy: one server for all tests. A test sets its answers at run time; it records the requests in the form in which it
understood them, which shows that others than we understand our requests.

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
    IncompleteStreamError,
    InvalidRequestError,
    MalformedStreamError,
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
    "groq": "/v1",
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
@pytest.mark.parametrize(("raw_reason", "reason"), [("length", "length"), ("brand_new", "unknown")])
def test_an_answer_that_did_not_end_well_says_so(host: anyllm.Provider, mock: Mock, raw_reason: str, reason: str):
    mock.will(says("one two", finishReason=raw_reason))
    answer = streamed(host)
    assert (answer.content, answer.finish_reason) == ("one two", reason)
    assert reason == "length" or answer.raw_finish_reason == raw_reason
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


CHAOS: list[Tuple[str, Any, type, str, bool]] = [
    ("disconnectRate", streamed, NetworkError, "", True),
    ("disconnectRate", whole, NetworkError, "", True),
    ("malformedRate", whole, MalformedStreamError, "chaos", False),
    ("malformedRate", streamed, IncompleteStreamError, "", True),
    ("dropRate", streamed, ServerError, "chaos_drop", True),
    ("dropRate", whole, ServerError, "chaos_drop", True),
    ("rateLimitRate", streamed, RateLimitError, "chaos_ratelimit", True),
    ("rateLimitRate", whole, RateLimitError, "chaos_ratelimit", True),
]


@pytest.mark.parametrize(("fault", "call", "error_class", "words", "is_retryable"), CHAOS)
def test_a_fault_before_the_answer_is_the_right_error(
    host: anyllm.Provider, mock: Mock, fault: str, call: Any, error_class: type, words: str, is_retryable: bool
):
    """
    A lost connection, or a refusal; "malformed" is a status of 200, a JSON content type, a clean end, and an object
    that never closes.
    """
    mock.will({**says(TEXT), "chaos": {fault: 1}})
    error = error_of(call, host)
    assert type(error) is error_class
    assert words in f"{error} {getattr(error, 'code', '')}"
    assert error.is_retryable is is_retryable
    assert error.partial is None
    assert getattr(error, "retry_after", None) == (1.0 if fault == "rateLimitRate" else None)


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


@pytest.mark.parametrize(
    ("status", "error_class"),
    [
        (400, InvalidRequestError),
        (401, AuthenticationError),
        (403, PermissionDeniedError),
        (429, RateLimitError),
        (500, ServerError),
        (503, OverloadedError),
    ],
)
def test_a_refusal_is_the_right_error(host: anyllm.Provider, mock: Mock, status: int, error_class: type):
    """The tests of the formats know more refusals of each provider."""
    mock.will(refuses(status, "Not today."))
    for call in (streamed, whole):
        error = error_of(call, host)
        assert type(error) is error_class
        assert (error.status_code, error.message) == (status, "Not today.")
        assert error.request_id
        assert error.retry_after == (7.0 if status == 429 else None)
        assert "Not today." in str(error.body)
        assert error.partial is None


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


def test_nothing_is_retried_after_content(host: anyllm.Provider, mock: Mock):
    mock.will({**says(TEXT), "chunkSize": 3, "latency": 1, "truncateAfterChunks": 9})
    error = error_of(streamed, host, options=QUICKLY)
    assert type(error) is ConnectionLostError
    assert error.partial.content
    assert TEXT.startswith(error.partial.content)
    assert len(mock.requests()) == 1


# -- beside chat ------------------------------------------------------------------------------------------------------


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
