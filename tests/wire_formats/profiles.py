"""
One profile for each wire format: what the conformance suite has to know of it, and nothing that it can find out.

A new format adds its profile here, its transcripts, and a reader in `readings` if responses of it are recorded.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
import readings
from aws_frames import frame
from choice_streams import ROOT
from hypothesis import strategies as st
from recordings import Ours, Recording, recordings_of

from anyllm._framing.body_events import Event, JSONEvent, events
from anyllm.providers import bedrock_invoke_families
from anyllm.wire._base.protocols import Dialect
from anyllm.wire.anthropic_messages.dialect import AnthropicMessagesDialect
from anyllm.wire.bedrock_converse.dialect import BedrockConverseDialect
from anyllm.wire.cohere_v1.dialect import CohereV1Dialect
from anyllm.wire.cohere_v2.dialect import CohereV2Dialect
from anyllm.wire.dashscope.dialect import DashScopeDialect
from anyllm.wire.gemini.dialect import GeminiDialect
from anyllm.wire.hunyuan.dialect import HunyuanDialect
from anyllm.wire.ollama.dialect import OllamaDialect
from anyllm.wire.openai_chat.dialect import OpenAIChatDialect
from anyllm.wire.openai_responses.dialect import OpenAIResponsesDialect

LIMIT = 1 << 24


def by_type(body: Any) -> Event:
    return JSONEvent(json.dumps(body))


def by_name(body: Any) -> Event:
    """Of a format whose events are {name: body}."""
    ((name, inner),) = body.items() if isinstance(body, dict) and len(body) == 1 else [("message", body)]
    return JSONEvent(json.dumps(inner), name)


def wrapped(payload: str) -> str:
    """The payload of a frame of InvokeModel: an event in base64, and a padding that hides its length."""
    return json.dumps({"bytes": base64.b64encode(payload.encode("utf-8", "surrogatepass")).decode(), "p": "abcd"})


def in_chunk(body: Any) -> Event:
    return JSONEvent(wrapped(json.dumps(body)), "chunk")


def sse(body: Any) -> bytes:
    return b"data: " + json.dumps(body).encode() + b"\n\n"


def line(body: Any) -> bytes:
    return json.dumps(body).encode() + b"\n"


def parsed(transcript: bytes) -> list[Event]:
    return list(events([transcript], max_event_bytes=LIMIT))


def invoke_events(transcript: bytes) -> list[Event]:
    """A transcript of InvokeModel has the makers' events, one on a line, without frame and base64."""
    return [
        JSONEvent(text, "error") if text.startswith('{"error": {"code"') else JSONEvent(wrapped(text), "chunk")
        for text in transcript.decode().splitlines()
    ]


def framed(found: list[Event]) -> bytes:
    """The events as AWS sends them; an error is an exception."""
    body = b""
    for event in found:
        if event.event == "error":
            error = json.loads(event.data)["error"]
            names = {":message-type": "exception", ":exception-type": error.get("code") or "throttlingException"}
            body += frame(json.dumps({"message": error.get("message")}).encode(), names)
        else:
            body += frame(event.data.encode(), {":message-type": "event", ":event-type": event.event})
    return body


