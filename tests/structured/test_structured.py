"""Structured output: response formats of classes and schemas, and reading answers into them."""

from __future__ import annotations

import copy
import dataclasses
import datetime
import decimal
import enum
import json
import subprocess
import sys
import typing
import uuid
from typing import Annotated, Any, Dict, FrozenSet, Generic, List, Literal, Optional, Tuple, TypedDict, TypeVar, Union

import attrs
import msgspec
import pytest

from anyllm import Client
from anyllm.providers.table import lookup
from anyllm.structured import Fault, StructuredOutputError, parse, response_format
from anyllm.structured._schema import schema_of, strict
from anyllm.testing import fake
from anyllm.types import ChatCompletion, Choice, CompletionParams, Message

T = TypeVar("T")


class Color(str, enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


@attrs.define
class Item:
    name: str
    price: float
    color: Color = Color.RED
    tags: List[str] = attrs.field(factory=list)
    note: Optional[str] = None


@attrs.define
class Order:
    """What was ordered."""

    items: List[Item]
    kind: Literal["new", "used"]
    level: Level = Level.LOW
    count: Annotated[int, msgspec.Meta(ge=0)] = 1
    first: Optional[Item] = None
    parent: Optional[Order] = None


@dataclasses.dataclass
class Everything:
    items: Dict[str, Item]
    anything: Any = None
    pair: Tuple[int, str] = (0, "")
    many: Tuple[int, ...] = ()
    words: FrozenSet[str] = frozenset()
    either: Union[int, str, Item, None] = None
    few: Annotated[List[int], msgspec.Meta(max_length=2)] = dataclasses.field(default_factory=list)
    when: Optional[datetime.datetime] = None
    further: List["Everything"] = dataclasses.field(default_factory=list)  # noqa: UP037


class Spot(TypedDict):
    at: List[int]


@attrs.define
class Others:
    id: uuid.UUID
    data: bytes
    amount: decimal.Decimal
    spot: Spot
    user: typing.NewType("User", int)  # type: ignore[valid-type]
    marked: Annotated[int, msgspec.Meta(examples=[1], extra_json_schema={"x": [1]})]
    bare: list  # type: ignore[type-arg]


@attrs.define
class Page(Generic[T]):
    found: List[T]


@attrs.define
class Checked:
    even: int = attrs.field()
    word: str = attrs.field(converter=str.upper)
    size: int = attrs.field(converter=int, default=0)

    @even.validator
    def _is_even(self, _attribute: Any, value: int) -> None:
        if value % 2:
            raise ValueError(f"{value} is odd")


SCHEMA: Dict[str, Any] = {
    "title": "Some place",
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "size": {"type": ["integer", "null"]},
        "spots": {"type": "array", "items": {"anyOf": [{"type": "number"}, {"enum": ["none"]}]}},
    },
    "required": ["city"],
}
ITEM = {"name": "x", "price": 3.5, "color": "blue", "tags": ["a"], "note": None}


def faults(value: Any, of: Any) -> List[str]:
    text = value if isinstance(value, str) else json.dumps(value)
    with pytest.raises(StructuredOutputError) as caught:
        parse(text, of)
    assert caught.value.text == text
    assert caught.value.path == caught.value.errors[0].path
    return [str(fault) for fault in caught.value.errors]


# -- requests ----------------------------------------------------------------------------------------------------------


def test_response_format_of_a_class_is_strict() -> None:
    made = response_format(Order)
    assert made == {
        "type": "json_schema",
        "json_schema": {"name": "Order", "schema": strict(schema_of(Order)), "strict": True},
    }
    assert made["json_schema"]["schema"]["description"] == "What was ordered."


def test_response_format_of_a_class_with_a_dict_is_not_strict() -> None:
    """In the strict form its dict would have to be empty."""
    inner = response_format(Everything)["json_schema"]
    assert inner["strict"] is False
    assert inner["schema"] == schema_of(Everything)


def test_response_format_of_a_schema_does_not_change_it() -> None:
    before = copy.deepcopy(SCHEMA)
    inner = response_format(SCHEMA)["json_schema"]
    assert inner == {"name": "Some_place", "schema": before, "strict": False}
    assert before == SCHEMA
    assert response_format(strict(SCHEMA))["json_schema"]["strict"] is True
    assert response_format({"enum": [1]})["json_schema"] == {"name": "answer", "schema": {"enum": [1]}, "strict": False}


