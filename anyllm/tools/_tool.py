"""
Functions as tools: a typed function becomes what a model is told, and a model's call a call of the function.

Strategy: msgspec writes the schema of the parameters and reads the arguments, so that what the one says the other
takes. What msgspec does not do is run the converters of attrs classes: a class that has some is made by cattrs, as all
of our own are. Annotations are looked at on first use, because they may name what stands further down in the module.
"""

from __future__ import annotations

import enum
import functools
import inspect
import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Optional, TypeVar, Union, overload

import attrs
import msgspec

from anyllm._hints.arguments import did_you_mean
from anyllm.context import Context
from anyllm.errors import AnyLLMError
from anyllm.structured import _schema
from anyllm.tools._docstrings import first_paragraph, said_of_parameters
from anyllm.types import _convert

__all__ = ["Tool", "ToolArgumentsError", "result_text", "tool", "tools_in"]

F = TypeVar("F", bound=Callable[..., Any])

#: Source: https://platform.openai.com/docs/api-reference/chat/create#chat_create-tools
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_NONE = inspect.Parameter.empty
#: Characters of wrong arguments that are quoted.
_QUOTED = 200


class ToolArgumentsError(AnyLLMError, ValueError):
    """
    A tool was called with arguments that it does not take; the message names all that is wrong.

    Attributes:
        tool: The tool's name.
        path: Where the first fault is: ``$.place.lat``; ``$`` if the arguments are no JSON object.
    """

    def __init__(self, message: str = "", *, tool: str = "", path: str = "$", **kwargs: Any) -> None:
        super().__init__(message, **kwargs)
        self.tool = tool
        self.path = path


@attrs.define(frozen=True)
class _Parameter:
    """What a function takes under one name."""

    name: str
    type: Any
    kind: Any
    default: Any = _NONE
    is_context: bool = False
    has_converters: bool = False  # its classes have: see "Strategy"


