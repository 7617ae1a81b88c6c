"""Ollama's API, written: what is in the lines, and that our own dialect and the official client read the same."""

from __future__ import annotations

import json
from typing import Any

import pytest
from chunk_builders import CREATED, STREAM, WHOLE, call, calls, chunk, piece, restart, text, thought
from formats_of import chunks_in, together
from recordings import replaying
from server_ollama import GENERATE_PROFILE, PROFILE
from server_profile import lines as lines_of

from anyllm import errors, formats
from anyllm.errors import MalformedStreamError
from anyllm.types import ChatCompletion, ChatCompletionChunk, Choice, ChunkDelta, FunctionCall, Message, ToolCall, Usage
from anyllm.wire.ollama.dialect import OllamaDialect as Dialect
from anyllm.wire.ollama.server.writer import OllamaChat, OllamaGenerate

DIALECT = Dialect(provider="p")
BOTH = pytest.mark.parametrize("server", [PROFILE, GENERATE_PROFILE], ids=["chat", "generate"])


class Ticking:
    """A clock that a test sets, in nanoseconds."""

    def __init__(self) -> None:
        self.time = 5_000

    def __call__(self) -> int:
        return self.time


END = chunk(ChunkDelta(), finish="stop", raw_finish="end_turn", usage=Usage(3, 2, 5))


def written(chunks: list[Any], format: Any = None) -> list[Any]:
    return lines_of(b"".join(formats.encode(iter(chunks), format or OllamaChat())))


def ended(chunks: list[Any]) -> bytes:
    """The same without `Body`, which would write an error."""
    writer = OllamaChat().writer()
    return b"".join(map(writer.chunk, chunks)) + writer.end()


def read_back(body: bytes) -> list[ChatCompletionChunk]:
    return chunks_in(DIALECT, body)


# -- lines -------------------------------------------------------------------------------------------------------------


def test_lines_are_those_that_ollama_sends():
    chunks = [chunk(ChunkDelta("assistant", "")), thought("hm"), text("Hi"), END]
    clock = Ticking()
    reasoning, spoken, last = written(chunks, OllamaChat(clock=clock))
    time = "2023-11-14T22:13:20.000000000Z"
    first = {"model": "m", "created_at": time}
    assert reasoning == {**first, "message": {"role": "assistant", "content": "", "thinking": "hm"}, "done": False}
    assert spoken == {**first, "message": {"role": "assistant", "content": "Hi"}, "done": False}
    durations = {"total_duration": 0, "load_duration": 0, "prompt_eval_duration": 0, "eval_duration": 0}
    counts = {"prompt_eval_count": 3, "eval_count": 2}
    message = {"role": "assistant", "content": ""}
    assert last == {**first, "message": message, "done": True, "done_reason": "stop", **durations, **counts}


def test_generate_has_text_and_reasoning_at_the_top():
    reasoning, spoken, last = written([thought("hm"), text("Hi"), END], OllamaGenerate())
    assert (reasoning["response"], reasoning["thinking"]) == ("", "hm")
    assert (spoken["response"], last["response"]) == ("Hi", "")
    assert "message" not in {**reasoning, **spoken, **last}
    assert "context" not in last  # as Ollama leaves it out when it is empty


@BOTH
def test_lines_are_one_line_for_every_reader(server):
    """The official client's reader splits where Unicode ends a line."""
    odd = "a\u2028b\u2029c\x85d\x0b\x0c\x1c\r\n\ue000"
    body = server.written([text(odd), text(odd), thought(odd), END])
    assert len(body.decode().splitlines()) == 4
    assert (server.read_back(body).content, server.read_back(body).reasoning) == (odd * 2, odd)


def test_times_begin_with_that_of_the_answer_and_pass_with_the_clock():
    clock = Ticking()
    writer = OllamaChat(clock=clock).writer()
    clock.time += 250
    first = json.loads(writer.chunk(text("a")))
    clock.time += 1_500_000_003
    second, last = json.loads(writer.chunk(text("b"))), json.loads(writer.end())
    assert first["created_at"] == "2023-11-14T22:13:20.000000000Z"
    assert second["created_at"] == last["created_at"] == "2023-11-14T22:13:21.500000003Z"


