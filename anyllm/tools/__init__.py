"""Functions as tools: a typed function becomes what a model is told, and a model's call a call of the function."""

from __future__ import annotations

from anyllm.tools._tool import Tool, ToolArgumentsError, result_text, tool, tools_in

__all__ = ["Tool", "ToolArgumentsError", "result_text", "tool", "tools_in"]
