"""OpenAI's Responses, written: that the events are in order, and that our own dialect reads the same out of them."""

from __future__ import annotations

import json
from typing import Any, Dict, List, Optional

import attrs
import pytest
from formats_of import chunks_in, together
from hypothesis import given, settings
from hypothesis import strategies as st
from json_mutations import json_with
from recordings import replaying

from anyllm import errors
from anyllm._framing.detect import events
from anyllm.errors import AnyLLMError, IncompleteStreamError, InvalidRequestError
from anyllm.formats import encode
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
from anyllm.wire.openai_responses.dialect import OpenAIResponsesDialect as Dialect
from anyllm.wire.openai_responses.replay_items import unsealed
from anyllm.wire.openai_responses.server.writer import OpenAIResponses

DIALECT = Dialect(provider="p")


def chunk(
    delta: Optional[ChunkDelta] = None, finish: Any = None, raw_finish: Any = None, **more: Any
) -> ChatCompletionChunk:
    logprobs = more.pop("logprobs", None)
    choices = () if delta is None else (ChunkChoice(0, delta, finish, raw_finish or finish, logprobs),)
    return ChatCompletionChunk("resp_1", choices, 7, "m", provider="p", **more)


def text(content: str, **more: Any) -> ChatCompletionChunk:
    return chunk(ChunkDelta(None, content), **more)


def quick(content: str) -> ChatCompletionChunk:
    return text_chunk("resp_1", content, 7, "m", None, None, "p", None)


def thought(content: Optional[str], *more: Any) -> ChatCompletionChunk:
    return chunk(ChunkDelta(reasoning=Reasoning(content, *more)))


def call(index: int, arguments: str, name: Optional[str] = None, **more: Any) -> ChatCompletionChunk:
    named = name and f"call_{name}"
    return chunk(ChunkDelta(tool_calls=(ToolCall(named, FunctionCall(name, arguments), index=index, **more),)))


def bytes_of(chunks: List[Any], **settings: Any) -> bytes:
    return b"".join(encode(iter(chunks), OpenAIResponses(**settings)))


def parsed(body: bytes) -> List[Dict[str, Any]]:
    """The events; each is named by its type, and they are numbered from 0."""
    found = []
    for block in body.decode().split("\n\n")[:-1]:
        name, data = block.split("\n", 1)
        found.append(json.loads(data[len("data: ") :]))
        assert name == f"event: {found[-1]['type']}"
    assert [event["sequence_number"] for event in found] == list(range(len(found)))
    return found


def written(chunks: List[Any], **settings: Any) -> List[Dict[str, Any]]:
    return parsed(bytes_of(chunks, **settings))


def read_back(body: bytes) -> ChatCompletion:
    return together(chunks_in(DIALECT, body))


def assert_in_order(found: List[Dict[str, Any]]) -> List[Dict[str, Any]]:
    """
    What a strict client relies on; gives the items of the whole response.

    Items and parts begin once, before their contents, under rising numbers; the text at their end is all of its pieces,
    and the same as in the last event.
    """
    assert [event["type"] for event in found[:2]] == ["response.created", "response.in_progress"]
    begun: List[Dict[str, Any]] = []
    over: Dict[int, Dict[str, Any]] = {}
    pieces: Dict[Any, str] = {}
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


STREAM = [
    chunk(ChunkDelta("assistant", "")),
    thought("h"),
    thought("m"),
    quick('He said "é\u2028'),
    quick('\U0001f600"'),
    call(0, "", "f"),
    call(0, '{"x":'),
    call(1, "{", "g"),
    call(0, "1}"),
    call(1, "}"),
    chunk(usage=Usage(3, 1, 4)),
    chunk(ChunkDelta(), "tool_calls", "tool_use", usage=Usage(3, 2, 5, 1, 2, 1)),
]


# -- streams of any provider -------------------------------------------------------------------------------------------


