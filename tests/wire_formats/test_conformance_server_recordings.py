"""Recorded answers of every format, written in each that servers speak, read by us and by official clients."""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import server_anthropic
import server_gemini
import server_openai_responses
from all_servers import READERS, SERVERS
from chunk_builders import text
from formats_of import answer_of, every_stream, read, said_by
from official_clients import CLIENTS, HI, Client, Official
from recordings import LARGEST, Ours, Recording, marks, recordings_of, replaying
from server_profile import ServerProfile

from anyllm.errors import APIError, RateLimitError
from anyllm.types import ChatCompletionChunk, CompletionParams, Message

EVERY = every_stream()
pytestmark = marks(EVERY)


def for_each(servers: list[ServerProfile], recordings: Callable[[ServerProfile], list[Recording]]) -> Any:
    pairs = [(server, recording) for server in servers for recording in recordings(server)]
    named = [pytest.param(server, recording, id=f"{server.id}-{recording.id}") for server, recording in pairs]
    return pytest.mark.parametrize(("server", "recording"), named)


def own_streams(server: ServerProfile) -> list[Recording]:
    """The streams of the format's own providers."""
    return [one for one in recordings_of(*server.client.apis) if one.status == 200 and one.format != "json"]


def refusals(server: ServerProfile) -> list[Recording]:
    return [one for one in recordings_of(*server.client.apis) if one.status != 200]


read_once = functools.cache(read)


@functools.cache
def own_of(server: ServerProfile, recording: Recording) -> Ours:
    return Ours(server.dialect(), [recording.body])


# -- the format's own providers ----------------------------------------------------------------------------------------


def check_error(ours: Ours, again: Ours) -> None:
    """An error comes back as the same; that of a cut stream as one that says so."""
    assert (again.error is None) == (ours.error is None)
    if isinstance(ours.error, APIError) and isinstance(again.error, APIError):
        assert type(again.error) is type(ours.error)
        assert ours.error.message in str(again.error)


@for_each(SERVERS, own_streams)
def test_own_stream_comes_back_chunk_by_chunk(server: ServerProfile, recording: Recording) -> None:
    ours = own_of(server, recording)
    again = Ours(server.dialect(), [said_by(ours, server.format())])
    assert server.chunks_read(again.chunks) == server.chunks_read(ours.chunks)
    check_error(ours, again)
    if server.keeps_events and recording.api in server.keeps_events and ours.error is None:
        raws, raws_again = ([without_time(chunk.raw) for chunk in found.chunks] for found in (ours, again))
        assert raws_again == raws, "whatever else the provider said is there"


def without_time(event: dict[str, Any]) -> dict[str, Any]:
    """Ollama's chunks have the time of the first line, in seconds."""
    return {name: value for name, value in event.items() if name != "created_at"}


@for_each(SERVERS, own_streams)
def test_own_stream_without_its_events_is_the_same_answer(server: ServerProfile, recording: Recording) -> None:
    """As a cache has it, or another step makes it anew."""
    ours = own_of(server, recording)
    if ours.error is None and not server.is_beyond(ours):
        chunks = [ChatCompletionChunk.from_dict(chunk.to_dict()) for chunk in ours.chunks]
        again = Ours(server.dialect(), [server.written(chunks)])
        assert again.error is None
        assert answer_of(again) == server.answer_read(ours, is_whole=True)


@for_each(SERVERS, refusals)
def test_refusal_is_passed_on_as_it_came(server: ServerProfile, recording: Recording) -> None:
    """With its status, and in the middle of a stream."""
    if server.name not in ("anthropic_messages", "gemini"):
        return
    refusal, own = server.dialect().error(recording.status, {}, recording.body), json.loads(recording.body)
    expected = {"request_id": None, **own} if server.name == "anthropic_messages" else own
    assert json.loads(server.format().problem(refusal, recording.status)) == server.refusal(expected)
    assert server.events(server.format().writer().error(refusal)) == [expected]


@for_each(READERS, own_streams)
def test_answer_that_a_client_sends_back_reaches_its_provider_as_it_was(
    server: ServerProfile, recording: Recording
) -> None:
    message = own_of(server, recording).answer.to_message()
    results = [Message.tool("fine", call.id or "") for call in message.tool_calls]
    if not all(call.is_complete for call in message.tool_calls):
        return
    params = CompletionParams(server.model, [Message.user("Hi"), message, *results, Message.user("Go on")])
    body = json.loads(server.dialect().request(params, model=server.model, stream=True).body)
    assert server.sent(server.read(body)) == body


@for_each([server_anthropic.PROFILE], own_streams)
def test_answer_goes_back_through_a_client_as_if_there_were_none(server: ServerProfile, recording: Recording) -> None:
    """Not so thinking that nobody signed: from a client it may be any provider's."""
    answer = own_of(server, recording).answer
    content = json.loads(server.format().whole(answer))["content"]
    if any(block.get("signature") == "" for block in content):
        return
    hi = Message.user("Hi")
    params = server.read(server_anthropic.body(server_anthropic.HI, server_anthropic.answer(*content))).params
    direct = params.evolve(messages=[hi, answer.to_message()])
    sent, expected = (server.dialect().request(one, model="m", stream=False).body for one in (params, direct))
    assert json.loads(sent) == json.loads(expected)


