"""The evaluation: worst case per example, its interval, its ledger, its run folder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from scipy.stats import beta
from torch import Tensor, nn

import sparring as sp
from sparring.data import load
from sparring.errors import SparringWarning
from sparring.evaluation import Progress, Result, evaluate
from sparring.zoo import SmallCNN


def linear(seed: int = 0) -> nn.Module:
    """A two-class linear model on 20 features."""
    torch.manual_seed(seed)
    return nn.Linear(20, 2)


def examples(count: int = 60) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs in the middle of the range, their labels, and the exact L∞ distance to the boundary."""
    net = linear()
    x = 0.5 + 0.1 * torch.rand(count, 20, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        logits = net(x)
        y = logits.argmax(1)
        slope = (net.weight[0] - net.weight[1]).abs().sum()
        distance = (logits[:, 0] - logits[:, 1]).abs() / slope
    return x, y, distance


def attacks() -> list[sp.Outcome]:
    return [sp.FGSM(), sp.PGD(steps=10)]


def run(**keywords: object) -> Result:
    x, y, _ = examples()
    return evaluate(linear(), (x, y), sp.Linf(0.05), attacks(), **keywords)  # type: ignore[arg-type]


def same(one: Result, two: Result) -> bool:
    """Equal in everything but the time it took."""
    fields = ("x", "broken_by", "distance", "forwards", "backwards")
    return all(torch.equal(getattr(one.block, f), getattr(two.block, f)) for f in fields)


def test_a_linear_model_is_robust_exactly_where_the_closed_form_says() -> None:
    x, y, distance = examples()
    radius = float(distance.median()) * 1.001
    result = sp.evaluate(linear(), (x, y), sp.Linf(radius))
    assert torch.equal(result.robust, distance > radius)
    assert result.robust_accuracy == pytest.approx(float((distance > radius).double().mean()))


def test_every_reported_example_fools_the_model_inside_the_threat_and_the_rest_are_inputs() -> None:
    x, y, _ = examples()
    y = y.clone()
    y[:5] = 1 - y[:5]  # wrong from the start
    result = sp.evaluate(linear(), (x, y), sp.Linf(0.05))
    with torch.no_grad():
        said = linear()(result.x).argmax(1)
    assert torch.equal(said == y, result.robust)
    assert (np.abs((result.x - x).numpy()).max(1) <= 0.05 * (1 + 1e-6) + 1e-6).all()
    assert torch.equal(result.x[result.robust], x[result.robust])
    assert torch.equal(result.x[:5], x[:5])
    assert result.clean_accuracy == pytest.approx(55 / 60)


def test_the_interval_is_the_exact_binomial_one() -> None:
    result = run()
    k, n = int(result.robust.sum()), result.examples
    low, high = result.interval
    assert low == pytest.approx(beta.ppf(0.025, k, n - k + 1) if k else 0.0)
    assert high == pytest.approx(beta.ppf(0.975, k + 1, n - k) if k < n else 1.0)


def test_each_attack_sees_only_what_still_stands_and_every_pass_is_counted() -> None:
    seen = {"forwards": 0}

    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = linear()

        def forward(self, x: Tensor) -> Tensor:
            seen["forwards"] += len(x)
            return self.net(x)

    x, y, _ = examples()
    result = evaluate(Counting(), (x, y), sp.Linf(0.05), attacks())
    assert result.forwards == seen["forwards"]
    clean, first, fgsm, pgd, checks = result.table
    assert first["forwards"] == 5  # four in a batch, and one of them alone
    assert clean["forwards"] == 60
    assert fgsm["backwards"] == 60 - clean["broke"]
    still = 60 - clean["broke"] - fgsm["broke"]
    assert pgd["backwards"] <= 10 * still
    assert sum(row["broke"] for row in result.table) == 60 - int(result.robust.sum())
    assert checks["backwards"] > 0
    assert result.forwards == sum(row["forwards"] for row in result.table)
    assert result.backwards == sum(row["backwards"] for row in result.table)


def test_results_do_not_depend_on_the_block_size() -> None:
    robust = [run(batch_size=size).robust for size in (7, 60)]
    assert torch.equal(*robust)


def test_each_example_may_have_its_own_radius() -> None:
    x, y, distance = examples()
    radius = distance * torch.where(torch.arange(60) % 2 == 0, 1.05, 0.95)
    result = evaluate(linear(), (x, y), sp.Linf(radius), [sp.PGD()], batch_size=13)
    assert torch.equal(result.robust, torch.arange(60) % 2 == 1)


def test_an_interrupted_run_goes_on_and_equals_one_that_was_not(tmp_path: Path) -> None:
    def stop(progress: Progress) -> None:
        if progress.done >= 30:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(out=tmp_path / "a", batch_size=10, progress=stop)
    assert len(list((tmp_path / "a" / "blocks").iterdir())) >= 3
    resumed = run(out=tmp_path / "a", batch_size=10)
    assert same(resumed, run(batch_size=10))


def test_a_killed_run_goes_on(tmp_path: Path) -> None:
    script = textwrap.dedent(f"""
        import sys, time
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from test_evaluation import run
        run(out={str(tmp_path / "a")!r}, batch_size=5, progress=lambda p: time.sleep(0.2))
    """)
    process = subprocess.Popen([sys.executable, "-c", script])
    while not list((tmp_path / "a").glob("blocks/[0-9]*")):
        assert process.poll() is None
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert len(list((tmp_path / "a" / "blocks").glob("[0-9]*"))) < 12
    assert same(run(out=tmp_path / "a"), run(batch_size=5))


def test_a_finished_run_is_returned_without_attacking_again(tmp_path: Path) -> None:
    """It is looked at again, to see that it answers as before: four examples, and one of them alone."""
    first = run(out=tmp_path)
    asked: list[int] = []
    net = linear()
    net.register_forward_hook(lambda module, inputs, output: asked.append(len(output)))
    x, y, _ = examples()
    assert same(first, evaluate(net, (x, y), sp.Linf(0.05), attacks(), out=tmp_path))
    assert asked == [4, 1]


def test_another_run_in_the_folder_is_refused_by_the_name_of_the_difference(tmp_path: Path) -> None:
    run(out=tmp_path)
    for keywords, name in (({"seed": 1}, "seed"), ({"batch_size": 3}, "block_size"), ({"limit": 9}, "data")):
        with pytest.raises(sp.ResumeError, match=name):
            run(out=tmp_path, **keywords)
    with pytest.raises(sp.ResumeError, match="another folder"):
        run(out=tmp_path, resume=False)


def test_a_damaged_block_is_named_and_computed_again(tmp_path: Path) -> None:
    first = run(out=tmp_path, batch_size=30)
    block = tmp_path / "blocks" / "000001.safetensors"
    whole = block.read_bytes()
    block.write_bytes(whole[:100])
    with pytest.warns(SparringWarning, match=r"000001.safetensors is not used: it is no safetensors file"):
        assert same(first, run(out=tmp_path, batch_size=30))


def test_the_folder_says_what_was_measured(tmp_path: Path) -> None:
    result = run(out=tmp_path, seed=3, command="sparring evaluate")
    saved = json.loads((tmp_path / "results.json").read_text())
    assert saved["robust_accuracy"] == result.robust_accuracy
    assert saved["threat"] == {"norm": "linf", "radius": 0.05, "mask": None}
    assert [row["attack"] for row in saved["attacks"]] == [repr(attack) for attack in attacks()]
    assert saved["seed"] == 3
    assert saved["command"] == "sparring evaluate"
    assert len(saved["model"]["sha256"]) == len(saved["data"]["sha256"]) == 64
    tensors = safetensors.torch.load_file(tmp_path / "adversarial.safetensors")
    assert torch.equal(tensors["x"], result.x)
    assert torch.equal(tensors["robust"], result.robust)


def test_eight_bit_copies_are_looked_at_again(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net, digits = SmallCNN().eval(), load("digits", limit=40)
    with torch.no_grad():
        y = net(digits.x).argmax(1)
    result = evaluate(net, (digits.x, y), sp.Linf(0.02), [sp.PGD(steps=10)])
    told = result.export(tmp_path)
    broken = (~result.robust).nonzero().squeeze(1)
    rounded = (result.x[broken] * 255).round() / 255
    with torch.no_grad():
        assert told["still_adversarial"] == int((net(rounded).argmax(1) != y[broken]).sum())
    assert told["images"] == len(broken) == len(list(tmp_path.glob("*.png"))) > 0
    assert np.array_equal(np.load(tmp_path / "adversarial.npz")["x"], result.x[broken].numpy())


def test_blind_gradients_are_a_finding_not_silence() -> None:
    class Stairs(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return linear()((x * 8).round() / 8)

    x, _, _ = examples()
    with torch.no_grad():
        y = Stairs()(x).argmax(1)
    result = evaluate(Stairs(), (x, y), sp.Linf(0.01), [sp.PGD(steps=5)])
    assert any("exactly zero" in finding for finding in result.findings)


def test_probabilities_are_recognised_and_told() -> None:
    x, y, distance = examples()
    radius = float(distance.median()) * 1.001
    result = evaluate(nn.Sequential(linear(), nn.Softmax(1)), (x, y), sp.Linf(radius), [sp.PGD()])
    assert any("probabilities" in finding for finding in result.findings)
    assert torch.equal(result.robust, distance > radius)


def test_a_crashing_attack_never_reads_as_a_robust_model(tmp_path: Path) -> None:
    class Overflowing(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return linear()(x) * (float("nan") if x.requires_grad else 1.0)

    x, y, _ = examples()
    with pytest.raises(sp.ModelError, match="nan"):
        evaluate(Overflowing(), (x, y), sp.Linf(0.05), attacks(), out=tmp_path)
    assert not (tmp_path / "results.json").exists()


@pytest.mark.parametrize(
    ("keywords", "message"),
    [({"plan": "quikc"}, "quick"), ({"plan": []}, "at least one"), ({"plan": [sp.FGSM(), sp.FGSM()]}, "own")],
)
def test_bad_plans_are_named(keywords: dict[str, object], message: str) -> None:
    x, y, _ = examples()
    with pytest.raises(sp.InputError, match=message):
        evaluate(linear(), (x, y), sp.Linf(0.05), **keywords)  # type: ignore[arg-type]


def test_empty_data_is_named() -> None:
    with pytest.raises(sp.InputError, match="is empty"):
        evaluate(linear(), (torch.zeros(0, 20), torch.zeros(0, dtype=torch.int64)), sp.Linf(0.05))
