"""Caches of answers: encoding, replayed streams, keys, and the memory, disk and Redis caches."""

from __future__ import annotations

import base64
import hashlib
import logging
import math
import os
import pathlib
import shutil
import socket
import sqlite3
import stat
import subprocess
from typing import Any, Dict, Iterator, List, Optional

import attrs
import choice_streams
import pytest
from conftest import TIMEOUT, join
from fuzz import dialects
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from loopback import until

from anyllm import caching
from anyllm.caching import DiskCache, Guarded, MemoryCache, RedisCache, cache_key, decode, encode, replayed
from anyllm.types import (
    ChatCompletion,
    Choice,
    CompletionParams,
    ContentPart,
    FunctionCall,
    Message,
    Reasoning,
    RetryNotice,
    ToolCall,
    Usage,
)
from anyllm.types._accumulate import Assembler

FIRST = Message(
    "assistant",
    "The quick brown fox\n\njumps over  everything. " + "日本語" * 20 + "x" * 100,
    reasoning=Reasoning("First I thought. Then I knew.", "c2lnbmVk", "reasoning_content"),
    tool_calls=(
        ToolCall("call_1", FunctionCall("look", '{"at": "the moon", "how": "long"}')),
        ToolCall("call_2", FunctionCall("go", ""), index=1, extra_content={"google": {"thought_signature": "x"}}),
    ),
)
LOGPROBS = {"content": [{"token": "The", "logprob": -0.5, "top_logprobs": []}], "refusal": None}
FULL = ChatCompletion(
    "answer-1",
    (
        Choice(0, FIRST, "tool_calls", "tool_use", LOGPROBS),
        Choice(1, Message("assistant", refusal="I would rather not."), "stop", "stop"),
        Choice(4, Message("assistant", ""), "length", "max_tokens"),
    ),
    1700000000,
    "model-1",
    usage=Usage(10, 20, 30, 5, 3, 2, raw={"prompt_tokens": 10}),
    system_fingerprint="fp",
    service_tier="default",
    provider="host",
    raw={"what": "the host sent"},
    retries=(RetryNotice("restart", 2, "reset", 0.5),),
)


def folded(completion: ChatCompletion) -> ChatCompletion:
    assembler = Assembler()
    for chunk in replayed(completion):
        assembler.add(chunk)
    return assembler.snapshot()


# -- completions as streams bring them, in every form --------------------------------------------------------------

#: Lone halves of emojis included: hosts send them.
words = st.text('ab é語😀\ud83d\n\t\0"\\{', min_size=1, max_size=60)
maybe_words = st.none() | words
numbers = st.booleans() | st.integers() | st.floats(allow_nan=False) | st.lists(st.integers(), max_size=3)
plain_dicts = st.dictionaries(st.text(min_size=1, max_size=5), maybe_words | numbers, max_size=3)
full_dicts = st.none() | plain_dicts.filter(bool)
calls = st.builds(
    ToolCall,
    maybe_words,
    st.builds(FunctionCall, maybe_words, st.just("") | words),
    st.sampled_from(["function", "custom"]),
    extra_content=full_dicts,
)
audios = st.builds(lambda data: {"id": "a", "data": base64.b64encode(data).decode()}, st.binary())
usages = st.builds(Usage, st.integers(0, 9), st.integers(0, 9), st.integers(0, 18))
retries = st.builds(RetryNotice, st.sampled_from(["restart", "continue"]), st.integers(2, 9), words)


@st.composite
def messages(draw: Any) -> Message:
    made = [attrs.evolve(call, index=place) for place, call in enumerate(draw(st.lists(calls, max_size=3)))]
    refusal = draw(maybe_words)
    text = draw(maybe_words if made or refusal else st.just("") | maybe_words)
    reasoning = None
    details = [
        {"type": "reasoning.text", "index": index, **more, "text": draw(words)}
        for index, more in enumerate(draw(st.lists(plain_dicts, max_size=3)))
    ]
    thought, signature = draw(maybe_words), draw(maybe_words)
    if thought or signature or details:
        reasoning = Reasoning(thought, signature, draw(maybe_words), details or None)
    audio = draw(st.none() | audios)
    return Message("assistant", text, tool_calls=made, reasoning=reasoning, refusal=refusal, audio=audio)


