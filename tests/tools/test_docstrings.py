"""Descriptions of parameters in every style of docstring."""

from __future__ import annotations

from typing import Annotated

import msgspec
import pytest
from tool_samples import schema

from anyllm.tools import Tool
from anyllm.tools._docstrings import first_paragraph, parameter_descriptions


def test_sphinx_fields_and_annotations_describe_parameters_too() -> None:
    def find(a: str, b: int, c: Annotated[str, "Of the type."], d: Annotated[int, msgspec.Meta(ge=1)] = 2) -> None:
        """
        Find it.
        :param a: What,
            exactly.
        :param int b: How many.
        :returns: Nothing.
        """

    assert Tool(find).description == "Find it."
    assert schema(find)["properties"] == {
        "a": {"type": "string", "description": "What, exactly."},
        "b": {"type": "integer", "description": "How many."},
        "c": {"type": "string", "description": "Of the type."},
        "d": {"type": "integer", "minimum": 1, "default": 2},
    }


def test_names_can_share_a_description() -> None:
    def go(lat: float, lon: float) -> None:
        """
        Go.

        Args:
            lat, lon: Degrees.
        """

    assert [field["description"] for field in schema(go)["properties"].values()] == ["Degrees.", "Degrees."]


def test_numpy_sections_describe_parameters_too() -> None:
    doc = """
Find it,
at once.

Parameters
----------
a : str
    What,
    exactly.

    With a second paragraph.
b, c : int, optional
    How many.
d

Returns
-------
e : str
    Not a parameter.

Other Parameters
----------------
f
    Rarely used.
"""
    assert first_paragraph(doc) == "Find it, at once."
    assert parameter_descriptions(doc) == {
        "a": "What, exactly. With a second paragraph.",
        "b": "How many.",
        "c": "How many.",
        "d": "",
        "f": "Rarely used.",
    }
    assert first_paragraph("Parameters\n----------\na\n    What.") == ""


@pytest.mark.parametrize(
    "doc", ["", "Find it.", "Find it.\n\nNotes\n-----\na : b\n    c", "Args: a\n  b: c", "Returns:\n    a: b"]
)
def test_other_sections_describe_no_parameter(doc: str) -> None:
    assert parameter_descriptions(doc) == {}
