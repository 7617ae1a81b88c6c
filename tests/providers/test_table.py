"""The table of providers is the one place for facts about them."""

from __future__ import annotations

import ast
import pathlib
from typing import Iterator

import anyllm
from anyllm.providers.table import lookup

PACKAGE = pathlib.Path(anyllm.__file__).parent
#: Tables whose keys are other things with the name of a provider.
OTHER_THINGS = {
    "formats.py": "wire formats",
    "_hints/extras.py": "extras of the distribution",
    "cli/_local.py": "commands",
    "cli/_main.py": "commands",
}


def keyed_by_provider(tree: ast.AST) -> Iterator[ast.Constant]:
    """
    The names of providers that select a fact: keys of a dict, members of a collection, operands of a comparison.

    A name as an argument or a default ("compatible", for any server) says which provider to use, nothing about it.
    """
    names = set(lookup.names())
    for node in ast.walk(tree):
        operands = [
            *(node.keys if isinstance(node, ast.Dict) else ()),
            *(node.elts if isinstance(node, (ast.Tuple, ast.List, ast.Set)) else ()),
            *((node.left, *node.comparators) if isinstance(node, ast.Compare) else ()),
        ]
        for one in operands:
            if isinstance(one, ast.Constant) and one.value in names:
                yield one


def test_no_other_module_selects_a_fact_by_the_name_of_a_provider() -> None:
    """Such a fact is a field of the provider's row."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        module = path.relative_to(PACKAGE).as_posix()
        if not module.startswith(("wire/", "providers/table/")) and module not in OTHER_THINGS:
            tree = ast.parse(path.read_text(encoding="utf-8"))
            found += [f"{module}:{name.lineno}: {name.value}" for name in keyed_by_provider(tree)]
    assert found == []


def test_the_test_sees_such_facts() -> None:
    source = "{'groq': 1}\nx in ('openrouter', 'qwen')\nname == 'gemini'\nchoose('mistral', default='compatible')"
    assert [name.value for name in keyed_by_provider(ast.parse(source))] == ["groq", "gemini", "openrouter", "qwen"]


def test_rows_with_a_fixed_list_of_models_need_no_example() -> None:
    assert all(row.example_model is None for row in lookup.ROWS if row.models)
