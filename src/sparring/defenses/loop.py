"""The training loop. An epoch is a function of weights, optimizer state, seed and number, so runs resume exactly."""

from __future__ import annotations

import copy
import math
import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from sparring.data import Examples, fingerprint, hash_tensors, load
from sparring.defenses.checkpoint import Folder, Record
from sparring.defenses.defense import Context, Defense, number, viewed
from sparring.draws import Draws, isolated
from sparring.errors import InputError, ModelError, ResumeError
from sparring.loading import weights_fingerprint
from sparring.model import Model
from sparring.problem import Threat, check_classes, check_inputs

MakeOptimizer = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


@dataclass(frozen=True)
class Trained:
    """What training leaves.

    model: the trained copy of the network, of the same class, on the same inputs, in evaluation mode.
    history: one record an epoch: epoch (from 1), loss, accuracy and seconds. Both are means over the epoch
    while it learned; the accuracy is that on the inputs learned from, adversarial ones for adversarial training.
    """

    model: nn.Module
    history: list[Record]


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
    out: str | Path | None = None,
    resume: bool = True,
    seed: int = 0,
    progress: Callable[[Record], None] | None = None,
) -> Trained:
    """Train a copy of `net` with a defense; `net` itself and the global random state stay as they are.

    Args:
        net: a module from inputs in [0, 1] to logits, or an sp.Model with bounds, mean and std of its own; it
            starts from the weights it has, on the device it is on. Hooks on its modules fire on the copy too.
        data: (x, y), a DataLoader, a Dataset, a name or a path, read once: random augmentation is frozen.
        defense: what is learned from, such as Standard() or AdversarialTraining().
        threat: what the adversary may move, such as sp.Linf(8/255), with one radius for all examples.
        epochs: passes over the data, at least 1. A finished run may be asked for more later.
        batch_size: the most examples a step; an epoch is cut into batches of nearly equal size.
        lr: the learning rate of Adam, by default 1e-3.
        optimizer: makes the optimizer from the parameters, instead of Adam: lambda p: SGD(p, lr=0.1).
        out: a folder to keep `checkpoint.pt` and `metrics.jsonl` in, both replaced at each epoch's end.
        resume: go on from the checkpoint in `out`, or start when there is none. False refuses an `out` in use.
        seed: determines the order of the examples, the attacks and what the network draws; not its weights.
        progress: called after each batch with epoch, epochs, batch, batches, and the epoch's loss and accuracy
            so far; the last call of an epoch comes after its checkpoint.

    Raises:
        InputError: an argument cannot be used; the message names it, the value and the remedy.
        ModelError: the logits, the loss or the weights are no finite numbers; the last checkpoint is kept.
        ResumeError: `out` keeps another run, one with more epochs, or a damaged one.
    """
    _check(net, defense, threat, epochs, batch_size, lr, optimizer)
    # A shuffling DataLoader draws too: the same seed gives it the same order, and the run can be resumed.
    with isolated(number(seed, "data"), torch.device("cpu")):
        examples = load(data, split="train")
    trained = _copy(net)
    model = viewed(Model.of(trained), "as-is")
    weights = [p for p in model.parameters() if p.requires_grad]
    if not weights:
        raise InputError("net has no weights that require a gradient: there is nothing to train")
    if threat is not None:
        check_inputs(examples.x, model.bounds)
    with isolated(seed, weights[0].device), torch.no_grad():
        classes = viewed(model, "eval")(examples.x[:1].to(weights[0].device)).shape[1]
    check_classes("y", examples.y, classes)
    learner = optimizer(weights) if optimizer else torch.optim.Adam(weights, lr=1e-3 if lr is None else lr)
    run = _Run(model, learner, examples, defense, threat, batch_size, seed)
    folder = Folder(Path(out), run.header(), resume) if out is not None else None
    history = folder.restore(run.net, learner) if folder else []
    if len(history) > epochs:
        raise ResumeError(f"{out} keeps {len(history)} epochs, more than epochs={epochs}; choose another folder")
    for epoch in range(len(history) + 1, epochs + 1):
        for record in run.epoch(epoch):
            if record["batch"] == record["batches"]:
                history.append({name: record[name] for name in ("epoch", "loss", "accuracy", "seconds")})
                if folder:
                    folder.save(run.net, learner, history)
            if progress:
                progress({**record, "epochs": epochs})
    learner.zero_grad(set_to_none=True)
    return Trained(trained.eval(), history)


