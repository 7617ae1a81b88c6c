"""
Go's context for threads: cancellation, deadlines and values for a call and everything below it.

More than 400 lines, because `Context` and Go's functions around it are one public module.

Strategy: `cancel` may be called in a signal handler or a finalizer, so nothing it touches takes a lock (see
`waiters`). The end is one `dict.setdefault`, which is atomic: the first thread to end a context wins. Callbacks and
children are popped from dicts, so each is notified exactly once.

There are two kinds of callbacks. Internal ones (`_on_end`) free a waiting thread, take no time, and run first, for this
context and all below it. The user's (`on_done`) may take long, so they run after all threads are freed. If a deadline
ended the context, each runs on a new thread, because the timer's thread serves every deadline of the process.

A context without callbacks costs nothing: it registers neither with the timer nor with its parent, and computes its
state on demand. It registers with its first callback and unregisters with its last. Unregistering may happen in a
finalizer, so it starts nothing: if another thread has added a callback meanwhile, it restores the registration.
"""

from __future__ import annotations

import datetime
import functools
import logging
import math
import time
from collections.abc import Callable, Hashable, Mapping
from types import MappingProxyType
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
    Ends calls: on `cancel`, when its time is up, or when its parent ends.

    Shared freely between threads. As a context manager it is cancelled on exit.

    Args:
        timeout: Seconds from now on the monotonic clock; 0 ends it at once, None is no limit.
        parent: When it ends, this one ends with the same error.

    Raises:
        TypeError: *timeout* is not a number, or *parent* is not a Context.
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
        "_parent",
        "_registrations",
        "_values",
    )

    def __init__(self, timeout: Optional[float] = None, *, parent: Optional[Context] = None) -> None:
        if parent is not None:
            check_context(parent, "parent must be")
        self._parent = parent
        self._values: Mapping[Hashable, Any] = parent._values if parent else _NO_VALUES
        self._deadline: Optional[float] = _earlier(_deadline(timeout), parent._deadline if parent else None)
        self._end: dict[str, AnyLLMError] = {}  # empty, or {"error": why it ended}
        self._callbacks: dict[object, Callable[[], object]] = {}  # internal
        self._functions: dict[object, Callable[[], object]] = {}  # of users
        self._children: dict[object, Context] = {}  # those with callbacks
        self._registrations: dict[str, Callable[[], object]] = {}  # how to unregister from "parent" and "timer"

    # -- ending ------------------------------------------------------------------------------------------------

    def cancel(self, cause: object = None) -> None:
        """
        End this context and everything below it; a second call does nothing.

        Safe in a signal handler, in a finalizer, and in any thread. When it returns, waiting threads have been woken,
        but may not have run yet.

        Args:
            cause: The reason, an exception or any object; it becomes `Cancelled.cause`.
        """
        self._finish(Cancelled(cause=cause), _call_here)

    def _finish(self, error: AnyLLMError, call: Callable[[Callable[[], object]], object]) -> None:
        """End it with *error*, unless it has ended. *call* calls a function of a user."""
        self._end.setdefault("error", error)
        _notify(self, call)  # also if it had ended before: Ctrl-C may have interrupted the thread that ended it

    @property
    def error(self) -> Optional[AnyLLMError]:
        """Why it ended: a `Cancelled` or a `DeadlineExceeded`; None while it has not ended."""
        ancestors = [self]  # up to the first that has ended, or the root
        while not ancestors[-1]._end and ancestors[-1]._parent is not None:
            ancestors.append(ancestors[-1]._parent)
        inherited = None
        for context in reversed(ancestors):
            inherited = context._end.get("error") or inherited or context._deadline_error()
            if inherited is not None and not context._end:
                context._finish(inherited, _call_on_new_thread)  # this may be one of our own threads
        return self._end.get("error")

    def _deadline_error(self) -> Optional[AnyLLMError]:
        has_passed = self._deadline is not None and self._deadline <= time.monotonic()
        return DeadlineExceeded() if has_passed else None

    @property
    def cancelled(self) -> bool:
        """Whether it has ended, by a cancel or a deadline."""
        return self.error is not None

    @property
    def cause(self) -> object:
        """The argument of `cancel(cause)`, or the error if that was None; None while it has not ended."""
        error = self.error
        cause = getattr(error, "cause", None)
        return error if cause is None else cause

    # -- waiting -----------------------------------------------------------------------------------------------

    def remaining(self) -> Optional[float]:
        """Seconds until its deadline or a parent's, at least 0; None without a deadline."""
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    def wait(self, timeout: Optional[float] = None) -> bool:
        """Block until it ends (True), or for *timeout* seconds (False)."""
        waiter = waiters.new_waiter()
        remove = self._on_end(lambda: waiters.release(waiter))
        try:
            return waiters.wait(waiter, waiters.deadline_after(timeout))
        finally:
            remove()

    def done(self) -> Channel[Any]:
        """A channel that is closed when the context ends, for `select`."""
        sender, channel = open_channel(1)
        channel._on_drop = self._on_end(sender.close)
        return channel

    def on_done(self, fn: Callable[[], object]) -> Callable[[], bool]:
        """
        Call *fn* once, when the context ends; at once if it has ended.

        If a deadline ends the context, *fn* runs on a new thread. If `cancel` does, *fn* runs on the thread that called
        `cancel`, after all threads below the context have been freed. If that may be in a signal handler or a
        finalizer, *fn* must not wait for a lock that the interrupted code may hold. Exceptions of *fn* are logged.

        Returns:
            A function that removes *fn*: True if *fn* will never run, False if it has run or is about to.
        """
        if not callable(fn):
            raise TypeError(f"expected a function, not {type(fn).__name__}")
        if self.error is not None:
            _call_here(fn)
            return lambda: False
        return self._add(self._functions, fn)

    def _on_end(self, fn: Callable[[], object]) -> Callable[[], bool]:
        """`on_done` for internal functions, which take no time and no lock: they run on the thread that ends it."""
        return self._add(self._callbacks, fn)

    def _add(self, functions: dict[object, Callable[[], object]], fn: Callable[[], object]) -> Callable[[], bool]:
        key = object()
        functions[key] = fn
        if not self._end:
            self._register()
        if self.error is not None:
            _notify(self, _call_on_new_thread)

        def remove() -> bool:
            is_removed = functions.pop(key, None) is not None
            self._unregister()
            return is_removed

        return remove

    def _has_callbacks(self) -> bool:
        """Whether this context, or one below it, must be notified of the end."""
        return bool(self._callbacks or self._functions or self._children) and not self._end

    def _register(self) -> None:
        """Register this context and its ancestors with the timer, and each with its parent."""
        context = self
        while True:
            context._register_deadline()
            parent = context._parent
            if parent is None or "parent" in context._registrations:
                return
            key = object()
            parent._children[key] = context
            if not context._add_registration("parent", functools.partial(parent._children.pop, key, None)):
                parent._unregister()
                return
            context = parent

    def _register_deadline(self) -> None:
        is_own = self._parent is None or self._deadline != self._parent._deadline
        if is_own and self._deadline is not None and "timer" not in self._registrations:
            monkey_patch.renew()
            entry = timer.shared.call_at(self._deadline, lambda: self._finish(DeadlineExceeded(), _call_on_new_thread))
            self._add_registration("timer", entry.cancel)

    def _add_registration(self, name: str, undo: Callable[[], object]) -> bool:
        """Store how to *undo* a registration; False, and undo it, if another thread was faster."""
        if self._registrations.setdefault(name, undo) is not undo:
            undo()
            return False
        if not self._has_callbacks():
            self._unregister()  # the callback was removed or called meanwhile
        return True

    def _unregister(self) -> None:
        """Undo the registrations, also those of the ancestors, where there are no callbacks any more."""
        context: Optional[Context] = self
        while context is not None:
            context._remove_registration("timer")
            context = context._parent if context._remove_registration("parent") else None

    def _remove_registration(self, name: str) -> bool:
        """Undo one registration if there are no callbacks; whether there was one."""
        found = False
        while not self._has_callbacks():
            undo = self._registrations.pop(name, None)
            if undo is None:
                break
            if self._has_callbacks():  # another thread added a callback, and may have seen the registration in place
                self._add_registration(name, undo)
            else:
                undo()
                found = True
        return found

    # -- deriving ----------------------------------------------------------------------------------------------

    def child(self, timeout: Optional[float] = None) -> Context:
        """A context that ends with this one, or earlier by itself."""
        return Context(timeout, parent=self)

    def value(self, key: Hashable) -> Any:
        """The value that `with_value` stored under *key*, here or in an ancestor; None if there is none."""
        return self._values.get(key)

    def __enter__(self) -> Context:
        return self

    def __exit__(self, *_: object) -> None:
        self.cancel()

    def __reduce__(self) -> Any:
        raise TypeError("a Context cannot be copied or pickled: make one where the call is made, or a child()")

    def __repr__(self) -> str:
        error = self._end.get("error")
        state = "open" if error is None else str(error)
        left = self.remaining()
        return f"<Context {state}{'' if left is None else f', {left:.3g} s left'}>"


