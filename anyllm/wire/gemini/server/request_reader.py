"""
A client's request in Google's ``generateContent``: contents become messages, settings become parameters.

Source: https://ai.google.dev/api/generate-content
"""

from __future__ import annotations

from typing import Any

from anyllm.wire._base.chat_request import ChatRequest, params_of, parted
from anyllm.wire._base.request_fields import wrong
from anyllm.wire.gemini.contents import read_contents
from anyllm.wire.gemini.dialect import GeminiDialect
from anyllm.wire.gemini.parameters import RequestParams
from anyllm.wire.gemini.parts import GoogleFields
from anyllm.wire.gemini.server.writer import Gemini

__all__ = ["read_generate"]

#: How the answer is billed and counted.
_IGNORABLE = frozenset(("labels", "serviceTier"))


def read_generate(body: Any, *, model: str, stream: bool, array: bool = False) -> ChatRequest:
    """
    A request for an answer; its URL has the model and the method.

    Args:
        model: With or without "models/".
        stream: Whether the method is ``streamGenerateContent``.
        array: Whether the stream is a JSON list: without ``alt=sse``.

    Raises:
        InvalidRequestError: it is malformed.
    """
    model = model.removeprefix("models/")
    try:
        fields = GoogleFields(body)
        fields.take("model")  # some clients repeat it; the URL counts
        messages = read_contents(fields)
        read = RequestParams(fields)
        params = params_of({**read.values, "model": model, "messages": messages})
    except RecursionError as exc:
        raise wrong(None, "the body is nested too deeply") from exc
    unknown_fields, ignorable_fields = parted({**fields.rest(), **read.unknown_fields}, _IGNORABLE)
    ignorable_fields.update(read.ignorable_fields)
    answer_format = Gemini(model, array, include_thoughts=read.include_thoughts)
    return ChatRequest(params, stream, answer_format, unknown_fields, (GeminiDialect,), ignorable_fields)
