"""
Text generators: a prompt goes in, and text comes out, in events that differ in their keys alone.

These models are read and not asked: their prompts are written for one model each, which Converse does for all of them.
A guardrail that blocked a prompt answers in the model's stead, in its format but for the reason why it ended: that is
the guardrail's own.

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

from anyllm.errors import APIError
from anyllm.types import ChatCompletion, ChunkChoice, CompletionParams, Usage
from anyllm.types._accumulate import Assembler
from anyllm.wire._base import bedrock_errors
from anyllm.wire._base.choices_decoder import ChoicesDecoder, Piece, first_count
from anyllm.wire._base.cohere.errors import failure
from anyllm.wire._base.decode_json import no_answer, whole_json
from anyllm.wire._base.dialect import FormatSupport, Request
from anyllm.wire._base.encode_json import unsupported

__all__ = ["PlainDecoder", "PlainText", "is_plain"]


@attrs.define(frozen=True)
class _Form:
    """
    How a maker writes text and its end.

    Attributes:
        text: The key of the text.
        finish: The key of why it ended.
        parts: The key of the list whose elements have these keys; None: the event itself has them.
    """

    text: str
    finish: str
    parts: Optional[str] = None


#: By a key that only events of that form have. The last two are of the same Cohere models, with a switch and without.
_FORMS = {
    "outputText": _Form("outputText", "completionReason"),  # Titan
    "results": _Form("outputText", "completionReason", "results"),  # Titan, whole
    "completion": _Form("completion", "stop_reason"),  # Claude 2
    "generation": _Form("generation", "stop_reason"),  # Llama
    "outputs": _Form("text", "stop_reason", "outputs"),  # Mistral
    "choices": _Form("text", "stop_reason", "choices"),  # DeepSeek; with messages in them, Mistral Large
    "generations": _Form("text", "finish_reason", "generations"),  # Cohere
    "is_finished": _Form("text", "finish_reason"),  # Cohere, with "stream" in the body
}

#: Words for an end that only these makers have, and the guardrails'.
_ENDS = {"FINISH": "stop", "FINISHED": "stop", "STOP_CRITERIA_MET": "stop", "INTERVENED": "content_filter"}

#: Where the makers count tokens: of the prompt, and of the answer so far.
_GIVEN = ("prompt_token_count", "inputTextTokenCount")
_ANSWER = ("generation_token_count", "totalOutputTextTokenCount")


def is_plain(first: Mapping[str, Any]) -> bool:
    """Whether it is one of these formats."""
    return _form_of(first) is not None


def _form_of(answer: Mapping[str, Any]) -> _Form | None:
    return next((form for key, form in _FORMS.items() if key in answer), None)


class PlainDecoder(ChoicesDecoder):
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
        pieces = self._pieces(answer)
        if len(pieces) != 1:
            return None
        (piece,) = pieces
        if piece.index or piece.calls or piece.finish or type(piece.content) is not str:
            return None
        return piece.content

    def _pieces(self, answer: dict[str, Any]) -> Sequence[Piece]:
        form = _form_of(answer)
        if form is None:
            return ()
        parts = [answer] if form.parts is None else self._checked_objects(answer[form.parts], form.parts)
        return [self._piece(part, form, answer) for part in parts]

    def _piece(self, part: Mapping[str, Any], form: _Form, answer: Mapping[str, Any]) -> Piece:
        failed = failure(part, self._provider)
        if failed is not None:
            raise failed
        finish = part.get(form.finish) or _blocked(answer)
        message = self._checked_object(part.get("message") or part.get("delta"), "message")
        if not message:
            return Piece(part.get("index"), part.get(form.text), finish=finish)
        return Piece(part.get("index"), message.get("content"), calls=message.get("tool_calls"), finish=finish)

    def _finish(self, raw: Any, choice: Any) -> tuple[str | None, str | None]:
        meaning, said = super()._finish(raw, choice)
        return (meaning, said) if said is None else (_ENDS.get(said.upper(), meaning), said)

    def _about(self, answer: dict[str, Any]) -> tuple[Any, Any, Any]:
        return answer.get("id"), answer.get("created"), answer.get("model")

    def _usage(self, answer: dict[str, Any], choices: Sequence[ChunkChoice]) -> Usage | None:
        """What the maker has counted, some of it in earlier events; None unless it counts both ways."""
        self._counts.update({name: answer[name] for name in (*_GIVEN, *_ANSWER) if answer.get(name) is not None})
        raw = answer["usage"] if isinstance(answer.get("usage"), dict) else self._counts
        prompt = first_count(raw, *_GIVEN, "prompt_tokens")
        completion = first_count(raw, *_ANSWER, "completion_tokens")
        if completion is None and "results" in answer:
            counts = [first_count(part, "tokenCount") for part in self._checked_objects(answer["results"], "results")]
            completion = sum(count or 0 for count in counts)
            raw = {**raw, "results": [{"tokenCount": count} for count in counts]}
        if prompt is None or completion is None:
            return None
        return Usage(prompt, completion, prompt + completion, raw=dict(raw))


def _blocked(answer: Mapping[str, Any]) -> str | None:
    """
    What a guardrail calls it when it answers instead of the model; None when it did not.

    It says the same of an answer in which it only masked a word, which goes on: the trace alone knows.
    """
    action, trace = answer.get("amazon-bedrock-guardrailAction"), answer.get("amazon-bedrock-trace")
    guardrail = trace.get("guardrail") if isinstance(trace, dict) else None
    reason = guardrail.get("actionReason") if isinstance(guardrail, dict) else None
    is_blocked = isinstance(reason, str) and "blocked" in reason.lower()
    return action if is_blocked and isinstance(action, str) else None


@attrs.define(frozen=True, kw_only=True)
class PlainText:
    """
    The dialect of all these formats.

    Attributes:
        provider: Stands in every chunk and error.
    """

    provider: str

    support: ClassVar[FormatSupport] = FormatSupport(formats=(), media=())

    def request(self, params: CompletionParams, *, model: str, stream: bool) -> Request:
        """
        Nothing: these models are not asked.

        Raises:
            UnsupportedParameterError: always.
        """
        raise unsupported("model", f"no prompts are written for {model} here", self.provider)

    def decoder(self) -> PlainDecoder:
        """A fresh decoder for one streamed response."""
        return PlainDecoder(provider=self.provider)

    def response(self, body: bytes) -> ChatCompletion:
        """
        A whole response: read as a stream of one event, so that both give the same answer.

        Raises:
            APIError: the body is the provider's error.
            MalformedStreamError: the body cannot be read.
        """
        answer = whole_json(body, self.provider)
        if not isinstance(answer, dict) or _form_of(answer) is None:
            raise no_answer(answer, "text", self.provider)
        assembler = Assembler()
        for chunk in self.decoder().feed_whole(answer):
            assembler.add(chunk)
        completion = assembler.snapshot()
        completion.raw = answer
        return completion

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> APIError:
        """The error that an HTTP status, its headers and its body say."""
        return bedrock_errors.from_response(self.provider, status, headers, body)
