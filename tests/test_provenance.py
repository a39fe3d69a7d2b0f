"""The identity of a value: equal where two do the same, in any process; another one where anything differs."""

from __future__ import annotations

import enum
import functools
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import sparring as sp
from models import seeded
from sparring.errors import InputError
from sparring.provenance import VARIES, difference, digest, label, network, plain, steady


def same(one: Any, other: Any) -> bool:
    return digest(plain(one)) == digest(plain(other))


class Colour(enum.Enum):
    RED = 1
    BLUE = 1.5


@dataclass(frozen=True)
class Point:
    x: float
    note: str = field(default="", metadata={"identity": False})


class Plainly:
    def __init__(self, value: Any) -> None:
        self.value = value

    def __call__(self, x: Any) -> Any:
        return x * self.value


class Slotted:
    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


def times(by: Any) -> Callable[[Any], Any]:
    return lambda x: x * by


def nested(by: Any) -> Callable[[Any], Any]:
    def outer(x: Any) -> Any:
        def inner(y: Any) -> Any:
            return y * by

        return inner(x)

    return outer


def defaulted(by: Any) -> Callable[..., Any]:
    def made(x: Any, factor: Any = by, *, more: Any = by) -> Any:
        return x * factor * more

    return made


def generic(make: Callable[[Any], Any]) -> list[Any]:
    return [make(1), make(1), make(2)]


# Each makes the same value twice, and then another one.
MADE: dict[str, list[Any]] = {
    "float": [0.1, 0.1, 0.1 + 1e-17 + 2e-17],
    "whole and broken": [1, 1, 1.0],
    "truth and number": [True, True, 1],
    "nan": [float("nan"), float("nan"), float("inf")],
    "zeros": [0.0, 0.0, -0.0],
    "text": ["a", "a", "b"],
    "bytes": [b"a", b"a", b"b"],
    "list and tuple": [[1, 2], [1, 2], [2, 1]],
    "dict": [{"a": 1, "b": 2}, {"b": 2, "a": 1}, {"a": 2, "b": 1}],
    "dict of numbers": [{1: "a"}, {1: "a"}, {"1": "a"}],
    "set": [{"a", "b", "c"}, {"c", "b", "a"}, {"a", "b"}],
    "enum": [Colour.RED, Colour.RED, Colour.BLUE],
    "slice": [slice(1, 2), slice(1, 2), slice(1, 3)],
    "dtype": [torch.float32, torch.float32, torch.float16],
    "tensor": [torch.ones(2), torch.ones(2), torch.ones(2, 1)],
    "tensor of another type": [torch.ones(2), torch.ones(2), torch.ones(2).double()],
    "one bit of a tensor": [torch.zeros(2), torch.zeros(2), torch.tensor([0.0, 1e-45])],
    "array": [np.ones(2), np.ones(2), np.ones(2, np.float32)],
    "number of NumPy": [np.float32(0.1), np.float32(0.1), np.float64(0.1)],
    "dataclass": [Point(0.1), Point(0.1, note="what is no identity"), Point(0.2)],
    "object": generic(Plainly),
    "object with slots": generic(Slotted),
    "object in an object": generic(lambda n: Plainly([Plainly(n)])),
    "method": generic(lambda n: Plainly(n).__call__),
    "closure": generic(times),
    "nested function": generic(nested),
    "defaults": generic(defaulted),
    "partial": generic(lambda n: functools.partial(max, n)),
    "partial of one's own": generic(lambda n: functools.partial(times(n), 3)),
    "closure over a tensor": generic(lambda n: times(torch.full((2,), float(n)))),
    "closure over a module": generic(lambda n: times(seeded(lambda: nn.Linear(2, 2), n))),
    "lambdas": [lambda x: x + 1, lambda x: x + 1, lambda x: x + 2],
    "names of arguments": [lambda x: x, lambda x: x, lambda y: y],
    "attributes": [lambda x: x.amax(1), lambda x: x.amax(1), lambda x: x.amin(1)],
    "a set in code": [lambda x: x in {"a", "b"}, lambda x: x in {"a", "b"}, lambda x: x in {"a", "c"}],
    "builtin": [max, max, min],
    "function of torch": [torch.relu, torch.relu, torch.tanh],
    "method of a type": [Tensor.relu, Tensor.relu, Tensor.tanh],
    "class": [nn.ReLU, nn.ReLU, nn.GELU],
}


@pytest.mark.parametrize("what", MADE)
def test_equal_values_have_one_identity_and_others_another(what: str) -> None:
    one, equal, other = MADE[what]
    assert same(one, equal)
    assert not same(one, other)