def own_error(ctx: Context, **fields: Any) -> AnyLLMError:
    """A new error for one call of why *ctx* ended, with *fields*: each call's error has its own partial response."""
    error = ctx.error
    if isinstance(error, DeadlineExceeded):
        return DeadlineExceeded(**fields)
    return Cancelled(cause=getattr(error, "cause", None), **fields)


def raise_if_ended(ctx: Context) -> None:
    """Raise the error of a Context that has ended, as a new error of this call."""
    if ctx.error is not None:
        raise own_error(ctx)


def check_context(value: Any, requirement: str = "expected") -> Context:
    """*value*; a TypeError that begins with *requirement* if it is no Context."""
    if not isinstance(value, Context):
        raise TypeError(f"{requirement} a Context, not {type(value).__name__}")
    return value


def background() -> Context:
    """A context without parent and deadline. Source: Go's context.Background."""
    return Context()


def with_cancel(parent: Context) -> tuple[Context, Cancel]:
    """A child, and the function ``cancel(cause=None)`` that ends it. Source: Go's context.WithCancelCause."""
    child = Context(parent=check_context(parent))
    return child, child.cancel


def with_timeout(parent: Context, timeout: float) -> tuple[Context, Cancel]:
    """
    Derive a context with a timeout.

    Args:
        parent: When it ends, the child ends with the same error.
        timeout: Seconds on the monotonic clock; 0 ends the child at once.

    Returns:
        The child, and a function that ends it early; calling it twice is harmless.

    Raises:
        ValueError: *timeout* is negative or NaN.

    Source: Go's context.WithTimeout.
    """
    child = Context(timeout, parent=check_context(parent))
    return child, child.cancel


