"""Labels by measurement: is the robust accuracy that a usual attack finds far above what full knowledge finds?

naive is the robust accuracy under PGD-20 on the model as it is, best the worst case of every example over the attacks
we own with full knowledge. Masked means a gap of 0.10 (a collapsed network: FGSM 0.30 above the best).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

import sparring as sp
from benchmarks.labelled.entry import Entry
from sparring.attacks import Attack
from sparring.errors import NoGradient
from sparring.evaluation.plans import quick
from sparring.gradients import FiniteDifferences, Smoothed
from sparring.model import mean_logits

DRAWS = 64
GAP, COLLAPSE = 0.10, 0.30
NAIVE, SINGLE = sp.PGD(steps=20), sp.FGSM()
DEEP = sp.PGD(steps=100, objective="margin", n_targets=3)
LIGHT = (sp.PGD(steps=20), sp.PGD(steps=40, objective="margin", n_targets=2))  # where a look takes many passes
BLIND = sp.Square(queries=1000)


def labelled(entry: Entry, seed: int) -> dict[str, Any]:
    """The measured row of one entry and seed."""
    start = time.process_time()
    net = entry.make(seed)
    trained = time.process_time() - start
    x, y = entry.data()
    right = judged(net, x, y)
    naive = right & _stands(net, net, NAIVE, x, y, entry, seed)
    single = right & _stands(net, net, SINGLE, x, y, entry, seed)
    best, by = naive & single, dict[str, int]()
    for name, view, attack in looks(net, entry):
        at = best.nonzero().squeeze(1)
        if not len(at):
            break
        best[at] = _stands(net, view, attack, x[at], y[at], entry, seed, at)
        by[name] = len(at) - int(best.sum())
    shares = {"clean": right, "naive": naive, "single": single, "best": best}
    row: dict[str, Any] = {name: round(float(rows.double().mean()), 4) for name, rows in shares.items()}
    gap = row["single"] - row["best"] if entry.collapsed else row["naive"] - row["best"]
    masked = round(gap, 4) >= (COLLAPSE if entry.collapsed else GAP)
    row |= {"label": "masked" if masked else "honest", "expected": entry.expected, "gap": round(gap, 4)}
    return row | {"by": by, "training": round(trained, 1), "seconds": round(time.process_time() - start, 1)}


def looks(net: nn.Module, entry: Entry) -> Iterator[tuple[str, nn.Module, Attack]]:
    """Every attack on every view, the cheap ones first."""
    norm = entry.threat.name
    views = list(entry.knows(net))
    costly = entry.slow or any(_passes(view) > 1 for view in (net, *views))
    every: Sequence[Attack] = LIGHT if costly else [*(rung.attack for rung in quick.rungs(norm)), DEEP]
    for number, view in reversed(list(enumerate(views, start=1))):
        for attack in every:
            yield f"knowing {number}: {attack!r}", view, attack
    for attack in (sp.APGD(),) if views else every:  # who knows more has little to find without
        yield f"as it is: {attack!r}", net, attack
    if norm in BLIND.norms:
        yield f"as it is: {BLIND!r}", net, BLIND


def _passes(view: nn.Module) -> int:
    """About how often a look runs the network."""
    if not isinstance(view, sp.Model):
        return 1
    how = view.gradients
    return view.eot * (how.samples if isinstance(how, Smoothed | FiniteDifferences) else 1)


def judged(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """(N,) bool: right; of a randomised network by the mean probability over fresh draws."""
    model = sp.Model.of(net)
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(20_000)
        with model.quiet():
            draws = [model.once(x), model.once(x)]
            if not torch.equal(*draws):
                draws += [model.once(x) for _ in range(DRAWS - 2)]
            if _shares(draws[0]):
                said = torch.stack(draws).mean(0)
            else:
                said = draws[0] if torch.equal(draws[0], draws[1]) else mean_logits(draws)
    return said.argmax(1) == y


def _shares(output: Tensor) -> bool:
    """Probabilities are averaged as they are."""
    return bool((output >= 0).all()) and bool(((output.sum(1) - 1).abs() < 1e-4).all())


def _stands(
    net: nn.Module,
    view: nn.Module,
    attack: Attack,
    x: Tensor,
    y: Tensor,
    entry: Entry,
    seed: int,
    index: Tensor | None = None,
) -> Tensor:
    """(N,) bool: right still at what the attack on a view found, judged by the model as it is."""
    try:
        found = attack(view, x, y, entry.threat, seed=1000 + seed, index=index)
    except NoGradient:
        return torch.ones(len(x), dtype=torch.bool)
    return judged(net, found.x, y)
