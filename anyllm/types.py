"""
What goes in and what comes out: parameters, messages, chunks, whole answers.

The shapes are those of OpenAI's chat completions, extended where other providers say more; every dialect gives
these. Plain dicts are accepted wherever a class is.

Strategy: what a user builds is frozen, so that sharing it between threads is safe. What comes out in each chunk
is not: freezing costs a second on a million chunks, and nobody else holds it.

Source: https://platform.openai.com/docs/api-reference/chat and .../chat/streaming
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Optional, TypeVar, Union

import attrs

from anyllm import _convert
from anyllm._checks import check_keywords

S = TypeVar("S", bound="Serializable")

FINISH_REASONS = ("stop", "length", "tool_calls", "content_filter", "unknown")
REASONING_EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max", "auto")


class Serializable:
    """Gives a value class `to_dict` and `from_dict`."""

    __slots__ = ()

    def to_dict(self, *, raw: bool = False) -> dict[str, Any]:
        """
        A plain dict that JSON can hold.

        Args:
            raw: Keep the provider's own event beside what was made of it.
        """
        plain: dict[str, Any] = _convert.unstructure(self, raw=raw)
        return plain

    @classmethod
    def from_dict(cls: type[S], value: Mapping[str, Any]) -> S:
        """
        The instance that `to_dict` was called on.

        Raises:
            TypeError: a key or a type does not fit; the message names it.
        """
        return _convert.structure(cls, value)


@attrs.define(frozen=True)
class FunctionCall(Serializable):
    """
    The function a tool call names.

    Attributes:
        name: Its name; None on the later fragments of a streamed call.
        arguments: JSON text; on a streamed call a fragment of it.
    """

    name: Optional[str] = None
    arguments: str = ""


def _function(value: Any) -> FunctionCall:
    return _convert.structure(FunctionCall, value)


@attrs.define(frozen=True)
class ToolCall(Serializable):
    """
    A call the model wants made; in a chunk, a fragment of one.

    Fragments with the same index belong together: the first has id and name, the rest only arguments.

    Attributes:
        id: What the result must quote (`Message.tool`); None on later fragments.
        function: Name and arguments.
        type: "function".
        index: The call's place in the answer.
        extra_content: What some hosts want back unchanged in the next turn (Gemini's thought signature).
    """

    id: Optional[str] = None
    function: FunctionCall = attrs.field(factory=FunctionCall, converter=_function)
    type: str = "function"
    index: int = 0
    extra_content: Optional[dict[str, Any]] = None

    @property
    def name(self) -> Optional[str]:
        """The function's name."""
        return self.function.name

    @property
    def arguments(self) -> str:
        """The function's arguments, as JSON text."""
        return self.function.arguments

    @property
    def is_complete(self) -> bool:
        """Whether the call has a name and its arguments are a whole JSON object (or none at all)."""
        if not self.function.name:
            return False
        try:
            self.parse()
        except ValueError:
            return False
        return True

    def parse(self) -> dict[str, Any]:
        """
        The arguments as a dict; no arguments are an empty one.

        Raises:
            ValueError: They are not a JSON object (a fragment, or the model's mistake).
        """
        text = self.function.arguments.strip()
        if not text:
            return {}
        arguments = _convert.loads(text)
        if not isinstance(arguments, dict):
            raise ValueError(f"the arguments of {self.name} are no JSON object: {text[:80]}")
        return arguments


@attrs.define(frozen=True)
class Reasoning(Serializable):
    """
    What the model thought, and what its provider wants back with the next turn.

    Attributes:
        content: The text; in a chunk, a fragment of it.
        signature: The provider's signature over it (Anthropic, Gemini).
        field: The JSON key it came under ("reasoning_content", "reasoning"), which is the one it must be
            sent back under.
        details: The provider's structured form (OpenRouter's ``reasoning_details``), to be sent back.
    """

    content: Optional[str] = None
    signature: Optional[str] = None
    field: Optional[str] = None
    details: Optional[list[dict[str, Any]]] = None


@attrs.define(frozen=True)
class Usage(Serializable):
    """
    Tokens, counted the same way for every provider.

    Attributes:
        prompt_tokens: All of the prompt, what was read from a cache included.
        completion_tokens: All of the answer, reasoning included.
        total_tokens: Both.
        reasoning_tokens: The part of the answer that was reasoning; None if not said.
        cache_read_tokens: The part of the prompt that came from a cache; None if not said.
        cache_write_tokens: The part of the prompt that was written to a cache; None if not said.
        source: "provider", or "estimated".
        confidence: 1.0 for the provider's own figures, less for an estimate.
        raw: What the provider sent.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    reasoning_tokens: Optional[int] = None
    cache_read_tokens: Optional[int] = None
    cache_write_tokens: Optional[int] = None
    source: str = "provider"
    confidence: float = 1.0
    raw: Optional[dict[str, Any]] = attrs.field(default=None, eq=False, repr=False)


@attrs.define(frozen=True)
class ContentPart(Serializable):
    """
    One part of a message that is more than text, in OpenAI's shape.

    Attributes:
        type: "text", "image_url", "input_audio", "file", or what a host adds.
        text: For "text".
        image_url: For "image_url": ``{"url": ..., "detail": ...}``; the URL may be a data URL.
        input_audio: For "input_audio": ``{"data": base64, "format": "wav"}``.
        file: For "file": ``{"file_data": data URL, "filename": ...}`` or ``{"file_id": ...}``.
        cache_control: For hosts that cache on request: ``{"type": "ephemeral"}``.
        extra: Keys of a host that are not in this list, sent as they are.
    """

    type: str = "text"
    text: Optional[str] = None
    image_url: Optional[dict[str, Any]] = None
    input_audio: Optional[dict[str, Any]] = None
    file: Optional[dict[str, Any]] = None
    cache_control: Optional[dict[str, Any]] = None
    extra: Optional[dict[str, Any]] = None


def _part(value: Any) -> ContentPart:
    if isinstance(value, str):
        return ContentPart(text=value)
    if not isinstance(value, Mapping):
        return _convert.structure(ContentPart, value)
    known = {field.name for field in attrs.fields(ContentPart)}
    extra = {key: item for key, item in value.items() if key not in known}
    plain = {key: item for key, item in value.items() if key in known}
    if extra:
        plain["extra"] = {**(plain.get("extra") or {}), **extra}
    return _convert.structure(ContentPart, plain)


def _content(value: Any) -> Any:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, (bytes, Mapping)) or not isinstance(value, Iterable):
        raise TypeError(f"content must be a str or a list of parts, not {type(value).__name__}")
    return tuple(_part(item) for item in value)


def _tool_calls(value: Any) -> tuple[ToolCall, ...]:
    return tuple(_convert.structure(ToolCall, item) for item in value or ())


def _reasoning(value: Any) -> Optional[Reasoning]:
    if isinstance(value, str):
        return Reasoning(content=value)
    return None if value is None else _convert.structure(Reasoning, value)


@check_keywords
@attrs.define(frozen=True)
class Message(Serializable):
    """
    One turn of the conversation.

    Attributes:
        role: "system", "developer", "user", "assistant" or "tool".
        content: Text, or a list of `ContentPart` (or dicts in that shape).
        name: The speaker, where a host tells speakers of one role apart.
        tool_calls: On "assistant": the calls it made.
        tool_call_id: On "tool": the id of the call this answers.
        reasoning: On "assistant": its reasoning, to be sent back where a host wants that.
        cache_control: For hosts that cache on request.
        refusal: On "assistant": what it said instead of answering.
    """

    role: str = attrs.field(validator=attrs.validators.instance_of(str))
    content: Union[str, tuple[ContentPart, ...], None] = attrs.field(default=None, converter=_content)
    name: Optional[str] = None
    tool_calls: tuple[ToolCall, ...] = attrs.field(default=(), converter=_tool_calls)
    tool_call_id: Optional[str] = None
    reasoning: Optional[Reasoning] = attrs.field(default=None, converter=_reasoning)
    cache_control: Optional[dict[str, Any]] = None
    refusal: Optional[str] = None

    @classmethod
    def system(cls, content: Any, **fields: Any) -> Message:
        """What the model is told before the conversation."""
        return cls("system", content, **fields)

    @classmethod
    def user(cls, content: Any, **fields: Any) -> Message:
        """What the user says."""
        return cls("user", content, **fields)

    @classmethod
    def assistant(cls, content: Any = None, **fields: Any) -> Message:
        """What the model said in an earlier turn."""
        return cls("assistant", content, **fields)

    @classmethod
    def tool(cls, content: Any, tool_call_id: str, **fields: Any) -> Message:
        """The result of a tool call; *tool_call_id* is the call's ``id``."""
        return cls("tool", content, tool_call_id=tool_call_id, **fields)

    @property
    def text(self) -> str:
        """The content's text; "" when there is none."""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text or "" for part in self.content or ())


