"""
Mistral's recorded responses, each read by us and by Mistral's own client, which knows what OpenAI's does not: content
that is a list of parts, some of them thoughts.

Where the two differ is written down by cause, each with a stream by hand that shows it.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from choice_streams import Captured, answering
from official_clients import Official
from readings import sse_bodies
from recordings import Ours, Recording, recordings_of

import anyllm
from anyllm import ContentPart, Message, Reasoning, errors
from anyllm.errors import AnyLLMError, APIError, IncompleteStreamError, ServerError
from anyllm.providers.table import lookup
from anyllm.wire._base.protocols import Dialect

ALL = [recording for recording in recordings_of("chat") if recording.provider == "mistral"]
STREAMS = [recording for recording in ALL if recording.status == 200]
REFUSALS = [recording for recording in ALL if recording.status != 200]

HI = [{"role": "user", "content": "Hi"}]
ONE_TRY = anyllm.StreamingOptions(retry=anyllm.Retry(attempts=1))
#: What the official client gives for an id that was not sent. Mistral's own hosts write it, too.
NO_ID = "null"


def each(recordings: list[Recording]) -> Any:
    """A test for each. What is by hand needs no recordings, and so is not marked as what does."""
    cases = [pytest.param(one, id=one.id, marks=pytest.mark.recordings) for one in recordings]
    return pytest.mark.parametrize("recording", cases)


def dialect() -> Dialect:
    row = lookup.find("mistral")
    assert row is not None
    return row.dialect


def read(body: bytes) -> Ours:
    return Ours(dialect(), [body])


# -- the official client -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    """The official client; each call says whom it is for."""
    with pytest.MonkeyPatch.context() as patch, pytest.importorskip("mistralai.client").Mistral(api_key="none") as made:
        patch.setenv("NO_PROXY", "*")
        patch.delenv("MISTRAL_SDK_TELEMETRY", raising=False)  # it would tell Mistral of every call
        yield made


def replayed(recording: Recording) -> contextlib.AbstractContextManager[tuple[str, Captured]]:
    kind = "text/event-stream" if recording.status == 200 else "application/json"
    return answering(recording.body, recording.about.get("content_type") or kind, recording.status)


def read_officially(client: Any, body: bytes) -> Official:
    """A stream as the official client gives it, its pieces joined as its types mean them."""
    from mistralai.client.errors import MistralError

    made = Official(usage={})
    with answering(body, "text/event-stream") as (url, _):
        try:
            with client.chat.stream(model="m", messages=HI, server_url=url) as stream:
                for event in stream:
                    _add_chunk(made, event.data)
        except MistralError as exc:
            made.error = str(exc)
    return made


def _add_chunk(made: Official, chunk: Any) -> None:
    if chunk.usage:
        made.usage = chunk.usage.model_dump(exclude_unset=True)
    for choice in chunk.choices:
        at, content = choice.index, choice.delta.content or ""
        parts = [] if isinstance(content, str) else content
        thoughts = [thought for part in parts if part.type == "thinking" for thought in part.thinking]
        made.add(content if isinstance(content, str) else _text_in(parts), _text_in(thoughts), at)
        if choice.finish_reason:
            made.finish[at] = choice.finish_reason
        for fragment in choice.delta.tool_calls or ():
            _add_fragment(made.calls.setdefault(at, []), fragment)


def _add_fragment(calls: list[dict[str, Any]], fragment: Any) -> None:
    """A fragment with a name begins a call; one without goes on with that of its index, whatever its id is."""
    function = fragment.function
    here = [call for call in calls if call["index"] == fragment.index]
    again = fragment.id not in (None, NO_ID) and any(call["id"] == fragment.id for call in here)
    if not here or (function.name and not again):
        here = [{"index": fragment.index, "id": fragment.id, "name": function.name, "arguments": ""}]
        calls += here
    arguments = function.arguments
    here[-1]["arguments"] += arguments if isinstance(arguments, str) else json.dumps(arguments)


def _text_in(parts: list[Any]) -> str:
    return "".join(part.text for part in parts if part.type == "text")


# -- where we differ ---------------------------------------------------------------------------------------------------


def is_no_chunk(body: dict[str, Any]) -> bool:
    return any(body.get(key) is None for key in ("id", "model", "choices"))


def has_half_a_choice(body: dict[str, Any]) -> bool:
    return any(key not in choice for choice in body.get("choices") or () for key in ("index", "delta", "finish_reason"))


def has_half_a_call(body: dict[str, Any]) -> bool:
    functions = [call.get("function") or {} for delta in _deltas(body) for call in delta.get("tool_calls") or ()]
    return any(function.get(key) is None for function in functions for key in ("name", "arguments"))


def has_parts_without_type(body: dict[str, Any]) -> bool:
    return any("type" not in part for part in _parts(body))


def has_parts_of_new_types(body: dict[str, Any]) -> bool:
    return any("text" in part and part.get("type") != "text" for part in _parts(body))


def has_reasoning_beside_the_content(body: dict[str, Any]) -> bool:
    return any(delta.get(key) for delta in _deltas(body) for key in ("reasoning_content", "reasoning"))


def _deltas(body: dict[str, Any]) -> list[dict[str, Any]]:
    return [choice.get("delta") or {} for choice in body.get("choices") or ()]


def _parts(body: dict[str, Any]) -> list[dict[str, Any]]:
    return [part for delta in _deltas(body) if isinstance(delta.get("content"), list) for part in delta["content"]]


def event(delta: Any, finish: Any = None, **fields: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "a", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice], **fields}


def sse(*events: dict[str, Any]) -> bytes:
    return b"".join(b"data: %b\n\n" % json.dumps(event).encode() for event in events) + b"data: [DONE]\n\n"


def fragment(name: str, arguments: str, **fields: Any) -> dict[str, Any]:
    return {**fields, "function": {"name": name, "arguments": arguments}}


def calls(*deltas: list[dict[str, Any]]) -> bytes:
    """A stream of fragments of calls, and of nothing else."""
    return sse(*(event({"tool_calls": delta}) for delta in deltas), event({}, "tool_calls"))


Differences = dict[str, tuple[Callable[[dict[str, Any]], bool], str, bytes]]
TEXT, END = event({"content": "So"}), event({"content": ""}, "stop")

#: What the official client fails on, why we do not, and a stream of it.
FAILURES: Differences = {
    "error": (
        is_no_chunk,
        "what is no chunk is for it a failed validation; an error in the stream is raised by us as what it is",
        sse(TEXT, {"object": "error", "message": "Overloaded.", "type": "overloaded", "code": "1"}),
    ),
    "choice": (
        has_half_a_choice,
        "it demands a finish_reason, null or not, of every choice; we need none until the end",
        sse({**TEXT, "choices": [{"index": 0, "delta": {"content": "So"}}]}, END),
    ),
    "call": (
        has_half_a_call,
        "it demands a name, empty or not, of every fragment; OpenAI's form leaves it out",
        calls([fragment("f", "{", id="k", index=0)], [{"index": 0, "function": {"arguments": "}"}}]),
    ),
    "part": (
        has_parts_without_type,
        "it tells parts by their type; we take text for text without one",
        sse(event({"content": [{"text": "So"}]}), END),
    ),
}
#: What the official client leaves out, why we do not, and a stream of it.
OMISSIONS: Differences = {
    "text": (
        has_parts_of_new_types,
        "it hands out a part of a type that it does not know as it came; we give the text in it",
        sse(event({"content": [{"type": "new", "text": "So"}]}), END),
    ),
    "reasoning": (
        has_reasoning_beside_the_content,
        "it knows thoughts in the content only; the models of others that Mistral hosts have keys of their own",
        sse(event({"reasoning_content": "Hm"}), TEXT, END),
    ),
}


def causes_in(differences: Differences, bodies: list[dict[str, Any]]) -> set[str]:
    return {name for name, (cause, _, _) in differences.items() if any(cause(body) for body in bodies)}


def assert_same(ours: Ours, theirs: Official, bodies: list[dict[str, Any]]) -> None:
    """But for the differences; where one of us stops at an error, one has what the other has begun with."""
    assert theirs.error is None or causes_in(FAILURES, bodies), theirs.error
    omitted = causes_in(OMISSIONS, bodies)
    # Which of us stops at what event differs; a finish reason that is an error is raised by us as one.
    stopped = theirs.error is not None or isinstance(ours.error, APIError)
    choices = {choice.index: choice for choice in ours.answer.choices}
    assert stopped or set(choices) == set(theirs.texts)
    for at in set(choices) & set(theirs.texts):
        message, reasoning = choices[at].message, choices[at].message.reasoning
        if "text" not in omitted:
            assert_same_text(message.content or "", theirs.texts[at], stopped)
        if "reasoning" not in omitted:
            assert_same_text((reasoning and reasoning.content) or "", theirs.reasoning[at], stopped)
        if not stopped:
            assert choices[at].raw_finish_reason == theirs.finish.get(at)
            assert [(call.id or NO_ID, call.name, parsed(call.arguments)) for call in message.tool_calls] == [
                (call["id"] or NO_ID, call["name"], parsed(call["arguments"])) for call in theirs.calls.get(at, ())
            ]
    if not stopped:
        counts = {name: count for name, count in theirs.usage.items() if isinstance(count, int)}
        raw = (ours.answer.usage and ours.answer.usage.raw) or {}
        assert bool(raw) == bool(counts)
        assert {name: raw.get(name) for name in counts} == counts


def assert_same_text(ours: str, theirs: str, stopped: bool) -> None:
    common = min(len(ours), len(theirs)) if stopped else None
    assert ours[:common] == theirs[:common]


def parsed(arguments: str) -> Any:
    """Arguments as JSON; as they are, where the answer ended in the middle of them."""
    try:
        return json.loads(arguments or "{}")
    except ValueError:
        return arguments


@pytest.mark.long
@pytest.mark.parametrize("name", FAILURES)
def test_what_the_official_client_fails_on_is_read(name: str, client: Any) -> None:
    """Else it is no difference any more, and its line is to be taken out."""
    body = FAILURES[name][2]
    ours, theirs = read(body), read_officially(client, body)
    assert theirs.error is not None
    assert_same(ours, theirs, sse_bodies(body))
    if name == "error":
        assert type(ours.error) is errors.OverloadedError
        assert "Overloaded." in str(ours.error)
    else:
        assert ours.error is None
    assert ours.answer.content == "So" or [call.parse() for call in ours.answer.tool_calls] == [{}]


@pytest.mark.long
@pytest.mark.parametrize("name", OMISSIONS)
def test_what_the_official_client_leaves_out_is_read(name: str, client: Any) -> None:
    body = OMISSIONS[name][2]
    ours, theirs = read(body), read_officially(client, body)
    assert theirs.error is ours.error is None
    assert (theirs.texts[0], theirs.reasoning[0]) != (ours.answer.content, ours.answer.reasoning)
    assert_same(ours, theirs, sse_bodies(body))
    assert ours.answer.content == "So"
    assert ours.answer.reasoning == ("Hm" if name == "reasoning" else "")


# -- streams -----------------------------------------------------------------------------------------------------------


@pytest.mark.long
@each(STREAMS)
def test_stream_is_what_the_official_client_gives(recording: Recording, client: Any) -> None:
    ours, theirs = read(recording.body), read_officially(client, recording.body)
    assert_same(ours, theirs, sse_bodies(recording.body))
    assert_ends(ours, theirs)


def assert_ends(ours: Ours, theirs: Official) -> None:
    """An end that the official client has seen is one for us, and none is none."""
    if theirs.error is None and not isinstance(ours.error, APIError):
        ended = bool(theirs.texts) and set(theirs.texts) == set(theirs.finish)
        assert type(ours.error) is (type(None) if ended else IncompleteStreamError)


#: Ends that the official client lets pass, and what they are to us.
ENDS: dict[str, tuple[type[AnyLLMError], bytes]] = {
    "cut": (IncompleteStreamError, sse(TEXT).partition(b"data: [DONE]")[0]),
    "done": (IncompleteStreamError, sse(TEXT)),
    "error": (ServerError, sse(TEXT, event({"content": ""}, "error"))),
}


@pytest.mark.long
@pytest.mark.parametrize("name", ENDS)
def test_end_that_is_none_is_an_error(name: str, client: Any) -> None:
    kind, body = ENDS[name]
    ours, theirs = read(body), read_officially(client, body)
    assert theirs.error is None
    assert type(ours.error) is kind
    assert ours.answer.content == theirs.texts[0] == "So"
    assert_same(ours, theirs, sse_bodies(body))


OPENS = fragment("f", "", id="chatcmpl-tool-1", index=0)
#: Fragments of calls as others report them of Mistral's hosts. The id is in the first one.
REPORTED: dict[str, bytes] = {
    "neither index nor id": calls([fragment("f", "{}"), fragment("g", '{"a": 1}')]),
    "no index": calls([fragment("f", "{}", id="a"), fragment("f", '{"a": 1}', id="b")]),
    "no later id": calls([OPENS], [fragment("", '{"a', index=0)], [fragment("", '": 1}', index=0)]),
    # https://github.com/zed-industries/zed/pull/53605, https://github.com/langchain-ai/langchainjs/pull/11505
    "a later id of null": calls([OPENS], [fragment("", '{"a": 1}', id=NO_ID, index=0)]),
    # https://github.com/mistralai/mistral-vibe/issues/1127
    "another later id": calls(
        [OPENS], [fragment("", '{"a"', id="toolcall0", index=0)], [fragment("", ": 1}", index=0)]
    ),
    # https://github.com/mistralai/client-js/issues/69
    "ids of null": calls([fragment("f", "{}", id=NO_ID), fragment("g", '{"a": 1}', id=NO_ID)]),
}


@pytest.mark.long
@pytest.mark.parametrize("name", REPORTED)
def test_reported_calls_are_what_the_official_client_gives(name: str, client: Any) -> None:
    """It gives the fragments as they come; a call is the one that has a name, and what follows without one."""
    ours, theirs = read(REPORTED[name]), read_officially(client, REPORTED[name])
    assert theirs.error is ours.error is None
    assert_same(ours, theirs, sse_bodies(REPORTED[name]))
    assert ours.answer.tool_calls[-1].parse() == {"a": 1}


# -- errors ------------------------------------------------------------------------------------------------------------


def messages_in(text: str) -> list[str]:
    """The text for a person to read: a message, FastAPI's complaints, or plain text."""
    try:
        body = json.loads(text)
    except ValueError:
        title = re.search(r"<title>(.*?)</title>", text)
        return [title[1] if title else text.strip().split("\n")[0]]
    message = body.get("message", body.get("detail"))
    if isinstance(message, dict):
        message = message["detail"]
    return [message] if isinstance(message, str) else [complaint["msg"] for complaint in message]


