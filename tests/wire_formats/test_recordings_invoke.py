"""
Recorded responses of Bedrock's InvokeModel, of whichever maker's models: read by us, plainly by this file, and by the
official clients.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import http.server
import json
import random
import re
import struct
import threading
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from recordings import Ours, Recording, each, marks, recordings_of

pytest.importorskip("botocore")

from anyllm import errors
from anyllm._framing.detect import JSONEvent, events
from anyllm.errors import AnyLLMError, APIError, IncompleteStreamError
from anyllm.providers import bedrock_invoke_families
from anyllm.types import FINISH_REASONS, ChatCompletion
from anyllm.types._accumulate import Assembler

ALL = recordings_of("invoke-stream", "invoke-unary")
ANSWERS = [recording for recording in ALL if recording.status == 200]
STREAMS = [recording for recording in ANSWERS if recording.format == "eventstream"]
WHOLE = [recording for recording in ANSWERS if recording.format == "json"]
WITH_SIZES = [recording for recording in STREAMS if recording.sizes]
REFUSALS = [recording for recording in ALL if recording.status != 200]

INVOKE = bedrock_invoke_families.dialect("bedrock_invoke")
METRICS = "amazon-bedrock-invocationMetrics"

pytestmark = marks(ALL)
each_stream = each(STREAMS)


def read(recording: Recording, reads: list[bytes] | None = None) -> Ours:
    return Ours(INVOKE, reads or [recording.body])


# -- a plain reading ---------------------------------------------------------------------------------------------------


def frames_in(body: bytes) -> Iterator[tuple[dict[str, str], bytes]]:
    """Every frame's headers and payload; half a frame at the end is none."""
    while len(body) >= 16:
        length, headers_length = struct.unpack("!II", body[:8])
        if len(body) < length:
            return
        assert binascii.crc32(body[: length - 4]) == struct.unpack("!I", body[length - 4 : length])[0]
        headers, about = body[12 : 12 + headers_length], {}
        while headers:
            size = headers[0]
            name, rest = headers[1 : 1 + size], headers[1 + size :]
            assert rest[0] == 7  # text
            (size,) = struct.unpack("!H", rest[1:3])
            about[name.decode()], headers = rest[3 : 3 + size].decode(), rest[3 + size :]
        yield about, body[12 + headers_length : length - 4]
        body = body[length:]


def payloads_in(body: bytes) -> list[dict[str, Any]]:
    """What the models' makers sent, up to an exception."""
    found = []
    for about, payload in frames_in(body):
        if about[":message-type"] != "event":
            break
        found.append(json.loads(base64.b64decode(json.loads(payload)["bytes"])))
    return found


def without_tags(text: str, ended: bool) -> tuple[str, str]:
    """The answer, and the reasoning before it; of a stream that goes on, without what may become a tag."""
    thought, opened = "", "<reasoning>"
    while text.startswith(opened):
        inner, closed, text = text[len(opened) :].partition("</reasoning>")
        thought += inner if closed or ended else re.sub("<(/(r(e(a(s(o(n(i(n(g)?)?)?)?)?)?)?)?)?)?$", "", inner)
    return ("" if not ended and opened.startswith(text) else text), thought


