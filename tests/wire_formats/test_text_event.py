"""Events that only add text are read in a faster way, which changes no chunk."""

from __future__ import annotations

import json
from typing import Any, List, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anyllm._framing.body_events import JSONEvent
from anyllm.errors import AnyLLMError
from anyllm.wire.openai_chat import text_event
from anyllm.wire.openai_chat.decoder import OpenAIChatDecoder

HEAD = {"id": "1", "object": "chat.completion.chunk", "created": 3, "model": "m"}
NO_CHOICES = json.dumps({**HEAD, "choices": []})  # after it no text is expected

#: Every member that a text event has or may have, with the object it is in.
MEMBERS = [
    *(("event", name) for name in (*HEAD, "choices", "system_fingerprint", "service_tier", "obfuscation")),
    *(("event", name) for name in ("usage", "error", "x_groq")),
    *(("choice", name) for name in ("index", "delta", "finish_reason", "logprobs", "usage", "message")),
    *(("delta", name) for name in ("content", "role", "other", *sorted(text_event.SPECIAL_KEYS))),
]
NAMES = st.sampled_from(["message", "message", "error", "x"])
COUNTS = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
Change = Tuple[Tuple[str, str], Any]
values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-1, 2**70), st.floats(), st.text(max_size=3)),
    lambda children: st.one_of(st.lists(children, max_size=2), st.dictionaries(st.text(max_size=2), children)),
    max_leaves=4,
)


def changed(changes: List[Change]) -> str:
    """A text event with other values in some members."""
    body = json.loads(one_text())
    choice = body["choices"][0]
    targets = {"event": body, "choice": choice, "delta": choice["delta"]}
    for (target, name), value in changes:
        targets[target][name] = value
    return json.dumps(body)


def one_text(text: str = "a", **members: Any) -> str:
    return json.dumps({**HEAD, "choices": [{"index": 0, "delta": {"content": text}}], **members})


def outcome(data: str, name: str, *before: str) -> Tuple[List[Any], Any]:
    """The chunks of an event after *before*, with their raw values, or its error; and whether the stream is whole."""
    decoder = OpenAIChatDecoder(provider="p")
    for text in (one_text(), one_text(), *before):
        decoder.feed(JSONEvent(text))
    try:
        chunks = decoder.feed(JSONEvent(data, name))
    except AnyLLMError as exc:
        return [type(exc), str(exc)], None
    return [(chunk, repr(chunk), repr(chunk.raw)) for chunk in chunks], (decoder.complete, decoder.done)


@given(changes=st.lists(st.tuples(st.sampled_from(MEMBERS), values), max_size=2), name=NAMES)
def test_an_event_with_other_values_gives_the_same_chunks(changes: List[Change], name: str) -> None:
    data = changed(changes)
    assert outcome(data, name) == outcome(data, name, NO_CHOICES)


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (one_text(text="\ud83d"), "message"),
        (one_text(obfuscation="\ud83d"), "message"),
        (one_text().replace('"a"', '"a", "content": "b"'), "message"),
        (one_text().replace('"a"', '"a", "content": null'), "message"),
        (one_text().replace('"index": 0', '"index": 0.0'), "message"),
        (one_text(obfuscation=float("inf")).replace("Infinity", "1e999"), "message"),
        (one_text() + " trailing", "message"),
        (one_text(), "error"),
        ("[DONE]", "message"),
    ],
)
def test_an_odd_event_gives_the_same_chunks(data: str, name: str) -> None:
    assert outcome(data, name) == outcome(data, name, NO_CHOICES)


@pytest.mark.parametrize("value", [COUNTS, {"usage": COUNTS}, [1], 1, "stop", True], ids=json.dumps)
@pytest.mark.parametrize(("target", "name"), MEMBERS)
def test_each_member_with_any_value_gives_the_same_chunks(target: str, name: str, value: Any) -> None:
    data = changed([((target, name), value)])
    assert outcome(data, "message") == outcome(data, "message", NO_CHOICES)


def test_text_events_are_decoded_without_dictionaries(monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = OpenAIChatDecoder(provider="p")
    for _ in range(2):
        decoder.feed(JSONEvent(one_text()))
    monkeypatch.setattr("anyllm.wire.openai_chat.decoder._loads_strictly", None)
    assert [chunk.content for chunk in decoder.feed(JSONEvent(one_text("b", obfuscation="x")))] == ["b"]
