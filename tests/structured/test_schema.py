"""JSON schemas of types, and the strict form of schemas."""

from __future__ import annotations

import copy
import dataclasses
import enum
import json
from typing import Annotated, Any, Dict, List, Literal, Optional, Set, Tuple, TypedDict, Union

import attrs
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anyllm.structured import response_format
from anyllm.structured._schema import schema_of, strict


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


@attrs.define
class Item:
    """
    One thing on the bill.

    Attributes:
        price: In euro.
    """

    name: str
    price: Annotated[float, msgspec.Meta(description="In euro.", ge=0)]
    color: Color = Color.RED
    tags: List[str] = attrs.field(factory=list)
    total: float = attrs.field(init=False, default=0.0)


@dataclasses.dataclass
class Bill:
    items: List[Item]
    kind: Literal["paid", "open"]
    first: Optional[Item] = None
    made: bool = dataclasses.field(init=False, default=True)


@attrs.define
class Tree:
    value: int
    children: List[Tree] = attrs.field(factory=list)
    owner: Optional[Color] = None


@attrs.define
class Pairs:
    one: Item
    other: Item
    pair: Tuple[int, int] = (1, 2)


class Place(TypedDict):
    city: str
    limits: Dict[str, int]


@attrs.define
class Open:
    anything: Any
    pairs: Dict[str, int]


ITEM = {
    "title": "Item",
    "description": "One thing on the bill.\n\nAttributes:\n    price: In euro.",
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "price": {"description": "In euro.", "type": "number", "minimum": 0},
        "color": {"title": "Color", "enum": ["blue", "red"], "default": "red"},
        "tags": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["name", "price"],
}


def test_schema_of_a_class_has_its_fields_and_descriptions() -> None:
    """Fields that the constructor does not take are left out."""
    assert without_default(schema_of(Item), "tags") == ITEM


def without_default(schema: Dict[str, Any], field: str) -> Dict[str, Any]:
    """Versions of msgspec differ on whether an empty list is a default."""
    schema["properties"][field].pop("default", None)
    return schema


def test_references_are_replaced_by_their_schemas() -> None:
    schema = schema_of(Bill)
    assert "$ref" not in json.dumps(schema)
    assert "$defs" not in schema
    assert set(schema["properties"]) == {"items", "kind", "first"}
    assert without_default(schema["properties"]["items"]["items"], "tags") == ITEM
    assert schema["properties"]["first"]["anyOf"][1] == {"type": "null"}
    assert schema["properties"]["kind"] == {"enum": ["open", "paid"]}


def test_parts_of_a_schema_are_not_shared() -> None:
    """Changing one part changes no other."""
    schema = schema_of(Pairs)
    assert schema["properties"]["pair"]["default"] == [1, 2]
    schema["properties"]["one"]["properties"].clear()
    assert schema["properties"]["other"]["properties"]


def test_recursive_type_is_a_reference_but_not_at_the_top() -> None:
    schema = schema_of(Tree)
    assert schema["type"] == "object"
    assert schema["properties"]["children"]["items"] == {"$ref": "#/$defs/Tree"}
    assert list(schema["$defs"]) == ["Tree"]  # Color stands where it is used
    assert schema["$defs"]["Tree"]["properties"]["owner"]["anyOf"][0]["enum"] == ["blue", "red"]
    assert schema_of(List[Tree])["items"] == {"$ref": "#/$defs/Tree"}


@pytest.mark.parametrize(
    ("tp", "schema"),
    [
        (int, {"type": "integer"}),
        (Optional[str], {"anyOf": [{"type": "string"}, {"type": "null"}]}),
        (Union[int, str], {"anyOf": [{"type": "integer"}, {"type": "string"}]}),
        (Dict[str, float], {"type": "object", "additionalProperties": {"type": "number"}}),
        (Annotated[str, msgspec.Meta(max_length=3)], {"type": "string", "maxLength": 3}),
        (Any, {}),
    ],
)
def test_schemas_of_plain_types(tp: Any, schema: Any) -> None:
    assert schema_of(tp) == schema


def test_schema_of_a_typed_dict() -> None:
    schema = schema_of(Place)
    assert schema["properties"]["city"] == {"type": "string"}
    assert sorted(schema["required"]) == ["city", "limits"]


@pytest.mark.parametrize("tp", [complex, Union[Item, Tree]])
def test_type_without_a_schema_is_a_type_error(tp: Any) -> None:
    with pytest.raises(TypeError):
        schema_of(tp)


# -- the strict form ---------------------------------------------------------------------------------------------------


def objects_in(schema: Any) -> List[Dict[str, Any]]:
    if isinstance(schema, list):
        return [found for inner in schema for found in objects_in(inner)]
    if not isinstance(schema, dict):
        return []
    mine = [schema] if schema.get("type") == "object" else []
    return mine + [found for inner in schema.values() for found in objects_in(inner)]


@pytest.mark.parametrize("tp", [Item, Bill, Tree])
def test_strict_closes_objects_and_requires_all_properties(tp: Any) -> None:
    found = objects_in(strict(schema_of(tp)))
    assert found
    for schema in found:
        assert schema["additionalProperties"] is False
        assert schema["required"] == list(schema["properties"])


