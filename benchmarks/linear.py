"""Claim: on linear models, whose nearest adversary is known exactly, the attacks find it (and never less)."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

import sparring as sp
from benchmarks.figures import sentence_of
from benchmarks.measure import seconds, settings, spent, table

NORMS = {"linf": sp.Linf, "l2": sp.L2, "l1": sp.L1}
DUAL = {"linf": 1.0, "l2": 2.0, "l1": math.inf}


@dataclass(frozen=True)
class Line:
    """A linear classifier, examples (labelled as it says), and where their boundaries are, in float64."""

    net: nn.Linear
    x: Tensor
    y: Tensor
    bounds: tuple[float, float]

    @classmethod
    def make(cls, classes: int, features: int, examples: int, boxed: bool, seed: int = 0) -> Line:
        """Gaussian weights; x uniform in [0, 1], or Gaussian where no box is in the way."""
        draw = torch.Generator().manual_seed(seed)
        net = nn.Linear(features, classes)
        with torch.no_grad():
            net.weight.copy_(torch.randn(classes, features, generator=draw) / features**0.5)
            x = torch.randn(examples, features, generator=draw)
            if boxed:
                x = torch.rand(examples, features, generator=draw)
            # A bias that spreads the examples over the classes, wherever their mean lies.
            net.bias.copy_(-(net.weight @ x.mean(0)))
            y = net(x).argmax(1)
        return cls(net, x, y, (0.0, 1.0) if boxed else (-math.inf, math.inf))

    def rivals(self) -> tuple[Tensor, Tensor]:
        """For every example and wrong class: w (N, K-1, D) and the gap (N, K-1) such that w·d >= gap fools."""
        weight, bias = self.net.weight.detach().double(), self.net.bias.detach().double()
        logits = self.x.double() @ weight.T + bias
        wrong = torch.stack([torch.tensor([k for k in range(len(bias)) if k != y]) for y in self.y.tolist()])
        gap = logits.gather(1, self.y[:, None]) - logits.gather(1, wrong)
        return weight[wrong] - weight[self.y][:, None], gap

    def radius(self, norm: str) -> Tensor:
        """(N,) the exact distance to the nearest wrong class."""
        w, gap = self.rivals()
        if math.isinf(self.bounds[1]):
            each: Tensor = gap / torch.linalg.vector_norm(w, DUAL[norm], dim=2)
            return each.amin(1)
        x = self.x.double()[:, None]
        room = torch.where(w > 0, self.bounds[1] - x, x - self.bounds[0])
        size = w.abs()
        if norm == "l1":
            taken, order = self._greedy(size, size * room)
            # The last coordinate is needed in part: count whole ones, then what is lacking.
            room, size = room.gather(2, order), size.gather(2, order)
            short = (gap[..., None] - (taken - size * room)).clamp_min(0)
            return (torch.minimum(short / size, room)).sum(2).where(taken[..., -1] >= gap, math.inf).amin(1)
        low, high = torch.zeros_like(gap), torch.full_like(gap, 1e6)
        for _ in range(200):
            middle = ((low + high) / 2)[..., None]
            move = torch.minimum(room, middle if norm == "linf" else middle * size)
            enough = (size * move).sum(2) >= gap
            low, high = torch.where(enough, low, middle[..., 0]), torch.where(enough, middle[..., 0], high)
        if norm == "linf":
            return high.amin(1)
        # A class out of reach of the box saturates every coordinate; it never is the nearest one here.
        found = torch.minimum(room, high[..., None] * size).norm(dim=2)
        found = torch.where((size * room).sum(2) >= gap, found, math.inf)
        return found.amin(1)

    def fewest(self) -> Tensor:
        """(N,) the least number of features of x in [0, 1] that must change: largest |w| × room first."""
        w, gap = self.rivals()
        x = self.x.double()[:, None]
        gain = w.abs() * torch.where(w > 0, 1 - x, x)
        taken, _ = self._greedy(gain, gain)
        count: Tensor = (taken <= gap[..., None]).sum(2)
        return count.amin(1) + 1

    @staticmethod
    def _greedy(rank: Tensor, gain: Tensor) -> tuple[Tensor, Tensor]:
        """What the first coordinates gain together, in falling order of `rank`; and that order."""
        order = rank.argsort(dim=2, descending=True)
        return gain.gather(2, order).cumsum(2), order


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=500, help="for the fixed budgets; C&W takes 50")
    parser.add_argument("--features", type=int, default=100)
    parser.add_argument("--steps", type=int, default=1000, help="of C&W")
    parser.add_argument("--seed", type=int, default=0, help="of weights and examples")
    parser.add_argument("--only", nargs="+", choices=("budgets", "cw"), default=["budgets", "cw"])
    chosen = parser.parse_args(arguments)
    settings(**vars(chosen), dtype="float32, exact radii in float64", threads=1)
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # matrices this small only lose by sharing
    try:
        if "budgets" in chosen.only:
            sizes = chosen.examples, chosen.features
            claimed = [one for boxed in (False, True) for one in _budgets(*sizes, boxed, chosen.seed)]
            inside, beyond = max(one[0] for one in claimed), min(one[1] for one in claimed)
            norms = ", ".join({"linf": "L∞", "l2": "L2", "l1": "L1"}[norm] for norm in NORMS)
            words = f"at 1.02 × the exact radius {beyond:.0f} % fall or more, at 0.98 × {inside:.0f} %: {norms}"
            sentence_of("linear", words, "accuracy")
        if "cw" in chosen.only:
            _carlini_wagner(chosen.features, chosen.steps, chosen.seed)
    finally:
        torch.set_num_threads(before)


def _budgets(examples: int, features: int, boxed: bool, seed: int) -> list[tuple[float, float]]:
    """Prints every attack; returns what fell inside and beyond the exact radius, of those that claim to meet it."""
    rows, told = [], []
    for classes in (2, 5):
        line = Line.make(classes, features, examples, boxed, seed)
        model = sp.Model(line.net, bounds=line.bounds)
        attacks: list[tuple[str, sp.PGD | sp.APGD, bool]] = [
            ("PGD()", sp.PGD(), classes == 2 and not boxed),
            ("APGD()", sp.APGD(), classes == 2 and not boxed),
        ]
        if classes > 2:
            towards = classes - 1
            attacks += [
                (
                    f'PGD(objective="margin", n_targets={towards})',
                    sp.PGD(objective="margin", n_targets=towards),
                    not boxed,
                ),
                (f"APGD(n_targets={towards})", sp.APGD(n_targets=towards), False),
                (f'APGD(objective="dlr", n_targets={towards})', sp.APGD(objective="dlr", n_targets=towards), not boxed),
            ]
        for norm, threat in NORMS.items():
            exact = line.radius(norm)
            for name, attack, claimed in attacks:
                fell, limits, took = [], [], []
                for factor in (0.98, 1.02):
                    found: list[sp.Outcome] = []
                    radius = (factor * exact).to(line.x.dtype)
                    took.append(seconds(lambda: found.append(attack(model, line.x, line.y, threat(radius)))))  # noqa: B023
                    fell.append(100 * float(found[0].success.double().mean()))
                    limits.append(spent(line.net, line.x[:100], line.y[:100], found[0]))
                told += [(fell[0], fell[1])] * claimed
                fine = fell[0] == 0 and (fell[1] >= 99 or not claimed)
                verdict = ("met" if fine else "NOT MET") if claimed or not fine else "-"
                share = f"{sum(took):.2f}", f"{sum(limits):.2f}"
                rows.append((classes, norm, name, f"{fell[0]:.1f}", f"{fell[1]:.1f}", verdict, *share))
    where = "inputs in [0, 1], radii exact with the box" if boxed else "no box: bounds (-inf, inf)"
    header = ("classes", "norm", "attack", "% at 0.98 x", "% at 1.02 x", "claim: 0 and >= 99", "seconds", "bare s")
    table(f"Fixed budgets, {where}, {examples} examples, {features} features", header, rows)
    return told


def _carlini_wagner(features: int, steps: int, seed: int) -> None:
    rows: list[tuple[object, ...]] = []
    header = [
        "form",
        "classes",
        "inputs",
        "worst",
        "there exact",
        "least",
        "within",
        "share %",
        "claim",
        "seconds",
        "bare s",
    ]
    forms = (
        ("L2", "l2", sp.L2(), sp.CarliniWagner(steps=steps), 1.01),
        ("Linf, as published", "linf", sp.Linf(), sp.CarliniWagner(steps=steps), 1.12),
        ('Linf, tau="bisect"', "linf", sp.Linf(), sp.CarliniWagner(steps=steps, tau="bisect"), 1.05),
    )
    for name, norm, threat, attack, within in forms:
        for classes in (2, 5):
            for boxed in (False, True):
                line = Line.make(classes, features, 50, boxed, seed)
                out, took = _timed(attack, line, threat)
                exact = line.radius(norm)
                ratio = torch.where(out.success, out.distance.double() / exact, math.inf)
                share = 100 * float((ratio <= within).double().mean())
                claimed = not boxed
                # Nearer than the exact distance only by what float32 logits of size 1 round away.
                short = (exact - out.distance.double()).where(out.success, 0).max()
                fine = share >= 99 and float(short) < 1e-5
                verdict = ("met" if fine else "NOT MET") if claimed else "-"
                limit = spent(line.net, line.x, line.y, out)
                rows.append((name, classes, "in [0, 1]" if boxed else "unbounded", f"{float(ratio.max()):.4f}",
                             f"{float(exact[ratio.argmax()]):.1e}",
                             f"{float(ratio.min()):.4f}", f"{within - 1:.0%}", f"{share:.0f}", verdict,
                             f"{took:.1f}", f"{limit:.1f}"))  # fmt: skip
    table(f"C&W distance over the exact one, 50 examples, {features} features, {steps} steps", header, rows)
    rows = []
    for classes in (2, 5):
        line = Line.make(classes, features, 50, True, seed)
        out, took = _timed(sp.CarliniWagner(steps=steps), line, sp.L0())
        over = torch.where(out.success, out.distance.double() - line.fewest(), math.inf)
        counts = ", ".join(f"{int((over == k).sum())} x {k:+g}" for k in sorted(set(over.tolist())))
        verdict = "met" if float(over.max()) <= 1 and float(over.min()) >= 0 else "NOT MET"
        limit = spent(line.net, line.x, line.y, out)
        mean = float(line.fewest().double().mean())
        rows.append((classes, f"{mean:.2f}", counts, verdict, f"{took:.1f}", f"{limit:.1f}"))
    header = ["classes", "mean exact count", "above it", "claim: at most +1", "seconds", "bare s"]
    table("C&W L0 against the exact greedy count, 50 examples in [0, 1]", header, rows)


def _timed(attack: sp.CarliniWagner, line: Line, threat: sp.Linf | sp.L2 | sp.L0) -> tuple[sp.Outcome, float]:
    found: list[sp.Outcome] = []
    model = sp.Model(line.net, bounds=line.bounds)
    took = seconds(lambda: found.append(attack(model, line.x, line.y, threat)))
    return found[0], took


if __name__ == "__main__":
    main()
