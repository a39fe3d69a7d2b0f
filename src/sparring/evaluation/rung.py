"""A rung of a ladder: an attack, and the rows it takes. Data, not code."""

from __future__ import annotations

from dataclasses import dataclass, fields
from math import inf
from typing import Any, Literal

from sparring.attacks.attack import Attack
from sparring.model import Model
from sparring.provenance import label


@dataclass(frozen=True)
class Rung:
    """One attack of a ladder. Its name is the path of its random numbers.

    Which rows it takes is a matter of each row's own past, in the units of `Nearness`:

    within: rows whose closest look so far missed by no more than this.
    unsettled: …and by no more than this many times what rungs that do the same differed by; inf asks nothing.
    rough: …and by less than this many times the network's own roughness, see `auditing.roughness`.
    again: this rung does what an earlier one did: how far apart the two end says how rough the row's landscape is.
    gained: …and only rows that a rung of these names brought closer: what it found others may follow up.
    anyway: …or rows that missed by no more than this, whatever those before say.
    doubted: only rows whose gradients do not foretell what the network does, see `Evidence.doubtful`.
    max_zero_gradients: of the rungs before that climb the same objective along the network's own gradient, how many in
    a row may have met zero gradients alone; a gradient that is not zero ends the count. inf gives it every row.

    seen: through what it looks for gradients. "own" is the network as it is; "understood" the view that a first look at
    the network found to lead farther (`auditing.understanding`), without which the rung is left out; "best" that view
    where there is one.
    eot: draws a look at a randomised network takes, where the model asks for fewer; None: as the model says.
    ranked: whether runner-up classes are those of the clean logits or of the closest look. start: where it begins, for
    attacks that begin where the problem does.
    """

    name: str
    attack: Attack
    eot: int | None = None
    within: float = inf
    unsettled: float = inf
    rough: float = inf
    again: bool = False
    gained: tuple[str, ...] = ()
    anyway: float = -inf
    doubted: bool = False
    max_zero_gradients: float = inf
    seen: Literal["own", "best", "understood"] = "own"
    ranked: Literal["clean", "closest"] = "clean"
    start: Literal["clean", "closest"] = "clean"

    @property
    def ruled(self) -> bool:
        """Whether it takes or begins by what other rungs found, so that alone it would be another rung."""
        rules = ("within", "unsettled", "rough", "gained", "anyway", "doubted", "max_zero_gradients", "ranked", "start")
        return any(getattr(self, one.name) != one.default for one in fields(self) if one.name in rules)

    @property
    def climbs(self) -> str:
        """The objective whose gradient it follows, which is another one where it goes for chosen classes."""
        objective = getattr(self.attack, "objective", type(self.attack).__name__)
        towards = " of chosen classes" if getattr(self.attack, "n_targets", 0) else ""
        return f"{objective if isinstance(objective, str) else label(objective)}{towards}"

    def view(self, model: Model) -> Model:
        """The model as this rung looks at it."""
        return model if self.eot is None or self.eot <= model.eot else model.seen_by(eot=self.eot)

    def records(self) -> dict[str, Any]:
        """Plain data: what a run's header holds; of the rules, those that are not the default."""
        told: dict[str, Any] = {"name": self.name, "attack": label(self.attack)}
        for rule in fields(self)[2:]:
            if (value := getattr(self, rule.name)) != rule.default:
                told[rule.name] = list(value) if isinstance(value, tuple) else value
        return told
