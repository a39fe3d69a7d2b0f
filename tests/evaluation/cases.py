"""A small evaluation that can be stopped anywhere, and what of a folder must not depend on where it was."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import scipy.stats  # noqa: F401  # what is imported on first use each forked process would import again, for seconds
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

import sparring as sp
from models import relu
from runs import assert_equal
from sparring.evaluation import Result

X = torch.rand(22, 6, generator=torch.Generator().manual_seed(1))
BLOCK = 4  # five blocks of four examples and one of two
ATTACKS = (sp.FGSM(), sp.PGD(steps=3))


class Mortal(nn.Module):
    """A network that is killed, with the process, when it is asked for the `calls`-th time."""

    def __init__(self, calls: int | None = None, seed: int = 0) -> None:
        super().__init__()
        self.net = relu(6, 3, seed=seed)
        self.left = calls

    def forward(self, x: Tensor) -> Tensor:
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return self.net(8 * x - 4)


def labels() -> Tensor:
    """What the network says, but for two examples, which are wrong from the start."""
    with torch.no_grad():
        y = Mortal()(X).argmax(1)
    y[[3, 17]] = (y[[3, 17]] + 1) % 3
    return y


def run(out: Path | None, calls: int | None = None, net: nn.Module | None = None, **changes: Any) -> Result:
    """The evaluation."""
    asked = {"data": (X, labels()), "threat": sp.Linf(0.06), "plan": ATTACKS, "batch_size": BLOCK, **changes}
    return sp.evaluate(net or Mortal(calls), out=out, **asked)


def ledger(folder: Path) -> str:
    """Its bytes without the seconds."""
    return re.sub(r', "seconds": [^}]*', "", (folder / "ledger.jsonl").read_text())


def results(folder: Path) -> Any:
    """results.json without times."""

    def timeless(found: Any) -> Any:
        if isinstance(found, dict):
            return {k: timeless(v) for k, v in found.items() if k not in ("seconds", "started")}
        return [timeless(one) for one in found] if isinstance(found, list) else found

    return timeless(json.loads((folder / "results.json").read_text()))


def assert_same(folder: Path, clean: Path) -> None:
    """What a run left is what an uninterrupted one leaves, to the last bit, but for the time it took."""
    assert ledger(folder) == ledger(clean)
    assert results(folder) == results(clean)
    names = [path.name for path in sorted((clean / "blocks").iterdir())]
    assert [path.name for path in sorted((folder / "blocks").glob("[0-9]*"))] == names
    for name in [Path("adversarial.safetensors"), *(Path("blocks") / name for name in names)]:
        one, other = (load_file(place / name) for place in (folder, clean))
        assert one.keys() == other.keys()
        for key in one.keys() - {"seconds"}:
            assert_equal(one[key].nan_to_num(nan=-7), other[key].nan_to_num(nan=-7))
