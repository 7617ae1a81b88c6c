"""
What the measured server says, by API: before the events, the events in turn, and after them, each as HTTP chunks.

Events are as their hosts send them today, with all the keys that a client has to carry.
"""

from __future__ import annotations

import base64
import binascii
import json
import struct
from typing import Any, NamedTuple, Optional

__all__ = ["Format", "format_of"]


class Format(NamedTuple):
    """One API's stream."""

    begin: bytes
    events: tuple[bytes, ...]
    end: bytes


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _json(body: dict[str, Any]) -> bytes:
    return json.dumps(body, separators=(",", ":")).encode()


def _data(body: dict[str, Any]) -> bytes:
    return _chunk(b"data: " + _json(body) + b"\n\n")


def _named(name: str, **body: Any) -> bytes:
    return _chunk(f"event: {name}\n".encode() + b"data: " + _json({"type": name, **body}) + b"\n\n")


_LAST = b"0\r\n\r\n"


def _openai() -> Format:
    def event(delta: dict[str, Any], finish_reason: Optional[str] = None) -> bytes:
        about = {
            "id": "chatcmpl-B9MHDbslfkBeAs8l4bebGdFOJ6PeG",
            "object": "chat.completion.chunk",
            "created": 1771434740,
            "model": "gpt-4o-mini-2024-07-18",
            "service_tier": "default",
            "system_fingerprint": "fp_e8236260a9",
        }
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return _data({**about, "choices": [choice], "usage": None})

    # Two words in turn: litellm gives up when one is repeated for ever.
    events = (event({"content": " word"}), event({"content": " more"}))
    end = event({}, "stop") + _chunk(b"data: [DONE]\n\n") + _LAST
    return Format(event({"role": "assistant", "content": ""}), events, end)


def _anthropic() -> Format:
    message = {"id": "msg_1", "type": "message", "role": "assistant", "content": [], "model": "claude-sonnet-4-5"}
    usage = {"input_tokens": 1, "output_tokens": 1}
    begun = {**message, "stop_reason": None, "stop_sequence": None, "usage": usage}
    return Format(
        _named("message_start", message=begun)
        + _named("content_block_start", index=0, content_block={"type": "text", "text": ""}),
        (_named("content_block_delta", index=0, delta={"type": "text_delta", "text": " word"}),),
        _named("content_block_stop", index=0)
        + _named("message_delta", delta={"stop_reason": "end_turn", "stop_sequence": None}, usage={"output_tokens": 1})
        + _named("message_stop")
        + _LAST,
    )


def _gemini() -> Format:
    def event(text: str, finish: Optional[str] = None) -> bytes:
        candidate: dict[str, Any] = {"content": {"parts": [{"text": text}], "role": "model"}, "index": 0}
        if finish:
            candidate["finishReason"] = finish
        usage = {"promptTokenCount": 4, "candidatesTokenCount": 9, "totalTokenCount": 13}
        about = {"modelVersion": "gemini-2.5-flash", "responseId": "f3jXaLqVHLGCmtkP5oG5kAE"}
        body = {"candidates": [candidate], "usageMetadata": usage, **about}
        return _chunk(b"data: " + _json(body) + b"\r\n\r\n")

    return Format(b"", (event(" word"),), event("", "STOP") + _LAST)


def _ollama() -> Format:
    def line(text: str, **more: Any) -> bytes:
        about = {"model": "llama3.2", "created_at": "2026-05-19T09:26:59.678947123Z"}
        return _chunk(_json({**about, "message": {"role": "assistant", "content": text}, **more}) + b"\n")

    counts = {"total_duration": 5, "prompt_eval_count": 4, "eval_count": 9, "eval_duration": 3}
    return Format(b"", (line(" word", done=False),), line("", done=True, done_reason="stop", **counts) + _LAST)


def _responses() -> Format:
    response = {"id": "resp_1", "object": "response", "created_at": 1771434740, "model": "gpt-4o-mini", "output": []}
    item = {"id": "msg_1", "type": "message", "role": "assistant", "status": "in_progress", "content": []}
    where = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    usage = {"input_tokens": 4, "output_tokens": 9, "total_tokens": 13}
    return Format(
        _named("response.created", sequence_number=0, response={**response, "status": "in_progress"})
        + _named("response.output_item.added", sequence_number=1, output_index=0, item=item),
        (
            _named(
                "response.output_text.delta", sequence_number=2, **where, delta=" word", logprobs=[], obfuscation="a8"
            ),
        ),
        _named("response.completed", sequence_number=3, response={**response, "status": "completed", "usage": usage})
        + _LAST,
    )


