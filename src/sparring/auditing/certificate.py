"""C: nothing inside a certified radius can be broken. Where a certificate exists, an attack that breaks it is a bug.

Interval bounds (Gowal et al. 2018, section 3) of plain sequences of layers.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from sparring.auditing.finding import Finding
from sparring.auditing.subject import Subject
from sparring.model import Model
from sparring.threats.linf import LinfBall


def certificate(subject: Subject, broken: Tensor) -> Finding | None:
    """Whether an attack broke an example that interval bounds certify; None where the network is not of that kind."""
    region = subject.problem.region
    if not isinstance(region, LinfBall):
        return None
    low = torch.maximum(region.centre - _radius(region), region.low)
    high = torch.minimum(region.centre + _radius(region), region.high)
    bounds = intervals(subject.model, low, high)
    if bounds is None:
        return None
    label = subject.problem.goal.label[:, None]
    others = bounds[1].scatter(1, label, -torch.inf).amax(1)
    certified = bounds[0].gather(1, label).squeeze(1) > others
    wrong = int((certified & broken).sum())
    told = f"interval bounds certify {int(certified.sum())} of {len(certified)} examples, attacks broke {wrong} of them"
    return Finding("C certificate", float(wrong), 0.0, wrong > 0, "unreliable", told)


def _radius(region: LinfBall) -> Tensor:
    return region.radius.reshape(-1, *[1] * (region.centre.ndim - 1))


def intervals(model: Model, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor] | None:
    """Bounds of the logits (N, K) over the box of inputs; None where a layer is of no known kind."""
    net = model.net
    if not isinstance(net, nn.Module) or model.eot > 1 or model.mean is not None or model.std is not None:
        return None
    layers = sequence(model, net, low[:1])
    if layers is None:
        return None
    centre, radius = (low.double() + high.double()) / 2, (high.double() - low.double()) / 2
    with torch.no_grad():
        for layer in layers:
            centre, radius = _through(layer, centre, radius)
    # Rounding in the network's own precision may leave its logits a little outside.
    slack = 1e-4 * (1 + centre.abs().amax(1, keepdim=True))
    return centre - radius - slack, centre + radius + slack


def sequence(model: Model, net: nn.Module, x: Tensor) -> list[nn.Module] | None:
    """The layers of `net`, where each is of a known kind and hands its output, itself, to the next; else None."""
    ran: list[tuple[nn.Module, Any, Any]] = []
    leaves = [module for module in net.modules() if not list(module.children())]
    hooked = any(one._forward_hooks or one._forward_pre_hooks for one in net.modules())
    if hooked or not all(isinstance(leaf, KNOWN) for leaf in leaves):
        return None
    handles = [
        module.register_forward_hook(lambda module, inputs, output: ran.append((module, inputs[0], output)))
        for module in (*leaves, *([net] if net not in leaves else []))
    ]
    try:
        with torch.no_grad():
            model.once(x)
    finally:
        for handle in handles:
            handle.remove()
    *inner, (_, entered, left) = ran if net not in leaves else [*ran, *ran]
    for _, taken, given in inner:
        if taken is not entered:
            return None
        entered = given
    return [layer for layer, _, _ in inner] if entered is left else None


KNOWN = (nn.Linear, nn.Conv2d, nn.ReLU, nn.Flatten, nn.AvgPool2d, nn.MaxPool2d, nn.Dropout, nn.Identity)


def _through(layer: nn.Module, centre: Tensor, radius: Tensor) -> tuple[Tensor, Tensor]:
    match layer:
        case nn.Linear():
            weight = layer.weight.double()
            moved = functional.linear(centre, weight, None if layer.bias is None else layer.bias.double())
            return moved, functional.linear(radius, weight.abs())
        case nn.Conv2d():
            conv, spread = (copy.deepcopy(layer).double() for _ in range(2))
            spread.weight.abs_()
            spread.bias = None
            return conv(centre), spread(radius)
        case nn.Dropout() | nn.Identity():
            return centre, radius
        case nn.Flatten() | nn.AvgPool2d():
            return layer(centre), layer(radius)
    high, low = layer(centre + radius), layer(centre - radius)  # what never falls when its input rises
    return (high + low) / 2, (high - low) / 2
