"""What plain PGD left standing, tried by everything else: B1 to B9, G3. Each attack gets only what still stands.

A number may be believed when nothing of another kind lowers it by much. The statistic of a trial is the share of the
examples that it broke after those before it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from sparring.attacks.attack import Attack
from sparring.attacks.fgsm import FGSM
from sparring.attacks.hop_skip_jump import HopSkipJump
from sparring.attacks.pgd import PGD
from sparring.attacks.square import Square
from sparring.auditing.finding import NEXT, Finding
from sparring.auditing.layers import Guilty
from sparring.auditing.slopes import Slopes, cosine
from sparring.auditing.subject import NAIVE, SAMPLE, Subject
from sparring.auditing.verdict import HANDFUL
from sparring.errors import NoGradient
from sparring.gradients import FiniteDifferences, Smoothed, Transfer
from sparring.model import Model
from sparring.objectives import cross_entropy, margin
from sparring.oracle import Oracle
from sparring.problem import Goal, Outcome, Problem
from sparring.solve import judged
from sparring.substitution import Estimated

EOT = 8  # draws a gradient on a randomised model
QUERIES = 300


@dataclass(frozen=True)
class RandomPoints(Attack):
    """Random points of the ball, and no gradient at all."""

    tries: int = 64

    def run(self, problem: Problem, oracle: Oracle) -> Outcome:
        best = Outcome.none(problem)
        for step in range(self.tries):
            x = problem.region.sample(problem.draws, problem.index, step)
            best = best.better(judged(problem, best, x, oracle.look(problem, x, margin)), "any")
        return best


@dataclass(frozen=True)
class Scaled:
    """Cross-entropy of logits divided by their usual margin, which saturates no softmax."""

    size: float

    def __call__(self, logits: Tensor, goal: Goal) -> Tensor:
        return cross_entropy(logits / self.size, goal)


@dataclass(frozen=True)
class Trial:
    """An attack of the battery, the model as it sees it, and the share above which it is flagged."""

    name: str
    attack: Attack
    threshold: float
    meaning: str
    view: Model | None = None
    costly: bool = False  # not run where masking is proven already

    def __str__(self) -> str:
        told = "" if self.view is None else self.view.attacked_with()
        return f"{self.attack!r}" + (f" on sp.Model(net, {told})" if told else "")


def run(subject: Subject, trial: Trial) -> Finding:
    """The trial on what still stands."""
    before = subject.standing
    fell = subject.fall(trial.name, trial.attack, before, trial.view)
    subject.standing = before & ~fell
    share = subject.share(fell)
    return Finding(
        trial.name,
        share,
        trial.threshold,
        share > trial.threshold and enough(int(fell.sum()), len(subject)),
        "reliable",  # a trial's weight is in the total that all of them broke
        f"{trial.meaning} broke {share:.1%} of the examples, after those before it",
        str(trial),
    )


def enough(broken: int, examples: int) -> bool:
    """More than chance and rounding: McNemar's exact test, p < 0.01, and over 2 points."""
    return broken >= HANDFUL and broken > 0.02 * examples


def trials(subject: Subject, slopes: Slopes, layers: list[Guilty], surrogate: nn.Module | None) -> Iterator[Trial]:
    """The battery, the cheap and likely first; what follows gradients is left out where there are none."""
    seen, near = averaged(subject), entry(subject)
    deep = PGD(steps=20, objective="margin")
    wide = replace(deep, n_targets=3)
    bpda = {layer.name: layer.stand_in for layer in layers if layer.name}
    if subject.random and not slopes.flat:
        attack = wide if subject.model.eot > 1 else replace(deep, steps=30)  # whoever averages already can afford more
        yield Trial("G5 averaged", attack, 0.02, f"the mean gradient of {seen.eot} draws", view=seen)
    if bpda:
        what = "a smooth stand-in for " + ", ".join(map(repr, bpda))
        # An estimated slope runs its layer dozens of times a step; a known one costs nothing.
        attack = deep if "estimate" in bpda.values() else replace(wide, steps=40)
        yield Trial("B8 stand-in", attack, 0.03, what, view=seen.seen_by(bpda={**seen.bpda, **bpda}))
    if surrogate is not None:
        view = seen.seen_by(gradients=Transfer(surrogate))
        yield Trial("B2 transfer", wide, 0.02, "another network's gradient", view=view)
    if not slopes.flat and not subject.random:
        usual = replace(NAIVE, objective=Scaled(spread(subject)))
        yield Trial("B1 single step", FGSM(), 0.02, "a single step")
        yield Trial("G3 scale", usual, 0.02, "PGD on logits of a moderate scale")
        yield Trial("B6 loss", wide, 0.05, "the same steps on the margin, towards three classes,")
        yield Trial("B5 convergence", replace(deep, steps=80), 0.02, "four times the steps")
        smooth = seen.seen_by(gradients=Smoothed(samples=6, radius=near))
        yield Trial("B7 smoothing", deep, 0.03, "the mean gradient of nearby points", view=smooth, costly=True)
    norm = type(subject.problem.region).__name__
    if not subject.random:
        yield Trial("B4 random points", RandomPoints(), 0.02, "random points of the ball", costly=True)
        if norm != "L0Ball":
            square = Square(queries=QUERIES)
            yield Trial("B2 black box", square, 0.02, f"{QUERIES} queries of Square, without gradients,", costly=True)
    if slopes.misleading and not bpda:
        guess = seen.seen_by(gradients=FiniteDifferences(samples=24, radius=near))
        yield Trial("B7 differences", deep, 0.03, "a slope estimated from differences", view=guess, costly=True)
        if norm in ("LinfBall", "L2Ball") and not subject.random:
            hop = HopSkipJump(steps=6, initial_evaluations=32, max_evaluations=64)
            yield Trial("B2 decisions", hop, 0.02, "HopSkipJump, which sees labels alone,", costly=True)


