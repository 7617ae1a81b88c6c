"""Anthropic's Messages, written: what is in the events, and that our own dialect reads the same out of them."""

from __future__ import annotations

import json
from typing import Any, Dict, List, Optional

import pytest
from formats_of import chunks_in, together

from anyllm import errors, formats
from anyllm.errors import AnyLLMError, InvalidRequestError, MalformedStreamError
from anyllm.types import (
    ChatCompletion,
    ChatCompletionChunk,
    Choice,
    ChunkChoice,
    ChunkDelta,
    FunctionCall,
    Message,
    Reasoning,
    ToolCall,
    Usage,
    text_chunk,
)
from anyllm.wire.anthropic_messages.dialect import AnthropicMessagesDialect as Dialect
from anyllm.wire.anthropic_messages.server.writer import AnthropicMessages

DIALECT = Dialect(provider="p")
FORMAT = AnthropicMessages(model="asked")


def chunk(delta: Any = None, *, finish: Any = None, raw: Any = None, **more: Any) -> ChatCompletionChunk:
    choices = () if delta is None else (ChunkChoice(more.pop("index", 0), delta, finish, more.pop("said", finish)),)
    about = {"id": "a-1", "model": "m", **more}
    return ChatCompletionChunk(about.pop("id"), choices, provider="p", raw=raw, **about)


def text(said: str) -> ChatCompletionChunk:
    return text_chunk("a-1", said, 0, "m", None, None, "p", None)


def calls(*fragments: ToolCall) -> ChatCompletionChunk:
    return chunk(ChunkDelta(tool_calls=fragments))


def piece(index: int, arguments: str, name: Optional[str] = None) -> ToolCall:
    return ToolCall(f"c{index}" if name else None, FunctionCall(name, arguments), index=index)


def thought(content: Optional[str] = None, **more: Any) -> ChatCompletionChunk:
    return chunk(ChunkDelta(reasoning=Reasoning(content, **more)))


def said_of(*chunks: Any) -> bytes:
    return b"".join(formats.encode(iter(chunks), FORMAT))


def bodies(said: bytes) -> List[Any]:
    """The data of the events, each under its own name."""
    found = []
    for event in said.decode().split("\n\n")[:-1]:
        name, data = event.split("\n")
        found.append(json.loads(data[len("data: ") :]))
        assert name == f"event: {found[-1]['type']}"
    return found


def read_back(said: bytes) -> List[ChatCompletionChunk]:
    return chunks_in(DIALECT, said)


def blocks(said: bytes) -> List[Dict[str, Any]]:
    """The blocks, put together as a client does that adds each delta to the latest one; one after another."""
    found: List[Dict[str, Any]] = []
    is_open = False
    for body in bodies(said):
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


# -- a stream of another format ----------------------------------------------------------------------------------------


