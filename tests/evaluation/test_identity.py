"""A result belongs to what made it: another model, threat or attack is refused, an equal one made anew goes on."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import sparring as sp
from hiding import Before, Round
from models import relu, seeded
from sparring import defenses as d
from sparring.evaluation import Result
from sparring.gradients import Transfer
from sparring.loading import load_network
from sparring.training import Flip, train
from typed import Type

X = torch.rand(12, 6, generator=torch.Generator().manual_seed(1))
Y = torch.arange(12) % 3


class Over(nn.Module):
    """A small network on what a function makes of its inputs."""

    def __init__(self, function: Callable[[Tensor], Tensor], seed: int = 0) -> None:
        super().__init__()
        self.net, self.function = relu(6, 3, seed=seed), function

    def forward(self, x: Tensor) -> Tensor:
        return self.net(self.function(8 * x.flatten(1) - 4))


def shifted(by: float) -> Callable[[Tensor], Tensor]:
    return lambda x: x + by


@dataclass(frozen=True)
class Weighted(sp.Linf):
    """A threat of one's own, with a field more; its region is that of L∞."""

    weight: float = 1.0


def hooked(by: float) -> nn.Module:
    """The gradient of a layer is scaled on its way back, which changes no answer."""
    net = Over(torch.relu)
    net.net[1].register_full_backward_hook(
        lambda layer, given, out: tuple(None if one is None else one * by for one in given)
    )
    return net


def passed(stand_in: Callable[[Tensor], Tensor]) -> sp.Model:
    """Rounding, differentiated as something else."""
    return sp.Model(Before(Round(), relu(6, 3)), bpda={"pre": stand_in})


def in_mode(training: bool) -> sp.Model:
    """Dropout of nothing: its mode changes no answer."""
    return sp.Model(nn.Sequential(Over(torch.relu), nn.Dropout(0.0)).train(training), mode="as-is")


def objective(which: int) -> Callable[[Tensor, Any], Tensor]:
    return (lambda logits, goal: -logits.amax(1)) if which == 1 else (lambda logits, goal: logits.amin(1))


Made = Callable[[int], dict[str, Any]]
# What an evaluation is asked, made anew from 1 or from 2; what differs is in one place.
ASKED: dict[str, Made] = {
    "lambda": lambda n: {"net": Over((lambda x: x + 0.5) if n == 1 else (lambda x: x - 0.5))},
    "closure": lambda n: {"net": Over(shifted(0.1 * n))},
    "function": lambda n: {"net": Over(torch.relu if n == 1 else torch.tanh)},
    "hook on the way back": lambda n: {"net": hooked(float(n))},
    "Quantize": lambda n: {"net": d.Quantize(4 - n)(Over(torch.relu))},
    "GaussianNoise": lambda n: {"net": d.GaussianNoise(0.01 if n == 1 else 2.0)(Over(torch.relu))},
    "GradientNoise": lambda n: {"net": d.GradientNoise(float(n))(Over(torch.relu))},
    "Transfer": lambda n: {"net": sp.Model(Over(torch.relu), gradients=Transfer(Over(torch.relu, seed=n)))},
    "bpda": lambda n: {"net": passed((lambda x: x) if n == 1 else (lambda x: x**3))},
    "eot": lambda n: {"net": sp.Model(d.GaussianNoise(0.1)(Over(torch.relu)), eot=n)},
    "which modules are in training mode": lambda n: {"net": in_mode(n == 1)},
    "bounds": lambda n: {"net": sp.Model(Over(torch.relu), bounds=(0.0, float(n)))},
    "field of one's own threat": lambda n: {"threat": Weighted(0.1, weight=float(n))},
    "class of threat": lambda n: {"threat": sp.Linf(0.1) if n == 1 else Weighted(0.1)},
    "radii": lambda n: {"threat": sp.Linf(torch.full((12,), 0.1 * n))},
    "objective": lambda n: {"plan": [sp.PGD(steps=2, objective=objective(n))]},
    "field of an attack": lambda n: {"plan": [sp.PGD(steps=2, random_start=n == 1)]},
    "seed": lambda n: {"seed": n},
    "targets": lambda n: {"targets": (Y + n) % 3},
}  # fmt: skip


