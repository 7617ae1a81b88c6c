"""
The conversation: our messages as input items, and a client's input items as messages.

An assistant's turn is sent as the items it came as, where the message holds them; else as its text, then its calls,
without the ids of their items: a provider refuses an item that it knows to have followed a reasoning, without it.
Reasoning that came from another format has no place here.

A client's turn is all items of the model's between two others. A turn of texts and calls becomes one message for each
text, with the calls that follow it. One that holds more (reasoning, the provider's own tools, phases) becomes a single
message that also holds its items, as our decoder has them: a provider of this format gets them back as they were.
Reasoning that our own writer sealed for another provider is unsealed, for that provider.

Sources: https://platform.openai.com/docs/api-reference/responses/create (input),
https://platform.openai.com/docs/guides/function-calling
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs

from anyllm.errors import UnsupportedParameterError
from anyllm.types import Message, Reasoning, ToolCall
from anyllm.wire._base.conversation import OUTPUT_ITEMS
from anyllm.wire._base.encode_json import invalid
from anyllm.wire._base.json_values import without_none
from anyllm.wire._base.request_fields import Fields, wrong
from anyllm.wire.openai_responses import fields
from anyllm.wire.openai_responses.content_parts import INPUT_TEXT, part_object, read_part
from anyllm.wire.openai_responses.fields import CALL_KEYS, CALLS, FORMS, MESSAGE, REASONING, REFUSAL, TEXT
from anyllm.wire.openai_responses.replay_items import SEAL, output_items, unsealed

_RESULTS = {kind: f"{kind}_output" for kind in CALLS}


# -- messages as items -------------------------------------------------------------------------------------------------


def input_items(messages: Iterable[Message], provider: str) -> list[dict[str, Any]]:
    """
    The input for *messages*.

    Raises:
        UnsupportedParameterError: a message holds what the provider does not support.
        InvalidRequestError: a message cannot be sent.
    """
    items: list[dict[str, Any]] = []
    calls: dict[str, ToolCall] = {}
    for message in messages:
        if message.role == "tool":
            items.append(_result_item(message, calls.get(message.tool_call_id or ""), provider))
            continue
        if message.role not in ("assistant", *fields.INPUT_ROLES):
            raise invalid("messages", f"Responses do not support the role {message.role!r}", provider)
        if message.name is not None:
            why = "Responses do not support names of speakers"
            raise UnsupportedParameterError(why, provider=provider, param="messages.name")
        if message.role == "assistant":
            items += _turn_items(message, provider)
            calls.update((call.id, call) for call in message.tool_calls if call.id)
        else:
            item = {"role": message.role, "content": _content(message, provider)}
            items.append(without_none({**item, "cache_control": message.cache_control}))
    return items


def _result_item(message: Message, call: ToolCall | None, provider: str) -> dict[str, Any]:
    if not message.tool_call_id:
        raise invalid("messages", "a tool message needs the tool_call_id of the call it answers", provider)
    kind = fields.FUNCTION_CALL if call is None else fields.call_item_type(call)
    item = {"type": _RESULTS[kind], "call_id": message.tool_call_id, "output": _content(message, provider)}
    caller = None if call is None else fields.provider_keys(call).get("caller")
    return without_none({**item, "caller": caller or None, "cache_control": message.cache_control})


def _content(message: Message, provider: str) -> Any:
    if message.content is None or isinstance(message.content, str):
        return message.content or ""
    return [part_object(part, INPUT_TEXT, provider) for part in message.content]


def _turn_items(message: Message, provider: str) -> list[dict[str, Any]]:
    """An assistant's turn: the items it came as, as far as the message still has their content; else new ones."""
    own_items = output_items(message.reasoning)
    is_unchanged = _has_texts_of(message, own_items)
    text = _text_item(message, provider)
    calls = list(message.tool_calls)
    items: list[dict[str, Any]] = []
    for item in own_items:
        kind = item.get("type")
        if kind == MESSAGE and is_unchanged:
            items.append(item)
            text = []
        elif kind in CALLS:
            call = next((call for call in calls if call.id == item.get("call_id")), None)
            if call is not None:
                calls.remove(call)
                items += [*text, {**item, **_function(call)}]
                text = []
        elif kind != MESSAGE:
            items.append(item)
    items += [*text, *(_call_item(call, provider) for call in calls)]
    while items and items[-1].get("type") == REASONING:
        items.pop()  # the provider refuses reasoning that nothing follows
    return items


