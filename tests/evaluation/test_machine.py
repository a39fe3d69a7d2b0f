"""What is fastest is found by measuring, here by a clock that the network itself winds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import sparring as sp
from evaluation.forms import Clock, Ticking, convolutional, lived, points
from models import seeded
from sparring.evaluation import Result
from sparring.evaluation.machine import TOO_SHORT, settle
from sparring.evaluation.measure import _block_size
from sparring.evaluation.settings import Settings, private
from sparring.sealed import seal, unseal


def test_a_network_with_hooks_is_not_run_to_be_measured() -> None:
    net, seen = convolutional().eval(), []
    net.register_forward_pre_hook(lambda module, inputs: seen.append(1))
    settings = settle(sp.Model(net), points(300, 2, 6, 6))
    assert not seen
    assert settings == Settings(128)
    assert settings.measured["refrained"] == private(sp.Model(net))


def test_what_is_wrong_with_a_network_is_left_to_the_evaluation() -> None:
    settings = settle(sp.Model(nn.Linear(3, 2)), points(300, 8))
    assert settings == Settings(128)
    assert "RuntimeError: mat1 and mat2" in settings.measured["refrained"]


class Timed(nn.Module):
    """A pass of n examples takes cost(n, weight) seconds."""

    def __init__(self, clock: Clock, cost: Callable[[int, Tensor], float], net: nn.Module | None = None) -> None:
        super().__init__()
        self.net = net or nn.Sequential(nn.Conv2d(2, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 16, 3))
        self.clock, self.cost = clock, cost

    def forward(self, x: Tensor) -> Tensor:
        weight = next(self.net.parameters())
        self.clock.now += self.cost(len(x), weight)
        return self.net(x)


def settled(cost: Callable[[int, Tensor], float], rows: int = 1000, **given: Any) -> Settings:
    clock = Clock()
    return settle(sp.Model(Timed(clock, cost).eval()), points(rows, 2, 6, 6), clock=clock, **given)


def test_the_smallest_batch_of_the_fastest_is_chosen() -> None:
    # 40 ms a pass and 10 an example, up to 256 of them; beyond, a cache overflows.
    def cost(n: int, weight: Tensor) -> float:
        return 0.04 + 0.01 * n if n <= 256 else 0.02 * n

    settings = settled(cost, rows=40000, longest=1000)
    assert settings.batch_size == 64  # an example of which takes 4.6 % more than one of 256; of 32, 10.8 %
    assert list(settings.measured["milliseconds"]) == [str(2**k) for k in range(11)]
    assert settings == settled(cost, rows=40000, longest=1000)


def test_time_that_is_used_up_ends_the_trials() -> None:
    clock = Clock()
    model = sp.Model(Timed(clock, lambda n, weight: float(n)).eval())
    settings = settle(model, points(1000, 2, 6, 6), clock=clock, longest=20)
    assert clock.now < 2 * 20
    assert list(settings.measured["milliseconds"]) == ["1"]
    assert all(not one["kept"] for one in settings.measured["tried"].values())


def test_larger_batches_than_there_are_examples_are_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sparring.evaluation.machine.LOOKS", 10**6)
    settings = settled(lambda n, weight: 1.0, rows=200, longest=1000)
    assert list(settings.measured["milliseconds"]) == [str(2**k) for k in range(9)]
    assert settings.batch_size == 256


def test_a_batch_that_does_not_fit_is_the_end() -> None:
    def cost(n: int, weight: Tensor) -> float:
        if n > 16:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return 1.0

    settings = settled(cost, longest=1000)
    assert settings.batch_size == 16


def test_an_evaluation_shorter_than_the_measurement_is_not_measured() -> None:
    settings = settled(lambda n, weight: 1e-3, rows=10)
    assert settings == Settings(128)
    assert "too short" in settings.measured["refrained"]


@pytest.mark.parametrize(("share", "kept"), [(0.9, True), (0.98, False)])
def test_a_memory_format_is_kept_where_it_is_clearly_faster(share: float, kept: bool) -> None:
    def cost(n: int, weight: Tensor) -> float:
        last = weight.is_contiguous(memory_format=torch.channels_last)
        return n * (share if last else 1.0)

    settings = settled(cost, rows=300, longest=10000)
    assert (settings.memory_format == "channels_last") == kept
    assert settings.measured["tried"]["channels_last"]["kept"] == kept


def test_a_form_that_says_something_else_is_refused_however_fast() -> None:
    class Tells(nn.Module):
        """Says one thing of a contiguous weight, another of one that is not."""

        def __init__(self, clock: Clock) -> None:
            super().__init__()
            self.net, self.clock = nn.Conv2d(2, 3, 6), clock

        def forward(self, x: Tensor) -> Tensor:
            plain = self.net.weight.is_contiguous()
            self.clock.now += len(x) * (1.0 if plain else 0.1)
            return self.net(x).flatten(1) * (1 if plain else 1.01)

    clock = Clock()
    settings = settle(sp.Model(Tells(clock)), points(300, 2, 6, 6), clock=clock, longest=10000)
    assert settings.memory_format == "as-is"
    assert "logits differ by" in settings.measured["tried"]["channels_last"]["why"]


def test_a_linear_layer_over_another_axis_is_found_out() -> None:
    class Sequence(nn.Module):
        """(N, 4, 4): the normalisation is of the axis before the one that the layer mixes."""

        def __init__(self) -> None:
            super().__init__()
            self.mix, self.norm, self.head = nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(16, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.norm(self.mix(x)).flatten(1))

    net = seeded(lambda: lived(Sequence()), 0)
    settings = settle(sp.Model(net), points(300, 4, 4), clock=Ticking(), longest=1000)
    assert not settings.folded
    assert "logits differ by" in settings.measured["tried"]["folded"]["why"]


@pytest.mark.parametrize(("share", "coarse", "kept"), [(0.7, True, True), (0.9, True, False), (0.7, False, False)])
def test_bfloat16_is_kept_where_it_may_be_and_is_much_faster(
    monkeypatch: pytest.MonkeyPatch, share: float, coarse: bool, kept: bool
) -> None:
    monkeypatch.setattr("sparring.evaluation.machine.computes_bfloat16", lambda device: True)

    def cost(n: int, weight: Tensor) -> float:
        return n * (share if weight.dtype == torch.bfloat16 else 1.0)

    settings = settled(cost, rows=300, longest=10000, coarse=coarse)
    assert (settings.dtype == "bfloat16") == kept
    assert ("bfloat16" in settings.measured["tried"]) == coarse


def test_batches_that_memory_could_not_hold_are_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    # The convolution keeps the input and the ReLU its result: 2 · 6 · 6 and 8 · 4 · 4 numbers of 4 bytes an example.
    least = 4 * (72 + 128)
    monkeypatch.setattr("sparring.evaluation.bench.room", lambda device: 40 * least)
    settings = settled(lambda n, weight: 1.0, rows=300, longest=10000)
    assert settings.batch_size in (8, 16)


# What sp.evaluate makes of it.


def evaluated(out: Path | None = None, **changes: Any) -> Result:
    layers = nn.Conv2d, nn.BatchNorm2d, nn.Linear
    net = seeded(
        lambda: lived(nn.Sequential(layers[0](2, 8, 3), layers[1](8), nn.ReLU(), nn.Flatten(), layers[2](128, 3))), 0
    )
    x = points(40, 2, 6, 6)
    with torch.no_grad():
        net[4].bias -= net(x).mean(0)  # so that it says more than one class
        y = net(x).argmax(1)
    return sp.evaluate(net, (x, y), sp.Linf(0.03), [sp.PGD(steps=5)], out=out, **changes)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many inputs there were at every measurement, each of which finds the same."""
    calls: list[int] = []

    def found(model: sp.Model, x: Tensor) -> Settings:
        calls.append(len(x))
        return Settings(8, folded=True, measured={"milliseconds": {"8": 0.5}})

    monkeypatch.setattr("sparring.evaluation.measure.settle", found)
    return calls


