"""Characters cut in two: joined where both halves come, in every dialect, and never passed on alone."""

from __future__ import annotations

import json
from typing import Any, Callable, Dict, Iterable, List

import pytest

from anyllm._framing.event import JSONEvent
from anyllm.providers.table import lookup
from anyllm.types._accumulate import Assembler
from anyllm.wire._base.surrogate_joiner import Halves, mend, mend_all

HIGH, LOW, MARK = "\ud83d", "\ude00", "\ufffd"


def openai(text: str, end: bool = False) -> List[Any]:
    return [
        {"id": "1", "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": "stop" if end else None}]}
    ]


def anthropic(text: str, end: bool = False) -> List[Any]:
    delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}
    closing = [{"type": "message_delta", "delta": {"stop_reason": "end_turn"}}, {"type": "message_stop"}]
    begun = {"type": "message_start", "message": {"id": "1", "content": []}}
    return closing if end else [begun, delta] if text == "a" else [delta]


def gemini(text: str, end: bool = False) -> List[Any]:
    return [{"candidates": [{"content": {"parts": [{"text": text}]}, **({"finishReason": "STOP"} if end else {})}]}]


def ollama(text: str, end: bool = False) -> List[Any]:
    return [{"message": {"content": text}, "done": end, **({"done_reason": "stop"} if end else {})}]


def cohere(text: str, end: bool = False) -> List[Any]:
    if end:
        return [{"type": "message-end", "delta": {"finish_reason": "COMPLETE"}}]
    begun = [{"type": "message-start", "id": "1"}, {"type": "content-start", "index": 0}] if text == "a" else []
    return [*begun, {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": text}}}}]


def cohere_v1(text: str, end: bool = False) -> List[Any]:
    if end:
        return [{"event_type": "stream-end", "is_finished": True, "finish_reason": "COMPLETE", "response": {}}]
    return [{"event_type": "text-generation", "text": text, "is_finished": False}]


def hunyuan(text: str, end: bool = False) -> List[Any]:
    return [{"Choices": [{"Index": 0, "Delta": {"Content": text}, "FinishReason": "stop" if end else ""}]}]


def dashscope(text: str, end: bool = False) -> List[Any]:
    return [{"output": {"choices": [{"message": {"content": text}, "finish_reason": "stop" if end else "null"}]}}]


def responses(text: str, end: bool = False) -> List[Any]:
    where = {"item_id": "m", "output_index": 0, "content_index": 0}
    if end:
        return [{"type": "response.completed", "response": {"id": "r", "status": "completed"}}]
    return [{"type": "response.output_text.delta", **where, "delta": text}]


def converse(text: str, end: bool = False) -> List[Any]:
    if end:
        return [("messageStop", {"stopReason": "end_turn"})]
    begun = [("messageStart", {"role": "assistant"})] if text == "a" else []
    return [*begun, ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": text}})]


SPOKEN: Dict[str, Callable[..., List[Any]]] = {
    "openai": openai,
    "anthropic": anthropic,
    "gemini": gemini,
    "ollama": ollama,
    "cohere": cohere,
    "cohere_v1": cohere_v1,
    "hunyuan": hunyuan,
    "dashscope": dashscope,
    "openai-responses": responses,
    "bedrock": converse,
}


def said(name: str, texts: Iterable[str]) -> str:
    """What a stream of these texts, and its end, comes out as."""
    row = lookup.find(name)
    assert row is not None
    decoder, assembler = row.dialect.decoder(), Assembler()
    bodies = [body for text in texts for body in SPOKEN[name](text)] + SPOKEN[name]("", end=True)
    for body in bodies:
        event, data = body if isinstance(body, tuple) else ("message", body)
        for chunk in decoder.feed(JSONEvent(json.dumps(data), event)):
            assembler.add(chunk)
    for chunk in decoder.finish():
        assembler.add(chunk)
    return assembler.snapshot().content


@pytest.mark.parametrize("name", SPOKEN)
def test_a_character_cut_in_two_is_one_again(name: str):
    assert said(name, ["a", HIGH, LOW + "b"]) == "a\U0001f600b"


@pytest.mark.parametrize("name", SPOKEN)
@pytest.mark.parametrize(
    ("texts", "wanted"),
    [
        (["a", LOW + "b"], f"a{MARK}b"),
        (["a", HIGH, "b"], f"a{MARK}b"),
        (["a", HIGH, HIGH + LOW], f"a{MARK}\U0001f600"),
        (["a", HIGH], f"a{MARK}"),
    ],
)
def test_a_half_alone_is_a_mark(name: str, texts: List[str], wanted: str):
    """Nobody can encode it: it would break whatever prints or stores the answer."""
    assert said(name, texts) == wanted


def test_every_dialect_is_among_them():
    spoken = {type(row.dialect) for name in SPOKEN if (row := lookup.find(name)) is not None}
    missing = {type(row.dialect).__name__ for row in lookup.ROWS if type(row.dialect) not in spoken}
    assert missing <= {"BedrockInvokeDialect"}  # which hands its events to others of these


def test_mending():
    assert mend("plain é \U0001f600") == "plain é \U0001f600"
    assert mend(HIGH + LOW) == "\U0001f600"
    assert mend(f"a{LOW}{HIGH}b") == f"a{MARK}{MARK}b"
    assert mend_all({HIGH: [LOW, 1, None, (HIGH + LOW,)]}) == {MARK: [MARK, 1, None, ["\U0001f600"]]}


def test_halves_are_known_by_their_place():
    halves = Halves()
    assert halves.mend({"a": HIGH, "b": "x"}, ()) == {"a": "", "b": "x"}
    assert halves.mend({"a": LOW, "b": LOW}, ()) == {"a": "\U0001f600", "b": MARK}
    assert not halves.waiting
    halves.mend([{"index": 3, "t": HIGH}], ())
    assert list(halves.take()) == [(3, "t")]
    assert not halves.waiting
