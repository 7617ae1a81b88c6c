"""Official clients as oracles: each reads recordings over a loopback server, and its pieces are joined as it says."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import pytest
import readings
from profiles import BY_NAME, Profile
from recordings import Ours, Recording, bodies_of, calls_of, recordings_of, replaying

HI = [{"role": "user", "content": "Hi"}]


@attrs.define
class Official:
    """What an official client says; calls are ids, names and arguments."""

    texts: dict[int, str] = attrs.Factory(dict)
    reasoning: dict[int, str] = attrs.Factory(dict)
    finish: dict[int, str | None] = attrs.Factory(dict)
    calls: dict[int, list[Any]] = attrs.Factory(dict)
    usage: Any = None
    id: str | None = None
    model: str | None = None
    error: str | None = None
    #: Whatever else one client gives.
    other: Any = None

    def add(self, text: str | None = "", reasoning: str | None = "", at: int = 0) -> None:
        self.texts[at] = self.texts.get(at, "") + (text or "")
        self.reasoning[at] = self.reasoning.get(at, "") + (reasoning or "")


@attrs.frozen(kw_only=True)
class Client:
    """One client: how it is made for a server that replays recordings, and how it reads one of them."""

    #: As oracle_exceptions.toml names it.
    name: str
    module: str
    profile: Profile
    make: Callable[[str], Any]
    read: Callable[[Any, Recording], Official]
    content_type: str = "text/event-stream"
    #: Finds the id of a recording in the path of a request.
    at: Callable[[str], str] = lambda path: path.split("/")[1]
    #: The body that is replayed.
    body: Callable[[Recording], bytes] = lambda recording: recording.body
    #: By the name of a field: why the client differs from us there, found in the bodies of the events.
    causes: dict[str, Callable[[list[Any]], bool]] = attrs.Factory(dict)
    #: Whether arguments are compared as they are written.
    exact: bool = False
    #: Recordings that it cannot read, or that are another client's.
    reads: Callable[[list[Any]], bool] = lambda bodies: True
    #: How the counts compare: "same"; "part", of which the client knows a part; "other", which `more` compares.
    usage: str = "same"
    #: Whether it gives the answer before an error.
    compares_after_error: bool = False
    #: Compares what only this client gives.
    more: Callable[[Ours, Official, list[Any]], None] = lambda ours, theirs, bodies: None

    @property
    def streams(self) -> list[Recording]:
        chosen = [recording for recording in recordings_of(*self.profile.apis) if recording.status == 200]
        return [recording for recording in chosen if self.reads(self.profile.bodies(recording.body))]

    @contextlib.contextmanager
    def ready(self) -> Iterator[Callable[[Recording], Official]]:
        """A function that has the client read a recording."""
        pytest.importorskip(self.module)
        bodies = {**bodies_of(self.streams), **{recording.id: self.body(recording) for recording in self.streams}}
        with replaying(bodies, at=self.at, content_type=self.content_type) as url:
            client = self.make(url)
            yield lambda recording: self.read(client, recording)
            if hasattr(client, "close"):
                client.close()


def base(client: Any, recording: Recording) -> Any:
    return client.with_options(base_url=f"{str(client.base_url).rstrip('/')}/{recording.id}")


# -- Anthropic ---------------------------------------------------------------------------------------------------------


def make_anthropic(url: str) -> Any:
    import anthropic

    return anthropic.Anthropic(base_url=url, api_key="none", max_retries=0)


def make_anthropic_bedrock(url: str) -> Any:
    import anthropic

    return anthropic.AnthropicBedrock(api_key="none", aws_region="us-east-1", base_url=url, max_retries=0)


def read_anthropic(client: Any, recording: Recording) -> Official:
    made = Official()
    here = client if recording.api.startswith("invoke") else base(client, recording)
    with here.messages.stream(model=recording.id, max_tokens=9, messages=HI) as stream:
        for event in stream:
            if event.type == "message_stop":
                break
        message = stream.current_message_snapshot
    made.id, made.model, made.finish[0] = message.id, message.model, message.stop_reason
    for block in message.content:
        made.add(getattr(block, "text", ""), getattr(block, "thinking", ""))
    made.calls[0] = [[block.id, block.name, block.input] for block in message.content if block.type == "tool_use"]
    made.usage = message.usage.model_dump(mode="json", exclude_unset=True)
    made.other = [
        {key: value for key in ("thinking", "signature", "data") if (value := getattr(block, key, None))}
        for block in message.content
        if block.type in ("thinking", "redacted_thinking")
    ]
    return made


def more_of_anthropic(ours: Ours, theirs: Official, bodies: list[Any]) -> None:
    found = readings.thoughts_of(ours.answer)
    assert [{key: value for key, value in thought.items() if key != "type"} for thought in found] == theirs.other


def has_counts_the_client_does_not_merge(bodies: list[Any]) -> bool:
    return "iterations" in (readings.anthropic_messages(bodies).usage or {})


# -- OpenAI ------------------------------------------------------------------------------------------------------------


def make_openai(url: str) -> Any:
    import openai

    return openai.OpenAI(base_url=url, api_key="none", max_retries=0)


def read_chat(client: Any, recording: Recording) -> Official:
    import openai

    made, calls = Official(), {}
    try:
        with base(client, recording).chat.completions.create(model="m", messages=HI, stream=True) as stream:
            for chunk in stream:
                made.usage = chunk.usage.model_dump(exclude_unset=True) if chunk.usage else made.usage
                for choice in chunk.choices or ():
                    _add_chat_choice(made, calls, choice)
    except openai.APIError as exc:
        made.error = str(exc).split("\n")[0]
    for at, found in calls.items():
        made.calls[at] = [[found[key]["id"], found[key]["name"], found[key]["arguments"]] for key in sorted(found)]
    return made


def _add_chat_choice(made: Official, calls: dict[int, Any], choice: Any) -> None:
    delta = choice.delta
    if delta is None:
        return
    extra = delta.model_extra or {}
    made.add(delta.content, extra.get("reasoning_content") or extra.get("reasoning"), choice.index)
    if choice.finish_reason:
        made.finish[choice.index] = choice.finish_reason
    for fragment in delta.tool_calls or ():
        new = {"id": "", "name": "", "arguments": ""}
        call = calls.setdefault(choice.index, {}).setdefault(fragment.index, new)
        call["id"] += fragment.id or ""
        if fragment.function:
            call["name"] += fragment.function.name or ""
            call["arguments"] += fragment.function.arguments or ""


def _deltas(bodies: list[Any]) -> Iterator[dict[str, Any]]:
    for body in bodies:
        for choice in body.get("choices") or []:
            yield choice.get("delta") or {}


def has_content_parts(bodies: list[Any]) -> bool:
    """The client hands out lists where text is promised; Mistral's own client knows them, and is asked too."""
    return any(isinstance(delta.get("content"), list) for delta in _deltas(bodies))


