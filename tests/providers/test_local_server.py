"""llama.cpp's server in this process: answers, silence on the terminal, forks, the end of the program."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import json
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from conftest import ROOT

import anyllm
from anyllm.errors import LocalUnavailableError
from anyllm.providers.local import MODEL, Endpoint, llama_cpp
from anyllm.providers.local import server as server_module

TIMEOUT = 300  # seconds
QUESTION = "What is the capital of France? Answer in one sentence."


@pytest.fixture(scope="module")
def endpoint(weights: Path) -> Iterator[Endpoint]:
    """A server in a child Python: this process forks in other tests, and should have no foreign threads."""
    program = """
        import sys
        from anyllm.providers.local import endpoint
        where = endpoint()
        print(where.base_url, where.api_key, flush=True)
        sys.stdin.read()
    """
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        assert child.stdout is not None
        yield Endpoint(*child.stdout.readline().split())
        child.communicate(timeout=TIMEOUT)
    finally:
        child.kill()
        child.communicate()
    assert child.returncode == 0


def ask(endpoint: Endpoint, question: str = QUESTION) -> requests.Response:
    messages = [{"role": "user", "content": question}]
    with requests.Session() as session:
        session.trust_env = False
        return session.post(
            f"{endpoint.base_url}/chat/completions",
            headers={"Authorization": f"Bearer {endpoint.api_key}"},
            json={"model": MODEL, "stream": True, "max_tokens": 40, "messages": messages},
            timeout=TIMEOUT,
        )


def content(endpoint: Endpoint, **params: Any) -> str:
    """The content of an answer to the question."""
    with contextlib.closing(
        anyllm.provider("compatible", api_key=endpoint.api_key, base_url=endpoint.base_url)
    ) as host:
        messages = [{"role": "user", "content": QUESTION}]
        return host.completion(
            anyllm.Context(timeout=TIMEOUT), {"model": MODEL, "messages": messages, **params}
        ).content


def text_of(response: requests.Response) -> str:
    assert response.status_code == 200, response.text
    lines = response.content.decode().splitlines()
    assert "data: [DONE]" in lines
    chunks = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
    return "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])


def run_script(body: str, status: int = 0, **environment: str) -> None:
    """Run a program in a child Python, with `ask(endpoint)` at hand; it prints nothing, and ends with *status*."""
    head = """
        import json, os, sys, threading, urllib.request
        from anyllm.providers.local import endpoint

        def opened(where, question, **more):
            body = {"messages": [{"role": "user", "content": question}], **more}
            headers = {"Authorization": "Bearer " + where.api_key, "Content-Type": "application/json"}
            url = where.base_url + "/chat/completions"
            request = urllib.request.Request(url, json.dumps(body).encode(), headers)
            return urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=200)

        def ask(where):
            with opened(where, "What is the capital of France? Answer in one sentence.") as response:
                return json.load(response)["choices"][0]["message"]["content"]
    """
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", textwrap.dedent(head) + textwrap.dedent(body)],
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )
    assert (done.returncode, done.stdout, done.stderr) == (status, "", "")


@pytest.mark.model
def test_streams_a_real_answer(endpoint: Endpoint) -> None:
    assert endpoint.base_url.startswith("http://127.0.0.1:")
    assert endpoint.base_url.endswith("/v1")
    response = ask(endpoint)
    assert "Paris" in text_of(response)
    assert f'"model":"{MODEL}"' in response.text, "the file's path is no model name"


@pytest.mark.model
@pytest.mark.parametrize("seed", range(4))
def test_a_request_without_sampling_parameters_is_answered_well(endpoint: Endpoint, seed: int) -> None:
    """At llama.cpp's own temperature so small a model names other capitals for every second seed."""
    assert content(endpoint, seed=seed, max_tokens=40) == "The capital of France is Paris."


@pytest.mark.model
def test_a_request_chooses_its_sampling_itself(endpoint: Endpoint) -> None:
    """Hot enough, the seeds differ."""
    assert len({content(endpoint, temperature=2, max_tokens=12, seed=seed) for seed in range(3)}) > 1


@pytest.mark.model
def test_requests_without_the_key_are_rejected(endpoint: Endpoint) -> None:
    for key in ("wrong", ""):
        assert ask(Endpoint(endpoint.base_url, key)).status_code == 401


@pytest.mark.model
def test_the_key_is_not_in_the_repr(endpoint: Endpoint) -> None:
    assert len(endpoint.api_key) >= 32
    assert endpoint.api_key not in repr(endpoint)


