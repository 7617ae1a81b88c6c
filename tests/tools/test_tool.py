"""Tools: the definition of a function, and calls with a model's arguments."""

from __future__ import annotations

import copy
import dataclasses
import datetime
import enum
import json
import pickle
import re
from typing import Any, Dict, List, Literal, Optional, TypedDict

import attrs
import pytest

import anyllm
from anyllm.tools import Tool, ToolArgumentsError, tool


class Unit(enum.Enum):
    CELSIUS = "C"
    FAHRENHEIT = "F"


@attrs.define
class Place:
    """Where on the earth."""

    lat: float = attrs.field(validator=attrs.validators.ge(-90))
    lon: float
    name: Optional[str] = None


@attrs.define
class Tag:
    text: str = attrs.field(converter=str.lower)


@dataclasses.dataclass
class Range:
    first: int
    last: int = 9


class Filter(TypedDict):
    field: str


@attrs.define
class Box:
    width: float
    area: float = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.area = self.width**2


@attrs.define
class Tree:
    value: int
    children: List[Tree] = attrs.field(factory=list)


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


def schema(function: Any, **options: Any) -> Dict[str, Any]:
    parameters: Dict[str, Any] = Tool(function, **options).definition["function"]["parameters"]
    return parameters


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


def test_recursive_type_is_defined_once() -> None:
    def grow(tree: Tree, other: Optional[Tree] = None) -> int:
        return sum(child.value for child in tree.children)

    made = schema(grow)
    assert set(made["$defs"]) == {"Tree"}
    assert Tool(grow).call({"tree": {"value": 1, "children": [{"value": 2}, {"value": 3}]}}) == 5


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

    def do(days: int = 3, maybe: Optional[int] = 4) -> Any:
        return days, maybe

    assert Tool(do).call({"days": None, "maybe": None}) == (3, None)


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


def test_paths_lead_into_classes_and_lists() -> None:
    def do(places: List[Place], tags: List[Tag]) -> None: ...

    good = {"lat": 1, "lon": 2}
    for arguments, path, words in (
        ({"places": [good, {"lat": "x", "lon": 2}], "tags": []}, "$.places[1].lat", "expected a number, got a string"),
        ({"places": [good, {"lat": 2}], "tags": []}, "$.places[1].lon", "missing"),
        ({"places": [{"lat": -91, "lon": 2}], "tags": []}, "$.places[0]", ">= -90"),
        ({"places": [], "tags": [{"text": 3}]}, "$.tags[0].text", "expected a string, got an integer"),
    ):
        with pytest.raises(ToolArgumentsError, match=words) as caught:
            Tool(do).call(arguments)
        assert caught.value.path == path


def test_all_faults_are_listed_and_the_function_is_not_called() -> None:
    called = []

    def do(a: int, b: str) -> None:
        called.append(a)

    with pytest.raises(ToolArgumentsError, match=r"\$\.a: .*; \$\.b: missing; \$\.c: unknown"):
        Tool(do).call({"a": "x", "c": 1})
    assert called == []


def test_all_faults_of_one_argument_are_listed() -> None:
    def do(range: Range) -> None: ...

    with pytest.raises(ToolArgumentsError, match=r"\$\.range\.first: missing; \$\.range\.lats: .* mean 'last'\?$"):
        Tool(do).call({"range": {"lats": 1}})


def test_class_may_have_fields_with_init_false() -> None:
    """The schema does not have them, so a model does not send them."""

    def area(box: Box) -> float:
        return box.area

    assert set(schema(area)["properties"]["box"]["properties"]) == {"width"}
    assert Tool(area).call({"box": {"width": 3}}) == 9


def test_deep_nesting_is_a_wrong_argument() -> None:
    text = '{"tree": ' + '{"value": 1, "children": [' * 400 + "]}" * 400 + "}"

    def grow(tree: Tree) -> int:
        return tree.value

    with pytest.raises(ToolArgumentsError, match="nested too deeply"):
        Tool(grow).call(text)


def test_failing_converter_is_a_wrong_argument() -> None:
    @attrs.define
    class Code:
        text: str = attrs.field(converter=lambda text: {"A": "a"}[text])

    def do(code: Any) -> Any:
        return code

    do.__annotations__["code"] = Code
    assert Tool(do).call({"code": {"text": "A"}}) == Code("A")
    with pytest.raises(ToolArgumentsError, match=r"\$\.code") as caught:
        Tool(do).call({"code": {"text": "B"}})
    assert caught.value.path == "$.code"


def test_exceptions_of_the_function_are_raised() -> None:
    def fail() -> None:
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError):
        Tool(fail).call({})


def test_error_survives_pickle_and_copy() -> None:
    error = ToolArgumentsError("weather: $.city: missing", tool="weather", path="$.city")
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert (str(twin), twin.tool, twin.path) == (str(error), "weather", "$.city")