class Tool:
    """
    A function that a model may call. Made by `tool`; called like the function itself.

    In a class it is a method: ``instance.method`` is the tool of that instance.

    Attributes:
        name: What the model calls it.
        description: What the model is told of it; "" for nothing.
        function: The function.
        strict: Whether hosts are asked to keep to the schema (``"strict": true``), in the form that this needs.

    Raises:
        TypeError: *function* is async, cannot be called, or takes ``*args`` or ``**kwargs``.
        ValueError: it has no name that hosts accept: letters, digits, "_" and "-", 64 at most.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        name: Optional[str] = None,
        description: Optional[str] = None,
        strict: bool = False,
    ) -> None:
        plain = _plain(function)
        self.name = getattr(plain, "__name__", type(function).__name__) if name is None else name
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise ValueError(f"{self.name!r} is no name for a tool: give one of letters, digits, '_' and '-'")
        self.function = function
        self.strict = strict
        doc = inspect.cleandoc(
            getattr(plain, "__doc__", None) or ""
        )  # not getdoc: it looks a method up in its class, which is us
        self.description = first_paragraph(doc) if description is None else description
        self._given = (name, description)
        self._said_of = said_of_parameters(doc)
        self._signature = _signature(function, self.name)
        functools.update_wrapper(self, plain, updated=())
        self.__signature__ = self._signature  # else a tool of this tool would have the function's, self included

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)

    def __get__(self, instance: Any, owner: Any = None) -> Tool:
        if instance is None:
            return self
        name, description = self._given
        bound = types.MethodType(self.function, instance)
        return Tool(bound, name=name, description=description, strict=self.strict)

    def __repr__(self) -> str:
        return f"<Tool {self.name}{self._signature}>"

    # -- what the model is told ------------------------------------------------------------------------------------

    @functools.cached_property
    def definition(self) -> dict[str, Any]:
        """
        The tool in OpenAI's shape, as `CompletionParams.tools` takes it.

        The parameters' descriptions are those of the docstring (a section "Args:", or ``:param name:``), or of
        ``Annotated[..., "what it is"]``. What the call's Context goes to is left out.

        Raises:
            TypeError: an annotation is no type that JSON has, or cannot be resolved.
            ValueError: the tool is strict, and a parameter may be anything or a dict of any keys.
        """
        function: dict[str, Any] = {"name": self.name}
        if self.description:
            function["description"] = self.description
        function["parameters"] = self._schema()
        if self.strict:
            function["strict"] = True
        return {"type": "function", "function": function}

    def _schema(self) -> dict[str, Any]:
        told = [parameter for parameter in self._parameters if not parameter.is_context]
        try:
            schema = _schema.schema_of(msgspec.defstruct("arguments", [self._field(one) for one in told], kw_only=True))
        except TypeError as exc:
            raise TypeError(f"{self.name}(): a parameter has no JSON schema: {exc}") from exc
        schema.pop("title", None)
        for parameter in told:
            if parameter.default is not _NONE and _is_json(parameter.default):
                schema["properties"][parameter.name]["default"] = msgspec.to_builtins(parameter.default)
        return _schema.strict(schema) if self.strict else schema

    def _field(self, parameter: _Parameter) -> Any:
        """A field of the class that the schema is made of; what it is by default is said afterwards, if JSON has it."""
        kind = parameter.type
        words = self._said_of.get(parameter.name) or next(
            (note for note in getattr(kind, "__metadata__", ()) if isinstance(note, str)), ""
        )
        if words:
            kind = typing.Annotated[kind, msgspec.Meta(description=words)]
        if parameter.default is _NONE:
            return parameter.name, kind
        return parameter.name, kind, msgspec.field(default_factory=lambda: None)

    @functools.cached_property
    def _parameters(self) -> tuple[_Parameter, ...]:
        known = getattr(inspect.unwrap(_plain(self.function)), "__globals__", {})
        return tuple(self._parameter(one, known) for one in self._signature.parameters.values())

    def _parameter(self, one: inspect.Parameter, known: dict[str, Any]) -> _Parameter:
        if one.name == "ctx":
            return _Parameter(one.name, Any, one.kind, is_context=True)
        kind = Any if one.annotation is _NONE else self._resolved(one, known)
        is_context = kind is Context or Context in typing.get_args(kind)
        has_converters = not is_context and _has_converters(kind)
        return _Parameter(one.name, kind, one.kind, one.default, is_context, has_converters)

    def _resolved(self, one: inspect.Parameter, known: dict[str, Any]) -> Any:
        """The annotation's type; of this parameter alone, because others may need what only type checkers import."""
        annotated: Any = types.SimpleNamespace(__annotations__={one.name: one.annotation})
        try:
            return typing.get_type_hints(annotated, known, include_extras=True)[one.name]
        except (NameError, AttributeError, SyntaxError) as exc:
            raise TypeError(
                f"{self.name}(): the annotation of {one.name!r} cannot be resolved: {exc}; "
                "it must name what the function's module has"
            ) from exc

    # -- being called ----------------------------------------------------------------------------------------------

    def call(self, arguments: Union[str, Mapping[str, Any]] = "", *, ctx: Optional[Context] = None) -> Any:
        """
        Call the function with what a model sent.

        Args:
            arguments: JSON text or what it says: an object. Null stands for a default, and an empty text for no
                arguments.
            ctx: For the parameter that is annotated as a `Context`, or called "ctx", if there is one.

        Returns:
            What the function returns.

        Raises:
            ToolArgumentsError: the arguments are wrong; the function has not been called.
        """
        given = self._object_in(arguments)
        faults: list[tuple[str, str]] = []
        args: list[Any] = []
        keywords: dict[str, Any] = {}
        for parameter in self._parameters:
            value = self._value(parameter, given, ctx, faults)
            if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
                args.append(parameter.default if value is _NONE else value)
            elif value is not _NONE:
                keywords[parameter.name] = value
        known = [parameter.name for parameter in self._parameters if not parameter.is_context]
        faults += [(_path(name), "unknown argument" + did_you_mean(name, known)) for name in given if name not in known]
        if faults:
            raise self._wrong(faults)
        return self.function(*args, **keywords)

    def _object_in(self, arguments: Any) -> Mapping[str, Any]:
        value = arguments
        if isinstance(arguments, str):
            try:
                value = _convert.loads(arguments) if arguments.strip() else {}
            except ValueError as exc:
                raise self._wrong([("$", f"the arguments are not JSON: {_quoted(arguments)}")]) from exc
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            raise self._wrong([("$", f"the arguments are no JSON object: {_quoted(str(arguments))}")])
        return value

    def _value(
        self, parameter: _Parameter, given: Mapping[str, Any], ctx: Optional[Context], faults: list[tuple[str, str]]
    ) -> Any:
        """What the function gets for *parameter*; nothing where its default stands, and where there is a fault."""
        if parameter.is_context:
            return Context() if ctx is None else ctx
        has_default = parameter.default is not _NONE
        value = given.get(parameter.name, _NONE)
        if value is _NONE or (value is None and has_default and not _fits(None, parameter.type)):
            if not has_default:
                faults.append((_path(parameter.name), "missing"))
            return _NONE
        try:
            return _made(value, parameter)
        except msgspec.ValidationError as exc:
            faults.append(_fault(parameter.name, str(exc)))
        except Exception as exc:  # a class's own converters may raise anything
            faults.append((_path(parameter.name), _reason(exc)))
        return _NONE

    def _wrong(self, faults: list[tuple[str, str]]) -> ToolArgumentsError:
        words = "; ".join(f"{path}: {what}" for path, what in faults)
        return ToolArgumentsError(f"{self.name}: {words}", tool=self.name, path=faults[0][0])