def _cohere() -> Format:
    usage = {"billed_units": {"input_tokens": 4, "output_tokens": 9}, "tokens": {"input_tokens": 4, "output_tokens": 9}}
    start = {"message": {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}}
    return Format(
        _named("message-start", id="29f14a5a", delta=start)
        + _named("content-start", index=0, delta={"message": {"content": {"type": "text", "text": ""}}}),
        (_named("content-delta", index=0, delta={"message": {"content": {"text": " word"}}}),),
        _named("content-end", index=0)
        + _named("message-end", delta={"finish_reason": "COMPLETE", "usage": usage})
        + _chunk(b"data: [DONE]\n\n")
        + _LAST,
    )


def _cohere_v1() -> Format:
    def line(kind: str, **more: Any) -> bytes:
        return _chunk(_json({"event_type": kind, "is_finished": kind == "stream-end", **more}) + b"\n")

    end = line("stream-end", finish_reason="COMPLETE", response={"response_id": "1", "text": "", "meta": {}})
    return Format(line("stream-start", generation_id="1"), (line("text-generation", text=" word"),), end + _LAST)


def _frame(name: str, body: dict[str, Any]) -> bytes:
    """A frame of AWS's event streams: lengths, a checksum of them, headers, the payload, a checksum of all."""
    about = {":event-type": name, ":content-type": "application/json", ":message-type": "event"}
    head = b"".join(
        bytes([len(key)]) + key.encode() + b"\x07" + struct.pack("!H", len(value)) + value.encode()
        for key, value in about.items()
    )
    payload = _json(body)
    lengths = struct.pack("!II", 16 + len(head) + len(payload), len(head))
    whole = lengths + struct.pack("!I", binascii.crc32(lengths)) + head + payload
    return _chunk(whole + struct.pack("!I", binascii.crc32(whole)))


def _converse() -> Format:
    delta = {"contentBlockIndex": 0, "delta": {"text": " word"}, "p": "abcdefghijk"}
    end = _frame("contentBlockStop", {"contentBlockIndex": 0}) + _frame("messageStop", {"stopReason": "end_turn"})
    usage = {"inputTokens": 4, "outputTokens": 9, "totalTokens": 13}
    return Format(
        _frame("messageStart", {"role": "assistant"}),
        (_frame("contentBlockDelta", delta),),
        end + _frame("metadata", {"usage": usage, "metrics": {"latencyMs": 9}}) + _LAST,
    )


def _invoke() -> Format:
    def event(kind: str, **more: Any) -> bytes:
        body = {"bytes": base64.b64encode(_json({"type": kind, **more})).decode(), "p": "abcdefghijk"}
        return _frame("chunk", body)

    message = {"id": "msg_1", "type": "message", "role": "assistant", "content": [], "usage": {"input_tokens": 1}}
    end = event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 1}) + event("message_stop")
    return Format(
        event("message_start", message=message)
        + event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
        (event("content_block_delta", index=0, delta={"type": "text_delta", "text": " word"}),),
        event("content_block_stop", index=0) + end + _LAST,
    )


def _hunyuan() -> Format:
    def event(text: str, finish: str = "") -> bytes:
        choice = {"Index": 0, "Delta": {"Role": "assistant", "Content": text}, "FinishReason": finish}
        usage = {"PromptTokens": 4, "CompletionTokens": 9, "TotalTokens": 13}
        return _data({"Created": 1771434740, "Usage": usage, "Note": "", "Id": "1", "Choices": [choice]})

    return Format(b"", (event(" word"),), event("", "stop") + _LAST)


def _dashscope() -> Format:
    def event(text: str, finish: str = "null") -> bytes:
        choice = {"message": {"content": text, "role": "assistant"}, "finish_reason": finish}
        usage = {"input_tokens": 4, "output_tokens": 9, "total_tokens": 13}
        return _data({"output": {"choices": [choice]}, "usage": usage, "request_id": "1"})

    return Format(b"", (event(" word"),), event("", "stop") + _LAST)


#: By how the path of a request ends.
_FORMATS = {
    "/v1/messages": _anthropic(),
    ":streamGenerateContent": _gemini(),
    "/api/chat": _ollama(),
    "/responses": _responses(),
    "/v2/chat": _cohere(),
    "/v1/chat": _cohere_v1(),
    "/converse-stream": _converse(),
    "/invoke-with-response-stream": _invoke(),
    "/hunyuan/": _hunyuan(),
    "/text-generation/generation": _dashscope(),
}
_OPENAI = _openai()


def format_of(path: str) -> Format:
    """What to answer a request to *path* with."""
    path = path.partition("?")[0]
    return next((form for end, form in _FORMATS.items() if path.endswith(end)), _OPENAI)
