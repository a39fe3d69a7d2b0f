"""What tests of training share: a network in which much could go astray, equality to the last bit, and kill -9."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sparring.draws import isolated


class Net(nn.Module):
    """Everything that could go astray: BatchNorm, dropout, a buffer outside the state dict, a frozen weight."""

    def __init__(self) -> None:
        super().__init__()
        with isolated(0, torch.device("cpu")):
            convolution, linear = nn.Conv2d(1, 4, 3), nn.Linear(16, 3)
        self.body = nn.Sequential(convolution, nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(0.3), linear)
        self.frozen = nn.Parameter(torch.ones(3), requires_grad=False)
        self.register_buffer("calls", torch.zeros(()), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.calls += 1
        return self.body(x) * self.frozen


def state(net: nn.Module) -> dict[str, Tensor]:
    """All weights and buffers, those outside the state dict too."""
    return dict(net.named_parameters()) | dict(net.named_buffers())


def assert_equal(one: Any, other: Any) -> None:
    """Equal to the last bit, however deep."""
    if isinstance(one, Tensor):
        assert torch.equal(one, other)
        assert one.dtype == other.dtype
    elif isinstance(one, Mapping):
        assert one.keys() == other.keys()
        for key in one:
            assert_equal(one[key], other[key])
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            assert_equal(a, b)
    else:
        assert one == other


def kept(out: Path) -> dict[str, Any]:
    """The checkpoint in the folder."""
    return torch.load(out / "checkpoint.pt", weights_only=True)


def without_seconds(history: list[dict[str, float]]) -> list[dict[str, float]]:
    """A history without what differs from run to run."""
    return [{k: v for k, v in record.items() if k != "seconds"} for record in history]


FORKING = """
import os, sys
from importlib import import_module
sys.path[:0] = sys.argv[1:3]
import torch, torch._dynamo  # the optimizers import it when first used, which takes seconds
torch.set_num_threads(1)
one_of = getattr(import_module(sys.argv[3]), sys.argv[4])
for name in sys.argv[6:]:
    if (child := os.fork()) == 0:
        one_of(name, sys.argv[5])
        os._exit(0)
    print(name, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def exits(file: str, function: str, folder: Path, names: Sequence[str]) -> dict[str, int]:
    """How `function(name, folder)` of a test file ended for each name: 0, or minus the signal that killed it.

    Each has a process of its own, forked from one interpreter, because to start one takes seconds.
    """
    here, path = Path(__file__).parent, Path(file)
    command = [sys.executable, "-c", FORKING, str(here), str(path.parent), path.stem, function, str(folder), *names]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    return {name: int(code) for name, code in (line.split() for line in done.stdout.splitlines())}


def two_processes(script: str, folder: Path) -> Path:
    """`folder`, once two processes of torchrun have run `script` on it."""
    paths = [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", script, str(folder)],
        capture_output=True, text=True, timeout=300,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths), "CUDA_VISIBLE_DEVICES": ""},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder
