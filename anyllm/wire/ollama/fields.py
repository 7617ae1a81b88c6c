"""
Names and values of Ollama's API beside ours, each in both directions: parameters, messages, usage, times.

Sources: https://docs.ollama.com/api/chat, https://docs.ollama.com/capabilities/thinking,
https://docs.ollama.com/capabilities/structured-outputs
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Optional, Union

from anyllm.types import CompletionParams, Reasoning, ToolCall, Usage
from anyllm.wire._base.conversation import schema_in
from anyllm.wire._base.json_values import count, usage_of_counts
from anyllm.wire._base.request_fields import Fields, wrong

# -- parameters --------------------------------------------------------------------------------------------------------

#: Our parameters that go into ``options``, and their names there.
OPTIONS = {"temperature": "temperature", "top_p": "top_p", "max_tokens": "num_predict", "seed": "seed", "stop": "stop"}
#: Parameters that stand beside the messages, under the same names here and there.
TOP_LEVEL = {"logprobs": bool, "top_logprobs": int}
#: Roles with another name here.
ROLES = {"developer": "system", "function": "tool"}
#: Our efforts as values of ``think``. A model without levels reads any of them as true.
THINK: dict[str, Union[bool, str]] = {
    "none": False,
    **dict.fromkeys(("minimal", "low"), "low"),
    "medium": "medium",
    **dict.fromkeys(("high", "xhigh"), "high"),
    "max": "max",
}
_LEVELS = tuple(dict.fromkeys(level for level in THINK.values() if level))


def read_think(think: Union[bool, str]) -> str:
    """The effort for a client's ``think``: true is "medium", because the provider chooses the level itself then."""
    if isinstance(think, bool):
        return "medium" if think else "none"
    if think not in _LEVELS:
        raise wrong("think", f"think must be true, false, or one of {', '.join(map(str, _LEVELS))}, not {think!r:.40}")
    return think


def format_of(params: CompletionParams, provider: str) -> dict[str, Any]:
    """``format`` for our response_format: "json", or the schema itself."""
    kind, schema, _ = schema_in(params, provider)
    return {} if kind is None else {"format": "json" if schema is None else schema}


def read_format(value: Any) -> Optional[dict[str, Any]]:
    """Our response_format for a client's ``format``."""
    if isinstance(value, dict):
        return {"type": "json_schema", "json_schema": {"name": "answer", "schema": value}}
    if value not in (None, "", "json"):
        raise wrong("format", f'format must be "json" or a schema, not {value!r:.40}')
    return {"type": "json_object"} if value else None


# -- messages ----------------------------------------------------------------------------------------------------------


def texts_object(content: str, reasoning: Optional[Reasoning]) -> dict[str, str]:
    """The texts of a message. There is no place for a signature over the reasoning."""
    thinking = reasoning.content if reasoning is not None else None
    return {"content": content, "thinking": thinking} if thinking else {"content": content}


def call_object(
    call: ToolCall,
    arguments: Mapping[str, Any],
    function: Optional[Mapping[str, Any]] = None,
    *,
    with_id: bool = True,
) -> dict[str, Any]:
    """A whole call; *function* holds further keys of its function."""
    call_id = {"id": call.id} if with_id and call.id else {}
    return {**call_id, "function": {**(function or {}), "name": call.name or "", "arguments": arguments}}


def read_call(call: Fields, *kinds: type) -> tuple[Optional[str], str, Any]:
    """Id, name and arguments of a call, the last of one of *kinds* or None; `InvalidRequestError` if it is no call."""
    function = call.object("function")
    return call.take("id", str), function.need("name", str), function.take("arguments", *kinds)


# -- answers -----------------------------------------------------------------------------------------------------------

#: The counts of tokens, and the times in nanoseconds, of a last line.
_COUNTS = ("prompt_eval_count", "eval_count")
DURATIONS = ("total_duration", "load_duration", "prompt_eval_duration", "eval_duration")
USAGE_KEYS = frozenset((*_COUNTS, *DURATIONS))
#: Our finish reasons as Ollama's. It has none of its own for an answer that ended with calls.
_REASONS = {"stop": "stop", "tool_calls": "stop", "length": "length", "content_filter": "content_filter"}


def read_usage(body: Mapping[str, Any]) -> Optional[Usage]:
    """
    The provider's counts, with its times in nanoseconds as ``raw``; None where it counted nothing.

    Old versions leave ``prompt_eval_count`` out where the whole prompt came from the cache.
    """
    prompt, completion = (count(body, name) for name in _COUNTS)
    raw = {key: value for key, value in body.items() if key.endswith(("_count", "_duration"))}
    return usage_of_counts(raw, prompt, completion, None)


def usage_fields(
    usage: Optional[Usage], native: Optional[Mapping[str, Any]], measured: Mapping[str, int]
) -> dict[str, Any]:
    """
    Counts and times of a last line.

    Args:
        usage: The counts; its ``raw`` is the provider's own if it has Ollama's keys.
        native: An Ollama server's own last line, whose values are passed on without ours.
        measured: The times that we measured.
    """
    raw = (usage.raw if usage is not None else None) or {}
    provided = {**(raw if any(name in raw for name in _COUNTS) else {}), **(native or {})}
    fields = {key: value for key, value in provided.items() if key in USAGE_KEYS}
    if fields or usage is None:
        return fields or dict(measured)
    return {**measured, **dict(zip(_COUNTS, (usage.prompt_tokens, usage.completion_tokens)))}


def done_reason(choice: Any, native: bool) -> Optional[str]:
    """Why a choice ended: an Ollama server's own reason, else Ollama's for ours, else the provider's."""
    if choice is None or choice.finish_reason is None:
        return None
    reason = None if native else _REASONS.get(choice.finish_reason)
    return str(reason or choice.raw_finish_reason or choice.finish_reason)


def read_logprobs(body: Mapping[str, Any]) -> Optional[dict[str, Any]]:
    """The log probabilities of a line, in OpenAI's shape."""
    tokens = body.get("logprobs")
    return {"content": tokens} if isinstance(tokens, list) and tokens else None


def logprobs_field(logprobs: Optional[Mapping[str, Any]]) -> dict[str, Any]:
    """The log probabilities of a choice; nothing where they have another shape than OpenAI's."""
    tokens = logprobs.get("content") if logprobs else None
    if not isinstance(tokens, list) or not tokens:
        return {}
    return {"logprobs": tokens} if all(map(_is_token, tokens)) else {}


def _is_token(value: Any) -> bool:
    return isinstance(value, Mapping) and isinstance(value.get("token"), str) and "logprob" in value


# -- times -------------------------------------------------------------------------------------------------------------

#: Nanoseconds in a second, and the last second whose year has four digits.
NANO, LATEST = 10**9, 253402300799


def time_text(nanoseconds: int) -> str:
    """A time as Ollama writes it; *nanoseconds* are since 1970."""
    seconds, fraction = divmod(nanoseconds, NANO)
    return f"{second_text(seconds)}.{fraction:09}Z"


def second_text(seconds: int) -> str:
    """The same without the fraction of the second; *seconds* are since 1970."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(min(max(0, seconds), LATEST)))
