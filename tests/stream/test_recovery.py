"""What follows a failed attempt. Streams that recover over a connection are in `test_resume` and `test_pump`."""

from __future__ import annotations

from typing import Any, List, Tuple

import pytest

import anyllm
from anyllm._stream.call_spec import CallSpec
from anyllm._stream.recovery import Recovery
from anyllm._transport.http import Transport
from anyllm.errors import AnyLLMError, IncompleteStreamError, InvalidRequestError, ServerError
from anyllm.types import ChatCompletionChunk, ChunkChoice, ChunkDelta
from anyllm.types._accumulate import Assembler
from anyllm.wire._base.protocols import Request
from anyllm.wire.openai_chat.dialect import OpenAIChatDialect

BROKEN = IncompleteStreamError("broken")
REQUEST = Request("POST", "/x", body=b"{}", fallbacks={"stream_options": b"[]"})


def recovery(policy: str = "raise", **fields: Any) -> Tuple[Recovery, List[ChatCompletionChunk]]:
    """A recovery after one failure, and the chunks that it puts."""
    retry = anyllm.Retry(attempts=3, backoff=0, after_content=policy)
    options = anyllm.StreamingOptions(retry=retry)
    transport = Transport(direct=True)
    chunks: List[ChatCompletionChunk] = []
    spec = CallSpec("p", OpenAIChatDialect(), REQUEST, lambda: pytest.fail("sent"), transport, options, **fields)
    made = Recovery(spec, chunks.append)
    made.failures = 1
    return made, chunks


def chunk_of(text: str) -> ChatCompletionChunk:
    return ChatCompletionChunk(choices=(ChunkChoice(0, ChunkDelta(content=text)),))


def answer(text: str) -> Assembler:
    assembler = Assembler()
    assembler.add(chunk_of(text))
    return assembler


def pause(made: Recovery, error: AnyLLMError, text: str = "one two ", committed: bool = True) -> Any:
    return made.pause_after(error, answer(text), committed=committed, left=None)


@pytest.mark.parametrize("announce", [False, True])
def test_a_retry_before_content_is_announced_only_on_request(announce: bool) -> None:
    made, chunks = recovery(announce_retries=announce)
    assert pause(made, ServerError("busy"), committed=False) == 0
    assert [chunk.retry.policy for chunk in chunks if chunk.retry] == ["before_content"] * announce
    assert made.interruption is None


def test_an_interruption_ends_the_call_by_default() -> None:
    made, chunks = recovery()
    assert pause(made, BROKEN) is None
    assert (chunks, made.interruption) == ([], None)


def test_a_restart_sends_the_same_request_and_says_so() -> None:
    made, chunks = recovery("restart")
    assert pause(made, BROKEN) == 0
    assert made.request is REQUEST
    assert [chunk.retry and (chunk.retry.policy, chunk.retry.attempt) for chunk in chunks] == [("restart", 2)]


def test_a_continuation_sends_the_text_without_its_trailing_white_space() -> None:
    texts: List[str] = []
    made, chunks = recovery("continue", resume=lambda text: texts.append(text) or Request("POST", "/rest"))
    assert pause(made, BROKEN) == 0
    assert texts == ["one two"]
    assert made.request.path == "/rest"
    assert [chunk.retry and chunk.retry.policy for chunk in chunks] == ["continue"]


def test_an_attempt_does_not_change_the_interrupted_answer() -> None:
    """It may fail before it brings content; then the answer is still what it was."""
    made, _ = recovery("restart")
    assert pause(made, BROKEN) == 0
    before = made.interrupted_answer.snapshot()  # type: ignore[union-attr]
    made.new_accumulator().add(chunk_of("other"))
    assert made.interrupted_answer.snapshot() == before  # type: ignore[union-attr]


def test_a_refusal_to_continue_does_not_hide_the_interruption() -> None:
    made, _ = recovery("restart")
    refusal = InvalidRequestError("no", status_code=400)
    assert made.final_error(refusal) is refusal
    assert pause(made, BROKEN) == 0
    assert made.final_error(refusal) is BROKEN
    busy = ServerError("busy")
    assert made.final_error(busy) is busy


def test_only_a_parameter_of_ours_is_dropped_and_only_once() -> None:
    made, _ = recovery()
    assert not made.drop_refused_parameter(InvalidRequestError("top_k is unknown", status_code=400))
    refusal = InvalidRequestError("stream_options is unknown", status_code=400)
    assert made.drop_refused_parameter(refusal)
    assert made.request.body == b"[]"
    assert not made.drop_refused_parameter(refusal)