FACTOR = 2.0


def reads_a_global(x: Any) -> Any:
    return x * FACTOR


def reads_it_by_another(x: Any) -> Any:
    return reads_a_global(x) + 1


class ReadsIt:
    def __call__(self, x: Any) -> Any:
        return reads_it_by_another(x)


@pytest.mark.parametrize(
    "value", [reads_a_global, reads_it_by_another, ReadsIt(), lambda x: [reads_a_global(y) for y in x]]
)
def test_globals_that_a_function_reads_are_part_of_it(value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    before = digest(plain(value))
    assert digest(plain(value)) == before
    monkeypatch.setitem(globals(), "FACTOR", 3.0)
    assert digest(plain(value)) != before


def test_a_function_that_calls_itself_and_objects_in_a_circle_have_one() -> None:
    def factorial(n: int) -> int:
        return 1 if n < 2 else n * factorial(n - 1)

    circle = Plainly(1)
    circle.more = circle  # type: ignore[attr-defined]
    assert same(factorial, factorial)
    assert same(circle, circle)


@pytest.fixture(params=["lock", "generator", "file"])
def nameless(request: pytest.FixtureRequest) -> Iterator[Any]:
    with open(os.devnull) as file:
        yield {"lock": threading.Lock(), "generator": (n for n in range(3)), "file": file}[request.param]


def test_what_cannot_be_told_from_another_of_its_kind_is_refused(nameless: Any) -> None:
    for holding in (nameless, [nameless], {"a": nameless}, times(nameless), Plainly(nameless)):
        with pytest.raises(InputError, match="cannot be told from another of its kind"):
            plain(holding)


IN_A_PROCESS = """
import sys, torch
from torch import nn
import sparring as sp
from sparring.provenance import digest, label, network, plain

class Mine:
    def __init__(self): self.a, self.b = {"x", "y", "z"}, object
    def __call__(self, logits, goal): return logits.amin(1)

def objective(logits, goal): return -logits.amax(1) if "k" in {"k", "l", "m"} else None
torch.manual_seed(0)
net = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.GELU())
values = objective, lambda logits, goal: logits.sum(1), Mine(), sp.PGD(objective=objective), sp.PGD(objective=Mine())
for value in values:
    print(label(value), digest(plain(value)))
print(digest(network(net)))
x, y = torch.linspace(0, 1, 32).reshape(8, 4), torch.arange(8) % 3
for mine in (objective, Mine()):
    result = sp.evaluate(net, (x, y), sp.Linf(0.2), [sp.PGD(steps=2, objective=mine)])
    print([row["name"] for row in result.table], result.x.double().sum().item())
"""


def test_names_identities_and_random_numbers_are_the_same_in_every_process(tmp_path: Path) -> None:
    script = tmp_path / "mine.py"
    script.write_text(IN_A_PROCESS)
    told = []
    for hashes in ("0", "1"):
        padding = [bytearray(1000 * int(hashes))]  # other addresses
        environment = os.environ | {"PYTHONHASHSEED": hashes, "OMP_NUM_THREADS": "1"}
        done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr
        told.append(done.stdout)
        assert padding
    assert told[0] == told[1]
    assert " at 0x" not in told[0]
    assert "objective=objective#" in told[0]


# Networks.


class Wrapped(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor], **kept: Any) -> None:
        super().__init__()
        self.net = seeded(lambda: nn.Linear(4, 3), 0)
        self.function = function
        for name, value in kept.items():
            setattr(self, name, value)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(self.function(x))


def hooked(by: float, register: str) -> nn.Module:
    net = Wrapped(torch.relu)
    if register == "register_full_backward_hook":
        net.net.register_full_backward_hook(lambda module, given, out: tuple(one and one * by for one in given))
    elif register == "register_forward_pre_hook":
        net.net.register_forward_pre_hook(lambda module, given: (given[0] * by,))
    else:
        net.net.register_forward_hook(lambda module, given, out: out * by)
    return net


def patched(by: float) -> nn.Module:
    net = Wrapped(torch.relu)
    net.net.forward = lambda x: x[:, :3] * by  # type: ignore[method-assign]
    return net


