"""The task of the example in real Celery workers: what ends it ends its call, and the worker takes the next one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any, Iterator, List

import pytest
from conftest import ROOT

from anyllm.testing import RecordedRequest, Reply, Server, Stall, chat_events, serve

pytestmark = [
    pytest.mark.once,
    pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="Celery needs a POSIX system"),
]

TIMEOUT = 30

#: A broker and a result backend that need no server: folders.
SITE = """
    import os
    from celery_task import app, ask

    folder = os.environ["FOLDER"]
    paths = {name: os.path.join(folder, name) for name in ("out", "queue", "control", "results")}
    for path in paths.values():
        os.makedirs(path, exist_ok=True)
    app.conf.update(
        broker_url="filesystem://",
        broker_transport_options={
            "data_folder_in": paths["queue"],
            "data_folder_out": paths["queue"],
            "control_folder": paths["control"],
            "polling_interval": 0.05,
        },
        result_backend=f"file://{paths['results']}",
        task_track_started=True,
        worker_prefetch_multiplier=1,
    )
"""


class Site:
    """A worker, the host that its tasks ask, and what a web site would do."""

    def __init__(self, upstream: Server, folder: Path, ask: Any) -> None:
        self.upstream, self.folder, self.ask = upstream, folder, ask

    def start(self, *args: Any, **options: Any) -> Any:
        """A task whose model says one word and then nothing; given back once it has asked."""
        count = len(self.upstream.requests)
        task = self.ask.apply_async(("silent", *args), **options)
        self._deliver()
        self.upstream.wait_for_requests(count + 1, TIMEOUT)
        return task

    def revoke(self, task: Any, **options: Any) -> None:
        task.revoke(terminate=True, **options)
        self._deliver()

    def serves_the_next(self) -> bool:
        task = self.ask.delay("quick")
        self._deliver()
        return bool(task.get(timeout=TIMEOUT, interval=0.05) == "Hello there")

    def _deliver(self) -> None:
        """Kombu writes into the file that the worker looks for, which may then find half of a message."""
        for path in (self.folder / "out").iterdir():
            path.rename(self.folder / "queue" / path.name)


def _host(request: RecordedRequest) -> Reply:
    if request.json()["messages"][0]["content"] == "quick":
        return Reply.sse(chat_events("Hello there"), framing="close")  # so that only what is running has a connection
    return Reply.sse([*chat_events("one", finish_reason=None, usage=False), Stall()], done=False)


def _site(pool: str, folder: Path) -> Iterator[Site]:
    pytest.importorskip("celery")
    (folder / "site_celery.py").write_text(textwrap.dedent(SITE))
    with serve(_host) as upstream, pytest.MonkeyPatch.context() as patch:
        patch.setenv("FOLDER", str(folder))
        patch.syspath_prepend(ROOT / "examples")
        patch.syspath_prepend(folder)
        for name in ("celery_task", "site_celery"):
            patch.delitem(sys.modules, name, raising=False)
        import site_celery

        site_celery.app.conf.broker_transport_options["data_folder_out"] = str(folder / "out")
        command = ["-m", "celery", "-A", "site_celery", "worker", "-P", pool, "-c", "1", "-l", "INFO"]
        worker = subprocess.Popen(
            [sys.executable, *command, "--without-gossip", "--without-mingle", "--without-heartbeat"],
            cwd=folder,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(map(str, (folder, ROOT, ROOT / "examples"))),
                "ANYLLM_MODEL": "compatible/m",
                "COMPATIBLE_BASE_URL": f"{upstream.url}/v1",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        log: List[str] = []
        ready = threading.Event()

        def read() -> None:
            assert worker.stdout is not None
            for line in worker.stdout:
                log.append(line)
                if " ready." in line:
                    ready.set()

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        try:
            assert ready.wait(TIMEOUT), "".join(log)
            yield Site(upstream, folder, site_celery.ask)
        finally:
            worker.send_signal(signal.SIGQUIT)  # a warm shutdown takes ten seconds with these transports
            try:
                worker.wait(TIMEOUT)
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait(TIMEOUT)
            reader.join(TIMEOUT)
            assert worker.stdout is not None
            worker.stdout.close()
            print("".join(log))  # where a test failed
            site_celery.app.close()


@pytest.fixture(scope="module")
def prefork(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    yield from _site("prefork", tmp_path_factory.mktemp("prefork"))


@pytest.fixture(scope="module")
def green(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    yield from _site("gevent", tmp_path_factory.mktemp("gevent"))


def test_a_soft_time_limit_ends_the_call(prefork: Site):
    task = prefork.start(soft_time_limit=1)
    assert prefork.upstream.wait_closed(TIMEOUT)
    assert task.get(timeout=TIMEOUT, interval=0.05) == "one [out of time]"
    assert prefork.serves_the_next()


def test_a_revoke_by_the_signal_of_soft_limits_ends_the_call(prefork: Site):
    task = prefork.start()
    prefork.revoke(task, signal="SIGUSR1")
    assert prefork.upstream.wait_closed(TIMEOUT)
    assert prefork.serves_the_next()


def test_the_time_of_the_call_ends_it(prefork: Site):
    _runs_out_of_time(prefork)


def test_the_time_of_the_call_ends_it_in_a_greenlet(green: Site):
    """There are no soft time limits there."""
    _runs_out_of_time(green)


def _runs_out_of_time(site: Site) -> None:
    task = site.start(0.2)
    assert site.upstream.wait_closed(TIMEOUT)
    assert task.get(timeout=TIMEOUT, interval=0.05) in ("one [out of time]", " [out of time]")
    assert site.serves_the_next()


def test_a_revoke_ends_the_call_of_a_greenlet(green: Site):
    task = green.start()
    green.revoke(task)
    assert green.upstream.wait_closed(TIMEOUT)
    assert green.serves_the_next()
