"""After the first content: a cut stream is raised, restarted, or continued without a character twice or missing."""

from __future__ import annotations

import random
import threading
from typing import Any, Callable, Dict, List, Tuple

import pytest
from conftest import TIMEOUT, LaterTime
from loopback import OFF, PARAMS, until

import anyllm
from anyllm._stream.resume import ContinuationDecoder, text_to_continue
from anyllm.errors import (
    Cancelled,
    IncompleteStreamError,
    InvalidRequestError,
    RateLimitError,
    ServerError,
)
from anyllm.testing import Cut, RecordedRequest, Reply, Stall, chat_events, fake, serve
from anyllm.types import ChatCompletion, ChatCompletionChunk, Choice, ChunkChoice, ChunkDelta, Message, RetryNotice

TEXT = (
    "Dear  reader,\n\n\tthis is a text of two lines: 3.14, “quotes”, naïve, \U0001f600!\n And    much white space.   \n"
)


def options(policy: str, **fields: Any) -> anyllm.StreamingOptions:
    retry = {"attempts": 5, "backoff": 0, "after_content": policy, **fields}
    return anyllm.StreamingOptions(retry=anyllm.Retry(**retry), timeouts=OFF)


def pieces(text: str, dice: random.Random) -> List[str]:
    """*text* in pieces of up to seven characters."""
    parts, at = [], 0
    while at < len(text):
        size = dice.randint(1, 7)
        parts.append(text[at : at + size])
        at += size
    return parts


# -- hosts that continue the beginning of an answer --------------------------------------------------------------------


def _chat(texts: List[str], *, is_whole: bool) -> Reply:
    events: List[Any] = chat_events(texts, finish_reason="stop" if is_whole else None, usage=is_whole)
    return Reply.sse(events if is_whole else [*events, Cut("clean")], done=is_whole)


def _anthropic(texts: List[str], *, is_whole: bool) -> Reply:
    message = {"id": "m", "type": "message", "role": "assistant", "model": "c", "content": [], "stop_reason": None}
    events: List[Any] = [
        {"type": "message_start", "message": {**message, "usage": {"input_tokens": 3, "output_tokens": 1}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        *({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}} for text in texts),
    ]
    if is_whole:
        events += [
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 9}},
            {"type": "message_stop"},
        ]
    named = [(event["type"], event) for event in events]
    return Reply.sse([*named, *([] if is_whole else [Cut("clean")])], done=False)


def _ollama(texts: List[str], *, is_whole: bool) -> Reply:
    lines: List[Any] = [
        {"model": "l", "message": {"role": "assistant", "content": text}, "done": False} for text in texts
    ]
    last = {"model": "l", "message": {"role": "assistant", "content": ""}, "done": True, "done_reason": "stop"}
    return Reply.ndjson([*lines, last if is_whole else Cut("clean")])


Answer = Callable[..., Reply]
#: By provider: how it answers, where its base URL ends, and how the beginning of an answer is marked.
HOSTS: Dict[str, Tuple[Answer, str, Dict[str, Any], Dict[str, Any]]] = {
    "mistral": (_chat, "/v1", {"prefix": True}, {}),
    "moonshot": (_chat, "/v1", {"partial": True}, {}),
    "llama_cpp": (_chat, "/v1", {}, {}),
    "vllm": (_chat, "/v1", {}, {"continue_final_message": True, "add_generation_prompt": False}),
    "anthropic": (_anthropic, "", {}, {}),
    "ollama": (_ollama, "", {}, {}),
}


class Host:
    """Says `TEXT`, cut after each of *cuts* characters, and goes on from whatever it is shown of it."""

    def __init__(self, name: str, cuts: List[int], dice: random.Random) -> None:
        self._answer, self.base, self._mark, self._body_mark = HOSTS[name]
        self._cuts = list(cuts)
        self._dice = dice
        self.begun: List[str] = []

    def __call__(self, request: RecordedRequest) -> Reply:
        body = request.json()
        begun = self._begun_in(body)
        self.begun.append(begun)
        assert TEXT.startswith(begun)
        assert begun == begun.rstrip(), "hosts refuse it"
        end = self._cuts.pop(0) if self._cuts else None
        return self._answer(pieces(TEXT[len(begun) : end], self._dice), is_whole=end is None)

    def _begun_in(self, body: Dict[str, Any]) -> str:
        last = body["messages"][-1]
        if last["role"] != "assistant":
            return ""
        assert self._mark.items() <= last.items()
        assert self._body_mark.items() <= body.items()
        content = last["content"]
        return content if isinstance(content, str) else "".join(part["text"] for part in content)


