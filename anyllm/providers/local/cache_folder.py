"""The user's cache folder, and a lock for changes to it."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

_POLL = 0.1  # seconds between attempts, on systems whose locks cannot wait without a limit


def cache_dir() -> Path:
    """
    The folder for downloaded files; it may not exist yet.

    Returns:
        ``ANYLLM_CACHE`` if that is set and not empty, else ``anyllm`` in the platform's cache folder.
    """
    configured = os.environ.get("ANYLLM_CACHE")
    if configured:
        return Path(configured).expanduser().absolute()
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA")
        return (Path(local) if local else Path.home() / "AppData" / "Local") / "anyllm" / "Cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "anyllm"
    xdg = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG specification says to ignore a relative path.
    return (Path(xdg) if os.path.isabs(xdg) else Path.home() / ".cache") / "anyllm"


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """
    Hold the folder's lock within the block, which excludes other processes and other threads of this one.

    The system releases the lock when a process dies, so a kill leaves nothing to clean up. The lock file itself stays:
    without it two processes could lock two different files.

    Args:
        folder: Created if it does not exist.

    Raises:
        OSError: The folder cannot be created or written, or its file system has no locks.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "a+b") as handle:
        _lock(handle.fileno())
        try:
            yield
        finally:
            # Explicitly: a child forked meanwhile has a copy of the descriptor, and would keep the lock after we close
            # ours.
            _unlock(handle.fileno())


if sys.platform == "win32":  # pragma: no cover
    import msvcrt

    def _lock(descriptor: int) -> None:
        while True:
            os.lseek(descriptor, 0, os.SEEK_SET)
            try:
                msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
                return
            except PermissionError:
                # LK_LOCK fails after ten seconds; a download takes longer.
                time.sleep(_POLL)

    def _unlock(descriptor: int) -> None:
        os.lseek(descriptor, 0, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX)

    def _unlock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_UN)
