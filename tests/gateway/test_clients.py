"""
The clients of OpenAI, Anthropic and Ollama at a gateway before scripted hosts: conversations with tools, what Ollama's
clients ask about models, errors with their headers, and the local model.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Optional

import attrs
import pytest
from conftest import ROOT, TIMEOUT
from gate import ONCE

from anyllm import formats
from anyllm._framing.body_events import events
from anyllm.gateway import Config, Gateway, GatewayServer
from anyllm.testing import Cut, RecordedRequest, Reply, chat_events, serve
from anyllm.types import ChatCompletion, Choice, Message, Usage

pytest.importorskip("waitress")

KEY = "sk-secret-of-the-gateway"
CLOSE = {"Connection": "close"}
ASK = "What is the weather in Paris?"
USER = {"role": "user", "content": ASK}
SUNNY = "It is sunny."


@contextlib.contextmanager
def gateway(**models: Any) -> Iterator[str]:
    """The URL of a gateway that has these models."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_PROXY", "*")
        patch.setenv("ANYLLM_TEST_KEY", KEY)
        entries = {name: {"api_key_env": "ANYLLM_TEST_KEY", **entry} for name, entry in models.items()}
        config = Config(server={"port": 0, "list_providers": False, "max_streams": 8}, models=entries)
        with GatewayServer(Gateway(config, options=ONCE)) as server:
            yield server.url


@contextlib.contextmanager
def openai_at(url: str) -> Iterator[Any]:
    openai = pytest.importorskip("openai")
    with openai.OpenAI(api_key="client", base_url=f"{url}/v1", max_retries=0, timeout=TIMEOUT) as client:
        yield client


@contextlib.contextmanager
def anthropic_at(url: str) -> Iterator[Any]:
    anthropic = pytest.importorskip("anthropic")
    with anthropic.Anthropic(api_key="client", base_url=url, max_retries=0, timeout=TIMEOUT) as client:
        yield client


@contextlib.contextmanager
def ollama_at(url: str) -> Iterator[Any]:
    ollama = pytest.importorskip("ollama")
    client = ollama.Client(host=url, timeout=TIMEOUT)
    with client._client:
        yield client


# -- providers ---------------------------------------------------------------------------------------------------------


@attrs.define(frozen=True)
class Sent:
    """The first turn in the second request to a provider, in a form that does not depend on its format."""

    calls: list[Any]
    results: list[Any]
    reasoning: list[Any] = attrs.field(factory=list)


@attrs.define(frozen=True, kw_only=True)
class Host:
    """
    A provider that thinks and calls a tool, as a transcript has it, until it gets a result.

    Attributes:
        model: The model string of the gateway's configuration.
        base_url_path: The path of its base URL.
        transcript: The recording, which has the answer as a stream and whole.
        sent: Reads a request.
        format: The format of its other answers; None for Bedrock's.
    """

    model: str
    base_url_path: str = ""
    transcript: str
    sent: Callable[[Any], Sent]
    format: Optional[str] = None

    def __call__(self, request: RecordedRequest) -> Reply:
        body = request.json()
        stream = any(word in request.path for word in ("streamGenerateContent", "-stream")) or bool(body.get("stream"))
        return self.says(stream) if self.sent(body).results else self.calls(stream)

    def calls(self, stream: bool) -> Reply:
        path = ROOT / "tests" / "transcripts" / self.transcript
        if not stream:
            return self._reply(path.with_suffix(".whole.json").read_bytes(), stream)
        body = next(path.parent.glob(f"{path.name}.[sn]*")).read_bytes()
        if self.format is None:
            found = [(event.event, json.loads(event.data)) for event in events([body], max_event_bytes=1 << 20)]
            body = bedrock_frames(found)
        return self._reply(body, stream)

    def says(self, stream: bool) -> Reply:
        answer = ChatCompletion("c", (Choice(0, Message.assistant(SUNNY), "stop"),), 7, "m", usage=Usage(3, 4, 7))
        if self.format is None:
            content = [{"text": SUNNY}]
            message = {"output": {"message": {"role": "assistant", "content": content}}, "stopReason": "end_turn"}
            delta = {"contentBlockIndex": 0, "delta": content[0]}
            deltas = [("contentBlockDelta", delta), ("messageStop", {"stopReason": "end_turn"})]
            return self._reply(bedrock_frames(deltas) if stream else json.dumps(message).encode(), stream)
        whole = formats.encode_whole(answer, self.format)
        return self._reply(b"".join(formats.encode(["It is ", "sunny."], self.format)) if stream else whole, stream)

    def _reply(self, body: bytes, stream: bool) -> Reply:
        kind = formats.headers(self.format)["Content-Type"] if self.format else "application/vnd.amazon.eventstream"
        kind = kind if stream else "application/json"
        return Reply(body=(body,), content_type=kind, framing="length", headers=CLOSE)


