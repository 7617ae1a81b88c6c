"""Anthropic's Messages as servers speak them."""

from __future__ import annotations

from typing import Any

import attrs
from hypothesis import strategies as st
from params_strategies import CACHE, NAMES, NONE, SCHEMAS, TEXTS, TOOLS, WORDS, conversations, params
from server_profile import ServerProfile

from anyllm.types import CompletionParams, ContentPart, Reasoning
from anyllm.wire.anthropic_messages.server.request_reader import read_messages
from anyllm.wire.anthropic_messages.server.writer import AnthropicMessages

# -- requests ----------------------------------------------------------------------------------------------------------

HI = {"role": "user", "content": "Hi"}
MARK = {"type": "ephemeral"}
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
FORM = {"type": "json_schema", "schema": SCHEMA}
SEARCH = {"type": "web_search_20250305", "name": "web_search", "max_uses": 2}
USE = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
RESULT = {"type": "tool_result", "tool_use_id": "t", "content": "42"}


def body(*messages: Any, **fields: Any) -> dict[str, Any]:
    """The body of a request, which says "Hi" if there are no messages."""
    return {"model": "m", "max_tokens": 10, "messages": list(messages or (HI,)), **fields}


def answer(*blocks: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": list(blocks)}


def text_block(text: str, **fields: Any) -> dict[str, Any]:
    return {"type": "text", "text": text, **fields}


#: What Anthropic's clients send that our dialect never would.
REQUESTS: dict[str, dict[str, Any]] = {
    "host's tools": body(
        HI,
        answer(
            text_block("I look.", citations=[{"type": "page_location", "cited_text": "x"}]),
            {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
            {"type": "web_search_tool_result", "tool_use_id": "s", "content": []},
            text_block("Found."),
        ),
        HI,
    ),
    "thoughts between": body(
        HI,
        answer(
            {"type": "thinking", "thinking": "A", "signature": "a"},
            text_block("B"),
            {"type": "thinking", "thinking": "C", "signature": "c"},
            {"type": "redacted_thinking", "data": "d"},
            {"type": "tool_use", "id": "t", "name": "f", "input": {}},
        ),
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": "t", "content": [text_block("x")]}, text_block("y")],
        },
    ),
    "host's calls": body(
        HI,
        answer({"type": "tool_use", "id": "t", "name": "f", "input": {}, "caller": {"type": "code", "tool_id": "s"}}),
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "1"}]},
    ),
    "host's files": body(
        {
            "role": "user",
            "content": [
                {"type": "image", "source": {"type": "file", "file_id": "f"}},
                {"type": "document", "source": {"type": "content", "content": [text_block("A")]}, "title": "T"},
                {
                    "type": "document",
                    "source": {"type": "url", "url": "https://a.example"},
                    "citations": {"enabled": True},
                },
                {"type": "search_result", "source": "s", "title": "t", "content": [text_block("A")]},
                {"type": "container_upload", "file_id": "f"},
            ],
        }
    ),
    "tools with more": body(tools=[{"name": "f", "input_schema": SCHEMA, "input_examples": [{"a": 1}]}]),
    "further": body(top_k=5, service_tier="auto", container="c", metadata={"user_id": "u", "trace": "t"}),
    "thoughts left out": body(thinking={"type": "enabled", "budget_tokens": 5, "display": "omitted"}),
    "thinking of tomorrow": body(thinking={"type": "between_tools"}),
    "effort without thinking": body(output_config={"effort": "low", "format": FORM}),
}

