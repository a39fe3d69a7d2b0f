"""Claim: an epoch of PGD-10 training costs at most 8.5 natural ones, TRADES 10, TRADES with AWP 12.5; any peer's more.

One batch through a PreActResNet-18, again and again, side by side: sparring's own loop, the loops of the papers'
repositories as anyone would write them down, and ART's trainers. The limit is the passes themselves: 23 units of one
forward for PGD-10 (10 × 2 in the attack, 3 to learn), 27 for TRADES, 33 with AWP, over 3 for natural training.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

import sparring as sp
from benchmarks.figures import sentence_of
from benchmarks.fixtures import Absent
from benchmarks.measure import Times, ratio, rounds, settings, table
from sparring.defenses import AWP, TRADES, AdversarialTraining, Standard
from sparring.zoo import PreActResNet

EPS, STEP, STEPS, BETA, GAMMA = 8 / 255, 2 / 255, 10, 6.0, 0.005
NATURAL = "sparring: Standard"
LIMITS = {  # units of one forward, and the ratio that must be met
    "sparring: PGD-10": (23, 8.5),
    "sparring: TRADES-10": (27, 10.0),
    "sparring: TRADES-10 + AWP": (33, 12.5),
}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--width", type=int, default=64, help="64 is the published network")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    net = PreActResNet(width=chosen.width)
    generator = torch.Generator().manual_seed(0)
    x, y = torch.rand(chosen.batch, 3, 32, 32, generator=generator), torch.arange(chosen.batch) % 10
    settings(network=f"PreActResNet-18, width {chosen.width}", batch=chosen.batch, repeats=chosen.repeats, threads=1)
    calls: dict[str, Callable[[], float]] = {
        NATURAL: ours(net, x, y, Standard()),
        "plain: natural": plain(net, x, y, ""),
    }
    kl = sp.PGD(steps=STEPS, step_size=STEP, objective="kl")
    trades = TRADES(beta=BETA, attack=kl)
    at = AdversarialTraining(sp.PGD(steps=STEPS, step_size=STEP))
    for name, defense in zip(LIMITS, (at, trades, AWP(trades, gamma=GAMMA)), strict=True):
        calls[name] = ours(net, x, y, defense)
    for kind in ("PGD-10", "TRADES-10", "TRADES-10 + AWP"):
        calls[f"plain: {kind}"] = plain(net, x, y, kind)
    try:
        calls |= art(net, x, y)
    except Absent as absent:
        print(f"skipped: {absent}")
    times = measured(calls, chosen.repeats)
    rows = []
    for name, spent in times.items():
        told = ratio(spent.cpu, times[NATURAL].cpu)
        units, limit = LIMITS.get(name, (0, 0.0))
        verdict = "" if not limit else f"≤ {limit}: " + ("met" if told.median <= limit else "NOT MET")
        bound = f"{units / 3:.2f}" if units else ""
        rows.append((name, f"{min(spent.cpu):.2f}", told, f"{told.least:.2f}", bound, verdict))
    header = ("one batch", "processor s", "× natural (quartiles)", "least / least", "limit", "verdict")
    table("Cost of one training step, in natural ones, by processor time", header, rows)
    if any(name.startswith("ART") for name in times):
        cost = {name: f"{ratio(spent.cpu, times[NATURAL].cpu).median:.1f}" for name, spent in times.items()}
        cost.pop("plain: natural")
        own = [cost[name] for name in LIMITS]
        torch_alone, art_takes = (
            [one for name, one in cost.items() if name.startswith(who)] for who in ("plain", "ART")
        )
        words = f"PGD-10 {own[0]}, TRADES-10 {own[1]}, with AWP {own[2]}"
        words += f"; the same in plain PyTorch {', '.join(torch_alone)}; ART {', '.join(art_takes)}"
        sentence_of("training-cost", words, "time")


def measured(calls: dict[str, Callable[[], float]], repeats: int) -> dict[str, Times]:
    """Processor times; each call takes its own."""
    times = {name: Times([], []) for name in calls}
    for name in rounds(calls, repeats):
        times[name].cpu.append(calls[name]())
    return times


class _Enough(Exception):
    pass


def ours(net: nn.Module, x: Tensor, y: Tensor, defense: Any) -> Callable[[], float]:
    """The processor seconds of the second of three batches of `sp.train`; the rest is not waited for."""
    data, threat = (x.repeat(3, 1, 1, 1), y.repeat(3)), sp.Linf(EPS)
    sgd = partial(torch.optim.SGD, lr=0.01, momentum=0.9, weight_decay=5e-4)

    def call() -> float:
        clock: list[float] = []

        def told(record: dict[str, float]) -> None:
            clock.append(time.process_time())
            if record["batch"] == 2:
                raise _Enough

        with contextlib.suppress(_Enough):
            sp.train(net, data, defense, threat, epochs=1, batch_size=len(x), optimizer=sgd, progress=told)
        return clock[1] - clock[0]

    return call


def plain(net: nn.Module, x: Tensor, y: Tensor, kind: str) -> Callable[[], float]:
    """One batch as the papers' repositories do it, in a few lines of PyTorch."""
    import copy

    own = copy.deepcopy(net)
    proxy = copy.deepcopy(net)
    sgd = torch.optim.SGD(own.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)

    def loss_of(model: nn.Module, moved: Tensor) -> Tensor:
        if not kind.startswith("TRADES"):
            return functional.cross_entropy(model(moved), y)
        clean = model(x)
        robust = functional.kl_div(model(moved).log_softmax(1), clean.softmax(1), reduction="batchmean")
        return functional.cross_entropy(clean, y) + BETA * robust

    def attack() -> Tensor:
        own.eval()
        moved = (x + EPS * (2 * torch.rand_like(x) - 1)).clamp(0, 1)
        for _ in range(STEPS):
            moved.requires_grad_(True)
            if kind.startswith("TRADES"):
                said = functional.kl_div(own(moved).log_softmax(1), own(x).softmax(1), reduction="sum")
                (slope,) = torch.autograd.grad(said, moved)
            else:
                functional.cross_entropy(own(moved), y).backward()
                assert moved.grad is not None
                slope = moved.grad
            moved = (moved.detach() + STEP * slope.sign()).clamp(x - EPS, x + EPS).clamp(0, 1)
        own.train()
        return moved

    def call() -> float:
        start = time.process_time()
        moved = attack() if kind else x
        if kind.endswith("AWP"):
            proxy.load_state_dict(own.state_dict())
            proxy.train()
            slopes = torch.autograd.grad(loss_of(proxy, moved), list(proxy.parameters()))
            with torch.no_grad():
                push = [
                    GAMMA * w.norm() * s / (s.norm() + 1e-20) for w, s in zip(own.parameters(), slopes, strict=True)
                ]
                for weight, by in zip(own.parameters(), push, strict=True):
                    weight.add_(by)
        sgd.zero_grad()
        loss_of(own, moved).backward()
        if kind.endswith("AWP"):
            with torch.no_grad():
                for weight, by in zip(own.parameters(), push, strict=True):
                    weight.sub_(by)
        sgd.step()
        return time.process_time() - start

    return call