def test_an_answer_is_a_message_of_blocks_and_an_end():
    said = said_of(
        chunk(ChunkDelta("assistant", "")),
        thought("Hm"),
        thought("."),
        text('He said "é\u2028\U0001f600"'),
        text("!"),
        chunk(ChunkDelta(), finish="length"),
        chunk(usage=Usage(10, 5, 15, 2, 4, 3)),
    )
    started, *between, ended, stopped = bodies(said)
    usage = {"input_tokens": 0, "output_tokens": 0}
    about = {"id": "a-1", "type": "message", "role": "assistant", "model": "m", "content": []}
    assert started["message"] == {**about, "stop_reason": None, "stop_sequence": None, "usage": usage}
    assert [body["type"] for body in between] == [
        *("content_block_start", "content_block_delta", "content_block_delta", "content_block_stop"),
        *("content_block_start", "content_block_delta", "content_block_delta", "content_block_stop"),
    ]
    assert blocks(said) == [
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
    assert together(read_back(said)).usage == Usage(10, 5, 15, 2, 4, 3)


def test_the_message_begins_with_the_first_choice_and_knows_the_tokens_said_before():
    """What some hosts say ahead has neither id nor model."""
    said = said_of(chunk(id="", model="", usage=Usage(7, 0, 7)), chunk(ChunkDelta("assistant"), model=""))
    message = bodies(said)[0]["message"]
    assert (message["id"], message["model"], message["usage"]["input_tokens"]) == ("a-1", "asked", 7)


def test_an_answer_without_a_word_is_a_message():
    assert [body["type"] for body in bodies(said_of())] == ["message_start", "message_delta", "message_stop"]
    assert together(read_back(said_of())).finish_reason == "stop"


def test_nothing_ends_that_is_not_over():
    writer = FORMAT.writer()
    said = writer.chunk(text("a")) + writer.chunk(chunk(ChunkDelta(), finish="stop"))
    assert b"message_stop" not in said
    with pytest.raises(errors.IncompleteStreamError):
        read_back(said)
    assert read_back(said + writer.end())


@pytest.mark.parametrize(
    ("finish", "raw", "reason"),
    [
        ("stop", "stop", "end_turn"),
        ("length", "length", "max_tokens"),
        ("tool_calls", "tool_calls", "tool_use"),
        ("content_filter", "SAFETY", "refusal"),
        ("stop", "stop_sequence", "stop_sequence"),
        ("length", "model_context_window_exceeded", "model_context_window_exceeded"),
        ("unknown", "bored", "bored"),
        (None, None, "end_turn"),
    ],
)
def test_an_end_is_said_in_anthropics_words(finish: Any, raw: Any, reason: str):
    said = said_of(text("a"), chunk(ChunkDelta(), finish=finish, said=raw))
    assert bodies(said)[-2]["delta"]["stop_reason"] == reason
    message = ChatCompletion("i", (Choice(0, Message.assistant("a"), finish, raw),))
    assert json.loads(FORMAT.whole(message))["stop_reason"] == reason


def test_an_end_with_calls_asks_for_their_results():
    """Clients go on by the reason, whatever the host calls it."""
    said = said_of(calls(piece(0, "{}", "f")), chunk(ChunkDelta(), finish="stop"))
    assert bodies(said)[-2]["delta"]["stop_reason"] == "tool_use"


def test_the_last_tokens_count():
    counts = [chunk(usage=Usage(n, n, 2 * n)) for n in (1, 2, 3)]
    assert bodies(said_of(text("a"), *counts))[-2]["usage"] == {"input_tokens": 3, "output_tokens": 3}


def test_a_refusal_is_text():
    said = said_of(chunk(ChunkDelta("assistant", refusal="I ")), chunk(ChunkDelta(refusal="won't")))
    assert blocks(said) == [{"type": "text", "text": "I won't"}]


def test_half_a_character_is_escaped():
    assert blocks(said_of(text("a"), text("\ud83d"))) == [{"type": "text", "text": "a\ud83d"}]


def test_another_answer_and_a_sound_are_refused_by_name():
    with pytest.raises(InvalidRequestError) as caught:
        FORMAT.writer().chunk(chunk(ChunkDelta("assistant", "b"), index=1))
    assert caught.value.param == "n"
    with pytest.raises(InvalidRequestError) as caught:
        FORMAT.writer().chunk(chunk(ChunkDelta(audio={"data": "AAAA"})))
    assert caught.value.param == "audio"
    with pytest.raises(InvalidRequestError):
        FORMAT.whole(ChatCompletion("i", (Choice(0), Choice(1))))
    with pytest.raises(InvalidRequestError):
        FORMAT.whole(ChatCompletion("i", (Choice(0, Message("assistant", audio={"data": "AAAA"})),)))


# -- reasoning ---------------------------------------------------------------------------------------------------------


def test_a_signature_ends_its_block():
    said = said_of(thought("A"), thought(signature="s"), thought("B"), text("C"))
    assert blocks(said) == [
        {"type": "thinking", "thinking": "A", "signature": "s"},
        {"type": "thinking", "thinking": "B", "signature": ""},
        {"type": "text", "text": "C"},
    ]


def test_thoughts_that_are_hidden_are_blocks_of_their_own():
    hidden = {"type": "redacted_thinking", "data": "x"}
    said = said_of(thought(details=[hidden]), thought(details=[{**hidden, "index": 1}]), text("C"))
    assert blocks(said) == [hidden, hidden, {"type": "text", "text": "C"}]


def test_a_thought_that_comes_at_once_is_written_whole():
    detail = {"type": "thinking", "thinking": "A", "signature": "s"}
    assert blocks(said_of(thought(details=[detail]))) == [detail]
    assert blocks(said_of(thought("A"), thought(details=[detail]))) == [detail]


# -- calls -------------------------------------------------------------------------------------------------------------


def test_calls_follow_each_other():
    """Each block is over as soon as its arguments are, and the next call is there."""
    writer = FORMAT.writer()
    writer.chunk(calls(piece(0, "", "f")))
    writer.chunk(calls(piece(0, '{"x":')))
    writer.chunk(calls(piece(0, "1}")))
    kinds = [body["type"] for body in bodies(writer.chunk(calls(piece(1, "", "g"))))]
    assert kinds == ["content_block_stop", "content_block_start"]


def test_pieces_of_several_calls_wait_for_their_turn():
    """Some official clients add every delta to the latest block."""
    said = said_of(
        calls(piece(0, '{"x":', "f"), piece(1, "[", "g")),
        text("Meanwhile"),
        calls(piece(1, '"no object"]')),
        calls(piece(2, '{"y":', "h")),
        calls(piece(0, "1}")),
        calls(piece(2, "2}")),
        text(", all is said"),
    )
    found = blocks(said)
    assert [block.get("name") or block.get("text") for block in found] == ["f", "g", "Meanwhile, all is said", "h"]
    assert [block["partial_json"] for block in found if "name" in block] == ['{"x":1}', '["no object"]', '{"y":2}']


def test_what_waits_is_written_as_soon_as_the_call_before_is_whole():
    writer = FORMAT.writer()
    writer.chunk(calls(piece(0, '{"x":', "f"), piece(1, "{}", "g")))
    assert b'"name":"g"' in writer.chunk(calls(piece(0, "1}")))


def test_what_waits_is_written_before_an_error():
    writer = FORMAT.writer()
    writer.chunk(calls(piece(0, '{"x":', "f")))
    assert writer.chunk(text("Meanwhile")) == b""
    said = writer.error(errors.NetworkError("reset"))
    assert b"Meanwhile" in said
    assert bodies(said)[-1]["type"] == "error"


def test_a_call_that_goes_on_after_its_end_is_no_call():
    """White space may follow; more is not dropped in silence."""
    writer = FORMAT.writer()
    writer.chunk(calls(piece(0, "{}", "f"), piece(1, "{", "g")))
    assert writer.chunk(calls(piece(1, "} ")))
    assert writer.chunk(text("a"))
    assert writer.chunk(calls(piece(0, "\n"))) == b""
    with pytest.raises(MalformedStreamError):
        writer.chunk(calls(piece(0, "{}")))


def test_a_call_waits_for_its_name():
    said = said_of(calls(ToolCall("c0", FunctionCall(None, "{"))), calls(ToolCall(None, FunctionCall("f", "}"))))
    assert blocks(said) == [{"type": "tool_use", "id": "c0", "name": "f", "input": {}, "partial_json": "{}"}]
    writer = FORMAT.writer()
    writer.chunk(calls(piece(0, "{}")))
    with pytest.raises(MalformedStreamError):
        writer.end()


def test_what_must_go_back_with_a_call_stands_beside_its_input():
    call = ToolCall("c", FunctionCall("f", "{}"), extra_content={"google": {"thought_signature": "s"}})
    (block,) = blocks(said_of(calls(call)))
    assert block["extra_content"] == call.extra_content
    (block,) = json.loads(FORMAT.whole(completion(Message.assistant(None, tool_calls=[call]))))["content"]
    assert (block["extra_content"], block["input"]) == (call.extra_content, {})


# -- a host of the same format -----------------------------------------------------------------------------------------

NATIVE: List[Any] = [
    {
        "type": "message_start",
        "message": {
            "id": "i",
            "type": "message",
            "role": "assistant",
            "model": "m",
            "content": [],
            "container": {"id": "k"},
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {"input_tokens": 4, "output_tokens": 1, "service_tier": "standard"},
        },
    },
    {"type": "content_block_start", "index": 3, "content_block": {"type": "thinking", "thinking": "", "signature": ""}},
    {"type": "content_block_delta", "index": 3, "delta": {"type": "thinking_delta", "thinking": "A", "estimated": 2}},
    {"type": "content_block_delta", "index": 3, "delta": {"type": "signature_delta", "signature": "s"}},
    {"type": "content_block_stop", "index": 3},
    {"type": "content_block_start", "index": 4, "content_block": {"type": "server_tool_use", "id": "t", "input": {}}},
    {"type": "content_block_delta", "index": 4, "delta": {"type": "input_json_delta", "partial_json": "{}"}},
    {"type": "content_block_stop", "index": 4},
    {"type": "content_block_start", "index": 5, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 5, "delta": {"type": "text_delta", "text": "B"}},
    {"type": "content_block_stop", "index": 5},
    {"type": "content_block_start", "index": 7, "content_block": {"type": "text", "text": "", "citations": []}},
    {"type": "content_block_delta", "index": 7, "delta": {"type": "citations_delta", "citation": {"title": "T"}}},
    {"type": "content_block_delta", "index": 7, "delta": {"type": "text_delta", "text": "C"}},
    {"type": "content_block_delta", "index": 7, "delta": {"type": "marvel_delta", "marvel": 1}},
    {"type": "content_block_stop", "index": 7},
    {"type": "content_block_start", "index": 8, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 8, "delta": {"type": "text_delta", "text": "D"}},
    {"type": "content_block_stop", "index": 8},
    {
        "type": "content_block_start",
        "index": 9,
        "content_block": {"type": "tool_use", "id": "u", "name": "f", "input": {}, "caller": {"type": "direct"}},
    },
    {"type": "content_block_delta", "index": 9, "delta": {"type": "input_json_delta", "partial_json": '{"x":1}'}},
    {"type": "content_block_stop", "index": 9},
    {
        "type": "message_delta",
        "delta": {"stop_reason": "stop_sequence", "stop_sequence": "END", "stop_details": {"why": 1}},
        "usage": {"output_tokens": 9, "server_tool_use": {"web_search_requests": 1}},
        "context_management": {"applied_edits": []},
    },
    {"type": "message_stop"},
]


def written(*said: Any) -> bytes:
    return b"".join(f"event: {body['type']}\ndata: {json.dumps(body)}\n\n".encode() for body in said)


def test_what_a_host_of_the_format_says_is_passed_on():
    """All of it, with the blocks numbered anew."""
    places = {3: 0, 4: 1, 5: 2, 7: 3, 8: 4, 9: 5}
    wanted = [{**body, "index": places[body["index"]]} if "index" in body else body for body in NATIVE]
    assert bodies(said_of(*read_back(written(*NATIVE)))) == wanted


def test_a_host_that_knows_no_streams_has_its_own_tools_passed_on_too():
    search = {"type": "server_tool_use", "id": "t", "input": {"q": 1}}
    whole = {"id": "i", "type": "message", "model": "m", "stop_reason": "stop_sequence", "stop_sequence": "END"}
    content = [{"type": "text", "text": "A"}, search, {"type": "text", "text": "B"}]
    whole.update(content=content, usage={"input_tokens": 2, "output_tokens": 3})  # type: ignore[call-overload]
    said = said_of(*read_back(written(whole)))
    assert blocks(said) == content
    assert bodies(said)[-2]["delta"] == {"stop_reason": "stop_sequence", "stop_sequence": "END"}
    assert bodies(said)[-2]["usage"]["output_tokens"] == 3


def test_an_end_that_a_host_of_the_format_left_out_stays_left_out():
    said = said_of(*read_back(written(NATIVE[0], *NATIVE[8:11], NATIVE[-1])))
    assert [body["type"] for body in bodies(said)].count("message_delta") == 0
    assert together(read_back(said)).finish_reason is None


@pytest.mark.parametrize("raw", [None, [], {"type": []}, {"type": "message_start", "message": 3}])
@pytest.mark.parametrize("then", [3, {"delta": 3}, {"index": [], "delta": {"type": {}}}, {"content_block": []}])
def test_what_stands_in_raw_is_never_trusted(raw: Any, then: Any):
    """Chunks may come from anywhere."""
    chunks = [chunk(ChunkDelta("assistant", "a"), raw=raw)]
    for kind in ("content_block_start", "content_block_delta", "message_delta", "message"):
        event = {"type": kind, **then} if isinstance(then, dict) else then
        chunks += [chunk(raw=event), chunk(ChunkDelta(None, "b"), raw=event), chunk(usage=Usage(1, 1, 2), raw=event)]
        chunks.append(chunk(ChunkDelta(tool_calls=(piece(0, "", "f"),)), raw=event))
        chunks.append(chunk(ChunkDelta(reasoning=Reasoning("c", "s")), raw=event))
    answer = together(read_back(said_of(*chunks)))
    assert (answer.content, answer.reasoning) == ("abbbb", "cccc")


# -- whole answers -----------------------------------------------------------------------------------------------------


def completion(message: Message, **more: Any) -> ChatCompletion:
    return ChatCompletion("i", (Choice(0, message, "stop", "stop"),), model="m", provider="p", **more)


def test_a_whole_answer_is_a_message():
    thoughts = Reasoning("A", "s", "thinking", [{"type": "thinking", "thinking": "A", "signature": "s", "index": 1}])
    call = ToolCall("c", FunctionCall("f", '{"x": 1}'))
    message = Message.assistant("B", reasoning=thoughts, tool_calls=[call], refusal="C")
    said = json.loads(FORMAT.whole(completion(message, usage=Usage(3, 2, 5, None, 1))))
    assert said == {
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
    raw = {
        "id": "i",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "container": {"id": "k"},
        "content": [search, {"type": "text", "text": "secret", "citations": []}],
        "stop_reason": "pause_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 1, "output_tokens": 2, "speed": "fast"},
    }
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


@pytest.mark.parametrize(("kind", "status", "name"), TYPES)
def test_an_error_is_read_as_what_it_was(kind: Any, status: int, name: str):
    error = kind("no", status_code=status, request_id="r")
    said = FORMAT.problem(error, status)
    assert json.loads(said)["error"]["type"] == name
    back = DIALECT.error(status, {}, said)
    assert (type(back), back.request_id) == (kind, "r")
    assert "no" in back.message


@pytest.mark.parametrize(("kind", "status", "name"), [row for row in TYPES if row[1] not in (404, 413)])
def test_an_error_within_a_stream_is_read_as_what_it_was(kind: Any, status: int, name: str):
    writer = FORMAT.writer()
    said = writer.chunk(text("a")) + writer.error(kind("no", status_code=status, request_id="r"))
    assert bodies(said)[-1]["error"]["type"] == name
    with pytest.raises(AnyLLMError) as caught:
        read_back(said)
    assert type(caught.value) is kind


def test_other_errors_have_types_and_bugs_are_not_shown():
    assert said_type(errors.DeadlineExceeded()) == "timeout_error"
    assert said_type(errors.Cancelled()) == "overloaded_error"
    assert said_type(errors.IncompleteStreamError("x")) == "api_error"
    error = json.loads(FORMAT.problem(KeyError("secret"), 500))["error"]
    assert error == {"type": "api_error", "message": "internal error"}


def said_type(error: Exception) -> str:
    kind: str = json.loads(FORMAT.problem(error, 500))["error"]["type"]
    return kind


def test_an_overlong_prompt_is_told_as_clients_look_for_it():
    """They make the conversation shorter by themselves when they read these words."""
    openai = {"error": {"message": "This model's maximum context length is 9", "type": "invalid_request_error"}}
    error = errors.ContextLengthExceededError(openai["error"]["message"], status_code=400, body=openai)
    message = json.loads(FORMAT.problem(error, 400))["error"]["message"]
    assert message == "prompt is too long: This model's maximum context length is 9"


def test_what_a_host_of_the_format_refused_is_quoted():
    said = {"type": "error", "error": {"type": "x_error", "message": "prompt is too long", "details": {"a": 1}}}
    error = DIALECT.error(400, {}, json.dumps({**said, "request_id": "r"}).encode())
    assert json.loads(FORMAT.problem(error, 400)) == {**said, "request_id": "r"}


def test_an_end_that_had_come_is_told_before_an_error():
    writer = FORMAT.writer()
    writer.chunk(text("a"))
    writer.chunk(chunk(ChunkDelta(), finish="length"))
    kinds = [body["type"] for body in bodies(writer.error(errors.ServerError("x")))]
    assert kinds == ["content_block_stop", "message_delta", "error"]


def test_silence_is_a_ping():
    assert FORMAT.keep_alive == b'event: ping\ndata: {"type":"ping"}\n\n'
    assert read_back(said_of(text("a")).replace(b"event: message_delta", FORMAT.keep_alive + b"event: message_delta"))