def test_events_are_in_order() -> None:
    output = assert_in_order(written(STREAM))
    assert [item["type"] for item in output] == ["reasoning", "message", "function_call", "function_call"]
    assert [item["id"].partition("_")[0] for item in output] == ["rs", "msg", "fc", "fc"]
    assert [item.get("arguments") for item in output[2:]] == ['{"x":1}', "{}"]


def test_a_call_without_an_id_is_given_one() -> None:
    piece = chunk(ChunkDelta(tool_calls=(ToolCall(None, FunctionCall("f", "{}")),)))
    (item,) = assert_in_order(written([piece]))
    assert item["call_id"].startswith("call_")


def test_a_call_waits_for_its_name() -> None:
    (item,) = assert_in_order(written([call(0, "{"), call(0, "}", "f")]))
    assert (item["name"], item["arguments"]) == ("f", "{}")


def test_an_answer_whose_call_has_no_name_does_not_end_well() -> None:
    found = written([call(0, "{}")])
    assert [event["type"] for event in found[-2:]] == ["error", "response.failed"]


def test_text_alone_is_written_as_any_text_is() -> None:
    """Its events are put together from bytes that were made once."""
    slow = written([text("a"), text("b"), text('c"')])
    fast = written([quick("a"), quick("b"), quick('c"')])
    (slow_id,), (fast_id,) = ({e["item_id"] for e in found if "item_id" in e} for found in (slow, fast))
    assert json.loads(json.dumps(slow).replace(slow_id, fast_id)) == fast
    assert [event["delta"] for event in fast if event["type"] == "response.output_text.delta"] == ["a", "b", 'c"']


def test_half_an_emoji_is_written() -> None:
    assert [event["delta"] for event in written([quick("x"), quick("\ud83d")]) if "delta" in event] == ["x", "\ud83d"]


def test_each_kind_of_thing_said_is_a_part_of_its_own() -> None:
    chunks = [text("Well"), chunk(ChunkDelta(refusal="N")), chunk(ChunkDelta(refusal="o")), quick("but")]
    (item,) = assert_in_order(written(chunks))
    assert [part["type"] for part in item["content"]] == ["output_text", "refusal", "output_text"]
    again = read_back(bytes_of(chunks))
    assert (again.content, again.refusal) == ("Wellbut", "No")


def test_thoughts_between_texts_are_items_of_their_own() -> None:
    """A blank line stands between them when they are read again, as between any two parts; ours is not doubled."""
    chunks = [thought("a"), quick("x"), thought("\n\nb"), quick("y")]
    output = assert_in_order(written(chunks))
    assert [item["type"] for item in output] == ["reasoning", "message", "reasoning", "message"]
    again = read_back(bytes_of(chunks))
    assert (again.reasoning, again.content) == ("a\n\nb", "xy")


def test_log_probabilities_stand_beside_their_text() -> None:
    entry = {"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": []}
    chunks = [text("a", logprobs={"content": [entry]}), quick("b"), chunk(ChunkDelta(), logprobs={"content": [entry]})]
    (item,) = assert_in_order(written(chunks))
    assert item["content"][0]["logprobs"] == [entry, entry]
    assert read_back(bytes_of(chunks)).choices[0].logprobs == {"content": [entry, entry]}


@pytest.mark.parametrize(
    ("finish", "raw_finish", "status", "reason"),
    [
        (None, None, "completed", None),
        ("stop", "end_turn", "completed", None),
        ("tool_calls", "tool_use", "completed", None),
        ("length", "max_tokens", "incomplete", "max_output_tokens"),
        ("content_filter", "SAFETY", "incomplete", "content_filter"),
        ("unknown", "pause_turn", "incomplete", "pause_turn"),
        ("unknown", "incomplete", "incomplete", None),
    ],
)
def test_an_end_is_put_into_openais_words(finish: Any, raw_finish: Any, status: str, reason: Any) -> None:
    """What nobody knows to be a good end is quoted, and is none."""
    *_, last = written([quick("x"), chunk(ChunkDelta(), finish, raw_finish)])
    assert last["type"] == f"response.{status}"
    assert last["response"]["status"] == last["response"]["output"][0]["status"] == status
    assert last["response"]["incomplete_details"] == (reason and {"reason": reason})
    expected = finish if finish in ("length", "content_filter", "unknown") else "stop"
    assert read_back(bytes_of([quick("x"), chunk(ChunkDelta(), finish, raw_finish)])).finish_reason == expected