@attrs.frozen(kw_only=True)
class Profile:
    """A wire format, as the suite sees it."""

    #: The name of its package and of its folder of transcripts.
    name: str
    dialect: Callable[..., Any]
    #: What the dialect calls itself where nobody says otherwise.
    provider: str
    #: A stream that says these pieces of text, one event for each, and two counts: prompt and completion.
    stream: Callable[..., list[Any]]
    #: The same answer, whole.
    whole: Callable[..., Any]
    #: A body of this event, as the decoder is fed, and as the network brings it.
    event: Callable[[Any], Event] = by_type
    sent: Callable[[Any], bytes] = sse
    #: For each event of `stream` with two pieces: "." before the end, "c" when complete, "d" when done as well.
    states: str
    #: The events of a transcript; and the transcript in other shapes that are to be read alike.
    transcript_events: Callable[[bytes], list[Event]] = parsed
    other_shapes: Callable[[bytes], list[bytes]] = lambda transcript: []
    #: Recorded APIs; the JSON of the events in a body; what they say; the same answer whole, or None.
    apis: tuple[str, ...] = ()
    bodies: Callable[[bytes], list[Any]] = readings.sse_bodies
    reading: Callable[[list[Any]], readings.Reading] = readings.Reading
    whole_of: Callable[[list[Any]], Any] = lambda bodies: None
    #: The event that would say what a whole answer says.
    whole_event: Callable[[Any], Any] | None = None
    #: What is in the body or, of a format that ends with its last event, nothing, where a decoder is done.
    done_at: str = "[DONE]"
    #: Whether errors keep the code, the type and the parameter that the body names.
    names_errors: bool = False
    #: The body of the smallest request, without and with a stream, and where it goes.
    request: tuple[Any, Any]
    paths: tuple[str, str]
    #: Its headers beside Content-Type and Accept; those of a stream alone; and what a stream accepts.
    headers: dict[str, str] = attrs.Factory(dict)
    stream_headers: dict[str, str] = attrs.Factory(dict)
    accept: str = "text/event-stream"
    #: The header with the id of a request.
    request_id_header: str = "x-request-id"
    #: The model of requests.
    model: str = "m"
    #: The body of a refusal.
    refusal: Callable[[str], Any] = lambda words: {"message": words}
    #: Parameters whose values are the provider's business.
    passes_on: str = ""
    #: What the dialect reads beside chat.
    also: tuple[str, ...] = ()
    #: Objects that are no whole answer.
    no_answers: tuple[Any, ...] = ()
    #: Keys of events and values that mean something to the decoder, for hostile input.
    keys: str = ""
    words: str = ""
    #: The class of recorded refusals whose status says something else here.
    by_status: dict[int, str] = attrs.Factory(dict)
    #: Transcripts that look whole before something follows that cannot be foreseen.
    goes_on: str = ""
    #: Whether the counts of a whole answer come under other names than those of a stream.
    counts_apart: bool = False
    #: What the first piece of a call has, and no later one.
    begins: tuple[str, ...] = ("id", "name")
    #: A module that it cannot be read without.
    needs: str = ""

    @property
    def folder(self) -> Path:
        return ROOT / self.name

    @property
    def cases(self) -> list[Path]:
        return sorted(path for path in self.folder.iterdir() if path.suffix != ".json")

    def require(self) -> None:
        """Skip the test where the module that this needs is missing."""
        if self.needs:
            pytest.importorskip(self.needs)

    def of(self, recording: Recording) -> Dialect:
        """The dialect with the switches of a recording's provider."""
        switches = {"done_is_complete": True} if recording.provider == "snowflake" else {}
        made: Dialect = self.dialect(provider=recording.provider, **switches)
        return made

    def read(self, recording: Recording, reads: list[bytes] | None = None) -> Ours:
        return Ours(self.of(recording), reads or [recording.body])

    def raws(self, bodies: list[Any]) -> list[Any]:
        """What `ChatCompletionChunk.raw` holds of these."""
        return [next(iter(body.values())) for body in bodies] if self.event is by_name else bodies

    def bodies_of_transcript(self, transcript: bytes) -> list[Any]:
        """The bodies of the events that are JSON, as `event` takes them."""
        found = []
        with contextlib.suppress(UnicodeDecodeError):
            if self.transcript_events is invoke_events:
                return [json.loads(text) for text in transcript.decode().splitlines()]
        for event in self.transcript_events(transcript):
            with contextlib.suppress(ValueError):
                body = json.loads(event.data)
                found.append({event.event: body} if self.event is by_name else body)
        return found


# -- smallest streams --------------------------------------------------------------------------------------------------

USER = {"role": "user", "content": "Hi"}
COUNTS = (3, 4)


def anthropic_stream(pieces: list[str], counts: Any = COUNTS) -> list[Any]:
    usage = {"input_tokens": counts[0], "output_tokens": 0}
    start = {"id": "m1", "model": "c", "content": [], "usage": usage}
    return [
        {"type": "message_start", "message": start},
        *(
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": piece}}
            for piece in pieces
        ),
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": counts[1]}},
        {"type": "message_stop"},
    ]


