"""
Text completion formats of older models, which differ only in their keys; answers are read, requests are not written.

Each model needs its own prompt template; Converse has them for all of these models. A guardrail that blocks a prompt
answers instead of the model, in the model's format but with the guardrail's own finish reason.

Sources: https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-titan-text.html,
https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-anthropic-claude-text-completion.html,
https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-meta.html,
https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-mistral-text-completion.html,
https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-mistral-chat-completion.html,
https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-deepseek.html,
https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-cohere-command.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Optional

import attrs

from anyllm.types import ChunkChoice, CompletionParams, Usage
from anyllm.wire._base import bedrock_errors
from anyllm.wire._base.base_dialect import BaseDialect
from anyllm.wire._base.choices_decoder import ChoiceDelta, ChoicesDecoder
from anyllm.wire._base.cohere.errors import raise_failure
from anyllm.wire._base.encode_json import unsupported
from anyllm.wire._base.json_values import count
from anyllm.wire._base.protocols import FormatSupport, Request

__all__ = ["TextCompletionDecoder", "TextCompletionDialect", "is_text_completion"]


@attrs.define(frozen=True)
class _TextKeys:
    """
    The keys of one maker's text and finish reason.

    Attributes:
        text: The key of the text.
        finish: The key of the finish reason.
        parts: The key of the list whose elements have these keys; None if the event itself has them.
    """

    text: str
    finish: str
    parts: Optional[str] = None


#: The keys, by one that only events of that format have. The last two are formats of the same Cohere models.
_TEXT_KEYS = {
    "outputText": _TextKeys("outputText", "completionReason"),  # Titan
    "results": _TextKeys("outputText", "completionReason", "results"),  # Titan, whole
    "completion": _TextKeys("completion", "stop_reason"),  # Claude 2
    "generation": _TextKeys("generation", "stop_reason"),  # Llama
    "outputs": _TextKeys("text", "stop_reason", "outputs"),  # Mistral
    "choices": _TextKeys("text", "stop_reason", "choices"),  # DeepSeek; with messages in them, Mistral Large
    "generations": _TextKeys("text", "finish_reason", "generations"),  # Cohere
    "is_finished": _TextKeys("text", "finish_reason"),  # Cohere, with "stream" in the body
}

#: Finish reasons that only these makers have, and the guardrails'.
_FINISH_REASONS = {"FINISH": "stop", "FINISHED": "stop", "STOP_CRITERIA_MET": "stop", "INTERVENED": "content_filter"}

#: The keys of token counts: of the prompt, and of the answer so far.
_PROMPT_COUNTS = ("prompt_token_count", "inputTextTokenCount")
_COMPLETION_COUNTS = ("generation_token_count", "totalOutputTextTokenCount")


def is_text_completion(first: Mapping[str, Any]) -> bool:
    """Whether an answer is in one of these formats."""
    return _keys_of(first) is not None


def _keys_of(answer: Mapping[str, Any]) -> _TextKeys | None:
    return next((keys for key, keys in _TEXT_KEYS.items() if key in answer), None)


class TextCompletionDecoder(ChoicesDecoder):
    """Turns one response's events into chunks. Used by one thread, for one response."""

    __slots__ = ("_counts",)

    def __init__(self, *, provider: str) -> None:
        super().__init__(provider=provider)
        self._counts: dict[str, Any] = {}

    def _answer(self, body: dict[str, Any], event_name: str = "") -> dict[str, Any]:
        error = bedrock_errors.error_in(event_name, body, self._provider)
        if error is not None:
            raise error
        return body

    def _text_only(self, answer: dict[str, Any]) -> str | None:
        deltas = self._choice_deltas(answer)
        if len(deltas) != 1:
            return None
        (delta,) = deltas
        if delta.index or delta.calls or delta.finish or type(delta.content) is not str:
            return None
        return delta.content

    def _choice_deltas(self, answer: dict[str, Any]) -> Sequence[ChoiceDelta]:
        keys = _keys_of(answer)
        if keys is None:
            return ()
        parts = [answer] if keys.parts is None else self._checked_objects(answer[keys.parts], keys.parts)
        return [self._choice_delta(part, keys, answer) for part in parts]

    def _choice_delta(self, part: Mapping[str, Any], keys: _TextKeys, answer: Mapping[str, Any]) -> ChoiceDelta:
        raise_failure(part, self._provider)
        finish = part.get(keys.finish) or _guardrail_action(answer)
        message = self._optional_object(part, "message" if part.get("message") else "delta")
        if not message:
            return ChoiceDelta(part.get("index"), part.get(keys.text), finish=finish)
        return ChoiceDelta(part.get("index"), message.get("content"), calls=message.get("tool_calls"), finish=finish)

    def _finish(self, raw: Any, choice: Any) -> tuple[str | None, str | None]:
        finish, raw_finish = super()._finish(raw, choice)
        return (finish if raw_finish is None else _FINISH_REASONS.get(raw_finish.upper(), finish)), raw_finish

    def _metadata(self, answer: dict[str, Any]) -> tuple[Any, Any, Any]:
        return answer.get("id"), answer.get("created"), answer.get("model")

    def _usage(self, answer: dict[str, Any], choices: Sequence[ChunkChoice]) -> Usage | None:
        """The token counts, some from earlier events; None unless both prompt and answer were counted."""
        self._counts.update(
            {name: answer[name] for name in (*_PROMPT_COUNTS, *_COMPLETION_COUNTS) if answer.get(name) is not None}
        )
        raw = answer["usage"] if isinstance(answer.get("usage"), dict) else self._counts
        prompt = count(raw, *_PROMPT_COUNTS, "prompt_tokens")
        completion = count(raw, *_COMPLETION_COUNTS, "completion_tokens")
        if completion is None and "results" in answer:
            counts = [count(part, "tokenCount") for part in self._checked_objects(answer["results"], "results")]
            completion = sum(tokens or 0 for tokens in counts)
            raw = {**raw, "results": [{"tokenCount": tokens} for tokens in counts]}
        if prompt is None or completion is None:
            return None
        return Usage(prompt, completion, prompt + completion, raw=dict(raw))


def _guardrail_action(answer: Mapping[str, Any]) -> str | None:
    """
    The action of a guardrail that answers instead of the model, else None.

    A guardrail that only masks a word has the same action, and the answer continues; only the trace tells them apart.
    """
    action, trace = answer.get("amazon-bedrock-guardrailAction"), answer.get("amazon-bedrock-trace")
    guardrail = trace.get("guardrail") if isinstance(trace, dict) else None
    reason = guardrail.get("actionReason") if isinstance(guardrail, dict) else None
    is_blocked = isinstance(reason, str) and "blocked" in reason.lower()
    return action if is_blocked and isinstance(action, str) else None


@attrs.define(frozen=True, kw_only=True)
class TextCompletionDialect(BaseDialect):
    """All these formats, to read only."""

    support: ClassVar[FormatSupport] = FormatSupport(formats=(), media=())

    _decoder = TextCompletionDecoder
    _read_error = staticmethod(bedrock_errors.from_response)
    _answer_key = "text"

    def request(self, params: CompletionParams, *, model: str, stream: bool) -> Request:
        """
        Not supported.

        Raises:
            UnsupportedParameterError: always.
        """
        raise unsupported("model", f"requests to {model} through InvokeModel are not supported", self.provider)

    def _is_answer(self, answer: dict[str, Any]) -> bool:
        return is_text_completion(answer)
