"""The same test files, unmodified, with threads that are greenlets."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import pytest
from conftest import ROOT, under_gevent

pytestmark = [
    pytest.mark.gevent,
    pytest.mark.skipif(importlib.util.find_spec("gevent") is None, reason="gevent is not installed"),
    pytest.mark.skipif(under_gevent(), reason="this is the run under gevent"),
]

#: Where threads, sockets and waiting are. The races that need two threads inside one C function are none here.
FILES = [
    "concurrency/test_waiters.py",
    "test_channel.py",
    "test_context.py",
    "concurrency/test_timer.py",
    "testing/test_loopback_server.py",
    "testing/test_silent.py",
    "transport/test_sockets.py",
    "transport/test_http.py",
    "stream/test_pump.py",
    "stream/test_cancellation.py",
    "stream/test_abandonment.py",
    "stream/test_exit.py",
    "concurrency/test_fork.py",
    "limits/test_rate_limit.py",
    "limits/test_stream_limit.py",
    "limits/test_limit_interruptions.py",
    "client/test_client.py",
]


@pytest.mark.parametrize("file", FILES)
def test_the_same_under_gevent(file):
    path = ROOT / "tests" / file
    if not path.exists():
        pytest.skip("there is no such file")
    run = subprocess.run(
        [sys.executable, "-m", "gevent.monkey", "--module", "pytest", "-q", "-n0", "-p", "no:cacheprovider", str(path)],
        cwd=ROOT,
        # What is meaningless there, is skipped; and it is one process.
        env={**os.environ, "PYTHONPATH": str(ROOT), "ANYLLM_NO_SKIPS": "", "PYTEST_ADDOPTS": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
    )
    assert run.returncode == 0, run.stdout[-6000:]
    assert " passed" in run.stdout
