"""Tools: the definition of a function, and calls with a model's arguments."""

from __future__ import annotations

import datetime
import json
import re
from typing import Any, Dict, List, Literal, Optional, TypedDict

import attrs
import pytest
from tool_samples import Place, Range, Unit, schema

import anyllm
from anyllm.tools import Tool, ToolArgumentsError, tool


@attrs.define
class Tag:
    text: str = attrs.field(converter=str.lower)


@attrs.define
class Code:
    text: str = attrs.field(converter={"A": "a", "a": "a"}.__getitem__)


GRAZ = {"lat": 1, "lon": 2}


class Filter(TypedDict):
    field: str


def weather(city: str, days: int = 1, unit: Unit = Unit.CELSIUS) -> Dict[str, Any]:
    """
    The weather of
    the next days.

    More that is not part of the description.

    Args:
        city: The city's name,
            in English.
        days (int): How many: 1 to 7.

    Returns:
        city: This does not describe a parameter.
    """
    return {"city": city, "days": days, "unit": unit}


# -- definition


def test_a_function_becomes_a_definition() -> None:
    made = tool(weather)
    assert made.definition == {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "The weather of the next days.",
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string", "description": "The city's name, in English."},
                    "days": {"type": "integer", "description": "How many: 1 to 7.", "default": 1},
                    "unit": {"title": "Unit", "enum": ["C", "F"], "default": "C"},
                },
                "required": ["city"],
            },
        },
    }
    anyllm.CompletionParams("m", [], tools=[made.definition])


def test_name_description_and_strict_can_be_set() -> None:
    @tool(name="forecast", description="What comes.", strict=True)
    def anything(city: str, days: int = 1) -> str:
        """Not this."""
        return city

    function = anything.definition["function"]
    assert (function["name"], function["description"], function["strict"]) == ("forecast", "What comes.", True)
    assert function["parameters"]["required"] == ["city", "days"]
    assert function["parameters"]["additionalProperties"] is False
    assert anything("Graz") == "Graz"
    assert anything.__doc__ == "Not this."


def test_schemas_of_all_kinds_of_types() -> None:
    def do(
        place: Place,
        range: Range,
        filters: List[Filter],
        kind: Literal["a", "b"],
        by_name: Dict[str, int],
        maybe: Optional[int] = None,
        anything: Any = None,
        untyped=3,  # type: ignore[no-untyped-def]
    ) -> None: ...

    made = schema(do)
    properties = made["properties"]
    assert made["required"] == ["place", "range", "filters", "kind", "by_name"]
    assert properties["place"]["description"] == "Where on the earth."
    assert properties["place"]["required"] == ["lat", "lon"]
    assert properties["range"]["properties"]["last"]["default"] == 9
    assert properties["filters"]["items"]["required"] == ["field"]
    assert properties["kind"]["enum"] == ["a", "b"]
    assert properties["by_name"]["additionalProperties"] == {"type": "integer"}
    assert {option["type"] for option in properties["maybe"]["anyOf"]} == {"integer", "null"}
    assert properties["untyped"] == {"default": 3}


def test_defaults_that_are_not_json_are_not_in_the_schema() -> None:
    def do(where: Place = Place(1, 2), how: Any = object(), many: List[int] = [1]) -> Any:  # noqa: B006, B008
        return where, how, many

    properties = schema(do)["properties"]
    assert properties["where"]["default"] == {"lat": 1, "lon": 2, "name": None}
    assert "default" not in properties["how"]
    assert properties["many"]["default"] == [1]
    where, how, many = Tool(do).call({})
    assert (where, type(how), many) == (Place(1, 2), object, [1])


# -- calls


