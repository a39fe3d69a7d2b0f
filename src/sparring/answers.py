"""What a network answers to a few fixed examples: networks that answer alike are taken for one.

And whether the answer to an example depends on the others that come with it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from sparring.draws import Draws, isolated
from sparring.model import Model
from sparring.provenance import Plain, plain
from sparring.randomness import looking

FEW = 4  # examples, spread evenly over the data
CLOSE = 1e-4  # of the spread of the logits: by less, two answers differ by rounding


def answers(model: Model, x: Tensor, batch_size: int | None = None) -> Plain:
    """What `model` says of a few of the inputs x (N, …), as plain data.

    examples: their places. logits: a list an example. alone: by how much of the spread of its logits an example
    differs from itself when it is looked at without the others; None where that cannot be told, of a random network or
    at a batch size of 1. forwards: passes spent, at most three an example. A random network draws the same each time.

    Raises:
        ModelError: what comes out of the network cannot be used.
    """
    places = torch.linspace(0, len(x) - 1, min(FEW, len(x)), dtype=torch.float64).round().long()
    ask = _Asked(model, x[places].to(model.device or x.device), places)
    with torch.no_grad(), model.quiet(), isolated(0, ask.x.device):
        every = torch.split(torch.arange(len(places)), batch_size or FEW)
        found = [ask(at) for at in every]
        alone = _alone(ask, every[0], found[0]) if len(every[0]) > 1 else None
    logits = torch.cat(found).double().cpu().tolist()
    return plain({"examples": places.tolist(), "logits": logits, "alone": alone, "forwards": ask.forwards})


@dataclass
class _Asked:
    """Looks at the inputs x (M, …), which are the examples at `places` (M,)."""

    model: Model
    x: Tensor
    places: Tensor
    forwards: int = 0

    def __call__(self, at: Tensor) -> Tensor:
        """(len(at), K) the logits, by the same draws whenever they are asked for."""
        device, index = self.x.device, self.places[at]
        counts = torch.zeros(len(self.places), dtype=torch.int64, device=device)
        with looking(Draws(0, ("answers",)), index.to(device), at.to(device), counts):
            logits = self.model.once(self.x[at.to(device)])
        self.forwards += len(at)
        return logits


def _alone(ask: _Asked, batch: Tensor, together: Tensor) -> float | None:
    """By how much of the spread of its logits an example of a batch differs from itself alone.

    Neither the first nor the last, nor the largest, for that may be what the others are measured by; of two, both.
    """
    apart, rows = 0.0, [0, 1]
    if len(batch) > 2:
        rows = [1 + int(together[1:-1].abs().amax(1).argmin())]
    for row in rows:
        one = together[row]
        spread = float((one.amax() - one.amin()).clamp_min(torch.finfo(one.dtype).tiny))
        try:
            alone = ask(batch[row : row + 1])[0]
        except (RuntimeError, ValueError):  # such as a BatchNorm in training mode, which has no variance of one
            return 1.0
        if not math.isfinite(moved := float((alone - one).abs().amax()) / spread):
            return None
        apart = max(apart, moved)
    if apart > CLOSE and not torch.equal(ask(batch), together):
        return None  # its own draws differ, whoever comes with it
    return round(apart, 6)


def alike(one: Plain, other: Plain) -> bool:
    """Whether two networks answered alike, to a ten-thousandth of the spread of their logits."""
    if one["examples"] != other["examples"]:
        return False
    first, second = _numbers(one["logits"]), _numbers(other["logits"])
    if first.shape != second.shape:
        return False
    finite = first[first.isfinite()]
    spread = float(finite.max() - finite.min()) if len(finite) else 0.0
    return torch.allclose(first, second, rtol=0, atol=CLOSE * spread, equal_nan=True)


def _numbers(rows: Plain) -> Tensor:
    """(N, K) of plain data, in which NaN and infinities are words."""
    return torch.tensor(
        [[float(one["float"]) if isinstance(one, dict) else one for one in row] for row in rows]
    ).double()


def told(row: Plain) -> str:
    """A few of the logits of an example, for a message."""
    shown = ", ".join(f"{one:.4g}" if isinstance(one, float) and math.isfinite(one) else str(one) for one in row[:4])
    return f"[{shown}{', …' * (len(row) > 4)}]"
