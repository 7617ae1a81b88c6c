"""OpenAI's Responses, written: that the events are in order, and that our own dialect reads the same out of them."""

from __future__ import annotations

import json
from typing import Any

import attrs
import pytest
from chunk_builders import STREAM, call, chunk, slow_text, text, thought
from formats_of import together
from hypothesis import given, settings
from hypothesis import strategies as st
from json_mutations import json_with
from server_openai_responses import PROFILE, assert_in_order, events_of

from anyllm import errors
from anyllm._framing.body_events import events
from anyllm.errors import AnyLLMError
from anyllm.types import ChatCompletionChunk, ChunkDelta, Reasoning, Usage
from anyllm.wire.openai_responses.dialect import OpenAIResponsesDialect as Dialect
from anyllm.wire.openai_responses.replay_items import unsealed
from anyllm.wire.openai_responses.server.writer import OpenAIResponses

DIALECT = Dialect(provider="p")


bytes_of = PROFILE.written
read_back = PROFILE.read_back


def written(chunks: list[Any], **settings: Any) -> list[dict[str, Any]]:
    return events_of(bytes_of(chunks, **settings))


# -- streams of any provider -------------------------------------------------------------------------------------------


def test_events_are_in_order() -> None:
    output = assert_in_order(written(STREAM))
    assert [item["type"] for item in output] == ["reasoning", "message", "function_call", "function_call"]
    assert [item["id"].partition("_")[0] for item in output] == ["rs", "msg", "fc", "fc"]
    assert [item.get("arguments") for item in output[2:]] == ['{"x":1}', "{}"]


def test_a_call_without_an_id_is_given_one() -> None:
    (item,) = assert_in_order(written([call(0, "{}", "f", id=None)]))
    assert item["call_id"].startswith("call_")


def test_a_call_waits_for_its_name() -> None:
    (item,) = assert_in_order(written([call(0, "{"), call(0, "}", "f")]))
    assert (item["name"], item["arguments"]) == ("f", "{}")


def test_an_answer_whose_call_has_no_name_does_not_end_well() -> None:
    found = written([call(0, "{}")])
    assert [event["type"] for event in found[-2:]] == ["error", "response.failed"]


def test_each_kind_of_thing_said_is_a_part_of_its_own() -> None:
    chunks = [slow_text("Well"), chunk(ChunkDelta(refusal="N")), chunk(ChunkDelta(refusal="o")), text("but")]
    (item,) = assert_in_order(written(chunks))
    assert [part["type"] for part in item["content"]] == ["output_text", "refusal", "output_text"]
    again = read_back(bytes_of(chunks))
    assert (again.content, again.refusal) == ("Wellbut", "No")


def test_thoughts_between_texts_are_items_of_their_own() -> None:
    """A blank line stands between them when they are read again, as between any two parts; ours is not doubled."""
    chunks = [thought("a"), text("x"), thought("\n\nb"), text("y")]
    output = assert_in_order(written(chunks))
    assert [item["type"] for item in output] == ["reasoning", "message", "reasoning", "message"]
    again = read_back(bytes_of(chunks))
    assert (again.reasoning, again.content) == ("a\n\nb", "xy")


def test_log_probabilities_stand_beside_their_text() -> None:
    entry = {"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": []}
    chunks = [
        chunk(ChunkDelta(None, "a"), logprobs={"content": [entry]}),
        text("b"),
        chunk(ChunkDelta(), logprobs={"content": [entry]}),
    ]
    (item,) = assert_in_order(written(chunks))
    assert item["content"][0]["logprobs"] == [entry, entry]
    assert read_back(bytes_of(chunks)).choices[0].logprobs == {"content": [entry, entry]}


def test_tokens_are_those_of_the_last_count_in_openais_names() -> None:
    usage = written([*STREAM, chunk(usage=Usage(3, 2, 5, 1, 2, 1))])[-1]["response"]["usage"]
    assert usage == {
        "input_tokens": 3,
        "input_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 1},
        "output_tokens": 2,
        "output_tokens_details": {"reasoning_tokens": 1},
        "total_tokens": 5,
    }
    anthropics = Usage(3, 2, 5, raw={"input_tokens": 1, "output_tokens": 2})
    assert written([text("x"), chunk(usage=anthropics)])[-1]["response"]["usage"]["input_tokens"] == 3
    assert written([text("x")])[-1]["response"]["usage"] is None