@pytest.mark.model
def test_four_streams_at_once_and_more_in_the_queue(endpoint: Endpoint) -> None:
    answers: list[str] = []
    barrier = threading.Barrier(llama_cpp.SLOTS + 2)

    def stream() -> None:
        barrier.wait(TIMEOUT)
        answers.append(text_of(ask(endpoint)))

    threads = [threading.Thread(target=stream, daemon=True) for _ in range(barrier.parties)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT)
    assert len(answers) == len(threads)
    assert all("Paris" in answer for answer in answers)


@pytest.mark.model
def test_each_slot_has_its_own_context(endpoint: Endpoint) -> None:
    """A runaway answer in one slot cannot take the context of the others."""
    headers = {"Authorization": f"Bearer {endpoint.api_key}"}
    slots = requests.get(endpoint.base_url[: -len("/v1")] + "/slots", headers=headers, timeout=TIMEOUT).json()
    assert [slot["n_ctx"] for slot in slots] == [llama_cpp.SLOT_CONTEXT] * llama_cpp.SLOTS


@pytest.mark.model
def test_all_threads_share_one_server(weights: Path) -> None:
    run_script("""
        found, barrier = [], threading.Barrier(8)
        def look():
            barrier.wait(200)
            found.append(endpoint())
        threads = [threading.Thread(target=look) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(200)
        assert len(found) == 8 and len(set(found)) == 1, found
    """)


@pytest.mark.model
def test_nothing_reaches_the_terminal_and_exit_is_clean(weights: Path) -> None:
    """Neither while loading and answering, nor at exit, nor when a request is refused."""
    run_script("""
        answer = ask(endpoint())
        assert "Paris" in answer, answer
        try:
            opened(endpoint(), "x", temperature="hot")
        except urllib.error.HTTPError as error:
            assert error.code == 400, error.code
            error.close()
    """)


@pytest.mark.model
def test_exit_with_live_streams_is_clean(weights: Path) -> None:
    """One client reads, one does not, both in the middle of endless answers."""
    program = """
        where = endpoint()
        options = {"stream": True, "ignore_eos": True}
        idle = opened(where, "Write a long story.", **options)
        idle.readline()
        started = threading.Event()
        def read():
            try:
                for line in opened(where, "Write a long story.", **options):
                    started.set()
            except Exception:
                pass
        threading.Thread(target=read, daemon=True).start()
        assert started.wait(200)
        sys.exit(5)
    """
    run_script(program, status=5)


@pytest.mark.model
def test_a_file_that_is_no_model_fails_typed_and_silent(weights: Path, tmp_path: Path) -> None:
    run_script(
        """
        from pathlib import Path
        from anyllm.errors import LocalUnavailableError
        from anyllm.providers.local import llama_cpp
        path = Path(os.environ["BAD_MODEL"])
        path.write_bytes(b"GGUF" + bytes(1000))
        try:
            llama_cpp.start(path, "key")
        except LocalUnavailableError as error:
            assert str(path) in str(error)
        else:
            raise AssertionError("it was loaded")
        """,
        BAD_MODEL=str(tmp_path / "bad.gguf"),
    )


FORK = """
    def wait(pid, seconds):
        import time
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.01)
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        return "the child hung"

    mine = endpoint()
    assert "Paris" in ask(mine)
    if os.environ["BUSY"] == "yes":
        busy = opened(mine, "Write a long story.", stream=True, ignore_eos=True, max_tokens=150)
        busy.readline()
    pid = os.fork()
    if pid == 0:
        if os.environ["USES"] == "yes":
            own = endpoint()
            assert own.base_url != mine.base_url and own.api_key != mine.api_key
            assert "Paris" in ask(own)
        sys.exit(7)
    status = wait(pid, 200)
    assert status == 7, status
    assert endpoint() is mine
    assert "Paris" in ask(mine)
"""


@pytest.mark.model
@pytest.mark.fork
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.parametrize("busy", ["yes", "no"])
@pytest.mark.parametrize("uses", ["yes", "no"])
def test_a_forked_child_has_its_own_server_and_ends_by_itself(weights: Path, uses: str, busy: str) -> None:
    """
    The library's destructors wait in the child for threads of the parent: without care every child of a
    process that used the model hangs at exit, even one that has nothing to do with it.
    """
    run_script(FORK, USES=uses, BUSY=busy)