@pytest.mark.parametrize(
    "format", [{"type": "json_object"}, {"type": "text"}, {"type": "regex", "regex": {}}, response_format(SCHEMA)]
)
def test_a_response_format_passes_through(format: Any) -> None:
    assert response_format(format) == format


@pytest.mark.parametrize("title", ["Ünïcode näme!", "x" * 100, "a[b]", "  ", "日本"])
def test_schema_names_follow_openais_rules(title: str) -> None:
    name = response_format({**SCHEMA, "title": title})["json_schema"]["name"]
    assert 1 <= len(name) <= 64
    assert name.replace("_", "a").replace("-", "a").isalnum()
    assert name.isascii()


@pytest.mark.parametrize("of", [3, "Order", int, List[Order], Item("x", 1), Color, None])
def test_response_format_refuses_other_types(of: Any) -> None:
    with pytest.raises(TypeError, match="expected an attrs class, a dataclass, a JSON schema"):
        response_format(of)


@pytest.mark.parametrize("of", [Order, Everything, SCHEMA], ids=["attrs", "dataclass", "schema"])
def test_every_wire_format_with_schemas_sends_the_whole_schema(of: Any) -> None:
    sent = 0
    for row in lookup.ROWS:
        if row.name == "bedrock_invoke" or "json_schema" not in row.dialect.support.formats:
            continue
        model = "us.anthropic.claude-haiku-4-5" if row.name == "bedrock" else "m"
        format = response_format(of)
        params = CompletionParams(model, [Message.user("Hi")], response_format=format)
        body = json.loads(row.dialect.request(params, model=model, stream=True).body)
        assert contains(body, format["json_schema"]["schema"]), row.name
        sent += 1
    assert sent > 20


def contains(value: Any, part: Any) -> bool:
    if isinstance(value, str) and value.startswith("{"):  # Bedrock has it as text
        value = json.loads(value)
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return value == part or any(contains(item, part) for item in inner)


# -- text of answers ---------------------------------------------------------------------------------------------------


FENCED = [
    '{"a": "```"}',
    ' \n{"a": "```"}\n',
    '```json\n{"a": "```"}\n```',
    '```json {"a": "```"} ```',
    '```\n{"a":\n"```"}\n  ```\nThat is all.',
    'Here you are:\n\n```json\n{"a": "```"}\n```\n',
    'So:\n\n```JSON\n{"a": "```"}\n```\n\n```\nmore\n```',
]
#: get_json() does not accept these.
ODD = ['\ufeff```\n{"a": "```"}\n```\nThat is all.', '{"a": "```"}\n\nNote: ```json is how I would fence it.']


@pytest.mark.parametrize("text", [*FENCED, *ODD])
def test_json_is_found_in_fences_and_prose(text: str) -> None:
    assert parse(text) == parse(text, repair=True) == {"a": "```"}
    if text in FENCED:
        assert answer(text, "stop").get_json() == {"a": "```"}


@pytest.mark.parametrize("text", ["12", '"x"', "null", "true", '"```"', "[]"])
def test_parse_without_a_type_accepts_any_json(text: str) -> None:
    assert parse(text) == json.loads(text)


@pytest.mark.parametrize(
    ("text", "message", "position", "is_truncated"),
    [
        ("Sorry, I cannot.", "not JSON: expected a value at character 0, not 'Sorry, I cannot.'", 0, False),
        ("I cannot.", "not JSON: expected a value at character 0, not 'I cannot.'", 0, False),
        ("not now", "not JSON: expected a value at character 0, not 'not now'", 0, False),
        ('{"a": 1,}', "not JSON: expected a key at character 8", 8, False),
        ('{"a": [1, 2', "the document is cut off: the number may go on at character 11", 11, True),
        ("", "the text is empty", 0, True),
        ("```json\n", "the document is cut off: no value has begun at character 8", 8, True),
        ("So:\n```json\n[1 2]\n```", "not JSON: expected ',' or ']' at character 15", 15, False),
    ],
)
def test_text_that_is_not_json_is_refused_with_its_position(
    text: str, message: str, position: int, is_truncated: bool
) -> None:
    for of in (None, Order):
        with pytest.raises(StructuredOutputError) as caught:
            parse(text, of)
        error = caught.value
        assert str(error) == message
        assert (error.text, error.path, error.position, error.is_truncated) == (text, "$", position, is_truncated)
        assert isinstance(error.__cause__, ValueError)


