"""
Decoder of DashScope's streams: choices whose messages are deltas, in an ``output``, with the token counts so far.

A choice continues while its ``finish_reason`` is the string "null". Multimodal models send their text in a list of
parts. With several choices, the counts of an event are those of its own choice.

Sources: https://www.alibabacloud.com/help/en/model-studio/qwen-api-via-dashscope,
https://www.alibabacloud.com/help/en/model-studio/stream
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from anyllm.types import ChunkChoice, Usage
from anyllm.wire._base import api_errors, error_body
from anyllm.wire._base.choices_decoder import ChoiceDelta, ChoicesDecoder
from anyllm.wire._base.cloud_error_codes import refine_by_code
from anyllm.wire._base.json_values import count, json_object, json_type, usage_of_counts

#: The fields of a message besides role and content.
_NOT_TEXT = ("reasoning_content", "tool_calls")
_OUTPUT, _TOTAL = "output_tokens", "total_tokens"


class DashScopeDecoder(ChoicesDecoder):
    """Turns one response's events into chunks. Used by one thread, for one response."""

    __slots__ = ("_usages",)

    def __init__(self, *, provider: str) -> None:
        super().__init__(provider=provider)
        #: The latest token counts of each choice.
        self._usages: dict[int, dict[str, Any]] = {}

    def _answer(self, body: dict[str, Any], event_name: str = "") -> dict[str, Any]:
        if event_name == "error" or (
            not body.get("output") and (body.get("code") or error_body.looks_like_error(body))
        ):
            raise refine_by_code(api_errors.from_body(self._provider, body))
        return body

    def _text_only(self, answer: dict[str, Any]) -> str | None:
        output = answer.get("output")
        choices = output.get("choices") if type(output) is dict else None
        if type(choices) is not list or len(choices) != 1 or type(choices[0]) is not dict:
            return None
        choice = choices[0]
        message = choice.get("message")
        if type(message) is not dict or choice.get("finish_reason") != "null" or choice.get("index"):
            return None
        content = message.get("content")
        if type(content) is not str or choice.get("logprobs") is not None:
            return None
        return None if any(message.get(key) for key in _NOT_TEXT) else content

    def _choice_deltas(self, answer: dict[str, Any]) -> Sequence[ChoiceDelta]:
        output = self._optional_object(answer, "output")
        choices = self._checked_objects(output.get("choices"), "choices")
        if not choices and isinstance(output.get("text"), str):
            # Models without messages: the output is the only choice.
            return [ChoiceDelta(content=output["text"], finish=output.get("finish_reason"))]
        return [self._choice_delta(choice) for choice in choices]

    def _choice_delta(self, choice: Mapping[str, Any]) -> ChoiceDelta:
        message = self._optional_object(choice, "message")
        return ChoiceDelta(
            choice.get("index"),
            self._content(message.get("content")),
            message.get("reasoning_content"),
            message.get("tool_calls"),
            choice.get("finish_reason"),
            choice.get("logprobs"),
        )

    def _content(self, content: Any) -> Any:
        """The text of a list of parts; images in it are only in the chunk's ``raw``."""
        if not isinstance(content, list):
            return content
        texts = []
        for part in content:
            text = part.get("text") if isinstance(part, dict) else part
            if text is not None and not isinstance(text, str):
                raise self._malformed(f"a part of the content is {json_type(text)}")
            texts.append(text or "")
        return "".join(texts)

    def _metadata(self, answer: dict[str, Any]) -> tuple[Any, Any, Any]:
        return answer.get("request_id"), None, None

    def _usage(self, answer: dict[str, Any], choices: Sequence[ChunkChoice]) -> Usage | None:
        raw = answer.get("usage")
        if not isinstance(raw, dict):
            return None
        if len(choices) == 1:
            self._usages[choices[0].index] = raw
            raw = _total_usage(list(self._usages.values()), raw)
        return _read_usage(raw)


def _total_usage(usages: Sequence[Mapping[str, Any]], last: Mapping[str, Any]) -> Mapping[str, Any]:
    """The token counts of all choices together; they share the prompt."""
    if len(usages) == 1:
        return last
    output = sum(count(usage, _OUTPUT) or 0 for usage in usages)
    return {**last, _OUTPUT: output, _TOTAL: (count(last, "input_tokens") or 0) + output}


def _read_usage(raw: Mapping[str, Any]) -> Usage | None:
    prompt_details = _details(raw, "prompt_tokens_details", "input_tokens_details")
    completion_details = _details(raw, "output_tokens_details", "completion_tokens_details")
    return usage_of_counts(
        raw,
        count(raw, "input_tokens"),
        count(raw, _OUTPUT),
        count(raw, _TOTAL),
        reasoning=count(completion_details, "reasoning_tokens"),
        cache_read=count(prompt_details, "cached_tokens"),
        cache_write=count(prompt_details, "cache_creation_input_tokens"),
    )


def _details(raw: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
    """The objects under *names*, merged."""
    details: dict[str, Any] = {}
    for name in names:
        details.update(json_object(raw.get(name)))
    return details
