"""The user's cache folder, and the lock that lets one process at a time change it."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

_POLL = 0.1  # seconds between two tries, where the system has no lock that waits for ever


def cache_dir() -> Path:
    """
    Give the folder for what is downloaded once; it may not exist yet.

    Returns:
        ``ANYLLM_CACHE`` if that is set and not empty, else ``anyllm`` in the platform's cache folder.
    """
    own = os.environ.get("ANYLLM_CACHE")
    if own:
        return Path(own).expanduser().absolute()
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA")
        return (Path(local) if local else Path.home() / "AppData" / "Local") / "anyllm" / "Cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "anyllm"
    xdg = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG specification says that a relative path is to be ignored.
    return (Path(xdg) if os.path.isabs(xdg) else Path.home() / ".cache") / "anyllm"


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """
    Hold the folder's lock, waiting for whoever has it: another process, or another thread of this one.

    The system takes the lock back when a process dies, so nobody has to clean up after a kill.
    The lock file itself stays: removing it would let two processes lock two different files.

    Args:
        folder: Made if it is absent.

    Raises:
        OSError: The folder cannot be made or written, or its file system has no locks.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "a+b") as handle:
        _take(handle.fileno())
        try:
            yield
        finally:
            # Unlocked by name, because a child forked meanwhile has a copy of the descriptor, and closing
            # ours alone would leave the lock with the child.
            _give_back(handle.fileno())


if sys.platform == "win32":  # pragma: no cover
    import msvcrt

    def _take(descriptor: int) -> None:
        while True:
            os.lseek(descriptor, 0, os.SEEK_SET)
            try:
                msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
                return
            except PermissionError:
                # LK_LOCK would give up after ten seconds; a download takes longer.
                time.sleep(_POLL)

    def _give_back(descriptor: int) -> None:
        os.lseek(descriptor, 0, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _take(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX)

    def _give_back(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_UN)
