"""Backward-pass differentiable approximation, BPDA (Athalye, Carlini & Wagner 2018, section 4.1).

A named submodule runs forward as it is; backward, a smooth surrogate stands in for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from sparring.errors import InputError, ModelError
from sparring.randomness import normal

Surrogate = Callable[[Tensor], Tensor]


def identity(x: Tensor) -> Tensor:
    """The surrogate of a layer that hardly changes its input: rounding, compression, smoothing."""
    return x


class Estimated:
    """The surrogate of a layer of which nothing is known: its own slope, estimated from random differences.

    The gradient of the layer smoothed over N(0, radius²) (Nesterov & Spokoiny 2017, section 2): the layer alone is
    run 2 · samples times a backward pass, in batches.
    """

    def __init__(self, samples: int = 32, radius: float = 0.1) -> None:
        self.samples, self.radius = samples, radius

    def __repr__(self) -> str:
        return f"Estimated(samples={self.samples}, radius={self.radius:g})"

    def of(self, layer: Callable[[Tensor], Any], x: Tensor, output: Tensor) -> Tensor:
        """`output`, the layer's own, with the estimated slope behind it."""
        slope: Tensor = _Estimate.apply(x, output, layer, self)  # type: ignore[no-untyped-call]
        return slope


class _Estimate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, output: Tensor, layer: Callable[[Tensor], Any], how: Estimated) -> Tensor:
        ctx.save_for_backward(x)
        ctx.layer, ctx.how = layer, how
        return output.clone()

    @staticmethod
    def backward(ctx: Any, *above: Tensor) -> tuple[Tensor, None, None, None]:
        (x,) = ctx.saved_tensors
        how: Estimated = ctx.how
        total = torch.zeros_like(x)
        with torch.no_grad():
            for _ in range(how.samples):
                direction = normal(x)
                ahead, behind = ctx.layer(x + how.radius * direction), ctx.layer(x - how.radius * direction)
                rise = ((ahead - behind) * above[0]).flatten(1).sum(1)
                total += rise.reshape(-1, *[1] * (x.ndim - 1)) * direction
        return total / (2 * how.radius * how.samples), None, None, None


def named(net: nn.Module, surrogates: Mapping[str, Any]) -> dict[str, Surrogate | Estimated]:
    """The surrogates by submodule, checked: "identity", "estimate", a callable, or a module.

    Raises:
        InputError: no submodule has that name, or the surrogate is none.
    """
    words: dict[str, Surrogate | Estimated] = {"identity": identity, "estimate": Estimated()}
    known = dict(net.named_modules())
    found: dict[str, Surrogate | Estimated] = {}
    for name, surrogate in surrogates.items():
        if name not in known:
            raise InputError(
                f"bpda names {name!r}, which is no submodule of the network. There are: "
                f"{', '.join(filter(None, known)) or 'none'}"
            )
        chosen = words.get(surrogate) if isinstance(surrogate, str) else surrogate
        if chosen is None or not (callable(chosen) or isinstance(chosen, Estimated)):
            raise InputError(f'bpda has {surrogate!r} for {name!r}; give "identity", "estimate" or a callable')
        found[name] = chosen
    return found


@contextmanager
def substituted(net: nn.Module, surrogates: Mapping[str, Surrogate | Estimated]) -> Iterator[None]:
    """Inside, gradients flow through the surrogates; what the network says does not change."""
    modules = dict(net.named_modules())
    handles = [handle for name, one in surrogates.items() for handle in _hooked(name, modules[name], one)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _hooked(name: str, layer: nn.Module, surrogate: Surrogate | Estimated) -> list[Any]:
    entered: list[Tensor] = []

    def before(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
        if not torch.is_grad_enabled():
            return None
        entered.append(inputs[0])
        return (inputs[0].detach(), *inputs[1:])  # so that a layer which turns to NumPy does not refuse

    def after(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor | None:
        if not entered:
            return None
        x, exact = entered.pop(), output.detach()
        if isinstance(surrogate, Estimated):
            return surrogate.of(module.forward, x, exact)
        smooth = surrogate(x)
        if smooth.shape != exact.shape:
            raise ModelError(
                f"the surrogate of {name!r} turns {tuple(x.shape)} into {tuple(smooth.shape)}, the layer into "
                f'{tuple(exact.shape)}; give one of that shape, or "estimate"'
            )
        return exact + (smooth - smooth.detach())

    return [layer.register_forward_pre_hook(before), layer.register_forward_hook(after)]
