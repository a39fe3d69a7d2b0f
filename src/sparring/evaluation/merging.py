"""`sp.merge`: the shards of a run, made on different days and machines, as the one run they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from itertools import combinations
from pathlib import Path

import torch
from torch import Tensor

from sparring.auditing import Audit
from sparring.errors import InputError, ResumeError
from sparring.evaluation.block import Block
from sparring.evaluation.header import Header, difference, numbers, places, settings_of
from sparring.evaluation.result import Result
from sparring.evaluation.run import Run
from sparring.evaluation.settings import Settings
from sparring.sealed import Broken


def merge(folders: Sequence[str | Path], out: str | Path) -> Result:
    """Join runs of which each has some of the blocks into `out`, which then is as one run would have left it.

    Neither the model nor the data is needed. The circumstances (command, versions, start) are those of the first.

    Args:
        folders: what sp.evaluate was given as `out`; usually one a shard.
        out: a new folder, or one in which the same merge was interrupted.

    Raises:
        InputError: there are no folders.
        ResumeError: a folder holds no run, or another run than the first (the first difference is named); a block
            differs between two folders; a block or an audit is damaged; examples are missing; `out` holds another run.
    """
    if not folders or isinstance(folders, str | Path):
        raise InputError(f"folders is {folders!r}; give a list of at least one, such as ['runs/a', 'runs/b']")
    runs = [Run.at(Path(folder)) for folder in folders]
    header = {**runs[0].header, "shard": None}
    for run in runs[1:]:
        _compare(runs[0], run)
    wanted = numbers(header)
    holders = {number: [(run, block) for run in runs if (block := _held(run, number)) is not None] for number in wanted}
    if missing := [number for number in wanted if not holders[number]]:
        raise ResumeError(_missing(runs, missing))
    found = {number: _agreed(number, holders[number]) for number in wanted}
    audit = next((audit for audit in map(_audit, runs) if audit is not None), None)
    merged = Run.open(Path(out), header, resume=True, block_size=header["block_size"])
    for number in wanted:
        merged.save(number, found[number])
    merged.ledger(wanted).follow(found.get)
    if audit is not None:
        audit.save(merged.blocks, header["run"])
    result = Result(Block.join([found[number] for number in wanted]), header, audit)
    result.save(merged.folder)
    return result


def _compare(first: Run, other: Run) -> None:
    if (found := difference(first.header, other.header)) is not None:
        name, one, two = found
        hint = "evaluate the second again with the arguments of the first, or leave it out"
        if name == "block_size" or name.startswith(("settings", "understanding")):
            hint = f"evaluate the second again with {_as_settled(first)}"
        raise ResumeError(
            f"{first.folder} and {other.folder} are not of one run: {name} is {one!r} in the first and {two!r} in the "
            f"second; {hint}"
        )


def _held(run: Run, number: int) -> Block | None:
    """A block that the folder of a run has, or None."""
    try:
        return run.read(number)
    except FileNotFoundError:
        return None
    except Broken as why:
        raise ResumeError(
            f"{run.path(number)} cannot be used: {why}; remove it, and evaluate again to compute it"
        ) from why


def _audit(run: Run) -> Audit | None:
    """The audit that the folder of a run has, or None. A damaged one may have said that the number is not reliable."""
    try:
        return Audit.read(run.blocks, run.header["run"])
    except FileNotFoundError:
        return None
    except Broken as why:
        raise ResumeError(
            f"{run.blocks / 'audit.json'} cannot be used: {why}; evaluate again with audit=True to make it anew"
        ) from why


def _agreed(number: int, holders: Sequence[tuple[Run, Block]]) -> Block:
    """A block, the same in all folders that hold it."""
    for (one, first), (other, second) in combinations(holders, 2):
        for field in fields(first):
            if field.name not in ("seconds", "single_cost") and not _equal(
                getattr(first, field.name), getattr(second, field.name)
            ):
                raise ResumeError(
                    f"block {number} (examples {_ranges(one.header, [number])}) differs between {one.folder} and "
                    f"{other.folder}, in {field.name}; the two machines compute differently, or a file was changed: "
                    f"remove {one.path(number)} or {other.path(number)}"
                )
    return holders[0][1]


def _equal(one: Tensor, other: Tensor) -> bool:
    """To the last bit: NaN, which stands for what was not asked, equals itself."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    return torch.equal(*(tensor.contiguous().reshape(-1).view(torch.uint8) for tensor in (one, other)))


def _missing(runs: Sequence[Run], missing: Sequence[int]) -> str:
    """Which examples no folder has, and how to get them."""
    header = runs[0].header
    shards = {run.header["shard"]: run.folder for run in runs if run.header["shard"] is not None}
    told = f"examples {_ranges(header, missing)} of {header['data']['examples']} are in none of these folders; "
    if not shards:
        return told + f"call sp.evaluate again with out={str(runs[0].folder)!r}, which goes on there"
    count = max(int(shard.partition("/")[2]) for shard in shards)
    lacking = sorted({number % count + 1 for number in missing})
    remedies = [
        f"finish shard {shard} in {shards[shard]}"
        if (shard := f"{part}/{count}") in shards
        else f"evaluate with shard=({part}, {count}) (--shard {shard}) into a folder of its own"
        for part in lacking
    ]
    return told + "; ".join(remedies) + f"; with {_as_settled(runs[0])}"


def _as_settled(run: Run) -> str:
    """What makes another run settle what this one did."""
    size = run.header["block_size"]
    if settings_of(run.header) == Settings(size):
        return f"batch_size={size} (--batch-size {size})"
    return f"{run.folder / 'run.json'} copied into its folder before it begins"


def _ranges(header: Header, blocks: Sequence[int]) -> str:
    """The examples of blocks in increasing order: "0 to 15, 32 to 47"."""
    spans: list[tuple[int, int]] = []
    for number in blocks:
        first, last = (int(places(header, number)[end]) for end in (0, -1))
        if spans and spans[-1][1] + 1 == first:
            first = spans.pop()[0]
        spans.append((first, last))
    return ", ".join(f"{first} to {last}" for first, last in spans)