def test_tokens_are_those_of_the_last_count_in_openais_names() -> None:
    usage = written(STREAM)[-1]["response"]["usage"]
    assert usage == {
        "input_tokens": 3,
        "input_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 1},
        "output_tokens": 2,
        "output_tokens_details": {"reasoning_tokens": 1},
        "total_tokens": 5,
    }
    anthropics = Usage(3, 2, 5, raw={"input_tokens": 1, "output_tokens": 2})
    assert written([quick("x"), chunk(usage=anthropics)])[-1]["response"]["usage"]["input_tokens"] == 3
    assert written([quick("x")])[-1]["response"]["usage"] is None


def test_a_response_echoes_the_request_and_knows_its_model_in_the_end() -> None:
    first, *_, last = written([attrs.evolve(quick("x"), model="", id="")], model="m", request={"temperature": 0.5})
    for event in (first, last):
        assert event["response"]["temperature"] == 0.5
        assert event["response"]["model"] == "m"
        assert event["response"]["id"].startswith("resp_")
    assert first["response"]["output"] == []
    assert first["response"]["status"] == "in_progress"


def test_an_answer_that_says_nothing_ends_all_the_same() -> None:
    assert [event["type"].partition(".")[2] for event in written([])] == ["created", "in_progress", "completed"]


def test_an_answer_that_begins_anew_is_an_error() -> None:
    again = ChatCompletionChunk(retry=RetryNotice("restart", 2, "cut"))
    assert [event["type"] for event in written([again, quick("x"), again])[-2:]] == ["error", "response.failed"]
    assert written([again, quick("x")])[-1]["type"] == "response.completed"


@pytest.mark.parametrize(
    ("choice", "param"),
    [(ChunkChoice(1, ChunkDelta(None, "x")), "n"), (ChunkChoice(0, ChunkDelta(audio={"id": "a"})), "modalities")],
)
def test_what_has_no_place_here_is_refused_by_name(choice: ChunkChoice, param: str) -> None:
    found = written([ChatCompletionChunk("a", (choice,))])
    assert (found[0]["type"], found[0]["param"]) == ("error", param)
    with pytest.raises(InvalidRequestError):
        OpenAIResponses().whole(ChatCompletion("a", (Choice(1, Message.assistant("x")),)))


# -- what must be sent back --------------------------------------------------------------------------------------------

BLOCK = {"type": "thinking", "thinking": "hm", "signature": "sig"}


def test_what_was_signed_travels_sealed_with_the_thoughts() -> None:
    chunks = [thought("hm"), thought(None, "sig", "thinking", [BLOCK]), quick("x")]
    reasoning, _ = assert_in_order(written(chunks))
    assert unsealed(reasoning["encrypted_content"]) == Reasoning(None, "sig", "thinking", [BLOCK])
    assert "encrypted_content" not in written([thought("hm"), quick("x")])[-1]["response"]["output"][0]


@pytest.mark.parametrize(
    ("chunks", "kinds"),
    [
        ([thought(None, "sig"), quick("x")], ["reasoning", "message"]),
        ([quick("x"), thought(None, "sig")], ["message", "reasoning"]),
        ([thought("hm"), quick("x"), thought(None, "sig")], ["reasoning", "message", "reasoning"]),
    ],
)
def test_what_was_signed_without_thoughts_has_an_item_of_its_own(chunks: Any, kinds: List[str]) -> None:
    output = assert_in_order(written(chunks))
    assert [item["type"] for item in output] == kinds
    (seal,) = [item["encrypted_content"] for item in output if "encrypted_content" in item]
    assert unsealed(seal) == Reasoning(None, "sig")