def _text_item(message: Message, provider: str) -> list[dict[str, Any]]:
    """The text of an assistant's turn as one new item; none if it only has calls or reasoning."""
    parts: list[dict[str, Any]] = []
    if isinstance(message.content, str):
        if message.content or not (message.tool_calls or message.refusal):
            parts = [{"type": TEXT, "text": message.content}]
    else:
        parts = [part_object(part, TEXT, provider) for part in message.content or ()]
    if message.refusal:
        parts.append({"type": REFUSAL, "refusal": message.refusal})
    item = {"role": "assistant", "content": parts or None, "cache_control": message.cache_control}
    return [without_none(item)] if parts else []


def _has_texts_of(message: Message, items: Iterable[Mapping[str, Any]]) -> bool:
    """Whether *items* have the texts of the message: nobody has rewritten it."""
    texts = {TEXT: "", REFUSAL: ""}
    for item in items:
        if item.get("type") == MESSAGE:
            for part_type, text in fields.texts_in(item, MESSAGE):
                texts[part_type] += text
    return texts == {TEXT: message.text, REFUSAL: message.refusal or ""}


def _call_item(call: ToolCall, provider: str) -> dict[str, Any]:
    if not call.id:
        raise invalid("messages", "an earlier tool call needs its id", provider)
    return {"type": fields.call_item_type(call), "call_id": call.id, **_function(call), **fields.provider_keys(call)}


def _function(call: ToolCall) -> dict[str, Any]:
    return {"name": call.name or "", FORMS[fields.call_item_type(call)].field: call.arguments}


# -- items as messages -------------------------------------------------------------------------------------------------


def read_input(items: Sequence[Any]) -> list[dict[str, Any]]:
    """
    The messages in a client's input.

    Raises:
        InvalidRequestError: an item cannot be understood, or is a reference to one that nobody keeps.
    """
    messages: list[dict[str, Any]] = []
    turn = _Turn()
    for place, raw in enumerate(items):
        where = f"input[{place}]"
        item = Fields(raw, where)
        kind = item.take("type", str) or MESSAGE
        if kind == "item_reference":
            raise wrong(where, "nothing is kept here that an item_reference could refer to: send the item itself")
        if kind in _RESULTS.values():
            message, field = {"role": "tool", "tool_call_id": item.need("call_id", str)}, "output"
        elif kind == MESSAGE and (role := item.need("role", str)) != "assistant":
            if role not in fields.INPUT_ROLES:
                raise wrong(where, f"{where}.role must be user, system, developer or assistant, not {role!r:.40}")
            message, field = {"role": role}, "content"
        else:
            if not turn.accepts(raw):
                messages += turn.close()
                turn = _Turn()
            turn.add(kind, item, raw, where)
            continue
        messages += [*turn.close(), _read_mark({**message, "content": _read_content(item, field, where)}, item)]
        turn = _Turn()
    return messages + turn.close()


