"""`a3`: A³ (Ye et al. 2022, "Practical evaluation of adversarial robustness via adaptive auto attack")."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf

from torch import Tensor

from sparring.attacks.cosine_pgd import CosinePGD
from sparring.evaluation.rung import Rung
from sparring.objectives import margin
from sparring.problem import Goal

CLASSES = 4  # runner-up classes that starts lean towards in turn

# From the third round on: steps, runs, and what the closest look may have missed by, in the units of `Nearness`. The
# limits stand for A³'s shares of the survivors: 1, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.1, 0.065, 0.03.
LATER = (
    (8, 1, inf),
    (25, 1, 4.4),
    (30, 1, 3.3),
    (30, 1, 2.5),
    (35, 1, 2.0),
    (40, 1, 1.4),
    (45, 1, 0.8),
    (50, 1, 0.4),
    (50, CLASSES, 0.4),
    (55, CLASSES, 0.2),
    (60, 12 * CLASSES, 0.09),
)


@dataclass(frozen=True)
class AnyClass:
    """The margin of whichever wrong class is closest, whatever class the start leans towards."""

    def __call__(self, logits: Tensor, goal: Goal) -> Tensor:
        return margin(logits, replace(goal, aim=None))


def rungs(norm: str) -> tuple[Rung, ...]:
    """Thirteen rounds of cosine steps on the margin, from the radius to a thousandth; most survivors leave in between.

    All but the first begin with seven steps along a direction of the logits, which from the third round on leans
    towards one runner-up class after another: those that there are, so that with fewer than five classes some rounds
    are empty. Where A³ looks at the whole test set, this plan may not, for nothing done to one example depends on
    another. A³ discards the survivors whose best margin ranks low, a share of them; here a row leaves by a limit on its
    own best margin, the median of what those shares came to on four small networks in six settings, 150 to 400 images
    each. They differed up to thirteenfold between settings, so a share is met on no one network. A³ estimates the signs
    of the directions from what has fallen, and takes everybody where few are left; here directions are frozen at its
    first choice (0.8 for the class, -0.5 to 0.1 for the label). The last round has 48 runs, A³'s 50.
    """
    first = CosinePGD(8, scatter=0, objective=AnyClass(), high=1.0, low=0.1, momentum=1.0)
    scattered = replace(first, scatter=7)
    return (
        Rung("round 1", first),
        Rung("round 2", scattered),
        *(
            Rung(f"round {number}", _leaning(scattered, number, steps, runs), within=limit)
            for number, (steps, runs, limit) in enumerate(LATER, start=3)
        ),
    )


def _leaning(base: CosinePGD, number: int, steps: int, runs: int) -> CosinePGD:
    """One run leans towards the class whose turn it is, several towards all in turn."""
    low = 0.1 if steps <= 10 else 0.001
    if runs == 1:
        return replace(base, steps=steps, low=low, n_targets=1, after=(number - 3) % CLASSES)
    return replace(base, steps=steps, low=low, n_targets=CLASSES, restarts=runs // CLASSES)
