"""Plain readings: what a recorded stream says, by a few lines for each format that share no code with the library."""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import re
import struct
from collections.abc import Iterator
from typing import Any

import attrs

from anyllm.types import ChatCompletion


@attrs.define
class Call:
    """A tool call; *arguments* is the text itself, a value that the text has to mean, or None for any text."""

    id: str | None
    name: str
    arguments: Any = ""
    is_complete: bool = True
    #: The id of OpenAI's item, with which the call has to be sent back.
    item_id: str | None = None


@attrs.define
class Reading:
    """What a stream says. None for `id`, `model`, `calls` and `figures` means that the reader does not know."""

    texts: dict[int, str] = attrs.Factory(dict)
    reasoning: dict[int, str] = attrs.Factory(dict)
    finish: dict[int, str] = attrs.Factory(dict)
    calls: dict[int, list[Call]] | None = attrs.Factory(dict)
    id: str | None = None
    model: str | None = None
    #: The provider's own counts.
    usage: dict[str, Any] | None = None
    #: Prompt and completion tokens, for a format whose counts have several homes.
    figures: tuple[int | None, int | None] | None = None
    #: The blocks of reasoning that the next request has to repeat.
    thoughts: list[dict[str, Any]] | None = None
    #: Whether the end of the bytes would be a good end.
    ended: bool = False
    #: The class of the provider's error, its words and its code.
    error: str | None = None
    words: str = ""
    code: str | None = None
    #: Whether the answer before an error can be compared.
    is_comparable: bool = True
    #: Whether the reader knows which event begins a choice.
    has_choices: bool = True

    def add(self, text: str = "", reasoning: str = "", at: int = 0) -> None:
        """Continue both texts of choice *at*, which begins with this if it has not."""
        self.texts[at] = self.texts.get(at, "") + text
        self.reasoning[at] = self.reasoning.get(at, "") + reasoning


def assert_same(answer: ChatCompletion, reading: Reading) -> None:
    """*answer* is what the reading says."""
    if reading.has_choices:
        assert {choice.index for choice in answer.choices} == set(reading.texts)
    elif not answer.choices:
        assert not any(reading.texts.values())
        assert not reading.finish
    for choice in answer.choices:
        message, at = choice.message, choice.index
        assert (message.content or "") == reading.texts.get(at, "")
        assert ((message.reasoning and message.reasoning.content) or "") == reading.reasoning.get(at, "")
        assert choice.raw_finish_reason == reading.finish.get(at)
        if reading.calls is not None:
            calls = reading.calls.get(at, [])
            ours = [(call.id, call.name, call.is_complete) for call in message.tool_calls]
            theirs = [(call.id or f"call_{n}", call.name, call.is_complete) for n, call in enumerate(calls)]
            compared = 3 if any(not call.is_complete for call in calls) else 2
            assert [call[:compared] for call in ours] == [call[:compared] for call in theirs]
            for call, theirs_too in zip(message.tool_calls, calls):
                if isinstance(theirs_too.arguments, str):
                    assert call.arguments == theirs_too.arguments
                elif theirs_too.arguments is not None and theirs_too.is_complete:
                    assert call.parse() == theirs_too.arguments
                if theirs_too.item_id is not None:
                    assert call.extra_content is not None
                    assert call.extra_content["openai"]["item_id"] == theirs_too.item_id
    assert reading.id is None or answer.id == reading.id
    assert reading.model is None or answer.model == reading.model
    if reading.figures is None:
        assert (answer.usage.raw if answer.usage else None) == (reading.usage or None)
    elif reading.ended:
        usage = answer.usage
        assert (usage.prompt_tokens if usage else None, usage.completion_tokens if usage else None) == reading.figures
    if reading.thoughts is not None and answer.choices:
        assert thoughts_of(answer) == reading.thoughts


def thoughts_of(answer: ChatCompletion) -> list[dict[str, Any]]:
    """The details of the reasoning, without what is empty and without what we add."""
    reasoning = answer.to_message().reasoning
    details = (reasoning.details if reasoning else None) or []
    return [{key: value for key, value in detail.items() if value != "" and key != "index"} for detail in details]


