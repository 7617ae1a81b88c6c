"""The house: imports go down only, names are what they say, and importing does nothing."""

from __future__ import annotations

import ast
import contextlib
import importlib
import inspect
import pathlib
import pkgutil
import subprocess
import sys
import types
import typing
from typing import Iterator, List, Set, Tuple

import pytest

import anyllm

PACKAGE = pathlib.Path(anyllm.__file__).parent
#: From the ground up. A name stands for the module, or for the package and everything in it.
LAYERS = (
    (
        "__version__",
        "types",
        "options",
        "errors",
        "_hints",
    ),
    (
        "channel",
        "context",
        "_framing",
        "_concurrency",
        "_transport",
    ),
    ("wire",),
    ("_stream",),
    ("providers",),
    (
        "testing",
        "client",
        "processing",
        "events",
        "json_stream",
        "structured",
        "formats",
        "limits",
        "caching",
        "pricing",
        "tokens",
        "tools",
        "reading",
        "_serving",
    ),
    (
        "cli",
        "gateway",
        "wsgi",
        "asgi",
        "_batch",
        "agent",
        "__main__",
    ),
)
#: The rows of the table name a server to start, on first use and inside a function.
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}


def modules() -> List[str]:
    found = [path.relative_to(PACKAGE).with_suffix("") for path in PACKAGE.rglob("*.py")]
    return sorted(".".join(("anyllm", *path.parts)).replace(".__init__", "") for path in found)


def source(module: str) -> pathlib.Path:
    path = PACKAGE.joinpath(*module.split(".")[1:])
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def level_of(module: str) -> int:
    """Which layer; the face of the package lies above all that it shows."""
    parts = module.split(".")
    return LEVEL[parts[1]] if len(parts) > 1 else LEVEL["agent"]


def imports(module: str) -> Iterator[Tuple[int, str]]:
    """Line and module of everything of ours that *module* imports, also inside functions."""
    path = source(module)
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                up = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*up, base] if base else up)
            names = [f"{base}.{alias.name}" for alias in node.names]
            names = [name if source_exists(name) else base for name in names]
        else:
            continue
        yield from ((node.lineno, name) for name in names if name.split(".")[0] == "anyllm")


def source_exists(module: str) -> bool:
    return module == "anyllm" or (module.startswith("anyllm.") and source(module).exists())


def test_every_module_has_its_layer():
    for module in modules():
        if module != "anyllm":
            assert module.split(".")[1] in LEVEL, f"{module} is in no layer"


def test_the_search_finds_imports_of_every_kind():
    """A test that finds nothing would hold for any house."""
    assert "anyllm._framing.body_events" in {name for _, name in imports("anyllm._stream.answer_reader")}
    assert "anyllm.providers.local" in {name for _, name in imports("anyllm.providers.table.openai")}  # in a function
    assert "anyllm.testing._reply" in {name for _, name in imports("anyllm.testing")}  # relative
    assert sum(1 for module in modules() for _ in imports(module)) > 100


@pytest.mark.parametrize("module", modules())
def test_imports_go_down_only(module: str):
    mine = level_of(module)
    for line, name in imports(module):
        assert level_of(name) <= mine, f"{module}:{line} imports {name} from above"
        if mine < LEVEL["providers"]:
            assert name != "anyllm", f"{module}:{line} imports the package's face from below"


def test_the_root_holds_only_what_users_import():
    """Everything internal is in a package, whose name begins with an underscore unless users import from it."""
    modules = {path.stem for path in PACKAGE.glob("*.py")}
    assert modules - {"__init__", "__main__", "__version__"} <= {*anyllm._MODULES, "asgi"}


def test_no_wire_format_imports_another():
    """What several need is in `wire/_base`, which knows none of them."""
    for module in modules():
        home = module.split(".")[2] if module.startswith("anyllm.wire.") else ""
        for line, name in imports(module) if home else ():
            other = name.split(".")[2] if name.startswith("anyllm.wire.") else home
            assert other in (home, "_base"), f"{module}:{line} imports {name}"


def test_no_modules_import_each_other():
    """Inside a layer there is an order too."""
    graph = {module: {name for _, name in imports(module) if name != module} for module in modules()}
    done: Set[str] = set()

    def walk(module: str, path: Tuple[str, ...]) -> None:
        assert module not in path, f"a circle: {' -> '.join((*path, module))}"
        if module not in done:
            for name in graph[module] - {"anyllm"}:
                if not module.startswith(f"{name}.") and not name.startswith(f"{module}."):
                    walk(name, (*path, module))
            done.add(module)

    for module in graph:
        walk(module, ())


