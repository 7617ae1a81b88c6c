"""Recorded responses, for what only one wire format has; test_conformance_recordings.py has what all have."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import readings
from choice_streams import answering
from official_clients import make_bedrock
from profiles import BY_NAME, Profile, each_recorded, is_stream, recorded
from recordings import Recording, bodies_of, marks, replaying

from anyllm._framing.body_events import events
from anyllm.types import CompletionParams, Message

pytestmark = marks([recording for _, recording in recorded()])


def each_of(*names: str, kind: Callable[[Recording], bool] = is_stream) -> Any:
    """A test for each recording of these formats."""
    apis = {api for name in names for api in BY_NAME[name].apis}
    return each_recorded(lambda recording: recording.api in apis and kind(recording))


def next_request(profile: Profile, recording: Recording) -> Any:
    """The body of the request that holds the answer, its calls' results and another question."""
    message = profile.read(recording).answer.to_message()
    results = [Message.tool("{}", call.id or "") for call in message.tool_calls]
    params = CompletionParams("m", [Message.user("Hi"), message, *results, Message.user("Go on")])
    return json.loads(profile.of(recording).request(params, model="m", stream=True).body)


@each_of("gemini")
def test_every_signature_goes_back_on_its_part(profile: Profile, recording: Recording) -> None:
    """The next request holds the parts that were signed, in their order, each with its text or call."""
    if profile.read(recording).error is not None:
        return
    contents = next_request(profile, recording)["contents"]
    sent = [part for turn in contents if turn["role"] == "model" for part in turn["parts"]]
    signed = [part for part in sent if "thoughtSignature" in part]
    came = [
        part
        for body in profile.bodies(recording.body)
        for candidate in body["candidates"]
        for part in (candidate.get("content") or {}).get("parts") or []
        if "thoughtSignature" in part
    ]
    assert [part["thoughtSignature"] for part in signed] == [part["thoughtSignature"] for part in came]
    for ours, theirs in zip(signed, came):
        if b"partialArgs" in recording.body:
            assert ours["functionCall"]["name"] == theirs["functionCall"]["name"]
        else:
            assert ours == theirs


@each_of("bedrock_converse")
def test_reasoning_is_sent_back_as_it_came(profile: Profile, recording: Recording) -> None:
    """Signatures and hidden thoughts, block by block and before all else, in the next request."""
    profile.require()
    expected = []
    for thought in readings.converse_thoughts(profile.bodies(recording.body)):
        if "redactedContent" in thought:
            expected.append({"redactedContent": thought["redactedContent"]})
        elif "signature" in thought:
            expected.append({"reasoningText": {"text": thought["text"], "signature": thought["signature"]}})
    blocks = next_request(profile, recording)["messages"][1]["content"]
    assert [block["reasoningContent"] for block in blocks if "reasoningContent" in block] == expected
    assert [set(block) for block in blocks[: len(expected)]] == [{"reasoningContent"}] * len(expected)


@each_of("anthropic_messages")
def test_thinking_is_sent_back_unchanged_and_first(profile: Profile, recording: Recording) -> None:
    """Then the text, then the calls, and after them their results."""
    reading = profile.reading(profile.bodies(recording.body))
    _, turn, after = next_request(profile, recording)["messages"]
    content = [{"type": "text", "text": turn["content"]}] if isinstance(turn["content"], str) else turn["content"]
    thoughts = [block for block in content if block["type"] in ("thinking", "redacted_thinking")]
    assert [{key: value for key, value in block.items() if value != ""} for block in thoughts] == reading.thoughts
    texts = [{"type": "text", "text": text}] if (text := reading.texts.get(0, "")) else []
    calls = [
        {"type": "tool_use", "id": call.id, "name": call.name, "input": json.loads(call.arguments or "{}")}
        for call in (reading.calls or {}).get(0, [])
    ]
    assert content[len(thoughts) :] == texts + calls
    if calls:
        assert [block.get("tool_use_id") for block in after["content"]] == [*(call["id"] for call in calls), None]


