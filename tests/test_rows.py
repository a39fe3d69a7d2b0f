"""Rows: taking and putting back are what indexing says, and what is shared stays shared."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from sparring.rows import Rows, column


@dataclass(frozen=True)
class Inner(Rows):
    flag: Tensor


@dataclass(frozen=True)
class Outer(Rows):
    x: Tensor
    inner: Inner
    name: str = "shared"
    absent: Tensor | None = None


def rows(count: int, start: int = 0) -> Outer:
    number = torch.arange(start, start + count)
    return Outer(number[:, None, None] * torch.ones(2, 3), Inner(number % 2 == 0), name=f"from {start}")


def same(one: Outer, other: Outer) -> bool:
    return torch.equal(one.x, other.x) and torch.equal(one.inner.flag, other.inner.flag)


masks = st.lists(st.booleans(), min_size=1, max_size=8).map(torch.tensor)


@given(masks)
def test_take_by_mask_is_take_by_position_is_indexing(mask: Tensor) -> None:
    whole = rows(len(mask))
    taken = whole.take(mask)
    assert torch.equal(taken.x, whole.x[mask])
    assert torch.equal(taken.inner.flag, whole.inner.flag[mask])
    assert same(taken, whole.take(mask.nonzero().squeeze(1)))


@given(masks)
def test_put_undoes_take_and_changes_no_other_row(mask: Tensor) -> None:
    whole, new = rows(len(mask)), rows(len(mask), start=100)
    assert same(whole.put(mask, whole.take(mask)), whole)
    changed = whole.put(mask, new.take(mask))
    assert same(changed.take(mask), new.take(mask))
    assert same(changed.take(~mask), whole.take(~mask))
    assert same(changed, whole.put(mask.nonzero().squeeze(1), new.take(mask)))


@given(masks)
def test_where_chooses_row_by_row(mask: Tensor) -> None:
    one, other = rows(len(mask)), rows(len(mask), start=100)
    assert same(one.where(mask, other), other.put(mask, one.take(mask)))


@given(st.lists(st.integers(0, 3), min_size=1, max_size=4))
def test_join_undoes_cutting_into_parts(lengths: list[int]) -> None:
    whole = rows(sum(lengths))
    parts = [whole.take(at) for at in torch.arange(sum(lengths)).split(lengths)]
    assert same(Outer.join(parts), whole)


def test_nothing_is_changed_in_place() -> None:
    whole = rows(4)
    whole.put(torch.tensor([1, 2]), rows(2, start=50))
    whole.where(torch.tensor([True, False, True, False]), rows(4, start=50))
    assert same(whole, rows(4))


def test_what_is_not_a_tensor_is_shared_by_all_rows() -> None:
    whole = rows(4, start=7)
    first = torch.tensor([0])
    for changed in (whole.take(first), whole.put(first, rows(1)), Outer.join([whole, rows(1)])):
        assert changed.name == "from 7"
        assert changed.absent is None


@pytest.mark.parametrize("shape", [(3,), (3, 2), (3, 2, 4, 4)])
def test_column_scales_each_row(shape: tuple[int, ...]) -> None:
    scaled = column(torch.tensor([1.0, 2.0, 3.0]), torch.ones(shape)) * torch.ones(shape)
    assert scaled.flatten(1).mean(1).tolist() == [1, 2, 3] if len(shape) > 1 else scaled.tolist() == [1, 2, 3]
