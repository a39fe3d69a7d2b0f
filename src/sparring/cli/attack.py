"""sparring attack: one attack on one model."""

from __future__ import annotations

from typing import Annotated

import typer

from sparring.cli import options as o
from sparring.cli.exits import guarded
from sparring.cli.running import Order, fresh
from sparring.cli.terminal import Terminal
from sparring.cli.wording import settings as table
from sparring.named import chosen, made


@guarded
def attack(
    threat: o.ThreatText,
    name: Annotated[str, typer.Option("--attack", metavar="NAME", help="One of: sparring list attacks.")] = "pgd",
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A parameter of the attack; repeatable.")
    ] = None,
    model: o.Network = None,
    weights: o.Weights = None,
    trust: o.Trust = False,
    data: o.Data = "digits",
    bounds: o.Bounds = "0,1",
    mean: o.Mean = None,
    std: o.Std = None,
    device: o.Device = "cpu",
    batch_size: o.BatchSize = None,
    limit: o.Limit = None,
    seed: o.Seed = 0,
    out: o.Out = None,
    no_save: o.NoSave = False,
    resume: o.Resume = True,
    json: o.Json = False,
    quiet: o.Quiet = False,
    require: o.Require = None,
    images: o.Images = False,
) -> int:
    """Run one attack on a model and say how many examples withstand it.

    Example: sparring attack --model net.py:make --threat linf:8/255 --attack pgd --set steps=100
    """
    from sparring.attacks import available
    from sparring.evaluation import Rung

    kind = chosen(available(), name, "--attack")
    rung = Rung(name, made(kind, table(settings or ()), "--set ", name))
    inputs = o.Inputs(model, weights, trust, data, threat, bounds, mean, std, device, limit)
    order = Order(inputs, fresh(out, no_save), resume, seed, batch_size, require, images, Terminal(json, quiet))
    return order.carry_out([rung])