def test_what_a_call_must_be_sent_back_with_stands_beside_it() -> None:
    extra = {"google": {"thought_signature": "s"}}
    (item,) = assert_in_order(written([call(0, "{}", "f", extra_content=extra)]))
    assert item["extra_content"] == extra


# -- chunks of any sort ------------------------------------------------------------------------------------------------


class Pieces:
    """Chunks of an answer whose calls go on in any order."""

    def __init__(self, kinds: List[Any]) -> None:
        self.chunks: List[ChatCompletionChunk] = []
        begun = set()
        for kind, piece in kinds:
            if isinstance(kind, int):
                self.chunks.append(call(kind, piece, None if kind in begun else f"f{kind}"))
                begun.add(kind)
            else:
                self.chunks.append({"quick": quick, "text": text, "thought": thought, "refusal": refused}[kind](piece))


def refused(content: str) -> ChatCompletionChunk:
    return chunk(ChunkDelta(refusal=content))


KINDS = st.sampled_from(["quick", "text", "thought", "refusal", 0, 1, 2])


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(KINDS, st.text('ab \n"\\é', max_size=3)), max_size=12))
def test_any_order_of_pieces_gives_the_same_answer(kinds: List[Any]) -> None:
    chunks = Pieces(kinds).chunks
    body = bytes_of(chunks)
    assert_in_order(parsed(body))
    answer, again = together(chunks), read_back(body)
    assert again.content == answer.content
    assert again.refusal == answer.refusal
    assert "".join(again.reasoning.split()) == "".join(answer.reasoning.split())
    expected = {(call.id, call.name, call.arguments) for call in answer.tool_calls}
    assert {(call.id, call.name, call.arguments) for call in again.tool_calls} == expected


# -- errors ------------------------------------------------------------------------------------------------------------

FAILURES: List[Any] = [
    (errors.RateLimitError("slow down", status_code=429), errors.RateLimitError),
    (errors.AuthenticationError("who?", status_code=401), errors.AuthenticationError),
    (errors.PermissionDeniedError("no", status_code=403), errors.PermissionDeniedError),
    (errors.InsufficientFundsError("pay", status_code=402), errors.InsufficientFundsError),
    (errors.ModelNotFoundError("m?", status_code=404), errors.ModelNotFoundError),
    (errors.ContextLengthExceededError("long", status_code=400), errors.ContextLengthExceededError),
    (errors.ContentFilterError("bad", status_code=400), errors.ContentFilterError),
    (errors.UnsupportedParameterError("x?", status_code=400, param="x"), errors.UnsupportedParameterError),
    (errors.InvalidRequestError("what?", status_code=400), errors.InvalidRequestError),
    (errors.OverloadedError("busy", status_code=529, type="overloaded_error"), errors.OverloadedError),
    (errors.ServerError("oops", status_code=500), errors.ServerError),
    (errors.IncompleteStreamError("cut"), errors.ServerError),
]


def failing(error: BaseException) -> bytes:
    def chunks() -> Any:
        yield quick("x")
        raise error

    return bytes_of(chunks())


@pytest.mark.parametrize(("error", "kind"), FAILURES, ids=lambda value: type(value).__name__)
def test_an_error_amid_the_stream_is_read_as_the_same_error(error: AnyLLMError, kind: Any) -> None:
    with pytest.raises(kind) as caught:
        read_back(failing(error))
    assert type(caught.value) is kind
    assert error.message in str(caught.value)
    assert getattr(caught.value, "param", None) == getattr(error, "param", None)


def test_the_error_is_told_as_documented_and_in_the_response() -> None:
    *_, error, failed = parsed(failing(errors.RateLimitError("slow down", status_code=429)))
    assert (error["code"], error["message"], error["param"]) == ("rate_limit_exceeded", "slow down", None)
    assert failed["response"]["status"] == "failed"
    assert failed["response"]["error"] == {"code": "rate_limit_exceeded", "message": "slow down"}
    assert failed["response"]["output"][0]["status"] == "in_progress"


