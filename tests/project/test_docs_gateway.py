"""The page about the gateway says what the gateway does."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import attrs
import pytest
from conftest import ROOT

from anyllm.gateway import Config, Gateway, ModelEntry, ServerConfig, check, load

pytestmark = pytest.mark.once

PAGE = (ROOT / "docs" / "gateway.md").read_text("utf-8")


def test_the_file_can_be_loaded(tmp_path: Path):
    path = tmp_path / "gateway.toml"
    path.write_text(re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)[0], "utf-8")
    config = load(path)
    assert set(config.models) == {"fast", "gpt-*", "careful", "house"}
    check(config)


def shown(default: Any) -> str:
    """As TOML has it."""
    if default is None:
        return "no limit"
    text = f"{default:g}" if isinstance(default, float) else json.dumps(default)
    return f"`{text}`"


def test_every_setting_is_in_a_table_with_its_default():
    of_server, of_models = PAGE.split("and for a model")
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", of_server, re.MULTILINE))
    assert rows == {field.name: shown(field.default) for field in attrs.fields(ServerConfig)}
    named = set(re.findall(r"^\| `(\w+)` \|", of_models, re.MULTILINE))
    assert named == {field.name for field in attrs.fields(ModelEntry)} - {"model"}


def test_every_path_is_in_a_table():
    for operation in Gateway(Config())._operations:
        path = operation.path.rstrip("/") or "/"
        if path.startswith(("/v1beta", "/v1alpha")) or "." in path:
            continue
        assert f"`{path}`" in PAGE, path


@pytest.mark.parametrize("name", ["x-anyllm-dropped", "x-request-id"])
def test_headers_that_are_told_of_are_sent(name):
    assert name in PAGE
