"""
Values of `Reasoning.field` that more than one wire format knows: whose reasoning it is.

A provider wants back its own reasoning and refuses that of others, so it travels with its origin.
"""

from __future__ import annotations

__all__ = ["OUTPUT_ITEMS"]

#: OpenAI's Responses: `Reasoning.details` are output items.
OUTPUT_ITEMS = "output_items"
