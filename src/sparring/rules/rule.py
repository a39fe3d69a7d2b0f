"""What a rule is."""

from __future__ import annotations

from typing import Protocol, TypeVar

from torch import Tensor

from sparring.problem import Problem, Seen
from sparring.rows import Rows

Memory = TypeVar("Memory", bound=Rows)


class Rule(Protocol[Memory]):
    """A frozen value; whatever it remembers of a row travels in that row's memory."""

    def start(self, problem: Problem, x: Tensor) -> Memory:
        """The memory before the first move from x."""
        ...

    def move(self, problem: Problem, memory: Memory, x: Tensor, seen: Seen) -> tuple[Tensor, Memory]:
        """The next point, inside the region, and the memory to go with it."""
        ...


def stride(problem: Problem, size: float | None, share: float) -> Tensor:
    """(N,) the step length: `size` in the threat's units, or `share` of the ball's reach."""
    reach = problem.region.reach
    return reach.new_full(reach.shape, size) if size is not None else share * reach
