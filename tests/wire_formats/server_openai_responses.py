"""OpenAI's Responses as servers speak them."""

from __future__ import annotations

from typing import Any

import attrs
from hypothesis import strategies as st
from params_strategies import ARGUMENTS, NAMES, NONE, SCHEMAS, TEXTS, TOOLS, conversations, params, text_part
from server_profile import ServerProfile, sse_events

from anyllm.types import (
    REASONING_EFFORTS,
    ChatCompletionChunk,
    CompletionParams,
    ContentPart,
    FunctionCall,
    Message,
    Reasoning,
    ToolCall,
)
from anyllm.wire.openai_responses.replay_items import sealed
from anyllm.wire.openai_responses.server.request_reader import read_responses
from anyllm.wire.openai_responses.server.writer import OpenAIResponses

# -- requests ----------------------------------------------------------------------------------------------------------

PNG = "data:image/png;base64,iVBORw0KGgo="
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
REPLAYED = [
    {"id": "rs_1", "type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": "x"},
    {"id": "ws_1", "type": "web_search_call", "status": "completed", "action": {"type": "search", "query": "q"}},
    {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "phase": "commentary",
        "content": [{"type": "output_text", "text": "Wait", "annotations": [], "logprobs": []}],
    },
    {"id": "fc_1", "type": "function_call", "call_id": "call_1", "name": "f", "arguments": '{"x":1}'},
]
#: Keys that no parameter of ours stands for, beside those of ours that share an object or a list with them.
FURTHER = {
    "reasoning": {"effort": "low", "summary": "auto"},
    "text": {"format": {"type": "json_object"}, "verbosity": "low"},
    "include": ["message.output_text.logprobs", "reasoning.encrypted_content"],
    "store": False,
    "truncation": "auto",
    "service_tier": "flex",
    "metadata": {"a": "b"},
    "prompt_cache_key": "k",
    "max_tool_calls": 3,
    "previous_response_id": "resp_1",
    "stream_options": {"include_obfuscation": True},
}

TOOL_WITH_MORE = {"type": "function", "name": "f", "parameters": SCHEMA, "strict": True, "defer_loading": True}
UNCHANGED: dict[str, Any] = {
    "keys without a parameter": {"model": "m", "input": [{"role": "user", "content": "Hi"}], **FURTHER},
    "a function with more keys": {
        "model": "m",
        "input": [{"role": "user", "content": "Hi"}],
        "tools": [TOOL_WITH_MORE],
    },
}
WRONG: list[Any] = [
    ({"input": "Hi"}, "model"),
    ({"model": "m"}, "input"),
    ({"model": 1, "input": "Hi"}, "model"),
    ({"model": "m", "input": {}}, "input"),
    ({"model": "m", "input": "Hi", "background": True}, "background"),
    ({"model": "m", "input": "Hi", "temperature": "hot"}, "temperature"),
    ({"model": "m", "input": "Hi", "text": []}, "text"),
    ({"model": "m", "input": "Hi", "text": {"format": "json"}}, "text.format"),
    ({"model": "m", "input": "Hi", "reasoning": {"effort": 1}}, "reasoning.effort"),
    ({"model": "m", "input": "Hi", "tools": [1]}, "tools[0]"),
    ({"model": "m", "input": "Hi", "tools": [{"type": "function"}]}, "tools[0].name"),
    ({"model": "m", "input": "Hi", "tool_choice": 1}, "tool_choice"),
    ({"model": "m", "input": [1]}, "input[0]"),
    ({"model": "m", "input": [{"type": "item_reference", "id": "rs_1"}]}, "input[0]"),
    ({"model": "m", "input": [{"role": "alien", "content": "Hi"}]}, "input[0]"),
    ({"model": "m", "input": [{"role": "user"}]}, "input[0].content"),
    ({"model": "m", "input": [{"role": "user", "content": [{"type": "input_text"}]}]}, "input[0].content[0].text"),
    ({"model": "m", "input": [{"type": "function_call", "name": "f", "arguments": ""}]}, "input[0].call_id"),
    ({"model": "m", "input": [{"type": "function_call_output", "call_id": "c"}]}, "input[0].output"),
    ({"model": "m", "input": [{"type": "reasoning", "encrypted_content": "anyllm:?"}]}, "input[0]"),
]
FULL: dict[str, Any] = {
    "model": "m",
    "stream": True,
    "instructions": "Be brief",
    "reasoning": {"effort": "low", "summary": "auto"},
    "text": {"format": {"type": "json_schema", "name": "n", "schema": {}}, "verbosity": "low"},
    "tools": [
        {"type": "function", "name": "f", "parameters": {}, "strict": True, "description": "d"},
        {"type": "custom", "name": "c", "format": {"type": "grammar", "syntax": "lark", "definition": "x"}},
    ],
    "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]},
    "include": ["message.output_text.logprobs"],
    "input": [
        {"role": "user", "content": [{"type": "input_image", "image_url": PNG, "detail": "low"}]},
        {"role": "user", "content": [{"type": "input_file", "file_data": PNG, "filename": "f"}]},
        *REPLAYED,
        {"type": "reasoning", "summary": [], "encrypted_content": sealed(Reasoning(None, "s", "f", [{"type": "x"}]))},
        {"type": "custom_tool_call", "call_id": "c", "name": "c", "input": "i", "extra_content": {"google": {}}},
        {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "x"}]},
    ],
}


