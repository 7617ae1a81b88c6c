"""Google's generateContent as servers speak it, whose model and streaming are in the URL."""

from __future__ import annotations

import base64
import functools
import json
from typing import Any

import attrs
from hypothesis import strategies as st
from params_strategies import SCHEMAS, TEXTS, TOOLS, conversations, params, text_part
from server_profile import ServerProfile

from anyllm.types import CompletionParams, ContentPart
from anyllm.wire.gemini.server.request_reader import read_generate
from anyllm.wire.gemini.server.writer import Gemini

# -- requests ----------------------------------------------------------------------------------------------------------

MODEL = "gemini-3-pro"  # which thinks by levels
HI = [{"role": "user", "parts": [{"text": "Hi"}]}]
SIGNED = base64.b64encode(b"what Google signed").decode()
SETTINGS: dict[str, Any] = {
    "temperature": 0.5,
    "topP": 0.9,
    "maxOutputTokens": 5,
    "stopSequences": ["a"],
    "candidateCount": 2,
    "seed": 4,
    "responseLogprobs": True,
    "logprobs": 3,
}


EVERYTHING_NATIVE = {
    "contents": HI,
    "safetySettings": [{"category": "C", "threshold": "BLOCK_NONE"}],
    "cachedContent": "cachedContents/1",
    "generationConfig": {"temperature": 0, "topK": 3, "thinkingConfig": {"ofItsOwn": 1, "includeThoughts": True}},
    "labels": {"a": "b"},
    "toolConfig": {"functionCallingConfig": {"mode": "VALIDATED"}, "retrievalConfig": {"languageCode": "de"}},
    "tools": [{"functionDeclarations": [{"name": "f"}]}, {"googleSearch": {}}, {"codeExecution": {}}],
}
#: Parts that would be others in our own shape: a type that the address does not tell, a text that looks like an object.
PARTS: list[Any] = [
    {"fileData": {"mimeType": "image/png", "fileUri": "https://g.example/v1beta/files/abc"}},
    {"fileData": {"mimeType": "application/pdf", "fileUri": "gs://bucket/x.pdf"}},
    {"fileData": {"fileUri": "http://[malformed"}},
    {"functionResponse": {"name": "f", "response": {"result": '{"a": 1}'}}},
    {"functionResponse": {"name": "f", "response": {"result": "{"}}},
    {"functionResponse": {"name": "f", "response": {"result": "a", "b": 1}}},
    {"functionResponse": {"name": "f", "response": {}}},
]
MODEL_PARTS = [
    {"text": "see"},
    {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}, "thoughtSignature": SIGNED},
]
RESULT = {"functionResponse": {"name": "f", "response": {"a": 1}}}
MARK = {"thoughtSignature": SIGNED}
SIGNED_PARTS = [
    *({"text": "hm,", "thought": True, **MARK}, {"text": " well", "thought": True}, {"text": "one "}),
    {"executableCode": {"language": "PYTHON", "code": "1"}, **MARK},
    *({"text": "two ", **MARK}, {"text": "three"}, {"text": "", **MARK}),
    {"functionCall": {"name": "f", "args": {}}, **MARK},
]
UNCHANGED: dict[str, Any] = {
    "keys without a parameter": EVERYTHING_NATIVE,
    "a choice of several functions": {
        "contents": HI,
        "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f", "g"]}},
    },
    "signed parts": {"contents": [*HI, {"role": "model", "parts": SIGNED_PARTS}, {"role": "user", "parts": [RESULT]}]},
    "a result without a call": {"contents": [{"role": "user", "parts": [RESULT]}]},
    "parts that only Google knows": {
        "contents": [*HI, {"role": "model", "parts": MODEL_PARTS}, {"role": "user", "parts": [{"ofItsOwn": {"a": 1}}]}]
    },
    **{f"part {number}": {"contents": [{"role": "user", "parts": [part]}]} for number, part in enumerate(PARTS)},
}
WRONG: list[Any] = [
    ([], None),
    ({}, "contents"),
    ({"contents": "Hi"}, "contents"),
    ({"contents": [1]}, "contents[0]"),
    ({"contents": [{"role": "system", "parts": []}]}, "contents[0].role"),
    ({"contents": [{"parts": [{}]}]}, "contents"),
    ({"contents": [{"parts": [{"text": 1}]}]}, "contents[0].parts[0].text"),
    ({"contents": [{"parts": [], "other": 1}]}, "contents[0].other"),
    ({"contents": [{"role": "model", "parts": [{"functionCall": {}}]}]}, "functionCall.name"),
    ({"contents": [{"role": "model", "parts": [{"functionCall": {"name": "f", "args": []}}]}]}, "functionCall.args"),
    (
        {"contents": [{"role": "model", "parts": [{"functionCall": {"name": "f", "willContinue": True}}]}]},
        "functionCall.willContinue",
    ),
    ({"contents": [{"parts": [{"functionResponse": {"response": {}}}]}]}, "functionResponse.name"),
    ({"contents": [{"parts": [{"inlineData": {"data": "QQ=="}}]}]}, "inlineData.mimeType"),
    ({"contents": [{"parts": [{"fileData": {"fileUri": 1}}]}]}, "fileData.fileUri"),
    ({"contents": HI, "generationConfig": {"maxOutputTokens": 1.5}}, "generationConfig.maxOutputTokens"),
    ({"contents": HI, "generationConfig": {"temperature": "1"}}, "generationConfig.temperature"),
    ({"contents": HI, "generationConfig": {"stopSequences": [1]}}, "generationConfig.stopSequences"),
    ({"contents": HI, "tools": [{"functionDeclarations": [{}]}]}, "tools[0].functionDeclarations[0].name"),
    ({"contents": HI, "toolConfig": {"functionCallingConfig": 1}}, "toolConfig.functionCallingConfig"),
]
FULL: dict[str, Any] = {
    "contents": [
        {"role": "user", "parts": [{"text": "a"}, {"inlineData": {"mimeType": "image/png", "data": "QQ=="}}]},
        {
            "role": "model",
            "parts": [
                {"text": "t", "thought": True, "thoughtSignature": SIGNED},
                {"executableCode": {"code": "1"}},
                {"functionCall": {"id": "x", "name": "f", "args": {"a": 1}}},
            ],
        },
        {"role": "user", "parts": [{"functionResponse": {"id": "x", "name": "f", "response": {"result": "1"}}}]},
        {"role": "user", "parts": [{"fileData": {"mimeType": "image/png", "fileUri": "gs://a/b"}}]},
    ],
    "systemInstruction": {"parts": [{"text": "s"}]},
    "tools": [{"functionDeclarations": [{"name": "f", "parameters": {"type": "OBJECT"}}]}, {"googleSearch": {}}],
    "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}},
    "generationConfig": {**SETTINGS, "responseSchema": {"type": "OBJECT"}, "thinkingConfig": {"thinkingLevel": "LOW"}},
}

