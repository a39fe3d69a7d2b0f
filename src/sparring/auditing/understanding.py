"""What a few examples tell of a network before it is attacked: is it random, does its gradient lead anywhere, and do
gradients lead to the same place twice?

Once a run, on the first few examples, with every pass counted. The answer is plain data, so that whoever resumes or
shares the run attacks the same way. Views change where an attack looks for adversarial examples, not what counts as
one.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

import torch
from torch import Tensor, nn

from sparring.auditing.battery import EOT
from sparring.auditing.roughness import roughness
from sparring.auditing.slopes import DEAD, differ, largest
from sparring.auditing.standins import climbed, suggested
from sparring.auditing.subject import Subject
from sparring.auditing.views import View
from sparring.clock import since
from sparring.draws import isolated
from sparring.errors import InputError, NoGradient
from sparring.model import Model
from sparring.objectives import margin, probability_margin
from sparring.problem import Problem

LOOKED, KEPT = 32, 24  # examples looked at, and how many of those that are right are climbed from
NUMBERS = 2**19  # in all the inputs of a look, so that what every layer keeps of large images fits
JUDGED = 32  # draws of a random network that say whether an example fell
FARTHER = 0.1  # of the way from the clean margin to an error: by less two climbs do not differ
WON, SHARE = 3, 0.25  # rows that a view must win at least, and of all, beyond twice those that it loses
ADDED = 0.04  # of the way, on average, that a further view must add to those before it


@dataclass(frozen=True)
class Trial:
    """How far a climb came, as a share of the way to an error, on average; rows on which it came farther than the
    network's own gradient, and less far."""

    way: float
    won: int = 0
    lost: int = 0


@dataclass(frozen=True)
class Understanding:
    """random: two looks at one input differ, or the network says so. eot: draws a look of an attack should take.

    gradient: whether there is an input gradient, and it is finite and not zero everywhere.
    roughness: how much is missed by gradients from one start, see `auditing.roughness`; 0 where nobody asked.
    views: ways to follow another gradient, each of which led farther than what is without it, the best first.
    trials: by name, "own" for the network's own gradient, what each of those tried came to; why `views` are what they
    are. examples: how many were climbed from. forwards, backwards: passes spent, of single examples; seconds: time.
    """

    random: bool
    eot: int
    gradient: bool
    roughness: float = 0.0
    views: tuple[View, ...] = ()
    trials: Mapping[str, Trial] = field(default_factory=dict)
    examples: int = 0
    forwards: int = 0
    backwards: int = 0
    seconds: float = field(default=0.0, compare=False)

    def judged(self, model: Model) -> Model:
        """The network that says who fell: of a random one the mean over many draws, for an attack of many looks finds
        the few draws that err."""
        return model.seen_by(eot=max(JUDGED, model.eot)) if self.random else model

    def searched(self, model: Model) -> Model:
        """The network as attacks look at it: over enough draws to follow, by its own gradient."""
        return model.seen_by(eot=self.eot) if self.eot > model.eot else model

    def seen(self, model: Model) -> tuple[Model, ...]:
        """The same through each of `views`.

        Raises:
            InputError: they are views of another network.
        """
        return tuple(view.of(self.searched(model)) for view in self.views)

    def records(self) -> dict[str, Any]:
        """Plain data, of which `read` makes the same again."""
        trials = {name: asdict(trial) for name, trial in self.trials.items()}
        told = {name: value for name, value in vars(self).items() if name not in ("views", "trials")}
        return {**told, "views": [view.records() for view in self.views], "trials": trials}

    @classmethod
    def read(cls, records: Mapping[str, Any]) -> Self:
        """What `records` wrote.

        Raises:
            InputError: something is missing, unknown, or cannot be.
        """
        try:
            views = tuple(View.read(one) for one in records["views"])
            trials = {name: Trial(**one) for name, one in records["trials"].items()}
            return cls(**{**records, "views": views, "trials": trials})
        except (KeyError, TypeError) as error:
            raise InputError(f"what a run knows of its network cannot be read ({error}); begin a new folder") from error


