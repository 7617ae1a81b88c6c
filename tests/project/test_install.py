"""`pip install -e .` as the README has it, in a virtual environment of its own."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from importlib import metadata
from pathlib import Path

import pytest
from conftest import ROOT

pytestmark = pytest.mark.once

TIMEOUT = 300  # seconds, for what hangs


def _run(*command: str | Path, cwd: Path, **environment: str) -> str:
    env = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    done = subprocess.run(
        [*map(str, command)],
        cwd=cwd,
        env={**env, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment in which a clone named "anyllm" is installed; the clone lies two folders above."""
    folder = tmp_path_factory.mktemp("install")
    clone = folder / "anyllm"
    clone.mkdir()
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, clone)
    shutil.copytree(ROOT / "anyllm", clone / "anyllm", ignore=shutil.ignore_patterns("__pycache__"))
    _run(sys.executable, "-m", "venv", "env", cwd=folder)
    python = folder / "env" / ("Scripts" if os.name == "nt" else "bin") / "python"
    # It uses the packages that the tests run with, so that nothing has to be fetched.
    packages = list(dict.fromkeys(sysconfig.get_path(kind) for kind in ("purelib", "platlib")))
    site = Path(_run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder))
    (site / "packages.pth").write_text("\n".join(packages) + "\n")
    command = (python, "-m", "pip", "install", "--no-deps", "-e", clone)
    if _builds_alone():
        _run(*command, "--no-build-isolation", cwd=folder, PYTHONPATH=os.pathsep.join(packages))
    else:
        _run(*command, cwd=folder)
    return python


def _builds_alone() -> bool:
    """Whether the setuptools here builds without the package "wheel"; the extra "test" asks for such a one."""
    try:
        major, minor = map(int, metadata.version("setuptools").split(".")[:2])
    except metadata.PackageNotFoundError:
        return False
    return (major, minor) >= (70, 1)


@pytest.mark.parametrize("where", [".", "anyllm", "elsewhere"])
def test_an_installed_clone_is_imported_from_every_folder(python: Path, where: str) -> None:
    """
    In the folder above it, a clone named "anyllm" is a namespace package to Python, without any contents, unless a
    folder on the path has a regular one. A finder that setuptools puts behind the path comes too late.
    """
    folder = python.parents[2] / where
    folder.mkdir(exist_ok=True)
    (folder / "program.py").write_text("import anyllm\nprint(anyllm.Client.__name__, anyllm.__file__)\n")
    name, file = _run(python, "program.py", cwd=folder).split(" ", 1)
    assert name == "Client"
    assert Path(file).resolve() == (python.parents[2] / "anyllm/anyllm/__init__.py").resolve()


def test_the_command_of_an_installed_clone_runs_in_the_folder_above(python: Path) -> None:
    assert _run(python.with_name("anyllm"), "--version", cwd=python.parents[2]).startswith("anyllm")


# -- the source distribution -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The names of the files in a source distribution."""
    if importlib.util.find_spec("setuptools") is None:  # not imported: that takes the place of distutils
        pytest.skip("setuptools is not installed")
    folder = tmp_path_factory.mktemp("sdist")
    ignored = shutil.ignore_patterns("__pycache__", ".git", ".*_cache", ".hypothesis", ".venv", "*.egg-info", "build")
    shutil.copytree(ROOT, folder / "clone", ignore=ignored)
    build = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])"
    _run(sys.executable, "-W", "ignore", "-c", build, folder, cwd=folder / "clone")
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        return {name.partition("/")[2] for name in tar.getnames()}


def test_what_the_readme_links_to_is_named_in_words_and_in_the_source_distribution(sources: set[str]) -> None:
    """Where an index shows the README, a relative link leads nowhere, and its text must say what is meant."""
    links = re.findall(r"\[([^\]]*)\]\((?!https?:)([^)#]*)[^)]*\)", (ROOT / "README.md").read_text("utf-8"))
    assert links
    for text, target in links:
        assert text == f"`{target}`"
        assert target in sources


def test_the_source_distribution_has_what_the_tests_need_and_nothing_that_was_made(sources: set[str]) -> None:
    named = {"CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "pyproject.toml", "setup.cfg", ".ci/run"}
    assert named <= sources
    for folder in ("anyllm", "docs", "examples", "benchmarks", "tests"):
        there = {path.relative_to(ROOT).as_posix() for path in (ROOT / folder).rglob("*.py")}
        assert there <= sources
    assert not [name for name in sources if name.endswith(".pyc")]
