"""Structured output: the ``response_format`` of a class or schema, and `parse`, which reads an answer into it."""

from __future__ import annotations

from anyllm.structured._parse import Fault, StructuredOutputError, parse, response_format

__all__ = ["Fault", "StructuredOutputError", "parse", "response_format"]
