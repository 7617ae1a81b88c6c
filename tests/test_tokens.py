"""Token counts with a vocabulary and by the formula, and estimated usage of calls."""

from __future__ import annotations

import hashlib
import os
import statistics
import subprocess
import sys
import threading
import types
from pathlib import Path
from typing import Any, Dict, List, Tuple

import pytest
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from loopback import until
from recordings import Ours, recordings_of

from anyllm import tokens
from anyllm.tokens import count_tokens, estimate_usage
from anyllm.types import ChatCompletion, Choice, CompletionParams, ContentPart, Message, Reasoning, ToolCall
from anyllm.wire.openai_chat.dialect import OpenAIChatDialect

#: Texts that the formula was not fitted to.
TEXTS = {
    "English": """\
All human beings are born free and equal in dignity and rights. They are endowed with reason and \
conscience and should act towards one another in a spirit of brotherhood.""",
    "German": """\
Alle Menschen sind frei und gleich an Würde und Rechten geboren. Sie sind mit Vernunft und Gewissen \
begabt und sollen einander im Geist der Brüderlichkeit begegnen.""",
    "French": """\
Tous les êtres humains naissent libres et égaux en dignité et en droits. Ils sont doués de raison et \
de conscience et doivent agir les uns envers les autres dans un esprit de fraternité.""",
    "Russian": """\
Все люди рождаются свободными и равными в своем достоинстве и правах. Они наделены разумом и совестью \
и должны поступать в отношении друг друга в духе братства.""",
    "Chinese": "人人生而自由,在尊严和权利上一律平等。他们赋有理性和良心,并应以兄弟关系的精神相对待。",
    "Japanese": """\
すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。\
人間は、理性と良心とを授けられており、互いに同胞の精神をもって行動しなければならない。""",
    "Korean": """\
모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다. \
인간은 천부적으로 이성과 양심을 부여받았으며 서로 형제애의 정신으로 행동하여야 한다.""",
    "Python": '''\
def fib(n: int) -> int:
    """The n-th Fibonacci number."""
    a, b = 0, 1
    for _ in range(n):
        a, b = b, a + b
    return a


if __name__ == "__main__":
    print([fib(i) for i in range(20)])
''',
    "JSON": """\
{"type":"function","function":{"name":"get_weather","description":"The weather of a \
city","parameters":{"type":"object","properties":{"city":{"type":"string"},"unit":{"type":"string",\
"enum":["celsius","fahrenheit"]}},"required":["city"]}}}""",
    "numbers": "1,204 of 3,977 users (30.3 %) paid 19.99 in 2024, 22.49 in 2025; 12345678 rows were read.",
    "emoji": "Great job! 🎉🎉 See you tomorrow 👋🏽 and bring the cake 🍰.",
}
#: Their tokens in o200k_base.
COUNTS = {
    "English": 33,
    "German": 38,
    "French": 41,
    "Russian": 41,
    "Chinese": 37,
    "Japanese": 72,
    "Korean": 51,
    "Python": 71,
    "JSON": 57,
    "numbers": 41,
    "emoji": 21,
}
WEATHER = {"type": "function", "function": {"name": "rain", "parameters": {"type": "object"}}}


def byte_encoding() -> Any:
    """A vocabulary in which every byte is a token, and "hello" is one."""
    tiktoken = pytest.importorskip("tiktoken")
    ranks = {bytes([byte]): byte for byte in range(256)}
    ranks.update({word: 256 + rank for rank, word in enumerate((b"he", b"ll", b"hell", b"hello"))})
    return tiktoken.Encoding(
        "letters", pat_str=r"[a-z]+|[^a-z]", mergeable_ranks=ranks, special_tokens={"<|end|>": 300}
    )


LOAD_IN_BACKGROUND = tokens._load_in_background


class Vocabularies:
    """Replaces tiktoken's registry, which would use the network."""

    def __init__(self) -> None:
        self.encoding = byte_encoding()
        self.requested: List[str] = []
        self.error: Any = None

    def get_encoding(self, name: str) -> Any:
        self.requested.append(name)
        if self.error:
            raise self.error
        return self.encoding


