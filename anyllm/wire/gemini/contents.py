"""
The conversation: messages as Google's ``contents`` and ``systemInstruction``.

Google knows two roles, "user" and "model", wants them to take turns, and takes the results of calls as a user's turn,
under the names of the functions. ``cache_control`` and ``detail`` have no place there.

Source: https://ai.google.dev/api/caching#Content
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

from anyllm.errors import InvalidRequestError, UnsupportedParameterError
from anyllm.types import ContentPart, Message, ToolCall, _convert
from anyllm.wire._base.conversation import Media, arguments_of, lift_system, media_in, names_of_calls
from anyllm.wire.gemini import signatures
from anyllm.wire.gemini.tool_calls import made_up, signature_of

#: What the end of a URL says of what lies there, for the types that Google takes and does not look up itself.
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


def contents_in_json(messages: Iterable[Message], provider: str) -> dict[str, Any]:
    """
    The keys of the request that hold the conversation.

    Raises:
        InvalidRequestError: a message cannot be sent.
    """
    system, rest = lift_system(messages)
    body: dict[str, Any] = {"contents": _Contents(provider).of(rest)}
    told = [part for message in system for part in _content_parts(message, provider)]
    return {"systemInstruction": {"parts": told}, **body} if told else body


class _Contents:
    """Turns of one conversation, as they are put together."""

    def __init__(self, provider: str) -> None:
        self._provider = provider
        self._turns: list[dict[str, Any]] = []
        # By id. Ids that we made up come again in later turns, and then mean the later call.
        self._names: dict[str, str] = {}
        self._order: dict[str, int] = {}

    def of(self, messages: Iterable[Message]) -> list[dict[str, Any]]:
        """The turns of *messages*."""
        results: list[Message] = []
        for message in messages:
            if message.role in _RESULTS:
                results.append(message)
                continue
            self._add_results(results)
            results = []
            if message.role == "assistant":
                self._add("model", self._answer(message))
                self._names.update(names_of_calls([message]))
                self._order = {call.id: at for at, call in enumerate(message.tool_calls) if call.id}
            elif message.role == "user":
                self._add("user", _content_parts(message, self._provider))
            else:
                raise _wrong(f"this host knows no role {message.role!r}", self._provider)
        self._add_results(results)
        return self._turns

    def _add(self, role: str, parts: list[dict[str, Any]]) -> None:
        """One turn, or more of the last; a turn without parts is none, and would be refused."""
        if parts and self._turns and self._turns[-1]["role"] == role:
            self._turns[-1]["parts"] += parts
        elif parts:
            self._turns.append({"role": role, "parts": parts})

    def _add_results(self, results: list[Message]) -> None:
        """The results in the order of their calls: without ids, that is how they are told apart."""
        last = len(self._order)
        results = sorted(results, key=lambda result: self._order.get(result.tool_call_id or "", last))
        self._add("user", [self._result(result) for result in results])

    def _result(self, message: Message) -> dict[str, Any]:
        call_id = message.tool_call_id
        name = message.name or self._names.get(call_id or "")
        if not name:
            what = f"a result must name its function, and no earlier call has the id {call_id!r}"
            raise _wrong(what, self._provider)
        result: dict[str, Any] = {} if made_up(call_id) else {"id": call_id}
        result.update(name=name, response=_object_in(message.text))
        shown = [part for part in _content_parts(message, self._provider) if "text" not in part]
        if shown:
            result["parts"] = shown
        return {"functionResponse": result}

    def _answer(self, message: Message) -> list[dict[str, Any]]:
        """The thoughts, the text, the calls, with what Google signed."""
        if isinstance(message.content, tuple):
            said = _content_parts(message, self._provider)
        else:
            said = signatures.text_parts(message.text, message.reasoning)
        refusal = [{"text": message.refusal}] if message.refusal else []
        calls = [self._call(call) for call in message.tool_calls]
        return [*signatures.thought_parts(message.reasoning), *said, *refusal, *calls]

    def _call(self, call: ToolCall) -> dict[str, Any]:
        function: dict[str, Any] = {} if made_up(call.id) else {"id": call.id}
        function.update(name=call.name or "", args=arguments_of(call, self._provider))
        signature = signature_of(call)
        return {"functionCall": function, **({"thoughtSignature": signature} if signature else {})}


def _content_parts(message: Message, provider: str) -> list[dict[str, Any]]:
    if message.name is not None and message.role not in _RESULTS:
        raise UnsupportedParameterError(
            "name is not something this host takes: write it into the content", provider=provider, param="name"
        )
    if isinstance(message.content, str):
        return [{"text": message.content}]
    return [_part(part, provider) for part in message.content or ()]


def _part(part: ContentPart, provider: str) -> dict[str, Any]:
    """One part; the keys that only a host knows are the host's own part, or stand beside ours."""
    media = media_in(part, provider)
    if media is not None:
        body = _shown(media)
    elif part.text is not None:
        body = {"text": part.text}
    elif part.extra:
        body = {}
    else:
        raise _wrong(f"this host knows no part of type {part.type!r}", provider)
    return {**body, **(part.extra or {})}


def _shown(media: Media) -> dict[str, Any]:
    if media.base64 is not None:
        return {"inlineData": {"mimeType": media.media_type, "data": media.base64}}
    uri = media.url or media.file_id or ""
    kind = media.media_type or _TYPES.get(urlsplit(uri).path.rpartition(".")[2].lower())
    return {"fileData": {**({"mimeType": kind} if kind else {}), "fileUri": uri}}


def _object_in(text: str) -> dict[str, Any]:
    """A result, which must be an object: what is none becomes one."""
    try:
        result = _convert.loads(text)
    except ValueError:
        result = None
    return result if isinstance(result, dict) else {"result": text}


def _wrong(what: str, provider: str) -> InvalidRequestError:
    return InvalidRequestError(what, provider=provider, param="messages")
