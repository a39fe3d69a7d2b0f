"""`ledger.jsonl`: a line for the first look, and for every example and rung that took it, a function of the blocks.

A rung that took no example of a block has a line that says so, and why. Lines come block by block, whichever process
finished it. A tail torn by a crash is cut back to the last whole block.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sparring.evaluation.block import BLIND, UNTAKEN, Block
from sparring.evaluation.header import Header
from sparring.evaluation.stages import ALONE, CHECKS, FIRST, looked, reason
from sparring.locks import locked, opened
from sparring.sealed import FORMAT


class Ledger:
    """The ledger of the blocks `numbers` of a run in a folder, which several processes may append to.

    leads: whether this process writes where the system knows no locks.
    """

    def __init__(self, folder: Path, header: Header, numbers: Sequence[int], leads: bool = True) -> None:
        self.path = folder / "ledger.jsonl"
        self._numbers = numbers
        self._header = header
        self._leads = leads
        self._whole = -1  # how many of `numbers` are known to be in the file; -1: not even the first line
        self._end = 0  # where their lines end

    def follow(self, finished: Callable[[int], Block | None]) -> None:
        """Append every block that is `finished` and follows the last one in the file.

        What another process, or an earlier session, has appended is compared rather than believed.

        Raises:
            InputError: the file is a link.
        """
        with opened(self.path) as file:  # not in append mode, which cannot write over a torn tail
            if locked(file, wait=True) is None and not self._leads:
                return
            while self._whole < len(self._numbers):
                if self._whole < 0:
                    told = [first(self._header)]
                else:
                    block = finished(self._numbers[self._whole])
                    if block is None:
                        break
                    told = lines(block, self._header)
                text = "".join(f"{json.dumps(line)}\n" for line in told).encode()
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


def first(header: Header) -> dict[str, Any]:
    """The line of the first look at the network, which is of no example."""
    return {"format": FORMAT, **_line(FIRST), **looked(header)}


def lines(block: Block, header: Header) -> list[dict[str, Any]]:
    """What is told of each example and column that took it, example by example; then of the rungs that took none."""
    columns = ["clean", *(rung["name"] for rung in header["attacks"]), CHECKS]
    counts = (block.forwards, block.backwards, block.zero_gradients, block.missed, block.seconds, block.taken)
    rows = zip(
        block.index.tolist(),
        block.broken_by.tolist(),
        block.distance.tolist(),
        *(count.tolist() for count in counts),
        strict=True,
    )
    told = [
        _line(
            name,
            index=index,
            fell=broken_by == number,
            forwards=forwards[number],
            backwards=backwards[number],
            zero_gradients=zeros[number],
            distance=distance if broken_by == number else None,
            missed=missed[number] if math.isfinite(missed[number]) else None,
            seconds=seconds[number],
            **({"no_gradient": True} if taken[number] == BLIND else {}),
        )
        for index, broken_by, distance, forwards, backwards, zeros, missed, seconds, taken in rows
        for number, name in enumerate(columns)
        if forwards[number] > 0
    ]
    told += _alone(block, header)
    none = (block.taken == UNTAKEN).all(0).tolist()
    told += [
        _line(
            name,
            block=int(block.index[0]) // header["block_size"],
            status="not run",
            reason=reason(block, header, number),
        )
        for number, name in enumerate(columns[:-1])
        if none[number]
    ]
    return told


def _alone(block: Block, header: Header) -> list[dict[str, Any]]:
    """What the attacks cost alone on examples that they did not take in turn."""
    return [
        _line(
            f"{header['attacks'][rung]['name']}, {ALONE}",
            index=int(block.index[row]),
            fell=bool(block.single[row, rung]),
            forwards=int(cost[0]),
            backwards=int(cost[1]),
            seconds=cost[2],
        )
        for row in range(len(block.index))
        for rung, cost in enumerate(block.single_cost[row].tolist())
        if cost[0] > 0
    ]


def _line(rung: str, **told: Any) -> dict[str, Any]:
    blank = {
        "index": None, "rung": rung, "fell": False, "forwards": 0, "backwards": 0, "zero_gradients": 0,
        "distance": None, "missed": None, "seconds": 0.0,
    }  # fmt: skip
    return {**blank, **told}
