"""`sp.audit`: may the robust accuracy that gradient attacks measure on a model be believed?"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from sparring.attacks.attack import check_recording
from sparring.attacks.fgsm import FGSM
from sparring.auditing.battery import Trial, extended, extremes, run, single_step, trials
from sparring.auditing.binarization import binarization
from sparring.auditing.certificate import certificate
from sparring.auditing.finding import Audit, Finding
from sparring.auditing.layers import accused, guilty
from sparring.auditing.slopes import Slopes, differ, graph, slopes
from sparring.auditing.subject import NAIVE, Subject, eager
from sparring.auditing.verdict import GAP, NEGLIGIBLE, concluded
from sparring.clock import since
from sparring.data import load
from sparring.draws import isolated
from sparring.errors import InputError
from sparring.model import Model, Network
from sparring.problem import Problem, Threat, pose
from sparring.statistics import clopper_pearson


def audit(
    model: Network,
    data: object,
    threat: Threat,
    *,
    examples: int = 200,
    seed: int = 0,
    batch_size: int | None = None,
    surrogate: nn.Module | None = None,
    progress: Callable[[str], None] | None = None,
) -> Audit:
    """Check for gradient masking, run the attack that the findings call for, and say what may be believed.

    Args:
        model: a network on inputs in [0, 1], or an sp.Model.
        data: (x, y), a DataLoader, a Dataset, or a name or path as on the command line.
        threat: what may move, with a radius.
        examples: audited at most, the first of `data`.
        surrogate: another network whose gradients to transfer, such as the one before a defense was added.
        progress: called with the name of each check before it runs.

    Raises:
        InputError: the data or the threat cannot be used.
        ModelError: the network's logits cannot be used. (Gradients that cannot are a finding.)
    """
    begun = time.perf_counter()
    check_recording()
    wrapped = eager(Model.of(model))
    NAIVE.check(threat)
    if examples < 1:
        raise InputError(f"examples is {examples}; give at least 1")
    if batch_size is not None and batch_size < 1:
        raise InputError(f"batch_size is {batch_size}; give at least 1, or None for what fits")
    if not all(map(math.isfinite, wrapped.bounds)):
        raise InputError(
            f"bounds are {wrapped.bounds}; an audit needs a finite range: sp.Model(net, bounds=(low, high))"
        )
    each = any(isinstance(getattr(threat, name, None), Tensor) for name in ("radius", "mask"))  # of all examples
    given = load(data, limit=None if each else examples)
    problem = pose(given.x, given.y, threat, wrapped.bounds, seed=seed).take(torch.arange(min(examples, len(given.x))))
    problem = problem.to(wrapped.device or torch.device("cpu"))
    with wrapped.quiet(), isolated(seed, problem.x.device):
        subject = opened(wrapped, problem, batch_size)
        findings = tuple(checked(subject, surrogate, progress or (lambda name: None))) if len(subject) else ()
    naive, adaptive = int(subject.naive.sum()), int(subject.standing.sum())
    verdict, reasons = concluded(findings, naive, adaptive, len(subject), len(problem.x))
    correct = max(1, len(subject))
    return Audit(
        verdict,
        reasons,
        findings,
        examples=len(problem.x),
        correct=len(subject),
        naive=naive / correct,
        naive_interval=interval(naive, len(subject)),
        adaptive=adaptive / correct,
        adaptive_interval=interval(adaptive, len(subject)),
        recommended=subject.recommended,
        forwards=subject.forwards,
        backwards=subject.backwards,
        seconds=since(begun),
    )


def interval(standing: int, correct: int) -> tuple[float, float]:
    """Of none nothing is known."""
    return clopper_pearson(standing, correct) if correct else (0.0, 1.0)


def opened(model: Model, problem: Problem, batch_size: int | None) -> Subject:
    """The examples that the model gets right; two looks at each tell whether it is random."""
    every = Subject(model, problem, batch_size)
    first, second = (every.logits(f"look {number}", problem, problem.x) for number in (1, 2))
    every.random = bool(differ(first, second).any())
    if every.random:
        first = every.logits("look", problem, problem.x, every.judge)
    kept = problem.take(~problem.goal.reached(first))
    return Subject(model, kept, batch_size, every.random, every.forwards, every.backwards)


def checked(subject: Subject, surrogate: nn.Module | None, tell: Callable[[str], None]) -> Iterator[Finding]:
    """Every finding, in the order in which the checks run."""
    tell("single gradients")
    slope = slopes(subject)
    yield from slope.findings
    everyone = torch.ones_like(subject.standing)
    if slope.usable:
        tell("plain PGD")
        subject.naive = subject.standing = ~subject.fall("naive", NAIVE, everyone, None)
        yield single_step(subject, subject.fall("FGSM", FGSM(), everyone))
    if subject.share(subject.standing) > NEGLIGIBLE:
        yield from _searched(subject, slope, surrogate, tell)
    if slope.usable and subject.refused:
        yield graph(f"an attack came to a stop: {subject.refused}")
    if (proof := certificate(subject, ~subject.standing)) is not None:
        yield proof


def _searched(
    subject: Subject, slope: Slopes, surrogate: nn.Module | None, tell: Callable[[str], None]
) -> Iterator[Finding]:
    """The battery on what plain PGD left standing, and the strongest of it once more, longer."""
    tell("layers")
    layers = guilty(subject)
    if layers:
        yield accused(layers)
    if slope.usable:
        if not subject.problem.region.masked:
            tell("the whole input range")
            yield extremes(subject)
        tell("planted examples")
        yield binarization(subject)
    strongest: tuple[float, bool, Trial] | None = None
    for trial in trials(subject, slope, layers, surrogate):
        if not bool(subject.standing.any()) or (trial.costly and gap(subject) > 2 * GAP):
            continue
        tell(trial.name)
        finding = run(subject, trial)
        yield finding
        if strongest is None or (finding.statistic or 0) > strongest[0]:
            strongest = finding.statistic or 0, finding.flagged, trial
    # A gap that is there but proves nothing yet is looked at once more, by what found most of it.
    if strongest is not None and (strongest[1] or gap(subject) > GAP / 2):
        tell("the recommended attack")
        longer = extended(strongest[2])
        subject.recommended = str(longer or strongest[2])
        if longer is not None:
            yield run(subject, longer)


def gap(subject: Subject) -> float:
    """The share of the examples that plain PGD left standing and something else broke."""
    return subject.share(subject.naive) - subject.share(subject.standing)
