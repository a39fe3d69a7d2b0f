"""What a result is a function of, as plain data; two runs with the same header are one run."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy
import torch
from torch import Tensor

from sparring.answers import alike, answers, told
from sparring.attacks.attack import Attack
from sparring.auditing.understanding import Understanding
from sparring.data import Examples, fingerprint, hash_tensors
from sparring.errors import InputError
from sparring.evaluation.rung import Rung
from sparring.evaluation.settings import Settings
from sparring.loading import weights_fingerprint
from sparring.model import Model
from sparring.problem import Threat
from sparring.provenance import difference as plain_difference
from sparring.provenance import digest, network, plain, steady
from sparring.sealed import FORMAT

Header = dict[str, Any]

# What may differ between sessions that work on one run. Threads are among them because the first session settles them,
# and so is what it measured.
CIRCUMSTANCES = ("command", "versions", "started", "threads", "measured", "shard", "format", "run")


OWN = ("run", "identity", "answers")  # what the folder is known by, and no result


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
    targets: Tensor | None,
    individual: bool,
    shard: tuple[int, int] | None,
    command: str | None,
) -> Header:
    """Everything a result is a function of, and the circumstances it is made in; `eps` are the radii of a curve.

    Raises:
        InputError: the threat, an attack, or how the network is looked at has no identity, see `provenance`.
    """
    radius = threat.radius
    x, y = examples.x, examples.y
    settled = settings.records()
    learnt = {} if known is None else known.records()
    trials = {name: learnt.pop(name) for name in ("trials", "examples", "forwards", "backwards", "seconds") if learnt}
    header: Header = {
        "format": FORMAT,
        "threat": {
            "norm": getattr(threat, "name", type(threat).__name__),
            "radius": radius.tolist() if isinstance(radius, Tensor) else radius,
            "mask": hash_tensors([("mask", mask)])
            if isinstance(mask := getattr(threat, "mask", None), Tensor)
            else None,
        },
        "eps": None if eps is None else list(eps),
        "targets": None if targets is None else hash_tensors([("targets", targets)]),
        "individual": individual,
        "plan": plan if isinstance(plan, str) else "custom",
        "attacks": [rung.records() for rung in rungs],
        "seed": seed,
        "block_size": block_size,
        "settings": settled["settled"],
        "understanding": learnt or None,
        "data": {"name": examples.name, "examples": len(x), "shape": list(x.shape[1:]), "sha256": fingerprint(x, y)},
        "model": {
            "network": getattr(model.net, "__name__", type(model.net).__name__),
            "sha256": weights_fingerprint(model),
            "bounds": list(model.bounds),
            "mean": None if model.mean is None else model.mean.tolist(),
            "std": None if model.std is None else model.std.tolist(),
            "mode": model.mode,
            "eot": model.eot,
            "dtype": str(model.dtype).removeprefix("torch."),
            "attacked_with": model.attacked_with(),
        },
        "identity": {
            "threat": plain(threat, "threat"),
            "attacks": [plain(rung.attack, f"attack {rung.name}") for rung in rungs],
            **identity(model),
        },
        "answers": answers(model, x, settings.batch_size),
        "shard": None if shard is None else f"{shard[0]}/{shard[1]}",
        "command": command,
        "threads": torch.get_num_threads(),
        "measured": {**settled["measured"], **({"understanding": trials} if trials else {})},
        "versions": {
            "sparring": _version(),
            "torch": torch.__version__,
            "numpy": numpy.__version__,
            "python": platform.python_version(),
            "machine": f"{sys.platform} {platform.machine()}",
        },
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    known_by: dict[str, Any] = header["identity"]
    header["identity"] = steady(known_by, {**known_by, **identity(model)})  # now that the network was looked at
    return {**header, "run": digest(_identity(header))[:32]}


def identity(model: Model) -> dict[str, Any]:
    """The network and how it is looked at, by value."""
    modes = [name for name, one in model.named_modules() if one.training] if model.mode == "as-is" else []
    return {
        "network": network(model.net),
        "training": modes,
        "bpda": plain(model.bpda, "bpda"),
        "gradients": plain(model.gradients, "gradients"),
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
    this, that = _identity(one), _identity(other)
    names = dict.fromkeys([*this, *that])
    found = plain_difference({name: this.get(name) for name in names}, {name: that.get(name) for name in names})
    first, second = one.get("answers"), other.get("answers")
    if found is None and first and second and not alike(first, second):
        pairs = zip(first["examples"], first["logits"], second["logits"], strict=True)
        example, here, there = next(pair for pair in pairs if pair[1] != pair[2])
        return f"model's answer to example {example}", told(here), told(there)
    return found


def _identity(header: Mapping[str, Any]) -> dict[str, Any]:
    """What must be the same for two headers to be of one run, but for answers, which rounding may change."""
    return {name: value for name, value in header.items() if name not in (*CIRCUMSTANCES, "answers")}


def _version() -> str:
    import sparring

    return sparring.__version__
