"""
The conversation: our messages as input items, and a client's input items as messages.

To a provider, an assistant's turn goes as the items it came as, where the message holds them; else as its text, then
its calls. Calls go without the ids of their items there: the provider refuses an item that it knows to have followed a
reasoning, without it. Reasoning that came from another format has no place here.

From a client, all items of the model's between two others are a turn. A turn of texts and calls becomes one message for
each text, with the calls that follow it. One that holds more (reasoning, the provider's own tools, phases) is one
message that also holds its items, as our decoder has them: a provider of this format gets them back as they were.
Reasoning that our own writer sealed for another provider is unsealed, for that provider.

Sources: https://platform.openai.com/docs/api-reference/responses/create (input),
https://platform.openai.com/docs/guides/function-calling
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from anyllm.errors import InvalidRequestError, UnsupportedParameterError
from anyllm.types import Message, Reasoning, ToolCall
from anyllm.wire._base.reasoning_origins import OUTPUT_ITEMS
from anyllm.wire._base.request_fields import Fields, wrong
from anyllm.wire.openai_responses.content_parts import INPUT_TEXT, part_object, read_part
from anyllm.wire.openai_responses.fields import (
    CALL_KEYS,
    CALLS,
    CUSTOM_CALL,
    FORMS,
    FUNCTION_CALL,
    INPUT_ROLES,
    MESSAGE,
    PARAGRAPH,
    REASONING,
    REFUSAL,
    TEXT,
    texts_in,
)
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
        if message.role not in ("assistant", *INPUT_ROLES):
            raise _refused(f"Responses do not support the role {message.role!r}", provider)
        if message.name is not None:
            why = "Responses do not support names of speakers"
            raise UnsupportedParameterError(why, provider=provider, param="messages.name")
        if message.role == "assistant":
            items += _turn_items(message, provider)
            calls.update((call.id, call) for call in message.tool_calls if call.id)
        else:
            items.append(_marked({"role": message.role, "content": _content(message, provider)}, message))
    return items


def _result_item(message: Message, call: ToolCall | None, provider: str) -> dict[str, Any]:
    if not message.tool_call_id:
        raise _refused("a tool message needs the tool_call_id of the call it answers", provider)
    kind = _RESULTS[CUSTOM_CALL if call is not None and call.type == "custom" else FUNCTION_CALL]
    item = {"type": kind, "call_id": message.tool_call_id, "output": _content(message, provider)}
    caller = _provider_keys(call).get("caller") if call is not None else None
    return _marked({**item, "caller": caller} if caller else item, message)


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
    return [_marked({"role": "assistant", "content": parts}, message)] if parts else []


def _has_texts_of(message: Message, items: Iterable[Mapping[str, Any]]) -> bool:
    """Whether *items* have the texts of the message: nobody has rewritten it."""
    texts = {TEXT: "", REFUSAL: ""}
    for item in items:
        if item.get("type") == MESSAGE:
            for part_type, text in texts_in(item, MESSAGE):
                texts[part_type] += text
    return texts == {TEXT: message.text, REFUSAL: message.refusal or ""}


def _call_item(call: ToolCall, provider: str) -> dict[str, Any]:
    if not call.id:
        raise _refused("an earlier tool call needs its id", provider)
    item = {"type": CUSTOM_CALL if call.type == "custom" else FUNCTION_CALL, "call_id": call.id, **_function(call)}
    return {**item, **{key: value for key, value in _provider_keys(call).items() if key in CALL_KEYS}}


def _function(call: ToolCall) -> dict[str, Any]:
    field = FORMS[CUSTOM_CALL if call.type == "custom" else FUNCTION_CALL].field
    return {"name": call.name or "", field: call.arguments}


def _provider_keys(call: ToolCall) -> Mapping[str, Any]:
    """The provider's own keys of a call."""
    extra = (call.extra_content or {}).get("openai")
    return extra if isinstance(extra, Mapping) else {}


def _marked(item: dict[str, Any], message: Message) -> dict[str, Any]:
    return item if message.cache_control is None else {**item, "cache_control": message.cache_control}


def _refused(why: str, provider: str) -> InvalidRequestError:
    return InvalidRequestError(why, provider=provider, param="messages")


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
            message: dict[str, Any] = {"role": "tool", "tool_call_id": item.need("call_id", str)}
            field = "output"
        elif kind == MESSAGE and (role := item.need("role", str)) != "assistant":
            if role not in INPUT_ROLES:
                raise wrong(where, f"{where}.role must be user, system, developer or assistant, not {role!r:.40}")
            message, field = {"role": role}, "content"
        else:
            if not turn.accepts(raw):
                messages += turn.close()
            turn.add(kind, item, raw, where)
            continue
        message["content"] = _read_content(item, field, where)
        messages += [*turn.close(), _read_mark(message, item)]
    return messages + turn.close()


