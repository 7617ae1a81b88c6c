"""
What the gateway adds to a stream, what it holds, and how soon it lets go when a client leaves.

    python benchmarks/gateway.py [--quick] [NAME ...]     # paced, flood, leave, memory

Strategy: upstream, gateway (`anyllm serve`, as people run it) and clients are a process each, and one thread reads all
clients' sockets. Each text from upstream is the instant at which it was written, on a clock that processes share, and
digits look the same in every format: who reads upstream directly and who reads it through the gateway are the same
lines of code, and take turns. Needs /proc.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import re
import selectors
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Callable, NamedTuple, Optional

import server
from stamps import STAMP, quantiles

HERE = Path(__file__).resolve().parent
PATIENCE = 120.0
#: Milliseconds at the 99th percentile: added to a chunk, and until upstream sees that a client has left.
ADDED_BAR, GONE_BAR = 20.0, 100.0
_TICK = os.sysconf("SC_CLK_TCK")
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# -- upstream, a process of its own ------------------------------------------------------------------------------------


class Upstream(server.Server):
    """
    The benchmarks' server, which in addition says nothing at all where the URL has ``/h1``, and tells under ``/state``
    what it has been asked and who has left.
    """

    def __init__(self) -> None:
        super().__init__()
        self._silent: set[Any] = set()
        self.asked = 0
        self.left: list[int] = []  # when each connection ended whose answer had not

    def _answer(self, connection: Any, path: str) -> None:
        if path.endswith("/state"):
            sent = sum(events.count for events in self._stamped.values())
            state = {"asked": self.asked, "sent": sent, "left": self.left}
            body = json.dumps(state).encode()
            connection.unsent = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
            connection.end, connection.left = b"", 0
            self._ready[connection] = None
            return
        if path.endswith("/release"):
            super()._answer(connection, path)
            return
        self.asked += 1
        if "/h1/" in path:
            self._silent.add(connection)
            return
        super()._answer(connection, path)

    def _close(self, connection: Any) -> None:
        if connection.left or connection in self._silent:
            self.left.append(time.perf_counter_ns())
        self._silent.discard(connection)
        super()._close(connection)


def _state(upstream: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{upstream}/state") as answer:
        state: dict[str, Any] = json.load(answer)
        return state


def _release(upstream: str) -> None:
    urllib.request.urlopen(urllib.request.Request(f"{upstream}/release", method="POST", data=b"{}")).read()


# -- clients, a process of its own -------------------------------------------------------------------------------------


class Way(NamedTuple):
    """How a client of one format asks for a stream of a model, and what its answer ends with."""

    path: str
    body: dict[str, Any]
    end: bytes


_MESSAGES = [{"role": "user", "content": "Say something."}]
WAYS = {
    "direct": Way("/v1/chat/completions", {"stream": True}, b"[DONE]"),
    "openai": Way("/v1/chat/completions", {"stream": True}, b"[DONE]"),
    "anthropic": Way("/v1/messages", {"stream": True, "max_tokens": 100}, b"message_stop"),
    "ollama": Way("/api/chat", {}, b'"done":true'),
    "whole": Way("/v1/chat/completions", {}, b""),
}


class _Client:
    """A connection on which something was asked."""

    def __init__(self, url: str, way: Way, model: str, receive_buffer: Optional[int] = None) -> None:
        host, port, path = re.fullmatch(r"http://([^:/]+):(\d+)(.*)", url).groups()  # type: ignore[union-attr]
        self.socket = socket.socket()
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(PATIENCE)
        self.socket.connect((host, int(port)))
        body = json.dumps({"model": model, "messages": _MESSAGES, **way.body}).encode()
        head = f"POST {path}{way.path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}\r\n\r\n"
        self.socket.sendall(head.encode() + body)
        self._way = way
        self._seen = b""  # behind the last stamp
        self.stamps = 0
        self.ended = False

    def read(self) -> list[int]:
        """What has come: the stamps in it."""
        data = self.socket.recv(1 << 16)
        if not data:
            raise ConnectionError(f"cut off after {self.stamps} texts: {self._seen[:300]!r}")
        self._seen += data
        stamps = STAMP.findall(self._seen)
        if stamps:
            self._seen = self._seen[self._seen.rindex(stamps[-1]) + 20 :]
        self.stamps += len(stamps)
        self.ended = self._seen.endswith(b"\r\n0\r\n\r\n") and self._way.end in self._seen
        return [int(stamp) for stamp in stamps]

    def wait_for_text(self) -> None:
        while not self.stamps:
            self.read()

    def leave(self, *, reset: bool) -> int:
        """Close; the instant before that."""
        if reset:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        now = time.perf_counter_ns()
        self.socket.close()
        return now


def crowd(args: argparse.Namespace) -> dict[str, Any]:
    """Open all streams, wait for the first text of each, let them go, and read all to the end."""
    process = Process(args.pid) if args.pid else None
    clients = [_Client(args.url, WAYS[args.way], args.model) for _ in range(args.streams)]
    for client in clients:
        client.wait_for_text()
    resident = process.resident if process else 0
    cpu = process.cpu if process else 0.0
    late: list[int] = []
    with selectors.DefaultSelector() as selector:
        for client in clients:
            selector.register(client.socket, selectors.EVENT_READ, client)
        began = time.perf_counter()
        _release(args.upstream)
        while selector.get_map():
            ready = selector.select(PATIENCE)
            if not ready:
                break
            for key, _ in ready:
                stamps = key.data.read()
                now = time.perf_counter_ns()
                late += [now - stamp for stamp in stamps]
                if key.data.ended:
                    selector.unregister(key.data.socket)
        seconds = time.perf_counter() - began
    cpu = process.cpu - cpu if process else 0.0
    for client in clients:
        client.socket.close()
    complete = all(client.ended and client.stamps == args.chunks for client in clients)
    figures = {"complete": complete, "chunks_per_s": len(late) / seconds, **quantiles(late)}
    if process:
        figures.update(cpu_ms_per_1000=cpu / len(late) * 1e6, kb=(resident - args.resident) / args.streams)
    return figures


def leave(args: argparse.Namespace) -> dict[str, Any]:
    """One client after the other leaves; from its close until upstream sees that."""
    took: list[int] = []
    chance = random.Random(3)
    for number in range(args.trials):
        before = _state(args.upstream)
        client = _Client(args.url, WAYS[args.way], args.model)
        if args.model == "silent":
            _until(lambda: _state(args.upstream)["asked"] > before["asked"])  # noqa: B023
        else:
            client.wait_for_text()
        time.sleep(chance.uniform(0, 0.03))
        began = client.leave(reset=bool(number % 2))
        _until(lambda: len(_state(args.upstream)["left"]) > len(before["left"]))  # noqa: B023
        took.append(_state(args.upstream)["left"][-1] - began)
    return {"trials": len(took), **quantiles(took)}


def scatter(args: argparse.Namespace) -> dict[str, Any]:
    """Many at once leave at any point: before the first text, in silence, as texts come, and at the end."""
    chance = random.Random(7)
    open_now: list[_Client] = []
    for number in range(args.streams):
        way = chance.choice(["openai", "anthropic", "ollama", "whole"])
        model = "silent" if way == "whole" else chance.choice(["silent", "gated", "slow", "short"])
        open_now.append(_Client(args.url, WAYS[way], model))
        if chance.random() < 0.7:
            open_now.pop(chance.randrange(len(open_now))).leave(reset=chance.random() < 0.5)
        if number % 10 == 0:
            time.sleep(chance.uniform(0, 0.1))
    for client in open_now:
        client.leave(reset=chance.random() < 0.5)
    return {"left": args.streams}


def stuck(args: argparse.Namespace) -> dict[str, Any]:
    """Clients that read the first text and then nothing, of streams that go on as fast as they can."""
    process = Process(args.pid)
    clients = [_Client(args.url, WAYS[args.way], args.model, 1 << 16) for _ in range(args.streams)]
    for client in clients:
        client.wait_for_text()
    _release(args.upstream)
    sent = -1
    while sent != (sent := _state(args.upstream)["sent"]):  # until nothing moves any more
        time.sleep(1)
    figures = {"kb": (process.resident - args.resident) / args.streams, "sent_per_reader": sent / args.streams}
    for client in clients:
        client.leave(reset=True)
    return figures


TASKS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "crowd": crowd,
    "leave": leave,
    "scatter": scatter,
    "stuck": stuck,
}


def _until(condition: Callable[[], Any]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("what is measured did not happen")
        time.sleep(0.003)


# -- all of them -------------------------------------------------------------------------------------------------------


class Process:
    """What the system knows of a process and of its children."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    @property
    def _folders(self) -> list[Path]:
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return [Path("/proc", str(pid)) for pid in (self.pid, *children)]

    @property
    def cpu(self) -> float:
        """Seconds, of all threads."""
        found = 0
        for folder in self._folders:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            found += int(fields[11]) + int(fields[12])
        return found / _TICK

    @property
    def resident(self) -> float:
        """KB."""
        return self._status("VmRSS")

    @property
    def threads(self) -> float:
        return self._status("Threads")

    @property
    def descriptors(self) -> int:
        return sum(len(os.listdir(folder / "fd")) for folder in self._folders)

    def _status(self, name: str) -> float:
        lines = (line for folder in self._folders for line in (folder / "status").read_text().splitlines())
        return sum(float(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


class Bench:
    """Upstream, a gateway before it, and clients to start."""

    def __init__(self, upstream: str, url: str, pid: int, *, quick: bool) -> None:
        self.upstream = upstream
        self.url = url
        self.process = Process(pid)
        self.quick = quick
        self.running = 0

    def client(self, task: str, way: str, model: str, **options: Any) -> dict[str, Any]:
        """One process of clients."""
        is_direct = way == "direct"
        url = f"{self.upstream}/{MODELS[model]}" if is_direct else self.url
        given = {"url": url, "upstream": self.upstream, "way": way, "model": model, **options}
        if not is_direct:
            given.update(pid=self.process.pid, resident=self.process.resident)
        command = [sys.executable, __file__, "--client", json.dumps({"task": task, **given})]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=600, check=True)
        figures: dict[str, Any] = json.loads(done.stdout)
        return {**figures, "load": os.getloadavg()[0]}

    def turns(self, rounds: int, ways: Sequence[str], model: str, **options: Any) -> dict[str, dict[str, Any]]:
        """The medians of crowds, which take turns."""
        runs: dict[str, list[dict[str, Any]]] = {way: [] for way in ways}
        for number in range(1 if self.quick else rounds):
            for way in ways:
                print(f"  gateway: {options['streams']} {model}, {way}, {number + 1}", file=sys.stderr, flush=True)
                runs[way].append(self.client("crowd", way, model, **options))
        return {way: _medians(found) for way, found in runs.items()}

    @property
    def answering(self) -> int:
        """How many requests all workers have, but for this one."""
        with urllib.request.urlopen(f"{self.url}/metrics") as answer:
            [running] = re.findall(r"^anyllm_requests_running (\S+)$", answer.read().decode(), re.MULTILINE)
        return int(float(running)) - 1


#: What the gateway's models are upstream: see `server.py` for the URL.
MODELS = {
    "paced": "e100/p0.05/j1/g1/s0",
    "paced, short": "e10/p0.05/j1/g1/s0",
    "flood": "e500/p0/g1/s0",
    "flood, one": "e20000/p0/g1/s0",
    "flood, short": "e20/p0/g1/s0",
    "large": "e1000000/p0/g1/s2000",
    "silent": "h1",
    "gated": "e100/p0/g1/s0",
    "slow": "e100/p0.02/j1/s0",
    "short": "e5/p0.01/j1/s0",
}


def _chunks(model: str) -> int:
    return int(MODELS[model].partition("/")[0][1:])


def paced(bench: Bench) -> dict[str, Any]:
    """200 streams of 20 chunks a second: how much later a chunk comes than read from upstream directly."""
    streams, model = (20, "paced, short") if bench.quick else (200, "paced")
    ways = ["direct", "openai", "anthropic", "ollama"]
    found = bench.turns(3, ways, model, streams=streams, chunks=_chunks(model))
    for way in ways[1:]:
        for name in ("p50_ms", "p99_ms", "max_ms"):
            found[way][f"added_{name}"] = found[way][name] - found["direct"][name]
    return found


def flood(bench: Bench) -> dict[str, Any]:
    """As fast as it goes: one stream, and 200."""
    ways = ["direct", "openai"]
    one, many = ("flood, short", "flood, short") if bench.quick else ("flood, one", "flood")
    alone = bench.turns(3, ways, one, streams=1, chunks=_chunks(one))
    crowded = bench.turns(3, ways, many, streams=20 if bench.quick else 200, chunks=_chunks(many))
    return {**{f"one, {way}": alone[way] for way in ways}, **{f"many, {way}": crowded[way] for way in ways}}


def leaving(bench: Bench) -> dict[str, Any]:
    """From a client's close until upstream's connection is closed, and what many who left leave behind."""
    trials = 4 if bench.quick else 100
    phases = {
        "before the first text": ("openai", "silent"),
        "in a silence": ("openai", "gated"),
        "as texts come": ("openai", "slow"),
        "a whole answer": ("whole", "silent"),
    }
    found: dict[str, Any] = {}
    for name, (way, model) in phases.items():
        print(f"  gateway: who leaves, {name}", file=sys.stderr, flush=True)
        found[name] = bench.client("leave", way, model, trials=trials)
    rounds = []
    for _ in range(2):  # the first leaves pooled connections, which stay
        bench.client("scatter", "openai", "silent", streams=20 if bench.quick else 300)
        _until(lambda: bench.answering == 0)
        time.sleep(1)  # the timer's thread goes half a second after its last deadline
        rounds.append((bench.process.threads, bench.process.descriptors))
    (threads, descriptors), after = rounds
    left = {"threads": after[0] - threads, "descriptors": after[1] - descriptors, "answers": bench.answering}
    return {**found, "left behind": left}


def memory(bench: Bench) -> dict[str, Any]:
    """Of the gateway, in KB: a stream that is open, and a client that does not take what it asked for."""
    streams = 20 if bench.quick else 200
    model = "flood, short" if bench.quick else "paced, short"
    found = {}
    for way in ("openai", "anthropic", "ollama"):
        figures = bench.client("crowd", way, model, streams=streams, chunks=_chunks(model))
        found[f"open, {way}"] = {name: figures[name] for name in ("kb", "complete")}
    found["stuck"] = bench.client("stuck", "openai", "large", streams=5 if bench.quick else 50)
    _until(lambda: bench.answering == 0)
    return found


MEASUREMENTS: dict[str, Callable[[Bench], dict[str, Any]]] = {
    "memory": memory,  # first: memory that was used once is not given back
    "paced": paced,
    "flood": flood,
    "leave": leaving,
}


def measure(names: Sequence[str] = (), *, quick: bool = False, workers: int = CORES) -> dict[str, Any]:
    """Each measurement's figures, with a fresh gateway for each."""
    found: dict[str, Any] = {}
    for name in names or MEASUREMENTS:
        with _bench(quick=quick, workers=workers) as bench:
            found[name] = MEASUREMENTS[name](bench)
    return found


def _medians(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in runs[0].items():
        values = [run[name] for run in runs]
        found[name] = all(values) if isinstance(value, bool) else statistics.median(values)
    return found


@contextlib.contextmanager
def _bench(*, quick: bool, workers: int) -> Iterator[Bench]:
    with contextlib.ExitStack() as stack:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        upstream = stack.enter_context(_ended(subprocess.Popen([sys.executable, __file__, "--upstream"], **pipes)))
        url = f"http://127.0.0.1:{int(upstream.stdout.readline())}"
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="anyllm-benchmark-"))
        config = Path(folder, "gateway.toml")
        models = "".join(
            f"[models.{json.dumps(name)}]\nmodel = 'compatible/m'\nbase_url = '{url}/{path}/v1'\n"
            for name, path in MODELS.items()
        )
        config.write_text(f"[server]\nport = 0\nlist_providers = false\nworkers = {workers}\n{models}")
        command = [sys.executable, "-m", "anyllm", "serve", "--quiet", "--config", str(config)]
        path = os.pathsep.join(filter(None, (str(HERE.parent), os.environ.get("PYTHONPATH"))))
        environment = {**os.environ, "PYTHONPATH": path, "NO_PROXY": "*"}
        gateway = stack.enter_context(
            _ended(subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment))
        )
        said = re.search(r"http://\S+?:\d+", gateway.stderr.readline())
        assert said is not None
        threading.Thread(target=gateway.stderr.read, daemon=True).start()
        bench = Bench(url, said[0], gateway.pid, quick=quick)
        for way in ("openai", "anthropic", "ollama"):  # what is imported on use, and pools
            bench.client("crowd", way, "flood, short", streams=20, chunks=_chunks("flood, short"))
        yield bench


