"""Anthropic's Messages, written: what is in the events, and that our own dialect reads the same out of them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from chunk_builders import call, calls, chunk, piece, text, thought
from formats_of import chunks_in
from server_anthropic import PROFILE, blocks

from anyllm import errors
from anyllm.errors import MalformedStreamError
from anyllm.types import (
    ChatCompletion,
    ChatCompletionChunk,
    Choice,
    ChunkDelta,
    FunctionCall,
    Message,
    Reasoning,
    ToolCall,
    Usage,
)
from anyllm.wire.anthropic_messages.dialect import AnthropicMessagesDialect as Dialect
from anyllm.wire.anthropic_messages.server.writer import AnthropicMessages

DIALECT = Dialect(provider="p")
FORMAT = AnthropicMessages(model="mine")


def written(*chunks: Any) -> list[Any]:
    """The events."""
    return PROFILE.events(PROFILE.written(chunks, model="mine"))


def native(*bodies: Any) -> list[ChatCompletionChunk]:
    """The chunks of a provider's own events."""
    events = [f"event: {body['type']}\ndata: {json.dumps(body)}\n\n".encode() for body in bodies]
    return chunks_in(DIALECT, b"".join(events))


# -- a stream of another format ----------------------------------------------------------------------------------------


def test_an_answer_is_a_message_of_blocks_and_an_end():
    events = written(
        chunk(ChunkDelta("assistant", "")),
        thought("Hm"),
        thought("."),
        text('He said "é\u2028\U0001f600"'),
        text("!"),
        chunk(ChunkDelta(), finish="length"),
        chunk(usage=Usage(10, 5, 15, 2, 4, 3)),
    )
    started, *between, ended, stopped = events
    usage = {"input_tokens": 0, "output_tokens": 0}
    about = {"id": "a-1", "type": "message", "role": "assistant", "model": "m", "content": []}
    assert started["message"] == {**about, "stop_reason": None, "stop_sequence": None, "usage": usage}
    assert [body["type"] for body in between] == [
        *("content_block_start", "content_block_delta", "content_block_delta", "content_block_stop"),
        *("content_block_start", "content_block_delta", "content_block_delta", "content_block_stop"),
    ]
    assert blocks(events) == [
        {"type": "thinking", "thinking": "Hm.", "signature": ""},
        {"type": "text", "text": 'He said "é\u2028\U0001f600"!'},
    ]
    assert ended == {
        "type": "message_delta",
        "delta": {"stop_reason": "max_tokens", "stop_sequence": None},
        "usage": {
            "input_tokens": 3,
            "cache_read_input_tokens": 4,
            "cache_creation_input_tokens": 3,
            "output_tokens": 5,
            "output_tokens_details": {"thinking_tokens": 2},
        },
    }
    assert stopped == {"type": "message_stop"}


def test_the_message_begins_with_the_first_choice_and_knows_the_tokens_said_before():
    """What some hosts say ahead has neither id nor model."""
    events = written(chunk(id="", model="", usage=Usage(7, 0, 7)), chunk(ChunkDelta("assistant"), model=""))
    message = events[0]["message"]
    assert (message["id"], message["model"], message["usage"]["input_tokens"]) == ("a-1", "mine", 7)


def test_an_end_with_calls_asks_for_their_results():
    """Clients go on by the reason, whatever the host calls it."""
    events = written(call(0, "{}", "f"), chunk(ChunkDelta(), finish="stop"))
    assert events[-2]["delta"]["stop_reason"] == "tool_use"


# -- reasoning ---------------------------------------------------------------------------------------------------------


def test_a_signature_ends_its_block():
    events = written(thought("A"), thought(signature="s"), thought("B"), text("C"))
    assert blocks(events) == [
        {"type": "thinking", "thinking": "A", "signature": "s"},
        {"type": "thinking", "thinking": "B", "signature": ""},
        {"type": "text", "text": "C"},
    ]


