"""sparring evaluate: the robust accuracy of a model under a plan of attacks."""

from __future__ import annotations

from typing import Annotated

import typer

from sparring.cli import options as o
from sparring.cli.exits import guarded
from sparring.cli.running import Order, fresh, heard
from sparring.named import chosen


@guarded
def evaluate(
    threat: o.ThreatText,
    plan: Annotated[str, typer.Option(metavar="NAME", help="One of: sparring list plans.")] = "standard",
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
    eps: o.Eps = None,
    individual: Annotated[
        bool, typer.Option("--individual", help="Also each attack alone on all examples, beside what it left in turn.")
    ] = False,
    config: o.Config = None,
    audit: Annotated[bool, typer.Option("--audit", help="Also audit 200 of the examples: sparring audit.")] = False,
    shard: o.Shard = None,
) -> int:
    """Measure robust accuracy: the worst case of every example over a plan of attacks.

    Example: sparring evaluate --model net.py:make --weights net.safetensors --threat linf:8/255
    """
    from sparring.evaluation import PLANS

    chosen(PLANS, plan, "--plan")
    inputs = o.Inputs(model, weights, trust, data, threat, bounds, mean, std, device, limit)
    terminal, part = heard(json, quiet), o.part(shard)
    order = Order(
        inputs, fresh(out, no_save), resume, seed, batch_size, require, images, terminal, audit, part, eps, individual
    )
    return order.carry_out(plan)
