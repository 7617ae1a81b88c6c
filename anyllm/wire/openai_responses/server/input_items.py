"""
The input items of OpenAI's Responses as messages.

Strategy: everything the model's side said between two other items is a turn. A turn of texts and calls becomes one
message for each text, with the calls that follow it. One that holds more (reasoning, a host's own tools, phases) is one
message, and its items are kept beside it, as our dialect keeps those of an answer: a host of this format gets them back
as they were. Reasoning that our own format wrote for another provider is unsealed, for that provider.

Source: https://platform.openai.com/docs/api-reference/responses/create (input)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Optional

from anyllm.types import Reasoning
from anyllm.wire._base.reasoning_origins import OUTPUT_ITEMS
from anyllm.wire._base.request_fields import Fields, wrong
from anyllm.wire.openai_responses.output_items import CALLS, CUSTOM_CALL, MESSAGE, PARAGRAPH, REASONING, wholes
from anyllm.wire.openai_responses.server.output_items import unsealed

__all__ = ["messages_in"]

_SPEAKERS = ("user", "system", "developer")
_RESULTS = tuple(f"{kind}_output" for kind in CALLS)
_TEXTS = ("input_text", "output_text", "text")
#: Keys of a message that its text cannot hold; see the dialect.
_MORE = "phase"
#: Keys of a part of an answer that are of no use to any other host.
_ABOUT_TEXT = ("annotations", "logprobs")


def messages_in(items: Sequence[Any]) -> list[dict[str, Any]]:
    """
    The conversation.

    Raises:
        InvalidRequestError: an item cannot be understood, or is a reference to one that nobody keeps.
    """
    messages: list[dict[str, Any]] = []
    turn = _Turn()
    for place, own in enumerate(items):
        where = f"input[{place}]"
        item = Fields(own, where)
        kind = item.take("type", str) or MESSAGE
        if kind == "item_reference":
            raise wrong(where, "nothing is kept here that an item_reference could refer to: send the item itself")
        if kind in _RESULTS:
            messages += turn.close()
            messages.append(_result(item, own, where))
        elif kind == MESSAGE and (role := item.need("role", str)) != "assistant":
            if role not in _SPEAKERS:
                raise wrong(where, f"{where}.role must be user, system, developer or assistant, not {role!r:.40}")
            messages += turn.close()
            messages.append(_marked({"role": role, "content": _content(item, "content", where)}, item))
        else:
            if not turn.accepts(own):
                messages += turn.close()
            turn.add(kind, item, own, where)
    return messages + turn.close()


class _Turn:
    """What the model's side said, item after item."""

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self._messages: list[dict[str, Any]] = []  # one for each text, with the calls behind it
        self._kept: list[dict[str, Any]] = []
        self._thoughts: list[str] = []
        self._unsealed: list[Reasoning] = []
        self._has_more = False
        self._has_new = False  # a message without a type, which no host sent so

    def accepts(self, own: Mapping[str, Any]) -> bool:
        """Whether an item can be of this turn: new messages are not kept, so none stands beside one that is."""
        if own.get("type") not in (None, MESSAGE):
            return True
        has_message = any("content" in message or "refusal" in message for message in self._messages)
        return not has_message or (own.get("type") == MESSAGE and not self._has_new)

    def add(self, kind: str, item: Fields, own: Mapping[str, Any], where: str) -> None:
        """Take in the next item."""
        if kind == MESSAGE:
            self._messages.append(_said(item, where))
            self._has_new = self._has_new or "type" not in own
            self._has_more = self._has_more or bool(own.get(_MORE))
        elif kind in CALLS:
            call = _call(kind, item)
            if not self._messages:
                self._messages.append({"role": "assistant", "content": None})
            self._messages[-1].setdefault("tool_calls", []).append(call)
        elif kind == REASONING and self._unseal(own, where):
            return
        else:
            self._has_more = True
        if own.get("type") is not None:
            self._kept.append(dict(own) if kind != MESSAGE else _listed(own))

    def close(self) -> list[dict[str, Any]]:
        """The messages of the turn, which begins anew."""
        messages, kept = self._messages, self._kept
        reasoning = self._reasoning(kept)
        self._clear()
        if reasoning is None:
            return messages
        if not messages and all(item.get("type") == REASONING for item in kept):
            return []  # thoughts that nothing followed, which no host takes
        return [{**_joined(messages), "reasoning": reasoning}]

    def _unseal(self, own: Mapping[str, Any], where: str) -> bool:
        """Read a reasoning; whether it was another provider's, and is no use to a host of this format."""
        thought = wholes(own, REASONING)[0][1]
        if thought:
            self._thoughts.append(thought)
        try:
            found = unsealed(own.get("encrypted_content"))
        except ValueError as exc:
            raise wrong(where, f"{where}.encrypted_content is broken") from exc
        if found is None:
            return False
        self._unsealed.append(found)
        return True

    def _reasoning(self, kept: list[dict[str, Any]]) -> Optional[dict[str, Any]]:
        content = PARAGRAPH.join(self._thoughts) or None
        if self._unsealed:
            details = [detail for found in self._unsealed for detail in found.details or ()]
            fields = [found.field for found in self._unsealed if found.field]
            signatures = [found.signature for found in self._unsealed if found.signature]
            field, signature = next(iter(fields), None), next(reversed(signatures), None)
            return {"content": content, "field": field, "signature": signature, "details": details or None}
        return {"content": content, "field": OUTPUT_ITEMS, "details": kept} if self._has_more else None


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


