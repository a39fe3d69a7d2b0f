"""Loading networks: the architecture from code the caller names, the weights from files that run no code."""

from __future__ import annotations

import importlib
import pickle
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import safetensors.torch
import torch
from torch import Tensor, nn

from sparring.blame import mark
from sparring.errors import InputError, SparringError, closest
from sparring.provenance import hash_tensors
from sparring.sealed import Broken, sealed, unseal_tensors
from sparring.zoo import AVAILABLE

N = TypeVar("N", bound=nn.Module)

_IMPOSTORS = {
    b"<!doctype": "is a web page, not weights: fetch the file behind its link",
    b"<html": "is a web page, not weights: fetch the file behind its link",
    b"version https://git-lfs": "is a git-lfs pointer, not weights: run git lfs pull",
}


def load_network(spec: str | None, weights: str | Path | None = None, *, trust: bool = False) -> nn.Module:
    """A network, in evaluation mode (a `.pt2` program stays in the mode of its export).

    `spec` is `zoo:digits-cnn`, or code to import, `package.module:factory` or `path/file.py:factory`.
    The factory is an nn.Module, or a callable that makes one without arguments. The folder of the code (the
    current one, for a module) is on `sys.path` during the import only.

    `weights` is a `.safetensors`; a torch checkpoint, read with `weights_only=True`, that is a state dict
    or has one under "state_dict" or "model"; or a `.pt2` program, for which `spec` is ignored. A prefix
    "module." shared by all keys is dropped. `trust=True` admits files that can run code: `.pt2`, and
    checkpoints of more than tensors.

    Raises InputError when the code or the file is missing or fails, when the file needs trust, and when its
    keys or shapes are not those of the network.
    """
    if weights is None:
        return _make(spec).eval()
    path, what = Path(weights), f"weights={str(weights)!r}"
    if not path.is_file():
        raise InputError(f"{what} is not a file: check the path")
    with path.open("rb") as file:
        start = file.read(256).lstrip().lower()
    for sign, problem in _IMPOSTORS.items():
        if start.startswith(sign):
            raise InputError(f"{what} {problem}")
    if path.suffix == ".pt2":
        if not trust:
            raise InputError(f"{what} is a program: if you trust it, pass trust=True (--trust)")
        with _blaming(f"{what} is no readable .pt2 program: export it again"):
            return torch.export.load(path).module()
    return _fill(_make(spec), _read_state(path, what, trust), what).eval()


def placed(net: N, device: str) -> N:
    """The network, moved to a device, such as "cuda:1".

    Raises InputError when there is none of that name.
    """
    try:
        if torch.device(device).type == "meta":
            raise RuntimeError("it holds no numbers")
        return net.to(device)
    except (RuntimeError, AssertionError) as error:  # torch built without CUDA asserts
        reason = str(error).splitlines()[0]
        raise InputError(f"device {device!r} cannot be used: {reason}; sparring doctor lists what there is") from error


def weights_fingerprint(net: nn.Module) -> str:
    """The sha256, in hexadecimal, of the state dict sorted by name: its names, dtypes, shapes and bytes."""
    return hash_tensors((k, v) for k, v in sorted(net.state_dict().items()) if isinstance(v, Tensor))


@contextmanager
def _blaming(what: str, code: str = "") -> Iterator[None]:
    """Other people's code and files raise anything, or even leave: say whose it was. code: the caller's that runs."""
    try:
        yield
    except SparringError:
        raise
    except (Exception, SystemExit) as error:
        told = InputError(f"{what} ({type(error).__name__}: {error})")
        if code:
            mark(error, code)
            mark(told, code)
        raise told from error


def _make(spec: str | None) -> nn.Module:
    source, _, name = (spec or "").rpartition(":")
    if source == "zoo" and name in AVAILABLE:
        return AVAILABLE[name]()
    if source in ("", "zoo") or not name:
        forms = f"zoo:{{{', '.join(AVAILABLE)}}}, package.module:factory or path/file.py:factory"
        hint = closest(name, AVAILABLE) if source == "zoo" else ""
        raise InputError(f"spec={spec!r} names no network: write {forms}{'.' * bool(hint)}{hint}")
    made = _import(source, name, f"spec={spec!r}")
    if callable(made) and not isinstance(made, nn.Module):
        with _blaming(f"spec={spec!r} fails when called without arguments: name a factory that needs none", spec or ""):
            made = made()
    if not isinstance(made, nn.Module):
        raise InputError(f"spec={spec!r} gives a {type(made).__name__}: name an nn.Module, or what makes one")
    return made