NETWORKS: dict[str, Callable[[int], nn.Module]] = {
    "weights": lambda n: seeded(lambda: nn.Linear(4, 3), n),
    "activation": lambda n: nn.Sequential(nn.ReLU() if n == 1 else nn.LeakyReLU(0.01)),
    "setting of a layer of torch": lambda n: nn.Sequential(nn.LeakyReLU(0.1 * n)),
    "order of layers": lambda n: nn.Sequential(*[nn.ReLU(), nn.Tanh()][:: 1 if n == 1 else -1]),
    "function": lambda n: Wrapped(torch.relu if n == 1 else torch.tanh),
    "lambda": lambda n: Wrapped((lambda x: x + 1) if n == 1 else (lambda x: x + 2)),
    "closure": lambda n: Wrapped(times(n)),
    "attribute": lambda n: Wrapped(torch.relu, bits=n),
    "tensor that is no buffer": lambda n: Wrapped(torch.relu, shift=torch.full((2,), float(n))),
    "list of tensors": lambda n: Wrapped(torch.relu, shifts=[torch.full((2,), float(n))]),
    "dict of settings": lambda n: Wrapped(torch.relu, settings={"a": {"b": n}}),
    "forward of an instance": lambda n: patched(float(n)),
    "hook on the way in": lambda n: hooked(float(n), "register_forward_pre_hook"),
    "hook on the way out": lambda n: hooked(float(n), "register_forward_hook"),
    "hook on the way back": lambda n: hooked(float(n), "register_full_backward_hook"),
    "transform": lambda n: (
        sp.defenses.Quantize(n + 1)(nn.Linear(4, 3)) if n < 0 else sp.defenses.Quantize(n)(Wrapped(torch.relu))
    ),
    "noise": lambda n: sp.defenses.GaussianNoise(float(n))(Wrapped(torch.relu)),
    "type of numbers": lambda n: Wrapped(torch.relu).to(torch.float32 if n == 1 else torch.float64),
}


@pytest.mark.parametrize("what", NETWORKS)
def test_equal_networks_have_one_identity_and_others_another(what: str) -> None:
    one, equal, other = (network(NETWORKS[what](n)) for n in (1, 1, 2))
    assert difference(one, equal) is None
    assert difference(one, other) is not None


def test_a_buffer_outside_the_state_is_part_of_a_network() -> None:
    def made(value: float) -> nn.Module:
        net = nn.Linear(4, 3)
        net.register_buffer("shift", torch.full((3,), value), persistent=False)
        return seeded(lambda: net, 0)

    one, other = made(1.0), made(2.0)
    other.load_state_dict(one.state_dict())
    assert difference(network(one), network(other)) is not None


def test_code_of_a_class_is_part_of_a_network_and_its_place_and_comments_are_not(tmp_path: Path) -> None:
    code = "import torch\nclass Net(torch.nn.Module):\n    def forward(self, x):\n        return x.{}()\n"

    def of(text: str) -> Any:
        space: dict[str, Any] = {"__name__": "mine_of_a_test"}
        exec(compile(text, str(tmp_path / "net.py"), "exec"), space)
        return network(space["Net"]())

    assert (
        difference(of(code.format("relu")), of("\n\n" + code.format("relu").replace("    def", "    # why\n    def")))
        is None
    )
    assert difference(of(code.format("relu")), of(code.format("tanh"))) is not None


def test_compiling_a_network_changes_nothing() -> None:
    net = Wrapped(torch.relu)
    assert difference(network(net), network(torch.compile(net))) is None  # type: ignore[arg-type]


def test_what_a_pass_changes_is_no_identity() -> None:
    before = {"weights": "a", "calls": 1, "list": [1, 2]}
    after = {"weights": "a", "calls": 2, "list": [1, 3]}
    kept = steady(before, after)
    assert kept == {"weights": "a", "calls": VARIES, "list": [1, VARIES]}
    assert difference(kept, {**after, "calls": 9}) is None
    assert difference(kept, {**after, "weights": "b"}) == ("weights", "a", "b")


def test_the_first_difference_is_named_as_deep_as_both_have_the_same_shape() -> None:
    one = {"a": {"b": [1, {"c": 2}]}}
    assert difference(one, {"a": {"b": [1, {"c": 3}]}}) == ("a.b[1].c", 2, 3)
    assert difference(one, {"a": {"b": [1]}}) == ("a.b", [1, {"c": 2}], [1])
    assert difference({"a": True}, {"a": 1}) == ("a", True, 1)
    assert difference(one, one) is None


def test_labels_are_what_one_writes_where_one_can() -> None:
    assert label(sp.PGD(steps=3)) == repr(sp.PGD(steps=3))
    assert label(times).startswith("times#")
    assert label(replace(sp.PGD(), objective=times(1))) != label(replace(sp.PGD(), objective=times(2)))
    assert "0x" not in label(replace(sp.PGD(), objective=Plainly(1)))
