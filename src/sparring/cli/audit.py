"""sparring audit: may the robust accuracy of a model be believed?"""

from __future__ import annotations

import json as jsons
from pathlib import Path
from typing import Annotated

import typer

from sparring.cli import options as o
from sparring.cli.exits import PASS, UNRELIABLE, guarded
from sparring.cli.running import fresh
from sparring.cli.terminal import Terminal
from sparring.errors import ResumeError
from sparring.files import check_link, sweep

CHECKS = 20  # about how many there are; which of them run depends on what is found


@guarded
def audit(
    threat: o.ThreatText,
    examples: Annotated[int, typer.Option(min=1, metavar="N", help="How many to audit, the first of the data.")] = 200,
    surrogate: Annotated[
        str | None, typer.Option(metavar="SPEC", help="Another network, whose gradients are tried on this one.")
    ] = None,
    surrogate_weights: Annotated[str | None, typer.Option(metavar="FILE", help="The weights of that network.")] = None,
    model: o.Network = None,
    weights: o.Weights = None,
    trust: o.Trust = False,
    data: o.Data = "digits",
    bounds: o.Bounds = "0,1",
    mean: o.Mean = None,
    std: o.Std = None,
    device: o.Device = "cpu",
    batch_size: o.BatchSize = None,
    seed: o.Seed = 0,
    out: o.Out = None,
    no_save: o.NoSave = False,
    json: o.Json = False,
    quiet: o.Quiet = False,
) -> int:
    """Check a model for gradient masking, run the attack that the findings call for, and give a verdict.

    Example: sparring audit --model net.py:make --weights net.safetensors --threat linf:8/255
    """
    import sparring as sp
    from sparring.report.table import findings, percent

    terminal, folder = Terminal(json, quiet), fresh(out, no_save)
    if folder is not None:
        check_own(folder)
    inputs = o.Inputs(model, weights, trust, data, threat, bounds, mean, std, device, examples)
    net, given, moved = inputs.model(seed), inputs.examples(), inputs.moved()
    other = None
    if surrogate is not None or surrogate_weights is not None:
        whose = o.Inputs(surrogate, surrogate_weights, trust, data, threat, bounds, mean, std, device, examples)
        other = whose.model(seed)
    with terminal.progress("auditing", CHECKS) as update:
        done = 0

        def told(check: str) -> None:
            nonlocal done
            done += 1
            update(min(done, CHECKS - 1), check)

        found = sp.audit(
            net, given, moved, examples=examples, seed=seed, batch_size=batch_size, surrogate=other, progress=told
        )
        update(CHECKS, "")
    terminal.show(findings(found.records()))
    terminal.say(
        f"Of {found.correct} examples that the model gets right, plain PGD leaves {percent(found.naive)} standing and "
        f"everything tried {percent(found.adaptive)}."
    )
    if found.recommended:
        terminal.say(f"Attack it with: {found.recommended}")
    terminal.say(f"Verdict: {found.verdict}" + "".join(f"\n  because {reason}" for reason in found.reasons))
    if folder is not None:
        found.save(folder)
        terminal.say(f"{folder}/: audit.json")
    if json:
        print(jsons.dumps(found.records(), indent=2))
    return UNRELIABLE if found.verdict == "unreliable" else PASS


def check_own(folder: Path) -> None:
    """Look whether the audit may be written: an earlier one is replaced, a file of somebody else's is not.

    Raises:
        InputError: it is a link.
        ResumeError: it is no audit of this version.
    """
    from sparring.auditing import Audit

    check_link(folder / "audit.json")
    try:
        Audit.load(folder)
    except (ResumeError, OSError) as error:
        raise ResumeError(f"{folder / 'audit.json'} is not replaced: {error}, or choose another folder") from None
    sweep(folder, "audit.json")