def test_a_bug_says_nothing_of_itself() -> None:
    assert b"secret" not in failing(KeyError("secret"))
    assert "internal error" in json.loads(OpenAIResponses().problem(KeyError("secret"), 500))["error"]["message"]


@pytest.mark.parametrize(("error", "kind"), FAILURES[:-1], ids=lambda value: type(value).__name__)
def test_an_error_before_the_stream_is_read_as_the_same_error(error: Any, kind: Any) -> None:
    body = OpenAIResponses().problem(error, error.status_code)
    assert type(DIALECT.error(error.status_code, {}, body)) is kind


@pytest.mark.long
def test_the_official_client_raises_errors_and_reads_whole_answers() -> None:
    openai = pytest.importorskip("openai")
    bodies = {"broken": failing(errors.RateLimitError("slow down", status_code=429)), "good": bytes_of(STREAM)}
    with replaying(bodies, content_type="text/event-stream") as url:
        with openai.OpenAI(api_key="x", base_url=f"{url}/broken", max_retries=0) as client:
            stream = client.responses.create(model="m", input="Hi", stream=True)
            with pytest.raises(openai.APIError, match="slow down"):
                list(stream)
            with client.responses.stream(model="m", input="Hi") as stream, pytest.raises(openai.APIError):
                stream.get_final_response()
        with openai.OpenAI(api_key="x", base_url=f"{url}/good", max_retries=0) as client:
            with client.responses.stream(model="m", input="Hi") as stream:
                final = stream.get_final_response()
            assert final.output_text == together(STREAM).content
            assert final.usage.total_tokens == 5
    with (
        replaying({"whole": OpenAIResponses().whole(together(STREAM))}, content_type="application/json") as url,
        openai.OpenAI(api_key="x", base_url=f"{url}/whole", max_retries=0) as client,
    ):
        whole = client.responses.create(model="m", input="Hi")
    assert whole.output_text == final.output_text
    assert [item.type for item in whole.output] == [item.type for item in final.output]


# -- whole answers -----------------------------------------------------------------------------------------------------


def test_a_whole_answer_is_what_its_stream_ends_with() -> None:
    whole = json.loads(OpenAIResponses().whole(together(STREAM)))
    streamed = written(STREAM)[-1]["response"]
    for response in (whole, streamed):
        for item in response["output"]:
            del item["id"]
    assert whole == streamed


OWN = {
    "id": "resp_1",
    "object": "response",
    "created_at": 7,
    "model": "m",
    "status": "completed",
    "tools": [{"type": "web_search"}],
    "billing": {"payer": "me"},
    "output": [
        {"id": "ws_1", "type": "web_search_call", "status": "completed"},
        {"id": "rs_1", "type": "reasoning", "summary": [], "encrypted_content": "secret"},
        {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": "Hi", "annotations": [{"type": "url_citation"}]}],
        },
    ],
    "usage": {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3, "further": 4},
}


def test_a_providers_own_whole_answer_is_passed_on() -> None:
    answer = DIALECT.response(json.dumps(OWN).encode())
    response = json.loads(OpenAIResponses(request={"store": False}).whole(answer))
    assert {name: response[name] for name in OWN} == OWN
    assert response["store"] is False
    answer.raw = None  # as a cache gives it: the items that are wanted back are all there
    assert json.loads(OpenAIResponses().whole(answer))["output"] == OWN["output"]


def test_an_answer_that_was_changed_is_written_as_it_is() -> None:
    answer = DIALECT.response(json.dumps(OWN).encode())
    changed = attrs.evolve(answer.choices[0], message=attrs.evolve(answer.to_message(), content="Ho"))
    output = json.loads(OpenAIResponses().whole(attrs.evolve(answer, choices=(changed,))))["output"]
    assert [part["text"] for item in output if item["type"] == "message" for part in item["content"]] == ["Ho"]
    assert {item["type"] for item in output} == {"web_search_call", "reasoning", "message"}


