"""Streams as bytes: what holds for every format, and what pages of one's own read."""

from __future__ import annotations

import json
import pickle
from typing import Any, Iterator, List

import pytest

import anyllm
from anyllm import asgi, errors, formats, wsgi
from anyllm._framing.body_events import events
from anyllm.channel import open_channel
from anyllm.gateway._responses import error_response
from anyllm.testing import Reply, chat_events, serve
from anyllm.types import (
    ChatCompletion,
    ChatCompletionChunk,
    Choice,
    ChunkChoice,
    ChunkDelta,
    Message,
    RetryNotice,
    Usage,
)

PARAMS = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
WIRE = [name for name in formats.FORMATS if name not in ("sse", "ndjson", "json", "text")]
CUT = errors.IncompleteStreamError("the stream ended")


def chunk(content: str = "", *, role: Any = None, finish: Any = None, usage: Any = None) -> ChatCompletionChunk:
    choice = ChunkChoice(0, ChunkDelta(role, content or None), finish, finish)
    return ChatCompletionChunk("id-1", (choice,), 1, "m", usage=usage)


WHOLE = [
    chunk("one ", role="assistant"),
    chunk("two"),
    chunk(finish="stop", usage=Usage(3, 2, 5)),
]


class Failing:
    """Items, then an error; counts how often it was ended."""

    def __init__(self, items: List[Any], error: Exception) -> None:
        self._items = iter(items)
        self._error = error
        self.closed = 0

    def __iter__(self) -> Failing:
        return self

    def __next__(self) -> Any:
        for item in self._items:
            return item
        raise self._error

    def close(self) -> None:
        self.closed += 1


# -- every format ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", formats.FORMATS)
def test_a_stream_of_the_pair_becomes_bytes(name):
    """Over a real server, and all of the text is in them."""
    with serve(Reply.sse(chat_events(("The ", "capital")))) as server:
        stream = anyllm.completion_stream(
            anyllm.Context(timeout=30), PARAMS, provider="compatible", base_url=server.url
        )
        output = b"".join(formats.encode(stream, name)).decode()
    assert "The " in output
    assert "capital" in output
    assert anyllm.active_streams() == 0


@pytest.mark.parametrize("name", formats.FORMATS)
def test_dropping_the_iterator_ends_the_stream(name):
    """Closed before its first byte, in the middle, or just dropped."""
    for read in (0, 1):
        source = Failing(list(WHOLE), CUT)
        body = formats.encode(source, name)
        for _ in range(read):
            next(body)
        body.close()
        assert source.closed == 1
        assert list(body) == []
    source = Failing(list(WHOLE), CUT)
    formats.encode(source, name)
    assert source.closed == 1


@pytest.mark.parametrize("name", [name for name in formats.FORMATS if name != "text"])
def test_an_error_is_written_instead_of_the_end(name):
    """What a client would take for a whole answer must not come of one that is not."""
    whole = b"".join(formats.encode(iter(WHOLE), name))
    source = Failing([*WHOLE[:2]], CUT)
    cut = b"".join(formats.encode(source, name))
    assert b"error" in cut
    assert b"error" not in whole.replace(b'"error":null', b"")
    assert source.closed == 1
    for sign in (b"[DONE]", b'"done":true', b'"done": true', b"message_stop", b"response.completed", b"finishReason"):
        assert sign not in cut


@pytest.mark.parametrize("name", [name for name in formats.FORMATS if name != "text"])
def test_a_bug_is_reported_without_its_message(name):
    """They may hold anything; the log has them."""
    output = b"".join(formats.encode(Failing(WHOLE[:1], KeyError("sk-secret")), name))
    assert b"sk-secret" not in output
    assert b"error" in output


@pytest.mark.parametrize("name", WIRE)
def test_a_restarted_answer_is_an_error_after_content(name):
    """None of these formats can take back what was said."""
    again = ChatCompletionChunk(retry=RetryNotice("restart", 2, "cut off"))
    output = b"".join(formats.encode(iter([WHOLE[0], again, *WHOLE]), name))
    assert b"begins anew" in output
    assert b"two" not in output
    fresh = b"".join(formats.encode(iter([again, *WHOLE]), name))
    assert b"two" in fresh
    assert b"begins anew" not in fresh


@pytest.mark.parametrize("name", WIRE)
def test_notices_are_not_written(name):
    for policy in ("before_content", "continue", "fallback", "hedge"):
        notice = ChatCompletionChunk(retry=RetryNotice(policy, 2, "cut off"))
        output = b"".join(formats.encode(iter([WHOLE[0], notice, *WHOLE[1:]]), name))
        assert b"cut off" not in output
        assert b"two" in output


@pytest.mark.parametrize("name", formats.FORMATS)
def test_whole_answers_and_errors_are_json(name):
    answer = ChatCompletion(
        "id-1", (Choice(0, Message.assistant("Paris"), "stop", "stop"),), 1, "m", usage=Usage(1, 2, 3)
    )
    assert "Paris" in json.dumps(json.loads(formats.encode_whole(answer, name)))
    error = errors.RateLimitError("slow down", status_code=429, retry_after=3)
    assert json.loads(formats.find(name).problem(error, 429))


