"""Activations that jump instead of ReLU: k-winners-take-all (Xiao et al. 2020), MeanSparse (Amini et al. 2024)."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn

from sparring.defenses.masking.transform import Stage, Transform
from sparring.draws import isolated
from sparring.errors import InputError
from sparring.model import Model
from sparring.values import Amount, PositiveShare

WIDTH = 0.3  # of soft winners, in standard deviations of a layer: on digits 0.1 and 1 find less


@dataclass(frozen=True)
class KWinners(Transform):
    """Replaces every nn.ReLU of a copy of the network: each layer keeps the top share of its values, the rest are 0.

    Train the network with it, sp.train(KWinners(0.2)(net), …), or wrap one that is trained. It promises a loss whose
    gradient says nothing of the neighbourhood, since which values win changes from point to point. Tramèr et al. (2020,
    section 5) average gradients over points around; soft winners in their place backward (BPDA) do as well at one look
    a gradient, and on digits Square, which asks for scores alone, does best.
    """

    share: PositiveShare = 0.2
    promise: ClassVar[str] = "gradients that change abruptly from point to point"
    broken_by: ClassVar[str] = (
        "Square, from scores alone; PGD through soft winners (BPDA), or on averaged gradients (Smoothed)"
    )

    def within(self, model: Model) -> Model:
        twin, relus = _twin(self, model)
        return _replaced(twin, {relu: Winners(self) for relu in relus})


class Winners(Stage[KWinners]):
    """Values (N, …) of which the largest ceil(share · d) of each row stay."""

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(1)
        values, places = self._winners(flat)
        return torch.zeros_like(flat).scatter(1, places, values).view_as(x)

    def surrogate(self, x: Tensor) -> Tensor:
        """Soft winners: a value counts by how far it is from the last winner, so that losers near it take part."""
        flat = x.flatten(1)
        last, width = self._winners(flat.detach())[0][:, -1:], WIDTH * flat.detach().std(1, correction=0, keepdim=True)
        return (flat * ((flat - last) / width.clamp_min(torch.finfo(x.dtype).tiny)).sigmoid()).view_as(x)

    def _winners(self, flat: Tensor) -> tuple[Tensor, Tensor]:
        # Less a rounding error: 0.07 · 100 is a little more than 7.
        values, places = flat.topk(max(1, math.ceil(self.how.share * flat.shape[1] - 1e-9)), dim=1)
        return values, places


@dataclass(frozen=True)
class MeanSparse(Transform):
    """Replaces values before every nn.ReLU of a copy of the network: those near their channel's mean become the mean.

    x: the inputs that mean and standard deviation of each channel (axis 1) are taken over. sigmas: how many standard
    deviations are near. It promises to block small changes of features that say little; on top of adversarial training
    its authors gain several points. Where it blocks its gradient is zero, which overstates it. Backward (BPDA) a slope
    that rises towards the edge of what is blocked finds more than the identity, which counts what is blocked for good.
    """

    x: Tensor | None = field(default=None, repr=False, compare=False)
    sigmas: Amount = 0.2
    promise: ClassVar[str] = "small changes of features that say little are blocked"
    broken_by: ClassVar[str] = "PGD through a slope instead of the blocking (BPDA)"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.x is not None and not (isinstance(self.x, Tensor) and self.x.is_floating_point() and len(self.x)):
            raise InputError(
                "MeanSparse has an x that is no floating tensor (N, …); give inputs such as training images"
            )

    def within(self, model: Model) -> Model:
        if self.x is None:
            raise InputError("MeanSparse has x=None; give the inputs to take means over, such as training images")
        twin, relus = _twin(self, model)
        moments = _moments(twin, relus, self.x)
        made = {relu: nn.Sequential(Blocking(self, mean, std), relu) for relu, (mean, std) in moments.items()}
        return _replaced(twin, made)


class Blocking(Stage[MeanSparse]):
    """Values (N, C, …) of which those within sigmas · std of their channel's mean become the mean."""

    mean: Tensor
    reach: Tensor

    def __init__(self, how: MeanSparse, mean: Tensor, std: Tensor) -> None:
        super().__init__(how)
        self.register_buffer("mean", mean)
        self.register_buffer("reach", how.sigmas * std)

    def forward(self, x: Tensor) -> Tensor:
        mean, reach = self._band(x)
        return torch.where((x - mean).abs() <= reach, mean, x)

    def surrogate(self, x: Tensor) -> Tensor:
        """x, whose slope falls from 1 at the edge of what is blocked to 0 at the mean."""
        mean, reach = self._band(x)
        return x * ((x - mean).abs() / reach.clamp_min(torch.finfo(x.dtype).tiny)).clamp(max=1).square().detach()

    def _band(self, x: Tensor) -> tuple[Tensor, Tensor]:
        shape = (1, -1, *[1] * (x.ndim - 2))
        return self.mean.to(x.dtype).reshape(shape), self.reach.to(x.dtype).reshape(shape)


def _twin(how: Transform, model: Model) -> tuple[Model, list[nn.Module]]:
    """A copy of the model with weights of its own, and its ReLUs."""
    if not any(isinstance(module, nn.ReLU) for module in model.modules()):
        raise InputError(
            f"{how!r} replaces nn.ReLU modules, and the network has none; write its activations as nn.ReLU()"
        )
    try:
        twin = copy.deepcopy(model)
    except Exception as error:
        raise InputError(
            f"the network cannot be copied ({type(error).__name__}: {error}); {how!r} changes a copy"
        ) from error
    return twin, [module for module in twin.modules() if isinstance(module, nn.ReLU)]


def _replaced(model: Model, new: Mapping[nn.Module, nn.Module]) -> Model:
    """The model with those submodules replaced, wherever they stand: one may stand in several places."""
    for module in list(model.modules()):
        for name, child in list(module._modules.items()):  # named_children leaves repeated ones out
            if child is not None and child in new:
                setattr(module, name, new[child])
    return model


def _moments(model: Model, layers: Sequence[nn.Module], x: Tensor) -> dict[nn.Module, tuple[Tensor, Tensor]]:
    """Mean and standard deviation of each channel of what enters each layer, while the model looks at x."""
    totals: dict[nn.Module, Tensor] = {}  # count, sum, sum of squares

    def count(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        values = inputs[0].detach().double().transpose(0, 1).flatten(1)
        sums = torch.stack([torch.ones_like(values).sum(1), values.sum(1), values.square().sum(1)])
        if layer in totals and totals[layer].shape != sums.shape:
            raise InputError(
                "MeanSparse found one nn.ReLU used at several widths; give each place an nn.ReLU of its own"
            )
        totals[layer] = totals[layer] + sums if layer in totals else sums

    handles = [layer.register_forward_pre_hook(count) for layer in layers]
    try:
        with torch.no_grad(), isolated(0, x.device):
            seen = model.seen_by(mode="eval")
            for first in range(0, len(x), 128):
                seen(x[first : first + 128])
    finally:
        for handle in handles:
            handle.remove()
    found = {}
    for layer, (rows, first, second) in totals.items():
        mean = first / rows
        found[layer] = mean.to(x.dtype), (second / rows - mean.square()).clamp_min(0).sqrt().to(x.dtype)
    return found
