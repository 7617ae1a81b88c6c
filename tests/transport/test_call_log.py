"""What the log says about a call, with ANYLLM_LOG or `StreamingOptions.debug`: all that helps, and never a key."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import ROOT

import anyllm
from anyllm._transport.call_log import _headers, _parse, _url
from anyllm.providers.table import lookup
from anyllm.testing import Reply, chat_events, serve

TIMEOUT = 60  # seconds, for what hangs
SECRET = "sk-verysecret-0123456789"
PARAMS = {"model": "m", "messages": [{"role": "user", "content": f"The words of the user, and {SECRET}."}]}
LOGGED = anyllm.StreamingOptions(debug=True, retry=anyllm.Retry(attempts=1))
PROGRAM = f"""
import logging, sys, threading
import anyllm
provider = anyllm.provider("compatible", base_url=sys.argv[1] + "?code=hidden-value&api-version=7", api_key={SECRET!r})
params = {PARAMS!r}
print(provider.completion_stream(anyllm.Context(timeout=30), params).collect().content)
[thread.join(30) for thread in threading.enumerate() if thread.name == "anyllm-call"]  # which has a last word
logger = logging.getLogger("anyllm")
print(len(logger.handlers), logger.level, logging.getLogger().handlers)
"""


def run(*args: str, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    ours = {name: value for name, value in os.environ.items() if name not in ("ANYLLM_LOG", "PYTHONPATH")}
    env = {**ours, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run(
        [sys.executable, *args], input=stdin, env=env, capture_output=True, text=True, timeout=TIMEOUT
    )


@pytest.fixture
def echo() -> Iterator[Any]:
    """A host that repeats the key at once, as some do in their errors."""
    with serve(lambda _: Reply.sse(chat_events(["Paris ", SECRET]))) as server:
        yield server


# -- the environment ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["debug", "DEBUG", "debug,body", "body"])
def test_the_environment_shows_what_is_sent_and_what_comes(echo: Any, value: str) -> None:
    done = run("-c", PROGRAM, echo.url, ANYLLM_LOG=value)
    log = done.stderr
    assert done.returncode == 0
    assert re.search(rf"request: POST {echo.url}/chat/completions\?code=\[hidden\]&api-version=7; ", log)
    assert "Authorization: Bearer [key]" in log
    assert "User-Agent: anyllm-channels/" in log  # what requests adds is sent, too
    assert "answered: HTTP 200, text/event-stream; Content-Type:" in log
    assert "answer begins: 'data: {" in log
    assert "call ended: complete" in log
    assert ("The words of the user, and [key]." in log) is ("body" in value)
    assert SECRET not in log
    assert "hidden-value" not in log


@pytest.mark.parametrize(("value", "handlers", "level"), [("", 0, 0), ("info", 1, 20), ("warning", 1, 30)])
def test_other_values_show_no_call_and_none_sets_nothing_up(echo: Any, value: str, handlers: int, level: int) -> None:
    done = run("-c", PROGRAM, echo.url, ANYLLM_LOG=value)
    assert done.stderr == ""
    assert done.stdout.splitlines()[1] == f"{handlers} {level} []"


def test_a_value_that_is_none_of_these_is_said_once(echo: Any) -> None:
    done = run("-c", PROGRAM, echo.url, ANYLLM_LOG="verbose")
    assert re.fullmatch(
        r".*WARNING anyllm: ANYLLM_LOG is 'verbose': it can be debug, info or warning;.*\n", done.stderr
    )


@pytest.mark.parametrize("value", ["debug,info", "debug;body", "1"])
def test_what_cannot_be_meant_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="ANYLLM_LOG is"):
        _parse(value)


def test_the_command_line_shows_it_too(echo: Any) -> None:
    command = ("-m", "anyllm", "--base-url", echo.url, "Hi")
    done = run(*command, ANYLLM_LOG="debug", COMPATIBLE_API_KEY=SECRET, COMPATIBLE_BASE_URL=echo.url)
    assert done.returncode == 0
    assert f"request: POST {echo.url}/chat/completions; " in done.stderr
    assert "Bearer [key]" in done.stderr
    assert SECRET not in done.stderr
    assert run(*command).stderr == ""


GATEWAY = """
import logging, sys, urllib.request
from anyllm.cli import _serve
from anyllm.gateway import Config, Gateway, GatewayServer
_serve._log_to_stderr()
made = GatewayServer(Gateway(Config(server={"port": 0})))
made.start()
url = f"http://127.0.0.1:{made.port}/v1/chat/completions"
body = b'{"model": "compatible/m", "messages": [{"role": "user", "content": "Hi"}], "stream": true}'
urllib.request.urlopen(urllib.request.Request(url, body, {"Content-Type": "application/json"})).read()
made.stop()
"""


def test_the_gateway_shows_it_too_and_no_line_twice(echo: Any) -> None:
    pytest.importorskip("waitress")
    done = run("-c", GATEWAY, ANYLLM_LOG="debug", COMPATIBLE_BASE_URL=echo.url, COMPATIBLE_API_KEY=SECRET)
    assert done.returncode == 0, done.stderr
    assert f"request: POST {echo.url}/chat/completions; " in done.stderr
    assert done.stderr.count('"path": "/v1/chat/completions"') == 1
    assert SECRET not in done.stderr


# -- the option --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", [row for row in lookup.ROWS if not row.models], ids=lambda row: row.name)
def test_no_key_of_any_provider_is_shown(row: Any, caplog: pytest.LogCaptureFixture) -> None:
    """In whatever header each sends it, or what it signs with it; the host repeats it all."""

    if row.name.startswith("bedrock"):
        pytest.importorskip("botocore")  # which signs

    def repeat(request: Any) -> Reply:
        return Reply.json({"error": {"message": f"no {request.headers} {SECRET}"}}, status=400)

    key = f"id:{SECRET}" if row.key_pair_vars or row.sign else SECRET
    with serve(repeat) as server, caplog.at_level(logging.DEBUG, "anyllm"):
        provider = anyllm.provider(row.name, api_key=key, base_url=server.url, options=LOGGED)
        stream = provider.completion_stream(anyllm.Context(timeout=30), {**PARAMS, "model": "anthropic.claude-x"})
        assert list(stream.chunks) == []
        error = stream.errors.get()
        assert server.requests, error
    log = "\n".join(record.getMessage() for record in caplog.records)
    assert "answer begins" in log
    assert SECRET not in log + str(error)
    for value in server.requests[0].headers.values():
        if SECRET in value or "Signature" in value:
            assert value.rpartition(" ")[2] not in log


def test_headers_that_are_no_secrets_are_shown() -> None:
    """Limits count tokens, which is no reason to hide them."""
    assert _headers({"X-Api-Key": SECRET, "Set-Cookie": "a=b; c"}) == "X-Api-Key: [key]; Set-Cookie: [key]"
    harmless = {"x-ratelimit-remaining-tokens": "149984", "x-request-id": "req_1"}
    assert _headers(harmless) == "x-ratelimit-remaining-tokens: 149984; x-request-id: req_1"


def test_urls_show_neither_users_nor_unknown_parameters() -> None:
    assert _url("https://u:p@host.example/v1?alt=sse&key=k&sig=s&empty=") == (
        "https://host.example/v1?alt=sse&key=[hidden]&sig=[hidden]&empty=[hidden]"
    )


def test_secrets_in_a_body_are_hidden_by_their_names(echo: Any) -> None:
    """A tool's server has a key of its own, which is not that of the call."""
    tool = {"mcp": {"authorization": 'other"secret', "max_tokens": 5}}
    program = PROGRAM.replace("print(provider", f"params['extra_body'] = {tool!r}\nprint(provider")
    done = run("-c", program, echo.url, ANYLLM_LOG="debug,body")
    assert '"mcp":{"authorization":"[key]","max_tokens":5}' in done.stderr
    assert "secret" not in done.stderr.replace("[key]", "")


def test_nothing_is_made_when_nobody_listens(monkeypatch: pytest.MonkeyPatch, echo: Any) -> None:
    """What the log costs when it is off: one look at each call."""
    monkeypatch.setattr("anyllm._transport.call_log.CallLog.__init__", lambda *_: pytest.fail("a log was made"))
    logging.getLogger("anyllm").setLevel(logging.WARNING)
    try:
        for options in (LOGGED, anyllm.StreamingOptions()):
            stream = anyllm.completion_stream(
                anyllm.Context(timeout=30), PARAMS, provider="compatible", base_url=echo.url, options=options
            )
            assert stream.collect().content.startswith("Paris")
    finally:
        logging.getLogger("anyllm").setLevel(logging.NOTSET)
