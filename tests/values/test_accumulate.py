"""Chunks put together: every field, in bounded work, while another thread looks."""

from __future__ import annotations

import base64
import gc
import time
from typing import Any

from anyllm.types import (
    ChatCompletion,
    ChatCompletionChunk,
    ChunkChoice,
    ChunkDelta,
    FunctionCall,
    Reasoning,
    ToolCall,
    Usage,
)
from anyllm.types._accumulate import Assembler


def chunk(*deltas: ChunkDelta, **fields: Any) -> ChatCompletionChunk:
    return ChatCompletionChunk(choices=tuple(ChunkChoice(at, delta) for at, delta in enumerate(deltas)), **fields)


def text(content: str) -> ChatCompletionChunk:
    return chunk(ChunkDelta(content=content))


def reasoning(*args: Any, **fields: Any) -> ChatCompletionChunk:
    return chunk(ChunkDelta(reasoning=Reasoning(*args, **fields)))


def call(index: int, arguments: str = "", **fields: Any) -> ChatCompletionChunk:
    name = fields.pop("name", None)
    return chunk(ChunkDelta(tool_calls=(ToolCall(function=FunctionCall(name, arguments), index=index, **fields),)))


def end(finish: str, raw: str | None = None, **fields: Any) -> ChatCompletionChunk:
    return ChatCompletionChunk(choices=(ChunkChoice(0, ChunkDelta(), finish, raw or finish, **fields),))


def assemble(*chunks: ChatCompletionChunk) -> ChatCompletion:
    assembler = Assembler()
    for piece in chunks:
        assembler.add(piece)
    return assembler.snapshot()


def test_nothing_is_an_empty_answer() -> None:
    assert assemble() == ChatCompletion()
    assert not Assembler().has_begun


def test_text_is_joined_and_the_last_end_counts() -> None:
    answer = assemble(text("Blue "), text("whale"), end("stop"), end("content_filter", "filtered"))
    assert answer.content == "Blue whale"
    assert (answer.finish_reason, answer.raw_finish_reason) == ("content_filter", "filtered")


def test_first_names_and_last_facts_count() -> None:
    """Azure's first chunk has no id, and gateways change the id in the last one."""
    answer = assemble(
        chunk(provider="p"),
        chunk(id="a", created=5, model="m", provider="p", system_fingerprint="f1"),
        chunk(id="b", created=6, model="n", provider="p", usage=Usage(1, 1, 2), service_tier="flex"),
        chunk(system_fingerprint="f2", usage=Usage(1, 2, 3)),
    )
    assert (answer.id, answer.created, answer.model, answer.provider) == ("a", 5, "m", "p")
    assert (answer.system_fingerprint, answer.service_tier) == ("f2", "flex")
    assert answer.usage == Usage(1, 2, 3)
    assert answer.object == "chat.completion"
    assert assemble(chunk(id="a"), chunk(id="b", model="m"), chunk(model="n", created=5)).id == "a"


def test_choices_are_sorted_and_kept_apart() -> None:
    pieces = [ChunkChoice(at, ChunkDelta(content=letter)) for at, letter in ((1, "B"), (0, "a"), (1, "C"))]
    answer = assemble(*[ChatCompletionChunk(choices=(piece,)) for piece in pieces])
    assert [(choice.index, choice.message.content) for choice in answer.choices] == [(0, "a"), (1, "BC")]


def test_content_is_none_where_a_whole_answer_says_null() -> None:
    assert assemble(text("")).to_message().content == ""
    assert assemble(chunk(ChunkDelta("assistant"))).to_message().content is None
    assert assemble(text(""), call(0, "{}", id="k", name="f")).to_message().content is None
    assert assemble(text(""), chunk(ChunkDelta(refusal="No."))).to_message().content is None
    assert assemble(text("x"), call(0, "{}", id="k", name="f")).to_message().content == "x"


def test_refusal_is_joined_and_empty_ones_are_none() -> None:
    answer = assemble(chunk(ChunkDelta(refusal="I can")), chunk(ChunkDelta(refusal="not.")))
    assert answer.refusal == "I cannot."
    assert assemble(chunk(ChunkDelta(refusal=""))).to_message().refusal is None