@st.composite
def completions(draw: Any) -> ChatCompletion:
    choices = []
    for index in sorted(draw(st.sets(st.integers(0, 5), max_size=3))):
        message = draw(messages())
        ends = ["length", "tool_calls", "content_filter", "unknown"] + ["stop"] * (not message.tool_calls)
        end = draw(st.none() | st.sampled_from(ends))
        raw_end = None if end is None else draw(words)
        choices.append(Choice(index, message, end, raw_end, draw(full_dicts)))
    return ChatCompletion(
        draw(st.text(max_size=5)),
        tuple(choices),
        draw(st.integers(0, 2**40)),
        draw(st.text(max_size=5)),
        usage=draw(st.none() | usages),
        system_fingerprint=draw(maybe_words),
        service_tier=draw(maybe_words),
        provider=draw(st.text(max_size=5)),
        retries=tuple(draw(st.lists(retries, max_size=2))),
    )


few = settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])


# -- the bytes -----------------------------------------------------------------------------------------------------


@few
@given(completions())
def test_decode_reverses_encode(completion):
    assert decode(encode(completion)) == completion


def test_raw_data_of_the_provider_is_not_stored():
    """It is as large again, and a stream has none; what a caller's class made of it, no JSON could hold."""
    found = decode(encode(attrs.evolve(FULL, parsed=object())))
    assert found == FULL
    assert found.raw is None
    assert b"the host sent" not in encode(FULL)


@few
@given(st.data())
def test_damaged_bytes_give_nothing(data):
    """One wrong bit in the text would otherwise be another answer, in good JSON."""
    good = encode(FULL)
    at, bit = data.draw(st.integers(0, len(good) - 1)), data.draw(st.integers(0, 7))
    bad = bytearray(good)
    bad[at] ^= 1 << bit
    assert decode(bytes(bad)) is None
    assert decode(good[:at]) is None
    assert decode(good + good[at:]) is None


@few
@given(st.binary() | st.text().map(str.encode))
def test_bytes_of_others_give_nothing(data):
    assert decode(data) is None
    assert decode(caching._head(data) + data) is None  # well formed around what is no answer


@pytest.mark.parametrize("other", [None, "text", 5, bytearray(encode(FULL))])
def test_decode_of_other_types_gives_none(other):
    assert decode(other) is None


@pytest.mark.parametrize(
    "body",
    [b"null", b"[]", b"{}x", b'{"id": 5}', b'{"unheard_of": 1}', b'{"choices": [{"message": "no"}]}', b"[" * 100_000],
    ids=lambda body: body[:20].decode(),
)
def test_json_that_is_no_answer_gives_nothing(body):
    """As it may be after an update that changes the values without changing the form."""
    assert decode(caching._head(body) + body) is None


def test_another_format_is_a_miss(monkeypatch):
    encoded = encode(FULL)
    monkeypatch.setattr(caching, "_FORMAT", b"anyllm-answer-2")
    assert decode(encoded) is None
    assert decode(encode(FULL)) == FULL


# -- the stream ----------------------------------------------------------------------------------------------------


@few
@given(completions())
def test_a_replayed_answer_is_the_same_answer(completion):
    assert folded(completion) == completion


@pytest.mark.parametrize("name", sorted(path.name for path in choice_streams.ROOT.iterdir()))
def test_recorded_streams_are_replayed(name):
    """Everything in the dialects' transcripts: calls in parallel, signatures, refusals, answers cut in the middle."""
    dialect, complete = dialects()[name], 0
    for path in (choice_streams.ROOT / name).iterdir():
        if path.suffix != ".json":
            _, answer, _ = choice_streams.decode(dialect, [path.read_bytes()])
            assert folded(answer) == answer, path.stem
            assert decode(encode(answer)) == answer, path.stem
            complete += bool(answer.choices)
    assert complete > 3


