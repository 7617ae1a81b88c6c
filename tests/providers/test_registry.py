"""From a model string to a running call: names, keys, URLs, and the messages for mistakes."""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import Any, List, Optional

import pytest
import requests
from conftest import TIMEOUT

import anyllm
from anyllm._stream import call_spec
from anyllm.errors import (
    AuthenticationError,
    InvalidRequestError,
    MissingAPIKeyError,
    ModelNotFoundError,
    UnsupportedProviderError,
)
from anyllm.providers import registry
from anyllm.providers.table import lookup
from anyllm.providers.table.row_builders import chat
from anyllm.testing import Reply, chat_events, fake, serve

KEY = "sk-Secret0123456789abcdef"
HELLO = [{"role": "user", "content": "hello"}]
PARAMS = {"model": "m", "messages": HELLO}
ONCE = anyllm.StreamingOptions(retry=anyllm.Retry(attempts=1))
GOOD = Reply.sse(chat_events("hi"))


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for row in lookup.ROWS:
        for name in (*row.key_vars, *row.base_url_vars):
            monkeypatch.delenv(name, raising=False)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


def ctx() -> anyllm.Context:
    return anyllm.Context(timeout=60)


def error_of(stream: anyllm.Stream) -> Any:
    chunks, errors = stream
    list(chunks)
    return errors.get_nowait()


# -- model strings -----------------------------------------------------------------------------------------------------

MODELS = [
    ("openai/gpt-4o-mini", "openai", "gpt-4o-mini"),
    ("openai:gpt-4o-mini", "openai", "gpt-4o-mini"),
    ("OpenAI/gpt-4o-mini", "openai", "gpt-4o-mini"),
    ("openrouter/meta-llama/llama-3.1-8b:free", "openrouter", "meta-llama/llama-3.1-8b:free"),
    ("openrouter:meta-llama/llama-3.1-8b:free", "openrouter", "meta-llama/llama-3.1-8b:free"),
    ("local:smollm2", "local", "smollm2"),
    ("local/smollm2", "local", "smollm2"),
    ("compatible/llama3.2:1b", "compatible", "llama3.2:1b"),
    ("compatible:llama3.2:1b", "compatible", "llama3.2:1b"),
    ("compatible:a/b", "compatible", "a/b"),
    ("compatible//a", "compatible", "/a"),
    ("compatible/ Mixed Case ", "compatible", " Mixed Case "),
]


@pytest.mark.parametrize(("string", "name", "model"), MODELS)
def test_the_provider_stands_before_the_first_slash_or_colon(string: str, name: str, model: str):
    """And the rest is the model, untouched."""
    host, bare = registry.route(string, None)
    assert (host.name, bare) == (name, model)


@pytest.mark.parametrize("row", lookup.ROWS, ids=lambda row: row.name)
def test_every_name_and_alias_is_found_in_any_case(row: lookup.Row):
    for name in (row.name, *row.aliases):
        for spelt in (name, name.upper(), name.title(), f" {name} "):
            assert lookup.find(spelt) is row
            assert anyllm.provider(spelt).name == row.name
            assert registry.route(f"{spelt}/x/y:z", None)[0].name == row.name


def test_the_request_has_the_model_without_the_provider():
    with serve(GOOD) as server:
        for model in ("compatible/a/b:c", "compatible:a/b:c"):
            assert anyllm.completion_stream(ctx(), {**PARAMS, "model": model}, base_url=server.url).collect()
        for named in ("compatible", "COMPATIBLE", anyllm.provider("compatible", base_url=server.url)):
            stream = anyllm.completion_stream(ctx(), {**PARAMS, "model": "a/b:c"}, provider=named, base_url=server.url)
            assert stream.collect().provider == "compatible"
        assert {request.json()["model"] for request in server.requests} == {"a/b:c"}
        assert {request.path for request in server.requests} == {"/chat/completions"}


@pytest.mark.parametrize("model", ["gpt-4o", "claude-3", "meta-llama/llama-3", "opnai/gpt-4o", "", "/x", ":x"])
def test_a_model_without_a_provider_is_an_error(model: str):
    error = error_of(anyllm.completion_stream(ctx(), {**PARAMS, "model": model}))
    assert type(error) is UnsupportedProviderError
    assert error.provider is None
    name = model.partition("/")[0].partition(":")[0]
    assert f"no provider is called {name!r}" in str(error)
    assert "openai" in str(error)
    with pytest.raises(UnsupportedProviderError):
        anyllm.completion(ctx(), {**PARAMS, "model": model})