def test_thoughts_that_are_hidden_are_blocks_of_their_own():
    hidden = {"type": "redacted_thinking", "data": "x"}
    events = written(thought(details=[hidden]), thought(details=[{**hidden, "index": 1}]), text("C"))
    assert blocks(events) == [hidden, hidden, {"type": "text", "text": "C"}]


def test_a_thought_that_comes_at_once_is_written_whole():
    detail = {"type": "thinking", "thinking": "A", "signature": "s"}
    assert blocks(written(thought(details=[detail]))) == [detail]
    assert blocks(written(thought("A"), thought(details=[detail]))) == [detail]


# -- calls -------------------------------------------------------------------------------------------------------------


def test_calls_follow_each_other():
    """Each block is over as soon as its arguments are, and the next call is there."""
    writer = FORMAT.writer()
    writer.chunk(call(0, "", "f"))
    writer.chunk(call(0, '{"x":'))
    writer.chunk(call(0, "1}"))
    kinds = [body["type"] for body in PROFILE.events(writer.chunk(call(1, "", "g")))]
    assert kinds == ["content_block_stop", "content_block_start"]


def test_pieces_of_several_calls_wait_for_their_turn():
    """Some official clients add every delta to the latest block."""
    events = written(
        calls(piece(0, '{"x":', "f"), piece(1, "[", "g")),
        text("Meanwhile"),
        call(1, '"no object"]'),
        call(2, '{"y":', "h"),
        call(0, "1}"),
        call(2, "2}"),
        text(", all is said"),
    )
    found = blocks(events)
    assert [block.get("name") or block.get("text") for block in found] == ["f", "g", "Meanwhile, all is said", "h"]
    assert [block["partial_json"] for block in found if "name" in block] == ['{"x":1}', '["no object"]', '{"y":2}']


def test_what_waits_is_written_as_soon_as_the_call_before_is_whole():
    writer = FORMAT.writer()
    writer.chunk(calls(piece(0, '{"x":', "f"), piece(1, "{}", "g")))
    assert b'"name":"g"' not in writer.chunk(call(0, "{}"))
    assert b'"name":"g"' in writer.chunk(call(0, "}"))


def test_what_waits_is_written_before_an_error():
    writer = FORMAT.writer()
    writer.chunk(call(0, '{"x":', "f"))
    assert writer.chunk(text("Meanwhile")) == b""
    body = writer.error(errors.NetworkError("reset"))
    assert b"Meanwhile" in body
    assert PROFILE.events(body)[-1]["type"] == "error"


def test_a_call_that_goes_on_after_its_end_is_no_call():
    """White space may follow; more is not dropped in silence."""
    writer = FORMAT.writer()
    writer.chunk(calls(piece(0, "{}", "f"), piece(1, "{", "g")))
    assert writer.chunk(call(1, "} "))
    assert writer.chunk(text("a"))
    assert writer.chunk(call(0, "\n")) == b""
    with pytest.raises(MalformedStreamError):
        writer.chunk(call(0, "{}"))


def test_a_call_waits_for_its_name():
    events = written(call(0, "{", id="c0"), call(0, "}", "f", id=None))
    assert blocks(events) == [{"type": "tool_use", "id": "c0", "name": "f", "input": {}, "partial_json": "{}"}]
    writer = FORMAT.writer()
    writer.chunk(call(0, "{}"))
    with pytest.raises(MalformedStreamError):
        writer.end()


def test_what_must_go_back_with_a_call_stands_beside_its_input():
    extra = {"google": {"thought_signature": "s"}}
    made = piece(0, "{}", "f", extra_content=extra)
    (block,) = blocks(written(calls(made)))
    assert block["extra_content"] == extra
    (block,) = json.loads(FORMAT.whole(completion(Message.assistant(None, tool_calls=[made]))))["content"]
    assert (block["extra_content"], block["input"]) == (extra, {})


# -- a host of the same format -----------------------------------------------------------------------------------------


