"""
A client's chat request, the same for all wire formats.

The module ``server/request_reader`` of each format reads the decoded body of a request into a `ChatRequest`. Keys that
it does not understand stay in `ChatRequest.unknown_fields`: a provider of the client's format receives them; for any
other provider the request is refused.
"""

from __future__ import annotations

import itertools
from collections.abc import Container, Mapping
from typing import Any

import attrs

from anyllm.types import CompletionParams
from anyllm.wire._base.encode_json import merge_objects
from anyllm.wire._base.json_values import without_none
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
    """Makes ids for tool calls without one, as our decoders do; never one that the conversation already has."""

    def __init__(self) -> None:
        self._numbers = itertools.count()

    def new(self, taken: Container[str]) -> str:
        """The next id that is not in *taken*."""
        return next(call_id for call_id in map("call_{}".format, self._numbers) if call_id not in taken)


def params_of(values: Mapping[str, Any]) -> CompletionParams:
    """
    Parameters from *values* under our names; None is left out.

    Raises:
        InvalidRequestError: a value has the wrong type.
    """
    _check_tools(values.get("tools") or ())
    try:
        return CompletionParams(**without_none(values))
    except (TypeError, ValueError) as exc:
        name, _, _ = str(exc).partition(" ")
        raise wrong(name if name in values else "messages", str(exc)) from exc


def _check_tools(tools: Any) -> None:
    """
    Refuse tools that no provider accepts; types of tools that only some know pass.

    Raises:
        InvalidRequestError: a tool is malformed.
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


def parted(fields: Mapping[str, Any], ignorable_fields: frozenset[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The unknown fields of a request in two parts: those that may change the answer, and the *ignorable_fields*."""
    unknown_fields = {key: value for key, value in fields.items() if key not in ignorable_fields}
    return unknown_fields, {key: value for key, value in fields.items() if key in ignorable_fields}