FOLDED = {"batch_size": 8, "memory_format": "as-is", "folded": True, "dtype": "as-is"}


def test_the_first_session_of_a_run_measures_and_the_others_keep_to_it(calls: list[int], tmp_path: Path) -> None:
    def stop(step: sp.evaluation.Progress) -> None:
        if step.done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluated(tmp_path / "a", progress=stop)
    resumed, again = evaluated(tmp_path / "a"), evaluated(tmp_path / "a")
    assert calls == [40]
    for result in (resumed, again):
        assert result.header["settings"] == FOLDED
        assert result.header["measured"] == {"milliseconds": {"8": 0.5}}
        assert result.header["block_size"] == 8
    # Shards on other machines are given the header, and keep to it too.
    for part in (1, 2):
        (tmp_path / str(part)).mkdir()
        (tmp_path / str(part) / "run.json").write_bytes((tmp_path / "a" / "run.json").read_bytes())
        evaluated(tmp_path / str(part), shard=(part, 2))
    assert calls == [40]
    assert torch.equal(sp.merge([tmp_path / "1", tmp_path / "2"], tmp_path / "b").x, resumed.x)


def test_a_batch_size_that_is_given_is_kept_and_nothing_is_measured(calls: list[int], tmp_path: Path) -> None:
    result = evaluated(tmp_path / "a", batch_size=16, shard=(1, 2))
    assert not calls
    assert (result.header["block_size"], result.header["measured"]) == (16, {})
    assert result.header["settings"] == {**FOLDED, "batch_size": 16, "folded": False}
    evaluated(tmp_path / "b", shard=(2, 2))
    assert calls == [20]  # a shard is measured for what it will do
    with pytest.raises(sp.ResumeError, match=r"block_size is 16 in the first and 8 .* batch_size=16 \(--batch-size 16"):
        sp.merge([tmp_path / "a", tmp_path / "b"], tmp_path / "c")
    with pytest.raises(sp.ResumeError, match=r"block_size is 8 in the first and 16 .*/b/run\.json copied into"):
        sp.merge([tmp_path / "b", tmp_path / "a"], tmp_path / "c")


