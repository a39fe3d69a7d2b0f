"""Who works on which block of a run, and how the processes come by what the others finished.

A block is computed alone, and its random numbers are a function of its examples: so it does not matter who computes it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from sparring.errors import InputError
from sparring.evaluation.block import Block
from sparring.evaluation.run import Run
from sparring.processes import Processes

PAUSE = 0.05  # seconds between two looks at what the others have finished

Found = Mapping[int, Block]


def check_shard(shard: object) -> None:
    """Raises InputError unless `shard` is None or a pair (i, n) of whole numbers with 1 <= i <= n."""
    match shard:
        case None:
            return
        case (int(part), int(parts)) if 1 <= part <= parts and bool not in (type(part), type(parts)):
            return
    raise InputError(f"shard is {shard!r}; give a pair such as (1, 3), the first of three")


def in_folder(
    run: Run, wanted: range, processes: Processes, climbed: Callable[[int], Block], told: Callable[[Found], None]
) -> dict[int, Block]:
    """The `wanted` blocks of a run, finished together with whoever else works in its folder.

    Each process claims a block at a time, and the system takes the claims of one that dies back: so any number may come
    and go. Where there are no such claims, every one has its share. `told` hears of every block that is there.
    """
    found: dict[int, Block] = {}
    ledger = run.ledger(wanted, processes.leads)

    def finished(number: int) -> Block | None:
        if number not in found and (block := run.load(number)) is not None:
            found[number] = block
            told(found)
        return found.get(number)

    def work(number: int, share: bool) -> bool:
        """Whether it is finished now."""
        if finished(number) is None:
            with run.claim(number, share) as ours:
                # Another may have finished it between the look and the claim.
                if ours and finished(number) is None:
                    run.save(number, climbed(number))
        return finished(number) is not None

    missing = list(enumerate(wanted))
    while missing:
        before, missing = missing, []
        for place, number in before:
            if work(number, place % processes.world == processes.rank):
                ledger.follow(finished)
            else:
                missing.append((place, number))
        if len(missing) == len(before):
            time.sleep(PAUSE)
    return found


def in_memory(
    wanted: range, processes: Processes, climbed: Callable[[int], Block], told: Callable[[Found], None]
) -> dict[int, Block]:
    """The same without a folder: every process has its share, and all are told the rest when they are done."""
    found: dict[int, Block] = {}

    def work() -> Found:
        for number in wanted[processes.rank :: processes.world]:
            found[number] = climbed(number)
            told(found)
        return found

    return {number: block for part in processes.each(work) for number, block in part.items()}
