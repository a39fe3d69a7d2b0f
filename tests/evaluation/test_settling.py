"""How the batch size and the form of a network are found: the arithmetic of it, on a clock that the network winds."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import sparring as sp
from evaluation.forms import Clock, points
from sparring.evaluation import machine
from sparring.evaluation.bench import Bench, usual_clock
from sparring.evaluation.machine import _declining, _sizes, _tried, settle
from sparring.evaluation.settings import Settings
from sparring.problem import Seen

CPU = torch.device("cpu")


class Timed(nn.Module):
    """A pass of n examples takes `cost(n, calls)` seconds."""

    def __init__(self, clock: Clock, cost: Callable[[int, int], float]) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(2, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 16, 3))
        self.clock, self.cost, self.calls = clock, cost, 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.clock.now += self.cost(len(x), self.calls)
        return self.net(x)


class Exact(Clock):
    """Nothing but the network takes time."""

    def __call__(self) -> float:
        return self.now


def bench(cost: Callable[[int, int], float], rows: int = 64) -> tuple[Bench, Timed]:
    clock = Exact()
    net = Timed(clock, cost).eval()
    return Bench(sp.Model(net), points(rows, 2, 6, 6), CPU, clock), net


@pytest.mark.parametrize(
    ("each", "declining"),
    [
        ([1.0, 0.9], False),
        ([1.0, 2.0], False),
        ([1.0, 2.0, 2.0], True),
        ([1.0, 1.0, 1.0], False),  # no slower than a smaller one
        ([1.0, 0.8, 1.5], False),  # the largest is slower, the one before is the fastest
        ([1.0, 1.5, 0.8], False),
        ([0.5, 0.6, 0.7, 0.55], True),
    ],
)
def test_sizes_decline_where_the_two_largest_are_slower_than_a_smaller_one(each: list[float], declining: bool) -> None:
    assert _declining({2**at: seconds * 2**at for at, seconds in enumerate(each)}) == declining


def test_the_first_look_of_a_size_is_cold_and_does_not_count() -> None:
    """A step and a last look: two passes of the network a timing, of which the first of all is slow."""
    found, _ = bench(lambda n, calls: (5.0 if calls <= 2 else 1.0) * n)
    passes, late = _sizes(found, 4, lambda each: 1e9)
    assert passes == {1: 2.0, 2: 4.0, 4: 8.0}
    assert not late


def test_every_size_is_timed_as_often_as_there_are_turns_and_once_more() -> None:
    asked: list[int] = []
    found, _ = bench(lambda n, calls: float(asked.append(n) or n))
    _sizes(found, 4, lambda each: 1e9)
    steps = {size: asked.count(size) / 2 for size in (1, 2, 4)}
    assert steps == dict.fromkeys((1, 2, 4), 2 + machine.TURNS - 1)


def test_a_size_that_is_far_slower_an_example_is_not_timed_again() -> None:
    asked: list[int] = []
    found, _ = bench(lambda n, calls: float(asked.append(n) or (n if n > 1 else 10 * machine.SLOWER)))
    _sizes(found, 4, lambda each: 1e9)
    assert asked.count(1) / 2 == 2  # when it was the first
    assert asked.count(4) / 2 == 2 + machine.TURNS - 1


@pytest.mark.parametrize(("budget", "largest"), [(1.02, 4), (0.98, 2)])
def test_a_size_is_tried_where_there_is_time_to_look_at_it_as_often_as_at_the_others(
    budget: float, largest: int
) -> None:
    """At twice the time of the size before, for the cold look and those of every turn."""
    found, _ = bench(lambda n, calls: float(n))
    spent = 2 * (2 * 1 + 2 * 2)  # a look of n examples takes 2 n; two at sizes 1 and 2
    passes, late = _sizes(found, 4, lambda each: spent + budget * (machine.TURNS + 1) * 2 * (2 * 2))
    assert max(passes) == largest
    assert late == (largest < 4)


def test_memory_that_runs_out_ends_the_sizes_and_other_errors_are_told() -> None:
    def full(n: int, calls: int) -> float:
        if n > 2:
            raise RuntimeError("out of memory")
        return float(n)

    found, _ = bench(full)
    assert list(_sizes(found, 8, lambda each: 1e9)[0]) == [1, 2]

    def wrong(n: int, calls: int) -> float:
        if n > 2:
            raise RuntimeError("something else")
        return float(n)

    with pytest.raises(RuntimeError, match="something else"):
        _sizes(bench(wrong)[0], 8, lambda each: 1e9)

    def at_once(n: int, calls: int) -> float:
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        _sizes(bench(at_once)[0], 8, lambda each: 1e9)


def test_what_was_measured_is_told_in_milliseconds_an_example() -> None:
    found, _ = bench(lambda n, calls: 0.25 * n)
    told = _tried(found, Settings(8), Settings(8, memory_format="channels_last"), 0.1, 8, 1e9)
    assert (told["before"], told["after"]) == (500.0, 500.0)  # a step and a last look
    assert told["kept"] is False
    assert told["why"] == "it is not 10% faster"


@pytest.mark.parametrize(("faster", "kept"), [(0.5, True), (0.89, True), (0.9, True), (0.91, False), (1.5, False)])
def test_a_form_is_kept_where_it_is_faster_by_what_is_asked(
    faster: float, kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, _ = bench(lambda n, calls: 0.0)
    forms: list[Any] = []

    def seconds(self: Bench, model: Any, problem: Any) -> float:
        forms.append(model)
        return 1.0 if model is found.model else faster

    monkeypatch.setattr(Bench, "seconds", seconds)
    told = _tried(found, Settings(8), Settings(8, memory_format="channels_last"), 0.1, 8, 1e9)
    assert told["kept"] is kept
    assert told["after"] == pytest.approx(1e3 * faster / 8, abs=1e-4)


def settled(cost: Callable[[int, int], float], rows: int, **given: Any) -> Settings:
    clock = Clock()
    return settle(sp.Model(Timed(clock, cost).eval()), points(rows, 2, 6, 6), clock=clock, **given)


def test_where_time_ran_out_at_the_best_the_usual_size_is_taken() -> None:
    """An example takes ever less in larger batches, of which there is only time for the small ones."""
    found = settled(lambda n, calls: 1.0, 4000, longest=40)
    tried = list(map(int, found.measured["milliseconds"]))
    assert max(tried) < 128
    assert found.batch_size == 128


@pytest.mark.parametrize(("other", "astray"), [(0, False), (1, False), (2, True)])
def test_a_coarse_form_goes_astray_where_it_says_other_classes_of_more_than_a_few(other: int, astray: bool) -> None:
    rows = round(1 / (1 - machine.SAME_WAY))  # of so many, one other class is just allowed
    logits = torch.eye(3)[torch.zeros(rows, dtype=torch.int64)]
    moved = logits.clone()
    moved[:other] = torch.tensor([0.0, 1.0, 0.0])
    gradient = torch.ones(rows, 2)
    one, two = (Seen(said, torch.zeros(rows), gradient) for said in (logits, moved))
    assert bool(machine.astray(one, two)) == astray
    assert "other classes" in machine.astray(one, two) or not astray


def test_and_where_its_gradients_point_elsewhere() -> None:
    logits, gradient = torch.eye(3), torch.tensor([[1.0, 0.0]] * 3)
    exact = Seen(logits, torch.zeros(3), gradient)
    assert machine.astray(exact, Seen(logits, torch.zeros(3), 7 * gradient)) == ""
    assert "mean cosine of 0.00" in machine.astray(exact, Seen(logits, torch.zeros(3), gradient.flip(1)))


def test_the_clock_is_the_processors_own_for_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    for threads, clock in ((1, time.process_time), (2, time.perf_counter)):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        assert usual_clock(CPU) is clock
        assert usual_clock(torch.device("cuda")) is time.perf_counter


def test_bfloat16_is_tried_only_where_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "computes_bfloat16", lambda device: True)
    plainly = settled(lambda n, calls: 0.01 * n, 600, longest=1000)
    coarsely = settled(lambda n, calls: 0.01 * n, 600, longest=1000, coarse=True)
    assert set(coarsely.measured["tried"]) - set(plainly.measured["tried"]) == {"bfloat16"}
