"""`sp.evaluate`: every attack of a plan on the rows still standing, and the worst case of each example."""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy
import torch
from torch import Tensor

from sparring.attacks.attack import Attack, fitting
from sparring.auditing import Audit
from sparring.auditing import audit as examine
from sparring.auditing.subject import NAIVE
from sparring.data import fingerprint, hash_tensors, load
from sparring.errors import InputError
from sparring.evaluation.block import Block, climb
from sparring.evaluation.plans import ladder
from sparring.evaluation.result import Result
from sparring.evaluation.run import Run
from sparring.evaluation.rung import Rung
from sparring.loading import weights_fingerprint
from sparring.model import Model, Network
from sparring.problem import Threat, pose


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
    plan: str | Sequence[Rung | Attack] = "quick",
    *,
    out: str | Path | None = None,
    resume: bool = True,
    seed: int = 0,
    batch_size: int | None = None,
    limit: int | None = None,
    audit: bool = False,
    progress: Callable[[Progress], None] | None = None,
    command: str | None = None,
) -> Result:
    """The robust accuracy of `model` on `data` under `threat`, at most.

    Args:
        model: a network on inputs in [0, 1], or an sp.Model.
        data: (x, y), a DataLoader, a Dataset, or a name or path as on the command line.
        plan: "quick", or a sequence of attacks.
        out: a folder for the run; None writes nothing. Finished blocks survive anything, Ctrl-C and kill -9 too.
        resume: go on with an unfinished run in `out`; a finished one is returned as it is.
        batch_size: examples a block; None takes what fits. Settled once a run.
        limit: only the first so many examples.
        audit: also run the full audit, of the first 200 examples; its passes are its own.
        progress: called after every rung of every block.
        command: what the user typed, for the record.

    Raises:
        InputError: the data, threat or plan cannot be used.
        ModelError: the network's logits or gradients cannot be used; nothing is concluded from a failed attack.
        ResumeError: `out` holds another run.
    """
    wrapped = Model.of(model)
    examples = load(data, limit=limit)
    x, y = examples.x, examples.y
    device = wrapped.device or torch.device("cpu")
    rungs = ladder(plan, threat)
    if audit:
        NAIVE.check(threat)  # told now, not when the evaluation is done
    problem = pose(x, y, threat, wrapped.bounds, seed=seed)
    size = batch_size if batch_size is not None else fitting(x[:1].to(device))
    if size < 1:
        raise InputError(f"batch_size is {size}; give at least 1, or None for what fits")
    header = _header(wrapped, x, y, examples.name, threat, plan, rungs, seed, size, command)
    run = None if out is None else Run.open(Path(out), header, resume, batch_size)
    header = run.header if run is not None else header
    size = int(header["block_size"])

    blocks: list[Block] = []
    broken = 0
    for number, first in enumerate(range(0, len(x), size)):
        at = torch.arange(first, min(first + size, len(x)))
        block = run.load(number) if run is not None else None
        if block is None:

            def told(rung: str, fallen: int, done: int = first, before: int = broken) -> None:
                if progress is not None:
                    progress(Progress(done, len(x), rung, len(x) - before - fallen))

            try:
                block = climb(wrapped, problem.take(at).to(device), rungs, told)
            except KeyboardInterrupt as stop:
                kept = f"{first} of {len(x)} examples are finished"
                stop.add_note(
                    f"{kept} in {out}; call again with resume=True to go on" if out else f"{kept}, none saved"
                )
                raise
            if run is not None:
                run.save(number, block)
        blocks.append(block)
        broken += int((block.broken_by >= 0).sum())
        if progress is not None:
            progress(Progress(int(at[-1]) + 1, len(x), "", len(x) - broken))
    examined = None
    if audit:
        own = None if run is None else run.folder / "blocks"  # `sparring audit` may write beside it
        examined = None if own is None else Audit.load(own)
        examined = examined or examine(wrapped, (x, y), threat, seed=seed, batch_size=size)
        if own is not None:
            examined.save(own)
    result = Result(Block.join(blocks), problem, rungs, header, wrapped, examined)
    if run is not None:
        result.save(run.folder)
    return result


def _header(
    model: Model,
    x: Tensor,
    y: Tensor,
    name: str,
    threat: Threat,
    plan: str | Sequence[Rung | Attack],
    rungs: Sequence[Rung],
    seed: int,
    size: int,
    command: str | None,
) -> dict[str, Any]:
    """Everything a result is a function of, and the circumstances it was made in."""
    radius = threat.radius
    return {
        "threat": {
            "norm": getattr(threat, "name", type(threat).__name__),
            "radius": radius.tolist() if isinstance(radius, Tensor) else radius,
            "mask": hash_tensors([("mask", mask)])
            if isinstance(mask := getattr(threat, "mask", None), Tensor)
            else None,
        },
        "plan": plan if isinstance(plan, str) else "custom",
        "attacks": [rung.records() for rung in rungs],
        "seed": seed,
        "block_size": size,
        "data": {"name": name, "examples": len(x), "shape": list(x.shape[1:]), "sha256": fingerprint(x, y)},
        "model": {
            "network": type(model.net).__name__,
            "sha256": weights_fingerprint(model),
            "bounds": list(model.bounds),
            "mean": None if model.mean is None else model.mean.tolist(),
            "std": None if model.std is None else model.std.tolist(),
            "mode": model.mode,
            "attacked_with": model.attacked_with(),
        },
        "command": command,
        "versions": {
            "sparring": _version(),
            "torch": torch.__version__,
            "numpy": numpy.__version__,
            "python": platform.python_version(),
            "machine": f"{sys.platform} {platform.machine()}, {torch.get_num_threads()} threads",
        },
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _version() -> str:
    import sparring

    return sparring.__version__