def anthropic_whole(text: str) -> Any:
    usage = {"input_tokens": 3, "output_tokens": 4}
    content = [{"type": "text", "text": text}]
    return {"id": "m1", "type": "message", "model": "c", "content": content, "stop_reason": "end_turn", "usage": usage}


def converse_stream(pieces: list[str], counts: Any = COUNTS) -> list[Any]:
    usage = {"inputTokens": counts[0], "outputTokens": counts[1]}
    deltas = [{"contentBlockDelta": {"contentBlockIndex": 0, "delta": {"text": piece}}} for piece in pieces]
    ends = [{"messageStop": {"stopReason": "end_turn"}}, {"metadata": {"usage": usage}}]
    return [{"messageStart": {"role": "assistant"}}, *deltas, *ends]


def converse_whole(text: str) -> Any:
    output = {"message": {"role": "assistant", "content": [{"text": text}]}}
    return {"output": output, "stopReason": "end_turn", "usage": {"inputTokens": 3, "outputTokens": 4}}


def v1_stream(pieces: list[str], counts: Any = COUNTS) -> list[Any]:
    start = {"event_type": "stream-start", "generation_id": "g1", "is_finished": False}
    end = {"event_type": "stream-end", "finish_reason": "COMPLETE", "response": v1_whole("", counts)}
    return [start, *({"event_type": "text-generation", "text": piece} for piece in pieces), end]


def v1_whole(text: str, counts: Any = COUNTS) -> Any:
    meta = {"tokens": {"input_tokens": counts[0], "output_tokens": counts[1]}}
    return {"text": text, "generation_id": "g1", "finish_reason": "COMPLETE", "meta": meta}


