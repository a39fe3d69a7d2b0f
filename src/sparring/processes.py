"""Several processes at one task, started by torchrun: each has its own rows of a batch, or its own blocks of a run.

One process is the case of world size 1: no group, nothing sent. Gradients are summed in one flat tensor after a
backward; no wrapper stands around the network, so attacks ask it as they always do.
"""

from __future__ import annotations

import atexit
import os
import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, distributed

from sparring.errors import SparringError

T = TypeVar("T")


@dataclass(frozen=True)
class _Failed:
    """What a process tells the others instead of an answer."""

    error: Exception


@dataclass(frozen=True)
class Processes:
    """This process among those at work; `group` is how they talk, None for torch's own."""

    rank: int = 0
    world: int = 1
    group: distributed.ProcessGroup | None = None

    @property
    def leads(self) -> bool:
        """Whether this is the one that writes."""
        return self.rank == 0

    def rows(self, index: Tensor) -> tuple[int, Tensor]:
        """This process's part of a batch, and where it begins."""
        parts = index.tensor_split(self.world)
        return sum(map(len, parts[: self.rank])), parts[self.rank]

    def add(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over the processes."""
        if self.world == 1 or not tensors:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        distributed.all_reduce(flat, group=self.group)
        for tensor, part in zip(tensors, torch.split(flat, [tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(part.view_as(tensor))

    def gather(self, rows: Tensor) -> Tensor:
        """The rows (N, …) of all processes, in order; their numbers may differ by one."""
        if self.world == 1:
            return rows
        counts = torch.zeros(self.world, dtype=torch.int64, device=rows.device)
        counts[self.rank] = len(rows)
        distributed.all_reduce(counts, group=self.group)
        most = int(counts.max())
        padded = torch.cat([rows, rows.new_zeros(most - len(rows), *rows.shape[1:])])
        parts = [torch.empty_like(padded) for _ in range(self.world)]
        distributed.all_gather(parts, padded, group=self.group)
        return torch.cat([part[:count] for part, count in zip(parts, counts.tolist(), strict=True)])

    def agree(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by that of the first process."""
        if self.world > 1:
            for tensor in tensors:
                distributed.broadcast(tensor, 0, group=self.group)

    def meet(self) -> None:
        """Wait until every process is here."""
        if self.world > 1:
            distributed.barrier(group=self.group)

    def each(self, act: Callable[[], T]) -> list[T]:
        """What `act` gives in each process, in order, in all of them.

        Raises the error of any process in all of them, and SparringError where another has ended or is not there.
        """
        if self.world == 1:
            return [act()]
        own: T | _Failed
        try:
            own = act()
        except Exception as error:
            own = _Failed(error)
        every: list[Any] = [None] * self.world
        try:
            distributed.all_gather_object(every, _sent(own, self.rank), group=self.group)
        except RuntimeError as error:
            if isinstance(own, _Failed):
                raise own.error from error
            raise SparringError(
                f"process {self.rank} of {self.world} waited for another, which has ended; see what that one said and "
                "start all of them again"
            ) from error
        every[self.rank] = own  # with its traceback
        for one in [own, *every]:
            if isinstance(one, _Failed):
                raise one.error
        return every

    def lead(self, act: Callable[[], T]) -> T:
        """What `act` gives in the first process, in all of them; so is its error."""
        return cast(T, self.each(lambda: act() if self.leads else None)[0])


@contextmanager
def joined(device: torch.device, patience: timedelta | None = None) -> Iterator[Processes]:
    """The processes that torchrun started, or those of a group that stands already; alone without either.

    With `patience` they talk in a group of their own, on the CPU, in which one may wait so long for another.
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        if int(os.environ.get("WORLD_SIZE", "1")) == 1 or "RANK" not in os.environ:
            yield Processes()
            return
        distributed.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
        # It stays for the next task: a second one would find the addresses of the first, and wait for ever.
        atexit.register(_leave)
    found = Processes(distributed.get_rank(), distributed.get_world_size())
    if patience is None or found.world == 1:
        yield found
        return
    group = distributed.new_group(backend="gloo", timeout=patience)
    try:
        yield replace(found, group=group)
    finally:
        distributed.destroy_process_group(group)


def _sent(answer: object, rank: int) -> object:
    """An answer as the others are told it: an error says whose it was, and must survive the way."""
    if not isinstance(answer, _Failed):
        return answer
    try:
        error: Exception = pickle.loads(pickle.dumps(answer.error))
    except Exception:
        error = RuntimeError(f"{type(answer.error).__name__}: {answer.error}")
    error.add_note(f"(raised in process {rank} of those that work together)")
    return _Failed(error)


def _leave() -> None:
    if distributed.is_initialized():
        distributed.destroy_process_group()
