"""The command line: its output, its order, and its exit status."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from conftest import ROOT

import anyllm
from anyllm.cli import _main, main
from anyllm.cli._main import commands
from anyllm.cli._model import DEFAULT_MODEL, choose
from anyllm.cli._options import parse_options
from anyllm.errors import LocalUnavailableError
from anyllm.providers.table import lookup
from anyllm.testing import Cut, Reply, Server, Signal, Stall, chat_events, serve

ANYLLM = [sys.executable, "-m", "anyllm"]
TIMEOUT = 120  # seconds
SECRET = "sk-verysecret-0123456789"
#: Restores the signal handlers of a foreground process, in case the tests run in the background.
INTERRUPTIBLE = [
    sys.executable,
    "-c",
    "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])",
    *ANYLLM,
]
posix_only = pytest.mark.skipif(os.name == "nt", reason="signals and terminals of POSIX")


def environment(**extra: str) -> dict[str, str]:
    """The environment without variables that change the command line's behaviour."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not re.search(
            r"_API_KEY$|_PAT$|_TOKEN$|_SECRET_KEY$|_BASE_URL$|_API_BASE$|_PROXY$|^ANYLLM_(MODEL|OFFLINE)$|^PYTHON",
            name,
            re.I,
        )
    }
    return {**environment, "PYTHONPATH": str(ROOT), **extra}


def run(
    *args: str, command: list[str] = ANYLLM, stdin: Any = "", stdout: Any = subprocess.PIPE, **extra: str
) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    input_arguments: dict[str, Any] = {"input": stdin} if isinstance(stdin, str) else {"stdin": stdin}
    return subprocess.run(
        [*command, *args],
        stdout=stdout,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        timeout=TIMEOUT,
        env=environment(**extra),
        cwd=ROOT,
        **input_arguments,
    )


def answered(reply: Reply, *args: str, **extra: Any) -> subprocess.CompletedProcess[str]:
    """Run the command with a server that gives this reply."""
    with serve(reply) as server:
        return run("--base-url", server.url, *args, "Hi", **extra)


@contextlib.contextmanager
def start(
    command: list[str], *args: str, stdin: int = subprocess.DEVNULL, **extra: str
) -> Iterator[subprocess.Popen[str]]:
    """Start the command. Should it hang it is killed, which frees a read from its pipes."""
    with subprocess.Popen(
        [*command, *args],
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        env=environment(**extra),
        cwd=ROOT,
    ) as process:
        watchdog = threading.Timer(TIMEOUT, process.kill)
        watchdog.start()
        try:
            yield process
        finally:
            watchdog.cancel()
            process.kill()


def messages_of(server: Server, nth: int = -1) -> Any:
    """The messages of a request."""
    return server.requests[nth].json()["messages"]


def one_line(stderr: str) -> str:
    """The text on stderr, which must be one line of ours without a traceback."""
    assert re.fullmatch(r"anyllm: [^\n]+\n", stderr), stderr
    return stderr.strip()


def interrupted(process: subprocess.Popen[str]) -> tuple[str, str, int]:
    """The rest of stdout, stderr and the status after Ctrl-C."""
    process.send_signal(signal.SIGINT)
    return (*process.communicate(timeout=TIMEOUT), process.returncode)


@pytest.fixture
def paris() -> Iterator[Server]:
    with serve(Reply.sse(chat_events("The capital is Paris."))) as server:
        yield server


# -- the answer --------------------------------------------------------------------------------------------------------


def test_the_answer_goes_to_stdout_with_one_newline_and_nothing_to_stderr(paris: Server) -> None:
    done = run("--base-url", paris.url, "What", "is it?")
    assert (done.stdout, done.stderr, done.returncode) == ("The capital is Paris.\n", "", 0)
    assert messages_of(paris) == [{"role": "user", "content": "What is it?"}]


@pytest.mark.parametrize(("pieces", "output"), [(["Paris.", "\n"], "Paris.\n"), ([], "")])
def test_no_newline_is_added_to_one_or_to_nothing(pieces: list[str], output: str) -> None:
    done = answered(Reply.sse(chat_events(pieces)))
    assert (done.stdout, done.stderr, done.returncode) == (output, "", 0)


