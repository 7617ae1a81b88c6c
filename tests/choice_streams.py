"""What the tests of the formats that stream choices share: transcripts against what they must give."""

from __future__ import annotations

import http.server
import json
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterator

from anyllm import errors
from anyllm._framing.detect import events
from anyllm.errors import AnyLLMError
from anyllm.types import FINISH_REASONS, ChatCompletion, ChatCompletionChunk
from anyllm.types._accumulate import Assembler
from anyllm.wire._base.dialect import Dialect

ROOT = Path(__file__).parent / "transcripts"


def cases_of(name: str) -> list[str]:
    cases = sorted(path.stem for path in (ROOT / name).glob("*.sse"))
    assert cases
    return cases


def transcript(name: str, case: str) -> bytes:
    return (ROOT / name / f"{case}.sse").read_bytes()


def decode(
    dialect: Dialect, reads: list[bytes]
) -> tuple[list[ChatCompletionChunk], ChatCompletion, AnyLLMError | None]:
    """All chunks, what they make together, and the error that ended them."""
    decoder = dialect.decoder()
    chunks: list[ChatCompletionChunk] = []
    error = None
    try:
        for event in events(reads, max_event_bytes=1 << 20):
            chunks += decoder.feed(event)
        chunks += decoder.finish()
    except AnyLLMError as exc:
        error = exc
    return chunks, assembled(chunks), error


def assembled(chunks: list[ChatCompletionChunk]) -> ChatCompletion:
    assembler = Assembler()
    for chunk in chunks:
        assembler.add(chunk)
    return assembler.snapshot()


def sse(*bodies: Any) -> list[bytes]:
    return [b"data: " + json.dumps(body).encode() + b"\n\n" for body in bodies]


def check_transcript(dialect: Dialect, name: str, case: str) -> None:
    """A transcript gives what stands beside it, fed whole and byte by byte."""
    body = transcript(name, case)
    expected = json.loads((ROOT / name / f"{case}.json").read_text("utf-8"))
    chunks, answer, error = decode(dialect, [body])
    pieces, _, piecewise_error = decode(dialect, [body[at : at + 1] for at in range(len(body))])
    assert pieces == chunks
    assert str(piecewise_error) == str(error)
    _check_error(error, expected, name)
    _check_answer(answer, expected, error)
    if "finish_reason" in expected:
        assert [chunk.finish_reason for chunk in chunks if chunk.finish_reason][-1] == expected["finish_reason"]
    check_forms(chunks, name)


def _check_error(error: AnyLLMError | None, expected: dict[str, Any], name: str) -> None:
    if "error" not in expected:
        assert error is None
        return
    kind, words = expected["error"]
    assert type(error) is getattr(errors, kind), error
    assert words in str(error)
    assert error.provider == name
    for key, attribute in (("code", "code"), ("retryable", "is_retryable"), ("request_id", "request_id")):
        if key in expected:
            assert getattr(error, attribute) == expected[key], key


def _check_answer(answer: ChatCompletion, expected: dict[str, Any], error: AnyLLMError | None) -> None:
    message = answer.to_message()
    assert message.content == expected["content"] or (not message.content and not expected["content"])
    for name in ("finish_reason", "raw_finish_reason", "id"):
        if name in expected:
            assert getattr(answer, name) == expected[name], name
    calls = [{"id": call.id, "name": call.name, "arguments": call.arguments} for call in answer.tool_calls]
    assert calls == expected.get("tool_calls", [])
    reasoning = message.reasoning.to_dict() if message.reasoning else None
    assert reasoning == expected.get("reasoning")
    if "usage" in expected:
        assert answer.usage is not None
        figures = [answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens]
        assert figures == expected["usage"]
        for name, value in expected.get("usage_details", {}).items():
            assert getattr(answer.usage, name) == value
    if "logprobs" in expected:
        assert answer.choices[0].logprobs == expected["logprobs"]
    others = [
        {"index": choice.index, "content": choice.message.content, "finish_reason": choice.finish_reason}
        for choice in answer.choices[1:]
    ]
    assert error is not None or others == expected.get("others", [])


def check_forms(chunks: list[ChatCompletionChunk], provider: str) -> None:
    """What holds for the chunks of every stream, whatever the host sent."""
    seen: set[int] = set()
    opened: dict[int, int] = {}
    for chunk in chunks:
        assert chunk.provider == provider
        assert chunk.object == "chat.completion.chunk"
        for choice in chunk.choices:
            assert choice.delta.role == (None if choice.index in seen else "assistant")
            seen.add(choice.index)
            assert choice.finish_reason in (None, *FINISH_REASONS)
            assert (choice.finish_reason is None) == (choice.raw_finish_reason is None)
            for fragment in choice.delta.tool_calls or ():
                begun = opened.setdefault(choice.index, 0)
                assert fragment.index <= begun
                assert (fragment.id is not None) == (fragment.name is not None) == (fragment.index == begun)
                opened[choice.index] = max(begun, fragment.index + 1)


class Captured:
    """What a client sent to `answering`."""

    path = ""
    body: Any = None
    raw = b""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}


@contextmanager
def answering(body: bytes, content_type: str, status: int = 200) -> Iterator[tuple[str, Captured]]:
    """A server on this machine that gives every request the same answer; yields its URL and what it was sent last."""
    captured = Captured()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            captured.raw = self.rfile.read(int(self.headers["Content-Length"]))
            captured.path, captured.body = self.path, json.loads(captured.raw)
            captured.headers = {name.lower(): value for name, value in self.headers.items()}
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", captured
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