def evaluated(out: Path | None, net: Any = None, **changes: Any) -> Result:
    asked = {"threat": sp.Linf(0.1), "plan": [sp.PGD(steps=2)], "batch_size": 6, **changes}
    return sp.evaluate(net or Over(torch.relu), (X, Y), asked.pop("threat"), asked.pop("plan"), out=out, **asked)


@pytest.mark.parametrize("what", ASKED)
def test_one_folder_holds_one_run(what: str, tmp_path: Path) -> None:
    first = evaluated(tmp_path, **ASKED[what](1))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(sp.ResumeError, match="belongs to another run"):
        evaluated(tmp_path, **ASKED[what](2))
    assert {path: path.read_bytes() for path in before} == before
    again = evaluated(tmp_path, **ASKED[what](1))  # made anew
    assert torch.equal(again.x, first.x)
    assert again.forwards == first.forwards


@pytest.mark.parametrize("what", [name for name in ASKED if name != "radii"])
def test_shards_of_different_runs_are_not_merged(what: str, tmp_path: Path) -> None:
    for part in (1, 2):
        evaluated(tmp_path / f"{part}", shard=(part, 2), **ASKED[what](part))
    with pytest.raises(sp.ResumeError, match=r"differ|another"):
        sp.merge([tmp_path / "1", tmp_path / "2"], tmp_path / "whole")


def test_shards_of_equal_ones_made_anew_are(tmp_path: Path) -> None:
    for part in (1, 2):
        evaluated(tmp_path / f"{part}", shard=(part, 2), **ASKED["closure"](1))
    merged = sp.merge([tmp_path / "1", tmp_path / "2"], tmp_path / "whole")
    assert torch.equal(merged.x, evaluated(None, **ASKED["closure"](1)).x)


CODE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = nn.Linear(64, 24), nn.Linear(24, 10)
    def forward(self, x):
        return self.b({}(self.a(x.flatten(1))))
