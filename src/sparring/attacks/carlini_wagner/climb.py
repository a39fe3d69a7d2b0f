"""What the three forms share: Adam in tanh space at a trade-off c, every row with its own clock.

Rows at different values of c share a batch, and none waits for another. L0 and L∞ also share how c rises: it
doubles, warm, until a solution is found.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from sparring.rows import Rows, column
from sparring.rules.adam import Adam, Moments


@dataclass(frozen=True)
class Climbing(Rows):
    """One row's search at its present c."""

    w: Tensor
    moments: Moments
    c: Tensor
    age: Tensor  # (N,) steps at this c
    checked: Tensor  # (N,) the loss at the last check of this c

    @classmethod
    def begin(cls, w: Tensor, adam: Adam, c: float) -> Climbing:
        """From w, with every c alike."""
        rows = w.new_zeros(len(w))
        return cls(w, adam.begin(w), rows + c, rows, rows + torch.inf)

    def restarted(self, rows: Tensor, adam: Adam, c: Tensor, w: Tensor) -> Climbing:
        """A new round at c from w for `rows` (N,) bool: Adam forgets."""
        return replace(
            self,
            w=torch.where(column(rows, w), w, self.w),
            moments=adam.begin(w).where(rows, self.moments),
            c=torch.where(rows, c, self.c),
            age=self.age.where(~rows, 0),
            checked=self.checked.where(~rows, torch.inf),
        )


def moved(state: Climbing, adam: Adam, climb: Tensor, slope: Tensor, longest: Tensor) -> Climbing:
    """One step of Adam along `climb`; x, whose slope by w is given, moves at most `longest` (N,) in L2."""
    move, moments = adam.ascent(state.moments, climb)
    length = torch.linalg.vector_norm((slope * move).flatten(1), dim=1)
    move = move * column((longest / length.clamp_min(1e-30)).clamp_max(1), move)
    return replace(state, w=state.w + move, moments=moments, age=state.age + 1)


@dataclass(frozen=True)
class Doubling:
    """When a value of c is given up: after `steps`, or (abort_early) when a tenth of them brought nothing."""

    steps: int
    abort_early: bool
    largest: float

    def after(self, state: Climbing, loss: Tensor) -> tuple[Climbing, Tensor]:
        """c doubled where it was given up. Returns the rows that ran out of c as well."""
        given_up = state.age >= self.steps
        checked = state.checked
        if self.abort_early:
            due = state.age % max(self.steps // 10, 1) == 0
            given_up = given_up | (due & (loss > 0.9999 * checked))
            checked = torch.where(due, loss, checked)
        c = torch.where(given_up, 2 * state.c, state.c)
        age = state.age.where(~given_up, 0)
        checked = checked.where(~given_up, torch.inf)
        return replace(state, c=c, age=age, checked=checked), given_up & (c > self.largest)
