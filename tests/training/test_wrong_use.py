"""What cannot be trained is refused in words that name the value and the remedy; what goes wrong later is told."""

from __future__ import annotations

import errno
import re
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from models import linear, seeded
from runs import Net, assert_equal, kept
from sparring.attacks import PGD, CarliniWagner
from sparring.data import load
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
from sparring.errors import InputError, ModelError, ResumeError
from sparring.model import Model
from sparring.processes import Processes
from sparring.threats import L0, L1, L2, Linf
from sparring.training import (
    Cosine,
    Flip,
    Linear,
    Milestones,
    OneCycle,
    PadCrop,
    TrainingAlarm,
    train,
)
from sparring.training.learner import Step
from sparring.training.watch import Watch
from sparring.zoo import SmallCNN

ROWS = 40
X = torch.rand(ROWS, 1, 4, 4, generator=torch.Generator().manual_seed(0))
Y = torch.arange(ROWS) % 3
AT = AdversarialTraining(PGD(steps=1))
KL = PGD(steps=1, objective="kl")


class L2Only(PGD):
    """An attack that has no form for other norms."""

    norms = frozenset({"l2"})


# Arguments of `train`.


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"threat": Linf(8)},
            "threat is Linf(eps=8, mask=None), and no two inputs in (0.0, 1.0) are farther apart than 1",
        ),
        ({"threat": Linf(8)}, "such as Linf(8/255)"),
        (
            {"threat": L2(128)},
            "are farther apart than 4; give the radius in the units of the inputs, such as L2(128/255)",
        ),
        ({"threat": L1(17.0)}, "farther apart than 16"),
        (
            {"net": Model(Net(), bounds=(-1.0, 1.0)), "threat": Linf(2.5)},
            "no two inputs in (-1.0, 1.0) are farther apart",
        ),
        ({"defense": Standard(), "threat": Linf(8)}, "Linf(8/255)"),
        ({"defense": AdversarialTraining(L2Only())}, "L2Only has no form for Linf(eps=0.1, mask=None); it knows l2"),
        ({"defense": AWP(TRADES(attack=L2Only()))}, "L2Only has no form"),
        ({"defense": Standard() + 0.5 * MART(attack=L2Only())}, "L2Only has no form"),
        ({"defense": NFGSM(), "threat": None}, "NFGSM has threat=None; say what may move, such as sp.Linf(8/255)"),
        ({"defense": LIET(), "threat": Linf()}, "LIET needs a radius, and the threat is Linf(eps=None, mask=None)"),
        ({"defense": Standard() + CURE(), "threat": None}, "CURE has threat=None"),
        (
            {"defense": Distillation(teacher=linear(16, 5))},
            "the teacher tells 5 classes apart, the network 3; give one with 3",
        ),
        ({"defense": AWP(HAT(teacher=linear(16, 2)))}, "the teacher tells 2 classes apart, the network 3"),
        ({"compile": True, "defense": TRADES() + 0.1 * InputGradient()}, "compile=True: torch.compile cannot"),
        ({"compile": True, "defense": AWP(GradAlign())}, "input gradients of GradAlign(strength=0.2)"),
        ({"patience": 3}, "patience is 3, and nothing is held out to be patient about: set validation"),
        ({"patience": 0, "validation": 0.5}, "patience is 0; give a whole number of at least 1"),
        ({"validation": 40}, "validation=40 holds 40 of 40 examples out; leave some to learn from"),
        ({"validation": 0.999}, "validation=0.999 holds 40 of 40 examples out"),
        ({"validation": -0.1}, "validation is -0.1; give a share in [0, 1), or how many examples"),
        ({"validation": 1.5}, "validation is 1.5; give a share"),
        ({"validation": float("nan")}, "validation is nan"),
        ({"validation": float("inf")}, "validation is inf"),
        ({"label_smoothing": 1.0}, "label_smoothing is 1.0; give a number in [0, 1)"),
        ({"label_smoothing": -0.1}, "label_smoothing is -0.1"),
        ({"ema": 1.0}, "ema is 1.0; give a number in [0, 1)"),
        ({"ema": 1.5}, "ema is 1.5"),
        ({"ema": float("nan")}, "ema is nan"),
        ({"clip": 0.0}, "clip is 0.0; give the largest norm a gradient may have, above 0, or None"),
        ({"clip": float("nan")}, "clip is nan"),
        ({"precision": "float16"}, "precision is 'float16'; use 'float32' or 'bfloat16'"),
        ({"seed": -1}, "seed is -1; give a whole number from 0"),
        ({"seed": 0.5}, "seed is 0.5"),
        (
            {"data": (X.flatten(1), Y), "net": linear(16, 3), "augment": (Flip(),)},
            "augmentation takes images (N, C, H, W)",
        ),
    ],
    ids=lambda value: None,
)
def test_what_cannot_be_trained_is_refused_at_once(change: dict[str, Any], message: str) -> None:
    arguments = {"net": Net(), "data": (X, Y), "defense": AT, "threat": Linf(0.1), "epochs": 1}
    with pytest.raises(InputError, match=re.escape(message)):
        train(**{**arguments, **change})