@dataclass(frozen=True)
class _Run:
    """All that training depends on, but for the number of epochs."""

    model: Model
    optimizer: torch.optim.Optimizer
    examples: Examples
    defense: Defense
    threat: Threat | None
    batch_size: int
    seed: int

    @property
    def net(self) -> nn.Module:
        assert isinstance(self.model.net, nn.Module)  # it has weights
        return self.model.net

    def header(self) -> dict[str, str]:
        """What must be the same for a run to be this one; asked before the first step."""
        mask = getattr(self.threat, "mask", None)
        groups = [
            {name: value for name, value in group.items() if name != "params"} for group in self.optimizer.param_groups
        ]
        inputs = [self.model.bounds, *(None if t is None else t.tolist() for t in (self.model.mean, self.model.std))]
        found = {
            "defense": repr(self.defense),
            "threat": repr(self.threat) if mask is None else f"{self.threat!r} {hash_tensors([('mask', mask)])}",
            "data fingerprint": fingerprint(self.examples.x, self.examples.y),
            "fingerprint of the initial weights": weights_fingerprint(self.net),
            "bounds, mean and std": repr(inputs),
            "optimizer": f"{type(self.optimizer).__name__}({groups})",
            "batch_size": str(self.batch_size),
            "seed": str(self.seed),
        }
        # A function prints with its address, which is another one in every process.
        return {name: re.sub(r" at 0x[0-9a-f]+", "", text) for name, text in found.items()}

    def epoch(self, epoch: int) -> Iterator[Record]:
        """One pass over the data; yields after each batch what the pass has come to."""
        rows = len(self.examples.x)
        order = Draws(self.seed, ("order",)).uniform(torch.arange(rows), epoch, ()).argsort(stable=True)
        # Nearly equal batches: no straggler of one example, which BatchNorm could not learn from.
        batches = order.tensor_split(math.ceil(rows / self.batch_size))
        self.net.train()
        loss = accuracy = seconds = 0.0
        for batch, index in enumerate(batches, 1):
            start = time.perf_counter()
            try:
                losses, hits = self.step(epoch, batch, index)
                if batch == len(batches) and not all(bool(p.isfinite().all()) for p in self.net.parameters()):
                    raise ModelError("the step left weights that are not finite; lower the learning rate")
            except ModelError as error:
                raise ModelError(f"training stopped in epoch {epoch}, batch {batch}: {error}") from error
            loss, accuracy = loss + losses, accuracy + hits
            seconds += time.perf_counter() - start
            seen = sum(map(len, batches[:batch]))
            yield {
                "epoch": epoch,
                "batch": batch,
                "batches": len(batches),
                "loss": loss / seen,
                "accuracy": accuracy / seen,
                "seconds": seconds,
            }

    def step(self, epoch: int, batch: int, index: Tensor) -> tuple[float, float]:
        """Learn from one batch; returns the sums over its examples of loss and accuracy."""
        device = next(self.net.parameters()).device
        x, y = (column[index].to(device) for column in (self.examples.x, self.examples.y))
        with isolated(number(self.seed, "batch", epoch, batch), device), torch.enable_grad():
            context = Context(self.model, x, y, index.to(device), self.threat, self.seed, epoch)
            losses = self.defense.loss(context)
            total = float(losses.detach().sum())
            if not math.isfinite(total):
                raise ModelError(f"the loss is {total}; lower the learning rate, or check the network for overflow")
            self.optimizer.zero_grad(set_to_none=True)
            losses.mean().backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
        return total, float(context.accuracy().sum())


def _check(
    net: nn.Module,
    defense: Defense,
    threat: Threat | None,
    epochs: int,
    batch_size: int,
    lr: float | None,
    optimizer: MakeOptimizer | None,
) -> None:
    """Raises InputError for what can be told wrong without the data."""
    if not isinstance(net, nn.Module):
        raise InputError(f"net is a {type(net).__name__}; pass a torch.nn.Module, which has weights to train")
    if not isinstance(defense, Defense):
        raise InputError(f"defense is {defense!r}; pass a value such as sp.defenses.Standard()")
    for name, value in (("epochs", epochs), ("batch_size", batch_size)):
        if not isinstance(value, int) or value < 1:
            raise InputError(f"{name} is {value!r}; give a whole number of at least 1")
    if lr is not None and optimizer is not None:
        raise InputError(f"lr is {lr}, but an optimizer is given, which has a rate of its own: pass one of the two")
    radius = getattr(threat, "radius", None)
    if isinstance(radius, Tensor) and radius.ndim:
        raise InputError(f"threat has {len(radius)} radii; training takes one radius for all examples")
    defense.check(threat)


def _copy(net: nn.Module) -> nn.Module:
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
