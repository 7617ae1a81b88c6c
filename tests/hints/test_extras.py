"""What messages say to install is what the extras bring, and can be had where this project is not published."""

from __future__ import annotations

import configparser
import re
import sys

import pytest
from conftest import ROOT

from anyllm._hints.extras import PACKAGES, pip_install


def _extras() -> dict[str, list[str]]:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    extras = {name: text.split("\n") for name, text in config["options.extras_require"].items()}
    return {name: [line for line in lines if line] for name, lines in extras.items() if not name.startswith("test")}


def test_the_packages_are_those_of_the_extras() -> None:
    extras = _extras()
    del extras["dev"]
    names = {extra: {re.match(r"[\w-]+", line).group() for line in lines} for extra, lines in extras.items()}  # type: ignore[union-attr]
    if sys.version_info >= (3, 11):
        names["serve"].remove("tomli")
    assert {extra: {re.search(r"[\w-]+", one).group() for one in PACKAGES[extra]} for extra in PACKAGES} == names  # type: ignore[union-attr]


def test_a_package_whose_newest_version_may_not_do_is_named_with_its_bound() -> None:
    bounds = {re.sub(r"[>=.\d]+,", "", line) for lines in _extras().values() for line in lines if ",<" in line}
    assert bounds == {one.strip('"') for packages in PACKAGES.values() for one in packages if "<" in one}
    assert pip_install("serve").startswith('pip install "waitress<4" prometheus-client')


@pytest.mark.parametrize("folder", ["anyllm", "docs", "examples", "README.md"])
def test_nobody_is_told_to_install_an_extra_of_a_distribution_that_no_index_has(folder: str) -> None:
    files = [file for file in (ROOT / folder).rglob("*") if file.suffix in (".py", ".md")] or [ROOT / folder]
    assert not [file for file in files if "anyllm-channels[" in file.read_text("utf-8")]