class Plain:
    """A recording as a person would read it, who knows each format by its keys: pieces joined, ends noted."""

    def __init__(self, payloads: list[dict[str, Any]]) -> None:
        self.text = self.thought = ""
        self.finish: str | None = None
        self.ended = False
        self.calls: dict[int, dict[str, str]] = {}
        self.given: int | None = None
        self.answer: int | None = None
        self.counts: dict[str, Any] = {}
        for payload in payloads:
            self._read(payload)
        metrics = [payload[METRICS] for payload in payloads if isinstance(payload.get(METRICS), dict)]
        if metrics and not (self.given or self.answer):
            self._count(metrics[-1], "inputTokenCount", "outputTokenCount")
        self.text, thought = without_tags(self.text, self.ended)
        self.thought += thought

    def _read(self, payload: dict[str, Any]) -> None:
        if "event_type" in payload:
            self._cohere(payload)
        elif payload.get("type") in ("message_start", "content_block_start", "content_block_delta", "message_delta"):
            self._anthropic(payload)
        elif payload.get("type") == "message_stop":
            self.ended = True
        elif isinstance(payload.get("choices"), list):
            self._chat(payload)
        elif any(name in NOVA for name in payload):
            self._nova(*next((name, body) for name, body in payload.items() if name in NOVA))
        else:
            self._generator(payload)

    def _anthropic(self, body: dict[str, Any]) -> None:
        at, delta, block = body.get("index", 0), body.get("delta", {}), body.get("content_block", {})
        self.text += delta.get("text", "") + block.get("text", "")
        self.thought += delta.get("thinking", "") + block.get("thinking", "")
        if block.get("type") == "tool_use":
            self.calls[at] = {"id": block["id"], "name": block["name"], "arguments": ""}
        if delta.get("type") == "input_json_delta" and at in self.calls:
            self.calls[at]["arguments"] += delta["partial_json"]
        self.finish = delta.get("stop_reason") or self.finish
        usage = {**body.get("usage", {}), **body.get("message", {}).get("usage", {})}
        self.counts.update({name: value for name, value in usage.items() if value is not None})
        cached = ("cache_read_input_tokens", "cache_creation_input_tokens")
        self._count(self.counts, "input_tokens", "output_tokens", *cached)

    def _nova(self, name: str, body: dict[str, Any]) -> None:
        at = body.get("contentBlockIndex", 0)
        if name == "contentBlockStart":
            call = body["start"].get("toolUse")
            if call:
                self.calls[at] = {"id": call["toolUseId"], "name": call["name"], "arguments": ""}
        elif name == "contentBlockDelta":
            self.text += body["delta"].get("text", "")
            self.thought += body["delta"].get("reasoningContent", {}).get("text", "")
            if at in self.calls:
                self.calls[at]["arguments"] += body["delta"].get("toolUse", {}).get("input", "")
        elif name == "messageStop":
            self.finish, self.ended = body["stopReason"], True
        elif name == "metadata":
            cached = ("cacheReadInputTokenCount", "cacheWriteInputTokenCount")
            self._count(body.get("usage", {}), "inputTokens", "outputTokens", *cached)

    def _cohere(self, body: dict[str, Any]) -> None:
        answer = body.get("response") or {}
        if body["event_type"] in ("text-generation", "tool-calls-chunk"):
            self.text += body.get("text") or (body.get("tool_call_delta") or {}).get("text") or ""
        if body["event_type"] == "tool-calls-generation":
            self.text = self.text or body.get("text") or ""
        for at, call in enumerate(body.get("tool_calls") or answer.get("tool_calls") or ()):
            arguments = json.dumps(call["parameters"])
            self.calls[at] = {"id": f"call_{at}", "name": call["name"], "arguments": arguments}
        if body["event_type"] == "stream-end":
            self.ended, self.finish = True, body.get("finish_reason") or answer.get("finish_reason")
            self.text = self.text or answer.get("text") or ""
            meta = answer.get("meta") or {}
            self._count(meta.get("tokens") or meta.get("billed_units") or {}, "input_tokens", "output_tokens")

    def _chat(self, body: dict[str, Any]) -> None:
        for choice in body["choices"]:
            said = choice.get("delta") or choice.get("message") or {"content": choice.get("text")}
            self.text += said.get("content") or ""
            self.thought += said.get("reasoning") or said.get("reasoning_content") or ""
            for at, call in enumerate(said.get("tool_calls") or ()):
                known = self.calls.setdefault(call.get("index", at), {"id": "", "name": "", "arguments": ""})
                known["id"] = known["id"] or call.get("id") or ""
                known["name"] = known["name"] or call["function"].get("name") or ""
                known["arguments"] += call["function"].get("arguments") or ""
            self._end(choice.get("finish_reason") or choice.get("stop_reason"))
        self._count(body.get("usage") or {}, "prompt_tokens", "completion_tokens")

    def _generator(self, body: dict[str, Any]) -> None:
        parts = body.get("outputs") or body.get("generations") or [body]
        for part in parts[:1]:
            texts = (part.get(name) for name in ("outputText", "completion", "generation", "text"))
            self.text += next((text for text in texts if isinstance(text, str)), "")
            self._end(part.get("completionReason") or part.get("stop_reason") or part.get("finish_reason"))
        trace = (body.get("amazon-bedrock-trace") or {}).get("guardrail") or {}
        if not self.ended and "blocked" in (trace.get("actionReason") or "").lower():
            self._end(body["amazon-bedrock-guardrailAction"])
        for names in (("prompt_token_count", "generation_token_count"), TITAN):
            self.counts.update({name: body[name] for name in names if body.get(name) is not None})
            if all(name in self.counts for name in names):
                self._count(self.counts, *names)

    def _end(self, reason: str | None) -> None:
        if reason:
            self.finish, self.ended = reason, True

    def _count(self, counts: dict[str, Any], given: str, answer: str, *beside: str) -> None:
        if counts.get(given) is not None or counts.get(answer) is not None:
            self.given = int(counts.get(given) or 0) + sum(int(counts.get(name) or 0) for name in beside)
            self.answer = int(counts.get(answer) or 0)