@pytest.mark.parametrize("format_", ["text", "ndjson"])
def test_each_piece_is_shown_before_the_next_one_comes(format_: str) -> None:
    go_on = threading.Event()
    first, *rest = chat_events(["Hello", " world"], role=False)
    with serve(Reply.sse([first, Stall(go_on), *rest])) as server:  # noqa: SIM117  # Python 3.9 has no brackets here
        with start(ANYLLM, "--base-url", server.url, "--format", format_, "Hi") as process:
            assert process.stdout is not None
            assert "Hello" in (process.stdout.read(5) if format_ == "text" else process.stdout.readline())
            go_on.set()
            _, stderr = process.communicate(timeout=TIMEOUT)
    assert (stderr, process.returncode) == ("", 0)


def test_the_system_prompt_and_parameters_are_sent(paris: Server) -> None:
    run(
        *("--base-url", paris.url, "-s", "Be brief", "-o", "temperature", "0.2", "-o", "stop", '["a"]'),
        *("-o", "user", "42", "-o", "extra_body", '{"top_k": 3}', "-m", "openai/gpt-4o-mini", "Hi"),
    )
    body = paris.requests[0].json()
    assert body["messages"][0] == {"role": "system", "content": "Be brief"}
    assert (body["temperature"], body["stop"], body["user"], body["top_k"]) == (0.2, ["a"], "42", 3)
    assert body["model"] == "gpt-4o-mini"


def test_options_may_stand_after_the_prompt(paris: Server) -> None:
    assert run("Hi", "--base-url", paris.url).returncode == 0
    assert messages_of(paris)[0]["content"] == "Hi"


def test_the_environment_names_the_model_and_the_command_line_wins(paris: Server) -> None:
    run("--base-url", paris.url, "Hi", ANYLLM_MODEL="openai/one")
    run("--base-url", paris.url, "-m", "openai/two", "Hi", ANYLLM_MODEL="openai/one")
    assert [request.json()["model"] for request in paris.requests] == ["one", "two"]


def test_json_is_one_whole_answer(paris: Server) -> None:
    done = run("--base-url", paris.url, "--format", "json", "Hi")
    answer = anyllm.ChatCompletion.from_dict(json.loads(done.stdout))
    assert (answer.content, answer.finish_reason) == ("The capital is Paris.", "stop")
    assert done.stdout.count("\n") == 1


def test_ndjson_is_a_chunk_a_line(paris: Server) -> None:
    lines = run("--base-url", paris.url, "--format", "ndjson", "Hi").stdout.splitlines()
    chunks = [anyllm.ChatCompletionChunk.from_dict(json.loads(line)) for line in lines]
    assert "".join(chunk.content for chunk in chunks) == "The capital is Paris."
    assert chunks[-1].usage is not None


@pytest.mark.parametrize("format_", ["text", "json", "ndjson"])
def test_no_stream_asks_for_the_answer_in_one_piece(format_: str) -> None:
    message = {"role": "assistant", "content": "Paris."}
    whole = {"id": "x", "object": "chat.completion", "created": 1, "model": "m"}
    whole["choices"] = [{"index": 0, "message": message, "finish_reason": "stop"}]
    with serve(Reply.json(whole)) as server:
        done = run("--base-url", server.url, "--no-stream", "--format", format_, "Hi")
        assert not server.requests[0].json().get("stream")
    text = done.stdout if format_ == "text" else anyllm.ChatCompletion.from_dict(json.loads(done.stdout)).content
    assert text.strip() == "Paris."
    assert (done.stderr, done.returncode) == ("", 0)


@pytest.mark.parametrize("reason", ["length", "content_filter"])
def test_a_cut_answer_is_reported_on_stderr(reason: str) -> None:
    done = answered(Reply.sse(chat_events("The capital", finish_reason=reason)))
    assert (done.stdout, done.returncode) == ("The capital\n", 0)
    assert one_line(done.stderr) == f"anyllm: the answer was cut off: {reason}"


