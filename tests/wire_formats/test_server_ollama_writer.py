"""Ollama's API, written: what is in the lines, and that our own dialect and the official client read the same."""

from __future__ import annotations

import datetime
import json
from typing import Any, Dict, List

import pytest
from formats_of import chunks_in, together
from hypothesis import given, settings
from hypothesis import strategies as st

from anyllm import errors, formats
from anyllm.errors import AnyLLMError, IncompleteStreamError, InvalidRequestError, MalformedStreamError
from anyllm.types import (
    ChatCompletion,
    ChatCompletionChunk,
    Choice,
    ChunkChoice,
    ChunkDelta,
    FunctionCall,
    Message,
    Reasoning,
    RetryNotice,
    ToolCall,
    Usage,
    text_chunk,
)
from anyllm.wire.ollama.dialect import OllamaDialect as Dialect
from anyllm.wire.ollama.server.writer import OllamaChat, OllamaGenerate

DIALECT = Dialect(provider="p")
BOTH = pytest.mark.parametrize("wanted", [OllamaChat, OllamaGenerate])
NOW = 1_700_000_000


class Ticking:
    """A clock that a test sets, in nanoseconds."""

    def __init__(self) -> None:
        self.time = 5_000

    def __call__(self) -> int:
        return self.time


def chunk(delta: Any = None, *, finish: Any = None, raw: Any = None, **more: Any) -> ChatCompletionChunk:
    logprobs = more.pop("logprobs", None)
    choice = ChunkChoice(more.pop("index", 0), delta, finish, more.pop("said", finish), logprobs)
    about = {"created": NOW, "model": "m", **more}
    return ChatCompletionChunk("", () if delta is None else (choice,), provider="p", raw=raw, **about)


def text(said: str, **more: Any) -> ChatCompletionChunk:
    return text_chunk("", said, more.get("created", NOW), "m", None, None, "p", more.get("raw"))


def call(index: int, call_id: Any = None, name: Any = None, arguments: str = "") -> ToolCall:
    return ToolCall(call_id, FunctionCall(name, arguments), index=index)


def calls(*fragments: ToolCall, **more: Any) -> ChatCompletionChunk:
    return chunk(ChunkDelta(tool_calls=fragments), **more)


END = chunk(ChunkDelta(), finish="stop", said="end_turn", usage=Usage(3, 2, 5))


def said(chunks: List[Any], wanted: Any = None) -> bytes:
    return b"".join(formats.encode(iter(chunks), wanted or OllamaChat()))


def written(chunks: List[Any], wanted: Any = None) -> List[Any]:
    body = said(chunks, wanted)
    assert body.endswith(b"\n")
    return [json.loads(line) for line in body.decode().splitlines()]


def ended(chunks: List[Any]) -> bytes:
    """The same with nobody between who would tell an error."""
    writer = OllamaChat().writer()
    return b"".join(map(writer.chunk, chunks)) + writer.end()


def read_back(said: bytes) -> List[ChatCompletionChunk]:
    return chunks_in(DIALECT, said)


# -- lines -------------------------------------------------------------------------------------------------------------


def test_lines_are_those_that_ollama_sends():
    chunks = [chunk(ChunkDelta("assistant", "")), chunk(ChunkDelta(reasoning=Reasoning("hm"))), text("Hi"), END]
    clock = Ticking()
    thought, spoken, last = written(chunks, OllamaChat(clock=clock))
    time = "2023-11-14T22:13:20.000000000Z"
    first = {"model": "m", "created_at": time}
    assert thought == {**first, "message": {"role": "assistant", "content": "", "thinking": "hm"}, "done": False}
    assert spoken == {**first, "message": {"role": "assistant", "content": "Hi"}, "done": False}
    took = {"total_duration": 0, "load_duration": 0, "prompt_eval_duration": 0, "eval_duration": 0}
    counts = {"prompt_eval_count": 3, "eval_count": 2}
    message = {"role": "assistant", "content": ""}
    assert last == {**first, "message": message, "done": True, "done_reason": "stop", **took, **counts}


