"""
Names and values of OpenAI's Responses beside ours, each in both directions: items, parts and their events, ends, usage.

Sources: https://platform.openai.com/docs/api-reference/responses/object,
https://platform.openai.com/docs/api-reference/responses-streaming
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from anyllm.types import ToolCall, Usage, _convert
from anyllm.wire._base.finish_reasons import finish_reason
from anyllm.wire._base.json_values import count, json_object, without_none

#: Types of output items that an answer of ours consists of; all others are of interest to the provider alone.
MESSAGE, REASONING, FUNCTION_CALL, CUSTOM_CALL = "message", "reasoning", "function_call", "custom_tool_call"
CALLS = (FUNCTION_CALL, CUSTOM_CALL)
ITEM_TYPES = (MESSAGE, REASONING, *CALLS)
#: Between two parts of the reasoning, which are paragraphs with headings of their own.
PARAGRAPH = "\n\n"
#: Keys of a call beside its id, name and arguments that the provider wants back.
CALL_KEYS = ("namespace", "caller")
#: The key of a call under which a gateway of ours carries what another provider wants back with it.
EXTRA_CONTENT = "extra_content"
#: Roles of messages that are input, under the same names here and there.
INPUT_ROLES = ("user", "system", "developer")
#: Our parameters that are one value here too: name and type here.
PARAMETERS: dict[str, tuple[str, type]] = {
    "temperature": ("temperature", float),
    "top_p": ("top_p", float),
    "user": ("user", str),
    "parallel_tool_calls": ("parallel_tool_calls", bool),
    "top_logprobs": ("top_logprobs", int),
    "max_tokens": ("max_output_tokens", int),
}
#: The value of ``include`` that asks for log probabilities.
LOGPROBS = "message.output_text.logprobs"


# -- texts and their events --------------------------------------------------------------------------------------------


class TextForm(NamedTuple):
    """Where one kind of text stands in an item, and the events that bring it."""

    type: str  # of the part that holds it; of a call, which has no parts, the type of the item
    item: str  # the type of the item
    field: str  # the key of the item that holds the list of parts, or the text itself
    key: str  # the key of the text in a part, and in the event that repeats it whole
    number: str  # the key that numbers the part in events; "" if there are no parts
    text_event: str  # the type of the events of the text, without "delta" and "done"
    part_event: str  # the type of the events of the part, without "added" and "done"; "" if there are no parts


TEXT, REFUSAL, SUMMARY, THOUGHT = "output_text", "refusal", "summary_text", "reasoning_text"
_CONTENT = "response.content_part"
_SUMMARY = ("response.reasoning_summary_text", "response.reasoning_summary_part")
FORMS = {
    form.type: form
    for form in (
        TextForm(TEXT, MESSAGE, "content", "text", "content_index", "response.output_text", _CONTENT),
        TextForm(REFUSAL, MESSAGE, "content", "refusal", "content_index", "response.refusal", _CONTENT),
        TextForm(THOUGHT, REASONING, "content", "text", "content_index", "response.reasoning_text", _CONTENT),
        TextForm(SUMMARY, REASONING, "summary", "text", "summary_index", *_SUMMARY),
        TextForm(FUNCTION_CALL, FUNCTION_CALL, "arguments", "arguments", "", "response.function_call_arguments", ""),
        TextForm(CUSTOM_CALL, CUSTOM_CALL, "input", "input", "", "response.custom_tool_call_input", ""),
    )
}
TEXT_DELTA = "response.output_text.delta"
#: Events that bring a piece of a text.
DELTAS = {f"{form.text_event}.delta": form for form in FORMS.values()}
ITEM_ADDED, ITEM_DONE = "response.output_item.added", "response.output_item.done"
#: Events of the whole response before its end.
LIFECYCLE = ("response.created", "response.queued", "response.in_progress")
#: The events that end a response, and the status each means where the response does not say one.
ENDS = {"response.completed": "completed", "response.incomplete": "incomplete", "response.failed": "failed"}
#: Final values of ``status``; "cancelled" is one of a response in the background.
FINAL_STATUSES = ("completed", "incomplete", "failed", "cancelled")


def texts_in(item: Mapping[str, Any], item_type: str) -> list[tuple[str, str]]:
    """The whole texts of an item, each with its type."""
    if item_type == MESSAGE:
        return [(TEXT, _joined(item, TEXT)), (REFUSAL, _joined(item, REFUSAL))]
    if item_type == REASONING:  # both are the same thoughts, long and short
        thought = _joined(item, THOUGHT, PARAGRAPH)
        return [(THOUGHT, thought)] if thought else [(SUMMARY, _joined(item, SUMMARY, PARAGRAPH))]
    arguments = item.get(FORMS[item_type].field)  # some providers send an object
    if not isinstance(arguments, str):
        arguments = "" if arguments is None else _convert.dumps(arguments).decode()
    return [(item_type, arguments)]


def parts_in(item: Mapping[str, Any], field: str) -> list[dict[str, Any]]:
    """The objects in the list *field* of an item."""
    parts = item.get(field)
    return [part for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []


def _joined(item: Mapping[str, Any], part_type: str, separator: str = "") -> str:
    form = FORMS[part_type]
    # The parts of a summary are of one type only, which not all providers write.
    parts = [part for part in parts_in(item, form.field) if part_type in (SUMMARY, part.get("type"))]
    return separator.join(text for part in parts if isinstance(text := part.get(form.key), str) and text)


def call_item_type(call: ToolCall) -> str:
    """The type of the item that is a call."""
    return CUSTOM_CALL if call.type == "custom" else FUNCTION_CALL


def provider_keys(call: ToolCall) -> dict[str, Any]:
    """The keys of the item that is a call which its function cannot hold."""
    extra = json_object((call.extra_content or {}).get("openai"))
    return {key: value for key, value in extra.items() if key in CALL_KEYS}


def logprobs_in(item: Mapping[str, Any]) -> list[Any]:
    """The log probabilities in a whole message."""
    lists = [part.get("logprobs") for part in parts_in(item, "content")]
    return [entry for entries in lists if isinstance(entries, list) for entry in entries]


def custom_tools(tools: list[Any]) -> Iterator[str]:
    """The names of the custom tools among a response's ``tools``, those in namespaces included."""
    for tool in map(json_object, tools):
        if tool.get("type") == "custom" and isinstance(tool.get("name"), str):
            yield tool["name"]
        if isinstance(tool.get("tools"), list):
            yield from custom_tools(tool["tools"])


