"""
Tool calls in fragments, from those that providers send to fragments with an index.

Strategy: OpenAI numbers its calls and sends id and name once. Others leave the index out (Mistral), give every call
index 0 (Gemini through OpenRouter), repeat id and name with each fragment (Hunyuan, llama.cpp's Python server), send ""
or null for what came before (DashScope, Writer, Qwen), or arguments as an object (Ollama). What comes out is one form:
indexes from 0 in the order the calls begin; the first fragment has id and name, the rest only arguments.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from anyllm.types import FunctionCall, ToolCall, _convert
from anyllm.wire._base.json_values import json_type, text_or_number, whole_number

__all__ = ["ToolCallDeltas", "call_index", "function_of"]

#: Mistral's id of a later fragment, which has none.
_NO_ID = "null"


class _CallState:
    __slots__ = ("arguments", "has_id", "id", "index", "name", "type")

    def __init__(self, index: int) -> None:
        self.index = index
        self.id: str | None = None  # the provider's
        self.has_id = False  # or a made-up one was given
        self.name: str | None = None
        self.type = "function"
        self.arguments: list[str] = []


class ToolCallDeltas:
    """
    The tool calls of one choice. Used by one decoder, on one thread.

    Args:
        unique_ids: Whether ids are unique in an answer: fragments with the same id are one call under any index, and a
            call that begins without an id is given one. Some OpenAI-compatible servers repeat an id in other calls.
    """

    __slots__ = ("_by_index", "_calls", "_unique_ids")

    def __init__(self, *, unique_ids: bool = False) -> None:
        self._calls: list[_CallState] = []
        #: The calls that began under an index of the provider's, None for those without one.
        self._by_index: dict[int | None, list[_CallState]] = {}
        self._unique_ids = unique_ids

    def __bool__(self) -> bool:
        return bool(self._calls)

    def read(self, raw: Any) -> tuple[ToolCall, ...] | None:
        """
        The fragments of one delta; None when there are none.

        Args:
            raw: The ``tool_calls`` in OpenAI's shape, decoded; a single one may come without its list.

        Raises:
            ValueError: they are not fragments of tool calls.
        """
        if type(raw) is list and len(raw) == 1 and (continued := self._continued(raw[0])) is not None:
            return (continued,)
        raw = [raw] if isinstance(raw, dict) else raw
        if not isinstance(raw, list):
            raise ValueError(f"tool_calls is {json_type(raw)}")
        touched: list[_CallState] = []
        fragments = [self._fragment(item, touched) for item in raw if item is not None]
        return tuple(fragment for fragment in fragments if fragment is not None) or None

    def _continued(self, raw: Any) -> ToolCall | None:
        """Nearly every fragment: more arguments of the call with that index, and nothing else; None of any other."""
        if type(raw) is not dict or raw.get("id") or "extra_content" in raw:
            return None
        at, function = raw.get("index"), raw.get("function")
        if type(at) is not int or type(function) is not dict or function.get("name"):
            return None
        arguments, calls = function.get("arguments"), self._by_index.get(at)
        if type(arguments) is not str or not arguments or not calls:
            return None
        call = calls[-1]
        call.arguments.append(arguments)
        return ToolCall(None, FunctionCall(None, arguments), call.type, call.index)

    def _fragment(self, raw: Any, touched: list[_CallState]) -> ToolCall | None:
        if not isinstance(raw, dict):
            raise ValueError(f"a tool call is {json_type(raw)}")
        function = function_of(raw)
        at = call_index(raw.get("index"))
        # "" repeats what came before, as null does.
        call_id, name = text_or_number(raw.get("id")) or None, text_or_number(function.get("name")) or None
        arguments = _arguments(function.get("arguments"))
        call = self._find(at, None if call_id == _NO_ID else call_id, name, arguments, touched)
        if call is None:
            if not (call_id or name or arguments):
                return None
            call = _CallState(len(self._calls))
            self._calls.append(call)
            self._by_index.setdefault(at, []).append(call)
            made_id = f"call_{call.index}" if self._unique_ids else None
        else:
            made_id = None
        touched.append(call)
        # Only what the call did not have: ids and names that come again must not be joined.
        new_id = None if call.has_id else call_id or made_id
        new_name = name if call.name is None else None
        call.id, call.has_id, call.name = call.id or call_id, call.has_id or new_id is not None, call.name or name
        call.type = text_or_number(raw.get("type")) or call.type
        call.arguments.append(arguments)
        extra = raw.get("extra_content")
        if not isinstance(extra, dict) or not extra:
            extra = None
        if not (new_id or new_name or arguments or extra):
            return None
        return ToolCall(new_id, FunctionCall(new_name, arguments), call.type, call.index, extra)

    def _find(
        self, at: int | None, call_id: str | None, name: str | None, arguments: str, touched: list[_CallState]
    ) -> _CallState | None:
        """The call that a fragment continues; None when it begins one."""
        # Without an index it may be any call; with one, one that began under it.
        calls = self._calls if at is None else self._by_index.get(at, [])
        if call_id:
            candidates = self._calls if self._unique_ids else calls
            same = next((call for call in reversed(candidates) if call.id == call_id), None)
            if same is not None:
                return same
        if not calls:
            return None
        current = calls[-1]
        if call_id:
            # A new id is a new call, unless the call has been waiting for its id, or has a name and this has none:
            # some models at Mistral change the id after the first fragment
            # (https://github.com/mistralai/mistral-vibe/issues/1127).
            is_new = current.id is not None and bool(name or current.name is None)
            begins = is_new or _begins_another(current, name, arguments, touched)
        else:
            # Providers that send neither index nor id send whole calls.
            is_whole = at is None and bool(name) and current.name is not None
            begins = is_whole or _begins_another(current, name, arguments, touched)
        return None if begins else current


def _begins_another(current: _CallState, name: str | None, arguments: str, touched: list[_CallState]) -> bool:
    """
    Whether a name begins a new call, where no id can tell.

    Gemini's OpenAI endpoint sent parallel calls whole, all with index 0 and id "".
    """
    if not name or current.name is None:
        return False
    if name != current.name or current in touched:
        return True
    return bool(arguments) and _convert.is_json("".join(current.arguments))


def function_of(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    """
    The function of a call in OpenAI's shape; of a custom tool, its free text as the arguments.

    Raises:
        ValueError: it is no object.
    """
    function = raw.get("function")
    if isinstance(function, dict):
        return function
    custom = raw.get("custom")
    if isinstance(custom, dict):
        return {"name": custom.get("name"), "arguments": custom.get("input")}
    if function is None:
        return {}
    raise ValueError(f"the function of a tool call is {json_type(function)}")


def _arguments(value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    try:
        return _convert.dumps(value).decode()
    except (ValueError, OverflowError, RecursionError) as exc:
        raise ValueError("the arguments of a tool call cannot be written as JSON") from exc


def call_index(value: Any) -> int | None:
    """
    The provider's index of a call; None without one.

    Raises:
        ValueError: it is no number.
    """
    index = whole_number(value)
    if index is None and value is not None:
        raise ValueError(f"the index of a tool call is {json_type(value)}")
    return index