def test_generate_has_text_and_reasoning_at_the_top():
    thought, spoken, last = written([chunk(ChunkDelta(reasoning=Reasoning("hm"))), text("Hi"), END], OllamaGenerate())
    assert (thought["response"], thought["thinking"]) == ("", "hm")
    assert (spoken["response"], last["response"]) == ("Hi", "")
    assert "message" not in {**thought, **spoken, **last}
    assert "context" not in last  # as Ollama leaves it out when it is empty


@BOTH
def test_a_text_alone_is_written_as_any_other_line(wanted):
    """The bytes that were made once say what the long way says."""
    clock = Ticking()
    short, long = (
        written([text("a"), item, END], wanted(clock=clock)) for item in (text("é"), chunk(ChunkDelta(content="é")))
    )
    assert short == long


@BOTH
def test_lines_are_one_line_for_every_reader(wanted):
    """The official client's reader splits where Unicode ends a line."""
    odd = "a\u2028b\u2029c\x85d\x0b\x0c\x1c\r\n\ue000"
    body = said([text(odd), text(odd), chunk(ChunkDelta(reasoning=Reasoning(odd))), END], wanted())
    assert len(body.decode().splitlines()) == 4
    assert together(read_back(body)).content == odd * 2
    assert together(read_back(body)).reasoning == odd


@BOTH
def test_half_an_emoji_and_a_large_number_are_json(wanted):
    large = calls(call(0, "c", "f", json.dumps({"n": 10**30})), finish="tool_calls")
    body = said([text("\ud83d"), text("\ud83d"), large], wanted())
    assert json.loads(body.splitlines()[1]).get("response", "\ud83d") == "\ud83d"
    assert together(read_back(body)).tool_calls[0].parse() == {"n": 10**30}


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
    fmt = OllamaChat(clock=Ticking(), now=lambda: NOW * 10**9 + 7)
    assert written([text("a", created=created), END], fmt)[0]["created_at"] == "2023-11-14T22:13:20.000000007Z"


def test_a_model_that_the_provider_does_not_name_is_what_was_asked_for():
    nameless = chunk(ChunkDelta(content="x"), model="")
    assert {line["model"] for line in written([nameless, nameless], OllamaChat("mine"))} == {"mine"}
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
    (last,) = written([], OllamaChat("m", clock=Ticking(), now=lambda: NOW * 10**9))
    assert (last["model"], last["done"], last["message"]["content"]) == ("m", True, "")
    assert last.keys().isdisjoint(("done_reason", "eval_count", "prompt_eval_count"))
    assert read_back(said([]))[-1].finish_reason is None


def test_running_totals_are_told_once():
    running = [chunk(ChunkDelta(content="x"), usage=Usage(3, count, 3 + count)) for count in (1, 2)]
    *lines, last = written([*running, chunk(usage=Usage(3, 4, 7))])
    assert (last["prompt_eval_count"], last["eval_count"]) == (3, 4)
    assert not any("eval_count" in line for line in lines)


@pytest.mark.parametrize(
    ("finish", "raw", "word"),
    [
        ("stop", "end_turn", "stop"),
        ("tool_calls", "tool_use", "stop"),
        ("length", "MAX_TOKENS", "length"),
        ("content_filter", "SAFETY", "content_filter"),
        ("unknown", "tired", "tired"),
        ("unknown", None, "unknown"),
    ],
)
def test_reasons_are_put_into_ollamas_words_where_it_has_them(finish, raw, word):
    """An answer that was withheld did not stop by itself, whatever Ollama would call it."""
    *_, last = written([text("x"), chunk(ChunkDelta(), finish=finish, said=raw)])
    assert last["done_reason"] == word


def test_probabilities_are_told_where_they_are_of_this_shape():
    tokens = [{"token": "x", "logprob": -0.5, "bytes": [120], "top_logprobs": []}]
    first, *_ = written([chunk(ChunkDelta(content="x"), logprobs={"content": tokens}), END])
    assert first["logprobs"] == tokens
    for other in ({"content": None}, {"content": [{"logprob": 1}]}, {"chosenCandidates": []}):
        first, *_ = written([chunk(ChunkDelta(content="x"), logprobs=other), END])
        assert "logprobs" not in first


def test_a_refusal_is_text():
    first, *_ = written([chunk(ChunkDelta(refusal="no")), END])
    assert first["message"]["content"] == "no"