# -- from bytes to events ----------------------------------------------------------------------------------------------


def sse_bodies(body: bytes) -> list[Any]:
    """The JSON of each data line up to [DONE]; half a line at the end is none. An array is the list of its elements."""
    text = body.decode("utf-8", "ignore").replace("\r\n", "\n")
    found: list[Any] = []
    if text.startswith("["):
        with contextlib.suppress(ValueError):
            while text := text[1:].strip():
                value, end = json.JSONDecoder().raw_decode(text)
                found, text = [*found, value], text[end:].strip()
        return found
    for line in text.split("\n"):
        if line.startswith("data:"):
            data = line[5:].strip()
            if data == "[DONE]":
                break
            with contextlib.suppress(ValueError):
                found.append(json.loads(data))
    return found


def line_bodies(body: bytes) -> list[Any]:
    """The JSON of each line, which a stream of server-sent events writes "data:" before."""
    found = []
    for line in body.decode("utf-8", "replace").splitlines():
        text = line[5:].strip() if line.startswith("data:") else line.strip()
        if text.startswith("{"):
            with contextlib.suppress(ValueError):
                found.append(json.loads(text))
    return found


def frames_in(body: bytes) -> Iterator[tuple[dict[str, str], bytes]]:
    """The headers and the payload of every AWS frame; half a frame at the end is none."""
    while len(body) >= 16:
        length, headers_length = struct.unpack("!II", body[:8])
        if len(body) < length:
            return
        assert binascii.crc32(body[: length - 4]) == struct.unpack("!I", body[length - 4 : length])[0]
        headers, found = body[12 : 12 + headers_length], {}
        while headers:
            size = headers[0]
            name, rest = headers[1 : 1 + size], headers[1 + size :]
            assert rest[0] == 7  # text
            (size,) = struct.unpack("!H", rest[1:3])
            found[name.decode()], headers = rest[3 : 3 + size].decode(), rest[3 + size :]
        yield found, body[12 + headers_length : length - 4]
        body = body[length:]


def converse_bodies(body: bytes) -> list[Any]:
    """Each event under its name."""
    frames = [(headers, payload) for headers, payload in frames_in(body) if headers[":message-type"] == "event"]
    return [{headers[":event-type"]: json.loads(payload)} for headers, payload in frames]


def invoke_bodies(body: bytes) -> list[Any]:
    """The events of the model's maker, which frames hold in base64; an exception under the key "exception"."""
    found: list[Any] = []
    for headers, payload in frames_in(body):
        if headers[":message-type"] != "event":
            return [*found, {"exception": headers}]
        found.append(json.loads(base64.b64decode(json.loads(payload)["bytes"])))
    return found


# -- Anthropic Messages ------------------------------------------------------------------------------------------------


def anthropic_messages(bodies: list[Any]) -> Reading:
    """Blocks by their indexes, up to the message's stop."""
    made = Reading(id="", model="", thoughts=[])
    blocks: dict[int, dict[str, Any]] = {}
    for body in bodies:
        kind = body["type"]
        if kind == "message_start":
            made.id, made.model = body["message"]["id"], body["message"]["model"]
            made.usage = {**body["message"]["usage"]}
            made.add()
        elif kind == "content_block_start":
            blocks[body["index"]] = {**body["content_block"], "json": "", "is_over": False}
        elif kind == "content_block_delta":
            block, delta = blocks[body["index"]], body["delta"]
            for name in ("text", "thinking", "signature"):
                if name in delta:
                    block[name] = block.get(name, "") + delta[name]
            block["json"] += delta.get("partial_json", "")
        elif kind == "content_block_stop":
            block = blocks[body["index"]]
            block["is_over"] = True
            if block["type"] == "tool_use" and not block["json"]:  # given with the start, or called with none
                block["json"] = json.dumps(block["input"], separators=(",", ":"))
        elif kind == "message_delta":
            if body["delta"]["stop_reason"]:
                made.finish[0] = body["delta"]["stop_reason"]
            counts = {key: value for key, value in body["usage"].items() if value is not None}
            made.usage = {**(made.usage or {}), **counts}
        elif kind == "message_stop":
            made.ended = True
            break
    for block in blocks.values():
        if block["type"] in ("text", "thinking"):
            made.add(block.get("text", ""), block.get("thinking", ""))
        if block["type"] == "tool_use":
            made.calls = {0: [*(made.calls or {}).get(0, []), Call(block["id"], block["name"], block["json"])]}
        if block["type"] == "redacted_thinking" or (block["type"] == "thinking" and block["is_over"]):
            thought = {key: value for key, value in block.items() if key not in ("json", "is_over") and value != ""}
            made.thoughts = [*(made.thoughts or []), thought]
    return made


