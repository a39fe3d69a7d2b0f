"""Random numbers as a function of (seed, path, example index, step).

A counter-based generator: Philox-4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3",
SC 2011). Nothing is consumed, so a number does not depend on batch size, order, or what ran before.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

_WORD = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)


def philox(counter: Sequence[Tensor], key: tuple[int, int]) -> list[Tensor]:
    """Four random 32-bit words, as int64 tensors, for each four-word counter."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        # The products need 64 unsigned bits; int64 wraps to the same bits and the mask drops the sign.
        p0, p1 = _MULTIPLIERS[0] * c0, _MULTIPLIERS[1] * c2
        c0, c1, c2, c3 = (
            ((p1 >> 32) & _WORD) ^ c1 ^ k0,
            p1 & _WORD,
            ((p0 >> 32) & _WORD) ^ c3 ^ k1,
            p0 & _WORD,
        )
        k0, k1 = (k0 + _WEYL[0]) & _WORD, (k1 + _WEYL[1]) & _WORD
    return [c0, c1, c2, c3]


@dataclass(frozen=True)
class Draws:
    """A stream of random numbers, addressed rather than consumed."""

    seed: int
    path: tuple[str | int, ...] = ()

    def at(self, *path: str | int) -> Draws:
        """The independent stream under this one with that name."""
        return replace(self, path=self.path + path)

    def _words(self, index: Tensor, step: int | Tensor, count: int) -> Tensor:
        digest = hashlib.sha256(repr((self.seed, self.path)).encode()).digest()
        key = int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:8], "little")
        rows = index.to(torch.int64)[:, None]
        block = torch.arange((count + 3) // 4, device=index.device)[None, :]
        empty = torch.zeros_like(rows + block)
        step = step.to(torch.int64)[:, None] if isinstance(step, Tensor) else step
        words = philox((block + empty, step + empty, (rows & _WORD) + empty, (rows >> 32) + empty), key)
        return torch.stack(words, dim=-1).flatten(1)[:, :count]

    def uniform(
        self, index: Tensor, step: int | Tensor, shape: Sequence[int], dtype: torch.dtype = torch.float32
    ) -> Tensor:
        """(N, *shape) numbers in [0, 1), a function of seed, path, example index (N,) and step: one, or one a row."""
        words = self._words(index, step, math.prod(shape)) >> 8
        return (words.to(dtype) * 2.0**-24).reshape(len(index), *shape)

    def normal(
        self, index: Tensor, step: int | Tensor, shape: Sequence[int], dtype: torch.dtype = torch.float32
    ) -> Tensor:
        """(N, *shape) standard normal numbers, by Box and Muller (1958)."""
        count = math.prod(shape)
        pairs = self.uniform(index, step, ((count + 1) // 2, 2), torch.float64)
        radius = (-2 * torch.log1p(-pairs[..., 0])).sqrt()
        angle = 2 * math.pi * pairs[..., 1]
        both = torch.stack([radius * angle.cos(), radius * angle.sin()], dim=-1)
        return both.flatten(1)[:, :count].to(dtype).reshape(len(index), *shape)


@contextmanager
def isolated(seed: int, device: torch.device) -> Iterator[None]:
    """Foreign random modules draw from seeded global generators; the caller's own states come back after."""
    python, legacy = random.getstate(), np.random.get_state()  # noqa: NPY002 - saved and restored, not used
    on_cuda = device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if on_cuda else []):
        try:
            torch.default_generator.manual_seed(seed)
            if on_cuda:
                torch.cuda.default_generators[device.index or 0].manual_seed(seed)
            random.seed(seed)
            np.random.seed(seed % 2**32)  # noqa: NPY002
            yield
        finally:
            random.setstate(python)
            np.random.set_state(legacy)  # noqa: NPY002
