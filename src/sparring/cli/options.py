"""The options that commands share, each written once, and what is made of them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, get_type_hints

import typer

from sparring.cli.wording import numbers
from sparring.errors import InputError
from sparring.report.printable import clean
from sparring.values import SEED, check_whole

if TYPE_CHECKING:
    from sparring.data import Examples
    from sparring.model import Model
    from sparring.threats import Norm

_MODEL, _RUN, _SAY = "The model and its data", "The run", "What is told"

Network = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="SPEC",
        rich_help_panel=_MODEL,
        help="package.module:factory, path/file.py:factory, or zoo:digits-cnn.",
    ),
]
Weights = Annotated[
    str | None, typer.Option(metavar="FILE", rich_help_panel=_MODEL, help="A .safetensors, .pt or .pt2 file.")
]
Trust = Annotated[bool, typer.Option("--trust", rich_help_panel=_MODEL, help="Read weights that could run code.")]
_DATA = typer.Option(metavar="NAME", rich_help_panel=_MODEL, help="digits, or a .npz, idx file or image folder.")
Data = Annotated[str, _DATA]
DataGiven = Annotated[str | None, _DATA]  # None leaves it to the recipe; so do the others of that name
_THREAT = typer.Option("--threat", metavar="NORM:SIZE", help="What may move: linf:8/255, l2:0.5, l1:12 or l0:10.")
ThreatText = Annotated[str, _THREAT]
ThreatGiven = Annotated[str | None, _THREAT]
Eps = Annotated[
    str | None,
    typer.Option(
        metavar="FIRST:LAST:COUNT", help="The accuracy at so many radii, from one search for all: 0:16/255:9."
    ),
]
_BOUNDS = typer.Option(metavar="LOW,HIGH", rich_help_panel=_MODEL, help="The lowest and highest valid input.")
Bounds = Annotated[str, _BOUNDS]
BoundsGiven = Annotated[str | None, _BOUNDS]
Mean = Annotated[
    str | None, typer.Option(metavar="A,B,C", rich_help_panel=_MODEL, help="Subtracted before the network, by channel.")
]
Std = Annotated[
    str | None, typer.Option(metavar="A,B,C", rich_help_panel=_MODEL, help="Divided by before the network, by channel.")
]
Device = Annotated[str, typer.Option(metavar="NAME", rich_help_panel=_RUN, help="cpu, cuda, cuda:1, mps …")]
BatchSize = Annotated[
    int | None, typer.Option(min=1, metavar="N", rich_help_panel=_RUN, help="Examples a pass; else what fits.")
]
Limit = Annotated[
    int | None, typer.Option(min=1, metavar="N", rich_help_panel=_RUN, help="Only the first so many examples.")
]
Shard = Annotated[
    str | None,
    typer.Option(
        "--shard", metavar="I/N", rich_help_panel=_RUN, help="Only a share of the work, 1/3; sparring merge joins them."
    ),
]
_SEED = typer.Option(metavar="N", rich_help_panel=_RUN, help="Determines every random number.")
Seed = Annotated[int, _SEED]
SeedGiven = Annotated[int | None, _SEED]
Out = Annotated[
    str | None, typer.Option(metavar="FOLDER", rich_help_panel=_RUN, help="By default a new folder under runs/.")
]
NoSave = Annotated[bool, typer.Option("--no-save", rich_help_panel=_RUN, help="Write nothing.")]
Resume = Annotated[
    bool, typer.Option("--resume/--no-resume", rich_help_panel=_RUN, help="Go on with an unfinished run in --out.")
]
Json = Annotated[
    bool, typer.Option("--json", rich_help_panel=_SAY, help="Only the results on stdout, as JSON; the rest on stderr.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", rich_help_panel=_SAY, help="No progress and no tables.")]
Require = Annotated[
    float | None,
    typer.Option(
        min=0, max=1, metavar="SHARE", rich_help_panel=_SAY, help="Exit with 1 when robust accuracy is below: 0.4."
    ),
]


def _configured(ctx: typer.Context, path: str | None) -> str | None:
    """Take the values of options from a TOML file; what is typed goes before them."""
    if path is None:
        return None
    from sparring.cli.config import options

    hints = get_type_hints(ctx.command.callback)
    kinds = {str(one.name): hints[one.name] for one in ctx.command.params if one.name in hints and one.name != "config"}
    try:
        ctx.default_map = {**(ctx.default_map or {}), **options(path, kinds)}
    except InputError as error:
        typer.echo(clean(f"error: {error}"), err=True)
        raise typer.Exit(2) from None
    return path


Config = Annotated[
    str | None,
    typer.Option(
        "--config",
        metavar="FILE.toml",
        is_eager=True,
        callback=_configured,
        rich_help_panel=_RUN,
        help="Options from a TOML file, batch_size = 64; those typed go before.",
    ),
]
Images = Annotated[
    bool, typer.Option("--images", rich_help_panel=_SAY, help="Also write adversarial images: PNG, npz and a picture.")
]


def leads() -> bool:
    """Of the processes that torchrun starts, only the first one writes and speaks."""
    return os.environ.get("RANK", "0") == "0"


def alone() -> bool:
    """Whether torchrun has started no others."""
    return int(os.environ.get("WORLD_SIZE", "1")) == 1


def own_device(device: str) -> str:
    """Under torchrun each process has a device of its own."""
    return f"cuda:{os.environ['LOCAL_RANK']}" if device == "cuda" and "LOCAL_RANK" in os.environ else device


def part(shard: str | None) -> tuple[int, int] | None:
    """What --shard 1/3 means.

    Raises InputError where it is something else.
    """
    if shard is None:
        return None
    first, _, last = shard.partition("/")
    if not (first.isdecimal() and last.isdecimal() and 1 <= int(first) <= int(last)):
        raise InputError(f"--shard is {shard!r}; write it as 1/3, the first of three")
    return int(first), int(last)


@dataclass(frozen=True)
class Inputs:
    """What is attacked, where, and how far it may be moved, as typed."""

    network: str | None
    weights: str | None
    trust: bool
    data: str
    threat: str
    bounds: str
    mean: str | None
    std: str | None
    device: str
    limit: int | None

    def model(self, seed: int) -> Model:
        """The network on its device, with its preprocessing."""
        import torch

        from sparring.loading import load_network, placed
        from sparring.model import Model

        if self.network is None and self.weights is None:
            raise InputError("--model is missing: give package.module:factory, path/file.py:factory or zoo:digits-cnn")
        low, high = numbers("--bounds", self.bounds, 2) or (0, 1)
        torch.manual_seed(check_whole("--seed", seed, SEED))  # a factory may draw its weights
        net = load_network(self.network, self.weights, trust=self.trust)
        made = Model(net, (low, high), numbers("--mean", self.mean), numbers("--std", self.std))
        return placed(made, own_device(self.device))

    def examples(self) -> Examples:
        """The data."""
        from sparring.data import load

        return load(self.data, limit=self.limit)

    def moved(self) -> Norm:
        """The threat."""
        from sparring.threats import parse

        return parse(self.threat)
