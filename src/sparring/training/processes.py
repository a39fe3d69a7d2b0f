"""Several processes that learn from the same batches, each from its own rows, started by torchrun.

One process is the case of world size 1: no group, nothing sent. Gradients are summed in one flat tensor after a
backward; no wrapper stands around the network, so attacks ask it as they always do.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, distributed


@dataclass(frozen=True)
class Processes:
    """This process among those that train together."""

    rank: int = 0
    world: int = 1

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
        distributed.all_reduce(flat)
        for tensor, part in zip(tensors, torch.split(flat, [tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(part.view_as(tensor))

    def gather(self, rows: Tensor) -> Tensor:
        """The rows (N, …) of all processes, in order; their numbers may differ by one."""
        if self.world == 1:
            return rows
        counts = torch.zeros(self.world, dtype=torch.int64, device=rows.device)
        counts[self.rank] = len(rows)
        distributed.all_reduce(counts)
        most = int(counts.max())
        padded = torch.cat([rows, rows.new_zeros(most - len(rows), *rows.shape[1:])])
        parts = [torch.empty_like(padded) for _ in range(self.world)]
        distributed.all_gather(parts, padded)
        return torch.cat([part[:count] for part, count in zip(parts, counts.tolist(), strict=True)])

    def agree(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by that of the first process."""
        if self.world > 1:
            for tensor in tensors:
                distributed.broadcast(tensor, 0)

    def meet(self) -> None:
        """Wait until every process is here."""
        if self.world > 1:
            distributed.barrier()


@contextmanager
def joined(device: torch.device) -> Iterator[Processes]:
    """The processes that torchrun started, or those of a group that stands already; alone without either."""
    if distributed.is_available() and distributed.is_initialized():
        yield Processes(distributed.get_rank(), distributed.get_world_size())
    elif int(os.environ.get("WORLD_SIZE", "1")) > 1 and "RANK" in os.environ:
        distributed.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
        # It stays for the next training: a second group would find the addresses of the first, and wait for ever.
        atexit.register(_leave)
        yield Processes(distributed.get_rank(), distributed.get_world_size())
    else:
        yield Processes()


def _leave() -> None:
    if distributed.is_initialized():
        distributed.destroy_process_group()
