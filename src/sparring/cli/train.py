"""sparring train: a network that withstands more, from a recipe or from options."""

from __future__ import annotations

import json as jsons
import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sparring.cli import kept
from sparring.cli import options as o
from sparring.cli.exits import PASS, guarded
from sparring.cli.meter import Meter, alarms, outcome
from sparring.cli.running import command, contents, fresh, heard
from sparring.cli.terminal import Terminal
from sparring.cli.wording import numbers
from sparring.cli.wording import settings as table
from sparring.errors import InputError
from sparring.values import SEED, check_whole

if TYPE_CHECKING:
    from sparring.training import Recipe, Trained


@guarded
def train(
    recipe: Annotated[
        str | None, typer.Option(metavar="NAME|FILE", help="One of: sparring list recipes; or a .toml file.")
    ] = None,
    threat: o.ThreatGiven = None,
    defense: Annotated[
        str | None, typer.Option(metavar="NAME", help="What to learn with; one of: sparring list defenses.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A parameter of the defense: beta=3, attack.steps=7."),
    ] = None,
    epochs: Annotated[int | None, typer.Option(metavar="N", help="Passes over the data.")] = None,
    lr: Annotated[float | None, typer.Option(metavar="RATE", help="The learning rate at its highest.")] = None,
    model: o.Network = None,
    weights: o.Weights = None,
    trust: o.Trust = False,
    data: o.DataGiven = None,
    bounds: o.BoundsGiven = None,
    mean: o.Mean = None,
    std: o.Std = None,
    device: o.Device = "cpu",
    batch_size: Annotated[int | None, typer.Option(metavar="N", help="Examples a step.")] = None,
    limit: o.Limit = None,
    seed: o.SeedGiven = None,
    out: o.Out = None,
    resume: o.Resume = True,
    json: o.Json = False,
    quiet: o.Quiet = False,
) -> int:
    """Train a network with a defense. What options say goes before what the recipe says.

    Example: sparring train --recipe digits-at --out runs/robust

    sparring train --out FOLDER goes on with the run kept there.
    """
    from sparring.training import Recipe

    if seed is not None:
        check_whole("--seed", seed, SEED)
    folder = _folder(out)
    there = (folder / kept.NAME).exists()
    if out and recipe is None and model is None and not there:
        raise InputError(f"{out} keeps no run to go on with: check the spelling, or give --recipe or --model")
    if recipe is None and model is None and not there:
        raise InputError("nothing says what to train: give --recipe (sparring list recipes), or --model and --defense")
    base = Recipe.read(recipe) if recipe else kept.read(folder) if there else Recipe()
    if there and recipe is None and model is None and not trust:
        kept.check_code(folder, base)
    given = {
        "model": model, "weights": weights, "data": data, "limit": limit, "threat": threat, "epochs": epochs,
        "batch_size": batch_size, "seed": seed,
    }  # fmt: skip
    changes: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    if defense is not None or settings:
        changes["defense"] = _defense(base, defense, table(settings or ()))
    if lr is not None:
        changes["optimizer"] = {**(base.optimizer or {"name": "adam"}), "lr": lr}
    seen = {"bounds": numbers("--bounds", bounds, 2), "mean": numbers("--mean", mean), "std": numbers("--std", std)}
    shown = {key: list(value) for key, value in seen.items() if value is not None}
    if changes or shown:
        changes["about"] = ""  # what it says was found with other settings
    changes["preprocessing"] = {**base.preprocessing.model_dump(exclude_none=True), **shown}
    own = model is not None or (recipe is None and there)  # named by the user, or known from when the training began
    return Job(base.changed(**changes), folder, resume, device, trust, own, heard(json, quiet)).carry_out()


@dataclass(frozen=True)
class Job:
    """A training as it was asked for."""

    recipe: Recipe
    folder: Path
    resume: bool
    device: str
    trust: bool
    own: bool  # the model's code is the user's, who named it, and not only a file
    terminal: Terminal

    def carry_out(self) -> int:
        """The exit code."""
        from sparring.defenses.defense import nested
        from sparring.training import train

        arguments = self.recipe.arguments(o.own_device(self.device), trust=self.trust, code=self.own)
        lessons = sum(part.lesson() is not None for part in nested(arguments["defense"]))
        with self.terminal.progress("training", 1.0) as update, alarms(self.terminal) as told:
            meter = Meter(update, self.recipe.epochs, lessons)

            def learned(record: Mapping[str, float]) -> None:
                if meter.begun is None and o.leads():
                    self._keep()  # nothing was refused: the folder is this run's
                meter(record)

            try:
                trained = train(**arguments, out=self.folder, resume=self.resume, progress=learned)
            except KeyboardInterrupt as stop:
                stop.go_on = (f"go on with: {kept.again(self.folder, self.device)}",)  # type: ignore[attr-defined]
                raise
            if meter.share < 1:  # patience ran out, or there was nothing left to do
                update(1.0, meter.note)
        if o.leads():
            self._keep()  # a finished run may have been asked for more epochs
        for alarm in trained.alarms:
            if alarm not in told:
                self.terminal.warn(alarm)
        self._tell(trained)
        return PASS

    def _keep(self) -> None:
        kept.keep(self.folder, self.recipe, command(), self.device)

    def _tell(self, trained: Trained) -> None:
        terminal, recipe = self.terminal, self.recipe
        terminal.show(outcome(trained))
        if recipe.threat is not None:
            terminal.show(
                "PGD-10 after each epoch is there to watch the training; what the network withstands, evaluate says."
            )
        terminal.say(f"{self.folder}/: {', '.join(contents(self.folder)) if o.leads() else ''}")
        terminal.say(f"Next: {self._next()}")
        if terminal.json and o.leads():
            found = {
                "command": command(),
                "folder": str(self.folder),
                "recipe": recipe.tables(),
                "epoch": trained.epoch,
                "history": trained.history,
                "alarms": trained.alarms,
            }
            print(jsons.dumps(found, indent=2))

    def _next(self) -> str:
        """How to measure what was trained."""
        recipe, shown = self.recipe, self.recipe.preprocessing
        words = ["sparring", "evaluate", "--model", str(recipe.model), "--weights", f"{self.folder}/model.safetensors"]
        if (data := str(recipe.data).removesuffix(":train")) != "digits":
            words += ["--data", data]
        for name, values in (("bounds", shown.bounds), ("mean", shown.mean), ("std", shown.std)):
            if values is not None and values != [0, 1]:
                words.append(f"--{name}={','.join(f'{value:g}' for value in values)}")
        return shlex.join([*words, "--threat", recipe.threat or "linf:8/255"])


def _folder(out: str | None) -> Path:
    if out is None and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InputError("--out is missing: the processes of torchrun share a folder, so name one")
    return fresh(out, no_save=False) or Path()


def _defense(base: Recipe, name: str | None, settings: dict[str, Any]) -> dict[str, Any]:
    """The table of the defense with what was typed."""
    if name is not None:
        return {"name": name, **settings}
    if base.defense is None:
        raise InputError("--set is given, and no --defense that it is a parameter of; see sparring list defenses")
    if not isinstance(base.defense, Mapping):
        raise InputError("--set cannot tell which of the recipe's several defenses is meant: change a copy of the file")
    return _merged(base.defense, settings)


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """One table over another; a table that changes the name stands alone."""
    if "name" in above and above["name"] != below.get("name"):
        return dict(above)
    found = dict(below)
    for key, value in above.items():
        under = below.get(key)
        found[key] = _merged(under, value) if isinstance(under, Mapping) and isinstance(value, Mapping) else value
    return found
