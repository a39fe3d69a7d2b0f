"""What every transform shares: it wraps a model in stages that say what an adversary who knows them differentiates."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

from torch import Tensor, nn

from sparring.errors import InputError
from sparring.model import Model, Network
from sparring.values import check_fields


@dataclass(frozen=True)
class Transform:
    """A frozen value; its repr is its provenance. Called on a model, it returns the defended `sp.Model`.

    A subclass makes a stage in front of the network (`before`) or behind it (`after`), or changes a copy (`within`).
    """

    promise: ClassVar[str] = ""  # what it is said to do, in a line,
    broken_by: ClassVar[str] = ""  # and what defeats it
    random: ClassVar[bool] = False  # True: what the model answers is drawn

    def __post_init__(self) -> None:
        check_fields(self)

    def __call__(self, model: Network) -> Model:
        """The model with this defense on it: the same bounds, the same weights, itself untouched.

        Raises:
            InputError: the model has nothing that this transform could change.
        """
        given = Model.of(model)
        # Mode, draws and surrogates are said once, outside: an outer "as-is" must reach the network, as in training.
        inner = self.within(given.seen_by(mode="as-is", eot=1, bpda=None, gradients=None))
        stages = {"before": self.before(given.bounds), "inner": inner, "after": self.after()}
        net = nn.Sequential(OrderedDict((name, stage) for name, stage in stages.items() if stage is not None))
        bpda = {f"inner.net.{name}": surrogate for name, surrogate in given.bpda.items()}
        return Model(net, given.bounds, mode=given.mode, eot=given.eot, bpda=bpda, gradients=given.gradients)

    def before(self, bounds: tuple[float, float]) -> nn.Module | None:
        """What the inputs go through first."""
        return None

    def within(self, model: Model) -> Model:
        """The model, or a changed copy of it."""
        return model

    def after(self) -> nn.Module | None:
        """What the logits go through last."""
        return None


How = TypeVar("How", bound=Transform)


class Stage(nn.Module, Generic[How]):
    """A stage of a defended network.

    It has a method `surrogate` where something else should be differentiated, and says `random` where it draws;
    `Model.adaptive` reads both. Amounts are shares of the input range.
    """

    def __init__(self, how: How, bounds: tuple[float, float] = (0.0, 1.0)) -> None:
        super().__init__()
        self.how = how
        self.random = how.random
        self.low, self.width = bounds[0], bounds[1] - bounds[0]

    def unit(self, x: Tensor) -> Tensor:
        """Inputs in [0, 1]; what lies outside of the bounds is moved to their edge."""
        return ((x - self.low) / self.width).clamp(0, 1)

    def scaled(self, unit: Tensor) -> Tensor:
        """Inputs in the bounds."""
        return self.low + self.width * unit

    def images(self, x: Tensor) -> None:
        """Raises InputError where x is no batch of images."""
        if x.ndim != 4:
            raise InputError(f"{self.how!r} takes images (N, C, H, W), and x has shape {tuple(x.shape)}")

    def extra_repr(self) -> str:
        return repr(self.how)