MARKS = st.just({"type": "ephemeral"})
IMAGES = st.builds(
    lambda url, detail: ContentPart.from_image(url, detail=detail),
    st.sampled_from(["data:image/png;base64,iVBORw0KGgo=", "https://example.org/a.png"]),
    st.none() | st.sampled_from(["low", "high"]),
)
FILES = st.sampled_from(
    [
        ContentPart.from_file("data:application/pdf;base64,JVBERg==", filename="a.pdf"),
        ContentPart("file", file={"file_id": "file-1"}),
        ContentPart("file", file={"file_data": "https://example.org/a.pdf"}),
        ContentPart("input_image", extra={"file_id": "file-2", "detail": "high"}),
    ]
)
MARKED = st.builds(lambda text, mark: ContentPart(text=text, cache_control=mark), TEXTS, MARKS)
CONTENTS = TEXTS | st.lists(TEXTS.map(text_part) | MARKED | IMAGES | FILES, min_size=1, max_size=3)
MESSAGES = conversations(
    systems=("system", "developer"),
    users=CONTENTS,
    answers=TEXTS | st.lists(TEXTS.map(text_part), min_size=2, max_size=3),
    beside_calls=TEXTS | st.lists(TEXTS.map(text_part), min_size=2, max_size=3),
    results=CONTENTS,
)


@st.composite
def further_turns(draw: Any) -> list[Message]:
    """What few formats have: refusals, free-text calls, marks, and keys of a call that the provider wants back."""
    keys = {"openai": {"namespace": "n", "caller": {"type": "program", "caller_id": "p"}}}
    extra = draw(st.sampled_from([None, keys]))
    call = ToolCall("call_1", FunctionCall(draw(NAMES), draw(TEXTS | ARGUMENTS)), "custom", 0, extra)
    return [
        attrs.evolve(Message.user(draw(CONTENTS)), cache_control=draw(NONE | MARKS)),
        Message.assistant(draw(NONE | TEXTS), tool_calls=[call]),
        attrs.evolve(Message.tool(draw(CONTENTS), "call_1"), cache_control=draw(NONE | MARKS)),
        Message.assistant(draw(NONE | TEXTS), refusal=draw(TEXTS)),
    ]