def art(net: nn.Module, x: Tensor, y: Tensor) -> dict[str, Callable[[], float]]:
    """ART's trainers, as its documentation uses them.

    Raises:
        Absent: ART is not installed.
    """
    try:
        from art.attacks.evasion import ProjectedGradientDescent
        from art.defences import trainer
        from art.estimators.classification import PyTorchClassifier
    except ImportError as error:
        raise Absent(f"ART is not installed ({error}); run make bench") from error
    import copy

    images, labels = x.numpy(), functional.one_hot(y, 10).numpy()

    def classifier() -> Any:
        own = copy.deepcopy(net)
        sgd = torch.optim.SGD(own.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
        loss = nn.CrossEntropyLoss()
        return PyTorchClassifier(own, loss, (3, 32, 32), 10, optimizer=sgd, clip_values=(0, 1), device_type="cpu")

    def pgd(estimator: Any) -> Any:
        return ProjectedGradientDescent(
            estimator, eps=EPS, eps_step=STEP, max_iter=STEPS, num_random_init=1, batch_size=len(x), verbose=False
        )

    def timed(make: Callable[[], Any]) -> Callable[[], float]:
        fit = make()

        def call() -> float:
            quiet = io.StringIO()
            with contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                start = time.process_time()
                fit.fit(images, labels, batch_size=len(x), nb_epochs=1)
                return time.process_time() - start

        return call

    def madry() -> Any:
        estimator = classifier()
        return trainer.AdversarialTrainer(estimator, pgd(estimator), ratio=1.0)

    def trades() -> Any:
        estimator = classifier()
        return trainer.AdversarialTrainerTRADESPyTorch(estimator, pgd(estimator), beta=BETA)

    def awp() -> Any:
        estimator, proxy = classifier(), classifier()
        return trainer.AdversarialTrainerAWPPyTorch(
            estimator, proxy, pgd(estimator), mode="TRADES", gamma=GAMMA, beta=BETA, warmup=0
        )

    return {"ART: PGD-10": timed(madry), "ART: TRADES-10": timed(trades), "ART: TRADES-10 + AWP": timed(awp)}


if __name__ == "__main__":
    main()
