"""Functions of every kind as tools: methods, partials, callable objects, and those that are refused."""

from __future__ import annotations

import asyncio
import functools
import json
from typing import Any, Dict, List, Optional

import pytest
from tool_samples import Place, schema

import anyllm
from anyllm.tools import Tool, ToolArgumentsError, tool, tools_in


def weather(city: str) -> Dict[str, Any]:
    return {"city": city}


def test_async_functions_and_variable_arguments_are_refused() -> None:
    async def later(city: str) -> str:
        return city

    class Later:
        async def __call__(self, city: str) -> str:
            return city

    def many(*cities: str) -> None: ...

    def any_key(**cities: str) -> None: ...

    for wrong, words in (
        *((later, "async"), (functools.partial(later), "async"), (Later(), "async")),
        *((many, r"many\(\) takes \*cities"), (any_key, r"any_key\(\) takes \*\*cities")),
        (3, "made of a function, not of int"),
    ):
        with pytest.raises(TypeError, match=words):
            Tool(wrong)


@pytest.mark.parametrize("name", ["", "a b", "straße", "x" * 65])
def test_names_that_providers_refuse_are_refused(name: str) -> None:
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

        @tool(name="renamed", description="Other.", strict=True)
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
    assert (one.other.name, one.other.description) == ("renamed", "Other.")
    assert tool(name="count")(one.price).call({"item": "tea"}) == "one: tea"


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


def test_function_that_wraps_an_async_one_is_a_tool() -> None:
    async def later(city: str) -> str:
        """Look."""
        return city

    @functools.wraps(later)
    def now(*args: Any, **kwargs: Any) -> str:
        return asyncio.run(later(*args, **kwargs))

    made = tool(now)
    assert (made.name, made.description) == ("later", "Look.")
    assert made.call({"city": "Graz"}) == "Graz"


def test_annotations_are_resolved_in_the_functions_module() -> None:
    """The module of a decorator does not have the function's types."""
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


def test_parameters_bound_by_a_partial_are_not_part_of_the_tool() -> None:
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


def test_positional_only_and_keyword_only_parameters_are_passed() -> None:
    def do(a: int, b: int = 2, /, c: int = 3, *, d: int, e: int = 5) -> List[int]:
        return [a, b, c, d, e]

    assert Tool(do).call({"a": 1, "d": 4}) == [1, 2, 3, 4, 5]
    assert Tool(do).call({"a": 1, "b": 7, "c": 8, "d": 4, "e": 9}) == [1, 7, 8, 4, 9]


def test_context_parameter_is_passed_and_not_in_the_schema() -> None:
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


def test_annotations_without_a_schema_are_type_errors() -> None:
    def unresolvable(city: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    def unknown(thing: complex) -> None: ...

    with pytest.raises(TypeError, match=r"unresolvable\(\): the annotation of 'city' cannot be resolved: .*Nowhere"):
        _ = Tool(unresolvable).definition
    with pytest.raises(TypeError, match=r"unknown\(\): a parameter has no JSON schema"):
        _ = Tool(unknown).definition
