"""After any attack, finished or broken off, the caller's network and every random generator are as they were."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import sparring as sp
from models import Then, crash, mixed
from quick import ATTACKS, FORMS, NORMS, quick

EVERY = pytest.mark.parametrize("name", ATTACKS)


def network(after: int = 10**9) -> nn.Module:
    """Mixed flags, gradients, hooks; breaks down after so many calls."""
    return Then(mixed(8, 3), crash, after)


def question(rows: int = 6) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(rows, 8, generator=generator)
    return x, sp.Model(network())(x).argmax(1)


def snapshot(net: nn.Module) -> dict[str, Any]:
    """Everything of the network and of the process that an attack might disturb."""
    numpy = np.random.get_state()  # noqa: NPY002 - the global state is what is under test
    return {
        "flags": [module.training for module in net.modules()],
        "hooks": [(list(m._forward_hooks), list(m._forward_pre_hooks), list(m._backward_hooks)) for m in net.modules()],
        "frozen": [p.requires_grad for p in net.parameters()],
        "identity": [id(p) for p in net.parameters()],
        "gradients": [None if p.grad is None else (id(p.grad), p.grad.tolist()) for p in net.parameters()],
        "values": {key: (value.dtype, value.device, value.tolist()) for key, value in net.state_dict().items()},
        "random": (random.getstate(), numpy[1].tolist(), numpy[2:], torch.get_rng_state().tolist()),
        "modes": (torch.is_grad_enabled(), torch.get_default_dtype(), torch.are_deterministic_algorithms_enabled()),
    }


def threat(name: str) -> Any:
    """The first threat the attack knows, wide enough to keep it busy."""
    norm = next(norm for attack, norm in FORMS if attack == name)
    return NORMS[norm](0.01 if norm != "l0" else 1)


@EVERY
def test_an_attack_leaves_everything_as_it_was(name: str) -> None:
    net, (x, y) = network(), question()
    before = snapshot(net)
    quick(name)(net, x, y, threat(name))
    assert snapshot(net) == before


@EVERY
@pytest.mark.parametrize("after", [0, 1, 2])
def test_an_attack_that_broke_down_leaves_everything_as_it_was(name: str, after: int) -> None:
    net, (x, y) = network(after), question()
    before = snapshot(net)
    with pytest.raises(ZeroDivisionError, match="the network broke down"):
        quick(name)(net, x, y, threat(name))
    assert snapshot(net) == before


@EVERY
def test_an_attack_works_where_gradients_are_switched_off_and_leaves_them_off(name: str) -> None:
    net, (x, y) = network(), question()
    expected = quick(name)(net, x, y, threat(name))
    with torch.no_grad():
        before = snapshot(net)
        out = quick(name)(net, x, y, threat(name))
        assert snapshot(net) == before
    assert torch.equal(out.x, expected.x)


@EVERY
def test_an_attack_under_a_model_of_the_callers_leaves_the_model_too(name: str) -> None:
    model, (x, y) = sp.Model(network()), question()
    model.eval()
    model.net.net[3].train()
    before = snapshot(model)
    quick(name)(model, x, y, threat(name))
    assert snapshot(model) == before


@EVERY
def test_the_callers_hooks_keep_firing(name: str) -> None:
    net, (x, y) = network(), question()
    fired: list[int] = []
    net.register_forward_hook(lambda module, inputs, output: fired.append(len(output)))
    out = quick(name)(net, x, y, threat(name))
    assert sum(fired) == int(out.forwards.sum())


@EVERY
def test_the_callers_tensors_are_not_written_to(name: str) -> None:
    net, (x, y) = network(), question()
    copies, targets = (x.clone(), y.clone()), (y + 1) % 3
    x.requires_grad_(True)
    versions = x._version, y._version, targets._version
    quick(name)(net, x, y, threat(name))
    out = quick(name)(net, x, None, threat(name), targets=targets)
    assert (x._version, y._version, targets._version) == versions
    assert torch.equal(x, copies[0])
    assert torch.equal(y, copies[1])
    assert x.grad is None
    assert x.requires_grad
    assert not out.x.requires_grad


def test_the_textbook_fgsm_leaves_everything_but_running_statistics() -> None:
    net, (x, y) = network(), question()
    before = snapshot(net)
    sp.FGSM(clip=False)(net, x, y, sp.Linf(0.1))
    assert snapshot(net) == before  # its batch norm is the one module in evaluation mode


@EVERY
def test_the_outcome_shares_no_memory_with_the_input(name: str) -> None:
    net, (x, y) = network(), question()
    copy = x.clone()
    out = quick(name)(net, x, (y + 1) % 3, threat(name))  # all wrong from the start
    out.x.add_(1)
    assert torch.equal(x, copy)
