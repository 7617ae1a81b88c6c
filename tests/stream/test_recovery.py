"""The announcement of retries, and answers that attempts must not change. The rest is in `test_resume`, `test_pump`."""

from __future__ import annotations

from typing import Any, List, Tuple

import pytest

import anyllm
from anyllm._stream.call_spec import CallSpec
from anyllm._stream.recovery import Recovery
from anyllm._transport.http import Transport
from anyllm.errors import IncompleteStreamError, ServerError
from anyllm.types import ChatCompletionChunk, ChunkChoice, ChunkDelta
from anyllm.types._accumulate import Assembler
from anyllm.wire._base.protocols import Request
from anyllm.wire.openai_chat.dialect import OpenAIChatDialect


def recovery(policy: str = "raise", **fields: Any) -> Tuple[Recovery, List[ChatCompletionChunk]]:
    """A recovery after one failure, and the chunks that it puts."""
    options = anyllm.StreamingOptions(retry=anyllm.Retry(attempts=3, backoff=0, after_content=policy))
    chunks: List[ChatCompletionChunk] = []
    spec = CallSpec(
        *("p", OpenAIChatDialect(), Request("POST", "/x", body=b"{}"), lambda: pytest.fail("sent")),
        *(Transport(direct=True), options),
        **fields,
    )
    made = Recovery(spec, chunks.append)
    made.failures = 1
    return made, chunks


def chunk_of(text: str) -> ChatCompletionChunk:
    return ChatCompletionChunk(choices=(ChunkChoice(0, ChunkDelta(content=text)),))


@pytest.mark.parametrize("announce", [False, True])
def test_a_retry_before_content_is_announced_only_on_request(announce: bool) -> None:
    made, chunks = recovery(announce_retries=announce)
    assert made.pause_after(ServerError("busy"), Assembler(), committed=False, left=None) == 0
    assert [chunk.retry.policy for chunk in chunks if chunk.retry] == ["before_content"] * announce
    assert made.interruption is None


def test_an_attempt_does_not_change_the_interrupted_answer() -> None:
    """It may fail before it brings content; then the answer is still what it was."""
    made, _ = recovery("restart")
    answer = Assembler()
    answer.add(chunk_of("one two "))
    assert made.pause_after(IncompleteStreamError("broken"), answer, committed=True, left=None) == 0
    before = made.interrupted_answer.snapshot()  # type: ignore[union-attr]
    made.new_accumulator().add(chunk_of("other"))
    assert made.interrupted_answer.snapshot() == before  # type: ignore[union-attr]
