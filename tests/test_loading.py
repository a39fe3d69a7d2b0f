"""Loading networks: weights go in exactly, nothing runs without trust, and each refusal says what to do."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from sparring.defenses import Standard
from sparring.errors import InputError
from sparring.loading import load_network, weights_fingerprint
from sparring.training import train
from sparring.zoo import MLP

CODE = """
from __future__ import annotations
from dataclasses import dataclass
from torch import nn
from neighbour_of_code import WIDTH

@dataclass
class Config:
    width: int = WIDTH

def small() -> nn.Module:
    return nn.Linear(3, Config().width)

def needs(width):
    return nn.Linear(3, width)

instance = nn.Sequential(nn.Linear(3, 2), nn.Dropout())
number = 3
"""


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """A file that defines networks and imports its neighbour."""
    (tmp_path / "neighbour_of_code.py").write_text("WIDTH = 5")
    (tmp_path / "code_of_networks.py").write_text(CODE)
    return tmp_path / "code_of_networks.py"


class Bomb:
    """Unpickling this creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


# Code.


def test_zoo_names() -> None:
    assert isinstance(load_network("zoo:digits-mlp"), MLP)
    with pytest.raises(InputError, match=r"zoo:\{digits-cnn, digits-mlp, .*\}.*Did you mean digits-cnn\?"):
        load_network("zoo:digits-cn")


def test_a_file_names_its_factory(code: Path) -> None:
    before = list(sys.path)
    net = load_network(f"{code}:small")
    assert isinstance(net, nn.Linear)
    assert net.out_features == 5
    assert sys.path == before


def test_a_module_is_found_in_the_current_directory_during_the_import_only(
    code: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(code.parent)
    before = list(sys.path)
    assert isinstance(load_network(f"{code.stem}:small"), nn.Linear)
    assert sys.path == before


def test_an_instance_is_taken_in_evaluation_mode(code: Path) -> None:
    net = load_network(f"{code}:instance")
    assert isinstance(net, nn.Sequential)
    assert not any(module.training for module in net.modules())


def test_an_installed_class_is_a_factory() -> None:
    assert isinstance(load_network("torch.nn:Flatten"), nn.Flatten)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("absent", "there is no 'absent' in"),
        ("needs", r"fails when called without arguments.*TypeError.*width"),
        ("number", "gives a int: name an nn.Module"),
        ("Config", "gives a Config: name an nn.Module"),
    ],
)
def test_what_is_no_factory_is_named(code: Path, name: str, told: str) -> None:
    with pytest.raises(InputError, match=rf"spec='.*:{name}' .*{told}"):
        load_network(f"{code}:{name}")


@pytest.mark.parametrize("spec", [None, "", "resnet", "models:", ":net"])
def test_a_spec_without_both_parts_is_refused(spec: str | None) -> None:
    with pytest.raises(InputError, match=f"spec={spec!r} names no network: write zoo:"):
        load_network(spec)


@pytest.mark.parametrize("spec", ["no.such.module:net", "no/such/file.py:net", "..relative:net"])
def test_code_that_is_not_there_is_named(spec: str) -> None:
    before = list(sys.path)
    with pytest.raises(InputError, match=f"spec='{spec}' names no (module|file): check the (name|path)"):
        load_network(spec)
    assert sys.path == before