def with_deadline(parent: Context, deadline: Union[datetime.datetime, float]) -> tuple[Context, Cancel]:
    """
    Derive a context that ends at a time of the wall clock, converted to the monotonic clock now.

    Args:
        parent: When it ends, the child ends with the same error.
        deadline: A datetime (naive is local time), or Unix seconds as `time.time` gives them.

    Returns:
        The child, and a function that ends it early.

    Raises:
        ValueError: *deadline* is NaN.

    Source: Go's context.WithDeadline.
    """
    timestamp = deadline.timestamp() if isinstance(deadline, datetime.datetime) else deadline
    return with_timeout(parent, max(timestamp - time.time(), 0.0))


def with_value(parent: Context, key: Hashable, value: Any) -> Context:
    """A child with *value* under *key*. Source: Go's context.WithValue."""
    child = Context(parent=check_context(parent))
    child._values = MappingProxyType({**parent._values, key: value})
    return child


def without_cancel(parent: Context) -> Context:
    """A context with the parent's values that does not end with it. Source: Go's context.WithoutCancel."""
    context = Context()
    context._values = check_context(parent)._values
    return context


def after_func(ctx: Context, fn: Callable[[], object]) -> Callable[[], bool]:
    """
    `Context.on_done` under Go's name; the returned function is Go's ``stop``.

    As in Go, *fn* runs on a new thread if a deadline ends the context; if `cancel` does, it runs on the thread that
    called `cancel`.

    Source: Go's context.AfterFunc.
    """
    return check_context(ctx).on_done(fn)


def cause(ctx: Context) -> object:
    """`Context.cause` under Go's name. Source: Go's context.Cause."""
    return check_context(ctx).cause


def _deadline(timeout: Optional[float]) -> Optional[float]:
    if timeout is None:
        return None
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)):
        raise TypeError(f"timeout must be seconds (a number) or None, not {type(timeout).__name__}")
    if math.isnan(timeout) or timeout < 0:
        raise ValueError(f"timeout must not be negative or NaN: {timeout!r}")
    return None if math.isinf(timeout) else time.monotonic() + timeout


def _earlier(one: Optional[float], other: Optional[float]) -> Optional[float]:
    return min((deadline for deadline in (one, other) if deadline is not None), default=None)


def _notify(context: Context, call: Callable[[Callable[[], object]], object]) -> None:
    """
    Free all threads that wait for an ended context or one below it, then call the users' functions there with *call*.

    Harmless if another thread does it too.
    """
    with_functions: list[Context] = []
    try:
        _free([context], with_functions)
    finally:
        _call_functions(with_functions, call)


def _free(pending: list[Context], with_functions: list[Context]) -> None:
    """
    Call and remove the internal callbacks, and append contexts with users' functions to *with_functions*.

    A loop, not a recursion: a program that derives each turn's context from the last one's nests thousands.
    """
    try:
        while pending:
            context = pending[-1]
            try:
                if context._callbacks:
                    _call_here(context._callbacks.popitem()[1])
                elif context._children:
                    child = context._children.popitem()[1]
                    child._end.setdefault("error", context._end["error"])
                    pending.append(child)
                else:
                    pending.pop()
                    if context._functions:
                        with_functions.append(context)
                    context._unregister()
            except KeyError:  # another thread took the last one
                pass
    finally:
        if pending:  # Ctrl-C: free the others before it is raised on
            _free(pending, with_functions)


def _call_functions(contexts: list[Context], call: Callable[[Callable[[], object]], object]) -> None:
    try:
        while contexts:
            try:
                call(contexts[-1]._functions.popitem()[1])
            except KeyError:
                contexts.pop()
    finally:
        if contexts:  # a function raised KeyboardInterrupt or SystemExit: call the others before it is raised on
            _call_functions(contexts, call)


def _call_here(function: Callable[[], object], caught: type[BaseException] = Exception) -> None:
    try:
        function()
    except caught as exc:
        # Through `background`, because this may be a finalizer.
        _background.log(logging.ERROR, "a function registered with Context.on_done failed", exc=exc)


def _call_on_new_thread(function: Callable[[], object]) -> None:
    try:
        _background.start_thread(lambda: _call_here(function, BaseException), "anyllm-on-done")
    except RuntimeError:  # no more threads at exit
        _call_here(function, BaseException)
