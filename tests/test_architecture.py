"""What may know what.  The rules of ARCHITECTURE.md, read off the source itself."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LAYERS = ("model", "sae", "explanations", "tdb_tui")
TREES = {
    path.relative_to(ROOT).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
    for package in LAYERS
    for path in sorted((ROOT / package).rglob("*.py"))
}
EFFECTS = {"print", "input", "environ", "getenv", "getLogger", "stdout", "stderr", "is_available"}
OUTSIDE = {"time", "datetime", "socket", "urllib", "http", "httpx", "requests", "huggingface_hub", "textual"}


def imports() -> Iterator[tuple[str, str]]:
    """(file, module) for every import, also those inside functions."""
    for file, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                yield from ((file, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                yield from (
                    (file, f"{'.' * node.level}{node.module or ''}.{alias.name}") for alias in node.names
                )


def names() -> Iterator[tuple[str, str]]:
    """(file, name) for every variable and attribute in use."""
    for file, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Name | ast.Attribute):
                yield file, node.id if isinstance(node, ast.Name) else node.attr


def top(path: str) -> str:
    return path.replace(".", "/").partition("/")[0]


def is_library(file: str) -> bool:
    """Whether a file may have no effects: all below `tdb_tui`, but for programs kept beside what they make."""
    return top(file) != "tdb_tui" and not file.endswith("/__main__.py")


@pytest.mark.parametrize("package", LAYERS)
def test_a_package_imports_no_package_above_it(package: str) -> None:
    above = {*LAYERS[LAYERS.index(package) + 1 :], "tests", ""}
    assert [(file, name) for file, name in imports() if top(file) == package and top(name) in above] == []


def test_only_the_app_and_its_panes_import_textual() -> None:
    files = {file for file, name in imports() if top(name) == "textual"}
    assert [
        file for file in files if file != "tdb_tui/app.py" and not file.startswith("tdb_tui/panes/")
    ] == []


def test_libraries_print_nothing_and_ask_neither_environment_nor_clock_nor_device_nor_network() -> None:
    assert [(file, name) for file, name in names() if is_library(file) and name in EFFECTS] == []
    assert [(file, name) for file, name in imports() if is_library(file) and top(name) in OUTSIDE] == []


def test_the_engine_alone_owns_a_loaded_model() -> None:
    loading = {file for file, name in names() if top(file) == "tdb_tui" and name == "load_model"}
    # the doctor loads one to see that it can, and lets it go
    assert loading - {"tdb_tui/machine/doctor.py"} == {"tdb_tui/engine.py"}


def test_the_batch_and_the_screen_do_not_know_each_other() -> None:
    assert [
        name for file, name in imports() if file == "tdb_tui/batch.py" and name.startswith("tdb_tui.app")
    ] == []
    assert [
        name for file, name in imports() if file == "tdb_tui/app.py" and name.startswith("tdb_tui.batch")
    ] == []


def test_nothing_is_unpickled() -> None:
    assert {name for _, name in imports() if top(name) == "pickle"} <= {"pickle.UnpicklingError"}
    loads = (node for tree in TREES.values() for node in ast.walk(tree) if isinstance(node, ast.Call))
    loads = [node for node in loads if ast.unparse(node.func) == "torch.load"]
    assert all("weights_only=True" in map(ast.unparse, node.keywords) for node in loads)


def test_the_folders_are_the_four_packages_and_the_tests() -> None:
    ignored = set((ROOT / ".gitignore").read_text(encoding="utf-8").splitlines())
    folders = {path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")}
    assert {name for name in folders if f"{name}/" not in ignored} == {*LAYERS, "tests"}
