"""The base of all decoders: common state, typed reads that raise `MalformedStreamError`, and repaired surrogates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from anyllm.errors import IncompleteStreamError, MalformedStreamError
from anyllm.types import ChatCompletionChunk
from anyllm.wire._base.json_values import json_type
from anyllm.wire._base.surrogate_joiner import Halves, mend, mend_all

__all__ = ["BaseDecoder"]


class BaseDecoder:
    """
    Used by one thread, for one response.

    Args:
        provider: The provider's name, in every chunk and error.
    """

    __slots__ = ("_done", "_events", "_halves", "_provider", "_waiting")

    def __init__(self, *, provider: str) -> None:
        self._provider = provider
        self._done = False
        self._events = 0
        self._halves = Halves()
        #: The halves of surrogate pairs that wait for their other half; tested at every event.
        self._waiting = self._halves.waiting

    @property
    def done(self) -> bool:
        """Whether the terminal marker came; later events are ignored."""
        return self._done

    @property
    def complete(self) -> bool:
        """Whether the answer is whole as it stands, so that the end of the bytes is a good end: by default, if done."""
        return self._done

    def finish(self) -> Sequence[ChatCompletionChunk]:
        """
        The chunks that were held back, at the end of the bytes: none, unless a decoder says otherwise.

        Raises:
            IncompleteStreamError: the answer is not whole.
        """
        if not self.complete:
            raise IncompleteStreamError(self._missing_end(), provider=self._provider)
        return ()

    def _missing_end(self) -> str:
        """The message of the error, which names the missing part."""
        raise NotImplementedError

    def _object(self, body: Mapping[str, Any], name: str) -> dict[str, Any]:
        """The required object under *name*."""
        value = body.get(name)
        if not isinstance(value, dict):
            raise self._malformed(f"{name} is {json_type(value)}")
        return value

    def _optional_object(self, body: Mapping[str, Any], name: str) -> dict[str, Any]:
        """The object under *name*; an empty one where it is missing or null."""
        return {} if body.get(name) is None else self._object(body, name)

    def _text(self, body: Mapping[str, Any], name: str) -> str:
        """The string under *name*; "" where it is missing or null."""
        value = body.get(name)
        if isinstance(value, str):
            return value
        if value is not None:
            raise self._malformed(f"{name} is {json_type(value)}")
        return ""

    def _repaired(self, body: Any, what: str = "an event") -> Any:
        """*body* with the surrogate pairs in its strings joined, and lone halves replaced."""
        try:
            return mend_all(body)
        except RecursionError as exc:
            raise self._malformed(f"{what} is nested too deeply") from exc

    def _malformed(self, what: str) -> MalformedStreamError:
        return MalformedStreamError(mend(what), provider=self._provider)