def whole_anthropic_message(bodies: list[Any]) -> Any:
    """The message that the provider gives where no stream is asked for."""
    reading, blocks = anthropic_messages(bodies), {}
    for body in bodies:
        if body["type"] == "message_stop":
            break
        if body["type"] == "content_block_start":
            blocks[body["index"]] = {**body["content_block"]}
        elif body["type"] == "content_block_delta":
            for name in ("text", "thinking", "signature"):
                if name in body["delta"]:
                    block = blocks[body["index"]]
                    block[name] = block.get(name, "") + body["delta"][name]
    texts = iter((reading.calls or {}).get(0, []))
    for block in blocks.values():
        if block["type"] == "tool_use":
            block["input"] = json.loads(next(texts).arguments or "{}")
    start = next(body["message"] for body in bodies if body["type"] == "message_start")
    return {**start, "content": [*blocks.values()], "stop_reason": reading.finish.get(0), "usage": reading.usage}


# -- OpenAI Chat -------------------------------------------------------------------------------------------------------


def openai_chat(bodies: list[Any]) -> Reading:
    """Deltas by their choices; reasoning and counts wherever a provider puts them."""
    made, calls, audio_over = Reading(), {}, set()
    for body in bodies:
        if body.get("error"):
            message = body["error"] if isinstance(body["error"], str) else body["error"]["message"]
            made.error, made.words = "APIError", message.split("\n")[0].strip()
            break
        counts = [body.get("usage"), (body.get("x_groq") or {}).get("usage")]
        for choice in body.get("choices") or []:
            at, delta = choice["index"], choice.get("delta") or {}
            content = delta.get("content")
            parts = content if isinstance(content, list) else []
            text = content if isinstance(content, str) else "".join(part.get("text", "") for part in parts)
            made.add(text, _chat_reasoning(delta, parts), at)
            if choice.get("finish_reason"):
                made.finish[at] = choice["finish_reason"]
            if (delta.get("audio") or {}).get("expires_at"):
                audio_over.add(at)
            for fragment in delta.get("tool_calls") or []:
                _add_fragment(calls.setdefault(at, []), fragment)
            counts.append(choice.get("usage"))
        made.usage = next((count for count in counts if count), made.usage)
    made.calls = {at: [call for _, call in found] for at, found in calls.items()}
    made.ended = bool(made.texts) and not set(made.texts) - set(made.finish) - audio_over
    return made


def _add_fragment(calls: list[tuple[Any, Call]], fragment: dict[str, Any]) -> None:
    function, at = fragment.get("function") or {}, fragment.get("index")
    here = [call for index, call in calls if index == at]
    if not here or (fragment.get("id") and fragment["id"] not in [call.id for call in here]):
        here = [Call(fragment.get("id"), function.get("name"))]
        calls.append((at, here[0]))
    here[-1].arguments += function.get("arguments") or ""


def _chat_reasoning(delta: dict[str, Any], parts: list[dict[str, Any]]) -> str:
    thoughts = "".join(piece["text"] for part in parts for piece in part.get("thinking") or [])
    details = "".join(
        detail.get("text") or detail.get("summary") or "" for detail in delta.get("reasoning_details") or []
    )
    return delta.get("reasoning_content") or delta.get("reasoning") or thoughts or details or ""


# -- OpenAI Responses --------------------------------------------------------------------------------------------------

RESPONSE_ENDS = ("response.completed", "response.incomplete", "response.failed")
RESPONSE_CALLS = ("function_call", "custom_tool_call")