def test_a_response_echoes_the_request_and_knows_its_model_in_the_end() -> None:
    first, *_, last = written([attrs.evolve(text("x"), model="", id="")], model="m", request={"temperature": 0.5})
    for event in (first, last):
        assert event["response"]["temperature"] == 0.5
        assert event["response"]["model"] == "m"
        assert event["response"]["id"].startswith("resp_")
    assert first["response"]["output"] == []
    assert first["response"]["status"] == "in_progress"


# -- what must be sent back --------------------------------------------------------------------------------------------

BLOCK = {"type": "thinking", "thinking": "hm", "signature": "sig"}


def test_what_was_signed_travels_sealed_with_the_thoughts() -> None:
    chunks = [thought("hm"), thought(None, "sig", "thinking", [BLOCK]), text("x")]
    reasoning, _ = assert_in_order(written(chunks))
    assert unsealed(reasoning["encrypted_content"]) == Reasoning(None, "sig", "thinking", [BLOCK])
    assert "encrypted_content" not in written([thought("hm"), text("x")])[-1]["response"]["output"][0]


@pytest.mark.parametrize(
    ("chunks", "kinds"),
    [
        ([thought(None, "sig"), text("x")], ["reasoning", "message"]),
        ([text("x"), thought(None, "sig")], ["message", "reasoning"]),
        ([thought("hm"), text("x"), thought(None, "sig")], ["reasoning", "message", "reasoning"]),
    ],
)
def test_what_was_signed_without_thoughts_has_an_item_of_its_own(chunks: Any, kinds: list[str]) -> None:
    output = assert_in_order(written(chunks))
    assert [item["type"] for item in output] == kinds
    (seal,) = [item["encrypted_content"] for item in output if "encrypted_content" in item]
    assert unsealed(seal) == Reasoning(None, "sig")


def test_what_a_call_must_be_sent_back_with_stands_beside_it() -> None:
    extra = {"google": {"thought_signature": "s"}}
    (item,) = assert_in_order(written([call(0, "{}", "f", extra_content=extra)]))
    assert item["extra_content"] == extra


# -- errors ------------------------------------------------------------------------------------------------------------


def failing(error: BaseException) -> bytes:
    def chunks() -> Any:
        yield text("x")
        raise error

    return bytes_of(chunks())


def test_the_error_is_told_as_documented_and_in_the_response() -> None:
    *_, error, failed = events_of(failing(errors.RateLimitError("slow down", status_code=429)))
    assert (error["code"], error["message"], error["param"]) == ("rate_limit_exceeded", "slow down", None)
    assert failed["response"]["status"] == "failed"
    assert failed["response"]["error"] == {"code": "rate_limit_exceeded", "message": "slow down"}
    assert failed["response"]["output"][0]["status"] == "in_progress"


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


def native(*bodies: dict[str, Any]) -> list[ChatCompletionChunk]:
    """The chunks of a provider's own events."""
    decoder = DIALECT.decoder()
    data = b"".join(b"data: " + json.dumps(body).encode() + b"\n\n" for body in bodies)
    return [piece for event in events([data], max_event_bytes=1 << 20) for piece in decoder.feed(event)]


def begins(item: dict[str, Any], place: int) -> dict[str, Any]:
    return {"type": "response.output_item.added", "output_index": place, "item": item}


def ends(item: dict[str, Any], place: int) -> dict[str, Any]:
    return {"type": "response.output_item.done", "output_index": place, "item": item}


def completed(*output: Any) -> dict[str, Any]:
    return {"type": "response.completed", "response": {**OWN, "output": list(output)}}


