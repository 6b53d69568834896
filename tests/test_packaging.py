"""What is shipped: source archive, the wheel made from it, and the program as a stranger installs it."""

import ast
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

import tdb_tui

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("tdb_tui", "model", "sae", "explanations")
DEMO = "model/demo/gpt2-demo"
PROMPT = "When Mary and John went to the store, John gave a drink to"


def test_the_wheel_is_said_to_hold_every_folder_that_is_a_package() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    found = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert set(settings["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]) == found == set(PACKAGES)


IF_PRESENT = {"transformers", "pyarrow"}
"What `verify` compares with where it is installed, and says that it cannot where it is not."


def test_the_dependencies_are_what_is_imported() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = {re.split(r"[^\w-]", line)[0].replace("-", "_") for line in project["dependencies"]}
    trees = (ast.parse(path.read_bytes()) for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
    nodes = [node for tree in trees for node in ast.walk(tree)]
    imported = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    roots = {name.partition(".")[0] for name in imported} - sys.stdlib_module_names - set(PACKAGES)
    assert roots - IF_PRESENT == named


def run(*command: str, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    """What a program prints; the test fails with the program's complaint where it fails."""
    done = subprocess.run(command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="session")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the source archive and the wheel that is built out of it."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT))
    return folder


@pytest.fixture(scope="session")
def site(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which the wheel alone has been installed."""
    folder = tmp_path_factory.mktemp("site")
    wheel = next(dist.glob("*.whl"))
    run(
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--no-deps",
        "--no-index",
        "--target",
        str(folder),
        str(wheel),
    )
    return folder


def shipped_here() -> set[str]:
    """Every file of the packages in this checkout that belongs in a wheel."""
    files = (path for package in PACKAGES for path in (ROOT / package).rglob("*") if path.is_file())
    unwanted = {".pyc", ".pt", ".part", ".new"}
    return {path.relative_to(ROOT).as_posix() for path in files if path.suffix not in unwanted}


@pytest.mark.slow
def test_the_wheel_holds_each_file_of_the_packages_and_nothing_else(dist: Path) -> None:
    with zipfile.ZipFile(next(dist.glob("*.whl"))) as wheel:
        inside = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert inside == shipped_here()


@pytest.mark.slow
def test_the_wheel_holds_what_is_not_python(dist: Path) -> None:
    with zipfile.ZipFile(next(dist.glob("*.whl"))) as wheel:
        inside = set(wheel.namelist())
    wanted = {f"{package}/py.typed" for package in PACKAGES}
    wanted |= {
        f"{DEMO}/{name}"
        for name in ("config.json", "model.safetensors", "vocab.json", "merges.txt", "README.md")
    }
    assert wanted - inside == set()
    assert any(name.endswith(".tcss") for name in inside)
    assert any(name.startswith("tdb_tui/docs/") for name in inside)
    assert any(name.endswith("licenses/LICENSE") for name in inside)


@pytest.mark.slow
def test_the_source_archive_can_be_tested(dist: Path) -> None:
    with tarfile.open(next(dist.glob("*.tar.gz"))) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {"README.md", "ARCHITECTURE.md", "CHANGELOG.md", "LICENSE", "pyproject.toml", ".ci/run"}
    wanted |= {path.relative_to(ROOT).as_posix() for path in (ROOT / "tests").rglob("*.py")}
    assert wanted - inside == set()


@pytest.mark.slow
def test_the_installed_program_answers_from_its_own_files(site: Path, tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(
        "raise SystemExit('the stranger ran')\n"
    )  # nanoGPT keeps one at its root
    environment = {**os.environ, "PYTHONPATH": str(site), "HF_HOME": str(tmp_path / "no-cache")}

    def installed(*arguments: str) -> str:
        return run(str(site / "bin" / "tdb-tui"), *arguments, cwd=tmp_path, env=environment)

    code = "import model, sae, explanations, tdb_tui as t; print(model.__file__, sae.__file__, t.__file__)"
    found = run(sys.executable, "-P", "-c", code, cwd=tmp_path, env=environment).split()
    assert all(path.startswith(str(site)) for path in found)
    assert tdb_tui.__version__ in installed("--version")
    report = installed(PROMPT, "--target", "Mary", "--distractor", "John")
    assert "gpt2-demo" in report
    assert "Mary" in report
