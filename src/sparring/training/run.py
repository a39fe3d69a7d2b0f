"""One training under way: what it depends on, what has come of it, and how an epoch goes."""

from __future__ import annotations

import copy
import math
import re
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from sparring.answers import answers
from sparring.clock import since
from sparring.data import Examples, fingerprint, hash_tensors
from sparring.defenses.context import Context, number, viewed
from sparring.defenses.defense import Defense, nested, teachers
from sparring.draws import Draws, isolated
from sparring.errors import InputError, ModelError
from sparring.loading import weights_fingerprint
from sparring.model import Model
from sparring.problem import Threat
from sparring.processes import Processes
from sparring.provenance import Plain, network, plain, steady
from sparring.training.averaging import Average, fill, tensors
from sparring.training.checkpoint import Record
from sparring.training.learner import Step
from sparring.training.settings import Settings
from sparring.training.watch import Watch, parted

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


class TrainingAlarm(UserWarning):
    """The network has collapsed, or overfitted its attack; training goes on, and `Trained.alarms` repeats it."""


@dataclass(eq=False)
class Run:
    """A training under way: what it depends on, and what has come of it so far."""

    whole: nn.Module  # the network as the caller gave it, copied
    model: Model  # the same in the mode it is in, perhaps compiled
    optimizer: torch.optim.Optimizer
    examples: Examples
    defense: Defense
    threat: Threat | None
    settings: Settings
    processes: Processes
    places: Tensor  # of the examples learned from
    watch: Watch | None
    average: Average | None
    start: str  # the fingerprint of the initial weights
    history: list[Record] = field(default_factory=list)
    alarms: list[str] = field(default_factory=list)
    memory: dict[str, Tensor] = field(default_factory=dict)
    best: dict[str, Tensor] | None = None  # the weights of the best epoch, where examples were held out
    best_epoch: int = 0

    @classmethod
    def begun(
        cls,
        net: nn.Module,
        examples: Examples,
        defense: Defense,
        threat: Threat | None,
        settings: Settings,
        processes: Processes,
    ) -> Run:
        """Before the first step."""
        whole = copied(net)
        processes.agree(list(tensors(whole).values()))  # a script may have drawn other weights in each process
        if settings.channels_last:
            whole = whole.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        model = viewed(Model.of(whole), "as-is")
        assert isinstance(model.net, nn.Module)  # it has weights
        weights = [weight for weight in model.parameters() if weight.requires_grad]
        average = Average(whole, copied(whole), settings.ema) if settings.ema is not None else None
        start = weights_fingerprint(model.net)
        if settings.compile:
            compiled = torch.compile(model.net)
            model = Model(compiled, model.bounds, model.mean, model.std, mode="as-is").to(weights[0].device)
        places, watch = parted(examples, settings.validation, threat)
        if (smallest := len(places) // math.ceil(len(places) / settings.batch_size)) < processes.world:
            raise InputError(
                f"batches of {smallest} leave some of {processes.world} processes nothing; raise batch_size"
            )
        return cls(
            whole, model, settings.learner(weights), examples, defense, threat, settings, processes,
            places, watch, average, start,
        )  # fmt: skip

    def __post_init__(self) -> None:
        self._rates = [group["lr"] for group in self.optimizer.param_groups]

    @property
    def net(self) -> nn.Module:
        """The network without what a caller's sp.Model does to its inputs."""
        net = Model.of(self.whole).net
        assert isinstance(net, nn.Module)  # it has weights
        return net

    @property
    def done(self) -> int:
        """Finished epochs."""
        return len(self.history)

    @property
    def latest(self) -> nn.Module:
        """The network to be used, were training over now."""
        return self.average.net if self.average is not None else self.whole

    @property
    def kept(self) -> nn.Module:
        """The same at the best epoch."""
        if self.best is None:
            return self.latest
        twin = copied(self.latest)
        fill(twin, self.best)
        return twin

    def trained(self) -> nn.Module:
        """The network that is returned."""
        self.optimizer.zero_grad(set_to_none=True)
        if self.best is not None:
            fill(self.latest, self.best)
        return self.latest.eval()

    def header(self) -> dict[str, Plain]:
        """What must be the same for a run to be this one; asked before the first step.

        First in words, for messages, then by value: what people read does not show what a function does.

        Raises:
            InputError: something that the training depends on has no identity, see `provenance`.
        """
        mask = getattr(self.threat, "mask", None)
        groups = [
            {name: value for name, value in group.items() if name != "params"} for group in self.optimizer.param_groups
        ]
        inputs = [self.model.bounds, *(None if t is None else t.tolist() for t in (self.model.mean, self.model.std))]
        found = {
            "defense": repr(self.defense),
            "threat": repr(self.threat) if mask is None else f"{self.threat!r} {hash_tensors([('mask', mask)])}",
            **{name: repr(value) for name, value in self.settings.header().items()},
            "number of examples": str(len(self.examples.x)),
            "data fingerprint": fingerprint(self.examples.x, self.examples.y),
            "fingerprint of the initial weights": self.start,
            "fingerprint of the teachers": repr([_print(teacher) for teacher in teachers(self.defense)]),
            "bounds, mean and std": repr(inputs),
            "optimizer": f"{type(self.optimizer).__name__}({groups})",
            "number of processes": str(self.processes.world),
        }
        if not self.settings.paced and any(part.paced for part in nested(self.defense)):
            found["epochs"] = str(self.settings.epochs)
        # A function prints with its address, which is another one in every process.
        words = {name: re.sub(r" at 0x[0-9a-f]+", "", text) for name, text in found.items()}
        return {**words, "value": self._identity(), "answers": answers(self._seen, self.examples.x)}

    @property
    def _seen(self) -> Model:
        return viewed(Model.of(self.whole), "eval")

    def _identity(self) -> dict[str, Plain]:
        settings = ("schedule", "radius", "effort", "augment")
        before = network(self.net)
        answers(self._seen, self.examples.x)
        return {
            "defense": plain(self.defense, "defense"),
            "threat": plain(self.threat, "threat"),
            **{name: plain(getattr(self.settings, name), name) for name in settings},
            "network": steady(before, network(self.net)),
        }

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds."""
        return {
            "model": self.net.state_dict(),
            "buffers": dict(self.net.named_buffers()),  # a state dict leaves out those that are not persistent
            "optimizer": self.optimizer.state_dict(),
            "average": self.average.state() if self.average is not None else None,
            "memory": self.memory,
            "best": self.best,
            "best_epoch": self.best_epoch,
            "history": self.history,
            "alarms": self.alarms,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.net.load_state_dict(state["model"])
        for name, buffer in self.net.named_buffers():
            buffer.copy_(state["buffers"][name])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.average is not None:
            self.average.restore(state["average"])
        self.memory, self.best, self.best_epoch = state["memory"], state["best"], state["best_epoch"]
        self.history, self.alarms = state["history"], state["alarms"]

    def epoch(self, epoch: int) -> Iterator[Record]:
        """One pass over the data; yields after each batch what the pass has come to."""
        order = Draws(self.settings.seed, ("order",)).uniform(self.places, epoch, ()).argsort(stable=True)
        # Nearly equal batches: no straggler of one example, which BatchNorm could not learn from.
        batches = self.places[order].tensor_split(math.ceil(len(order) / self.settings.batch_size))
        self.whole.train()
        for module in self.whole.modules():
            # The statistics of a frozen BatchNorm are frozen too.
            if hasattr(module, "running_mean") and frozen(module):
                module.eval()
        sums = torch.zeros(3, dtype=torch.float64)
        seen, seconds = 0, 0.0
        for batch, index in enumerate(batches, 1):
            start = time.perf_counter()
            try:
                sums += self.step(epoch, batch, len(batches), index)
                if batch == len(batches) and not all(bool(p.isfinite().all()) for p in self.whole.parameters()):
                    raise ModelError("the step left weights that are not finite; lower the learning rate")
            except ModelError as error:
                raise ModelError(f"training stopped in epoch {epoch}, batch {batch}: {error}") from error
            seconds += since(start)
            seen += len(index)
            loss, accuracy, attacked = (sums / seen).tolist()
            yield {
                "epoch": epoch,
                "batch": batch,
                "batches": len(batches),
                "loss": loss,
                "accuracy": accuracy,
                "attacked": attacked,
                "seconds": seconds,
            }

    def step(self, epoch: int, batch: int, batches: int, index: Tensor) -> Tensor:
        """Learn from one batch; returns the sums over its examples of loss, accuracy, and accuracy where moved."""
        settings, device = self.settings, next(self.whole.parameters()).device
        done = (epoch - 1 + (batch - 0.5) / batches) / settings.epochs
        for group, rate in zip(self.optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * (settings.schedule(done) if settings.schedule is not None else 1)
        place, rows = self.processes.rows(index)
        x, y = (column[rows].to(device) for column in (self.examples.x, self.examples.y))
        learner = Step(self.whole, self.optimizer, self.processes, len(index), settings.clip, self.average)
        with ExitStack() as stack:
            # What the network draws must differ between processes, whose rows differ.
            stack.enter_context(isolated(number(settings.seed, "batch", epoch, batch, self.processes.rank), device))
            stack.enter_context(torch.enable_grad())
            if settings.precision == "bfloat16":
                # The cache would keep weights that an attack cast while they were frozen.
                stack.enter_context(torch.autocast(device.type, torch.bfloat16, cache_enabled=False))
            differentiates = any(part.differentiates for part in nested(self.defense))
            if differentiates:
                stack.enter_context(sdpa_kernel(SDPBackend.MATH))  # the fast attentions have no second derivative
            x = settings.batch(x, rows.to(device), epoch)
            context = Context(
                self.model,
                x.requires_grad_(differentiates),
                y,
                rows.to(device),
                settings.threat(self.threat, done),
                settings.seed,
                epoch,
                step=(epoch - 1) * batches + batch - 1,
                progress=done,
                place=place,
                label_smoothing=settings.label_smoothing,
                effort=settings.effort(done) if settings.effort is not None else 1.0,
                memory=self.memory,
                gather=self.processes.gather,
            )
            self.defense.learn(context, learner)
        hits = torch.stack([share.sum() for share in context.accuracy()])
        self.processes.add([hits])  # on its device: NCCL knows no other
        loss = sum(learner.losses) / max(1, len(learner.losses))
        return torch.cat([torch.tensor([loss * len(index)], dtype=torch.float64), hits.cpu().double()])

    def finish(self, last: Record) -> Record:
        """After the last batch of an epoch: look, compare, record; returns what is recorded."""
        self.processes.agree(list(self.whole.buffers()))
        if self.average is not None:
            self.processes.agree(list(self.average.net.buffers()))
        record = {name: last[name] for name in ("epoch", "loss", "accuracy", "seconds")}
        self.best_epoch = int(last["epoch"]) if self.best is None else self.best_epoch
        if self.watch is not None:
            seed = number(self.settings.seed, "watch")
            sight = self.watch.look(Model.of(self.latest), self.processes, seed)
            record |= sight
            # While the radius still grows, what is learned from is easier than what is watched.
            radius, before = self.settings.radius, (last["epoch"] - 1) / self.settings.epochs
            attacked = last["attacked"] if radius is None or radius(before) >= 0.9 else math.nan
            for alarm in self.watch.alarms([*self.history, record], attacked):
                self._sound(f"epoch {record['epoch']:g}: {alarm}")
            if self.watch.held_out and not any(_merit(earlier) >= _merit(record) for earlier in self.history):
                self.best = {name: value.clone() for name, value in tensors(self.latest).items()}
                self.best_epoch = int(last["epoch"])
        self.history.append(record)
        return record

    def tired(self) -> bool:
        """Whether patience has run out."""
        patience = self.settings.patience
        return patience is not None and self.done - self.best_epoch >= patience

    def _sound(self, alarm: str) -> None:
        kind = alarm.split(": ")[1]
        if not any(kind in earlier for earlier in self.alarms):
            self.alarms.append(alarm)
            warnings.warn(alarm, TrainingAlarm, stacklevel=5)


def _merit(record: Record) -> tuple[float, float]:
    return record.get("robust_accuracy", 0.0), record["clean_accuracy"]


def copied(net: nn.Module) -> nn.Module:
    """A copy with its own weights. Its hooks are those of `net`: a recorder that hooked `net` goes on recording."""
    memo: dict[int, object] = {}
    for module in net.modules():
        for hooks in _HOOKS:
            for hook in getattr(module, hooks).values():
                owner = getattr(hook, "__self__", hook)
                if not isinstance(owner, nn.Module):
                    memo[id(owner)] = owner
    try:
        copied = copy.deepcopy(net, memo)
    except Exception as error:
        raise InputError(f"net cannot be copied ({type(error).__name__}: {error}); training works on a copy") from error
    return copied


def frozen(module: nn.Module) -> bool:
    """Whether a module has weights of its own, none of which is learned."""
    own = list(module.parameters(recurse=False))
    return bool(own) and not any(weight.requires_grad for weight in own)


def _print(teacher: nn.Module) -> str:
    """What tells a teacher from another: all its tensors, and what it takes for inputs."""
    return f"{hash_tensors(tensors(teacher).items())} {Model.of(teacher).bounds}"