def response_bodies(body: bytes) -> list[Any]:
    """Events up to the first end: one recording holds four responses, one after the other."""
    bodies = []
    for found in sse_bodies(body):
        bodies.append(found)
        if found["type"] in RESPONSE_ENDS:
            break
    return bodies


def final_response(bodies: list[Any]) -> Any:
    """The whole response in the last event, which is None where it has no items, or where there is no such event."""
    final = next((body["response"] for body in bodies if body["type"] in RESPONSE_ENDS), None)
    return final if final and final["output"] else None


def openai_responses(bodies: list[Any]) -> Reading:
    """Items by their places in the output; the last event says why it ended and what it cost."""
    made, calls, thoughts, custom = Reading(has_choices=False), {}, {}, set()
    for body in bodies:
        kind = body["type"]
        if kind == "error":
            made.error, made.words, made.code = "APIError", body["error"]["message"], body["error"]["code"]
            break
        if kind == "response.created":
            made.id, made.model = body["response"]["id"], body["response"]["model"]
            custom = {tool["name"] for tool in body["response"]["tools"] if tool["type"] == "custom"}
        elif kind == "response.output_text.delta":
            made.add(body["delta"])
        elif kind in ("response.reasoning_summary_text.delta", "response.reasoning_text.delta"):
            part = (body["output_index"], body.get("summary_index"), body.get("content_index"))
            thoughts[part] = thoughts.get(part, "") + body["delta"]
            made.add()
        elif kind == "response.output_item.added" and body["item"]["type"] in RESPONSE_CALLS:
            item = body["item"]
            if item["type"] == "function_call" or item["name"] in custom:
                calls[body["output_index"]] = Call(item["call_id"], item["name"], item_id=item["id"])
                made.add()
        elif kind in ("response.function_call_arguments.delta", "response.custom_tool_call_input.delta"):
            if body["output_index"] in calls:
                calls[body["output_index"]].arguments += body["delta"]
        elif kind in RESPONSE_ENDS:
            details = body["response"].get("incomplete_details")
            made.finish[0] = details["reason"] if details else body["response"]["status"]
            made.usage, made.ended = body["response"].get("usage"), True
            made.id, made.model = body["response"]["id"], body["response"]["model"]
            made.add()
    if thoughts:
        made.add(reasoning="\n\n".join(thoughts.values()))
    made.calls = {0: [*calls.values()]}
    return made


# -- Ollama ------------------------------------------------------------------------------------------------------------


def ollama(bodies: list[Any]) -> Reading:
    """Messages, or pieces of a completion; the last line has the counts."""
    made, calls = Reading(), []
    for body in bodies:
        message = body.get("message") or {**body, "content": body["response"]}
        made.add(message.get("content") or "", message.get("thinking") or "")
        calls += [call["function"] for call in message.get("tool_calls") or []]
        made.usage = {key: value for key, value in body.items() if key.endswith(("_count", "_duration"))}
        made.ended, made.model = body.get("done", False), body["model"]
        if body.get("done_reason"):
            made.finish[0] = body["done_reason"]
    made.calls = {0: [Call(None, call["name"], call["arguments"]) for call in calls]}
    return made


def whole_ollama_answer(bodies: list[Any]) -> Any:
    """As the server itself makes it: pieces joined, and the figures of the last line."""
    reading, first, last = ollama(bodies), bodies[0], bodies[-1]
    text, thinking = reading.texts[0], reading.reasoning[0]
    if "response" in first:
        return {**last, "response": text, "created_at": first["created_at"]}
    calls = [call for line in bodies for call in line["message"].get("tool_calls") or ()]
    more = {key: value for key, value in (("thinking", thinking), ("tool_calls", calls)) if value}
    return {**last, "message": {"role": "assistant", "content": text, **more}, "created_at": first["created_at"]}


# -- Gemini ------------------------------------------------------------------------------------------------------------

#: Reasons that are no end but a failure.
GEMINI_FAILURES = ("MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL")


