"""Claim: `plan="autoattack"` is AutoAttack: it breaks what the authors' own code breaks, for about as many passes.

Both run on the same images in one process. AutoAttack's passes are counted by a wrapper around the network, its seven
looks for warnings among them; the plan's by its own ledger, without the checks that follow every plan.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import sparring as sp
from benchmarks import peers
from benchmarks.fixtures import Absent, cifar, cifar_oval_base, cifar_oval_wide, correct, mnist, mnist_trades
from benchmarks.measure import settings, table

THREATS: dict[str, Any] = {"Linf": sp.Linf, "L2": sp.L2, "L1": sp.L1}
VERSIONS = {"standard": "autoattack", "plus": "autoattack-plus", "rand": "autoattack-rand"}


@dataclass(frozen=True)
class Case:
    """A network, images and a threat."""

    net: Callable[[], nn.Module]
    data: Callable[[int], tuple[Tensor, Tensor]]
    norm: str
    eps: float

    @property
    def threat(self) -> Any:
        return THREATS[self.norm](self.eps)


CASES = {
    "mnist": Case(mnist_trades, mnist, "Linf", 0.3),
    "cifar": Case(cifar_oval_base, cifar, "Linf", 2 / 255),
    "cifar-l2": Case(cifar_oval_wide, cifar, "L2", 0.25),
    "cifar-l1": Case(cifar_oval_wide, cifar, "L1", 3.0),
}


class Counting(nn.Module):
    """The network, and how many examples went through it, forward and back."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.forwards = self.backwards = 0

    def forward(self, x: Tensor) -> Tensor:
        self.forwards += len(x)
        if x.requires_grad:
            x = x.clone()
            x.register_hook(self._back)
        logits: Tensor = self.net(x)
        return logits

    def _back(self, gradient: Tensor) -> None:
        self.backwards += len(gradient)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limit", type=int, default=100, help="images of each case")
    parser.add_argument("--only", nargs="+", choices=CASES, default=["mnist", "cifar"])
    parser.add_argument("--version", choices=VERSIONS, default="standard")
    parser.add_argument("--seed", type=int, default=0, help="of the plan; AutoAttack's is 0")
    chosen = parser.parse_args(arguments)
    settings(limit=chosen.limit, version=chosen.version, seed=chosen.seed, threads=torch.get_num_threads())
    for name in chosen.only:
        try:
            _compare(name, CASES[name], chosen.limit, chosen.version, chosen.seed)
        except Absent as why:
            print(f"skipped: {why}")


def _compare(name: str, case: Case, limit: int, version: str, seed: int) -> None:
    net, (x, y) = case.net(), case.data(limit)
    threat = case.threat
    counting = Counting(net)
    theirs = peers.autoattack(counting, case.norm, case.eps, version, batch=limit)

    plan = VERSIONS[version]
    result = sp.evaluate(net, (x, y), threat, plan=plan, seed=seed, batch_size=limit)
    start = time.perf_counter()
    there = theirs(x, y)
    took = time.perf_counter() - start
    stands = correct(net, there, y)

    rungs = [(row["name"], row["robust_accuracy"], *_spent(row)) for row in result.table]
    others = {"forwards": counting.forwards, "backwards": counting.backwards, "seconds": took}
    own = {key: sum(row[key] for row in result.table) for key in ("forwards", "backwards", "seconds")}
    rows = [
        *((f"  {rung}", "" if share is None else f"{share:.2%}", *spent) for rung, share, *spent in rungs),
        (f'plan="{plan}"', f"{result.robust_accuracy:.2%}", *_spent(own)),
        ("AutoAttack", f"{float(stands.double().mean()):.2%}", *_spent(others)),
    ]
    title = f"{name}: {case.net.__name__}, {case.norm} {case.eps:.4g}, {len(x)} images, {version}"
    table(title, ("what", "robust", "forwards", "backwards", "seconds"), rows)
    if bool(result.robust.any()):
        both = (result.block.forwards, result.block.backwards)
        each = [float(spent[result.robust, :-1].sum(1).double().mean()) for spent in both]
        print("passes of the plan an image that stands: {:,.0f} forwards, {:,.0f} backwards".format(*each))
    shares = own["forwards"] / counting.forwards, own["backwards"] / max(1, counting.backwards), own["seconds"] / took
    print("against AutoAttack: {:.3f} of the forwards, {:.3f} of the backwards, {:.2f} of the time".format(*shares))
    only = int((~result.robust & stands).sum()), int((result.robust & ~stands).sum())
    verdict = "met" if int(result.robust.sum()) <= int(stands.sum()) + 1 else "NOT MET"
    print(f"broken by the plan alone: {only[0]}; by AutoAttack alone: {only[1]}; within one image or lower: {verdict}")


def _spent(row: dict[str, Any]) -> tuple[str, str, str]:
    return f"{row['forwards']:,}", f"{row['backwards']:,}", f"{row['seconds']:.0f}"


if __name__ == "__main__":
    main()
