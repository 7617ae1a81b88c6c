"""The gateway's WSGI application: access control, requests, answers, model lists, metrics, logs."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import threading
from typing import Any, List

import pytest
from conftest import TIMEOUT, LaterTime
from gate import CHAT, STREAM, ask, before, call, environ_of, get, post
from hypothesis import given, settings
from hypothesis import strategies as st
from loopback import join_workers, until

import anyllm
from anyllm.gateway import Config, Gateway, hash_of, new_key
from anyllm.gateway._provider_lists import ProviderLists
from anyllm.gateway._request_context import CLIENT_LEFT
from anyllm.testing import Reply, Stall, chat_events, serve

WHOLE = {
    "id": "c-1",
    "object": "chat.completion",
    "created": 7,
    "model": "upstream-model",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Paris"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4},
}
#: Nothing listens there; a test that gets so far fails.
NOWHERE = "http://127.0.0.1:9/v1"


#: A stream that begins, and goes on for ever.
ENDLESS = Reply.sse([*chat_events(["one"], finish_reason=None, usage=False), Stall()], done=False)


def chat(app: Any, body: Any, **headers: str) -> Any:
    return post(app, "/v1/chat/completions", body, **headers)


@pytest.fixture
def openai_key(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """OpenAI's is the only key of the environment."""
    for name in list(os.environ):
        if name.endswith(("_API_KEY", "_TOKEN")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    return monkeypatch


def events(data: bytes) -> List[Any]:
    data = [piece.split(b"data: ", 1)[1] for piece in data.split(b"\n\n") if piece]
    return [item if item == b"[DONE]" else json.loads(item) for item in data]


# -- answers -----------------------------------------------------------------------------------------------------------


def test_a_whole_answer():
    with serve(Reply.json(WHOLE)) as upstream:
        response = chat(before(upstream.url), {**CHAT, "temperature": 0.5})
    assert (response.status, response.json()["choices"][0]["message"]["content"]) == (200, "Paris")
    assert upstream.requests[0].json()["temperature"] == 0.5
    assert upstream.requests[0].json()["model"] == "upstream-model"


def test_a_stream():
    with serve(Reply.sse(chat_events(["Par", "is"]))) as upstream:
        response = chat(before(upstream.url), STREAM)
    assert response.headers["Content-Type"] == "text/event-stream"
    *chunks, end = events(response.body)
    assert end == b"[DONE]"
    assert "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks) == "Paris"


def test_under_another_server_an_answer_begins_when_a_silence_is_broken():
    """Only a write shows it that its client has left."""
    with serve(Reply.sse([Stall()])) as upstream:
        app = before(upstream.url, server={"first_content_timeout": 3600, "keep_alive": 0.01})
        running = app(environ_of("POST", "/v1/chat/completions", STREAM), lambda *args: None)
        assert next(iter(running)) == b": keep-alive\n\n"
        running.close()
        assert upstream.wait_closed()


def test_a_stream_has_usage_if_the_client_requests_it():
    with serve(Reply.sse(chat_events(["Paris"]))) as upstream:
        app = before(upstream.url)
        plain, with_usage = (
            events(chat(app, {**STREAM, **more}).body) for more in ({}, {"stream_options": {"include_usage": True}})
        )
    assert not any(chunk.get("usage") for chunk in plain[:-1])
    assert with_usage[-2]["usage"]["total_tokens"] > 0


def test_an_answer_has_its_cost_if_that_is_known():
    pytest.importorskip("genai_prices")
    usage = {"prompt_tokens": 1_000_000, "completion_tokens": 0, "total_tokens": 1_000_000}
    with serve(Reply.json({**WHOLE, "model": "gpt-4o-mini", "usage": usage})) as upstream:
        entry = {"model": "openai/gpt-4o-mini", "base_url": upstream.url, "api_key_env": "HOME"}
        app = before(upstream.url, models={"priced": entry})
        priced = chat(app, {**CHAT, "model": "priced"}).json()["usage"]
        unknown = chat(app, {**CHAT, "model": "m"}).json()["usage"]
    assert priced["cost"] == pytest.approx(0.15)
    assert "cost" not in unknown


def test_the_providers_own_error_comes_through():
    error = {"message": "slow down", "type": "tokens", "param": None, "code": "rate_limit_exceeded"}
    reply = Reply.json({"error": error}, status=429, headers={"Retry-After": "7"})
    with serve(reply) as upstream:
        for body in (CHAT, STREAM):
            response = chat(before(upstream.url), body)
            assert (response.status, response.json()) == (429, {"error": error})
            assert response.headers["Retry-After"] == "7"
            assert response.headers["x-should-retry"] == "true"


def test_an_answer_that_is_cut_ends_with_an_error_and_without_done(caplog):
    with serve(Reply.sse(chat_events(["Par"], finish_reason=None, usage=False), done=False)) as upstream:
        app = before(upstream.url)
        with caplog.at_level(logging.INFO, "anyllm.gateway"):
            *_, last = events(chat(app, STREAM).body)
    assert last["error"]["type"] == "upstream_error"
    assert json.loads(caplog.records[-1].getMessage())["error"] == "IncompleteStreamError"
    assert app.running == 0


@pytest.mark.parametrize("body", [CHAT, STREAM], ids=["whole", "stream"])
def test_another_model_answers_when_the_first_fails(body):
    """A name of the configuration's own, with its own server; or a model string."""
    error = Reply.json({"error": {"message": "down"}}, status=500)
    well = Reply.sse(chat_events(["Paris"])) if body is STREAM else Reply.json(WHOLE)
    with serve(error) as down, serve(well) as up:
        app = before(
            NOWHERE,
            models={
                "first": {"model": "compatible/a", "base_url": down.url, "fallback": ["second"]},
                "second": {"model": "compatible/b", "base_url": up.url},
            },
        )
        response = chat(app, {**body, "model": "first"})
    assert response.status == 200
    assert b"Paris" in response.body
    assert [server.requests[0].json()["model"] for server in (down, up)] == ["a", "b"]


WRONG_PARAMS, WRONG_OPTIONS = {"params": {"temprature": 1}}, {"options": {"retries": 1}}
RATE = {"rate_limit": {"rpm": 1}}


@pytest.mark.parametrize(
    ("name", "entry", "words"),
    [
        ("wrong", {"model": "nobody/x"}, "models.wrong: no provider"),
        ("wrong", {"model": "openai/x", "fallback": ["nobody/x"]}, "models.wrong: no provider"),
        ("wrong", {"model": "openai/x", **WRONG_PARAMS}, "models.wrong: .*temperature"),
        ("wrong", {"model": "openai/x", **WRONG_OPTIONS}, "models.wrong: .*retry"),
        ("wrong", {"model": "openai/x", **RATE}, "models.wrong"),
        ("wrong", {"modl": "openai/x"}, "models.wrong: .*model"),
        ("x-*", {"model": "openai/*", **WRONG_OPTIONS}, "models"),
        ("x-*", "nobody/*", "models"),
        ("x-*", {"model": "openai/*", **WRONG_PARAMS}, "models"),
        ("x-*", {"model": "openai/*", **RATE}, "models"),
        ("a*b", "openai/x", "models"),
    ],
    ids=str,
)
def test_a_wrong_entry_raises_at_construction(name, entry, words):
    """Not by the first request that asks for it."""
    with pytest.raises((ValueError, TypeError), match=words):
        before(NOWHERE, models={name: entry})


def test_parameters_of_an_entry_are_defaults():
    with serve(Reply.json(WHOLE)) as upstream:
        entry = {"model": "compatible/x", "base_url": upstream.url, "params": {"temperature": 0.25, "max_tokens": 9}}
        app = before(upstream.url, models={"tuned": entry})
        chat(app, {**CHAT, "model": "tuned", "max_tokens": 5})
    sent = upstream.requests[0].json()
    assert (sent["temperature"], sent["max_tokens"]) == (0.25, 5)


# -- names of models ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["m", "m:latest"])
def test_a_name_of_the_configuration_is_found(name):
    """Ollama's clients add ":latest" to names without a tag."""
    with serve(Reply.json(WHOLE)) as upstream:
        assert chat(before(upstream.url), {**CHAT, "model": name}).status == 200
    assert upstream.requests[0].json()["model"] == "upstream-model"


def test_a_name_matches_the_longest_pattern():
    patterns = {"gpt-*": "compatible/short-*", "gpt-x-*": "compatible/long-*", "*": "compatible/any-*"}
    names = ("gpt-4o", "gpt-x-y", "llama3.2:1b")
    with serve(Reply.json(WHOLE)) as upstream:
        models = {name: {"model": model, "base_url": upstream.url} for name, model in patterns.items()}
        app = before(NOWHERE, models=models)
        assert {chat(app, {**CHAT, "model": name}).status for name in names} == {200}
    assert [request.json()["model"] for request in upstream.requests] == ["short-4o", "long-y", "any-llama3.2:1b"]


@pytest.mark.parametrize("name", ["nope", "nobody/x", "", "/", "gpt-4o"])
def test_an_unknown_model_is_404(name):
    response = chat(before(NOWHERE), {**CHAT, "model": name})
    assert (response.status, response.json()["error"]["code"]) == (404, "model_not_found")


def test_only_listed_models_are_available_with_only_listed():
    app = before(NOWHERE, server={"only_listed": True})
    assert chat(app, {**CHAT, "model": "openai/gpt-4o"}).status == 404
    assert [model["id"] for model in get(app, "/v1/models").json()["data"]] == ["m"]


def test_names_that_were_made_up_do_not_fill_the_memory():
    app = before(NOWHERE)
    for number in range(1200):
        app._models.find(f"openai/{number}")
    assert len(app._models._recent) <= 513
    assert app._models.find("m").target.model == "upstream-model"


def test_models_are_listed_for_openais_and_for_anthropics_clients():
    app = before(NOWHERE, models={"secret": {"model": "openai/x", "hidden": True}})
    listed = get(app, "/v1/models").json()
    assert [(model["id"], model["owned_by"]) for model in listed["data"]] == [("m", "compatible")]
    for_anthropic = get(app, "/v1/models", anthropic_version="2023-06-01").json()
    assert (for_anthropic["data"][0]["id"], for_anthropic["has_more"]) == ("m", False)
    assert get(app, "/v1/models/m").json() == listed["data"][0]
    assert get(app, "/v1/models/nope").status == 404


def test_models_of_providers_with_keys_are_listed_unless_they_fail(openai_key):
    def lists(request: Any) -> Reply:
        is_good = request.path.startswith("/good")
        return Reply.json({"data": [{"id": "gpt-9", "created": 5}]}) if is_good else Reply.json({}, status=500)

    with serve(lists) as upstream:
        openai_key.setenv("OPENAI_BASE_URL", f"{upstream.url}/good")
        app = before(NOWHERE, server={"list_providers": True})
        names = [model["id"] for model in get(app, "/v1/models").json()["data"]]
        again = [model["id"] for model in get(app, "/v1/models").json()["data"]]
    assert "openai/gpt-9" in names
    assert names == again
    assert len(upstream.requests) == 1  # the list is cached


# -- unsupported fields ------------------------------------------------------------------------------------------------


ANTHROPIC = {
    "type": "message",
    "role": "assistant",
    "id": "msg_1",
    "model": "x",
    "content": [{"type": "text", "text": "Paris"}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 3, "output_tokens": 1},
}
UNSET = {"frequency_penalty": 0, "store": False, "logit_bias": None, "metadata": {}}


@pytest.mark.parametrize(
    ("provider", "unsupported", "fields", "dropped"),
    [
        ("compatible", "refuse", {"logit_bias": {"1": 2}, "store": True}, None),
        ("anthropic", "drop", {"logit_bias": {"1": 2}, "seed": 5}, {"logit_bias", "seed"}),
        ("anthropic", "refuse", {"store": True, "metadata": {"a": "b"}}, {"store", "metadata"}),
        ("anthropic", "refuse", UNSET, None),
    ],
    ids=["the same format", "drop", "no effect on the answer", "as clients send what users never set"],
)
def test_a_header_names_the_fields_that_were_dropped(provider, unsupported, fields, dropped):
    """Unknown fields go to a provider of the same format."""
    with serve(Reply.json(ANTHROPIC if provider == "anthropic" else WHOLE)) as upstream:
        entry = {"model": f"{provider}/x", "base_url": upstream.url, "api_key_env": "HOME"}
        app = before(NOWHERE, models={"a": entry}, server={"unsupported": unsupported})
        response = chat(app, {**CHAT, "model": "a", **fields})
    assert response.status == 200
    header = response.headers.get("x-anyllm-dropped")
    assert (header and set(header.split(", "))) == dropped
    sent = upstream.requests[0].json()
    assert {name: sent.get(name) for name in fields} == (fields if provider == "compatible" else dict.fromkeys(fields))


@pytest.mark.parametrize("field", [{"logit_bias": {"1": 2}}, {"seed": 5}])
def test_an_unknown_field_is_rejected_by_name_for_a_provider_of_another_format(field):
    response = chat(before(NOWHERE, "anthropic"), {**CHAT, **field})
    assert (response.status, response.json()["error"]["param"]) == (400, next(iter(field)))


def test_cache_marks_are_sent_only_to_providers_that_accept_them():
    """Anthropic's clients mark nearly every request; OpenAI refuses keys that it does not know."""
    mark = {"cache_control": {"type": "ephemeral"}}
    text = {"type": "text", "text": "hello", **mark}
    body = {
        "max_tokens": 5,
        "system": [text],
        "messages": [{"role": "user", "content": [text]}],
        "tools": [{"name": "f", "input_schema": {"type": "object"}, **mark}],
    }
    with serve(lambda request: Reply.json(ANTHROPIC if request.path.endswith("/messages") else WHOLE)) as upstream:
        server = {"base_url": upstream.url, "api_key_env": "HOME"}
        models = {name: {"model": f"{name}/x", **server} for name in ("openai", "openrouter", "anthropic")}
        app = before(NOWHERE, models=models)
        headers = {name: post(app, "/v1/messages", {**body, "model": name}).headers for name in models}
    counts = [request.body.count(b"cache_control") for request in upstream.requests]
    assert counts == [0, 3, 3]
    assert [headers[name].get("x-anyllm-dropped") for name in models] == ["cache_control", None, None]


# -- vectors -----------------------------------------------------------------------------------------------------------


def test_vectors_as_numbers_and_as_bytes():
    answer = {
        "object": "list",
        "model": "e",
        "data": [{"object": "embedding", "index": 0, "embedding": [0.5, -1.0]}],
        "usage": {"prompt_tokens": 2, "total_tokens": 2},
    }
    with serve(Reply.json(answer)) as upstream:
        app = before(upstream.url)
        plain = post(app, "/v1/embeddings", {"model": "m", "input": "x"}).json()
        packed = post(app, "/v1/embeddings", {"model": "m", "input": ["x"], "encoding_format": "base64"}).json()
    assert plain["data"] == answer["data"]
    assert packed["data"][0]["embedding"] == "AAAAPwAAgL8="
    assert plain["usage"] == answer["usage"]


@pytest.mark.parametrize("body", [{}, {"model": "m"}, {"model": "m", "input": [1, 2]}, {"model": "m", "input": 5}, []])
def test_a_request_for_vectors_that_cannot_be_understood_is_400(body):
    assert post(before(NOWHERE), "/v1/embeddings", body).status == 400


# -- access control ----------------------------------------------------------------------------------------------------

KEY = new_key()
LOCKED = {"keys": {"alice": hash_of(KEY)}}


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {KEY}"},
        {"Authorization": f"bearer  {KEY} "},
        {"x-api-key": KEY},
        {"api-key": KEY},
        {"x-goog-api-key": KEY},
    ],
    ids=lambda headers: next(iter(headers)),
)
def test_a_key_opens_wherever_clients_put_it(headers):
    assert ask(before(NOWHERE, **LOCKED), "GET", "/v1/models", b"", headers).status == 200


