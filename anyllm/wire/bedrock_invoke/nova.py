"""
Amazon Nova's format, which is nearly Converse's.

An event is an object with one key, its name in Converse. Fields that only Nova has are beside the common ones.

Sources: https://docs.aws.amazon.com/nova/latest/userguide/complete-request-schema.html,
https://docs.aws.amazon.com/nova/latest/nova2-userguide/request-response-schema.html
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from anyllm._framing.event import Event, JSONEvent
from anyllm.types import Usage, _convert
from anyllm.wire._base.block_decoder import usage_of
from anyllm.wire._base.encode_json import unsupported
from anyllm.wire._base.json_values import json_object
from anyllm.wire._base.protocols import Dialect
from anyllm.wire._base.surrogate_joiner import mend
from anyllm.wire.bedrock_invoke.families import BEDROCK_PREFIX, Family

_VERSION = {"schemaVersion": "messages-v1"}
#: The fields of options that only one model has: in Converse, and in this format.
_FIELDS, _CONFIG, _REASONING = "additionalModelRequestFields", "inferenceConfig", "reasoningConfig"

_USAGE_KEYS = ("inputTokens", "outputTokens", "cacheReadInputTokenCount", "cacheWriteInputTokenCount")
_EVENTS = {
    *("messageStart", "contentBlockStart", "contentBlockDelta", "contentBlockStop", "messageStop", "metadata"),
}


def nova(dialect: Dialect) -> Family:
    """The family of Amazon Nova; *dialect* is Converse."""
    return Family(
        dialect=dialect,
        matches=_matches,
        model_prefixes=("amazon.nova",),
        convert_event=_convert_event,
        convert_body=_convert_body,
        read_usage=_read_usage,
    )


def _matches(first: Mapping[str, Any]) -> bool:
    return not _EVENTS.isdisjoint(first) or isinstance(first.get("output"), dict)


def _convert_event(text: str, payload: Mapping[str, Any]) -> Event | None:
    """The event in Converse's format; a whole answer as it is."""
    if "output" in payload:
        return JSONEvent(text)
    body = _convert.loads(text)  # with the surrogate halves, which *payload* has replaced
    name = next((key for key in body if not key.startswith(BEDROCK_PREFIX)), None)
    if name is None:
        return None
    try:
        return JSONEvent(_convert.dumps(body[name]).decode(), mend(name))
    except UnicodeEncodeError:  # half a surrogate pair, which the next event may complete
        return JSONEvent(json.dumps(body[name]), mend(name))


def _read_usage(payload: Mapping[str, Any]) -> Usage | None:
    """The usage, whose names of cached tokens are not Converse's."""
    return usage_of(json_object(payload.get("metadata", payload)).get("usage"), _USAGE_KEYS)


def _convert_body(body: dict[str, Any], provider: str) -> dict[str, Any]:
    for block in _blocks(body.get("messages")):
        if isinstance(block, dict) and "document" in block:
            what = "Amazon Nova supports no documents through InvokeModel; use bedrock/MODEL, through Converse"
            raise unsupported("file", what, provider)
    fields = body.pop(_FIELDS, None)
    if not isinstance(fields, dict):
        return {**_VERSION, **body}
    config = {**json_object(body.get(_CONFIG)), **json_object(fields.get(_CONFIG))}
    if _REASONING in fields:
        config[_REASONING] = fields[_REASONING]
    others = {key: value for key, value in fields.items() if key not in (_CONFIG, _REASONING)}
    return {**_VERSION, **body, **others, **({_CONFIG: config} if config else {})}


def _blocks(messages: Any) -> Iterator[Any]:
    """The blocks of all messages, including those in tool results."""
    for message in messages if isinstance(messages, list) else ():
        for block in message.get("content") or () if isinstance(message, dict) else ():
            yield block
            result = block.get("toolResult") if isinstance(block, dict) else None
            yield from result.get("content") or () if isinstance(result, dict) else ()
