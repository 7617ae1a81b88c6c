"""
Recorded hosts of every format behind the gateway, before it the clients of OpenAI, Anthropic and Ollama.

Strategy: over real HTTP, client to gateway to provider to a server that replays. Of a host that speaks the client's own
format the client has to read what it reads there without us; of any other, what the recording says as our dialect reads
it without a network, in the client's words. Where a client reads something else through us than without, `EXCEPTIONS`
says the cause, and why we are right.
"""

from __future__ import annotations

import copy
import functools
import json
import ssl
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Optional

import attrs
import official_clients
import pytest
import readings
import server_anthropic
import server_ollama
from formats_of import every_stream
from gateway_upstreams import HI, KEY, Scene, dialect_for, host_for, is_askable, read, whole_of
from recordings import IS_LONG, Ours, Recording, is_long, marks, recordings_of

from anyllm.errors import IncompleteStreamError

if not is_long():
    pytest.skip(IS_LONG, allow_module_level=True)
pytest.importorskip("waitress")

STREAMS = [*every_stream(), *(one for one in recordings_of("invoke-stream") if is_askable(one))]
REFUSALS = [
    recording
    for recording in recordings_of(
        *("chat", "messages", "responses", "gemini-unary", "cohere-v1", "converse-unary", "invoke-unary")
    )
    if recording.status != 200
]
APIS = sorted({recording.api for recording in STREAMS})


def lean(recording: Recording) -> Ours:
    """The recording as we read it, without its chunks but the first that says something: the collector walks them."""
    ours = read(recording)
    ours.chunks = [chunk for chunk in ours.chunks if chunk.choices][:1]
    return ours


READ = {recording.id: lean(recording) for recording in STREAMS}

pytestmark = [*marks(STREAMS), pytest.mark.long]


# -- what a client reads -----------------------------------------------------------------------------------------------


@attrs.define
class Got:
    """
    What a client made of an answer.

    Attributes:
        text, reasoning, finish, calls: By the number of the answer, of which most have one.
        usage: As the client has it.
        rest: What else the client knows.
        error: What the client raised: its class, the status if it has one, and the host's message.
        body: The body that it came with, where the client keeps it.
    """

    text: dict[int, str] = attrs.field(factory=dict)
    reasoning: dict[int, str] = attrs.field(factory=dict)
    finish: dict[int, Optional[str]] = attrs.field(factory=dict)
    calls: dict[int, list[Any]] = attrs.field(factory=dict)
    usage: dict[str, Any] = attrs.field(factory=dict)
    rest: Any = None
    error: Optional[tuple[str, Optional[int], str]] = None
    body: Any = None

    def add(self, key: str, index: int, piece: Any) -> None:
        """Join a piece to a text."""
        if isinstance(piece, list):  # Mistral's parts, which the client hands on as they are
            piece = "".join(part.get("text") or "" for part in piece)
        texts = getattr(self, key)
        texts[index] = texts.get(index, "") + (piece or "")


def parsed(arguments: str) -> Any:
    """Arguments as an object, or the text that is none."""
    try:
        return json.loads(arguments or "{}")
    except ValueError:
        return arguments


def words_of(error: Any) -> str:
    """The host's message, in an exception of any client."""
    body = getattr(error, "body", None)
    inner = body.get("error", body) if isinstance(body, dict) else None
    if isinstance(inner, dict) and isinstance(inner.get("message"), str):
        return str(inner["message"])
    return str(getattr(error, "error", None) or error)


def words_of_host(error: BaseException) -> str:
    """The same, in an error of ours."""
    return str(getattr(error, "message", None) or error)


