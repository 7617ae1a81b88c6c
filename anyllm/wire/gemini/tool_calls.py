"""
Tool calls in both directions: from ``functionCall`` parts to fragments with an index, and from calls to such parts.

Google sends a call whole, with arguments that are an object, and mostly without an id. Vertex, when it is asked to,
sends the name first, then pieces of the arguments, then an empty part.

Source: https://ai.google.dev/gemini-api/docs/function-calling
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from anyllm.types import FunctionCall, ToolCall, _convert
from anyllm.wire.gemini.partial_arguments import PartialArguments

_GENERATED_ID = re.compile(r"call_\d+")


def is_generated_id(call_id: str | None) -> bool:
    """Whether we generated *call_id*, because the provider sent none; such ids are not sent."""
    return not call_id or _GENERATED_ID.fullmatch(call_id) is not None


def write_call(call: ToolCall, arguments: Mapping[str, Any], *, with_id: bool) -> dict[str, Any]:
    """The part of a call, with the signature in its ``extra_content``."""
    function = {**({"id": call.id} if with_id else {}), "name": call.name or "", "args": arguments}
    google = (call.extra_content or {}).get("google")
    signature = google.get("thought_signature") if isinstance(google, Mapping) else None
    signed = isinstance(signature, str) and signature
    return {"functionCall": function, **({"thoughtSignature": signature} if signed else {})}


class GeminiToolCalls:
    """The tool calls of one candidate. Used by one decoder, on one thread."""

    __slots__ = ("_count", "_name", "_open")

    def __init__(self) -> None:
        self._count = 0
        self._name: str | None = None
        self._open: PartialArguments | None = None

    def __bool__(self) -> bool:
        return self._count > 0

    def read(self, raw: Any, signature: str | None) -> ToolCall | None:
        """
        The fragment of one ``functionCall``; None of an empty one.

        Raises:
            ValueError: it is malformed.
        """
        if not isinstance(raw, dict):
            raise ValueError("a functionCall is no object")
        name: Any = raw.get("name")
        call_id, arguments = None, ""
        if self._open is not None and name in (None, "", self._name) and not raw.get("args"):
            name = None  # more of the arguments, under the name of their call or none
        elif not name and not raw.get("args") and not raw.get("partialArgs"):
            return None
        elif not isinstance(name, str) or not name:
            raise ValueError("a functionCall has no name")
        else:
            call_id, arguments = self._begin(name, raw)
        if self._open is not None:
            arguments += self._pieces(raw, self._open)
        # As Google's OpenAI-compatible endpoint writes it.
        extra = {"google": {"thought_signature": signature}} if signature else None
        return ToolCall(call_id, FunctionCall(name, arguments), index=self._count - 1, extra_content=extra)

    def _begin(self, name: str, raw: Mapping[str, Any]) -> tuple[str, str]:
        """The id of a new call, and the beginning of its arguments: all of them, unless they come in pieces."""
        call_id, args = raw.get("id"), raw.get("args")
        if not isinstance(call_id, str) or not call_id:
            call_id = f"call_{self._count}"
        self._count += 1
        self._name, self._open = name, None
        if raw.get("willContinue") is True or raw.get("partialArgs"):
            self._open = PartialArguments()
            return call_id, self._open.begin()
        if args is None or isinstance(args, dict):
            return call_id, _convert.dumps(args or {}).decode()
        raise ValueError("the args of a functionCall are no object")

    def _pieces(self, raw: Mapping[str, Any], arguments: PartialArguments) -> str:
        """The text that the pieces in *raw* add, and the end of the arguments after the last."""
        pieces = raw.get("partialArgs") or []
        if not isinstance(pieces, list) or not all(isinstance(piece, dict) for piece in pieces):
            raise ValueError("partialArgs is no list of objects")
        text = "".join(arguments.add(piece) for piece in pieces)
        if raw.get("willContinue") is True:
            return text
        self._open = None
        return text + arguments.end()