@pytest.fixture
def vocabularies(monkeypatch: pytest.MonkeyPatch) -> Vocabularies:
    stand_in = Vocabularies()
    monkeypatch.setattr("tiktoken.get_encoding", stand_in.get_encoding)
    monkeypatch.setattr(tokens, "_loaded", {})
    monkeypatch.setattr(tokens, "_load_in_background", tokens._load_quietly)
    monkeypatch.setattr(tokens, "_is_cached", lambda name: True)
    return stand_in


@pytest.fixture
def no_tiktoken(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "tiktoken"] or ["tiktoken"]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "tiktoken", None)


# -- texts, with a vocabulary


@pytest.mark.parametrize("method", ["auto", "tiktoken"])
def test_tiktoken_counts(vocabularies: Vocabularies, method: str) -> None:
    counted = count_tokens("hello hello, you", "gpt-4o", method=method)
    assert (counted.tokens, counted.method) == (1 + 1 + 1 + 1 + 1 + 3, "tiktoken")


@pytest.mark.parametrize(
    ("model", "name", "confidence"),
    [
        ("gpt-4o", "o200k_base", 0.98),
        ("openai/gpt-4o-mini-2024-07-18", "o200k_base", 0.98),
        ("azure/gpt-4-0613", "cl100k_base", 0.98),
        ("openrouter/openai/gpt-4", "cl100k_base", 0.98),
        ("anthropic/claude-haiku-4-5", "o200k_base", 0.8),
        ("", "o200k_base", 0.8),
    ],
)
def test_confidence_is_lower_with_another_models_vocabulary(
    vocabularies: Vocabularies, model: str, name: str, confidence: float
) -> None:
    assert count_tokens("hello", model).confidence == confidence
    assert vocabularies.requested == [name]


def test_special_tokens_in_a_text_are_plain_text(vocabularies: Vocabularies) -> None:
    """tiktoken's `encode` would raise."""
    assert count_tokens("<|end|>", method="tiktoken").tokens == 7


def test_auto_tries_to_load_once_and_uses_the_formula(vocabularies: Vocabularies) -> None:
    vocabularies.error = ConnectionError("no network")
    for _ in range(3):
        assert count_tokens("hello", "gpt-4o").method == "character"
    assert vocabularies.requested == ["o200k_base"]


def test_method_tiktoken_raises_and_can_be_retried(vocabularies: Vocabularies) -> None:
    vocabularies.error = ConnectionError("no network")
    for _ in range(2):
        with pytest.raises(OSError, match="o200k_base could not be loaded: no network") as caught:
            count_tokens("hello", "gpt-4o", method="tiktoken")
        assert caught.value.__cause__ is vocabularies.error
    assert len(vocabularies.requested) == 2
    assert count_tokens("hello", "gpt-4o").method == "character"
    vocabularies.error = None
    assert count_tokens("hello", "gpt-4o", method="tiktoken").tokens == 1
    assert count_tokens("hello", "gpt-4o").method == "tiktoken"
    assert len(vocabularies.requested) == 3


def test_auto_does_not_wait_for_a_vocabulary(vocabularies: Vocabularies, monkeypatch: pytest.MonkeyPatch) -> None:
    """The network may take minutes to fail."""
    loading, proceed = threading.Event(), threading.Event()

    def slow(name: str) -> Any:
        loading.set()
        assert proceed.wait(10)
        return vocabularies.encoding

    monkeypatch.setattr("tiktoken.get_encoding", slow)
    monkeypatch.setattr(tokens, "_load_in_background", LOAD_IN_BACKGROUND)
    assert count_tokens("hello").method == "character"
    assert loading.wait(10)
    assert count_tokens("hello").method == "character"
    proceed.set()
    until(lambda: count_tokens("hello").method == "tiktoken")