# -- a provider that speaks this format itself -------------------------------------------------------------------------


def native(*bodies: Dict[str, Any]) -> List[ChatCompletionChunk]:
    """The chunks of a provider's own events."""
    decoder = DIALECT.decoder()
    data = b"".join(b"data: " + json.dumps(body).encode() + b"\n\n" for body in bodies)
    return [piece for event in events([data], max_event_bytes=1 << 20) for piece in decoder.feed(event)]


def begins(item: Dict[str, Any], place: int) -> Dict[str, Any]:
    return {"type": "response.output_item.added", "output_index": place, "item": item}


def ends(item: Dict[str, Any], place: int) -> Dict[str, Any]:
    return {"type": "response.output_item.done", "output_index": place, "item": item}


SEARCH, THOUGHTS, ANSWER = OWN["output"]  # type: ignore[misc]
EVENTS = [
    {"type": "response.created", "response": {**OWN, "status": "in_progress", "output": [], "usage": None}},
    {"type": "response.in_progress", "response": {**OWN, "status": "in_progress", "output": [], "usage": None}},
    begins({**SEARCH, "status": "in_progress"}, 3),
    {"type": "response.web_search_call.searching", "output_index": 3, "item_id": "ws_1"},
    ends(SEARCH, 3),
    {"type": "keepalive"},
    begins({**THOUGHTS, "encrypted_content": "sec"}, 5),
    ends(THOUGHTS, 5),
    begins({**ANSWER, "status": "in_progress", "content": []}, 9),
    {
        "type": "response.content_part.added",
        "output_index": 9,
        "content_index": 0,
        "item_id": "msg_1",
        "part": {"type": "output_text", "text": "", "annotations": []},
    },
    *(
        {
            "type": "response.output_text.delta",
            "output_index": 9,
            "content_index": 0,
            "item_id": "msg_1",
            "delta": piece,
        }
        for piece in ("H", "i")
    ),
    {
        "type": "response.output_text.annotation.added",
        "output_index": 9,
        "content_index": 0,
        "item_id": "msg_1",
        "annotation_index": 0,
        "annotation": {"type": "url_citation"},
    },
    ends(ANSWER, 9),
    {"type": "response.completed", "response": OWN},
]


