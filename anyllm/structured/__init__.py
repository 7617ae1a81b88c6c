"""Structured output: a class or a schema becomes a ``response_format``, and the answer's text an instance of it."""

from __future__ import annotations

from anyllm.structured._parse import Fault, StructuredOutputError, parse, response_format

__all__ = ["Fault", "StructuredOutputError", "parse", "response_format"]
