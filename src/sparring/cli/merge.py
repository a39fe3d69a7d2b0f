"""sparring merge: shards of an evaluation, made anywhere, as the one run they are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sparring.cli import options as o
from sparring.cli.exits import guarded
from sparring.cli.running import concluded, tell
from sparring.cli.terminal import Terminal


@guarded
def merge(
    folders: Annotated[list[Path], typer.Argument(help="What evaluate was given as --out, one folder a shard.")],
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Where the whole run goes.")],
    json: o.Json = False,
    quiet: o.Quiet = False,
    require: o.Require = None,
) -> int:
    """Join the shards of an evaluation. Needs neither the model nor the data.

    Example: sparring merge runs/a runs/b runs/c --out runs/whole
    """
    from sparring.evaluation import merge as joined

    terminal = Terminal(json, quiet)
    result = joined(folders, out)
    tell(result, terminal)
    return concluded(result, terminal, out, require)
