"""
The conversation in both directions: messages, and Google's ``contents`` and ``systemInstruction``.

Google knows two roles, "user" and "model", wants them to alternate, and accepts the results of calls in a user's turn,
under the names of the functions. Calls need no id there: one without gets one when it is read, and so does its result.

Source: https://ai.google.dev/api/caching#Content
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs

from anyllm.types import Message, Reasoning
from anyllm.wire._base.chat_request import MadeIds
from anyllm.wire._base.conversation import arguments_of, lift_system, names_of_calls
from anyllm.wire._base.encode_json import invalid
from anyllm.wire._base.request_fields import Fields, wrong
from anyllm.wire.gemini.decoder import Candidate
from anyllm.wire.gemini.fields import TOOL_PARTS
from anyllm.wire.gemini.parts import (
    RESULT_ROLES,
    GoogleFields,
    is_generated_id,
    parts_in,
    read_part,
    read_result,
    refuse_rest,
    write_call,
    write_parts,
    write_result,
)
from anyllm.wire.gemini.signatures import answer_parts, unsealed

#: Roles of turns; results are in a user's turn, or had roles of their own in earlier versions.
_MODEL, _OTHERS = "model", ("user", *RESULT_ROLES)

# -- writing -----------------------------------------------------------------------------------------------------------


def write_contents(messages: Iterable[Message], provider: str) -> dict[str, Any]:
    """
    The keys of the request that hold the conversation.

    Raises:
        InvalidRequestError: a message cannot be sent.
    """
    system, rest = lift_system(messages)
    body: dict[str, Any] = {"contents": _turns(rest, provider)}
    instruction = [part for message in system for part in write_parts(message, provider)]
    return {"systemInstruction": {"parts": instruction}, **body} if instruction else body


def _turns(messages: Iterable[Message], provider: str) -> list[dict[str, Any]]:
    turns: list[dict[str, Any]] = []
    # By id. Generated ids come again in later turns, and then mean the later call.
    names: dict[str, str] = {}
    order: dict[str, int] = {}
    for is_result, group in itertools.groupby(messages, lambda message: message.role in RESULT_ROLES):
        if is_result:  # in the order of their calls, which shows without ids which is which
            group = iter(sorted(group, key=lambda result: order.get(result.tool_call_id or "", len(order))))
        for message in group:
            role = "user"
            if is_result:
                parts = [_write_result(message, names, provider)]
            elif message.role == "user":
                parts = write_parts(message, provider)
            elif message.role == "assistant":
                role, parts = _MODEL, answer_parts(message, provider)
                for call in message.tool_calls:
                    parts.append(write_call(call, arguments_of(call, provider), with_id=not is_generated_id(call.id)))
                names.update(names_of_calls([message]))
                order = {call.id: at for at, call in enumerate(message.tool_calls) if call.id}
            else:
                raise invalid("messages", f"the provider does not support the role {message.role!r}", provider)
            if parts and turns and turns[-1]["role"] == role:
                turns[-1]["parts"] += parts
            elif parts:  # Google refuses a turn without parts
                turns.append({"role": role, "parts": parts})
    return turns


def _write_result(message: Message, names: Mapping[str, str], provider: str) -> dict[str, Any]:
    call_id = message.tool_call_id
    name = message.name or names.get(call_id or "")
    if not name:
        why = f"a result must name its function, and no earlier call has the id {call_id!r}"
        raise invalid("messages", why, provider)
    result: dict[str, Any] = {} if is_generated_id(call_id) else {"id": call_id}
    result.update(name=name, response=write_result(message.text))
    media = [part for part in write_parts(message, provider) if "text" not in part]
    return {"functionResponse": {**result, "parts": media} if media else result}


# -- reading -----------------------------------------------------------------------------------------------------------


def read_contents(fields: Fields) -> list[dict[str, Any]]:
    """
    The messages of a client's request; the system message first, if there is an instruction.

    Raises:
        InvalidRequestError: the conversation is malformed.
    """
    messages: list[dict[str, Any]] = []
    system = fields.take("systemInstruction", dict)
    if system is not None:
        instruction = GoogleFields(system, "systemInstruction")
        instruction.take("role")  # it has no meaning
        messages = _message("system", list(parts_in(instruction, "systemInstruction")))
    return messages + _ContentsReader().read(fields.need("contents", list))


def _message(role: str, parts: Sequence[Fields]) -> list[dict[str, Any]]:
    """The message of *parts*, if there are any; a single text is a text."""
    content = [read_part(fields) for fields in parts]
    if not content:
        return []
    is_text = len(content) == 1 and content[0].keys() == {"type", "text"}
    return [{"role": role, "content": content[0]["text"] if is_text else content}]


class _ContentsReader:
    """The messages of one conversation."""

    def __init__(self) -> None:
        self._messages: list[dict[str, Any]] = []
        self._open: dict[str, str] = {}  # the functions of calls without a result yet, by id
        self._names: dict[str, str] = {}  # of all calls
        self._ids = MadeIds()

    def read(self, contents: Sequence[Any]) -> list[dict[str, Any]]:
        answer: list[Fields] = []  # in several contents where a client stored a stream's
        for place, content in enumerate(contents):
            where = f"contents[{place}]"
            fields = GoogleFields(content, where)
            role = fields.take("role", str) or "user"
            if role != _MODEL and role not in _OTHERS:
                raise wrong(f"{where}.role", f"{where}.role must be user or model, not {role[:40]!r}")
            parts = list(parts_in(fields, where))
            if role == _MODEL:
                answer += parts
                continue
            self._add_answer(answer)
            answer = []
            self._add_turn(parts)
        self._add_answer(answer)
        return self._messages

    def _add_turn(self, parts: Sequence[Fields]) -> None:
        """A turn that is not the model's: results of calls and content of the user, in their order."""
        for is_result, group in itertools.groupby(parts, lambda part: part.keys() >= {"functionResponse"}):
            if is_result:
                results = (part.take("functionResponse", dict) for part in group)
                self._messages += [self._result(GoogleFields(result, "functionResponse")) for result in results]
            else:
                self._messages += _message("user", [*group])

    def _result(self, fields: Fields) -> dict[str, Any]:
        name = fields.need("name", str)
        call_id = fields.take("id", str) or next((open_id for open_id, of in self._open.items() if of == name), None)
        call_id = call_id or self._ids.new(self._names)
        self._open.pop(call_id, None)
        content: Any = read_result(fields.take("response", dict) or {})
        media = [read_part(part) for part in parts_in(fields, "functionResponse")]
        message = {"role": "tool", "tool_call_id": call_id}
        message["content"] = [{"type": "text", "text": content}, *media] if media else content
        return message if self._names.get(call_id) == name else {**message, "name": name}

    def _add_answer(self, parts: Sequence[Fields]) -> None:
        """An answer of the model, whose text, thoughts and calls are read as those of an answer to us are."""
        read: list[dict[str, Any]] = []
        content: list[dict[str, Any]] = []
        has_media = False
        seal: Reasoning | None = None  # another provider's
        for fields in parts:
            part = fields.rest()
            signature, is_thought = fields.take("thoughtSignature", str), fields.take("thought", bool)
            if signature and (reasoning := unsealed(signature)) is not None:
                seal, signature = reasoning, None
                del part["thoughtSignature"]
            call = fields.take("functionCall", dict)
            if call is not None:
                part["functionCall"] = self._call(GoogleFields(call, "functionCall"))
                refuse_rest(fields, "functionCall")
            elif not TOOL_PARTS.isdisjoint(part):
                content.append({"type": "part", "extra": part})
            elif (text := fields.take("text", str)) is None and fields.rest():
                has_media = True
                content.append(read_part(fields, signature))
                continue
            else:
                further = fields.rest()
                has_media = has_media or bool(further)
                extra = {**further, **({"thoughtSignature": signature} if signature else {})}
                if not is_thought and (text or extra):
                    content.append({"type": "text", "text": text or "", "extra": extra or None})
            read.append(part)
        try:
            delta = Candidate().delta({"content": {"parts": read}}, None)
        except ValueError as exc:
            raise wrong("contents", str(exc)) from exc
        reasoning = delta.reasoning
        if seal is not None:
            reasoning = attrs.evolve(seal, content=reasoning.content if reasoning else None)
        message = {
            "content": content if has_media else delta.content,
            "tool_calls": [attrs.evolve(call, index=0) for call in delta.tool_calls or ()],  # as clients send them
            "reasoning": reasoning,
        }
        if any(message.values()):
            self._messages.append({"role": "assistant", **{name: value for name, value in message.items() if value}})

    def _call(self, fields: Fields) -> dict[str, Any]:
        """A ``functionCall`` with an id."""
        name, call_id = fields.need("name", str), fields.take("id", str) or self._ids.new(self._names)
        call = {"id": call_id, "name": name, "args": fields.take("args", dict) or {}}
        refuse_rest(fields, "functionCall")
        self._open[call_id] = self._names[call_id] = name
        return call