NO_NETWORK = """
import os, socket, sys, threading

connections = []

def refuse(*args, **kwargs):
    connections.append(args)
    raise OSError("there is no network")

socket.getaddrinfo = socket.create_connection = refuse
socket.socket.connect = socket.socket.connect_ex = refuse

import anyllm
from anyllm.testing import chat_events, fake
from anyllm.tokens import count_tokens

for model in ("gpt-4o", "gpt-4", "text-davinci-003", "gpt2", "claude", ""):
    assert count_tokens("hello", model).method == "character"
events = chat_events("Hello there", usage=False)
answer = anyllm.Client("gpt-4o", provider=fake(events)).stream_with_usage("Hi")
assert answer.usage.source == "estimated", answer.usage
for thread in threading.enumerate():
    if thread.name == "anyllm-tiktoken":
        thread.join()
assert not connections, connections
try:
    count_tokens("hello", "gpt-4o", method="tiktoken")
except OSError as exc:
    assert connections, exc
else:
    raise AssertionError("the vocabulary is there")
print("quiet")
"""


@pytest.mark.parametrize("cached", [None, b"", b"not the vocabulary"])
def test_only_method_tiktoken_uses_the_network(cached: Any, tmp_path: Path) -> None:
    pytest.importorskip("tiktoken")
    if cached is not None:  # tiktoken replaces a file with another digest
        url = tokens._FOLDER + "o200k_base.tiktoken"
        (tmp_path / hashlib.sha1(url.encode()).hexdigest()).write_bytes(cached)
    environment = {**os.environ, "TIKTOKEN_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", NO_NETWORK], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout, done.returncode) == ("quiet\n", 0), done.stderr