def has_reasoning_elsewhere(bodies: list[Any]) -> bool:
    return has_content_parts(bodies) or any(
        delta.get("reasoning_details") and not (delta.get("reasoning") or delta.get("reasoning_content"))
        for delta in _deltas(bodies)
    )


def has_calls_the_index_does_not_tell_apart(bodies: list[Any]) -> bool:
    """An id that comes again, or for the first time at an index that another has, or calls without an index."""
    ids: dict[Any, Any] = {}
    for delta in _deltas(bodies):
        for fragment in delta.get("tool_calls") or []:
            at = fragment.get("index")
            if at is None or (fragment.get("id") and at in ids):
                return True
            ids.setdefault(at, fragment.get("id"))
    return False


def has_usage_elsewhere(bodies: list[Any]) -> bool:
    return not any(body.get("usage") for body in bodies) and any(body.get("x_groq") for body in bodies)


def read_responses(client: Any, recording: Recording) -> Official:
    import openai

    made, thoughts = Official(), {}
    try:
        with base(client, recording).responses.create(model="m", input="Hi", stream=True) as stream:
            for event in stream:
                if made.other is not None:
                    continue  # one recording holds four responses, one after the other
                if event.type == "response.output_text.delta":
                    made.add(event.delta)
                elif event.type in ("response.reasoning_summary_text.delta", "response.reasoning_text.delta"):
                    numbers = getattr(event, "summary_index", None), getattr(event, "content_index", None)
                    thoughts[event.output_index, numbers] = (
                        thoughts.get((event.output_index, numbers), "") + event.delta
                    )
                elif event.type in readings.RESPONSE_ENDS:
                    made.other = event.response
    except openai.APIError as exc:
        made.error = exc.message
        return made
    final = made.other
    made.add(reasoning="\n\n".join(thoughts.values()))
    made.id, made.model = final.id, final.model
    made.usage = final.usage and final.usage.model_dump(exclude_unset=True)
    made.finish[0] = final.incomplete_details.reason if final.incomplete_details else final.status
    made.calls[0] = [
        [call.call_id, call.name, json.loads(call.arguments) if call.type == "function_call" else call.input]
        for call in final.output
        if call.type in readings.RESPONSE_CALLS
    ]
    return made


