"""One tree of errors, whose members survive every way to carry them about."""

from __future__ import annotations

import copy
import inspect
import pickle
import threading
from typing import Any, Dict, List, Type

import pytest

import anyllm
from anyllm import errors
from anyllm.agent import AgentResult, BudgetExceededError
from anyllm.errors import AnyLLMError, APIError, Cancelled
from anyllm.structured import Fault, StructuredOutputError
from anyllm.tools import ToolArgumentsError

CLASSES: List[Type[AnyLLMError]] = [
    cls for cls in vars(errors).values() if inspect.isclass(cls) and issubclass(cls, AnyLLMError)
]
#: With those of other modules.
EVERY_CLASS = [*CLASSES, BudgetExceededError, StructuredOutputError, ToolArgumentsError]
PARTIAL = anyllm.ChatCompletion(
    id="x", choices=(anyllm.Choice(message=anyllm.Message.assistant("so far", reasoning="hm")),), provider="openai"
)
#: Arguments of a class beyond the common facts.
MORE: Dict[str, Dict[str, Any]] = {
    "Cancelled": {"cause": "abandoned"},
    "StreamTimeoutError": {"clock": "idle", "seconds": 300.0},
    "MissingAPIKeyError": {"env_var": "OPENAI_API_KEY"},
    "CircuitOpenError": {"retry_after": 5.0},
    "LimitTooSmallError": {"tokens": 9, "tokens_per_minute": 8},
    "WaitTooLongError": {"seconds": 60.0},
    "BudgetExceededError": {"budget": "turns", "limit": 3, "result": AgentResult(messages=(), completion=PARTIAL)},
    "StructuredOutputError": {"text": '{"a": ', "errors": [Fault("$.a", "missing")], "position": 6},
    "ToolArgumentsError": {"tool": "f", "path": "$.a"},
}
FACTS = {
    "status_code": 429,
    "type": "t",
    "param": "p",
    "request_id": "req_1",
    "retry_after": 20.0,
    "body": {"error": {"message": "m"}},
}


def make(cls: Type[AnyLLMError]) -> AnyLLMError:
    more = FACTS if issubclass(cls, APIError) else MORE.get(cls.__name__, {})
    return cls("it\nfailed", provider="openai", code="c", partial=PARTIAL, is_retryable=True, **more)


@pytest.mark.parametrize("cls", EVERY_CLASS)
@pytest.mark.parametrize(
    "carry", [copy.copy, copy.deepcopy, *(lambda e, n=n: pickle.loads(pickle.dumps(e, n)) for n in range(2, 6))]
)
def test_every_error_survives(cls: Type[AnyLLMError], carry: Any):
    error = make(cls)
    error.extra = [1]  # type: ignore[attr-defined]
    again = carry(error)
    assert type(again) is cls
    assert again is not error
    assert vars(again) == vars(error)
    assert again.args == error.args
    assert str(again) == str(error)
    assert repr(again) == repr(error)
    assert again.partial.content == "so far"


@pytest.mark.parametrize("cls", EVERY_CLASS)
def test_every_error_has_the_common_attributes(cls: Type[AnyLLMError]):
    error = make(cls)
    assert (error.provider, error.code, error.partial, error.is_retryable) == ("openai", "c", PARTIAL, True)
    bare = cls(**MORE.get(cls.__name__, {}))
    assert (bare.provider, bare.code, bare.partial) == (None, None, None)
    assert isinstance(bare.is_retryable, bool)
    assert str(bare)


@pytest.mark.parametrize("cls", EVERY_CLASS)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029", "\0\n"])
def test_every_error_is_one_line(cls: Type[AnyLLMError], end: str):
    """Whatever the provider sent, and wherever it stands."""
    evil = f"a{end}b"
    more = dict(MORE.get(cls.__name__, {}))
    if "cause" in more:
        more["cause"] = evil
    if issubclass(cls, APIError):
        more = {**FACTS, "request_id": evil, "type": evil}
    line = str(cls(evil, provider=evil, code=evil, **more))
    assert len(line.splitlines()) == 1
    assert "a" in line


