"""
From a cancel to its effect, in each phase of a call: until the consumer is freed, and until the worker thread has ended
and the server has seen the connection close. Beside it: neighbours on a pool whose connections are cancelled as they
complete, and streams that are abandoned.

    python benchmarks/cancel_latency.py [TRIALS]

Server and client share one process, so the figures contain the server's threads noticing. Exit status 1 when a bar is
missed.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import random
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import anyllm
from anyllm.testing import Reply, Stall, blackhole, chat_events, serve

#: Milliseconds at the 99th percentile.
FREED_BAR, GONE_BAR = 20.0, 50.0
PATIENCE = 30.0
PARAMS = {"model": "m", "messages": [{"role": "user", "content": "Say something."}]}
OFF = anyllm.Timeouts(connect=None, first_content=None, idle=None)
ONE_TRY = anyllm.StreamingOptions(retry=anyllm.Retry(attempts=1), timeouts=OFF)

#: A phase gives a provider, what waits until a stream is there, and what waits until its connection is closed.
Phase = tuple[anyllm.Provider, Callable[[anyllm.Stream], Any], Callable[[], Any]]


def _provider(url: str, **kwargs: Any) -> anyllm.Provider:
    kwargs.setdefault("options", ONE_TRY)
    return anyllm.provider("compatible", base_url=url, **kwargs)


def _until(condition: Callable[[], Any]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("a phase was not reached, or not left")
        time.sleep(0.0002)


@contextlib.contextmanager
def _resolving() -> Iterator[Phase]:
    """The worker cannot be woken here: it is let go only so that the next trial can begin."""
    asked, answer = threading.Semaphore(0), threading.Semaphore(0)

    def resolve(*args: Any) -> Any:
        asked.release()
        answer.acquire()
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    original, socket.getaddrinfo = socket.getaddrinfo, resolve  # type: ignore[assignment]
    try:
        yield _provider("http://name.invalid"), lambda _: asked.acquire(timeout=PATIENCE), answer.release
    finally:
        socket.getaddrinfo = original


@contextlib.contextmanager
def _connecting() -> Iterator[Phase]:
    with blackhole() as (host, port):
        before = _unanswered(port)
        yield (
            _provider(f"http://{host}:{port}"),
            lambda _: _until(lambda: _unanswered(port) > before),
            lambda: _until(lambda: _unanswered(port) <= before),
        )


def _unanswered(port: int) -> int:
    with open("/proc/net/tcp") as table:
        return sum(f":{port:04X} 02 " in line for line in table)


@contextlib.contextmanager
def _shaking_hands() -> Iterator[Phase]:
    """With a server that reads what the client says first, and says nothing."""
    heard, left = threading.Semaphore(0), threading.Semaphore(0)

    def listen() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                with client, contextlib.suppress(ConnectionError):
                    client.recv(65536)
                    heard.release()
                    client.recv(1)
                left.release()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=listen, daemon=True).start()
        yield (
            _provider(f"https://127.0.0.1:{listener.getsockname()[1]}"),
            lambda _: heard.acquire(timeout=PATIENCE),
            lambda: left.acquire(timeout=PATIENCE),
        )
        listener.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def _served(reply: Reply, reached: str = "text", tls: Any = None, **kwargs: Any) -> Iterator[Phase]:
    with serve(reply, tls=tls and tls[0]) as server:
        trials = iter(range(1, 1_000_000))

        def here(stream: anyllm.Stream) -> None:
            server.wait_for_requests(next(trials), PATIENCE)
            if reached == "text":
                _until(lambda: stream.partial.content == "one two")
            elif reached == "full":
                _until(stream.chunks.full)

        provider = _provider(server.url, verify=tls and tls[1], **kwargs)
        yield provider, here, lambda: server.wait_closed(PATIENCE)


@contextlib.contextmanager
def _before_a_retry() -> Iterator[Phase]:
    """Its connection is idle meanwhile, and stays: it is good for the next call."""
    from anyllm._stream import recovery

    waiting = threading.Semaphore(0)
    decide = recovery.pause_before_retry

    def deciding(*args: Any) -> Any:
        waiting.release()
        return decide(*args)

    recovery.pause_before_retry = deciding  # type: ignore[assignment]
    options = ONE_TRY.evolve(retry=anyllm.Retry(attempts=5))
    try:
        with serve(Reply.error(503, "busy", headers={"Retry-After": "60"})) as server:
            provider = _provider(server.url, options=options)
            yield provider, lambda _: waiting.acquire(timeout=PATIENCE), lambda: None
            provider.close()
    finally:
        recovery.pause_before_retry = decide


def _silent_after_text(framing: str) -> Reply:
    events = chat_events("one two", finish_reason=None, usage=False)
    return Reply.sse([*events, Stall(), "never sent"], done=False, framing=framing)


def _tls() -> Any:
    """A server's context and the bundle that trusts it, or None where trustme is not installed."""
    try:
        import ssl

        import trustme
    except ImportError:
        return None
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    bundle = Path(tempfile.mkdtemp(prefix="anyllm-benchmark-")) / "ca.pem"
    authority.cert_pem.write_to_path(str(bundle))
    return context, str(bundle)


