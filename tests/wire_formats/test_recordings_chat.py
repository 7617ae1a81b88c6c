"""
Recorded responses of real hosts, each read three ways: by us, plainly by this file, and by the official client.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from recordings import Exceptions, Ours, Recording, bodies_of, each, marks, recordings_of, replaying

from anyllm import errors
from anyllm._framing.detect import events
from anyllm.errors import APIError, IncompleteStreamError
from anyllm.types import FINISH_REASONS, ChatCompletion
from anyllm.types._accumulate import Assembler
from anyllm.wire.openai_chat.dialect import OpenAIChatDialect

#: Hosts whose rows carry the switch for streams that never say a finish reason.
DONE_IS_COMPLETE = {"snowflake"}

ALL = recordings_of("chat")
STREAMS = [recording for recording in ALL if recording.status == 200]
WITH_SIZES = [recording for recording in STREAMS if recording.sizes]
REFUSALS = [recording for recording in ALL if recording.status != 200]

pytestmark = marks(ALL)
each_stream = each(STREAMS)


def dialect_of(recording: Recording) -> OpenAIChatDialect:
    return OpenAIChatDialect(provider=recording.provider, done_is_complete=recording.provider in DONE_IS_COMPLETE)


def read(recording: Recording, reads: list[bytes] | None = None) -> Ours:
    return Ours(dialect_of(recording), reads or [recording.body])


# -- a plain reading ---------------------------------------------------------------------------------------------------


class Plain:
    """A recording as a person would read it: JSON on each data line, pieces joined."""

    def __init__(self, bodies: list[dict[str, Any]]) -> None:
        self.text: dict[int, str] = {}
        self.reasoning: dict[int, str] = {}
        self.finish: dict[int, str] = {}
        self.calls: dict[int, list[dict[str, Any]]] = {}
        self.usage: dict[str, Any] | None = None
        self.audio_over: set[int] = set()
        self.error: Any = None
        for body in bodies:
            if body.get("error"):
                self.error = body["error"]
                break
            self._read(body)

    @property
    def unfinished(self) -> set[int]:
        return set(self.text) - set(self.finish) - self.audio_over

    def _read(self, body: dict[str, Any]) -> None:
        found = [body.get("usage"), (body.get("x_groq") or {}).get("usage")]
        for choice in body.get("choices") or []:
            index, delta = choice["index"], choice.get("delta") or {}
            content = delta.get("content")
            parts = content if isinstance(content, list) else []
            said = content if isinstance(content, str) else "".join(part.get("text", "") for part in parts)
            self.text[index] = self.text.get(index, "") + said
            self.reasoning[index] = self.reasoning.get(index, "") + _reasoning(delta, parts)
            if choice.get("finish_reason"):
                self.finish[index] = choice["finish_reason"]
            if (delta.get("audio") or {}).get("expires_at"):
                self.audio_over.add(index)
            for fragment in delta.get("tool_calls") or []:
                self._call(self.calls.setdefault(index, []), fragment)
            found.append(choice.get("usage"))
        self.usage = next((usage for usage in found if usage), self.usage)

    def _call(self, calls: list[dict[str, Any]], fragment: dict[str, Any]) -> None:
        function, at = fragment.get("function") or {}, fragment.get("index")
        here = [call for call in calls if call["at"] == at]
        if not here or (fragment.get("id") and fragment["id"] not in [call["id"] for call in here]):
            here = [{"at": at, "id": fragment.get("id"), "name": function.get("name"), "arguments": ""}]
            calls += here
        here[-1]["arguments"] += function.get("arguments") or ""


def _reasoning(delta: dict[str, Any], parts: list[dict[str, Any]]) -> str:
    thoughts = "".join(piece["text"] for part in parts for piece in part.get("thinking") or [])
    details = "".join(
        detail.get("text") or detail.get("summary") or "" for detail in delta.get("reasoning_details") or []
    )
    return delta.get("reasoning_content") or delta.get("reasoning") or thoughts or details or ""


def bodies_in(body: bytes) -> list[dict[str, Any]]:
    """The JSON of each data line up to [DONE]."""
    bodies = []
    for line in body.decode().replace("\r\n", "\n").split("\n"):
        if line.startswith("data:"):
            data = line[5:].strip()
            if data == "[DONE]":
                break
            bodies.append(json.loads(data))
    return bodies


def assert_same(answer: ChatCompletion, plain: Plain) -> None:
    assert {choice.index for choice in answer.choices} == set(plain.text)
    for choice in answer.choices:
        message, at = choice.message, choice.index
        assert (message.content or "") == plain.text[at]
        assert ((message.reasoning and message.reasoning.content) or "") == plain.reasoning[at]
        assert choice.raw_finish_reason == plain.finish.get(at)
        wanted = [(call["id"], call["name"], call["arguments"]) for call in plain.calls.get(at, [])]
        assert [(call.id, call.name, call.arguments) for call in message.tool_calls] == wanted
    assert (answer.usage.raw if answer.usage else None) == plain.usage


@each_stream
def test_stream_is_what_a_plain_reading_gives(recording: Recording) -> None:
    ours, plain = read(recording), Plain(bodies_in(recording.body))
    if plain.error:
        assert isinstance(ours.error, APIError), ours.error
        said = plain.error if isinstance(plain.error, str) else plain.error["message"]
        assert said.split("\n")[0].strip() in str(ours.error)
    else:
        done = b"data: [DONE]" in recording.body and recording.provider in DONE_IS_COMPLETE
        incomplete = bool(plain.unfinished or not plain.text) and not done
        assert isinstance(ours.error, IncompleteStreamError) == incomplete, ours.error
        assert incomplete or ours.error is None
    assert_same(ours.answer, plain)


@each_stream
def test_chunks_have_one_form_whoever_sent_them(recording: Recording) -> None:
    seen: set[int] = set()
    opened: dict[int, int] = {}
    for chunk in read(recording).chunks:
        assert chunk.provider == recording.provider
        assert chunk.raw is not None
        for choice in chunk.choices:
            assert choice.delta.role == (None if choice.index in seen else "assistant")
            seen.add(choice.index)
            assert choice.finish_reason in (None, *FINISH_REASONS)
            for fragment in choice.delta.tool_calls or ():
                count = opened.setdefault(choice.index, 0)
                begins = fragment.index == count
                opened[choice.index] += begins
                assert begins == bool(fragment.id) == bool(fragment.name)
                assert fragment.index < opened[choice.index]


@each_stream
def test_answers_are_worth_having(recording: Recording) -> None:
    """Calls parse, totals add up, and no end is of an unknown kind."""
    ours = read(recording)
    for choice in ours.answer.choices:
        assert choice.finish_reason != "unknown"
        if choice.message.tool_calls and choice.finish_reason != "length":
            assert all(call.is_complete for call in choice.message.tool_calls)
        if choice.message.tool_calls and choice.finish_reason:
            assert choice.finish_reason in ("tool_calls", "length")
    usage = ours.answer.usage
    if usage is not None:
        assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
        assert (usage.cache_read_tokens or 0) <= usage.prompt_tokens
        # Some hosts count reasoning with another tokenizer, a few tokens off.
        assert (usage.reasoning_tokens or 0) <= usage.completion_tokens * 1.1


@each_stream
def test_cut_at_every_event_is_never_silently_short(recording: Recording) -> None:
    """And what has come is in the partial answer."""
    bodies = bodies_in(recording.body)
    decoder, assembler = dialect_of(recording).decoder(), Assembler()
    for fed, event in enumerate(events([recording.body], max_event_bytes=1 << 24)):
        plain = Plain(bodies[:fed])
        whole = bool(plain.text) and not plain.unfinished
        assert decoder.complete == whole
        with contextlib.nullcontext() if whole else pytest.raises(IncompleteStreamError):
            decoder.finish()
        assert_same(assembler.snapshot(), plain)
        try:
            for chunk in decoder.feed(event):
                assembler.add(chunk)
        except APIError:
            return
        if decoder.done:
            return


@pytest.mark.parametrize("recording", WITH_SIZES, ids=lambda recording: recording.id)
def test_read_sizes_do_not_matter(recording: Recording) -> None:
    assert read(recording, recording.reads).chunks == read(recording).chunks


@given(data=st.data())
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
def test_cuts_anywhere_do_not_matter(data: st.DataObject) -> None:
    recording = data.draw(st.sampled_from(STREAMS))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(recording.body)), max_size=20)))
    reads = [recording.body[start:end] for start, end in zip([0, *cuts], [*cuts, len(recording.body)])]
    ours, whole = read(recording, reads), read(recording)
    assert ours.chunks == whole.chunks
    assert str(ours.error) == str(whole.error)


# -- errors ------------------------------------------------------------------------------------------------------------

BY_STATUS = {
    400: "InvalidRequestError",
    401: "AuthenticationError",
    403: "PermissionDeniedError",
    404: "InvalidRequestError",
    408: "ServerError",
    422: "InvalidRequestError",
    429: "RateLimitError",
    500: "ServerError",
}
#: What a body says that is more than its status says.
BY_WORDS = {
    "maximum context length is": "ContextLengthExceededError",
    "maximum prompt length is": "ContextLengthExceededError",
    "Content violates usage guidelines": "ContentFilterError",
    '"model_not_found"': "ModelNotFoundError",
    "DeploymentNotFound": "ModelNotFoundError",
    "Invalid model:": "ModelNotFoundError",
    "is not a valid model ID": "ModelNotFoundError",
    "This is not a chat model": "ModelNotFoundError",
    "Incorrect API key provided": "AuthenticationError",
    "not supported with this model": "UnsupportedParameterError",
    "unsupported_value": "UnsupportedParameterError",
    "does not support parameter": "UnsupportedParameterError",
}


@pytest.mark.parametrize("recording", REFUSALS, ids=lambda recording: recording.id)
def test_refusal_is_the_right_error_and_says_why(recording: Recording) -> None:
    error = dialect_of(recording).error(recording.status, {}, recording.body)
    text = recording.body.decode()
    kind = next((kind for words, kind in BY_WORDS.items() if words in text), BY_STATUS[recording.status])
    assert type(error) is getattr(errors, kind)
    assert error.status_code == recording.status
    assert error.provider == recording.provider
    try:
        body = json.loads(text)
    except ValueError:
        said = "401 Authorization Required" if text.startswith("<html>") else text.split("\n")[0]
    else:
        inner = body.get("error", body)
        said = inner if isinstance(inner, str) else inner["message"]
    assert said in str(error)
    assert "<" not in str(error)


# -- the official client -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    """The official client, and behind it any recording under its id."""
    openai = pytest.importorskip("openai")
    with (
        replaying(bodies_of(STREAMS), content_type="text/event-stream") as base_url,
        openai.OpenAI(base_url=base_url, api_key="none", max_retries=0) as official,
    ):
        yield official


class Official:
    """A recording as the official client gives it, its pieces joined as its documentation joins them."""

    def __init__(self, client: Any, recording: Recording) -> None:
        self.text: dict[int, str] = {}
        self.finish: dict[int, str] = {}
        self.reasoning: dict[int, str] = {}
        self.calls: dict[int, dict[Any, dict[str, str]]] = {}
        self.usage: Any = None
        self.error: Any = None
        here = client.with_options(base_url=f"{str(client.base_url).rstrip('/')}/{recording.id}/v1")
        openai = pytest.importorskip("openai")
        try:
            with here.chat.completions.create(
                model="m", messages=[{"role": "user", "content": "Hi"}], stream=True
            ) as stream:
                for chunk in stream:
                    self._add(chunk)
        except openai.APIError as exc:
            self.error = exc

    def _add(self, chunk: Any) -> None:
        if chunk.usage:
            self.usage = chunk.usage.model_dump(exclude_unset=True)
        for choice in chunk.choices or ():
            delta = choice.delta
            if delta is None:
                continue
            self.text[choice.index] = self.text.get(choice.index, "") + (delta.content or "")
            extra = delta.model_extra or {}
            thought = extra.get("reasoning_content") or extra.get("reasoning") or ""
            self.reasoning[choice.index] = self.reasoning.get(choice.index, "") + thought
            if choice.finish_reason:
                self.finish[choice.index] = choice.finish_reason
            for fragment in delta.tool_calls or ():
                call = self.calls.setdefault(choice.index, {}).setdefault(
                    fragment.index, {"id": "", "name": "", "arguments": ""}
                )
                call["id"] += fragment.id or ""
                if fragment.function:
                    call["name"] += fragment.function.name or ""
                    call["arguments"] += fragment.function.arguments or ""


def has_content_parts(bodies: list[dict[str, Any]]) -> bool:
    return any(isinstance(delta.get("content"), list) for delta in _deltas(bodies))


def has_reasoning_elsewhere(bodies: list[dict[str, Any]]) -> bool:
    return has_content_parts(bodies) or any(
        delta.get("reasoning_details") and not (delta.get("reasoning") or delta.get("reasoning_content"))
        for delta in _deltas(bodies)
    )


def has_calls_the_index_does_not_tell_apart(bodies: list[dict[str, Any]]) -> bool:
    """An id that comes again, or for the first time at an index that another has, or calls without an index."""
    ids: dict[Any, str] = {}
    for delta in _deltas(bodies):
        for fragment in delta.get("tool_calls") or []:
            at = fragment.get("index")
            if at is None or (fragment.get("id") and at in ids):
                return True
            ids.setdefault(at, fragment.get("id"))
    return False


def has_usage_elsewhere(bodies: list[dict[str, Any]]) -> bool:
    return not any(body.get("usage") for body in bodies) and any(body.get("x_groq") for body in bodies)


def _deltas(bodies: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for body in bodies:
        for choice in body.get("choices") or []:
            yield choice.get("delta") or {}


EXCEPTIONS = Exceptions("openai")


@pytest.mark.long
@each_stream
def test_stream_is_what_the_official_client_gives(recording: Recording, client: Any) -> None:
    ours = read(recording)
    bodies = bodies_in(recording.body)
    if has_content_parts(bodies):
        return  # the client hands out lists where text is promised; Mistral's own client knows them, and is asked too
    theirs = Official(client, recording)
    if theirs.error is not None:
        assert isinstance(ours.error, APIError)
        assert str(theirs.error).split("\n")[0] in str(ours.error)
    for choice in ours.answer.choices:
        at = choice.index
        assert (choice.message.content or "") == theirs.text.get(at, "")
        # A finish reason on the event that carries the error is the error's, and we raise before it counts.
        if not isinstance(ours.error, APIError):
            assert choice.raw_finish_reason == theirs.finish.get(at)
        reasoning = (choice.message.reasoning and choice.message.reasoning.content) or ""
        has_cause = has_reasoning_elsewhere(bodies)
        EXCEPTIONS.check(recording, "reasoning", reasoning, theirs.reasoning.get(at, ""), has_cause=has_cause)
        calls = theirs.calls.get(at, {})
        EXCEPTIONS.check(
            recording,
            "calls",
            [[call.id, call.name, call.arguments] for call in choice.message.tool_calls],
            [[calls[key]["id"], calls[key]["name"], calls[key]["arguments"]] for key in sorted(calls)],
            has_cause=has_calls_the_index_does_not_tell_apart(bodies),
        )
    raw = ours.answer.usage.raw if ours.answer.usage else None
    EXCEPTIONS.check(recording, "usage", raw, theirs.usage, has_cause=has_usage_elsewhere(bodies))