def extended(trial: Trial) -> Trial | None:
    """The same for longer, on what even the battery left standing; None where a longer run would cost too much."""
    attack = trial.attack
    if trial.view is not None and trial.view.eot > 1:
        return None
    if isinstance(attack, PGD):
        view = trial.view
        estimated = view is not None and (
            view.gradients or any(isinstance(one, Estimated) for one in view.bpda.values())
        )
        cheap = view is None or (view.eot == 1 and not estimated)
        attack = replace(attack, steps=100 if cheap else 40, objective="margin", n_targets=3 if cheap else 0)
    elif isinstance(attack, Square):
        attack = replace(attack, queries=2 * QUERIES)
    return replace(trial, name="adaptive attack", attack=attack, meaning="the recommended attack")


def averaged(subject: Subject) -> Model:
    """The model as the attacks see it: over several draws where it is random."""
    return subject.model.seen_by(eot=max(EOT, subject.model.eot)) if subject.random else subject.model


def spread(subject: Subject) -> float:
    """The median margin between the label's logit and the next."""
    rows = subject.sample
    return max(float(-margin(subject.logits("spread", rows, rows.x), rows.goal).median()), 1e-12)


def entry(subject: Subject) -> float:
    """How far an entry of an example moves at a random point of its ball, as a share of the input range."""
    few = subject.sample
    low, high = subject.model.bounds
    moved = few.region.sample(few.draws.at("entry"), few.index, 0) - few.x
    return max(float(moved.square().mean().sqrt()) / (high - low), 1e-4)


def extremes(subject: Subject) -> Finding:
    """B3: with the whole input range to move in nothing withstands a working attack."""
    few = torch.zeros_like(subject.standing)
    few[subject.naive.nonzero().squeeze(1)[: SAMPLE // 2]] = True
    fell = subject.fall("extremes", NAIVE, few, averaged(subject), everywhere=True)
    left = 1 - float(fell.sum()) / max(1, int(few.sum()))
    meaning = f"with the whole range to move in {left:.1%} of those standing still stand"
    return Finding("B3 extremes", left, 0.05, left > 0.05, "suspect", meaning, NEXT)


def single_step(subject: Subject, fgsm: Tensor) -> Finding:
    """B9: one step fools few where many fool most, and the gradient turns in the ball: catastrophic overfitting."""
    gap = subject.share(~fgsm) - subject.share(subject.naive)
    rows = subject.sample
    away = replace(rows, x=rows.region.sample(rows.draws.at("away"), rows.index, 0))
    here = subject.gradient("here", rows, cross_entropy).gradient
    try:
        there = subject.gradient("there", away, cross_entropy).gradient
    except NoGradient as error:
        return Finding("B9 overfitting", None, 0.3, True, "suspect", f"in the ball gradients cannot be used: {error}")
    alike = float(cosine(here, there).median())
    flagged = gap > 0.3 and alike < 0.75
    meaning = (
        f"a single step leaves {gap:.1%} more standing than many; the gradient's cosine across the ball is {alike:.2f}"
    )
    return Finding("B9 overfitting", gap, 0.3, flagged, "suspect", meaning, "PGD, never FGSM alone")
