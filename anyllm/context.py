"""
Go's context for threads: one object that says when to stop, from any thread, to everything below it.

Strategy: `cancel` may be called in a signal handler or a finalizer, so nothing it touches takes a lock (see
`waiters`). The end is one `dict.setdefault`, which is atomic: the first to end a context wins. Callbacks are popped
from a dict, so each runs exactly once, whoever finds it first; and so are the children, which are told in a loop.

There are two kinds of callbacks. Ours (`_on_end`) free somebody who waits, take no time, and run first, here and in
everything below. A user's (`on_done`) may take as long as they like, so they run when everybody is free; and if it was
time that ended the context, each on a thread of its own, because the timer's serves every deadline of the process.

A context that nobody waits for costs nothing: it neither starts the timer nor registers with its parent. It does both
with its first callback and undoes both with its last; until then its state is computed when asked for. Taking a
callback back may happen in a finalizer too, so it never starts anything: it puts back what it should have kept.
"""

from __future__ import annotations

import datetime
import functools
import logging
import math
import time
from collections.abc import Callable, Hashable, Mapping
from types import MappingProxyType, TracebackType
from typing import Any, Optional, Union

from anyllm._concurrency import background as _background
from anyllm._concurrency import monkey_patch, timer, waiters
from anyllm.channel import Channel, open_channel
from anyllm.errors import AnyLLMError, Cancelled, DeadlineExceeded

__all__ = [
    "Cancel",
    "Context",
    "after_func",
    "background",
    "cause",
    "own_error",
    "with_cancel",
    "with_deadline",
    "with_timeout",
    "with_value",
    "without_cancel",
]

_NO_VALUES: Mapping[Hashable, Any] = MappingProxyType({})

Cancel = Callable[..., None]  # `cancel(cause=None)`


