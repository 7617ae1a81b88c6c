"""
OpenAI's chat completions as its official client speaks them: the same calls, made by both of us before one loopback
server, and compared as they arrive there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

import anyllm
from anyllm import ContentPart, FunctionCall, Message, Reasoning, ToolCall
from anyllm.providers.table import lookup
from anyllm.testing import RecordedRequest, Reply, Server, serve

ONE_TRY = anyllm.StreamingOptions(retry=anyllm.Retry(attempts=1))
MODEL, KEY = "gpt-any", "key-of-the-tests"
ABOUT = {"id": "chatcmpl-1", "created": 1, "model": MODEL}


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    """The official client; each test says which server it is to talk to."""
    openai = pytest.importorskip("openai")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_PROXY", "*")
        for name in ("OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_BASE_URL"):
            patch.delenv(name, raising=False)
        with openai.OpenAI(api_key=KEY, max_retries=0) as official:
            yield official


# -- what the server says ----------------------------------------------------------------------------------------------


def finish_of(message: dict[str, Any]) -> str:
    return next((key for key in ("tool_calls", "function_call") if key in message), "stop")


def whole(message: dict[str, Any]) -> Reply:
    choice = {"index": 0, "message": message, "finish_reason": finish_of(message), "logprobs": None}
    return Reply.json({**ABOUT, "object": "chat.completion", "choices": [choice]})


def streamed(message: dict[str, Any]) -> Reply:
    """The same message in pieces, as OpenAI cuts it: the role first, each text and all arguments in two."""
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": None if message["content"] is None else ""}]
    for key in ("content", "refusal"):
        text = message.get(key) or ""
        deltas += [{key: piece} for piece in (text[:3], text[3:]) if piece]
    for index, call in enumerate(message.get("tool_calls", ())):
        kind = call["type"]
        text_key = "input" if kind == "custom" else "arguments"
        text = call[kind][text_key]
        deltas.append({"tool_calls": [{**call, "index": index, kind: {**call[kind], text_key: ""}}]})
        pieces = ({text_key: piece} for piece in (text[:3], text[3:]))
        deltas += [{"tool_calls": [{"index": index, kind: piece}]} for piece in pieces]
    if call := message.get("function_call"):
        deltas += [{"function_call": {**call, "arguments": ""}}, {"function_call": {"arguments": call["arguments"]}}]
    ends = [None] * len(deltas) + [finish_of(message)]
    choices = [
        {"index": 0, "delta": delta, "finish_reason": end, "logprobs": None} for delta, end in zip([*deltas, {}], ends)
    ]
    return Reply.sse([{**ABOUT, "object": "chat.completion.chunk", "choices": [choice]} for choice in choices])


def saying(*messages: dict[str, Any]) -> Any:
    """Replies for `serve`: with each message in turn, in the form that is asked for."""
    return [lambda asked, said=said: streamed(said) if asked.json().get("stream") else whole(said) for said in messages]


# -- who asks ----------------------------------------------------------------------------------------------------------


class Ours:
    """Our provider "openai"."""

    def __init__(self, server: Server) -> None:
        self._host = anyllm.provider("openai", api_key=KEY, base_url=f"{server.url}/v1", options=ONE_TRY)

    def __enter__(self) -> Ours:
        return self

    def __exit__(self, *_: Any) -> None:
        self._host.close()

    def ask(self, *, stream: bool, **fields: Any) -> anyllm.ChatCompletion:
        params = anyllm.CompletionParams(MODEL, **fields)
        if stream:
            return self._host.completion_stream(anyllm.Context(timeout=30), params).collect()
        return self._host.completion(anyllm.Context(timeout=30), params)


def ask_theirs(client: Any, server: Server, *, stream: bool, **fields: Any) -> Any:
    """The official client's answer; of a stream, its chunks."""
    here = client.with_options(base_url=f"{server.url}/v1")
    if not stream:
        return here.chat.completions.create(model=MODEL, **fields)
    with here.chat.completions.create(model=MODEL, stream=True, **fields) as chunks:
        return list(chunks)


def both(client: Any, ours: dict[str, Any], theirs: dict[str, Any], *, stream: bool) -> list[RecordedRequest]:
    """What arrives when both ask: from us, and from the official client."""
    with serve(*saying({"role": "assistant", "content": "Hello"})) as server, Ours(server) as host:
        host.ask(stream=stream, **{"messages": [HI], **ours})
        ask_theirs(client, server, stream=stream, **{"messages": [HI], **theirs})
        return server.requests


# -- one call ----------------------------------------------------------------------------------------------------------

