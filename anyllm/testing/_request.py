"""Requests as the loopback server received them."""

from __future__ import annotations

import json
from typing import Any, Dict, Iterator, Mapping, Sequence, Tuple

import attrs


class Headers(Mapping[str, str]):
    """Headers of a request, case-insensitive; repeated ones are joined by a comma."""

    def __init__(self, pairs: Sequence[Tuple[str, str]]) -> None:
        self._values: Dict[str, Tuple[str, str]] = {}
        for name, value in pairs:
            earlier = self._values.get(name.lower())
            self._values[name.lower()] = (earlier[0], f"{earlier[1]}, {value}") if earlier else (name, value)

    def __getitem__(self, name: str) -> str:
        return self._values[name.lower()][1]

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self._values.values())

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._values


@attrs.frozen
class RecordedRequest:
    """
    A request as the server received it.

    Args:
        method: Upper case, as sent.
        path: The request target with its query; a whole URL, if the client uses the server as a proxy.
        headers: Case-insensitive. Not in the repr, because they contain keys.
        body: The whole body, without chunked framing.
    """

    method: str
    path: str
    headers: Headers = attrs.field(repr=False)
    body: bytes

    def json(self) -> Any:
        """The body as JSON. Raises ValueError if it is not."""
        return json.loads(self.body)
