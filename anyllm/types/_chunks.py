"""Chunks of a streamed answer: `ChatCompletionChunk`, `ChunkChoice`, `ChunkDelta`."""

from __future__ import annotations

from typing import Any, ClassVar, Optional

import attrs

from anyllm.types import _convert
from anyllm.types._base import FirstChoice, Serializable, first_choice
from anyllm.types._openai_chunk import chunk_object
from anyllm.types._parts import Reasoning, RetryNotice, ToolCall, Usage


@attrs.define
class ChunkDelta(Serializable):
    """
    What one chunk adds to one choice; fields without an addition are None.

    Attributes:
        role: "assistant" in the first chunk of each choice.
        content: Text.
        refusal: Text of a refusal.
        tool_calls: Fragments of tool calls; see `ToolCall`.
        reasoning: A fragment of the reasoning.
        audio: A piece of audio, with some of the keys of
            ``{"id": ..., "data": base64, "transcript": text, "expires_at": Unix seconds}``.
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
        delta: The addition.
        finish_reason: One of `FINISH_REASONS` once the choice ends, None before.
        raw_finish_reason: The provider's own value.
        logprobs: The provider's own object.
    """

    index: int = 0
    delta: ChunkDelta = attrs.field(factory=ChunkDelta)
    finish_reason: Optional[str] = None
    raw_finish_reason: Optional[str] = None
    logprobs: Optional[dict[str, Any]] = None


@attrs.define
class ChatCompletionChunk(FirstChoice):
    """
    One piece of a streamed answer, the same for every provider.

    Attributes:
        id: The answer's id; "" if the provider sends none.
        choices: What is added to each choice; may be empty.
        created: When the answer began, Unix seconds; 0 if the provider does not send it.
        model: The model that answers.
        object: "chat.completion.chunk".
        usage: Tokens, usually on the last chunk.
        system_fingerprint: The provider's configuration, if it sends that.
        service_tier: The tier that served the request, if the provider sends that.
        provider: The provider's name ("openai").
        raw: The provider's own event, decoded.
        retry: Only on a chunk of ours without any content: the answer was interrupted, and the following chunks restart
            or continue it. Only with `Retry.after_content`.
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

    #: The slots behind the properties `choices` and `raw`; see below.
    _choices: ClassVar[Any]
    _raw: ClassVar[Any]

    @property
    def content(self) -> str:
        """The text this chunk adds to choice 0; "" if it adds none."""
        choices = self._choices
        if type(choices) is str:
            return choices
        delta = self._delta
        return (delta.content or "") if delta else ""

    @property
    def reasoning(self) -> str:
        """The reasoning this chunk adds to choice 0; "" if it adds none."""
        delta = self._delta
        return (delta.reasoning.content or "") if delta and delta.reasoning else ""

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The fragments of tool calls this chunk adds to choice 0."""
        delta = self._delta
        return (delta.tool_calls or ()) if delta else ()

    def to_json(self) -> str:
        """
        The chunk in OpenAI's format, as one line of JSON::

            {"id":"...","object":"chat.completion.chunk","created":0,"model":"...",
             "choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":null}]}

        ``delta`` contains the additions (``role``, ``content``, ``refusal``, ``reasoning_content``, ``tool_calls``,
        ``audio``); ``usage`` is beside ``choices`` if the chunk has it. This writes a single chunk;
        `anyllm.formats.encode` writes whole streams, with the end mark that clients wait for, and errors.
        """
        return _convert.in_one_line(_convert.json_bytes(chunk_object(self))).decode()

    def to_sse(self) -> str:
        """The chunk as a server-sent event: ``data:``, the JSON of `to_json`, and an empty line."""
        return f"data: {self.to_json()}\n\n"

    def to_ndjson(self) -> str:
        """The chunk as a line of NDJSON: the JSON of `to_json`, and a line feed."""
        return f"{self.to_json()}\n"

    @property
    def _delta(self) -> Optional[ChunkDelta]:
        choice = first_choice(self.choices)
        return choice.delta if choice else None


# `choices` and `raw`, which few programs read, are made on first access. Most chunks contain only text: such a chunk
# has the text in the slot of its choices, and the event's JSON text in the slot of the decoded event. That saves most
# of the objects that would otherwise be in the channel and be passed from one core to another.


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
    """A chunk that only adds *text* to choice 0; *raw* may be the event's JSON text."""
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
    """The text of a `text_chunk` whose `choices` were not accessed yet; None for any other chunk."""
    choices = chunk._choices
    return choices if type(choices) is str else None


def _choices_on_demand(chunk: Any) -> tuple[ChunkChoice, ...]:
    """What is added to each choice; may be empty."""
    choices = chunk._choices
    if type(choices) is str:
        choices = chunk._choices = (ChunkChoice(0, ChunkDelta(None, choices)),)
    return choices  # type: ignore[no-any-return]


def _raw_on_demand(chunk: Any) -> Any:
    """The provider's own event, decoded."""
    raw = chunk._raw
    if type(raw) is str:
        raw = _convert.loads(raw)
        if type(raw) is not str:  # the slot would take a string for text that is still to be decoded
            chunk._raw = raw
    return raw


def _make_lazy(chunk: Any, name: str, on_demand: Any) -> None:
    """Rename the slot *name* of the class *chunk* to ``_name``, and make *name* a property that calls *on_demand*."""
    slot = vars(chunk)[name]
    setattr(chunk, f"_{name}", slot)
    setattr(chunk, name, property(on_demand, slot.__set__))


_new = object.__new__
_make_lazy(ChatCompletionChunk, "choices", _choices_on_demand)
_make_lazy(ChatCompletionChunk, "raw", _raw_on_demand)
