"""Checks of keyword arguments and assignments whose errors propose the right ones."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any, TypeVar, cast

import attrs

from anyllm._hints.names import register_fields, replacement_for

C = TypeVar("C", bound=type)
F = TypeVar("F", bound=Callable[..., Any])


def check_keywords(cls: C) -> C:
    """Class decorator: the constructor of an attrs class proposes the nearest field for an unknown keyword."""
    plain_init = cls.__init__  # type: ignore[misc]  # the class has no instances yet
    names = frozenset(field.name for field in attrs.fields(cls) if field.init)
    register_fields(cls.__name__, names)
    keyword_only = [field.name for field in attrs.fields(cls) if field.init and field.kw_only]

    @functools.wraps(plain_init)
    def checked_init(self: Any, *args: Any, **kwargs: Any) -> None:
        if not names.issuperset(kwargs):
            raise unknown_keyword(cls.__name__, kwargs, names)
        if keyword_only and len(args) > len(names) - len(keyword_only):
            raise TypeError(f"{cls.__name__} takes its values by name, as in {cls.__name__}({keyword_only[0]}=...)")
        plain_init(self, *args, **kwargs)

    cls.__init__ = checked_init  # type: ignore[misc]
    return cls


def kind_of(value: Any) -> str:
    """The type of *value* for a message; or "the class X", "the function f", which were not called."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if inspect.isroutine(value):
        return f"the function {value.__name__}"
    return type(value).__name__


def unknown_keyword(what: str, keywords: Iterable[str], names: Iterable[str]) -> TypeError:
    """The TypeError for the first of *keywords* that is not among the *names* that *what* accepts."""
    accepted = sorted(names)
    unknown = next(name for name in keywords if name not in accepted)
    replacement = replacement_for(str(unknown), what)
    hint = did_you_mean(str(unknown), accepted) if replacement is None else f"; write {replacement}"
    return TypeError(f"{what} has no {unknown!r}{hint}")


def explain_call(example: str) -> Callable[[F], F]:
    """
    Decorator: a function's TypeError proposes the right keyword for an unknown one, and *example* for a call that does
    not match its signature.
    """

    def decorate(function: F) -> F:
        signature = inspect.signature(function)
        has_kwargs = any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())
        names = frozenset(signature.parameters) - {"self"}

        @functools.wraps(function)
        def checked(*args: Any, **kwargs: Any) -> Any:
            if not has_kwargs and not names.issuperset(kwargs):
                raise unknown_keyword(f"{function.__name__}()", kwargs, names)
            try:
                signature.bind(*args, **kwargs)
            except TypeError as exc:
                raise TypeError(f"{exc}; write {example}") from None
            return function(*args, **kwargs)

        return cast(F, checked)

    return decorate


class FrozenValueError(attrs.exceptions.FrozenInstanceError):
    """attrs' own error with a message."""

    def __init__(self, message: str) -> None:
        AttributeError.__init__(self, message)
        self.msg = message  # the attribute of attrs' error

    def __str__(self) -> str:
        return self.msg


def explain_frozen(cls: C) -> C:
    """Class decorator: the error for setting a field of a frozen attrs class shows how to make a changed copy."""

    def refuse(self: Any, name: str, value: Any) -> None:
        how = f"value.evolve({name}=...)" if hasattr(cls, "evolve") else f"attrs.evolve(value, {name}=...)"
        raise FrozenValueError(f"a {cls.__name__} is never changed; {how} gives a changed copy")

    cls.__setattr__ = refuse  # type: ignore[assignment, method-assign]
    return cls


def check_stream(value: Any, streams: bool, *, whole: str, streamed: str) -> None:
    """
    Raise a TypeError if the parameter ``stream`` (*value*, None if it was omitted) contradicts the call.

    *whole* and *streamed* are the names of the call that waits for the whole answer, and of the one that streams.
    """
    if value is not None and bool(value) is not streams:
        does, other = ("streams", whole) if streams else ("waits for the whole answer", streamed)
        raise TypeError(f"this call {does}: for stream={value} call {other}, or leave stream out")


def whole_number(name: str, value: Any, least: int = 1) -> int:
    """*value*, which must be an int and at least *least*; else a TypeError or ValueError that contains *name*."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int, not {type(value).__name__}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}: {value}")
    return value


def number(name: str, value: Any, kind: str = "a number") -> float:
    """*value*, which must be an int or a float; else a TypeError that contains *name* and *kind*."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be {kind}, not {type(value).__name__}")
    return value


def non_negative(name: str, value: Any, kind: str = "seconds (a number)") -> float:
    """The same, and a ValueError if it is negative or NaN."""
    if not number(name, value, kind) >= 0:
        raise ValueError(f"{name} must not be negative or NaN: {value!r}")
    return float(value)


def positive_number(name: str, value: Any, kind: str = "a number") -> float:
    """The same, and a ValueError if it is not above 0."""
    if not number(name, value, kind) > 0:
        raise ValueError(f"{name} must be above 0: {value!r}")
    return value  # type: ignore[no-any-return]  # checked above; an int stays one


def one_of(name: str, value: Any, values: Iterable[str]) -> None:
    """Raise a ValueError that lists *values* unless *value* is among them."""
    if value not in values:
        raise ValueError(f"{name} must be one of {', '.join(values)}, not {value!r}")


def validator(check: Callable[..., object], *args: Any) -> Any:
    """A validator for attrs: *check* with the field's name, its value and *args*."""
    return lambda _instance, attribute, value: check(attribute.name, value, *args)


def did_you_mean(word: str, names: Iterable[str]) -> str:
    """``"; did you mean 'x'?"`` for the nearest of *names*, or "" if none is near."""
    import difflib  # only here: importing it takes as long as importing the value classes

    near = difflib.get_close_matches(word, list(names), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
