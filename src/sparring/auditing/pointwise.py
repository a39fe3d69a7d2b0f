"""A smooth stand-in for any layer that works entry by entry: rounding, codes, thresholds, activations."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from sparring.randomness import uniform

RADII = (0.1, 0.25, 0.5)  # narrow differences follow what is smooth, wide ones bridge steps
DRAWS = 2  # of signs, at each radius


class Pointwise:
    """The surrogate of a layer each of whose entries depends on one entry of its input, or nearly so.

    Its slope is the mean of differences across several widths, all entries at once: 12 runs of the layer alone. The
    signs are random, so that of a layer which mixes entries it is the Jacobian's diagonal that is left (Bekas,
    Kokiopoulou & Saad 2007). radii: half the differences, in standard deviations of what enters in a row.
    """

    def __init__(self, layer: nn.Module, radii: tuple[float, ...] = RADII) -> None:
        self.layer, self.radii = layer, radii

    def __repr__(self) -> str:
        return f"Pointwise({type(self.layer).__name__})"

    def __call__(self, x: Tensor) -> Tensor:
        """(N, …) something of the shape of what the layer returns, with the smoothed slope behind it."""
        flat = x.detach().flatten(1)
        usual = flat.std(1) if flat.shape[1] > 1 else flat.abs().flatten()
        usual = usual.where(usual > 0, 1).reshape(-1, *[1] * (x.ndim - 1))
        slopes = []
        with torch.no_grad():
            for radius in self.radii:
                for _ in range(DRAWS):
                    step = radius * usual * ((uniform(x) < 0.5).to(x) * 2 - 1)
                    # The layer's own forward: the hooks that put this surrogate in its place must not hear of it.
                    slopes.append((self.layer.forward(x + step) - self.layer.forward(x - step)) / (2 * step))
        return torch.stack(slopes).mean(0) * x


def candidates(seen: Mapping[str, tuple[Tensor, Tensor]], net: nn.Module) -> list[str]:
    """The layers without parameters whose entries may each depend on one: those that keep the shape, or repeat it.

    seen: by name, what went into a layer and came out. Random layers are none, and neither are those that do nothing.
    """
    return [name for name, layer in net.named_modules() if name in seen and _fits(layer, *seen[name])]


def _fits(layer: nn.Module, x: Tensor, said: Tensor) -> bool:
    if any(True for _ in layer.parameters()) or any(True for _ in layer.children()):
        return False
    if x.ndim != said.ndim or len(x) != len(said) or not (x.is_floating_point() and said.is_floating_point()):
        return False
    if any(one not in (1, other) for one, other in zip(x.shape, said.shape, strict=True)):
        return False
    with torch.no_grad():
        again = layer.forward(x.clone())
    return torch.equal(again, said) and not torch.equal(x, said)
