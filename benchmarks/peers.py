"""Other libraries, run as their own documentation says; one that is not installed raises Absent."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module, metadata
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.fixtures import Absent, find

Run = Callable[[Tensor, Tensor], Tensor]  # images (N, …) and labels (N,) to adversarial images

PACKAGES = {
    "torchattacks": "torchattacks",
    "foolbox": "foolbox",
    "ART": "adversarial-robustness-toolbox",
    "adv_lib": "adv-lib",
}


def version(peer: str) -> str:
    """The installed version, or the reason why there is none."""
    try:
        return metadata.version(PACKAGES[peer])
    except metadata.PackageNotFoundError:
        return "not installed"


def pgd(peer: str, net: nn.Module, steps: int, eps: float, step_size: float) -> Run:
    """L-infinity PGD on cross-entropy from one random start, inputs in [0, 1].

    Raises:
        Absent: the peer is not installed.
    """
    match peer:
        case "torchattacks":
            attack = _module("torchattacks").PGD(net, eps=eps, alpha=step_size, steps=steps, random_start=True)
            return lambda x, y: attack(x, y)
        case "foolbox":
            foolbox = _module("foolbox")
            wrapped = foolbox.PyTorchModel(net, bounds=(0, 1))
            linf = foolbox.attacks.LinfPGD(abs_stepsize=step_size, steps=steps, random_start=True)
            return lambda x, y: linf(wrapped, x, y, epsilons=eps)[1]
        case "ART":
            return _art_pgd(net, steps, eps, step_size)
        case "adv_lib":
            pgd_linf = _adv_lib().pgd_linf
            return lambda x, y: pgd_linf(net, x, y, eps, steps=steps, absolute_step_size=step_size)
    raise ValueError(peer)


def apgd(peer: str, net: nn.Module, steps: int, eps: float) -> Run:
    """L-infinity APGD on cross-entropy, one restart: the authors' own code ("AutoAttack"), or adv_lib's.

    Raises:
        Absent: the peer is not there.
    """
    if peer == "AutoAttack":
        base = _autoattack("autoattack.autopgd_base")
        attack = base.APGDAttack(net, n_iter=steps, norm="Linf", n_restarts=1, eps=eps, seed=0, loss="ce")
        return lambda x, y: attack.perturb(x, y)
    run = _adv_lib().apgd
    return lambda x, y: run(net, x, y, eps, float("inf"), n_iter=steps, loss_function="ce")


def autoattack(net: nn.Module, norm: str, eps: float, version: str, batch: int) -> Run:
    """AutoAttack, all of that version, by the authors' own code; norm is "Linf", "L2" or "L1".

    Raises:
        Absent: the code is not there.
    """
    kind = _autoattack("autoattack").AutoAttack
    whole = kind(net, norm=norm, eps=eps, version=version, seed=0, device="cpu", verbose=False)
    return lambda x, y: whole.run_standard_evaluation(x, y, bs=batch)


def carlini_wagner_l2(peer: str, net: nn.Module, searches: int, steps: int) -> Run:
    """Untargeted L2 C&W with learning rate 0.01, first constant 1e-3, confidence 0 and early aborts.

    Raises:
        Absent: the peer is not installed.
    """
    if peer == "foolbox":
        foolbox = _module("foolbox")
        wrapped = foolbox.PyTorchModel(net, bounds=(0, 1))
        attack = foolbox.attacks.L2CarliniWagnerAttack(searches, steps, 0.01, 0, 1e-3, abort_early=True)
        return lambda x, y: attack(wrapped, x, y, epsilons=None)[0]
    run = _adv_lib().carlini_wagner_l2
    budget = {"binary_search_steps": searches, "max_iterations": steps}
    return lambda x, y: run(net, x, y, learning_rate=0.01, initial_const=1e-3, **budget)


def _art_pgd(net: nn.Module, steps: int, eps: float, step_size: float) -> Run:
    evasion, classification = _module("art.attacks.evasion"), _module("art.estimators.classification")

    def run(x: Tensor, y: Tensor) -> Tensor:
        estimator = classification.PyTorchClassifier(
            net, nn.CrossEntropyLoss(), tuple(x.shape[1:]), 10, clip_values=(0.0, 1.0), device_type="cpu"
        )
        attack = evasion.ProjectedGradientDescent(
            estimator, eps=eps, eps_step=step_size, max_iter=steps, num_random_init=1, batch_size=len(x), verbose=False
        )
        return torch.from_numpy(attack.generate(x.numpy(), y.numpy()))

    return run


def _autoattack(name: str) -> Any:
    folder = str(find("peers"))
    find("peers/autoattack")
    sys.path.insert(0, folder)
    try:
        return _module(name)
    finally:
        sys.path.remove(folder)


def _adv_lib() -> Any:
    with _stood_in("torchvision", "torchvision.models", "visdom"):
        return _module("adv_lib.attacks")


def _module(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise Absent(f"{name.partition('.')[0]} cannot be imported ({error}); `make bench` installs it") from error


@contextmanager
def _stood_in(*names: str) -> Iterator[None]:
    """Empty modules where a peer imports, at its top, what none of the attacks measured here use."""
    added = [name for name in names if name not in sys.modules]
    for name in added:
        sys.modules[name] = ModuleType(name)
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, sys.modules[name])
    try:
        yield
    finally:
        for name in added:
            del sys.modules[name]