@pytest.mark.parametrize(
    ("item", "param"),
    [
        (chunk(ChunkDelta(content="x"), index=1), "n"),
        (chunk(ChunkDelta(audio={"data": "AA=="})), "audio"),
    ],
)
def test_what_the_format_has_no_words_for_is_an_error(item, param):
    with pytest.raises(InvalidRequestError) as raised:
        OllamaChat().writer().chunk(item)
    assert raised.value.param == param
    assert "done" not in written([text("x"), item, END])[-1]


# -- what an Ollama host said ------------------------------------------------------------------------------------------


def native(message: Any, done: bool = False, **more: Any) -> Dict[str, Any]:
    return {
        "model": "m",
        "created_at": "2023-11-14T22:13:20Z",
        "message": {"role": "assistant", **message},
        "done": done,
        **more,
    }


def passed_on(lines: List[Any], wanted: Any = None) -> List[Any]:
    body = "".join(json.dumps(line) + "\n" for line in lines).encode()
    again = written(read_back(body), wanted)
    return [{key: value for key, value in line.items() if key != "created_at"} for line in again]


def bare(lines: List[Any]) -> List[Any]:
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


def test_text_that_was_changed_on_the_way_is_not_undone():
    raw = native({"content": "secret"})
    changed = chunk(ChunkDelta(content="***"), raw=raw)
    assert written([changed, END])[0]["message"]["content"] == "***"


@pytest.mark.parametrize(
    "raw",
    [
        {"type": "message_start", "message": {"role": "assistant", "id": "x"}},
        {"message": {"x": 1}, "done": "no"},
        {"done": False, "message": None},
        {"done": False, "response": 7},
        [],
        7,
    ],
    ids=str,
)
def test_events_of_others_are_not_taken_for_lines(raw):
    first, *_ = written([chunk(ChunkDelta("assistant", "x"), raw=raw), END])
    assert first["message"] == {"role": "assistant", "content": "x"}
    assert first.keys() == {"model", "created_at", "message", "done"}


@pytest.mark.parametrize("own", [None, 7, [], [7], [{"function": 7}], [{}, {}], {"a": 1}], ids=str)
def test_the_shape_of_a_hosts_calls_is_not_trusted(own):
    raw = native({"content": "", "tool_calls": own})
    first, *_ = written([calls(call(0, "c", "f", "{}"), raw=raw), END])
    (made,) = first["message"]["tool_calls"]
    assert (made["function"]["name"], made["function"]["arguments"]) == ("f", {})


# -- tool calls --------------------------------------------------------------------------------------------------------


def sent_calls(lines: List[Any]) -> List[Any]:
    return [
        [(item.get("id"), item["function"]["name"], item["function"]["arguments"]) for item in found]
        for line in lines
        if (found := line.get("message", line).get("tool_calls"))
    ]


def test_a_call_is_sent_whole():
    pieces = ['{"x"', ': [1, "a', ' b"]', "} "]
    fragments = [call(0, "c1", "f"), *(call(0, arguments=piece) for piece in pieces)]
    lines = written([*map(calls, fragments), chunk(ChunkDelta(), finish="tool_calls")])
    assert lines[0]["message"] == {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"id": "c1", "function": {"index": 0, "name": "f", "arguments": {"x": [1, "a b"]}}}],
    }
    assert (len(lines), lines[-1]["done_reason"]) == (2, "stop")


def test_calls_without_ids_for_clients_that_take_none():
    lines = written([calls(call(0, "c1", "f", "{}")), END], OllamaChat(call_ids=False))
    assert sent_calls(lines) == [[(None, "f", {})]]
    assert list(lines[0]["message"]["tool_calls"][0]) == ["function"]
    own = native({"content": "", "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": {}}}]})
    line = written([calls(call(0, "c", "f", "{}"), raw=own), END], OllamaChat(call_ids=False))[0]
    assert list(line["message"]["tool_calls"][0]) == ["function"]