def test_a_replayed_answer_has_the_forms_of_a_stream():
    """Role first, text in pieces, id and name once, then the end, then usage: what consumers of streams rely on."""
    chunks = list(replayed(FULL))
    choice_streams.check_forms(chunks, "host")
    assert folded(FULL) == FULL
    assert chunks[0].retry == FULL.retries[0]
    assert (chunks[1].choices[0].delta.role, chunks[1].content) == ("assistant", "")
    texts = [chunk.content for chunk in chunks if chunk.content]
    assert "".join(texts) == FULL.content
    assert max(map(len, texts)) <= 32
    assert len(texts) > 10
    assert len([chunk for chunk in chunks if chunk.reasoning]) > 3
    assert chunks[-1].usage == FULL.usage
    assert [chunk.usage for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    ends = [(c.index, c.finish_reason) for chunk in chunks for c in chunk.choices if c.finish_reason]
    assert ends == [(0, "tool_calls"), (1, "stop"), (4, "length")]


def test_text_beside_other_parts_of_a_content_is_replayed():
    content = (ContentPart(text="Look: "), ContentPart("image_url", image_url={"url": "data:,"}), ContentPart(text="a"))
    answer = ChatCompletion("id", (Choice(0, Message("assistant", content), "stop", "stop"),))
    assert folded(answer).content == "Look: a"


# -- the key -------------------------------------------------------------------------------------------------------

PARAMS = CompletionParams("m", [Message.user("Hello")])
KEY = cache_key("openai", None, PARAMS)


def test_the_key_is_the_same_in_every_process(run_script):
    """Hashes of text are not, in Python, unless one asks for it."""
    output = run_script(
        """
        from anyllm.caching import cache_key
        from anyllm.types import CompletionParams
        params = CompletionParams("m", [{"role": "user", "content": "Hello"}])
        print(cache_key("openai", None, params))
        """
    )
    assert output.strip() == KEY
    assert len(KEY) == 64


#: Another value for everything that can change the answer.
CHANGES: Dict[str, Any] = {
    "model": "n",
    "messages": [Message.user("Hello!")],
    "temperature": 0.5,
    "top_p": 0.5,
    "max_tokens": 5,
    "stop": ["END"],
    "n": 2,
    "seed": 1,
    "tools": [{"type": "function", "function": {"name": "f"}}],
    "tool_choice": "required",
    "parallel_tool_calls": False,
    "response_format": {"type": "json_object"},
    "structured": "emulate",
    "reasoning_effort": "high",
    "thinking_budget": 100,
    "logprobs": True,
    "top_logprobs": 2,
    "functions": [{"name": "f"}],
    "function_call": "auto",
    "extra_body": {"top_k": 5},
    "extra_headers": {"anthropic-beta": "new"},
}
#: And for what cannot.
INDIFFERENT: Dict[str, Any] = {"user": "u", "stream": True, "stream_options": {"include_usage": False}}


def test_every_parameter_is_one_or_the_other():
    """A new parameter belongs to one of the lists above."""
    assert {field.name for field in attrs.fields(CompletionParams)} == {*CHANGES, *INDIFFERENT}


@pytest.mark.parametrize("name", CHANGES, ids="{}=".format)
def test_parameters_that_can_change_the_answer_change_the_key(name):
    assert cache_key("openai", None, PARAMS.evolve(**{name: CHANGES[name]})) != KEY


@pytest.mark.parametrize("name", INDIFFERENT)
def test_parameters_that_cannot_change_the_answer_do_not_change_the_key(name):
    assert cache_key("openai", None, PARAMS.evolve(**{name: INDIFFERENT[name]})) == KEY


def key(place: str = "p", url: Optional[str] = None, **fields: Any) -> str:
    return cache_key(place, url, PARAMS.evolve(**fields))


@pytest.mark.parametrize(
    "keys",
    [
        [key("openai"), key("groq"), key("openai", "http://a")],
        [key("ab", "c"), key("a", "bc")],  # joined without marks between, they would be the same
        [key(extra_headers={"a": "b\n", "c": ""}), key(extra_headers={"a": "b", "c": "\n"})],
        [
            key(),
            key(extra_headers={"Authorization": "Bearer sk-1"}),
            key(extra_headers={"Authorization": "Bearer sk-2"}),
        ],
        # The order of a schema's properties is the order of the answer's.
        [key(response_format={"properties": {name: {} for name in order}}) for order in ("ab", "ba")],
        [key(), key(messages=[Message.user("\ud83d")])],
    ],
)
def test_different_requests_have_different_keys_of_the_same_form(keys):
    assert len(set(keys)) == len(keys)
    assert all(len(key) == 64 and "sk-" not in key for key in keys)


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (key("openai", "http://a/"), key("openai", "http://a")),
        (key(extra_headers={"X-One": "1", "X-Two": "2"}), key(extra_headers={"x-two": "2", "x-one": "1"})),
    ],
    ids=["a slash at the end", "case and order of headers"],
)
def test_equal_requests_have_one_key(one, two):
    assert one == two


