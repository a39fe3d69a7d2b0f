"""What a defense costs: how often an example goes through the network, and back, while one batch is learned from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from models import relu
from sparring.attacks import PGD
from sparring.defenses import (
    ARD,
    AWP,
    CURE,
    FGSMRS,
    HAT,
    LIET,
    MART,
    NFGSM,
    TRADES,
    AdversarialTraining,
    Context,
    Defense,
    Distillation,
    FreeAT,
    GradAlign,
    InputGradient,
    Jacobian,
    LocalLinearity,
    LogitPairing,
    RobustDistillation,
    Standard,
)
from sparring.defenses.context import viewed
from sparring.defenses.defense import nested
from sparring.model import Model
from sparring.processes import Processes
from sparring.threats import Linf
from sparring.training import Linear, train
from sparring.training.learner import Step

ROWS = 7
X = torch.rand(ROWS, 1, 4, 4, generator=torch.Generator().manual_seed(0))
Y = torch.arange(ROWS) % 3
THREAT = Linf(0.1)
KL = PGD(steps=10, objective="kl")


class Passing(torch.autograd.Function):
    """The identity, which calls `back` with the gradient that passes it."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, back: Any) -> Tensor:
        ctx.back = back
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        ctx.back(len(gradient))
        return gradient, None


class Tally(nn.Module):
    """Counts rows by the mode they came in, and rows whose gradients reached the input, and the weights.

    A backward that wants one of the two only does not pass the other.
    """

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.net = relu(16, classes)
        self.one = nn.Parameter(torch.ones(()))
        self.rows: Counter[str] = Counter()
        self.frozen: list[bool] = []

    def forward(self, x: Tensor) -> Tensor:
        mode, rows = "train" if self.training else "eval", len(x)
        self.rows[f"{mode} forward"] += rows
        if torch.is_grad_enabled():
            self.frozen.append(not any(weight.requires_grad for weight in self.parameters()))
        x = Passing.apply(x, lambda count: self.rows.update({f"{mode} input backward": count}))
        one = Passing.apply(self.one.expand(rows), lambda count: self.rows.update({f"{mode} weights backward": count}))
        return self.net(x) * one[:, None]

    def passes(self) -> dict[str, float]:
        """How often each example went each way."""
        return {name: rows / ROWS for name, rows in self.rows.items()}


def passes(defense: Defense, **more: Any) -> dict[str, float]:
    """Those of one batch of `learn`."""
    net = Tally()
    x = X.clone().requires_grad_(any(part.differentiates for part in nested(defense)))
    context = Context(viewed(Model.of(net), "as-is"), x, Y, torch.arange(ROWS), THREAT, seed=0, epoch=1, **more)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    defense.learn(context, Step(net, optimizer, Processes(), ROWS, clip=None, average=None))
    return net.passes()


def counts(eval: float = 0, back: float = 0, train: float = 0, learned: float = 0, both: float = 0) -> dict[str, float]:
    """Forwards in evaluation mode; backwards there, to the input alone; forwards in training mode; backwards there to
    the weights; and to the input in training mode."""
    found = {
        "eval forward": eval,
        "eval input backward": back,
        "train forward": train,
        "train weights backward": learned,
        "train input backward": both,
    }
    return {name: count for name, count in found.items() if count}


LEARNED: dict[str, tuple[Defense, dict[str, float]]] = {
    "standard": (Standard(), counts(train=1, learned=1)),
    "adversarial": (AdversarialTraining(PGD(steps=10)), counts(eval=10, back=10, train=1, learned=1)),
    "adversarial, half clean": (
        AdversarialTraining(PGD(steps=10), share=0.5),
        counts(eval=10, back=10, train=2, learned=2),
    ),
    "trades": (TRADES(attack=KL), counts(eval=11, back=10, train=2, learned=2)),
    "mart": (MART(), counts(eval=10, back=10, train=2, learned=2)),
    "logit pairing": (LogitPairing(), counts(eval=10, back=10, train=2, learned=2)),
    "logit pairing with adversarial training": (
        LogitPairing() + AdversarialTraining(share=0.5),
        counts(eval=10, back=10, train=2, learned=2),
    ),
    "two defenses with one attack": (TRADES() + 0.5 * TRADES(beta=1.0), counts(eval=11, back=10, train=2, learned=2)),
    "awp on trades": (AWP(TRADES(attack=KL)), counts(eval=11, back=10, train=4, learned=4)),
    "awp that has not begun": (AWP(TRADES(attack=KL), warmup=0.1), counts(eval=11, back=10, train=2, learned=2)),
    "fgsm from a random start": (FGSMRS(), counts(eval=1, back=1, train=1, learned=1)),
    "n-fgsm": (NFGSM(), counts(eval=1, back=1, train=1, learned=1)),
    "free": (FreeAT(4), counts(train=4, learned=4, both=4)),
    "free, once": (FreeAT(1), counts(train=1, learned=1, both=1)),
}


@pytest.mark.parametrize(("defense", "expected"), LEARNED.values(), ids=LEARNED)
def test_a_batch_costs_what_the_paper_says(defense: Defense, expected: Mapping[str, float]) -> None:
    assert passes(defense) == expected


