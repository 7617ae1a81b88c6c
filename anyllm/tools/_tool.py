"""
Tools: a typed function with its JSON definition for the model, called with the arguments that a model sends.

Strategy: the definition comes from the schema of the parameters, and the arguments are read like structured output, so
that the definition and the reader agree on every type. Annotations are resolved on first use, because they may name
classes that are defined further down in the module.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import re
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, Optional, Union, overload

import msgspec

from anyllm._hints.arguments import did_you_mean
from anyllm.context import Context
from anyllm.errors import AnyLLMError
from anyllm.structured._schema import schema_of, strict
from anyllm.structured._structure_json import structure_json
from anyllm.structured._type_hints import accepts_none
from anyllm.structured._validation_errors import Fault, json_path, shortened
from anyllm.tools._docstrings import first_paragraph, parameter_descriptions
from anyllm.tools._function import MISSING, Parameter, parameters_of, signature_of, unwrapped
from anyllm.types import _convert

#: Source: https://platform.openai.com/docs/api-reference/chat/create#chat_create-tools
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")


class ToolArgumentsError(AnyLLMError, ValueError):
    """
    A model called a tool with wrong arguments; the message lists every fault.

    Attributes:
        tool: The tool's name.
        path: Where the first fault is: ``$.place.lat``; ``$`` if the arguments are not a JSON object.
    """

    def __init__(self, message: str = "", *, tool: str = "", path: str = "$", **kwargs: Any) -> None:
        super().__init__(message, **kwargs)
        self.tool = tool
        self.path = path


class Tool:
    """
    A function that a model may call. Made by `tool`; called like the function itself.

    In a class it is a method: ``instance.method`` is the tool of that instance.

    Attributes:
        name: The name by which the model calls it.
        description: The description for the model, or "".
        function: The function.
        strict: Whether providers are asked to enforce the schema (``"strict": true``), in the form that this needs.

    Raises:
        TypeError: *function* is async, cannot be called, or accepts ``*args`` or ``**kwargs``.
        ValueError: its name is not one that providers accept: letters, digits, "_" and "-", at most 64.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        name: Optional[str] = None,
        description: Optional[str] = None,
        strict: bool = False,
    ) -> None:
        inner = unwrapped(function)
        self.name = getattr(inner, "__name__", type(function).__name__) if name is None else name
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise ValueError(f"{self.name!r} is no name for a tool: use letters, digits, '_' and '-', at most 64")
        self.function = function
        self.strict = strict
        # Not inspect.getdoc: it looks up a method in its class, which for a bound tool is Tool.
        doc = inspect.cleandoc(getattr(inner, "__doc__", None) or "")
        self.description = first_paragraph(doc) if description is None else description
        self._overrides = (name, description)
        self._parameter_descriptions = parameter_descriptions(doc)
        self._signature = signature_of(function, self.name)
        functools.update_wrapper(self, inner, updated=())
        self.__signature__ = self._signature  # else a tool of this tool would have the function's, with self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)

    def __get__(self, instance: Any, owner: Any = None) -> Tool:
        if instance is None:
            return self
        name, description = self._overrides
        bound = types.MethodType(self.function, instance)
        return Tool(bound, name=name, description=description, strict=self.strict)

    def __repr__(self) -> str:
        return f"<Tool {self.name}{self._signature}>"

    # -- definition ------------------------------------------------------------------------------------------------

    @functools.cached_property
    def definition(self) -> dict[str, Any]:
        """
        The tool in OpenAI's shape, for `CompletionParams.tools`.

        Descriptions of parameters come from the docstring (a section "Args:", ``:param name:``, or NumPy's
        "Parameters"), or from ``Annotated[..., "description"]``. A parameter for the call's Context is left out.

        Raises:
            TypeError: an annotation has no JSON type, or cannot be resolved.
            ValueError: the tool is strict, and a parameter accepts anything or a dict with any keys.
        """
        function: dict[str, Any] = {"name": self.name}
        if self.description:
            function["description"] = self.description
        function["parameters"] = self._schema()
        if self.strict:
            function["strict"] = True
        return {"type": "function", "function": function}

    def _schema(self) -> dict[str, Any]:
        parameters = [parameter for parameter in self._parameters if not parameter.is_context]
        try:
            schema = schema_of(msgspec.defstruct("arguments", list(map(self._field, parameters)), kw_only=True))
        except TypeError as exc:
            raise TypeError(f"{self.name}(): a parameter has no JSON schema: {exc}") from exc
        schema.pop("title", None)
        for parameter in parameters:
            if parameter.default is not MISSING:
                with contextlib.suppress(TypeError, ValueError, RecursionError, msgspec.MsgspecError):  # no JSON
                    schema["properties"][parameter.name]["default"] = msgspec.to_builtins(parameter.default)
        return strict(schema) if self.strict else schema

    def _field(self, parameter: Parameter) -> Any:
        """A field of the struct whose schema is used. `_schema` adds the defaults, because not all are JSON."""
        tp = parameter.type
        description = self._parameter_descriptions.get(parameter.name) or next(
            (item for item in getattr(tp, "__metadata__", ()) if isinstance(item, str)), ""
        )
        if description:
            tp = typing.Annotated[tp, msgspec.Meta(description=description)]
        if parameter.default is MISSING:
            return parameter.name, tp
        return parameter.name, tp, msgspec.field(default_factory=lambda: None)

    @functools.cached_property
    def _parameters(self) -> tuple[Parameter, ...]:
        return parameters_of(self.function, self._signature, self.name)

    # -- calls -----------------------------------------------------------------------------------------------------

    def call(self, arguments: Union[str, Mapping[str, Any]] = "", *, ctx: Optional[Context] = None) -> Any:
        """
        Call the function with a model's arguments.

        Args:
            arguments: A JSON object, as text or parsed. Null stands for a default, an empty text for no arguments.
            ctx: For the parameter that is annotated as a `Context` or called "ctx", if there is one.

        Returns:
            What the function returns.

        Raises:
            ToolArgumentsError: the arguments are wrong; the function has not been called.
        """
        values = self._object_in(arguments)
        faults: list[Fault] = []
        positional: list[Any] = []
        keywords: dict[str, Any] = {}
        for parameter in self._parameters:
            value = self._value(parameter, values, ctx, faults)
            if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
                positional.append(parameter.default if value is MISSING else value)
            elif value is not MISSING:
                keywords[parameter.name] = value
        names = [parameter.name for parameter in self._parameters if not parameter.is_context]
        faults += [
            Fault(json_path([name]), "unknown argument" + did_you_mean(name, names))
            for name in values
            if name not in names
        ]
        if faults:
            raise self._error(faults)
        return self.function(*positional, **keywords)

    def _object_in(self, arguments: Any) -> Mapping[str, Any]:
        value = arguments
        if isinstance(arguments, str):
            try:
                value = _convert.loads(arguments) if arguments.strip() else {}
            except ValueError as exc:
                raise self._error([Fault("$", f"the arguments are not JSON: {shortened(arguments)}")]) from exc
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            raise self._error([Fault("$", f"the arguments are no JSON object: {shortened(str(arguments))}")])
        return value

    def _value(
        self, parameter: Parameter, values: Mapping[str, Any], ctx: Optional[Context], faults: list[Fault]
    ) -> Any:
        """The value for *parameter*; MISSING if its default applies or there is a fault."""
        if parameter.is_context:
            return Context() if ctx is None else ctx
        has_default = parameter.default is not MISSING
        value = values.get(parameter.name, MISSING)
        if value is MISSING or (value is None and has_default and not accepts_none(parameter.type)):
            if not has_default:
                faults.append(Fault(json_path([parameter.name]), "missing"))
            return MISSING
        result, found = structure_json(value, parameter.type)
        faults += [Fault(json_path([parameter.name]) + fault.path[1:], fault.message) for fault in found]
        return MISSING if found else result

    def _error(self, faults: list[Fault]) -> ToolArgumentsError:
        message = "; ".join(map(str, faults))
        return ToolArgumentsError(f"{self.name}: {message}", tool=self.name, path=faults[0].path)


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
        function: Any synchronous function, method, ``functools.partial`` or callable object. Parameters that a partial
            binds are not part of the tool.
        name: The name for the model; by default that of the function.
        description: The description for the model; by default the docstring's first paragraph.
        strict: Whether providers are asked to enforce the schema.

    Raises:
        TypeError, ValueError: see `Tool`.
    """
    if function is None:
        return functools.partial(Tool, name=name, description=description, strict=strict)
    return Tool(function, name=name, description=description, strict=strict)