def test_tool_calls_and_refusals_are_not_silent() -> None:
    call = {"index": 0, "id": "c", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    calls = [{"choices": [{"index": 0, "delta": {"tool_calls": [call]}, "finish_reason": "tool_calls"}]}]
    refusal = [{"choices": [{"index": 0, "delta": {"refusal": "I will not."}, "finish_reason": "stop"}]}]
    assert "weather" in one_line(answered(Reply.sse(calls)).stderr)
    assert "I will not." in one_line(answered(Reply.sse(refusal)).stderr)


@pytest.mark.parametrize("format_", ["text", "json", "ndjson"])
@pytest.mark.parametrize(
    ("encoding", "text", "escaped"), [("ascii", "caf? ?\n", "caf\\u00e9"), ("utf-8", "café \ufffd\n", "café")]
)
def test_a_console_that_cannot_encode_the_answer_does_not_crash(
    format_: str, encoding: str, text: str, escaped: str
) -> None:
    """Providers that cut text by bytes send half an emoji; a bare container's encoding is ASCII."""
    done = answered(Reply.sse(chat_events(["café ", "\ud83d"])), "--format", format_, PYTHONIOENCODING=encoding)
    assert (done.stderr, done.returncode) == ("", 0)
    if format_ == "text":
        assert done.stdout == text
    else:
        assert all(json.loads(line) for line in done.stdout.splitlines())
        assert escaped in done.stdout  # nothing is lost


# -- the prompt --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stdin", "prompt", "content"),
    [
        ("line 1\nline 2\n", ["Summarise"], "line 1\nline 2\n\nSummarise"),
        ("What is it?\n", [], "What is it?"),
        ("", ["Hi"], "Hi"),
        ("\n \n", ["Hi"], "Hi"),
    ],
)
def test_piped_text_comes_before_the_prompt_parted_by_an_empty_line(
    paris: Server, stdin: str, prompt: list[str], content: str
) -> None:
    assert run("--base-url", paris.url, *prompt, stdin=stdin).returncode == 0
    assert messages_of(paris)[0]["content"] == content


@posix_only
def test_closed_standard_input_adds_nothing(paris: Server) -> None:
    done = run("--base-url", paris.url, "Hi", command=["sh", "-c", 'exec "$@" <&-', "sh", *ANYLLM])
    assert (done.stderr, done.returncode) == ("", 0)
    assert messages_of(paris)[0]["content"] == "Hi"


def piped(tmp_path: Path, data: bytes, *args: str) -> subprocess.CompletedProcess[str]:
    (tmp_path / "piped").write_bytes(data)
    with open(tmp_path / "piped", "rb") as stdin:
        return run(*args, stdin=stdin)


def test_piped_bytes_that_are_not_utf8_are_replaced_with_a_notice(paris: Server, tmp_path: Path) -> None:
    done = piped(tmp_path, "café\n".encode("latin-1"), "--base-url", paris.url, "Hi")
    assert done.returncode == 0
    assert messages_of(paris)[0]["content"] == "caf\ufffd\n\nHi"
    assert "not UTF-8: 1 of 5 characters" in one_line(done.stderr)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_piped_text_with_a_byte_order_mark_is_read(paris: Server, tmp_path: Path, encoding: str) -> None:
    """Windows PowerShell writes UTF-16 into files."""
    done = piped(tmp_path, "\x1b[31mcafé ☕\x1b[0m\n".encode(encoding), "--base-url", paris.url)
    assert (done.stderr, done.returncode) == ("", 0)
    assert messages_of(paris)[0]["content"] == "\x1b[31mcafé ☕\x1b[0m"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\x7fELF\2\1\1\0\0", "standard input is not text in UTF-8"),
        (bytes(range(128, 256)), "standard input is not text in UTF-8"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", r"image/png, which only a program.*ContentPart.from_image\(\)"),
        (b"%PDF-1.7\n%\xe2\xe3", r"application/pdf.*ContentPart.from_file\(\)"),
        (b"ID3\4\0\0\0", r"audio/mpeg.*ContentPart.from_audio\(\)"),
    ],
)
def test_a_file_that_is_no_text_is_refused(paris: Server, tmp_path: Path, data: bytes, words: str) -> None:
    done = piped(tmp_path, data, "--base-url", paris.url, "What is it?")
    assert (done.stdout, done.returncode) == ("", 2)
    assert re.search(words, one_line(done.stderr))
    assert not paris.requests


def test_a_double_dash_makes_a_prompt_of_a_command_and_of_a_dash(paris: Server) -> None:
    run("--base-url", paris.url, "--", "doctor")
    run("--base-url", paris.url, "--", "-5 plus 3?")
    assert [messages_of(paris, nth)[0]["content"] for nth in (0, 1)] == ["doctor", "-5 plus 3?"]
    done = run("--", "local", ANYLLM_MODEL="nowhere/x")  # the first word, and still no command
    assert "nowhere" in one_line(done.stderr)


