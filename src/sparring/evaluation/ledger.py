"""`ledger.jsonl`: one line for every example and rung that took it, a function of the finished blocks.

Lines come block by block, whichever process finished it. A tail torn by a crash is cut back to the last whole block.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sparring.evaluation.block import Block
from sparring.evaluation.locks import locked

CHECKS = "checks"  # the passes that evidence took, see `Evidence`


class Ledger:
    """The ledger of the blocks `numbers` in a folder, which several processes may append to.

    rungs: their names, in order. leads: whether this process writes where the system knows no locks.
    """

    def __init__(self, folder: Path, numbers: Sequence[int], rungs: Sequence[str], leads: bool = True) -> None:
        self.path = folder / "ledger.jsonl"
        self._numbers = numbers
        self._columns = ["clean", *rungs, CHECKS]
        self._leads = leads
        self._whole = 0  # of `numbers`, how many blocks are known to be in the file
        self._end = 0  # where their lines end

    def follow(self, finished: Callable[[int], Block | None]) -> None:
        """Append every block that is `finished` and follows the last one in the file.

        What another process, or an earlier session, has appended is compared rather than believed.
        """
        # Not in append mode, which cannot write over a torn tail.
        handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        with os.fdopen(handle, "r+b") as file:
            if locked(file, wait=True) is None and not self._leads:
                return
            while self._whole < len(self._numbers):
                block = finished(self._numbers[self._whole])
                if block is None:
                    break
                text = "".join(f"{json.dumps(line)}\n" for line in lines(block, self._columns)).encode()
                file.seek(self._end)
                if file.read(len(text)) != text:
                    file.seek(self._end)
                    file.truncate()
                    file.write(text)
                self._end += len(text)
                self._whole += 1
            file.truncate(self._end)  # a block enters the file when it is finished: what lies beyond is torn
            file.flush()
            if self._whole == len(self._numbers):
                os.fsync(file.fileno())


def lines(block: Block, columns: Sequence[str]) -> list[dict[str, Any]]:
    """What is told of each example and column that took it, example by example."""
    counts = (block.forwards, block.backwards, block.zero_gradients, block.missed, block.seconds)
    rows = zip(
        block.index.tolist(),
        block.broken_by.tolist(),
        block.distance.tolist(),
        *(count.tolist() for count in counts),
        strict=True,
    )
    return [
        {
            "index": index,
            "rung": name,
            "fell": broken_by == number,
            "forwards": forwards[number],
            "backwards": backwards[number],
            "zero_gradients": zeros[number],
            "distance": distance if broken_by == number else None,
            "missed": missed[number] if math.isfinite(missed[number]) else None,
            "seconds": seconds[number],
        }
        for index, broken_by, distance, forwards, backwards, zeros, missed, seconds in rows
        for number, name in enumerate(columns)
        if forwards[number] > 0
    ]
