"""
The conversation: messages as Google's ``contents`` and ``systemInstruction``, and the parts that both directions share.

Google knows two roles, "user" and "model", wants them to alternate, and accepts the results of calls in a user's turn,
under the names of the functions. ``cache_control`` and ``detail`` have no place there.

Google signs parts: a thought, a piece of the text, an empty piece at the end. A signature is valid only on its own
part. A message has one text, so its ``Reasoning.details`` record where in it each such part was; parts of Google's own
tools (code it ran, searches) are stored there whole.

Sources: https://ai.google.dev/api/caching#Content, https://ai.google.dev/gemini-api/docs/thought-signatures
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from anyllm.errors import InvalidRequestError, UnsupportedParameterError
from anyllm.types import ContentPart, Message, Reasoning, ToolCall, _convert
from anyllm.wire._base.conversation import Media, arguments_of, lift_system, media_in, names_of_calls
from anyllm.wire._base.json_values import whole_number
from anyllm.wire.gemini.tool_calls import is_generated_id, signature_of

#: `Reasoning.field` of Google's reasoning.
FIELD = "thought"
#: Parts of Google's own tools, which are sent back as they came.
TOOL_PARTS = frozenset(("executableCode", "codeExecutionResult", "toolCall", "toolResponse"))
#: How the types of all details of ours begin.
DETAILS = "gemini."
_SIGNED, _PART = f"{DETAILS}signed", f"{DETAILS}part"

#: Media types by the suffix of a URL, of the types that Google accepts and does not look up itself.
#: Source: https://ai.google.dev/gemini-api/docs/file-input-methods
_TYPES = {
    **{kind: f"image/{kind}" for kind in ("png", "jpeg", "webp", "heic", "heif", "gif")},
    **{kind: f"audio/{kind}" for kind in ("wav", "aiff", "aac", "ogg", "flac")},
    **{kind: f"video/{kind}" for kind in ("mp4", "mpeg", "mpg", "webm", "wmv")},
    **{kind: f"text/{kind}" for kind in ("html", "css", "csv", "xml", "rtf")},
    "jpg": "image/jpeg",
    "mp3": "audio/mpeg",
    "mov": "video/quicktime",
    "pdf": "application/pdf",
    "txt": "text/plain",
    "md": "text/markdown",
    "json": "application/json",
}
_RESULTS = ("tool", "function")


# -- conversations -----------------------------------------------------------------------------------------------------


def contents_in_json(messages: Iterable[Message], provider: str) -> dict[str, Any]:
    """
    The keys of the request that hold the conversation.

    Raises:
        InvalidRequestError: a message cannot be sent.
    """
    system, rest = lift_system(messages)
    body: dict[str, Any] = {"contents": _Contents(provider).of(rest)}
    instruction = [part for message in system for part in content_parts(message, provider)]
    return {"systemInstruction": {"parts": instruction}, **body} if instruction else body


class _Contents:
    """The turns of one conversation."""

    def __init__(self, provider: str) -> None:
        self._provider = provider
        self._turns: list[dict[str, Any]] = []
        # By id. Generated ids come again in later turns, and then mean the later call.
        self._names: dict[str, str] = {}
        self._order: dict[str, int] = {}

    def of(self, messages: Iterable[Message]) -> list[dict[str, Any]]:
        results: list[Message] = []
        for message in messages:
            if message.role in _RESULTS:
                results.append(message)
                continue
            self._add_results(results)
            results = []
            if message.role == "assistant":
                self._add("model", [*answer_parts(message, self._provider), *map(self._call, message.tool_calls)])
                self._names.update(names_of_calls([message]))
                self._order = {call.id: at for at, call in enumerate(message.tool_calls) if call.id}
            elif message.role == "user":
                self._add("user", content_parts(message, self._provider))
            else:
                raise _invalid(f"the provider does not support the role {message.role!r}", self._provider)
        self._add_results(results)
        return self._turns

    def _add(self, role: str, parts: list[dict[str, Any]]) -> None:
        """A turn, or more parts of the last one; Google refuses a turn without parts."""
        if parts and self._turns and self._turns[-1]["role"] == role:
            self._turns[-1]["parts"] += parts
        elif parts:
            self._turns.append({"role": role, "parts": parts})

    def _add_results(self, results: list[Message]) -> None:
        """Results in the order of their calls: without ids, the order tells which is which."""
        last = len(self._order)
        results = sorted(results, key=lambda result: self._order.get(result.tool_call_id or "", last))
        self._add("user", [self._result(result) for result in results])

    def _result(self, message: Message) -> dict[str, Any]:
        call_id = message.tool_call_id
        name = message.name or self._names.get(call_id or "")
        if not name:
            reason = f"a result must name its function, and no earlier call has the id {call_id!r}"
            raise _invalid(reason, self._provider)
        result: dict[str, Any] = {} if is_generated_id(call_id) else {"id": call_id}
        result.update(name=name, response=_object_in(message.text))
        media = [part for part in content_parts(message, self._provider) if "text" not in part]
        if media:
            result["parts"] = media
        return {"functionResponse": result}

    def _call(self, call: ToolCall) -> dict[str, Any]:
        return call_part(call, arguments_of(call, self._provider))


# -- parts -------------------------------------------------------------------------------------------------------------


def content_parts(message: Message, provider: str) -> list[dict[str, Any]]:
    """
    The parts of a message's content.

    Raises:
        InvalidRequestError: one cannot be sent.
    """
    if message.name is not None and message.role not in _RESULTS:
        raise UnsupportedParameterError(
            "the provider does not support the parameter name: write it into the content",
            provider=provider,
            param="name",
        )
    if isinstance(message.content, str):
        return [{"text": message.content}]
    return [_part(part, provider) for part in message.content or ()]


def answer_parts(message: Message, provider: str) -> list[dict[str, Any]]:
    """The parts of an answer without its calls: thoughts, text and refusal, with Google's signatures on them."""
    if isinstance(message.content, tuple):
        texts = content_parts(message, provider)
    else:
        texts = text_parts(message.text, message.reasoning)
    refusal = [{"text": message.refusal}] if message.refusal else []
    return [*thought_parts(message.reasoning), *texts, *refusal]