WRONG: list[Any] = [
    (None, None),
    ([], None),
    ({}, "model"),
    ({"model": "m", "max_tokens": 1}, "messages"),
    ({"model": "m", "messages": [HI]}, "max_tokens"),
    (body(max_tokens="1"), "max_tokens"),
    (body(max_tokens=True), "max_tokens"),
    (body(stream="yes"), "stream"),
    (body(temperature="hot"), "temperature"),
    (body(stop_sequences=[1]), "stop_sequences"),
    (body("Hi"), "messages[0]"),
    (body({"role": "tool", "content": "x"}), "messages[0].role"),
    (body({"role": "user"}), "messages[0].content"),
    (body({"role": "user", "content": ["x"]}), "messages[0].content[0]"),
    (body({"role": "user", "content": [{"text": "x"}]}), "messages[0].content[0].type"),
    (body({"role": "user", "content": [{"type": "text"}]}), "messages[0].content[0].text"),
    (body({"role": "user", "content": [{"type": "image", "source": {"type": "base64"}}]}), "image.source.media_type"),
    (body(HI, answer({"type": "tool_use", "id": "a", "name": "f", "input": "{}"})), "messages[1].content[0].input"),
    (body(HI, answer({"type": "thinking", "signature": "s"})), "messages[1].content[0].thinking"),
    (body(tools=[{"name": "f"}]), "tools[0].input_schema"),
    (body(tool_choice={"type": "most"}), "tool_choice.type"),
    (body(tool_choice={"type": "tool"}), "tool_choice.name"),
    (body(thinking={"type": "enabled"}), "thinking.budget_tokens"),
    (body(output_config={"format": {"type": "grammar"}}), "output_config.format.type"),
    (body(metadata={"user_id": 5}), "metadata.user_id"),
]

FULL = body(
    HI,
    answer(
        {"type": "thinking", "thinking": "A", "signature": "a"},
        text_block("B", cache_control=MARK, citations=[{"type": "x"}]),
        {"type": "server_tool_use", "id": "s", "name": "w", "input": {}},
        {**USE, "input": {"a": 1}, "extra_content": {"g": 1}, "cache_control": MARK},
    ),
    {
        "role": "user",
        "content": [
            {**RESULT, "content": [text_block("x")], "is_error": True, "cache_control": MARK},
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
            {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "é"}, "title": "T"},
        ],
    },
    system=[text_block("S", cache_control=MARK)],
    tools=[{"type": "custom", "name": "f", "description": "d", "input_schema": SCHEMA, "cache_control": MARK}, SEARCH],
    tool_choice={"type": "tool", "name": "f", "disable_parallel_tool_use": True},
    thinking={"type": "adaptive", "display": "summarized"},
    output_config={"effort": "low", "format": FORM},
    metadata={"user_id": "u"},
    stop_sequences=["a"],
    top_k=3,
    stream=True,
)


THINKING = st.builds(
    lambda text, signature: {"type": "thinking", "thinking": text, "signature": signature}, TEXTS, TEXTS
)
HIDDEN = st.builds(lambda data: {"type": "redacted_thinking", "data": data}, TEXTS)
MARKED = st.builds(ContentPart, text=TEXTS, cache_control=CACHE)
IMAGES = st.sampled_from(["https://a.example/a.png", "data:image/png;base64,iVBORw==", "data:image/jpeg;base64,/w=="])
PDFS = st.sampled_from(["https://a.example/a.pdf", "data:application/pdf;base64,JVBERi0xLjQ="])
DOCUMENTS = st.fixed_dictionaries(
    {"file_data": PDFS | st.just("data:text/plain;base64,w6k=")}, optional={"filename": NAMES}
)
PARTS = (
    MARKED
    | st.builds(lambda url, mark: ContentPart("image_url", image_url={"url": url}, cache_control=mark), IMAGES, CACHE)
    | st.builds(
        lambda file, extra: ContentPart("file", file=file, extra=extra),
        DOCUMENTS | st.builds(lambda file_id: {"file_id": file_id}, NAMES),
        st.sampled_from([None, {"citations": {"enabled": True}}]),
    )
    | st.just(ContentPart("search_result", extra={"source": "s", "title": "t", "content": [{"type": "text"}]}))
)


@st.composite
def reasonings(draw: Any) -> Reasoning:
    """Thinking blocks, with the text and the last signature of all."""
    blocks = draw(st.lists(THINKING | HIDDEN, min_size=1, max_size=3))
    text = "".join(block.get("thinking", "") for block in blocks)
    signature = next((block["signature"] for block in reversed(blocks) if "signature" in block), None)
    return Reasoning(text or None, signature, "thinking", blocks)


