"""A function goes out as a schema, and what a model sends comes back as a call of the function, or as what is wrong."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import datetime
import enum
import functools
import json
import pickle
from typing import Annotated, Any, Dict, List, Literal, Optional, TypedDict

import attrs
import msgspec
import pytest

import anyllm
from anyllm.tools import Tool, ToolArgumentsError, result_text, tool, tools_in


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
class Tree:
    value: int
    children: List[Tree] = attrs.field(factory=list)


def weather(city: str, days: int = 1, unit: Unit = Unit.CELSIUS) -> Dict[str, Any]:
    """
    The weather of
    the next days.

    More that nobody is told.

    Args:
        city: The city's name,
            in English.
        days (int): How many: 1 to 7.

    Returns:
        city: This is not of a parameter.
    """
    return {"city": city, "days": days, "unit": unit}


def schema(function: Any, **options: Any) -> Dict[str, Any]:
    parameters: Dict[str, Any] = Tool(function, **options).definition["function"]["parameters"]
    return parameters


# -- what the model is told


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


def test_a_definition_says_what_it_is_told_to() -> None:
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


def test_names_that_share_a_description_each_have_it() -> None:
    def go(lat: float, lon: float) -> None:
        """
        Go.

        Args:
            lat, lon: Degrees.
        """

    assert [field["description"] for field in schema(go)["properties"].values()] == ["Degrees.", "Degrees."]


def test_types_of_all_kinds_have_their_schema() -> None:
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


def test_a_type_that_holds_itself_is_defined_once() -> None:
    def grow(tree: Tree, other: Optional[Tree] = None) -> int:
        return sum(child.value for child in tree.children)

    made = schema(grow)
    assert set(made["$defs"]) == {"Tree"}
    assert Tool(grow).call({"tree": {"value": 1, "children": [{"value": 2}, {"value": 3}]}}) == 5


def test_defaults_that_json_has_not_are_kept_to_ourselves() -> None:
    def do(where: Place = Place(1, 2), how: Any = object(), many: List[int] = [1]) -> Any:  # noqa: B006, B008
        return where, how, many

    properties = schema(do)["properties"]
    assert properties["where"]["default"] == {"lat": 1, "lon": 2, "name": None}
    assert "default" not in properties["how"]
    assert properties["many"]["default"] == [1]
    where, how, many = Tool(do).call({})
    assert (where, type(how), many) == (Place(1, 2), object, [1])


# -- functions of all kinds


def test_what_cannot_be_called_by_name_or_now_is_refused() -> None:
    async def later(city: str) -> str:
        return city

    class Later:
        async def __call__(self, city: str) -> str:
            return city

    def many(*cities: str) -> None: ...

    def any_key(**cities: str) -> None: ...

    for wrong, words in ((later, "async"), (functools.partial(later), "async"), (Later(), "async")):
        with pytest.raises(TypeError, match=words):
            Tool(wrong)
    with pytest.raises(TypeError, match=r"many\(\) takes \*cities"):
        Tool(many)
    with pytest.raises(TypeError, match=r"any_key\(\) takes \*\*cities"):
        Tool(any_key)
    with pytest.raises(TypeError, match="made of a function, not of int"):
        Tool(3)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["", "a b", "straße", "x" * 65])
def test_names_that_hosts_refuse_are_refused_here(name: str) -> None:
    with pytest.raises(ValueError, match="no name for a tool"):
        Tool(weather, name=name)
    with pytest.raises(ValueError, match="<lambda>"):
        Tool(lambda: None)


def test_methods_are_tools_of_their_instance() -> None:
    class Shop:
        def __init__(self, name: str) -> None:
            self.name = name

        def plain(self, item: str) -> str:
            return f"{self.name}: {item}"

        @tool
        def price(self, item: str) -> str:
            """What it costs."""
            return f"{self.name}: {item}"

        @tool(name="renamed", description="Said.", strict=True)
        def other(self, item: str) -> str:
            return f"{self.name}: {item}"

    one, two = Shop("one"), Shop("two")
    assert schema(one.plain)["required"] == ["item"]
    assert Tool(one.plain).call({"item": "pen"}) == "one: pen"
    assert one.price.call({"item": "pen"}) == "one: pen"
    assert two.price("ink") == "two: ink"
    assert one.price.definition["function"]["parameters"]["required"] == ["item"]
    assert one.price.description == "What it costs."
    assert one.other.definition["function"]["strict"] is True
    assert (one.other.name, one.other.description) == ("renamed", "Said.")


def test_static_and_class_methods_are_tools_with_the_decorator_below() -> None:
    class Shop:
        name = "shop"

        @staticmethod
        @tool
        def static(item: str) -> str:
            return item

        @classmethod
        @tool
        def by_class(cls, item: str) -> str:
            return f"{cls.name}: {item}"

    definitions, by_name = tools_in([Shop.static, Shop().by_class])
    assert [definition["function"]["parameters"]["required"] for definition in definitions] == [["item"], ["item"]]
    assert by_name["static"].call({"item": "pen"}) == "pen"
    assert by_name["by_class"].call({"item": "pen"}) == "shop: pen"
    for above in (staticmethod(weather), classmethod(weather)):
        with pytest.raises(TypeError, match=f"put @tool below @{type(above).__name__}"):
            tool(above)  # type: ignore[call-overload]


def test_a_function_that_waits_for_an_async_one_is_a_tool() -> None:
    async def later(city: str) -> str:
        """Look."""
        return city

    @functools.wraps(later)
    def now(*args: Any, **kwargs: Any) -> str:
        return asyncio.run(later(*args, **kwargs))

    made = tool(now)
    assert (made.name, made.description) == ("later", "Look.")
    assert made.call({"city": "Graz"}) == "Graz"


def test_annotations_mean_what_they_mean_where_the_function_stands() -> None:
    """A decorator of another module knows none of its types."""
    elsewhere: Dict[str, Any] = {"functools": functools}
    exec(
        "def decorated(function):\n"
        "    @functools.wraps(function)\n"
        "    def inner(*args, **kwargs):\n"
        "        return function(*args, **kwargs)\n"
        "    return inner\n",
        elsewhere,
    )

    def where(place: Place) -> float:
        return place.lat

    assert Tool(elsewhere["decorated"](where)).call({"place": {"lat": 1, "lon": 2}}) == 1


def test_what_a_partial_binds_is_neither_told_nor_taken() -> None:
    def fetch(url: str, key: str, depth: int = 1) -> str:
        """Fetch it."""
        return f"{url} {key} {depth}"

    made = Tool(functools.partial(fetch, key="s3cret"))
    assert (made.name, made.description) == ("fetch", "Fetch it.")
    assert set(schema(made.function)["properties"]) == {"url", "depth"}
    assert "s3cret" not in json.dumps(made.definition)
    assert made.call({"url": "u", "depth": 2}) == "u s3cret 2"
    with pytest.raises(ToolArgumentsError, match=r"\$\.key: unknown argument"):
        made.call({"url": "u", "key": "mine"})
    assert Tool(functools.partial(fetch, "u")).call({"key": "k"}) == "u k 1"


def test_callable_objects_are_tools() -> None:
    class Adder:
        """An object."""

        def __call__(self, a: int, b: int = 1) -> int:
            return a + b

    assert Tool(Adder(), name="add").call({"a": 1}) == 2


def test_parameters_by_place_only_and_by_name_only_are_filled() -> None:
    def do(a: int, b: int = 2, /, c: int = 3, *, d: int, e: int = 5) -> List[int]:
        return [a, b, c, d, e]

    assert Tool(do).call({"a": 1, "d": 4}) == [1, 2, 3, 4, 5]
    assert Tool(do).call({"a": 1, "b": 7, "c": 8, "d": 4, "e": 9}) == [1, 7, 8, 4, 9]


def test_the_context_is_given_and_not_told() -> None:
    def by_type(city: str, context: anyllm.Context) -> Any:
        return context

    def by_name(ctx: Unresolvable, city: str) -> Any:  # type: ignore[name-defined]  # noqa: F821
        return ctx

    def if_any(city: str, context: Optional[anyllm.Context] = None) -> Any:
        return context

    ctx = anyllm.Context()
    for function in (by_type, by_name, if_any):
        assert set(schema(function)["properties"]) == {"city"}
        assert Tool(function).call({"city": "Graz"}, ctx=ctx) is ctx
        assert isinstance(Tool(function).call({"city": "Graz"}), anyllm.Context)
        with pytest.raises(ToolArgumentsError, match="unknown argument"):
            Tool(function).call({"city": "Graz", "ctx": {}, "context": {}})


def test_an_annotation_that_names_nothing_is_named() -> None:
    def do(city: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(TypeError, match=r"do\(\): the annotation of 'city' cannot be resolved: .*Nowhere"):
        _ = Tool(do).definition


def test_a_type_that_json_has_not_is_a_type_error_that_names_the_tool() -> None:
    def do(thing: complex) -> None: ...

    with pytest.raises(TypeError, match=r"do\(\): a parameter has no JSON schema"):
        _ = Tool(do).definition


# -- calls


def test_arguments_become_what_the_annotations_say() -> None:
    def do(place: Place, range: Range, when: datetime.date, tags: List[Tag], unit: Unit, ratio: float) -> Any:
        return place, range, when, tags, unit, ratio

    text = (
        '{"place": {"lat": 1, "lon": 2.5}, "range": {"first": 3}, "when": "2026-01-31", '
        '"tags": [{"text": "LOUD"}], "unit": "F", "ratio": 1}'
    )
    made = (Place(1, 2.5), Range(3), datetime.date(2026, 1, 31), [Tag("loud")], Unit.FAHRENHEIT, 1.0)
    assert Tool(do).call(text) == made
    assert Tool(do).call(json.loads(text)) == made


@pytest.mark.parametrize("nothing", ["", "  ", "{}", "null", {}])
def test_no_arguments_are_none(nothing: Any) -> None:
    assert Tool(lambda: 7, name="seven").call(nothing) == 7


def test_null_stands_for_a_default() -> None:
    """The strict form has all parameters required, and lets null stand for what was left out."""

    def do(days: int = 3, maybe: Optional[int] = 4) -> Any:
        return days, maybe

    assert Tool(do).call({"days": None, "maybe": None}) == (3, None)


@pytest.mark.parametrize(
    ("arguments", "path", "words"),
    [
        ('{"city": ', "$", "not JSON"),
        ("[1]", "$", "no JSON object"),
        ({}, "$.city", "missing"),
        ({"city": 1}, "$.city", "expected str, got int"),
        ({"city": None}, "$.city", "expected str, got null"),
        ({"city": "a", "days": "2"}, "$.days", "expected int, got str"),
        ({"city": "a", "days": True}, "$.days", "expected int, got bool"),
        ({"city": "a", "unit": "K"}, "$.unit", "invalid enum value 'K'"),
        ({"city": "a", "dayz": 2}, "$.dayz", "did you mean 'days'"),
    ],
)
def test_wrong_arguments_are_named_by_their_path(arguments: Any, path: str, words: str) -> None:
    with pytest.raises(ToolArgumentsError, match=words) as caught:
        Tool(weather).call(arguments)
    assert caught.value.path == path
    assert caught.value.tool == "weather"
    assert f"{path}: " in str(caught.value)
    assert isinstance(caught.value, (anyllm.AnyLLMError, ValueError))


def test_paths_lead_into_classes_and_lists() -> None:
    def do(places: List[Place], tags: List[Tag]) -> None: ...

    good = {"lat": 1, "lon": 2}
    for arguments, path, words in (
        ({"places": [good, {"lat": "x", "lon": 2}], "tags": []}, "$.places[1].lat", "expected float, got str"),
        ({"places": [good, {"lat": 2}], "tags": []}, "$.places[1]", "lon"),
        ({"places": [{"lat": -91, "lon": 2}], "tags": []}, "$.places[0]", ">= -90"),
        ({"places": [], "tags": [{"text": 3}]}, "$.tags[0].text", "expected str"),
    ):
        with pytest.raises(ToolArgumentsError, match=words) as caught:
            Tool(do).call(arguments)
        assert caught.value.path == path


def test_all_faults_are_said_at_once_and_the_function_is_not_called() -> None:
    called = []

    def do(a: int, b: str) -> None:
        called.append(a)

    with pytest.raises(ToolArgumentsError, match=r"\$\.a: .*; \$\.b: missing; \$\.c: unknown"):
        Tool(do).call({"a": "x", "c": 1})
    assert called == []


def test_a_converter_that_fails_is_a_wrong_argument() -> None:
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


def test_what_the_function_raises_passes_through() -> None:
    def fail() -> None:
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError):
        Tool(fail).call({})


def test_the_error_survives_pickle_and_copy() -> None:
    error = ToolArgumentsError("weather: $.city: missing", tool="weather", path="$.city")
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert (str(twin), twin.tool, twin.path) == (str(error), "weather", "$.city")


# -- results


def test_results_become_text() -> None:
    assert result_text("as it is: {}") == "as it is: {}"
    assert result_text(Unit.CELSIUS) == "C"
    assert result_text(None) == "null"
    assert result_text(["ä", 1.5, True]) == '["ä",1.5,true]'
    assert json.loads(result_text(Place(1, 2))) == {"lat": 1, "lon": 2}
    assert json.loads(result_text([Range(1)])) == [{"first": 1, "last": 9}]
    assert result_text({"when": datetime.date(2026, 1, 31)}) == '{"when":"2026-01-31"}'


def test_a_result_that_json_has_not_names_the_tool() -> None:
    endless: List[Any] = []
    endless.append(endless)
    for value in (object(), {"a": object()}, endless):
        with pytest.raises(TypeError, match="what weather returned is no JSON"):
            result_text(value, "weather")


# -- many


def test_tools_functions_and_definitions_stand_side_by_side() -> None:
    raw = {"type": "function", "function": {"name": "raw", "parameters": {}}}
    search = {"type": "web_search"}
    renamed = tool(name="other")(weather)
    definitions, by_name = tools_in([weather, renamed, raw, search])
    assert [definition.get("function", {}).get("name") for definition in definitions] == [
        "weather",
        "other",
        "raw",
        None,
    ]
    assert set(by_name) == {"weather", "other"}
    assert by_name["other"] is renamed
    assert by_name["weather"].call({"city": "Graz"})["city"] == "Graz"


def test_two_of_one_name_and_what_is_no_tool_are_refused() -> None:
    raw = {"type": "function", "function": {"name": "weather", "parameters": {}}}
    for twice in ([weather, weather], [weather, raw], [raw, raw]):
        with pytest.raises(ValueError, match="two tools are called 'weather'"):
            tools_in(twice)
    with pytest.raises(TypeError, match="not int"):
        tools_in([3])