@pytest.mark.long
@each(REFUSALS)
def test_refusal_is_an_error_that_says_what_the_official_client_says(recording: Recording, client: Any) -> None:
    from mistralai.client.errors import MistralError

    text = recording.body.decode()
    with replayed(recording) as (url, _):
        with pytest.raises(MistralError) as theirs:
            client.chat.stream(model="m", messages=HI, server_url=url)
        host = anyllm.provider("mistral", api_key="none", base_url=f"{url}/v1", options=ONE_TRY)
        with pytest.raises(APIError) as ours:
            host.completion_stream(anyllm.Context(timeout=30), {"model": "m", "messages": HI}).collect()
        host.close()
    assert type(ours.value) is type(dialect().error(recording.status, {}, recording.body))
    assert ours.value.status_code == theirs.value.status_code == recording.status
    for message in messages_in(text):
        assert message in theirs.value.body
        assert message in str(ours.value)
    assert "\n" not in str(ours.value)


# -- requests ----------------------------------------------------------------------------------------------------------

TOOL = {"type": "function", "function": {"name": "f", "description": "Does it.", "parameters": {"type": "object"}}}
STRICT = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": True}}
CALL = {"id": "abcdefghi", "type": "function", "function": {"name": "f", "arguments": "{}"}}
SHOWN = {"type": "image_url", "image_url": {"url": "https://example.com/photo.jpg", "detail": "low"}}
SO = {"type": "text", "text": "So"}
THOUGHT = {"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]}


def same(**fields: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """A call that is written alike for both."""
    return fields, fields


def thinking(reasoning: Reasoning, thought: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    theirs = {"role": "assistant", "content": [thought, SO]}
    return {"messages": [*HI, Message.assistant("So", reasoning=reasoning), *HI]}, {"messages": [*HI, theirs, *HI]}


#: Our parameters, and the official client's arguments for the same call; messages are "Hi" where none are given.
CALLS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "plain": ({}, {}),
    "sampling": same(temperature=0.2, top_p=0.5, max_tokens=5, n=2, stop=["END"]),
    "seed": ({"seed": 3}, {"random_seed": 3}),
    "tools": same(tools=[TOOL], tool_choice="required", parallel_tool_calls=False),
    "tool named": same(tools=[TOOL], tool_choice={"type": "function", "function": {"name": "f"}}),
    "schema": same(response_format=STRICT),
    "effort": same(reasoning_effort="high"),
    "image": (
        {"messages": [Message.user(["So", ContentPart.from_image(SHOWN["image_url"]["url"], detail="low")])]},
        {"messages": [{"role": "user", "content": [SO, SHOWN]}]},
    ),
    "calls": (
        {"messages": [*HI, Message.assistant("So", tool_calls=[CALL]), Message.tool("2", "abcdefghi")]},
        {
            "messages": [
                *HI,
                {"role": "assistant", "content": "So", "tool_calls": [CALL]},
                {"role": "tool", "tool_call_id": "abcdefghi", "content": "2"},
            ]
        },
    ),
    "thought": thinking(Reasoning("Hm", field="content"), THOUGHT),
    "thought, signed": thinking(Reasoning("Hm", "s", "content"), {**THOUGHT, "signature": "s"}),
    "thought of another host's": thinking(Reasoning("Hm", field="reasoning_content"), THOUGHT),
}


@pytest.mark.long
@pytest.mark.parametrize("name", CALLS)
def test_request_is_what_the_official_client_sends(name: str, client: Any) -> None:
    """No stream_options among it, which Mistral refuses."""
    ours, theirs = CALLS[name]
    params = anyllm.CompletionParams("m", **{"messages": HI, **ours})
    request = dialect().request(params, model="m", stream=True)
    with answering(sse(TEXT, END), "text/event-stream") as (url, captured):
        client.chat.stream(model="m", server_url=url, **{"messages": HI, **theirs}).close()
    body = captured.body
    for message in body["messages"]:
        message.pop("prefix", None)  # False, which it writes into each turn of the assistant
        for call in message.get("tool_calls", ()):
            del call["index"]
    assert captured.path == f"/v1{request.path}"
    assert json.loads(request.body) == body


def test_signature_of_a_thought_is_read() -> None:
    """The official client's types have it, to be sent back with the thought; it may come after the thought's text."""
    pieces = [THOUGHT, {"type": "thinking", "thinking": [], "signature": "s"}]
    ours = read(sse(*(event({"content": [piece]}) for piece in pieces), TEXT, END))
    reasoning = ours.answer.to_message().reasoning
    assert reasoning is not None
    assert (reasoning.content, reasoning.signature) == ("Hm", "s")