def test_strict_makes_optional_properties_nullable_without_default() -> None:
    made = strict(schema_of(Item))
    assert made["properties"]["name"] == {"type": "string"}
    assert made["properties"]["tags"] == {"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "null"}]}
    colors = {"title": "Color", "enum": ["blue", "red"], "type": "string"}
    assert made["properties"]["color"] == {"anyOf": [colors, {"type": "null"}]}
    assert strict(schema_of(Bill))["properties"]["first"]["anyOf"][1:] == [{"type": "null"}]  # once is enough
    assert "default" not in json.dumps(made)


def test_strict_accepts_properties_named_like_keywords() -> None:
    named = {"default": {"type": "string"}, "properties": {"type": "integer"}, "$ref": {"type": "null"}}
    schema = {"type": "object", "properties": named, "required": list(named)}
    assert strict(schema)["properties"] == named


@pytest.mark.parametrize(
    ("schema", "made"),
    [
        ({"type": ["string", "null"]}, {"type": ["string", "null"]}),
        ({"type": "null"}, {"type": "null"}),
        ({"enum": ["a", None]}, {"enum": ["a", None], "type": ["null", "string"]}),
        ({"enum": [1, 2], "type": "integer"}, {"anyOf": [{"enum": [1, 2], "type": "integer"}, {"type": "null"}]}),
        ({"const": 1}, {"anyOf": [{"const": 1}, {"type": "null"}]}),
        (
            {"anyOf": [{"type": "string"}, {"type": "integer"}], "description": "d"},
            {"anyOf": [{"type": "string"}, {"type": "integer"}, {"type": "null"}], "description": "d"},
        ),
        ({"$ref": "#/$defs/x"}, {"anyOf": [{"$ref": "#/$defs/x"}, {"type": "null"}]}),
    ],
)
def test_strict_makes_every_kind_of_optional_property_nullable(schema: Any, made: Any) -> None:
    assert strict({"type": "object", "properties": {"a": schema}})["properties"]["a"] == made


def test_strict_gives_a_reference_no_siblings() -> None:
    schema = {"type": "object", "properties": {"a": {"$ref": "#/$defs/x", "description": "d"}}, "required": ["a"]}
    assert strict(schema)["properties"]["a"] == {"anyOf": [{"$ref": "#/$defs/x"}], "description": "d"}


@pytest.mark.parametrize(
    ("schema", "where"),
    [
        ({"type": "object"}, r"^\$: "),
        (True, None),
        ({"type": "object", "properties": {"a": {"type": "object", "additionalProperties": True}}}, r"^\$\.a: "),
        ({"type": "object", "properties": {"a": {}}, "required": ["a"]}, r"^\$\.a: "),
        ({"type": "object", "properties": {"a": {"type": "array", "items": {"type": "object"}}}}, r"^\$\.a\[\]: "),
        ({"type": "object", "properties": {}, "additionalProperties": {"type": "string"}}, r"^\$: "),
        ({"type": "array", "items": {"description": "anything"}}, r"^\$\[\]: "),
    ],
)
def test_strict_refuses_schemas_that_it_would_change(schema: Any, where: Any) -> None:
    """A closed dict with arbitrary keys would have to be empty."""
    with pytest.raises((ValueError, TypeError), match=where):
        strict(schema)
    with pytest.raises(ValueError, match=r"^\$\.(anything|pairs)"):
        strict(schema_of(Open))


def test_strict_closes_an_open_object_with_properties() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": True}
    assert strict(schema)["additionalProperties"] is False


@attrs.define
class Shapes:
    at: Tuple[float, float]
    tags: Set[str]
    data: bytes


def test_the_strict_schema_has_only_keywords_that_openai_permits() -> None:
    form = response_format(Shapes)
    assert form["json_schema"]["strict"] is True
    assert not [word for word in ("prefixItems", "uniqueItems", "contentEncoding") if word in json.dumps(form)]


@pytest.mark.parametrize("tp", [Tuple[int, str], list])
def test_lists_that_have_no_strict_form(tp: Any) -> None:
    cls = attrs.make_class("Holder", {"items": attrs.field(type=tp)})
    with pytest.raises(ValueError, match="no strict form"):
        strict(schema_of(cls))
    assert response_format(cls)["json_schema"]["strict"] is False


SCHEMAS: Any = st.deferred(
    lambda: (
        st.sampled_from([{"type": "string"}, {"type": "integer", "default": 1}, {"enum": ["a", 1]}])
        | st.builds(lambda inner: {"type": "array", "items": inner}, SCHEMAS)
        | st.builds(lambda inner: {"anyOf": inner}, st.lists(SCHEMAS, min_size=1, max_size=2))
        | OBJECTS
    )
)
OBJECTS = st.builds(
    lambda fields, required: {"type": "object", "properties": fields, "required": [k for k in fields if k in required]},
    st.dictionaries(st.sampled_from("abc"), SCHEMAS, max_size=3),
    st.sets(st.sampled_from("abc")),
)


@settings(max_examples=60)
@given(OBJECTS)
def test_strict_is_idempotent_and_does_not_change_its_argument(schema: Any) -> None:
    before = copy.deepcopy(schema)
    made = strict(schema)
    again = copy.deepcopy(made)
    assert schema == before
    assert strict(made) == made == again


def test_strict_accepts_nothing_new_but_null() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    wide, narrow = schema_of(Bill), strict(schema_of(Bill))
    item = {"name": "x", "price": 1, "color": "red", "tags": ["a"]}
    good: Dict[str, Any] = {"items": [item], "kind": "paid", "first": None}
    jsonschema.validate(good, wide)
    jsonschema.validate(good, narrow)
    for wrong in ({**good, "kind": "x"}, {**good, "items": [{**item, "price": "1"}]}, {**good, "items": None}):
        for schema in (wide, narrow):
            with pytest.raises(jsonschema.ValidationError):
                jsonschema.validate(wrong, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"items": [], "kind": "paid"}, narrow)


def test_schema_of_a_tuple_has_a_schema_for_each_item() -> None:
    schema = schema_of(Tuple[int, Item])
    assert schema["prefixItems"][0] == {"type": "integer"}
    assert schema["prefixItems"][1]["title"] == "Item"
