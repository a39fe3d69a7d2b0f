"""What changes while training goes on: schedules, and the moving average that follows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from math import cos, pi
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from models import linear
from runs import Net, assert_equal, kept, state
from sparring.attacks import PGD
from sparring.defenses import AdversarialTraining, Context, Defense, Standard
from sparring.threats import L2, Linf
from sparring.training import Cosine, Linear, Milestones, OneCycle, Schedule, train
from sparring.training.averaging import Average

ROWS = 40
X = torch.rand(ROWS, 1, 4, 4, generator=torch.Generator().manual_seed(0))
Y = torch.arange(ROWS) % 3
THREAT = Linf(0.1)


@pytest.mark.parametrize(
    ("schedule", "values"),
    [
        (Linear(), {0: 0, 0.25: 0.25, 1: 1}),
        (Linear(2.0, 1.0, until=0.5), {0: 2, 0.25: 1.5, 0.5: 1, 0.9: 1, 1: 1}),
        (OneCycle(), {0: 0, 0.15: 0.5, 0.3: 1, 0.65: 0.5, 1: 0}),
        (OneCycle(peak=1.0), {0: 0, 0.5: 0.5, 1: 1}),
        (Cosine(), {0: 1, 0.25: (1 + cos(pi / 4)) / 2, 0.5: 0.5, 1: 0}),
        (Cosine(warmup=0.2), {0: 0, 0.1: 0.5, 0.2: 1, 0.6: 0.5, 1: 0}),
        (Milestones(), {0: 1, 0.4999: 1, 0.5: 0.1, 0.7499: 0.1, 0.75: 0.01, 1: 0.01}),
        (Milestones((0.2,), 0.5), {0.1: 1, 0.3: 0.5}),
    ],
    ids=repr,
)
def test_a_schedule_has_the_values_it_says(schedule: Schedule, values: Mapping[float, float]) -> None:
    for done, value in values.items():
        assert schedule(done) == pytest.approx(value, abs=1e-12)


@pytest.mark.parametrize(
    ("schedule", "area"),
    [
        (OneCycle(), 1 / 2),
        (OneCycle(0.01), 1 / 2),
        (Cosine(), 1 / 2),
        (Cosine(warmup=0.4), 1 / 2),
        (Linear(0.2, 1.0, until=0.5), 0.5 * 0.6 + 0.5),
        (Milestones((0.5, 0.75), 0.1), 0.5 + 0.25 * 0.1 + 0.25 * 0.01),
    ],
    ids=repr,
)
def test_the_steps_of_a_training_add_up_to_the_area_under_the_schedule(schedule: Schedule, area: float) -> None:
    steps = 1000
    assert np.mean([schedule((step + 0.5) / steps) for step in range(steps)]) == pytest.approx(area, abs=1e-5)


@dataclass(frozen=True)
class Watching(Defense):
    """Standard training that notes what it is told of the pace."""

    seen: list[tuple[Any, ...]] = field(default_factory=list, compare=False, repr=False)

    def loss(self, context: Context) -> Tensor:
        self.seen.append((context.progress, context.threat, context.effort, context.step))
        return context.cross_entropy(context.logits(context.x))


@pytest.mark.parametrize("threat", [Linf(0.1), L2(0.5)])
def test_every_step_asks_the_schedules_at_its_middle(threat: Any) -> None:
    rates: list[float] = []

    class Noting(torch.optim.SGD):
        def step(self, closure: Any = None) -> Any:
            rates.append(self.param_groups[0]["lr"])
            return super().step(closure)

    rise, fall, effort, watching = Linear(0.2, 1, until=0.5), OneCycle(0.5), Cosine(), Watching()
    train(
        linear(16, 3), (X, Y), watching, threat, epochs=3, batch_size=10,
        optimizer=partial(Noting, lr=0.1), schedule=fall, radius=rise, effort=effort,
    )  # fmt: skip
    middles = [(step + 0.5) / 12 for step in range(12)]
    assert rates == pytest.approx([0.1 * fall(done) for done in middles])
    assert sum(rates) == pytest.approx(0.1 * 12 / 2)
    assert [progress for progress, *_ in watching.seen] == pytest.approx(middles)
    assert [given.eps for _, given, _, _ in watching.seen] == pytest.approx(
        [threat.eps * rise(done) for done in middles]
    )
    assert {type(given) for _, given, _, _ in watching.seen} == {type(threat)}
    assert [share for _, _, share, _ in watching.seen] == pytest.approx([effort(done) for done in middles])
    assert [step for *_, step in watching.seen] == list(range(12))


def test_a_growing_radius_bounds_what_is_learned_from_and_a_mask_holds() -> None:
    mask = torch.zeros(1, 4, 4, dtype=torch.bool)
    mask[:, :2] = True
    moved: list[tuple[float, float]] = []

    class Measuring(AdversarialTraining):
        def loss(self, context: Context) -> Tensor:
            change = (context.adversarial(self.attack) - context.x).abs()
            assert not bool(change[:, :, 2:].any())
            moved.append((float(change.max()), context.threat.radius))  # type: ignore[arg-type, union-attr]
            return super().loss(context)

    train(linear(16, 3), (X, Y), Measuring(PGD(steps=3)), Linf(0.2, mask=mask), epochs=2, radius=Linear(0, 1))
    assert all(change == pytest.approx(radius, rel=1e-4) for change, radius in moved)
    assert [radius for _, radius in moved] == pytest.approx([0.2 * 0.25, 0.2 * 0.75])


# The moving average.


def test_the_average_is_the_weighted_sum_of_where_the_network_has_been() -> None:
    net = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)).double()
    follower = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)).double()
    follower.load_state_dict(net.state_dict())
    average = Average(net, follower, decay=0.5)
    generator = torch.Generator().manual_seed(0)
    script = {name: [value.clone()] for name, value in net.state_dict().items()}
    for _ in range(12):
        for name, value in net.state_dict().items():
            fresh = torch.rand(value.shape, generator=generator, dtype=torch.float64)
            value.copy_(fresh if value.is_floating_point() else value + 1)
            script[name].append(value.clone())
        average.update()
    # 0.1, 2/11, …, until these reach the decay, after 8 updates.
    keep = [min(0.5, (1 + t) / (10 + t)) for t in range(12)]
    assert keep[7] < 0.5 == keep[8]
    shares = [float(np.prod(keep))] + [(1 - keep[t]) * float(np.prod(keep[t + 1 :])) for t in range(12)]
    assert sum(shares) == pytest.approx(1)
    for name, value in follower.state_dict().items():
        if name.endswith("num_batches_tracked"):
            assert int(value) == 12
        else:
            expected = sum(share * been for share, been in zip(shares, script[name], strict=True))
            torch.testing.assert_close(value, expected)


def test_training_returns_the_average_of_its_steps() -> None:
    been: list[dict[str, Tensor]] = []

    class Remembering(torch.optim.SGD):
        def step(self, closure: Any = None) -> Any:
            super().step(closure)
            been.append({"weights": torch.cat([w.detach().flatten() for w in self.param_groups[0]["params"]])})

    net = linear(16, 3)
    begun = torch.cat([weight.detach().flatten() for weight in net.parameters()])
    sgd = partial(Remembering, lr=0.3)
    trained = train(net, (X, Y), Standard(), epochs=5, batch_size=10, optimizer=sgd, ema=0.6)
    expected = begun
    for step, now in enumerate(been):
        keep = min(0.6, (1 + step) / (10 + step))
        expected = keep * expected + (1 - keep) * now["weights"]
    found = torch.cat([weight.detach().flatten() for weight in trained.model.parameters()])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    assert not torch.allclose(found, been[-1]["weights"], atol=1e-4)


def test_an_average_that_keeps_nothing_is_the_network_itself() -> None:
    run = partial(train, Net(), (X, Y), AdversarialTraining(PGD(steps=1)), THREAT, epochs=2, batch_size=10)
    assert_equal(state(run(ema=0.0).model), state(run().model))


def test_the_average_learns_nothing_back() -> None:
    """The weights being learned are the same with an average beside them."""

    def end(**more: Any) -> float:
        return train(Net(), (X, Y), Standard(), epochs=4, batch_size=10, **more).history[-1]["loss"]

    assert end() == end(ema=0.9)


# The best epoch.


def ruin(done: float) -> float:
    """A learning rate that jumps up and ruins the later epochs."""
    return 1.0 if done < 0.5 else 300.0


def test_the_epoch_that_is_best_on_examples_held_out_is_returned_and_patience_waits_for_a_better_one(
    tmp_path: Path,
) -> None:
    y = (X.mean((1, 2, 3)) > X.mean()).long()
    weights: list[dict[str, Tensor]] = []

    def note(record: Mapping[str, float]) -> None:
        if record["batch"] == record["batches"]:
            weights.append(kept(tmp_path)["model"])

    run = partial(
        train, linear(16, 2), (X, y), Standard(), epochs=8, lr=0.02, batch_size=10, validation=0.25, schedule=ruin
    )
    trained = run(out=tmp_path, progress=note)
    merits = [record["clean_accuracy"] for record in trained.history]  # there is no threat
    assert trained.epoch == 1 + merits.index(max(merits)) <= 4
    assert merits[-1] < max(merits)
    assert_equal(trained.model.state_dict(), weights[trained.epoch - 1])
    assert not torch.equal(weights[-1]["1.weight"], weights[trained.epoch - 1]["1.weight"])
    assert_equal(safetensors.torch.load_file(tmp_path / "model.safetensors"), dict(trained.model.state_dict()))

    for patience in (1, 2):
        tired = run(patience=patience)
        assert len(tired.history) == tired.epoch + patience
        assert tired.epoch == 1 + merits[: len(tired.history)].index(max(merits[: len(tired.history)]))
        assert_equal(tired.model.state_dict(), weights[tired.epoch - 1])


def test_without_examples_held_out_the_last_epoch_is_returned() -> None:
    assert train(linear(16, 3), (X, Y), AdversarialTraining(PGD(steps=1)), THREAT, epochs=3).epoch == 3