def documents(data: bytes) -> List[str]:
    """What a client reads: the JSON documents of a stream, or its text; without the pings of Anthropic's format."""
    if not data.lstrip().startswith((b"data:", b"event:", b":", b"{", b"[")):
        return [data.decode()]
    return [event.data for event in events([data], max_event_bytes=1 << 20) if event.event != "ping"]


@pytest.mark.parametrize("name", formats.FORMATS)
def test_keep_alives_are_ignored_by_clients(name):
    """The keep-alive may stand before, between and after any two pieces."""
    fmt = formats.find(name)
    writer = fmt.writer()
    pieces = [piece for piece in (*map(writer.chunk, WHOLE), writer.end()) if piece]
    assert documents(fmt.keep_alive.join([b"", *pieces])) == documents(b"".join(pieces))


def test_a_format_is_a_value():
    """Shared between threads and processes."""
    for name in formats.FORMATS:
        fmt = formats.find(name)
        assert fmt == formats.find(name) == pickle.loads(pickle.dumps(fmt))


ENCODERS = [formats.encode, wsgi.body, asgi.body]


@pytest.mark.parametrize("wrong", ["nope", "", "SSE"])
def test_an_unknown_format_is_refused_with_the_known_ones(wrong):
    for encode in ENCODERS:
        with pytest.raises(ValueError, match=f"must be one of sse, ndjson, .*, not '{wrong}'"):
            encode(iter(()), wrong)
    with pytest.raises(ValueError, match="must be one of sse"):
        wsgi.headers(wrong)


def test_a_setting_that_a_format_has_not_is_a_type_error():
    with pytest.raises(TypeError, match="colour"):
        formats.encode(iter(()), "openai", colour="red")
    with pytest.raises(TypeError, match="model"):
        formats.encode(iter(()), formats.OpenAIChat(), model="m")


@pytest.mark.parametrize("encode", ENCODERS)
def test_a_channel_and_other_objects_are_refused(encode):
    with pytest.raises(TypeError, match="pass the stream, not its chunks"):
        encode(open_channel(1)[1])
    with pytest.raises(TypeError):
        encode(5)
    with pytest.raises(ValueError, match="keep_alive"):
        encode(iter(()), keep_alive=0)


# -- pages of one's own ------------------------------------------------------------------------------------------------


def test_json_is_a_list_of_the_lines_of_ndjson():
    lines = [json.loads(line) for line in b"".join(formats.encode(iter(WHOLE), "ndjson")).splitlines()]
    assert json.loads(b"".join(formats.encode(iter(WHOLE), "json"))) == lines
    assert lines[-1] == {
        "done": True,
        "finish_reason": "stop",
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
    }


def test_json_of_nothing_is_a_list_all_the_same():
    assert json.loads(b"".join(formats.encode(iter(()), "json"))) == [{"done": True}]
    output = json.loads(b"".join(formats.encode(Failing([], CUT), "json")))
    assert output[0]["error"]["type"] == "IncompleteStreamError"


@pytest.mark.parametrize("name", ["ndjson", "ollama", "ollama-generate"])
def test_a_line_is_one_for_readers_that_follow_unicode(name):
    """httpx parts text into lines at U+2028, U+2029 and U+0085 too."""
    text = "a\u2028b\u2029c\x85d"
    output = b"".join(formats.encode(iter([chunk(text, role="assistant"), WHOLE[-1]]), name)).decode()
    first = json.loads(output.splitlines()[0])
    assert text in (first.get("content"), first.get("response"), first.get("message", {}).get("content"))


# -- the status of an error --------------------------------------------------------------------------------------------

VISITORS = ("sse", "ndjson", "json", "text")
BAD_KEY = errors.AuthenticationError("bad key", status_code=401)


@pytest.mark.parametrize("format", formats.FORMATS)
def test_a_site_and_the_gateway_answer_an_error_with_one_status(format: str):
    """The format says who reads it: visitors of a page, or clients of a provider's API."""
    how = formats.find(format)
    expected = 502 if format in VISITORS else 401
    assert formats.status(BAD_KEY, format) == formats.status(BAD_KEY, how) == expected
    assert wsgi.answer(failing(BAD_KEY), format).status == expected
    assert error_response(BAD_KEY, how).status == expected


def test_without_a_format_the_status_is_for_visitors():
    assert formats.status(BAD_KEY) == wsgi.status(BAD_KEY) == 502
    assert formats.status(KeyError("bug")) == formats.status(KeyError("bug"), "openai") == 500


def test_the_older_name_of_status_warns():
    with pytest.warns(DeprecationWarning, match="formats.status"):
        older = formats.status_of
    assert older(BAD_KEY) == formats.status(BAD_KEY, "openai")
    with pytest.raises(AttributeError, match="no attribute 'stauts'"):
        _ = formats.stauts


def failing(error: BaseException) -> Iterator[str]:
    raise error
    yield ""