def test_another_form_searches_and_the_network_itself_judges(calls: list[int]) -> None:
    folded, plain = evaluated(), evaluated(batch_size=8)
    assert torch.equal(folded.robust, plain.robust)
    assert 0 < folded.robust_accuracy < 1
    with torch.no_grad():
        said = folded.model(folded.x).argmax(1)
    assert torch.equal(said == folded.y, folded.robust)


def test_a_run_without_settings_is_refused(tmp_path: Path) -> None:
    evaluated(tmp_path)
    header = unseal((tmp_path / "run.json").read_bytes())
    del header["settings"]
    (tmp_path / "run.json").write_bytes(seal(header))
    with pytest.raises(sp.InputError, match=r"settings of the run cannot be read .*; begin it in a new folder"):
        evaluated(tmp_path)


@pytest.mark.parametrize(
    ("batch", "rows", "features", "wanted"),
    [(64, 100, 10, 64), (64, 3000, 10, 187), (64, 50_000, 10, 512), (1024, 50_000, 10, 1024), (64, 3000, 2**20, 64)],
)
def test_blocks_are_large_but_not_too_large(batch: int, rows: int, features: int, wanted: int) -> None:
    assert _block_size(batch, torch.empty(1, features).expand(rows, features)) == wanted


def test_few_examples_are_not_measured_at_all() -> None:
    class Dead(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise AssertionError("asked")

    assert settle(sp.Model(Dead()), points(128, 2, 6, 6)).measured == {"refrained": TOO_SHORT}


def test_measuring_costs_little_however_much_faster_large_batches_are() -> None:
    clock = Clock()
    model = sp.Model(Timed(clock, lambda n, weight: 1.0).eval())  # the same for one example and for a thousand
    settings = settle(model, points(10_000, 2, 6, 6), clock=clock, longest=10**9)
    assert settings.batch_size >= 128
    assert clock.now < 0.1 * 100 * 10_000 / settings.batch_size  # of a hundred looks an example