class Client:
    """An official client, as the tests use it."""

    name: str
    #: The recorded APIs that it speaks itself.
    own: tuple[str, ...]
    error: Any

    def __init__(self) -> None:
        self._through: dict[str, Got] = {}

    def at(self, url: str) -> Any:
        """The client itself, pointed there."""
        raise NotImplementedError

    def stream(self, client: Any, model: str) -> Got:
        """A streamed answer, read piece by piece."""
        raise NotImplementedError

    def whole(self, client: Any, model: str) -> Got:
        """A whole answer."""
        raise NotImplementedError

    def helped(self, client: Any, model: str) -> Got:
        """A streamed answer, put together by the client, or read in the other way that it has."""
        raise NotImplementedError

    def through(self, scene: Scene, recording: Recording) -> Got:
        """What it streams from the gateway; requested once."""
        if recording.id not in self._through:
            self._through[recording.id] = self.stream(self.at(scene.gateway), recording.id)
        return self._through[recording.id]

    def got(self, ask: Callable[[Got], None]) -> Got:
        """What *ask* has put there, and what it raised."""
        got = Got()
        try:
            ask(got)
        except self.error as exc:
            if KEY in f"{exc!r} {vars(exc)}":
                pytest.fail("the client was told the key of the host")
            got.body = getattr(exc, "body", None)
            got.error = (type(exc).__name__, getattr(exc, "status_code", None), words_of(exc))
        return got


#: What the helper of OpenAI's client raises where a host sends what OpenAI does not: chunks without choices, details
#: without a number.
STUMBLES = (TypeError, AssertionError, RuntimeError)


ASK: dict[str, Any] = {"messages": [HI], "stream_options": {"include_usage": True}}


class OpenAI(Client):
    name, own = "openai", ("chat",)

    def __init__(self) -> None:
        super().__init__()
        import openai

        self.error = (openai.OpenAIError, *STUMBLES)  # what its helper raises is no APIError
        self._client = openai.OpenAI(api_key="client", base_url="http://127.0.0.1", max_retries=0)
        self.close = self._client.close

    def at(self, url: str) -> Any:
        return self._client.with_options(base_url=f"{url}/v1")

    def stream(self, client: Any, model: str) -> Got:
        def ask(got: Got) -> None:
            calls: dict[int, dict[int, list[str]]] = {}
            try:
                for chunk in client.chat.completions.create(model=model, stream=True, **ASK):
                    if chunk.usage:
                        got.usage = chunk.usage.to_dict()
                    for choice in chunk.choices or ():
                        self._choice(got, calls, choice)
            finally:
                for index, pieces in calls.items():
                    got.calls[index] = [(one[0], one[1], parsed(one[2])) for _, one in sorted(pieces.items())]

        return self.got(ask)

    def _choice(self, got: Got, calls: dict[int, dict[int, list[str]]], choice: Any) -> None:
        at, delta = choice.index, choice.delta
        got.finish[at] = choice.finish_reason or got.finish.get(at)
        got.add("text", at, delta.content if delta else "")
        if delta is None:
            return
        got.add("reasoning", at, _openai_reasoning(delta))
        for call in delta.tool_calls or ():
            pieces = calls.setdefault(at, {}).setdefault(call.index or 0, ["", "", ""])
            function = called_function(call.to_dict())
            pieces[0] += call.id or ""
            pieces[1] += function.get("name") or ""
            pieces[2] += function.get("arguments") or function.get("input") or ""

    def whole(self, client: Any, model: str) -> Got:
        def ask(got: Got) -> None:
            completion = client.chat.completions.create(model=model, messages=[HI])
            got.rest = completion.to_dict()
            got.usage = got.rest.get("usage") or {}
            for choice in completion.choices:
                at, message = choice.index, choice.message
                got.text[at], got.finish[at] = message.content or "", choice.finish_reason
                got.reasoning[at] = _openai_reasoning(message)
                got.calls[at] = _openai_calls(message)

        return self.got(ask)

    def helped(self, client: Any, model: str) -> Got:
        def ask(got: Got) -> None:
            with warnings.catch_warnings(), client.chat.completions.stream(model=model, **ASK) as stream:
                warnings.simplefilter("ignore", UserWarning)  # of content that is no text, which some hosts send
                for event in stream:
                    if event.type == "content.delta":
                        got.add("text", 0, event.delta)
                completion = stream.get_final_completion()
            got.calls = {choice.index: _openai_calls(choice.message) for choice in completion.choices}

        return self.got(ask)