class Context:
    """
    Says when to stop: on `cancel`, when its time is over, or when its parent stops.

    Shared freely between threads. As a context manager it is cancelled on exit.

    Args:
        timeout: Seconds from now on the monotonic clock; 0 ends it at once, None never by itself.
        parent: When it ends, this one ends with the same error.

    Raises:
        TypeError: *timeout* is no number, or *parent* no Context.
        ValueError: *timeout* is negative or NaN.

    Source: Go's context package.
    """

    __slots__ = (
        "__weakref__",
        "_callbacks",
        "_children",
        "_deadline",
        "_end",
        "_functions",
        "_links",
        "_parent",
        "_values",
    )

    def __init__(self, timeout: Optional[float] = None, *, parent: Optional[Context] = None) -> None:
        if parent is not None and not isinstance(parent, Context):
            raise TypeError(f"parent must be a Context, not {type(parent).__name__}")
        self._parent = parent
        self._values: Mapping[Hashable, Any] = parent._values if parent else _NO_VALUES
        self._deadline: Optional[float] = _earlier(_deadline(timeout), parent._deadline if parent else None)
        self._end: dict[str, AnyLLMError] = {}  # empty, or {"error": why it ended}
        self._callbacks: dict[object, Callable[[], object]] = {}  # of ours
        self._functions: dict[object, Callable[[], object]] = {}  # of users
        self._children: dict[object, Context] = {}  # those that somebody waits for
        self._links: dict[str, Callable[[], object]] = {}  # how to let go of the parent and of the timer

    # -- ending ------------------------------------------------------------------------------------------------

    def cancel(self, cause: object = None) -> None:
        """
        End this context and everything below it; a second call does nothing.

        Safe in a signal handler, in a finalizer, and in any thread. When it returns, whoever waits has been
        freed, but need not have run yet.

        Args:
            cause: Why: an exception or any object; `Cancelled.cause` hands it on.
        """
        self._finish(Cancelled(cause=cause), _run_here)

    def _finish(self, error: AnyLLMError, run: Callable[[Callable[[], object]], object]) -> None:
        """End it with *error*, unless it has ended. *run* calls a function of a user."""
        self._end.setdefault("error", error)
        _tell(self, run)  # also when it had ended before: Ctrl-C may have stopped whoever was telling the others

    @property
    def error(self) -> Optional[AnyLLMError]:
        """Why it ended: a `Cancelled` or a `DeadlineExceeded`; None while it has not."""
        line = [self]  # up to the first that has ended, or the root
        while not line[-1]._end and line[-1]._parent is not None:
            line.append(line[-1]._parent)
        inherited = None
        for context in reversed(line):
            inherited = context._end.get("error") or inherited or context._overdue()
            if inherited is not None and not context._end:
                context._finish(inherited, _run_apart)  # whoever asks may be one of our own threads
        return self._end.get("error")

    def _overdue(self) -> Optional[AnyLLMError]:
        is_over = self._deadline is not None and self._deadline <= time.monotonic()
        return DeadlineExceeded() if is_over else None

    @property
    def cancelled(self) -> bool:
        """Whether it has ended, in whatever way."""
        return self.error is not None

    @property
    def cause(self) -> object:
        """What `cancel(cause)` was given; the error itself when that was nothing; None while it has not ended."""
        error = self.error
        given = getattr(error, "cause", None)
        return error if given is None else given

    # -- waiting -----------------------------------------------------------------------------------------------

    def remaining(self) -> Optional[float]:
        """Seconds until its deadline, or a parent's, not below 0; None when there is no deadline."""
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    def wait(self, timeout: Optional[float] = None) -> bool:
        """Block until it ends (True), or for *timeout* seconds (False)."""
        waiter = waiters.new_waiter()
        take_back = self._on_end(lambda: waiters.release(waiter))
        try:
            return waiters.wait(waiter, waiters.deadline_after(timeout))
        finally:
            take_back()

    def done(self) -> Channel[Any]:
        """A channel that is closed when the context ends, to `select` on."""
        pair = open_channel(1)
        sender = pair[0]
        take_back = self._on_end(sender.close)
        pair[1]._on_drop = take_back
        return pair[1]

    def on_done(self, fn: Callable[[], object]) -> Callable[[], bool]:
        """
        Call *fn* once, when the context ends; at once if it has.

        When time ends the context, *fn* runs on a thread of its own. When `cancel` does, *fn* runs on the thread that
        called it, after everything below the context has been freed: where that may be a signal handler or a
        finalizer, *fn* must not wait for a lock that the interrupted code may hold. What it raises is logged.

        Returns:
            A function that takes it back: True if *fn* will now never run, False if it has or is about to.
        """
        if not callable(fn):
            raise TypeError(f"expected a function, not {type(fn).__name__}")
        if self.error is not None:
            _run_here(fn)
            return lambda: False
        return self._register(self._functions, fn)

    def _on_end(self, fn: Callable[[], object]) -> Callable[[], bool]:
        """`on_done` for functions of ours, which take no time and no lock: on the thread that ends the context."""
        return self._register(self._callbacks, fn)

    def _register(self, functions: dict[object, Callable[[], object]], fn: Callable[[], object]) -> Callable[[], bool]:
        key = object()
        functions[key] = fn
        if not self._end:
            self._watch()
        if self.error is not None:
            _tell(self, _run_apart)

        def take_back() -> bool:
            taken = functions.pop(key, None) is not None
            self._rest()
            return taken

        return take_back

    def _is_watched(self) -> bool:
        return bool(self._callbacks or self._functions or self._children) and not self._end

    def _watch(self) -> None:
        """Have the parents and the timer tell us, now that somebody wants to know."""
        context = self
        while True:
            context._watch_deadline()
            parent = context._parent
            if parent is None or "parent" in context._links:
                return
            key = object()
            parent._children[key] = context
            if not context._link("parent", functools.partial(parent._children.pop, key, None)):
                parent._rest()
                return
            context = parent

    def _watch_deadline(self) -> None:
        own = self._parent is None or self._deadline != self._parent._deadline
        if own and self._deadline is not None and "timer" not in self._links:
            monkey_patch.renew()
            entry = timer.shared.call_at(self._deadline, lambda: self._finish(DeadlineExceeded(), _run_apart))
            self._link("timer", entry.cancel)

    def _link(self, name: str, let_go: Callable[[], object]) -> bool:
        """Keep *let_go* for later; False, and let go, when another thread was faster."""
        if self._links.setdefault(name, let_go) is not let_go:
            let_go()
            return False
        if not self._is_watched():
            self._rest()  # whoever wanted to know has gone, or been told, meanwhile
        return True

    def _rest(self) -> None:
        """Let go of the timer and of the parents, as far up as nobody wants to know."""
        context: Optional[Context] = self
        while context is not None:
            context._unlink("timer")
            context = context._parent if context._unlink("parent") else None

    def _unlink(self, name: str) -> bool:
        """Let go of a link, unless somebody wants to know; whether there was one."""
        found = False
        while not self._is_watched():
            let_go = self._links.pop(name, None)
            if let_go is None:
                break
            if self._is_watched():  # somebody came while we were leaving, and may have seen the link in place
                self._link(name, let_go)
            else:
                let_go()
                found = True
        return found

    # -- deriving ----------------------------------------------------------------------------------------------

    def child(self, timeout: Optional[float] = None) -> Context:
        """A context that ends with this one, or earlier by itself."""
        return Context(timeout, parent=self)

    def value(self, key: Hashable) -> Any:
        """What `with_value` stored under *key*, here or above; None if nothing."""
        return self._values.get(key)

    def __enter__(self) -> Context:
        return self

    def __exit__(
        self, kind: Optional[type[BaseException]], exc: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.cancel()

    def __reduce__(self) -> Any:
        raise TypeError("a Context cannot be copied or pickled: make one where the call is made, or a child()")

    def __repr__(self) -> str:
        ended = self._end.get("error")
        state = "open" if ended is None else str(ended)
        left = self.remaining()
        return f"<Context {state}{'' if left is None else f', {left:.3g} s left'}>"


def own_error(ctx: Context, **fields: Any) -> AnyLLMError:
    """Why *ctx* has ended, as an error of one call's own: each carries its own partial response, and other *fields*."""
    error = ctx.error
    if isinstance(error, DeadlineExceeded):
        return DeadlineExceeded(**fields)
    return Cancelled(cause=getattr(error, "cause", None), **fields)


def background() -> Context:
    """A context that never ends by itself. Source: Go's context.Background."""
    return Context()


def with_cancel(parent: Context) -> tuple[Context, Cancel]:
    """A child and the function that ends it: ``cancel(cause=None)``. Source: Go's context.WithCancelCause."""
    child = Context(parent=_context(parent))
    return child, child.cancel


def with_timeout(parent: Context, timeout: float) -> tuple[Context, Cancel]:
    """
    Derive a context that ends by itself.

    Args:
        parent: When it ends, the child ends with the same error.
        timeout: Seconds on the monotonic clock; 0 ends the child at once.

    Returns:
        The child, and a function that ends it early; calling it twice is harmless.

    Raises:
        ValueError: *timeout* is negative or NaN.

    Source: Go's context.WithTimeout.
    """
    child = Context(timeout, parent=_context(parent))
    return child, child.cancel


def with_deadline(parent: Context, deadline: Union[datetime.datetime, float]) -> tuple[Context, Cancel]:
    """
    Derive a context that ends at an instant of the wall clock, converted to the monotonic clock now.

    Args:
        parent: When it ends, the child ends with the same error.
        deadline: A datetime (naive is local time), or Unix seconds as `time.time` gives them.

    Returns:
        The child, and a function that ends it early.

    Raises:
        ValueError: *deadline* is NaN.

    Source: Go's context.WithDeadline.
    """
    instant = deadline.timestamp() if isinstance(deadline, datetime.datetime) else deadline
    return with_timeout(parent, max(instant - time.time(), 0.0))


def with_value(parent: Context, key: Hashable, value: Any) -> Context:
    """A child that carries *value* under *key*. Source: Go's context.WithValue."""
    child = Context(parent=_context(parent))
    child._values = MappingProxyType({**parent._values, key: value})
    return child


def without_cancel(parent: Context) -> Context:
    """A context with the parent's values that does not end with it. Source: Go's context.WithoutCancel."""
    free = Context()
    free._values = _context(parent)._values
    return free


def after_func(ctx: Context, fn: Callable[[], object]) -> Callable[[], bool]:
    """
    `Context.on_done` under Go's name; the function returned is Go's ``stop``.

    As in Go, *fn* runs on a thread of its own when time ends the context; when `cancel` does, on the thread that
    called it.

    Source: Go's context.AfterFunc.
    """
    return _context(ctx).on_done(fn)


def cause(ctx: Context) -> object:
    """`Context.cause` under Go's name. Source: Go's context.Cause."""
    return _context(ctx).cause


def _context(value: Any) -> Context:
    if not isinstance(value, Context):
        raise TypeError(f"expected a Context, not {type(value).__name__}")
    return value


def _deadline(timeout: Optional[float]) -> Optional[float]:
    if timeout is None:
        return None
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)):
        raise TypeError(f"timeout must be seconds (a number) or None, not {type(timeout).__name__}")
    if math.isnan(timeout) or timeout < 0:
        raise ValueError(f"timeout must not be negative or NaN: {timeout!r}")
    return None if math.isinf(timeout) else time.monotonic() + timeout