@attrs.define
class _Turn:
    """What the model contributed, item after item."""

    messages: list[dict[str, Any]] = attrs.field(factory=list)  # one for each text, with the calls behind it
    items: list[dict[str, Any]] = attrs.field(factory=list)  # as a provider sent them
    thoughts: list[str] = attrs.field(factory=list)
    unsealed: list[Reasoning] = attrs.field(factory=list)
    has_more: bool = False  # than messages can hold
    has_new: bool = False  # a message without a type, which no provider has sent so

    def accepts(self, raw: Mapping[str, Any]) -> bool:
        """Whether an item can belong to this turn: a new message cannot stand beside one that a provider sent."""
        is_new = raw.get("type") is None
        return not (self.messages and (is_new or (self.has_new and raw["type"] == MESSAGE)))

    def add(self, kind: str, item: Fields, raw: Mapping[str, Any], where: str) -> None:
        """Take in the next item."""
        if kind == MESSAGE:
            self.messages.append(_read_message(item, where))
            self.has_new = self.has_new or raw.get("type") is None
            self.has_more = self.has_more or bool(raw.get("phase"))
        elif kind in CALLS:
            if not self.messages:
                self.messages.append({"role": "assistant", "content": None})
            self.messages[-1].setdefault("tool_calls", []).append(_read_call(kind, item))
        elif kind == REASONING and self._unseal(raw, where):
            return
        else:
            self.has_more = True
        if raw.get("type") is not None:
            content = raw.get("content")
            is_text = kind == MESSAGE and isinstance(content, str)  # providers send a list
            self.items.append({**raw, "content": [{"type": TEXT, "text": content}]} if is_text else dict(raw))

    def _unseal(self, raw: Mapping[str, Any], where: str) -> bool:
        """Read a reasoning; whether it was another provider's, and is no use to one of this format."""
        if thought := fields.texts_in(raw, REASONING)[0][1]:
            self.thoughts.append(thought)
        try:
            reasoning = unsealed(raw.get(SEAL))
        except ValueError as exc:
            raise wrong(where, f"{where}.{SEAL} is broken") from exc
        if reasoning is not None:
            self.unsealed.append(reasoning)
        return reasoning is not None

    def close(self) -> list[dict[str, Any]]:
        """The messages that the turn is, once it is over."""
        if not self.unsealed and not self.has_more:
            return self.messages
        if not self.messages and all(item.get("type") == REASONING for item in self.items):
            return []  # thoughts that nothing followed, which no provider accepts
        reasoning: dict[str, Any] = {"content": fields.PARAGRAPH.join(self.thoughts) or None}
        if self.unsealed:
            reasoning["field"] = next((found.field for found in self.unsealed if found.field), None)
            reasoning["signature"] = next((found.signature for found in self.unsealed[::-1] if found.signature), None)
            reasoning["details"] = [detail for found in self.unsealed for detail in found.details or ()] or None
        else:
            reasoning.update(field=OUTPUT_ITEMS, details=self.items)
        return [{**_joined(self.messages), "reasoning": reasoning}]


def _joined(messages: list[dict[str, Any]]) -> dict[str, Any]:
    """One message of several."""
    contents = [message["content"] for message in messages if message.get("content") is not None]
    content: Any = "".join(contents) if all(isinstance(text, str) for text in contents) else None
    if content is None:
        lists = [[{"type": "text", "text": text}] if isinstance(text, str) else text for text in contents]
        content = [part for parts in lists for part in parts]
    return {
        "role": "assistant",
        "content": content if contents else None,
        "refusal": "".join(message.get("refusal") or "" for message in messages) or None,
        "tool_calls": [call for message in messages for call in message.get("tool_calls", ())],
        "cache_control": next((mark for message in messages[::-1] if (mark := message.get("cache_control"))), None),
    }


def _read_message(item: Fields, where: str) -> dict[str, Any]:
    """A message of the model's; text in one piece becomes a str."""
    content = _read_content(item, "content", where)
    message = {"role": "assistant", "content": content}
    if not isinstance(content, str):
        refusals = [part["refusal"] for part in content if part["type"] == REFUSAL]
        parts = [part for part in content if part["type"] != REFUSAL]
        is_one_text = len(parts) == 1 and parts[0].keys() == {"type", "text"} and parts[0]["type"] == "text"
        message["content"] = parts[0]["text"] if is_one_text else parts if parts or not refusals else None
        if refusals:
            message["refusal"] = "".join(refusals)
    return _read_mark(message, item)


def _read_call(kind: str, item: Fields) -> dict[str, Any]:
    call_id, name = item.need("call_id", str), item.need("name", str)
    function = {"name": name, "arguments": item.need(FORMS[kind].field, str)}
    own = without_none({key: item.take(key) for key in CALL_KEYS})
    extra = {**(item.take(fields.EXTRA_CONTENT, dict) or {}), **({"openai": own} if own else {})}
    call = {"id": call_id, "type": "custom" if kind == fields.CUSTOM_CALL else "function", "function": function}
    return {**call, "extra_content": extra} if extra else call


def _read_mark(message: dict[str, Any], item: Fields) -> dict[str, Any]:
    mark = item.take("cache_control", dict)
    return message if mark is None else {**message, "cache_control": mark}


def _read_content(item: Fields, field: str, where: str) -> Any:
    content = item.need(field, str, list)
    if isinstance(content, str):
        return content
    return [read_part(part, f"{where}.{field}[{place}]") for place, part in enumerate(content)]
