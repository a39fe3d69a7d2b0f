"""Claim: the result of an example does not depend on batch size or order (exactly, but for the network's rounding)."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

import sparring as sp
from benchmarks.figures import sentence_of
from benchmarks.fixtures import Absent, cifar, cifar_oval_base, mnist, mnist_lenet, mnist_trades
from benchmarks.measure import seconds, settings, spent, table

ALLOWED = 0.5  # per cent of examples
SIZES = (1, 7, 64)


@dataclass(frozen=True)
class Case:
    """A network, its data, and radii at which about half the examples fall."""

    name: str
    make: Callable[[], nn.Module]
    data: Callable[[int], tuple[Tensor, Tensor]]
    linf: float
    l2: float


CASES = (
    Case("mnist_trades", mnist_trades, mnist, 0.34, 2.0),
    Case("mnist_lenet", mnist_lenet, mnist, 0.09, 1.35),
    Case("cifar_oval_base", cifar_oval_base, cifar, 2 / 255, 0.25),
)


class RowByRow(nn.Module):
    """A network that is batch-invariant, because it sees one row at a time."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.net(row) for row in torch.split(x, 1)])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=200, help="of each network; the row-by-row one takes 32")
    parser.add_argument("--threads", type=int, default=1, help="a batch of 1 has nothing to share")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    chosen = parser.parse_args(arguments)
    settings(**vars(chosen), orders="as they come, reversed, shuffled")
    before = torch.get_num_threads()
    torch.set_num_threads(chosen.threads)
    try:
        _all(chosen.examples, chosen.sizes)
    finally:
        torch.set_num_threads(before)


def _all(examples: int, sizes: Sequence[int]) -> None:
    whole: dict[str, list[int]] = {}
    networks = 0
    for case in CASES:
        try:
            net, (x, y) = case.make(), case.data(examples)
        except Absent as why:
            print(f"skipped: {why}")
            continue
        networks += 1
        _case(case, net, x, y, sizes, whole)
        if case.name == "mnist_lenet":
            few = replace(case, name="mnist_lenet, row by row (batch-invariant)")
            _case(few, RowByRow(net), x[:32], y[:32], sizes, None)
    for name, (differing, examples) in whole.items():
        share = 100 * differing / examples
        verdict = "met" if share <= ALLOWED else "NOT MET"
        print(f"{name}: success ever differs on {differing} of {examples} examples, {share:.2f} %: {verdict}")
    if networks == len(CASES):
        differing, compared = (sum(counts[at] for counts in whole.values()) for at in (0, 1))
        batches = ", ".join(map(str, sizes))
        words = f"{differing} of {compared} outcomes differ at batch {batches}"
        words += f": {networks} networks, {len(_attacks(CASES[0]))} attacks"
        sentence_of("independence", words, "accuracy")


def _attacks(case: Case) -> list[tuple[sp.attacks.Attack, sp.Linf | sp.L2]]:
    return [
        (sp.PGD(steps=20), sp.Linf(case.linf)),
        (sp.PGD(steps=20), sp.L2(case.l2)),
        (sp.APGD(steps=20), sp.Linf(case.linf)),
        (sp.MIFGSM(), sp.Linf(case.linf)),
        (sp.CarliniWagner(searches=4, steps=20, learning_rate=0.1, initial_c=1.0), sp.L2(case.l2)),
        (sp.CarliniWagner(searches=4, steps=20, learning_rate=0.1, initial_c=1.0), sp.L2()),
    ]


def _case(
    case: Case, net: nn.Module, x: Tensor, y: Tensor, sizes: Sequence[int], whole: dict[str, list[int]] | None
) -> None:
    index = torch.arange(len(x))
    shuffled = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    ways = [(size, f"{size}", index) for size in sizes]
    ways += [(64, "64, reversed", index.flip(0)), (64, "64, shuffled", shuffled)]
    rows, agree = [], True
    print("\n" + "\n".join(f"{case.name}: {attack!r}" for attack, _ in _attacks(case)))
    for attack, threat in _attacks(case):
        found: dict[str, sp.Outcome] = {}
        took = 0.0

        def run(size: int, name: str, order: Tensor, attack: sp.attacks.Attack = attack,
                threat: sp.Linf | sp.L2 = threat, found: dict[str, sp.Outcome] = found) -> None:  # fmt: skip
            out = replace(attack, batch_size=size)(net, x[order], y[order], threat, index=order)
            found[name] = out.take(order.argsort())

        for size, name, order in ways:
            took += seconds(lambda: run(size, name, order))  # noqa: B023
        reference = found[ways[-3][1]]
        ever = torch.zeros(len(x), dtype=torch.bool)
        differ, passes, far = [], [], 0.0
        for name, out in found.items():
            other = out.success != reference.success
            ever |= other
            differ.append(f"{name}: {int(other.sum())}")
            passes.append(int(((out.forwards != reference.forwards) | (out.backwards != reference.backwards)).sum()))
            both = out.success & reference.success & (reference.distance > 0)
            gap = ((out.distance - reference.distance).abs() / reference.distance)[both]
            far = max(far, float(gap.max()) if len(gap) else 0.0)
            agree &= torch.equal(out.x, reference.x) and not other.any() and passes[-1] == 0
        fell = 100 * float(reference.success.double().mean())
        limit = sum(spent(net, x[order][:size], y[order][:size], found[name]) for size, name, order in ways)
        share = 100 * float(ever.double().mean())
        name = f"{type(attack).__name__} {threat.name} {threat.eps or 'nearest'}"
        rows.append((name, f"{fell:.0f}", f"{share:.2f}", "; ".join(differ),
                     "/".join(map(str, passes)), f"{far:.1e}", f"{took:.0f}", f"{limit:.0f}"))  # fmt: skip
        if whole is not None:
            counts = whole.setdefault(f"{type(attack).__name__} on {case.name}", [0, 0])
            counts[0] += int(ever.sum())
            counts[1] += len(x)
    header = ("attack", "fell %", "differ %", f"success unlike batch {ways[-3][1]}", "passes unlike", "distance gap",
              "seconds", "bare s")  # fmt: skip
    table(f"{case.name}, {len(x)} examples", header, rows)
    if whole is None:
        print(f"success, passes and x bit for bit: {'identical, met' if agree else 'DIFFERENT, NOT MET'}")


if __name__ == "__main__":
    main()
