"""Backward-pass differentiable approximation, BPDA (Athalye, Carlini & Wagner 2018, section 4.1).

A named submodule runs forward as it is; backward, a smooth surrogate stands in for it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import copy_context
from typing import Any

import torch
from torch import Tensor, nn

from sparring.errors import InputError, ModelError
from sparring.randomness import normal
from sparring.rows import column

Surrogate = Callable[[Tensor], Tensor]


def identity(x: Tensor) -> Tensor:
    """The surrogate of a layer that hardly changes its input: rounding, compression, smoothing."""
    return x


class Estimated:
    """The surrogate of a layer of which nothing is known: its own slope, estimated from random differences.

    The gradient of the layer smoothed over normal noise (Nesterov & Spokoiny 2017, section 2): the layer alone is run
    2 · samples times a backward pass. radius: the noise, as a share of the standard deviation of what enters in a row.
    """

    def __init__(self, samples: int = 32, radius: float = 0.25) -> None:
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
        ctx.context = copy_context()  # on an accelerator backward runs in another thread, where no look is published
        return output.clone()

    @staticmethod
    def backward(ctx: Any, *above: Tensor) -> tuple[Tensor, None, None, None]:
        (x,) = ctx.saved_tensors
        how: Estimated = ctx.how
        total = torch.zeros_like(x)
        usual = x.flatten(1).std(1) if x[0].numel() > 1 else x.abs().flatten()
        size = column(how.radius * usual.where(usual > 0, 1), x)
        with torch.no_grad():
            for _ in range(how.samples):
                direction = ctx.context.run(normal, x)
                ahead, behind = ctx.layer(x + size * direction), ctx.layer(x - size * direction)
                total += column(((ahead - behind) * above[0]).flatten(1).sum(1), x) * direction
        return total / (2 * how.samples * size), None, None, None


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
    """Inside, gradients flow through the surrogates; what the network says does not change.

    The backward hooks of a substituted layer are part of what is substituted, and silent. Of nested substitutions of
    one layer the innermost holds.
    """
    modules = dict(net.named_modules())
    placed = [_Substitution(name, modules[name], one) for name, one in surrogates.items()]
    try:
        for one in placed:
            one.enter()
        yield
    finally:
        for one in reversed(placed):
            one.leave()


class _Substitution:
    """A surrogate in a layer's place, by hooks."""

    def __init__(self, name: str, layer: nn.Module, surrogate: Surrogate | Estimated) -> None:
        self.name, self.layer, self.surrogate = name, layer, surrogate
        self.entered: list[tuple[Tensor, tuple[Any, ...]]] = []
        self.handles: list[Any] = []
        self.outer: list[_Substitution] = []
        self.silent: dict[str, Any] = {}
        self.paused = False

    def enter(self) -> None:
        hooks = [getattr(hook, "__self__", None) for hook in self.layer._forward_pre_hooks.values()]
        self.outer = [one for one in hooks if isinstance(one, _Substitution) and not one.paused]
        for one in self.outer:
            one.paused = True
        self.silent = {name: getattr(self.layer, name) for name in ("_backward_hooks", "_backward_pre_hooks")}
        for name in self.silent:
            setattr(self.layer, name, OrderedDict())
        before, after = self.layer.register_forward_pre_hook, self.layer.register_forward_hook
        self.handles = [before(self.before), after(self.after)]

    def leave(self) -> None:
        for handle in self.handles:
            handle.remove()
        for name, hooks in self.silent.items():
            setattr(self.layer, name, hooks)
        for one in self.outer:
            one.paused = False

    def before(self, module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
        if self.paused or not torch.is_grad_enabled():
            return None
        if not inputs or not isinstance(inputs[0], Tensor):
            raise ModelError(f"bpda stands in for {self.name!r}, which is not called with a tensor first; name another")
        x, *rest = inputs
        self.entered.append((x, tuple(rest)))
        return (x.detach(), *rest)  # so that a layer which turns to NumPy does not refuse

    def after(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> Tensor | None:
        if self.paused or not self.entered or not torch.is_grad_enabled():
            return None
        if not isinstance(output, Tensor):
            kind = type(output).__name__
            raise ModelError(f"bpda stands in for {self.name!r}, which returns a {kind} and no tensor; name another")
        (x, rest), exact = self.entered.pop(), output.detach()
        if isinstance(self.surrogate, Estimated):
            return self.surrogate.of(lambda at: module.forward(at, *rest), x, exact)
        smooth = self.surrogate(x)
        if smooth.shape != exact.shape:
            raise ModelError(
                f"the surrogate of {self.name!r} turns {tuple(x.shape)} into {tuple(smooth.shape)}, the layer into "
                f'{tuple(exact.shape)}; give one of that shape, or "estimate"'
            )
        return exact + (smooth - smooth.detach())