# -- ends and usage ----------------------------------------------------------------------------------------------------

#: Values of ``incomplete_details.reason``, and the finish reason that each means.
_INCOMPLETE = {"max_output_tokens": "length", "content_filter": "content_filter"}
_INCOMPLETE_REASONS = {finish: reason for reason, finish in _INCOMPLETE.items()}


def read_finish(reason: str, *, has_tool_calls: bool) -> str:
    """The finish reason for a final status, or for the reason of an incomplete response."""
    return finish_reason({"completed": "stop", **_INCOMPLETE}.get(reason, reason), has_tool_calls=has_tool_calls)


def incomplete_reason(finish: str | None, raw_finish: str | None) -> str | None:
    """
    Why a response is incomplete; None if it is complete, or if no reason is known for its end.

    The provider's own value stands in place of an unknown finish reason: that is no complete answer.
    """
    if finish in (None, "stop", "tool_calls"):
        return None
    return _INCOMPLETE_REASONS.get(finish or "") or raw_finish or finish


def read_usage(raw: Any) -> Usage | None:
    """The token counts in a response's ``usage``; None if there are none."""
    if not isinstance(raw, dict):
        return None
    prompt, completion, total = (count(raw, name) for name in ("input_tokens", "output_tokens", "total_tokens"))
    if prompt is None and completion is None and total is None:
        return None
    prompt, completion = prompt or 0, completion or 0
    before, after = json_object(raw.get("input_tokens_details")), json_object(raw.get("output_tokens_details"))
    cached, written = count(before, "cached_tokens"), count(before, "cache_write_tokens")
    reasoning, total = count(after, "reasoning_tokens"), total or prompt + completion
    return Usage(prompt, completion, total, reasoning, cached, written, raw=dict(raw))


def usage_object(usage: Usage, is_native: bool) -> dict[str, Any]:
    """
    ``usage`` of a response; the provider's own object if it *is_native*, that is, from a provider of this format.

    Clients need both details, so an unknown count is 0 there.
    """
    if is_native and usage.raw:
        return dict(usage.raw)
    before = {"cached_tokens": usage.cache_read_tokens or 0, "cache_write_tokens": usage.cache_write_tokens}
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": without_none(before),
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens or 0},
        "total_tokens": usage.total_tokens,
    }


# -- the response around the items -------------------------------------------------------------------------------------

#: Keys of every response, which clients rely on, with their values where the request did not set them.
_DEFAULTS: Mapping[str, Any] = {
    "background": False,
    "instructions": None,
    "max_output_tokens": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "reasoning": {"effort": None, "summary": None},
    "store": False,
    "temperature": None,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": None,
    "truncation": "disabled",
    "user": None,
}
#: Keys of the request that the response repeats: those above, and more.
_ECHOED = (*_DEFAULTS, "max_tool_calls", "prompt_cache_key", "safety_identifier", "top_logprobs")


def echo_of(body: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a request that its response repeats; nothing is stored, whatever the request says."""
    echo = {name: body[name] for name in _ECHOED if body.get(name) is not None and name != "background"}
    for name in ("reasoning", "text"):
        if isinstance(echo.get(name), Mapping):
            echo[name] = {**_DEFAULTS[name], **echo[name]}
    return {**echo, "store": False}


def response_object(
    about: Mapping[str, Any], native: Mapping[str, Any], echo: Mapping[str, Any], **values: Any
) -> dict[str, Any]:
    """A response: *about* has its id, time and model, *native* is the response of a provider of this format."""
    unset = {"error": None, "incomplete_details": None, "usage": None}
    return {**about, **_DEFAULTS, **native, **echo, **about, **unset, **values}