# -- caches --------------------------------------------------------------------------------------------------------


class FakeRedis:
    """The three commands that are used, and the expiries passed to them."""

    def __init__(self, decodes: bool = False) -> None:
        self.values: Dict[str, bytes] = {}
        self.expiries: List[Any] = []
        self.decodes = decodes

    def get(self, key: str) -> Any:
        found = self.values.get(key)
        return found.decode() if found is not None and self.decodes else found

    def set(self, key: str, value: bytes, px: Optional[int] = None) -> None:
        assert px is None or (isinstance(px, int) and px > 0)
        self.values[key] = value
        self.expiries.append(px)

    def delete(self, key: str) -> None:
        self.values.pop(key, None)


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: Any) -> Iterator[str]:
    """A server of our own, on a socket in a folder of ours."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("redis-server is not installed")
    pytest.importorskip("redis")
    path = tmp_path_factory.mktemp("redis") / "s"
    server = subprocess.Popen(
        [program, "--port", "0", "--unixsocket", str(path), "--save", "", "--dir", str(path.parent)],
        stdout=subprocess.DEVNULL,
    )
    try:
        until(lambda: path.exists() or server.poll() is not None)
        assert server.poll() is None
        yield f"unix://{path}"
    finally:
        server.terminate()
        server.wait(TIMEOUT)


@pytest.fixture(params=["memory", "disk", "redis", "fake redis"])
def cache(request, tmp_path):
    """Each of the caches, empty."""
    if request.param == "memory":
        pytest.importorskip("cachetools")
        yield MemoryCache()
        return
    if request.param == "disk":
        pytest.importorskip("diskcache")
        instance: Any = DiskCache(tmp_path / "answers")
    elif request.param == "redis":
        instance = RedisCache(request.getfixturevalue("redis_url"), prefix=f"{tmp_path}:")
    else:
        yield RedisCache(FakeRedis())
        return
    yield instance
    instance.close()


def test_a_cache_gives_the_stored_bytes(cache):
    answer = encode(FULL)
    assert cache.get(KEY) is None
    cache.set(KEY, answer)
    assert cache.get(KEY) == answer
    assert decode(cache.get(KEY)) == FULL
    assert cache.get(KEY[::-1]) is None
    for data in (b"\x00\xff other", b"", bytes(range(256)) * 4096):  # beyond some kilobytes diskcache has files
        cache.set(KEY, data)
        assert cache.get(KEY) == data


@pytest.mark.parametrize(("ttl", "found"), [(0, None), (math.inf, b"new")])  # no backend has a number for infinity
def test_a_ttl_of_zero_stores_nothing_and_an_infinite_one_for_ever(cache, ttl, found):
    cache.set(KEY, b"old", 1000)
    cache.set(KEY, b"new", ttl)
    assert cache.get(KEY) == found


@pytest.mark.parametrize("ttl", [-1, float("nan")])
def test_invalid_ttls_are_refused(cache, ttl):
    with pytest.raises(ValueError, match="negative or NaN"):
        cache.set(KEY, b"answer", ttl)
    with pytest.raises(TypeError):
        cache.set(KEY, b"answer", "1")


def test_a_cache_is_shared_by_threads(cache, spawn):
    def work(me: int) -> None:
        for number in range(5):
            key = hashlib.sha256(b"%d" % (number % 3)).hexdigest()
            cache.set(key, key.encode())
            assert cache.get(key) == key.encode()
        if isinstance(cache, DiskCache):
            cache.close()  # this thread's connection

    join([spawn(work, me) for me in range(8)])


def test_memory_forgets_expired_answers():
    pytest.importorskip("cachetools")
    now = [1000.0]
    cache = MemoryCache(ttl=60, clock=lambda: now[0])
    cache.set("a", b"1")
    cache.set("b", b"2", 90)
    now[0] += 60
    assert (cache.get("a"), cache.get("b")) == (None, b"2")
    now[0] += 30
    assert cache.get("b") is None


def test_memory_forgets_the_least_recently_used():
    pytest.importorskip("cachetools")
    cache = MemoryCache(maxsize=2)
    cache.set("a", b"1")
    cache.set("b", b"2")
    cache.get("a")
    cache.set("c", b"3")
    assert (cache.get("a"), cache.get("b"), cache.get("c")) == (b"1", None, b"3")


@pytest.mark.fork
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.parametrize("held", [False, True])
def test_memory_survives_a_fork(held, run_script):
    """A lock that another thread held at that moment is held for ever in the child, over a change half made."""
    pytest.importorskip("cachetools")
    output = run_script(
        f"""
        import faulthandler, os, signal, warnings
        from anyllm.caching import MemoryCache
        faulthandler.cancel_dump_traceback_later()
        warnings.simplefilter("ignore")
        cache = MemoryCache()
        cache.set("a", b"1")
        if {held}:
            cache._entries()._lock.acquire()
        pid = os.fork()
        if not pid:
            signal.alarm(20)
            found = cache.get("a")
            cache.set("b", b"2")
            os._exit(0 if found == ({None if held else b"1"}) and cache.get("b") == b"2" else 1)
        assert os.waitpid(pid, 0)[1] == 0
        print("done")
        """
    )
    assert output.strip() == "done"


def test_a_disk_is_shared_and_stays(tmp_path):
    pytest.importorskip("diskcache")
    first, second = DiskCache(tmp_path / "d", ttl=1000), DiskCache(str(tmp_path / "d"))
    first.set(KEY, b"answer")
    assert second.get(KEY) == b"answer"
    first.close()
    second.close()
    third = DiskCache(tmp_path / "d")
    assert third.get(KEY) == b"answer"
    third.close()
    if os.name == "posix":
        assert stat.S_IMODE((tmp_path / "d").stat().st_mode) == 0o700


class Exploit:
    """Unpickled, it makes a file."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return open, (str(self.path), "w")


