"""Recorded streams of every format, and the same written in another: for the tests of each format."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from recordings import Ours, Recording, recordings_of

from anyllm import formats
from anyllm._framing.body_events import events
from anyllm.types import ChatCompletion, ChatCompletionChunk, ToolCall
from anyllm.types._accumulate import Assembler
from anyllm.wire._base.protocols import Dialect
from anyllm.wire.anthropic_messages.dialect import AnthropicMessagesDialect
from anyllm.wire.bedrock_converse.dialect import BedrockConverseDialect
from anyllm.wire.cohere_v1.dialect import CohereV1Dialect
from anyllm.wire.cohere_v2.dialect import CohereV2Dialect
from anyllm.wire.gemini.dialect import GeminiDialect
from anyllm.wire.ollama.dialect import OllamaDialect
from anyllm.wire.openai_chat.dialect import OpenAIChatDialect
from anyllm.wire.openai_responses.dialect import OpenAIResponsesDialect

#: The dialect of each recorded API.
DIALECTS: dict[str, type] = {
    "chat": OpenAIChatDialect,
    "messages": AnthropicMessagesDialect,
    "gemini": GeminiDialect,
    "converse-stream": BedrockConverseDialect,
    "cohere-v1": CohereV1Dialect,
    "cohere-v2": CohereV2Dialect,
    "ollama-chat": OllamaDialect,
    "ollama-generate": OllamaDialect,
    "responses": OpenAIResponsesDialect,
}


def dialect_of(recording: Recording) -> Dialect:
    """The dialect that reads it."""
    made: Dialect = DIALECTS[recording.api](provider=recording.provider)
    return made


def read(recording: Recording) -> Ours:
    """The recording, as we read it."""
    return Ours(dialect_of(recording), [recording.body])


def every_stream() -> list[Recording]:
    """The recorded streams of all APIs; without Bedrock's where what reads those is not installed."""
    try:
        import botocore  # noqa: F401
    except ModuleNotFoundError:
        names = [name for name in DIALECTS if name != "converse-stream"]
    else:
        names = list(DIALECTS)
    return [recording for recording in recordings_of(*names) if recording.status == 200]


def chunks_in(dialect: Dialect, data: bytes) -> list[ChatCompletionChunk]:
    """The chunks that a dialect reads out of what was written; raises its error."""
    decoder = dialect.decoder()
    chunks = [chunk for event in events([data], max_event_bytes=1 << 24) for chunk in decoder.feed(event)]
    return [*chunks, *decoder.finish()]


def together(chunks: Iterable[ChatCompletionChunk]) -> ChatCompletion:
    """The answer that they are pieces of."""
    assembler = Assembler()
    for chunk in chunks:
        assembler.add(chunk)
    return assembler.snapshot()


class Replayed:
    """What was read of a recording, as a stream: chunks, then the error it ended with, if any."""

    def __init__(self, ours: Ours) -> None:
        self._ours = ours

    def __iter__(self) -> Iterator[ChatCompletionChunk]:
        yield from self._ours.chunks
        if self._ours.error is not None:
            raise self._ours.error


def said_by(ours: Ours, format: formats.Named, **settings: Any) -> bytes:
    """All that is said of it in a format."""
    return b"".join(formats.encode(Replayed(ours), format, **settings))


def answer_of(ours: Ours) -> dict[str, Any]:
    """What any format has words for: texts, reasoning, calls, why it ended, and tokens."""
    answer, error = ours.answer, ours.error
    return {
        "text": answer.content,
        "reasoning": answer.reasoning,
        "calls": [] if error else [_call(call) for call in answer.tool_calls],
        "finish": answer.finish_reason,
        "tokens": None if error or not answer.usage else (answer.usage.prompt_tokens, answer.usage.completion_tokens),
        "has_error": error is not None,
    }


def _call(call: ToolCall) -> tuple[Any, ...]:
    """Id, name and arguments: an object, or the text that is none."""
    try:
        return call.id, call.name, call.parse()
    except ValueError:
        return call.id, call.name, call.arguments
