"""The warning about an error that nobody received."""

from __future__ import annotations

import logging
from typing import Any

from anyllm._concurrency import background
from anyllm.errors import AnyLLMError, Cancelled


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