def test_a_child_forked_while_another_thread_starts_the_server_is_not_locked_out() -> None:
    server = server_module._ProcessServer()
    assert server._lock.acquire(timeout=TIMEOUT)
    server.after_fork()
    assert server._lock.acquire(blocking=False)


def test_exit_does_not_wait_for_a_download_in_another_thread() -> None:
    server = server_module._ProcessServer()
    with server._lock:
        server.stop()


# Where it cannot work.


@pytest.mark.parametrize(
    ("version", "words"),
    [((3, 12, 1, "final", 0), "`pip install xllamacpp`"), ((3, 9, 18, "final", 0), r"needs Python 3\.10 or newer")],
)
def test_without_xllamacpp_the_error_names_the_package_or_the_python(
    version: Any, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, package=None: None)
    monkeypatch.setattr(sys, "version_info", version)
    with pytest.raises(LocalUnavailableError, match=words):
        server_module._ProcessServer().endpoint()


class FakeRun:
    """Stands for subprocess.run, and answers as the child would."""

    def __init__(self, code: int, stderr: str = "") -> None:
        self.code, self.stderr, self.calls = code, stderr, 0

    def __call__(self, command: list[str], **kwargs: Any) -> subprocess.CompletedProcess[str]:
        self.calls += 1
        return subprocess.CompletedProcess(command, self.code, "", self.stderr)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ANYLLM_CACHE", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("code", [-4, -11, 0xC000001D])
def test_a_processor_on_which_it_crashes_is_a_typed_error(
    code: int, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = FakeRun(code)
    monkeypatch.setattr(llama_cpp.subprocess, "run", run)
    for _ in range(2):  # a failure is not remembered: the package may be replaced
        with pytest.raises(LocalUnavailableError, match=r"crashes.*\((SIGILL|SIGSEGV|0xc000001d)\)"):
            llama_cpp.probe(cache / "model.gguf")
    assert run.calls == 2


def test_a_library_that_cannot_be_imported_is_a_typed_error(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trace = "Traceback\nImportError: libgomp.so.1: cannot open shared object file\n"
    monkeypatch.setattr(llama_cpp.subprocess, "run", FakeRun(1, trace))
    with pytest.raises(LocalUnavailableError, match=r"libgomp\.so\.1"):
        llama_cpp.probe()


def test_only_a_success_with_the_model_is_remembered(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = FakeRun(0)
    monkeypatch.setattr(llama_cpp.subprocess, "run", run)
    llama_cpp.probe()
    llama_cpp.probe(cache / "model.gguf")
    assert run.calls == 2
    llama_cpp.probe()
    llama_cpp.probe(cache / "model.gguf")
    assert run.calls == 2
    monkeypatch.setattr(llama_cpp.importlib.metadata, "version", lambda name: "another version")
    llama_cpp.probe(cache / "model.gguf")
    assert run.calls == 3


@pytest.mark.model
def test_the_probe_passes_here_and_fails_for_a_broken_model(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For real, in child processes."""
    monkeypatch.setenv("ANYLLM_CACHE", str(tmp_path))
    llama_cpp.probe()
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "bad.gguf").write_bytes(b"GGUF" + bytes(1000))
    with pytest.raises(LocalUnavailableError, match="does not work on this machine"):
        llama_cpp.probe(tmp_path / "bad.gguf")
    llama_cpp.probe(weights)
    assert list(tmp_path.glob("works-*")) != []


@pytest.mark.model
@pytest.mark.parametrize(("provider", "path"), [("compatible", "/v1"), ("anthropic", ""), ("openai-responses", "/v1")])
def test_a_real_model_answers_in_each_format_that_its_server_speaks(
    endpoint: Endpoint, provider: str, path: str
) -> None:
    host = anyllm.provider(provider, api_key=endpoint.api_key, base_url=endpoint.base_url[: -len("/v1")] + path)
    params = {"model": MODEL, "messages": [{"role": "user", "content": QUESTION}]}
    streamed = host.completion_stream(anyllm.Context(timeout=TIMEOUT), params).collect()
    whole = host.completion(anyllm.Context(timeout=TIMEOUT), params)
    for answer in (streamed, whole):
        assert "Paris" in answer.content
        assert answer.finish_reason == "stop"
        assert answer.usage is not None
        assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens > 0
    if host.capabilities.list_models:
        assert [model.id for model in host.list_models(anyllm.Context(timeout=TIMEOUT))] == [MODEL]
    host.close()