@pytest.mark.parametrize("size", ["small", "large"])
def test_a_disk_never_unpickles(size, tmp_path):
    """Whoever can write to the folder must not be able to run code in those who read it."""
    diskcache = pytest.importorskip("diskcache")
    trap = tmp_path / "trap"
    with diskcache.Cache(str(tmp_path / "d")) as foreign:
        foreign.set(KEY, [Exploit(trap), "x" * (100_000 if size == "large" else 1)])
    cache = DiskCache(tmp_path / "d")
    with pytest.raises(ValueError, match="pickle"):
        cache.get(KEY)
    cache.close()
    assert not trap.exists()


def test_a_disk_drops_the_oldest_when_full(tmp_path):
    pytest.importorskip("diskcache")
    cache = DiskCache(tmp_path / "d", size_limit=200_000)
    for number in range(30):
        cache.set(str(number), b"x" * 50_000)
    assert cache.get("0") is None
    assert cache.get("29") is not None
    assert sum(path.stat().st_size for path in (tmp_path / "d").rglob("*.val")) < 400_000
    cache.close()


def test_a_damaged_disk_breaks_no_call(tmp_path):
    pytest.importorskip("diskcache")
    cache = DiskCache(tmp_path / "d")
    cache.set(KEY, b"answer")
    cache.close()
    for path in (tmp_path / "d").glob("cache.db*"):
        path.write_bytes(b"no database" * 1000)
    guarded = Guarded(cache)
    assert guarded.get(KEY) is None
    guarded.set(KEY, b"answer")
    with pytest.raises(sqlite3.Error):
        cache.get(KEY)
    cache.close()