def begin(index: int, kind: str, **content: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": {"type": kind, **content}}


def delta(index: int, kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": {"type": f"{kind}_delta", **fields}}


def stop(index: int) -> dict[str, Any]:
    return {"type": "content_block_stop", "index": index}


MESSAGE = {
    "id": "i",
    "type": "message",
    "role": "assistant",
    "model": "m",
    "content": [],
    "container": {"id": "k"},
    "stop_reason": None,
    "stop_sequence": None,
    "usage": {"input_tokens": 4, "output_tokens": 1, "service_tier": "standard"},
}
PLAIN_TEXT = [begin(5, "text", text=""), delta(5, "text", text="B"), stop(5)]
NATIVE: list[Any] = [
    {"type": "message_start", "message": MESSAGE},
    begin(3, "thinking", thinking="", signature=""),
    delta(3, "thinking", thinking="A", estimated=2),
    delta(3, "signature", signature="s"),
    stop(3),
    begin(4, "server_tool_use", id="t", input={}),
    delta(4, "input_json", partial_json="{}"),
    stop(4),
    *PLAIN_TEXT,
    begin(7, "text", text="", citations=[]),
    delta(7, "citations", citation={"title": "T"}),
    delta(7, "text", text="C"),
    delta(7, "marvel", marvel=1),
    stop(7),
    *(begin(8, "text", text=""), delta(8, "text", text="D"), stop(8)),
    begin(9, "tool_use", id="u", name="f", input={}, caller={"type": "direct"}),
    delta(9, "input_json", partial_json='{"x":1}'),
    stop(9),
    {
        "type": "message_delta",
        "delta": {"stop_reason": "stop_sequence", "stop_sequence": "END", "stop_details": {"why": 1}},
        "usage": {"output_tokens": 9, "server_tool_use": {"web_search_requests": 1}},
        "context_management": {"applied_edits": []},
    },
    {"type": "message_stop"},
]


def test_what_a_host_of_the_format_says_is_passed_on():
    """All of it, with the blocks numbered anew."""
    places = {3: 0, 4: 1, 5: 2, 7: 3, 8: 4, 9: 5}
    expected = [{**body, "index": places[body["index"]]} if "index" in body else body for body in NATIVE]
    assert written(*native(*NATIVE)) == expected


def test_a_host_that_knows_no_streams_has_its_own_tools_passed_on_too():
    search = {"type": "server_tool_use", "id": "t", "input": {"q": 1}}
    whole = {"id": "i", "type": "message", "model": "m", "stop_reason": "stop_sequence", "stop_sequence": "END"}
    content = [{"type": "text", "text": "A"}, search, {"type": "text", "text": "B"}]
    whole.update(content=content, usage={"input_tokens": 2, "output_tokens": 3})  # type: ignore[call-overload]
    events = written(*native(whole))
    assert blocks(events) == content
    assert events[-2]["delta"] == {"stop_reason": "stop_sequence", "stop_sequence": "END"}
    assert events[-2]["usage"]["output_tokens"] == 3


def test_an_end_that_a_host_of_the_format_left_out_stays_left_out():
    body = PROFILE.written(native(NATIVE[0], *PLAIN_TEXT, NATIVE[-1]))
    assert b"message_delta" not in body
    assert PROFILE.read_back(body).finish_reason is None


# -- whole answers -----------------------------------------------------------------------------------------------------


def completion(message: Message, **more: Any) -> ChatCompletion:
    return ChatCompletion("i", (Choice(0, message, "stop", "stop"),), model="m", provider="p", **more)


def test_a_whole_answer_is_a_message():
    thoughts = Reasoning("A", "s", "thinking", [{"type": "thinking", "thinking": "A", "signature": "s", "index": 1}])
    call = ToolCall("c", FunctionCall("f", '{"x": 1}'))
    message = Message.assistant("B", reasoning=thoughts, tool_calls=[call], refusal="C")
    assert json.loads(FORMAT.whole(completion(message, usage=Usage(3, 2, 5, None, 1)))) == {
        "id": "i",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [
            {"type": "thinking", "thinking": "A", "signature": "s"},
            {"type": "text", "text": "B"},
            {"type": "text", "text": "C"},
            {"type": "tool_use", "id": "c", "name": "f", "input": {"x": 1}},
        ],
        "stop_reason": "tool_use",
        "stop_sequence": None,
        "usage": {"input_tokens": 2, "output_tokens": 2, "cache_read_input_tokens": 1},
    }


def test_a_whole_answer_of_a_host_of_the_format_is_passed_on_unless_it_was_changed():
    search = {"type": "server_tool_use", "id": "s", "input": {}}
    content = [search, {"type": "text", "text": "secret", "citations": []}]
    raw = {**MESSAGE, "content": content, "stop_reason": "pause_turn"}
    answer = DIALECT.response(json.dumps(raw).encode())
    assert json.loads(FORMAT.whole(answer)) == raw
    changed = completion(Message.assistant("******"), raw=raw)
    assert b"secret" not in FORMAT.whole(changed)


def test_arguments_that_are_no_object_stand_in_one():
    call = ToolCall("c", FunctionCall("f", '{"x": '))
    (block,) = json.loads(FORMAT.whole(completion(Message.assistant(None, tool_calls=[call]))))["content"]
    assert block["input"] == {"INVALID_JSON": '{"x": '}


# -- errors ------------------------------------------------------------------------------------------------------------

TYPES = [
    (errors.AuthenticationError, 401, "authentication_error"),
    (errors.InsufficientFundsError, 402, "billing_error"),
    (errors.PermissionDeniedError, 403, "permission_error"),
    (errors.ModelNotFoundError, 404, "not_found_error"),
    (errors.InvalidRequestError, 400, "invalid_request_error"),
    (errors.InvalidRequestError, 404, "not_found_error"),
    (errors.InvalidRequestError, 413, "request_too_large"),
    (errors.ContextLengthExceededError, 400, "invalid_request_error"),
    (errors.ContentFilterError, 400, "invalid_request_error"),
    (errors.RateLimitError, 429, "rate_limit_error"),
    (errors.ServerError, 500, "api_error"),
    (errors.OverloadedError, 503, "overloaded_error"),
]
OTHERS = [
    (errors.DeadlineExceeded(), "timeout_error"),
    (errors.Cancelled(), "overloaded_error"),
    (errors.IncompleteStreamError("x"), "api_error"),
    (KeyError("secret"), "api_error"),
]


@pytest.mark.parametrize(
    ("error", "status", "name"),
    [
        *((kind("no", status_code=status, request_id="r"), status, name) for kind, status, name in TYPES),
        *((error, 500, name) for error, name in OTHERS),
    ],
)
def test_an_error_has_anthropics_type(error: Any, status: int, name: str):
    body = json.loads(FORMAT.problem(error, status))
    assert (body["error"]["type"], body["request_id"]) == (name, getattr(error, "request_id", None))


def test_an_overlong_prompt_is_told_as_clients_look_for_it():
    """They make the conversation shorter by themselves when they read these words."""
    openai = {"error": {"message": "This model's maximum context length is 9", "type": "invalid_request_error"}}
    error = errors.ContextLengthExceededError(openai["error"]["message"], status_code=400, body=openai)
    message = json.loads(FORMAT.problem(error, 400))["error"]["message"]
    assert message == "prompt is too long: This model's maximum context length is 9"


def test_an_end_that_had_come_is_told_before_an_error():
    writer = FORMAT.writer()
    writer.chunk(text("a"))
    writer.chunk(chunk(ChunkDelta(), finish="length"))
    kinds = [body["type"] for body in PROFILE.events(writer.error(errors.ServerError("x")))]
    assert kinds == ["content_block_stop", "message_delta", "error"]


def test_silence_is_a_ping():
    assert FORMAT.keep_alive == b'event: ping\ndata: {"type":"ping"}\n\n'