def test_code_that_fails_says_why(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("1 / 0")
    with pytest.raises(InputError, match="ZeroDivisionError") as caught:
        load_network(f"{tmp_path / 'broken.py'}:net")
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


# Weights.


@pytest.mark.parametrize("form", ["bare", "state_dict", "model", "prefixed", "safetensors", "prefixed.safetensors"])
def test_weights_round_trip(tmp_path: Path, form: str) -> None:
    torch.manual_seed(1)
    net = MLP()
    state: dict[str, Any] = dict(net.state_dict())
    if form.startswith("prefixed"):
        state = {f"module.{key}": value for key, value in state.items()}
    path = tmp_path / ("a.safetensors" if form.endswith("safetensors") else "a.pt")
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save({form: state, "epoch": 3} if form in ("state_dict", "model") else state, path)
    loaded = load_network("zoo:digits-mlp", str(path))
    assert weights_fingerprint(loaded) == weights_fingerprint(net)
    x = torch.rand(3, 64)
    assert torch.equal(loaded(x), net(x))


def test_a_prefix_that_belongs_to_the_network_is_kept(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "from torch import nn\nmake = lambda: nn.Sequential(nn.ModuleDict({'module': nn.Linear(2, 2)}))[0]"
    )
    state = {"module.weight": torch.ones(2, 2), "module.bias": torch.ones(2)}
    save_file(state, tmp_path / "a.safetensors")
    net = load_network(f"{tmp_path / 'own.py'}:make", tmp_path / "a.safetensors")
    assert torch.equal(net.state_dict()["module.weight"], torch.ones(2, 2))


def test_a_malicious_pickle_is_refused_and_does_not_run(tmp_path: Path) -> None:
    torch.save({"state_dict": Bomb(tmp_path / "ran")}, tmp_path / "a.pt")
    with pytest.raises(InputError, match=r"weights='.*a.pt' could run code .*trust=True \(--trust\)"):
        load_network("zoo:digits-mlp", tmp_path / "a.pt")
    assert not (tmp_path / "ran").exists()
    with pytest.raises(InputError, match=r"holds a NoneType"):
        load_network("zoo:digits-mlp", tmp_path / "a.pt", trust=True)
    assert (tmp_path / "ran").exists()


def test_trust_reads_a_whole_pickled_network(tmp_path: Path) -> None:
    net = MLP()
    torch.save(net, tmp_path / "a.pt")
    with pytest.raises(InputError, match="--trust"):
        load_network("zoo:digits-mlp", tmp_path / "a.pt")
    loaded = load_network("zoo:digits-mlp", tmp_path / "a.pt", trust=True)
    assert weights_fingerprint(loaded) == weights_fingerprint(net)


def test_an_exported_program_needs_trust_and_no_spec(tmp_path: Path) -> None:
    net, x = MLP(4, 2, ()).eval(), torch.rand(3, 4)
    torch.export.save(torch.export.export(net, (x,)), tmp_path / "a.pt2")
    with pytest.raises(InputError, match=r"a.pt2' is a program: .*--trust"):
        load_network(None, tmp_path / "a.pt2")
    loaded = load_network(None, tmp_path / "a.pt2", trust=True)
    assert torch.equal(loaded(x), net(x))
    (gradient,) = torch.autograd.grad(loaded(x.requires_grad_()).sum(), x)
    assert gradient.abs().sum() > 0


@pytest.mark.parametrize("name", ["a.pt", "a.safetensors"])
@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"\n<!DOCTYPE html><html></html>", "is a web page, not weights: fetch"),
        (b"<html>", "is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "is a git-lfs pointer.*git lfs pull"),
        (b"", "is no readable .*fetch it again"),
        (b"junk" * 100, "is no readable .*fetch it again"),
        (b"PK\3\4" + b"\0" * 99, "is no readable .*fetch it again"),
    ],
)
def test_a_file_that_is_not_weights_is_named(tmp_path: Path, name: str, content: bytes, told: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=f"weights='.*{name}' {told}"):
        load_network("zoo:digits-mlp", tmp_path / name)


def test_a_damaged_program_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.pt2").write_bytes(b"junk")
    with pytest.raises(InputError, match=r"a.pt2' is no readable .pt2 program: export it again"):
        load_network(None, tmp_path / "a.pt2", trust=True)


def test_weights_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent.pt' is not a file: check the path"):
        load_network("zoo:digits-mlp", tmp_path / "absent.pt")
    with pytest.raises(InputError, match="is not a file"):
        load_network("zoo:digits-mlp", tmp_path)


@pytest.mark.parametrize("content", [[torch.zeros(2)], torch.zeros(2), {0: torch.zeros(2)}])
def test_a_checkpoint_without_a_state_dict_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(InputError, match=f"holds a {type(content).__name__}: save net.state_dict"):
        load_network("zoo:digits-mlp", tmp_path / "a.pt")


def test_keys_and_shapes_that_do_not_fit_are_listed(tmp_path: Path) -> None:
    state = MLP(hidden=(128, 32)).state_dict()
    state["extra.weight"] = state.pop("layers.1.bias")
    torch.save(state, tmp_path / "a.pt")
    with pytest.raises(InputError, match=r"a.pt' does not fit the network, so check") as caught:
        load_network("zoo:digits-mlp", tmp_path / "a.pt")
    told = str(caught.value)
    assert 'Missing key(s) in state_dict: "layers.1.bias"' in told
    assert 'Unexpected key(s) in state_dict: "extra.weight"' in told
    assert "size mismatch for layers.3.weight" in told


# Fingerprints.


def test_a_weights_fingerprint_sees_names_and_values() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(2, 2))
    first = weights_fingerprint(net)
    assert len(first) == 64
    assert weights_fingerprint(nn.Sequential(nn.Identity(), net[0])) != first
    with torch.no_grad():
        net[0].bias[0] += 1
    assert weights_fingerprint(net) != first


def test_weights_of_a_training_with_a_flipped_bit_are_refused_or_equal(tmp_path: Path) -> None:
    """Only damage to the mark itself goes unseen: it says nothing of the weights, which are whole then."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    train(net, (torch.rand(24, 1, 4, 4), torch.arange(24) % 3), Standard(), epochs=1, batch_size=12, out=tmp_path)
    path = tmp_path / "model.safetensors"
    whole = path.read_bytes()
    (tmp_path / "net.py").write_text(
        "from torch import nn\n\ndef make():\n    return nn.Sequential(nn.Flatten(), nn.Linear(16, 3))\n"
    )
    factory = f"{tmp_path / 'net.py'}:make"
    before = load_network(factory, path).state_dict()
    refused = 0
    bits = torch.randint(8 * len(whole), (60,), generator=torch.Generator().manual_seed(0)).tolist()
    for bit in [*bits, 8 * len(whole) - 3, 8 * len(whole) - 200]:
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(bytes(changed))
        try:
            found = load_network(factory, path).state_dict()
        except InputError:
            refused += 1
        else:
            assert all(torch.equal(found[name], before[name]) for name in before)
    with pytest.raises(InputError, match=r"model.safetensors.*cannot be used: it is not as it was written"):
        load_network(factory, path)  # a bit of the weights
    assert refused > 55