def gemini(bodies: list[Any]) -> Reading:
    """The parts of each candidate; arguments may come in pieces, under paths that are all "$.name"."""
    made, calls = Reading(id="", model=""), {}
    for body in bodies:
        made.id, made.model = made.id or body.get("responseId", ""), made.model or body.get("modelVersion", "")
        if "promptTokenCount" in (body.get("usageMetadata") or {}):
            made.usage = body["usageMetadata"]
        for candidate in body.get("candidates") or []:
            at = candidate.get("index", 0)
            if candidate.get("finishReason") in GEMINI_FAILURES:
                made.error, made.code, made.is_comparable = "ServerError", candidate["finishReason"], False
                return made
            made.add(at=at)
            for part in (candidate.get("content") or {}).get("parts") or []:
                made.add(**{"reasoning" if part.get("thought") else "text": part.get("text", "")}, at=at)
                if "functionCall" in part:
                    _add_gemini_call(calls.setdefault(at, []), part["functionCall"])
            if candidate.get("finishReason"):
                made.finish[at] = candidate["finishReason"]
    made.calls = calls
    made.ended = bool(made.texts) and not set(made.texts) - set(made.finish)
    return made


def _add_gemini_call(calls: list[Call], call: dict[str, Any]) -> None:
    if call.get("name"):
        calls.append(Call(call.get("id"), call["name"], dict(call.get("args") or {})))
    else:
        for piece in call.get("partialArgs") or []:
            name, arguments = piece["jsonPath"][2:], calls[-1].arguments
            arguments[name] = arguments.get(name, "") + piece["stringValue"]
    calls[-1].is_complete = not call.get("willContinue", False)


# -- Cohere ------------------------------------------------------------------------------------------------------------


def cohere_v2(bodies: list[Any]) -> Reading:
    """Events of one message; a call without arguments has the empty object as soon as it has ended."""
    made, calls = Reading(id=""), []
    for body in bodies:
        kind, message = body["type"], (body.get("delta") or {}).get("message") or {}
        if kind == "message-start":
            made.id = body["id"]
            made.add()
        elif kind in ("content-start", "content-delta"):
            made.add(message["content"].get("text") or "", message["content"].get("thinking") or "")
        elif kind == "tool-plan-delta":
            made.add(reasoning=message["tool_plan"])
        elif kind == "tool-call-start":
            call = message["tool_calls"]
            calls.append(Call(call["id"], call["function"]["name"], call["function"]["arguments"]))
        elif kind == "tool-call-delta":
            calls[body["index"]].arguments += message["tool_calls"]["function"]["arguments"]
        elif kind == "tool-call-end":
            calls[body["index"]].arguments = calls[body["index"]].arguments or "{}"
        elif kind == "message-end":
            made.finish[0], made.usage, made.ended = body["delta"]["finish_reason"], body["delta"]["usage"], True
    made.calls = {0: calls}
    return made


#: Finish reasons that are no ends but failures.
COHERE_FAILURES = {"ERROR": "ServerError", "ERROR_TOXIC": "ContentFilterError", "TIMEOUT": "ServerError"}
COHERE_FAILURES["ERROR_LIMIT"] = "ContextLengthExceededError"


