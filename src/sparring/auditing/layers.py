"""B8: which layer's backward pass does not describe its forward pass, and what to stand in for it.

The network is run at an example and at a random point of its ball; every layer is then asked alone whether its own
gradient foretells how its output changed between the two.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sparring.attacks.attack import chunks
from sparring.auditing.finding import Finding
from sparring.auditing.subject import Subject
from sparring.rows import column

HONEST = 0.7  # the least correlation between what a layer's gradient foretells and what happens
FEW = 16  # examples


@dataclass(frozen=True)
class Guilty:
    """A layer whose gradient misleads. stand_in: "identity" or "estimate", whichever foretells its changes."""

    name: str
    kind: str
    foretold: float
    stand_in: str

    def __str__(self) -> str:
        where = f"layer {self.name!r}" if self.name else "the network's own forward"
        return f"{where} ({self.kind}): its gradient foretells {self.foretold:.2f} of its changes"


@dataclass
class Pair:
    """A layer's input and output at two points."""

    inputs: list[Tensor]
    outputs: list[Tensor]


def guilty(subject: Subject) -> list[Guilty]:
    """The smallest layers whose gradients mislead; those of a random layer are not judged."""
    net = subject.model.net
    if not isinstance(net, nn.Module):
        return []
    pairs = _recorded(subject, net)
    bad: list[Guilty] = []
    for name, layer in reversed(list(net.named_modules())):  # children come before their parents
        pair = pairs.get(name)
        if pair is None or any(one.name.startswith(f"{name}." if name else "") for one in bad):
            continue
        foretold = _foretold(layer, pair)
        if not name:  # the network itself, at both points and along every direction
            subject.forwards += 2 * len(pair.inputs[0])
            subject.backwards += 2 * len(pair.inputs[0]) * len(_cotangents(pair))
        if foretold is not None and foretold < HONEST:
            alike = pair.inputs[0].shape == pair.outputs[0].shape and _agree(pair, pair.inputs[1] - pair.inputs[0])
            bad.append(Guilty(name, type(layer).__name__, foretold, "identity" if alike else "estimate"))
    return bad[::-1]


def accused(layers: list[Guilty]) -> Finding:
    """B8's finding, by name."""
    least = min(layer.foretold for layer in layers)
    return Finding(
        "B8 guilty layer",
        least,
        HONEST,
        True,
        "reliable",
        "; ".join(map(str, layers)),
        "sp.Model(net, bpda={" + ", ".join(f"{layer.name!r}: {layer.stand_in!r}" for layer in layers) + "})",
    )


def _recorded(subject: Subject, net: nn.Module) -> dict[str, Pair]:
    """What went in and out of every layer that turns one tensor, and nothing else, into a floating one once a pass."""
    rows = subject.first(FEW)
    x = rows.x
    away = rows.draws.at("layers").uniform(rows.index, 0, x.shape[1:], x.dtype) * 2 - 1
    moved = rows.region.project(x + column(rows.region.reach, x) * away.sign() * (away.abs() > 0.5))
    records: dict[str, list[Tensor | None]] = {}  # in, out, in, out, …

    def keep(name: str, value: Any, fine: bool) -> None:
        kept = value.detach().clone() if fine and isinstance(value, Tensor) else None
        records.setdefault(name, []).append(kept)

    def watched(name: str, module: nn.Module) -> list[Any]:
        # What enters is kept before the layer and its hooks run, which may overwrite it; what leaves, after them.
        def before(_: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
            keep(name, inputs[0] if inputs else None, len(inputs) == 1 and not named)

        def after(_: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            keep(name, output, True)

        pre = module.register_forward_pre_hook(before, prepend=True, with_kwargs=True)
        return [pre, module.register_forward_hook(after)]

    modules = [(name, one) for name, one in net.named_modules() if not isinstance(one, torch.jit.ScriptModule)]
    handles = [handle for name, one in modules for handle in watched(name, one)]
    try:
        for point in (x, moved, x):
            subject.logits("layers", rows, point)
    finally:
        for handle in handles:
            handle.remove()
    batches = len(list(chunks(rows, subject.batch_size)))
    return {name: pair for name, seen in records.items() if (pair := _pair(seen, len(x), batches)) is not None}


def _pair(seen: list[Tensor | None], rows: int, batches: int) -> Pair | None:
    """The pair of points, or None for a layer that is called oddly, is random, or whose input does not change."""
    kept = [one for one in seen if one is not None and one.ndim > 0]
    if len(seen) != 6 * batches or len(kept) != len(seen):
        return None
    passes = [kept[first : first + 2 * batches] for first in range(0, len(kept), 2 * batches)]
    (a, b), (moved, changed), (_, again) = ((torch.cat(one[::2]), torch.cat(one[1::2])) for one in passes)
    if len(a) != rows or len(b) != rows or not (a.is_floating_point() and b.is_floating_point()):
        return None
    if not _close(b, again) or torch.equal(a, moved) or torch.equal(b, changed):
        return None
    return Pair([a, moved], [b, changed])


def _foretold(layer: nn.Module, pair: Pair) -> float | None:
    """The correlation of the changes that the layer's gradient foretells with those that happened; 0 without one.

    None for a layer that does not say the same when it is asked alone.
    """
    cotangents = _cotangents(pair)
    total = [torch.zeros(len(cotangents), len(pair.inputs[0]), dtype=torch.float64) for _ in range(2)]
    step = pair.inputs[1] - pair.inputs[0]
    for end, said in zip(pair.inputs, pair.outputs, strict=True):
        at = end.clone().requires_grad_(True)
        try:
            with torch.enable_grad():
                output = layer(at.clone())
            if not (isinstance(output, Tensor) and output.shape == said.shape and _close(output, said)):
                return None
            for number, u in enumerate(cotangents):
                (slope,) = torch.autograd.grad(output, at, u, retain_graph=True, allow_unused=True)
                if slope is None:
                    return 0.0
                total[0][number] += (slope * step).reshape(len(step), -1).sum(1).double().cpu() / 2
        except RuntimeError:
            return 0.0  # .numpy() in the layer, or nothing to differentiate
    total[1] = _changes(pair, cotangents)
    return correlation(total[0].flatten(), total[1].flatten())


def _close(one: Tensor, other: Tensor) -> bool:
    return torch.allclose(one, other, rtol=max(1e-4, 4 * torch.finfo(one.dtype).eps), atol=1e-6)


def _agree(pair: Pair, step: Tensor) -> bool:
    """Whether the identity would foretell the changes."""
    cotangents = _cotangents(pair)
    foretold = torch.stack([(u * step).reshape(len(step), -1).sum(1).double().cpu() for u in cotangents])
    return correlation(foretold.flatten(), _changes(pair, cotangents).flatten()) > 0.5


def _changes(pair: Pair, cotangents: list[Tensor]) -> Tensor:
    change = pair.outputs[1] - pair.outputs[0]
    return torch.stack([(u * change).reshape(len(change), -1).sum(1).double().cpu() for u in cotangents])


def _cotangents(pair: Pair) -> list[Tensor]:
    """A few fixed directions of the output, the change itself among them, so that every layer's change shows."""
    change = pair.outputs[1] - pair.outputs[0]
    generator = torch.Generator().manual_seed(0)
    others = [torch.randn(change.shape, generator=generator, dtype=change.dtype).to(change) for _ in range(4)]
    return [change.sign(), *others]


def correlation(a: Tensor, b: Tensor) -> float:
    """Pearson's, without centring: both are changes, and 0 means none; 0 where one of them does not vary."""
    return float((a * b).sum() / (a.norm() * b.norm()).clamp_min(1e-300))
