"""A host that streams although nobody asked for it: its answer is read all the same, in every format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import pytest
from choice_streams import decode
from formats_of import DIALECTS, dialect_of, every_stream
from profiles import Profile, each_transcript
from recordings import Recording, each

import anyllm
from anyllm.errors import AnyLLMError, IncompleteStreamError, MalformedStreamError, RateLimitError
from anyllm.testing import Reply, chat_events, serve
from anyllm.types import ChatCompletion
from anyllm.wire._base.protocols import Dialect
from anyllm.wire._base.whole_answer import whole_answer

PARAMS = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}


def streamed(dialect: Dialect, body: bytes) -> Tuple[Optional[ChatCompletion], Optional[AnyLLMError]]:
    """The answer as a stream of it gives it, and what ended that."""
    chunks, answer, error = decode(dialect, [body])
    return (answer if chunks else None), error


def check(dialect: Dialect, body: bytes) -> None:
    expected, error = streamed(dialect, body)
    if expected is not None and error is None:
        assert whole_answer(dialect, body) == expected
        return
    with pytest.raises(AnyLLMError) as caught:
        whole_answer(dialect, body)
    if expected is not None:
        assert type(caught.value) is type(error)
        assert caught.value.partial == expected


def is_one_document(body: bytes) -> bool:
    try:
        json.loads(body)
    except ValueError:
        return False
    return True


@each_transcript
def test_a_stream_is_read_as_a_whole_answer(profile: Profile, path: Path):
    profile.require()
    for body in (path.read_bytes(), *profile.other_shapes(path.read_bytes())):
        if not is_one_document(body):
            check(profile.dialect(provider="p"), body)


@pytest.mark.recordings
@each(every_stream())
def test_a_recorded_stream_is_read_as_a_whole_answer(recording: Recording):
    if not is_one_document(recording.body):
        check(dialect_of(recording), recording.body)


def ask(reply: Reply) -> ChatCompletion:
    with serve(reply) as server:
        return anyllm.completion(anyllm.Context(timeout=30), PARAMS, provider="compatible", base_url=server.url)


@pytest.mark.parametrize("content_type", ["text/event-stream", "application/json", "text/plain"])
def test_a_host_that_streams_although_not_asked_is_understood(content_type: str):
    answer = ask(Reply.sse(chat_events("Hello world"), content_type=content_type))
    assert (answer.content, answer.finish_reason) == ("Hello world", "stop")
    assert answer.usage is not None


def test_the_clients_chat_understands_it_too():
    with serve(Reply.sse(chat_events("Hello world"))) as server:
        client = anyllm.Client("compatible/m", base_url=server.url)
        assert client.chat("Hi").content == "Hello world"
        assert client.chat("Hi", options={"json": True}).content == "Hello world"


def test_such_a_stream_has_to_be_whole():
    with pytest.raises(IncompleteStreamError) as caught:
        ask(Reply.sse(chat_events("so far", finish_reason=None), done=False))
    assert caught.value.partial is not None
    assert caught.value.partial.content == "so far"


def test_an_error_in_such_a_stream_is_raised():
    error: Dict[str, Any] = {"error": {"message": "slow down", "code": "rate_limit_exceeded"}}
    options = {"retry": {"attempts": 1}}
    with serve(Reply.sse([error])) as server, pytest.raises(RateLimitError, match="slow down"):
        anyllm.completion(
            anyllm.Context(timeout=30), PARAMS, provider="compatible", base_url=server.url, options=options
        )


BROKEN: List[bytes] = [b"", b"hello", b"<html>no</html>", b"data: x\n\n", b": comment\n\n", b"{", b"[1]", b"\0\0\0\1"]


@pytest.mark.parametrize("body", BROKEN, ids=repr)
def test_what_is_neither_is_answered_as_before(body: bytes):
    """The error speaks of the answer that was expected, and not of a stream that nobody asked for."""
    dialect = DIALECTS["chat"](provider="p")
    with pytest.raises(MalformedStreamError) as expected:
        dialect.response(body)
    with pytest.raises(MalformedStreamError) as caught:
        whole_answer(dialect, body)
    assert str(caught.value) == str(expected.value)