def test_an_attack_never_asks_for_gradients_of_the_weights() -> None:
    for defense in (AdversarialTraining(), TRADES(), NFGSM()):
        net = Tally()
        context = Context(viewed(Model.of(net), "as-is"), X, Y, torch.arange(ROWS), THREAT, seed=0, epoch=1)
        defense.loss(context)
        attacking, learning = net.frozen[: -len(context._looks)], net.frozen[-len(context._looks) :]
        assert attacking
        assert all(attacking)
        assert not any(learning)


def test_the_sensitive_step_of_liet_is_shared_with_what_it_learns_from() -> None:
    # Two looks, both learned from; the first also gives the step, and is passed once more when its weights learn.
    # Every 20th batch a grey image a class is looked at, and at first one example, to count the classes.
    often = passes(LIET(), step=1, memory={"liet informed": torch.zeros(3, 1, 4, 4)})
    assert often == counts(train=2, learned=2, both=2)
    assert passes(LIET(), step=1, progress=0.5, memory={"liet informed": torch.zeros(3, 1, 4, 4)}) == often
    first = passes(LIET())
    assert first["eval forward"] == pytest.approx((1 + 3) / ROWS)
    assert {name: count for name, count in first.items() if name.startswith("train")} == often


@pytest.mark.parametrize(
    ("defense", "forwards", "looks"),
    [
        (Standard() + InputGradient(), 1, 0),
        (Standard() + Jacobian(projections=3), 1, 0),
        (Standard() + Jacobian() + InputGradient() + CURE(), 2, 0),
        (Standard() + LocalLinearity(steps=2), 2, 3),
        (GradAlign(), 1, 2),
        (TRADES() + 0.1 * InputGradient(), 2, 11),
        (TRADES() + 0.1 * InputGradient() + 0.1 * Jacobian(), 2, 11),
    ],
    ids=repr,
)
def test_penalties_share_the_clean_forward_and_its_slope(defense: Defense, forwards: int, looks: int) -> None:
    found = passes(defense)
    assert found["train forward"] == forwards
    assert found.get("eval forward", 0) == looks


@pytest.mark.parametrize("defense", [NFGSM(), FGSMRS(), GradAlign(), LIET(), Standard() + LocalLinearity()], ids=repr)
def test_the_weights_of_awp_move_after_the_attack_which_is_not_run_again(defense: Defense) -> None:
    alone, wrapped = passes(defense), passes(AWP(defense))
    # GradAlign's penalty is no attack, and is asked anew.
    again = 1 if isinstance(defense, GradAlign) else 0
    assert wrapped["eval forward"] == alone["eval forward"] + again
    assert wrapped["train forward"] == 2 * alone["train forward"]


def test_training_itself_shares_the_clean_forward_with_a_penalty() -> None:
    net, rows = Tally(), []
    # A hook of the caller's fires on the copy that is trained.
    net.net.register_forward_pre_hook(lambda module, inputs: rows.append(len(inputs[0]) * module.training))
    train(net, (X, Y), TRADES(attack=KL) + 0.1 * InputGradient(), THREAT, epochs=1, batch_size=ROWS)
    assert sum(rows) == 2 * ROWS


@pytest.mark.parametrize(
    ("defense", "own", "teachers"),
    [
        (Distillation, counts(train=1, learned=1), 1),
        (RobustDistillation, counts(eval=10, back=10, train=2, learned=2), 1),
        (ARD, counts(eval=10, back=10, train=1, learned=1), 1),
        (HAT, counts(eval=11, back=10, train=3, learned=3), 1),
    ],
)
def test_a_teacher_is_asked_once_without_gradients(defense: type[Any], own: Mapping[str, float], teachers: int) -> None:
    teacher = Tally()
    assert passes(defense(teacher=teacher)) == own
    assert teacher.passes() == counts(eval=teachers)
    assert teacher.training
    assert all(weight.requires_grad and weight.grad is None for weight in teacher.parameters())


def test_terms_that_ask_the_same_teacher_the_same_ask_once() -> None:
    teacher = Tally()
    found = passes(0.5 * Distillation(teacher=teacher) + 0.5 * RobustDistillation(teacher=teacher))
    assert found == counts(eval=10, back=10, train=2, learned=2)
    assert teacher.passes() == counts(eval=1)


@pytest.mark.parametrize(("done", "steps"), [(0.0, 1), (0.24, 2), (0.5, 5), (1.0, 10)])
def test_effort_is_the_share_of_the_steps_that_is_made(done: float, steps: int) -> None:
    assert passes(AdversarialTraining(), effort=Linear(0, 1)(done)) == counts(
        eval=steps, back=steps, train=1, learned=1
    )


def test_what_another_tensor_was_asked_about_is_not_answered_for_it() -> None:
    """A tensor that is gone may lend its address to the next."""
    net = relu(16, 3)
    context = Context(viewed(Model.of(net), "as-is"), X, Y, torch.arange(ROWS), THREAT, seed=0, epoch=1)
    said = [context.judged(X * scale) for scale in (0.1, 0.5, 0.9)]
    for logits, scale in zip(said, (0.1, 0.5, 0.9), strict=True):
        assert torch.equal(logits, net(X * scale))
    references = 9 * torch.eye(3)[:, None].expand(3, ROWS, 3)
    for _ in range(4):
        away = [context.adversarial(KL, reference=reference.clone()) for reference in references]
        assert not torch.equal(away[0], away[1])
        assert not torch.equal(away[1], away[2])