NOVA = {"messageStart", "contentBlockStart", "contentBlockDelta", "contentBlockStop", "messageStop", "metadata"}
TITAN = ("inputTextTokenCount", "totalOutputTextTokenCount")


def has_exception(recording: Recording) -> bool:
    """Whether the host broke off, or the model's maker did."""
    payloads = payloads_in(recording.body)
    said = any(payload.get("error") or payload.get("type") == "error" for payload in payloads)
    said = said or any(key.endswith("Exception") for payload in payloads for key in payload)
    said = said or Plain(payloads).finish in ("ERROR", "ERROR_TOXIC", "ERROR_LIMIT", "TIMEOUT")  # Cohere's
    return said or any(about[":message-type"] != "event" for about, _ in frames_in(recording.body))


def assert_same(answer: ChatCompletion, plain: Plain, *, counted: bool = True) -> None:
    assert answer.content == plain.text
    assert answer.reasoning == plain.thought
    assert answer.raw_finish_reason == plain.finish
    ours = [(call.id, call.name, call.arguments.strip() or "{}") for call in answer.tool_calls]
    theirs = [(call["id"], call["name"], call["arguments"].strip() or "{}") for call in plain.calls.values()]
    assert [call[:2] for call in ours] == [call[:2] for call in theirs]
    if plain.ended:
        assert [json.loads(call[2]) for call in ours] == [json.loads(call[2]) for call in theirs]
    if counted:
        figures = (answer.usage.prompt_tokens, answer.usage.completion_tokens) if answer.usage else (None, None)
        assert figures == (plain.given, plain.answer)


@each_stream
def test_stream_is_what_a_plain_reading_gives(recording: Recording) -> None:
    ours, plain = read(recording), Plain(payloads_in(recording.body))
    if has_exception(recording):
        assert isinstance(ours.error, APIError)
        return
    if recording.cut_short or not plain.ended:
        assert isinstance(ours.error, IncompleteStreamError)
    else:
        assert ours.error is None
    assert_same(ours.answer, plain, counted=plain.ended)


@each_stream
def test_chunks_have_one_form_whoever_sent_them(recording: Recording) -> None:
    seen, opened = False, 0
    payloads = payloads_in(recording.body)
    for chunk in read(recording).chunks:
        assert chunk.provider == "bedrock_invoke"
        assert chunk.raw in payloads
        for choice in chunk.choices:
            if choice.index:
                continue
            assert choice.delta.role == (None if seen else "assistant")
            seen = True
            assert choice.finish_reason in (None, *FINISH_REASONS)
            assert (choice.finish_reason is None) == (choice.raw_finish_reason is None)
            for fragment in choice.delta.tool_calls or ():
                begins = fragment.index == opened
                opened += begins
                assert begins == bool(fragment.id) == bool(fragment.name)
                assert fragment.index < opened


@each_stream
def test_answers_are_worth_having(recording: Recording) -> None:
    """Calls parse, totals add up, and no end is of an unknown kind."""
    ours = read(recording)
    if ours.error is not None:
        return
    answer = ours.answer
    assert answer.finish_reason in ("stop", "length", "tool_calls", "content_filter")
    assert all(call.is_complete for call in answer.tool_calls) or answer.finish_reason == "length"
    assert answer.usage is not None
    assert answer.usage.raw
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


