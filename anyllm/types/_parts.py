"""Parts of answers and messages: tool calls, reasoning, usage, notices of retries."""

from __future__ import annotations

from typing import Any, Optional

import attrs

from anyllm._hints.arguments import explain_frozen
from anyllm.types import _convert
from anyllm.types._base import Serializable

#: What `finish_reason` may be.
FINISH_REASONS = ("stop", "length", "tool_calls", "content_filter", "unknown")


@explain_frozen
@attrs.define(frozen=True)
class FunctionCall(Serializable):
    """
    The function of a tool call.

    Attributes:
        name: Its name; None on the later fragments of a streamed call.
        arguments: JSON text; in a chunk, a fragment of it.
    """

    name: Optional[str] = None
    arguments: str = ""


def _function(value: Any) -> FunctionCall:
    return _convert.structure(FunctionCall, value)


@explain_frozen
@attrs.define(frozen=True)
class ToolCall(Serializable):
    """
    A tool call of the model; in a chunk, a fragment of one.

    Fragments with the same index belong together: the first has id and name, the others only arguments.

    Attributes:
        id: The id that the result must have (`Message.tool`); None on later fragments.
        function: Name and arguments.
        type: "function".
        index: The call's position in the answer.
        extra_content: Data that some providers require unchanged in the next turn (Gemini's thought signature).
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
        """Whether the call has a name, and its arguments are a whole JSON object or empty."""
        if not self.function.name:
            return False
        try:
            self.parse()
        except ValueError:
            return False
        return True

    def parse(self) -> dict[str, Any]:
        """
        The arguments as a dict, which is empty for no arguments.

        Raises:
            ValueError: they are not a JSON object (a fragment, or a mistake of the model).
        """
        text = self.function.arguments.strip()
        if not text:
            return {}
        arguments = _convert.loads(text)
        if not isinstance(arguments, dict):
            raise ValueError(f"the arguments of {self.name} are no JSON object: {text[:80]}")
        return arguments


@explain_frozen
@attrs.define(frozen=True)
class Reasoning(Serializable):
    """
    Reasoning of the model, with the data that its provider requires in the next turn.

    Attributes:
        content: The text; in a chunk, a fragment of it.
        signature: The provider's signature over it (Anthropic, Gemini).
        field: The JSON key of the text ("reasoning_content", "reasoning"), under which it must be sent back.
        details: The provider's structured form (OpenRouter's ``reasoning_details``), which is sent back.
    """

    content: Optional[str] = None
    signature: Optional[str] = None
    field: Optional[str] = None
    details: Optional[list[dict[str, Any]]] = None


@explain_frozen
@attrs.define(frozen=True)
class RetryNotice(Serializable):
    """
    A notice that the call is attempted again, and why. See `Retry`.

    Attributes:
        policy: "before_content": nothing had come; "restart": the answer begins again; "continue": the answer goes on
            where it was interrupted.
        attempt: The number of the attempt that begins: 2 for the second.
        reason: The error that ended the attempt before it, as text.
        pause: Seconds until it begins.
    """

    policy: str
    attempt: int = 2
    reason: str = ""
    pause: float = 0.0


#: Deprecated name of `RetryNotice`.
Retried = RetryNotice


@explain_frozen
@attrs.define(frozen=True)
class Usage(Serializable):
    """
    Tokens, counted the same way for every provider.

    Attributes:
        prompt_tokens: The whole prompt, with cached tokens.
        completion_tokens: The whole answer, with reasoning.
        total_tokens: Both.
        reasoning_tokens: The part of the answer that is reasoning; None if the provider does not send it.
        cache_read_tokens: The part of the prompt that was read from a cache; None if the provider does not send it.
        cache_write_tokens: The part of the prompt that was written to a cache; None if the provider does not send it.
        source: "provider", or "estimated".
        confidence: 1.0 for the provider's own numbers, less for an estimate.
        raw: The provider's own object.
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