def answer(text: Optional[str], finish_reason: str, **more: Any) -> ChatCompletion:
    message = Message(role="assistant", content=text, **more)
    return ChatCompletion(choices=[Choice(index=0, message=message, finish_reason=finish_reason)])


@pytest.mark.parametrize(
    ("completion", "cause"),
    [
        (answer('{"a": 1, "b', "length"), "the token limit ended the answer: the document is cut off: the key is not"),
        (
            answer('```json\n{"a": [1', "length"),
            "the token limit ended the answer: the document is cut off: the number",
        ),
        (answer(None, "length"), "the token limit was spent before any text came: the text is empty"),
        (answer("", "content_filter"), "a content filter ended the answer: the text is empty"),
        (answer(None, "stop", refusal="I will not."), r"the model refused \(I will not\.\): the text is empty"),
        (answer("I will not.", "stop"), "not JSON: expected a value at character 0, not 'I will not.'"),
    ],
)
def test_error_names_the_refusal_filter_or_token_limit_of_an_answer(completion: ChatCompletion, cause: str) -> None:
    """All of these were reported as "cut off", which suggests a network failure."""
    with pytest.raises(StructuredOutputError, match=f"^{cause}"):
        parse(completion, Order)
    with pytest.raises(StructuredOutputError, match=cause):
        Client("m", provider=fake(completion)).chat_stream("Hi", response_format=Order).collect()
    if "not JSON" not in cause:
        with pytest.raises(ValueError, match=f"^{cause.partition(':')[0]}: "):
            completion.get_json()


def test_whole_document_is_accepted_whatever_the_finish_reason() -> None:
    for text in ('{"a": 1}', '```json\n{"a": 1}\n```', 'Here:\n```json\n{"a": 1}'):
        assert parse(answer(text, "length")) == answer(text, "length").get_json() == {"a": 1}


def test_repair_closes_a_truncated_document() -> None:
    text = '```json\n{"items": [{"name": "x", "price": 1.5, "note": "half a se'
    with pytest.raises(StructuredOutputError):
        parse(text)
    assert parse(text, repair=True) == {"items": [{"name": "x", "price": 1.5, "note": "half a se"}]}
    with pytest.raises(StructuredOutputError, match=r"^\$\.kind: missing$"):
        parse(text, Order, repair=True)
    whole = parse('{"kind": "new", "items": [{"name": "x", "price": 1.5, "note": "ha', Order, repair=True)
    assert whole == Order([Item("x", 1.5, note="ha")], "new")
    with pytest.raises(StructuredOutputError, match="expected ',' or ']'"):
        parse("[1 2", repair=True)


def test_deep_nesting_is_an_error() -> None:
    deep = '{"items": [], "kind": "new", "parent": ' * 5_000 + "null" + "}" * 5_000
    with pytest.raises(StructuredOutputError, match="nested too deeply"):
        parse(deep, Order)
    assert list(parse(deep)) == ["items", "kind", "parent"]


# -- classes -----------------------------------------------------------------------------------------------------------


def test_nested_classes_are_built() -> None:
    inner = {"items": [], "kind": "used"}
    value = {"items": [ITEM], "kind": "new", "level": 2, "count": 3, "first": ITEM, "parent": inner}
    item = Item("x", 3.5, Color.BLUE, ["a"])
    found = parse(json.dumps(value), Order)
    assert found == Order([item], "new", Level.HIGH, 3, item, Order([], "used"))
    assert type(found.items[0]) is Item
    assert found.items[0].color is Color.BLUE


def test_every_type_of_field_is_read() -> None:
    value = {
        "items": {"a b": ITEM},
        "anything": {"x": [1, None]},
        "pair": [1, "b"],
        "many": [1, 2],
        "words": ["a", "a"],
        "either": {"name": "x", "price": 1},
        "few": [1],
        "when": "2024-05-01T12:00:00Z",
        "further": [{"items": {}}],
    }
    assert parse(json.dumps(value), Everything) == Everything(
        {"a b": Item("x", 3.5, Color.BLUE, ["a"])},
        {"x": [1, None]},
        (1, "b"),
        (1, 2),
        frozenset("a"),
        Item("x", 1.0),
        [1],
        datetime.datetime(2024, 5, 1, 12, tzinfo=datetime.timezone.utc),
        [Everything({})],
    )
    for either in (1, "1", None):
        assert parse(json.dumps({"items": {}, "either": either}), Everything).either == either


