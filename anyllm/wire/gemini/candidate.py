"""
One candidate of an answer: from its parts to the deltas of chunks.

Google sends a call whole, with arguments that are an object, and mostly without an id. Vertex can also send the name
first, then pieces of the arguments, then an empty part.

Sources: https://ai.google.dev/api/caching#Part, https://ai.google.dev/gemini-api/docs/function-calling
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from anyllm.types import ChunkDelta, FunctionCall, Reasoning, ToolCall, _convert
from anyllm.wire._base.json_values import json_object, json_type, text_or_none, whole_number
from anyllm.wire.gemini.fields import THOUGHT, TOOL_PARTS, read_finish_reason
from anyllm.wire.gemini.partial_arguments import PartialArguments
from anyllm.wire.gemini.parts import signed_call
from anyllm.wire.gemini.signatures import signed_detail, tool_detail

#: The keys of a part that may sign without a text; in others the signature belongs to the content of the part.
_SIGNATURE_ALONE = frozenset(("thoughtSignature", "thought", "text"))


def candidates_in(body: Any) -> Iterator[tuple[int | None, dict[str, Any]]]:
    """
    The candidates of an event with their indexes; None for an index that is no number.

    Google leaves out the index 0 where others have one; where none has one, the place counts.
    """
    candidates = json_object(body).get("candidates")
    found = [one for one in candidates if isinstance(one, dict)] if isinstance(candidates, list) else []
    is_numbered = any(one.get("index") is not None for one in found)
    for place, one in enumerate(found):
        index = one.get("index")
        yield whole_number(index) if index is not None else 0 if is_numbered else place, one


def parts_of(candidate: dict[str, Any]) -> list[dict[str, Any]]:
    """The parts of a candidate; none where it has none, or is malformed."""
    parts = json_object(candidate.get("content")).get("parts")
    return [part for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []


class Candidate:
    """
    The state of one candidate. Used by one decoder, on one thread.

    Attributes:
        finish: Its last finish reason; None while it goes on.
        text_length: How many characters of text came.
    """

    __slots__ = ("_arguments", "_call_count", "_function", "_thought_length", "finish", "text_length")

    def __init__(self) -> None:
        self.finish: str | None = None
        self.text_length = 0
        self._thought_length = 0
        self._call_count = 0
        self._function: str | None = None  # of the last call
        self._arguments: PartialArguments | None = None  # of the last call, while they come in pieces

    def delta(self, raw: dict[str, Any], role: str | None) -> ChunkDelta:
        """
        The delta of *raw*, a candidate of one event.

        Raises:
            ValueError: it is malformed.
        """
        texts: dict[str, list[str]] = {"text": [], "thought": []}
        lengths = {"text": self.text_length, "thought": self._thought_length}
        calls: list[ToolCall | None] = []
        details: list[dict[str, Any]] = []
        last_signature = None
        for part in _checked_parts(raw):
            signature, text = text_or_none(part.get("thoughtSignature")), part.get("text")
            if part.get("functionCall") is not None:
                calls.append(self._call(part["functionCall"], signature))
            elif not TOOL_PARTS.isdisjoint(part):
                details.append(tool_detail(lengths["text"], part))
            elif text is not None or _SIGNATURE_ALONE.issuperset(part):
                text = "" if text is None else text
                if not isinstance(text, str):
                    raise ValueError(f"the text of a part is {json_type(text)}")
                of = "thought" if part.get("thought") is True else "text"
                texts[of].append(text)
                if signature:
                    details.append(signed_detail(of, lengths[of], len(text), signature))
                    last_signature = signature
                lengths[of] += len(text)
        self.text_length, self._thought_length = lengths["text"], lengths["thought"]
        thought, content = "".join(texts["thought"]) or None, "".join(texts["text"]) or None
        reasoning = Reasoning(thought, last_signature, THOUGHT, details or None) if thought or details else None
        return ChunkDelta(role, content, None, tuple(call for call in calls if call is not None) or None, reasoning)

    def end(self, name: str | None) -> tuple[str | None, str | None]:
        """
        The finish reason, normalised and as it came; (None, None) where *name* is not a new one.

        A candidate may end twice: the reason of a filter that ran beside the answer comes last and counts.
        """
        if name is None or name == self.finish:
            return None, None
        self.finish = name
        return read_finish_reason(name, has_tool_calls=self._call_count > 0), name

    def _call(self, raw: Any, signature: str | None) -> ToolCall | None:
        """The fragment of one ``functionCall``; None of an empty one."""
        if not isinstance(raw, dict):
            raise ValueError("a functionCall is no object")
        name: Any = raw.get("name")
        call_id, arguments = None, ""
        if self._arguments is not None and name in (None, "", self._function) and not raw.get("args"):
            name = None  # more of the arguments, under the name of their call or none
        elif not name and not raw.get("args") and not raw.get("partialArgs"):
            return None
        elif not isinstance(name, str) or not name:
            raise ValueError("a functionCall has no name")
        else:
            call_id, arguments = self._begin_call(name, raw)
        if self._arguments is not None:
            arguments += self._pieces(raw, self._arguments)
        return signed_call(call_id, FunctionCall(name, arguments), self._call_count - 1, signature)

    def _begin_call(self, name: str, raw: Mapping[str, Any]) -> tuple[str, str]:
        """The id of a new call, and the beginning of its arguments: all of them, unless they come in pieces."""
        call_id, args = raw.get("id"), raw.get("args")
        if not isinstance(call_id, str) or not call_id:
            call_id = f"call_{self._call_count}"
        self._call_count += 1
        self._function, self._arguments = name, None
        if raw.get("willContinue") is True or raw.get("partialArgs"):
            self._arguments = PartialArguments()
            return call_id, self._arguments.begin()
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
        self._arguments = None
        return text + arguments.end()


def _checked_parts(raw: dict[str, Any]) -> list[dict[str, Any]]:
    content = raw.get("content")
    if content is not None and not isinstance(content, dict):
        raise ValueError(f"the content of a candidate is {json_type(content)}")
    parts = (content or {}).get("parts")
    if parts is not None and (not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts)):
        raise ValueError("the parts of a candidate are no list of objects")
    return parts or []