def understood(model: Model, problem: Problem, batch_size: int | None = None) -> Understanding:
    """Look at `model` on the first few rows of `problem`, a function of these and the problem's seed.

    Layers are watched by hooks that are gone when it returns; networks that must not be watched so (callables,
    scripted and compiled ones) and those whose gradients the caller has replaced are only asked whether they are
    random, as they are where the threat has no radius.

    Raises:
        ModelError: the network's logits cannot be used. (Gradients that cannot are part of the answer.)
    """
    clock = time.perf_counter()
    few = max(1, min(LOOKED, NUMBERS // max(1, problem.x[:1].numel())))
    rows = problem.take(torch.arange(min(few, len(problem.x)), device=problem.x.device))
    rows = replace(rows, draws=rows.draws.at("understanding"))
    once = model.seen_by(eot=1)
    with once.quiet(), isolated(problem.draws.seed, rows.x.device):
        every = Subject(once, rows, batch_size)
        first, second = (every.logits(f"look {number}", rows, rows.x) for number in (1, 2))
        random = bool(differ(first, second).any()) or _says_random(model.net)
        eot = max(EOT, model.eot) if random else model.eot
        if random:
            first = every.logits("look", rows, rows.x, model.seen_by(eot=eot))
        kept = rows.take((~rows.goal.reached(first)).nonzero().squeeze(1)[: KEPT // 2 if random else KEPT])
        subject = Subject(once, kept, batch_size, random, every.forwards, every.backwards)
        own = _Own.of(subject)
        views: tuple[View, ...] = ()
        trials: dict[str, Trial] = {}
        rough = 0.0
        if len(subject) and bool(kept.region.radius.isfinite().all()):
            if _watchable(model):
                views, trials = _chosen(subject, own, first.shape[1])
            if model.gradients is None and not random:  # estimates would cost too much, and noise is no roughness
                rough = roughness(subject, views[0].of(once) if views else once)
    spent = (len(subject), subject.forwards, subject.backwards, round(since(clock), 3))
    return Understanding(random, eot, own.gradient, rough, views, trials, *spent)


@dataclass(frozen=True)
class _Own:
    """The network's own gradient at the examples. gradient: there is one. saturated: the margin's, where the softmax
    leaves none to the objective of a round."""

    gradient: bool
    saturated: bool

    @classmethod
    def of(cls, subject: Subject) -> _Own:
        rows = subject.problem
        if not len(rows.x):
            return cls(True, False)
        try:
            steep = largest(subject.gradient("gradient", rows, margin).gradient) > 0
            soft = largest(subject.gradient("gradient", rows, probability_margin).gradient) > 0
        except NoGradient:
            return cls(False, False)
        return cls(bool(steep.any()), float((steep & ~soft).double().mean()) > DEAD)


def _chosen(subject: Subject, own: _Own, classes: int) -> tuple[tuple[View, ...], dict[str, Trial]]:
    """The views that lead farther than what is without them, and what each of those tried came to."""
    usual = climbed(subject, None)
    left = [(view, climbed(subject, view)) for view in suggested(subject, classes, own.saturated)]
    trials = {"own": Trial(_mean(usual))}
    trials |= {view.name: Trial(_mean(way), *_score(way, usual)) for view, way in left}
    chosen: list[View] = []
    best = usual
    while left:
        view, way = left.pop(max(range(len(left)), key=lambda at: _mean(best.maximum(left[at][1]))))
        won, lost = _score(way, best)
        if chosen:
            leads = won >= WON and _mean(best.maximum(way) - best) >= ADDED
        else:
            leads = won >= 2 * lost + max(WON, SHARE * len(way))
        if not leads:
            break
        chosen.append(view)
        best = best.maximum(way)
    return tuple(chosen), trials


def _score(way: Tensor, other: Tensor) -> tuple[int, int]:
    """Rows on which a climb came clearly farther than another, and less far."""
    return int((way > other + FARTHER).sum()), int((way < other - FARTHER).sum())


def _mean(way: Tensor) -> float:
    return round(float(way.mean()), 4)


def _says_random(net: Any) -> bool:
    return isinstance(net, nn.Module) and any(getattr(module, "random", False) is True for module in net.modules())


def _watchable(model: Model) -> bool:
    """Whether hooks on the layers hear of every pass, and the gradient followed is the network's own."""
    if not isinstance(model.net, nn.Module) or model.gradients is not None:
        return False
    return not any(isinstance(one, torch.jit.ScriptModule) or hasattr(one, "_orig_mod") for one in model.net.modules())
