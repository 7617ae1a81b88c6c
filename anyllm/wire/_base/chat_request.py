"""
A client's request for an answer, in our terms, whichever wire format it came in.

The module ``server/request`` of each format reads the decoded body of a request and returns a `ChatRequest`. Keys that
it does not understand stay in `ChatRequest.unknown_fields`: a provider of the client's own format receives them; for
any other provider the request is refused.
"""

from __future__ import annotations

import itertools
from collections.abc import Container, Mapping
from typing import Any

import attrs

from anyllm.types import CompletionParams
from anyllm.wire._base.encode_json import merge_objects
from anyllm.wire._base.request_fields import Fields, json_name, wrong
from anyllm.wire._base.writer import Format

__all__ = ["ChatRequest", "MadeIds", "params_of", "parted"]


@attrs.define(frozen=True)
class ChatRequest:
    """
    One request for an answer.

    Attributes:
        params: The parameters; ``model`` is the name that the client used.
        stream: Whether the client asked for a stream.
        format: Writes the answer for the client.
        unknown_fields: Keys of the request for which we have no parameter, and which may change the answer.
        native: The classes of dialects whose providers know these keys.
        ignorable_fields: Such keys that do not change the answer: billing, storage, monitoring, use of a machine.
    """

    params: CompletionParams
    stream: bool
    format: Format
    unknown_fields: Mapping[str, Any] = attrs.field(factory=dict)
    native: tuple[type, ...] = ()
    ignorable_fields: Mapping[str, Any] = attrs.field(factory=dict)

    @property
    def native_fields(self) -> dict[str, Any]:
        """`unknown_fields` and `ignorable_fields` together, as ``extra_body`` takes them."""
        return merge_objects(self.ignorable_fields, self.unknown_fields)


class MadeIds:
    """Ids for calls that came without one, as our decoders make them; never one that the conversation has already."""

    def __init__(self) -> None:
        self._numbers = itertools.count()

    def new(self, known: Container[str]) -> str:
        """The next that is not *known*."""
        return next(made for made in map("call_{}".format, self._numbers) if made not in known)


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


def parted(left: Mapping[str, Any], ignorable_fields: frozenset[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What is left of a request: first what may change the answer, then what is named among *hints*."""
    unknown_fields = {key: value for key, value in left.items() if key not in ignorable_fields}
    return unknown_fields, {key: value for key, value in left.items() if key in ignorable_fields}