def _import(source: str, name: str, what: str) -> object:
    """What stands in a module or a file under a name, whose code runs.

    Raises:
        InputError: there is no such module, file or name; or, marked as the caller's, its code raises.
    """
    file = Path(source)
    if file.suffix == ".py" and not file.is_file():
        raise InputError(f"{what} names no file: check the path {source!r}")
    folder = str(file.resolve().parent if file.suffix == ".py" else Path.cwd())
    sys.path.insert(0, folder)
    importlib.invalidate_caches()
    try:
        with _blaming(f"{what} cannot be imported: check the name and the code it imports", f"{source}"):
            module = _module(file) if file.suffix == ".py" else _named(source, what)
        if not hasattr(module, name):
            known = [word for word in vars(module) if not word.startswith("_")]
            raise InputError(f"{what} names nothing: there is no {name!r} in {source}.{closest(name, known)}")
        return getattr(module, name)
    finally:
        with suppress(ValueError):
            sys.path.remove(folder)


def _module(file: Path) -> ModuleType:
    found = spec_from_file_location(f"_sparring_{file.stem}", file)
    assert found is not None
    assert found.loader is not None
    module = sys.modules[found.name] = module_from_spec(found)  # where dataclasses look themselves up
    found.loader.exec_module(module)
    return module


def _named(source: str, what: str) -> ModuleType:
    if source.startswith("."):
        raise InputError(f"{what} names no module: check the name {source!r}, which is relative to nothing")
    try:
        return importlib.import_module(source)
    except ModuleNotFoundError as error:
        if error.name and f"{source}.".startswith(f"{error.name}."):  # it is missing itself, and not what it imports
            raise InputError(f"{what} names no module: check the name {source!r}, or the folder you are in") from error
        raise


def _read_state(path: Path, what: str, trust: bool) -> Mapping[str, Any]:
    if path.suffix == ".safetensors":
        content = path.read_bytes()
        try:
            if sealed(content):  # weights of a training of ours, which say whether they are as they were written
                return unseal_tensors(content, {})
        except Broken as error:
            raise InputError(f"{what} cannot be used: {error}; fetch it again, or train again") from error
        with _blaming(f"{what} is no readable .safetensors file: fetch it again"):
            return safetensors.torch.load(content)
    try:
        found = torch.load(path, map_location="cpu", weights_only=not trust)
    except Exception as error:
        refused = isinstance(error, pickle.UnpicklingError) or "TorchScript" in str(error)
        problem = "is no readable torch checkpoint: fetch it again"
        if refused and not trust:
            problem = "could run code when read: pass trust=True (--trust) if you trust its maker"
        reason = str(error).rpartition("WeightsUnpickler error: ")[2].partition(". ")[0]
        raise InputError(f"{what} {problem} ({type(error).__name__}: {reason})") from error
    for key in ("state_dict", "model"):
        found = found.get(key, found) if isinstance(found, Mapping) else found
    state = found.state_dict() if isinstance(found, nn.Module) else found
    if not isinstance(state, Mapping) or not all(isinstance(key, str) for key in state):
        raise InputError(f"{what} holds a {type(found).__name__}: save net.state_dict() instead")
    return state


def _fill(net: nn.Module, state: Mapping[str, Any], what: str) -> nn.Module:
    if all(key.startswith("module.") for key in state) and "module" not in dict(net.named_children()):
        state = {key.removeprefix("module."): value for key, value in state.items()}
    try:
        net.load_state_dict(state)
    except RuntimeError as error:
        told = "; ".join(line.strip()[:200] for line in str(error).splitlines()[1:6])
        raise InputError(f"{what} does not fit the network, so check that spec is its own: {told}") from error
    return net
