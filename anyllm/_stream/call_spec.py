"""The specification of one call: request, destination, dialect, options. The pump's only input beside the Context."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Optional, Union

import attrs

from anyllm._stream.answer_reader import Accumulator
from anyllm._transport.http import Transport
from anyllm._transport.redaction import redact_url
from anyllm.errors import AnyLLMError
from anyllm.options import StreamingOptions
from anyllm.types._accumulate import Assembler
from anyllm.wire._base.protocols import Dialect, Request


@attrs.define(frozen=True)
class Destination:
    """
    Where a request goes. Determined on the worker's thread, because getting a key may take time.

    Attributes:
        base_url: Without a slash at its end.
        headers: The provider's own, with the key; the request's headers override them.
        secret: The key, which must not appear in any message.
        sign: Makes the headers that sign a request, from its method, URL, headers and body.
        custom_base_url: The base URL if the user set it, perhaps with a mistake; None for the provider's own.
    """

    base_url: str = attrs.field(repr=redact_url)
    headers: Mapping[str, str] = attrs.field(repr=False)
    secret: Optional[str] = attrs.field(default=None, repr=False)
    sign: Optional[Callable[[str, str, Mapping[str, str], bytes], Mapping[str, str]]] = None
    custom_base_url: Optional[str] = attrs.field(default=None, repr=False)

    def url(self, path: str) -> str:
        """The base URL with *path* appended; a query of the base URL (a version, a token) stays at the end."""
        base, mark, query = self.base_url.partition("?")
        if not mark:
            return base + path
        return f"{base.rstrip('/')}{path}{'&' if '?' in path else '?'}{query}"


@attrs.define(frozen=True)
class CallSpec:
    """
    One call.

    Attributes:
        provider: The provider's name, for errors; "" when none was found.
        dialect: Reads the answer.
        request: The request; or the error of making it, which then ends the call.
        destination: Determines where to send it.
        transport: Sends it.
        options: Clocks, retries, limits.
        parse: Reads a whole answer; None for a stream.
        new_accumulator: Makes what adds the chunks of a stream up.
        resume: Makes the request for the rest of an answer from its beginning; None where the provider has none.
        announce_retries: Whether a chunk announces retries before the first content too.
    """

    provider: str
    dialect: Dialect
    request: Union[Request, AnyLLMError]
    destination: Callable[[], Destination]
    transport: Transport
    options: StreamingOptions
    parse: Optional[Callable[[bytes], Any]] = None
    new_accumulator: Callable[[], Accumulator] = Assembler
    resume: Optional[Callable[[str], Optional[Request]]] = None
    announce_retries: bool = False
