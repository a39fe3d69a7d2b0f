"""What a result is a function of, as plain data; two runs with the same header are one run."""

from __future__ import annotations

import platform
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy
import torch
from torch import Tensor

from sparring.attacks.attack import Attack
from sparring.auditing.understanding import Understanding
from sparring.data import Examples, fingerprint, hash_tensors
from sparring.errors import InputError
from sparring.evaluation.rung import Rung
from sparring.evaluation.settings import Settings
from sparring.loading import weights_fingerprint
from sparring.model import Model
from sparring.problem import Threat

Header = dict[str, Any]

# What may differ between sessions that work on one run. Threads are among them because the first session settles them,
# and so is what it measured.
CIRCUMSTANCES = ("command", "versions", "started", "threads", "measured", "shard")


def described(
    model: Model,
    examples: Examples,
    threat: Threat,
    plan: str | Sequence[Rung | Attack],
    rungs: Sequence[Rung],
    *,
    seed: int,
    settings: Settings,
    known: Understanding | None,
    block_size: int,
    eps: Sequence[float] | None,
    shard: tuple[int, int] | None,
    command: str | None,
) -> Header:
    """Everything a result is a function of, and the circumstances it is made in; `eps` are the radii of a curve."""
    radius = threat.radius
    x, y = examples.x, examples.y
    told = settings.records()
    learnt = {} if known is None else known.records()
    trials = {name: learnt.pop(name) for name in ("trials", "examples", "forwards", "backwards") if learnt}
    return {
        "threat": {
            "norm": getattr(threat, "name", type(threat).__name__),
            "radius": radius.tolist() if isinstance(radius, Tensor) else radius,
            "mask": hash_tensors([("mask", mask)])
            if isinstance(mask := getattr(threat, "mask", None), Tensor)
            else None,
        },
        "eps": None if eps is None else list(eps),
        "plan": plan if isinstance(plan, str) else "custom",
        "attacks": [rung.records() for rung in rungs],
        "seed": seed,
        "block_size": block_size,
        "settings": told["settled"],
        "understanding": learnt or None,
        "data": {"name": examples.name, "examples": len(x), "shape": list(x.shape[1:]), "sha256": fingerprint(x, y)},
        "model": {
            "network": type(model.net).__name__,
            "sha256": weights_fingerprint(model),
            "bounds": list(model.bounds),
            "mean": None if model.mean is None else model.mean.tolist(),
            "std": None if model.std is None else model.std.tolist(),
            "mode": model.mode,
            "eot": model.eot,
            "attacked_with": model.attacked_with(),
        },
        "shard": None if shard is None else f"{shard[0]}/{shard[1]}",
        "command": command,
        "threads": torch.get_num_threads(),
        "measured": {**told["measured"], **({"understanding": trials} if trials else {})},
        "versions": {
            "sparring": _version(),
            "torch": torch.__version__,
            "numpy": numpy.__version__,
            "python": platform.python_version(),
            "machine": f"{sys.platform} {platform.machine()}",
        },
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def settings_of(header: Header) -> Settings:
    """How the run uses its machine.

    Raises:
        InputError: the header does not say, or says what cannot be.
    """
    return Settings.read({"settled": header.get("settings"), "measured": header.get("measured", {})})


def understanding_of(header: Header) -> Understanding | None:
    """What a first look at the network told; None where nobody looked, which is so where no rung asks.

    Raises:
        InputError: the header says what cannot be.
    """
    learnt = header.get("understanding")
    return None if learnt is None else Understanding.read({**learnt, **header["measured"].get("understanding", {})})


def numbers(header: Header) -> range:
    """The numbers of a run's blocks; of a shard i/n every n-th, so that all shards are alike.

    Raises:
        InputError: the shard has no block.
    """
    blocks = -(-header["data"]["examples"] // header["block_size"])
    part, parts = map(int, (header["shard"] or "1/1").split("/"))
    if part > blocks:
        raise InputError(
            f"shard {part}/{parts} is empty: of {header['data']['examples']} examples, {header['block_size']} a block, "
            f"there are {blocks} blocks; make at most {blocks} shards, or give a smaller batch_size"
        )
    return range(part - 1, blocks, parts)


def places(header: Header, number: int) -> Tensor:
    """(N,) the examples of a block: consecutive ones."""
    size = header["block_size"]
    return torch.arange(number * size, min((number + 1) * size, header["data"]["examples"]))


def difference(one: Header, other: Header) -> tuple[str, Any, Any] | None:
    """The name and both values of the first entry in which two headers differ, circumstances aside; None: one run."""
    names = [name for name in dict.fromkeys([*one, *other]) if name not in CIRCUMSTANCES]
    return _difference({name: one.get(name) for name in names}, {name: other.get(name) for name in names}, "")


def _difference(one: Any, other: Any, name: str) -> tuple[str, Any, Any] | None:
    """As deep as both have the same shape, so that a message names the entry and not all that is around it."""
    parts: list[tuple[str, Any, Any]] = []
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        parts = [(f"{name}.{key}".lstrip("."), one[key], other[key]) for key in one]
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        parts = [(f"{name}[{place}]", *both) for place, both in enumerate(zip(one, other, strict=True))]
    elif one != other:
        return name, one, other
    return next((found for part in parts if (found := _difference(*part[1:], part[0])) is not None), None)


def _version() -> str:
    import sparring

    return sparring.__version__
