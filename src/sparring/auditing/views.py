"""A view as plain data: what an attacker follows where a network's own gradient is no use.

A view changes gradients alone; what counts is still what the network itself says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self

from torch import Tensor, nn

from sparring.auditing.pointwise import Pointwise
from sparring.errors import InputError
from sparring.gradients import Transfer
from sparring.model import Model, Network

DECLARED = "declared"  # the layer's own `surrogate`
POINTWISE = "pointwise"  # its slope, entry by entry
WORDS = ("identity", "estimate", POINTWISE, DECLARED)


@dataclass(frozen=True)
class View:
    """What to follow instead of a network's own gradient.

    name: what it is, in a word.
    layers: by submodule what stands in for it, backward: one of WORDS.
    part: the submodule whose gradient stands in for the whole network's, as if nothing stood around it; "" for none.
    scale: what the logits are divided by before the objective sees them, so that no softmax saturates.

    Raises InputError where a value is none of these.
    """

    name: str
    layers: Mapping[str, str] = field(default_factory=dict)
    part: str = ""
    scale: float = 1.0

    def __post_init__(self) -> None:
        for layer, word in self.layers.items():
            if word not in WORDS:
                raise InputError(f"a view has {word!r} for layer {layer!r}; give one of {', '.join(WORDS)}")
        if not self.scale > 0:
            raise InputError(f"a view has scale={self.scale!r}; give a number above 0")

    def of(self, model: Model) -> Model:
        """`model` as this view sees it, at as many draws a look; `model` itself is not touched.

        Raises:
            InputError: the network has no such submodule, or one that declares no surrogate: the view is another's.
        """
        modules = dict(model.net.named_modules()) if isinstance(model.net, nn.Module) else {}
        layers = {name: _surrogate(modules, name, word) for name, word in self.layers.items()}
        bpda = {**layers, **model.bpda}  # what the caller has put in a layer's place stays there
        if not self.part and self.scale == 1:
            return model.seen_by(bpda=bpda)
        inner, under = (_module(modules, self.part), f"{self.part}.") if self.part else (model.net, "")
        inside = {f"net.{name.removeprefix(under)}": one for name, one in bpda.items() if name.startswith(under)}
        return model.seen_by(gradients=Transfer(model.around(Divided(inner, self.scale), bpda=inside)))

    def records(self) -> dict[str, Any]:
        """Plain data, of which `read` makes the view again."""
        return {"name": self.name, "layers": dict(self.layers), "part": self.part, "scale": self.scale}

    @classmethod
    def read(cls, records: Mapping[str, Any]) -> Self:
        """What `records` wrote.

        Raises:
            InputError: an entry is missing, unknown, or cannot be.
        """
        known = {one.name for one in fields(cls)}
        if records.keys() != known:
            wrong = ", ".join(sorted(records.keys() ^ known))
            raise InputError(f"a view of the run cannot be read ({wrong}); begin it in a new folder")
        return cls(**records)


class Divided(nn.Module):
    """The logits of `net` divided by a number: the same decisions, on another scale."""

    def __init__(self, net: Network, by: float) -> None:
        super().__init__()
        self.net, self.by = net, by

    def forward(self, x: Tensor) -> Any:
        output = self.net(x)
        return output / self.by if self.by != 1 and isinstance(output, Tensor) else output


def _surrogate(modules: Mapping[str, nn.Module], name: str, word: str) -> Any:
    layer = _module(modules, name)
    if word == POINTWISE:
        return Pointwise(layer)
    if word != DECLARED:
        return word
    surrogate = getattr(layer, "surrogate", None)
    if surrogate is None:
        raise InputError(f"layer {name!r} declares no surrogate; the view is another network's")
    return surrogate


def _module(modules: Mapping[str, nn.Module], name: str) -> nn.Module:
    if name not in modules:
        raise InputError(f"the network has no submodule {name!r}; the view is another network's")
    return modules[name]