def _openai_reasoning(message: Any) -> str:
    extra = message.model_extra or {}
    names = ("reasoning_content", "reasoning", "thinking", "thought")
    return next((extra[name] for name in names if isinstance(extra.get(name), str)), "")


def called_function(call: dict[str, Any]) -> dict[str, Any]:
    return call.get("function") or call.get("custom") or {}


def _openai_calls(message: Any) -> list[tuple[Any, ...]]:
    calls = [call.to_dict(warnings=False) for call in message.tool_calls or ()]
    functions = [(call["id"], called_function(call)) for call in calls]
    return [(id, one["name"], parsed(one.get("arguments") or one.get("input") or "")) for id, one in functions]


class Anthropic(Client):
    name, own = "anthropic", ("messages",)

    def __init__(self) -> None:
        super().__init__()
        import anthropic

        self.error = anthropic.APIError
        self._client = anthropic.Anthropic(api_key="client", base_url="http://127.0.0.1", max_retries=0)
        self.close = self._client.close

    def at(self, url: str) -> Any:
        return self._client.with_options(base_url=url)

    def stream(self, client: Any, model: str) -> Got:
        def ask(got: Got) -> None:
            blocks: dict[int, dict[str, Any]] = {}
            inputs: dict[int, str] = {}
            got.rest = {}
            try:
                for event in client.messages.create(model=model, messages=[HI], max_tokens=9, stream=True):
                    self._event(got, blocks, inputs, event.to_dict(warnings=False))
            finally:
                self._content(got, blocks, inputs)

        return self.got(ask)

    def _event(self, got: Got, blocks: dict[int, dict[str, Any]], inputs: dict[int, str], event: Any) -> None:
        kind = event["type"]
        if kind == "message_start":
            got.usage = dict(event["message"].get("usage") or {})
            got.rest = {key: value for key, value in event["message"].items() if key != "usage"}
        elif kind == "content_block_start":
            blocks[event["index"]] = dict(event["content_block"])
        elif kind == "content_block_delta":
            block, delta = blocks[event["index"]], event["delta"]
            for key in ("text", "thinking", "signature"):
                if key in delta:
                    block[key] = block.get(key, "") + delta[key]
            if "partial_json" in delta:
                inputs[event["index"]] = inputs.get(event["index"], "") + delta["partial_json"]
            if "citation" in delta:
                block["citations"] = [*(block.get("citations") or ()), delta["citation"]]
        elif kind == "message_delta":
            got.finish[0] = event["delta"].get("stop_reason")
            got.rest.update({key: value for key, value in event["delta"].items() if key != "stop_reason"})
            got.usage.update(event.get("usage") or {})
        elif kind == "message_stop":
            got.rest["is_over"] = True

    def _content(self, got: Got, blocks: dict[int, dict[str, Any]], inputs: dict[int, str]) -> None:
        content = [
            {**block, "input": parsed(inputs[index])} if index in inputs else block for index, block in blocks.items()
        ]
        _sort_blocks(got, content)
        got.rest["content"] = [block for block in content if block.get("text") != "" and block.get("thinking") != ""]

    def whole(self, client: Any, model: str) -> Got:
        def ask(got: Got) -> None:
            message = client.messages.create(model=model, messages=[HI], max_tokens=9).to_dict(warnings=False)
            got.finish[0], got.usage, got.rest = message["stop_reason"], message["usage"], message
            _sort_blocks(got, message["content"])

        return self.got(ask)

    def helped(self, client: Any, model: str) -> Got:
        def ask(got: Got) -> None:
            with client.messages.stream(model=model, messages=[HI], max_tokens=9) as stream:
                got.text[0] = "".join(stream.text_stream)
                got.rest = stream.get_final_message().to_dict(warnings=False)
            got.rest["content"] = [block for block in got.rest["content"] if block.get("text") != ""]

        return self.got(ask)


