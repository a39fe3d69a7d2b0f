"""sparring audit, and sparring evaluate --audit, as they are typed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from sparring.sealed import unseal
from typed import Type

NET = """
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(12, 2)
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for p in self.parameters():
                p.copy_(torch.randn(p.shape, generator=generator))

    def forward(self, x):
        return self.layer(x.flatten(1))

class Rounded(Net):
    def __init__(self):
        super().__init__()
        self.round = Round()

    def forward(self, x):
        return super().forward(self.round(x))

class Round(torch.nn.Module):
    def forward(self, x):
        return (x * 15).round() / 15
"""


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path) -> None:
    """A linear network, the same behind a rounding, and 60 examples that both get right, some of them close calls."""
    (tmp_path / "net.py").write_text(NET)
    namespace: dict[str, object] = {}
    exec(NET, namespace)
    import torch

    plain, rounded = namespace["Net"](), namespace["Rounded"]()  # type: ignore[operator]
    x = torch.rand(800, 1, 3, 4, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        logits = plain(x)
        agree = (logits.argmax(1) == rounded(x).argmax(1)) & ((logits[:, 0] - logits[:, 1]).abs() < 1.5)
    x, y = x[agree][:60], logits[agree][:60].argmax(1)
    np.savez(tmp_path / "data.npz", x=x.numpy(), y=y.numpy())


AUDIT = "--data data.npz --threat linf:0.1"


def test_an_honest_model_passes_and_json_is_what_is_saved(type_: Type) -> None:
    said = type_(f"audit --model net.py:Net {AUDIT} --out runs/a --json")
    assert said.code == 0, said.err
    found = json.loads(said.out)
    assert found == json.loads(Path("runs/a/audit.json").read_text())
    assert (found["verdict"], found["examples"], found["correct"]) == ("reliable", 60, 60)
    assert 0 < found["naive"] == found["adaptive"] < 1


def test_a_masked_model_is_exit_code_three_and_its_attack_is_told(type_: Type) -> None:
    said = type_(f"audit --model net.py:Rounded {AUDIT}")
    assert said.code == 3
    assert "Verdict: unreliable" in said.out
    assert "because other attacks" in said.out
    assert "Attack it with: PGD(" in said.out
    assert "bpda={'round': 'identity'}" in said.out
    assert "G2 dead gradient" in said.out
    assert "auditing: 100%" in said.err
    (folder,) = Path("runs").iterdir()
    assert (folder / "audit.json").exists()


def test_too_few_are_suspect_and_pass(type_: Type) -> None:
    said = type_(f"audit --model net.py:Net {AUDIT} --examples 20 --no-save --quiet")
    assert said.code == 0
    assert "Verdict: suspect" in said.out
    assert "only 20 examples" in said.out
    assert not Path("runs").exists()


def test_a_surrogate_is_loaded_like_a_model(type_: Type) -> None:
    said = type_(f"audit --model net.py:Rounded --surrogate net.py:Net {AUDIT} --json --no-save")
    assert said.code == 3
    assert any(one["name"] == "B2 transfer" for one in json.loads(said.out)["findings"])


def test_an_evaluation_may_be_audited(type_: Type) -> None:
    said = type_(f"evaluate --model net.py:Rounded {AUDIT} --plan quick --audit --out runs/e --json")
    assert said.code == 3
    results = json.loads(said.out)
    assert results["verdict"] == "unreliable"
    kept = unseal(Path("runs/e/blocks/audit.json").read_bytes())
    assert {**results["audit"], "run": kept["run"]} == kept
    again = type_(f"evaluate --model net.py:Rounded {AUDIT} --plan quick --audit --out runs/e --json")
    assert json.loads(again.out)["audit"] == results["audit"]


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("audit --model net.py:Net --data data.npz --threat linf", "has no finite one"),
        ("audit --model net.py:Net --data data.npz --threat lnf:1", "Did you mean linf?"),
        (f"audit {AUDIT}", "--model is missing"),
        (f"audit --model net.py:Net --surrogate net.py:Absent {AUDIT}", "Absent"),
        (f"audit --model net.py:Net {AUDIT} --batch-size 0", "batch"),
        (f"audit --model net.py:Net {AUDIT} --out runs/a --no-save", "contradict"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_two(type_: Type, line: str, hint: str) -> None:
    said = type_(line)
    assert said.code == 2
    assert hint in said.err
    assert "Traceback" not in said.err
