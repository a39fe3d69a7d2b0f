"""One search for all radii of a curve: each row looks for the smallest radius at which it falls.

What was found at a distance counts at every larger radius, and who withstands a radius counts as withstanding all
smaller ones: so a curve falls with the radius by construction.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, replace

import torch
from torch import Tensor

from sparring.attacks.fab import FAB
from sparring.errors import InputError, NoGradient
from sparring.evaluation.block import BLIND, CLEAN, ROBUST, UNTAKEN, Block, climb
from sparring.evaluation.curve import Traced
from sparring.evaluation.rung import Rung
from sparring.model import Model
from sparring.problem import Problem, Threat
from sparring.rows import column

NEAREST = Rung("nearest", FAB(steps=5, n_targets=1))


def searched(rungs: Sequence[Rung], threat: Threat) -> tuple[Rung, ...]:
    """The rungs, after a search for the nearest example where it has a form for the threat, and they ask for gradients.

    Raises:
        InputError: a rung has the name of the search.
    """
    if any(rung.name == NEAREST.name for rung in rungs):
        raise InputError(f"plan has a rung named {NEAREST.name!r}, as has the search that eps adds; rename yours")
    useful = getattr(threat, "name", "") in NEAREST.attack.norms and any(rung.attack.gradients for rung in rungs)
    return (NEAREST, *rungs) if useful else tuple(rungs)


def trace(
    model: Model,
    problem: Problem,
    rungs: Sequence[Rung],
    grid: Sequence[float],
    told: Callable[[str, int], None],
    fast: Model | None = None,
    batch_size: int | None = None,
    view: Model | None = None,
    roughness: float = 0.0,
) -> Traced:
    """Find the smallest radius of `grid`, which increases, at which each row falls; `told` and the rest as for `climb`.

    NEAREST, where it is the first of the `rungs`, says from which radius on a row falls for certain. The row then takes
    the others at the largest radius below that, at the next one where it falls again, and so on until it withstands:
    so it pays once for withstanding, which is dear, and else for falling, which is cheap. (Bisection would pay for
    withstanding several times.) Rows at different radii share their batches.
    """
    first = int(rungs[0] is NEAREST)
    lowest = int(grid[0] == 0)  # at radius 0 falls only what is wrong from the start
    levels = problem.region.radius.new_tensor(grid)
    falls = torch.full_like(problem.slot, len(grid))

    def climbed(rows: Problem, start: int, end: int) -> Block:
        """What the rungs from `start` to `end` did."""
        broken = int((falls < len(grid)).sum())
        block = climb(
            model, rows, rungs[start:end], lambda rung, _: told(rung, broken), fast, batch_size, view, roughness
        )
        return _placed(block, start, len(rungs))

    def place(rows: Problem, block: Block) -> Tensor:
        """(M,) where in the grid the smallest radius is at which `rows` fall to what the block found."""
        x, broken_by = block.x.to(rows.x.device), block.broken_by.to(rows.x.device)
        inside = [rows.region.resized(level.expand(len(x))).contains(x) for level in levels[lowest:]]
        found = len(grid) - torch.stack(inside).sum(0)
        return found.where(broken_by > CLEAN, len(grid)).where(broken_by != CLEAN, 0)

    # Without a radius nobody is checked for how they withstand it.
    everywhere = replace(problem, region=problem.region.unbounded(), seek="nearest")
    try:
        block = climbed(everywhere, 0, first)
    except NoGradient:  # what can do without gradients may go on
        block = climbed(everywhere, 0, 0)
        block = replace(block, taken=block.taken.index_fill(1, torch.tensor([1]), BLIND))
    falls = place(problem, block)
    block = _without(block, (falls == len(grid)).cpu(), problem.x.cpu())  # what lies beyond the grid was not found
    at = (falls > lowest).nonzero().squeeze(1)
    while len(at):
        rows = problem.take(at)
        rows = replace(rows, region=rows.region.resized(levels[falls[at] - 1]))
        tried = climbed(rows, first, len(rungs))
        block = block.put(at.cpu(), _added(block.take(at.cpu()), tried))
        before, now = falls[at], place(rows, tried)
        falls = falls.index_copy(0, at, torch.minimum(before, now))
        at = at[(now < before) & (now > lowest)]
    return Traced(**{field.name: getattr(block, field.name) for field in fields(Block)}, falls=falls.cpu())


def _placed(block: Block, start: int, rungs: int) -> Block:
    """A block of some rungs, the first of them `start`, as one of all of them."""
    taken = block.forwards.shape[1] - 2
    places = torch.tensor([0, *range(1 + start, 1 + start + taken), 1 + rungs])

    def spread(columns: Tensor, empty: float = 0) -> Tensor:
        return columns.new_full((len(columns), 2 + rungs), empty).index_copy(1, places, columns)

    return replace(
        block,
        broken_by=block.broken_by + start * (block.broken_by > CLEAN),
        forwards=spread(block.forwards),
        backwards=spread(block.backwards),
        zero_gradients=spread(block.zero_gradients),
        seconds=spread(block.seconds),
        missed=spread(block.missed, torch.nan),
        taken=spread(block.taken),
    )


def _without(block: Block, lost: Tensor, x: Tensor) -> Block:
    """The block, but that the rows `lost` (N,) were not broken; x (N, …) are the inputs."""
    return replace(
        block,
        x=torch.where(column(lost, x), x, block.x),
        broken_by=block.broken_by.where(~lost, ROBUST),
        distance=block.distance.where(~lost, 0),
    )


def _added(before: Block, now: Block) -> Block:
    """The same rows at a smaller radius: what falls there has its example there, passes add up.

    A row stays with the rung that broke it at the largest radius.
    """
    fell, stands = now.broken_by > CLEAN, now.broken_by == ROBUST
    return replace(
        before,
        x=torch.where(column(fell, now.x), now.x, before.x),
        broken_by=before.broken_by.where(~fell | (before.broken_by != ROBUST), now.broken_by),
        distance=now.distance.where(fell, before.distance),
        forwards=before.forwards + now.forwards,
        backwards=before.backwards + now.backwards,
        zero_gradients=before.zero_gradients + now.zero_gradients,
        seconds=before.seconds + now.seconds,
        probabilities=before.probabilities | now.probabilities,
        evidence=now.evidence.where(stands[:, None], before.evidence),
        missed=now.missed.where(now.missed.isfinite(), before.missed),
        taken=torch.where(now.taken != UNTAKEN, now.taken, before.taken),
    )