def _sort_blocks(got: Got, content: Sequence[dict[str, Any]]) -> None:
    got.text[0] = "".join(block["text"] or "" for block in content if block["type"] == "text")
    got.reasoning[0] = "".join(block["thinking"] for block in content if block["type"] == "thinking")
    calls = [(block["id"], block["name"], block["input"]) for block in content if block["type"] == "tool_use"]
    if calls:
        got.calls[0] = calls


class Ollama(Client):
    name, own = "ollama", ("ollama-chat", "ollama-generate")

    def __init__(self) -> None:
        super().__init__()
        import ollama

        self.error = ollama.ResponseError
        plain = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # else each reads the certificates of this machine
        self._make, self._made = functools.partial(ollama.Client, verify=plain), dict[str, Any]()

    def close(self) -> None:
        for made in self._made.values():
            made._client.close()

    def at(self, url: str) -> Any:
        if url not in self._made:
            self._made[url] = self._make(host=url)
        return self._made[url]

    def stream(self, client: Any, model: str) -> Got:
        return self._read(lambda: client.chat(model, [HI], stream=True))

    def helped(self, client: Any, model: str) -> Got:
        return self._read(lambda: client.generate(model, "Hi", stream=True))

    def whole(self, client: Any, model: str) -> Got:
        return self._read(lambda: [client.chat(model, [HI])])

    def whole_generated(self, client: Any, model: str) -> Got:
        return self._read(lambda: [client.generate(model, "Hi")])

    def _read(self, parts: Callable[[], Iterable[Any]]) -> Got:
        def ask(got: Got) -> None:
            got.rest = []
            for part in parts():
                self._part(got, part.model_dump(exclude_unset=True), getattr(part, "message", part))

        return self.got(ask)

    def _part(self, got: Got, part: dict[str, Any], message: Any) -> None:
        got.add("text", 0, message.response if hasattr(message, "response") else message.content)
        got.add("reasoning", 0, message.thinking)
        for call in getattr(message, "tool_calls", None) or ():
            called = call.model_dump(exclude_unset=True)
            got.calls.setdefault(0, []).append((called.get("id"), call.function.name, dict(call.function.arguments)))
        if part.get("done"):
            got.finish[0] = part.get("done_reason")
            got.usage = {key: value for key, value in part.items() if key.endswith("_count")}
        got.rest.append({key: value for key, value in part.items() if key != "created_at"})


CLIENTS = {"openai": OpenAI, "anthropic": Anthropic, "ollama": Ollama}


@pytest.fixture(scope="module", params=list(CLIENTS))
def client(request: Any) -> Iterator[Any]:
    pytest.importorskip(request.param)
    made = CLIENTS[request.param]()
    yield made
    made.close()


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    wholes = {one.id: whole for one in STREAMS if (whole := whole_of(one, READ[one.id])) is not None}
    with Scene.of([*STREAMS, *REFUSALS], wholes) as made:
        yield made


# -- hosts of the client's own format ----------------------------------------------------------------------------------


def is_cut(recording: Recording) -> bool:
    return isinstance(READ[recording.id].error, IncompleteStreamError)


def fails_before_it_says_anything(recording: Recording) -> bool:
    ours = READ[recording.id]
    return ours.error is not None and not ours.chunks


def has_several_answers(recording: Recording) -> bool:
    return recording.body.count(b"event: message_stop") > 1


def in_bodies(cause: Callable[[list[Any]], bool]) -> Callable[[Recording], bool]:
    """A cause that stands in the bodies of a recording's events."""
    return lambda recording: cause(readings.sse_bodies(recording.body))


