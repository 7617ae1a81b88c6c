"""Each row of request_tables.py: the body that we send, that the official client sends, and that a server sends on."""

from __future__ import annotations

import base64
import contextlib
import copy
import functools
import json
from collections.abc import Iterator
from typing import Any

import pytest
from all_servers import READERS
from choice_streams import Captured, answering
from official_clients import CLIENTS
from profiles import BY_NAME
from request_tables import HI, TABLES

from anyllm.providers.table import lookup
from anyllm.types import CompletionParams, EmbeddingParams
from anyllm.wire._base.protocols import Request

ROWS = [
    pytest.param(name, fields, body, id=f"{name}-{number}")
    for name, rows in TABLES.items()
    for number, (fields, body, *_) in enumerate(rows)
]
SMALLEST: dict[str, dict[str, Any]] = {
    "anthropic_messages": {"model": "m", "messages": [HI], "max_tokens": 4096},
    "gemini": {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]},
    "ollama": {"model": "m", "messages": [HI], "stream": False},
    "openai_chat": {"model": "m", "messages": [HI]},
    "openai_responses": {"model": "m", "input": [HI]},
}


@functools.cache
def dialect_of(name: str) -> Any:
    """OpenAI's own has keys of its own."""
    row = lookup.find("openai")
    assert row is not None
    return row.dialect if name == "openai_chat" else BY_NAME[name].dialect()


def request_of(name: str, fields: dict[str, Any], *, stream: bool = False) -> Request:
    params = CompletionParams(**{"model": "gemini-2.5-flash" if name == "gemini" else "m", "messages": [HI], **fields})
    request: Request = dialect_of(name).request(params, model=params.model, stream=stream)
    return request


@pytest.mark.parametrize(("name", "fields", "body"), ROWS)
def test_parameters_stand_in_their_places(name: str, fields: dict[str, Any], body: dict[str, Any]) -> None:
    """And the caller's own objects stay as they are."""
    before = repr(fields)
    assert json.loads(request_of(name, fields).body) == {**SMALLEST[name], **body}
    assert repr(fields) == before


# -- a server that reads them ------------------------------------------------------------------------------------------

SERVERS = {server.name: server for server in READERS}


@pytest.mark.parametrize(
    ("name", "body"), [(name, body) for name, rows in TABLES.items() for _, body, *reason in rows if not reason]
)
def test_request_that_a_server_reads_is_sent_on_unchanged(name: str, body: dict[str, Any]) -> None:
    server, request = SERVERS[name], {**SMALLEST[name], **body}
    assert server.sent(server.read(request)) == request


# -- official clients --------------------------------------------------------------------------------------------------


def send_anthropic(client: Any, request: Any, stream: bool) -> Any:
    names = ("model", "messages", "max_tokens", "metadata", "stop_sequences", "system", "tools", "tool_choice")
    named = {key: request.pop(key) for key in (*names, "thinking", "output_config", "stream") if key in request}
    return client.messages.create(**named, extra_body=request, timeout=60)


def send_gemini(client: Any, request: Any, stream: bool) -> Any:
    """The client reads our contents and settings into its own classes."""
    from google.genai import types

    contents = [types.Content.model_validate_json(json.dumps(content)) for content in request.pop("contents")]
    model, settings = request.pop("model"), {**request.pop("generationConfig", {}), **request}
    config = types.GenerateContentConfig.model_validate_json(json.dumps(settings))
    if stream:
        return list(client.models.generate_content_stream(model=model, contents=contents, config=config))
    return client.models.generate_content(model=model, contents=contents, config=config)


def send_ollama(client: Any, request: Any, stream: bool) -> Any:
    answer = client.chat(**request)
    return list(answer) if stream else answer


def send_chat(client: Any, request: Any, stream: bool) -> Any:
    extra = {key: request.pop(key) for key in ("new",) if key in request}
    return client.chat.completions.create(**request, extra_body=extra)


def send_responses(client: Any, request: Any, stream: bool) -> Any:
    return client.responses.create(**request)


SENDERS = {
    "anthropic_messages": send_anthropic,
    "gemini": send_gemini,
    "ollama": send_ollama,
    "openai_chat": send_chat,
    "openai_responses": send_responses,
}


#: Keys that Ollama's client drops, because its classes do not have them; it leaves out empty contents, too.
DROPPED = ("id", "tool_call_id", "strict", "additionalProperties", "limit")