def more_of_responses(ours: Ours, theirs: Official, bodies: list[Any]) -> None:
    if theirs.error is None and not has_an_empty_output(bodies):
        assert ours.answer.content == theirs.other.output_text


def has_an_empty_output(bodies: list[Any]) -> bool:
    final = next((body["response"] for body in bodies if body["type"] in readings.RESPONSE_ENDS), None)
    return final is not None and not final["output"]


def has_calls_of_the_providers_own(bodies: list[Any]) -> bool:
    tools = [tool for body in bodies if body["type"] == "response.created" for tool in body["response"]["tools"]]
    custom = {tool["name"] for tool in tools if tool["type"] == "custom"}
    output = (readings.final_response(bodies) or {}).get("output", [])
    return any(item["type"] == "custom_tool_call" and item["name"] not in custom for item in output)


# -- Ollama ------------------------------------------------------------------------------------------------------------


def read_ollama(url: str, recording: Recording) -> Official:
    import ollama

    made, is_generate = Official(), recording.api == "ollama-generate"
    client = ollama.Client(host=f"{url}/{recording.id}")
    for part in client.generate("m", "Hi", stream=True) if is_generate else client.chat("m", HI, stream=True):
        message = part if is_generate else part.message
        made.add(part.response if is_generate else message.content, message.thinking)
        for call in (() if is_generate else message.tool_calls) or ():
            found = made.calls.setdefault(0, [])
            found.append([f"call_{len(found)}", call.function.name, dict(call.function.arguments)])  # it knows no ids
        if part.done:
            made.finish[0] = part.done_reason
            fields = part.model_dump(exclude_unset=True)
            made.usage = {key: value for key, value in fields.items() if key.endswith(("_count", "_duration"))}
    client._client.close()
    return made


# -- Google ------------------------------------------------------------------------------------------------------------


def make_gemini(url: str) -> Any:
    from google import genai

    return genai.Client(api_key="none", http_options=genai.types.HttpOptions(base_url=url))


def read_gemini(client: Any, recording: Recording) -> Official:
    made = Official(other=[])
    for chunk in client.models.generate_content_stream(model=recording.id, contents="Hi"):
        if chunk.usage_metadata and chunk.usage_metadata.prompt_token_count is not None:
            made.usage = chunk.usage_metadata.model_dump(mode="json", by_alias=True, exclude_none=True)
        for candidate in chunk.candidates or ():
            at = candidate.index or 0
            for part in (candidate.content and candidate.content.parts) or ():
                made.add(**{"reasoning" if part.thought else "text": part.text}, at=at)
                if part.function_call:
                    call, found = part.function_call, made.calls.setdefault(at, [])
                    found.append([call.id or f"call_{len(found)}", call.name, call.args or {}])
                if part.thought_signature:
                    made.other.append(base64.b64encode(part.thought_signature).decode().rstrip("="))
            if candidate.finish_reason:
                made.finish[at] = candidate.finish_reason.value
    return made


def more_of_gemini(ours: Ours, theirs: Official, bodies: list[Any]) -> None:
    parts = [
        part
        for body in bodies
        for candidate in body.get("candidates") or []
        for part in (candidate.get("content") or {}).get("parts") or []
    ]
    signatures = [part["thoughtSignature"].rstrip("=") for part in parts if "thoughtSignature" in part]
    assert [found.replace("-", "+").replace("_", "/") for found in signatures] == theirs.other


def has_calls_in_pieces(bodies: list[Any]) -> bool:
    return "willContinue" in json.dumps(bodies)


# -- Cohere ------------------------------------------------------------------------------------------------------------


def make_cohere(url: str) -> Any:
    import httpx

    transport = httpx.Client()
    transport.headers["x-base"] = url
    return transport


