"""
Structured output: a class or a schema becomes a ``response_format``, and the answer's text an instance of it.

Strategy: models keep to a format nearly always, so what does not fit must be told in a way that can be sent back to
them: every fault with its path, in JSON's words.
"""

from __future__ import annotations

import re
import typing
from collections.abc import Iterable, Mapping
from typing import Any, Callable, Optional, TypeVar, Union, overload

from anyllm._hints.extras import pip_install
from anyllm.errors import AnyLLMError
from anyllm.json_stream import JSONStream, JSONStreamError
from anyllm.json_stream import repair as _repaired
from anyllm.structured._schema import schema_of, strict
from anyllm.structured._structure_json import has_fields, structure_json
from anyllm.structured._validation_errors import KINDS, Fault, expected, json_path, or_list, shortened
from anyllm.types import ChatCompletion
from anyllm.types._completions import cause_of_no_answer

__all__ = ["Fault", "StructuredOutputError", "parse", "response_format"]

T = TypeVar("T")

#: The types that a JSON schema may have; a response_format's are others.
_SCHEMA_TYPES = {"object", "array", "string", "number", "integer", "boolean", "null"}
#: Source: https://platform.openai.com/docs/api-reference/chat/create#chat_create-response_format
_LONGEST_NAME = 64


class StructuredOutputError(AnyLLMError):
    """
    The answer is not what was asked for: not JSON, cut off, or not of the right shape.

    Attributes:
        text: The answer.
        errors: All faults, as `Fault`; for text that is no JSON, one at ``$``.
        path: Where the first of them is.
        position: Characters from the start of *text* to where it stops being JSON; None if it is JSON.
        is_truncated: Whether *text* is JSON as far as it goes, and ended too early.
    """

    def __init__(
        self,
        message: str = "",
        *,
        text: str = "",
        errors: Iterable[Fault] = (),
        position: int | None = None,
        is_truncated: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(message, **kwargs)
        self.text = text
        self.errors = tuple(errors)
        self.path = self.errors[0].path if self.errors else "$"
        self.position = position
        self.is_truncated = is_truncated

    def _facts(self) -> list[str]:
        return [f"and {len(self.errors) - 1} more"] if len(self.errors) > 1 else []


# -- asking ------------------------------------------------------------------------------------------------------------


def response_format(of: Any) -> dict[str, Any]:
    """
    What to give as `CompletionParams.response_format`, in OpenAI's shape; each dialect makes its host's of it.

    Args:
        of: An attrs class or a dataclass; a JSON schema; or a response_format, which is given back as it is.

    A class becomes a schema in OpenAI's strict form, where fields with a default are required but may be null, which
    `parse` takes for the default. If it has no such form (a field is a dict, or may be anything), and for a schema that
    is not in that form, the format says ``"strict": False``. A schema of the caller's is never changed.

    Raises:
        TypeError: *of* is something else, or a field's type cannot be written as a schema.
    """
    if isinstance(of, Mapping):
        return dict(of) if _is_response_format(of) else _format(str(of.get("title") or "answer"), dict(of))
    cls = _class(of)
    schema = schema_of(cls)
    try:
        schema = strict(schema)
    except ValueError:
        pass
    return _format(getattr(cls, "__name__", "") or str(cls), schema)


def _format(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    name = re.sub("[^a-zA-Z0-9_-]+", "_", name).strip("_")[:_LONGEST_NAME] or "answer"
    named = {"name": name, "schema": schema, "strict": _is_strict(schema)}
    return {"type": "json_schema", "json_schema": named}


def _is_strict(schema: dict[str, Any]) -> bool:
    try:
        return schema.get("type") == "object" and strict(schema) == schema
    except ValueError:
        return False


def _is_response_format(of: Mapping[str, Any]) -> bool:
    kind = of.get("type")
    return isinstance(kind, str) and kind not in _SCHEMA_TYPES


def _class(of: Any) -> Any:
    plain = typing.get_origin(of) or of
    if isinstance(plain, type) and has_fields(plain):
        return of
    raise TypeError(f"expected an attrs class, a dataclass, a JSON schema or a response_format, not {of!r:.80}")


# -- reading -----------------------------------------------------------------------------------------------------------


@overload
def parse(text: Union[str, ChatCompletion], of: type[T], *, repair: bool = False) -> T: ...


@overload
def parse(text: Union[str, ChatCompletion], of: Optional[Mapping[str, Any]] = None, *, repair: bool = False) -> Any: ...


def parse(text: Union[str, ChatCompletion], of: Any = None, *, repair: bool = False) -> Any:
    """
    The value of an answer's text.

    Args:
        text: A JSON document, alone or in a Markdown code fence. What follows it is ignored, and what a model says
            before a fence too. Of a whole answer, the error also says if a refusal, a filter or the token limit is why.
        of: What it must be, as for `response_format`; None for any JSON. A schema needs the extra "jsonschema".
        repair: Whether to close a document that was cut off, as `json_stream.repair` does, and take what is there.

    Returns:
        An instance of the class, or plain dicts and lists.

    Raises:
        StructuredOutputError: the text is not JSON, or not of that shape; it names every fault and its path.
        TypeError, ValueError: *of* is nothing that can be asked for.
        ImportError: *of* is a schema, and jsonschema is not installed.
    """
    check = _checker(of)
    cause = None
    if isinstance(text, ChatCompletion):
        cause = cause_of_no_answer(text)
        text = text.content
    value = _read(text, repair, cause)
    try:
        value, faults = check(value)
    except RecursionError as exc:
        raise StructuredOutputError("nested too deeply", text=text, errors=[Fault("$", "nested too deeply")]) from exc
    if faults:
        raise StructuredOutputError(str(faults[0]), text=text, errors=faults)
    return value


def _read(text: str, repair: bool, cause: Optional[str]) -> Any:
    before, document = _document(text)
    try:
        if repair:
            return _repaired(document)[0]
        stream = JSONStream()
        stream.feed(document)
        return stream.finish()
    except JSONStreamError as exc:
        where = before + exc.position
        why = _why_no_json(text, exc, where)
        why = why if cause is None else f"{cause}: {why}"
        raise StructuredOutputError(
            why, text=text, errors=[Fault("$", why)], position=where, is_truncated=exc.is_truncated
        ) from exc


def _why_no_json(text: str, exc: JSONStreamError, where: int) -> str:
    if not text.strip():
        return "the text is empty"
    if exc.is_truncated:
        return f"{exc.reason} at character {where}"
    if not text[:where].strip():  # words, whose first letter may be that of a literal
        return f"not JSON: expected a value at character {where}, not {shortened(text[where:].strip())!r}"
    return f"not JSON: {exc.reason} at character {where}"


def _document(text: str) -> tuple[int, str]:
    """The part of *text* where the document begins, and what comes before it: nothing, or words before a fence."""
    fence = re.search("^[ \t\ufeff]*```", text, re.MULTILINE)
    if fence is None or re.match('[\\s\ufeff]*[\\[{"]', text):
        return 0, text
    return fence.start(), text[fence.start() :]


# -- checking ----------------------------------------------------------------------------------------------------------

_Checker = Callable[[Any], "tuple[Any, list[Fault]]"]


def _checker(of: Any) -> _Checker:
    if of is None:
        return lambda value: (value, [])
    if not isinstance(of, Mapping):
        cls = _class(of)
        return lambda value: structure_json(value, cls)
    if not _is_response_format(of):
        return _schema_checker(of)
    if of.get("type") == "json_object":
        return lambda value: (value, [] if isinstance(value, dict) else [Fault("$", expected("an object", value))])
    inner = of.get("json_schema")
    schema = inner.get("schema") if isinstance(inner, Mapping) else None
    if of.get("type") != "json_schema" or not isinstance(schema, Mapping):
        raise ValueError(f"no schema is known of the response_format {dict(of)!r:.80}")
    return _schema_checker(schema)


def _schema_checker(schema: Mapping[str, Any]) -> _Checker:
    try:
        import jsonschema
        from jsonschema.validators import validator_for
        from referencing import Registry
        from referencing.exceptions import Unresolvable
    except ImportError as exc:
        raise ImportError(
            f"a JSON schema is checked by jsonschema: {pip_install('jsonschema')}", name=exc.name
        ) from exc
    kind: Any = validator_for(schema, default=jsonschema.Draft202012Validator)
    try:
        kind.check_schema(schema)
    except jsonschema.SchemaError as exc:
        raise ValueError(f"not a JSON schema: {exc.message} at {exc.json_path}") from exc
    validator = kind(schema, registry=Registry())  # an empty one: what a schema refers to is never fetched

    def check(value: Any) -> tuple[Any, list[Fault]]:
        try:
            return value, [_fault(error) for error in validator.iter_errors(value)]
        except Unresolvable as exc:
            raise ValueError(f"the schema refers to what it does not have: {exc}") from exc

    return check


def _fault(error: Any) -> Fault:
    from jsonschema.exceptions import best_match

    error = best_match([error])  # of an anyOf, what is wrong with the branch that was meant
    words = error.message
    if error.validator == "type":
        kinds = [error.validator_value] if isinstance(error.validator_value, str) else error.validator_value
        words = expected(or_list(KINDS.get(kind, kind) for kind in kinds), error.instance)
    return Fault(json_path(error.absolute_path), shortened(words))
