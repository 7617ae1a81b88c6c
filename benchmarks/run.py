"""
Measures anyllm beside the loop people write by hand, and beside its peers where they are installed.

    python benchmarks/run.py [--quick] [--only NAME] [--json FILE]

Strategy: every figure comes from a fresh process that imports one client, all of them read from the same server
process, and clients take turns (A B A B), so that whatever else the machine does falls on all alike. Medians are
compared, never single runs, and ratios rather than microseconds: the machine is in both halves of a ratio.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Callable, Optional

import client

HERE = Path(__file__).resolve().parent
#: Seconds one measured process may take.
_PATIENCE = 600
#: {client: {figure: median of its runs}}.
Figures = dict[str, dict[str, Any]]


class Session:
    """What all measurements share: the server, the clients found, and how long to take."""

    def __init__(self, url: str, *, quick: bool) -> None:
        self.url = url
        self.quick = quick
        self.peers = [name for name in client.PEERS if _installed(client.MODULES[name])]

    def rounds(self, full: int) -> int:
        return 1 if self.quick else full

    def run(self, name: str, task: str, **options: object) -> dict[str, Any]:
        """One measured process."""
        flags = [text for key, value in options.items() for text in (f"--{key}", str(value))]
        return child([str(HERE / "client.py"), name, task, self.url, *flags])

    def compare(self, names: Sequence[str], task: str, rounds: int, **options: object) -> Figures:
        """The medians of *rounds* runs of each client, taken in turns."""
        runs: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
        for number in range(rounds):
            for name in names:
                say(f"{task} {' '.join(f'{key}={value}' for key, value in options.items())}: {name}, {number + 1}")
                runs[name].append(self.run(name, task, **options))
        return {name: medians(results) for name, results in runs.items()}

    def compare_peers(self, task: str, rounds: int, **options: object) -> Figures:
        """The same for whichever peers are installed; one that fails is told, and left out."""
        figures: Figures = {}
        for name in self.peers:
            try:
                figures.update(self.compare([name], task, rounds, **options))
            except (subprocess.SubprocessError, ValueError) as exc:
                say(f"{name} is left out: {exc}")
        return figures


# -- what is measured --------------------------------------------------------------------------------------------------


def one_stream(session: Session) -> dict[str, Any]:
    """Processor and wall time of each chunk of one stream that comes as fast as it is read."""
    chunks = 2_000 if session.quick else 20_000
    ours = session.compare(["baseline", "anyllm"], "stream", session.rounds(7), chunks=chunks)
    # The peers are slower by ten to a hundred times: fewer chunks are enough.
    peers = session.compare_peers("stream", session.rounds(3), chunks=chunks // 10)
    return {"clients": {**ours, **peers}}


def dialects(session: Session) -> dict[str, Any]:
    """The same for each dialect, beside the OpenAI dialect and its host's own client."""
    chunks = 2_000 if session.quick else 20_000
    ours = [name for name in client.DIALECTS if "bedrock" not in name or _installed("botocore")]
    figures = session.compare(["anyllm", *ours], "stream", session.rounds(5), chunks=chunks)
    official = [name for name in client.DIALECTS.values() if name and _installed(client.MODULES[name])]
    return {"clients": {**figures, **session.compare(official, "stream", session.rounds(3), chunks=chunks // 10)}}


def comfort(session: Session) -> dict[str, Any]:
    """The same through a `Client`, beside the pair of channels."""
    chunks = 2_000 if session.quick else 20_000
    return {"clients": session.compare(["anyllm", "anyllm, chat_stream"], "stream", session.rounds(7), chunks=chunks)}


def first_chunk(session: Session) -> dict[str, Any]:
    """From the call to the first text, in milliseconds."""
    trials = 5 if session.quick else 50
    ours = session.compare(["baseline", "anyllm"], "first_chunk", session.rounds(3), trials=trials)
    return {"clients": {**ours, **session.compare_peers("first_chunk", session.rounds(1), trials=trials)}}


def importing(session: Session) -> dict[str, Any]:
    """What importing costs a fresh interpreter, in milliseconds beyond starting it."""
    names = ["baseline", "anyllm", *session.peers]
    waits: dict[str, list[float]] = {name: [] for name in names}
    code = "import time; t = time.perf_counter(); import {}; print((time.perf_counter() - t) * 1e3)"
    for number in range(session.rounds(9)):
        for name in names:
            if name in session.peers and number >= 3:
                continue
            say(f"importing: {client.MODULES[name]}, {number + 1}")
            waits[name].append(child(["-c", code.format(client.MODULES[name])]))
    return {"clients": {name: {"ms": statistics.median(times)} for name, times in waits.items()}}


def many_streams(session: Session) -> dict[str, Any]:
    """Processor time of a chunk and memory of a stream, with 1, 200 and 1,000 streams at once in one process."""
    sizes = ((1, 500), (20, 50)) if session.quick else ((1, 20_000), (200, 500), (1_000, 100))
    names = ["baseline", "anyllm"]
    figures: dict[str, Any] = {}
    for size, chunks in sizes:
        figures[str(size)] = session.compare(names, "crowd", session.rounds(3), streams=size, chunks=chunks)
    size, pace = (20, 0.01) if session.quick else (1_000, 0.2)
    paced = session.compare(names, "crowd", session.rounds(3), streams=size, chunks=30, pace=pace)
    figures[f"{size}, paced"] = paced
    return {"streams": figures}


def cancelling(session: Session) -> dict[str, Any]:
    """From a cancel to its effect, by phase; measured by ``cancel_latency.py`` where that is present."""
    if not (HERE / "cancel_latency.py").exists():
        return {"skipped": "there is no cancel_latency.py"}
    trials = 5 if session.quick else 200
    say(f"cancelling: {trials} trials a phase")
    code = f"import json, sys; sys.path.insert(0, {str(HERE)!r}); import cancel_latency; "
    result = child(["-c", f"{code}print(json.dumps(cancel_latency.measure({trials})))"])
    return {"phases": result}


def through_gateway(session: Session) -> dict[str, Any]:
    """What ``anyllm serve`` adds, holds, and lets go of (``gateway.py``)."""
    say("through the gateway")
    flags = ["--quick"] if session.quick else []
    return {"gateway": child([str(HERE / "gateway.py"), "--json", *flags])}


def paced_streams(session: Session) -> dict[str, Any]:
    """Many streams with some chunks per second each, below saturation (``paced.py``)."""
    flags = ["--quick"] if session.quick else []
    return {"streams": child([str(HERE / "paced.py"), "--json", *flags], timeout=3 * _PATIENCE)}


MEASUREMENTS: dict[str, Callable[[Session], dict[str, Any]]] = {
    "stream": one_stream,
    "dialects": dialects,
    "comfort": comfort,
    "first": first_chunk,
    "import": importing,
    "streams": many_streams,
    "cancel": cancelling,
    "gateway": through_gateway,
    "paced": paced_streams,
}


# -- the bars ----------------------------------------------------------------------------------------------------------


def bars(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What was promised, what was measured, and whether the one keeps to the other."""
    found: list[dict[str, Any]] = []

    def ratio(what: str, clients: Figures, figure: str, bar: float) -> None:
        value = clients["anyllm"][figure] / clients["baseline"][figure]
        found.append({"what": what, "value": round(value, 2), "bar": bar, "unit": "x", "ok": value <= bar})

    if "stream" in results:
        ratio("CPU per chunk, one stream", results["stream"]["clients"], "cpu_us", 1.5)
    if "dialects" in results:
        found += _bars_of_dialects(results["dialects"]["clients"])
    if "comfort" in results:
        pair, chat = (results["comfort"]["clients"][name]["cpu_us"] for name in ("anyllm", "anyllm, chat_stream"))
        value = chat / pair
        found.append(
            {"what": "chat_stream to the pair", "value": round(value, 2), "bar": 1.3, "unit": "x", "ok": value <= 1.3}
        )
    if "import" in results:
        ratio("import, against requests", results["import"]["clients"], "ms", 1.5)
    for size, clients in results.get("streams", {}).get("streams", {}).items():
        if size.startswith("1000"):
            ratio(f"CPU per chunk, {size} streams", clients, "cpu_us", 1.6)
            value = clients["anyllm"]["kb"]
            what = f"memory per stream, {size} streams"
            found.append({"what": what, "value": round(value, 1), "bar": 150, "unit": " KB", "ok": value < 150})
            complete = all(figures["complete"] for figures in clients.values())
            found.append({"what": f"all complete, {size} streams", "value": complete, "ok": complete})
    if "paced" in results:
        crowds = results["paced"]["streams"].values()
        complete = all(figures["complete"] for clients in crowds for figures in clients.values())
        found.append({"what": "all complete, paced streams", "value": complete, "ok": complete})
    return found + results.get("gateway", {}).get("gateway", {}).get("bars", [])


# -- the report --------------------------------------------------------------------------------------------------------

_TITLES = {
    "dialects": "one stream in each dialect, and its host's own client",
    "comfort": "one stream, through a client",
    "stream": "one stream, as fast as it goes",
    "first": "from the call to the first text",
    "import": "importing, in a fresh interpreter",
    "cancel": "from a cancel to its effect",
}
_COLUMNS = {
    "cpu_us": "CPU us/chunk",
    "switches": "switches/chunk",
    "futexes": "futexes/chunk",
    "p50_ms": "p50 ms",
    "p99_ms": "p99 ms",
    "chunks_per_s": "chunks/s",
    "wall_us": "wall us/chunk",
    "ms": "ms",
    "worst_ms": "worst ms",
    "open_cpu_ms": "CPU ms to open",
    "kb": "KB a stream",
    "peak_kb": "KB at the peak",
}


def _bars_of_dialects(clients: Figures) -> Iterator[dict[str, Any]]:
    """Twice our OpenAI dialect at most; and for the two whose clients are measured for it, a fifth of these."""
    for name, official in client.DIALECTS.items():
        if name not in clients:
            continue
        value = clients[name]["cpu_us"] / clients["anyllm"]["cpu_us"]
        yield {"what": f"{name} to anyllm", "value": round(value, 2), "bar": 2.0, "unit": "x", "ok": value <= 2.0}
        if official in clients:
            value = clients[name]["cpu_us"] / clients[official]["cpu_us"]
            bar = {"bar": 0.2, "ok": value <= 0.2} if official in ("anthropic", "google-genai") else {"ok": True}
            yield {"what": f"{name} to {official}'s own client", "value": round(value, 3), "unit": "x", **bar}


def report(results: Mapping[str, Any], checks: Sequence[Mapping[str, Any]]) -> str:
    """The figures as tables, and the bars below them."""
    lines: list[str] = []
    for name, result in results.items():
        if "clients" in result:
            lines += _table(_TITLES[name], result["clients"])
        for size, clients in result.get("streams", {}).items():
            lines += _table(f"streams at once: {size}", clients)
        for phase, figures in result.get("phases", {}).items():
            lines += [f"cancel, {phase}: {_plain(figures)}"]
        for measured, rows in result.get("gateway", {}).get("figures", {}).items():
            lines += [f"gateway, {measured}, {row}: {_plain(figures)}" for row, figures in rows.items()]
        if "skipped" in result:
            lines += [f"{_TITLES[name]}: skipped, {result['skipped']}", ""]
    for check in checks:
        mark = "ok    " if check["ok"] else "MISSED"
        limit = f" (bar {check['bar']}{check['unit']})" if "bar" in check else ""
        lines.append(f"{mark} {check['what']}: {check['value']}{check.get('unit', '')}{limit}")
    return "\n".join(lines)


def _table(title: str, clients: Figures) -> Iterator[str]:
    columns = [key for key in _COLUMNS if any(key in figures for figures in clients.values())]
    yield title
    yield f"  {'':14}" + "".join(f"{_COLUMNS[key]:>16}" for key in columns) + f"{'ratio':>9}"
    for name, figures in clients.items():
        label = "by hand" if name == "baseline" else name
        cells = "".join(f"{figures.get(key, float('nan')):>16.2f}" for key in columns)
        against = clients["baseline"].get(columns[0]) if "baseline" in clients else None
        share = f"{figures[columns[0]] / against:>9.2f}" if against else ""
        yield f"  {label:14}{cells}{share}" + ("" if figures.get("complete", True) else "  NOT COMPLETE")
    yield ""


def _plain(figures: Any) -> str:
    if not isinstance(figures, dict):
        return str(figures)
    rounded = {key: f"{value:.3g}" if isinstance(value, float) else value for key, value in figures.items()}
    return ", ".join(f"{key} {value}" for key, value in rounded.items())


# -- processes ---------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def server_process() -> Iterator[str]:
    """Start the server; gives its base URL."""
    command = [sys.executable, str(HERE / "server.py")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.stdin.close()  # it ends by itself


def child(arguments: Sequence[str], timeout: float = _PATIENCE) -> Any:
    """Run Python with *arguments* for *timeout* seconds at most, and read the JSON on the last line it prints."""
    command = [sys.executable, *arguments]
    process = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, timeout=timeout, check=True, env=_environment()
    )
    return json.loads(process.stdout.strip().splitlines()[-1])


def _environment() -> dict[str, str]:
    """This one's, without proxies, and with the repository on the path, for those who have not installed it."""
    path = [text for text in (os.environ.get("PYTHONPATH"), str(HERE.parent)) if text]
    proxies = {"http_proxy", "https_proxy", "all_proxy"}
    kept = {name: value for name, value in os.environ.items() if name.lower() not in proxies}
    return {**kept, "PYTHONPATH": os.pathsep.join(path)}


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # nor is the package that would hold it
        return False


def medians(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """
    The median of each figure of the first run, and its values in all runs that have it; a condition holds if it does in
    all of them.
    """
    found: dict[str, Any] = {}
    for key, value in results[0].items():
        values = [result[key] for result in results if key in result]
        if isinstance(value, bool):
            found[key] = all(values)
        elif isinstance(value, (int, float)):
            found[key] = statistics.median(values)
            found[f"{key}_runs"] = values
        else:
            found[key] = [item for value in values for item in value]
    return found


def say(text: str) -> None:
    """Show progress."""
    print(f"  {text}", file=sys.stderr, flush=True)


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Measure, print the tables, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", metavar="FILE", type=Path, default=HERE / "results.json", help="where the figures go")
    parser.add_argument("--quick", action="store_true", help="one short round: shows that it works, measures nothing")
    parser.add_argument("--only", metavar="NAME", choices=list(MEASUREMENTS), help=", ".join(MEASUREMENTS))
    args = parser.parse_args(argv)
    with server_process() as url:
        session = Session(url, quick=args.quick)
        chosen = [args.only] if args.only else list(MEASUREMENTS)
        results = {name: MEASUREMENTS[name](session) for name in chosen}
    checks = bars(results)
    print(report(results, checks))
    document = {
        "when": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "machine": {"system": platform.system(), "python": platform.python_version(), "cores": os.cpu_count()},
        "quick": args.quick,
        "results": results,
        "bars": checks,
    }
    args.json.write_text(json.dumps(document, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
