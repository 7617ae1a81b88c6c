"""
A client's requests to ``/api/chat`` and ``/api/generate``, read into our parameters.

Strategy: nearly every client of Ollama sends settings of the machine (``num_ctx``, ``keep_alive``), which do not change
what an answer means: these are `ChatRequest.ignorable_fields`. ``num_ctx`` is one of them: elsewhere the context is the
model's own, and a prompt that Ollama would cut is refused. Settings that change the answer (``top_k``,
``repeat_penalty``) stay in ``unknown_fields``, unless their value turns them off.

Source: https://docs.ollama.com/api/chat, https://docs.ollama.com/api/generate, https://docs.ollama.com/modelfile
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

from anyllm.types import ContentPart
from anyllm.wire._base.chat_request import ChatRequest, params_of
from anyllm.wire._base.request_fields import Fields, wrong
from anyllm.wire._base.writer import json_line
from anyllm.wire.ollama.dialect import OllamaDialect as Dialect
from anyllm.wire.ollama.fields import NANO, OPTIONS, TOP_LEVEL, read_call, read_format, read_think, time_text
from anyllm.wire.ollama.server.call_ids import OpenCalls
from anyllm.wire.ollama.server.writer import OllamaChat, OllamaGenerate

__all__ = ["load_answer", "read_chat", "read_generate"]

#: Settings beside the options: how long the model stays in memory, and what happens to a prompt that is too long.
_IGNORABLE = ("keep_alive", "truncate", "shift")
#: Options about the machine, and ``repeat_last_n``, which only gives another option its range.
_IGNORABLE_OPTIONS = frozenset(
    (
        *("num_ctx", "num_keep", "num_batch", "num_thread", "num_gpu", "main_gpu", "numa", "low_vram", "f16_kv"),
        *("use_mmap", "use_mlock", "vocab_only", "logits_all", "embedding_only", "penalize_newline", "repeat_last_n"),
    )
)
#: Options that the value 1 turns off; false and 0 turn off all others.
_OFF_BY_ONE = ("repeat_penalty", "tfs_z", "typical_p")
#: Fields of ``/api/generate`` that ``/api/chat``, which our own requests go to, does not have.
_ONLY_GENERATE = ("suffix", "template", "raw", "context")
#: Values of keep_alive with which a request without messages unloads the model.
_UNLOAD = (0, "0", "0s", "0m", "0h")


def read_chat(body: Any) -> ChatRequest:
    """
    A request to ``/api/chat``.

    Raises:
        InvalidRequestError: it cannot be understood.
    """
    fields = Fields(body)
    model = fields.need("model", str)
    messages = _messages(fields)
    tools = [tool for _, tool in fields.objects("tools")]
    return _chat_request(fields, model, messages, OllamaChat(model), tools)


def read_generate(body: Any) -> ChatRequest:
    """A request to ``/api/generate``; errors as `read_chat` has them."""
    fields = Fields(body)
    model = fields.need("model", str)
    for name in _ONLY_GENERATE:
        if fields.take(name):
            raise wrong(name, f"{name} is not supported here: requests go on to providers as a conversation")
    prompt, system = fields.take("prompt", str), fields.take("system", str)
    content = _content(prompt or "", fields)
    messages = [{"role": "system", "content": system}] if system else []
    messages = [*messages, {"role": "user", "content": content}] if prompt else []
    return _chat_request(fields, model, messages, OllamaGenerate(model), [])


def load_answer(request: ChatRequest, now: float) -> bytes:
    """The answer to a request without messages, which only loads or unloads the model; *now* is in Unix seconds."""
    format = request.format if isinstance(request.format, OllamaChat) else OllamaChat()
    reason = "unload" if request.ignorable_fields.get("keep_alive") in _UNLOAD else "load"
    head = {"model": request.params.model, "created_at": time_text(int(now * NANO))}
    return json_line({**head, **format.last_fields({"content": ""}, {}, reason, {})})


# -- parameters --------------------------------------------------------------------------------------------------------


def _chat_request(
    fields: Fields, model: str, messages: list[dict[str, Any]], format: OllamaChat, tools: list[Any]
) -> ChatRequest:
    """The rest of a request, which both paths have in common."""
    stream = fields.take("stream", bool)
    ignorable = {name: value for name in _IGNORABLE if (value := fields.take(name)) is not None}
    params, ignorable_options, unknown_options = _options(fields.take("options", dict) or {})
    params["response_format"] = read_format(fields.take("format", str, dict))
    think = fields.take("think", bool, str)
    if think is not None:
        params["reasoning_effort"] = read_think(think)
        if think is True:
            ignorable["think"] = True  # an Ollama server chooses the level itself
    params.update({name: fields.take(name, kind) for name, kind in TOP_LEVEL.items()})
    completion_params = params_of({**params, "model": model, "messages": messages, "tools": tools or None})
    unknown = fields.rest()
    if unknown_options:
        unknown["options"] = unknown_options
    if ignorable_options:
        ignorable["options"] = ignorable_options
    return ChatRequest(completion_params, stream is not False, format, unknown, (Dialect,), ignorable)


def _options(options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Our parameters in the options, the options that may be ignored, and all others."""
    fields = Fields(options, "options")
    params: dict[str, Any] = {name: fields.take(name, float) for name in ("temperature", "top_p")}
    stop = params["stop"] = fields.take("stop", str, list) or None
    if isinstance(stop, list) and not all(isinstance(text, str) for text in stop):
        raise fields.wrong("stop", "must be a list of strings")
    params["seed"], limit = fields.integer("seed"), fields.integer("num_predict")
    is_limited = limit is not None and limit > 0
    params["max_tokens"] = limit if is_limited else None
    others = {name: value for name, value in options.items() if value is not None and name not in OPTIONS.values()}
    ignorable = {name: value for name, value in others.items() if name in _IGNORABLE_OPTIONS or _is_off(name, value)}
    if limit is not None and not is_limited:
        ignorable["num_predict"] = limit  # one of the two values that mean no limit
    return params, ignorable, {name: value for name, value in others.items() if name not in ignorable}