def test_a_call_that_is_whole_is_sent_when_something_else_comes():
    writer = OllamaChat().writer()
    assert writer.chunk(calls(call(0, "c1", "f", '{"a":1}'))) == b""
    assert b'"c1"' in writer.chunk(calls(call(1, "c2", "g", "{")))
    assert writer.chunk(calls(call(0, arguments=" \n"))) == b""  # nothing that was missing
    assert b'"hi"' in writer.chunk(text("hi"))  # the second is not whole yet
    assert writer.chunk(calls(call(1, arguments="}"))) == b""
    assert sent_calls([json.loads(line) for line in writer.chunk(text("then")).splitlines()]) == [[("c2", "g", {})]]


def test_calls_that_come_in_turns_keep_their_order():
    """The first one is whole last, and one without arguments is whole when nothing more can come."""
    chunks = [
        calls(call(0, "c1", "f", "{"), call(2, "c3", "h", "{}")),
        calls(call(1, "c2", "g")),
        calls(call(0, arguments='"a":1}')),
        chunk(ChunkDelta(), finish="tool_calls"),
    ]
    lines = written(chunks)
    assert [item for line in sent_calls(lines) for item in line] == [
        ("c1", "f", {"a": 1}),
        ("c2", "g", {}),
        ("c3", "h", {}),
    ]


@pytest.mark.parametrize("arguments", ['{"x":', "[1]", "7", '{"x": NaN}', '{"x": 1e999}', "{}{}", "nonsense"])
def test_arguments_that_never_become_an_object_are_an_error(arguments):
    """Told as such, and no call of it: a client would make it."""
    chunks = [text("x"), calls(call(0, "c", "f", arguments)), chunk(ChunkDelta(), finish="length")]
    with pytest.raises(MalformedStreamError, match="arguments of f"):
        ended(chunks)
    lines = written(chunks)
    assert "arguments of f" in lines[-1]["error"]
    assert not any("tool_calls" in line.get("message", {}) for line in lines)


def test_a_call_that_goes_on_after_its_end_is_an_error():
    writer = OllamaChat().writer()
    for item in (calls(call(0, "c", "f", "{}")), calls(call(1, "d", "g", "{}"))):
        writer.chunk(item)
    with pytest.raises(MalformedStreamError, match="after the end"):
        writer.chunk(calls(call(0, arguments="{}")))


def test_a_call_without_a_name_is_an_error():
    with pytest.raises(MalformedStreamError, match="no name"):
        ended([calls(call(0, "c", None, "{}"))])


def test_a_call_that_was_cut_off_is_forgotten_when_the_answer_begins_anew():
    """Nothing of it was sent, so that it may."""
    anew = ChatCompletionChunk(retry=RetryNotice("restart", 2, "cut"))
    begun = [calls(call(0, "old", "f", '{"a"'), usage=Usage(9, 9, 18), model="old")]
    lines = written([*begun, anew, calls(call(0, "new", "g", "{}")), chunk(ChunkDelta(), finish="stop")])
    assert sent_calls(lines) == [[("new", "g", {})]]
    assert "eval_count" not in lines[-1]
    assert lines[-1]["model"] == "m"
    writer = OllamaChat().writer()
    writer.chunk(text("a"))
    with pytest.raises(IncompleteStreamError):
        writer.chunk(anew)


ARGUMENTS = st.dictionaries(st.text(max_size=3), st.integers() | st.text(max_size=5) | st.none(), max_size=3)


@st.composite
def streams(draw: Any) -> Any:
    """Chunks of an answer whose pieces come in any order, and the answer."""
    told = [draw(ARGUMENTS) for _ in range(draw(st.integers(0, 3)))]
    pieces: List[Any] = []
    for index, arguments in enumerate(told):
        whole = json.dumps(arguments)
        cuts = sorted(draw(st.lists(st.integers(0, len(whole)), max_size=3)))
        parts = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)])]
        pieces.append([calls(call(index, f"c{index}", "f", parts[0]), model="m")])
        pieces[-1] += [calls(call(index, arguments=part)) for part in parts[1:]]
    pieces.append([text(item) for item in draw(st.lists(st.text(min_size=1, max_size=4), max_size=3))])
    thoughts = draw(st.lists(st.text(min_size=1, max_size=4), max_size=2))
    pieces.append([chunk(ChunkDelta(reasoning=Reasoning(item, None, "thinking"))) for item in thoughts])
    chunks = [chunk(ChunkDelta("assistant", ""))]
    while any(pieces):
        left = [queue for queue in pieces if queue]
        chunks.append(draw(st.sampled_from(left)).pop(0))
    ended = chunk(ChunkDelta(), finish="tool_calls" if told else "stop", said="stop", usage=Usage(1, 2, 3))
    return [*chunks, ended]