def read_cohere_v2(transport: Any, recording: Recording) -> Official:
    import cohere

    made, calls = Official(), []
    client = cohere.ClientV2("none", base_url=f"{transport.headers['x-base']}/{recording.id}", httpx_client=transport)
    for event in client.chat_stream(model="m", messages=HI):
        if event.type == "message-start":
            made.id = event.id
        elif event.type in ("content-start", "content-delta"):
            made.add(event.delta.message.content.text, event.delta.message.content.thinking)
        elif event.type == "tool-plan-delta":
            made.add(reasoning=event.delta.message.tool_plan)
        elif event.type == "tool-call-start":
            call = event.delta.message.tool_calls
            calls.append([call.id, call.function.name, call.function.arguments])
        elif event.type == "tool-call-delta":
            calls[event.index][2] += event.delta.message.tool_calls.function.arguments
        elif event.type == "message-end":
            made.finish[0], made.usage = event.delta.finish_reason, event.delta.usage.model_dump(exclude_unset=True)
    made.calls[0] = calls
    return made


def has_no_arguments(bodies: list[Any]) -> bool:
    return any(not call.arguments or call.arguments == "{}" for call in (readings.cohere_v2(bodies).calls or {})[0])


def read_cohere_v1(transport: Any, recording: Recording) -> Official:
    """It reads lines only; where they end, it ends too, and says nothing of it."""
    import cohere

    made, last = Official(error=""), None
    client = cohere.Client("none", base_url=f"{transport.headers['x-base']}/{recording.id}", httpx_client=transport)
    for event in client.chat_stream(model="m", message="Hi"):
        kind = getattr(event, "event_type", None)  # what it does not know, it gives as it came
        if kind == "stream-start":
            made.id = event.generation_id
        elif kind in ("text-generation", "tool-calls-chunk"):
            made.add(event.text)
        elif kind == "stream-end":
            made.finish[0], last, made.error = event.finish_reason or event.response.finish_reason, event.response, None
    if last is None or made.finish[0] in readings.COHERE_FAILURES:
        made.error = ""
        return made
    made.add("" if made.texts.get(0) else last.text)
    made.id = made.id or last.generation_id or last.response_id
    if last.tool_calls is not None:
        made.calls[0] = [[f"call_{at}", call.name, call.parameters] for at, call in enumerate(last.tool_calls)]
    counted = last.meta and (last.meta.tokens or last.meta.billed_units)
    made.other = (counted.input_tokens or 0, counted.output_tokens or 0) if counted else None
    return made


def more_of_cohere_v1(ours: Ours, theirs: Official, bodies: list[Any]) -> None:
    usage = ours.answer.usage
    assert theirs.other is None or (usage and (usage.prompt_tokens, usage.completion_tokens)) == theirs.other


# -- AWS ---------------------------------------------------------------------------------------------------------------


def make_bedrock(url: str) -> Any:
    from botocore.config import Config
    from botocore.session import Session

    session = Session()
    session.set_credentials("id", "secret")
    config = Config(retries={"max_attempts": 0}, parameter_validation=True)
    return session.create_client("bedrock-runtime", region_name="us-east-1", endpoint_url=url, config=config)


def read_converse(client: Any, recording: Recording) -> Official:
    """Blobs are as they were on the wire."""
    made, calls, thoughts = Official(), {}, {}
    messages = [{"role": "user", "content": [{"text": "Hi"}]}]
    for event in client.converse_stream(modelId=recording.id, messages=messages)["stream"]:
        ((name, body),) = event.items()
        at = body.get("contentBlockIndex", 0)
        if name == "messageStop":
            made.finish[0] = body["stopReason"]
        elif name == "metadata":
            made.usage = body.get("usage")
        elif name == "contentBlockStart" and "toolUse" in body["start"]:
            calls[at] = {"arguments": "", **body["start"]["toolUse"]}
        elif name == "contentBlockDelta":
            delta = body["delta"]
            made.add(delta.get("text"), delta.get("reasoningContent", {}).get("text"))
            if "toolUse" in delta:
                calls[at]["arguments"] += delta["toolUse"]["input"]
            for key, piece in delta.get("reasoningContent", {}).items():
                thought = thoughts.setdefault(at, {})
                text = base64.b64encode(piece).decode() if isinstance(piece, bytes) else piece
                thought[key] = thought.get(key, "") + text
    made.calls[0] = [
        [call["toolUseId"], call["name"], json.loads(call["arguments"] or "{}")] for call in calls.values()
    ]
    made.other = list(thoughts.values())
    return made