def submodules() -> List[str]:
    return [
        info.name for info in pkgutil.walk_packages(anyllm.__path__, "anyllm.") if not info.name.endswith("__main__")
    ]


def test_every_exported_name_keeps_its_identity():
    """A submodule becomes an attribute of its package, and would hide a function of the same name."""
    before = {name: getattr(anyllm, name) for name in anyllm.__all__}
    for module in submodules():
        try:
            importlib.import_module(module)
        except ImportError as exc:
            if (exc.name or "anyllm").startswith("anyllm"):  # else an extra that is not installed
                raise
    assert {name: getattr(anyllm, name) for name in anyllm.__all__} == before
    for name, value in before.items():
        assert not isinstance(value, types.ModuleType), f"{name} is a module"
    assert not {name for name in before if name != "__version__"} & {path.stem for path in PACKAGE.iterdir()}


def test_all_is_complete():
    """Everything public that the package shows, and nothing twice."""
    for name in anyllm.__all__:
        getattr(anyllm, name)  # they are loaded when they are asked for
    public = {
        name
        for name, value in vars(anyllm).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    }
    assert public == set(anyllm.__all__) - {"__version__"}
    assert len(anyllm.__all__) == len(set(anyllm.__all__))


def subclasses(kind: type) -> Iterator[type]:
    for sub in kind.__subclasses__():
        yield sub
        yield from subclasses(sub)


def test_every_error_that_can_reach_a_user_is_exported():
    """Whoever calls can catch it by a name of `anyllm`; the gateway's errors reach its clients as responses."""
    for module in submodules():
        with contextlib.suppress(ImportError):  # an extra that is not installed
            importlib.import_module(module)
    own = {kind for kind in subclasses(anyllm.AnyLLMError) if kind.__module__.startswith("anyllm.")}
    inner = {"BodyTooLarge", "AdmissionWouldWaitError"}  # the latter stays inside the client
    assert {kind.__name__ for kind in own} - inner <= set(anyllm.__all__)


def test_public_modules_are_attributes_of_the_package():
    for module in ("formats", "limits", "options", "testing", "wsgi"):
        assert getattr(anyllm, module) is importlib.import_module(f"anyllm.{module}")
        assert module in dir(anyllm)


@pytest.mark.parametrize("name", [name for name in anyllm.__all__ if name != "__version__"])
def test_every_exported_name_has_a_docstring(name: str):
    value = getattr(anyllm, name)
    assert (value.__doc__ or "").strip()
    if inspect.isclass(value):
        for member, thing in vars(value).items():
            if inspect.isfunction(thing) and not member.startswith("_"):
                assert thing.__doc__, f"{name}.{member}"


@pytest.mark.parametrize("module", anyllm._MODULES)
def test_every_public_module_says_what_is_in_it_and_documents_it(module: str):
    """Docstrings of attributes that attrs makes stand in their class's."""
    there = importlib.import_module(f"anyllm.{module}")
    assert there.__doc__
    for name in there.__all__:
        value = getattr(there, name)
        if typing.get_origin(value) or not (inspect.isclass(value) or inspect.isfunction(value)):
            continue
        doc = value.__doc__ or ""
        assert doc.strip(), name
        assert not doc.startswith(f"{name}("), f"{name} has the docstring that attrs makes"
        for member, thing in vars(value).items() if inspect.isclass(value) else ():
            function = thing.fget if isinstance(thing, property) else getattr(thing, "__func__", thing)
            if inspect.isfunction(function) and not member.startswith("_"):
                assert function.__doc__, f"{name}.{member}"


QUIET = """
import sys, threading
opened = []
sys.addaudithook(lambda event, args: opened.append((event, args)) if event.split(".")[0] == "socket" else None)
written = []
def watch(event, args):
    if event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+"):
        written.append(args)
import requests  # whatever it does is its own
opened.clear()
sys.addaudithook(watch)
import anyllm
assert threading.active_count() == 1, threading.enumerate()
assert not opened, opened
assert not [args for args in written if ".pyc" not in str(args[0])], written
optional = ["cattrs", "sseclient", "click", "gevent", "xllamacpp", "openai", "anyllm.testing", "anyllm.cli",
            "anyllm.providers.local"]
loaded = [name for name in optional if name in sys.modules]
assert not loaded, loaded
context = anyllm.Context(timeout=60)
message = anyllm.CompletionParams(model="m", messages=[anyllm.Message.user("x")])
assert threading.active_count() == 1 and not opened
"""


def test_importing_does_nothing():
    """No thread, no socket, no file, and none of the packages that are loaded on first use."""

    subprocess.run([sys.executable, "-c", QUIET], check=True, timeout=60, cwd=PACKAGE.parent)
