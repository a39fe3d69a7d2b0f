"""The training loop. An epoch is a function of weights, optimizer state, seed and number, so runs resume exactly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from sparring.blame import blamed, mark
from sparring.data import Examples, load
from sparring.defenses.context import number, viewed
from sparring.defenses.defense import Defense, grounded, nested, prepared, teachers
from sparring.defenses.standard import Standard
from sparring.draws import isolated
from sparring.errors import InputError, ResumeError, SparringError
from sparring.interruption import interrupted
from sparring.model import Model
from sparring.problem import Threat, check_classes, check_inputs, check_threat
from sparring.processes import Processes, joined
from sparring.training.augmentation import Augmentation
from sparring.training.checkpoint import Folder, Record, held
from sparring.training.run import Run, copied, frozen
from sparring.training.schedules import Schedule
from sparring.training.settings import MakeOptimizer, Precision, Settings


@dataclass(frozen=True)
class Trained:
    """What training leaves.

    model: the trained copy of the network, of the same class, on the same inputs, in evaluation mode: the moving
    average where one was asked for, at the best epoch where examples were held out to tell it by.
    history: one record an epoch: epoch (from 1), loss, accuracy and seconds. Loss and accuracy are means over the
    epoch while it learned; the accuracy is that on the inputs learned from, adversarial ones for adversarial
    training. With a threat also, at the epoch's end, clean_accuracy, robust_accuracy (PGD-10, margin loss, full
    radius) and commonest (the share of the most frequent answer), on the examples held out, else on 64 of those
    learned from: to watch, not to report.
    epoch: the epoch that `model` is of. alarms: what was wrong with the training, in words, also with a teacher's.
    """

    model: nn.Module
    history: list[Record]
    epoch: int
    alarms: list[str]


def train(
    net: nn.Module,
    data: object,
    defense: Defense,
    threat: Threat | None = None,
    *,
    epochs: int = 30,
    batch_size: int = 64,
    lr: float | None = None,
    optimizer: MakeOptimizer | None = None,
    schedule: Schedule | None = None,
    radius: Schedule | None = None,
    effort: Schedule | None = None,
    augment: Sequence[Augmentation] = (),
    label_smoothing: float = 0.0,
    ema: float | None = None,
    clip: float | None = None,
    precision: Precision = "float32",
    channels_last: bool = False,
    compile: bool = False,
    validation: float = 0,
    patience: int | None = None,
    out: str | Path | None = None,
    resume: bool = True,
    seed: int = 0,
    progress: Callable[[Record], None] | None = None,
) -> Trained:
    """Train a copy of `net` with a defense; `net` itself and the global random state stay as they are.

    Under torchrun every process calls it alike: each learns from its rows of every batch, gradients are summed, and
    the first process writes. BatchNorm sees the rows of its own process.

    Args:
        net: a module from inputs in [0, 1] to logits, or an sp.Model with bounds, mean and std of its own; it
            starts from the weights it has, on the device it is on. Hooks on its modules fire on the copy too.
        data: (x, y), a DataLoader, a Dataset, a name or a path, read once: random augmentation is frozen.
        defense: what is learned from, such as Standard() or TRADES() + 0.1 * InputGradient(). Penalties alone are
            added to cross-entropy. A defense that needs a teacher and has none first trains one by the same recipe:
            a copy with new weights where modules can reset theirs.
        threat: what the adversary may move, such as sp.Linf(8/255), with one radius for all examples.
        epochs: passes over the data, at least 1. A finished run may be asked for more later, unless something is
            scheduled.
        batch_size: the most examples a step; an epoch is cut into batches of nearly equal size.
        lr: the learning rate of Adam, by default 1e-3.
        optimizer: makes the optimizer from the parameters, instead of Adam: lambda p: SGD(p, lr=0.1).
        schedule, radius, effort: functions of the share of the training done, in (0, 1): what the learning rate, the
            threat's radius and the attack's steps are multiplied by, such as OneCycle() or Linear(0.2, 1).
        augment: changes of the images, such as (PadCrop(4), Flip()), new in every epoch.
        label_smoothing: of cross-entropy, in [0, 1).
        ema: the decay of a moving average of weights and BatchNorm statistics, such as 0.999; None keeps none.
        clip: the largest L2 norm of the gradient; None leaves it.
        precision: "bfloat16" runs the network under autocast; losses, weights and checkpoints stay float32.
        channels_last: lay images and convolutions out with the channels last.
        compile: compile the network; not for defenses that differentiate input gradients.
        validation: the share of the training data, or the number of examples, held out to tell the best epoch by.
        patience: stop after so many epochs without a better robust accuracy on them (robust overfitting); without a
            threat, clean accuracy.
        out: a folder to keep `checkpoint.pt`, `model.safetensors` and `metrics.jsonl` in, replaced at each epoch's end,
            `tensorboard/` where it is installed, and `teacher/`.
        resume: go on from the checkpoint in `out`, or start when there is none. False refuses an `out` in use.
        seed: determines the order of the examples, the attacks and what the network draws; not its weights.
        progress: called after each batch with epoch, epochs, batch, batches, and the epoch's loss and accuracy
            so far, and after each epoch, once it is saved, with its record of the history too. While a teacher
            is trained, records have teacher=1.

    Raises:
        InputError: an argument cannot be used; the message names it, the value and the remedy.
        ModelError: the logits, the loss or the weights are no finite numbers; the last checkpoint is kept.
        ResumeError: `out` keeps another run, one with more epochs, or a damaged one.

    Warns:
        TrainingAlarm: the network gives one answer to everything, or withstands only the attack it trains with.
    """
    if not isinstance(net, nn.Module):
        raise InputError(f"net is a {type(net).__name__}; pass a torch.nn.Module, which has weights to train")
    if not isinstance(defense, Defense):
        raise InputError(f"defense is {defense!r}; pass a value such as sp.defenses.Standard()")
    if torch.is_inference_mode_enabled():
        raise InputError("torch.inference_mode() is on, in which nothing has a gradient; train outside of it")
    settings = Settings(
        epochs=epochs, batch_size=batch_size, lr=lr, optimizer=optimizer, schedule=schedule, radius=radius,
        effort=effort, augment=augment, label_smoothing=label_smoothing, ema=ema, clip=clip,
        precision=precision, channels_last=channels_last, compile=compile, validation=validation,
        patience=patience, seed=seed,
    )  # fmt: skip
    # A shuffling DataLoader draws too: the same seed gives it the same order, and the run can be resumed.
    with isolated(number(seed, "data"), torch.device("cpu")):
        examples = load(data, split="train")
    folder = Path(out) if out is not None else None
    with joined(Model.of(net).device or torch.device("cpu")) as processes:
        return _train(net, examples, defense, threat, settings, processes, folder, resume, progress)


def _train(
    net: nn.Module,
    examples: Examples,
    defense: Defense,
    threat: Threat | None,
    settings: Settings,
    processes: Processes,
    out: Path | None,
    resume: bool,
    progress: Callable[[Record], None] | None,
    teaching: bool = False,
) -> Trained:
    check(net, examples, defense, threat, settings)

    taught: dict[Defense, nn.Module] = {}
    alarms: list[str] = []

    def educate(lesson: Defense) -> nn.Module:
        """A teacher: new weights, the same recipe, a folder of its own."""
        if lesson in taught:
            return taught[lesson]
        name = f"teacher-{len(taught) + 1}" if taught else "teacher"
        young = replace(settings, seed=number(settings.seed, "teacher"))
        place = out / name if out is not None else None
        told = (lambda record: progress({**record, "teacher": 1.0})) if progress is not None else None
        pupil = _renewed(net, young.seed)
        done = _train(pupil, examples, lesson, threat, young, processes, place, resume, told, teaching=True)
        taught[lesson] = done.model
        alarms.extend(f"teacher: {alarm}" for alarm in done.alarms)
        return done.model

    with ExitStack() as stack:
        if out is not None:
            processes.lead(lambda: stack.enter_context(held(out)))
        defense = grounded(prepared(defense, educate), Standard())
        run = Run.begun(net, examples, defense, threat, settings, processes)
        # Who has learned from a teacher cannot go on with one that has learned more.
        ends = {"epochs": str(settings.epochs)} if teaching else {}
        folder = Folder(out, run.header() | ends, resume) if out is not None else None
        if folder and (state := folder.restore()):
            run.restore(state)
            if run.done > settings.epochs:
                raise ResumeError(
                    f"{out} keeps {run.done} epochs, more than epochs={settings.epochs}; choose another folder"
                )
            if processes.leads:
                folder.tell(run.history, run.kept)  # they may have been removed
        try:
            _learn(run, folder, progress)
        except KeyboardInterrupt as stop:
            whose = " of the teacher" if teaching else ""
            interrupted(stop, f"{run.done} of {settings.epochs} epochs{whose}", out)
            raise
    return Trained(run.trained(), run.history, run.best_epoch, alarms + run.alarms)


def _learn(run: Run, folder: Folder | None, progress: Callable[[Record], None] | None) -> None:
    """Every epoch that is not done yet, saved as soon as it is."""
    epochs, processes = run.settings.epochs, run.processes
    while run.done < epochs and not run.tired():
        for record in run.epoch(run.done + 1):
            if record["batch"] == record["batches"]:
                record = {**record, **run.finish(record)}
                if folder:
                    if processes.leads:
                        folder.save(run.state(), run.kept)
                    processes.meet()  # who goes on to resume from the folder must find it there
            if progress:
                progress({**record, "epochs": epochs})


def check(
    net: nn.Module,
    examples: Examples,
    defense: Defense,
    threat: Threat | None,
    settings: Settings,
) -> None:
    """Raises InputError for what cannot be trained."""
    model = Model.of(net)
    if threat is not None:
        check_threat(threat)
    for part in nested(defense):
        part.check(threat)
        if settings.compile and part.differentiates:
            raise InputError(
                f"compile=True: torch.compile cannot differentiate the input gradients of {part!r}; leave it"
            )
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    if not weights:
        raise InputError("net has no weights that require a gradient: there is nothing to train")
    if any(weight.dtype == torch.float16 for weight in weights):
        raise InputError("net has float16 weights, which overflow while learning; use net.float()")
    if not all(bool(weight.isfinite().all()) for weight in weights):
        raise InputError("net has weights that are not finite to begin with; start from others")
    device = weights[0].device
    first = examples.x[:1].to(device)
    if threat is not None:
        check_inputs(examples.x, model.bounds)
        _check_radius(threat, first, model.bounds)
    with isolated(settings.seed, device), torch.no_grad():
        classes = _look("net", model, first)
        for teacher in teachers(defense):
            if not isinstance(teacher, nn.Module):
                raise InputError(f"teacher is {teacher!r}; pass a network, such as the .model of a training")
            guide = Model.of(teacher)
            guide.check_device(first)
            if guide.bounds != model.bounds:
                raise InputError(
                    f"the teacher takes inputs in {guide.bounds}, the network in {model.bounds}; wrap the teacher so "
                    "that it takes the same"
                )
            if (theirs := _look("teacher", guide, first)) != classes:
                raise InputError(
                    f"the teacher tells {theirs} classes apart, the network {classes}; give one with {classes}"
                )
    check_classes("y", examples.y, classes)


def _look(name: str, model: Model, first: Tensor) -> int:
    """How many classes the network tells apart, from a look at one example."""
    try:
        return int(viewed(model, "eval")(first).shape[1])
    except SparringError:
        raise
    except Exception as error:
        found = InputError(f"{name} fails on data of shape {tuple(first.shape[1:])}: {error}")
        mark(found, blamed(error) or name)
        raise found from error


def _check_radius(threat: Threat, first: Tensor, bounds: tuple[float, float]) -> None:
    radius = threat.radius
    if isinstance(radius, Tensor) and radius.ndim:
        raise InputError(f"threat has {len(radius)} radii; training takes one radius for all examples")
    low, high = (torch.full_like(first, edge) for edge in bounds)
    farthest = float(threat.around(low, bounds).distance(high))
    if radius is not None and radius > farthest:
        raise InputError(
            f"threat is {threat!r}, and no two inputs in {bounds} are farther apart than {farthest:g}; give the radius "
            f"in the units of the inputs, such as {type(threat).__name__}({float(radius):g}/255)"
        )


def _renewed(net: nn.Module, seed: int) -> nn.Module:
    """A copy with new weights; modules that cannot reset theirs keep them."""
    young = copied(net)
    with isolated(seed, Model.of(young).device or torch.device("cpu")):
        for module in young.modules():
            # What is frozen, such as a pretrained backbone, stays.
            if not frozen(module) and callable(reset := getattr(module, "reset_parameters", None)):
                reset()
    return young