def test_a_radius_may_reach_from_end_to_end_of_the_range_and_one_logit_has_two_classes() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TrainingAlarm)
        train(linear(16, 3), (X, Y), AT, Linf(1.0), epochs=1)
    train(linear(16, 1), (X, Y % 2), Distillation(teacher=linear(16, 2)), epochs=1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FreeAT() + InputGradient(), "FreeAT(replays=4) is more than a loss and cannot be added to another"),
        (lambda: Standard() + AWP(), "cannot be added to another; use it on the outside, or alone"),
        (lambda: 0.5 * FreeAT(), "cannot be scaled"),
        (lambda: AWP() * 2, "cannot be scaled"),
        (lambda: AWP(FreeAT()), "cannot be wrapped in AWP"),
        (lambda: AWP(AWP()), "cannot be wrapped in AWP"),
        (lambda: AWP(TRADES), "is no defense; give a value such as sp.defenses.TRADES()"),
        (lambda: -1 * TRADES(), "Scaled has factor=-1.0; give a finite number of at least 0"),
        (lambda: TRADES() * float("nan"), "factor=nan"),
        (lambda: float("inf") * TRADES(), "factor=inf"),
        (lambda: TRADES(beta=-1), "TRADES has beta=-1"),
        (lambda: MART(weight=float("nan")), "MART has weight=nan"),
        (lambda: HAT(stretch=-2), "HAT has stretch=-2"),
        (lambda: AWP(gamma=-0.1), "AWP has gamma=-0.1"),
        (lambda: LogitPairing(strength="much"), "LogitPairing has strength='much'"),
        (lambda: CURE(reach=-1), "CURE has reach=-1"),
        (lambda: LocalLinearity(steps=0), "LocalLinearity has steps=0; give a whole number of at least 1"),
        (lambda: Jacobian(projections=1.5), "Jacobian has projections=1.5"),
        (lambda: FreeAT(replays=0), "FreeAT has replays=0"),
        (lambda: NFGSM(noise=-1), "NFGSM has noise=-1"),
        (lambda: Distillation(temperature=0), "Distillation has temperature=0; give a finite number above 0"),
        (lambda: Standard(temperature=float("inf")), "Standard has temperature=inf"),
        (lambda: ARD(alpha=1.1), "ARD has alpha=1.1; give a number in [0, 1]"),
        (lambda: RobustDistillation(robust=-0.1), "RobustDistillation has robust=-0.1"),
        (lambda: Linear(until=0), "until is 0; give a share of the training in (0, 1]"),
        (lambda: OneCycle(peak=1.5), "peak is 1.5"),
        (lambda: Cosine(warmup=1), "warmup is 1; give a share of the training in [0, 1)"),
        (lambda: Milestones(at=(0.8, 0.2)), "at is (0.8, 0.2); give increasing shares"),
        (lambda: Milestones(at=(0.5, 1.0)), "at is (0.5, 1.0)"),
    ],
    ids=lambda value: None,
)
def test_what_makes_no_sense_cannot_be_written_down(make: Any, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        make()


def test_a_factor_of_nothing_is_allowed_and_what_is_no_number_is_pythons_own_error() -> None:
    assert (0 * TRADES()).factor == 0
    with pytest.raises(TypeError):
        TRADES() + 1  # type: ignore[operator]
    with pytest.raises(TypeError):
        "0.1" * TRADES()  # type: ignore[operator]


# Folders of other runs.


def run(out: Path, **change: Any) -> Any:
    arguments = {"net": Net(), "data": (X, Y), "defense": AT, "threat": Linf(0.1), "epochs": 2, "batch_size": 20}
    return train(**{**arguments, **change}, out=out)


def test_the_folder_of_another_training_is_refused_and_stays_as_it_is(tmp_path: Path) -> None:
    began: dict[str, Any] = {
        "schedule": OneCycle(),
        "ema": 0.9,
        "augment": (Flip(),),
        "validation": 0.2,
        "effort": Cosine(),
    }
    run(tmp_path, **began)
    before = (tmp_path / "checkpoint.pt").read_bytes()
    for change, message in (
        ({"defense": TRADES()}, "there the defense is AdversarialTraining("),
        ({"defense": 2 * AT}, r"here it is 2 * AdversarialTraining("),
        ({"schedule": OneCycle(0.5)}, "the schedule is OneCycle(peak=0.3), here it is OneCycle(peak=0.5)"),
        ({"schedule": None}, "the schedule is OneCycle(peak=0.3), here it is None"),
        ({"radius": Linear()}, "the radius is None, here it is Linear("),
        ({"epochs": 3}, "the epochs is 2, here it is 3; go on with the same, or choose another folder"),
        ({"ema": 0.8}, "the ema is 0.9, here it is 0.8"),
        ({"ema": None}, "the ema is 0.9, here it is None"),
        ({"augment": (Flip(), PadCrop(1))}, "the augment is (Flip(probability=0.5),), here it is"),
        ({"validation": 0.3}, "the validation is 0.2, here it is 0.3"),
        ({"clip": 1.0}, "the clip is None, here it is 1.0"),
        ({"label_smoothing": 0.1}, "the label_smoothing is 0.0, here it is 0.1"),
        ({"optimizer": torch.optim.RAdam}, "the optimizer is Adam("),
    ):
        with pytest.raises(ResumeError, match=re.escape(message)):
            run(tmp_path, **{**began, **change})
    assert (tmp_path / "checkpoint.pt").read_bytes() == before
    assert len(run(tmp_path, **began, patience=1).history) == 2  # patience is no other run


def test_what_depends_on_how_far_it_has_come_cannot_be_asked_for_more(tmp_path: Path) -> None:
    run(tmp_path, defense=AWP(AT, warmup=0.5), epochs=1)
    with pytest.raises(ResumeError, match="the epochs is 1, here it is 2"):
        run(tmp_path, defense=AWP(AT, warmup=0.5))


def test_awp_without_a_warmup_may_be_asked_for_more(tmp_path: Path) -> None:
    run(tmp_path, defense=AWP(AT), epochs=1)
    assert len(run(tmp_path, defense=AWP(AT)).history) == 2


def test_another_teacher_is_another_run(tmp_path: Path) -> None:
    run(tmp_path, defense=Distillation(teacher=linear(16, 3)))
    with pytest.raises(ResumeError, match="the fingerprint of the teachers is"):
        run(tmp_path, defense=Distillation(teacher=linear(16, 3, seed=1)))
    with pytest.raises(ResumeError, match="the fingerprint of the teachers is"):
        run(tmp_path, defense=Distillation())


def test_who_learned_from_a_teacher_cannot_be_asked_for_more_and_loses_nothing_by_the_asking(tmp_path: Path) -> None:
    first = run(tmp_path, defense=Distillation())
    with pytest.raises(ResumeError, match="teacher keeps another run: there the epochs is 2, here it is 3"):
        run(tmp_path, defense=Distillation(), epochs=3)
    assert_equal(run(tmp_path, defense=Distillation()).model.state_dict(), first.model.state_dict())


def test_teachers_with_different_lessons_have_a_folder_each(tmp_path: Path) -> None:
    both = Distillation() + HAT(attack=KL)
    trained = run(tmp_path, defense=both)
    assert [kept(tmp_path / name)["header"]["defense"] for name in ("teacher", "teacher-2")] == [
        "Standard(temperature=20.0)",
        "Standard(temperature=1.0)",
    ]
    assert_equal(run(tmp_path, defense=both).model.state_dict(), trained.model.state_dict())


# What goes wrong on the way.


class Spoiled(Net):
    """Its logits are not numbers from a given look in training mode on."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.left = after

    def forward(self, x: Tensor) -> Tensor:
        self.left -= self.training
        return super().forward(x) * (torch.nan if self.training and self.left < 0 else 1)


@pytest.mark.parametrize(
    # Two batches an epoch. AWP looks twice at each point of each, and breaks down here where the weights have moved.
    ("defense", "looks"),
    [(AT, 5), (TRADES(attack=KL), 9), (FreeAT(3), 13), (AWP(AT), 9), (AWP(TRADES(attack=KL)), 18)],
    ids=["adversarial", "trades", "free", "awp", "awp on trades"],
)
def test_a_loss_that_is_no_number_leaves_the_last_good_checkpoint(defense: Defense, looks: int, tmp_path: Path) -> None:
    with pytest.raises(
        ModelError, match=r"training stopped in epoch 3, batch [12]: the loss is nan; lower the learning"
    ):
        run(tmp_path / "spoiled", net=Spoiled(looks), defense=defense, epochs=5, ema=0.5)
    run(tmp_path / "whole", defense=defense, ema=0.5)
    spoiled, whole = kept(tmp_path / "spoiled"), kept(tmp_path / "whole")
    assert len(spoiled["history"]) == 2
    for part in ("model", "buffers", "optimizer", "average", "memory"):
        assert_equal(spoiled[part], whole[part])


def test_the_weights_come_back_where_awp_breaks_down_at_the_moved_ones() -> None:
    net = Spoiled(1)
    before = {name: value.detach().clone() for name, value in net.named_parameters()}
    optimizer = torch.optim.SGD([weight for weight in net.parameters() if weight.requires_grad], lr=0.1)
    context = Context(viewed(Model.of(net), "as-is"), X, Y, torch.arange(ROWS), Linf(0.1), seed=0, epoch=1)
    with pytest.raises(ModelError, match="the loss is nan; lower the learning rate"):
        AWP(AT, gamma=0.5).learn(context, Step(net, optimizer, Processes(), ROWS, clip=None, average=None))
    assert net.left == -1
    assert_equal({name: value.detach() for name, value in net.named_parameters()}, before)


def test_an_attack_that_meets_no_numbers_is_told_with_the_epoch() -> None:
    class Blind(Net):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) / (1 if self.training or int(self.calls) < 3 else 0)

    with pytest.raises(ModelError, match=r"training stopped in epoch 2, batch 2: the logits of example \d+ is"):
        train(Blind(), (X, Y), NFGSM(), Linf(0.1), epochs=2, batch_size=20)


def test_a_hook_that_cannot_be_copied_stands_in_nobodys_way(tmp_path: Path) -> None:
    class Recorder:
        def __init__(self) -> None:
            self.looks = (look for look in range(10**6))

        def __call__(self, *_: Any) -> None:
            next(self.looks)

    net, recorder = Net(), Recorder()
    net.body[0].register_forward_hook(recorder)
    trained = run(tmp_path, net=net, ema=0.5, validation=0.2)
    before = next(recorder.looks)
    trained.model(X)
    assert next(recorder.looks) == before + 2


# Alarms.


def test_a_training_that_collapses_to_one_class_is_told_once(tmp_path: Path) -> None:
    digits, net = load("digits", split="train", limit=300), seeded(SmallCNN, 0)
    again = partial(train, net, digits, AT, Linf(0.5), epochs=5, lr=1e-2, out=tmp_path)
    with pytest.warns(TrainingAlarm, match="epoch 3: collapsed: 100% of the answers are one class") as told:
        trained = again()
    assert [str(warning.message) for warning in told] == trained.alarms
    assert len(trained.alarms) == 1
    assert "radius=Linear(0, 1, until=0.5)" in trained.alarms[0]
    assert all(record["commonest"] == 1 for record in trained.history[1:])
    # The folder remembers it, and a run that goes on from there does not warn again.
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert again(epochs=6).alarms == trained.alarms


def test_a_training_that_withstands_only_its_own_attack_is_told() -> None:
    """An attack that hardly moves is learned in no time, and tells nothing about PGD."""
    digits = load("digits", split="train", limit=600)
    idle = AdversarialTraining(PGD(steps=1, step_size=1e-6, random_start=False))
    with pytest.warns(
        TrainingAlarm, match=r"catastrophic overfitting: \d+% on its own adversarial examples, 0% under PGD-10"
    ):
        trained = train(seeded(SmallCNN, 0), digits, idle, Linf(0.3), epochs=6, lr=1e-2)
    assert "Train with more attack steps" in trained.alarms[0]
    assert trained.history[-1]["accuracy"] > 0.5


@pytest.mark.parametrize(
    ("defense", "settings"),
    [
        (Standard(), {}),
        (AdversarialTraining(PGD(steps=3)), {}),
        (AdversarialTraining(PGD(steps=3)), {"ema": 0.99, "validation": 0.2}),
        (FGSMRS(), {"validation": 0.2}),
    ],
    ids=["standard", "adversarial", "averaged", "fgsm-rs"],
)
def test_an_ordinary_training_raises_no_alarm(defense: Defense, settings: dict[str, Any]) -> None:
    digits = load("digits", split="train", limit=600)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert train(seeded(SmallCNN, 0), digits, defense, Linf(0.1), epochs=4, lr=5e-3, **settings).alarms == []


def test_a_radius_that_still_grows_is_not_taken_for_overfitting() -> None:
    """The examples learned from are easier then than those watched, which is no fault of the network."""
    digits = load("digits", split="train", limit=600)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trained = train(
            seeded(SmallCNN, 0),
            digits,
            AdversarialTraining(PGD(steps=2)),
            Linf(0.3),
            epochs=4,
            lr=1e-2,
            radius=Linear(0, 1),
        )
    easy = [record["accuracy"] - record["robust_accuracy"] for record in trained.history]
    assert max(easy) > 0.3
    assert trained.alarms == []


NAN = float("nan")


def record(robust: float = 0.5, commonest: float = 0.2) -> dict[str, float]:
    return {"clean_accuracy": 0.9, "robust_accuracy": robust, "commonest": commonest}


@pytest.mark.parametrize(
    ("history", "attacked", "expected"),
    [
        ([record(0.4), record(0.45), record(0.1)], 0.8, ["catastrophic overfitting: 80% on its own"]),
        ([record(0.4), record(0.45), record(0.22)], 0.8, ["catastrophic overfitting"]),
        ([record(0.4), record(0.45), record(0.23)], 0.8, []),  # more than half of what it once withstood
        ([record(0.4), record(0.45), record(0.1)], 0.39, []),  # no better on its own attack than elsewhere
        ([record(0.4), record(0.45), record(0.1)], NAN, []),  # there is no attack of its own
        ([record(0.04)], 0.5, []),  # it has hardly begun
        ([record(0.04)] * 5, 0.5, ["catastrophic overfitting"]),
        ([record(0.06)] * 5, 0.5, []),
        ([record(0.1), record(0.5)], 0.9, []),
        ([record(commonest=0.95)] * 3, 0.5, ["collapsed: 95% of the answers are one class"]),
        ([record(commonest=0.2)] + [record(commonest=1.0)] * 3, 0.5, ["collapsed: 100%"]),
        ([record(commonest=1.0)] * 2, 0.5, []),
        ([record(commonest=1.0)] * 3 + [record(commonest=0.94)], 0.5, []),
        ([record(0.5), record(0.0, 1.0), record(0.0, 1.0), record(0.0, 1.0)], 0.9, ["collapsed", "catastrophic"]),
    ],
)
def test_the_alarms_sound_where_they_say(history: list[dict[str, float]], attacked: float, expected: list[str]) -> None:
    watch = Watch(X, Y, torch.arange(ROWS), Linf(0.1), held_out=True)
    found = watch.alarms(history, attacked)
    assert len(found) == len(expected)
    assert all(alarm.startswith(start) for alarm, start in zip(found, expected, strict=True))


def test_one_class_in_the_data_is_no_collapse() -> None:
    watch = Watch(X, (torch.arange(ROWS) % 4 == 0).long(), torch.arange(ROWS), Linf(0.1), held_out=True)
    assert watch.alarms([record(commonest=1.0)] * 3, NAN) == []
    assert replace(watch, y=torch.arange(ROWS) % 2).alarms([record(commonest=1.0)] * 3, NAN)


class Frozen(nn.Module):
    """A backbone that is not learned, with statistics of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(16, 4), nn.BatchNorm1d(4)).requires_grad_(False)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


