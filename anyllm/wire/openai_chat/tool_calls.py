"""
Tool calls: from the fragments hosts send to fragments with an index.

OpenAI numbers its calls and sends id and name once. Others leave the index out (Mistral), give every call index
0 (Gemini through OpenRouter), repeat id and name with each fragment (Hunyuan, llama.cpp's Python server), send
"" or null for what was said before (Writer, Qwen), or arguments as an object (Ollama). What comes out is one
form: indexes from 0 in the order the calls begin; the first fragment has id and name, the rest only arguments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from anyllm.types import FunctionCall, ToolCall, _convert
from anyllm.wire._base.getters import whole_number

#: Mistral's word for no id, which its hosts write in later fragments.
_NO_ID = "null"


class _Call:
    __slots__ = ("arguments", "id", "index", "name", "type")

    def __init__(self, index: int) -> None:
        self.index = index
        self.id: str | None = None
        self.name: str | None = None
        self.type = "function"
        self.arguments: list[str] = []


class ToolCalls:
    """The tool calls of one choice. Used by one decoder, on one thread."""

    __slots__ = ("_at", "_calls")

    def __init__(self) -> None:
        self._calls: list[_Call] = []
        self._at: dict[int | None, list[_Call]] = {}

    def __bool__(self) -> bool:
        return bool(self._calls)

    def read(self, raw: Sequence[Any]) -> tuple[ToolCall, ...] | None:
        """
        The fragments of one delta's ``tool_calls``; None when they say nothing.

        Raises:
            ValueError: they are not fragments of tool calls.
        """
        if len(raw) == 1 and (continued := self._continued(raw[0])) is not None:
            return (continued,)
        touched: list[_Call] = []
        fragments = [self._fragment(item, touched) for item in raw if item is not None]
        return tuple(fragment for fragment in fragments if fragment is not None) or None

    def _continued(self, raw: Any) -> ToolCall | None:
        """What nearly every fragment is: more arguments of the call with that index, and nothing else."""
        if type(raw) is not dict or raw.get("id") or "extra_content" in raw:
            return None
        at, function = raw.get("index"), raw.get("function")
        if type(at) is not int or type(function) is not dict or function.get("name"):
            return None
        arguments, calls = function.get("arguments"), self._at.get(at)
        if type(arguments) is not str or not arguments or not calls:
            return None
        call = calls[-1]
        call.arguments.append(arguments)
        return ToolCall(None, FunctionCall(None, arguments), call.type, call.index)

    def _fragment(self, raw: Any, touched: list[_Call]) -> ToolCall | None:
        if not isinstance(raw, dict):
            raise ValueError("a tool call is no object")
        function = _function_of(raw)
        at, call_id, name = _index(raw.get("index")), _text(raw.get("id")), _text(function.get("name"))
        arguments = _arguments(function.get("arguments"))
        call = self._find(at, None if call_id == _NO_ID else call_id, name, arguments, touched)
        if call is None:
            if not (call_id or name or arguments):
                return None
            call = self._open(at)
        touched.append(call)
        # Only what the call did not have: ids and names that come again must not be joined.
        new_id = call_id if call.id is None else None
        new_name = name if call.name is None else None
        call.id, call.name = call.id or call_id, call.name or name
        call.type = _text(raw.get("type")) or call.type
        call.arguments.append(arguments)
        extra = raw.get("extra_content")
        if not isinstance(extra, dict) or not extra:
            extra = None
        if not (new_id or new_name or arguments or extra):
            return None
        return ToolCall(new_id, FunctionCall(new_name, arguments), call.type, call.index, extra)

    def _open(self, at: int | None) -> _Call:
        call = _Call(len(self._calls))
        self._calls.append(call)
        self._at.setdefault(at, []).append(call)
        return call

    def _find(
        self, at: int | None, call_id: str | None, name: str | None, arguments: str, touched: list[_Call]
    ) -> _Call | None:
        """The call that a fragment continues; None when it begins one."""
        # Without an index any call may be meant; with one, those that began under it.
        calls = self._calls if at is None else self._at.get(at, [])
        if not calls:
            return None
        current = calls[-1]
        if call_id:
            known = next((call for call in reversed(calls) if call.id == call_id), None)
            if known is not None:
                return known
            # A new id is a new call, unless the call has been waiting for its id, or has a name and this has none:
            # some models at Mistral change the id after the first fragment
            # (https://github.com/mistralai/mistral-vibe/issues/1127).
            is_new = current.id is not None and bool(name or current.name is None)
            begins = is_new or _begins_another(current, name, arguments, touched)
        else:
            # Hosts that send neither index nor id send whole calls.
            begins = bool(name) and (at is None or _begins_another(current, name, arguments, touched))
        return None if begins else current


def _begins_another(current: _Call, name: str | None, arguments: str, touched: list[_Call]) -> bool:
    """
    Whether a name begins a new call, where no id can tell.

    Gemini's OpenAI endpoint sent parallel calls whole, all with index 0 and id "".
    """
    if not name or current.name is None:
        return False
    if name != current.name or current in touched:
        return True
    return bool(arguments) and _convert.is_json("".join(current.arguments))


def _function_of(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    """A call's function; of a custom tool, its free text as the arguments."""
    function = raw.get("function")
    if isinstance(function, dict):
        return function
    custom = raw.get("custom")
    if isinstance(custom, dict):
        return {"name": custom.get("name"), "arguments": custom.get("input")}
    if function is None:
        return {}
    raise ValueError("a tool call's function is no object")


def _index(value: Any) -> int | None:
    if value is None:
        return None
    index = whole_number(value)
    if index is None:
        raise ValueError("a tool call's index is no number")
    return index


def _text(value: Any) -> str | None:
    """An id, name or type; "" and null repeat what was said before."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) and value else None


def _arguments(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else _convert.dumps(value).decode()