def test_redis_gets_milliseconds_and_a_prefix():
    fake = FakeRedis()
    cache = RedisCache(fake, ttl=1.5, prefix="p:")
    cache.set("a", b"1")
    cache.set("b", b"2", 0.0001)
    assert (fake.expiries, list(fake.values)) == ([1500, 1], ["p:a", "p:b"])


def test_a_redis_client_may_decode_its_responses():
    cache = RedisCache(FakeRedis(decodes=True))
    cache.set(KEY, encode(FULL))
    assert decode(cache.get(KEY)) == FULL


def test_redis_forgets_expired_answers(redis_url):
    """The server says how long it will keep it; nobody needs to wait for that."""
    cache = RedisCache(redis_url, ttl=50, prefix="old:")
    cache.set("a", b"1")
    cache.set("b", b"2", 100)
    ttls = [cache._client.pttl(f"old:{name}") for name in "ab"]
    assert 40_000 < ttls[0] <= 50_000
    assert 90_000 < ttls[1] <= 100_000
    cache.close()


def test_a_redis_that_is_not_there_breaks_no_call(caplog):
    """And its password is not in the log."""
    pytest.importorskip("redis")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody listens, and nobody else can
        cache = RedisCache(f"redis://:hunter22@127.0.0.1:{taken.getsockname()[1]}/0")
        guarded = Guarded(cache)
        with caplog.at_level(logging.WARNING, "anyllm"):
            assert guarded.get(KEY) is None
            guarded.set(KEY, b"answer")
        cache.close()
    assert "RedisCache failed to get: ConnectionError" in caplog.text
    assert "hunter22" not in f"{caplog.text} {cache!r} {guarded!r}"


class Broken:
    def __init__(self, error: BaseException) -> None:
        self.error = error

    def get(self, key: str) -> bytes:
        raise self.error

    def set(self, key: str, value: bytes, ttl: Optional[float] = None) -> None:
        raise self.error


def test_a_broken_cache_is_logged_once(caplog, spawn):
    guarded = Guarded(Broken(RuntimeError("secret")))
    with caplog.at_level(logging.WARNING, "anyllm"):
        assert join([spawn(guarded.get, KEY) for _ in range(8)]) == [None] * 8
        guarded.set(KEY, b"answer", 5)
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert "Broken failed to get: RuntimeError" in record.getMessage()
    assert "secret" not in record.getMessage()


def test_ctrl_c_is_no_failure_of_a_cache():
    with pytest.raises(KeyboardInterrupt):
        Guarded(Broken(KeyboardInterrupt())).get(KEY)


def test_a_good_cache_is_used_as_it_is():
    fake = FakeRedis()
    guarded = Guarded(RedisCache(fake))
    guarded.set(KEY, b"answer", 5)
    assert guarded.get(KEY) == b"answer"
    assert fake.expiries == [5000]


def test_other_values_of_a_cache_are_misses():
    fake = FakeRedis()
    fake.values["anyllm:" + KEY] = 5  # type: ignore[assignment]
    assert Guarded(RedisCache(fake)).get(KEY) is None


@pytest.mark.parametrize(
    ("library", "make", "packages"),
    [
        ("cachetools", lambda _: MemoryCache(), "cachetools diskcache"),
        ("diskcache", lambda path: DiskCache(path / "d"), "cachetools diskcache"),
        ("redis", lambda _: RedisCache("redis://127.0.0.1"), "redis"),
    ],
)
def test_a_missing_library_is_named_with_its_install_command(library, make, packages, monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, library, None)
    with pytest.raises(ImportError, match=rf"{library}: pip install {packages}$"):
        make(tmp_path)


def test_importing_loads_no_library_of_a_cache(run_script):
    output = run_script(
        """
        import sys
        import anyllm
        assert "anyllm.caching" not in sys.modules
        import anyllm.caching
        print(sorted({"cachetools", "diskcache", "redis"} & set(sys.modules)))
        """
    )
    assert output.strip() == "[]"