def test_a_frozen_backbone_keeps_its_statistics() -> None:
    net = seeded(Frozen, 0)
    trained = train(net, (X, Y), Standard(), epochs=2).model
    assert torch.equal(trained.body[2].running_mean, net.body[2].running_mean)
    assert not torch.equal(trained.head.weight, net.head.weight)


class Attending(nn.Module):
    """One head of attention, the fast kernels of which have no second derivative."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(4, 1, 8, dropout=0.0, batch_first=True)
        self.head = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(x.flatten(1).reshape(-1, 4, 4)).flatten(1))


@pytest.mark.parametrize("penalty", [InputGradient(), GradAlign()], ids=repr)
def test_attention_is_differentiated_twice(penalty: Defense) -> None:
    assert train(seeded(Attending, 0), (X, Y), penalty, Linf(0.1), epochs=1).history[0]["loss"] > 0


class Stepping(nn.Module):
    """Its input has no gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer((x.flatten(1) > 0.5).to(x))


@pytest.mark.parametrize("defense", [FreeAT(), InputGradient(), Jacobian(), CURE(), GradAlign(), LIET()], ids=repr)
def test_a_network_without_an_input_gradient_is_told(defense: Defense) -> None:
    with pytest.raises(ModelError, match="input"):
        train(seeded(Stepping, 0), (X, Y), defense, Linf(0.1), epochs=1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"defense": AdversarialTraining(CarliniWagner())}, "looks for the nearest example"),
        ({"defense": AdversarialTraining(None)}, "attack=None; pass one such as sp.PGD"),  # type: ignore[arg-type]
        ({"defense": Distillation(teacher="a.pt")}, "teacher is 'a.pt'"),  # type: ignore[arg-type]
        ({"defense": Distillation(teacher=Model(nn.Linear(16, 3), (0, 255)))}, "teacher takes inputs in (0.0, 255.0)"),
        ({"defense": Standard(), "threat": 0.1}, "threat is 0.1; pass one such as"),
        ({"threat": Linf}, "pass one such as sp.Linf(8/255)"),
        ({"schedule": "cosine"}, "schedule is 'cosine'; give a function of the share done"),
        ({"optimizer": "sgd"}, "optimizer is 'sgd'; give what makes one"),
        ({"augment": Flip()}, "give a tuple"),
        ({"lr": -1.0}, "lr is -1.0; give a finite number above 0"),
        ({"ema": "0.9"}, "ema is '0.9'; give a number"),
        ({"validation": 1.0}, "validation is 1.0; give a share in [0, 1), or how many"),
        ({"net": nn.Sequential(nn.Flatten(), nn.Linear(9, 3))}, "net fails on data of shape (1, 4, 4)"),
        ({"net": nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).half()}, "float16 weights"),
    ],
)
def test_what_cannot_be_used_is_told_by_name(change: dict[str, Any], message: str) -> None:
    attacked = AdversarialTraining(PGD(steps=1))
    begun = {"net": seeded(Frozen, 0), "data": (X, Y), "defense": attacked, "threat": Linf(0.1), "epochs": 1}
    with pytest.raises(InputError, match=re.escape(message)):
        train(**{**begun, **change})