def test_the_line_has_the_facts():
    error = errors.RateLimitError(
        "Slow down", provider="openai", status_code=429, code="rate_limit_exceeded", request_id="req_1", retry_after=20
    )
    assert str(error) == "openai: 429 rate_limit_exceeded: Slow down (request req_1, retry after 20 s)"
    assert str(errors.APIError("x", type="t")) == "t: x"
    assert str(errors.NetworkError("x", provider="openai")) == "openai: x"
    assert str(errors.NetworkError()) == "NetworkError"
    assert str(Cancelled(cause=ValueError("why"))) == "cancelled (cause: why)"


def test_the_tree():
    assert {cls.__name__: {base.__name__ for base in cls.__mro__[1:]} & NAMES for cls in CLASSES} == {
        name: set(bases.split()) for name, bases in TREE.items()
    }
    times_out = {"DeadlineExceeded", "StreamTimeoutError", "WaitTooLongError"}
    assert {cls.__name__ for cls in CLASSES if issubclass(cls, TimeoutError)} == times_out


TREE = {
    "AnyLLMError": "",
    "Cancelled": "AnyLLMError",
    "DeadlineExceeded": "AnyLLMError",
    "StreamTimeoutError": "AnyLLMError",
    "NetworkError": "AnyLLMError",
    "IncompleteStreamError": "AnyLLMError",
    "ConnectionLostError": "IncompleteStreamError NetworkError AnyLLMError",
    "MalformedStreamError": "AnyLLMError",
    "APIError": "AnyLLMError",
    "AuthenticationError": "APIError AnyLLMError",
    "PermissionDeniedError": "APIError AnyLLMError",
    "InsufficientFundsError": "APIError AnyLLMError",
    "RateLimitError": "APIError AnyLLMError",
    "InvalidRequestError": "APIError AnyLLMError",
    "ContextLengthExceededError": "InvalidRequestError APIError AnyLLMError",
    "ContentFilterError": "InvalidRequestError APIError AnyLLMError",
    "UnsupportedParameterError": "InvalidRequestError APIError AnyLLMError",
    "ModelNotFoundError": "APIError AnyLLMError",
    "ServerError": "APIError AnyLLMError",
    "OverloadedError": "ServerError APIError AnyLLMError",
    "MissingAPIKeyError": "AnyLLMError",
    "UnsupportedProviderError": "AnyLLMError",
    "LocalUnavailableError": "AnyLLMError",
    "CircuitOpenError": "AnyLLMError",
    "LimitTooSmallError": "AnyLLMError",
    "WaitTooLongError": "DeadlineExceeded AnyLLMError",
}
NAMES = set(TREE)


@pytest.mark.parametrize("cls", CLASSES)
def test_every_error_can_be_imported_from_anyllm(cls: Type[AnyLLMError]):
    assert getattr(anyllm, cls.__name__) is cls
    assert cls.__name__ in anyllm.__all__
    assert cls.__doc__


def test_a_cancelled_error_is_caused_by_its_cause():
    cause = ValueError("why")
    assert Cancelled(cause=cause).__cause__ is cause
    assert Cancelled(cause="why").__cause__ is None


class Picky(Exception):
    """Pickle calls it with one argument."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(f"{one} {two}")


@pytest.mark.parametrize("cause", [Picky("a", "b"), threading.Lock(), anyllm.Context(), print, "abandoned", None])
def test_cancelled_survives_pickle_and_copy_whatever_its_cause(cause: object):
    """What cannot be pickled is at least named."""
    error = anyllm.Cancelled(cause=cause)
    for again in (pickle.loads(pickle.dumps(error)), copy.deepcopy(error)):
        assert type(again) is anyllm.Cancelled
        assert again.cause in (cause, repr(cause))
    assert copy.copy(error).cause is cause