def bedrock_frames(found: list[tuple[str, Any]]) -> bytes:
    from aws_frames import event  # needs an extra

    return b"".join(event(name, body) for name, body in found)


def sent_to_openai(body: Any) -> Sent:
    messages = body["messages"]
    called = [call for message in messages for call in message.get("tool_calls") or ()]
    calls = [(call["id"], call["function"]["name"], json.loads(call["function"]["arguments"])) for call in called]
    results = [(message["tool_call_id"], message["content"]) for message in messages if message["role"] == "tool"]
    return Sent(calls, results, [m["reasoning_content"] for m in messages if m.get("reasoning_content")])


def sent_to_anthropic(body: Any) -> Sent:
    blocks = [block for turn in body["messages"] if isinstance(turn["content"], list) for block in turn["content"]]
    calls = [(block["id"], block["name"], block["input"]) for block in blocks if block["type"] == "tool_use"]
    results = [(block["tool_use_id"], _text(block)) for block in blocks if block["type"] == "tool_result"]
    return Sent(calls, results, [block for block in blocks if block["type"].endswith("thinking")])


def _text(block: Mapping[str, Any]) -> str:
    content = block["content"]
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


def sent_to_ollama(body: Any) -> Sent:
    """Calls have had ids for a short time only; here they have none."""
    messages = body["messages"]
    called = [call["function"] for message in messages for call in message.get("tool_calls") or ()]
    calls = [(None, call["name"], call["arguments"]) for call in called]
    results = [(None, message["content"]) for message in messages if message["role"] == "tool"]
    return Sent(calls, results, [message["thinking"] for message in messages if message.get("thinking")])


def sent_to_gemini(body: Any) -> Sent:
    """Calls without ids, which are signed."""
    parts = [part for turn in body["contents"] for part in turn["parts"]]
    called = [part for part in parts if "functionCall" in part]
    calls = [(None, part["functionCall"]["name"], part["functionCall"]["args"]) for part in called]
    answered = [part["functionResponse"] for part in parts if "functionResponse" in part]
    assert {response["name"] for response in answered} <= {"f"}
    results = [(None, next(iter(response["response"].values()))) for response in answered]
    return Sent(calls, results, [part["thoughtSignature"] for part in called if part.get("thoughtSignature")])


def sent_to_responses(body: Any) -> Sent:
    items = body["input"] if isinstance(body["input"], list) else []
    called = [item for item in items if item.get("type") == "function_call"]
    calls = [(item["call_id"], item["name"], json.loads(item["arguments"])) for item in called]
    results = [(item["call_id"], item["output"]) for item in items if item.get("type") == "function_call_output"]
    return Sent(calls, results, [item for item in items if item.get("type") == "reasoning"])


def sent_to_bedrock(body: Any) -> Sent:
    blocks = [block for turn in body["messages"] for block in turn["content"]]
    called = [block["toolUse"] for block in blocks if "toolUse" in block]
    tool_results = [block["toolResult"] for block in blocks if "toolResult" in block]
    calls = [(call["toolUseId"], call["name"], call["input"]) for call in called]
    results = [(one["toolUseId"], "".join(part["text"] for part in one["content"])) for one in tool_results]
    return Sent(calls, results, [block for block in blocks if "reasoningContent" in block])


HOSTS = {
    "openai": Host(
        model="compatible/m",
        base_url_path="/v1",
        transcript="openai_chat/reasoning_and_call",
        sent=sent_to_openai,
        format="openai",
    ),
    "anthropic": Host(
        model="anthropic/m",
        transcript="anthropic_messages/thinking_text_and_call",
        sent=sent_to_anthropic,
        format="anthropic",
    ),
    "ollama": Host(model="ollama/m", transcript="ollama/thinking_text_and_call", sent=sent_to_ollama, format="ollama"),
    "gemini": Host(
        model="gemini/gemini-3-pro", transcript="gemini/signed_of_every_kind", sent=sent_to_gemini, format="gemini"
    ),
    "responses": Host(
        model="openai-responses/m",
        base_url_path="/v1",
        transcript="openai_responses/sealed_reasoning_and_call",
        sent=sent_to_responses,
        format="openai-responses",
    ),
    "bedrock": Host(model="bedrock/m", transcript="bedrock_converse/thinking_text_and_call", sent=sent_to_bedrock),
}