def test_null_stands_for_a_default() -> None:
    value = {"items": [{**ITEM, "color": None, "tags": None}], "kind": "new", "level": None, "count": None}
    assert parse(json.dumps(value), Order) == Order([Item("x", 3.5)], "new")
    assert faults({"items": None, "kind": None}, Order) == [
        "$.items: expected a list, got null",
        '$.kind: expected one of "new", "used", got null',
    ]


class Optionals(TypedDict, total=False):
    q: int


def test_null_stands_for_a_key_that_may_be_missing() -> None:
    holder = dataclasses.make_dataclass("Holder", [("inner", Optionals)])
    assert parse('{"inner": {"q": null}}', holder) == holder({})


def test_integers_are_numbers_and_floats_are_not_integers() -> None:
    price = parse(json.dumps({**ITEM, "price": 3}), Item).price
    assert (price, type(price)) == (3.0, float)
    assert faults({"items": [], "kind": "new", "count": 1.0}, Order) == ["$.count: expected an integer, got a number"]


def test_every_fault_is_listed_with_its_path() -> None:
    items: List[Any] = [
        ITEM,
        {"name": 1, "price": "3.5", "color": "green", "tags": "abc", "note": []},
        7,
        {"price": True},
    ]
    value = {
        "items": items,
        "kind": "old",
        "level": True,
        "count": -1,
        "first": [],
        "parent": {"items": [{**ITEM, "prise": 1}], "kind": "new"},
    }
    assert faults(value, Order) == [
        "$.items[1].name: expected a string, got an integer",
        "$.items[1].price: expected a number, got a string",
        '$.items[1].color: expected one of "red", "blue", got "green"',
        "$.items[1].tags: expected a list, got a string",
        "$.items[1].note: expected a string, got a list",
        "$.items[2]: expected an object, got an integer",
        "$.items[3].name: missing",
        "$.items[3].price: expected a number, got a boolean",
        '$.kind: expected one of "new", "used", got "old"',
        "$.level: expected one of 1, 2, got true",
        "$.count: expected an integer >= 0",
        "$.first: expected an object, got a list",
        "$.parent.items[0].prise: unknown key; did you mean 'price'?",
    ]


def test_message_is_the_first_fault_and_the_number_of_others() -> None:
    with pytest.raises(StructuredOutputError) as caught:
        parse(json.dumps({"items": [ITEM, ITEM, {**ITEM, "price": "x"}], "kind": 1}), Order)
    assert str(caught.value) == "$.items[2].price: expected a number, got a string (and 1 more)"
    assert caught.value.errors[0] == Fault("$.items[2].price", "expected a number, got a string")
    assert caught.value.position is None


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"items": {"a b": {**ITEM, "price": None}}}, '$.items["a b"].price: expected a number, got null'),
        ({"items": []}, "$.items: expected an object, got a list"),
        ({"pair": [1]}, "$.pair: expected a list of 2, got one of 1"),
        ({"pair": [1, 2]}, "$.pair[1]: expected a string, got an integer"),
        ({"many": [1, "2"]}, "$.many[1]: expected an integer, got a string"),
        ({"words": [[]]}, "$.words[0]: expected a string, got a list"),
        ({"few": [1, 2, 3]}, "$.few: expected a list of length <= 2"),
        ({"when": "yesterday"}, "$.when: invalid RFC3339 encoded datetime"),
        ({"when": []}, "$.when: expected datetime, got a list"),
        ({"either": []}, "$.either: expected an integer, a string, an object or null, got a list"),
        ({"either": {**ITEM, "price": "x"}}, "$.either.price: expected a number, got a string"),
        ({"further": [{"items": {}}, {"items": 1}]}, "$.further[1].items: expected an object, got an integer"),
        ({"more": 1}, "$.more: unknown key"),
        ({"pear": 1}, "$.pear: unknown key; did you mean 'pair'?"),
    ],
)
def test_faults_of_every_type_of_field(change: Any, fault: str) -> None:
    assert faults({"items": {}, **change}, Everything) == [fault]


@pytest.mark.parametrize(
    ("text", "got"), [("[]", "a list"), ("null", "null"), ('"x"', "a string"), ("1", "an integer")]
)
def test_a_class_is_read_from_objects_only(text: str, got: str) -> None:
    assert faults(text, Order) == [f"$: expected an object, got {got}"]


