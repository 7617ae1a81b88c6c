"""
Many streams with some chunks per second each, at a load well below what the machine can do.

    python benchmarks/paced.py [--quick] [--json] [--strace]

Compares four ways to receive: the loop written by hand, with a thread for each stream; anyllm, with a worker and a
receiving thread for each; anyllm's loop, whose streams are merged and received by one thread; and anyllm's loop, which
calls a receiver itself where it has decoded a chunk (`Channel.forward`), while a thread for each stream sleeps.

Strategy: each run is a fresh process. All streams are opened first, and the server holds them after their first text:
that gives the cost of opening. Then they continue, and the counters are read twice while none of them has ended, a
known number of texts apart: that gives the cost of a chunk alone. Each text is the time at which the server wrote it,
so that the latency of each chunk is known. With ``--strace``, futex calls are counted after that, because tracing slows
the process down; in the first run of each way only, and not for a thousand streams, which it slows down too much.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import client
import run
from stamps import quantiles

#: Streams, and chunks per second of each.
GRID = [(streams, rate) for streams in (50, 200, 1_000) for rate in (2, 10, 50)]
#: Chunks per second of all streams, above which nothing is measured: two cores are busy with more.
SATURATION = 5_000
#: Seconds without the texts that are waited for, before a run is given up.
_TIMEOUT = 120.0
#: Seconds for which futex calls are counted, and for which the streams last because of it: tracing begins slowly.
_TRACED, _TRACED_TAIL = 3.0, 15.0
_MAX_TRACED_STREAMS = 200


# -- receiving ---------------------------------------------------------------------------------------------------------


class Texts:
    """The latency of every text of all streams, in the order in which they came. Receivers add, one thread waits."""

    def __init__(self) -> None:
        self.latencies: list[int] = []  # nanoseconds
        self.failures: list[str] = []
        self._awaited = sys.maxsize
        self._reached = threading.Event()

    def add(self, text: str) -> None:
        """Count a text. Called by any thread; takes no lock, unless it is the text that is waited for."""
        self.latencies.append(time.perf_counter_ns() - int(text[-20:]))
        if len(self.latencies) >= self._awaited:
            self._awaited = sys.maxsize
            self._reached.set()

    def fail(self, error: BaseException) -> None:
        self.failures.append(f"{type(error).__name__}: {error}")
        self._reached.set()

    def wait_for(self, count: int) -> None:
        """Wait until there are *count* texts. The waiting thread is woken once, not by every text."""
        while len(self.latencies) < count:
            if self.failures:
                raise RuntimeError(f"{len(self.failures)} streams failed: {self.failures[0]}")
            self._reached.clear()
            self._awaited = count
            # A text or a failure since the first check set nothing, or was cleared: check again.
            if len(self.latencies) < count and not self.failures and not self._reached.wait(_TIMEOUT):
                raise TimeoutError(f"{len(self.latencies)} of {count} texts came")


#: Begins so many streams from a base URL; the threads that receive their texts end with the streams.
Begin = Callable[[str, int, Texts], list[threading.Thread]]


def _receive(texts: Texts, receive: Callable[[Any], None], sources: Sequence[Any]) -> list[threading.Thread]:
    """Start a thread for each of *sources*."""

    def work(source: Any) -> None:
        try:
            receive(source)
        except Exception as exc:
            texts.fail(exc)

    threads = [threading.Thread(target=work, args=(source,), daemon=True) for source in sources]
    for thread in threads:
        thread.start()
    return threads


def _thread_each(name: str) -> Begin:
    """A thread for each stream of one of the usual clients."""
    open_stream = client.CLIENTS[name]()

    def begin(url: str, streams: int, texts: Texts) -> list[threading.Thread]:
        def receive(source: str) -> None:
            for text in open_stream(source):
                texts.add(text)

        return _receive(texts, receive, [url] * streams)

    return begin


def _merged() -> Begin:
    """The loop reads all streams, and one thread receives their chunks."""
    from anyllm import channel

    call = client.anyllm_calls(driver="loop")

    def begin(url: str, streams: int, texts: Texts) -> list[threading.Thread]:
        def receive(pairs: Sequence[Any]) -> None:
            for chunk in channel.merge(*(pair.chunks for pair in pairs)):
                if chunk.content:
                    texts.add(chunk.content)
            for pair in pairs:
                _raise_error(pair)

        return _receive(texts, receive, [[call(url) for _ in range(streams)]])

    return begin


def _forwarded() -> Begin:
    """The loop reads all streams and calls their receivers; a thread for each stream sleeps until its end."""
    from anyllm._concurrency.pipe import EMPTY

    call = client.anyllm_calls(driver="loop")

    def begin(url: str, streams: int, texts: Texts) -> list[threading.Thread]:
        def add(chunk: Any) -> None:
            if chunk.content:
                texts.add(chunk.content)

        def pass_on(take: Callable[[], Any]) -> bool:
            while (chunk := take()) is not EMPTY:
                if chunk is None:
                    return False
                add(chunk)
            return True

        def receive(pair: Any) -> None:
            while not pair.chunks.closed:
                pair.chunks.forward(pass_on, _TIMEOUT)
                for _ in range(pair.chunks.qsize()):  # which came before the receiver was registered
                    add(pair.chunks.get())
            for chunk in pair.chunks:
                add(chunk)
            _raise_error(pair)

        return _receive(texts, receive, [call(url) for _ in range(streams)])

    return begin


def _raise_error(pair: Any) -> None:
    error = pair.errors.get()
    if error is not None:
        raise error


WAYS: dict[str, Callable[[], Begin]] = {
    "baseline": lambda: _thread_each("baseline"),
    "anyllm": lambda: _thread_each("anyllm"),
    "loop, merged": _merged,
    "loop, forward": _forwarded,
}


# -- one run, in a process of its own ----------------------------------------------------------------------------------


class Counters(NamedTuple):
    """What this process has used: processor time of all threads in seconds, voluntary context switches, wall time."""

    cpu: float
    switches: int
    wall: float

    @classmethod
    def now(cls) -> Counters:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return cls(usage.ru_utime + usage.ru_stime, usage.ru_nvcsw, time.perf_counter())


def measure(url: str, way: str, streams: int, rate: float, chunks: int, strace: bool) -> dict[str, Any]:
    """Open *streams* of *rate* chunks per second, and measure *chunks* of each, on average."""
    begin = WAYS[way]()
    for thread in begin(f"{url}/e50/s0", 3, Texts()):
        thread.join(_TIMEOUT)
    # Streams do not keep time: none may end before the others have had what is measured.
    before, after = max(2, int(rate)), max(5, int(rate * (_TRACED_TAIL if strace else 1)))
    each = 1 + before + chunks + after
    texts = Texts()
    started = Counters.now()
    threads = begin(f"{url}/e{each}/p{1 / rate}/j1/g1/s0", streams, texts)
    texts.wait_for(streams)
    opened = Counters.now()
    urllib.request.urlopen(urllib.request.Request(f"{url}/release", method="POST", data=b"{}")).read()
    texts.wait_for(streams * (1 + before))
    first, begun = len(texts.latencies), Counters.now()
    texts.wait_for(streams * (1 + before + chunks))
    last, ended = len(texts.latencies), Counters.now()
    traced = {"futexes": _futexes(texts)} if strace else {}
    for thread in threads:
        thread.join(_TIMEOUT)
    count = last - first
    return {
        "complete": len(texts.latencies) == each * streams and not texts.failures,
        "failures": texts.failures[:3],
        "cpu_us": (ended.cpu - begun.cpu) / count * 1e6,
        "switches": (ended.switches - begun.switches) / count,
        **traced,
        **quantiles(texts.latencies[first:last]),
        "chunks_per_s": count / (ended.wall - begun.wall),
        "open_cpu_ms": (opened.cpu - started.cpu) / streams * 1e3,
    }


def _futexes(texts: Texts) -> float:
    """Futex calls per chunk of this process, whose threads strace stops at each of them."""
    with tempfile.NamedTemporaryFile("r") as summary:
        command = ["strace", "-f", "-c", "-e", "trace=futex", "-o", summary.name, "-p", str(os.getpid())]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracer:
            assert tracer.stderr is not None
            message = tracer.stderr.readline()  # that it is attached, or why not
            threading.Thread(target=tracer.stderr.read, daemon=True).start()
            before = len(texts.latencies)
            time.sleep(_TRACED)
            count = len(texts.latencies) - before
            tracer.send_signal(signal.SIGINT)
            tracer.wait(_TIMEOUT)
        # "% time, seconds, usecs/call, calls, errors if any, syscall"
        found = re.search(r"^(?:\s*[\d.]+){3}\s+(\d+).*\sfutex$", summary.read(), re.MULTILINE)
    if "attached" not in message or not count:
        raise RuntimeError(f"strace: {message.strip()}, {count} texts")
    return int(found[1]) / count if found else 0.0


# -- all of them -------------------------------------------------------------------------------------------------------


def compare(url: str, *, quick: bool, strace: bool) -> dict[str, Any]:
    """The medians of each way's runs, which take turns, for each number of streams and rate."""
    grid = [(10, 20)] if quick else [(streams, rate) for streams, rate in GRID if streams * rate <= SATURATION]
    found: dict[str, Any] = {}
    for streams, rate in grid:
        title = f"{streams}, {rate} chunks per second each"
        given = {"url": url, "streams": streams, "rate": rate, "chunks": max(8, rate // 2 if quick else rate * 4)}
        runs: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
        for number in range(1 if quick else 3):
            for way in WAYS:
                run.say(f"paced: {title}: {way}, {number + 1}")
                is_traced = strace and not number and streams <= _MAX_TRACED_STREAMS
                arguments = json.dumps({**given, "way": way, "strace": is_traced})
                runs[way].append(run.child([__file__, "--client", arguments]))
        found[title] = {way: run.medians(results) for way, results in runs.items()}
    return found


def main() -> None:
    """Measure and print; or be one of the processes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one short round: shows that it works, measures nothing")
    parser.add_argument("--json", action="store_true", help="on one line, for run.py")
    parser.add_argument("--strace", action="store_true", help="count futex calls too, if strace is installed")
    parser.add_argument("--client", type=json.loads, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.client:
        print(json.dumps(measure(**args.client)), flush=True)
        return
    if args.strace and not shutil.which("strace"):
        run.say("strace is not installed: futex calls are not counted")
        args.strace = False
    with run.server_process() as url:
        found = compare(url, quick=args.quick, strace=args.strace)
    results = {"paced": {"streams": found}}
    print(json.dumps(found) if args.json else run.report(results, run.bars(results)))


if __name__ == "__main__":
    main()