def v2_stream(pieces: list[str], counts: Any = COUNTS) -> list[Any]:
    usage = {"tokens": {"input_tokens": counts[0], "output_tokens": counts[1]}}
    deltas = [
        {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": piece}}}} for piece in pieces
    ]
    end = {"type": "message-end", "delta": {"finish_reason": "COMPLETE", "usage": usage}}
    return [{"type": "message-start", "id": "c1", "delta": {"message": {"role": "assistant"}}}, *deltas, end]


def v2_whole(text: str) -> Any:
    usage = {"tokens": {"input_tokens": 3, "output_tokens": 4}}
    message = {"role": "assistant", "content": [{"type": "text", "text": text}]}
    return {"id": "c1", "finish_reason": "COMPLETE", "message": message, "usage": usage}


def dashscope_event(message: Any, finish: Any = "null", **fields: Any) -> Any:
    return {"output": {"choices": [{"message": message, "finish_reason": finish}]}, "request_id": "9a1c", **fields}


def dashscope_stream(pieces: list[str], counts: Any = COUNTS) -> list[Any]:
    usage = {"input_tokens": counts[0], "output_tokens": counts[1]}
    end = dashscope_event({"role": "assistant", "content": ""}, "stop", usage=usage)
    return [*(dashscope_event({"role": "assistant", "content": piece}) for piece in pieces), end]


def dashscope_whole(text: str) -> Any:
    usage = {"input_tokens": 3, "output_tokens": 4}
    return dashscope_event({"role": "assistant", "content": text}, "stop", usage=usage)


def gemini_event(*parts: Any, counts: Any = None, **candidate: Any) -> Any:
    body = {"candidates": [{"content": {"parts": list(parts), "role": "model"}, **candidate}]}
    usage = {"promptTokenCount": counts[0], "candidatesTokenCount": counts[1]} if counts else None
    return {**body, "usageMetadata": usage} if usage else body


def gemini_stream(pieces: list[str], counts: Any = COUNTS) -> list[Any]:
    return [*(gemini_event({"text": piece}) for piece in pieces), gemini_event(finishReason="STOP", counts=counts)]


def hunyuan_event(key: str, message: Any, finish: str = "", **fields: Any) -> Any:
    return {"Id": "7fa2", "Created": 5, "Choices": [{"Index": 0, key: message, "FinishReason": finish}], **fields}


def hunyuan_stream(pieces: list[str], counts: Any = COUNTS) -> list[Any]:
    usage = {"PromptTokens": counts[0], "CompletionTokens": counts[1]}
    end = hunyuan_event("Delta", {"Role": "assistant", "Content": ""}, "stop", Usage=usage)
    return [*(hunyuan_event("Delta", {"Role": "assistant", "Content": piece}) for piece in pieces), end]


def hunyuan_whole(text: str) -> Any:
    usage = {"PromptTokens": 3, "CompletionTokens": 4}
    return {"Response": hunyuan_event("Message", {"Role": "assistant", "Content": text}, "stop", Usage=usage)}


def ollama_line(text: str, **fields: Any) -> Any:
    head = {"model": "m", "created_at": "2025-01-01T00:00:00Z"}
    return {**head, "message": {"role": "assistant", "content": text}, "done": False, **fields}


def ollama_stream(pieces: list[str], counts: Any = COUNTS) -> list[Any]:
    ends = {"done": True, "done_reason": "stop", "prompt_eval_count": counts[0], "eval_count": counts[1]}
    return [*map(ollama_line, pieces), ollama_line("", **ends)]


def chat_event(delta: Any, finish: str | None = None, **fields: Any) -> Any:
    return {"id": "c1", "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **fields}


def chat_stream(pieces: list[str], counts: Any = COUNTS) -> list[Any]:
    usage = {"prompt_tokens": counts[0], "completion_tokens": counts[1]}
    return [*(chat_event({"content": piece}) for piece in pieces), chat_event({}, "stop", usage=usage)]


def chat_whole(text: str) -> Any:
    usage = {"prompt_tokens": 3, "completion_tokens": 4}
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return {"id": "c1", "object": "chat.completion", "model": "m", "choices": [choice], "usage": usage}


def responses_stream(pieces: list[str], counts: Any = COUNTS) -> list[Any]:
    start = {"type": "response.created", "response": {"id": "r1", "model": "m", "tools": [], "status": "in_progress"}}
    delta = {"type": "response.output_text.delta", "item_id": "i1", "output_index": 0, "content_index": 0}
    usage = {"input_tokens": counts[0], "output_tokens": counts[1]}
    end = {"type": "response.completed", "response": {"id": "r1", "model": "m", "status": "completed", "usage": usage}}
    return [start, *({**delta, "delta": piece} for piece in pieces), end]


def responses_whole(text: str) -> Any:
    part = {"type": "output_text", "text": text, "annotations": []}
    item = {"id": "i1", "type": "message", "role": "assistant", "status": "completed", "content": [part]}
    usage = {"input_tokens": 3, "output_tokens": 4}
    return {"id": "r1", "object": "response", "model": "m", "status": "completed", "output": [item], "usage": usage}


# -- the profiles ------------------------------------------------------------------------------------------------------

PROFILES = [
    Profile(
        name="anthropic_messages",
        no_answers=({"content": "x"},),
        done_at="",
        also=("models",),
        passes_on="content",
        dialect=AnthropicMessagesDialect,
        provider="anthropic",
        stream=anthropic_stream,
        whole=anthropic_whole,
        states="....d",
        apis=("messages",),
        reading=readings.anthropic_messages,
        whole_of=lambda bodies: (
            readings.whole_anthropic_message(bodies) if readings.anthropic_messages(bodies).ended else None
        ),
        request=(
            {"model": "m", "messages": [USER], "max_tokens": 4096},
            {"model": "m", "messages": [USER], "max_tokens": 4096, "stream": True},
        ),
        paths=("/v1/messages", "/v1/messages"),
        headers={"anthropic-version": "2023-06-01"},
        refusal=lambda words: {"type": "error", "error": {"type": "api_error", "message": words}},
        keys="type message index content_block delta usage content id name model input text thinking signature data "
        "partial_json stop_reason error code detail input_tokens output_tokens cache_read_input_tokens service_tier",
        words="message_start content_block_start content_block_delta content_block_stop message_delta message_stop "
        "ping error message text thinking redacted_thinking tool_use text_delta thinking_delta signature_delta "
        "input_json_delta citations_delta server_tool_use",
    ),
    Profile(
        name="bedrock_converse",
        done_at='{"metadata":',
        refusal=lambda words: {"message": words, "__type": "Unheard.Of", "code": "Unheard.Of"},
        dialect=BedrockConverseDialect,
        provider="bedrock",
        stream=converse_stream,
        whole=converse_whole,
        event=by_name,
        sent=lambda body: framed([by_name(body)]),
        states="...cd",
        other_shapes=lambda transcript: [framed(parsed(transcript))],
        apis=("converse-stream", "converse-unary"),
        bodies=readings.converse_bodies,
        reading=readings.bedrock_converse,
        whole_of=readings.whole_converse_answer,
        request=({"messages": [{"role": "user", "content": [{"text": "Hi"}]}]},) * 2,
        paths=("/model/m/converse", "/model/m/converse-stream"),
        accept="application/vnd.amazon.eventstream",
        keys="contentBlockIndex delta start text toolUse input name toolUseId reasoningContent signature "
        "redactedContent reasoningText stopReason usage inputTokens outputTokens serviceTier type output message "
        "content error code citationsContent toolResult messageStart contentBlockStart contentBlockDelta "
        "contentBlockStop messageStop metadata throttlingException",
        words="end_turn tool_use",
        needs="botocore",
    ),
    Profile(
        name="bedrock_invoke",
        done_at="amazon-bedrock-invocationMetrics",
        dialect=bedrock_invoke_families.dialect,
        provider="bedrock_invoke",
        stream=converse_stream,
        whole=converse_whole,
        event=in_chunk,
        sent=lambda body: framed([in_chunk(body)]),
        states="...cd",
        transcript_events=invoke_events,
        other_shapes=lambda transcript: [framed(invoke_events(transcript))],
        apis=("invoke-stream", "invoke-unary"),
        bodies=readings.invoke_bodies,
        reading=readings.bedrock_invoke,
        model="us.amazon.nova-lite-v1:0",
        request=({"schemaVersion": "messages-v1", "messages": [{"role": "user", "content": [{"text": "Hi"}]}]},) * 2,
        paths=(
            "/model/us.amazon.nova-lite-v1%3A0/invoke",
            "/model/us.amazon.nova-lite-v1%3A0/invoke-with-response-stream",
        ),
        accept="application/vnd.amazon.eventstream",
        keys="type choices delta message content text outputs generation generations completion outputText results "
        "completionReason stop_reason finish_reason event_type response contentBlockDelta messageStop metadata usage "
        "output error is_finished index id amazon-bedrock-invocationMetrics amazon-bedrock-guardrailAction "
        "amazon-bedrock-trace guardrail bytes",
        words="<reasoning> </reas stop message_start stream-end INTERVENED",
        needs="botocore",
        counts_apart=True,
    ),
    Profile(
        name="cohere_v1",
        done_at="",
        dialect=CohereV1Dialect,
        provider="cohere_v1",
        stream=v1_stream,
        whole=v1_whole,
        sent=line,
        states="...d",
        apis=("cohere-v1",),
        bodies=readings.line_bodies,
        reading=readings.cohere_v1,
        whole_event=lambda body: {"event_type": "stream-end", "response": body},
        whole_of=readings.whole_cohere_v1_answer,
        request=(
            {"model": "m", "message": "Hi", "stream": False},
            {"model": "m", "message": "Hi", "stream": True},
        ),
        paths=("/v1/chat", "/v1/chat"),
        accept="application/json",
        keys="event_type text tool_calls tool_call_delta name parameters index response meta err generation_id "
        "finish_reason error message tokens input_tokens is_finished detail",
        words="stream-start text-generation tool-calls-chunk tool-calls-generation stream-end stream-error "
        "search-results citation-generation error COMPLETE ERROR null",
    ),
    Profile(
        name="cohere_v2",
        also=("models", "embeddings"),
        passes_on="role content",
        dialect=CohereV2Dialect,
        provider="cohere",
        stream=v2_stream,
        whole=v2_whole,
        states="...c",
        apis=("cohere-v2",),
        reading=readings.cohere_v2,
        request=(
            {"model": "m", "messages": [USER], "stream": False},
            {"model": "m", "messages": [USER], "stream": True},
        ),
        paths=("/v2/chat", "/v2/chat"),
        keys="type delta message content text thinking tool_plan tool_calls function arguments index id name "
        "finish_reason error usage tokens input_tokens logprobs detail",
        words="message-start content-start content-delta content-end tool-plan-delta tool-call-start tool-call-delta "
        "tool-call-end citation-start message-end error COMPLETE ERROR null",
    ),
    Profile(
        name="dashscope",
        passes_on="role tool_call_id",
        refusal=lambda words: {"code": "Unheard.Of", "message": words},
        dialect=DashScopeDialect,
        provider="dashscope",
        stream=dashscope_stream,
        whole=dashscope_whole,
        states="..c",
        request=(
            {"model": "m", "input": {"messages": [USER]}, "parameters": {"result_format": "message"}},
            {
                "model": "m",
                "input": {"messages": [USER]},
                "parameters": {"result_format": "message", "incremental_output": True},
            },
        ),
        paths=("/services/aigc/text-generation/generation",) * 2,
        stream_headers={"X-DashScope-SSE": "enable"},
        keys="output choices message content text reasoning_content tool_calls function name arguments id index "
        "finish_reason logprobs usage input_tokens output_tokens output_tokens_details prompt_tokens_details "
        "request_id code",
        words="stop null error",
        goes_on="one_of_two_ends two_choices other_events",
    ),
    Profile(
        name="gemini",
        no_answers=({"promptFeedback": {}}, {"usageMetadata": {}}),
        also=("models", "embeddings"),
        dialect=GeminiDialect,
        provider="gemini",
        stream=gemini_stream,
        whole=lambda text: gemini_event({"text": text}, finishReason="STOP", counts=COUNTS),
        states="..c",
        apis=("gemini", "gemini-unary"),
        reading=readings.gemini,
        whole_of=lambda bodies: bodies[0] if len(bodies) == 1 else None,
        request=({"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]},) * 2,
        paths=("/models/m:generateContent", "/models/m:streamGenerateContent?alt=sse"),
        refusal=lambda words: {"error": {"message": words}},
        keys="candidates content parts text thought functionCall name args finishReason index partialArgs "
        "willContinue jsonPath stringValue usageMetadata promptFeedback blockReason error thoughtSignature id "
        "executableCode logprobsResult responseId createTime",
        words="STOP $.a $.a[0] f MALFORMED_FUNCTION_CALL",
        goes_on="finish_changed",
    ),
    Profile(
        name="hunyuan",
        passes_on="role tool_call_id",
        dialect=HunyuanDialect,
        provider="hunyuan",
        stream=hunyuan_stream,
        whole=hunyuan_whole,
        states="..c",
        request=(
            {"Model": "m", "Messages": [{"Role": "user", "Content": "Hi"}]},
            {"Model": "m", "Messages": [{"Role": "user", "Content": "Hi"}], "Stream": True},
        ),
        paths=("/", "/"),
        headers={"X-TC-Action": "ChatCompletions", "X-TC-Version": "2023-09-01"},
        refusal=lambda words: {"Response": {"Error": {"Code": "Unheard.Of", "Message": words}}},
        keys="Choices Delta Message Content ReasoningContent ToolCalls Function Name Arguments Id Index FinishReason "
        "Usage PromptTokens PromptTokensDetails CachedTokens Response Error ErrorMsg Code Msg Created",
        words="stop",
    ),
    Profile(
        name="ollama",
        no_answers=({"message": []},),
        done_at="",
        also=("models", "embeddings"),
        passes_on="role tool_call_id",
        dialect=OllamaDialect,
        provider="ollama",
        stream=ollama_stream,
        whole=lambda text: ollama_stream([])[-1] | {"message": {"role": "assistant", "content": text}},
        sent=line,
        states="..d",
        apis=("ollama-chat", "ollama-generate"),
        bodies=readings.line_bodies,
        reading=readings.ollama,
        whole_of=readings.whole_ollama_answer,
        request=(
            {"model": "m", "messages": [USER], "stream": False},
            {"model": "m", "messages": [USER], "stream": True},
        ),
        paths=("/api/chat", "/api/chat"),
        accept="application/x-ndjson",
        refusal=lambda words: {"error": words},
        keys="model created_at message done done_reason error response thinking role content tool_calls function name "
        "arguments id index logprobs eval_count prompt_eval_count total_duration code status detail embeddings models",
    ),
    Profile(
        name="openai_chat",
        no_answers=({"choices": []},),
        also=("models", "embeddings"),
        passes_on="role tool_call_id content response_format stream_options tool_choice",
        begins=("name",),  # the id may come late
        goes_on="finish_repeated one_of_two_ends tools_all_index_zero audio_cut",
        dialect=OpenAIChatDialect,
        provider="openai",
        stream=chat_stream,
        whole=chat_whole,
        states="..c",
        apis=("chat",),
        by_status={404: "InvalidRequestError", 408: "ServerError"},
        reading=readings.openai_chat,
        request=(
            {"model": "m", "messages": [USER]},
            {"model": "m", "messages": [USER], "stream": True, "stream_options": {"include_usage": True}},
        ),
        paths=("/chat/completions", "/chat/completions"),
        refusal=lambda words: {"error": {"message": words}},
        keys="id choices index delta message content role tool_calls function name arguments finish_reason usage error "
        "code type detail metadata raw logprobs reasoning reasoning_content reasoning_details text signature audio "
        "x_groq prompt_tokens completion_tokens total_tokens completion_tokens_details model created",
    ),
    Profile(
        name="openai_responses",
        no_answers=({"object": "response"},),
        done_at="",
        passes_on="stream_options content",
        dialect=OpenAIResponsesDialect,
        provider="openai-responses",
        stream=responses_stream,
        whole=responses_whole,
        states="...d",
        apis=("responses",),
        names_errors=True,
        bodies=readings.response_bodies,
        reading=readings.openai_responses,
        whole_of=readings.final_response,
        request=(
            {"model": "m", "input": [USER]},
            {"model": "m", "input": [USER], "stream": True},
        ),
        paths=("/responses", "/responses"),
        refusal=lambda words: {"error": {"message": words}},
        keys="type item response output delta id content text reasoning message function_call status error usage",
        words="response.created response.output_text.delta response.completed response.output_item.added message "
        "function_call reasoning",
    ),
]

BY_NAME = {profile.name: profile for profile in PROFILES}
each_profile = pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)
each_transcript = pytest.mark.parametrize(
    ("profile", "path"),
    [pytest.param(profile, path, id=f"{profile.name}-{path.stem}") for profile in PROFILES for path in profile.cases],
)


@functools.lru_cache(maxsize=1)
def recorded() -> list[tuple[Profile, Recording]]:
    """Every recording that is read, with its profile."""
    return [(profile, recording) for profile in PROFILES for recording in recordings_of(*profile.apis)]


def each_recorded(kind: Callable[[Recording], bool]) -> Any:
    """A test for each recording of a kind; conftest.py looks for the parameter "recording"."""
    chosen = [(profile, recording) for profile, recording in recorded() if kind(recording)]
    named = [pytest.param(*pair, id=f"{pair[0].name}-{pair[1].id}") for pair in chosen]
    return pytest.mark.parametrize(("profile", "recording"), named)


def is_stream(recording: Recording) -> bool:
    return recording.status == 200 and recording.format != "json"


def odd_json(profile: Profile) -> Any:
    """A strategy: JSON of a format's own keys, and of words that mean something to its decoder."""
    return _odd_json(profile.keys, profile.words)


@functools.cache
def _odd_json(keys: str, words: str) -> Any:
    leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6)
    words_too = st.sampled_from([*words.split(), "\ud83d", "\ude00", "stop"])
    own, any_key = st.sampled_from(keys.split()), st.text(max_size=5)
    return st.recursive(
        leaves | words_too,
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(own, inner, max_size=5)
            | st.dictionaries(any_key, inner, max_size=2)
        ),
        max_leaves=15,
    )