class _Turn:
    """What the model contributed, item after item."""

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self._messages: list[dict[str, Any]] = []  # one for each text, with the calls behind it
        self._items: list[dict[str, Any]] = []
        self._thoughts: list[str] = []
        self._unsealed: list[Reasoning] = []
        self._has_more = False  # than messages can hold
        self._has_new = False  # a message without a type, which no provider has sent so

    def accepts(self, raw: Mapping[str, Any]) -> bool:
        """Whether an item can belong to this turn: a new message cannot stand beside one that a provider sent."""
        if raw.get("type") not in (None, MESSAGE):
            return True
        has_message = any("content" in message or "refusal" in message for message in self._messages)
        return not has_message or (raw.get("type") == MESSAGE and not self._has_new)

    def add(self, kind: str, item: Fields, raw: Mapping[str, Any], where: str) -> None:
        """Take in the next item."""
        if kind == MESSAGE:
            self._messages.append(_read_message(item, where))
            self._has_new = self._has_new or "type" not in raw
            self._has_more = self._has_more or bool(raw.get("phase"))
        elif kind in CALLS:
            if not self._messages:
                self._messages.append({"role": "assistant", "content": None})
            self._messages[-1].setdefault("tool_calls", []).append(_read_call(kind, item))
        elif kind == REASONING and self._unseal(raw, where):
            return
        else:
            self._has_more = True
        if raw.get("type") is not None:
            content = raw.get("content")
            is_text = kind == MESSAGE and isinstance(content, str)  # providers send a list
            self._items.append({**raw, "content": [{"type": TEXT, "text": content}]} if is_text else dict(raw))

    def close(self) -> list[dict[str, Any]]:
        """The messages of the turn, which begins anew."""
        messages, items, reasoning = self._messages, self._items, self._reasoning()
        self._clear()
        if reasoning is None:
            return messages
        if not messages and all(item.get("type") == REASONING for item in items):
            return []  # thoughts that nothing followed, which no provider accepts
        return [{**_joined(messages), "reasoning": reasoning}]

    def _unseal(self, raw: Mapping[str, Any], where: str) -> bool:
        """Read a reasoning; whether it was another provider's, and is no use to one of this format."""
        if thought := texts_in(raw, REASONING)[0][1]:
            self._thoughts.append(thought)
        try:
            reasoning = unsealed(raw.get(SEAL))
        except ValueError as exc:
            raise wrong(where, f"{where}.{SEAL} is broken") from exc
        if reasoning is not None:
            self._unsealed.append(reasoning)
        return reasoning is not None

    def _reasoning(self) -> dict[str, Any] | None:
        content = PARAGRAPH.join(self._thoughts) or None
        if self._unsealed:
            details = [detail for reasoning in self._unsealed for detail in reasoning.details or ()]
            fields = [reasoning.field for reasoning in self._unsealed if reasoning.field]
            signatures = [reasoning.signature for reasoning in self._unsealed if reasoning.signature]
            field, signature = next(iter(fields), None), next(reversed(signatures), None)
            return {"content": content, "field": field, "signature": signature, "details": details or None}
        return {"content": content, "field": OUTPUT_ITEMS, "details": self._items} if self._has_more else None


def _joined(messages: list[dict[str, Any]]) -> dict[str, Any]:
    """One message of several."""
    joined: dict[str, Any] = {"role": "assistant", "content": None}
    contents = [message["content"] for message in messages if message.get("content") is not None]
    if contents and all(isinstance(content, str) for content in contents):
        joined["content"] = "".join(contents)
    elif contents:
        lists = [[{"type": "text", "text": c}] if isinstance(c, str) else c for c in contents]
        joined["content"] = [part for parts in lists for part in parts]
    if refusals := [message["refusal"] for message in messages if message.get("refusal")]:
        joined["refusal"] = "".join(refusals)
    if calls := [call for message in messages for call in message.get("tool_calls", ())]:
        joined["tool_calls"] = calls
    if marks := [message["cache_control"] for message in messages if message.get("cache_control")]:
        joined["cache_control"] = marks[-1]
    return joined


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
    own = {key: value for key in CALL_KEYS if (value := item.take(key)) is not None}
    extra = {**(item.take("extra_content", dict) or {}), **({"openai": own} if own else {})}
    call = {"id": call_id, "type": "custom" if kind == CUSTOM_CALL else "function", "function": function}
    return {**call, "extra_content": extra} if extra else call


def _read_mark(message: dict[str, Any], item: Fields) -> dict[str, Any]:
    mark = item.take("cache_control", dict)
    return message if mark is None else {**message, "cache_control": mark}


def _read_content(item: Fields, field: str, where: str) -> Any:
    content = item.need(field, str, list)
    if isinstance(content, str):
        return content
    return [read_part(part, f"{where}.{field}[{place}]") for place, part in enumerate(content)]