CONTENTS = TEXTS | st.lists(PARTS, min_size=2, max_size=3)
ANSWERS = WORDS | st.lists(st.builds(ContentPart, text=WORDS, cache_control=CACHE), min_size=2, max_size=2)
MESSAGES = conversations(
    system_contents=TEXTS | st.lists(MARKED, min_size=2, max_size=2).filter(lambda parts: parts[0].cache_control),
    users=CONTENTS,
    answers=ANSWERS,
    beside_calls=NONE | ANSWERS,
    results=NONE | CONTENTS,
    reasoning=NONE | reasonings(),
    marks=CACHE,
)
FIELDS = {
    "max_tokens": st.integers(4001, 9000),
    "temperature": st.floats(0, 1),
    "top_p": st.floats(0, 1),
    "stop": st.lists(TEXTS, min_size=1, max_size=2),
    "user": TEXTS,
    "tools": TOOLS | st.just([SEARCH]),
    "tool_choice": st.sampled_from(["auto", "none", "required", {"type": "function", "function": {"name": "f"}}]),
    "parallel_tool_calls": st.just(False),
    "response_format": SCHEMAS.map(
        lambda schema: {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
    ),
    "thinking_budget": st.integers(0, 4000),
}


def params_read(params: CompletionParams) -> CompletionParams:
    """A number of tokens is required, a function has a schema, and calls are limited by the choice of a tool."""
    messages = [
        attrs.evolve(message, tool_calls=[attrs.evolve(call, index=at) for at, call in enumerate(message.tool_calls)])
        for message in params.messages
    ]
    tools = params.tools and [_tool_read(tool) for tool in params.tools]
    choice = params.tool_choice
    if params.parallel_tool_calls is False and choice is None:
        choice = "auto"
    parallel = None if choice == "none" else params.parallel_tool_calls
    limits = {"max_tokens": params.max_tokens or 4096, "parallel_tool_calls": parallel}
    return params.evolve(messages=messages, tools=tools, tool_choice=choice, **limits)


def _tool_read(tool: Any) -> Any:
    if tool["type"] != "function":
        return tool
    function = tool["function"]
    schema = function.get("parameters", {"type": "object", "properties": {}})
    return {**tool, "function": {**function, "parameters": schema}}


# -- answers -----------------------------------------------------------------------------------------------------------


def blocks(events: list[Any]) -> list[dict[str, Any]]:
    """The blocks, put together as a client does that adds each delta to the latest one; one after another."""
    found: list[dict[str, Any]] = []
    is_open = False
    for body in events:
        if body["type"] == "content_block_start":
            assert not is_open
            assert body["index"] == len(found)
            found.append(dict(body["content_block"]))
            is_open = True
        elif body["type"] == "content_block_delta":
            assert is_open
            assert body["index"] == len(found) - 1
            key = next(key for key in ("text", "thinking", "signature", "partial_json") if key in body["delta"])
            found[-1][key] = found[-1].get(key, "") + body["delta"][key]
        elif body["type"] == "content_block_stop":
            assert is_open
            assert body["index"] == len(found) - 1
            is_open = False
    assert not is_open
    return found


ENDS = [
    ("stop", "stop", "end_turn"),
    ("length", "length", "max_tokens"),
    ("tool_calls", "tool_calls", "tool_use"),
    ("content_filter", "SAFETY", "refusal"),
    ("stop", "stop_sequence", "stop_sequence"),
    ("length", "model_context_window_exceeded", "model_context_window_exceeded"),
    ("unknown", "bored", "bored"),
    (None, None, "end_turn"),
]


def end(events: list[Any]) -> Any:
    return (events[-2]["delta"] if len(events) > 1 else events[0])["stop_reason"]


PROFILE = ServerProfile(
    id="anthropic",
    name="anthropic_messages",
    format=AnthropicMessages,
    check=blocks,
    read=read_messages,
    params=params(MESSAGES, **FIELDS),
    params_read=params_read,
    full=FULL,
    unchanged=REQUESTS,
    wrong=WRONG,
    deep=body(HI, answer({**USE, "input": "DEEP"})),
    ends=ENDS,
    end=end,
    no_choices="n",
    no_audio="audio",
    keeps=frozenset(("id", "extra", "signature", "end")),
    whole_arguments=lambda arguments: {"INVALID_JSON": arguments},
    adds_end=True,
    adds_tokens=True,
    other_errors={"UnsupportedParameterError": "InvalidRequestError"},
    other_stream_errors=lambda name: "InvalidRequestError" if name == "UnsupportedParameterError" else name,
)
