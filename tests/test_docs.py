"""Every Python example in the documentation runs, and the one in CONTRIBUTING is held to the contract."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sparring.defenses import available, transforms

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"(?:<!-- example: (\S+) -->\n)?```python\n(.*?)```", re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_examples_of_a_page_run_from_top_to_bottom(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": page.stem}
    for _, code in BLOCK.findall(page.read_text()):
        exec(compile(code, str(page), "exec"), names)


def test_every_link_between_pages_leads_somewhere() -> None:
    for page in [*PAGES, ROOT / "CONTRIBUTING.md"]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_page_of_the_defenses_says_of_each_what_the_class_says() -> None:
    page = (ROOT / "docs/defenses.md").read_text()
    for kind in available().values():
        row = re.search(rf"^\| `{kind.__name__}` \| (.+) \| (.+) \| (.+) \|$", page, re.MULTILINE)
        assert row, kind
        assert (row[2], row[3]) == (kind.promise, kind.broken_by)


def test_the_page_on_masking_says_of_each_transform_what_the_class_says() -> None:
    page = (ROOT / "docs/masking.md").read_text()
    for kind in transforms().values():
        section = re.search(rf"^## {kind.__name__}\n(.+?)(?=^## )", page, re.MULTILINE | re.DOTALL)
        assert section, kind
        assert f"Promises: {kind.promise}. Broken by: {kind.broken_by}." in section[1]


def test_a_new_attack_or_defense_is_one_file_and_one_line_and_the_contract_finds_it(tmp_path: Path) -> None:
    examples = dict(BLOCK.findall((ROOT / "CONTRIBUTING.md").read_text()))
    assert len(examples) == 4
    house = tmp_path / "house"
    shutil.copytree(ROOT / "src", house / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "tests", house / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", house)
    for name, text in examples.items():
        file = house / name
        if file.name == "__init__.py":
            text = file.read_text().replace("REGISTRY = {\n", f"REGISTRY = {{\n{text}", 1)
        file.write_text(text)

    def inside(*command: str) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"PYTHONPATH": str(house / "src")}
        return subprocess.run(
            [sys.executable, "-m", *command], cwd=house, env=environment, capture_output=True, text=True, check=False
        )

    tests = inside("pytest", "tests/contract", "-p", "no:cacheprovider", "-vv", "-k", "nifgsm or [noise]")
    assert tests.returncode == 0, tests.stdout[-3000:]
    assert len(re.findall(r"nifgsm.* PASSED", tests.stdout)) >= 100
    assert len(re.findall(r"\[noise\] PASSED", tests.stdout)) >= 6
    assert inside("ruff", "check", *examples).returncode == 0
