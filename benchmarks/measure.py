"""Stopwatch and tables: interleaved timings, the bare passes that bound them, and the settings of the machine."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

import sparring as sp
from benchmarks import peers


@dataclass(frozen=True)
class Ratio:
    """How many times as long as the reference, measured in the same repeat."""

    median: float
    low: float  # the quartiles over repeats
    high: float
    least: float  # least time over least time: what remains when nobody else uses the machine

    def __str__(self) -> str:
        return f"{self.median:.3f} ({self.low:.3f}–{self.high:.3f})"


def bare(net: nn.Module, x: Tensor, y: Tensor, passes: int, forwards: int = 0) -> None:
    """The limit: forward and input-gradient passes, weights frozen, and nothing else; then `forwards` alone."""
    asked = [p for p in net.parameters() if p.requires_grad]
    for parameter in asked:
        parameter.requires_grad_(False)
    try:
        at = x.detach().clone().requires_grad_(True)
        for _ in range(passes):
            torch.autograd.grad(functional.cross_entropy(net(at), y, reduction="sum"), at)
        with torch.no_grad():
            for _ in range(forwards):
                net(at)
    finally:
        for parameter in asked:
            parameter.requires_grad_(True)


def bare_seconds(net: nn.Module, x: Tensor, y: Tensor, passes: float, forwards: float = 0) -> float:
    """What `passes` and `forwards` over the examples x would take bare: the median of five passes, scaled."""
    both = statistics.median(seconds(lambda: bare(net, x, y, 1)) for _ in range(5))
    look = statistics.median(seconds(lambda: bare(net, x, y, 0, 1)) for _ in range(5))
    return both * passes + look * forwards


def spent(net: nn.Module, x: Tensor, y: Tensor, out: sp.Outcome) -> float:
    """The limit of an outcome: its own passes, done bare on batches like x."""
    backwards, forwards = float(out.backwards.sum()), float(out.forwards.sum())
    return bare_seconds(net, x, y, backwards / len(x), (forwards - backwards) / len(x))


def seconds(call: Callable[[], object]) -> float:
    """Wall-clock seconds of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


@dataclass(frozen=True)
class Times:
    """Seconds of one call, repeat by repeat."""

    wall: list[float]
    cpu: list[float]  # of all threads; other processes disturb it less


def interleaved(calls: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, Times]:
    """Times of each call in each repeat, after one unmeasured round; each repeat starts one call later."""
    times = {name: Times([], []) for name in calls}
    for name in rounds(calls, repeats):
        cpu = time.process_time()
        times[name].wall.append(seconds(calls[name]))
        times[name].cpu.append(time.process_time() - cpu)
    return times


def rounds(calls: Mapping[str, Callable[[], object]], repeats: int) -> Iterator[str]:
    """Whose turn it is: after one unmeasured round of all calls, each repeat starts one call later."""
    names = list(calls)
    for name in names:
        calls[name]()
    for repeat in range(repeats):
        at = repeat % len(names)
        yield from names[at:] + names[:at]


def ratio(times: Sequence[float], reference: Sequence[float]) -> Ratio:
    """Repeat by repeat, `times` over `reference`."""
    each = [a / b for a, b in zip(times, reference, strict=True)]
    low, _, high = statistics.quantiles(each, n=4) if len(each) > 1 else each * 3
    return Ratio(statistics.median(each), low, high, min(times) / min(reference))


def table(title: str, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Prints aligned columns that are also Markdown."""
    cells = [[str(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    lines = ["| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |" for row in cells]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    print(f"\n{title}\n" + "\n".join(lines), flush=True)


def settings(**chosen: object) -> None:
    """Prints what the figures depend on."""
    versions = f"Python {platform.python_version()}, torch {torch.__version__}, sparring {sp.__version__}"
    print(f"machine: {platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.2f}; {versions}")
    print("peers: " + ", ".join(f"{peer} {peers.version(peer)}" for peer in peers.PACKAGES))
    print("settings: " + ", ".join(f"{name} = {value}" for name, value in chosen.items()), flush=True)