def test_files_and_digests_are_those_of_tiktoken(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them except GPT-2's, which has two files."""
    public = pytest.importorskip("tiktoken_ext.openai_public")
    files: List[Tuple[str, str]] = []

    def load(url: str, expected_hash: str) -> Dict[bytes, int]:
        files.append((url, expected_hash))
        return {}

    monkeypatch.setattr(public, "load_tiktoken_bpe", load)
    found = {}
    for name, make in public.ENCODING_CONSTRUCTORS.items():
        if name != "gpt2":
            make()
            found[name] = files.pop()
    assert found == {name: (tokens._FOLDER + file, digest) for name, (file, digest) in tokens._FILES.items()}


@pytest.mark.parametrize("variable", ["TIKTOKEN_CACHE_DIR", "DATA_GYM_CACHE_DIR", None])
def test_cached_vocabulary_is_used(variable: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoding = byte_encoding()
    monkeypatch.setattr(tokens, "_loaded", {})
    monkeypatch.setattr(tokens, "_load_in_background", tokens._load_quietly)
    monkeypatch.setattr("tiktoken.get_encoding", lambda name: encoding)
    monkeypatch.setattr("tiktoken.registry.ENCODINGS", {})
    monkeypatch.setattr(tokens, "_FILES", {"o200k_base": ("x", hashlib.sha256(b"words").hexdigest())})
    for name in ("TIKTOKEN_CACHE_DIR", "DATA_GYM_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path if variable else tmp_path / "data-gym-cache"
    if variable:
        monkeypatch.setenv(variable, str(tmp_path))
    else:
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert not tokens._is_cached("o200k_base")
    folder.mkdir(exist_ok=True)
    (folder / hashlib.sha1((tokens._FOLDER + "x").encode()).hexdigest()).write_bytes(b"words")
    assert count_tokens("hello").method == "tiktoken"
    assert count_tokens("hello", "gpt-4").method == "character"


def test_without_tiktoken_the_formula_counts(no_tiktoken: None) -> None:
    assert count_tokens("hello").method == "character"
    with pytest.raises(ImportError, match="pip install tiktoken"):
        count_tokens("hello", method="tiktoken")


def test_unknown_method_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="auto, tiktoken, character"):
        count_tokens("x", method="exact")
    with pytest.raises(ValueError, match="auto, tiktoken, character"):
        estimate_usage(request("x"), completion(), method="exact")


def test_long_word_is_counted_in_pieces(vocabularies: Vocabularies) -> None:
    """tiktoken's cost for a word grows with the square of its length."""
    pieces: List[str] = []
    vocabularies.encoding = types.SimpleNamespace(encode_ordinary=lambda text: pieces.append(text) or text)
    assert count_tokens("a" * 100_000).tokens == 100_000
    assert max(map(len, pieces)) <= 4096
    assert len(pieces) == -(-100_000 // 4096)


def test_pieces_end_between_words(vocabularies: Vocabularies) -> None:
    """Otherwise a word would be counted twice."""
    text = " ".join(["hello"] * 5000)
    assert count_tokens(text).tokens == 9999


@settings(max_examples=60)
@given(st.lists(st.tuples(st.sampled_from([" ", "a", "aé\n", "\ud800", "  "]), st.integers(1, 5000)), max_size=8))
def test_pieces_are_bounded_and_join_to_the_text(runs: List[Tuple[str, int]]) -> None:
    text = "".join(what * times for what, times in runs)
    pieces = list(tokens._pieces(text))
    assert "".join(pieces) == text
    assert all(0 < len(piece) <= 4096 for piece in pieces)
    assert len(pieces) <= 1 + len(text) // 2048


# -- texts, by the formula


@pytest.mark.parametrize("name", TEXTS)
def test_formula_is_close_to_a_real_vocabulary(name: str) -> None:
    assert count_tokens(TEXTS[name], method="character").tokens == pytest.approx(COUNTS[name], rel=0.25)


def test_formula_is_better_than_a_quarter_of_the_characters() -> None:
    """That is the usual rule of thumb, which fails for other languages than English."""

    def errors(count: Any) -> List[float]:
        return [abs(count(text) / COUNTS[name] - 1) for name, text in TEXTS.items()]

    ours, rule = errors(lambda text: count_tokens(text, method="character").tokens), errors(lambda text: len(text) / 4)
    assert statistics.mean(ours) < statistics.mean(rule) / 2


def test_words_with_accents_have_more_tokens() -> None:
    plain, accented = (count_tokens(word * 100, method="character").tokens for word in ("etre ", "être "))
    assert accented > 1.5 * plain


def test_only_the_empty_text_has_no_tokens() -> None:
    assert count_tokens("", method="character").tokens == 0
    assert count_tokens("\u200b", method="character").tokens >= 1
    assert count_tokens(" ", method="character").tokens == 1


@settings(max_examples=200)
@given(st.text(st.characters(), max_size=200))
def test_formula_accepts_any_text(text: str) -> None:
    """Surrogates too, which providers send. No character has more tokens than bytes."""
    assert (text != "") <= count_tokens(text, method="character").tokens <= 4 * len(text)


@settings(max_examples=50)
@given(st.text(max_size=60), st.integers(2, 30))
def test_formula_counts_repeated_lines_alike(line: str, times: int) -> None:
    line = f"{line.strip()} end\n"
    one, many = (count_tokens(line * n, method="character").tokens for n in (1, times))
    assert times * (one - 1) <= many <= times * one + 1


@pytest.mark.parametrize("method", ["character", "tiktoken"])
def test_lone_surrogate_is_counted(vocabularies: Vocabularies, method: str) -> None:
    assert count_tokens("hello \ud83d", method=method).tokens >= 2


# -- calls


def request(*messages: Any, **fields: Any) -> CompletionParams:
    turns = [Message.user(message) if isinstance(message, str) else message for message in messages]
    return CompletionParams("openai/gpt-4o", turns, **fields)


def completion(*answers: Message, **fields: Any) -> ChatCompletion:
    return ChatCompletion(choices=tuple(Choice(index, answer) for index, answer in enumerate(answers)), **fields)


def call(name: str, arguments: str) -> ToolCall:
    return ToolCall.from_dict({"id": "call_1", "function": {"name": name, "arguments": arguments}})


def prompt_of(*messages: Any, **fields: Any) -> int:
    return estimate_usage(request(*messages, **fields), completion(), method="tiktoken").prompt_tokens


def test_usage_is_marked_as_estimated(vocabularies: Vocabularies) -> None:
    usage = estimate_usage(request("hello"), completion(Message.assistant("hello hello")))
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (4 + 1 + 3, 3, 11)
    assert usage.source == "estimated"
    assert usage.confidence == 0.95
    assert usage.reasoning_tokens is None
    assert usage.cache_read_tokens is None
    assert estimate_usage(request("hello"), completion(), method="character").confidence == 0.7


@pytest.mark.parametrize(
    ("more", "tokens"),
    [
        (["hello"], 4 + 1),
        ([Message.assistant(refusal="hello")], 4 + 1),
        ([Message.assistant(tool_calls=[call("hello", "{}")])], 4 + 3 + 1 + 2),
        ([Message.tool("hello", "call_1")], 4 + 1),
        ([Message.assistant("y", reasoning="hello" * 9)], 4 + 1),  # reasoning of earlier turns does not count
    ],
)
def test_every_text_of_a_message_counts(vocabularies: Vocabularies, more: Any, tokens: int) -> None:
    assert prompt_of("x", *more) == prompt_of("x") + tokens
    assert prompt_of(Message.user("x", name="hello")) == prompt_of("x") + 1 + 1
    assert prompt_of(Message.user(["x", ContentPart(text="hello")])) == prompt_of("x") + 1


def test_schemas_count(vocabularies: Vocabularies) -> None:
    plain = prompt_of("x")
    size = len('{"type":"function","function":{"name":"rain","parameters":{"type":"object"}}}')
    assert prompt_of("x", tools=[WEATHER, WEATHER]) == plain + 2 * (7 + size)
    assert prompt_of("x", functions=[{"name": "f"}]) == plain + 7 + len('{"name":"f"}')
    assert prompt_of("x", response_format={"type": "json_object"}) == plain
    of_schema = {"type": "json_schema", "json_schema": {"name": "f"}}
    assert prompt_of("x", response_format=of_schema) == plain + len('{"name":"f"}')


def test_reasoning_and_calls_count_for_the_answer(vocabularies: Vocabularies) -> None:
    answer = Message.assistant("hello", reasoning=Reasoning("hello hello"), tool_calls=[call("hello", "[]")])
    usage = estimate_usage(request("x"), completion(answer))
    assert usage.reasoning_tokens == 3
    assert usage.completion_tokens == 3 + 1 + (3 + 1 + 2)


def test_all_choices_count_and_the_prompt_once(vocabularies: Vocabularies) -> None:
    one = estimate_usage(request("x"), completion(Message.assistant("hello")))
    two = estimate_usage(request("x", n=2), completion(Message.assistant("hello"), Message.assistant(refusal="hello")))
    assert (two.prompt_tokens, two.completion_tokens) == (one.prompt_tokens, 2 * one.completion_tokens)


def test_model_of_the_answer_selects_the_vocabulary(vocabularies: Vocabularies) -> None:
    """On Azure, the request's model is the name of a deployment."""
    params = CompletionParams("azure/mine", [Message.user("x")])
    assert estimate_usage(params, completion(model="gpt-4-0613")).confidence == 0.95
    assert vocabularies.requested == ["cl100k_base"]
    assert estimate_usage(params, completion()).confidence == 0.8


@pytest.mark.parametrize(
    ("params", "most", "confidence"),
    [
        (request(Message.user(["Look", ContentPart.from_image(b"\x89PNG\r\n\x1a\n" + b"x" * 9999)])), 20, 0.3),
        (request(Message.assistant(audio={"id": "audio_1"})), 20, 0.3),
        (request("x", tools=[WEATHER]), 100, 0.5),
    ],
    ids=["image", "audio", "tools"],
)
def test_media_are_not_counted_and_lower_the_confidence_as_tools_do(
    vocabularies: Vocabularies, params: CompletionParams, most: int, confidence: float
) -> None:
    usage = estimate_usage(params, completion())
    assert usage.prompt_tokens < most
    assert usage.confidence == confidence


RECORDED = [recording for recording in recordings_of("chat") if recording.status == 200 and recording.format == "sse"]


@pytest.mark.long
@pytest.mark.recordings
@pytest.mark.skipif(not RECORDED, reason="no recordings; set ANYLLM_RECORDINGS")
def test_estimates_are_close_to_the_counts_of_providers() -> None:
    """The formula against the provider's count, for answers without hidden parts."""
    errors = []
    for recording in RECORDED:
        read = Ours(OpenAIChatDialect(), recording.reads)
        usage = read.answer.usage
        if read.error or not usage or usage.completion_tokens < 20 or read.answer.tool_calls:
            continue
        if usage.reasoning_tokens and not read.answer.reasoning:
            continue
        estimate = estimate_usage(request("x"), read.answer, method="character")
        errors.append(abs(estimate.completion_tokens / usage.completion_tokens - 1))
    assert len(errors) > 20
    assert statistics.median(errors) < 0.1