@overload
def tool(function: Callable[..., Any], /) -> Tool: ...


@overload
def tool(
    *, name: Optional[str] = None, description: Optional[str] = None, strict: bool = False
) -> Callable[[Callable[..., Any]], Tool]: ...


def tool(
    function: Optional[Callable[..., Any]] = None,
    /,
    *,
    name: Optional[str] = None,
    description: Optional[str] = None,
    strict: bool = False,
) -> Any:
    """
    Make a `Tool` of a function; a decorator, with or without arguments::

        @anyllm.tool
        def weather(city: str, days: int = 1) -> str:
            \"\"\"
            The weather of the next days.

            Args:
                city: The city's name in English.
            \"\"\"

    Args:
        function: Any synchronous function, method, ``functools.partial`` or callable object. What a partial binds is
            neither told to the model nor taken from it.
        name: What the model calls it; the function's own name if not given.
        description: What the model is told; the docstring's first paragraph if not given.
        strict: Whether hosts are asked to keep to the schema.

    Raises:
        TypeError, ValueError: as `Tool` says.
    """
    if function is None:
        return functools.partial(Tool, name=name, description=description, strict=strict)
    return Tool(function, name=name, description=description, strict=strict)


def tools_in(tools: Iterable[Any]) -> tuple[list[dict[str, Any]], dict[str, Tool]]:
    """
    What to ask a model with, and what to call when it calls.

    Args:
        tools: `Tool`s, functions, and definitions as dicts, for what the host or somebody else runs.

    Returns:
        The definitions, in order, and the tools by name, without those that are only definitions.

    Raises:
        TypeError, ValueError: one is no tool, or two have the same name.
    """
    definitions: list[dict[str, Any]] = []
    by_name: dict[str, Tool] = {}
    names: set[str] = set()
    if isinstance(tools, (str, Mapping)) or not isinstance(tools, Iterable):
        raise TypeError(f"tools must be a list of functions, Tools or dicts, not {type(tools).__name__}")
    for item in tools:
        if isinstance(item, Mapping):
            definition, inner = dict(item), item.get("function")
            name = inner.get("name") if isinstance(inner, Mapping) else None
        elif callable(item):
            made = item if isinstance(item, Tool) else Tool(item)
            definition, name = made.definition, made.name
            by_name[made.name] = made
        else:
            raise TypeError(f"a tool is a function, a Tool or a dict, not {type(item).__name__}")
        if name is not None and name in names:
            raise ValueError(f"two tools are called {name!r}")
        names.add(name or "")
        definitions.append(definition)
    return definitions, by_name


