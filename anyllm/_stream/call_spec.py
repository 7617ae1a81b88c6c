"""What one call has to do, and where: all that the pump is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Optional, Union

import attrs

from anyllm._stream.answer_reader import Accumulator
from anyllm._transport.http import Transport
from anyllm._transport.http_failures import without_secrets
from anyllm.errors import AnyLLMError
from anyllm.options import StreamingOptions
from anyllm.types._accumulate import Assembler
from anyllm.wire._base.dialect import Dialect, Request

__all__ = ["CallSpec", "Destination"]


@attrs.define(frozen=True)
class Destination:
    """
    Where a request goes, found out on the worker's thread because that may take time.

    Attributes:
        base_url: Without a slash at its end; the request's path is appended, before the query if there is one.
        headers: The provider's own, the key among them; the request's win over them.
        secret: The key, to be kept out of everything that is said.
        sign: Gives the headers that sign a request: of its method, URL, headers and body.
        custom_base_url: The base URL that somebody chose, and may have mistyped; None for the provider's own.
    """

    base_url: str = attrs.field(repr=without_secrets)
    headers: Mapping[str, str] = attrs.field(repr=False)
    secret: Optional[str] = attrs.field(default=None, repr=False)
    sign: Optional[Callable[[str, str, Mapping[str, str], bytes], Mapping[str, str]]] = None
    custom_base_url: Optional[str] = attrs.field(default=None, repr=False)


@attrs.define(frozen=True)
class CallSpec:
    """
    What one call has to do.

    Attributes:
        provider: The provider's name, for errors; "" when none was found.
        dialect: How to read the answer.
        request: What to send; or the error that making it met, which then ends the call.
        target: Finds out where to send it.
        transport: Sends it.
        options: Clocks, retries, bounds.
        parse: Reads a whole answer; None for a stream.
        answer: Puts a stream together.
        resume: Makes the request for what follows a text; None where that cannot be asked for.
        announces: Whether a chunk says that a try is followed by another before the first content, too.
    """

    provider: str
    dialect: Dialect
    request: Union[Request, AnyLLMError]
    target: Callable[[], Destination]
    transport: Transport
    options: StreamingOptions
    parse: Optional[Callable[[bytes], Any]] = None
    answer: Callable[[], Accumulator] = Assembler
    resume: Optional[Callable[[str], Optional[Request]]] = None
    announces: bool = False
