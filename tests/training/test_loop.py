"""Training: the network given is left alone, every number follows from the seed, and a run resumes bit for bit."""

from __future__ import annotations

import json
import random
import sys
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from runs import Net, assert_equal, kept, state, without_seconds
from sparring.attacks import PGD
from sparring.data import load
from sparring.defenses import AdversarialTraining, Context, Defense, Distillation, Standard
from sparring.defenses.context import viewed
from sparring.errors import InputError, ModelError, ResumeError
from sparring.loading import load_network
from sparring.model import Model
from sparring.threats import L2, Linf
from sparring.training import Trained, train
from sparring.zoo import SmallCNN

ROWS = 40
X = torch.rand(ROWS, 1, 4, 4, generator=torch.Generator().manual_seed(0))
Y = torch.arange(ROWS) % 3
AT = AdversarialTraining(PGD(steps=2))
THREAT = Linf(0.1)


@dataclass(frozen=True)
class Recorded(Defense):
    """Standard training that notes which examples it was given."""

    seen: list[list[int]] = field(default_factory=list, compare=False, repr=False)

    def loss(self, context: Context) -> Tensor:
        self.seen.append(context.index.tolist())
        return cross_entropy(context.logits(context.x), context.y, reduction="none")


class Stop(Exception):
    pass


def interrupt(epoch: int, batch: int) -> Callable[[Mapping[str, float]], None]:
    def raising(record: Mapping[str, float]) -> None:
        if (record["epoch"], record["batch"]) == (epoch, batch):
            raise Stop

    return raising


# The network given, and the caller's random state.


@pytest.mark.parametrize("defense", [Standard(), AT], ids=["standard", "adversarial"])
def test_the_network_given_is_left_alone(defense: Defense) -> None:
    net = Net()
    net.body[1].eval()
    before = {name: value.clone() for name, value in state(net).items()}
    flags = [module.training for module in net.modules()]
    trained = train(net, (X, Y), defense, THREAT, epochs=2)
    assert_equal(state(net), before)
    assert [module.training for module in net.modules()] == flags
    assert all(p.grad is None for p in net.parameters())
    assert [p.requires_grad for p in net.parameters()] == [name != "frozen" for name, _ in net.named_parameters()]
    assert isinstance(trained.model, Net)
    assert not any(module.training for module in trained.model.modules())
    assert all(p.grad is None for p in trained.model.parameters())
    assert not torch.equal(trained.model.body[0].weight, net.body[0].weight)
    assert torch.equal(trained.model.frozen, net.frozen)


def test_global_random_state_is_left_alone_and_not_read() -> None:
    def states() -> list[Any]:
        return [torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()]  # noqa: NPY002

    loader = DataLoader(TensorDataset(X, Y), batch_size=8, shuffle=True)
    run = partial(train, Net(), loader, AT, THREAT, epochs=1)
    torch.manual_seed(1)
    before = states()
    one = run()
    np.testing.assert_equal(states(), before)
    torch.manual_seed(2)
    random.seed(3)
    np.random.seed(4)  # noqa: NPY002
    assert_equal(state(one.model), state(run().model))


def test_random_state_survives_a_crash() -> None:
    before = torch.get_rng_state()
    with pytest.raises(Stop):
        train(Net(), (X, Y), AT, THREAT, epochs=1, progress=interrupt(1, 1))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_callback_that_draws_changes_nothing() -> None:
    run = partial(train, Net(), (X, Y), AT, THREAT, epochs=1, batch_size=8)
    assert_equal(state(run().model), state(run(progress=lambda record: torch.rand(7)).model))


def test_hooks_on_the_network_given_keep_firing() -> None:
    class Recorder:
        def __init__(self) -> None:
            self.calls = 0

        def method(self, *_: Any) -> None:
            self.calls += 1

        __call__ = method

    net, calls = Net(), []
    bound, called = Recorder(), Recorder()
    net.register_forward_hook(lambda *_: calls.append(1))
    net.body[0].register_forward_pre_hook(bound.method)
    net.body[5].register_full_backward_hook(called)
    trained = train(net, (X, Y), Standard(), epochs=2, batch_size=ROWS)
    assert len(calls) == bound.calls == 3  # the first looks at one example: how many classes are there?
    assert called.calls == 2
    trained.model(X)
    assert bound.calls == 4