def test_calls_are_joined_by_index() -> None:
    answer = assemble(
        call(4, id="k2", name="g"),
        call(1, id="k1", name="f", extra_content={"a": 1}),
        call(1, '{"x":'),
        call(4, "{}"),
        call(1, "1}", extra_content={"b": 2}),
        end("tool_calls"),
    )
    assert [(made.index, made.id, made.name, made.arguments) for made in answer.tool_calls] == [
        (0, "k1", "f", '{"x":1}'),
        (1, "k2", "g", "{}"),
    ]
    assert answer.tool_calls[0].extra_content == {"a": 1, "b": 2}
    assert answer.tool_calls[1].extra_content is None


def test_stop_with_calls_is_tool_calls() -> None:
    answer = assemble(call(0, "{}", id="k", name="f"), end("stop"))
    assert (answer.finish_reason, answer.raw_finish_reason) == ("tool_calls", "stop")
    assert assemble(call(0, "{", id="k", name="f"), end("length")).finish_reason == "length"


def test_reasoning_keeps_what_must_go_back() -> None:
    answer = assemble(
        reasoning("Hm", field="reasoning"),
        reasoning(", so", signature="one", field="other"),
        reasoning(signature="two"),
        reasoning(signature=""),
    )
    assert answer.to_message().reasoning == Reasoning("Hm, so", "two", "reasoning")
    assert answer.reasoning == "Hm, so"
    assert assemble(text("x")).to_message().reasoning is None


def test_details_are_merged_into_their_blocks() -> None:
    """Source: https://openrouter.ai/docs/use-cases/reasoning-tokens"""
    pieces = [
        {"type": "reasoning.text", "text": "", "signature": "", "index": 0},
        {"type": "reasoning.text", "text": "Hm", "format": None, "index": 0},
        {"type": "reasoning.summary", "summary": "S", "index": 0},
        {"type": "reasoning.text", "text": ".", "format": "f", "index": 0},
        {"type": "reasoning.text", "signature": "SIG", "index": 0},
        {"type": "reasoning.encrypted", "data": "A", "id": "1", "index": 0},
        {"type": "reasoning.encrypted", "data": "B", "id": "2", "index": 0},
        {"type": "reasoning.text", "text": "Next", "index": 1},
        {"type": "reasoning.summary", "summary": "T", "index": 0, "id": "s"},
        {"type": "reasoning.summary", "summary": "U", "index": 0, "id": "t"},
    ]
    answer = assemble(*[reasoning(details=[piece]) for piece in pieces])
    found = answer.to_message().reasoning
    assert found.details == [
        {"type": "reasoning.text", "text": "Hm.", "signature": "SIG", "index": 0, "format": "f"},
        {"type": "reasoning.summary", "summary": "ST", "index": 0, "id": "s"},
        {"type": "reasoning.encrypted", "data": "A", "id": "1", "index": 0},
        {"type": "reasoning.encrypted", "data": "B", "id": "2", "index": 0},
        {"type": "reasoning.text", "text": "Next", "index": 1},
        {"type": "reasoning.summary", "summary": "U", "index": 0, "id": "t"},
    ]
    assert pieces[1] == {"type": "reasoning.text", "text": "Hm", "format": None, "index": 0}


def test_logprobs_are_concatenated() -> None:
    pieces = [{"content": [1], "refusal": None}, {"content": [2, 3]}, {"refusal": [4], "content": None}]
    chunks = [ChatCompletionChunk(choices=(ChunkChoice(0, ChunkDelta(), logprobs=piece),)) for piece in pieces]
    assert assemble(*chunks).choices[0].logprobs == {"content": [1, 2, 3], "refusal": [4]}
    assert pieces[0] == {"content": [1], "refusal": None}
    assert assemble(text("x")).choices[0].logprobs is None


def test_add_says_whether_the_answer_got_further() -> None:
    nothing = [chunk(), text(""), chunk(ChunkDelta("assistant")), end("stop"), chunk(usage=Usage(1, 1, 2))]
    assert [Assembler().add(piece) for piece in nothing] == [False] * len(nothing)
    something = [text("x"), reasoning("x"), call(0, id="k", name="f"), chunk(ChunkDelta(refusal="x"))]
    assert [Assembler().add(piece) for piece in something] == [True] * len(something)


