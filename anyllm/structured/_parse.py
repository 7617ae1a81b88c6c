"""
Structured output: the ``response_format`` of a class or schema, and `parse`, which reads an answer into it.

Strategy: models nearly always keep to the format. For the rest, the error lists every fault with its path, in JSON's
terms, so that a program can send the message back to the model.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Callable, Optional, TypeVar, Union, overload

from anyllm._hints.extras import pip_install
from anyllm.errors import AnyLLMError
from anyllm.json_stream import JSONStream, JSONStreamError
from anyllm.json_stream import repair as close_document
from anyllm.structured._schema import schema_of, strict
from anyllm.structured._structure_json import structure_json
from anyllm.structured._type_hints import has_fields
from anyllm.structured._validation_errors import KINDS, Fault, expected, json_path, or_list, shortened
from anyllm.types import ChatCompletion
from anyllm.types._completions import cause_of_no_answer

T = TypeVar("T")

#: The types of a JSON schema. A response_format has other types.
_SCHEMA_TYPES = {"object", "array", "string", "number", "integer", "boolean", "null"}
#: Source: https://platform.openai.com/docs/api-reference/chat/create#chat_create-response_format
_MAX_NAME_LENGTH = 64


class StructuredOutputError(AnyLLMError):
    """
    The answer does not fit the requested format: it is not JSON, cut off, or of another shape.

    Attributes:
        text: The answer.
        errors: All faults, as `Fault`; for text that is not JSON, one at ``$``.
        path: The path of the first fault.
        position: Characters from the start of *text* to where it stops being JSON; None if it is JSON.
        is_truncated: Whether *text* is the beginning of a JSON document.
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


# -- requests ----------------------------------------------------------------------------------------------------------


def response_format(of: Any) -> dict[str, Any]:
    """
    The value for `CompletionParams.response_format`, in OpenAI's shape; each dialect translates it for its provider.

    A class becomes a schema in OpenAI's strict form: fields with a default are required but may be null, which `parse`
    reads as the default. A class without such a form (a field is a dict, or accepts anything) and a schema in another
    form get ``"strict": False``. The caller's schema is never changed.

    Args:
        of: An attrs class or a dataclass; a JSON schema; or a response_format, which is returned as it is.

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
    name = re.sub("[^a-zA-Z0-9_-]+", "_", name).strip("_")[:_MAX_NAME_LENGTH] or "answer"
    return {"type": "json_schema", "json_schema": {"name": name, "schema": schema, "strict": _is_strict(schema)}}


def _is_strict(schema: dict[str, Any]) -> bool:
    try:
        return schema.get("type") == "object" and strict(schema) == schema
    except ValueError:
        return False


def _is_response_format(of: Mapping[str, Any]) -> bool:
    kind = of.get("type")
    return isinstance(kind, str) and kind not in _SCHEMA_TYPES


def _class(of: Any) -> Any:
    if has_fields(of):
        return of
    raise TypeError(f"expected an attrs class, a dataclass, a JSON schema or a response_format, not {of!r:.80}")


# -- answers -----------------------------------------------------------------------------------------------------------


@overload
def parse(text: Union[str, ChatCompletion], of: type[T], *, repair: bool = False) -> T: ...


@overload
def parse(text: Union[str, ChatCompletion], of: Optional[Mapping[str, Any]] = None, *, repair: bool = False) -> Any: ...


def parse(text: Union[str, ChatCompletion], of: Any = None, *, repair: bool = False) -> Any:
    """
    Read an answer's text as JSON, and check its shape.

    Args:
        text: A JSON document, alone or in a Markdown code fence; text after it, or before the fence, is ignored. For a
            whole answer, the error also says whether a refusal, a filter or the token limit is the cause.
        of: The expected shape, as for `response_format`; None for any JSON. A schema needs the extra "jsonschema".
        repair: Whether to close a document that was cut off, as `json_stream.repair` does.

    Returns:
        An instance of the class, or plain dicts and lists.

    Raises:
        StructuredOutputError: the text is not JSON, or not of that shape; it lists every fault with its path.
        TypeError, ValueError: *of* has no schema.
        ImportError: *of* is a schema, and jsonschema is not installed.
    """
    check = _checker(of)
    cause = None
    if isinstance(text, ChatCompletion):
        cause = cause_of_no_answer(text)
        text = text.content
    value = _json_in(text, repair, cause)
    try:
        value, faults = check(value)
    except RecursionError as exc:
        raise StructuredOutputError("nested too deeply", text=text, errors=[Fault("$", "nested too deeply")]) from exc
    if faults:
        raise StructuredOutputError(str(faults[0]), text=text, errors=faults)
    return value


def _json_in(text: str, repair: bool, cause: Optional[str]) -> Any:
    start, document = _document(text)
    try:
        if repair:
            return close_document(document)[0]
        stream = JSONStream()
        stream.feed(document)
        return stream.finish()
    except JSONStreamError as exc:
        position = start + exc.position
        message = _message(text, exc, position)
        message = message if cause is None else f"{cause}: {message}"
        raise StructuredOutputError(
            message, text=text, errors=[Fault("$", message)], position=position, is_truncated=exc.is_truncated
        ) from exc


def _message(text: str, exc: JSONStreamError, position: int) -> str:
    if not text.strip():
        return "the text is empty"
    if exc.is_truncated:
        return f"{exc.reason} at character {position}"
    if not text[:position].strip():  # prose, which may begin with the letter of a literal
        return f"not JSON: expected a value at character {position}, not {shortened(text[position:].strip())!r}"
    return f"not JSON: {exc.reason} at character {position}"


def _document(text: str) -> tuple[int, str]:
    """Where the document or its fence begins, and the text from there on."""
    fence = re.search("^[ \t\ufeff]*```", text, re.MULTILINE)
    if fence is None or re.match('[\\s\ufeff]*[\\[{"]', text):
        return 0, text
    return fence.start(), text[fence.start() :]


# -- checks ------------------------------------------------------------------------------------------------------------

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
        raise ValueError(f"the response_format has no schema: {dict(of)!r:.80}")
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
    validator = kind(schema, registry=Registry())  # empty, so that no reference is fetched

    def check(value: Any) -> tuple[Any, list[Fault]]:
        try:
            return value, [_fault(error) for error in validator.iter_errors(value)]
        except Unresolvable as exc:
            raise ValueError(f"the schema has an unresolvable reference: {exc}") from exc

    return check


def _fault(error: Any) -> Fault:
    from jsonschema.exceptions import best_match

    error = best_match([error])  # for anyOf, the fault in the best matching option
    message = error.message
    if error.validator == "type":
        kinds = [error.validator_value] if isinstance(error.validator_value, str) else error.validator_value
        message = expected(or_list(KINDS.get(kind, kind) for kind in kinds), error.instance)
    return Fault(json_path(error.absolute_path), shortened(message))