def test_the_hint_is_the_full_form_or_the_nearest_name():
    def message(model: str) -> str:
        return str(error_of(anyllm.completion_stream(ctx(), {**PARAMS, "model": model})))

    assert "a model is written provider/model, as in openai/gpt-4o" in message("gpt-4o")
    assert "did you mean 'openai'?" in message("opnai/gpt-4o")
    with pytest.raises(UnsupportedProviderError, match="did you mean 'groq'"):
        anyllm.provider("grok")


def test_a_row_with_few_models_names_them():
    error = error_of(anyllm.completion_stream(ctx(), {**PARAMS, "model": "local/gpt-4o"}))
    assert type(error) is ModelNotFoundError
    assert "only smollm2" in str(error)
    assert error.param == "model"


# -- keys --------------------------------------------------------------------------------------------------------------


def keys_sent(server: Any) -> List[Optional[str]]:
    return [request.headers.get("authorization") for request in server.requests]


@pytest.mark.parametrize(("name", "env_var"), [("openai", "OPENAI_API_KEY"), ("openrouter", "OPENROUTER_API_KEY")])
def test_an_unset_key_names_its_variable(name: str, env_var: str):
    error = error_of(anyllm.completion_stream(ctx(), {**PARAMS, "model": f"{name}/m"}))
    assert type(error) is MissingAPIKeyError
    assert (error.env_var, error.provider) == (env_var, name)
    assert env_var in str(error)