def test_trains_inside_no_grad() -> None:
    run = partial(train, Net(), (X, Y), AT, THREAT, epochs=1)
    with torch.no_grad():
        inside = run()
    assert_equal(state(inside.model), state(run().model))


def test_an_sp_model_keeps_its_preprocessing_and_its_bounds() -> None:
    model = Model(Net(), bounds=(-1.0, 1.0), mean=0.2, std=0.5)
    trained = train(model, (2 * X - 1, Y), AT, THREAT, epochs=1, batch_size=ROWS)
    assert isinstance(trained.model, Model)
    assert (trained.model.bounds, trained.model.mode) == (model.bounds, "eval")
    assert int(trained.model.net.calls) == 1
    assert not torch.equal(trained.model.net.body[0].weight, model.net.body[0].weight)
    # Normalising in the Model is the same as normalising first, where no attack is in the way.
    inside = train(Model(Net(), mean=0.2, std=0.5), (X, Y), Standard(), epochs=2).model.net
    assert_equal(state(inside), state(train(Net(), ((X - 0.2) / 0.5, Y), Standard(), epochs=2).model))


# What is learned from.


def context(net: nn.Module, threat: Any = THREAT, epoch: int = 1) -> Context:
    return Context(viewed(Model.of(net), "as-is"), X, Y, torch.arange(ROWS), threat, 0, epoch)


def test_one_step_is_the_textbook_step() -> None:
    net = Net()
    net.body[4] = nn.Identity()
    sgd = partial(torch.optim.SGD, lr=0.1)
    trained = train(net, (X, Y), Standard(), epochs=1, batch_size=ROWS, optimizer=sgd)
    loss = cross_entropy(net.train()(X), Y)
    assert trained.history[0]["loss"] == pytest.approx(loss.item())
    for p, q in zip(net.parameters(), trained.model.parameters(), strict=True):
        if p.requires_grad:
            (gradient,) = torch.autograd.grad(loss, p, retain_graph=True)
            torch.testing.assert_close(q, p - 0.1 * gradient)


def test_adversarial_examples_are_inside_the_threat_and_made_once() -> None:
    for threat in (THREAT, L2(0.5)):
        batch = context(Net(), threat)
        x = batch.adversarial(AT.attack)
        assert bool(threat.around(X, (0.0, 1.0)).contains(x).all())
        assert batch.adversarial(PGD(steps=2)) is x
        assert batch.adversarial(PGD(steps=3)) is not x
        assert batch.logits(x) is batch.logits(x)
        assert not torch.equal(x, X)


def test_the_attack_runs_in_evaluation_mode_and_the_loss_in_training_mode() -> None:
    net = Net()
    AdversarialTraining(PGD(steps=5), share=0.5).loss(context(net))
    assert int(net.calls) == int(net.body[1].num_batches_tracked) == 2


def test_the_attack_draws_anew_each_epoch() -> None:
    first, second = (context(Net().eval(), epoch=epoch).adversarial(PGD(steps=1)) for epoch in (1, 2))
    assert not torch.equal(first, second)


def test_share_mixes_adversarial_and_clean() -> None:
    net = Net().eval()
    clean, attacked = Standard().loss(context(net)), AT.loss(context(net))
    mixed = AdversarialTraining(PGD(steps=2), share=0.25).loss(context(net))
    torch.testing.assert_close(mixed, 0.25 * attacked + 0.75 * clean)


def test_each_epoch_takes_every_example_once_in_an_order_of_its_own() -> None:
    def orders(seed: int) -> list[list[list[int]]]:
        defense = Recorded()
        train(Net(), (X, Y), defense, epochs=2, batch_size=13, seed=seed)
        return [defense.seen[:4], defense.seen[4:]]

    first, second = orders(0)
    assert [len(batch) for batch in first] == [10, 10, 10, 10]  # not 13, 13, 13, 1
    assert all(sorted(chain(*batches)) == list(range(ROWS)) for batches in (first, second))
    assert first != second
    assert orders(0) == [first, second]
    assert orders(1) != [first, second]


def test_the_seed_determines_everything() -> None:
    run = partial(train, Net(), (X, Y), AT, THREAT, epochs=2, batch_size=8)
    assert_equal(state(run(seed=3).model), state(run(seed=3).model))
    assert not torch.equal(run(seed=3).model.body[0].weight, run(seed=4).model.body[0].weight)


