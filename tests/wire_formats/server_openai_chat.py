"""OpenAI's chat completions as servers speak them."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from params_strategies import SCHEMAS, TEXTS, TOOLS, conversations, params, text_part
from server_profile import ServerProfile

from anyllm.types import REASONING_EFFORTS, ChatCompletionChunk, CompletionParams, ContentPart, Reasoning
from anyllm.wire.openai_chat.server.request_reader import read_chat
from anyllm.wire.openai_chat.server.writer import OpenAIChat

# -- requests ----------------------------------------------------------------------------------------------------------

USER = {"role": "user", "content": "Hi"}
FUNCTION = {"name": "f", "arguments": "{}"}
FULL: dict[str, Any] = {
    "model": "m",
    "stream": True,
    "stream_options": {"include_usage": True},
    "messages": [
        {"role": "system", "content": "s"},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}], "name": "n"},
        {
            "role": "assistant",
            "content": None,
            "reasoning_content": "hm",
            "annotations": [],
            "tool_calls": [{"id": "c", "type": "function", "function": {**FUNCTION, "parsed_arguments": {}}}],
        },
        {"role": "tool", "tool_call_id": "c", "content": "r"},
        {"role": "assistant", "function_call": FUNCTION},
        {"role": "assistant", "tool_calls": [{"id": "d", "type": "custom", "custom": {"name": "c", "input": "i"}}]},
    ],
    "tools": [{"type": "function", "function": {"name": "f", "description": "d", "parameters": {}, "strict": True}}],
    "tool_choice": {"type": "function", "function": {"name": "f"}},
    "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {}}},
    "max_completion_tokens": 5,
    "reasoning_effort": "low",
    "thinking_budget": 7,
    "stop": ["x"],
    "temperature": 1,
    "metadata": {"a": "b"},
    "top_k": 3,
}
UNCHANGED: dict[str, Any] = {
    "keys without a parameter": {
        "model": "m",
        "messages": [USER],
        "top_k": 3,
        "logit_bias": {"5": -1},
        "store": True,
        "metadata": {"a": "b"},
    }
}
WRONG: list[Any] = [
    ([], None),
    ({}, "model"),
    ({"model": 7, "messages": [USER]}, "model"),
    ({"model": "m"}, "messages"),
    ({"model": "m", "messages": {}}, "messages"),
    ({"model": "m", "messages": [7]}, "messages"),
    ({"model": "m", "messages": [USER], "stream": "yes"}, "stream"),
    ({"model": "m", "messages": [USER], "stream_options": 7}, "stream_options"),
    ({"model": "m", "messages": [USER], "temperature": "hot"}, "temperature"),
    ({"model": "m", "messages": [USER], "max_tokens": "5"}, "max_tokens"),
    ({"model": "m", "messages": [USER], "tools": [7]}, "tools"),
    ({"model": "m", "messages": [USER], "tools": [{"type": "function", "function": {}}]}, "tools.function.name"),
]

PARTS = st.one_of(
    TEXTS.map(text_part),
    st.just(ContentPart("text", "x", cache_control={"type": "ephemeral"})),
    st.just(ContentPart.from_image("https://example.org/x.png", detail="low")),
    st.just(ContentPart.from_audio(b"RIFF\x00\x00\x00\x00WAVE", format="wav")),
    st.just(ContentPart.from_file(b"%PDF-", filename="x.pdf")),
    st.just(ContentPart("video_url", extra={"video_url": {"url": "https://example.org/x.mp4"}})),
)
CONTENTS = TEXTS | st.lists(PARTS, min_size=1, max_size=3)
DETAILS = st.builds(
    lambda text, signature: [{"type": "reasoning.text", "text": text, "signature": signature, "index": 0}], TEXTS, TEXTS
)
#: Under the first name in OpenAI-compatible APIs, it has no origin; a signature is one of the details.
REASONING = st.one_of(
    st.none(),
    st.builds(Reasoning, TEXTS, field=st.sampled_from([None, "reasoning", "thinking", "thought"])),
    st.builds(
        lambda text, details: Reasoning(text, details[0]["signature"], None, details), st.none() | TEXTS, DETAILS
    ),
)
MESSAGES = conversations(
    systems=("system", "developer"),
    users=CONTENTS,
    answers=TEXTS | st.none(),
    beside_calls=TEXTS | st.none(),
    results=TEXTS | st.lists(TEXTS.map(text_part), min_size=1, max_size=2),
    reasoning=REASONING,
)
CHOICES = st.sampled_from(["auto", "none", "required"])
FORMATS = st.sampled_from([{"type": "text"}, {"type": "json_object"}]) | st.builds(
    lambda schema, strict: {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, "strict": strict}},
    SCHEMAS,
    st.booleans(),
)
FLOATS = st.floats(0, 2) | st.integers(0, 2)
FIELDS = {
    **dict.fromkeys(("temperature", "top_p"), FLOATS),
    **dict.fromkeys(("max_tokens", "n", "thinking_budget"), st.integers(1, 10**6)),
    **dict.fromkeys(("seed", "top_logprobs"), st.integers(0, 20)),
    **dict.fromkeys(("parallel_tool_calls", "logprobs"), st.booleans()),
    "stop": TEXTS | st.lists(TEXTS, min_size=1, max_size=2),
    "user": TEXTS,
    "tools": TOOLS,
    "tool_choice": CHOICES | st.just({"type": "function", "function": {"name": "f"}}),
    "functions": TOOLS.map(lambda tools: [tool["function"] for tool in tools]),
    "function_call": CHOICES | st.just({"name": "f"}),
    "response_format": FORMATS,
    "reasoning_effort": st.sampled_from(REASONING_EFFORTS),
}


def params_read(params: CompletionParams) -> CompletionParams:
    """The effort "auto" is not sent."""
    return params.evolve(reasoning_effort=None if params.reasoning_effort == "auto" else params.reasoning_effort)


# -- answers -----------------------------------------------------------------------------------------------------------

ENDS = [
    # OpenAI has no other sign of an end.
    (None, None, "stop"),
    ("stop", "end_turn", "stop"),
    ("length", "MAX_TOKENS", "length"),
    ("content_filter", "SAFETY", "content_filter"),
    ("unknown", "tired", "tired"),
]


def end(events: list[Any]) -> Any:
    reasons = [choice["finish_reason"] for event in events for choice in event["choices"]]
    return next(reason for reason in reasons if reason)


#: How reasoning is called that came in the text, in parts of it, or in details alone: it is given a key of its own.
RENAMED = ("<think>", "content", "reasoning_details")


def renamed(chunk: ChatCompletionChunk) -> Any:
    """The chunk as a dict, with reasoning under the key that it is written under."""
    found = chunk.to_dict()
    for choice in found["choices"]:
        reasoning = choice["delta"].get("reasoning")
        if reasoning and reasoning.get("field") in RENAMED:
            reasoning["field"] = "reasoning_content"
    return found


PROFILE = ServerProfile(
    id="openai",
    name="openai_chat",
    format=OpenAIChat,
    read=read_chat,
    params=params(MESSAGES, **FIELDS),
    params_read=params_read,
    full=FULL,
    unchanged=UNCHANGED,
    wrong=WRONG,
    deep={"model": "m", "messages": [USER], "response_format": {"type": "json_schema", "json_schema": "DEEP"}},
    switches={"thinking_budget_key": "thinking_budget"},
    ends=ENDS,
    end=end,
    ends_with_reason=True,
    keeps=frozenset(("id", "created", "extra", "signature", "refusal", "end")),
    chunks_read=lambda chunks: [renamed(chunk) for chunk in chunks],
)