def test_a_function_of_the_same_name_is_another_schedule(tmp_path: Path) -> None:
    def rising(slope: float) -> Callable[[float], float]:
        return lambda done: slope * done

    begun = partial(train, seeded(Frozen, 0), (X, Y), Standard(), epochs=2, out=tmp_path)
    begun(schedule=rising(1.0))
    begun(schedule=rising(1.0))
    with pytest.raises(ResumeError, match="the schedule is"):
        begun(schedule=rising(2.0))


def test_a_radius_of_pixels_is_scheduled_in_whole_ones() -> None:
    trained = train(seeded(Frozen, 0), (X, Y), AdversarialTraining(PGD(steps=1)), L0(5), epochs=2, radius=Linear(0, 1))
    assert len(trained.history) == 2
    assert L0(5).scaled(0.5).radius == 2
    assert L0(5).scaled(0.01).radius == 1


def test_a_folder_that_cannot_be_made_is_told_before_anything_is_learned(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    calls: list[Any] = []
    with pytest.raises((OSError, InputError)):
        train(seeded(Frozen, 0), (X, Y), Standard(), epochs=1, out=tmp_path / "file" / "run", progress=calls.append)
    assert calls == []


def test_a_finished_run_writes_what_was_removed_again(tmp_path: Path) -> None:
    begun = partial(train, seeded(Frozen, 0), (X, Y), Standard(), epochs=1, out=tmp_path)
    begun()
    before = {name: (tmp_path / name).read_bytes() for name in ("model.safetensors", "metrics.jsonl")}
    for name in before:
        (tmp_path / name).unlink()
    begun()
    assert {name: (tmp_path / name).read_bytes() for name in before} == before


def test_a_full_disk_is_an_error_of_the_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("sparring.files.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        train(seeded(Frozen, 0), (X, Y), Standard(), epochs=1, out=tmp_path)
    assert list(tmp_path.iterdir()) == []
