"""The command line: parse, call, print, save. Nothing here imports torch before a command runs."""

from __future__ import annotations

from typing import Annotated

import typer

import sparring
from sparring.cli import attack, audit, demo, doctor, evaluate, flash, listing, merge, train

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
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
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show it.")] = False,
) -> None:
    """What an adversary can do to your PyTorch classifier, measured honestly. Begin with: sparring demo

    Exit codes: 0 pass, 1 a gate failed, 2 wrong usage or input, 3 the result is not reliable, 130 stopped.
    """


def main() -> None:
    """The console script."""
    app(prog_name="sparring")