def without_dropped(value: Any) -> Any:
    if isinstance(value, list):
        return [without_dropped(item) for item in value]
    if isinstance(value, dict):
        return {
            key: without_dropped(item)
            for key, item in value.items()
            if key not in DROPPED and (key, item) != ("content", "")
        }
    return value


def plain(name: str, body: Any) -> Any:
    """
    A body without what its official client adds or drops.

    Google's JSON takes names in both spellings and bytes in both alphabets, and the client mixes them; it gives the
    system's instructions a role, which is not read, sends an empty configuration, and functions after other tools.
    Ollama's sends an empty list of tools, and no nulls.
    """
    if name == "ollama":
        return without_dropped({"tools": [], **{key: item for key, item in body.items() if item is not None}})
    return google_plain(body) if name == "gemini" else body


def google_plain(body: Any) -> Any:
    if isinstance(body, list):
        return [google_plain(item) for item in body]
    if not isinstance(body, dict):
        return body
    items = {_camel(key): value for key, value in body.items()}
    if isinstance(items.get("systemInstruction"), dict):
        items["systemInstruction"] = {"parts": items["systemInstruction"]["parts"]}
    if items.get("generationConfig") == {}:
        del items["generationConfig"]
    if isinstance(items.get("tools"), list):
        items["tools"] = sorted(items["tools"], key=str)
    for key in ("data", "thoughtSignature"):
        if isinstance(items.get(key), str):
            items[key] = base64.urlsafe_b64decode(items[key].replace("+", "-").replace("/", "_"))
    return {key: value if key in ("args", "response") else google_plain(value) for key, value in items.items()}


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


@pytest.fixture(scope="module")
def official(request: pytest.FixtureRequest) -> Iterator[tuple[str, Any, Captured]]:
    """A format, its official client, and what a loopback server got from it."""
    name = request.param
    client = next(client for client in CLIENTS if client.profile.name == name)
    module = pytest.importorskip(client.module)
    with (
        answering(json.dumps(client.profile.whole("Hello")).encode(), "application/json") as (url, captured),
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("NO_PROXY", "*")
        for variable in ("OLLAMA_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
            patch.delenv(variable, raising=False)
        made = module.Client(host=url) if name == "ollama" else client.make(url)
        yield name, made, captured
        if hasattr(made, "close"):
            made.close()


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:Pydantic")
@pytest.mark.parametrize(
    ("official", "fields", "stream"),
    [pytest.param(*row.values[:2], bool(number % 2), id=row.id) for number, row in enumerate(ROWS)],
    indirect=["official"],
)
def test_request_is_what_the_official_client_sends(official: Any, fields: dict[str, Any], stream: bool) -> None:
    (name, client, captured), request = official, request_of(official[0], fields, stream=stream)
    before, body = captured.count, json.loads(request.body)
    model = {"model": fields.get("model", "gemini-2.5-flash")} if name == "gemini" else {}
    with contextlib.suppress(ValueError):  # a whole answer instead of a stream
        answer = SENDERS[name](client, {**copy.deepcopy(body), **model}, stream)
        if hasattr(answer, "close"):
            answer.close()
    assert captured.count == before + 1
    assert plain(name, body) == plain(name, captured.body)
    server = SERVERS[name]
    theirs, ours = (plain(name, server.sent(server.read(found))) for found in (captured.body, body))
    assert theirs == ours
    assert captured.path.endswith(request.path)
    assert request.headers["Content-Type"] == captured.headers["content-type"]
    # The newest version of Anthropic's API refuses temperature and top_p; other providers have the one before.
    if name == "anthropic_messages":
        assert request.headers["anthropic-version"] == "2023-06-01" <= captured.headers["anthropic-version"]


@pytest.mark.long
@pytest.mark.parametrize("official", ["ollama"], indirect=True)
def test_vectors_are_requested_as_the_official_client_does(official: Any) -> None:
    _, client, captured = official
    before = captured.count
    with contextlib.suppress(ValueError):  # the answer has no vectors
        client.embed("m", ["a", "b"], truncate=False, dimensions=2)
    params = EmbeddingParams("m", ["a", "b"], dimensions=2, extra_body={"truncate": False})
    request = dialect_of("ollama").embedding_request(params, model="m")
    assert captured.count == before + 1
    assert (request.path, json.loads(request.body)) == (captured.path, captured.body)