def entry(host: Host, url: str) -> dict[str, Any]:
    """Its model, for a gateway."""
    return {"model": host.model, "base_url": url + host.base_url_path}


def at(upstream: Any, model: str = "compatible/m") -> dict[str, Any]:
    """The gateway's entry for a model of a provider with OpenAI's format."""
    return {"model": model, "base_url": f"{upstream.url}/v1"}


# -- conversations with a tool -----------------------------------------------------------------------------------------

SCHEMA = {"type": "object", "properties": {"a": {}}, "required": ["a"]}
TOOL = {"type": "function", "function": {"name": "f", "description": "The weather.", "parameters": SCHEMA}}


def openai_talks(url: str, stream: bool) -> tuple[list[Any], str]:
    """The message is sent back unchanged, with fields that OpenAI does not have."""
    messages: list[Any] = [{"role": "user", "content": ASK}]
    with openai_at(url) as client:

        def ask() -> Any:
            arguments: Any = {"model": "m", "messages": messages, "tools": [TOOL]}
            if not stream:
                return client.chat.completions.create(**arguments).choices[0].message
            with client.chat.completions.stream(**arguments) as answer:
                return answer.get_final_completion().choices[0].message

        message = ask()
        messages.append(message)
        calls = [(call.id, call.function.name, json.loads(call.function.arguments)) for call in message.tool_calls]
        messages += [{"role": "tool", "tool_call_id": call_id, "content": "sunny"} for call_id, _, _ in calls]
        return calls, ask().content


def anthropic_talks(url: str, stream: bool) -> tuple[list[Any], str]:
    tool = {"name": "f", "description": "The weather.", "input_schema": SCHEMA}
    messages: list[Any] = [{"role": "user", "content": ASK}]
    with anthropic_at(url) as client:

        def ask() -> Any:
            arguments: Any = {"model": "m", "messages": messages, "tools": [tool], "max_tokens": 4000}
            if not stream:
                return client.messages.create(**arguments)
            with client.messages.stream(**arguments) as answer:
                return answer.get_final_message()

        message = ask()
        messages.append({"role": "assistant", "content": message.content})
        used = [block for block in message.content if block.type == "tool_use"]
        results = [{"type": "tool_result", "tool_use_id": block.id, "content": "sunny"} for block in used]
        messages.append({"role": "user", "content": results})
        text = "".join(block.text for block in ask().content if block.type == "text")
        return [(block.id, block.name, block.input) for block in used], text


def ollama_talks(url: str, stream: bool) -> tuple[list[Any], str]:
    messages: list[Any] = [{"role": "user", "content": ASK}]
    with ollama_at(url) as client:

        def ask() -> Any:
            if not stream:
                return client.chat("m", messages, tools=[TOOL]).message
            parts = [part.message for part in client.chat("m", messages, tools=[TOOL], stream=True)]
            joined: Any = {"role": "assistant", "content": "".join(part.content or "" for part in parts)}
            joined["thinking"] = "".join(part.thinking or "" for part in parts)
            joined["tool_calls"] = [call for part in parts for call in part.tool_calls or ()]
            return pytest.importorskip("ollama").Message(**joined)

        message = ask()
        messages.append(message)
        calls = [(None, call.function.name, dict(call.function.arguments)) for call in message.tool_calls]
        messages += [{"role": "tool", "tool_name": name, "content": "sunny"} for _, name, _ in calls]
        return calls, ask().content


TALKS = {"openai": openai_talks, "anthropic": anthropic_talks, "ollama": ollama_talks}


@pytest.mark.long
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("speaks", list(HOSTS))
@pytest.mark.parametrize("client", list(TALKS))
def test_a_conversation_with_a_tool(client: str, speaks: str, stream: bool):
    """Call, result, answer: the second request has the call, its result, and the signed reasoning."""
    if speaks == "bedrock":
        pytest.importorskip("botocore")
    host = HOSTS[speaks]
    with serve(host) as upstream, gateway(m=entry(host, upstream.url)) as url:
        calls, text = TALKS[client](url, stream)
    assert text == SUNNY
    [(call_id, name, arguments)] = calls
    assert (name, arguments) == ("f", {"a": [1, None] if speaks == "bedrock" else 1})
    first, second = (host.sent(request.json()) for request in upstream.requests)
    assert first == Sent([], [])
    [(sent_id, *called)], [(result_id, result)] = second.calls, second.results
    assert (called, result, result_id) == ([name, arguments], "sunny", sent_id)
    if speaks not in ("ollama", "gemini"):  # whose calls have no ids
        assert sent_id
        assert sent_id == call_id or client == "ollama"  # which passes over ids
    assert second.reasoning == (REASONING[speaks] if (client, speaks) not in LOST else [])


