"""
What a client asked for, in our terms, whichever format it asked in; and how requests of any format are read.

Each format's module has a function that reads the decoded body of a request and gives an `Asked`. What it does not
understand it leaves in `Asked.further`: a host that speaks the client's own format gets it, and before any other the
client is told.
"""

from __future__ import annotations

import itertools
from collections.abc import Container, Mapping
from typing import Any

import attrs

from anyllm.types import CompletionParams
from anyllm.wire._base.request_fields import Fields, json_name, wrong
from anyllm.wire._base.writer import Format

__all__ = ["Asked", "MadeIds", "merged", "params_of", "parted"]


@attrs.define(frozen=True)
class Asked:
    """
    One request for an answer.

    Attributes:
        params: What to ask; its model is the name that the client said.
        stream: Whether the answer is wanted as it comes.
        format: How the answer is written.
        further: Keys of the request that none of our parameters says.
        native: The dialects whose hosts know these keys.
        hints: Such keys as say nothing of the answer: how it is billed, kept or watched, how a machine is used.
    """

    params: CompletionParams
    stream: bool
    format: Format
    further: Mapping[str, Any] = attrs.field(factory=dict)
    native: tuple[type, ...] = ()
    hints: Mapping[str, Any] = attrs.field(factory=dict)

    @property
    def for_native(self) -> dict[str, Any]:
        """`further` and `hints` together, as ``extra_body`` takes them."""
        return merged(self.hints, self.further)


class MadeIds:
    """Ids for calls that came without one, as our decoders make them; never one that the conversation has already."""

    def __init__(self) -> None:
        self._numbers = itertools.count()

    def new(self, known: Container[str]) -> str:
        """The next that is not *known*."""
        return next(made for made in map("call_{}".format, self._numbers) if made not in known)


def merged(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Both, and of objects that are in both, both: Ollama's options are parted between them."""
    inside = {
        key: {**value, **other[key]}
        for key, value in one.items()
        if isinstance(value, Mapping) and isinstance(other.get(key), Mapping)
    }
    return {**one, **other, **inside}


def params_of(given: Mapping[str, Any]) -> CompletionParams:
    """
    Parameters from values that are named as ours are; those that are None are left out.

    Raises:
        InvalidRequestError: one has the wrong type.
    """
    _check_tools(given.get("tools") or ())
    try:
        return CompletionParams(**{name: value for name, value in given.items() if value is not None})
    except (TypeError, ValueError) as exc:
        name, _, _ = str(exc).partition(" ")
        raise wrong(name if name in given else "messages", str(exc)) from exc


def _check_tools(tools: Any) -> None:
    """
    What no host could make sense of is said before any is asked; what only some know is theirs.

    Raises:
        InvalidRequestError: a tool is none.
    """
    for tool in tools if isinstance(tools, (list, tuple)) else ():
        if not isinstance(tool, Mapping):
            raise wrong("tools", f"a tool must be an object, not {json_name(tool)}")
        function = tool.get("function")
        if tool.get("type") == "function" and function is not None:
            fields = Fields(function, "tools.function")
            fields.need("name", str)
            fields.take("description", str)
            fields.take("parameters", dict)


def parted(left: Mapping[str, Any], hints: frozenset[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What is left of a request: first what may change the answer, then what is named among *hints*."""
    further = {key: value for key, value in left.items() if key not in hints}
    return further, {key: value for key, value in left.items() if key in hints}