@for_each([server_gemini.PROFILE], own_streams)
def test_event_that_is_an_answer_comes_back_as_it_is(server: ServerProfile, recording: Recording) -> None:
    """Google's whole answer is such an event; those that bring pieces of a call are none."""
    if own_of(server, recording).error is not None or b"partialArgs" in recording.body:
        return
    for body in server.client.bodies(recording.body):
        if body.get("candidates"):
            answer = server.dialect().response(json.dumps(body).encode())
            assert json.loads(server.format().whole(answer)) == body


@for_each([server_openai_responses.PROFILE], own_streams)
def test_work_of_the_provider_itself_is_passed_on(server: ServerProfile, recording: Recording) -> None:
    """Whatever items a provider had, which chunks have no words for: whole, and with as many events of their own."""
    ours = own_of(server, recording)
    if ours.error is None:
        again = Ours(server.dialect(), [said_by(ours, server.format())])
        before, after = ([chunk.raw for chunk in found.chunks] for found in (ours, again))
        assert beside(after) == beside(before)


def beside(bodies: list[Any]) -> Any:
    """The types of events about a provider's own items, and those items in the last event, or else where they end."""
    kinds = [body["type"] for body in bodies if "_call." in body["type"] and "custom_tool" not in body["type"]]
    done = [body["item"] for body in bodies if body["type"] == "response.output_item.done"]
    output = bodies[-1]["response"]["output"] or done
    shown = ("message", "reasoning", "function_call", "custom_tool_call")
    return kinds, [item for item in output if item["type"] not in shown]


# -- any provider ------------------------------------------------------------------------------------------------------


@for_each(SERVERS, lambda server: EVERY)
def test_any_answer_is_the_same_answer(server: ServerProfile, recording: Recording) -> None:
    """As a stream and whole."""
    ours = read_once(recording)
    again = Ours(server.dialect(), [said_by(ours, server.format())])
    if server.is_beyond(ours):
        assert again.error is not None
        return
    before, after = server.answer_read(ours), answer_of(again)
    if ours.error is not None and "end" not in server.keeps:
        before["finish"] = after["finish"] = None
    assert after == before
    assert texts_of(again) == texts_of(ours)
    if ours.error is None:
        again.answer = server.whole(ours.answer)
        assert answer_of(again) == server.answer_read(ours, is_whole=True)
        assert texts_of(again) == texts_of(ours)


def texts_of(ours: Ours) -> list[str]:
    """The texts of the choices after the first."""
    return [choice.message.text for choice in ours.answer.choices[1:]]


# -- official clients --------------------------------------------------------------------------------------------------

OFFICIAL = [
    pytest.param(client, server, id=server.id)
    for client in CLIENTS
    for server in SERVERS
    if client.profile is server.client and server.id not in ("gemini-array", "ollama-generate")
]


@contextlib.contextmanager
def reading(client: Client, bodies: Mapping[str, bytes], kind: str = "") -> Iterator[Callable[[str], Official]]:
    """A function that has the client read one of *bodies*, by its name."""
    pytest.importorskip(client.module)
    with replaying(bodies, at=client.at, content_type=kind or client.content_type) as url:
        made = client.make(url)
        yield lambda name: client.read(made, SimpleNamespace(id=name, api=client.profile.apis[0]))  # type: ignore
        if hasattr(made, "close"):
            made.close()


def with_keep_alives(server: ServerProfile, ours: Ours) -> bytes:
    format = server.format()
    writer = format.writer()
    pieces = [piece for piece in [*map(writer.chunk, ours.chunks), writer.end()] if piece]
    return format.keep_alive.join([b"", *pieces])


@pytest.mark.long
@pytest.mark.parametrize(("client", "server"), OFFICIAL)
def test_official_client_reads_the_same_of_its_own(client: Client, server: ServerProfile) -> None:
    """From the recordings, and from what we make of them."""
    chosen = [one for one in client.streams if one.api == client.profile.apis[0] and len(one.body) < LARGEST]
    whole = [one for one in chosen if own_of(server, one).error is None]
    written = {one.id: with_keep_alives(server, own_of(server, one)) for one in whole}
    with reading(client, {one.id: client.body(one) for one in whole}) as theirs, reading(client, written) as ours:
        for one in whole:
            original, passed, bodies = theirs(one.id), ours(one.id), client.profile.bodies(one.body)
            for field in ("texts", "reasoning", "finish", "calls", "usage", "id", "model", "error"):
                if not (field in client.causes and client.causes[field](bodies)):
                    assert getattr(passed, field) == getattr(original, field), (one.id, field)
    assert len(whole) > 5


