"""
Amazon Nova, whose own format is nearly Converse's: an event is an object with one key, its name in Converse, and
parameters of the models' own stand where the others do.

Sources: https://docs.aws.amazon.com/nova/latest/userguide/complete-request-schema.html,
https://docs.aws.amazon.com/nova/latest/nova2-userguide/request-response-schema.html
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from anyllm._framing.event import Event, JSONEvent
from anyllm.types import Usage, _convert
from anyllm.wire._base.dialect import Dialect
from anyllm.wire._base.encode_json import unsupported
from anyllm.wire._base.surrogate_joiner import mend
from anyllm.wire.bedrock_invoke.families import Family
from anyllm.wire.bedrock_invoke.usage import counted

_VERSION = {"schemaVersion": "messages-v1"}
#: Where Converse has parameters of the models' own, and where this format has them.
_FIELDS, _CONFIG, _REASONING = "additionalModelRequestFields", "inferenceConfig", "reasoningConfig"

_EVENTS = {
    *("messageStart", "contentBlockStart", "contentBlockDelta", "contentBlockStop", "messageStop", "metadata"),
}


def nova(dialect: Dialect) -> Family:
    """The family of Amazon Nova; *dialect* is Converse."""
    return Family(
        dialect=dialect,
        begins=_begins,
        makers=("amazon.nova",),
        event_of=_event_of,
        body_of=_body_of,
        usage_of=_usage_of,
    )


def _begins(first: Mapping[str, Any]) -> bool:
    return not _EVENTS.isdisjoint(first) or isinstance(first.get("output"), dict)


def _event_of(text: str, payload: Mapping[str, Any]) -> Event | None:
    """The event as Converse has it; a whole answer as it is."""
    if "output" in payload:
        return JSONEvent(text)
    body = _convert.loads(text)  # with the halves of characters that *payload* has no more
    name = next((key for key in body if not key.startswith("amazon-bedrock-")), None)
    if name is None:
        return None
    try:
        return JSONEvent(_convert.dumps(body[name]).decode(), mend(name))
    except UnicodeEncodeError:  # half a character, which the next event may complete
        return JSONEvent(json.dumps(body[name]), mend(name))


def _usage_of(payload: Mapping[str, Any]) -> Usage | None:
    """What was counted; the names of what was cached are not Converse's."""
    about = payload.get("metadata", payload)
    raw = about.get("usage") if isinstance(about, dict) else None
    if not isinstance(raw, dict):
        return None
    return counted(raw, "inputTokens", "outputTokens", "cacheReadInputTokenCount", "cacheWriteInputTokenCount")


def _body_of(body: dict[str, Any], provider: str) -> dict[str, Any]:
    for block in _blocks(body.get("messages")):
        if isinstance(block, dict) and "document" in block:
            what = "InvokeModel shows Amazon Nova no documents: Converse does, for which write bedrock/MODEL"
            raise unsupported("file", what, provider)
    fields = body.pop(_FIELDS, None)
    if not isinstance(fields, dict):
        return {**_VERSION, **body}
    config = {**_object(body, _CONFIG), **_object(fields, _CONFIG)}
    if _REASONING in fields:
        config[_REASONING] = fields[_REASONING]
    others = {key: value for key, value in fields.items() if key not in (_CONFIG, _REASONING)}
    return {**_VERSION, **body, **others, **({_CONFIG: config} if config else {})}


def _blocks(messages: Any) -> Iterator[Any]:
    """The blocks of all messages, those in the results of tools included."""
    for message in messages if isinstance(messages, list) else ():
        for block in message.get("content") or () if isinstance(message, dict) else ():
            yield block
            result = block.get("toolResult") if isinstance(block, dict) else None
            yield from result.get("content") or () if isinstance(result, dict) else ()


def _object(body: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = body.get(name)
    return value if isinstance(value, dict) else {}
