"""`sp.evaluate`: every attack of a plan on the rows still standing, and the worst case of each example."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from math import inf
from pathlib import Path

import torch
from torch import Tensor

from sparring.attacks.attack import Attack, check_recording
from sparring.auditing import Audit
from sparring.auditing import audit as examine
from sparring.auditing.subject import NAIVE
from sparring.auditing.understanding import LOOKED, Understanding, understood
from sparring.data import load
from sparring.errors import InputError, ResumeError
from sparring.evaluation.block import Block, climb
from sparring.evaluation.curve import radii, reaching
from sparring.evaluation.header import Header, described, difference, numbers, places, settings_of, understanding_of
from sparring.evaluation.machine import settle
from sparring.evaluation.plans import ladder
from sparring.evaluation.result import Asked, Result
from sparring.evaluation.run import Run
from sparring.evaluation.rung import Rung
from sparring.evaluation.settings import Settings
from sparring.evaluation.shards import Found, check_shard, in_folder, in_memory
from sparring.evaluation.trace import searched, trace
from sparring.interruption import interrupted
from sparring.model import Model, Network
from sparring.problem import Problem, Threat, check_labels, check_threat, pose
from sparring.processes import Processes, joined
from sparring.values import SEED, check_whole

BLOCK, BLOCKS, BYTES = 512, 16, 2**28  # examples and bytes of a block at most; blocks at least, if a pass is no larger
PATIENCE = timedelta(days=30)  # how long the first process to finish waits for the last


@dataclass(frozen=True)
class Progress:
    """How far an evaluation is: `done` of `total` examples finished, the rung at work, how many still stand."""

    done: int
    total: int
    rung: str
    standing: int


def evaluate(
    model: Network,
    data: object,
    threat: Threat,
    plan: str | Sequence[Rung | Attack] = "standard",
    *,
    out: str | Path | None = None,
    resume: bool = True,
    seed: int = 0,
    batch_size: int | None = None,
    limit: int | None = None,
    targets: Tensor | Sequence[int] | None = None,
    individual: bool = False,
    shard: tuple[int, int] | None = None,
    eps: str | Iterable[float] | None = None,
    audit: bool = False,
    progress: Callable[[Progress], None] | None = None,
    command: str | None = None,
) -> Result:
    """The robust accuracy of `model` on `data` under `threat`, at most.

    The processes that torchrun starts share the work when each of them calls this alike, and each gets the whole
    result: the one that one process gets, to the last bit. So do processes started one by one on the same `out`.

    Args:
        model: a network on inputs in [0, 1], or an sp.Model.
        data: (x, y), a DataLoader, a Dataset, or a name or path as on the command line.
        plan: a name out of `PLANS`, or a sequence of attacks.
        out: a folder for the run; None writes nothing. Finished blocks survive anything, Ctrl-C and kill -9 too.
        resume: go on with an unfinished run in `out`; a finished one is returned as it is.
        batch_size: examples a pass, and a block; None finds out which, and which form of the network, is fastest here.
            Settled once a run, as is the number of threads.
        limit: only the first so many examples.
        targets: (N,) the classes that an adversary wants said, one an example of the data; robust is what did not reach
            its target, though it may be wrong. None: any wrong class will do.
        individual: also each attack alone on all examples, told beside what it left in its turn. It costs what the
            attacks before it saved, and not for stages that choose or begin by what others found.
        shard: (i, n) works on every n-th block alone, from the i-th, and the result covers their examples, whose
            places in the data are `Result.index`. Shards made anywhere with one batch_size are joined by sp.merge.
        eps: the radii of a curve, from one search for all of them: "first:last:count" as on the command line, such as
            "0:16/255:9", or a sequence of numbers. They take the place of the threat's; all else that the result says
            is about the largest of them.
        audit: also run the full audit, of the first 200 examples; its passes are its own.
        progress: called after every rung of every block; of several processes, in the first.
        command: what the user typed, for the record.

    Raises:
        InputError: the data, threat, plan, targets, eps or shard cannot be used, or has no identity that a run could be
            known by (`provenance`), or the processes were given different ones.
        ModelError: the network's logits or gradients cannot be used; nothing is concluded from a failed attack.
        ResumeError: `out` holds another run, or another shard of this one.
    """
    wrapped = Model.of(model)
    check_recording()
    check_threat(threat)
    check_whole("seed", seed, SEED)
    check_shard(shard)
    for name, count in (("limit", limit), ("batch_size", batch_size)):
        if count is not None:
            check_whole(name, count)
    examples = load(data, limit=limit)
    x, y = examples.x, examples.y
    device = wrapped.device or torch.device("cpu")
    grid = None
    if eps is not None:
        grid = radii(eps)
        threat = reaching(threat, grid)
    rungs = ladder(plan, threat)
    if grid is not None:
        rungs = searched(rungs, threat)
    wanted_classes = None if targets is None else _targets(targets, y, limit)
    _check_together(individual, rungs, eps, audit, targets)
    if audit:
        NAIVE.check(threat)  # told now, not when the evaluation is done
    problem = pose(x, y, threat, wrapped.bounds, seed=seed, targets=wanted_classes)
    given = None if batch_size is None else Settings(batch_size)
    folder = None if out is None else Path(out)
    with joined(device, PATIENCE) as processes:
        part = x[: -(-len(x) // shard[1])] if shard else x
        asked = any(rung.seen != "own" or rung.rough < inf for rung in rungs)
        before = processes.lead(lambda: _before(folder))
        settled = processes.lead(lambda: given or (settings_of(before) if before else settle(wrapped, part)))
        settings = given or settled  # where the processes were given different ones, the headers tell
        known = processes.lead(lambda: _understood(wrapped, problem, before) if asked else None)
        block_size = batch_size or _block_size(settings.batch_size, x)
        header = described(
            wrapped, examples, threat, plan, rungs,
            seed=seed, settings=settings, known=known, block_size=block_size, eps=grid, targets=wanted_classes,
            individual=individual, shard=shard, command=command,
        )  # fmt: skip
        run, header = _opened(folder, header, resume, batch_size, processes)
        settings, known = settings_of(header), understanding_of(header)
        judge, search = (known.judged(wrapped), known.searched(wrapped)) if known is not None else (wrapped, wrapped)
        search = settings.view(search)
        fast = None if search is judge else search
        view = next(iter(known.seen(wrapped)), None) if known is not None else None
        roughness = 0.0 if known is None else known.roughness
        wanted = numbers(header)
        total = sum(len(places(header, number)) for number in wanted)
        watch = _Watch(progress if processes.leads else None, total)

        def climbed(number: int) -> Block:
            rows = problem.take(places(header, number)).to(device)
            if grid is None:
                return climb(judge, rows, rungs, watch.rung, fast, settings.batch_size, view, roughness, individual)
            return trace(judge, rows, rungs, grid, watch.rung, fast, settings.batch_size, view, roughness)

        with _threads(header["threads"]):
            try:
                if run is None:
                    found = in_memory(wanted, processes, climbed, watch.block)
                else:
                    found = in_folder(run, wanted, processes, climbed, watch.block)
            except KeyboardInterrupt as stop:
                interrupted(stop, f"{watch.done} of {total} examples", folder)
                raise
            examined = None
            if audit:
                examiner = partial(examine, wrapped, (x, y), threat, seed=seed, batch_size=settings.batch_size)
                examined = processes.lead(lambda: _examined(run, examiner))
        block = Block.join([found[number] for number in wanted])
        result = Result(block, header, examined, Asked(judge, problem.take(block.index), rungs))
        if folder is not None:
            processes.lead(lambda: result.save(folder))
    return result


def _targets(targets: Tensor | Sequence[int], y: Tensor, limit: int | None) -> Tensor:
    """The class wanted of each example.

    Raises:
        InputError: they are not one an example, or some are the label.
    """
    part = targets[:limit] if hasattr(targets, "__getitem__") and getattr(targets, "shape", True) else targets
    wanted = check_labels("targets", part, y)
    if bool((same := wanted == y).any()):
        row = int(same.nonzero()[0])
        raise InputError(
            f"targets is {int(wanted[row])} for example {row}, which is its label, so there is nothing to reach; leave "
            f"out such examples ({int(same.sum())} of {len(y)}), or want another class of them"
        )
    return wanted


def _check_together(individual: bool, rungs: Sequence[Rung], eps: object, audit: bool, targets: object) -> None:
    """Raises InputError where two of the arguments of `evaluate` do not go together."""
    if individual and eps is not None:
        raise InputError("individual=True and eps do not go together; evaluate at one radius to tell each attack alone")
    if individual and (ruled := [rung.name for rung in rungs if rung.ruled]):
        raise InputError(
            f"individual=True tells what each attack does alone, and {ruled[0]!r} takes examples, or begins, by what "
            "others found; use a plan of attacks without rules, such as 'quick' or 'autoattack'"
        )
    if audit and targets is not None:
        raise InputError("audit=True and targets do not go together: the audit asks for any wrong class; run sp.audit")


class _Watch:
    """What is told while blocks are worked on."""

    def __init__(self, progress: Callable[[Progress], None] | None, total: int) -> None:
        self.done = 0
        self._progress, self._total, self._broken = progress, total, 0
        self._seen: set[int] = set()

    def block(self, found: Found) -> None:
        """Another block is finished."""
        for number in found.keys() - self._seen:
            self.done += len(found[number].index)
            self._broken += int((found[number].broken_by >= 0).sum())
        self._seen |= found.keys()
        self.rung("", 0)

    def rung(self, name: str, broken: int) -> None:
        """A rung is through with the block at work, of which it and those before have broken so many."""
        if self._progress is not None:
            self._progress(Progress(self.done, self._total, name, self._total - self._broken - broken))


def _before(folder: Path | None) -> Header | None:
    """The header of the run that is in the folder already."""
    return Run.at(folder).header if folder is not None and (folder / "run.json").exists() else None


def _understood(model: Model, problem: Problem, before: Header | None) -> Understanding:
    """As the run in the folder has it, or by a first look at the network."""
    found = None if before is None else understanding_of(before)
    return found or understood(model, problem.take(problem.slot[:LOOKED]).to(model.device or problem.x.device))


def _block_size(batch_size: int, x: Tensor) -> int:
    """A few passes a block, so that few rows that still stand fill them; but no more than may be lost at a crash."""
    size = max(batch_size, min(BLOCK, len(x) // BLOCKS))
    return max(1, min(size, BYTES // x[0].nbytes))


def _opened(
    folder: Path | None, header: Header, resume: bool, batch_size: int | None, processes: Processes
) -> tuple[Run | None, Header]:
    """The run that all processes share, and its header, once all have been found to want the same."""
    first, *others = processes.each(lambda: header)
    for rank, other in enumerate(others, start=1):
        if (found := difference(first, other)) is not None:
            raise InputError(
                f"process 0 has {found[0]} {found[1]!r} and process {rank} {found[2]!r}; give all processes the same, "
                "such as weights from a file"
            )
    if folder is None:
        return None, first
    run = processes.lead(lambda: Run.open(folder, header, resume, batch_size))
    processes.each(lambda: _shared(run))
    return run, run.header


def _shared(run: Run) -> None:
    if not run.begun:
        raise ResumeError(
            f"{run.folder} is not the folder that the first process has; give all a disk that they share, "
            "or evaluate shards and merge them"
        )


def _examined(run: Run | None, judge: Callable[[], Audit]) -> Audit:
    """The audit kept beside the blocks, where `sparring audit` does not write, or a new one."""
    found = None if run is None else Audit.load(run.blocks, run.header["run"])
    found = found or judge()
    if run is not None:
        found.save(run.blocks, run.header["run"])
    return found


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """The last bit of a sum may depend on how many threads share it, so a run keeps to one number."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