def test_history_and_progress() -> None:
    calls: list[dict[str, float]] = []
    trained = train(Net(), (X, Y), Standard(), epochs=3, batch_size=20, progress=calls.append)
    assert [list(record) for record in trained.history] == [["epoch", "loss", "accuracy", "seconds"]] * 3
    assert [record["epoch"] for record in trained.history] == [1, 2, 3]
    assert [(call["epoch"], call["batch"]) for call in calls] == [(e, b) for e in (1, 2, 3) for b in (1, 2)]
    assert all((call["epochs"], call["batches"]) == (3, 2) for call in calls)
    assert calls[-1]["loss"] == trained.history[-1]["loss"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_one_logit_and_other_outputs(dtype: torch.dtype) -> None:
    class Tupled(nn.Linear):
        def forward(self, x: Tensor) -> tuple[Tensor]:
            return (super().forward(x.flatten(1)),)

    trained = train(Tupled(16, 1, dtype=dtype), (X, (X[:, 0, 0, 0] > 0.5).long()), AT, Linf(0.01), epochs=30, lr=0.1)
    assert trained.history[-1]["accuracy"] > 0.8
    assert isinstance(trained.model, Tupled)


# Resume.


def run(out: Path | None = None, epochs: int = 4, defense: Defense = AT, **more: Any) -> Trained:
    return train(Net(), (X, Y), defense, THREAT, epochs=epochs, batch_size=16, out=out, **more)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Trained, Path]:
    """An uninterrupted run, and its folder."""
    out = tmp_path_factory.mktemp("whole")
    return run(out), out


def test_a_folder_changes_nothing(whole: tuple[Trained, Path]) -> None:
    assert_equal(state(run().model), state(whole[0].model))


@pytest.mark.parametrize("batch", [1, 3], ids=["inside an epoch", "at its end"])
def test_resume_equals_uninterrupted(batch: int, whole: tuple[Trained, Path], tmp_path: Path) -> None:
    with pytest.raises(Stop):
        run(tmp_path, progress=interrupt(3, batch))
    done = len(kept(tmp_path)["history"])
    assert done == (2 if batch == 1 else 3)
    redone: list[float] = []
    resumed = run(tmp_path, progress=lambda record: redone.append(record["epoch"]))
    assert min(redone) == done + 1
    assert_resumed(resumed, tmp_path, whole)


def assert_resumed(resumed: Trained, out: Path, whole: tuple[Trained, Path]) -> None:
    assert_equal(state(resumed.model), state(whole[0].model))
    assert without_seconds(resumed.history) == without_seconds(whole[0].history)
    ours, theirs = kept(out), kept(whole[1])
    assert {int(entry["step"]) for entry in ours["optimizer"]["state"].values()} == {12}
    for part in ("header", "model", "buffers", "optimizer"):
        assert_equal(ours[part], theirs[part])


def test_a_finished_run_returns_at_once_and_may_be_asked_for_more(tmp_path: Path) -> None:
    run(tmp_path, epochs=2)
    calls: list[Any] = []
    again = run(tmp_path, epochs=2, progress=calls.append)
    assert calls == []
    assert len(again.history) == 2
    assert_equal(state(run(tmp_path, epochs=4).model), state(run().model))
    with pytest.raises(ResumeError, match="keeps 4 epochs, more than epochs=2"):
        run(tmp_path, epochs=2)