def ask(
    url: str, how: anyllm.StreamingOptions, name: str = "llama_cpp", base: str = "/v1", timeout: float = TIMEOUT
) -> anyllm.Stream:
    host = anyllm.provider(name, base_url=url + base, api_key="none", options=how)
    return host.completion_stream(anyllm.Context(timeout), PARAMS)


def text_of(chunks: Any) -> str:
    return "".join(chunk.content for chunk in chunks)


@pytest.mark.once
@pytest.mark.parametrize("seed", [*range(4), *(pytest.param(seed, marks=pytest.mark.long) for seed in range(4, 35))])
@pytest.mark.parametrize("name", HOSTS)
def test_a_continued_answer_is_the_uncut_text(name: str, seed: int):
    dice = random.Random(seed * 7 + len(name))
    cuts = sorted(dice.sample(range(1, len(TEXT)), dice.choice((1, 1, 2, 3))))
    host = Host(name, cuts, dice)
    with serve(host) as server:
        stream = ask(server.url, options("continue"), name, host.base)
        chunks = list(stream.chunks)
        assert text_of(chunks) == TEXT
        answer = stream.collect()
    assert answer.content == TEXT
    assert answer.finish_reason == "stop"
    notices = [chunk.retry for chunk in chunks if chunk.retry is not None]
    assert tuple(notices) == answer.retries
    assert [notice.policy for notice in notices] == ["continue"] * len(cuts)
    assert [notice.attempt for notice in notices] == list(range(2, len(cuts) + 2))
    assert [chunk.choices[0].delta.role for chunk in chunks if chunk.choices].count("assistant") == 1


def test_the_local_model_goes_on_from_a_text():
    assert anyllm.provider("local").capabilities.prefill


# -- policy by policy --------------------------------------------------------------------------------------------------


CUT = _chat(["one two "], is_whole=False)
WHOLE = Reply.sse(chat_events("one three"))
REFUSAL = Reply.error(400, {"error": {"message": "no prefill"}})
CALL = {"index": 0, "id": "c", "type": "function", "function": {"name": "look", "arguments": '{"pl'}}
CALL_CUT = Reply.sse(
    [
        *chat_events("one two ", finish_reason=None, usage=False),
        {"choices": [{"index": 0, "delta": {"tool_calls": [CALL]}, "finish_reason": None}]},
        Cut("clean"),
    ],
    done=False,
)
#: The provider, policy and replies; how many requests, the class of the error, and of its cause.
INTERRUPTED: Dict[str, Tuple[str, str, List[Reply], int, type, Any]] = {
    "by default": ("llama_cpp", "raise", [CUT], 1, IncompleteStreamError, None),
    "later attempts bring nothing": ("llama_cpp", "restart", [CUT, Reply.error(500, "down")], 5, ServerError, None),
    "a host that cannot continue": ("compatible", "continue", [CUT, WHOLE], 1, IncompleteStreamError, None),
    # The error that cut the answer says more than the refusal.
    "a refusal": ("llama_cpp", "continue", [CUT, REFUSAL], 2, IncompleteStreamError, InvalidRequestError),
    "a tool call": ("llama_cpp", "continue", [CALL_CUT], 1, IncompleteStreamError, None),
}


@pytest.mark.parametrize(
    ("name", "policy", "replies", "requests", "kind", "cause"), INTERRUPTED.values(), ids=INTERRUPTED
)
def test_the_error_has_the_text_that_came(
    name: str, policy: str, replies: List[Reply], requests: int, kind: type, cause: Any
):
    with serve(*replies) as server:
        stream = ask(server.url, options(policy), name)
        assert text_of(stream.chunks) == "one two "
        error = stream.errors.get()
        assert len(server.requests) == requests
    assert isinstance(error, kind)
    assert cause is None or isinstance(error.__cause__, cause)
    assert error.partial.content == stream.partial.content == "one two "