def cohere_v1(bodies: list[Any]) -> Reading:
    """Text and calls, which the last event repeats; calls in pieces alone are joined by their indexes."""
    made, calls = Reading(id="", calls=None), []
    pieces: dict[Any, list[str]] = {}
    for body in bodies:
        kind, delta = body.get("event_type"), body.get("tool_call_delta") or {}
        if kind is None or body.get("error"):
            made.error = "APIError"
        if kind == "stream-start":
            made.id = body.get("generation_id") or ""
            made.add()
        elif kind in ("text-generation", "tool-calls-chunk"):
            made.add(body.get("text") or delta.get("text") or "")
        elif kind == "tool-calls-generation":
            made.add("" if made.texts.get(0) else body.get("text") or "")
            calls = [(call["name"], call["parameters"]) for call in body["tool_calls"]]
        elif kind == "stream-end":
            answer = body.get("response") or {}
            made.ended = True
            made.id = made.id or answer.get("generation_id") or answer.get("response_id") or ""
            made.add("" if made.texts.get(0) else answer.get("text") or "")
            finish, meta = body.get("finish_reason") or answer.get("finish_reason"), answer.get("meta") or {}
            made.usage = meta if not {"tokens", "billed_units"}.isdisjoint(meta) else None
            if finish:
                made.finish[0] = finish
            if answer.get("tool_calls"):
                calls = [(call["name"], call["parameters"]) for call in answer["tool_calls"]]
        if "index" in delta:
            pieces.setdefault(delta["index"], []).append(delta.get("name") or "")
            pieces[delta["index"]].append(delta.get("parameters") or "")
    if made.ended and made.finish.get(0) in COHERE_FAILURES and made.error is None:
        made.error, made.is_comparable = COHERE_FAILURES[made.finish[0]], False
    if made.ended and made.error is None:
        found = [(names[0], json.loads("".join(names[1:]) or "{}")) for names in pieces.values()]
        made.calls = {0: [Call(None, name, arguments) for name, arguments in calls or found]}
    return made


def whole_cohere_v1_answer(bodies: list[Any]) -> Any:
    """The answer that the last event repeats, with its finish reason; None where it is not there."""
    answer = bodies[-1].get("response") or {}
    reason = bodies[-1].get("finish_reason") or answer.get("finish_reason")
    return {**answer, "finish_reason": reason} if answer.get("text") else None


# -- Bedrock Converse --------------------------------------------------------------------------------------------------


def bedrock_converse(bodies: list[Any]) -> Reading:
    """Blocks by their indexes; calls that the provider ran itself are none of ours."""
    made, calls = Reading(has_choices=False), {}
    for name, body in (item for found in bodies for item in found.items()):
        at = body.get("contentBlockIndex")
        if name == "messageStart":
            made.add()
        elif name == "messageStop":
            made.finish[0], made.ended = body["stopReason"], True
            made.add()
        elif name == "metadata":
            made.usage = body.get("usage")
        elif name == "contentBlockStart":
            call = body["start"].get("toolUse")
            if call and call.get("type") != "server_tool_use":
                calls[at] = Call(call["toolUseId"], call["name"])
        elif name == "contentBlockDelta":
            delta = body["delta"]
            made.add(delta.get("text", ""), delta.get("reasoningContent", {}).get("text", ""))
            if at in calls:
                calls[at].arguments += delta["toolUse"]["input"]
    made.calls = {0: [*calls.values()]}
    return made


def converse_thoughts(bodies: list[Any]) -> list[dict[str, str]]:
    """The pieces of each block of reasoning, joined."""
    thoughts: dict[int, dict[str, str]] = {}
    for body in (found["contentBlockDelta"] for found in bodies if "contentBlockDelta" in found):
        for key, piece in body["delta"].get("reasoningContent", {}).items():
            thought = thoughts.setdefault(body["contentBlockIndex"], {})
            thought[key] = thought.get(key, "") + piece
    return [*thoughts.values()]


def whole_converse_answer(bodies: list[Any]) -> Any:
    """The answer that the provider gives where no stream is asked for."""
    blocks: dict[int, dict[str, Any]] = {}
    made: dict[str, Any] = {}
    for name, event in (item for found in bodies for item in found.items()):
        at = event.get("contentBlockIndex")
        if name == "contentBlockStart":
            blocks[at] = {key: {**value} for key, value in event["start"].items()}
        elif name == "contentBlockDelta":
            _add_to_block(blocks.setdefault(at, {}), event["delta"])
        elif name in ("messageStop", "metadata"):
            made.update(event)
    for block in blocks.values():
        if "toolUse" in block:
            block["toolUse"]["input"] = json.loads(block["toolUse"].get("input") or "{}")
    return {"output": {"message": {"role": "assistant", "content": [blocks[at] for at in sorted(blocks)]}}, **made}