# -- items -------------------------------------------------------------------------------------------------------------


def _said(item: Fields, where: str) -> dict[str, Any]:
    """A message of the model's; text in one piece becomes a str."""
    parts = _parts(item, "content", where)
    refusals = [part["refusal"] for part in parts if part.get("type") == "refusal"]
    parts = [part for part in parts if part.get("type") != "refusal"]
    content: Any = parts
    if len(parts) == 1 and parts[0].keys() == {"type", "text"} and parts[0]["type"] == "text":
        content = parts[0]["text"]
    said: dict[str, Any] = {"role": "assistant", "content": content if parts or not refusals else None}
    if refusals:
        said["refusal"] = "".join(refusals)
    return _marked(said, item)


def _listed(own: Mapping[str, Any]) -> dict[str, Any]:
    """A message whose content is a list, as hosts send it."""
    content = own.get("content")
    return {**own, "content": [{"type": "output_text", "text": content}]} if isinstance(content, str) else dict(own)


def _call(kind: str, item: Fields) -> dict[str, Any]:
    is_custom = kind == CUSTOM_CALL
    call_id, name = item.need("call_id", str), item.need("name", str)
    arguments = item.need("input" if is_custom else "arguments", str)
    own = {key: value for key in ("namespace", "caller") if (value := item.take(key)) is not None}
    extra = {**(item.take("extra_content", dict) or {}), **({"openai": own} if own else {})}
    function = {"name": name, "arguments": arguments}
    call = {"id": call_id, "type": "custom" if is_custom else "function", "function": function}
    return {**call, "extra_content": extra} if extra else call


def _result(item: Fields, own: Mapping[str, Any], where: str) -> dict[str, Any]:
    call_id = item.need("call_id", str)
    if own.get("output") is None:
        raise wrong(f"{where}.output", f"{where}.output is missing")
    return _marked({"role": "tool", "tool_call_id": call_id, "content": _content(item, "output", where)}, item)


def _marked(message: dict[str, Any], item: Fields) -> dict[str, Any]:
    mark = item.take("cache_control", dict)
    return message if mark is None else {**message, "cache_control": mark}


# -- parts -------------------------------------------------------------------------------------------------------------


def _content(item: Fields, name: str, where: str) -> Any:
    content = item.need(name, str, list)
    return content if isinstance(content, str) else _parts_of(content, f"{where}.{name}")


def _parts(item: Fields, name: str, where: str) -> list[dict[str, Any]]:
    content = _content(item, name, where)
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _parts_of(content: list[Any], where: str) -> list[dict[str, Any]]:
    return [_part(part, f"{where}[{place}]") for place, part in enumerate(content)]


def _part(own: Any, where: str) -> dict[str, Any]:
    """A part in our shape; what only a host of this format knows, as it is."""
    part = Fields(own, where)
    kind = part.need("type", str)
    if kind in _TEXTS:
        said: dict[str, Any] = {"type": "text", "text": part.need("text", str)}
    elif kind == "refusal":
        return {"type": kind, "refusal": part.need("refusal", str)}
    elif kind == "input_image" and own.get("image_url") is not None:
        image = {"url": part.need("image_url", str), "detail": part.take("detail", str)}
        said = {"type": "image_url", "image_url": {key: value for key, value in image.items() if value is not None}}
    elif kind == "input_file" and (file := _file(part, own)) is not None:
        said = {"type": "file", "file": file}
    else:
        text = part.take("text", str)
        said = {"type": kind} if text is None else {"type": kind, "text": text}
    mark = part.take("cache_control", dict)
    if mark is not None:
        said["cache_control"] = mark
    extra = {key: value for key, value in part.rest().items() if kind not in _TEXTS or key not in _ABOUT_TEXT}
    return {**said, "extra": extra} if extra else said


def _file(part: Fields, own: Mapping[str, Any]) -> Optional[dict[str, Any]]:
    """A file in our shape, in which a URL stands in place of data; None if it has no such shape."""
    data, url = own.get("file_data"), own.get("file_url")
    if sum(value is not None for value in (data, url, own.get("file_id"))) != 1:
        return None
    if data is not None and not (isinstance(data, str) and data.startswith("data:")):
        return None
    found = {name: part.take(name, str) for name in ("file_id", "file_data", "file_url", "filename")}
    file = {"file_id": found["file_id"], "file_data": found["file_data"] or found["file_url"]}
    return {key: value for key, value in {**file, "filename": found["filename"]}.items() if value is not None}
