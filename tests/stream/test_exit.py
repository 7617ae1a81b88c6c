"""The interpreter's exit with live streams: at once, clean and quiet, whatever the workers are doing."""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import Any, Callable, Dict, Tuple

import loopback
import pytest
from conftest import TIMEOUT
from loopback import silent_after

from anyllm.testing import Reply, Stall, chat_events, serve

HEAD = """
import sys, threading
import anyllm

PARAMS = {{"model": "m", "messages": [{{"role": "user", "content": "Say something."}}]}}
host = anyllm.provider("compatible", base_url={url!r})
ctx = anyllm.Context()
streams = [host.completion_stream(ctx, PARAMS) for _ in range(3)]
"""


def _exits(process: subprocess.Popen[str], code: int = 0) -> str:
    try:
        output, _ = process.communicate(timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        output, _ = process.communicate(timeout=TIMEOUT)
    assert process.returncode == code, output
    return output


FIRST = "for stream in streams: stream.chunks.get()\n"
SILENT = silent_after(threading.Event())
BEFORE_A_RETRY = """
import threading
from anyllm._stream import recovery
decide, waiting = recovery.pause_before_retry, threading.Semaphore(0)
def deciding(*args):
    waiting.release()
    return decide(*args)
recovery.pause_before_retry = deciding
"""
IN_THREADS = """
started = threading.Barrier(4)
def consume(stream):
    started.wait(10)
    for chunk in stream.chunks:
        pass
for stream in streams:
    threading.Thread(target=consume, args=[stream], daemon=True).start()
started.wait(10)
"""
#: The server's reply; the program before the streams start, and after it.
EXITS: Dict[str, Tuple[Reply, str, str]] = {
    "in the body": (SILENT, "", FIRST),
    "sys.exit": (SILENT, "", FIRST + "sys.exit(0)"),
    "dropped": (SILENT, "", FIRST + "del streams"),
    "cancelled": (SILENT, "", FIRST + "ctx.cancel()"),
    "the provider is closed": (SILENT, "", FIRST + "host.close()"),
    "right after the start": (Reply(before_headers=[Stall()]), "", ""),
    "with full queues": (Reply.sse(chat_events(["word "] * 2000)), "", FIRST),
    "before a retry": (
        Reply.error(503, "busy", headers={"Retry-After": "30"}),
        BEFORE_A_RETRY,
        "for _ in streams: assert waiting.acquire(timeout=10)",
    ),
    "with consumers in daemon threads": (SILENT, "", IN_THREADS),
}


@pytest.mark.parametrize(("reply", "before", "after"), EXITS.values(), ids=EXITS)
def test_exit_is_clean(reply: Reply, before: str, after: str, script: Callable[..., Any]):
    with serve(reply) as server:
        assert _exits(script(before + HEAD.format(url=server.url) + after)) == ""
        assert server.wait_closed(TIMEOUT)


def test_exit_while_a_name_is_resolved_is_clean(script):
    """Nothing wakes that worker, so exit waits for it a moment, not for ever."""
    patch = "import socket, threading\nsocket.getaddrinfo = lambda *args: threading.Event().wait()\n"
    assert _exits(script(patch + HEAD.format(url="http://name.invalid"))) == ""


def test_exit_gives_readers_an_error(script):
    """Another exit handler, for example: one that was registered before the import of anyllm runs after ours."""
    before = """
import atexit
def late():
    errors = [stream.errors.get(timeout=10) for stream in streams]
    workers = [thread for thread in threading.enumerate() if thread.name == "anyllm-call"]
    print(*sorted(error.cause for error in errors), anyllm.active_streams(), len(workers), sep=", ")
atexit.register(late)
"""
    with serve(SILENT) as server:
        output = _exits(script(before + HEAD.format(url=server.url) + FIRST))
        assert output.strip() == ", ".join(["interpreter exit"] * 3 + ["0", "0"])


@pytest.mark.parametrize("timeout", [None, 1000])
def test_streams_started_at_exit_end_too(script, timeout):
    """
    Python 3.12 may start no thread at exit, no worker and no timer: the call ends at once, then, with that error.

    Before 3.12 the worker starts, and may deliver chunks before the cancel.
    """
    source = f"""
import atexit
def late():
    stream = host.completion_stream(anyllm.Context({timeout}), PARAMS)
    stream.cancel()
    error = stream.errors.get(timeout=10)
    texts = "".join(chunk.content or "" for chunk in stream.chunks)
    print(type(error).__name__, error, texts, anyllm.active_streams(), sep="|")
atexit.register(late)
"""
    with serve(SILENT) as server:
        output = _exits(script(HEAD.format(url=server.url) + source))
        assert server.wait_closed(TIMEOUT)
    error, message, texts, active = output.strip().split("|")
    assert active == "3"  # those from before
    if sys.version_info >= (3, 12) and error != "Cancelled":
        assert error == "AnyLLMError"
        assert "cannot start a thread" in message
        assert "shutdown" in message
        assert not texts
    else:
        assert error == "Cancelled"
        assert "one two".startswith(texts)


def test_an_uncaught_error_is_the_only_output(script):
    with serve(SILENT) as server:
        output = _exits(script(HEAD.format(url=server.url) + "raise LookupError('mine')"), code=1)
        assert output.count("Traceback") == 1
        assert output.strip().endswith("LookupError: mine")
        assert server.wait_closed(TIMEOUT)
    loopback.join_workers()