@each_stream
def test_cut_at_every_event_is_never_silently_short(recording: Recording) -> None:
    """And what has come is in the partial answer."""
    payloads = payloads_in(recording.body)
    decoder, assembler = INVOKE.decoder(), Assembler()
    for fed, event in enumerate(events([recording.body], max_event_bytes=1 << 24)):
        plain = Plain(payloads[:fed])
        assert decoder.complete == plain.ended
        assert plain.ended or not decoder.done
        with contextlib.nullcontext() if plain.ended else pytest.raises(IncompleteStreamError):
            decoder.finish()
        if fed:
            assert_same(assembler.snapshot(), plain, counted=plain.ended)
        try:
            for chunk in decoder.feed(event):
                assembler.add(chunk)
        except APIError:
            assert has_exception(recording)
            return
    assert decoder.complete == Plain(payloads).ended
    if METRICS in payloads[-1]:
        assert decoder.done == decoder.complete


@each_stream
def test_cut_at_every_byte_gives_the_same_chunks(recording: Recording) -> None:
    pieces = [recording.body[at : at + 1] for at in range(len(recording.body))]
    ours, whole = read(recording, pieces), read(recording)
    assert ours.chunks == whole.chunks
    assert str(ours.error) == str(whole.error)


@pytest.mark.parametrize("recording", WITH_SIZES, ids=lambda recording: recording.id)
def test_read_sizes_do_not_matter(recording: Recording) -> None:
    assert read(recording, recording.reads).chunks == read(recording).chunks


@each_stream
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_cut_short_anywhere_is_the_whole_or_an_error(recording: Recording, data: st.DataObject) -> None:
    end = data.draw(st.integers(0, len(recording.body) - 1))
    ours, plain = read(recording, [recording.body[:end]]), Plain(payloads_in(recording.body[:end]))
    if not has_exception(recording):
        assert (ours.error is None) == plain.ended
        assert ours.error is None or isinstance(ours.error, IncompleteStreamError)


@each_stream
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 1 << 30))
def test_changed_events_raise_only_our_errors(recording: Recording, seed: int) -> None:
    """Any value of a recorded event may be of any type, or missing."""
    mutate = random.Random(seed)
    decoder, assembler = INVOKE.decoder(), Assembler()
    with contextlib.suppress(AnyLLMError):
        for payload in payloads_in(recording.body):
            changed = mutated(payload, mutate) if mutate.random() < 0.3 else payload
            data = base64.b64encode(json.dumps(changed).encode()).decode()
            for chunk in decoder.feed(JSONEvent(json.dumps({"bytes": data}), "chunk")):
                assembler.add(chunk)
        decoder.finish()
    assert assembler.snapshot() is not None


def mutated(value: Any, mutate: random.Random) -> Any:
    if mutate.random() < 0.25:
        odd = [None, True, 0, -1, 1.5, 1e300, "", "7", "\ud83d", [], [None], {}, {"text": None}, [[{}]], {"error": 1}]
        return mutate.choice(odd)
    if isinstance(value, dict):
        return {key: mutated(item, mutate) for key, item in value.items() if mutate.random() < 0.9}
    if isinstance(value, list):
        return [mutated(item, mutate) for item in value]
    return value


# -- whole answers -----------------------------------------------------------------------------------------------------


@each(WHOLE)
def test_whole_answer_is_read(recording: Recording) -> None:
    body = json.loads(recording.body)
    answer = INVOKE.response(recording.body)
    assert answer.raw == body
    assert answer.provider == "bedrock_invoke"
    assert answer.choices
    assert answer.content or answer.tool_calls or answer.reasoning or answer.finish_reason == "content_filter"
    for text in _texts(body):
        assert text in answer.content or text in f"<reasoning>{answer.reasoning}</reasoning>{answer.content}"
    assert all(call.is_complete for call in answer.tool_calls) or answer.finish_reason == "length"


def _texts(body: dict[str, Any]) -> Iterator[str]:
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


