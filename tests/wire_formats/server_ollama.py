"""Ollama's API as servers speak it: chat, and generate, whose answers have other keys."""

from __future__ import annotations

import base64
from typing import Any

import attrs
from hypothesis import strategies as st
from params_strategies import NONE, SCHEMAS, TEXTS, TOOLS, conversations, params, text_part
from server_profile import ServerProfile, lines

from anyllm.types import REASONING_EFFORTS, CompletionParams, ContentPart
from anyllm.wire.ollama.server.request_reader import read_chat
from anyllm.wire.ollama.server.writer import OllamaChat, OllamaGenerate

# -- requests ----------------------------------------------------------------------------------------------------------

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n rest").decode()
USER = {"role": "user", "content": "Hi"}
TOOL = {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
FUNCTION = {"name": "f", "arguments": {}}
WRONG: list[Any] = [
    (None, None),
    ([], None),
    ({}, "model"),
    ({"model": 7, "messages": []}, "model"),
    ({"model": "m", "messages": {}}, "messages"),
    ({"model": "m", "messages": ["Hi"]}, "messages[0]"),
    ({"model": "m", "messages": [{"content": "x"}]}, "messages[0].role"),
    ({"model": "m", "messages": [{"role": "user", "content": ["x"]}]}, "messages[0].content"),
    ({"model": "m", "messages": [{**USER, "images": [7]}]}, "messages[0].images[0]"),
    ({"model": "m", "messages": [{**USER, "images": ["no base64!"]}]}, "messages[0].images[0]"),
    ({"model": "m", "messages": [{**USER, "images": ["eA=="]}]}, "messages[0].images[0]"),
    ({"model": "m", "messages": [{**USER, "images": ["JVBERi0="]}]}, "messages[0].images[0]"),
    ({"model": "m", "messages": [{**USER, "tool_calls": [7]}]}, "messages[0].tool_calls[0]"),
    ({"model": "m", "messages": [{**USER, "tool_calls": [{}]}]}, "messages[0].tool_calls[0].function"),
    (
        {"model": "m", "messages": [{**USER, "tool_calls": [{"function": {}}]}]},
        "messages[0].tool_calls[0].function.name",
    ),
    (
        {"model": "m", "messages": [{**USER, "tool_calls": [{"function": {**FUNCTION, "arguments": "{}"}}]}]},
        "messages[0].tool_calls[0].function.arguments",
    ),
    ({"model": "m", "messages": [], "tools": [7]}, "tools[0]"),
    ({"model": "m", "messages": [], "stream": "yes"}, "stream"),
    ({"model": "m", "messages": [], "think": "hard"}, "think"),
    ({"model": "m", "messages": [], "format": "xml"}, "format"),
    ({"model": "m", "messages": [], "options": []}, "options"),
    ({"model": "m", "messages": [], "options": {"temperature": "hot"}}, "options.temperature"),
    ({"model": "m", "messages": [], "options": {"num_predict": 1.5}}, "options.num_predict"),
    ({"model": "m", "messages": [], "options": {"seed": float("inf")}}, "options.seed"),
    ({"model": "m", "messages": [], "options": {"stop": [7]}}, "options.stop"),
]

FULL = {
    "model": "m",
    "messages": [
        {"role": "user", "content": "Hi", "images": [PNG]},
        {
            "role": "assistant",
            "content": "",
            "thinking": "hm",
            "tool_calls": [{"id": "c", "function": {"index": 0, "name": "f", "arguments": {"x": 1}}}],
        },
        {"role": "tool", "content": "r", "tool_name": "f", "tool_call_id": "c"},
    ],
    "prompt": "Hi",
    "system": "s",
    "images": [PNG],
    "tools": [TOOL],
    "format": SCHEMA,
    "think": True,
    "stream": False,
    "options": {"temperature": 1, "top_p": 1, "seed": 1, "stop": ["x"], "num_predict": 1, "top_k": 1, "num_ctx": 1},
    "keep_alive": 1,
    "logprobs": True,
    "top_logprobs": 1,
}

UNCHANGED: dict[str, Any] = {
    "options": {
        "model": "m",
        "messages": [USER],
        "options": {"temperature": 0.5, "num_predict": -2, "num_ctx": 9, "top_k": 40, "stop": ["x"]},
        "keep_alive": 0,
        "dimensions": 3,
        "stream": True,
    },
    **{
        f"think {think}": {"model": "m", "messages": [USER], "stream": False, "think": think}
        for think in (False, True, "low", "medium", "high")
    },
}

IMAGES = st.sampled_from([b"\x89PNG\r\n\x1a\n rest", b"\xff\xd8\xff rest"]).map(ContentPart.from_image)
#: One text, and images after it, as the format has them.
CONTENTS = TEXTS | st.builds(
    lambda text, images: [*map(text_part, text), *images],
    st.lists(TEXTS, max_size=1),
    st.lists(IMAGES, min_size=1, max_size=2),
)
NUMBERS = st.floats(0, 2) | st.integers(0, 2)
FIELDS = {
    "temperature": NUMBERS,
    "top_p": NUMBERS,
    "max_tokens": st.integers(1, 10**6),
    "seed": st.integers(0, 10**6),
    "stop": st.lists(TEXTS, min_size=1, max_size=2),
    "tools": TOOLS,
    "response_format": st.just({"type": "json_object"})
    | SCHEMAS.map(lambda schema: {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}),
    "reasoning_effort": st.sampled_from(REASONING_EFFORTS),
    "logprobs": st.booleans(),
    "top_logprobs": st.integers(1, 5),
}
#: The efforts that the format has no level for.
EFFORTS = {"minimal": "low", "xhigh": "high", "auto": None}


def params_read(params: CompletionParams) -> CompletionParams:
    return params.evolve(reasoning_effort=EFFORTS.get(params.reasoning_effort or "", params.reasoning_effort))


# -- answers -----------------------------------------------------------------------------------------------------------

PROFILE = ServerProfile(
    id="ollama",
    name="ollama",
    format=OllamaChat,
    events=lines,
    read=read_chat,
    params=params(conversations(users=CONTENTS, reasoning=NONE | TEXTS), **FIELDS),
    params_read=params_read,
    full=FULL,
    unchanged=UNCHANGED,
    wrong=WRONG,
    deep={"model": "m", "messages": [{**USER, "tool_calls": [{"function": {**FUNCTION, "arguments": "DEEP"}}]}]},
    ends=[
        ("stop", "end_turn", "stop"),
        ("tool_calls", "tool_use", "stop"),
        ("length", "MAX_TOKENS", "length"),
        # An answer that was withheld did not stop by itself, whatever Ollama would call it.
        ("content_filter", "SAFETY", "content_filter"),
        ("unknown", "tired", "tired"),
        ("unknown", None, "unknown"),
    ],
    end=lambda events: events[-1]["done_reason"],
    empty_end=None,
    no_choices="n",
    no_audio="audio",
    keeps=frozenset(("order", "created")),
    needs_objects=True,
    keeps_events=("ollama-chat",),
    counts=(),
    other_errors=dict.fromkeys(("UnsupportedParameterError", "ContentFilterError"), "InvalidRequestError"),
    # A stream has no status, and its words alone tell the class.
    other_stream_errors=lambda name: (
        name if name in ("ContextLengthExceededError", "ModelNotFoundError") else "APIError"
    ),
)
GENERATE_PROFILE = attrs.evolve(PROFILE, id="ollama-generate", format=OllamaGenerate, keeps_events=("ollama-generate",))
