"""The house keeps its shape: imports go downwards, public names resolve, `--help` needs no torch, lint is clean."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "sparring"

# From the ground up; a part imports its own layer and those before it.
CORE = (
    ("errors", "rows", "draws", "registry", "randomness", "values", "provenance"),
    ("substitution", "gradients", "blame"),
    ("problem", "model"),
    ("threats", "objectives", "rules", "nearness"),
    ("oracle",),
    ("solve",),
    ("searches",),
    ("attacks",),
)
# What needs no torch must not import it, even indirectly at the top of a file.
WITHOUT_TORCH = ("report", "flash")


def part(path: Path) -> str:
    """The top-level part of the package a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """Full names of the modules a file imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            # `from sparring import x` names a part, or a public name whose home is below everything that uses it.
            names |= {f"sparring.{a.name}" for a in node.names} if node.module == "sparring" else {node.module or ""}
    return names


def parts_imported(path: Path) -> set[str]:
    known = {part(file) for file in PACKAGE.rglob("*.py")}
    found = {name.split(".")[1] for name in imported(path) if name.startswith("sparring.")}
    return (found & known) - {part(path)}


FILES = [file for file in sorted(PACKAGE.rglob("*.py")) if file != PACKAGE / "__init__.py"]
HEIGHT = {name: height for height, layer in enumerate(CORE) for name in layer}


def files(*parts: str) -> pytest.MarkDecorator:
    """Runs a test once for every file of those parts."""
    chosen = [file for file in FILES if part(file) in parts]
    return pytest.mark.parametrize("path", chosen, ids=lambda path: str(path.relative_to(PACKAGE)))


@files(*HEIGHT)
def test_the_core_imports_downwards_only(path: Path) -> None:
    for other in parts_imported(path):
        assert other in HEIGHT, f"{path.name} of the core imports {other}, which is none of it"
        assert HEIGHT[other] <= HEIGHT[part(path)], f"{path.name} imports {other}, which lies above it"


@files(*CORE[2])
def test_tensor_algebra_knows_no_model(path: Path) -> None:
    assert not parts_imported(path) & {"model", "oracle", "solve"}


@files(*{part(file) for file in FILES} - {"cli", "web", "__main__"})
def test_only_the_roof_imports_the_command_line(path: Path) -> None:
    assert not parts_imported(path) & {"cli", "web"}


def test_no_part_imports_itself_in_a_circle() -> None:
    graph: dict[str, set[str]] = {}
    for file in FILES:
        graph.setdefault(part(file), set()).update(parts_imported(file))
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


@pytest.mark.parametrize("name", WITHOUT_TORCH)
def test_what_reads_records_alone_never_imports_torch(name: str) -> None:
    for file in (PACKAGE / name).rglob("*.py"):
        assert not any(module.split(".")[0] == "torch" for module in imported(file)), file


def fresh(code: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_sparring_does_not_import_torch() -> None:
    assert fresh("import sparring, sys; dir(sparring); print('torch' in sys.modules)") == "False"


def test_every_public_name_is_the_same_before_and_after_every_module_was_imported() -> None:
    code = """
import importlib, pkgutil, sparring
before = {name: getattr(sparring, name) for name in sparring.__all__}
for module in pkgutil.walk_packages(sparring.__path__, "sparring."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
print([name for name in sparring.__all__ if getattr(sparring, name) is not before[name]])
print(sorted(set(sparring.__all__) - set(dir(sparring))))
"""
    assert fresh(code) == "[]\n[]"


def test_an_unknown_name_is_an_attribute_error() -> None:
    import sparring

    with pytest.raises(AttributeError, match="has no attribute 'Nonsense'"):
        sparring.Nonsense  # noqa: B018


@pytest.mark.parametrize("tool", [("ruff", "check", "."), ("mypy",)], ids=["ruff", "mypy"])
def test_lint_is_clean(tool: tuple[str, ...]) -> None:
    done = subprocess.run([sys.executable, "-m", *tool], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
