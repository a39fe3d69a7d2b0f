"""Looks at real inputs, timed as attacks take them: the network there and back, and what an attack does around it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import inf

import torch
from torch import Tensor

from sparring.attacks.pgd import PGD
from sparring.model import Model
from sparring.objectives import margin
from sparring.oracle import Oracle
from sparring.problem import Problem, Seen, pose
from sparring.threats import Linf

Clock = Callable[[], float]

_STEP = PGD(steps=1, random_start=False)


@dataclass(frozen=True)
class Bench:
    """A network and inputs x (N, …) for it, which go to `device` as they are needed. `clock` tells seconds."""

    model: Model
    x: Tensor
    device: torch.device
    clock: Clock

    def posed(self, size: int) -> Problem:
        """The first `size` examples, repeated where there are fewer; in a small ball, with a goal out of reach: none
        retires."""
        x = self.x[torch.arange(size) % len(self.x)].to(self.device)
        low, high = self.model.bounds
        wanted = torch.zeros(size, dtype=torch.int64)
        problem = pose(x, None, Linf((high - low) / 100), self.model.bounds, targets=wanted)
        return replace(problem, goal=replace(problem.goal, confidence=inf))

    def seen(self, model: Model, problem: Problem) -> Seen:
        """What `model` says there, and its input gradient."""
        with model.quiet():
            return Oracle(model, len(problem.x), self.device).gradient(problem, problem.x, margin)

    def seconds(self, model: Model, problem: Problem) -> float:
        """Of a step of PGD and a last look."""
        oracle = Oracle(model, len(problem.x), self.device)
        with model.quiet():
            self._wait()
            began = self.clock()
            _STEP.run(problem, oracle)
            self._wait()
            return self.clock() - began

    def _wait(self) -> None:
        if self.device.type != "cpu":  # an accelerator answers before it is done
            getattr(torch, self.device.type).synchronize()

    def most(self) -> int:
        """The largest batch worth trying: a power of two that the examples fill, to the next one, and that fits in
        memory, by what the graph of one example keeps until its backward pass."""
        kept: dict[int, int] = {}

        def pack(value: Tensor) -> Tensor:
            kept[value.data_ptr()] = value.nbytes
            return value

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
            self.seen(self.model, self.posed(1))
        for weight in (*self.model.parameters(), *self.model.buffers()):
            kept.pop(weight.data_ptr(), None)
        fits = room(self.device) // (1 + 2 * sum(kept.values()))  # twice: gradients take as much on their way back
        filled = 1 << (len(self.x) - 1).bit_length()
        return min(filled, 1 << max(0, fits.bit_length() - 1), 1024 if self.device.type == "cpu" else 4096)


def room(device: torch.device) -> int:
    """Bytes for the activations of a pass: half of what an accelerator has free. A processor's caches are far smaller
    than its gigabyte, and more would only be slower."""
    return torch.cuda.mem_get_info(device)[0] // 2 if device.type == "cuda" else 2**30


def usual_clock(device: torch.device) -> Clock:
    """Of a single thread the processor's own time is known, in which other programs on the machine do not count."""
    return time.process_time if device.type == "cpu" and torch.get_num_threads() == 1 else time.perf_counter


def computes_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 itself, instead of by way of float32."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    known = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return device.type == "cpu" and known is not None and bool(known())