@pytest.mark.parametrize("created", [0, -1, 10**15])
def test_an_answer_without_a_time_begins_now(created):
    fmt = OllamaChat(clock=Ticking(), now=lambda: CREATED * 10**9 + 7)
    assert written([text("a", created=created), END], fmt)[0]["created_at"] == "2023-11-14T22:13:20.000000007Z"


def test_a_model_that_the_provider_names_late_is_its_own():
    late = [chunk(ChunkDelta("assistant"), model=""), text("x")]
    assert {line["model"] for line in written(late, OllamaChat("mine"))} == {"m"}


def test_what_took_how_long_is_measured():
    clock = Ticking()
    writer = OllamaChat(clock=clock).writer()
    clock.time += 100
    assert writer.chunk(chunk(ChunkDelta("assistant", ""))) == b""
    clock.time += 20
    writer.chunk(text("a"))
    clock.time += 3
    writer.chunk(text("b"))
    writer.chunk(END)
    last = json.loads(writer.end())
    assert (last["prompt_eval_duration"], last["eval_duration"], last["total_duration"]) == (120, 3, 123)


def test_an_answer_of_nothing_is_ended():
    (last,) = written([], OllamaChat("m", clock=Ticking(), now=lambda: CREATED * 10**9))
    assert (last["model"], last["done"], last["message"]["content"]) == ("m", True, "")
    assert last.keys().isdisjoint(("done_reason", "eval_count", "prompt_eval_count"))
    assert read_back(PROFILE.written([]))[-1].finish_reason is None


def test_probabilities_are_told_where_they_are_of_this_shape():
    tokens = [{"token": "x", "logprob": -0.5, "bytes": [120], "top_logprobs": []}]
    first, *_ = written([chunk(ChunkDelta(content="x"), logprobs={"content": tokens}), END])
    assert first["logprobs"] == tokens
    for other in ({"content": None}, {"content": [{"logprob": 1}]}, {"chosenCandidates": []}):
        first, *_ = written([chunk(ChunkDelta(content="x"), logprobs=other), END])
        assert "logprobs" not in first


# -- an Ollama host ------------------------------------------------------------------------------------------


def native(message: Any, done: bool = False, **more: Any) -> dict[str, Any]:
    head = {"model": "m", "created_at": "2023-11-14T22:13:20Z"}
    return {**head, "message": {"role": "assistant", **message}, "done": done, **more}


def passed_on(lines: list[Any], format: Any = None) -> list[Any]:
    return bare(written(read_back("".join(json.dumps(line) + "\n" for line in lines).encode()), format))


def bare(lines: list[Any]) -> list[Any]:
    return [{key: value for key, value in line.items() if key != "created_at"} for line in lines]


def test_a_hosts_own_lines_are_passed_on_with_all_that_they_say():
    """Calls in the last line; empty lines; times; and what nobody knows yet."""
    figures = {"total_duration": 9, "load_duration": 1, "eval_count": 4, "eval_duration": 2}
    own_call = {"id": "call_x9", "new": 1, "function": {"index": 0, "name": "f", "arguments": {"a": 1}, "new": 2}}
    lines = [
        native({"content": "", "images": ["AA=="]}, remote_model="big"),
        native({"content": "Hi"}),
        native({"content": "", "thinking": "hm"}, logprobs=[{"token": "hm", "logprob": -1}]),
        native({"content": ""}),
        native({"content": "x", "tool_calls": [own_call]}, True, done_reason="stop", new={"y": 1}, **figures),
    ]
    assert passed_on(lines) == bare(lines)


def test_a_hosts_calls_without_ids_stay_so():
    """Its clients may be older than ids, of which some take no call with one."""
    lines = [native({"content": "", "tool_calls": [{"function": {"name": "f", "arguments": {}}}]}), native({}, True)]
    assert passed_on(lines)[0]["message"] == lines[0]["message"]