def _add_to_block(block: dict[str, Any], delta: dict[str, Any]) -> None:
    for key, piece in delta.items():
        if key == "text":
            block["text"] = block.get("text", "") + piece
        elif key == "toolUse":
            block["toolUse"]["input"] = block["toolUse"].get("input", "") + piece["input"]
        elif key == "reasoningContent":
            inner = block.setdefault("reasoningContent", {})
            if "redactedContent" in piece:
                inner.update(piece)
            else:
                text = inner.setdefault("reasoningText", {})
                text.update({name: text.get(name, "") + more for name, more in piece.items()})


# -- Bedrock InvokeModel -----------------------------------------------------------------------------------------------

METRICS = "amazon-bedrock-invocationMetrics"
NOVA = {"messageStart", "contentBlockStart", "contentBlockDelta", "contentBlockStop", "messageStop", "metadata"}
TITAN = ("inputTextTokenCount", "totalOutputTextTokenCount")


def bedrock_invoke(bodies: list[Any]) -> Reading:
    """The events of whichever maker, told apart by their keys."""
    found = _InvokeModel()
    for body in bodies:
        found.read(body)
    metrics = [body[METRICS] for body in bodies if isinstance(body.get(METRICS), dict)]
    if metrics and not (found.prompt or found.completion):
        found.count(metrics[-1], "inputTokenCount", "outputTokenCount")
    text, thought = without_tags(found.text, found.ended)
    made = Reading(texts={0: text}, reasoning={0: found.thought + thought}, ended=found.ended, has_choices=False)
    made.figures = (found.prompt, found.completion)
    if found.finish:
        made.finish[0] = found.finish
    made.calls = {0: [Call(call["id"], call["name"], call["arguments"]) for call in found.calls.values()]}
    for call in made.calls[0]:
        call.arguments = json.loads(call.arguments.strip() or "{}") if found.ended else None
    failed = any(body.get("error") or body.get("type") == "error" for body in bodies)
    failed = failed or any(key.endswith(("Exception", "exception")) for body in bodies for key in body)
    if failed or found.finish in COHERE_FAILURES:
        made.error, made.is_comparable = "APIError", False
    return made


def without_tags(text: str, ended: bool) -> tuple[str, str]:
    """The answer, and the reasoning before it; of a stream that goes on, without what may become a tag."""
    thought, opened = "", "<reasoning>"
    while text.startswith(opened):
        inner, closed, text = text[len(opened) :].partition("</reasoning>")
        thought += inner if closed or ended else re.sub("<(/(r(e(a(s(o(n(i(n(g)?)?)?)?)?)?)?)?)?)?$", "", inner)
    return ("" if not ended and opened.startswith(text) else text), thought


