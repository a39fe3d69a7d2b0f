"""Draws: the published generator, a function of its address alone, uniform and normal as promised."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy import stats
from torch import Tensor

from sparring.draws import Draws, isolated, philox

CPU = torch.device("cpu")


# kat_vectors of Random123 (Salmon et al. 2011) for philox4x32, 10 rounds.
@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ([0, 0, 0, 0], (0, 0), [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        (
            [0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF],
            (0xFFFFFFFF, 0xFFFFFFFF),
            [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD],
        ),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            (0xA4093822, 0x299F31D0),
            [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
        ),
    ],
)
def test_philox_gives_the_published_words(counter: list[int], key: tuple[int, int], expected: list[int]) -> None:
    words = philox([torch.tensor([word]) for word in counter], key)
    assert [int(word) for word in words] == expected


KINDS = pytest.mark.parametrize("kind", [Draws.uniform, Draws.normal], ids=["uniform", "normal"])
Kind = Callable[..., Tensor]


@KINDS
def test_a_number_depends_on_its_address_alone(kind: Kind) -> None:
    draws, index = Draws(3).at("start", 1), torch.tensor([5, 0, 2**40 + 1, 77, 2**31])
    whole = kind(draws, index, 4, (3, 2))
    shuffled = torch.tensor([3, 1, 4, 0, 2])
    assert torch.equal(kind(draws, index[shuffled], 4, (3, 2)), whole[shuffled])
    for row, one in enumerate(index.split(1)):
        assert torch.equal(kind(Draws(3, ("start", 1)), one, 4, (3, 2))[0], whole[row])


@KINDS
def test_every_part_of_the_address_matters(kind: Kind) -> None:
    here = Draws(0).at("a"), torch.tensor([1]), 0
    others = [
        (Draws(1).at("a"), torch.tensor([1]), 0),
        (Draws(0).at("b"), torch.tensor([1]), 0),
        (Draws(0).at("a", 0), torch.tensor([1]), 0),
        (Draws(0).at("a"), torch.tensor([2]), 0),
        (Draws(0).at("a"), torch.tensor([1 + 2**32]), 0),
        (Draws(0).at("a"), torch.tensor([1]), 1),
    ]
    first = kind(*here, (64,))
    for other in others:
        second = kind(*other, (64,))
        assert not torch.isclose(first, second).any()
        assert abs(np.corrcoef(first.flatten(), second.flatten())[0, 1]) < 0.45  # 3.6 sigma of 64 pairs


@KINDS
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_shape_and_dtype_are_the_ones_asked_for(kind: Kind, dtype: torch.dtype) -> None:
    for shape in [(), (1,), (5,), (3, 2, 2)]:
        drawn = kind(Draws(0), torch.arange(4), 0, shape, dtype)
        assert (drawn.shape, drawn.dtype) == ((4, *shape), dtype)
    assert kind(Draws(0), torch.arange(0), 0, (3,)).shape == (0, 3)


# 4,800 numbers a seed: along one example, the first of many examples, and over examples and steps.
SLICES = pytest.mark.parametrize(("rows", "steps", "width"), [(1, 1, 4800), (4800, 1, 1), (40, 30, 4)])


def samples(kind: Kind, rows: int, steps: int, width: int) -> list[npt.NDArray[np.float64]]:
    """One sample for each of 60 seeds."""
    index, shape = torch.arange(rows), (width,)
    return [
        torch.cat([kind(Draws(seed), index, step, shape, torch.float64) for step in range(steps)]).flatten().numpy()
        for seed in range(60)
    ]


def fits(drawn: list[npt.NDArray[np.float64]], distribution: str) -> bool:
    """Kolmogorov-Smirnov: no seed is far off, and the p-values are uniform themselves."""
    values = [stats.kstest(sample, distribution).pvalue for sample in drawn]
    return bool(min(values) > 1e-4 and stats.kstest(values, "uniform").pvalue > 0.01)


@SLICES
def test_uniform_is_uniform_on_0_to_1(rows: int, steps: int, width: int) -> None:
    drawn = samples(Draws.uniform, rows, steps, width)
    everything = np.concatenate(drawn)
    assert fits(drawn, "uniform")
    assert ((everything >= 0) & (everything < 1)).all()
    assert abs(everything.mean() - 1 / 2) < 4 / np.sqrt(12 * everything.size)


@SLICES
def test_normal_is_standard_normal(rows: int, steps: int, width: int) -> None:
    drawn = samples(Draws.normal, rows, steps, width)
    everything = np.concatenate(drawn)
    assert fits(drawn, "norm")
    assert abs(everything.mean()) < 4 / np.sqrt(everything.size)
    assert abs(everything.var() - 1) < 4 * np.sqrt(2 / everything.size)
    assert abs(stats.kurtosis(everything)) < 4 * np.sqrt(24 / everything.size)


def test_neighbouring_numbers_are_uncorrelated() -> None:
    sample = Draws(2).normal(torch.arange(400), 0, (400,), torch.float64).numpy()
    for one, other in [(sample[:, :-1], sample[:, 1:]), (sample[:-1], sample[1:])]:
        assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 4 / np.sqrt(one.size)


def states() -> list[object]:
    numpy = np.random.get_state()  # noqa: NPY002 - the global state is what is under test
    return [random.getstate(), numpy[1].tolist(), numpy[2], torch.get_rng_state().tolist()]


def foreign() -> list[float]:
    return [random.random(), float(np.random.rand()), float(torch.rand(()))]  # noqa: NPY002


def test_isolated_gives_every_generator_back_as_it_was() -> None:
    before = states()
    with isolated(5, CPU):
        inside = foreign()
    assert states() == before
    with isolated(5, CPU):
        assert foreign() == inside
    with isolated(6, CPU):
        assert not set(foreign()) & set(inside)


def test_isolated_gives_them_back_after_an_exception_too() -> None:
    before = states()
    with pytest.raises(ZeroDivisionError), isolated(5, CPU):
        _ = foreign()[0] / 0
    assert states() == before