HAS_REASONING_ELSEWHERE = in_bodies(official_clients.has_reasoning_elsewhere)
MIXES_CALLS = in_bodies(official_clients.has_calls_the_index_does_not_tell_apart)
HAS_USAGE_ELSEWHERE = in_bodies(official_clients.has_usage_elsewhere)


@attrs.define(frozen=True)
class Otherwise:
    """Where a client reads something else through us than from the host itself, and why that is right."""

    client: str
    fields: tuple[str, ...]
    cause: Callable[[Recording], bool]
    why: str


EXCEPTIONS = (
    Otherwise("openai", ("reasoning",), HAS_REASONING_ELSEWHERE, "the client passes over it; we name it as most do"),
    Otherwise("openai", ("calls",), MIXES_CALLS, "it joins the ids of several calls"),
    Otherwise("openai", ("usage",), HAS_USAGE_ELSEWHERE, "the client looks at the top only, and Groq put it in x_groq"),
    Otherwise("openai", ("error", "usage"), is_cut, "without us the client takes the answer for a whole one"),
    Otherwise("openai", ("error",), fails_before_it_says_anything, "what fails at once is told with its status"),
    Otherwise("anthropic", ("error",), is_cut, "without us the client takes the answer for a whole one"),
    Otherwise(
        "anthropic",
        ("text", "reasoning", "finish", "calls", "usage", "rest"),
        has_several_answers,
        "their recorder wrote several answers into one file; ours ends where the first says so",
    ),
)


class Comparison:
    """What a client read without us, and through us: the same, or an exception says why not."""

    def __init__(self, client: str) -> None:
        self._entries = [entry for entry in EXCEPTIONS if entry.client == client]
        self.used: set[int] = set()
        self.differences: dict[tuple[str, str], Any] = {}

    def add(self, recording: Recording, fields: Sequence[str], directly: Got, through: Got) -> None:
        for field in fields:
            one, other = value_of(directly, field), value_of(through, field)
            if one != other:
                entries = [(at, entry) for at, entry in enumerate(self._entries) if field in entry.fields]
                used = next((at for at, entry in entries if entry.cause(recording)), None)
                if used is None:
                    self.differences[recording.id, field] = (one, other)
                else:
                    self.used.add(used)

    @property
    def unused(self) -> list[Otherwise]:
        return [entry for place, entry in enumerate(self._entries) if place not in self.used]


def value_of(got: Got, field: str) -> Any:
    """A field, without what is empty, and without the price that the gateway adds to the tokens."""
    value = getattr(got, field)
    if field in ("text", "reasoning", "finish", "calls"):
        return {index: part for index, part in value.items() if part}
    if field == "usage" or (field == "rest" and isinstance(value, dict) and "usage" in value):
        inner = value if field == "usage" else value["usage"]
        inner = {key: part for key, part in (inner or {}).items() if key != "cost"}
        return inner if field == "usage" else {**value, "usage": inner}
    return value


#: Events. OpenAI's client takes half a millisecond for each, so that the ten longest answers would take a third of all.
LONG = 400
FIELDS = ("text", "reasoning", "finish", "calls", "usage", "rest", "error")


def test_a_host_of_the_clients_own_format_is_read_as_without_us(client: Any, scene: Scene):
    """Every recorded stream of it but the few of many hundred events, all that the client tells."""
    comparison = Comparison(client.name)
    own = [one for one in STREAMS if one.api in client.own and one.body.count(b"\n\n") < LONG]
    assert len(own) > 15
    for recording in own:
        there = client.at(f"{scene.upstream}/{recording.id}")
        if recording.api == "ollama-generate":
            directly, through = client.helped(there, "m"), client.helped(client.at(scene.gateway), recording.id)
        else:
            directly, through = client.stream(there, "m"), client.through(scene, recording)
        comparison.add(recording, FIELDS, directly, through)
    assert not comparison.differences
    assert not comparison.unused


# -- hosts of any format -----------------------------------------------------------------------------------------------

