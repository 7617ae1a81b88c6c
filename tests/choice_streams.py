"""What the tests of the formats that stream choices share: transcripts against what they must give."""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterable, Iterator, List, Mapping, Optional, Tuple

from anyllm import errors
from anyllm._framing.body_events import Event, events
from anyllm.errors import AnyLLMError
from anyllm.testing import RecordedRequest, Reply, serve
from anyllm.types import FINISH_REASONS, ChatCompletion, ChatCompletionChunk, Message, ToolCall
from anyllm.types._accumulate import Assembler
from anyllm.wire._base.protocols import Dialect

ROOT = Path(__file__).parent / "transcripts"


def cases_of(name: str) -> list[str]:
    cases = sorted(path.stem for path in (ROOT / name).glob("*.sse"))
    assert cases
    return cases


def transcript(name: str, case: str) -> bytes:
    return (ROOT / name / f"{case}.sse").read_bytes()


Result = Tuple[List[ChatCompletionChunk], ChatCompletion, Optional[AnyLLMError]]


def decode(dialect: Dialect, reads: list[bytes]) -> Result:
    """All chunks of a body, what they make together, and the error that ended them."""
    return collected(dialect, events(reads, max_event_bytes=1 << 20))


def collected(dialect: Dialect, found: Iterable[Event]) -> Result:
    """The same of events."""
    decoder = dialect.decoder()
    chunks: list[ChatCompletionChunk] = []
    error = None
    try:
        for event in found:
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


def check_error(error: AnyLLMError | None, expected: dict[str, Any], provider: str) -> None:
    """The error is the one that stands beside a transcript."""
    if "error" not in expected:
        assert error is None
        return
    kind, words = expected["error"]
    assert type(error) is getattr(errors, kind), error
    assert words in str(error)
    assert error.provider == provider
    names = {"retryable": "is_retryable", "status": "status_code"}
    for key in ("code", "type", "retryable", "status", "request_id"):
        if key in expected:
            assert getattr(error, names.get(key, key)) == expected[key], key


def check_answer(answer: ChatCompletion, expected: dict[str, Any], error: AnyLLMError | None) -> None:
    """The answer is the one that stands beside a transcript; what is not mentioned there is not in it."""
    message = answer.to_message() if answer.choices else Message.assistant()
    assert message.content == expected["content"]
    assert message.refusal == expected.get("refusal")
    for name in ("finish_reason", "raw_finish_reason", "id", "model", "created", "service_tier"):
        if name in expected:
            assert getattr(answer, name) == expected[name], name
    assert [_call(call) for call in answer.tool_calls] == [_named(call) for call in expected.get("tool_calls", [])]
    reasoning = message.reasoning.to_dict() if message.reasoning else None
    if isinstance(expected.get("reasoning"), str):
        assert answer.reasoning == expected["reasoning"]
    else:
        details = expected.get("reasoning")
        assert reasoning == (details and {key: value for key, value in details.items() if value is not None})
    usage = answer.usage
    assert (usage and [usage.prompt_tokens, usage.completion_tokens, usage.total_tokens]) == expected.get("usage")
    assert usage is None or "usage_raw" not in expected or usage.raw == expected["usage_raw"]
    for name, value in expected.get("usage_details", {}).items():
        assert getattr(usage, name) == value
    if answer.choices:
        assert answer.choices[0].logprobs == expected.get("logprobs")
    others = [
        {"index": choice.index, "content": choice.message.content, "finish_reason": choice.finish_reason}
        for choice in answer.choices[1:]
    ]
    expected_others = expected.get("others", [])
    if expected_others and isinstance(expected_others[0], str):
        assert [other["content"] for other in others] == expected_others
    else:
        assert error is not None or others == expected_others


def _call(call: ToolCall) -> dict[str, Any]:
    made = {"id": call.id, "name": call.name, "arguments": call.arguments}
    made.update({"extra_content": call.extra_content} if call.extra_content else {})
    return {**made, "type": call.type} if call.type != "function" else made


def _named(call: Any) -> Any:
    return dict(zip(("id", "name", "arguments"), call)) if isinstance(call, list) else call


def check_forms(chunks: list[ChatCompletionChunk], provider: str, *, begins: Iterable[str] = ("id", "name")) -> None:
    """What holds for every stream, whatever the provider sent; *begins* is in the first piece of a call only."""
    begun_choices: set[int] = set()
    opened: dict[int, int] = {}
    for chunk in chunks:
        assert chunk.provider == provider
        assert chunk.object == "chat.completion.chunk"
        for choice in chunk.choices:
            assert choice.delta.role == (None if choice.index in begun_choices else "assistant")
            begun_choices.add(choice.index)
            assert choice.finish_reason in (None, *FINISH_REASONS)
            assert (choice.finish_reason is None) == (choice.raw_finish_reason is None)
            for fragment in choice.delta.tool_calls or ():
                begun = opened.setdefault(choice.index, 0)
                assert fragment.index <= begun
                for name in begins:
                    assert bool(getattr(fragment, name)) == (fragment.index == begun)
                opened[choice.index] = max(begun, fragment.index + 1)


class Captured:
    """The last of the requests that a client sent to `answering`, and how many there were."""

    def __init__(self, requests: list[RecordedRequest]) -> None:
        self._requests = requests

    @property
    def count(self) -> int:
        return len(self._requests)

    @property
    def path(self) -> str:
        return self._requests[-1].path

    @property
    def headers(self) -> Mapping[str, str]:
        """Case-insensitive."""
        return self._requests[-1].headers

    @property
    def raw(self) -> bytes:
        return self._requests[-1].body

    @property
    def body(self) -> Any:
        return self._requests[-1].json()


@contextmanager
def answering(body: bytes, content_type: str, status: int = 200) -> Iterator[tuple[str, Captured]]:
    """A server on this machine that gives every request the same answer; yields its URL and what it was sent last."""
    closing = {"Connection": "close"}  # so that no thread outlives a test, whose client may live longer
    with serve(
        Reply(status=status, content_type=content_type, headers=closing, body=(body,), framing="length")
    ) as server:
        yield server.url, Captured(server.requests)
