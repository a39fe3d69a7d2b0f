"""The command line: parse, call, print, save. Nothing here imports torch before a command runs."""

from __future__ import annotations

from typing import Annotated

import typer

import sparring
from sparring.cli import attack, audit, demo, doctor, evaluate, flash, listing, merge, train
from sparring.cli.exits import TRACEBACK

HELP = {"help_option_names": ["-h", "--help"]}

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, context_settings=HELP)
app.command()(demo.demo)
app.command()(attack.attack)
app.command()(evaluate.evaluate)
app.command()(merge.merge)
app.command()(audit.audit)
app.command()(train.train)
app.add_typer(flash.app, name="flash")
app.command("list")(listing.listing)
app.command()(doctor.doctor)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"sparring {sparring.__version__}")
        raise typer.Exit


@app.callback()
def about(
    version: Annotated[
        bool, typer.Option("--version", "-V", callback=_version, is_eager=True, help="Show it.")
    ] = False,
) -> None:
    """What an adversary can do to your PyTorch classifier, measured honestly. Begin with: sparring demo

    Exit codes: 0 pass, 1 a gate failed (before 3), 2 wrong usage or input, 3 the result is not reliable, 4 your own
    network or code raised or left, 70 a fault of sparring, 130 stopped.

    --traceback, with any command, shows where an error came from.
    """


def main() -> None:
    """The console script."""
    import sys

    words = sys.argv[1:]
    app([word for word in words if word != TRACEBACK], prog_name="sparring")
