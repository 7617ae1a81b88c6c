"""Wrong keyword arguments and assignments, answered with what to write instead."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Iterable
from typing import Any, TypeVar, cast

import attrs

from anyllm._hints.names import instead_of, remember_fields

C = TypeVar("C", bound=type)
F = TypeVar("F", bound=Callable[..., Any])


def check_keywords(cls: C) -> C:
    """Class decorator: make an attrs class's constructor name the nearest field for an unknown keyword."""
    plain_init = cls.__init__  # type: ignore[misc]  # the class is only seen here, before it has instances
    known = frozenset(field.name for field in attrs.fields(cls) if field.init)
    remember_fields(cls.__name__, known)
    by_place = [field for field in attrs.fields(cls) if field.init and not field.kw_only]
    has_names = any(field.init and field.kw_only for field in attrs.fields(cls))
    places = len(by_place) if has_names else len(known)

    @functools.wraps(plain_init)
    def checked_init(self: Any, *args: Any, **kwargs: Any) -> None:
        if not known.issuperset(kwargs):
            raise unknown_keyword(cls.__name__, kwargs, known)
        if len(args) > places:
            first = next(field.name for field in attrs.fields(cls) if field.init and field.kw_only)
            raise TypeError(f"{cls.__name__} takes its values by name, as in {cls.__name__}({first}=...)")
        plain_init(self, *args, **kwargs)

    cls.__init__ = checked_init  # type: ignore[misc]
    return cls


def kind_of(value: Any) -> str:
    """What *value* is, for the end of a message: its type; or that it is a class or a function, not called."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if inspect.isroutine(value):
        return f"the function {value.__name__}"
    return type(value).__name__


def unknown_keyword(what: str, given: Iterable[str], known: Iterable[str]) -> TypeError:
    """The TypeError for the first name of *given* that *known* lacks."""
    names = sorted(known)
    stray = next(name for name in given if name not in names)
    instead = instead_of(str(stray), what)
    hint = did_you_mean(str(stray), names) if instead is None else f"; write {instead}"
    return TypeError(f"{what} has no {stray!r}{hint}")


def explain_call(example: str) -> Callable[[F], F]:
    """
    Decorator: make a function answer an unknown keyword with the right or the nearest one, and a call that does not fit
    with *example*.
    """

    def decorate(function: F) -> F:
        signature = inspect.signature(function)
        takes_any = any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())
        known = frozenset(signature.parameters) - {"self"}

        @functools.wraps(function)
        def checked(*args: Any, **kwargs: Any) -> Any:
            if not takes_any and not known.issuperset(kwargs):
                raise unknown_keyword(f"{function.__name__}()", kwargs, known)
            try:
                signature.bind(*args, **kwargs)
            except TypeError as exc:
                raise TypeError(f"{exc}; write {example}") from None
            return function(*args, **kwargs)

        return cast(F, checked)

    return decorate


class FrozenValueError(attrs.exceptions.FrozenInstanceError):
    """attrs' own error, which takes no message, with one."""

    def __init__(self, message: str) -> None:
        AttributeError.__init__(self, message)
        self.msg = message  # as in that one

    def __str__(self) -> str:
        return self.msg


def explain_frozen(cls: C) -> C:
    """Class decorator: make a frozen attrs class say how to get a changed copy, where one of its fields is set."""

    def refuse(self: Any, name: str, value: Any) -> None:
        how = f"value.evolve({name}=...)" if hasattr(cls, "evolve") else f"attrs.evolve(value, {name}=...)"
        raise FrozenValueError(f"a {cls.__name__} is never changed; {how} gives a changed copy")

    cls.__setattr__ = refuse  # type: ignore[assignment, method-assign]
    return cls


def check_stream(given: Any, streams: bool, *, whole: str, streamed: str) -> None:
    """
    The parameter ``stream`` may only repeat what the call does.

    Args:
        given: The parameter's value; None when it was left out.
        streams: Whether the call streams.
        whole, streamed: The calls that wait for the whole answer, and that stream.

    Raises:
        TypeError: it says otherwise; the message names the other call.
    """
    if given is not None and bool(given) is not streams:
        does, other = ("streams", whole) if streams else ("waits for the whole answer", streamed)
        raise TypeError(f"this call {does}: for stream={given} call {other}, or leave stream out")


def whole_number(name: str, value: Any, least: int = 1) -> int:
    """
    *value*, if it is an int and not less than *least*.

    Raises:
        TypeError, ValueError: it is not; the message names it.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int, not {type(value).__name__}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}: {value}")
    return value


def non_negative_seconds(name: str, value: Any) -> float:
    """
    *value* as seconds.

    Raises:
        TypeError, ValueError: it is no number, or negative or NaN; the message names it.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be seconds (a number), not {type(value).__name__}")
    if math.isnan(value) or value < 0:
        raise ValueError(f"{name} must not be negative or NaN: {value!r}")
    return float(value)


def positive_number(name: str, value: Any) -> float:
    """
    *value*, if it is a number above 0.

    Raises:
        TypeError, ValueError: it is not; the message names it.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a number, not {type(value).__name__}")
    if not value > 0:
        raise ValueError(f"{name} must be above 0: {value!r}")
    return value


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``"; did you mean 'x'?"`` for the nearest of *known*, or nothing when none is near."""
    import difflib  # only here: it takes as long to import as this package's own values

    near = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