def test_a_restart_is_announced_before_its_text():
    with serve(CUT, WHOLE) as server:
        stream = ask(server.url, options("restart"))
        chunks = list(stream.chunks)
        assert stream.errors.get() is None
    at = next(at for at, chunk in enumerate(chunks) if chunk.retry is not None)
    assert (text_of(chunks[:at]), text_of(chunks[at:])) == ("one two ", "one three")
    assert server.requests[0].body == server.requests[1].body
    answer = stream.collect()
    assert answer.content == "one three"
    assert [retry.policy for retry in answer.retries] == ["restart"]
    assert "ended before" in answer.retries[0].reason


def test_a_stream_of_strings_leaves_repeated_text_out():
    with serve(CUT, Reply.sse(chat_events("one two three"))) as server:
        assert "".join(ask(server.url, options("restart")).text_stream) == "one two three"


def test_a_stream_of_strings_ends_when_the_restarted_answer_is_another():
    """Strings cannot announce it."""
    with serve(CUT, WHOLE) as server:
        received: List[str] = []
        with pytest.raises(IncompleteStreamError) as caught:
            received.extend(ask(server.url, options("restart")).text_stream)
        assert "".join(received) == "one two "
        assert caught.value.partial.content == "one two "


@pytest.mark.parametrize("policy", ["restart", "continue"])
def test_all_attempts_are_counted(policy: str):
    with serve(CUT, _chat(["and more "], is_whole=False)) as server:
        stream = ask(server.url, options(policy, attempts=4))
        list(stream.chunks)
        assert isinstance(stream.errors.get(), IncompleteStreamError)
        assert len(server.requests) == 4


LONG = "A text that is long enough to be known by its beginning, however it goes on. "


@pytest.mark.parametrize(
    ("begun", "anew"),
    [
        ("Hello ", ["Hello world"]),
        ("Hello", ["Hel", "lo", " world"]),
        ("Hello", list("Hello world")),
        ("Hello", ["\n", " Hello", " world"]),
        (LONG, [LONG[:40] + "and goes on as it likes"]),
        (LONG, list(LONG)),
    ],
)
def test_a_host_that_starts_anew_gives_the_error_that_cut_the_answer(begun: str, anew: List[str]):
    """It ignores the text that it is to continue: its answer behind the cut one would be the text twice."""
    with serve(_chat([begun], is_whole=False), _chat(anew, is_whole=True)) as server:
        stream = ask(server.url, options("continue"))
        assert text_of(stream.chunks) == begun
        error = stream.errors.get()
        assert len(server.requests) == 2
    assert isinstance(error, IncompleteStreamError)
    assert isinstance(error.__cause__, InvalidRequestError)
    assert "began a new answer" in str(error.__cause__)
    assert error.partial.content == begun


@pytest.mark.parametrize(
    ("begun", "rest"),
    [
        ("ha ha", [" ha"]),
        ("Hello", ["Hell", "o no"][:1]),
        ("Hello", ["He", "y"]),
        (LONG, [LONG[:20], "is something else"]),
        (LONG, ["", LONG[:5]]),
    ],
)
def test_a_few_equal_characters_do_not_end_a_continued_answer(begun: str, rest: List[str]):
    with serve(_chat([begun], is_whole=False), _chat(rest, is_whole=True)) as server:
        answer = ask(server.url, options("continue")).collect()
    assert answer.content == begun + "".join(rest)