HI = {"role": "user", "content": "Hi"}
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}
FUNCTION = {"name": "f", "description": "Does it.", "parameters": SCHEMA}
TOOL = {"type": "function", "function": {**FUNCTION, "strict": True}}
OTHER_TOOL = {"type": "function", "function": {"name": "g"}}
CUSTOM_TOOL = {"type": "custom", "custom": {"name": "c", "format": {"type": "text"}}}
STRICT = {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA, "strict": True}}
CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
OTHER_CALL = {"id": "call_2", "type": "function", "function": {"name": "g", "arguments": "{}"}}
CUSTOM_CALL = {"id": "call_3", "type": "custom", "custom": {"name": "c", "input": "SELECT 1"}}
PNG, PNG_URL = b"\x89PNG\r\n\x1a\n", "data:image/png;base64,iVBORw0KGgo="
PHOTO = "https://example.com/photo.jpg"
PDF, PDF_URL = b"%PDF-1.7", "data:application/pdf;base64,JVBERi0xLjc="
WAV, WAV_BASE64 = b"RIFF\0\0\0\0WAVE", "UklGRgAAAABXQVZF"


def same(**fields: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """A call that is written alike for both."""
    return fields, fields


def turns(ours: list[Any], theirs: list[Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    return {"messages": ours}, {"messages": theirs}


def shown(*parts: Any) -> list[Any]:
    return [{"role": "user", "content": [{"type": "text", "text": "See"}, *parts]}]


def chosen(choice: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    return same(tools=[TOOL, CUSTOM_TOOL], tool_choice=choice)


#: What we are asked, and the official client's words for it; messages are "Hi" where none are given.
CALLS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "plain": ({}, {}),
    "beyond ASCII": same(messages=[{"role": "user", "content": 'Grüße, 世界 😀 "\\ \n\x00\u2028'}]),
    "conversation": turns(
        [Message.system("Be brief.", name="ops"), Message.user("Hi", name="bo"), Message.assistant("Yes?"), HI],
        [
            {"role": "system", "content": "Be brief.", "name": "ops"},
            {"role": "user", "content": "Hi", "name": "bo"},
            {"role": "assistant", "content": "Yes?"},
            HI,
        ],
    ),
    "developer": same(messages=[{"role": "developer", "content": "Be brief."}, HI]),
    "sampling": same(temperature=0.2, top_p=0.5, seed=7, n=2, user="u"),
    "zeros": same(temperature=0, top_p=1.0, seed=0, logprobs=False, parallel_tool_calls=False, tools=[TOOL]),
    "stop": same(stop="END"),
    "stops": same(stop=["END", "\n"]),
    "longest": ({"max_tokens": 5}, {"max_completion_tokens": 5}),
    "logprobs": same(logprobs=True, top_logprobs=3),
    "tools": same(tools=[TOOL, OTHER_TOOL, CUSTOM_TOOL]),
    "tools, one at a time": same(tools=[TOOL], parallel_tool_calls=False),
    "tools, several at a time": same(tools=[TOOL], parallel_tool_calls=True),
    "choice auto": chosen("auto"),
    "choice none": chosen("none"),
    "choice required": chosen("required"),
    "choice named": chosen({"type": "function", "function": {"name": "f"}}),
    "choice custom": chosen({"type": "custom", "custom": {"name": "c"}}),
    "choice of some": chosen({"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [OTHER_TOOL]}}),
    "calls and results": turns(
        [
            HI,
            Message.assistant("So.", tool_calls=[CALL, OTHER_CALL]),
            Message.tool("42", "call_1"),
            Message.tool(["4", "3"], "call_2"),
        ],
        [
            HI,
            {"role": "assistant", "content": "So.", "tool_calls": [CALL, OTHER_CALL]},
            {"role": "tool", "tool_call_id": "call_1", "content": "42"},
            {
                "role": "tool",
                "tool_call_id": "call_2",
                "content": [{"type": "text", "text": "4"}, {"type": "text", "text": "3"}],
            },
        ],
    ),
    "calls alone": turns(
        [HI, Message.assistant(tool_calls=[CALL, ToolCall("call_3", FunctionCall("c", "SELECT 1"), "custom")])],
        [HI, {"role": "assistant", "tool_calls": [CALL, CUSTOM_CALL]}],
    ),
    "refusal": turns([Message.assistant(refusal="No.")], [{"role": "assistant", "refusal": "No."}]),
    "image": turns(
        [Message.user(["See", ContentPart.from_image(PHOTO)])],
        shown({"type": "image_url", "image_url": {"url": PHOTO}}),
    ),
    "image, closely": turns(
        [Message.user(["See", ContentPart.from_image(PHOTO, detail="high")])],
        shown({"type": "image_url", "image_url": {"url": PHOTO, "detail": "high"}}),
    ),
    "image, in the request": turns(
        [Message.user(["See", ContentPart.from_image(PNG, detail="low")])],
        shown({"type": "image_url", "image_url": {"url": PNG_URL, "detail": "low"}}),
    ),
    "sound": turns(
        [Message.user(["See", ContentPart.from_audio(WAV)])],
        shown({"type": "input_audio", "input_audio": {"data": WAV_BASE64, "format": "wav"}}),
    ),
    "file": turns(
        [Message.user(["See", ContentPart.from_file(PDF, filename="a.pdf")])],
        shown({"type": "file", "file": {"filename": "a.pdf", "file_data": PDF_URL}}),
    ),
    "file of before": same(messages=shown({"type": "file", "file": {"file_id": "file-1"}})),
    "JSON": same(response_format={"type": "json_object"}),
    "schema": same(response_format=STRICT),
    "effort": same(reasoning_effort="minimal"),
    "effort none": same(reasoning_effort="none"),
    "effort of the host's own": ({"reasoning_effort": "auto"}, {}),
    "functions": same(functions=[FUNCTION], function_call="auto"),
    "function named": same(functions=[FUNCTION], function_call={"name": "f"}),
    "function and result": turns(
        [HI, Message.assistant(tool_calls=[ToolCall(None, FunctionCall("f", "{}"))]), Message("function", "2", "f")],
        [
            HI,
            {"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}},
            {"role": "function", "content": "2", "name": "f"},
        ],
    ),
    # OpenAI refuses keys that its messages do not have.
    "reasoning of other hosts": turns(
        [
            Message.assistant("4", reasoning=Reasoning("Hm.", "s", "reasoning_content", [{"type": "reasoning.text"}])),
            HI,
        ],
        [{"role": "assistant", "content": "4"}, HI],
    ),
    "more than we name": (
        {"extra_body": {"store": True, "metadata": {"a": "b"}, "verbosity": "low", "presence_penalty": 0.5}},
        {"store": True, "metadata": {"a": "b"}, "verbosity": "low", "presence_penalty": 0.5},
    ),
    "more than anybody names": same(extra_body={"new": [1, {"x": None}], "temperature": 0.9, "user": None}, user="u"),
    "headers": same(extra_headers={"X-Trace": "1", "OpenAI-Organization": "org", "Authorization": "Bearer other"}),
}


def assert_same(ours: RecordedRequest, theirs: RecordedRequest, *headers: str) -> None:
    assert ours.json() == theirs.json()
    assert (ours.method, ours.path) == (theirs.method, theirs.path) == ("POST", "/v1/chat/completions")
    for name in ("content-type", "authorization", *headers):
        assert ours.headers[name] == theirs.headers[name]


@pytest.mark.parametrize(("ours", "theirs"), CALLS.values(), ids=CALLS)
def test_body_has_each_parameter_under_its_name(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    """What the official client is given is the body that it sends."""
    row = lookup.find("openai")
    assert row is not None
    params = anyllm.CompletionParams(MODEL, **{"messages": [HI], **ours})
    body = json.loads(row.dialect.request(params, model=MODEL, stream=False).body)
    theirs = {"model": MODEL, "messages": [HI], **theirs, **theirs.get("extra_body", {})}
    assert body == {name: value for name, value in theirs.items() if name not in ("extra_body", "extra_headers")}


@pytest.mark.long
@pytest.mark.parametrize("case", CALLS)
def test_call_is_what_the_official_client_sends(case: str, client: Any) -> None:
    ours, theirs = CALLS[case]
    assert_same(*both(client, ours, theirs, stream=False), *ours.get("extra_headers", ()))


@pytest.mark.long
@pytest.mark.parametrize("case", CALLS)
def test_streamed_call_is_what_the_official_client_sends(case: str, client: Any) -> None:
    """With usage, which we ask for without being told to."""
    ours, theirs = CALLS[case]
    asked = {**theirs, "stream_options": {"include_usage": True}}
    assert_same(*both(client, ours, asked, stream=True), *ours.get("extra_headers", ()))


@pytest.mark.long
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({"include_usage": True}, {"include_usage": True}),
        ({"include_obfuscation": False}, {"include_obfuscation": False, "include_usage": True}),
        ({"include_usage": False, "include_obfuscation": False}, {"include_obfuscation": False}),
        ({"include_usage": False}, None),
    ],
)
def test_stream_options_are_what_the_official_client_sends(ours: Any, theirs: Any, client: Any) -> None:
    asked = {"stream_options": theirs} if theirs else {}
    assert_same(*both(client, {"stream_options": ours}, asked, stream=True))


# -- the next call -----------------------------------------------------------------------------------------------------

CITED = [{"type": "url_citation", "url_citation": {"url": "u", "title": "t", "start_index": 0, "end_index": 2}}]
#: As OpenAI writes them, with the nulls and the empty lists.
NOTHING_ELSE = {"refusal": None, "annotations": []}
ANSWERS: dict[str, dict[str, Any]] = {
    "text": {"content": 'Grüße 😀 "\\\n', **NOTHING_ELSE},
    "empty": {"content": "", **NOTHING_ELSE},
    "cited": {"content": "So it is.", "refusal": None, "annotations": CITED},
    "refusal": {"content": None, "refusal": "I cannot do that.", "annotations": []},
    "call": {"content": None, "tool_calls": [CALL], **NOTHING_ELSE},
    "calls": {"content": None, "tool_calls": [CALL, OTHER_CALL, CUSTOM_CALL], **NOTHING_ELSE},
    "text and call": {"content": "I will look.", "tool_calls": [OTHER_CALL], **NOTHING_ELSE},
    "function": {"content": None, "function_call": {"name": "f", "arguments": '{"a": 1}'}, **NOTHING_ELSE},
}


def in_request(message: dict[str, Any]) -> dict[str, Any]:
    """
    A message without what answers have and requests do not.

    The official client sends back whatever came. We send what its own type for requests names, and nulls never.
    """
    from openai.types.chat import ChatCompletionAssistantMessageParam as Type

    return {key: value for key, value in message.items() if value is not None and key in Type.__annotations__}


@pytest.mark.long
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("case", ANSWERS)
def test_answer_goes_back_as_the_official_client_sends_it(case: str, stream: bool, client: Any) -> None:
    """However it came to us; to the official client it comes whole, for that is what it sends back."""
    said = {"role": "assistant", **ANSWERS[case]}
    with serve(*saying(said)) as server, Ours(server) as host:
        answer = host.ask(stream=stream, messages=[HI])
        host.ask(stream=stream, messages=[HI, answer.to_message(), HI])
        theirs = ask_theirs(client, server, stream=False, messages=[HI])
        ask_theirs(client, server, stream=False, messages=[HI, theirs.choices[0].message, HI])
        sent, expected = server.requests[1].json()["messages"], server.requests[3].json()["messages"]
    assert sent[1] == in_request(expected[1])
    assert in_request(said) == sent[1]
    assert [sent[0], sent[2]] == [expected[0], expected[2]] == [HI, HI]


@pytest.mark.long
def test_answer_that_is_a_sound_goes_back_by_its_id(client: Any) -> None:
    """The official client sends all of it back; its type for requests wants the id alone."""
    sound = {"id": "audio_1", "data": WAV_BASE64, "expires_at": 1, "transcript": "Hello."}
    with serve(*saying({"role": "assistant", "content": None, "audio": sound})) as server, Ours(server) as host:
        host.ask(stream=False, messages=[host.ask(stream=False, messages=[HI]).to_message(), HI])
        theirs = ask_theirs(client, server, stream=False, messages=[HI])
        ask_theirs(client, server, stream=False, messages=[theirs.choices[0].message, HI])
        sent, expected = server.requests[1].json()["messages"], server.requests[3].json()["messages"]
    assert sent[0]["audio"]["id"] == expected[0]["audio"]["id"] == "audio_1"


@pytest.mark.long
@pytest.mark.parametrize("stream", [False, True])
def test_conversation_with_tools_is_the_official_clients(stream: bool, client: Any) -> None:
    """Question, calls, results, answer, next question: each request as a user of either library comes to make it."""
    says = [{"role": "assistant", **ANSWERS[name]} for name in ("text and call", "calls", "text", "cited")]
    results = {"call_1": "42", "call_2": '{"b": [1]}', "call_3": "1 row"}
    with serve(*saying(*says)) as server, Ours(server) as host:
        messages: list[Any] = [Message.system("Be brief."), Message.user("How much?")]
        for _ in says:
            answer = host.ask(stream=stream, messages=messages, tools=[TOOL, OTHER_TOOL, CUSTOM_TOOL])
            messages.append(answer.to_message())
            messages += [Message.tool(results[call.id], call.id) for call in answer.tool_calls]
            if not answer.tool_calls:
                messages.append(Message.user("And then?"))
        ours = [request.json()["messages"] for request in server.requests]
    with serve(*saying(*says)) as server:
        theirs: list[Any] = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "How much?"}]
        for _ in says:
            completion = ask_theirs(client, server, stream=False, messages=theirs)
            theirs.append(completion.choices[0].message)
            calls = completion.choices[0].message.tool_calls or ()
            theirs += [{"role": "tool", "tool_call_id": call.id, "content": results[call.id]} for call in calls]
            if not calls:
                theirs.append({"role": "user", "content": "And then?"})
        expected = [request.json()["messages"] for request in server.requests]
    assert [len(turns) for turns in ours] == [2, 4, 8, 10]
    for mine, other in zip(ours, expected):
        assert mine == [in_request(turn) if turn["role"] == "assistant" else turn for turn in other]
