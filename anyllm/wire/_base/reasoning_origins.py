"""
Values of `Reasoning.field` that several wire formats use: the origin of reasoning.

A provider accepts its own reasoning and refuses that of others, so reasoning is stored with its origin.
"""

from __future__ import annotations

__all__ = ["OUTPUT_ITEMS"]

#: OpenAI's Responses: `Reasoning.details` are output items.
OUTPUT_ITEMS = "output_items"