def test_arguments_are_converted_to_the_annotated_types() -> None:
    def do(place: Place, range: Range, when: datetime.date, tags: List[Tag], unit: Unit, ratio: float) -> Any:
        return place, range, when, tags, unit, ratio

    text = (
        '{"place": {"lat": 1, "lon": 2.5}, "range": {"first": 3}, "when": "2026-01-31", '
        '"tags": [{"text": "LOUD"}], "unit": "F", "ratio": 1}'
    )
    made = (Place(1, 2.5), Range(3), datetime.date(2026, 1, 31), [Tag("loud")], Unit.FAHRENHEIT, 1.0)
    assert Tool(do).call(text) == made
    assert Tool(do).call(json.loads(text)) == made


@pytest.mark.parametrize("arguments", ["", "  ", "{}", "null", {}])
def test_empty_arguments_are_no_arguments(arguments: Any) -> None:
    assert Tool(lambda: 7, name="seven").call(arguments) == 7


def test_null_stands_for_a_default() -> None:
    """In the strict form all parameters are required, and null means the default."""

    def do(days: int = 3, maybe: Optional[int] = 4, range: Optional[Range] = None) -> Any:
        return days, maybe, range

    assert Tool(do).call({"days": None, "maybe": None}) == (3, None, None)
    assert Tool(do, strict=True).call({"range": {"first": 1, "last": None}}) == (3, 4, Range(1, 9))


@pytest.mark.parametrize(
    ("arguments", "path", "message"),
    [
        ('{"city": ', "$", "not JSON"),
        ("[1]", "$", "no JSON object"),
        ({}, "$.city", "missing"),
        ({"city": 1}, "$.city", "expected a string, got an integer"),
        ({"city": None}, "$.city", "expected a string, got null"),
        ({"city": "a", "days": "2"}, "$.days", "expected an integer, got a string"),
        ({"city": "a", "days": True}, "$.days", "expected an integer, got a boolean"),
        ({"city": "a", "unit": "K"}, "$.unit", 'expected one of "C", "F", got "K"'),
        ({"city": "a", "dayz": 2}, "$.dayz", "did you mean 'days'"),
    ],
)
def test_wrong_arguments_are_reported_with_their_path(arguments: Any, path: str, message: str) -> None:
    with pytest.raises(ToolArgumentsError, match=re.escape(message)) as caught:
        Tool(weather).call(arguments)
    assert caught.value.path == path
    assert caught.value.tool == "weather"
    assert f"{path}: " in str(caught.value)
    assert isinstance(caught.value, (anyllm.AnyLLMError, ValueError))


@pytest.mark.parametrize(
    ("arguments", "path", "words"),
    [
        ({"places": [GRAZ, {"lat": "x", "lon": 2}]}, "$.places[1].lat", "expected a number, got a string"),
        ({"places": [GRAZ, {"lat": 2}]}, "$.places[1].lon", "missing"),
        ({"places": [{"lat": -91, "lon": 2}]}, "$.places[0]", ">= -90"),
        ({"places": [], "tags": [{"text": 3}]}, "$.tags[0].text", "expected a string, got an integer"),
        ({"places": [], "code": {"text": "B"}}, "$.code", ""),  # its converter fails
    ],
)
def test_paths_lead_into_classes_and_lists(arguments: Any, path: str, words: str) -> None:
    def do(places: List[Place], tags: List[Tag] = [], code: Optional[Code] = None) -> Any:  # noqa: B006
        return code

    assert Tool(do).call({"places": [GRAZ], "code": {"text": "A"}}) == Code("A")
    with pytest.raises(ToolArgumentsError) as caught:
        Tool(do).call(arguments)
    assert caught.value.path == path
    assert words in str(caught.value)


def test_all_faults_are_listed_and_the_function_is_not_called() -> None:
    called = []

    def do(a: int, b: str) -> None:
        called.append(a)

    with pytest.raises(ToolArgumentsError, match=r"\$\.a: .*; \$\.b: missing; \$\.c: unknown"):
        Tool(do).call({"a": "x", "c": 1})
    assert called == []


def test_exceptions_of_the_function_are_raised() -> None:
    def fail() -> None:
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError):
        Tool(fail).call({})