def test_a_providers_own_events_are_passed_on_under_our_numbers() -> None:
    found = written(native(*EVENTS))
    kinds = [event["type"] for event in found]
    assert [kind for kind in kinds if kind != "keepalive"] == [
        event["type"] for event in EVENTS[:12] if event["type"] != "keepalive"
    ] + [
        "response.output_text.annotation.added",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert kinds.count("keepalive") == 1
    assert [event["output_index"] for event in found if "output_index" in event] == [0] * 3 + [1] * 2 + [2] * 8
    (part,) = [event["part"] for event in found if event["type"] == "response.content_part.done"]
    assert part["annotations"] == [{"type": "url_citation"}]
    assert found[-1]["response"]["output"] == OWN["output"]
    assert found[-1]["response"]["billing"] == OWN["billing"]
    assert found[-1]["response"]["usage"] == OWN["usage"]
    assert_in_order([event for event in found if event["type"] not in ("keepalive", *kinds[3:4], *kinds[12:13])])


def test_our_dialect_reads_the_same_chunks_of_a_providers_own_events() -> None:
    """But for those without choices, which bring only the event: there are more of the beginnings and ends of parts."""
    chunks = native(*EVENTS)
    decoder = DIALECT.decoder()
    again = [piece for event in events([bytes_of(chunks)], max_event_bytes=1 << 20) for piece in decoder.feed(event)]
    assert [piece for piece in again if piece.choices] == [piece for piece in chunks if piece.choices]


def test_text_that_was_changed_on_the_way_is_written_as_it_is() -> None:
    """A filter that replaces what a chunk says must not be undone by the event beside it."""
    changed = []
    for piece in native(*EVENTS):
        if piece.content:
            (choice,) = piece.choices
            delta = attrs.evolve(choice.delta, content="*")
            piece = attrs.evolve(piece, choices=(attrs.evolve(choice, delta=delta),), raw=piece.raw)
        changed.append(piece)
    found = written(changed)
    assert [event["text"] for event in found if event["type"] == "response.output_text.done"] == ["**"]
    assert found[-1]["response"]["output"][-1]["content"][0]["text"] == "**"
    assert '"Hi"' not in json.dumps(found)


def test_thoughts_that_were_taken_out_stay_out() -> None:
    summary = {**THOUGHTS, "summary": [{"type": "summary_text", "text": "private"}]}
    where = {"output_index": 0, "summary_index": 0, "item_id": "rs_1"}
    chunks = native(
        begins({**THOUGHTS, "summary": []}, 0),
        {"type": "response.reasoning_summary_part.added", **where, "part": {"type": "summary_text", "text": ""}},
        {"type": "response.reasoning_summary_text.delta", **where, "delta": "private"},
        {"type": "response.reasoning_summary_text.done", **where, "text": "private"},
        ends(summary, 0),
        {"type": "response.completed", "response": {**OWN, "output": [summary]}},
    )
    assert b"private" in bytes_of(chunks)
    for piece in chunks:
        for choice in piece.choices:
            choice.delta.reasoning = None
    body = bytes_of(chunks)
    assert b"private" not in body
    assert b"secret" in body  # what nobody but the provider can read


def test_reasoning_that_is_wanted_back_is_passed_on_without_its_events() -> None:
    """As a cache gives the answer: chunks alone, with the provider's items in the last."""
    chunks = [ChatCompletionChunk.from_dict(piece.to_dict()) for piece in native(*EVENTS)]
    output = assert_in_order(written(chunks))
    assert {item["type"] for item in output} == {"message", "reasoning", "web_search_call"}
    assert [item for item in output if item["type"] == "reasoning"] == [THOUGHTS]


def test_an_item_may_bring_all_of_its_text_when_it_is_over() -> None:
    """In one event, of which there are then several chunks."""
    both = {**ANSWER, "content": [*ANSWER["content"], {"type": "refusal", "refusal": "No"}]}
    chunks = native(begins({**ANSWER, "content": []}, 0), ends(both, 0), {"type": "response.completed", "response": {}})
    (item,) = assert_in_order(written(chunks))
    assert item == both


def test_text_that_follows_such_an_item_is_not_of_it() -> None:
    chunks = native(begins({**ANSWER, "content": []}, 0), ends(ANSWER, 0))
    first, second = assert_in_order(written([*chunks, quick("x")]))
    assert (first, second["content"][0]["text"]) == (ANSWER, "x")


def test_thoughts_that_follow_the_end_of_their_item_are_one_item() -> None:
    pieces = [{"type": "response.reasoning_summary_text.delta", "item_id": "rs_1", "delta": text} for text in "xy"]
    first, second = assert_in_order(written(native(begins(THOUGHTS, 0), ends(THOUGHTS, 0), *pieces)))
    assert (first, second["summary"]) == (THOUGHTS, [{"type": "summary_text", "text": "xy"}])


def test_reasoning_under_another_name_is_not_repeated() -> None:
    """OpenRouter calls items otherwise in the last event."""
    last = {"type": "response.completed", "response": {**OWN, "output": [{**THOUGHTS, "id": "rs_2"}]}}
    assert assert_in_order(written(native(begins(THOUGHTS, 0), ends(THOUGHTS, 0), last))) == [THOUGHTS]


def test_an_item_that_its_provider_never_ends_is_over_in_the_end() -> None:
    """OpenAI leaves out the end of a list of tools where it fetches several; the last event has it whole."""
    tools = {"id": "mcpl_1", "type": "mcp_list_tools", "tools": []}
    whole = {**tools, "tools": [{"name": "f"}]}
    last = {"type": "response.completed", "response": {**OWN, "output": [whole]}}
    assert assert_in_order(written(native(begins(tools, 0), last))) == [whole]


def test_what_a_provider_began_it_also_ends() -> None:
    """OpenRouter goes on with thoughts when something else has begun."""
    where = {"type": "response.reasoning_text.delta", "output_index": 0, "content_index": 0, "item_id": "rs_1"}
    thoughts = {"id": "rs_1", "type": "reasoning", "summary": []}
    call = {"id": "fc_1", "type": "function_call", "call_id": "c", "name": "f", "arguments": ""}
    chunks = native(begins(thoughts, 0), {**where, "delta": "h"}, begins(call, 1), {**where, "delta": "m"})
    output = assert_in_order(written(chunks))
    assert [item["type"] for item in output] == ["reasoning", "function_call"]
    assert output[0]["content"] == [{"type": "reasoning_text", "text": "hm"}]


def test_a_whole_response_in_place_of_a_stream_becomes_one() -> None:
    output = assert_in_order(written(native(OWN)))
    assert read_back(bytes_of(native(OWN))).content == "Hi"
    assert {item["type"] for item in output} == {"message", "reasoning", "web_search_call"}


def test_a_tool_call_of_the_providers_own_is_no_call_of_the_callers() -> None:
    """xAI's searches are calls of custom tools that nobody offered."""
    own = {"id": "ctc_1", "type": "custom_tool_call", "call_id": "c", "name": "x_search", "input": "q"}
    created = {"type": "response.created", "response": {**OWN, "output": []}}
    where = {"output_index": 0, "item_id": "ctc_1"}
    found = written(
        native(
            created,
            begins({**own, "input": ""}, 0),
            {"type": "response.custom_tool_call_input.delta", **where, "delta": "q"},
            ends(own, 0),
            {"type": "response.completed", "response": {**OWN, "output": [own]}},
        )
    )
    assert [event["delta"] for event in found if "delta" in event] == ["q"]
    assert [event["item"] for event in found if event["type"] == "response.output_item.done"] == [own]


def test_two_items_under_one_name_get_two() -> None:
    first, second = ({**ANSWER, "content": [{"type": "output_text", "text": content}]} for content in ("a", "b"))
    chunks = native(
        begins(first, 0),
        ends(first, 0),
        begins(second, 0),
        ends(second, 0),
        {"type": "response.completed", "response": {}},
    )
    assert len({item["id"] for item in assert_in_order(written(chunks))}) == 2


JSON = json_with(["type", "id", "item", "output_index", "part", "content", "text"])


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(range(len(EVENTS))), st.dictionaries(st.sampled_from([*EVENTS[9], "delta"]), JSON, max_size=3))
def test_no_event_of_a_provider_is_trusted(place: int, new: Dict[str, Any]) -> None:
    """Whatever its shape, what our dialect reads of the stream ends as a stream does."""
    bodies = [*EVENTS]
    bodies[place] = {**bodies[place], **{key: value for key, value in new.items() if key != "type"}}
    try:
        chunks = native(*bodies)
    except AnyLLMError:
        return
    parsed_events = written(chunks)
    assert parsed_events[-1]["type"].startswith("response.")


def test_a_call_that_goes_on_after_its_end_is_an_error() -> None:
    whole = {"id": "fc_1", "type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
    chunks = native(begins({**whole, "arguments": ""}, 0), ends(whole, 0))
    assert written([*chunks, call(0, "more")])[-1]["type"] == "response.failed"


def test_the_dialect_is_told_when_an_answer_is_cut() -> None:
    """Nothing but the end writes the last event."""
    writer = OpenAIResponses().writer()
    body = b"".join(map(writer.chunk, STREAM))
    with pytest.raises(IncompleteStreamError):
        read_back(body)