IMAGE = ContentPart("image_url", image_url={"url": "data:image/png;base64,iVBORw0KGgo="})
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "temperature": st.floats(0, 2),
    "top_p": st.floats(0, 1),
    "max_tokens": st.integers(1, 10**6),
    "stop": st.lists(TEXTS, min_size=1, max_size=3),
    "n": st.integers(2, 8),
    "seed": st.integers(0, 2**31),
    "logprobs": st.just(True),
    "top_logprobs": st.integers(1, 5),
    "response_format": st.just({"type": "json_object"})
    | SCHEMAS.map(lambda schema: {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}),
    # Google has no ``strict``.
    "tools": TOOLS.filter(lambda tools: not any("strict" in tool["function"] for tool in tools)),
    "tool_choice": st.sampled_from(["auto", "none", "required", {"type": "function", "function": {"name": "f"}}]),
}
CONVERSATIONS = conversations(users=TEXTS | TEXTS.map(lambda text: (text_part(text), IMAGE)))
#: With an effort, or with a budget, which says exactly what an effort says roughly.
PARAMS = params(CONVERSATIONS, **FIELDS, thinking_budget=st.integers(0, 32000)) | params(
    CONVERSATIONS, reasoning_effort=st.sampled_from(("low", "medium", "high"))
)


def params_read(params: CompletionParams) -> CompletionParams:
    """The results are in the order of their calls, which is how Google tells them apart."""
    order = {call.id: at for message in params.messages for at, call in enumerate(message.tool_calls)}
    messages: list[Any] = []
    for message in params.messages:
        at = len(messages)
        while message.role == "tool" and messages[at - 1].role == "tool":
            if order[messages[at - 1].tool_call_id] < order[message.tool_call_id]:
                break
            at -= 1
        messages.insert(at, message)
    return params.evolve(messages=messages, model=MODEL)


# -- answers -----------------------------------------------------------------------------------------------------------

ENDS = [
    (None, None, {"finishReason": "STOP"}),
    ("stop", "end_turn", {"finishReason": "STOP"}),
    ("length", "max_tokens", {"finishReason": "MAX_TOKENS"}),
    ("content_filter", "refusal", {"finishReason": "SAFETY"}),
    ("unknown", "pause_turn", {"finishReason": "OTHER", "finishMessage": "pause_turn"}),
]


def end(events: list[Any]) -> Any:
    (candidate,) = events[-1]["candidates"]
    return {key: value for key, value in candidate.items() if key.startswith("finish")}


PROFILE = ServerProfile(
    id="gemini",
    name="gemini",
    format=Gemini,
    read=functools.partial(read_generate, model=MODEL, stream=True),
    params=PARAMS,
    params_read=params_read,
    full=FULL,
    unchanged=UNCHANGED,
    wrong=WRONG,
    deep={"contents": HI, "generationConfig": {"responseSchema": "DEEP"}},
    model=MODEL,
    ends=ENDS,
    end=end,
    keeps=frozenset(("id", "order", "extra")),
    needs_objects=True,
    adds_end=True,
    keeps_events=("gemini",),
    counts=("reasoning_tokens", "cache_read_tokens"),
)
#: The same where the stream is a list.
ARRAY_PROFILE = attrs.evolve(
    PROFILE,
    id="gemini-array",
    format=functools.partial(Gemini, array=True),
    events=lambda body: list(json.loads(body)),
    refusal=lambda body: [body],
)
