"""
Checks of the installation: Python, our distribution, its dependencies, and foreign distributions in their place.

Strategy: a distribution and its modules may have different names, and two modules have a rival. An unrelated
distribution `anyllm` installs into the same folder as ours, and the distribution `sseclient` has a module of the same
name as `sseclient-py`. So the metadata is compared with the modules that `import` finds.
"""

from __future__ import annotations

import configparser
import importlib
import inspect
import json
import platform
import re
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import anyllm
from anyllm.cli._findings import Finding, fail, ok, warn

_OURS = "anyllm-channels"
_FLOOR = (3, 9)


def python() -> Iterator[Finding]:
    """Whether Python is new enough."""
    here = f"{platform.python_version()} ({sys.executable or 'embedded'})"
    if sys.version_info < _FLOOR:
        yield fail("python", f"{here} is too old: anyllm needs Python {'.'.join(map(str, _FLOOR))} or newer")
    else:
        yield ok("python", here)


def distribution() -> Iterator[Finding]:
    """Whether the module comes from our distribution, and no other distribution of its name is installed."""
    folder = Path(anyllm.__file__).resolve().parent
    ours = _installed(_OURS)
    if ours is None:
        yield warn("anyllm", f"{anyllm.__version__} runs from {folder}, and no distribution {_OURS} is installed")
    elif folder.parent not in _homes(ours):
        yield warn("anyllm", f"{_OURS} {ours.version} is installed, but the module comes from {folder}")
    elif ours.version != anyllm.__version__:
        yield warn(
            "anyllm", f"{_OURS} {ours.version} is installed, the module in {folder} is {anyllm.__version__}: reinstall"
        )
    else:
        yield ok("anyllm", f"{ours.version}, from {_OURS} in {folder}")
    foreign = _installed("anyllm")
    if foreign is not None:
        yield fail(
            "anyllm",
            f"the distribution anyllm {foreign.version} is not ours and takes the same module's place: "
            f"`pip uninstall anyllm`, then install {_OURS} again: in its clone, `pip install --force-reinstall "
            "--no-deps -e .`",
        )


def dependencies() -> Iterator[Finding]:
    """Whether each dependency is installed, and new enough."""
    requirements = _requirements()
    if not requirements:
        yield warn("dependencies", "unknown: there is neither an installed distribution nor its source")
    for requirement in requirements:
        name, minimum = _name_and_minimum(requirement)
        found = _installed(name)
        if found is None:
            yield fail(name, f'is not installed: `pip install "{requirement}"`')
        elif minimum and _release(found.version) < _release(minimum):
            yield fail(name, f'{found.version} is too old: `pip install -U "{requirement}"`')
        else:
            yield ok(name, f"{found.version} (needs {minimum or 'any'})")


def sseclient() -> Iterator[Finding]:
    """Whether the module `sseclient` is that of sseclient-py."""
    repair = "`pip uninstall sseclient`, then `pip install --force-reinstall --no-deps sseclient-py`"
    other = _installed("sseclient")
    try:
        module = importlib.import_module("sseclient")
        parameters = inspect.signature(module.SSEClient.__init__).parameters
    except Exception as exc:
        yield fail("sseclient", f"the module cannot be used ({type(exc).__name__}: {exc}): {repair}")
        return
    if "event_source" not in parameters:
        where = getattr(module, "__file__", None)
        remedy = repair if other else "remove or rename it"
        yield fail("sseclient", f"the module in {where} is not that of sseclient-py, which anyllm needs: {remedy}")
    elif other is not None:
        yield warn(
            "sseclient",
            f"both sseclient-py and sseclient {other.version} are installed, and each brings a module sseclient; "
            f"uninstall the second, which anyllm does not use: {repair}",
        )
    else:
        yield ok("sseclient", f"the module is that of sseclient-py ({module.__file__})")


# -- reading metadata --------------------------------------------------------------------------------------------------


def _installed(name: str) -> metadata.Distribution | None:
    try:
        found = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return None
    # Metadata cut short by an interrupted installation has no name.
    return found if _normal(found.metadata["Name"] or "") == _normal(name) else None


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _homes(found: metadata.Distribution) -> list[Path]:
    """The folders that may contain a distribution's modules: the installed ones, and those of an editable install."""
    homes = [Path(str(found.locate_file("")))]
    try:
        origin = json.loads(found.read_text("direct_url.json") or "{}").get("url", "")
    except (ValueError, AttributeError):
        origin = ""
    if origin.startswith("file:"):
        homes.append(Path(url2pathname(urlsplit(origin).path)))
    return [home.resolve() for home in homes]


def _requirements() -> list[str]:
    """Our dependencies without extras: from the installed metadata, else from the source tree."""
    ours = _installed(_OURS)
    requirements = (ours.requires if ours is not None else None) or _requirements_in_source()
    return [requirement for requirement in requirements if ";" not in requirement]


def _requirements_in_source() -> list[str]:
    config = configparser.ConfigParser(interpolation=None)
    config.read(Path(anyllm.__file__).resolve().parents[1] / "setup.cfg", encoding="utf-8")
    if config.get("metadata", "name", fallback=None) != _OURS:
        return []
    lines = config.get("options", "install_requires", fallback="").splitlines()
    return [line.strip() for line in lines if line.strip()]


def _name_and_minimum(requirement: str) -> tuple[str, str]:
    """The name and the minimum version; our requirements have no other bounds."""
    name = re.match(r"[A-Za-z0-9._-]*", requirement)
    minimum = re.search(r">=\s*([0-9.]+)", requirement)
    return name.group() if name else requirement, minimum.group(1) if minimum else ""


def _release(version: str) -> tuple[int, ...]:
    """The numbers of a version, comparable: 2.5.0rc1 and 2.5 are both (2, 5)."""
    numbers = [int(number) for number in re.findall(r"\d+", re.match(r"[0-9.]*", version).group())]  # type: ignore[union-attr]  # matches everything
    while numbers and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)