@pytest.fixture
def terminal() -> Iterator[int]:
    """The descriptor of a terminal, as standard input."""
    pty = pytest.importorskip("pty")
    other_end, stdin = pty.openpty()
    yield stdin
    os.close(stdin)
    os.close(other_end)


@posix_only
def test_no_arguments_on_a_terminal_show_help(terminal: int) -> None:
    done = run(stdin=terminal, ANYLLM_MODEL="openai/gpt-4o-mini")
    assert done.stdout.startswith("Usage: anyllm ")
    assert "--base-url" in done.stdout
    assert "doctor" in done.stdout
    assert (done.stderr, done.returncode) == ("", 0)
    done = run("-m", "openai/gpt-4o-mini", stdin=terminal)
    assert "no prompt" in one_line(done.stderr)
    assert done.returncode == 2


@posix_only
def test_a_terminal_is_not_read_for_a_prompt(paris: Server, terminal: int) -> None:
    assert run("--base-url", paris.url, "Hi", stdin=terminal).returncode == 0


# -- errors ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ([], "no prompt"),
        (["-o", "tempereture", "1", "Hi"], "did you mean 'temperature'"),
        (["-o", "temperature", "hot", "Hi"], "temperature must be"),
        (["-o", "temperature", "NaN", "Hi"], "temperature must be"),
        (["-o", "model", "openai/x", "Hi"], "-o has no 'model'"),
        (["--base-url", "localhost:8000", "Hi"], "http://"),
        (["--timeout", "-1", "Hi"], "--timeout"),
        (["--timeout", "nan", "Hi"], "--timeout"),
        (["--format", "xml", "Hi"], "ndjson"),
        (["--api-key", "Hi"], "--api-key"),
        (["-5 plus 3?"], "goes after `--`"),
        (["local", "food"], "`anyllm -- local ...`"),
        (["doctor", "who"], "`anyllm -- doctor ...`"),
        (["-m", "gpt-4o", "Hi"], "openai/gpt-4o"),
        (["-m", "opnai/gpt-4o", "Hi"], "did you mean 'openai'? There are"),
        (["--formt", "json", "Hi"], "? (see `anyllm --help`)"),
        (["--api-key", "x", "Hi"], "keys are read from the environment"),
        (["doctr"], "did you mean 'doctor'? To ask a model, write `anyllm -- doctr`"),
        (["provider"], "did you mean 'providers'?"),
        (["serve", "--port", "x"], "(see `anyllm serve --help`)"),
        (["models", "--timeout", "-1"], "must not be negative"),
        (["models", "--base-url", "localhost:1"], "http://"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_status_2(
    args: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(args) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert says in one_line(err)


def test_a_group_without_a_command_shows_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    """The help was one long line."""
    main(["local"])
    output = "".join(capsys.readouterr())
    assert output.startswith("Usage: anyllm local")
    assert "\n  download" in output


def test_the_word_help_alone_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["help"]) == 0
    assert capsys.readouterr().out.startswith("Usage: anyllm")


@pytest.mark.parametrize("words", [["dock"], ["models?"], ["doctr", "who"], ["--", "doctr"]])
def test_a_word_unlike_any_command_is_a_prompt(paris: Server, words: list[str]) -> None:
    done = run(*words, ANYLLM_MODEL="compatible/m", COMPATIBLE_BASE_URL=paris.url)
    assert (done.stdout, done.returncode) == ("The capital is Paris.\n", 0)


def test_models_of_a_base_url_alone_are_those_of_that_server() -> None:
    """Every provider whose key is set was asked at that URL."""
    with serve(Reply.json({"data": [{"id": "qwen3"}]})) as server:
        done = run("models", "--base-url", server.url, OPENAI_API_KEY=SECRET)
        assert len(server.requests) == 1
    assert done.stdout == "compatible/qwen3\n"


def test_there_is_no_option_for_keys_and_its_value_is_not_printed(capsys: pytest.CaptureFixture[str]) -> None:
    for args in (["--api-key", SECRET, "Hi"], [f"--api-key={SECRET}", "Hi"]):
        assert main(args) == 2
        assert SECRET not in "".join(capsys.readouterr())


@pytest.mark.parametrize("format_", ["text", "json", "ndjson"])
def test_a_key_from_the_environment_is_sent_and_never_shown(format_: str) -> None:
    refusal = {"error": {"message": f"Incorrect API key provided: {SECRET}.", "code": "invalid_api_key"}}
    with serve(Reply.error(401, refusal)) as server:
        done = run(
            *("-m", "openai/gpt-4o-mini", "--format", format_, "Hi"), OPENAI_API_KEY=SECRET, OPENAI_BASE_URL=server.url
        )
        assert server.requests[0].headers["authorization"] == f"Bearer {SECRET}"
    assert done.returncode == 1
    assert one_line(done.stderr).startswith("anyllm: openai: 401 invalid_api_key: Incorrect API key")
    assert SECRET not in done.stdout + done.stderr
    if format_ != "text":
        assert json.loads(done.stdout)["error"]["status_code"] == 401


def test_a_key_of_another_provider_is_not_sent_to_a_base_url(paris: Server) -> None:
    run("-m", "openai/gpt-4o-mini", "--base-url", paris.url, "Hi", OPENAI_API_KEY=SECRET)
    assert "authorization" not in paris.requests[0].headers


def test_a_missing_key_is_reported_with_its_variable_and_status_1(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    assert main(["-m", "openai/gpt-4o-mini", "Hi"]) == 1
    line = one_line(capsys.readouterr().err)
    assert "OPENAI_API_KEY" in line
    assert "api_key=" not in line


@pytest.mark.parametrize("format_", ["text", "json", "ndjson"])
def test_an_error_after_some_text_stands_on_its_own_line(format_: str) -> None:
    events = chat_events(["Hello", " world"], finish_reason=None, usage=False)
    done = answered(Reply.sse([*events, Cut("eof")]), "--format", format_)
    assert done.returncode == 1
    one_line(done.stderr)
    if format_ == "text":
        assert done.stdout == "Hello world\n"
        return
    last = json.loads(done.stdout.splitlines()[-1])
    assert last["error"]["class"] == "ConnectionLostError"
    if format_ == "json":
        assert anyllm.ChatCompletion.from_dict(last["partial"]).content == "Hello world"


def test_html_with_control_characters_is_still_one_harmless_line() -> None:
    done = answered(Reply.error(400, "<html>\n\n<h1>\x1b[31mBad\x07</h1>\r\n</html>"))
    assert one_line(done.stderr).isprintable()
    assert done.returncode == 1


def test_a_timeout_is_status_124_after_the_text_so_far() -> None:
    first, *_ = chat_events(["Hello"], role=False)
    done = answered(Reply.sse([first, Stall()]), "--timeout", "3")
    assert (done.stdout, done.returncode) == ("Hello\n", 124)
    assert "took longer than --timeout 3" in one_line(done.stderr)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (anyllm.StreamTimeoutError(clock="idle", seconds=1), 124),
        (anyllm.DeadlineExceeded(), 124),
        (anyllm.LocalUnavailableError(), 3),
        (anyllm.UnsupportedProviderError(), 2),
        (anyllm.MissingAPIKeyError(env_var="X"), 1),
        (anyllm.NetworkError(), 1),
    ],
)
def test_each_kind_of_error_has_its_status(
    error: anyllm.AnyLLMError, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(anyllm, "completion_stream", fail)
    assert main(["-m", "openai/x", "Hi"]) == status


def test_an_unavailable_local_model_is_status_3(tmp_path: Path) -> None:
    done = run("-m", DEFAULT_MODEL, "Hi", ANYLLM_CACHE=str(tmp_path), ANYLLM_OFFLINE="1")
    assert done.returncode == 3
    one_line(done.stderr)


def test_a_failing_thread_is_one_line_too(paris: Server) -> None:
    """The library logs the traceback of a bug; Python prints it if no logging is set up."""
    broken = "from anyllm._stream import pump; pump.Pump._read = None"
    program = f"import sys; {broken}; from anyllm.cli import main; sys.exit(main())"
    done = run("--base-url", paris.url, "Hi", command=[sys.executable, "-c", program])
    assert "TypeError" in one_line(done.stderr)
    assert done.returncode == 1


def test_an_unforeseen_exception_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("first\nsecond")

    monkeypatch.setattr(anyllm, "completion_stream", broken)
    assert main(["-m", "openai/x", "Hi"]) == 1
    assert one_line(capsys.readouterr().err) == "anyllm: unexpected RuntimeError: first second"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_a_full_disk_is_one_line(paris: Server) -> None:
    with open("/dev/full", "w") as full:
        done = run("--base-url", paris.url, "Hi", stdout=full)
    assert one_line(done.stderr).startswith("anyllm: standard output: ")
    assert done.returncode == 1


# -- ends of other kinds -----------------------------------------------------------------------------------------------


@posix_only
@pytest.mark.parametrize(("format_", "output"), [("text", "Hello\n"), ("json", "")])
def test_ctrl_c_cancels_and_is_status_130_after_the_text_so_far(format_: str, output: str) -> None:
    sent = threading.Event()
    first, *_ = chat_events(["Hello"], role=False)
    with serve(Reply.sse([first, Signal(sent), Stall()])) as server:
        with start(INTERRUPTIBLE, "--base-url", server.url, "--format", format_, "Hi") as process:
            assert process.stdout is not None
            assert sent.wait(TIMEOUT)
            out = process.stdout.read(5) if format_ == "text" else ""
            rest, stderr, status = interrupted(process)
        assert server.wait_closed(TIMEOUT)
    assert (out + rest, stderr, status) == (output, "", 130)


@posix_only
def test_ctrl_c_before_the_answer_is_status_130() -> None:
    has_request = threading.Event()
    with serve(Reply(before_headers=[Signal(has_request), Stall()])) as server:
        with start(INTERRUPTIBLE, "--base-url", server.url, "Hi") as process:
            assert has_request.wait(TIMEOUT)
            assert interrupted(process) == ("", "", 130)
        assert server.wait_closed(TIMEOUT)


@posix_only
def test_ctrl_c_while_standard_input_is_read_is_status_130() -> None:
    with start(INTERRUPTIBLE, "--base-url", "http://127.0.0.1:9", "Hi", stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        # More than a pipe holds: when the write returns, the command is reading, so it has started.
        process.stdin.write("x" * 200_000)
        process.stdin.flush()
        # A signal between two reads is only seen after the second one, so it may take a second signal.
        for _ in range(TIMEOUT):
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(1)
                break
        assert process.returncode == 130
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_ctrl_c_in_any_other_place_is_status_130_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(anyllm, "completion_stream", interrupt)
    assert _main._run(["-m", "openai/x", "Hi"]) == 130
    monkeypatch.setattr(_main, "_run", interrupt)
    assert main(["Hi"]) == 130


@posix_only
def test_closed_standard_output_is_no_error(paris: Server) -> None:
    done = run("--base-url", paris.url, "Hi", command=["sh", "-c", 'exec "$@" >&-', "sh", *ANYLLM])
    assert (done.stderr, done.returncode) == ("", 0)


@pytest.mark.parametrize("format_", ["text", "ndjson"])
def test_a_closed_pipe_ends_quietly_and_cancels(format_: str) -> None:
    go_on = threading.Event()
    first, *rest = chat_events(["Hello\n", *["more\n"] * 50], role=False)
    with serve(Reply.sse([first, Stall(go_on), *rest, Stall()])) as server:
        with start(ANYLLM, "--base-url", server.url, "--format", format_, "Hi") as process:
            assert process.stdout is not None
            assert "Hello" in process.stdout.readline()
            process.stdout.close()
            go_on.set()
            assert process.wait(TIMEOUT) == 0
            assert process.stderr is not None
            assert process.stderr.read() == ""
        assert server.wait_closed(TIMEOUT)


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize("arguments", ["--help", "doctor", "--base-url $URL Hi"])
def test_head_reads_one_line_without_an_error(arguments: str) -> None:
    with serve(Reply.sse(chat_events(["line\n"] * 5000))) as server:
        script = f"set -o pipefail; {ANYLLM[0]} -m anyllm {arguments} | head -1"
        done = run(command=["bash", "-c", script], URL=server.url)
    assert done.stdout.count("\n") == 1
    assert (done.stderr, done.returncode) == ("", 0)


# -- which model -------------------------------------------------------------------------------------------------------


def test_without_a_model_the_local_one_answers_with_a_notice(monkeypatch: pytest.MonkeyPatch) -> None:
    for row in lookup.ROWS:
        for name in row.key_vars:
            monkeypatch.delenv(name, raising=False)
    bare = choose(None, None)
    assert bare.model == DEFAULT_MODEL
    assert bare.notice is not None
    assert "-m PROVIDER/MODEL" in bare.notice
    assert "ANYLLM_MODEL" in bare.notice
    assert "openai" not in bare.notice
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    monkeypatch.setenv("SNOWFLAKE_PAT", SECRET)  # which is of no use without a base URL
    notice = choose(None, None).notice
    assert notice is not None
    assert "-m openai/gpt-4o-mini" in notice
    assert "snowflake" not in notice
    assert SECRET not in notice


URL = "http://localhost:8000/v1"


@pytest.mark.parametrize(
    ("model", "base_url", "provider"),
    [
        *((model, URL, "compatible") for model in ("llama3", "meta-llama/Llama-3.1-8B-Instruct", "qwen2.5:7b")),
        *((model, None, None) for model in ("llama3", "meta-llama/Llama-3.1-8B-Instruct", "qwen2.5:7b")),
        ("openai/gpt-4o-mini", URL, None),
    ],
)
def test_with_a_base_url_a_model_without_a_provider_is_the_servers_own_name(
    model: str, base_url: str | None, provider: str | None
) -> None:
    assert choose(model, base_url) == (model, provider, None)
    assert choose(None, URL).provider == "compatible"


@pytest.mark.parametrize(("options", "temperature"), [([], None), (["-o", "temperature", "1"], 1)])
def test_the_default_model_is_called_like_any_other(
    options: list[str], temperature: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    received: list[anyllm.CompletionParams] = []

    def stop_here(_ctx: Any, params: anyllm.CompletionParams, **_: Any) -> None:
        received.append(params)
        raise LocalUnavailableError("enough")

    monkeypatch.setattr(anyllm, "completion_stream", stop_here)
    monkeypatch.delenv("ANYLLM_MODEL", raising=False)
    assert main([*options, "Hi"]) == 3
    assert (received[0].model, received[0].temperature) == (DEFAULT_MODEL, temperature)


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("temperature", "0.2", 0.2),
        ("max_tokens", "7", 7),
        ("stop", "END", "END"),
        ("stop", '["a", "b"]', ["a", "b"]),
        ("stop", "5", "5"),
        ("user", "true", "true"),
        ("logprobs", "true", True),
        ("reasoning_effort", "high", "high"),
        ("tool_choice", '{"type": "function"}', {"type": "function"}),
        ("temperature", "null", None),
    ],
)
def test_an_option_is_json_where_its_key_takes_that_and_text_otherwise(key: str, text: str, value: Any) -> None:
    assert parse_options([(key, text)]) == {key: value}


# -- the other commands ------------------------------------------------------------------------------------------------


def test_the_version_is_printed() -> None:
    for args in (["--version"], ["-m", "openai/x", "--version"]):
        result = CliRunner().invoke(commands, args)
        assert (result.exit_code, result.output.strip()) == (0, f"anyllm, version {anyllm.__version__}")


@pytest.mark.parametrize("args", [["-h"], ["--help"], ["prompt", "--help"], ["local", "--help"], ["doctor", "-h"]])
def test_every_command_has_help(args: list[str]) -> None:
    result = CliRunner().invoke(commands, args)
    assert result.exit_code == 0
    assert result.output.startswith("Usage: anyllm")


def test_help_explains_keys_and_exit_status() -> None:
    text = " ".join(CliRunner().invoke(commands, ["--help"]).output.split())
    assert "API keys are read from the environment only" in text
    assert "124 out of time" in text
    assert "comes before the prompt" in text


def test_a_file_that_is_not_the_model_is_not_imported(tmp_path: Path) -> None:
    (tmp_path / "other.gguf").write_bytes(b"GGUF")
    done = run("local", "import", str(tmp_path / "other.gguf"), ANYLLM_CACHE=str(tmp_path / "cache"))
    assert done.returncode == 3
    assert "Expected" in one_line(done.stderr)
    assert done.stdout == ""


def test_offline_nothing_is_downloaded(tmp_path: Path) -> None:
    done = run("local", "download", ANYLLM_CACHE=str(tmp_path), ANYLLM_OFFLINE="1")
    assert done.returncode == 3
    assert "ANYLLM_OFFLINE" in one_line(done.stderr)


def test_a_plain_prompt_imports_no_other_command() -> None:
    program = "import sys, anyllm.cli; print(*sorted({'cattrs', 'sseclient', 'xllamacpp'} & set(sys.modules)))"
    done = run(command=[sys.executable, "-c", program])
    assert (done.stdout.strip(), done.stderr) == ("", "")


# -- a real model ------------------------------------------------------------------------------------------------------


@pytest.mark.model
def test_without_a_model_a_real_one_answers_with_one_line_of_notice(weights: Path) -> None:
    done = run("What is the capital of France? Answer in one sentence.")
    assert "Paris" in done.stdout
    assert done.stdout.endswith("\n")
    assert DEFAULT_MODEL in one_line(done.stderr)  # and nothing of llama.cpp's own log
    assert done.returncode == 0


@pytest.mark.model
@posix_only
def test_ctrl_c_stops_the_real_model_too(weights: Path) -> None:
    endless = ["-o", "extra_body", '{"ignore_eos": true}']  # or it may have come to its end before
    with start(INTERRUPTIBLE, "-m", DEFAULT_MODEL, *endless, "Count from 1 to 500, one number a line.") as process:
        assert process.stdout is not None
        out = process.stdout.read(5)
        rest, stderr, status = interrupted(process)
    assert (stderr, status) == ("", 130)
    assert (out + rest).endswith("\n")


@pytest.mark.model
def test_the_real_weights_are_imported_and_their_path_printed(weights: Path, tmp_path: Path) -> None:
    done = run("local", "import", str(weights), ANYLLM_CACHE=str(tmp_path))
    assert (done.stdout.strip(), done.stderr) == (str(tmp_path / weights.name), "")
    assert (tmp_path / weights.name).stat().st_size == weights.stat().st_size


# -- lists -------------------------------------------------------------------------------------------------------------

MODELS = {"data": [{"id": "a/b"}, {"id": "c"}]}


def test_providers_say_which_keys_are_set():
    ran = run("providers", OPENAI_API_KEY=SECRET)
    lines = dict(line.split(None, 1) for line in ran.stdout.splitlines())
    assert lines.keys() == {row.name for row in lookup.ROWS}
    assert lines["openai"] == "OPENAI_API_KEY is set"
    assert lines["openrouter"] == "OPENROUTER_API_KEY or OPEN_ROUTER_API_KEY"
    assert lines["vllm"] == "VLLM_API_KEY (needs none)"
    assert lines["local"] == "needs no key"
    listed = json.loads(run("providers", "--format", "json", GROQ_API_KEY="x").stdout)
    providers = {about["name"]: about for about in listed}
    assert [name for name, about in providers.items() if about["key_is_set"]] == ["groq"]
    assert providers["openai"]["capabilities"]["embedding"] is True
    assert SECRET not in ran.stdout


def test_models_can_follow_m():
    with serve(Reply.json(MODELS)) as server:
        ran = run("models", "groq", "--base-url", server.url)
        assert (ran.stdout, ran.stderr, ran.returncode) == ("groq/a/b\ngroq/c\n", "", 0)
        listed = json.loads(run("models", "groq", "--base-url", server.url, "--format", "json").stdout)
        assert [model["raw"] for model in listed] == MODELS["data"]


def test_models_of_every_provider_whose_key_is_set():
    with serve(Reply.json(MODELS)) as good, serve(Reply.error(401, {"error": {"message": "wrong key"}})) as bad:
        hosts = {"GROQ_BASE_URL": good.url, "MISTRAL_API_BASE": bad.url}
        ran = run("models", GROQ_API_KEY=SECRET, MISTRAL_API_KEY=SECRET, **hosts)
    assert ran.stdout == "groq/a/b\ngroq/c\n"
    assert "mistral: 401" in ran.stderr
    assert "wrong key" in ran.stderr
    assert SECRET not in ran.stderr
    assert ran.returncode == 1


def test_models_without_keys_prints_a_hint():
    ran = run("models")
    assert (ran.stdout, ran.returncode) == ("", 0)
    assert "anyllm providers" in ran.stderr
    ran = run("models", "opnai")
    assert ran.returncode == 2
    assert "did you mean 'openai'?" in ran.stderr
    assert run("models", "snowflake", "--base-url", "http://127.0.0.1:9").stderr.startswith("anyllm: snowflake: ")
