"""Whole answers, also of providers that stream although the request did not ask for it."""

from __future__ import annotations

from anyllm._framing.body_events import events
from anyllm.errors import AnyLLMError, APIError, MalformedStreamError
from anyllm.types import ChatCompletion
from anyllm.types._accumulate import Assembler
from anyllm.wire._base.protocols import Dialect

__all__ = ["whole_answer"]


def whole_answer(dialect: Dialect, body: bytes) -> ChatCompletion:
    """
    The answer in *body*: one JSON document, or the stream that the same dialect decodes.

    The content type is ignored: it is wrong too often. A body counts as a stream when *dialect* cannot read it as a
    whole, and reading it as a stream gives at least one chunk or the provider's error.

    Raises:
        APIError: the body is the provider's error.
        IncompleteStreamError: it is a stream that ends before the answer does; ``partial`` contains what came.
        MalformedStreamError: it is neither.
    """
    try:
        return dialect.response(body)
    except MalformedStreamError as exc:
        malformed = exc
    answer = Assembler()
    try:
        decoder = dialect.decoder()
        for event in events([body], max_event_bytes=len(body)):
            for chunk in decoder.feed(event):
                answer.add(chunk)
            if decoder.done:
                break
        for chunk in decoder.finish():
            answer.add(chunk)
    except AnyLLMError as exc:
        if answer.has_begun:
            exc.partial = answer.snapshot()
        elif not isinstance(exc, APIError):
            raise malformed from malformed.__cause__
        raise
    if not answer.has_begun:
        raise malformed from malformed.__cause__
    return answer.snapshot()