def test_reasoning_of_a_continued_answer_is_not_held_back():
    """However long it takes: only text is compared with the text before."""
    thoughts = [{"reasoning_content": "hm"}, {"content": "Hel"}, {"content": "p"}]
    first = chat_events("Hello", finish_reason=None, usage=False)
    deltas = [{**first[0], "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in thoughts]
    go_on = threading.Event()
    second = [deltas[0], Stall(go_on), *deltas[1:], *chat_events("", role=False)[-2:]]
    with serve(_chat(["Hello"], is_whole=False), Reply.sse(second)) as server:
        stream = ask(server.url, options("continue"))
        for chunk in stream.chunks:
            if chunk.reasoning:
                go_on.set()
        assert stream.errors.get() is None
        assert stream.partial.content == "HelloHelp"


def test_claude_continues_no_text_while_it_thinks():
    with serve(_anthropic(["one "], is_whole=False)) as server:
        host = anyllm.provider("anthropic", base_url=server.url, api_key="none", options=options("continue"))
        stream = host.completion_stream(anyllm.Context(TIMEOUT), {**PARAMS, "reasoning_effort": "low"})
        list(stream.chunks)
        assert isinstance(stream.errors.get(), IncompleteStreamError)
        assert len(server.requests) == 1


def test_a_silent_host_after_content_gets_another_attempt(later: LaterTime):
    """Before the first content it does not: the answer may be on its way."""
    silent = Reply.sse([*chat_events("one two ", finish_reason=None, usage=False), Stall()], done=False)
    how = options("restart").evolve(timeouts=anyllm.Timeouts(idle=1000))
    with serve(silent, WHOLE) as server:
        stream = ask(server.url, how, timeout=1e9)
        until(lambda: stream.partial.content == "one two ")
        later.forward()
        assert stream.collect().content == "one three"
        assert "content" in stream.partial.retries[0].reason


def test_a_cancel_between_two_attempts_ends_the_call():
    with serve(CUT, WHOLE) as server:
        stream = ask(server.url, options("restart", backoff=TIMEOUT, max_backoff=TIMEOUT))
        for chunk in stream.chunks:
            if chunk.retry is not None:
                assert chunk.retry.pause > 0
                stream.cancel()
        assert isinstance(stream.errors.get(), Cancelled)
        assert len(server.requests) == 1


def test_errors_of_the_callers_choice_are_tried_again():
    kinds = {RateLimitError: 3, IncompleteStreamError: 1}
    provider = fake(RateLimitError("slow down"), RateLimitError("slow down"), "well")
    how = anyllm.StreamingOptions(retry=anyllm.Retry(attempts=1, backoff=0, errors=kinds))
    assert provider.completion_stream(anyllm.Context(TIMEOUT), PARAMS, options=how).collect().content == "well"
    assert provider.completion(anyllm.Context(TIMEOUT), PARAMS, options=how).content == "well"
    with serve(CUT, WHOLE) as server:
        stream = ask(server.url, options("restart", errors=kinds))
        list(stream.chunks)
        assert isinstance(stream.errors.get(), IncompleteStreamError)


# -- the pieces --------------------------------------------------------------------------------------------------------


def test_only_text_can_be_continued():
    def answer(*choices: Choice) -> ChatCompletion:
        return ChatCompletion(choices=choices)

    assert text_to_continue(answer(Choice(0, Message.assistant("one ")))) == "one "
    for other in (
        answer(),
        answer(Choice(0, Message.assistant(" \n"))),
        answer(Choice(0, Message.assistant("one"), "stop")),
        answer(Choice(0, Message.assistant("one")), Choice(1, Message.assistant("two"))),
        answer(Choice(0, Message.assistant("one", refusal="no"))),
        answer(Choice(0, Message.assistant("one", tool_calls=[{"id": "c"}]))),
    ):
        assert text_to_continue(other) is None


class Decoder:
    """A decoder whose answer is whole."""

    done = complete = True

    def __init__(self, *texts: str) -> None:
        self._texts = texts

    def feed(self, event: Any) -> List[ChatCompletionChunk]:
        return [ChatCompletionChunk(choices=(ChunkChoice(0, ChunkDelta("assistant", text)),)) for text in self._texts]

    finish = None


@pytest.mark.parametrize(
    ("tail", "texts", "expected"),
    [
        ("\n\n", ["\n\nNext"], "Next"),
        ("\n\n", ["\n", "\nNext"], "Next"),
        ("\n\n", ["\n", "Next", "\nmore"], "Next\nmore"),
        ("\n\n", ["Next", "\n\nmore"], "Next\n\nmore"),
        (" ", ["", " ", " Next"], " Next"),
        ("", ["\nNext"], "\nNext"),
    ],
)
def test_repeated_white_space_is_left_out(tail: str, texts: List[str], expected: str):
    decoder = ContinuationDecoder(Decoder(*texts), "Before it", tail)  # type: ignore[arg-type]
    assert text_of(decoder.feed(None)) == expected  # type: ignore[arg-type]


def test_a_notice_is_plain_data():
    chunk = ChatCompletionChunk(retry=RetryNotice("restart", 2, "cut", 0.5))
    assert ChatCompletionChunk.from_dict(chunk.to_dict()) == chunk
    assert "retry" not in ChatCompletionChunk().to_dict()
    assert "retries" not in ChatCompletion().to_dict()
    answer = ChatCompletion(retries=(RetryNotice("continue", 3),))
    assert ChatCompletion.from_dict(answer.to_dict()) == answer