def varied(server: ServerProfile) -> dict[str, Ours]:
    """The shortest answer of each provider, with calls and without."""
    found: dict[Any, Recording] = {}
    for one in sorted(EVERY, key=lambda one: -len(one.body)):
        found[one.provider, one.api, bool(read_once(one).answer.tool_calls)] = one
    answers = {one.id: read_once(one) for one in found.values() if one.api not in server.client.apis}
    return {name: ours for name, ours in answers.items() if ours.error is None and not server.is_beyond(ours)}


@pytest.mark.long
@pytest.mark.parametrize(("client", "server"), OFFICIAL)
def test_official_client_reads_any_answer_as_we_do(client: Client, server: ServerProfile) -> None:
    answers = varied(server)
    written = {name: with_keep_alives(server, ours) for name, ours in answers.items()}
    assert len(written) > 20
    with reading(client, written) as read_by_client:
        for name, body in written.items():
            theirs, ours = read_by_client(name), Ours(server.dialect(), [body])
            message, usage = ours.answer.to_message(), ours.answer.usage
            assert theirs.texts.get(0, "") == (message.text or ""), name
            assert theirs.reasoning.get(0, "") == ours.answer.reasoning, name
            assert theirs.finish[0] == ours.answer.choices[0].raw_finish_reason, name
            calls = [(call.name, call.arguments if client.exact else call.parse()) for call in message.tool_calls]
            assert named(call[1:] for call in theirs.calls.get(0, [])) == named(calls), name
            if usage is not None and usage.raw and client.usage == "same":
                assert theirs.usage == usage.raw, name


def named(calls: Iterable[Sequence[Any]]) -> list[str]:
    """Names and arguments, in one order; some clients know no ids."""
    return sorted(json.dumps(call, sort_keys=True) for call in calls)


def whole_of(client: Client, url: str, name: str) -> str:
    """The text of a whole answer, as the official client reads it."""
    made = client.make(url)
    if client.name == "google-genai":
        found = made.models.generate_content(model=name, contents="Hi").text
    elif client.name == "ollama":
        found = pytest.importorskip("ollama").Client(host=f"{url}/{name}").chat("m", HI).message.content
    else:
        here = made.with_options(base_url=f"{url}/{name}")
        if client.name == "anthropic":
            content = here.messages.create(model="m", max_tokens=9, messages=HI).content
            found = "".join(block.text for block in content if block.type == "text")
        elif client.name == "openai":
            found = here.chat.completions.create(model="m", messages=HI).choices[0].message.content
        else:
            found = here.responses.create(model="m", input="Hi").output_text
    return found or ""


@pytest.mark.long
@pytest.mark.filterwarnings(
    "ignore:Pydantic", "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
@pytest.mark.parametrize(("client", "server"), OFFICIAL)
def test_official_client_reads_whole_answers(client: Client, server: ServerProfile) -> None:
    answers = varied(server)
    written = {name: server.format().whole(ours.answer) for name, ours in answers.items()}
    pytest.importorskip(client.module)
    with replaying(written, at=client.at, content_type="application/json") as url:
        for name, ours in answers.items():
            assert whole_of(client, url, name) == server.answer_read(ours)["text"], name


@pytest.mark.long
@pytest.mark.parametrize(("client", "server"), OFFICIAL)
def test_official_client_raises_an_error_in_the_middle(client: Client, server: ServerProfile) -> None:
    writer = server.format().writer()
    body = writer.chunk(text("a")) + writer.error(RateLimitError("slow down", status_code=429))
    with reading(client, {"broken": body}) as read_by_client:
        try:
            message = read_by_client("broken").error or ""
        except Exception as exc:
            message = str(exc)
    assert "slow down" in message


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:Pydantic")  # of xAI's tools, which the client does not know
def test_openais_helper_puts_every_answer_together() -> None:
    """It holds the events of Responses to their order: items before parts before text, under numbers that stay."""
    openai = pytest.importorskip("openai")
    (server,) = [server for server in SERVERS if server.name == "openai_responses"]
    answers = {one.id: read_once(one) for one in EVERY}
    written = {name: said_by(ours, server.format()) for name, ours in answers.items() if not server.is_beyond(ours)}
    whole = {name: body for name, body in written.items() if b"event: error" not in body}
    assert len(whole) > len(answers) * 0.9
    short = {name: body for name, body in whole.items() if len(body) < 12_000}  # the helper takes its time
    with replaying(short, content_type="text/event-stream") as url, openai.OpenAI(api_key="x", max_retries=0) as client:
        for name in short:
            with client.with_options(base_url=f"{url}/{name}").responses.stream(model="m", input="Hi") as stream:
                last = list(stream)[-1].response
            answer = answers[name].answer
            assert last.output_text == answer.content, name
            calls = [(item.call_id, item.name) for item in last.output if item.type == "function_call"]
            assert calls == [(call.id, call.name) for call in answer.tool_calls if call.type == "function"], name