def test_types_without_a_json_type_are_read_from_the_schemas_form() -> None:
    good = {"id": "12345678123456781234567812345678", "data": "aGk=", "amount": "1.50", "spot": {"at": [1]}}
    value = {**good, "user": 1, "marked": 2, "bare": [1]}
    assert parse(json.dumps(value), Others) == Others(
        uuid.UUID(good["id"]), b"hi", decimal.Decimal("1.50"), {"at": [1]}, 1, 2, [1]
    )
    assert set(response_format(Others)["json_schema"]["schema"]["properties"]) == set(value)
    wrong = {"id": "x", "data": 1, "amount": [], "spot": {"at": [1, "2"]}, "user": "1", "marked": "2", "bare": {}}
    assert faults(wrong, Others) == [
        "$.id: invalid UUID",
        "$.data: expected bytes, got an integer",
        "$.amount: expected decimal, got a list",
        "$.spot.at[1]: expected an integer, got a string",
        "$.user: expected an integer, got a string",
        "$.marked: expected an integer, got a string",
        "$.bare: expected a list, got an object",
    ]


def test_generic_classes_are_read() -> None:
    found: Any = parse(json.dumps({"found": [ITEM]}), Page[Item])
    assert found == Page([Item("x", 3.5, Color.BLUE, ["a"])])
    assert faults({"found": [{**ITEM, "name": 1}]}, Page[Item]) == [
        "$.found[0].name: expected a string, got an integer"
    ]
    assert response_format(Page[Item])["json_schema"]["strict"] is True

    @attrs.define
    class Items(Page[Item]):
        more: bool = False

    assert parse(json.dumps({"found": [ITEM]}), Items).found == found.found


def test_validators_and_converters_of_a_class_are_called() -> None:
    assert parse('{"even": 2, "word": "a", "size": "7"}', Checked) == Checked(2, "A", 7)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"even": 3}, "$: 3 is odd"),
        ({"word": 3}, "$.word: expected a string, got an integer"),
        ({"size": "x"}, "$.size: expected an integer, got a string"),
    ],
)
def test_errors_of_validators_and_converters_are_faults(change: Any, fault: str) -> None:
    assert faults({"even": 2, "word": "a", **change}, Checked) == [fault]


def test_fields_with_init_false_are_not_expected() -> None:
    @attrs.define
    class Sum:
        a: int
        _b: int
        total: int = attrs.field(init=False)

        def __attrs_post_init__(self) -> None:
            self.total = self.a + self._b

    assert parse('{"a": 1, "_b": 2}', Sum).total == 3
    assert faults({"a": 1, "_b": 2, "total": 4}, Sum) == ["$.total: unknown key"]


def test_a_union_of_classes_is_the_first_that_matches() -> None:
    """msgspec has no schema for it, but `parse` reads it."""
    either = dataclasses.make_dataclass("Either", [("it", Union[Item, Checked])])
    assert parse('{"it": {"even": 2, "word": "a"}}', either).it == Checked(2, "A")
    assert faults({"it": 1}, either) == ["$.it: expected an object, got an integer"]


def test_keys_of_dicts_are_converted() -> None:
    by_level = dataclasses.make_dataclass("ByLevel", [("names", Dict[Level, str]), ("sizes", Dict[int, int])])
    made = parse('{"names": {"1": "low"}, "sizes": {"7": 1}}', by_level)
    assert (made.names, made.sizes) == ({Level.LOW: "low"}, {7: 1})
    assert faults({"names": {"3": "x"}, "sizes": {"y": 1}}, by_level) == [
        '$.names["3"]: invalid enum value 3',
        "$.sizes.y: expected an integer, got a string",
    ]


def test_limits_of_unions_and_containers_are_checked() -> None:
    @attrs.define
    class Limited:
        days: Annotated[Optional[int], msgspec.Meta(ge=1)] = None
        either: Annotated[Union[int, str, None], msgspec.Meta(max_length=2)] = None
        pairs: Annotated[Dict[str, int], msgspec.Meta(min_length=1)] = attrs.field(factory=lambda: {"a": 1})

    assert parse('{"days": 1, "either": "ab"}', Limited) == Limited(1, "ab")
    assert parse('{"days": null, "either": 9}', Limited) == Limited(None, 9)
    assert faults({"days": 0, "either": "abc", "pairs": {}}, Limited) == [
        "$.days: expected an integer >= 1",
        "$.either: expected a string of length <= 2",
        "$.pairs: expected an object of length >= 1",
    ]


