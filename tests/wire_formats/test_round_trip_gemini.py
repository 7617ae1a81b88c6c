"""Both directions of Google's format undo each other: requests, answers in a stream, and whole answers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from formats_of import chunks_in, together
from hypothesis import given
from params_strategies import SETTINGS, answers, completion_params

from anyllm.types import ChatCompletion, ChatCompletionChunk, CompletionParams
from anyllm.wire.gemini.dialect import GeminiDialect
from anyllm.wire.gemini.server.request import read_generate
from anyllm.wire.gemini.server.writer import Gemini

DIALECT = GeminiDialect(provider="other")
#: Google has neither a user nor a switch for parallel calls; an effort is a level for models of its third generation.
NAMES = [name for name in SETTINGS if name not in ("user", "parallel_tool_calls", "reasoning_effort")]


def read(params: CompletionParams) -> CompletionParams:
    """The parameters of the request for *params*."""
    request = DIALECT.request(params, model="gemini-3-pro", stream=False)
    found = read_generate(json.loads(request.body), model="gemini-3-pro", stream=False)
    assert not found.unknown_fields
    return found.params


@given(completion_params(settings=[*NAMES]))
def test_a_request_reads_as_its_parameters(params: CompletionParams) -> None:
    assert read(params) == params.evolve(model="gemini-3-pro")


@given(completion_params(settings=["reasoning_effort"]))
def test_an_effort_reads_as_itself(params: CompletionParams) -> None:
    assert read(params) == params.evolve(model="gemini-3-pro")


def facts(answer: ChatCompletion) -> dict[str, Any]:
    """All that the format can express; its reasoning has an origin of its own."""
    return {
        "id": answer.id,
        "model": answer.model,
        "text": answer.content,
        "reasoning": answer.reasoning,
        "calls": [(call.id, call.name, call.parse()) for call in answer.tool_calls],
        "finish": answer.finish_reason,
        "usage": answer.usage,
    }


@given(answers())
def test_a_written_stream_reads_as_its_answer(chunks: Sequence[ChatCompletionChunk]) -> None:
    writer = Gemini().writer()
    written = b"".join([*map(writer.chunk, chunks), writer.end()])
    assert facts(together(chunks_in(DIALECT, written))) == facts(together(chunks))


@given(answers())
def test_a_written_whole_answer_reads_as_itself(chunks: Sequence[ChatCompletionChunk]) -> None:
    answer = together(chunks)
    assert facts(DIALECT.response(Gemini().whole(answer))) == facts(answer)