def test_the_context_of_generate_is_passed_on_to_generate():
    lines = [{"model": "m", "created_at": "x", "response": "A", "done": False}]
    lines += [{"model": "m", "created_at": "x", "response": "", "done": True, "context": [1, 2], "eval_count": 1}]
    assert passed_on(lines, OllamaGenerate()) == bare(lines)
    assert "context" not in passed_on(lines, OllamaChat())[-1]


def test_a_hosts_own_figures_are_not_added_to():
    for lines in ([native({"content": "x"}, True, total_duration=9)], [native({"content": "x"}, True)]):
        assert passed_on(lines) == bare(lines)


def test_a_hosts_last_line_waits_for_the_end():
    """The answer may still fail, or go on: then it was not the last, and what it brought is not lost."""
    (last,) = read_back(json.dumps(native({"content": "all"}, True, done_reason="stop")).encode())
    writer = OllamaChat().writer()
    assert writer.chunk(last) == b""
    first, second = [json.loads(line) for line in writer.error(errors.NetworkError("down")).splitlines()]
    assert (first["message"]["content"], first["done"]) == ("all", False)
    assert second == {"error": "down"}
    lines = written([text("so"), last, text("more"), END])
    assert [(line["message"]["content"], line["done"]) for line in lines] == [
        ("so", False),
        ("all", False),
        ("more", False),
        ("", True),
    ]


@pytest.mark.parametrize("own", [None, 7, [], [7], [{"function": 7}], [{}, {}], {"a": 1}], ids=str)
def test_the_shape_of_a_hosts_calls_is_not_trusted(own):
    raw = native({"content": "", "tool_calls": own})
    first, *_ = written([call(0, "{}", "f", raw=raw), END])
    (made,) = first["message"]["tool_calls"]
    assert (made["function"]["name"], made["function"]["arguments"]) == ("f", {})


# -- tool calls --------------------------------------------------------------------------------------------------------


def sent_calls(lines: list[Any]) -> list[Any]:
    return [
        [(item.get("id"), item["function"]["name"], item["function"]["arguments"]) for item in found]
        for line in lines
        if (found := line.get("message", line).get("tool_calls"))
    ]


def test_a_call_is_sent_whole():
    parts = ['{"x"', ': [1, "a', ' b"]', "} "]
    fragments = [call(0, "", "f"), *(call(0, part) for part in parts)]
    lines = written([*fragments, chunk(ChunkDelta(), finish="tool_calls")])
    assert lines[0]["message"] == {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"id": "c0", "function": {"index": 0, "name": "f", "arguments": {"x": [1, "a b"]}}}],
    }
    assert (len(lines), lines[-1]["done_reason"]) == (2, "stop")


def test_calls_without_ids_for_clients_that_take_none():
    lines = written([call(0, "{}", "f"), END], OllamaChat(call_ids=False))
    assert sent_calls(lines) == [[(None, "f", {})]]
    assert list(lines[0]["message"]["tool_calls"][0]) == ["function"]
    own = native({"content": "", "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": {}}}]})
    line = written([call(0, "{}", "f", raw=own), END], OllamaChat(call_ids=False))[0]
    assert list(line["message"]["tool_calls"][0]) == ["function"]


def test_a_call_that_is_whole_is_sent_when_something_else_comes():
    writer = OllamaChat().writer()
    assert writer.chunk(call(0, '{"a":1}', "f")) == b""
    assert b'"c0"' in writer.chunk(call(1, "{", "g"))
    assert writer.chunk(call(0, " \n")) == b""  # nothing that was missing
    assert b'"hi"' in writer.chunk(text("hi"))  # the second is not whole yet
    assert writer.chunk(call(1, "}")) == b""
    assert sent_calls([json.loads(line) for line in writer.chunk(text("then")).splitlines()]) == [[("c1", "g", {})]]


def test_calls_that_come_in_turns_keep_their_order():
    """The first one is whole last, and one without arguments is whole when nothing more can come."""
    chunks = [
        calls(piece(0, "{", "f"), piece(2, "{}", "h")),
        call(1, "", "g"),
        call(0, '"a":1}'),
        chunk(ChunkDelta(), finish="tool_calls"),
    ]
    lines = written(chunks)
    assert [item for line in sent_calls(lines) for item in line] == [
        ("c0", "f", {"a": 1}),
        ("c1", "g", {}),
        ("c2", "h", {}),
    ]