@contextlib.contextmanager
def _ended(process: Any) -> Iterator[Any]:
    with process:
        try:
            yield process
        finally:
            process.kill()


def bars(found: dict[str, Any]) -> list[dict[str, Any]]:
    """What was promised, what was measured, and whether the one keeps to the other."""
    checks: list[dict[str, Any]] = []
    for way, figures in found.get("paced", {}).items():
        if way != "direct":
            value = round(figures["added_p99_ms"], 2)
            what = f"added to a chunk, 200 streams, {way}, p99"
            checks.append({"what": what, "value": value, "bar": ADDED_BAR, "unit": " ms", "ok": value < ADDED_BAR})
    for name, figures in found.get("leave", {}).items():
        if "p99_ms" in figures:
            value = round(figures["p99_ms"], 2)
            what = f"who leaves {name} is gone upstream, p99"
            checks.append({"what": what, "value": value, "bar": GONE_BAR, "unit": " ms", "ok": value < GONE_BAR})
    everything = [figures for measured in found.values() for figures in measured.values() if "complete" in figures]
    if everything:
        complete = all(figures["complete"] for figures in everything)
        checks.append({"what": "all complete through the gateway", "value": complete, "ok": complete})
    return checks


def main() -> None:
    """Measure and print; or be one of the processes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(MEASUREMENTS))
    parser.add_argument("--quick", action="store_true", help="one short round: shows that it works, measures nothing")
    parser.add_argument("--workers", type=int, default=CORES, help="processes of the gateway (default: one a core)")
    parser.add_argument("--json", action="store_true", help="on one line, for run.py")
    parser.add_argument("--upstream", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--client", type=json.loads, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.upstream:
        threading.Thread(target=server._end_with_the_parent, daemon=True).start()
        upstream = Upstream()
        print(upstream.port, flush=True)
        upstream.run()
    elif args.client:
        given = argparse.Namespace(**{"pid": None, "resident": 0.0, **args.client})
        print(json.dumps(TASKS[given.task](given)))
    else:
        found = measure(args.names, quick=args.quick, workers=args.workers)
        checks = bars(found)
        if args.json:
            print(json.dumps({"figures": found, "bars": checks}))
            return
        for name, rows in found.items():
            for row, figures in rows.items():
                rounded = (
                    f"{key} {value:.3g}" if isinstance(value, float) else f"{key} {value}"
                    for key, value in figures.items()
                )
                print(f"{name}, {row}: {', '.join(rounded)}")
        for check in checks:
            print("ok    " if check["ok"] else "MISSED", check["what"], check["value"])


if __name__ == "__main__":
    main()
