"""
How a host is asked to go on from the beginning of an answer, which stands as the last message.

Some take it for that by itself, some want the message marked, some the request.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from anyllm.types import CompletionParams, Message
from anyllm.wire._base.encode_json import unsupported
from anyllm.wire.openai_chat.request import messages_in_json


@attrs.define(frozen=True, kw_only=True)
class Prefill:
    """
    What is added for it.

    Attributes:
        message: To the message.
        body: To the request.
    """

    message: Mapping[str, Any] = attrs.field(factory=dict)
    body: Mapping[str, Any] = attrs.field(factory=dict)

    def applied(
        self, params: CompletionParams, text: str, *, reasoning_key: str | None, provider: str
    ) -> CompletionParams:
        """
        *params* with *text* as the beginning of the answer.

        Raises:
            UnsupportedParameterError: the messages are the caller's own JSON.
        """
        extra = dict(params.extra_body or {})
        if "messages" in extra:
            raise unsupported("extra_body", "what follows a text cannot be asked for in messages of your own", provider)
        messages = messages_in_json((*params.messages, Message.assistant(text)), reasoning_key=reasoning_key)
        messages[-1].update(self.message)
        return params.evolve(extra_body={**extra, **self.body, "messages": messages})