def test_snapshot_is_not_changed_by_what_comes_later() -> None:
    assembler = Assembler()
    pieces = [text("a"), reasoning("b", details=[{"type": "t", "text": "b"}]), call(0, "{", id="k", name="f")]
    for piece in pieces:
        assembler.add(piece)
    before = assembler.snapshot()
    expected = before.to_dict()
    for piece in (*pieces, end("stop"), chunk(id="late")):
        assembler.add(piece)
    assert before.to_dict() == expected
    assert assembler.snapshot().content == "aa"


def test_work_does_not_grow_with_the_answer() -> None:
    """Twenty times the chunks, no more than about twenty times the work."""

    def seconds(count: int) -> float:
        assembler, piece, more = Assembler(), text("some words to keep "), call(0, "1,")
        begun = time.process_time()
        for _ in range(count):
            assembler.add(piece)
            assembler.add(more)
        assembler.snapshot()
        return time.process_time() - begun

    seconds(1000)
    few, many = min(seconds(2000) for _ in range(5)), min(seconds(40_000) for _ in range(3))
    assert many < few * 20 * 4


def test_snapshot_while_the_collector_runs_other_code() -> None:
    """A finalizer may run wherever something is allocated, and let another thread add in the middle of a snapshot."""
    assembler = Assembler()
    added = []

    def add(phase: str, _info: Any) -> None:
        if phase == "start" and len(added) < 300:
            number = len(added)
            added.append(number)
            assembler.add(ChatCompletionChunk(choices=(ChunkChoice(number, ChunkDelta(content="x")),)))
            assembler.add(call(number, "1", id="k", name="f"))

    threshold = gc.get_threshold()
    gc.callbacks.append(add)
    try:
        gc.set_threshold(1)
        while len(added) < 300:
            assembler.snapshot()
    finally:
        gc.callbacks.remove(add)
        gc.set_threshold(*threshold)
    assert len(assembler.snapshot().choices) == 300


def test_snapshots_while_another_thread_adds(fast_switches: None, spawn: Any) -> None:
    """No lock, and each snapshot is a state that was: what is in it is the beginning of what came."""
    assembler = Assembler()

    def add() -> None:
        for number in range(20_000):
            index = number % 50
            delta = ChunkDelta(None, "ab", None, None, Reasoning("r", None, "f", [{"type": str(index), "text": "d"}]))
            fragment = ChunkDelta(tool_calls=(ToolCall("k", FunctionCall("f", "1"), index=index),))
            pieces = ChunkChoice(index, delta, logprobs={"content": [1]}), ChunkChoice(index, fragment)
            assembler.add(ChatCompletionChunk(choices=pieces))

    task = spawn(add)
    while task.is_alive():
        for choice in assembler.snapshot().choices:
            content = choice.message.content or ""
            assert content == "ab" * (len(content) // 2)
    task.join()
    assert sum(len(choice.message.content or "") for choice in assembler.snapshot().choices) == 40_000


def sound(**fields: Any) -> ChatCompletionChunk:
    return chunk(ChunkDelta(audio=fields))


def test_a_sound_is_put_together_of_its_pieces():
    """Its bytes come as pieces that are each whole base64, as OpenAI streams them."""
    first, second, whole = (base64.b64encode(data).decode() for data in (b"a", b"bc", b"abc"))
    pieces = [sound(id="audio_1", transcript="Hel"), sound(data=first, transcript="lo."), sound(data=second)]
    pieces.append(sound(expires_at=17))
    assert all(Assembler().add(piece) for piece in pieces)
    audio = assemble(*pieces).to_message().audio
    assert audio == {"id": "audio_1", "transcript": "Hello.", "data": whole, "expires_at": 17}


def test_a_sound_that_is_no_base64_is_left_as_it_came_last():
    assert assemble(sound(data="a"), sound(data="b")).to_message().audio == {"data": "b"}