def phases() -> dict[str, Callable[[], Any]]:
    found: dict[str, Callable[[], Any]] = {
        "name resolution": _resolving,
        "connecting": _connecting,
        "TLS handshake": _shaking_hands,
        "header wait": lambda: _served(Reply(before_headers=[Stall()]), reached="request"),
    }
    for framing in ("chunked", "length", "close"):
        found[f"body, {framing}"] = lambda framing=framing: _served(_silent_after_text(framing))
    tls = _tls()
    if tls:
        for framing in ("chunked", "close"):
            found[f"body, {framing}, TLS"] = lambda framing=framing: _served(_silent_after_text(framing), tls=tls)
    many = Reply.sse(chat_events(["word "] * 2000))
    found["full queue"] = lambda: _served(many, reached="full", options=ONE_TRY.evolve(buffer=4))
    found["retry wait"] = _before_a_retry
    return found


# -- measuring ---------------------------------------------------------------------------------------------------------


def measure(trials: int = 200) -> dict[str, dict[str, float]]:
    """For each phase, milliseconds from the cancel: median and 99th percentile, freed and gone."""
    return {name: _measured(enter, trials, name != "name resolution") for name, enter in phases().items()}


def _measured(enter: Callable[[], Any], trials: int, with_worker: bool) -> dict[str, float]:
    freed, gone = [], []
    with enter() as phase:
        for _ in range(trials):
            until_freed, until_gone = _trial(*phase, with_worker)
            freed.append(until_freed)
            gone.append(until_gone)
    figures = {"freed_p50_ms": _percentile(freed, 50), "freed_p99_ms": _percentile(freed, 99)}
    if with_worker:
        figures |= {"gone_p50_ms": _percentile(gone, 50), "gone_p99_ms": _percentile(gone, 99)}
    return figures


def _trial(provider: anyllm.Provider, reached: Any, closed: Any, with_worker: bool) -> tuple[float, float]:
    ctx = anyllm.Context()
    stream = provider.completion_stream(ctx, PARAMS)
    worker = stream._pump._runner
    reached(stream)
    freed: list[float] = []

    def consume() -> None:
        if not stream.chunks.full():
            for _ in stream.chunks:
                pass
        error = stream.errors.get(timeout=PATIENCE)
        freed.append(time.perf_counter())
        assert type(error) is anyllm.Cancelled, error

    consumer = threading.Thread(target=consume)
    consumer.start()
    _until(lambda: stream.chunks._pipe.receivers or stream.errors._pipe.receivers)
    began = time.perf_counter()
    ctx.cancel()
    if not with_worker:
        consumer.join(PATIENCE)
        closed()
    worker.join(PATIENCE)
    if with_worker:
        closed()
    gone = time.perf_counter()
    consumer.join(PATIENCE)
    assert not worker.is_alive
    return (freed[0] - began) * 1e3, (gone - began) * 1e3