def _messages(value: Any) -> tuple[Message, ...]:
    if isinstance(value, (str, bytes, Mapping, Message)) or not isinstance(value, Iterable):
        raise TypeError(f"messages must be a list, as in [Message.user('Hello')], not {type(value).__name__}")
    return tuple(_convert.structure(Message, item) for item in value)


def _optional(*types: type, repr: bool = True) -> Any:
    def check(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        wrong_bool = isinstance(value, bool) and bool not in types
        if value is not None and (wrong_bool or not isinstance(value, types)):
            names = " or ".join(kind.__name__ for kind in types)
            raise TypeError(f"{attribute.name} must be {names} or None, not {type(value).__name__}")

    return attrs.field(default=None, kw_only=True, validator=check, repr=repr)


@check_keywords
@attrs.define(frozen=True)
class CompletionParams(Serializable):
    """
    What to ask a model. Never mutated; the request is fixed when a call with it returns.

    Attributes:
        model: "provider/model", as in "openai/gpt-4o-mini"; bare where a provider is given beside it.
        messages: The conversation: a list of `Message` or of dicts.
        temperature: Randomness, 0 to 2 with most hosts.
        top_p: Nucleus sampling, 0 to 1.
        max_tokens: The longest answer, in tokens, reasoning included where a host counts it.
        stop: A text, or a list of texts, at which the answer ends.
        n: How many answers.
        seed: For hosts that can repeat an answer.
        user: An id of your user, for the provider's abuse checks.
        tools: Functions the model may call, in OpenAI's JSON shape.
        tool_choice: "auto", "none", "required", or one tool in OpenAI's shape.
        parallel_tool_calls: Whether several calls may come in one answer.
        response_format: ``{"type": "json_object"}``, or ``{"type": "json_schema", ...}``.
        reasoning_effort: "none", "minimal", "low", "medium", "high", "xhigh", "max" or "auto".
        thinking_budget: The longest reasoning, in tokens; 0 turns it off.
        logprobs: Whether to send log probabilities.
        top_logprobs: How many alternatives to each token.
        stream: Accepted for the guides' sake; the call decides.
        stream_options: ``{"include_usage": False}`` turns the usage chunk off; more is passed on.
        functions: The older form of tools.
        function_call: The older form of tool_choice.
        extra_body: Keys added to the request's JSON; they win over everything else.
        extra_headers: Headers added to the request; they win over everything else.
    """

    model: str = attrs.field(validator=attrs.validators.instance_of(str))
    messages: tuple[Message, ...] = attrs.field(converter=_messages)
    temperature: Optional[float] = _optional(int, float)
    top_p: Optional[float] = _optional(int, float)
    max_tokens: Optional[int] = _optional(int)
    stop: Union[str, Sequence[str], None] = _optional(str, list, tuple)
    n: Optional[int] = _optional(int)
    seed: Optional[int] = _optional(int)
    user: Optional[str] = _optional(str)
    tools: Optional[Sequence[Mapping[str, Any]]] = _optional(list, tuple)
    tool_choice: Union[str, Mapping[str, Any], None] = _optional(str, Mapping)
    parallel_tool_calls: Optional[bool] = _optional(bool)
    response_format: Optional[Mapping[str, Any]] = _optional(Mapping)
    reasoning_effort: Optional[str] = _optional(str)
    thinking_budget: Optional[int] = _optional(int)
    logprobs: Optional[bool] = _optional(bool)
    top_logprobs: Optional[int] = _optional(int)
    stream: Optional[bool] = _optional(bool)
    stream_options: Optional[Mapping[str, Any]] = _optional(Mapping)
    functions: Optional[Sequence[Mapping[str, Any]]] = _optional(list, tuple)
    function_call: Union[str, Mapping[str, Any], None] = _optional(str, Mapping)
    extra_body: Optional[Mapping[str, Any]] = _optional(Mapping)
    extra_headers: Optional[Mapping[str, str]] = _optional(Mapping, repr=False)  # may hold a key

    def evolve(self, **changes: Any) -> CompletionParams:
        """A copy with *changes*."""
        return attrs.evolve(self, **changes)


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
    """

    role: Optional[str] = None
    content: Optional[str] = None
    refusal: Optional[str] = None
    tool_calls: Optional[tuple[ToolCall, ...]] = None
    reasoning: Optional[Reasoning] = None


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

    @property
    def content(self) -> str:
        """The text this chunk adds to choice 0; "" when it adds none."""
        for choice in self.choices:
            if choice.index == 0:
                return choice.delta.content or ""
        return ""

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
        choice = _first(self.choices)
        return choice.finish_reason if choice else None

    @property
    def raw_finish_reason(self) -> Optional[str]:
        """The provider's own word for why choice 0 ended."""
        choice = _first(self.choices)
        return choice.raw_finish_reason if choice else None

    @property
    def _delta(self) -> Optional[ChunkDelta]:
        choice = _first(self.choices)
        return choice.delta if choice else None


def _decode_on_demand(chunk: ChatCompletionChunk) -> Any:
    raw = _raw_of_chunk.__get__(chunk)
    if isinstance(raw, str):
        raw = _convert.loads(raw)
        _raw_of_chunk.__set__(chunk, raw)
    return raw


# A dialect gives the event's text, which is decoded when somebody looks: few do, and the objects of a decoded event are
# most of what would otherwise wait in the channel and be handed from one core to another.
_raw_of_chunk: Any = vars(ChatCompletionChunk)["raw"]
ChatCompletionChunk.raw = property(_decode_on_demand, _raw_of_chunk.__set__)  # type: ignore[misc]


@attrs.define
class Choice(Serializable):
    """
    One whole answer.

    Attributes:
        index: Which of the ``n`` answers.
        message: What was said, ready to be appended to the conversation.
        finish_reason: One of `FINISH_REASONS`; None when the provider gave none.
        raw_finish_reason: The provider's own word for it.
        logprobs: As the provider sent them; of a stream, all its pieces together.
    """

    index: int = 0
    message: Message = attrs.field(factory=lambda: Message("assistant"))
    finish_reason: Optional[str] = None
    raw_finish_reason: Optional[str] = None
    logprobs: Optional[dict[str, Any]] = None


@attrs.define
class ChatCompletion(Serializable):
    """
    A whole response: from `completion`, from `Stream.collect`, or, unfinished, as an error's ``partial``.

    Attributes:
        id, created, model, system_fingerprint, service_tier, provider: As on `ChatCompletionChunk`.
        choices: The answers, by index.
        object: "chat.completion".
        usage: Tokens; None when the provider sent none.
        raw: The provider's own answer, decoded; None for a stream.
    """

    id: str = ""
    choices: tuple[Choice, ...] = ()
    created: int = 0
    model: str = ""
    object: str = "chat.completion"
    usage: Optional[Usage] = None
    system_fingerprint: Optional[str] = None
    service_tier: Optional[str] = None
    provider: str = ""
    raw: Optional[Any] = attrs.field(default=None, eq=False, repr=False)

    @property
    def content(self) -> str:
        """The text of choice 0; "" when there is none."""
        return self.to_message().text

    @property
    def reasoning(self) -> str:
        """The reasoning of choice 0; "" when there is none."""
        reasoning = self.to_message().reasoning
        return (reasoning.content or "") if reasoning else ""

    @property
    def refusal(self) -> str:
        """What choice 0 said instead of answering; "" when it did not refuse."""
        return self.to_message().refusal or ""

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The tool calls of choice 0."""
        return self.to_message().tool_calls

    @property
    def finish_reason(self) -> Optional[str]:
        """Why choice 0 ended."""
        choice = _first(self.choices)
        return choice.finish_reason if choice else None

    @property
    def raw_finish_reason(self) -> Optional[str]:
        """The provider's own word for why choice 0 ended."""
        choice = _first(self.choices)
        return choice.raw_finish_reason if choice else None

    def to_message(self) -> Message:
        """The answer as a turn to append to the conversation: reasoning, signatures and tool calls included."""
        choice = _first(self.choices)
        return choice.message if choice else Message("assistant")


C = TypeVar("C", ChunkChoice, Choice)


def _first(choices: Sequence[C]) -> Optional[C]:
    """The choice whose *index* is 0: hosts send choices in any order, and chunks for some of them."""
    for choice in choices:
        if choice.index == 0:
            return choice
    return None