class _InvokeModel:
    """Pieces joined, ends and counts, by the format of each maker."""

    def __init__(self) -> None:
        self.text = self.thought = ""
        self.finish: str | None = None
        self.ended = False
        self.calls: dict[int, dict[str, str]] = {}
        self.prompt: int | None = None
        self.completion: int | None = None
        self.counts: dict[str, Any] = {}

    def read(self, body: dict[str, Any]) -> None:
        if "event_type" in body:
            self._cohere(body)
        elif body.get("type") in ("message_start", "content_block_start", "content_block_delta", "message_delta"):
            self._anthropic(body)
        elif body.get("type") == "message_stop":
            self.ended = True
        elif isinstance(body.get("choices"), list):
            self._chat(body)
        elif any(name in NOVA for name in body):
            self._nova(*next((name, inner) for name, inner in body.items() if name in NOVA))
        else:
            self._generator(body)

    def _anthropic(self, body: dict[str, Any]) -> None:
        at, delta, block = body.get("index", 0), body.get("delta", {}), body.get("content_block", {})
        self.text += delta.get("text", "") + block.get("text", "")
        self.thought += delta.get("thinking", "") + block.get("thinking", "")
        if block.get("type") == "tool_use":
            self.calls[at] = {"id": block["id"], "name": block["name"], "arguments": ""}
        if delta.get("type") == "input_json_delta" and at in self.calls:
            self.calls[at]["arguments"] += delta["partial_json"]
        self.finish = delta.get("stop_reason") or self.finish
        usage = {**body.get("usage", {}), **body.get("message", {}).get("usage", {})}
        self.counts.update({name: value for name, value in usage.items() if value is not None})
        self.count(
            *(self.counts, "input_tokens", "output_tokens"), "cache_read_input_tokens", "cache_creation_input_tokens"
        )

    def _nova(self, name: str, body: dict[str, Any]) -> None:
        at = body.get("contentBlockIndex", 0)
        if name == "contentBlockStart":
            call = body["start"].get("toolUse")
            if call:
                self.calls[at] = {"id": call["toolUseId"], "name": call["name"], "arguments": ""}
        elif name == "contentBlockDelta":
            self.text += body["delta"].get("text", "")
            self.thought += body["delta"].get("reasoningContent", {}).get("text", "")
            if at in self.calls:
                self.calls[at]["arguments"] += body["delta"].get("toolUse", {}).get("input", "")
        elif name == "messageStop":
            self.finish, self.ended = body["stopReason"], True
        elif name == "metadata":
            cached = ("cacheReadInputTokenCount", "cacheWriteInputTokenCount")
            self.count(body.get("usage", {}), "inputTokens", "outputTokens", *cached)

    def _cohere(self, body: dict[str, Any]) -> None:
        answer = body.get("response") or {}
        if body["event_type"] in ("text-generation", "tool-calls-chunk"):
            self.text += body.get("text") or (body.get("tool_call_delta") or {}).get("text") or ""
        if body["event_type"] == "tool-calls-generation":
            self.text = self.text or body.get("text") or ""
        for at, call in enumerate(body.get("tool_calls") or answer.get("tool_calls") or ()):
            self.calls[at] = {"id": f"call_{at}", "name": call["name"], "arguments": json.dumps(call["parameters"])}
        if body["event_type"] == "stream-end":
            self.ended, self.finish = True, body.get("finish_reason") or answer.get("finish_reason")
            self.text = self.text or answer.get("text") or ""
            meta = answer.get("meta") or {}
            self.count(meta.get("tokens") or meta.get("billed_units") or {}, "input_tokens", "output_tokens")

    def _chat(self, body: dict[str, Any]) -> None:
        for choice in body["choices"]:
            message = choice.get("delta") or choice.get("message") or {"content": choice.get("text")}
            self.text += message.get("content") or ""
            self.thought += message.get("reasoning") or message.get("reasoning_content") or ""
            for at, call in enumerate(message.get("tool_calls") or ()):
                found = self.calls.setdefault(call.get("index", at), {"id": "", "name": "", "arguments": ""})
                found["id"] = found["id"] or call.get("id") or ""
                found["name"] = found["name"] or call["function"].get("name") or ""
                found["arguments"] += call["function"].get("arguments") or ""
            self._end(choice.get("finish_reason") or choice.get("stop_reason"))
        self.count(body.get("usage") or {}, "prompt_tokens", "completion_tokens")

    def _generator(self, body: dict[str, Any]) -> None:
        parts = body.get("outputs") or body.get("generations") or [body]
        for part in parts[:1]:
            texts = (part.get(name) for name in ("outputText", "completion", "generation", "text"))
            self.text += next((text for text in texts if isinstance(text, str)), "")
            self._end(part.get("completionReason") or part.get("stop_reason") or part.get("finish_reason"))
        trace = (body.get("amazon-bedrock-trace") or {}).get("guardrail") or {}
        if not self.ended and "blocked" in (trace.get("actionReason") or "").lower():
            self._end(body["amazon-bedrock-guardrailAction"])
        for names in (("prompt_token_count", "generation_token_count"), TITAN):
            self.counts.update({name: body[name] for name in names if body.get(name) is not None})
            if all(name in self.counts for name in names):
                self.count(self.counts, *names)

    def _end(self, reason: str | None) -> None:
        if reason:
            self.finish, self.ended = reason, True

    def count(self, counts: dict[str, Any], prompt: str, completion: str, *cached: str) -> None:
        if counts.get(prompt) is not None or counts.get(completion) is not None:
            self.prompt = int(counts.get(prompt) or 0) + sum(int(counts.get(name) or 0) for name in cached)
            self.completion = int(counts.get(completion) or 0)