#: Why an answer ended, in each client's words; what a host of the client's own format says it says itself.
ENDS: Mapping[str, Mapping[str, str]] = {
    "openai": {reason: reason for reason in ("stop", "length", "tool_calls", "content_filter")},
    "anthropic": {
        "stop": "end_turn",
        "length": "max_tokens",
        "tool_calls": "tool_use",
        "content_filter": "refusal",
    },
    "ollama": {"stop": "stop", "length": "length", "tool_calls": "stop", "content_filter": "content_filter"},
}
#: Anthropic's words for ends that none of ours is as exact as: they stay, whichever host says them.
EXACT = ("stop_sequence", "pause_turn", "model_context_window_exceeded")


def expected_of(client: Client, recording: Recording, ours: Optional[Ours] = None) -> Got:
    """What the client has to read: what we read in the recording, in its words."""
    ours = ours or READ[recording.id]
    words = words_of if recording.api in client.own else words_of_host  # its own body is passed on
    expected = Got(error=None if ours.error is None else ("", None, words(ours.error)))
    one_only = client.name != "openai"
    for choice in ours.answer.choices:
        at, message = choice.index, choice.message
        expected.text[at] = message.text + ((message.refusal or "") if one_only else "")
        expected.reasoning[at] = (message.reasoning and message.reasoning.content) or ""
        calls = [(call.id, call.name, parsed(call.arguments)) for call in message.tool_calls]
        expected.calls[at] = [(None, *call[1:]) for call in calls] if client.name == "ollama" else calls  # without ids
        expected.finish[at] = ending(client, recording, choice)
    usage = ours.answer.usage
    if usage is not None:
        ours_counted = {"in": usage.prompt_tokens, "out": usage.completion_tokens}
        is_own = recording.api in client.own and usage.raw  # xAI counts its thoughts beside what it said, and we in it
        expected.usage = counts(client, usage.raw or {}) if is_own else ours_counted
    return expected


def ending(client: Client, recording: Recording, choice: Any) -> Optional[str]:
    raw: Optional[str] = choice.raw_finish_reason
    if recording.api in client.own or (client.name == "anthropic" and raw in EXACT):
        return raw
    if choice.finish_reason is None:  # a format of which an answer may be whole without
        calls = choice.message.tool_calls and client.name == "anthropic"
        return None if client.name == "ollama" else ENDS[client.name]["tool_calls" if calls else "stop"]
    return ENDS[client.name].get(choice.finish_reason, raw)


def counts(client: Client, usage: Mapping[str, Any]) -> dict[str, Any]:
    """Tokens in and out, as each client has them; nothing where nobody counted."""
    if client.name == "openai":
        names = ("prompt_tokens", "completion_tokens")
    elif client.name == "ollama":
        names = ("prompt_eval_count", "eval_count")
    else:
        cached = [usage.get(f"cache_{name}_input_tokens") or 0 for name in ("read", "creation")]
        usage = {**usage, "input_tokens": (usage.get("input_tokens") or 0) + sum(cached)}
        names = ("input_tokens", "output_tokens")
    return {key: usage[name] for key, name in zip(("in", "out"), names) if name in usage}


def is_sayable_to(client: Client, ours: Ours) -> bool:
    """Whether the client's format has words for the answer: one of it, without sounds, calls with objects."""
    if client.name == "openai":
        return True
    server = server_ollama.PROFILE if client.name == "ollama" else server_anthropic.PROFILE
    has_whole_calls = client.name != "ollama" or all(call.is_complete for call in ours.answer.tool_calls)
    return has_whole_calls and not server.is_beyond(ours)