def call_part(call: ToolCall, arguments: Mapping[str, Any], *, with_id: bool | None = None) -> dict[str, Any]:
    """
    The part of a call.

    Args:
        with_id: Whether the call's id is written; None for all ids but generated ones.
    """
    writes_id = not is_generated_id(call.id) if with_id is None else with_id
    function = {**({"id": call.id} if writes_id else {}), "name": call.name or "", "args": arguments}
    signature = signature_of(call)
    return {"functionCall": function, **({"thoughtSignature": signature} if signature else {})}


def _part(part: ContentPart, provider: str) -> dict[str, Any]:
    """One part; keys that only one provider knows are its own part, or stand beside ours."""
    media = media_in(part, provider)
    if media is not None:
        body = _media_part(media)
    elif part.text is not None:
        body = {"text": part.text}
    elif part.extra:
        body = {}
    else:
        raise _invalid(f"the provider does not support parts of type {part.type!r}", provider)
    return {**body, **(part.extra or {})}


def _media_part(media: Media) -> dict[str, Any]:
    if media.base64 is not None:
        return {"inlineData": {"mimeType": media.media_type, "data": media.base64}}
    uri = media.url or media.file_id or ""
    kind = media.media_type or _TYPES.get(urlsplit(uri).path.rpartition(".")[2].lower())
    return {"fileData": {**({"mimeType": kind} if kind else {}), "fileUri": uri}}


def _object_in(text: str) -> dict[str, Any]:
    """A result, which must be an object: any other text becomes one."""
    try:
        result = _convert.loads(text)
    except ValueError:
        result = None
    return result if isinstance(result, dict) else {"result": text}


def _invalid(reason: str, provider: str) -> InvalidRequestError:
    return InvalidRequestError(reason, provider=provider, param="messages")


# -- signed parts ------------------------------------------------------------------------------------------------------


def signed_detail(of: str, start: int, length: int, signature: str) -> dict[str, Any]:
    """
    The detail of a signed part.

    Args:
        of: "text" or "thought".
        start: Where in that text it begins, in characters.
        length: Its length; 0 for an empty part.
        signature: As it came.
    """
    return {"type": _SIGNED, "of": of, "start": start, "end": start + length, "thoughtSignature": signature}


def tool_detail(start: int, part: dict[str, Any]) -> dict[str, Any]:
    """The detail of a part of Google's own tools that came before the text's character *start*."""
    return {"type": _PART, "of": "text", "start": start, "part": part}


def thought_parts(reasoning: Reasoning | None) -> list[dict[str, Any]]:
    """The parts of an answer's reasoning; none of reasoning that came from another provider."""
    if reasoning is None or reasoning.field not in (None, FIELD) or not reasoning.content:
        return []
    parts = _cut(reasoning.content, _details_of(reasoning, "thought"))
    if reasoning.signature and not reasoning.details:
        parts[-1]["thoughtSignature"] = reasoning.signature
    return [{**part, "thought": True} for part in parts]


def text_parts(text: str, reasoning: Reasoning | None) -> list[dict[str, Any]]:
    """The parts of an answer's text, with those of Google's tools in their places."""
    if reasoning is None or reasoning.field not in (None, FIELD):
        return _cut(text, [])
    parts = _cut(text, _details_of(reasoning, "text"))
    if reasoning.signature and not reasoning.details and not reasoning.content:
        parts.append({"text": "", "thoughtSignature": reasoning.signature})
    return parts


def _details_of(reasoning: Reasoning, of: str) -> list[Mapping[str, Any]]:
    """The details of this text, in order; those of other providers mean nothing here."""
    details = [detail for detail in reasoning.details or () if detail.get("of") == of and _is_ours(detail)]
    return sorted(details, key=lambda detail: whole_number(detail.get("start")) or 0)


def _is_ours(detail: Mapping[str, Any]) -> bool:
    kind = detail.get("type")
    if kind == _PART:
        return isinstance(detail.get("part"), Mapping)
    return kind == _SIGNED and isinstance(detail.get("thoughtSignature"), str)


def _cut(text: str, details: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """*text* as parts: those of the details, and the text between them."""
    parts: list[dict[str, Any]] = []
    at = 0
    for detail in details:
        start = max(whole_number(detail.get("start")) or 0, at)
        if text[at:start]:
            parts.append({"text": text[at:start]})
        at = start
        if detail["type"] == _PART:
            parts.append(dict(detail["part"]))
        else:
            at = max(whole_number(detail.get("end")) or 0, start)
            parts.append({"text": text[start:at], "thoughtSignature": detail["thoughtSignature"]})
    if text[at:]:
        parts.append({"text": text[at:]})
    return parts
