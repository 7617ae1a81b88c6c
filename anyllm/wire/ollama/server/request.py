"""
Requests in Ollama's own API, ``/api/chat`` and ``/api/generate``.

Strategy: nearly every client of Ollama sends settings of the machine (``num_ctx``, ``keep_alive``), which no provider
of another format needs and which do not change what an answer means: these are `ChatRequest.ignorable_fields`.
``num_ctx`` is one of them: elsewhere the context is the model's own, and a prompt that Ollama would cut is refused.
Settings that change the answer (``top_k``, ``repeat_penalty``) stay in ``unknown_fields``, as everywhere, unless their
value turns them off.

Source: https://docs.ollama.com/api/chat, https://docs.ollama.com/api/generate, https://docs.ollama.com/modelfile
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any, Optional

from anyllm.types import ContentPart
from anyllm.wire._base.chat_request import ChatRequest, MadeIds, params_of
from anyllm.wire._base.request_fields import Fields, wrong
from anyllm.wire.ollama.dialect import OllamaDialect as Dialect
from anyllm.wire.ollama.server.writer import OllamaChat, OllamaGenerate

__all__ = ["read_chat", "read_generate"]

#: How long a model is kept, and what becomes of a prompt that is too long: beside the options.
_HINTS = ("keep_alive", "truncate", "shift")
#: How the machine is used. The last says of how many tokens another option speaks.
_HINT_OPTIONS = frozenset(
    (
        *("num_ctx", "num_keep", "num_batch", "num_thread", "num_gpu", "main_gpu", "numa", "low_vram", "f16_kv"),
        *("use_mmap", "use_mlock", "vocab_only", "logits_all", "embedding_only", "penalize_newline", "repeat_last_n"),
    )
)
#: Options that are turned off by 1; all others are by what is false or 0.
_OFF_BY_ONE = ("repeat_penalty", "tfs_z", "typical_p")
_LEVELS = ("low", "medium", "high", "max")
#: What ``/api/generate`` alone knows, and our requests, which go to ``/api/chat``, cannot ask any host.
_OF_GENERATE = ("suffix", "template", "raw", "context")


def read_chat(body: Any) -> ChatRequest:
    """
    A request to ``/api/chat``.

    Raises:
        InvalidRequestError: it cannot be understood.
    """
    fields = Fields(body)
    model = fields.need("model", str)
    messages = _Conversation().read(fields)
    tools = [tool for _, tool in fields.objects("tools")]
    return _asked(fields, model, messages, OllamaChat(model), tools)


def read_generate(body: Any) -> ChatRequest:
    """
    A request to ``/api/generate``.

    Raises:
        InvalidRequestError: it cannot be understood, or wants what only that path of an Ollama server can do.
    """
    fields = Fields(body)
    model = fields.need("model", str)
    for name in _OF_GENERATE:
        if fields.take(name):
            raise wrong(name, f"{name} is not served here: models are asked for the next turn of a conversation")
    prompt, system = fields.take("prompt", str), fields.take("system", str)
    parts = _with_images(prompt or "", fields.take("images", list), "images")
    messages = [{"role": "system", "content": system}] if system else []
    messages = [*messages, {"role": "user", "content": parts}] if prompt else []
    return _asked(fields, model, messages, OllamaGenerate(model), [])


# -- parameters --------------------------------------------------------------------------------------------------------


def _asked(
    fields: Fields, model: str, messages: list[dict[str, Any]], wanted: OllamaChat, tools: list[Any]
) -> ChatRequest:
    """What both paths have in common."""
    stream = fields.take("stream", bool)
    ignorable_fields = {name: value for name in _HINTS if (value := fields.take(name)) is not None}
    given, hint_options, further_options = _options(fields.take("options", dict) or {})
    given["response_format"] = _response_format(fields.take("format", str, dict))
    think = fields.take("think", bool, str)
    if think is not None:
        given["reasoning_effort"] = _effort(think)
        if think is True:
            ignorable_fields["think"] = True  # a level, to hosts that know some; it is a host's own to choose one
    given["logprobs"] = fields.take("logprobs", bool)
    given["top_logprobs"] = fields.take("top_logprobs", int)
    params = params_of({**given, "model": model, "messages": messages, "tools": tools or None})
    unknown_fields = fields.rest()
    if further_options:
        unknown_fields["options"] = further_options
    if hint_options:
        ignorable_fields["options"] = hint_options
    return ChatRequest(params, stream is not False, wanted, unknown_fields, (Dialect,), ignorable_fields)


def _options(said: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """The options that are parameters of ours, those that are hints, and the others."""
    fields = Fields(said, "options")
    given: dict[str, Any] = {name: fields.take(name, float) for name in ("temperature", "top_p")}
    given["seed"] = _whole(fields, "seed")
    given["stop"] = _stop(fields.take("stop", str, list))
    longest = _whole(fields, "num_predict")
    given["max_tokens"] = longest if longest is not None and longest > 0 else None
    left = {name: value for name, value in said.items() if value is not None and name not in given}
    left.pop("num_predict", None)
    ignorable_fields = {name: value for name, value in left.items() if name in _HINT_OPTIONS or _is_off(name, value)}
    if longest is not None and longest <= 0:
        ignorable_fields["num_predict"] = longest  # no limit, of which there are two kinds
    return given, ignorable_fields, {name: value for name, value in left.items() if name not in ignorable_fields}


def _is_off(name: str, value: Any) -> bool:
    return not value or (name in _OFF_BY_ONE and not isinstance(value, (str, bool)) and value == 1)


def _whole(fields: Fields, name: str) -> Optional[int]:
    """An integer, which some clients write as 128.0."""
    value = fields.take(name, float)
    if isinstance(value, float):
        if not value.is_integer():
            raise wrong(f"options.{name}", f"options.{name} must be an integer, not {value}")
        return int(value)
    return None if value is None else int(value)


def _stop(value: Any) -> Any:
    for item in value if isinstance(value, list) else ():
        if not isinstance(item, str):
            raise wrong("options.stop", "options.stop must be a list of strings")
    return value or None


def _response_format(value: Any) -> Optional[dict[str, Any]]:
    if isinstance(value, dict):
        return {"type": "json_schema", "json_schema": {"name": "answer", "schema": value}}
    if value not in (None, "", "json"):
        raise wrong("format", f'format must be "json" or a schema, not {value!r:.40}')
    return {"type": "json_object"} if value else None


def _effort(think: Any) -> str:
    if isinstance(think, bool):
        return "medium" if think else "none"
    if think not in _LEVELS:
        raise wrong("think", f"think must be true, false, or one of {', '.join(_LEVELS)}, not {think!r:.40}")
    return str(think)


# -- messages ----------------------------------------------------------------------------------------------------------


class _Conversation:
    """
    Reads messages, and makes up the ids that calls lack, so that results can quote them.

    A result that quotes no id answers the oldest open call of its tool; where it names none, the oldest of all.
    """

    def __init__(self) -> None:
        self._made = MadeIds()
        self._known: set[str] = set()
        self._open: dict[str, str] = {}  # the ids of calls without a result, and their tools
        self._open_of: dict[str, dict[str, None]] = {}  # the ids by tool, the oldest first

    def read(self, fields: Fields) -> list[dict[str, Any]]:
        items = fields.objects("messages")
        for _, message in items:
            calls = message.get("tool_calls")
            self._known.update(
                call["id"]
                for call in (calls if isinstance(calls, list) else ())
                if isinstance(call, Mapping) and isinstance(call.get("id"), str)
            )
        return [self._message(message, f"messages[{place}]") for place, (message, _) in enumerate(items)]

    def _message(self, fields: Fields, where: str) -> dict[str, Any]:
        """One message. Keys that Ollama does not know it passes over, and so do we."""
        role = fields.need("role", str)
        content = fields.take("content", str) or ""
        said: dict[str, Any] = {
            "role": role,
            "content": _with_images(content, fields.take("images", list), f"{where}.images"),
        }
        thinking = fields.take("thinking", str)
        called = fields.objects("tool_calls")
        calls = [self._call(call, f"{where}.tool_calls[{at}]") for at, (call, _) in enumerate(called)]
        call_id, named = fields.take("tool_call_id", str), fields.take("tool_name", str)
        older = fields.take("name", str)
        if role == "assistant" and thinking:
            said["reasoning"] = {"content": thinking}  # under whichever name its host has for it
        if calls:
            said["tool_calls"] = calls
        if role == "tool":
            said.update(self._answered(call_id, named or older))
        return said

    def _call(self, fields: Fields, where: str) -> dict[str, Any]:
        function = Fields(fields.need("function", dict), f"{where}.function")
        name = function.need("name", str)
        call_id = fields.take("id", str) or self._made.new(self._known)
        self._open[call_id] = name
        self._open_of.setdefault(name, {})[call_id] = None
        return {"id": call_id, "function": {"name": name, "arguments": _text_of(function, where)}}

    def _answered(self, call_id: Optional[str], name: Optional[str]) -> dict[str, Any]:
        if not call_id:
            call_id = next(iter(self._open_of.get(name, {}) if name else self._open), None)
        tool = self._open.pop(call_id, None) if call_id else None
        if tool is not None and call_id:
            self._open_of[tool].pop(call_id, None)
        said = {"tool_call_id": call_id, "name": None if tool == name else name}
        return {key: value for key, value in said.items() if value}


def _text_of(function: Fields, where: str) -> str:
    """The arguments of a call, which are an object here, as JSON text."""
    try:
        return json.dumps(function.take("arguments", dict) or {}, separators=(",", ":"), ensure_ascii=False)
    except RecursionError as exc:
        raise wrong("messages", f"{where}.function.arguments are nested too deeply") from exc


def _with_images(text: str, images: Any, where: str) -> Any:
    """The text, or, with images, the parts of it."""
    if not images:
        return text
    parts = [{"type": "text", "text": text}] if text else []
    return [*parts, *(_image(image, f"{where}[{place}]") for place, image in enumerate(images))]


def _image(image: Any, where: str) -> dict[str, Any]:
    """An image, whose kind its first bytes tell."""
    if not isinstance(image, str):
        raise wrong(where, f"{where} must be a string, of base64")
    try:
        data = base64.b64decode(image.replace("\n", "").replace("\r", ""), validate=True)
    except (binascii.Error, ValueError) as exc:
        raise wrong(where, f"{where} is no base64: {exc}") from exc
    try:
        part = ContentPart.from_image(data)
    except ValueError as exc:
        raise wrong(where, f"{where} is no image of a known kind") from exc
    url = (part.image_url or {}).get("url", "")
    if not url.startswith("data:image/"):
        raise wrong(where, f"{where} is no image")
    return {"type": "image_url", "image_url": {"url": url}}