"""


def test_a_file_of_code_that_was_edited_is_another_model(
    type_: Type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    line = "evaluate --model net.py:Net --threat linf:0.05 --plan quick --limit 8 --out r -q"
    Path("net.py").write_text(CODE.format("torch.relu"))
    assert type_(line).code == 0
    first = json.loads(Path("r/results.json").read_text())
    Path("net.py").write_text(CODE.format("torch.tanh"))
    said = type_(line)
    assert said.code == 2
    assert "belongs to another run" in said.err
    Path("net.py").write_text("# the same, and a comment\n" + CODE.format("torch.relu"))
    assert type_(line).code == 0
    assert json.loads(Path("r/results.json").read_text())["robust_accuracy"] == first["robust_accuracy"]


# Answers.


class Reads(nn.Module):
    """What it says hangs on a value that no identity shows: an entry of a list elsewhere, by an opaque callable."""

    def __init__(self, get: Any) -> None:
        super().__init__()
        self.net, self.get = relu(6, 3), get

    def forward(self, x: Tensor) -> Tensor:
        return self.net(8 * x - 4) * torch.tensor([1.0, 1.0, float(self.get())])


def test_a_model_whose_answers_moved_is_refused_whatever_it_looks_like(tmp_path: Path) -> None:
    value = tmp_path / "value"
    value.write_text("1.0")
    evaluated(tmp_path / "r", Reads(value.read_text))
    for new, runs in (("1.00001", True), ("1.01", False), ("-1", False), ("1.0", True)):
        value.write_text(new)
        if runs:  # within a ten-thousandth of the spread: how another machine rounds
            evaluated(tmp_path / "r", Reads(value.read_text))
        else:
            with pytest.raises(sp.ResumeError, match="answers"):
                evaluated(tmp_path / "r", Reads(value.read_text))


def test_merge_compares_answers(tmp_path: Path) -> None:
    value = tmp_path / "value"
    for part, told in ((1, "1.0"), (2, "1.5")):
        value.write_text(told)
        evaluated(tmp_path / f"{part}", Reads(value.read_text), shard=(part, 2))
    with pytest.raises(sp.ResumeError, match="answers"):
        sp.merge([tmp_path / "1", tmp_path / "2"], tmp_path / "whole")


@pytest.mark.parametrize(
    "net", [lambda: d.GaussianNoise(0.1)(Over(torch.relu)), lambda: nn.Sequential(Over(torch.relu), nn.Dropout())]
)
def test_random_networks_go_on_by_fixed_draws(net: Callable[[], nn.Module], tmp_path: Path) -> None:
    def model() -> sp.Model:
        made = net()
        return sp.Model(made.train(), mode="as-is") if isinstance(made, nn.Sequential) else made  # type: ignore[return-value]

    first = evaluated(tmp_path, model())
    torch.rand(5)  # the global state is another one now
    assert torch.equal(evaluated(tmp_path, model()).x, first.x)


def test_circumstances_are_no_part_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = evaluated(tmp_path, command="one")
    before = (tmp_path / "run.json").read_bytes()
    monkeypatch.setattr("platform.machine", lambda: "another")
    again = evaluated(tmp_path, command="another")
    assert torch.equal(again.x, first.x)
    assert (tmp_path / "run.json").read_bytes() == before  # going on does not rewrite who began


# Training.


STEP = sp.PGD(steps=1)


def dimmed(by: float) -> Callable[..., Tensor]:
    return lambda x, *_: x * by


def stepping(by: float) -> Callable[[Any], torch.optim.Optimizer]:
    return lambda weights: torch.optim.SGD(weights, by)


def layer() -> nn.Module:
    return nn.Linear(6, 3)


TRAINED: dict[str, Made] = {
    "lambda objective": lambda n: {"defense": d.AdversarialTraining(replace(STEP, objective=objective(n)))},
    "lambda in the network": lambda n: {"net": Over((lambda x: x + 0.5) if n == 1 else (lambda x: x - 0.5))},
    "activation": lambda n: {"net": nn.Sequential(seeded(layer, 0), nn.ReLU() if n == 1 else nn.Tanh())},
    "field of a defense": lambda n: {"defense": d.TRADES(beta=float(n), attack=sp.PGD(steps=1, objective="kl"))},
    "own threat": lambda n: {"threat": Weighted(0.1, weight=float(n))},
    "augmentation": lambda n: {"augment": (dimmed(1.0 / n),)},
    "a number of an augmentation": lambda n: {"data": (X.reshape(12, 1, 2, 3), Y), "augment": (Flip(0.5 / n),)},
    "optimizer": lambda n: {"optimizer": stepping(0.1 * n)},
}  # fmt: skip


@pytest.mark.parametrize("what", TRAINED)
def test_one_folder_holds_one_training(what: str, tmp_path: Path) -> None:
    def trained(n: int) -> Any:
        asked = {
            "net": Over(torch.relu),
            "data": (X, Y),
            "defense": d.Standard(),
            "threat": sp.Linf(0.1),
            **TRAINED[what](n),
        }
        net, data, defense, threat = (asked.pop(name) for name in ("net", "data", "defense", "threat"))
        return train(net, data, defense, threat, epochs=1, batch_size=6, out=tmp_path, **asked)

    first = trained(1)
    with pytest.raises(sp.ResumeError, match="keeps another run"):
        trained(2)
    again = trained(1)
    for name, value in again.model.state_dict().items():
        assert torch.equal(value, first.model.state_dict()[name])


def test_a_network_of_a_file_is_told_apart_by_value_too(tmp_path: Path) -> None:
    """Answers that agree on the examples looked at do not make two networks one."""
    text = "import torch\nfrom torch import nn\n\nclass Net(nn.Module):\n    def forward(self, x):\n        return {}\n"
    line = "torch.stack([x.sum(1), -x.sum(1), x[:, 0]], 1)"
    (tmp_path / "a.py").write_text(text.format(line))
    (tmp_path / "b.py").write_text(text.format(f"({line}) if len(x) < 99 else -{line}"))
    evaluated(tmp_path / "r", load_network(f"{tmp_path / 'a.py'}:Net"))
    with pytest.raises(sp.ResumeError, match="identity"):
        evaluated(tmp_path / "r", load_network(f"{tmp_path / 'b.py'}:Net"))
