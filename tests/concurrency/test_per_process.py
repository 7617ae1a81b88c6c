"""State for each process: made once, and made anew from the parent's in a child."""

from __future__ import annotations

import threading

import pytest
from conftest import join

from anyllm._concurrency.per_process import PerProcess


@pytest.mark.usefixtures("fast_switches")
def test_all_threads_get_the_same_object(spawn):
    own = PerProcess(lambda inherited: object())
    start = threading.Barrier(20)

    def work() -> object:
        start.wait(10)
        return own()

    assert set(join([spawn(work) for _ in range(20)])) == {own()}


@pytest.mark.fork
def test_a_child_makes_its_own_from_its_parents(run_script):
    output = run_script(
        """
import os, warnings
from anyllm._concurrency.per_process import PerProcess
warnings.simplefilter("ignore")
own = PerProcess(lambda inherited: [*(inherited or []), os.getpid()])
assert own() == [os.getpid()]
pid = os.fork()
if not pid:
    os._exit(0 if own() == [os.getppid(), os.getpid()] and own() is own() else 1)
assert os.waitpid(pid, 0)[1] == 0
assert own() == [os.getpid()]
print("done")
"""
    )
    assert output.strip() == "done"