def test_a_generic_class_may_have_an_annotated_argument() -> None:
    counts = Page[Annotated[int, msgspec.Meta(ge=0, extra_json_schema={"x": [1]})]]
    assert parse('{"found": [1]}', counts) == Page([1])
    assert faults({"found": [-1]}, counts) == ["$.found[0]: expected an integer >= 0"]


def test_an_unresolvable_annotation_is_a_name_error() -> None:
    @attrs.define
    class Unknown:
        what: NotDefined  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(NameError):
        parse('{"what": 1}', Unknown)


def test_parse_accepts_what_the_schema_accepts() -> None:
    """msgspec writes the schema, and our own code reads the class."""
    jsonschema = pytest.importorskip("jsonschema")
    nothing = {"items": [], "kind": "new", "level": None, "count": None, "first": None, "parent": None}
    full = {"items": [ITEM], "kind": "used", "level": 2, "count": 0, "first": ITEM, "parent": nothing}
    schema = response_format(Order)["json_schema"]["schema"]
    for value in (nothing, full):
        jsonschema.validate(value, schema)
        assert isinstance(parse(json.dumps(value), Order), Order)
    assert set(full) == set(schema["required"])


# -- checks of schemas -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("of", [SCHEMA, response_format(SCHEMA)], ids=["schema", "response_format"])
def test_a_schema_is_checked(of: Any) -> None:
    pytest.importorskip("jsonschema")
    good = {"city": "Paris", "size": None, "spots": [1, "none"], "more": 1}
    assert parse(json.dumps(good), of) == good
    assert sorted(faults({"size": "big", "spots": [1, "some", []]}, of)) == [
        "$.size: expected an integer or null, got a string",
        "$.spots[1]: 'some' is not valid under any of the given schemas",
        "$.spots[2]: [] is not valid under any of the given schemas",
        "$: 'city' is a required property",
    ]
    assert faults([], of) == ["$: expected an object, got a list"]


def test_null_is_no_default_in_a_schema() -> None:
    pytest.importorskip("jsonschema")
    assert faults({"city": None}, SCHEMA) == ["$.city: expected a string, got null"]


def test_fault_in_anyof_is_that_of_the_best_matching_option() -> None:
    pytest.importorskip("jsonschema")
    inner = {"type": "object", "properties": {"a": {"type": "integer"}}}
    of = {"type": "object", "properties": {"p": {"anyOf": [inner, {"type": "null"}]}}}
    assert faults({"p": {"a": "x"}}, of) == ["$.p.a: expected an integer, got a string"]


def test_json_object_accepts_any_object() -> None:
    assert parse('{"a": 1}', {"type": "json_object"}) == {"a": 1}
    assert faults("[1]", {"type": "json_object"}) == ["$: expected an object, got a list"]


@pytest.mark.parametrize(
    ("of", "words"),
    [
        ({"type": "regex"}, "the response_format has no schema"),
        ({"properties": {"a": {"type": "text"}}}, r"not a JSON schema: .*\$\.properties\.a\.type"),
        ({"$ref": "http://127.0.0.1:9/schema.json"}, "unresolvable reference"),
    ],
)
def test_a_wrong_schema_is_a_value_error_and_no_reference_is_fetched(
    of: Any, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("jsonschema")
    requests: List[Any] = []
    monkeypatch.setattr("urllib.request.urlopen", lambda *args, **kwargs: requests.append(args))
    with pytest.raises(ValueError, match=words):
        parse("{}", of)
    assert not requests


def test_missing_jsonschema_is_an_import_error_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jsonschema", None)
    with pytest.raises(ImportError, match="pip install jsonschema"):
        parse("{}", SCHEMA)
    assert parse(json.dumps(ITEM), Item).name == "x"  # classes do not need it


# -- the error ---------------------------------------------------------------------------------------------------------


def test_error_message_is_one_short_line() -> None:
    with pytest.raises(StructuredOutputError) as caught:
        parse(json.dumps({"a\nb\u2028": 1, **ITEM, "color": "x\r\n" * 1000}), Item)
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 400
    assert caught.value.errors


def test_importing_loads_neither_cattrs_nor_jsonschema() -> None:
    code = (
        "import sys, anyllm; assert 'anyllm.structured' not in sys.modules\n"
        "import anyllm.structured; assert not {'cattrs', 'jsonschema', 'referencing'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
