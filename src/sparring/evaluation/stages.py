"""What is told of each stage of an evaluation: what it left standing and cost, or that it was not run, and why."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from sparring.evaluation.block import BLIND, ROBUST, TAKEN, UNTAKEN, Block
from sparring.evaluation.header import Header, understanding_of
from sparring.statistics import clopper_pearson

FIRST, CHECKS, ALONE = (
    "first look",
    "checks",
    "alone",
)  # what spends passes besides the attacks, and what the last is called

Row = dict[str, Any]


def rows(block: Block, header: Header) -> list[Row]:
    """One entry for the clean look, the first look at the network, every attack in its turn, and the checks.

    name; kind: "clean", "first look", "attack", "each alone" or "checks"; attack: as one writes it. examples: how many
    it took. robust_accuracy and interval: of all examples, those that withstood it and all before it; None where it
    took nobody, and then `reason` says why. broke: how many fell to it. no_gradient: on how many it met no gradient.
    alone: with `individual`, the same for the attack alone. forwards, backwards, seconds: their sums are the totals.
    """
    attacks = header["attacks"]
    found = [_row("clean", "clean", block, 0)]
    if (cost := looked(header))["forwards"]:
        found.append({**_blank(FIRST, FIRST), **cost})
    for number, attack in enumerate(attacks, start=1):
        row = _row(attack["name"], "attack", block, number, attack["attack"])
        if not row["examples"]:
            row |= {"robust_accuracy": None, "interval": None, "reason": reason(block, header, number)}
        if header["individual"]:
            row["alone"] = _alone(block, number)
        found.append(row)
    extra = block.single_cost.sum((0, 1)).tolist() if header["individual"] else [0]
    if extra[0]:
        spent = {"forwards": int(extra[0]), "backwards": int(extra[1]), "seconds": round(extra[2], 3)}
        found.append({**_blank(f"each attack {ALONE}", "each alone"), **spent})
    if int(block.forwards[:, -1].sum()):
        found.append({**_blank(CHECKS, CHECKS), **_spent(block, -1)})
    return found


def reason(block: Block, header: Header, number: int) -> str:
    """Why the attack of that number took none of the block's examples, from 1."""
    attack = header["attacks"][number - 1]
    left = (block.broken_by == ROBUST) | (block.broken_by >= number)
    if bool((block.taken[:, number] == BLIND).any()):
        return "there is no input gradient that it could follow"
    if not bool(left.any()):
        return "no example was left standing"
    known = understanding_of(header)
    if attack.get("seen") == "understood" and not (known and known.views):
        return "no other gradient was found to lead farther than the network's own"
    if attack.get("doubted"):
        return "the gradients of all examples left told the truth"
    if attack.get("gained"):
        return f"no example was brought closer by {' or '.join(attack['gained'])}"
    if attack.get("rough") is not None and not (known and known.roughness):
        return "the network is not rough"
    if limits := [f"{word} {attack[rule]:g}" for rule, word in _LIMITS.items() if rule in attack]:
        return f"no example left came close enough ({', '.join(limits)})"
    if "max_zero_gradients" in attack:
        return "every gradient of this objective was zero on the examples left"
    return "there was nothing for it to try: no further class to aim at"


_LIMITS = {
    "within": "missed by at most",
    "unsettled": "by its rounds' difference times",
    "rough": "by the roughness times",
}


def looked(header: Header) -> Row:
    """The passes of the first look at the network, which belong to no example, with those that told what it answers."""
    known, forwards = understanding_of(header), header["answers"]["forwards"]
    if known is None:
        return {"forwards": forwards, "backwards": 0, "seconds": 0.0}
    return {"forwards": forwards + known.forwards, "backwards": known.backwards, "seconds": known.seconds}


def _row(name: str, kind: str, block: Block, number: int, attack: str | None = None) -> Row:
    standing = (block.broken_by == ROBUST) | (block.broken_by > number)
    taken = block.taken[:, number]
    return {
        **_blank(name, kind),
        "attack": attack,
        "examples": int((taken == TAKEN).sum()),
        **_accuracy(standing),
        "broke": int((block.broken_by == number).sum()),
        "no_gradient": int((taken == BLIND).sum()),
        **_spent(block, number),
    }


def _alone(block: Block, number: int) -> Row:
    """The attack alone: what withstands it, and what that costs."""
    fell, at = block.single[:, number - 1], block.taken[:, number] != UNTAKEN
    cost = block.single_cost[:, number - 1].sum(0).tolist()
    in_turn = _spent(block, number)
    if not bool(at.any()) and not cost[0]:
        return {"robust_accuracy": None, "interval": None, "forwards": 0, "backwards": 0, "seconds": 0.0}
    spent = {name: round(in_turn[name] + more, 3) for name, more in zip(in_turn, cost, strict=True)}
    return {
        **_accuracy((block.broken_by != 0) & ~fell),
        **spent, "forwards": int(spent["forwards"]), "backwards": int(spent["backwards"]),
    }  # fmt: skip


def _blank(name: str, kind: str) -> Row:
    return {
        "name": name, "kind": kind, "attack": None, "examples": 0, "robust_accuracy": None, "interval": None,
        "reason": None, "broke": 0, "no_gradient": 0,
    }  # fmt: skip


def _accuracy(standing: Tensor) -> Row:
    interval = clopper_pearson(int(standing.sum()), len(standing))
    return {"robust_accuracy": float(standing.double().mean()), "interval": list(interval)}


def _spent(block: Block, number: int) -> Row:
    return {
        "forwards": int(block.forwards[:, number].sum()),
        "backwards": int(block.backwards[:, number].sum()),
        "seconds": round(float(block.seconds[:, number].sum()), 3),
    }