CUSTOM_TOOLS = [
    {"type": "web_search", "search_context_size": "low"},
    {"type": "custom", "custom": {"name": "c", "description": "d"}},
    {
        "type": "custom",
        "custom": {
            "name": "d",
            "format": {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: /x/"}},
        },
    },
]
ALLOWED = [{"type": "custom", "custom": {"name": "c"}}, {"type": "web_search"}]
FORMATS = st.fixed_dictionaries(
    {"name": NAMES, "schema": SCHEMAS}, optional={"description": TEXTS, "strict": st.booleans()}
).map(lambda form: {"type": "json_schema", "json_schema": form})
FIELDS = {
    "temperature": st.floats(0, 2) | st.integers(0, 2),
    "top_p": st.floats(0, 1),
    "max_tokens": st.integers(1, 10**6),
    "user": NAMES,
    "parallel_tool_calls": st.booleans(),
    "logprobs": st.booleans(),
    "top_logprobs": st.integers(1, 5),
    "reasoning_effort": st.sampled_from(REASONING_EFFORTS),
    "response_format": st.just({"type": "text"}) | st.just({"type": "json_object"}) | FORMATS,
    "tools": TOOLS | st.just(CUSTOM_TOOLS),
    "tool_choice": st.sampled_from(
        [
            *("auto", "none", "required"),
            {"type": "function", "function": {"name": "f"}},
            {"type": "custom", "custom": {"name": "c"}},
            {"type": "web_search"},
            {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": ALLOWED}},
        ]
    ),
}


def params_read(params: CompletionParams) -> CompletionParams:
    """
    The format has no value for what is the default, writes out the defaults of a function, and shows log probabilities
    to everyone who wants to know how many.
    """
    tools = [_tool_read(tool) for tool in params.tools] if params.tools is not None else None
    return params.evolve(
        reasoning_effort=None if params.reasoning_effort == "auto" else params.reasoning_effort,
        logprobs=True if params.logprobs or params.top_logprobs is not None else None,
        tools=tools,
    )


def _tool_read(tool: Any) -> Any:
    if tool["type"] != "function":
        return tool
    defaults = {"parameters": {"type": "object", "properties": {}}, "strict": False}
    return {**tool, "function": {**defaults, **tool["function"]}}


# -- answers -----------------------------------------------------------------------------------------------------------


def events_of(body: bytes) -> list[dict[str, Any]]:
    """The events, which are numbered from 0."""
    events = sse_events(body)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    return events


def assert_in_order(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """
    What a strict client relies on; gives the items of the whole response.

    Items and parts begin once, before their contents, under rising numbers; the text at their end is all of its pieces,
    and the same as in the last event.
    """
    assert [event["type"] for event in found[:2]] == ["response.created", "response.in_progress"]
    begun: list[dict[str, Any]] = []
    over: dict[int, dict[str, Any]] = {}
    pieces: dict[Any, str] = {}
    open_parts = set()
    for event in found[2:-1]:
        place, (kind, _, word) = event["output_index"], event["type"].rpartition(".")
        if event["type"] == "response.output_item.added":
            assert place == len(begun)
            begun.append(event["item"])
            continue
        item = begun[place]
        assert place not in over
        if event["type"] == "response.output_item.done":
            assert (event["item"]["id"], event["item"]["type"]) == (item["id"], item["type"])
            assert not [part for part in open_parts if part[0] == place]
            over[place] = event["item"]
            continue
        assert event["item_id"] == item["id"]
        number = next((event[key] for key in ("content_index", "summary_index") if key in event), None)
        where = (place, number, "summary_index" in event)
        if kind in ("response.content_part", "response.reasoning_summary_part"):
            (open_parts.add if word == "added" else open_parts.remove)(where)
            part_text = event["part"].get("text", event["part"].get("refusal"))
            assert part_text == (pieces[where] if word == "done" else "")
            if word == "added":
                pieces[where] = ""
        elif word == "delta":
            assert number is None or where in open_parts
            pieces[where] = pieces.get(where, "") + event["delta"]
        else:
            whole = next(event[key] for key in ("text", "refusal", "arguments", "input") if key in event)
            assert whole == pieces.get(where, "")
    assert over.keys() == set(range(len(begun)))
    assert len({item["id"] for item in begun}) == len(begun)
    output = found[-1]["response"]["output"]
    assert output == [over[place] for place in range(len(begun))]
    assert {event["response"]["id"] for event in (found[0], found[1], found[-1])} == {found[0]["response"]["id"]}
    return output


ENDS = [
    (None, None, ("completed", None)),
    ("stop", "end_turn", ("completed", None)),
    ("tool_calls", "tool_use", ("completed", None)),
    ("length", "max_tokens", ("incomplete", "max_output_tokens")),
    ("content_filter", "SAFETY", ("incomplete", "content_filter")),
    # What nobody knows to be a good end is quoted, and is none.
    ("unknown", "pause_turn", ("incomplete", "pause_turn")),
    ("unknown", "incomplete", ("incomplete", None)),
]


def end(events: list[Any]) -> Any:
    """The status, which the last event and the item have too, and the reason."""
    response = events[-1].get("response", events[-1])
    status, details = response["status"], response["incomplete_details"]
    assert events[-1].get("type", f"response.{status}") == f"response.{status}"
    assert response["output"][0]["status"] == status
    return status, details and details["reason"]


def chunks_read(chunks: list[ChatCompletionChunk]) -> list[ChatCompletionChunk]:
    """
    The chunks that say anything; the others bring an event alone, and how many there are a chunk does not say.

    OpenRouter calls items otherwise in the last event, where ours keep their names: those names are left out.
    """
    chunks = [chunk for chunk in chunks if chunk.choices]
    for chunk in chunks:
        reasoning = chunk.choices[0].delta.reasoning
        for item in (reasoning.details if reasoning else None) or ():
            if str(item.get("id")).startswith("rs_tmp_"):
                item["id"] = "rs_tmp"
    return chunks


PROFILE = ServerProfile(
    id="openai-responses",
    name="openai_responses",
    format=OpenAIResponses,
    events=events_of,
    check=assert_in_order,
    read=read_responses,
    params=params(MESSAGES | further_turns(), **FIELDS),
    params_read=params_read,
    full=FULL,
    unchanged=UNCHANGED,
    wrong=WRONG,
    deep={"model": "m", "input": "Hi", "tools": [{"type": "function", "name": "f", "parameters": "DEEP"}]},
    ends=ENDS,
    end=end,
    no_choices="n",
    no_audio="modalities",
    keeps=frozenset(("id", "created", "refusal")),
    counts_unknown_as_zero=True,
    adds_end=True,
    chunks_read=chunks_read,
)
