"""AutoAttack's warnings (Croce & Hein 2020; its "flags"), written anew from what they test, to compare the audit with.

Random: five forward passes differ, in accuracy or by 1e-4 in L2 after normalisation. Probabilities: the output is a
distribution. Dynamic: something is differentiated during a forward pass. Zero gradients: targeted APGD on DLR meets an
example whose first gradient is zero. Square: it breaks 0.2 % more than the white-box attacks left standing. Where there
is no gradient at all AutoAttack stops with an error; that counts as a warning too.
"""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn

import sparring as sp
from sparring.attacks import Attack
from sparring.draws import Draws
from sparring.errors import NoGradient
from sparring.objectives import dlr
from sparring.problem import Goal

FIRST, SECOND = sp.APGD(), sp.APGD(objective="dlr", n_targets=9)  # the published one has FAB too
BLACK_BOX = (sp.Square(queries=300), sp.Square(queries=5000))  # the short one only to be done sooner
MORE = 0.002
RULES = ("random", "probabilities", "dynamic", "zero gradients", "Square", "error")
DIFFERENTIATING = ("grad", "backward", "_make_grads")


def warnings(net: nn.Module, x: Tensor, y: Tensor, threat: Any, seed: int) -> dict[str, bool]:
    """Which rules fire; Square is asked only where nothing else fired, for it takes the longest."""
    for parameter in net.parameters():
        parameter.requires_grad_(False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fired = dict.fromkeys(RULES, False)
        fired["random"] = random(net, x, y)
        fired["probabilities"] = probabilities(net, x)
        fired["dynamic"] = dynamic(net, x)
        try:
            at = standing(net, x, y, threat, seed, FIRST, torch.arange(len(x)))
            fired["zero gradients"] = dead(net, x[at], y[at], threat, seed)
            if not any(fired.values()):
                at = standing(net, x, y, threat, seed, SECOND, at)
                fired["Square"] = beaten(net, x, y, threat, seed, at)
        except NoGradient:
            fired["error"] = True
    return fired


def random(net: nn.Module, x: Tensor, y: Tensor) -> bool:
    with torch.no_grad():
        outputs = [net(x) for _ in range(5)]
    right = {int((_logits(output).argmax(1) == y).sum()) for output in outputs}
    directions = torch.stack([_logits(o) / (_logits(o).norm(dim=1, keepdim=True) + 1e-10) for o in outputs])
    apart = max(float((one - other).norm(dim=1).max()) for one in directions for other in directions)
    return len(right) > 1 or apart > 1e-4


def probabilities(net: nn.Module, x: Tensor) -> bool:
    with torch.no_grad():
        output = _logits(net(x))
    within = bool((output > -1e-5).all()) and bool((output < 1 + 1e-5).all())
    return within and bool(((output.sum(1) - 1).abs() < 1e-5).all())


def dynamic(net: nn.Module, x: Tensor) -> bool:
    """Whether a function named as those that differentiate is entered during a forward pass."""
    entered: set[str] = set()

    def trace(frame: FrameType, event: str, argument: object) -> None:
        if event == "call":
            entered.add(frame.f_code.co_name)

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        net(x)
    finally:
        sys.settrace(before)
    return bool(entered & set(DIFFERENTIATING))


def dead(net: nn.Module, x: Tensor, y: Tensor, threat: Any, seed: int) -> bool:
    """Whether a gradient of targeted DLR at a random start is zero."""
    if not len(x):
        return False
    with torch.no_grad():
        aim = _logits(net(x)).scatter(1, y[:, None], -torch.inf).argmax(1)
    at = threat.around(x, (0.0, 1.0)).sample(Draws(seed), torch.arange(len(x)), 0).requires_grad_(True)
    score = dlr(_logits(net(at)), Goal(y, aim=aim))
    if not score.requires_grad:
        raise NoGradient("there is no gradient")
    (gradient,) = torch.autograd.grad(score.sum(), at)
    return bool((gradient.flatten(1).abs().sum(1) == 0).any())


def beaten(net: nn.Module, x: Tensor, y: Tensor, threat: Any, seed: int, at: Tensor) -> bool:
    """Whether Square breaks a share of more than MORE beyond the white-box attacks, which left the rows `at`."""
    return any(
        len(at) - len(standing(net, x, y, threat, seed, attack, at)) > MORE * len(x) for attack in BLACK_BOX if len(at)
    )


def standing(net: nn.Module, x: Tensor, y: Tensor, threat: Any, seed: int, attack: Attack, at: Tensor) -> Tensor:
    """The rows among `at` that an attack does not break."""
    return at[~attack(net, x[at], y[at], threat, seed=seed, index=at).success]


def _logits(output: Tensor) -> Tensor:
    """Two classes of one number."""
    return output if output.ndim == 2 else torch.stack([torch.zeros_like(output), output], 1)
