"""One evaluation from the command line: run, tell, save, and say how to go on."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from sparring.cli.exits import GATE, PASS, UNRELIABLE
from sparring.cli.options import Inputs, alone, leads
from sparring.cli.terminal import Terminal
from sparring.errors import InputError
from sparring.report.table import curve, percent, sentence, table, threat

if TYPE_CHECKING:
    from sparring.evaluation import Progress, Result, Rung


@dataclass(frozen=True)
class Order:
    """How an evaluation is to be run and told."""

    inputs: Inputs
    folder: Path | None
    resume: bool
    seed: int
    batch_size: int | None
    require: float | None
    images: bool
    terminal: Terminal
    audit: bool = False
    shard: tuple[int, int] | None = None
    eps: str | None = None
    individual: bool = False

    def carry_out(self, plan: str | Sequence[Rung]) -> int:
        """The exit code."""
        from sparring.evaluation import evaluate

        if self.images and self.folder is None:
            raise InputError("--images needs a folder to write to: leave --no-save out")
        inputs, terminal = self.inputs, self.terminal
        moved, model, examples = inputs.moved(), inputs.model(self.seed), inputs.examples()
        if inputs.weights is None and (inputs.network or "").startswith("zoo:"):
            terminal.warn(f"{inputs.network} without --weights is untrained; sparring train trains it")
        with terminal.progress("evaluating", len(examples.x)) as update:

            def told(step: Progress) -> None:
                worst = percent(step.standing / step.total)
                update(step.done, f"{step.rung + ' · ' if step.rung else ''}worst case so far {worst}")

            try:
                result = evaluate(
                    model,
                    examples,
                    moved,
                    plan,
                    out=self.folder,
                    resume=self.resume,
                    seed=self.seed,
                    batch_size=self.batch_size,
                    shard=self.shard,
                    eps=self.eps,
                    individual=self.individual,
                    audit=self.audit,
                    progress=told,
                    command=command(),
                )
            except KeyboardInterrupt as stop:
                if self.folder is not None:
                    stop.go_on = (f"go on with: {command(self.folder)}",)  # type: ignore[attr-defined]
                raise
        if not leads():
            return PASS  # torchrun stops all processes when one fails: the first says how it went, when all is written
        tell(result, terminal)
        if self.images and self.folder is not None:
            self._export(result, self.folder)
        return concluded(result, terminal, self.folder, self.require)

    def _export(self, result: Result, folder: Path) -> None:
        from sparring.cli.gallery import gallery
        from sparring.evaluation.export import save_png

        found = result.export(folder / "images")
        self.terminal.say(
            f"{found['images']} adversarial images in {found['folder']}/; rounded to 8 bits, "
            f"which moves no input by more than {found['rounding']:.2g}, {found['still_adversarial']} still fool the "
            f"model and {found['inside']} are still inside the threat"
        )
        drawn = gallery(result, threat(result.records()))
        if drawn is not None:
            save_png(drawn, folder / "picture.png")


def tell(result: Result, terminal: Terminal) -> None:
    """What was found, in words and figures."""
    records = result.records()
    data = f"{result.examples:,} examples of {records['data']['name']}"
    terminal.show(f"\n{records['model']['network']} · {data} · {threat(records)}")
    terminal.show(table(records))
    if records["curve"] is not None:
        terminal.show(curve(records))
    if records["threat"]["radius"] is None:
        terminal.say(f"{_distances(result)} Verdict: {result.verdict}.")
    else:
        terminal.say(sentence(records))
    for finding in records["findings"]:
        terminal.warn(finding)


def concluded(result: Result, terminal: Terminal, folder: Path | None, require: float | None) -> int:
    """The last words, once all is written: the folder, the JSON, the gate. Returns the exit code."""
    if folder is not None:
        terminal.say(f"{folder}/: {', '.join(contents(folder))}")
    if terminal.json:
        print(json.dumps(result.records(), indent=2))
    if require is not None and result.robust_accuracy < require:
        found, wanted = percent(result.robust_accuracy), percent(require)
        terminal.say_aside(f"gate failed: robust accuracy {found} is below the required {wanted}")
        return GATE
    return UNRELIABLE if result.verdict == "unreliable" else PASS


def heard(json: bool, quiet: bool) -> Terminal:
    """Of several processes only the first one speaks."""
    return Terminal(json, quiet) if leads() else Terminal(json=True, quiet=True, errors=Console(quiet=True))


def command(folder: Path | None = None) -> str:
    """What was typed; with a folder, what to type to go on there."""
    left = ("--no-resume", "--traceback") if folder is not None else ()
    typed = ["sparring", *(word for word in sys.argv[1:] if word not in left)]
    given = any(word == "--out" or word.startswith("--out=") for word in typed)
    return shlex.join(typed if folder is None or given else [*typed, "--out", str(folder)])


def fresh(out: str | None, no_save: bool) -> Path | None:
    """The folder of the run: as given, a new one named by the time, or none."""
    if out is None and not (no_save or alone()):
        raise InputError("--out is missing: the processes of torchrun share a folder, so name one, or give --no-save")
    if no_save:
        if out is not None:
            raise InputError(f"--out {out} and --no-save contradict each other: leave one out")
        return None
    if out is not None:
        if not out.strip():
            raise InputError("--out is empty; name a folder, or leave it out")
        return Path(out)
    name = datetime.now().strftime("%Y%m%d-%H%M%S")
    tries = (Path("runs") / (name + (f"-{number}" if number else "")) for number in range(1000))
    return next(folder for folder in tries if not folder.exists())


def contents(folder: Path) -> list[str]:
    """What is in a folder, files first."""
    paths = sorted(folder.iterdir(), key=lambda path: (path.is_dir(), path.name))
    return [path.name + "/" * path.is_dir() for path in paths if not path.name.startswith(".")]


def _distances(result: Result) -> str:
    """For a threat without a radius the answer is how far away the nearest example found is."""
    fooled = ~result.robust & (result.distance > 0)
    if not int(fooled.sum()):
        return "No adversarial example was found."
    found = result.distance[fooled]
    return (
        f"Read as: {int(fooled.sum())} of {result.examples} examples fell, at a distance of AT MOST "
        f"{float(found.mean()):.4g} on average (median {float(found.median()):.4g}, largest {float(found.max()):.4g})."
    )