SEARCH, THOUGHTS, ANSWER = OWN["output"]  # type: ignore[misc]
BEGUN = {**OWN, "status": "in_progress", "output": [], "usage": None}
PART = {"output_index": 9, "content_index": 0, "item_id": "msg_1"}
EVENTS: list[Any] = [
    *({"type": kind, "response": BEGUN} for kind in ("response.created", "response.in_progress")),
    begins({**SEARCH, "status": "in_progress"}, 3),
    {"type": "response.web_search_call.searching", "output_index": 3, "item_id": "ws_1"},
    ends(SEARCH, 3),
    {"type": "keepalive"},
    begins({**THOUGHTS, "encrypted_content": "sec"}, 5),
    ends(THOUGHTS, 5),
    begins({**ANSWER, "status": "in_progress", "content": []}, 9),
    {"type": "response.content_part.added", **PART, "part": {"type": "output_text", "text": "", "annotations": []}},
    *({"type": "response.output_text.delta", **PART, "delta": piece} for piece in ("H", "i")),
    {
        "type": "response.output_text.annotation.added",
        **PART,
        "annotation_index": 0,
        "annotation": {"type": "url_citation"},
    },
    ends(ANSWER, 9),
    completed(*OWN["output"]),  # type: ignore[misc]
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


def test_thoughts_that_were_taken_out_stay_out() -> None:
    summary = {**THOUGHTS, "summary": [{"type": "summary_text", "text": "private"}]}
    where = {"output_index": 0, "summary_index": 0, "item_id": "rs_1"}
    chunks = native(
        begins({**THOUGHTS, "summary": []}, 0),
        {"type": "response.reasoning_summary_part.added", **where, "part": {"type": "summary_text", "text": ""}},
        {"type": "response.reasoning_summary_text.delta", **where, "delta": "private"},
        {"type": "response.reasoning_summary_text.done", **where, "text": "private"},
        ends(summary, 0),
        completed(summary),
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
    first, second = assert_in_order(written([*chunks, text("x")]))
    assert (first, second["content"][0]["text"]) == (ANSWER, "x")


def test_thoughts_that_follow_the_end_of_their_item_are_one_item() -> None:
    pieces = [{"type": "response.reasoning_summary_text.delta", "item_id": "rs_1", "delta": text} for text in "xy"]
    first, second = assert_in_order(written(native(begins(THOUGHTS, 0), ends(THOUGHTS, 0), *pieces)))
    assert (first, second["summary"]) == (THOUGHTS, [{"type": "summary_text", "text": "xy"}])


def test_reasoning_under_another_name_is_not_repeated() -> None:
    """OpenRouter calls items otherwise in the last event."""
    chunks = native(begins(THOUGHTS, 0), ends(THOUGHTS, 0), completed({**THOUGHTS, "id": "rs_2"}))
    assert assert_in_order(written(chunks)) == [THOUGHTS]


def test_an_item_that_its_provider_never_ends_is_over_in_the_end() -> None:
    """OpenAI leaves out the end of a list of tools where it fetches several; the last event has it whole."""
    tools = {"id": "mcpl_1", "type": "mcp_list_tools", "tools": []}
    whole = {**tools, "tools": [{"name": "f"}]}
    assert assert_in_order(written(native(begins(tools, 0), completed(whole)))) == [whole]


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
    delta = {"type": "response.custom_tool_call_input.delta", "output_index": 0, "item_id": "ctc_1", "delta": "q"}
    found = written(native(EVENTS[0], begins({**own, "input": ""}, 0), delta, ends(own, 0), completed(own)))
    assert [event["delta"] for event in found if "delta" in event] == ["q"]
    assert [event["item"] for event in found if event["type"] == "response.output_item.done"] == [own]


def test_two_items_under_one_name_get_two() -> None:
    first, second = ({**ANSWER, "content": [{"type": "output_text", "text": content}]} for content in ("a", "b"))
    events = [event(item, 0) for item in (first, second) for event in (begins, ends)]
    chunks = native(*events, {"type": "response.completed", "response": {}})
    assert len({item["id"] for item in assert_in_order(written(chunks))}) == 2


JSON = json_with(["type", "id", "item", "output_index", "part", "content", "text"])


@settings(max_examples=150)
@given(st.sampled_from(range(len(EVENTS))), st.dictionaries(st.sampled_from([*EVENTS[9], "delta"]), JSON, max_size=3))
def test_no_event_of_a_provider_is_trusted(place: int, new: dict[str, Any]) -> None:
    """Whatever its shape, what our dialect reads of the stream ends as a stream does."""
    bodies = [*EVENTS]
    bodies[place] = {**bodies[place], **{key: value for key, value in new.items() if key != "type"}}
    try:
        chunks = native(*bodies)
    except AnyLLMError:
        return
    assert written(chunks)[-1]["type"].startswith("response.")


def test_a_call_that_goes_on_after_its_end_is_an_error() -> None:
    whole = {"id": "fc_1", "type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
    chunks = native(begins({**whole, "arguments": ""}, 0), ends(whole, 0))
    assert written([*chunks, call(0, "more")])[-1]["type"] == "response.failed"