@pytest.mark.parametrize(
    "sent_key",
    ["", "Bearer ", "Bearer nope", f"Basic {KEY}", "Bearer k\u00e9y", f"Bearer {KEY}x"],
    ids=["none", "empty", "other", "basic", "accent", "longer"],
)
def test_a_wrong_key_is_401_in_the_clients_format(sent_key):
    for path in ("/v1/chat/completions", "/v1/embeddings"):
        response = post(before(NOWHERE, **LOCKED), path, CHAT, Authorization=sent_key)
        assert (response.status, response.json()["error"]["code"]) == (401, "invalid_api_key")
        assert response.headers["x-should-retry"] == "false"


def test_only_healthz_needs_no_key():
    app = before(NOWHERE, **LOCKED)
    assert get(app, "/healthz").json() == {"status": "ok", "running": 0}
    assert get(app, "/metrics").status == get(app, "/v1/models").status == 401


def test_a_key_is_never_in_a_log_or_a_figure(caplog):
    app = before(NOWHERE, **LOCKED)
    with caplog.at_level(logging.DEBUG):
        for sent_key in (KEY, "anyllm-somebody-elses"):
            chat(app, CHAT, Authorization=f"Bearer {sent_key}")
            figures = get(app, "/metrics", Authorization=f"Bearer {KEY}").body.decode()
    assert "alice" in caplog.text
    for secret in (KEY, "somebody-elses", "hello"):
        assert secret not in caplog.text + figures + repr(app.config)