@pytest.mark.parametrize("arguments", ['{"x":', "[1]", "7", '{"x": NaN}', '{"x": 1e999}', "{}{}", "nonsense"])
def test_arguments_that_never_become_an_object_are_an_error(arguments):
    """Told as such, and no call of it: a client would make it."""
    chunks = [text("x"), call(0, arguments, "f"), chunk(ChunkDelta(), finish="length")]
    with pytest.raises(MalformedStreamError, match="arguments of f"):
        ended(chunks)
    lines = written(chunks)
    assert "arguments of f" in lines[-1]["error"]
    assert not any("tool_calls" in line.get("message", {}) for line in lines)


def test_a_call_that_goes_on_after_its_end_is_an_error():
    writer = OllamaChat().writer()
    for item in (call(0, "{}", "f"), call(1, "{}", "g")):
        writer.chunk(item)
    with pytest.raises(MalformedStreamError, match="after the end"):
        writer.chunk(call(0, "{}"))


def test_a_call_without_a_name_is_an_error():
    with pytest.raises(MalformedStreamError, match="no name"):
        ended([call(0, "{}", id="c")])


def test_a_call_that_was_cut_off_is_forgotten_when_the_answer_begins_anew():
    """Nothing of it was sent, so that it may."""
    begun = [calls(piece(0, '{"a"', "f", id="old"), usage=Usage(9, 9, 18), model="old")]
    lines = written([*begun, restart(), call(0, "{}", "g", id="new"), chunk(ChunkDelta(), finish="stop")])
    assert sent_calls(lines) == [[("new", "g", {})]]
    assert "eval_count" not in lines[-1]
    assert lines[-1]["model"] == "m"


# -- whole answers -----------------------------------------------------------------------------------------------------


def test_a_whole_answer_of_a_host_is_passed_on():
    own_call = {"function": {"name": "f", "arguments": {"a": 1}}}
    own = native({"content": "x", "tool_calls": [own_call]}, True, done_reason="stop", remote_model="big", eval_count=2)
    completion = DIALECT.response(json.dumps(own).encode())
    assert bare([json.loads(OllamaChat().whole(completion))]) == bare([own])


def test_a_streams_whole_answer_has_the_hosts_times():
    """They stand in its usage; there is no line of the host's with a collected answer."""
    line = native({"content": "x"}, True, done_reason="stop", total_duration=9, eval_count=2)
    collected = together(read_back(json.dumps(line).encode()))
    written_answer = json.loads(OllamaChat().whole(collected))
    assert (written_answer["total_duration"], written_answer["eval_count"]) == (9, 2)
    assert "prompt_eval_count" not in written_answer


def test_a_whole_answer_that_cannot_be_said_is_an_error():
    broken = Message.assistant(None, tool_calls=[ToolCall("c", FunctionCall("f", '{"x"'))])
    with pytest.raises(MalformedStreamError):
        OllamaChat().whole(ChatCompletion(choices=(Choice(0, broken),)))
    assert json.loads(OllamaChat("m").whole(ChatCompletion()))["done"] is True


# -- the official client -----------------------------------------------------------------------------------------------


@pytest.mark.long
def test_the_official_client_reads_generate():
    ollama = pytest.importorskip("ollama")
    bodies = {"stream": GENERATE_PROFILE.written(STREAM), "whole": OllamaGenerate().whole(WHOLE)}
    with replaying(bodies, content_type="application/x-ndjson") as url:
        parts = list(ollama.Client(host=f"{url}/stream").generate("m", stream=True))
        whole = ollama.Client(host=f"{url}/whole").generate("m")
    expected = together(STREAM)
    assert "".join(part.response for part in parts) == expected.content
    assert "".join(part.thinking or "" for part in parts) == expected.reasoning
    assert parts[-1].done
    assert (whole.response, whole.thinking, whole.eval_count) == ("Paris", "hm", 2)