def difference(client: Client, recording: Recording, got: Got, expected: Got) -> Any:
    """What is not as it has to be; None if all is."""
    ours = READ[recording.id]
    if not is_sayable_to(client, ours):
        return None if got.error else "it looks complete"
    fields = ["text", "reasoning"] if expected.error else ["text", "reasoning", "calls", "finish"]
    other: dict[str, Any] = {}
    for field in fields:
        if value_of(got, field) != value_of(expected, field):
            other[field] = value_of(got, field), value_of(expected, field)
    if expected.error is None:
        nothing = {"in": 0, "out": 0} if client.name == "anthropic" else {}
        if counts(client, got.usage) != (expected.usage or nothing):
            other["usage"] = (counts(client, got.usage), expected.usage)
        if got.error is not None:
            other["error"] = (got.error, None)
    elif got.error is None or expected.error[2] not in got.error[2]:
        other["error"] = (got.error, expected.error)
    return other or None


@pytest.mark.parametrize("api", APIS)
def test_any_host_is_read_in_the_clients_words(client: Any, scene: Scene, api: str):
    """Every recorded stream. One that was cut, or failed in the middle, raises in the client and never looks whole."""
    found = {
        recording.id: difference(client, recording, client.through(scene, recording), expected_of(client, recording))
        for recording in STREAMS
        if recording.api == api
    }
    assert not {name: what for name, what in found.items() if what is not None}


# -- the other ways of each client -------------------------------------------------------------------------------------


def sample(recordings: Iterable[Recording]) -> list[Recording]:
    """The shortest of them that have, for each API, every host of it and every tag."""
    covered: set[tuple[str, str]] = set()
    found = []
    for recording in sorted(recordings, key=lambda recording: len(recording.body)):
        about = {(recording.api, word) for word in (host_for(recording), *recording.about["tags"])}
        if not about <= covered:
            found.append(recording)
            covered |= about
    return found


FEW = sample(STREAMS)


def test_the_sample_has_every_tag_and_host():
    assert len(FEW) < len(STREAMS) / 3
    for recording in STREAMS:
        for tag in recording.about["tags"]:
            assert any(other.api == recording.api and tag in other.about["tags"] for other in FEW)


def test_the_clients_other_ways_read_the_same_as_without_us(client: Any, scene: Scene):
    """`chat.completions.stream()`, `messages.stream()` with its text and its message, and `generate()`."""
    comparison = Comparison(client.name)
    for recording in FEW:
        if recording.api in client.own and recording.api != "ollama-chat" and READ[recording.id].error is None:
            directly = client.helped(client.at(f"{scene.upstream}/{recording.id}"), "recorded")
            through = client.helped(client.at(scene.gateway), recording.id)
            if directly.error and directly.error[0] in [kind.__name__ for kind in STUMBLES]:
                continue  # through us it may do better, which the next test sees
            for got in (directly, through):
                got.error = got.error and (got.error[0], None, "")  # its words say the tokens, and ours have a price
            comparison.add(recording, FIELDS, directly, through)
    assert not comparison.differences


#: What the helper of OpenAI's client makes of some ends.
RAISED = {"length": "LengthFinishReasonError", "content_filter": "ContentFilterFinishReasonError"}


def test_the_clients_other_ways_read_any_host(client: Any, scene: Scene):
    found = {}
    for recording in FEW:
        ours, expected = READ[recording.id], expected_of(client, recording)
        got = client.helped(client.at(scene.gateway), recording.id)
        if ours.error is not None or not is_sayable_to(client, ours):
            if got.error is None:
                found[recording.id] = "it looks complete"
            continue
        raised = RAISED.get(expected.finish[0] or "") if client.name == "openai" else None
        text = "".join(expected.text.values())
        if (got.error and got.error[0], got.text.get(0, "")) != (raised, text):
            found[recording.id] = (got, expected)
    assert found == {}


WHOLE = [recording for recording in FEW if whole_of(recording, READ[recording.id]) is not None]