def _earlier(one: Optional[float], other: Optional[float]) -> Optional[float]:
    given = [deadline for deadline in (one, other) if deadline is not None]
    return min(given, default=None)


def _tell(context: Context, run: Callable[[Callable[[], object]], object]) -> None:
    """
    Free everything at and below an ended context, then call the functions of users there with *run*.

    Harmless when another thread does it too.
    """
    with_functions: list[Context] = []
    try:
        _free([context], with_functions)
    finally:
        _call_functions(with_functions, run)


def _free(pending: list[Context], with_functions: list[Context]) -> None:
    """
    Run and forget our callbacks, and note the contexts that have functions of users.

    A loop, because a program that derives each turn's context from the last one's has thousands, one below the other.
    """
    try:
        while pending:
            context = pending[-1]
            try:
                if context._callbacks:
                    _run_here(context._callbacks.popitem()[1])
                elif context._children:
                    child = context._children.popitem()[1]
                    child._end.setdefault("error", context._end["error"])
                    pending.append(child)
                else:
                    pending.pop()
                    if context._functions:
                        with_functions.append(context)
                    context._rest()
            except KeyError:  # another thread took the last one
                pass
    finally:
        if pending:  # Ctrl-C came in between: the others are freed before that goes on
            _free(pending, with_functions)


def _call_functions(contexts: list[Context], run: Callable[[Callable[[], object]], object]) -> None:
    try:
        while contexts:
            try:
                run(contexts[-1]._functions.popitem()[1])
            except KeyError:
                contexts.pop()
    finally:
        if contexts:  # a function raised KeyboardInterrupt or SystemExit: the others run before that goes on
            _call_functions(contexts, run)


def _run_here(function: Callable[[], object], caught: type[BaseException] = Exception) -> None:
    try:
        function()
    except caught as exc:
        # Perhaps in a finalizer, which must not log by itself.
        _background.log(logging.ERROR, "a function registered with Context.on_done failed", exc=exc)


def _run_apart(function: Callable[[], object]) -> None:
    try:
        _background.start_thread(lambda: _run_here(function, BaseException), "anyllm-on-done")
    except RuntimeError:  # no more threads at exit
        _run_here(function, BaseException)