def _percentile(values: list[float], percent: int) -> float:
    values = sorted(values)
    return round(values[min(len(values) - 1, len(values) * percent // 100)], 3)


def neighbours(streams: int = 2000, cancels: int = 1000, threads: int = 4) -> dict[str, int]:
    """How many of *streams* came whole while *cancels* raced completion on the same pool."""
    whole, harmed = [], []
    with serve(Reply.sse(chat_events("Hello big world", usage=False))) as server:
        provider = _provider(server.url)

        def live() -> None:
            for _ in range(streams // threads):
                try:
                    good = provider.completion_stream(anyllm.Context(), PARAMS).collect().content == "Hello big world"
                except anyllm.AnyLLMError:
                    good = False
                (whole if good else harmed).append(1)

        def cancel(chance: random.Random) -> None:
            for _ in range(cancels // threads):
                stream = provider.completion_stream(anyllm.Context(), PARAMS)
                for _ in range(chance.choice((0, 1, 3, 4, 4, 4, 5, 5, 5))):  # mostly at the very end
                    stream.chunks.get(timeout=PATIENCE)
                stream.cancel()

        tasks = [threading.Thread(target=live) for _ in range(threads)]
        tasks += [threading.Thread(target=cancel, args=[random.Random(seed)]) for seed in range(threads)]
        for task in tasks:
            task.start()
        for task in tasks:
            task.join()
        figures = {
            "neighbours": len(whole) + len(harmed),
            "harmed": len(harmed),
            "cancels": cancels // threads * threads,
        }
        return {**figures, "connections": server.connections}


def abandoned(streams: int = 300) -> dict[str, Any]:
    """What is left of *streams* that are let go of at random points, and how soon nothing is."""
    chance = random.Random(7)
    events = chat_events("a b c d e f", finish_reason=None, usage=False)
    with serve(Reply.sse([*events, Stall()], done=False)) as server:
        provider = _provider(server.url)
        threads, descriptors = threading.active_count(), len(os.listdir("/proc/self/fd"))
        kept = [provider.completion_stream(anyllm.Context(), PARAMS) for _ in range(streams)]
        for stream in kept:
            for _ in range(chance.randrange(8)):
                if stream.chunks.get(timeout=PATIENCE) is None:
                    break
        del stream
        began = time.perf_counter()
        kept.clear()
        gc.collect()
        with contextlib.suppress(TimeoutError):
            _until(
                lambda: (
                    not server.open_connections
                    and threading.active_count() <= threads + 1  # the timer's
                    and len(os.listdir("/proc/self/fd")) <= descriptors
                )
            )
        seconds = time.perf_counter() - began
        left = {"sockets": server.open_connections, "active": anyllm.active_streams()}
        left |= {"threads": max(0, threading.active_count() - threads)}
        left |= {"descriptors": max(0, len(os.listdir("/proc/self/fd")) - descriptors)}
    return {"streams": streams, "gone_after_s": round(seconds, 3), "left": left}


def many_calls(calls: int = 10_000) -> dict[str, Any]:
    """*calls* in a row on one provider, each with a key of its own: what the process has more of in the end."""
    streamed = Reply.sse(chat_events("x"), framing="length")
    with serve(lambda request: (server.requests.clear(), streamed)[1]) as server:
        provider = _provider(server.url)

        def call(count: int) -> None:
            for number in range(count):
                provider.completion_stream(anyllm.Context(), PARAMS, api_key=f"key-{number}").collect()

        def census() -> dict[str, int]:
            gc.collect()
            return {"objects": len(gc.get_objects()), "descriptors": len(os.listdir("/proc/self/fd"))}

        call(200)
        before = census()
        began = time.perf_counter()
        call(calls)
        seconds = time.perf_counter() - began
        after = census()
        grown = {name: after[name] - before[name] for name in before}
        return {"calls": calls, "connections": server.connections, "grown": grown, "seconds": round(seconds, 1)}


def main(trials: int) -> int:
    figures = measure(trials)
    missed = False
    print(f"{trials} trials a phase, ms     {'freed p50':>10} {'p99':>8} {'gone p50':>10} {'p99':>8}")
    for name, found in figures.items():
        bad = found["freed_p99_ms"] > FREED_BAR or found.get("gone_p99_ms", 0) > GONE_BAR
        missed |= bad
        gone = "".join(
            f"{found.get(key, float('nan')):>{width}.2f}" for key, width in (("gone_p50_ms", 11), ("gone_p99_ms", 9))
        )
        print(
            f"  {name:24}{found['freed_p50_ms']:>11.2f}{found['freed_p99_ms']:>9.2f}{gone}{'  MISSED' if bad else ''}"
        )
    others = {"neighbours": neighbours(), "abandoned": abandoned(), "many_calls": many_calls()}
    for name, found in others.items():
        print(f"  {name}: {json.dumps(found)}")
    missed |= bool(others["neighbours"]["harmed"] or any(others["abandoned"]["left"].values()))
    return int(missed)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 200))