@BOTH
@given(chunks=streams())
@settings(max_examples=60, deadline=None)
def test_any_order_of_pieces_gives_the_same_answer(wanted, chunks):
    again, meant = together(read_back(said(chunks, wanted()))), together(chunks)
    assert [(c.id, c.name, c.parse()) for c in again.tool_calls] == [
        (c.id, c.name, c.parse()) for c in meant.tool_calls
    ]
    halves = (again.content, again.reasoning, again.finish_reason, again.usage.total_tokens, again.created)
    assert halves == (meant.content, meant.reasoning, meant.finish_reason, meant.usage.total_tokens, meant.created)


# -- whole answers -----------------------------------------------------------------------------------------------------

WHOLE = ChatCompletion(
    "",
    (
        Choice(
            0,
            Message.assistant(
                "Paris",
                reasoning=Reasoning("hm", None, "thinking"),
                tool_calls=[ToolCall("c1", FunctionCall("f", '{"x":1}'))],
            ),
            "tool_calls",
            "stop",
            {"content": [{"token": "Paris", "logprob": -1}]},
        ),
    ),
    NOW,
    "m",
    usage=Usage(3, 2, 5),
    provider="p",
)


def test_a_whole_answer_of_a_host_is_passed_on():
    own_call = {"function": {"name": "f", "arguments": {"a": 1}}}
    own = native({"content": "x", "tool_calls": [own_call]}, True, done_reason="stop", remote_model="big", eval_count=2)
    completion = DIALECT.response(json.dumps(own).encode())
    assert bare([json.loads(OllamaChat().whole(completion))]) == bare([own])


def test_a_streams_whole_answer_has_the_hosts_times():
    """They stand in its usage; there is no line of the host's with a collected answer."""
    line = native({"content": "x"}, True, done_reason="stop", total_duration=9, eval_count=2)
    collected = together(read_back(json.dumps(line).encode()))
    told = json.loads(OllamaChat().whole(collected))
    assert (told["total_duration"], told["eval_count"]) == (9, 2)
    assert "prompt_eval_count" not in told


def test_a_whole_answer_that_cannot_be_said_is_an_error():
    several = ChatCompletion(choices=(Choice(0), Choice(1)))
    with pytest.raises(InvalidRequestError) as raised:
        OllamaChat().whole(several)
    assert raised.value.param == "n"
    broken = Message.assistant(None, tool_calls=[ToolCall("c", FunctionCall("f", '{"x"'))])
    with pytest.raises(MalformedStreamError):
        OllamaChat().whole(ChatCompletion(choices=(Choice(0, broken),)))
    assert json.loads(OllamaChat("m").whole(ChatCompletion()))["done"] is True


# -- errors ------------------------------------------------------------------------------------------------------------

FAILURES: List[AnyLLMError] = [
    errors.AuthenticationError("no", status_code=401),
    errors.PermissionDeniedError("no", status_code=403),
    errors.RateLimitError("slow down", status_code=429),
    errors.InvalidRequestError("bad", status_code=400),
    errors.ContextLengthExceededError("the prompt is too long", status_code=400),
    errors.ModelNotFoundError('model "x" not found', status_code=404),
    errors.OverloadedError("later", status_code=503),
    errors.ServerError("oops", status_code=500),
]


@pytest.mark.parametrize("error", FAILURES, ids=lambda error: type(error).__name__)
def test_an_error_is_the_same_on_the_other_side(error):
    """As a response; in a stream Ollama has no status, and its words alone tell the class."""
    status = formats.status(error, "ollama")
    body = OllamaChat().problem(error, status)
    assert json.loads(body) == {"error": error.message}
    assert type(DIALECT.error(status, {}, body)) is type(error)
    with pytest.raises(errors.APIError) as raised:
        read_back(OllamaChat().writer().error(error))
    assert raised.value.message == error.message
    in_words = isinstance(error, (errors.ContextLengthExceededError, errors.ModelNotFoundError))
    assert type(raised.value) is (type(error) if in_words else errors.APIError)