@each_of("openai_responses")
def test_items_are_sent_back_as_they_came(profile: Profile, recording: Recording) -> None:
    """The official advice for the next turn is to send the output items back; ours come in the same order."""
    bodies, message = profile.bodies(recording.body), profile.read(recording).answer.to_message()
    input_items = next_request(profile, recording)["input"]
    turn, results = input_items[1 : -1 - len(message.tool_calls)], input_items[-1 - len(message.tool_calls) : -1]
    output = (readings.final_response(bodies) or {}).get("output", [])
    if message.reasoning is not None and message.reasoning.details is not None and output:
        tools = [tool for body in bodies if body["type"] == "response.created" for tool in body["response"]["tools"]]
        custom = {tool["name"] for tool in tools if tool["type"] == "custom"}
        items = [item for item in output if item["type"] != "custom_tool_call" or item["name"] in custom]
        while items and items[-1]["type"] == "reasoning":
            items.pop()
        assert turn == items
    else:
        assert not any(item["type"] == "reasoning" and item.get("encrypted_content") for item in output)
        texts = [part["text"] for item in turn for part in item.get("content", [])]
        assert "".join(texts) == profile.reading(bodies).texts.get(0, "")
    calls = [item["call_id"] for item in turn if item.get("type") in readings.RESPONSE_CALLS]
    assert calls == [item["call_id"] for item in results]


@each_of("ollama")
def test_results_name_the_tools_that_they_are_of(profile: Profile, recording: Recording) -> None:
    """The format has no ids that every server knows: the name of the tool says which call a result answers."""
    answer = profile.read(recording).answer
    messages = next_request(profile, recording)["messages"]
    assert (messages[1]["content"], messages[1].get("thinking", "")) == (answer.content, answer.reasoning)
    assert [message["tool_name"] for message in messages[2:-1]] == [call.name for call in answer.tool_calls]


@pytest.mark.long
@each_of("cohere_v1", kind=lambda recording: recording.status != 200)
def test_refusal_is_what_the_official_client_raises(profile: Profile, recording: Recording) -> None:
    cohere = pytest.importorskip("cohere")
    import httpx

    error = profile.of(recording).error(recording.status, {}, recording.body)
    served = answering(recording.body, "application/json", recording.status)
    with served as (url, _), httpx.Client(trust_env=False) as transport:
        client = cohere.Client("none", base_url=url, httpx_client=transport)
        with pytest.raises(cohere.core.api_error.ApiError) as caught:
            client.chat(model="m", message="Hi", request_options={"max_retries": 0})
    assert (caught.value.status_code, caught.value.body) == (error.status_code, error.body)


# -- InvokeModel -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bedrock() -> Iterator[Any]:
    """The official client, and behind it any recording whose id is the model."""
    pytest.importorskip("botocore")
    bodies = bodies_of([recording for profile, recording in recorded() if profile.name == "bedrock_invoke"])
    kind = "application/vnd.amazon.eventstream"
    with replaying(bodies, at=lambda path: path.split("/")[2], content_type=kind) as url:
        client = make_bedrock(url)
        yield client
        client.close()


@each_of("bedrock_invoke")
def test_events_are_those_of_the_official_client(profile: Profile, recording: Recording, bedrock: Any) -> None:
    """It unwraps them, and leaves it to its user to know what they are."""
    from botocore.exceptions import EventStreamError

    found, bodies = [], profile.bodies(recording.body)
    stream = bedrock.invoke_model_with_response_stream(modelId=recording.id, body=b"{}")["body"]
    with contextlib.suppress(EventStreamError):
        found = [json.loads(event["chunk"]["bytes"]) for event in stream]
    assert found == bodies or profile.reading(bodies).error
    for event in events(recording.reads, max_event_bytes=1 << 24):
        assert isinstance(json.loads(base64.b64decode(json.loads(event.data).get("bytes", "e30="))), dict)


@each_of("bedrock_invoke", kind=lambda recording: recording.status == 200 and recording.format == "json")
def test_whole_answer_has_every_text(profile: Profile, recording: Recording) -> None:
    answer = profile.of(recording).response(recording.body)
    for text in texts_in(json.loads(recording.body)):
        assert text in answer.content or text in f"<reasoning>{answer.reasoning}</reasoning>{answer.content}"


def texts_in(body: dict[str, Any]) -> Iterator[str]:
    """The text of a whole answer, wherever a maker puts it."""
    choices, output = body.get("choices"), body.get("output")
    inner = (output.get("message") or {}).get("content") if isinstance(output, dict) else body.get("content")
    for part in (inner or ()) if isinstance(inner, list) else ():
        if isinstance(part.get("text"), str):
            yield part["text"]
    for choice in choices or ():
        text = (choice.get("message") or {}).get("content") or choice.get("text")
        if isinstance(text, str) and not choice.get("index"):
            yield text
    for part in [body, *(body.get("results") or body.get("outputs") or body.get("generations") or ())[:1]]:
        yield from (part[name] for name in ("outputText", "completion", "generation", "text") if part.get(name))
