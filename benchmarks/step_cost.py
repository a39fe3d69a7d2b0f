"""Claim: a PGD step costs at most 1.05 bare forward + input-gradient passes, and no more than in any peer."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

import sparring as sp
from benchmarks import peers
from benchmarks.fixtures import Absent, correct, mnist, mnist_lenet, mnist_trades, resnet18
from benchmarks.measure import Ratio, bare, interleaved, ratio, settings, table

LIMIT = 1.05


@dataclass(frozen=True)
class Case:
    """One network, one batch, one number of steps."""

    name: str
    net: nn.Module
    x: Tensor
    y: Tensor
    steps: int
    eps: float
    step_size: float


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=9, help="of every case; the ResNet takes a third of them")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--only", nargs="+", choices=("trades", "resnet", "retire"), default=["trades", "resnet", "retire"])
    chosen = parser.parse_args(arguments)
    settings(
        attack="L-infinity PGD, cross-entropy, one random start",
        bare="net(x), cross-entropy summed, torch.autograd.grad by x, weights frozen",
        threads=chosen.threads,
        repeats=chosen.repeats,
        shown="median of the ratios to bare in the same repeat (quartiles)",
    )
    before = torch.get_num_threads()
    try:
        for threads in chosen.threads:
            torch.set_num_threads(threads)
            if "trades" in chosen.only:
                for batch in (100, 16):
                    _run(lambda batch=batch: _trades(batch), threads, chosen.repeats)  # type: ignore[misc]
            if "resnet" in chosen.only:
                _run(_resnet, threads, max(3, chosen.repeats // 3))
            if "retire" in chosen.only:
                _retirement(threads, chosen.repeats)
    finally:
        torch.set_num_threads(before)


def _trades(batch: int) -> Case:
    net = mnist_trades()
    x, y = mnist(2 * batch)
    right = correct(net, x, y).nonzero().squeeze(1)[:batch]
    return Case("mnist_trades", net, x[right], y[right], steps=40, eps=0.3, step_size=0.01)


def _resnet() -> Case:
    net = resnet18()
    x = torch.rand(16, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        y = net(x).argmax(1)  # untrained: what it says now counts as right
    return Case("ResNet-18", net, x, y, steps=10, eps=8 / 255, step_size=2 / 255)


def _run(make: Callable[[], Case], threads: int, repeats: int) -> None:
    try:
        case = make()
    except Absent as why:
        print(f"skipped: {why}")
        return
    net, x, y, steps = case.net, case.x, case.y, case.steps
    attack = sp.PGD(steps=steps, step_size=case.step_size)
    calls: dict[str, Callable[[], object]] = {
        "bare": lambda: bare(net, x, y, steps),
        "bare, once more (the noise)": lambda: bare(net, x, y, steps),
        "sparring, the step alone": lambda: attack(net, x, y, sp.Linf(case.eps), seek="strongest"),
        "bare + 2 forward passes": lambda: bare(net, x, y, steps, forwards=2),
        "sparring, opening and last look too": lambda: attack(net, x, y, sp.Linf(1e-7)),
    }
    for peer in peers.PACKAGES:
        try:
            run = peers.pgd(peer, net, steps, case.eps, case.step_size)
        except Absent as why:
            print(f"skipped: {why}")
            continue
        calls[peer] = lambda run=run: run(x, y)  # type: ignore[misc]
    fallen = int(attack(net, x, y, sp.Linf(1e-7)).success.sum())
    times = interleaved(calls, repeats)
    ratios = {name: ratio(each, times["bare"]) for name, each in times.items()}
    rows = [(name, f"{min(times[name]):.3f}", f"{sorted(times[name])[repeats // 2]:.3f}", r) for name, r in ratios.items()]
    title = f"{case.name}, batch {len(x)}, PGD-{steps}, eps {case.eps:.4g}, step {case.step_size:.4g}, {threads} thread(s)"
    table(title, ("what", "least s", "median s", "times bare"), rows)
    if fallen:
        print(f"note: {fallen} examples fell at eps 1e-7, so that row saves a little")
    _judge(ratios)


def _judge(ratios: dict[str, Ratio]) -> None:
    own = ratios["sparring, the step alone"]
    print(f"the step: {own.median:.3f} against {LIMIT}: {'met' if own.median <= LIMIT else 'NOT MET'}")
    # Two figures differ when neither's quartiles reach the other.
    ahead = [p for p in peers.PACKAGES if p in ratios and ratios[p].high < own.low]
    print(f"behind a peer beyond the quartiles: {', '.join(ahead) or 'none'}")


def _retirement(threads: int, repeats: int) -> None:
    try:
        net, (x, y) = mnist_lenet(), mnist(110)
    except Absent as why:
        print(f"skipped: {why}")
        return
    right = correct(net, x, y).nonzero().squeeze(1)[:100]
    x, y, attack = x[right], y[right], sp.PGD(steps=40, step_size=0.01)
    times = interleaved(
        {
            "bare": lambda: bare(net, x, y, 40),
            "no retirement": lambda: attack(net, x, y, sp.Linf(0.3), seek="strongest"),
            "early retirement": lambda: attack(net, x, y, sp.Linf(0.3)),
        },
        repeats,
    )
    out = attack(net, x, y, sp.Linf(0.3))
    rows = [(name, f"{min(each):.3f}", ratio(each, times["bare"])) for name, each in times.items()]
    title = f"Early retirement: mnist_lenet, batch 100, PGD-40, eps 0.3, step 0.01, {threads} thread(s)"
    table(title, ("what", "least s", "times bare"), rows)
    saved = ratio(times["no retirement"], times["early retirement"])
    mean = float(out.backwards.float().mean())
    print(f"factor saved: {saved}; {int(out.success.sum())} of {len(x)} fell, after {mean:.1f} gradients on average")


if __name__ == "__main__":
    main()