def test_a_whole_answer_of_the_clients_own_format_is_read_as_without_us(client: Any, scene: Scene):
    differences = {}
    for recording in WHOLE:
        if recording.api in client.own:
            way = client.whole_generated if recording.api == "ollama-generate" else client.whole
            directly = way(client.at(f"{scene.upstream}/{recording.id}"), "recorded")
            through = way(client.at(scene.gateway), recording.id)
            one, other = ({field: value_of(got, field) for field in FIELDS} for got in (directly, through))
            if one != other:
                differences[recording.id] = [(one[key], other[key]) for key in one if one[key] != other[key]]
    assert not differences


def test_any_whole_answer_is_read_in_the_clients_words(client: Any, scene: Scene):
    found = {}
    for recording in WHOLE:
        ours = copy.copy(READ[recording.id])
        ours.answer = dialect_for(recording).response(whole_of(recording, ours) or b"")
        got = client.whole(client.at(scene.gateway), recording.id)
        found[recording.id] = difference(client, recording, got, expected_of(client, recording, ours))
    assert not {name: what for name, what in found.items() if what is not None}


# -- what is not whole -------------------------------------------------------------------------------------------------


def cut(recording: Recording, at: int) -> Recording:
    """The recording, as if its host had stopped there, and ended the response as if that were all."""
    made = copy.copy(recording)
    made.id, made.body = f"{recording.id}-{at}", recording.body[:at]
    return made


def cuts() -> list[Recording]:
    """Of each API the shortest answers that are of some length, with text and with calls, cut after parts of them."""
    found: dict[tuple[str, bool], Recording] = {}
    for recording in sorted(STREAMS, key=lambda recording: -len(recording.body)):
        if len(recording.body) > 1500 and READ[recording.id].error is None:
            found[recording.api, "tools" in recording.about["tags"]] = recording
    return [
        cut(recording, at)
        for recording in found.values()
        for size in [len(recording.body)]
        for at in (size // 3, size * 2 // 3, size * 9 // 10)
    ]


def test_an_answer_that_is_cut_never_looks_whole(client: Any):
    """Wherever it was cut, the client raises; what came before it has read."""
    parts = cuts()
    read_of = {recording.id: read(recording) for recording in parts}
    assert sum(ours.error is not None for ours in read_of.values()) > len(parts) * 2 / 3
    found = {}
    with Scene.of(parts) as scene:
        here = client.at(scene.gateway)
        for recording in parts:
            ours, got = read_of[recording.id], client.stream(here, recording.id)
            text = ours.answer.content + (ours.answer.refusal if client.name != "openai" else "")
            if (got.error is None) != (ours.error is None) or got.text.get(0, "") != text:
                found[recording.id] = (got, ours.error, text)
    assert found == {}


# -- refusals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["stream", "whole"])
def test_a_recorded_refusal_is_raised_as_the_client_raises_it(client: Any, scene: Scene, way: str):
    """
    Of any host: the class and the status that the client makes of such a response itself, with the host's own words. Of
    one that speaks the client's format: the whole body.
    """
    found = {}
    for recording in REFUSALS if way == "stream" else sample(REFUSALS):
        ask = getattr(client, way)
        directly = ask(client.at(f"{scene.upstream}/{recording.id}"), "recorded")
        through = ask(client.at(scene.gateway), recording.id)
        assert directly.error is not None
        error = dialect_for(recording).error(recording.status, {}, recording.body)
        if through.error is None or through.error[:2] != directly.error[:2]:
            found[recording.id] = (through.error, directly.error)
        elif recording.api in client.own and has_the_clients_shape(client, directly.body):
            body = {key: value for key, value in through.body.items() if key in directly.body}
            if body != directly.body:
                found[recording.id] = (through.body, directly.body)
        elif words_of_host(error) not in through.error[2]:
            found[recording.id] = (through.error, words_of_host(error))
    assert found == {}


def has_the_clients_shape(client: Client, body: Any) -> bool:
    """Whether a host's body is an error as the client's own format has it; xAI's and Mistral's are texts."""
    keys = {"message", "code"} if client.name == "openai" else {"type", "error"}
    return isinstance(body, dict) and keys <= body.keys() and "object" not in body
