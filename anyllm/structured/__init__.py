"""Structured output: the ``response_format`` of a class or schema, and `parse`, which reads an answer into it."""

from __future__ import annotations

from anyllm.structured._parse import StructuredOutputError, parse, response_format
from anyllm.structured._validation_errors import Fault

__all__ = ["Fault", "StructuredOutputError", "parse", "response_format"]