#: The first turn's reasoning, which the second request has again.
REASONING = {
    "openai": ["Hm."],
    "anthropic": [
        {"type": "thinking", "thinking": "Hm.", "signature": "s1"},
        {"type": "redacted_thinking", "data": "xyz"},
        {"type": "thinking", "thinking": "Ah.", "signature": "s2"},
    ],
    "ollama": ["Hm."],
    "gemini": ["Qw=="],
    "responses": [{"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "c2VhbGVk"}],
    "bedrock": [{"reasoningContent": {"reasoningText": {"text": "Hm", "signature": "s"}}}],
}
#: Clients and providers between which it gets lost: the client's format has no field for what the provider needs, and
#: unsigned it would be refused.
LOST = {
    *(("ollama", "anthropic"), ("ollama", "gemini"), ("ollama", "responses"), ("ollama", "bedrock")),
    *(("anthropic", "responses"), ("anthropic", "bedrock")),
}


@pytest.mark.long
@pytest.mark.parametrize("client", list(TALKS))
def test_reasoning_is_sent_back_under_the_providers_name_for_it(client: str):
    """Cerebras wants its own back as `reasoning`, and refuses another's name; clients have but one name for all."""
    with serve(HOSTS["openai"]) as upstream, gateway(m=at(upstream, "cerebras/m")) as url:
        TALKS[client](url, False)
    [message] = [message for message in upstream.requests[1].json()["messages"] if message["role"] == "assistant"]
    assert message["reasoning"] == "Hm."
    assert message.keys().isdisjoint(("reasoning_content", "thinking"))


# -- values that no provider sent --------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize("fallback", [[], ["second"]], ids=["alone", "with a fallback"])
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
def test_tokens_that_no_provider_counted_are_not_estimated(fallback: list[str], stream: bool):
    """No format can mark an estimate, so clients would take it for the provider's count."""
    with serve(Reply.chat(SUNNY, usage=False, headers=CLOSE)) as upstream:
        host = at(upstream)
        with gateway(m={**host, "fallback": fallback}, second=host) as url:
            with openai_at(url) as openai:
                assert openai_usage(openai, stream) is None
            with anthropic_at(url) as anthropic:  # which reckons with counts in any case
                usage = anthropic_talk(anthropic, stream).usage
                assert (usage.input_tokens, usage.output_tokens) == (0, 0)
            with ollama_at(url) as ollama:
                last = [*ollama.chat("m", [USER], stream=True)][-1] if stream else ollama.chat("m", [USER])
                assert (last.prompt_eval_count, last.eval_count) == (None, None)


def openai_usage(client: Any, stream: bool) -> Any:
    if not stream:
        return client.chat.completions.create(model="m", messages=[USER]).usage
    options = {"include_usage": True}
    stream = client.chat.completions.create(model="m", messages=[USER], stream=True, stream_options=options)
    return next((chunk.usage for chunk in stream if chunk.usage), None)


def anthropic_talk(client: Any, stream: bool) -> Any:
    if not stream:
        return client.messages.create(model="m", messages=[USER], max_tokens=9)
    with client.messages.stream(model="m", messages=[USER], max_tokens=9) as answer:
        return answer.get_final_message()


@pytest.mark.long
def test_a_client_that_requests_no_usage_gets_no_chunk_without_a_choice():
    """We ask for them in any case, and llama.cpp sends its timings beside them; many programs read ``choices[0]``."""
    *chunks, last = chat_events(SUNNY)
    timed = Reply.sse([*chunks, {**last, "timings": {"n": 1}}], headers=CLOSE)
    with serve(timed) as upstream, gateway(m=at(upstream)) as url, openai_at(url) as client:
        plain = [*client.chat.completions.create(model="m", messages=[USER], stream=True)]
        assert openai_usage(client, True).total_tokens == last["usage"]["total_tokens"]
    assert upstream.requests[0].json()["stream_options"] == {"include_usage": True}
    assert "".join(chunk.choices[0].delta.content or "" for chunk in plain) == SUNNY


# -- errors ------------------------------------------------------------------------------------------------------------

#: Asks that each client makes, and the class of all that it raises.
ASKS: dict[str, Callable[[str, bool], object]] = {
    "openai": lambda url, stream: _with(openai_at(url), lambda client: openai_usage(client, stream)),
    "anthropic": lambda url, stream: _with(anthropic_at(url), lambda client: anthropic_talk(client, stream)),
    "ollama": lambda url, stream: _with(
        ollama_at(url),
        lambda client: [*client.chat("m", [USER], stream=True)] if stream else client.chat("m", [USER]),
    ),
}


def _with(opened: Any, ask: Callable[[Any], Any]) -> Any:
    with opened as client:
        return ask(client)


def raised_by(client: str, url: str, stream: bool) -> Any:
    """The error that *client* raises."""
    module = pytest.importorskip(client)
    kind = module.ResponseError if client == "ollama" else module.APIError
    with pytest.raises(kind) as raised:
        ASKS[client](url, stream)
    return raised.value


@pytest.mark.long
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("client", list(ASKS))
def test_a_refusal_comes_with_its_status_and_how_long_to_wait(client: str, stream: bool):
    """Only the provider gets its key."""
    error = {"error": {"message": f"slow down, {KEY[:3]}...", "type": "tokens", "param": None, "code": "rate_limit"}}
    reply = Reply.json(error, status=429, headers={"Retry-After": "7", **CLOSE})
    with serve(reply) as upstream, gateway(m=at(upstream)) as url:
        error = raised_by(client, url, stream)
    assert error.status_code == 429
    assert "slow down" in str(error)
    assert upstream.requests[0].headers["Authorization"] == f"Bearer {KEY}"
    assert KEY not in f"{error!r} {vars(error)}"
    if client != "ollama":  # which does not keep the response
        assert type(error).__name__ == "RateLimitError"
        assert error.response.headers["Retry-After"] == "7"
        assert error.response.headers["x-should-retry"] == "true"
        assert KEY not in str(error.response.headers)


@pytest.mark.long
@pytest.mark.parametrize("status", [400, 404, 500])
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
def test_the_ollama_client_reads_an_ollama_providers_answer_as_without_the_gateway(stream: bool, status: int):
    refusal = Reply.json({"error": "model 'm' is not here"}, status=status, headers=CLOSE)
    with serve(refusal) as upstream, gateway(m=entry(HOSTS["ollama"], upstream.url)) as url:
        directly, through = (raised_by("ollama", base_url, stream) for base_url in (upstream.url, url))
    assert (through.status_code, through.error) == (directly.status_code, directly.error)


@pytest.mark.long
@pytest.mark.parametrize("ending", ["eof", "reset"])
@pytest.mark.parametrize("client", list(ASKS))
def test_a_connection_that_breaks_in_the_middle_raises(client: str, ending: str):
    begun = chat_events("It is", finish_reason=None, usage=False)
    with serve(Reply.sse([*begun, Cut(ending)], done=False)) as upstream, gateway(m=at(upstream)) as url:
        raised_by(client, url, True)


def test_a_server_that_ends_by_itself_is_not_woken_too_late():
    """The loop may see that it is to stop before it is woken; a pipe that was closed must not be written to."""
    server = GatewayServer(Gateway(Config(server={"port": 0})))
    [listener] = server._listeners
    loop_is_over, is_closed = threading.Event(), threading.Event()
    shut_down, close, pull = listener.task_dispatcher.shutdown, listener.trigger.close, listener.pull_trigger
    listener.task_dispatcher.shutdown = lambda **kwargs: (shut_down(**kwargs), loop_is_over.set())
    listener.trigger.close = lambda: (is_closed.set(), close())

    def late() -> None:
        assert loop_is_over.wait(TIMEOUT)
        assert not is_closed.wait(0.2)
        pull()

    listener.pull_trigger = late
    server.start().close()
    assert is_closed.is_set()
    server.stop()  # harmless


# -- Ollama's clients, as editors use them -----------------------------------------------------------------------------

EDITOR = {"num_ctx": 16384, "stop": []}


@pytest.mark.long
@pytest.mark.parametrize("speaks", ["openai", "anthropic"])
def test_an_editor_that_knows_ollama_alone(speaks: str):
    """It lists models, shows one, and chats with tools and reasoning; then it asks for a title."""
    host = HOSTS[speaks]
    with contextlib.ExitStack() as open_:
        upstream = open_.enter_context(serve(host))
        url = open_.enter_context(gateway(claude={**entry(host, upstream.url), "context_length": 200_000}))
        client = open_.enter_context(ollama_at(url))
        [listed] = client.list().models
        assert listed.model == "claude:latest"
        details = client.show(listed.model)
        assert {"completion", "tools", "thinking"} <= set(details.capabilities)
        family = details.modelinfo["general.architecture"]
        assert details.modelinfo[f"{family}.context_length"] == 200_000
        arguments: Any = {"tools": [TOOL], "think": True, "options": EDITOR, "keep_alive": "10m"}
        parts = [*client.chat(listed.model, [USER], stream=True, **arguments)]
        assert [part.done for part in parts] == [False] * (len(parts) - 1) + [True]
        assert "".join(part.message.thinking or "" for part in parts).startswith("Hm.")
        [call] = [call for part in parts for call in part.message.tool_calls or ()]
        assert (call.function.name, call.function.arguments) == ("f", {"a": 1})
    body = upstream.requests[0].json()
    assert "options" not in body
    assert "keep_alive" not in body
    assert body.get("thinking") or body.get("reasoning_effort")


@pytest.mark.long
@pytest.mark.parametrize("speaks", ["openai", "anthropic"])
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
def test_generate_is_answered_by_any_provider(speaks: str, stream: bool):
    host = HOSTS[speaks]
    with contextlib.ExitStack() as open_:
        upstream = open_.enter_context(serve(lambda request: host.says(bool(request.json().get("stream")))))
        client = open_.enter_context(ollama_at(open_.enter_context(gateway(m=entry(host, upstream.url)))))
        answer = client.generate("m", ASK, system="Be brief.", options=EDITOR, stream=stream)
        parts = [*answer] if stream else [answer]
    assert "".join(part.response for part in parts) == SUNNY
    assert (parts[-1].done, parts[-1].done_reason) == (True, "stop")
    body = upstream.requests[0].json()
    system = body.get("system") or body["messages"][0]["content"]
    assert "Be brief." in json.dumps(system)


# -- the model in this process -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def local_gateway(weights: object) -> Iterator[str]:
    """The URL of a gateway in a child: this process forks in other tests, and should have no foreign threads."""
    program = """
        import sys
        from anyllm.gateway import Config, Gateway, GatewayServer
        PARAMS = {"max_tokens": 24}  # as the page asks: without a temperature
        config = Config(server={"port": 0}, models={"m": {"model": "local/smollm2", "params": PARAMS}})
        with GatewayServer(Gateway(config)) as server:
            print(server.url, flush=True)
            sys.stdin.read()
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with pytest.MonkeyPatch.context() as patch, subprocess.Popen(command, env=environment, **pipes) as child:
        patch.setenv("NO_PROXY", "*")
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            yield child.stdout.readline().strip()
        finally:
            child.stdin.close()
            child.wait(TIMEOUT)
    assert child.returncode == 0


QUESTION = {"role": "user", "content": "What is the capital of France? Answer in one sentence."}


@pytest.mark.model
def test_a_real_model_answers_openais_client(local_gateway: str):
    with openai_at(local_gateway) as client:
        stream = client.chat.completions.create(model="m", messages=[QUESTION], stream=True)
        pieces = [chunk.choices[0].delta.content or "" for chunk in stream]
    assert "Paris" in "".join(pieces)
    assert len(pieces) > 3


@pytest.mark.model
def test_a_real_model_answers_anthropics_client(local_gateway: str):
    with anthropic_at(local_gateway) as client:
        arguments: Any = {"model": "m", "messages": [QUESTION], "max_tokens": 24}
        with client.messages.stream(**arguments) as answer:
            pieces = [*answer.text_stream]
            message = answer.get_final_message()
    assert "Paris" in "".join(pieces)
    assert len(pieces) > 3
    assert (message.stop_reason, message.usage.output_tokens > 3) == ("end_turn", True)


@pytest.mark.model
def test_a_real_model_answers_ollamas_client(local_gateway: str):
    with ollama_at(local_gateway) as client:
        parts = [*client.chat("m", [QUESTION], stream=True, options={"num_predict": 24})]
    assert "Paris" in "".join(part.message.content or "" for part in parts)
    assert len(parts) > 3
    assert (parts[-1].done, parts[-1].done_reason, parts[-1].eval_count > 3) == (True, "stop", True)
