"""An eye on the network while it learns: how robust it is, which epoch was best, and two alarms."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from sparring.attacks import PGD
from sparring.data import Examples
from sparring.defenses.context import viewed
from sparring.draws import Draws
from sparring.errors import InputError
from sparring.model import Model
from sparring.problem import Threat
from sparring.processes import Processes
from sparring.training.checkpoint import Record

WATCHED = 64  # learned-from examples watched where none are held out


@dataclass(frozen=True)
class Watch:
    """Examples looked at after every epoch, clean and under PGD-10 with a margin loss at the full radius.

    held_out: they are not learned from, so the best epoch can be told by them.
    """

    x: Tensor
    y: Tensor
    index: Tensor
    threat: Threat | None
    held_out: bool

    def look(self, model: Model, processes: Processes, seed: int) -> Record:
        """clean_accuracy, with a threat robust_accuracy, and commonest, the share of the most frequent answer.

        Each process looks at its own rows.
        """
        at = torch.arange(len(self.x)).tensor_split(processes.world)[processes.rank]
        device = model.device or self.x.device
        x, y, index = (column[at].to(device) for column in (self.x, self.y, self.index))
        view = viewed(model, "eval")
        with torch.no_grad(), view.quiet():
            parts = [view(part) for part in torch.split(x, 256)] or [view(self.x[:1].to(device))[:0]]
        logits = torch.cat(parts)
        said = logits.argmax(1)
        right = (said == y).nonzero().squeeze(1)
        told = torch.zeros(2 + logits.shape[1], dtype=torch.int64, device=device)
        told[0], told[2:] = len(right), torch.bincount(said, minlength=logits.shape[1])
        if self.threat is not None and len(right):
            attack = PGD(steps=10, objective="margin")
            told[1] = (~attack(view, x[right], y[right], self.threat, seed=seed, index=index[right]).success).sum()
        processes.add([told])
        clean, robust, *answers = (count / len(self.x) for count in told.tolist())
        sight = {"clean_accuracy": clean, "robust_accuracy": robust, "commonest": max(answers)}
        if self.threat is None:
            del sight["robust_accuracy"]
        return sight

    def alarms(self, history: list[Record], attacked: float) -> list[str]:
        """What is wrong with the training; `attacked` is the accuracy on the adversarial examples learned from.

        Collapse: one answer to everything, for three epochs.

        Catastrophic overfitting (Wong et al. 2020, section 5.4): the network has learned the attack it trains
        with. It gets those examples right while PGD-10 takes half of what it once withstood, or for five epochs all.
        """
        found = []
        common = float(torch.bincount(self.y).max()) / len(self.y)
        flat = [record["commonest"] for record in history[-3:]]
        if len(flat) == 3 and min(flat) >= 0.95 and common <= 0.7:
            found.append(
                f"collapsed: {flat[-1]:.0%} of the answers are one class. Raise the radius slowly, as in "
                "radius=Linear(0, 1, until=0.5), lower the learning rate, or start from a naturally trained network"
            )
        *before, robust = (record.get("robust_accuracy", math.nan) for record in history)
        best = max(before, default=0.0)
        fallen = best >= 0.1 and robust < best / 2
        never = len(before) >= 4 and max(*before, robust) < 0.05
        if attacked - robust >= 0.3 and (fallen or never):
            found.append(
                f"catastrophic overfitting: {attacked:.0%} on its own adversarial examples, {robust:.0%} under PGD-10. "
                "Train with more attack steps, with N-FGSM, or at a smaller radius"
            )
        return found


def parted(examples: Examples, share: float, threat: Threat | None) -> tuple[Tensor, Watch | None]:
    """The places of the examples learned from, and the watch over others, or over some of them.

    Raises:
        InputError: so many are held out that none are left.
    """
    rows = len(examples.x)
    threat = threat if getattr(threat, "radius", None) is not None else None  # PGD-10 needs one
    count = int(share) if share >= 1 else math.ceil(share * rows - 1e-6)
    if count >= rows:
        raise InputError(f"validation={share:g} holds {count} of {rows} examples out; leave some to learn from")
    # A teacher, which has a seed of its own, must not learn what its student holds out.
    order = Draws(0, ("validation",)).uniform(torch.arange(rows), 0, ()).argsort(stable=True)
    if count == 0 and threat is None:
        return torch.arange(rows), None
    watched = order[: count or WATCHED].sort().values
    watch = Watch(examples.x[watched], examples.y[watched], watched, threat, held_out=count > 0)
    return (order[count:].sort().values if count else torch.arange(rows)), watch
