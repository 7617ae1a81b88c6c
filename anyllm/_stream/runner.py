"""
Runs the steps of a call: on a worker thread, and in part on the loop.

Strategy: a call is a generator. It runs on a thread of its own until it yields a task for the loop; then the thread
ends. When the task is over the generator goes on, on the loop, where it must not wait. Before it may wait it yields
None: then it goes on on a new thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from typing import Optional

from anyllm._concurrency import background, fork_guard, loop, monkey_patch
from anyllm._stream.polled_reader import LoopTask
from anyllm.errors import AnyLLMError

#: What a call does, in parts that go on in different places.
CallSteps = Generator[Optional[LoopTask], None, None]


class NoThread(Exception):
    """Raised in the steps that have yielded None: there is no thread on which they could go on."""


class Runner:
    """
    Runs the steps of one call.

    Args:
        has_ended: Whether the call has ended, and its worker will soon.
        on_failure: Called with the exception that the steps raised.
        on_over: Called when they are over.
    """

    def __init__(
        self,
        has_ended: Callable[[], bool],
        on_failure: Callable[[BaseException], object],
        on_over: Callable[[], object],
    ) -> None:
        self._has_ended = has_ended
        self._on_failure = on_failure
        self._on_over = on_over
        self._steps: Optional[CallSteps] = None  # others have been replaced, and do nothing more
        self._thread: Optional[threading.Thread] = None
        self._is_over: Optional[threading.Event] = None  # for a call on the loop, which no thread of its own ends

    def start(self, steps: CallSteps) -> None:
        """Run *steps*, instead of those that run now; RuntimeError if there is no thread for them."""
        self._steps = steps
        self._start_thread(steps)

    def join(self, timeout: float) -> None:
        """Wait until the steps are over, for *timeout* seconds at most; a worker does not wait for itself."""
        thread = self._thread
        if thread is not None and thread.is_alive() and thread is not threading.current_thread():
            thread.join(timeout)
        if self._is_over is not None and not loop.shared.is_current():
            self._is_over.wait(timeout)

    @property
    def is_alive(self) -> bool:
        """Whether a thread runs the steps."""
        return self._thread is not None and self._thread.is_alive()

    def _start_thread(self, steps: CallSteps) -> None:
        if monkey_patch.began_native():  # the thread of the loop or of the timer
            background.start_thread(lambda: self._work(steps), "anyllm-call")
            return
        self._thread = threading.Thread(target=self._work, args=(steps,), name="anyllm-call", daemon=True)
        self._thread.start()

    def _work(self, steps: CallSteps) -> None:
        monkey_patch.thread_begins()
        fork_guard.add_worker(self._has_ended)
        try:
            self._run(steps)
        finally:
            fork_guard.remove_worker()
            monkey_patch.thread_ends()

    def _run(self, steps: CallSteps, *, on_loop: bool = False) -> None:
        """Run *steps* to their end, or until they go on elsewhere: on the loop, or, *on_loop*, on a thread."""
        try:
            for task in steps:
                if task is not None or on_loop:
                    self._go_on_elsewhere(steps, task)
                    return
        except BaseException as exc:
            self._on_failure(exc)
        steps.close()
        if steps is self._steps:  # else replaced, and the call goes on
            self._on_over()
            if self._is_over is not None:
                self._is_over.set()

    def _go_on_elsewhere(self, steps: CallSteps, task: Optional[LoopTask]) -> None:
        try:
            if task is None:
                self._start_thread(steps)
            else:
                self._is_over = self._is_over or threading.Event()
                task.start(lambda: self._run(steps, on_loop=True))
        except (RuntimeError, OSError) as exc:
            if task is None:
                steps.throw(NoThread())  # raises the error of the attempt
            raise AnyLLMError(f"cannot start a thread: {exc}") from exc