def _is_off(name: str, value: Any) -> bool:
    return not value or (name in _OFF_BY_ONE and not isinstance(value, (str, bool)) and value == 1)


# -- messages ----------------------------------------------------------------------------------------------------------


def _messages(fields: Fields) -> list[dict[str, Any]]:
    items = [(message, message.objects("tool_calls")) for message, _ in fields.objects("messages")]
    open_calls = OpenCalls(call["id"] for _, calls in items for _, call in calls if isinstance(call.get("id"), str))
    return [_message(message, [call for call, _ in calls], open_calls) for message, calls in items]


def _message(fields: Fields, calls: Sequence[Fields], open_calls: OpenCalls) -> dict[str, Any]:
    """One message. Ollama ignores keys that it does not know, and so do we."""
    role = fields.need("role", str)
    message: dict[str, Any] = {"role": role, "content": _content(fields.take("content", str) or "", fields)}
    thinking = fields.take("thinking", str)
    if role == "assistant" and thinking:
        message["reasoning"] = {"content": thinking}  # without a field: every provider has its own
    message["tool_calls"] = [_call(call, open_calls) for call in calls]
    call_id, name, older_name = (fields.take(key, str) for key in ("tool_call_id", "tool_name", "name"))
    if role == "tool":
        name = name or older_name or None
        message["tool_call_id"], function = open_calls.answer(call_id, name)
        message["name"] = None if function == name else name
    return message


def _call(fields: Fields, open_calls: OpenCalls) -> dict[str, Any]:
    call_id, name, arguments = read_call(fields, dict)
    try:
        text = json.dumps(arguments or {}, separators=(",", ":"), ensure_ascii=False)
    except RecursionError as exc:
        raise fields.wrong("function.arguments", "is nested too deeply") from exc
    return {"id": open_calls.add(call_id, name), "function": {"name": name, "arguments": text}}


def _content(text: str, fields: Fields) -> Any:
    """The text; with images, a list of parts."""
    images = fields.take("images", list)
    if not images:
        return text
    parts = [{"type": "text", "text": text}] if text else []
    return [*parts, *(_image(image, fields, f"images[{place}]") for place, image in enumerate(images))]


def _image(image: Any, fields: Fields, name: str) -> ContentPart:
    """An image; its first bytes tell its media type."""
    if not isinstance(image, str):
        raise fields.wrong(name, "must be a string, of base64")
    try:
        part = ContentPart.from_image(base64.b64decode(image.replace("\n", "").replace("\r", ""), validate=True))
    except ValueError as exc:
        raise fields.wrong(name, f"is no image in base64: {exc}") from exc
    if not (part.image_url or {}).get("url", "").startswith("data:image/"):
        raise fields.wrong(name, "is no image")
    return part