@pytest.mark.parametrize("empty", ["", "  ", lambda: ""])
def test_an_empty_key_is_a_missing_one(empty: Any, monkeypatch: pytest.MonkeyPatch):
    """`os.environ.get("KEY", "")` gives one: no other key may be used, and no request is sent."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    error = error_of(anyllm.completion_stream(ctx(), {**PARAMS, "model": "openai/m"}, api_key=empty))
    assert type(error) is MissingAPIKeyError
    assert "api_key is empty: set OPENAI_API_KEY or pass api_key=" in str(error)
    with serve(GOOD) as server:
        anyllm.completion_stream(ctx(), PARAMS, provider="openai", base_url=server.url, api_key=empty).collect()
        assert keys_sent(server) == [None]


def test_a_user_in_the_url_is_sent_unless_there_is_a_key():
    with serve(GOOD) as server:
        url = server.url.replace("//", "//me:pass%20word@")
        for key in (None, "key"):
            anyllm.completion_stream(ctx(), PARAMS, provider="compatible", base_url=url, api_key=key).collect()
        assert keys_sent(server) == ["Basic bWU6cGFzcyB3b3Jk", "Bearer key"]


def test_an_explicit_key_wins_over_the_environment_and_a_calls_over_its_provider(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GROQ_API_KEY", "from-the-environment")
    with serve(GOOD) as server:
        monkeypatch.setenv("GROQ_BASE_URL", server.url)
        provider = anyllm.provider("groq", api_key="of-the-provider")
        anyllm.provider("groq").completion_stream(ctx(), PARAMS).collect()
        provider.completion_stream(ctx(), PARAMS).collect()
        provider.completion_stream(ctx(), PARAMS, api_key="of-the-call").collect()
        anyllm.completion_stream(ctx(), PARAMS, provider=provider, api_key="of-the-call").collect()
        assert keys_sent(server) == [
            *("Bearer from-the-environment", "Bearer of-the-provider", "Bearer of-the-call", "Bearer of-the-call")
        ]
        provider.close()


def test_the_second_name_of_a_variable_is_read_too(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OPENROUTER_API_KEY", "  ")
    monkeypatch.setenv("OPEN_ROUTER_API_KEY", " old-name-key\n")
    with serve(GOOD) as server:
        monkeypatch.setenv("OPENROUTER_API_BASE", server.url)
        anyllm.completion_stream(ctx(), {**PARAMS, "model": "openrouter/m"}).collect()
        assert keys_sent(server) == ["Bearer old-name-key"]


def test_a_callable_key_is_called_once_for_each_attempt_on_the_workers_thread():
    """A token that expires while a retry waits is then a new one."""
    threads: List[str] = []

    def fresh() -> str:
        threads.append(threading.current_thread().name)
        return f"key-number-{len(threads)}"

    retry = anyllm.StreamingOptions(retry=anyllm.Retry(backoff=0))
    with serve(Reply.error(503), Reply.error(500), GOOD) as server:
        provider = anyllm.provider("compatible", base_url=server.url, api_key=fresh, options=retry)
        assert threads == []
        provider.completion_stream(ctx(), PARAMS).collect()
        provider.completion_stream(ctx(), PARAMS).collect()
        assert keys_sent(server) == [f"Bearer key-number-{n}" for n in (1, 2, 3, 4)]
        provider.close()
    assert threading.current_thread().name not in threads


def broken() -> str:
    raise OSError(f"vault says {KEY}")


def missing() -> str:
    raise MissingAPIKeyError("ask the vault", env_var="VAULT")


@pytest.mark.parametrize(
    ("key", "kind", "words"),
    [
        (broken, AuthenticationError, "api_key() failed: OSError"),
        (lambda: 5, AuthenticationError, "must return a str, not int"),
        (missing, MissingAPIKeyError, "ask the vault"),
    ],
)
def test_a_callable_key_that_fails_is_an_error_on_errors(key: Any, kind: type, words: str):
    error = error_of(anyllm.completion_stream(ctx(), PARAMS, provider="compatible", base_url="http://h", api_key=key))
    assert type(error) is kind
    assert words in str(error)
    assert KEY not in str(error)
    assert getattr(error, "env_var", "VAULT") == "VAULT"


def test_a_cancel_frees_the_caller_while_the_key_is_being_fetched():
    key_called, go = threading.Event(), threading.Event()

    def slow() -> str:
        key_called.set()
        go.wait(30)
        return KEY

    with serve(GOOD) as server:
        stream = anyllm.completion_stream(ctx(), PARAMS, provider="compatible", base_url=server.url, api_key=slow)
        assert key_called.wait(15)
        stream.cancel()
        assert isinstance(error_of(stream), anyllm.Cancelled)
        go.set()
    assert server.requests == []


def test_no_repr_shows_a_key():
    def key() -> str:
        return KEY

    url = f"https://me:{KEY}@example.invalid/v1?key={KEY}"
    provider = anyllm.provider("openai", api_key=KEY, base_url=url, headers={"api-key": KEY})
    target = provider._destination(None, None)
    assert target.secret == KEY
    params = anyllm.CompletionParams(model="m", messages=HELLO, extra_headers={"Authorization": KEY})
    spec = provider._completion_spec(params, "m", True, KEY, None, None)
    for thing in (provider, anyllm.provider("openai", api_key=key), target, params, spec.options, spec.transport):
        assert KEY not in repr(thing)
        assert KEY not in str(thing)
    assert "example.invalid" in repr(provider)
    assert KEY not in repr(anyllm.provider("openai", base_url=f"me:{KEY}@example.invalid"))


# -- addresses and headers ---------------------------------------------------------------------------------------------


def test_compatible_needs_a_base_url_and_no_key():
    error = error_of(anyllm.completion_stream(ctx(), {**PARAMS, "model": "compatible/m"}))
    assert type(error) is InvalidRequestError
    assert "pass base_url=" in str(error)
    with serve(GOOD) as server:
        anyllm.completion_stream(ctx(), {**PARAMS, "model": "compatible/m"}, base_url=f"{server.url}/v1/").collect()
        assert keys_sent(server) == [None]
        assert server.requests[0].path == "/v1/chat/completions"


def test_a_base_url_from_a_call_wins_over_its_provider_over_the_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MISTRAL_API_BASE", "http://of-the-environment.invalid/v1/")
    provider = anyllm.provider("mistral", api_key=KEY, base_url="http://of-the-provider.invalid")
    assert (
        anyllm.provider("mistral", api_key=KEY)._destination(None, None).base_url
        == "http://of-the-environment.invalid/v1"
    )
    assert provider._destination(None, None).base_url == "http://of-the-provider.invalid"
    assert provider._destination(None, "http://of-the-call.invalid/x/").base_url == "http://of-the-call.invalid/x"
    monkeypatch.delenv("MISTRAL_API_BASE")
    assert anyllm.provider("mistral", api_key=KEY)._destination(None, None).base_url == "https://api.mistral.ai/v1"


def test_headers_of_the_provider_and_of_a_call_are_sent_and_the_calls_win():
    with serve(GOOD) as server:
        provider = anyllm.provider("compatible", base_url=server.url, headers={"X-A": "provider", "X-B": "provider"})
        params = {**PARAMS, "extra_headers": {"x-b": "call", "authorization": "Bearer own"}}
        provider.completion_stream(ctx(), params, api_key=KEY).collect()
        headers = server.requests[0].headers
        assert (headers["x-a"], headers["x-b"], headers["authorization"]) == ("provider", "call", "Bearer own")
        provider.close()


def test_a_session_of_the_callers_is_used_and_never_changed():
    with requests.Session() as session, serve(Reply.sse(chat_events("hi"), headers={"Set-Cookie": "a=1"})) as server:
        session.headers["X-Mine"] = "yes"
        before = dict(session.headers), dict(session.adapters), session.auth, session.verify, dict(session.proxies)
        provider = anyllm.provider(
            "compatible", base_url=server.url, session=session, api_key=KEY, headers={"X-Y": "z"}
        )
        for _ in range(2):
            assert provider.completion_stream(ctx(), PARAMS).collect().content == "hi"
        after = dict(session.headers), dict(session.adapters), session.auth, session.verify, dict(session.proxies)
        assert after == before
        assert len(session.cookies) == 0
        assert [request.headers["x-mine"] for request in server.requests] == ["yes", "yes"]
        assert keys_sent(server) == [f"Bearer {KEY}"] * 2


def test_calls_with_many_keys_share_one_pool():
    with serve(GOOD) as server:
        provider = anyllm.provider("compatible", base_url=server.url)
        for number in range(300):
            provider.completion_stream(ctx(), PARAMS, api_key=f"key-number-{number}").collect()
        session = provider._transport.session()
        assert server.connections < 30  # the next call may begin before the last one has returned its connection
        assert len(session.adapters) == 2
        assert len(session.get_adapter(server.url).poolmanager.pools) == 1
        assert len({*keys_sent(server)}) == 300
        provider.close()


def test_a_closed_provider_can_be_used_again():
    with serve(GOOD) as server:
        provider = anyllm.provider("compatible", base_url=server.url)
        for _ in range(2):
            assert provider.completion_stream(ctx(), PARAMS).collect().content == "hi"
            provider.close()
        assert server.connections == 2


# -- options -----------------------------------------------------------------------------------------------------------


def test_options_of_a_call_win_over_those_of_its_provider(monkeypatch: pytest.MonkeyPatch):
    """They may be plain dicts."""
    used: List[Any] = []
    monkeypatch.setattr("anyllm._stream.stream.stream", lambda ctx, spec: used.append(spec.options))
    for options, of_the_call in (
        (ONCE.evolve(buffer=3), ONCE),
        ({"retry": {"attempts": 1}, "buffer": 3}, {"retry": {"attempts": 1}}),
    ):
        provider = anyllm.provider("openai", options=options, timeouts={"idle": 7})
        provider.completion_stream(ctx(), PARAMS)
        anyllm.completion_stream(ctx(), PARAMS, provider=provider)
        provider.completion_stream(ctx(), PARAMS, options=of_the_call)
    of_the_provider = ONCE.evolve(buffer=3, timeouts=anyllm.Timeouts(idle=7))
    assert used == [of_the_provider, of_the_provider, ONCE] * 2
    anyllm.completion_stream(ctx(), {**PARAMS, "model": "openai/m"})
    assert used[-1] == anyllm.StreamingOptions()


def test_capabilities_are_data():
    for row in lookup.ROWS:
        provider = anyllm.provider(row.name)
        assert provider.name == row.name
        assert provider.capabilities.completion is True
    assert anyllm.provider("local").capabilities.tools is False


# -- mistakes ----------------------------------------------------------------------------------------------------------

CTX = anyllm.Context()
WRONG_CALLS: List[Any] = [
    lambda call: call(),
    lambda call: call(PARAMS),
    lambda call: call(CTX),
    lambda call: call(PARAMS, CTX),
    lambda call: call(None, PARAMS),
    lambda call: call(30, PARAMS),
    lambda call: call(params=PARAMS),
    lambda call: call(ctx=CTX),
    lambda call: call(ctx=PARAMS, params=CTX),
    lambda call: call(model="openai/m", messages=HELLO),
    lambda call: call(CTX, model="openai/m", messages=HELLO),
]


@pytest.mark.parametrize("name", ["completion_stream", "completion"])
@pytest.mark.parametrize("wrong", range(len(WRONG_CALLS)))
def test_a_missing_or_swapped_context_is_answered_with_the_right_call(name: str, wrong: int):
    for call in (getattr(anyllm, name), getattr(anyllm.provider("openai"), name)):
        with pytest.raises(
            TypeError, match=rf"anyllm\.{name}\(anyllm\.Context\(timeout=60\), anyllm\.CompletionParams"
        ):
            WRONG_CALLS[wrong](call)


#: Wrong in a call and in a provider.
WRONG_SETTINGS: List[Any] = [
    ({"api_key": 5}, "api_key"),
    ({"api_key": b"bytes"}, "api_key"),
    ({"base_url": 5}, "base_url"),
    ({"options": 5}, "expected StreamingOptions or a dict, not int"),
    ({"options": {"bufer": 3}}, "did you mean 'buffer'"),
    ({"nonsense": 5}, "nonsense"),
]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"params": {**PARAMS, "temprature": 1}}, "has no 'temprature'; did you mean 'temperature'?"),
        ({"params": {**PARAMS, "temperature": "hot"}}, "temperature"),
        ({"params": {"model": "openai/m"}}, "messages"),
        ({"params": "hello"}, "CompletionParams or a dict"),
        ({"provider": 5}, "provider must be a name or a Provider, not int"),
        *WRONG_SETTINGS,
    ],
)
def test_wrong_types_raise_where_the_call_stands(wrong: Any, words: str):
    arguments = {"ctx": CTX, "params": {**PARAMS, "model": "openai/m"}, **wrong}
    for call in (anyllm.completion_stream, anyllm.completion):
        with pytest.raises(TypeError, match=words):
            call(**arguments)
    assert anyllm.active_streams() == 0


@pytest.mark.parametrize(
    ("wrong", "words"), [({"name": 5}, "provider must be a name"), ({"timeouts": 5}, "Timeouts"), *WRONG_SETTINGS]
)
def test_wrong_types_raise_where_a_provider_is_made(wrong: Any, words: str):
    with pytest.raises(TypeError, match=words):
        anyllm.provider(**{"name": "openai", **wrong})


def test_params_of_a_call_may_be_a_dict_or_the_class():
    with serve(GOOD) as server:
        for params in (PARAMS, anyllm.CompletionParams(**PARAMS)):  # type: ignore[arg-type]
            anyllm.completion_stream(ctx(), params, provider="compatible", base_url=server.url).collect()
        first, second = (request.body for request in server.requests)
    assert first == second


def test_a_call_of_an_unknown_provider_has_no_provider():
    params = anyllm.CompletionParams(model="x", messages=HELLO)
    spec = registry._spec_for(
        "x", None, lambda host, model: host._completion_spec(params, model, True, None, None, None)
    )
    assert isinstance(spec, call_spec.CallSpec)
    assert spec.provider == ""


@pytest.mark.parametrize("form", ["{host}:{port}", "http://{host}:{port}", "http://{host}:{port}/"])
def test_ollama_is_where_its_own_variable_says(form: str, monkeypatch: pytest.MonkeyPatch):
    done = {"model": "m", "message": {"role": "assistant", "content": "Hi"}, "done": True, "done_reason": "stop"}
    with serve(Reply.ndjson([done])) as server:
        monkeypatch.setenv("OLLAMA_HOST", form.format(host="127.0.0.1", port=server.url.rpartition(":")[2]))
        answer = anyllm.completion_stream(ctx(), {**PARAMS, "model": "ollama:llama3.2:1b"}).collect()
        assert (answer.content, answer.finish_reason) == ("Hi", "stop")
        assert server.requests[0].path == "/api/chat"
        assert server.requests[0].json()["model"] == "llama3.2:1b"


def test_an_address_of_ollama_that_is_none_is_an_error(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OLLAMA_HOST", "host:port")
    error = error_of(anyllm.completion_stream(ctx(), {**PARAMS, "model": "ollama/m"}))
    assert isinstance(error, InvalidRequestError)
    assert error.param == "base_url"


@pytest.mark.parametrize(
    ("base_url_path", "path"),
    [
        ("", "/v1beta/models/m:streamGenerateContent?alt=sse"),
        ("/", "/v1beta/models/m:streamGenerateContent?alt=sse"),
        ("/v1", "/v1/models/m:streamGenerateContent?alt=sse"),
        ("/gateway/v1beta1/", "/gateway/v1beta1/models/m:streamGenerateContent?alt=sse"),
        ("?key=1", "/v1beta/models/m:streamGenerateContent?alt=sse&key=1"),
    ],
)
def test_geminis_url_has_a_version(base_url_path: str, path: str):
    event = {"candidates": [{"content": {"parts": [{"text": "Hi"}]}, "finishReason": "STOP"}]}
    with serve(Reply.sse([event], done=False)) as server:
        stream = anyllm.completion_stream(
            ctx(), {**PARAMS, "model": "gemini/m"}, base_url=server.url + base_url_path, api_key="key"
        )
        assert stream.collect().content == "Hi"
        (request,) = server.requests
        assert (request.path, request.headers["x-goog-api-key"]) == (path, "key")
        assert "authorization" not in request.headers


@pytest.mark.parametrize("row", lookup.ROWS, ids=lambda row: row.name)
def test_a_row_speaks_its_dialect_under_its_own_name(row: lookup.Row):
    assert row.dialect is row.dialect
    assert row.dialect.provider == row.name  # type: ignore[attr-defined]
    error = row.dialect.error(429, {}, b"{}")
    assert (error.provider, error.status_code) == (row.name, 429)


def test_only_the_dialect_that_is_spoken_is_loaded():
    code = (
        "import sys, anyllm; anyllm.provider('openai'); before = 'anyllm.wire.gemini.dialect' in sys.modules; "
        "anyllm.provider('gemini'); print(before, 'anyllm.wire.gemini.dialect' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["False", "True"]


def test_a_new_provider_with_openais_format_is_one_row(monkeypatch: pytest.MonkeyPatch):
    """Base URL, key and switches are all there is to say; streams, whole answers, vectors and models follow."""
    with serve(GOOD) as server:
        row = chat("new-host", server.url, ("NEW_HOST_API_KEY",), think_tags="split")
        monkeypatch.setitem(lookup._BY_NAME, "new_host", row)
        monkeypatch.setenv("NEW_HOST_API_KEY", "its-own-key")
        answer = anyllm.completion_stream(ctx(), {**PARAMS, "model": "new-host/m"}).collect()
        assert answer.provider == "new-host"
        assert answer.content
        assert keys_sent(server) == ["Bearer its-own-key"]


@pytest.mark.usefixtures("fast_switches")
def test_threads_that_are_first_share_one_provider(spawn: Any):
    """Else each has its own connection pool, and all but one stay open."""
    for _ in range(50):
        registry._shared.cache_clear()
        together = threading.Barrier(6)

        def first(together: threading.Barrier = together) -> Any:
            together.wait(TIMEOUT)
            return registry.provider_for("groq")

        assert len({id(task.join()) for task in [spawn(first) for _ in range(6)]}) == 1


def test_a_provider_has_no_other_public_names():
    public = {name for name in dir(anyllm.provider("openai", api_key=KEY)) if not name.startswith("_")}
    calls = {"completion_stream", "completion", "embedding", "list_models"}
    assert public == {"name", "capabilities", "dialect", "close", *calls}


def test_stream_in_the_params_must_agree_with_the_call():
    provider = fake("well")
    ctx = anyllm.Context(timeout=60)
    assert provider.completion(ctx, {**PARAMS, "stream": False}).content == "well"
    assert provider.completion_stream(ctx, {**PARAMS, "stream": True}).collect().content == "well"
    with pytest.raises(TypeError, match=r"for stream=True call completion_stream\(\), or leave stream out"):
        provider.completion(ctx, {**PARAMS, "stream": True})
    with pytest.raises(TypeError, match=r"for stream=False call completion\(\), or leave stream out"):
        anyllm.completion_stream(ctx, {**PARAMS, "stream": False}, provider=provider)
