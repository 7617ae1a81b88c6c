"""Inspection of a function that becomes a tool: its signature, and the type of each parameter."""

from __future__ import annotations

import functools
import inspect
import types
import typing
from typing import Any

import attrs

from anyllm.context import Context

#: The default of a parameter that has none, and the annotation of one that has none.
MISSING: Any = inspect.Parameter.empty


@attrs.define(frozen=True)
class Parameter:
    """A parameter of a function, with its annotation resolved."""

    name: str
    type: Any
    kind: Any
    default: Any = MISSING
    is_context: bool = False  # receives the call's Context instead of an argument


def unwrapped(function: Any) -> Any:
    """The function inside a partial, a method, a tool or a callable object, which has the name and the docstring."""
    while True:
        if isinstance(function, functools.partial):
            function = function.func
        elif isinstance(function, types.MethodType):
            function = function.__func__
        elif hasattr(function, "__wrapped__") and not hasattr(function, "__code__"):  # a tool
            function = function.__wrapped__
        else:
            break
    if not hasattr(function, "__code__") and not inspect.isroutine(function) and not isinstance(function, type):
        function = inspect.getattr_static(type(function), "__call__", function)
    return function


def signature_of(function: Any, name: str) -> inspect.Signature:
    """
    The signature without the parameters that a partial binds.

    Raises:
        TypeError: *function* is async, cannot be called, has no signature, or accepts ``*args`` or ``**kwargs``.
    """
    if isinstance(function, (staticmethod, classmethod)) or not callable(function):
        hint = f": put @tool below @{type(function).__name__}" if hasattr(function, "__func__") else ""
        raise TypeError(f"a tool is made of a function, not of {type(function).__name__}{hint}")
    inner = unwrapped(function)
    if inspect.iscoroutinefunction(inner) or inspect.isasyncgenfunction(inner):
        raise TypeError(f"{name}() is async: a tool must be an ordinary function, because it is called on a thread")
    try:
        signature = inspect.signature(function)
    except ValueError as exc:
        raise TypeError(f"{name}() has no signature: wrap it in a function with annotations") from exc
    bound = function.keywords if isinstance(function, functools.partial) else {}
    parameters = [parameter for parameter in signature.parameters.values() if parameter.name not in bound]
    for parameter in parameters:
        if parameter.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD):
            star = "*" if parameter.kind is inspect.Parameter.VAR_POSITIONAL else "**"
            raise TypeError(f"{name}() takes {star}{parameter.name}: a model needs the name of each parameter")
    return signature.replace(parameters=parameters)


def parameters_of(function: Any, signature: inspect.Signature, name: str) -> tuple[Parameter, ...]:
    """The parameters with their types; TypeError if an annotation cannot be resolved in the function's module."""
    module = getattr(inspect.unwrap(unwrapped(function)), "__globals__", {})
    return tuple(_parameter(parameter, module, name) for parameter in signature.parameters.values())


def _parameter(parameter: inspect.Parameter, module: dict[str, Any], function_name: str) -> Parameter:
    if parameter.name == "ctx":
        return Parameter(parameter.name, Any, parameter.kind, is_context=True)
    tp = Any if parameter.annotation is MISSING else _resolved(parameter, module, function_name)
    is_context = tp is Context or Context in typing.get_args(tp)
    return Parameter(parameter.name, tp, parameter.kind, parameter.default, is_context)


def _resolved(parameter: inspect.Parameter, module: dict[str, Any], function_name: str) -> Any:
    """The annotation's type. One at a time, because others may name what only type checkers import."""
    annotated: Any = types.SimpleNamespace(__annotations__={parameter.name: parameter.annotation})
    try:
        return typing.get_type_hints(annotated, module, include_extras=True)[parameter.name]
    except (NameError, AttributeError, SyntaxError) as exc:
        raise TypeError(
            f"{function_name}(): the annotation of {parameter.name!r} cannot be resolved: {exc}; "
            "it must name what the function's module has"
        ) from exc
