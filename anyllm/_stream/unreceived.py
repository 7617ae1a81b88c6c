"""Warnings about what nobody receives: an error, or the chunks before it."""

from __future__ import annotations

import logging
from typing import Any

from anyllm._concurrency import background
from anyllm._concurrency.pipe import Pipe
from anyllm.errors import AnyLLMError, Cancelled

_log = logging.getLogger("anyllm")


class UnreceivedError:
    """
    Logs the error that nobody received. Called when ``errors`` is dropped, and again when the call ends after that.

    Through `background`, because this may run in a finalizer.
    """

    def __init__(self, pipe: Any) -> None:
        self._pipe = pipe
        self.dropped = False

    def __call__(self) -> None:
        self.dropped = True  # first: `Pump._end` puts the error first, and looks at this after that
        error = self._pipe.take()
        if isinstance(error, AnyLLMError) and not isinstance(error, Cancelled):  # whose cause the caller has
            background.log(logging.WARNING, "a stream ended with an error that nobody received: %s", error)


def warn_if_unread(chunks: Pipe[Any]) -> bool:
    """Log it if *chunks* is open, full, and nobody receives: then who waits for the error waits for ever."""
    is_stuck = not chunks.end and len(chunks.items) >= chunks.maxsize and not chunks.receivers
    if is_stuck:
        _log.warning(
            "errors.get() waits for the end of a stream whose chunks nobody reads: read chunks to the end, or cancel"
        )
    return is_stuck