EVIL, FRIEND = "https://evil.example", "https://friend.example"
#: Settings of the server, headers of a request, and whether it is answered.
ACCESS = [
    # A web page could make the user's browser spend money through a gateway on the same machine.
    ({"origins": [FRIEND]}, {"Origin": EVIL}, False),
    ({"origins": [FRIEND]}, {"Origin": "null"}, False),
    ({"origins": [FRIEND]}, {"Origin": "http://127.0.0.1:8080"}, True),
    ({"origins": [FRIEND]}, {"Origin": FRIEND}, True),
    ({}, {"Origin": "null", "Host": ""}, False),
    ({"origins": ["https://Friend.example/"]}, {"Origin": FRIEND}, True),
    # Names that were made to point here, and its own.
    *(({}, {"Host": name}, False) for name in ("evil.example", "evil.example:8080", "[::ffff")),
    ({}, {"Host": "127.0.0.1.evil.example"}, False),
    *(({}, {"Host": name}, True) for name in ("localhost", "localhost:1", "127.0.0.1", "[::1]:8080", "")),
    ({"hosts": ["my.box"]}, {"Host": "my.box"}, True),
    ({"hosts": ["Box:8080"]}, {"Host": "box:9"}, True),
    # A request for an image has no Origin.
    ({}, {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, False),
    ({}, {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"}, True),
]


@pytest.mark.parametrize(("server", "headers", "is_answered"), ACCESS)
def test_access_by_origin_and_host(server, headers, is_answered):
    response = ask(before(NOWHERE, server=server), "GET", "/v1/models", b"", headers)
    assert response.status == (200 if is_answered else 403)
    allowed = headers.get("Origin") if is_answered and server else None
    if headers.get("Origin") == FRIEND or not is_answered:
        assert response.headers.get("Access-Control-Allow-Origin") == allowed


@pytest.mark.parametrize("headers", [{"Host": "evil.example"}, {"Host": "[::ffff"}, {"Origin": "https://chat.example"}])
def test_with_keys_a_page_may_be_reached_by_any_name(headers):
    """A proxy asks by the name of its upstream, and no browser sends a key unasked."""
    response = ask(before(NOWHERE, **LOCKED), "GET", "/v1/models", b"", {**headers, "x-api-key": KEY})
    assert response.status == 200
    assert "Access-Control-Allow-Origin" not in response.headers


def test_a_friends_preflight_is_answered_and_links_may_lead_here():
    """The user navigates to a page by clicking."""
    app = before(NOWHERE, server={"origins": [FRIEND]})
    assert ask(app, "OPTIONS", "/v1/chat/completions", b"", {"Origin": FRIEND}).status == 204
    assert get(app, "/", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate").status == 200


# -- limits ------------------------------------------------------------------------------------------------------------


def streaming(app: Any, body: Any = None, **headers: str) -> Any:
    """An answer on its way: its status and its body."""
    started: List[Any] = []
    environ = environ_of("POST", "/v1/chat/completions", body or STREAM, headers)
    answer = app(environ, lambda *args: started.append(args))
    return int(started[0][0].split()[0]), answer


def test_streams_beyond_the_limit_are_rejected_until_one_ends():
    with serve(ENDLESS) as upstream:
        app = before(upstream.url, server={"max_streams": 1})
        status, running = streaming(app)
        assert (status, app.running) == (200, 1)
        refused = chat(app, STREAM)
        assert (refused.status, refused.json()["error"]["code"]) == (503, "overloaded")
        assert refused.headers["Retry-After"] == "1"
        running.close()
        assert app.running == 0
        status, running = streaming(app)
        assert status == 200
        running.close()


def test_a_key_has_a_share_of_its_own():
    other = new_key()
    keys = {"alice": hash_of(KEY), "bob": hash_of(other)}
    with serve(ENDLESS) as upstream:
        app = before(upstream.url, keys=keys, server={"max_streams_per_key": 1})
        running = [streaming(app, Authorization=f"Bearer {key}") for key in (KEY, other)]
        refused = chat(app, STREAM, Authorization=f"Bearer {KEY}")
        assert [status for status, _ in running] == [200, 200]
        assert (refused.status, refused.json()["error"]["code"]) == (429, "rate_limit_exceeded")
        for _, answer in running:
            answer.close()


def test_slots_are_released_after_every_kind_of_end():
    app = before(NOWHERE, server={"max_streams": 1})
    for body in (b"{", CHAT, {**CHAT, "model": "nope"}, {"model": "m"}, STREAM):
        chat(app, body)
        assert app.running == 0


def test_a_body_that_is_too_large_is_413():
    app = before(NOWHERE, server={"max_body_bytes": 100})
    response = chat(app, {**CHAT, "user": "x" * 100})
    assert (response.status, response.json()["error"]["type"]) == (413, "invalid_request_error")


def test_a_body_without_a_length_is_read_to_the_limit():
    app = before(NOWHERE, server={"max_body_bytes": 100})
    for size, status in ((50, 400), (500, 413)):
        environ = environ_of("POST", "/v1/chat/completions", b"x" * size)
        del environ["CONTENT_LENGTH"]
        assert call(app, environ).status == status


def test_an_answer_that_takes_too_long_ends(later: LaterTime):
    with serve(ENDLESS) as upstream:
        app = before(upstream.url, server={"max_seconds": 1000})
        answer = app(environ_of("POST", "/v1/chat/completions", STREAM), lambda *_: None)
        with contextlib.closing(answer):
            pieces = iter(answer)
            begun = next(pieces)
            later.forward()
            *_, last = events(begun + b"".join(pieces))
    assert last["error"]["code"] == "timeout"


# -- clients that leave ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [CHAT, STREAM], ids=["whole", "stream"])
def test_a_client_that_leaves_before_the_first_token_ends_the_call(spawn, body):
    """The server tells; nothing has to be written first."""
    leave: List[Any] = []
    with serve(Reply.sse([Stall()], done=False)) as upstream:
        app = before(upstream.url)
        environ = environ_of("POST", "/v1/chat/completions", body)
        environ[CLIENT_LEFT] = leave.append
        task = spawn(lambda: list(app(environ, lambda *args: None)))
        until(lambda: upstream.requests)
        leave[0]()
        task.join()
        join_workers()
    assert app.running == 0


def test_closing_the_body_ends_the_call_and_is_logged(caplog):
    with serve(ENDLESS) as upstream:
        app = before(upstream.url)
        with caplog.at_level(logging.INFO, "anyllm.gateway"):
            _, answer = streaming(app)
            next(answer)
            answer.close()
            answer.close()
        until(lambda: not anyllm.active_streams())
    logged = json.loads(caplog.records[-1].getMessage())
    assert logged["client_left"] is True
    assert "anyllm_clients_left_total 1.0" in get(app, "/metrics").body.decode()


# -- nonsense ----------------------------------------------------------------------------------------------------------

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
fields = st.sampled_from(
    ["model", "messages", "stream", "tools", "stop", "temperature", "max_tokens", "stream_options", "response_format"]
)


@settings(max_examples=300)
@given(body=st.dictionaries(fields, json_values | st.just("m"), max_size=6) | json_values)
def test_any_json_gets_an_answer_in_the_clients_format(body):
    """No request reaches a model: nothing listens there, or the request is rejected."""
    response = chat(NONSENSE, json.dumps(body).encode())
    assert 400 <= response.status < 600
    assert response.status != 500, response.body
    if not response.headers["Content-Type"].startswith("text/event-stream"):
        assert set(response.json()["error"]) >= {"message", "type", "param", "code"}


NONSENSE = before(NOWHERE, server={"only_listed": True})


@settings(max_examples=300)
@given(body=st.binary(max_size=60))
def test_any_bytes_get_an_answer_in_the_clients_format(body):
    response = chat(NONSENSE, body)
    assert response.status in (400, 404)
    assert response.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/chat/completions", 405),
        ("DELETE", "/v1/models", 405),
        ("GET", "/v1/nothing", 404),
        ("GET", "/../etc/passwd", 404),
        ("POST", "/healthz", 405),
        ("BREW", "/v1/models", 405),
        ("HEAD", "/healthz", 200),
    ],
)
def test_unknown_paths_and_methods(method, path, status):
    response = ask(before(NOWHERE), method, path)
    assert response.status == status
    if status == 405:
        assert "OPTIONS" in response.headers["Allow"]


def test_nesting_without_end_is_refused():
    response = chat(NONSENSE, b'{"model":"m","messages":' + b"[" * 100_000)
    assert response.status == 400


def test_a_bug_is_500_without_its_words_and_gives_everything_back(monkeypatch, caplog):
    app = before(NOWHERE)
    monkeypatch.setattr(app._models, "find", lambda name: {}["sk-secret"])
    response = chat(app, CHAT)
    assert response.status == 500
    assert b"sk-secret" not in response.body
    assert "a bug ended request req_" in caplog.text
    assert app.running == 0


def test_each_answer_has_an_id_that_the_log_has_too(caplog):
    with caplog.at_level(logging.INFO, "anyllm.gateway"):
        response = get(before(NOWHERE), "/v1/models")
    assert response.headers["x-request-id"] == response.headers["request-id"]
    assert json.loads(caplog.records[-1].getMessage())["request"] == response.headers["x-request-id"]


def test_threads_share_it(spawn):
    with serve(Reply.json(WHOLE)) as upstream:
        app = before(upstream.url)
        start = threading.Barrier(8)

        def one() -> int:
            start.wait(TIMEOUT)
            return chat(app, CHAT).status

        assert [task.join() for task in [spawn(one) for _ in range(8)]] == [200] * 8
    assert app.running == 0


def test_the_former_name_of_a_setting_still_works():
    config = Config(server={"patience": 7, "port": 0})
    assert config.server == Config(server={"first_content_timeout": 7, "port": 0}).server
    with pytest.raises(TypeError, match="patience"):
        Config(server={"patience": 7, "first_content_timeout": 8})


def test_the_default_gateway_needs_no_configuration():
    assert get(Gateway(), "/healthz").status == 200
    assert Gateway(Config()).config == Config()


# -- hostile requests --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["x\r\nSet-Cookie: a=b", "\u65e5\u672c", "x" * 100_000, "\x00"])
def test_a_clients_words_break_no_header(key):
    """The names of dropped fields go into a header."""
    with serve(Reply.json(ANTHROPIC)) as upstream:
        entry = {"model": "anthropic/x", "base_url": upstream.url, "api_key_env": "HOME"}
        app = before(NOWHERE, models={"a": entry}, server={"unsupported": "drop"})
        response = chat(app, {**CHAT, "model": "a", key: 1})
    assert response.status == 200
    dropped = response.headers["x-anyllm-dropped"]
    assert dropped.isprintable()
    assert dropped.isascii()
    assert len(dropped) < 200


@pytest.mark.parametrize("origin", ["http://[", "http://a]b", "http://\u2100.com", "null", "://", "x"])
@pytest.mark.parametrize("path", ["/healthz", "/v1/models", "/nothing"])
def test_an_origin_that_is_none_is_refused(origin, path):
    response = get(before(NOWHERE), path, Origin=origin)
    assert response.status == (404 if path == "/nothing" else 403)
    assert "Access-Control-Allow-Origin" not in response.headers


def test_a_name_of_a_megabyte_is_no_model_and_is_not_cached(caplog):
    app = before(NOWHERE)
    with caplog.at_level(logging.INFO, "anyllm.gateway"):
        response = chat(app, {**CHAT, "model": f"openai/{'x' * 1_000_000}"})
    assert response.status == 404
    assert not app._models._recent
    assert all(len(record.getMessage()) < 1000 for record in caplog.records)


@pytest.mark.parametrize(
    "tools",
    [
        ["x"],
        [[1]],
        *([{"type": "function", "function": one}] for one in ("f", {"name": {}}, {}, {"name": "f", "parameters": "x"})),
    ],
    ids=str,
)
@pytest.mark.parametrize("provider", ["compatible", "anthropic"])
def test_tools_that_are_none_are_refused_by_name(tools, provider):
    for body in (CHAT, STREAM):
        response = chat(before(NOWHERE, provider), {**body, "tools": tools})
        assert response.status == 400
        assert "tool" in response.json()["error"]["param"]


def test_two_tools_of_one_name_are_refused_where_they_are_read():
    tool = {"type": "function", "function": {"name": "f"}}
    entry = {"model": "compatible/a", "base_url": NOWHERE, "max_streams": 1}
    app = before(NOWHERE, models={"limited": entry})
    for body in (CHAT, STREAM):
        response = chat(app, {**body, "model": "limited", "tools": [tool, tool]})
        assert (response.status, response.json()["error"]["param"]) == (400, "tools")


def test_all_names_of_an_entry_share_its_limits(spawn):
    """Also those that clients add a tag to, and those of a pattern."""
    with serve(ENDLESS) as upstream:
        entry = {"model": "compatible/*", "base_url": upstream.url, "max_streams": 1}
        app = before(NOWHERE, models={"one": {**entry, "model": "compatible/x"}, "p-*": entry})
        for first, second in (("one", "one:latest"), ("p-a", "p-b")):
            _, running = streaming(app, {**STREAM, "model": first})
            count = len(upstream.requests)
            waiting = spawn(streaming, app, {**STREAM, "model": second})
            until(lambda: app.running == 2)
            assert len(upstream.requests) == count
            running.close()
            status, waited = waiting.join()
            assert (status, len(upstream.requests)) == (200, count + 1)
            waited.close()


def test_a_name_in_a_path_may_have_letters_of_any_script():
    app = before(NOWHERE, models={"sch\u00f6n": "openai/x"})
    assert get(app, "/v1/models/sch\u00f6n".encode().decode("latin-1")).json()["id"] == "sch\u00f6n"


def test_a_model_of_another_time_is_listed():
    """A provider sends milliseconds in a field for seconds."""
    from anyllm.wire._base.model_info import ModelInfo
    from anyllm.wire.anthropic_messages.models import anthropic_models

    for created in (1_700_000_000_000, -5, 10**30):
        model = anthropic_models([ModelInfo("m", created=created)])["data"][0]
        assert model["created_at"] == "1970-01-01T00:00:00Z"


# -- lists of providers ------------------------------------------------------------------------------------------------


def test_a_client_that_leaves_while_a_list_is_fetched_does_not_end_the_fetch(spawn, openai_key):
    """It is fetched once for all callers; a client that leaves stops waiting, and the others get it."""
    go_on = threading.Event()
    listing = json.dumps({"data": [{"id": "gpt-9"}]}).encode()
    head = {"Content-Type": "application/json", "Content-Length": str(len(listing))}
    with serve(Reply(headers=head, body=[Stall(go_on), listing])) as upstream:
        openai_key.setenv("OPENAI_BASE_URL", upstream.url)
        app = before(NOWHERE, server={"list_providers": True})
        leave: List[Any] = []
        environ = environ_of("GET", "/v1/models")
        environ[CLIENT_LEFT] = leave.append
        hasty, patient = spawn(call, app, environ), spawn(get, app, "/v1/models")
        upstream.wait_for_requests(1)
        until(lambda: leave)
        assert get(app, "/v1/models/m").status == 200  # configured models need no request to a provider
        leave[0]()
        hasty.join()
        go_on.set()
        names = [model["id"] for model in patient.join().json()["data"]]
        assert "openai/gpt-9" in names
        assert len(upstream.requests) == 1


def test_a_list_that_failed_is_fetched_again_after_a_while(openai_key):
    now = [0.0]
    lists = ProviderLists(clock=lambda: now[0])
    replies = [Reply.json({"data": [{"id": "a"}]}), Reply.json({"data": 5}), Reply.json({"data": [{"id": "b"}]})]
    with serve(*replies) as upstream:
        openai_key.setenv("OPENAI_BASE_URL", upstream.url)
        found = []
        for now[0] in (0.0, 299.0, 301.0, 302.0, 320.0):
            listed = lists.all(anyllm.Context(timeout=60))
            found.append([model.name for model in listed if model.provider == "openai"])
    assert found == [["openai/a"]] * 4 + [["openai/b"]]
    assert len(upstream.requests) == 3


# -- forks -------------------------------------------------------------------------------------------------------------


@pytest.mark.fork
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_child_has_its_own_room_and_waits_for_none_of_its_parents_threads(run_script):
    """As servers fork that load the application first: while an answer runs and a list is being fetched."""
    output = run_script(
        """
        import os, sys, threading, time, warnings
        sys.path.insert(0, "tests")
        warnings.simplefilter("ignore", DeprecationWarning)
        from gate import STREAM, before, environ_of, get
        from anyllm.testing import Reply, Stall, chat_events, serve

        for name in list(os.environ):
            if name.endswith(("_API_KEY", "_TOKEN")):
                del os.environ[name]
        talking = Reply.sse([*chat_events(["one"], finish_reason=None, usage=False), Stall()], done=False)
        with serve(lambda request: Reply.json({"data": [{"id": "gpt-9"}]}) if request.headers.get("x-pid")
                   else talking if request.method == "POST" else Reply(body=[Stall()])) as upstream:
            os.environ["OPENAI_API_KEY"], os.environ["OPENAI_BASE_URL"] = "k", upstream.url
            app = before(upstream.url, server={"list_providers": True, "max_streams": 1})
            running = app(environ_of("POST", "/v1/chat/completions", STREAM), lambda *args: None)
            asking = threading.Thread(target=get, args=(app, "/v1/models"), daemon=True)
            asking.start()
            upstream.wait_for_requests(2)
            pid = os.fork()
            if not pid:
                assert app.running == 0
                from anyllm.gateway import _provider_lists
                fetched = []
                _provider_lists.list_models = lambda ctx, name: fetched.append(name) or []
                get(app, "/v1/models")
                os._exit(0 if fetched == ["openai"] else 3)
            _, status = os.waitpid(pid, 0)
            running.close()
            print(os.WEXITSTATUS(status), app.running)
        """
    )
    assert "0 0" in output.splitlines()  # the log stands there too
