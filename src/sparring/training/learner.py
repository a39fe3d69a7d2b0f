"""What the loop lends a defense to learn with: gradients joined over processes, one step of the optimizer."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from sparring.errors import ModelError
from sparring.processes import Processes
from sparring.training.averaging import Average


@dataclass(eq=False)
class Step:
    """One batch; see `sparring.defenses.Learner`. `losses` keeps the mean loss of each backward."""

    net: nn.Module
    optimizer: torch.optim.Optimizer
    processes: Processes
    rows: int  # of the batch, over all processes
    clip: float | None
    average: Average | None
    losses: list[float] = field(default_factory=list)

    @property
    def weights(self) -> list[nn.Parameter]:
        return [weight for group in self.optimizer.param_groups for weight in group["params"]]

    @property
    def buffers(self) -> list[Tensor]:
        return list(self.net.buffers())

    def gradients(self, losses: Tensor) -> list[Tensor]:
        weights = self.weights
        found = torch.autograd.grad(self._mean(losses), weights, allow_unused=True)
        slopes = [torch.zeros_like(w) if slope is None else slope for w, slope in zip(weights, found, strict=True)]
        self.processes.add(slopes)
        return slopes

    def backward(self, losses: Tensor) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        mean = self._mean(losses)
        told = mean.detach().clone()
        self.processes.add([told])
        if not math.isfinite(loss := float(told)):
            raise ModelError(f"the loss is {loss}; lower the learning rate, or check the network for overflow")
        self.losses.append(loss)
        mean.backward()  # type: ignore[no-untyped-call]
        if self.processes.world > 1:
            for weight in self.weights:  # another process may have used one that this one has not
                weight.grad = torch.zeros_like(weight) if weight.grad is None else weight.grad
            self.processes.add([weight.grad for weight in self.weights if weight.grad is not None])

    def update(self) -> None:
        if self.clip is not None:
            torch.nn.utils.clip_grad_norm_(self.weights, self.clip)
        self.optimizer.step()
        if self.average is not None:
            self.average.update()

    def _mean(self, losses: Tensor) -> Tensor:
        return losses.sum() / self.rows
