"""A list of tools as definitions for a request and functions to call, and the text of a tool's result."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from anyllm.tools._tool import Tool
from anyllm.types import _convert


def tools_in(tools: Iterable[Any]) -> tuple[list[dict[str, Any]], dict[str, Tool]]:
    """
    The definitions to send to a model, and the tools to call.

    Args:
        tools: `Tool`s, functions, and definitions as dicts (for tools that the provider or somebody else runs).

    Returns:
        The definitions, in order, and the tools by name, without those that are only definitions.

    Raises:
        TypeError, ValueError: an item is no tool, or two have the same name.
    """
    definitions: list[dict[str, Any]] = []
    by_name: dict[str, Tool] = {}
    names: set[str] = set()
    if isinstance(tools, (str, Mapping)) or not isinstance(tools, Iterable):
        raise TypeError(f"tools must be a list of functions, Tools or dicts, not {type(tools).__name__}")
    for item in tools:
        if isinstance(item, Mapping):
            definition, function = dict(item), item.get("function")
            name = function.get("name") if isinstance(function, Mapping) else None
        elif callable(item):
            tool = item if isinstance(item, Tool) else Tool(item)
            definition, name = tool.definition, tool.name
            by_name[tool.name] = tool
        else:
            raise TypeError(f"a tool is a function, a Tool or a dict, not {type(item).__name__}")
        if name is not None and name in names:
            raise ValueError(f"two tools are called {name!r}")
        names.add(name or "")
        definitions.append(definition)
    return definitions, by_name


def result_text(value: Any, tool: str = "") -> str:
    """
    A tool's result as text for the model: a str unchanged, anything else as JSON, attrs classes and dataclasses too.

    Args:
        value: The result.
        tool: The tool's name, for the error.

    Raises:
        TypeError: the value cannot be written as JSON.
    """
    if isinstance(value, enum.Enum):
        value = value.value
    if isinstance(value, str):
        return value
    try:
        return _convert.dumps(value).decode()
    except (TypeError, ValueError, RecursionError, msgspec.MsgspecError) as exc:
        raise TypeError(f"the result of {tool or 'the tool'} cannot be written as JSON: {exc}") from exc
