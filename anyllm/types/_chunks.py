"""The pieces of a streamed answer."""

from __future__ import annotations

from typing import Any, ClassVar, Optional

import attrs

from anyllm.types import _convert
from anyllm.types._base import Serializable, first_choice
from anyllm.types._openai_chunk import chunk_object
from anyllm.types._parts import FINISH_REASONS, Reasoning, RetryNotice, ToolCall, Usage

__all__ = ["FINISH_REASONS", "ChatCompletionChunk", "ChunkChoice", "ChunkDelta", "text_alone", "text_chunk"]


@attrs.define
class ChunkDelta(Serializable):
    """
    What one chunk adds to one choice; None where it adds nothing.

    Attributes:
        role: "assistant" in the first chunk of each choice.
        content: Text.
        refusal: Text said instead of an answer.
        tool_calls: Fragments of tool calls; see `ToolCall`.
        reasoning: A fragment of the reasoning.
        audio: A piece of a sound: ``{"id": ..., "data": base64, "transcript": text, "expires_at": Unix seconds}``, each
            of them where it comes.
    """

    role: Optional[str] = None
    content: Optional[str] = None
    refusal: Optional[str] = None
    tool_calls: Optional[tuple[ToolCall, ...]] = None
    reasoning: Optional[Reasoning] = None
    audio: Optional[dict[str, Any]] = None


@attrs.define
class ChunkChoice(Serializable):
    """
    One choice's part of a chunk.

    Attributes:
        index: Which of the ``n`` answers; 0 when there is one.
        delta: What is added.
        finish_reason: One of `FINISH_REASONS` once the choice ends, None before.
        raw_finish_reason: The provider's own word for it.
        logprobs: As the provider sent them.
    """

    index: int = 0
    delta: ChunkDelta = attrs.field(factory=ChunkDelta)
    finish_reason: Optional[str] = None
    raw_finish_reason: Optional[str] = None
    logprobs: Optional[dict[str, Any]] = None


@attrs.define
class ChatCompletionChunk(Serializable):
    """
    One piece of a streamed answer, the same for every provider.

    Attributes:
        id: The answer's id, "" if the provider gives none.
        choices: What is added to each choice; may be empty.
        created: When the answer began, Unix seconds; 0 if not said.
        model: The model that answers.
        object: "chat.completion.chunk".
        usage: Tokens, usually on the last chunk.
        system_fingerprint: The provider's configuration, where it says so.
        service_tier: The tier that served the request, where it says so.
        provider: Who sent it ("openai").
        raw: The provider's own event, decoded.
        retry: On a chunk of ours, which holds nothing else: the answer was cut, and what follows begins it anew or goes
            on. Only where `Retry.after_content` asks for that.
    """

    id: str = ""
    choices: tuple[ChunkChoice, ...] = ()
    created: int = 0
    model: str = ""
    object: str = "chat.completion.chunk"
    usage: Optional[Usage] = None
    system_fingerprint: Optional[str] = None
    service_tier: Optional[str] = None
    provider: str = ""
    raw: Optional[Any] = attrs.field(default=None, eq=False, repr=False)
    retry: Optional[RetryNotice] = None

    #: What stands in the slots of `choices` and `raw` before somebody looks; see below.
    _choices: ClassVar[Any]
    _raw: ClassVar[Any]

    @property
    def content(self) -> str:
        """The text this chunk adds to choice 0; "" when it adds none."""
        held = self._choices
        if type(held) is str:
            return held
        delta = self._delta
        return (delta.content or "") if delta else ""

    @property
    def reasoning(self) -> str:
        """The reasoning this chunk adds to choice 0; "" when it adds none."""
        delta = self._delta
        return (delta.reasoning.content or "") if delta and delta.reasoning else ""

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The fragments of tool calls this chunk adds to choice 0."""
        delta = self._delta
        return (delta.tool_calls or ()) if delta else ()

    @property
    def finish_reason(self) -> Optional[str]:
        """Why choice 0 ended; None until it has."""
        choice = first_choice(self.choices)
        return choice.finish_reason if choice else None

    @property
    def raw_finish_reason(self) -> Optional[str]:
        """The provider's own word for why choice 0 ended."""
        choice = first_choice(self.choices)
        return choice.raw_finish_reason if choice else None

    def to_json(self) -> str:
        """
        The chunk as OpenAI writes it, in one line of JSON::

            {"id":"...","object":"chat.completion.chunk","created":0,"model":"...",
             "choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":null}]}

        ``delta`` has what the chunk adds (``role``, ``content``, ``refusal``, ``reasoning_content``, ``tool_calls``,
        ``audio``), ``usage`` stands beside the choices where the chunk has it. The chunk is written by itself:
        `anyllm.formats.encode` writes whole streams, with the end that clients wait for, and errors.
        """
        return _convert.in_one_line(_convert.json_bytes(chunk_object(self))).decode()

    def to_sse(self) -> str:
        """The chunk as a server-sent event: ``data: {...}``, as in `to_json`, and an empty line."""
        return f"data: {self.to_json()}\n\n"

    def to_ndjson(self) -> str:
        """The chunk as a line of NDJSON: that of `to_json`, and its end."""
        return f"{self.to_json()}\n"

    @property
    def _delta(self) -> Optional[ChunkDelta]:
        choice = first_choice(self.choices)
        return choice.delta if choice else None


# What few programs look at is made when somebody looks. Most chunks bring text and nothing else: such a chunk holds the
# text in place of its choices, and the event's text in place of the decoded event. The objects that this saves are most
# of what would wait in the channel, and be handed from one core to another.


def text_chunk(
    chunk_id: str,
    text: str,
    created: int,
    model: str,
    system_fingerprint: Optional[str],
    service_tier: Optional[str],
    provider: str,
    raw: Any,
) -> ChatCompletionChunk:
    """The chunk that adds *text* to choice 0 and says nothing else; *raw* may be the event's JSON text."""
    chunk: Any = _new(ChatCompletionChunk)
    chunk.id = chunk_id
    chunk._choices = text
    chunk.created = created
    chunk.model = model
    chunk.object = "chat.completion.chunk"
    chunk.usage = None
    chunk.system_fingerprint = system_fingerprint
    chunk.service_tier = service_tier
    chunk.provider = provider
    chunk._raw = raw
    chunk.retry = None
    return chunk  # type: ignore[no-any-return]


def text_alone(chunk: ChatCompletionChunk) -> Optional[str]:
    """The text of a `text_chunk`, as long as nobody has looked at its choices; None of any other chunk."""
    held = chunk._choices
    return held if type(held) is str else None


def _choices_on_demand(chunk: Any) -> tuple[ChunkChoice, ...]:
    """What is added to each choice; may be empty."""
    held = chunk._choices
    if type(held) is str:
        held = chunk._choices = (ChunkChoice(0, ChunkDelta(None, held)),)
    return held  # type: ignore[no-any-return]


def _raw_on_demand(chunk: Any) -> Any:
    """The provider's own event, decoded."""
    raw = chunk._raw
    if type(raw) is str:
        raw = chunk._raw = _convert.loads(raw)
    return raw


def _look_later(chunk: Any, name: str, on_demand: Any) -> None:
    """Let the slot *name* of the class *chunk* answer to ``_name``, and *on_demand* to *name*."""
    slot = vars(chunk)[name]
    setattr(chunk, f"_{name}", slot)
    setattr(chunk, name, property(on_demand, slot.__set__))


_new = object.__new__
_look_later(ChatCompletionChunk, "choices", _choices_on_demand)
_look_later(ChatCompletionChunk, "raw", _raw_on_demand)