def test_an_error_ends_the_stream_without_its_end():
    def failing() -> Any:
        yield text("x")
        raise errors.NetworkError("down")

    *_, last = [json.loads(line) for line in b"".join(formats.encode(failing(), OllamaChat())).splitlines()]
    assert last == {"error": "down"}


def test_a_bug_is_not_told():
    assert json.loads(OllamaChat().problem(KeyError("secret"), 500)) == {"error": "internal error"}


# -- the official client -----------------------------------------------------------------------------------------------


@pytest.fixture
def client_of(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes official clients whose server answers with given bytes."""
    ollama = pytest.importorskip("ollama")
    httpx = pytest.importorskip("httpx")
    monkeypatch.delenv("OLLAMA_API_KEY", raising=False)

    def make(body: bytes, status: int = 200) -> Any:
        client = ollama.Client(host="http://127.0.0.1:1")
        client._client.close()
        answer = httpx.MockTransport(lambda _request: httpx.Response(status, content=body))
        client._client = httpx.Client(base_url="http://127.0.0.1:1", transport=answer)
        return client

    return make


STREAM = [
    chunk(ChunkDelta(reasoning=Reasoning("h\x85m"))),
    text("He said \u2028"),
    text("\u2029é"),
    calls(call(0, "c1", "f", '{"x":')),
    calls(call(0, arguments="1}")),
    chunk(ChunkDelta(), finish="tool_calls", usage=Usage(3, 2, 5)),
]


@pytest.mark.long
def test_the_official_client_reads_a_stream_with_signs_of_life(client_of):
    lines = said(STREAM).splitlines(keepends=True)
    alive = b"".join(OllamaChat.keep_alive * 3 + line for line in lines)
    parts = list(client_of(alive).chat("m", stream=True))
    assert "".join(part.message.thinking or "" for part in parts) == "h\x85m"
    assert "".join(part.message.content for part in parts) == "He said \u2028\u2029é"
    assert [c.function.arguments for part in parts for c in part.message.tool_calls or ()] == [{"x": 1}]
    last = parts[-1]
    assert (last.done, last.done_reason, last.prompt_eval_count, last.eval_count) == (True, "stop", 3, 2)
    assert last.total_duration >= last.eval_duration > 0
    assert datetime.datetime.fromisoformat(last.created_at[:19]) >= datetime.datetime(2023, 11, 14, 22, 13, 20)


@pytest.mark.long
def test_the_official_client_reads_generate(client_of):
    parts = list(client_of(said(STREAM, OllamaGenerate())).generate("m", stream=True))
    assert "".join(part.response for part in parts) == "He said \u2028\u2029é"
    assert "".join(part.thinking or "" for part in parts) == "h\x85m"
    assert parts[-1].done
    whole = client_of(OllamaGenerate().whole(WHOLE)).generate("m")
    assert (whole.response, whole.thinking, whole.eval_count) == ("Paris", "hm", 2)


@pytest.mark.long
def test_the_official_client_reads_a_whole_answer(client_of):
    whole = client_of(OllamaChat().whole(WHOLE)).chat("m")
    assert (whole.message.content, whole.message.thinking, whole.done_reason) == ("Paris", "hm", "stop")
    assert whole.message.tool_calls[0].function.arguments == {"x": 1}
    assert whole.logprobs[0].token == "Paris"


@pytest.mark.long
def test_the_official_client_raises_errors(client_of):
    import ollama

    error = errors.RateLimitError("slow down", status_code=429)
    told = ended([text("x")]).splitlines(keepends=True)[0] + OllamaChat().writer().error(error)
    parts = client_of(told).chat("m", stream=True)
    assert next(parts).message.content == "x"
    with pytest.raises(ollama.ResponseError, match="slow down"):
        next(parts)
    with pytest.raises(ollama.ResponseError, match="slow down") as raised:
        client_of(OllamaChat().problem(error, 429), 429).chat("m")
    assert raised.value.status_code == 429