def more_of_converse(ours: Ours, theirs: Official, bodies: list[Any]) -> None:
    reasoning = ours.answer.to_message().reasoning
    details = (reasoning.details if reasoning else None) or []
    hidden = ("redactedContent",)
    found = [
        {**detail.get("reasoningText", {}), **{key: detail[key] for key in hidden if key in detail}}
        for detail in details
    ]
    assert found == theirs.other
    made = [list(call) for call in calls_of(ours.answer.tool_calls)]
    assert [call for call in theirs.calls[0] if call in made] == made
    raw = (ours.answer.usage.raw if ours.answer.usage else None) or {}
    assert {key: raw.get(key) for key in theirs.usage or {}} == (theirs.usage or {})


def has_calls_that_the_host_ran(bodies: list[Any]) -> bool:
    starts = [body["contentBlockStart"]["start"] for body in bodies if "contentBlockStart" in body]
    return any(start.get("toolUse", {}).get("type") == "server_tool_use" for start in starts)


def has_counts_that_the_client_does_not_know(bodies: list[Any]) -> bool:
    return any("serverToolUsage" in body.get("metadata", {}).get("usage", {}) for body in bodies)


def more_of_anthropic_bedrock(ours: Ours, theirs: Official, bodies: list[Any]) -> None:
    assert ours.answer.usage is not None
    assert ours.answer.usage.completion_tokens == theirs.usage["output_tokens"]


def is_for_anthropics_client(bodies: list[Any]) -> bool:
    """Whole answers that are Messages: the older format that these models have too, it does not know."""
    reading = readings.bedrock_invoke(bodies)
    return bool(bodies) and bodies[0].get("type") == "message_start" and reading.ended and reading.error is None


CLIENTS = [
    Client(
        name="anthropic",
        module="anthropic",
        profile=BY_NAME["anthropic_messages"],
        make=make_anthropic,
        read=read_anthropic,
        causes={"usage": has_counts_the_client_does_not_merge},
        more=more_of_anthropic,
    ),
    Client(
        name="openai",
        module="openai",
        profile=BY_NAME["openai_chat"],
        make=make_openai,
        read=read_chat,
        exact=True,
        compares_after_error=True,
        reads=lambda bodies: not has_content_parts(bodies),
        causes={
            "reasoning": has_reasoning_elsewhere,
            "calls": has_calls_the_index_does_not_tell_apart,
            "usage": has_usage_elsewhere,
        },
    ),
    Client(
        name="openai, responses",
        module="openai",
        profile=BY_NAME["openai_responses"],
        make=make_openai,
        read=read_responses,
        causes={"calls": has_an_empty_output, "calls of the provider's own": has_calls_of_the_providers_own},
        more=more_of_responses,
    ),
    Client(
        name="ollama",
        module="ollama",
        profile=BY_NAME["ollama"],
        make=lambda url: url,
        read=read_ollama,
        content_type="application/x-ndjson",
    ),
    Client(
        name="google-genai",
        module="google.genai",
        profile=BY_NAME["gemini"],
        make=make_gemini,
        read=read_gemini,
        at=lambda path: path.rpartition("/")[2].partition(":")[0],
        # The client asks for SSE and can read nothing else: arrays are sent to it as events.
        body=lambda recording: b"".join(
            b"data: " + json.dumps(body).encode() + b"\r\n\r\n" for body in readings.sse_bodies(recording.body)
        ),
        causes={"calls": has_calls_in_pieces},
        usage="part",
        more=more_of_gemini,
    ),
    Client(
        name="cohere",
        module="cohere",
        profile=BY_NAME["cohere_v2"],
        make=make_cohere,
        read=read_cohere_v2,
        exact=True,
        causes={"calls": has_no_arguments},
    ),
    Client(
        name="cohere, v1",
        module="cohere",
        profile=BY_NAME["cohere_v1"],
        make=make_cohere,
        read=read_cohere_v1,
        content_type="application/stream+json",
        usage="other",
        more=more_of_cohere_v1,
    ),
    Client(
        name="botocore",
        module="botocore",
        profile=BY_NAME["bedrock_converse"],
        make=make_bedrock,
        read=read_converse,
        content_type="application/vnd.amazon.eventstream",
        at=lambda path: path.split("/")[2],
        causes={"calls": has_calls_that_the_host_ran, "usage": has_counts_that_the_client_does_not_know},
        more=more_of_converse,
    ),
    Client(
        name="anthropic, bedrock",
        module="anthropic",
        profile=BY_NAME["bedrock_invoke"],
        make=make_anthropic_bedrock,
        read=read_anthropic,
        content_type="application/vnd.amazon.eventstream",
        at=lambda path: path.split("/")[2],
        reads=is_for_anthropics_client,
        usage="other",
        more=more_of_anthropic_bedrock,
    ),
]