# -- errors ------------------------------------------------------------------------------------------------------------

BY_STATUS: dict[int, tuple[type[APIError], ...]] = {
    400: (errors.InvalidRequestError, errors.ModelNotFoundError),
    401: (errors.AuthenticationError,),
    403: (errors.PermissionDeniedError, errors.AuthenticationError),
    404: (errors.ModelNotFoundError, errors.InvalidRequestError),
    413: (errors.InvalidRequestError,),
    422: (errors.InvalidRequestError,),
    424: (errors.APIError,),
    429: (errors.RateLimitError, errors.OverloadedError),
}


@each(REFUSALS)
def test_refusal_is_the_right_error_and_says_why(recording: Recording) -> None:
    error = INVOKE.error(recording.status, {}, recording.body)
    assert isinstance(error, BY_STATUS.get(recording.status, (errors.ServerError,)))
    assert error.status_code == recording.status
    assert error.provider == "bedrock_invoke"
    body = json.loads(recording.body)
    said = " ".join(str(body.get("message") or body.get("Message") or "").split())
    assert said[:200] in " ".join(str(error).split())


# -- the official clients ----------------------------------------------------------------------------------------------


class _Replay(http.server.BaseHTTPRequestHandler):
    wbufsize = -1  # head and body in one write
    recordings: ClassVar[dict[str, Recording]] = {}

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        recording = self.recordings[self.path.split("/")[2]]
        self.send_response(200)
        self.send_header("Content-Type", "application/vnd.amazon.eventstream")
        self.send_header("Content-Length", str(len(recording.body)))
        self.end_headers()
        self.wfile.write(recording.body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A loopback server that replays any recording whose id is the model."""
    _Replay.recordings = {recording.id: recording for recording in STREAMS}
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Replay)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_PROXY", "*")
        yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@each_stream
def test_events_are_those_of_the_official_client(recording: Recording, url: str) -> None:
    """It unwraps them, and leaves it to its user to know what they are."""
    from botocore.config import Config
    from botocore.exceptions import EventStreamError
    from botocore.session import Session

    session = Session()
    session.set_credentials("id", "secret")
    client = session.create_client(
        "bedrock-runtime", region_name="us-east-1", endpoint_url=url, config=Config(retries={"max_attempts": 0})
    )
    found = []
    stream = client.invoke_model_with_response_stream(modelId=recording.id, body=b"{}")["body"]
    with contextlib.suppress(EventStreamError):
        found = [json.loads(event["chunk"]["bytes"]) for event in stream]
    client.close()
    if not has_exception(recording):
        assert found == payloads_in(recording.body)
    raws = [chunk.raw for chunk in read(recording).chunks]
    assert all(raw in payloads_in(recording.body) for raw in raws)


def is_for_anthropics_client(recording: Recording) -> bool:
    payloads = payloads_in(recording.body)
    is_whole = not recording.cut_short and not has_exception(recording)
    return is_whole and bool(payloads) and payloads[0].get("type") == "message_start"


@pytest.mark.long
@each([recording for recording in STREAMS if is_for_anthropics_client(recording)])
def test_stream_is_what_anthropics_client_gives(recording: Recording, url: str) -> None:
    """Of answers that are Messages: the older format that these models have too, it does not know."""
    anthropic = pytest.importorskip("anthropic")
    ask: Any = {"model": recording.id, "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
    client = anthropic.AnthropicBedrock(api_key="none", aws_region="us-east-1", base_url=url, max_retries=0)
    with client, client.messages.stream(**ask) as stream:
        theirs = stream.get_final_message()
    ours = read(recording).answer
    assert ours.content == "".join(block.text for block in theirs.content if block.type == "text")
    assert ours.reasoning == "".join(block.thinking for block in theirs.content if block.type == "thinking")
    calls = [(block.id, block.name, block.input) for block in theirs.content if block.type == "tool_use"]
    assert [(call.id, call.name, call.parse()) for call in ours.tool_calls] == calls
    assert ours.raw_finish_reason == theirs.stop_reason
    assert ours.id == theirs.id
    assert ours.usage is not None
    assert ours.usage.completion_tokens == theirs.usage.output_tokens