def test_what_the_folder_holds(tmp_path: Path) -> None:
    trained = train(SmallCNN(), "digits:test", Standard(), epochs=2, out=tmp_path / "a" / "b")
    out = tmp_path / "a" / "b"
    assert sorted(p.name for p in out.iterdir()) == ["checkpoint.pt", "metrics.jsonl", "model.safetensors"]
    lines = (out / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [{"format": 2, **record} for record in trained.history]
    for name in ("checkpoint.pt", "model.safetensors"):
        loaded = load_network("zoo:digits-cnn", out / name)
        assert_equal(loaded.state_dict(), trained.model.state_dict())


def test_another_runs_folder_names_the_first_difference(tmp_path: Path) -> None:
    run(tmp_path, epochs=1)
    common = dict(data=(X, Y), defense=AT, threat=THREAT, batch_size=16)
    other = Net()
    with torch.no_grad():
        other.body[0].weight += 1
    for change, difference in (
        ({"defense": Standard()}, r"the defense is AdversarialTraining\(.*here it is Standard\(temperature=1.0\)"),
        ({"threat": Linf(0.2)}, r"the threat is Linf\(eps=0.1.*here it is Linf\(eps=0.2"),
        ({"threat": Linf(0.1, mask=X[0] > 0.5)}, "the threat is"),
        ({"data": (X, (Y + 1) % 3)}, "the data fingerprint is"),
        ({"net": other}, "the fingerprint of the initial weights is"),
        ({"defense": Distillation(teacher=other)}, "the defense is"),
        ({"net": Model(Net(), mean=0.5)}, r"the bounds, mean and std is \[\(0.0, 1.0\), None, None\]"),
        ({"lr": 0.1}, "the optimizer is Adam.*'lr': 0.001.*'lr': 0.1"),
        ({"batch_size": 8}, "the batch_size is 16, here it is 8"),
        ({"seed": 1, "batch_size": 8}, "the batch_size is"),
        ({"seed": 1}, "the seed is 0, here it is 1"),
    ):
        with pytest.raises(ResumeError, match=difference):
            train(**{"net": Net(), **common, "epochs": 2, "out": tmp_path, **change})
    assert len(kept(tmp_path)["history"]) == 1


def test_a_function_in_the_attack_does_not_make_another_run(tmp_path: Path) -> None:
    def defense() -> Defense:
        return AdversarialTraining(PGD(steps=1, objective=lambda z, goal: -z.gather(1, goal.label[:, None])[:, 0]))

    run(tmp_path, epochs=1, defense=defense())
    run(tmp_path, epochs=2, defense=defense())


def test_resume_false_refuses_and_damage_is_told(tmp_path: Path) -> None:
    run(tmp_path, epochs=1, resume=False)
    with pytest.raises(ResumeError, match="remove the folder"):
        run(tmp_path, epochs=1, resume=False)
    checkpoint = tmp_path / "checkpoint.pt"
    for content in (checkpoint.read_bytes()[:1000], b"", b"nonsense"):
        checkpoint.write_bytes(content)
        with pytest.raises(ResumeError, match="no readable checkpoint"):
            run(tmp_path)
    with pytest.raises(InputError, match="is a file"):
        run(checkpoint)


# What goes wrong.


class Spoiled(Net):
    """Its logits are not numbers after so many looks in training mode."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.after = after

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * (torch.nan if self.training and int(self.calls) > self.after else 1)


@pytest.mark.parametrize("defense", [Standard(), AT], ids=["standard", "adversarial"])
def test_a_loss_that_is_no_number_stops_and_keeps_the_last_checkpoint(defense: Defense, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="epoch 3, batch 2: the loss is nan"):
        train(Spoiled(7), (X, Y), defense, THREAT, epochs=5, batch_size=16, out=tmp_path)
    found = kept(tmp_path)
    assert len(found["history"]) == 2
    assert all(bool(value.isfinite().all()) for value in found["model"].values())


def test_weights_that_are_no_numbers_are_never_kept(tmp_path: Path) -> None:
    def infinite(parameters: Any) -> torch.optim.Optimizer:
        return torch.optim.SGD(parameters, lr=torch.inf)

    with pytest.raises(ModelError, match="epoch 1, batch 1: the step left weights that are not finite"):
        train(Net(), (X, Y), AT, THREAT, epochs=2, batch_size=ROWS, optimizer=infinite, out=tmp_path)
    assert not (tmp_path / "checkpoint.pt").exists()
    with pytest.raises(ModelError, match=r"epoch 1, batch 2: the logits of example \d+ is nan"):
        train(Net(), (X, Y), AT, THREAT, epochs=2, batch_size=20, optimizer=infinite)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"threat": None}, "threat=None; say what may move"),
        ({"threat": Linf()}, "needs a radius"),
        ({"threat": 0.3}, "threat is 0.3"),
        ({"threat": Linf(torch.full((ROWS,), 0.1))}, "40 radii; training takes one"),
        ({"net": torch.relu}, "net is a builtin_function"),
        ({"net": nn.Flatten()}, "nothing to train"),
        ({"defense": Standard}, "pass a value such as sp.defenses.Standard()"),
        ({"epochs": 0}, "epochs is 0"),
        ({"epochs": 1.5}, "epochs is 1.5"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"lr": 0.1, "optimizer": torch.optim.Adam}, "pass one of the two"),
        ({"data": (X[:0], Y[:0])}, "empty"),
        ({"data": (X, Y + 1)}, "y.* is 3.*, but the model has 3 classes"),
        ({"data": (X, Y - 1)}, "y in tensors is -1"),
        ({"data": (X * 255, Y)}, "outside the bounds"),
    ],
)
def test_errors_name_the_argument(change: dict[str, Any], message: str) -> None:
    arguments = {"net": Net(), "data": (X, Y), "defense": AT, "threat": THREAT, "epochs": 1}
    with pytest.raises(InputError, match=message.replace("()", r"\(\)")):
        train(**{**arguments, **change})


@pytest.mark.parametrize("share", [0.0, -1.0, 1.1, float("nan")])
def test_share_is_checked(share: float) -> None:
    with pytest.raises(InputError, match=r"AdversarialTraining has share=.*; give a number in \(0, 1\]"):
        AdversarialTraining(share=share)


def test_a_network_that_cannot_be_copied_is_told() -> None:
    net = Net()
    net.trap = (value for value in ())  # type: ignore[assignment]
    with pytest.raises(InputError, match="cannot be copied"):
        train(net, (X, Y), Standard(), epochs=1)


# Does it help?


def test_adversarial_training_makes_digits_robust() -> None:
    torch.manual_seed(0)
    net, threat, test = SmallCNN(), Linf(0.15), load("digits", split="test")
    robust = {}
    for defense in (Standard(), AdversarialTraining(PGD(steps=3))):
        model = train(net, "digits", defense, threat, epochs=4, lr=5e-3).model
        assert (model(test.x).argmax(1) == test.y).float().mean() > 0.9
        robust[type(defense)] = 1 - PGD(steps=20)(model, test.x, test.y, threat).success.float().mean().item()
    assert robust[AdversarialTraining] > robust[Standard] + 0.2


def test_tensorboard_is_told_each_epoch_where_it_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[str, float, int]] = []

    class Writer:
        def __init__(self, folder: str, purge_step: int) -> None:
            assert Path(folder) == tmp_path / "tensorboard"
            assert purge_step == 1 + len({epoch for _, _, epoch in told})

        def __enter__(self) -> Writer:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def add_scalar(self, name: str, value: float, epoch: int) -> None:
            told.append((name, value, epoch))

    board = types.ModuleType("torch.utils.tensorboard")
    board.SummaryWriter = Writer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", board)
    history = train(Net(), (X, Y), Standard(), THREAT, epochs=2, out=tmp_path).history
    expected = [(name, value, int(r["epoch"])) for r in history for name, value in r.items() if name != "epoch"]
    assert told == expected


def test_without_a_threat_no_robust_accuracy_is_told() -> None:
    record = train(Net(), (X, Y), Standard(), epochs=1, validation=10).history[0]
    assert "robust_accuracy" not in record
    assert 0 <= record["clean_accuracy"] <= 1


def test_a_teacher_does_not_learn_what_its_student_holds_out() -> None:
    seen = Recorded()
    run = partial(train, Net(), (X, Y), epochs=1, validation=0.5)

    @dataclass(frozen=True)
    class Taught(Distillation):
        def lesson(self) -> Defense | None:
            return seen if self.teacher is None else None

    run(Taught())
    theirs = sorted(chain(*seen.seen))
    student = Recorded()
    run(student)
    assert theirs == sorted(chain(*student.seen))
    assert len(theirs) == ROWS // 2


def test_a_teacher_keeps_a_frozen_backbone() -> None:
    net = Net()
    net.body[0].requires_grad_(False)
    kept_weight, learned = [], []

    @dataclass(frozen=True)
    class Looking(Defense):
        def loss(self, context: Context) -> Tensor:
            kept_weight.append(context.model.net.body[0].weight.clone())
            learned.append(context.model.net.body[5].weight.clone())
            return Standard().loss(context)

    @dataclass(frozen=True)
    class Taught(Distillation):
        def lesson(self) -> Defense | None:
            return Looking() if self.teacher is None else None

    train(net, (X, Y), Taught(), epochs=1, batch_size=ROWS)
    assert torch.equal(kept_weight[0], net.body[0].weight)
    assert not torch.equal(learned[0], net.body[5].weight)
