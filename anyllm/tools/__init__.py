"""Tools: functions that a model may call, their JSON definitions, and calls with a model's arguments."""

from __future__ import annotations

from anyllm.tools._tool import Tool, ToolArgumentsError, tool
from anyllm.tools._toolbox import result_text, tools_in

__all__ = ["Tool", "ToolArgumentsError", "result_text", "tool", "tools_in"]
