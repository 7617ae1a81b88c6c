"""A format that servers speak, as test_conformance_servers.py and test_conformance_server_recordings.py see it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import attrs
from formats_of import answer_of, chunks_in, together
from hypothesis import strategies as st
from profiles import BY_NAME, Profile
from recordings import Ours

from anyllm import formats
from anyllm.types import ChatCompletion, ChatCompletionChunk, CompletionParams
from anyllm.wire._base.chat_request import ChatRequest
from anyllm.wire._base.writer import Format


def sse_events(body: bytes) -> list[Any]:
    """The data of the events; one with a name is named by its type."""
    found = []
    for block in body.decode().split("\n\n")[:-1]:
        *names, data = block.split("\n")
        if data != "data: [DONE]":
            found.append(json.loads(data[len("data: ") :]))
            assert names in ([], [f"event: {found[-1].get('type')}"])
    return found


def lines(body: bytes) -> list[Any]:
    assert body.endswith(b"\n")
    return [json.loads(line) for line in body.decode().splitlines()]


@attrs.frozen(kw_only=True, eq=False)
class ServerProfile:
    """A format with its reader of requests and its writer of answers."""

    #: Its name in `anyllm.formats`, or what it is called here.
    id: str
    #: The name of its dialect's `Profile`.
    name: str
    #: Makes the format; takes ``model``.
    format: Callable[..., Format]
    #: The events in a written body, and what else holds for those of a good answer.
    events: Callable[[bytes], list[Any]] = sse_events
    check: Callable[[list[Any]], Any] = lambda events: None

    # -- requests --
    read: Callable[..., ChatRequest]
    #: Parameters that the format can express, and these as they are read from a request.
    params: st.SearchStrategy[CompletionParams]
    params_read: Callable[[CompletionParams], CompletionParams] = lambda params: params
    #: A request with every key; requests with keys that only this format has; bodies that are refused, and where.
    full: dict[str, Any]
    unchanged: dict[str, dict[str, Any]]
    wrong: Sequence[tuple[Any, str | None]]
    #: A request in which "DEEP" stands where any JSON may.
    deep: dict[str, Any]
    #: The settings of the dialect that sends requests.
    switches: dict[str, Any] = attrs.Factory(dict)
    model: str = "m"

    # -- answers --
    #: Our finish reason, the provider's, and what the format has for it; where that is, in events or a whole answer.
    ends: Sequence[tuple[Any, Any, Any]]
    end: Callable[[list[Any]], Any]
    #: The finish reason of an answer that says nothing.
    empty_end: str | None = "stop"
    #: Whether the reason of the end is the end, so that an answer without any has none.
    ends_with_reason: bool = False
    #: The parameters that are named where an answer has a second choice, or a sound; none if the format has both.
    no_choices: str = ""
    no_audio: str = ""
    #: What the format keeps of an answer: its id and time, the order and extra content of calls, the signature of
    #: reasoning, a refusal, and the reason of an end that came before an error.
    keeps: frozenset[str] = frozenset(("id", "order"))
    #: Counts of tokens beside the usual three, and whether one that is unknown is written as 0.
    counts: tuple[str, ...] = ("reasoning_tokens", "cache_read_tokens", "cache_write_tokens")
    counts_unknown_as_zero: bool = False
    #: The classes that errors are read as, where these are others: in a response, and in a stream.
    other_errors: dict[str, str] = attrs.Factory(dict)
    other_stream_errors: Callable[[str], str] = lambda name: name
    #: Whether a call's arguments have to be an object, and what else stands in their place in a whole answer.
    needs_objects: bool = False
    whole_arguments: Callable[[str], Any] = lambda arguments: arguments
    #: Whether a stream without a reason or a count is given one.
    adds_end: bool = False
    adds_tokens: bool = False
    #: The APIs whose events come back as they were; and a stream's chunks without what only their number says.
    keeps_events: tuple[str, ...] = ()
    chunks_read: Callable[[list[ChatCompletionChunk]], Any] = lambda chunks: chunks
    #: The body of a refusal in this format, of what its dialect's profile says.
    refusal: Callable[[Any], Any] = lambda body: body

    def _repr_pretty_(self, printer: Any, _cycle: bool) -> None:
        """What hypothesis prints."""
        printer.text(self.id)

    @property
    def client(self) -> Profile:
        return BY_NAME[self.name]

    def dialect(self, provider: str = "p") -> Any:
        return self.client.dialect(provider=provider, **self.switches)

    def written(self, chunks: Iterable[ChatCompletionChunk], **settings: Any) -> bytes:
        return b"".join(formats.encode(iter(chunks), self.format(**settings)))

    def read_back(self, body: bytes) -> ChatCompletion:
        return together(chunks_in(self.dialect(), body))

    def whole(self, answer: ChatCompletion) -> ChatCompletion:
        """The answer written whole, and read."""
        found: ChatCompletion = self.dialect().response(self.format().whole(answer))
        return found

    def sent(self, request: ChatRequest) -> Any:
        """The body that a provider of this format gets of a client's request."""
        params = request.params.evolve(extra_body=request.native_fields)
        return json.loads(self.dialect().request(params, model=self.model, stream=request.stream).body)

    def facts(self, answer: ChatCompletion) -> Any:
        """What the format keeps of an answer."""
        calls = [
            (call.id, call.name, call.parse(), call.extra_content if "extra" in self.keeps else None)
            for call in answer.tool_calls
        ]
        reasoning = answer.to_message().reasoning
        found: dict[str, Any] = {
            "text": answer.content,
            "reasoning": "".join(answer.reasoning.split()),  # Responses has a blank line between items
            "calls": calls if "order" in self.keeps else sorted(calls),
            "finish": answer.finish_reason,
            "model": answer.model,
        }
        if answer.usage:
            names = ("prompt_tokens", "completion_tokens", "total_tokens", *self.counts)
            found.update((name, getattr(answer.usage, name)) for name in names)
            if self.counts_unknown_as_zero:
                found.update((name, found[name] or 0) for name in names)
        if "created" in self.keeps:
            found["created"] = answer.created
        if "id" in self.keeps:
            found["id"] = answer.id
        if "signature" in self.keeps:
            found["signature"] = reasoning and reasoning.signature
        return found

    def is_beyond(self, ours: Ours) -> bool:
        """Whether the format has no place for the answer: a second choice, a sound, a call without an object."""
        answer = ours.answer
        has_second = any(choice.index for choice in answer.choices)
        is_broken = any(not call.is_complete for choice in answer.choices for call in choice.message.tool_calls)
        return bool(
            (self.no_choices and has_second)
            or (self.no_audio and answer.to_message().audio)
            or (self.needs_objects and ours.error is None and is_broken)
        )

    def answer_read(self, ours: Ours, *, is_whole: bool = False) -> dict[str, Any]:
        """What is read of the answer in this format, as `answer_of` has it."""
        answer, message = answer_of(ours), ours.answer.to_message()
        if "refusal" not in self.keeps:
            answer["text"] += message.refusal or ""
        if not self.no_audio and self.name == "gemini":
            answer["text"] += (message.audio or {}).get("transcript") or ""
        if ours.error is None:
            end = "tool_calls" if answer["calls"] else "stop"
            answer["finish"] = answer["finish"] or (
                end if self.adds_end or (is_whole and self.ends_with_reason) else None
            )
            answer["tokens"] = answer["tokens"] or ((0, 0) if self.adds_tokens else None)
        if is_whole:
            answer["calls"] = [
                (call_id, name, self.whole_arguments(arguments) if isinstance(arguments, str) else arguments)
                for call_id, name, arguments in answer["calls"]
            ]
        return answer
