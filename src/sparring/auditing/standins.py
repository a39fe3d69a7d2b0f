"""What might stand in for a network's gradient, and how far a few steps along it lead."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from sparring.auditing.battery import spread
from sparring.auditing.layers import guilty
from sparring.auditing.pointwise import candidates
from sparring.auditing.subject import Subject
from sparring.auditing.views import DECLARED, POINTWISE, View
from sparring.errors import NoGradient
from sparring.objectives import margin, probability_margin
from sparring.oracle import Oracle
from sparring.problem import Problem

STEPS = 6  # of a climb
DRAWS = 4  # a step of it, where the network is random
PARTS = 2  # tried in the whole network's place


def suggested(subject: Subject, classes: int, saturated: bool) -> list[View]:
    """What might lead farther than the network's own gradient, by unique names.

    Stand-ins for the layers that mislead and for those that say what to differentiate instead; the slope of every layer
    that works entry by entry; a part alone; where the softmax is saturated, the logits on another scale.
    """
    net = subject.model.net
    assert isinstance(net, nn.Module)
    modules = dict(net.named_modules())
    declared = {name: DECLARED for name, module in modules.items() if hasattr(module, "surrogate")}
    misleading = {layer.name: layer.stand_in for layer in guilty(subject) if layer.name}
    seen = _watched(subject, net)
    entries = dict.fromkeys(candidates(seen, net), POINTWISE)
    whole = [name for name, (x, said) in seen.items() if name and _whole(subject, x, said, classes)]
    inner = [name for name in whole if not any(other.startswith(f"{name}.") for other in whole)]
    found = [View("stand-ins", {**misleading, **declared})]
    if (slopes := View("pointwise", {**entries, **declared})).layers != found[0].layers:
        found.append(slopes)
    found = [view for view in found if view.layers]
    found += [View(f"part {name}", part=name) for name in inner[:PARTS]]
    return [*found, View("scale", scale=spread(subject))] if saturated else found


def _watched(subject: Subject, net: nn.Module) -> dict[str, tuple[Tensor, Tensor]]:
    """By name, what went into every layer that turns one tensor into another, and what came out, at the first call."""
    rows = subject.first(2)
    seen: dict[str, tuple[Tensor, Tensor]] = {}
    entered: dict[str, Tensor | None] = {}

    def watched(name: str, module: nn.Module) -> list[Any]:
        def before(_: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
            one = len(inputs) == 1 and not named and isinstance(inputs[0], Tensor)
            entered.setdefault(name, inputs[0].detach().clone() if one else None)

        def after(_: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            x = entered.get(name)
            if isinstance(x, Tensor) and isinstance(output, Tensor) and x.ndim > 0:
                seen.setdefault(name, (x, output.detach().clone()))

        pre = module.register_forward_pre_hook(before, prepend=True, with_kwargs=True)
        return [pre, module.register_forward_hook(after)]

    handles = [handle for name, module in net.named_modules() for handle in watched(name, module)]
    try:
        subject.logits("layers", rows, rows.x)
    finally:
        for handle in handles:
            handle.remove()
    return {name: seen[name] for name, _ in net.named_modules() if name in seen}


def _whole(subject: Subject, x: Tensor, said: Tensor, classes: int) -> bool:
    """Whether a layer takes what the network takes, and returns logits of as many classes."""
    return x.shape[1:] == subject.problem.x.shape[1:] and said.shape == (len(x), classes)


def climbed(subject: Subject, view: View | None) -> Tensor:
    """(N,) the share of the way to an error that a few steps along a view's gradient come; 0 where there is none."""
    model = subject.model.seen_by(eot=DRAWS if subject.random else 1)
    seen = model if view is None else view.of(model)

    def question(oracle: Oracle, rows: Problem) -> Tensor:
        x, clean = rows.x, margin(oracle.logits(rows, rows.x), rows.goal)
        best = clean
        for step in range(STEPS):
            found = oracle.gradient(rows, x, probability_margin)
            best = best.maximum(margin(found.logits, rows.goal))
            x = rows.region.project(rows.region.moved(x, found.gradient, 1 - step / STEPS))
        best = best.maximum(margin(oracle.logits(rows, x), rows.goal))
        return torch.where(clean < 0, 1 - best.clamp(max=0) / clean.clamp(max=-1e-30), 1.0).double().clamp(0, 1)

    try:
        with seen.quiet():
            return subject.ask("climb", subject.problem, seen, question)
    except Exception as error:
        # Stand-ins run foreign layers alone, at points that these may refuse for any reason; such a view is no use.
        if view is None and not isinstance(error, NoGradient):
            raise
        return torch.zeros_like(subject.problem.slot, dtype=torch.float64)
