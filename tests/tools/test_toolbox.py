"""Lists of tools for a request, and results as text."""

from __future__ import annotations

import datetime
import json
from typing import Any, Dict, List

import pytest
from tool_samples import Place, Range, Unit

from anyllm.tools import result_text, tool, tools_in


def weather(city: str) -> Dict[str, Any]:
    return {"city": city}


# -- results


def test_results_become_text() -> None:
    assert result_text("as it is: {}") == "as it is: {}"
    assert result_text(Unit.CELSIUS) == "C"
    assert result_text(None) == "null"
    assert result_text(["ä", 1.5, True]) == '["ä",1.5,true]'
    assert json.loads(result_text(Place(1, 2))) == {"lat": 1, "lon": 2}
    assert json.loads(result_text([Range(1)])) == [{"first": 1, "last": 9}]
    assert result_text({"when": datetime.date(2026, 1, 31)}) == '{"when":"2026-01-31"}'


def test_result_that_is_not_json_is_a_type_error_that_names_the_tool() -> None:
    endless: List[Any] = []
    endless.append(endless)
    for value in (object(), {"a": object()}, endless):
        with pytest.raises(TypeError, match="the result of weather cannot be written as JSON"):
            result_text(value, "weather")


# -- lists


def test_tools_functions_and_definitions_can_be_mixed() -> None:
    raw = {"type": "function", "function": {"name": "raw", "parameters": {}}}
    search = {"type": "web_search"}
    renamed = tool(name="other")(weather)
    definitions, by_name = tools_in([weather, renamed, raw, search])
    names = [definition.get("function", {}).get("name") for definition in definitions]
    assert names == ["weather", "other", "raw", None]
    assert set(by_name) == {"weather", "other"}
    assert by_name["other"] is renamed
    assert by_name["weather"].call({"city": "Graz"})["city"] == "Graz"


def test_duplicate_names_and_other_types_are_refused() -> None:
    raw = {"type": "function", "function": {"name": "weather", "parameters": {}}}
    for twice in ([weather, weather], [weather, raw], [raw, raw]):
        with pytest.raises(ValueError, match="two tools are called 'weather'"):
            tools_in(twice)
    with pytest.raises(TypeError, match="not int"):
        tools_in([3])