def result_text(value: Any, tool: str = "") -> str:
    """
    A tool's result as the model reads it: a str as it is, all else as JSON, attrs classes and dataclasses too.

    Args:
        value: The result.
        tool: The tool's name, for the error.

    Raises:
        TypeError: JSON has no such value.
    """
    if isinstance(value, enum.Enum):
        value = value.value
    if isinstance(value, str):
        return value
    try:
        return _convert.dumps(value).decode()
    except (TypeError, ValueError, RecursionError, msgspec.MsgspecError) as exc:
        raise TypeError(f"what {tool or 'the tool'} returned is no JSON: {exc}") from exc


# -- functions ---------------------------------------------------------------------------------------------------------


def _plain(function: Any) -> Any:
    """The function inside a partial, a method, a tool or a callable object, which has the name and the docstring."""
    while isinstance(function, (functools.partial, types.MethodType, Tool)):
        inner = "func" if isinstance(function, functools.partial) else "__func__"
        function = function.function if isinstance(function, Tool) else getattr(function, inner)
    if not hasattr(function, "__code__") and not inspect.isroutine(function) and not isinstance(function, type):
        function = inspect.getattr_static(type(function), "__call__", function)
    return function


def _signature(function: Any, name: str) -> inspect.Signature:
    """What a model may give: all but what a partial has bound."""
    if isinstance(function, (staticmethod, classmethod)) or not callable(function):
        hint = f": put @tool below @{type(function).__name__}" if hasattr(function, "__func__") else ""
        raise TypeError(f"a tool is made of a function, not of {type(function).__name__}{hint}")
    plain = _plain(function)
    if inspect.iscoroutinefunction(plain) or inspect.isasyncgenfunction(plain):
        raise TypeError(f"{name}() is async: a tool must be an ordinary function, for it is called on a thread")
    try:
        signature = inspect.signature(function)
    except ValueError as exc:
        raise TypeError(f"{name}() does not say what it takes: wrap it in a function with annotations") from exc
    bound = function.keywords if isinstance(function, functools.partial) else {}
    parameters = [one for one in signature.parameters.values() if one.name not in bound]
    for one in parameters:
        if one.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD):
            star = "*" if one.kind is inspect.Parameter.VAR_POSITIONAL else "**"
            raise TypeError(f"{name}() takes {star}{one.name}: a model must be told each parameter by its name")
    return signature.replace(parameters=parameters)


# -- values ------------------------------------------------------------------------------------------------------------


def _made(value: Any, parameter: _Parameter) -> Any:
    """*value* as the parameter's type."""
    value = _schema.without_nulls(value, parameter.type)
    made = msgspec.convert(value, parameter.type, str_keys=True)
    return _convert._converter().structure(value, parameter.type) if parameter.has_converters else made


def _has_converters(tp: Any) -> bool:
    """Whether there are attrs classes in *tp* with fields that have converters."""
    try:
        classes = [cls for cls in _schema._classes_in(tp) if attrs.has(cls)]
    except TypeError:  # which the definition says more about
        return False
    return any(field.converter is not None for cls in classes for field in attrs.fields(cls) if field.init)


def _fits(value: Any, tp: Any) -> bool:
    try:
        msgspec.convert(value, tp)
    except msgspec.ValidationError:
        return False
    return True


def _is_json(value: Any) -> bool:
    try:
        msgspec.to_builtins(value)
    except (TypeError, ValueError, RecursionError, msgspec.MsgspecError):
        return False
    return True


# -- words -------------------------------------------------------------------------------------------------------------


def _path(name: str) -> str:
    return f"$.{name}"


def _fault(name: str, words: str) -> tuple[str, str]:
    """What msgspec says, with its path put behind the parameter's."""
    what, _, where = words.replace("`", "").partition(" - at ")
    return _path(name) + where[1:], what[:1].lower() + what[1:]


def _reason(exc: BaseException) -> str:
    """What a class's own converter said, from the groups in which cattrs wraps it."""
    while getattr(exc, "exceptions", ()):
        exc = exc.exceptions[0]  # type: ignore[attr-defined]  # an ExceptionGroup, or what stood for it before 3.11
    return str(exc) or type(exc).__name__


def _quoted(text: str) -> str:
    return text if len(text) <= _QUOTED else text[:_QUOTED] + "…"
