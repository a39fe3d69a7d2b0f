"""A rung of a ladder: an attack, and the rows it takes. Data, not code."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Any, Literal

from sparring.attacks.attack import Attack
from sparring.model import Model


@dataclass(frozen=True)
class Rung:
    """One attack of a ladder. Its name is the path of its random numbers.

    eot: draws a look at a randomised network takes, where the model asks for fewer; None: as the model says.
    within: the rung takes the rows whose closest look so far missed by no more than this, as `Nearness` measures it.
    gained: …and only those that the rung of this name brought closer than any before it: what it alone found pays.
    ranked: whether runner-up classes are those of the clean logits or of the closest look.
    """

    name: str
    attack: Attack
    eot: int | None = None
    within: float = inf
    gained: str = ""
    ranked: Literal["clean", "closest"] = "clean"

    def view(self, model: Model) -> Model:
        """The model as this rung looks at it."""
        return model if self.eot is None or self.eot <= model.eot else model.seen_by(eot=self.eot)

    def records(self) -> dict[str, Any]:
        """Plain data: what a run's header holds."""
        told: dict[str, Any] = {"name": self.name, "attack": repr(self.attack)}
        if self.eot is not None:
            told["eot"] = self.eot
        if self.within < inf:
            told["within"] = self.within
        if self.gained:
            told["gained"] = self.gained
        if self.ranked != "clean":
            told["ranked"] = self.ranked
        return told
