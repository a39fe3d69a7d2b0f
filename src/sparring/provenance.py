"""The identity of any value as plain data: what a run, a name or a random path may depend on.

Two values have the same identity where they do the same: numbers and words by themselves, tensors by a hash,
dataclasses and other objects by their class and fields, functions by their qualified name, compiled code, defaults,
closure and the globals that they read. No memory address is part of it. What is none of these is refused, but for parts
of a network, which count by their type there, since networks are compared by their answers too.
"""

from __future__ import annotations

import copyreg
import dis
import enum
import functools
import hashlib
import json
import math
import sys
import sysconfig
import types
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sparring.errors import InputError

Plain = Any  # None, bool, int, float, str, and lists and dicts by str of these
VARIES = "(changes with every pass)"

_WORDS = (type(None), bool, int, str)
_PRINTED = (complex, range, slice, torch.dtype, torch.device, torch.Size, np.dtype, type(Ellipsis))
_BUILTIN = (types.BuiltinFunctionType, types.MethodDescriptorType, types.WrapperDescriptorType, types.MethodWrapperType)
_INSTALLED = (
    *{Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "purelib", "platlib")},
    Path(__file__).resolve().parent,
)
_HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")
_OF_EVERY_MODULE = frozenset({*vars(nn.Module()), "training", "_compiled_call_impl", "_is_torch_compile"})


def plain(value: object, where: str = "value") -> Plain:
    """The identity of a value as plain data, which JSON can hold.

    where: what a message calls the value.

    Raises:
        InputError: it holds what cannot be told from another of its kind, such as an open file or a lock.
    """
    return _Walk().told(value, where)


def network(net: Callable[..., Any]) -> Plain:
    """The identity of a network: its tensors by a hash, its modules by class, code and settings."""
    return _Walk(lenient=True).told(net, "model")


def digest(told: Plain) -> str:
    """The sha256, in hexadecimal, of plain data."""
    return hashlib.sha256(canonical(told)).hexdigest()


def canonical(told: Plain) -> bytes:
    """Plain data as the one JSON text that stands for it."""
    return json.dumps(told, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")


def label(value: object) -> str:
    """A name for a value that is the same in every process: its repr, but for functions and objects without a repr of
    their own, which are called by their name and the beginning of their digest."""
    if isinstance(value, (*_WORDS, float)):
        return repr(value)
    if isinstance(value, tuple):
        return f"({', '.join(map(label, value))}{',' * (len(value) == 1)})"
    if is_dataclass(value) and not isinstance(value, type) and hasattr(type(value).__repr__, "__wrapped__"):
        told = (f"{one.name}={label(getattr(value, one.name))}" for one in fields(value) if one.repr)
        return f"{type(value).__qualname__}({', '.join(told)})"
    name = getattr(value, "__qualname__", type(value).__qualname__)
    return f"{name}#{digest(plain(value, name))[:8]}"


def steady(before: Plain, after: Plain) -> Plain:
    """`before`, with VARIES where `after` differs: what a pass changes is the state of a network, not its identity."""
    if isinstance(before, dict) and isinstance(after, dict) and before.keys() == after.keys():
        return {key: steady(before[key], after[key]) for key in before}
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        return [steady(one, other) for one, other in zip(before, after, strict=True)]
    return before if canonical(before) == canonical(after) else VARIES


def difference(one: Plain, other: Plain, name: str = "") -> tuple[str, Any, Any] | None:
    """The name and both values of the first entry in which plain data differs; None where it does not.

    As deep as both have the same shape, so that a message names the entry and not all that is around it. What varies
    with every pass is equal to anything.
    """
    parts: Iterator[tuple[str, Any, Any]]
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        parts = ((f"{name}.{key}".lstrip("."), one[key], other[key]) for key in one)
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        parts = ((f"{name}[{place}]", *both) for place, both in enumerate(zip(one, other, strict=True)))
    else:
        same = one == other and isinstance(one, bool) == isinstance(other, bool)
        return None if same or VARIES in (one, other) else (name, one, other)
    return next((found for key, a, b in parts if (found := difference(a, b, key)) is not None), None)


def hash_tensors(named: Iterable[tuple[str, Tensor]]) -> str:
    """The sha256, in hexadecimal, of the names, dtypes, shapes and bytes of tensors, in the order given."""
    hashed = hashlib.sha256()
    for name, tensor in named:
        hashed.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        try:
            hashed.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        except (RuntimeError, TypeError, NotImplementedError):  # sparse or quantized: by what it prints
            hashed.update(repr(tensor).encode())
    return hashed.hexdigest()


@dataclass
class _Walk:
    """One walk over a value. lenient: what has no identity counts by its type.

    above: the objects around the one at hand, by id. known: what was told of functions, classes and modules, by id, and
    the objects, whose ids must not be given out again.
    """

    lenient: bool = False
    above: dict[int, str] = field(default_factory=dict)
    known: dict[int, tuple[object, Plain]] = field(default_factory=dict)

    def told(self, value: Any, where: str) -> Plain:
        if isinstance(value, enum.Enum):
            return {"enum": f"{type(value).__qualname__}.{value.name}"}
        if type(value) in _WORDS:
            return value
        if type(value) is float:
            return value if math.isfinite(value) else {"float": repr(value)}
        if isinstance(value, _PRINTED):
            return {"value": repr(value)}
        if isinstance(value, np.generic):
            return {"value": f"{value.dtype} {value.item()!r}"}
        if isinstance(value, bytes):
            return {"bytes": hashlib.sha256(value).hexdigest()}
        if isinstance(value, types.ModuleType):
            return {"module": value.__name__}
        if isinstance(value, Tensor):
            return {"tensor": f"{value.dtype} {tuple(value.shape)}", "sha256": hash_tensors([("", value)])}
        if id(value) in self.above:
            return {"around": self.above[id(value)]}
        if id(value) in self.known:
            return self.known[id(value)][1]
        self.above[id(value)] = getattr(value, "__qualname__", type(value).__qualname__)
        told = self._compound(value, where)
        del self.above[id(value)]
        if isinstance(value, type | types.FunctionType | nn.Module):
            self.known[id(value)] = value, told
        return told

    def _compound(self, value: Any, where: str) -> Plain:
        """What has parts."""
        if type(value) is dict:
            if all(type(key) is str for key in value):
                return {key: self.told(one, f"{where}.{key}") for key, one in value.items()}
            return {"items": [[self.told(key, where), self.told(one, where)] for key, one in value.items()]}
        if type(value) in (list, tuple):
            return [self.told(one, f"{where}[{place}]") for place, one in enumerate(value)]
        if isinstance(value, set | frozenset):
            return {"set": sorted((self.told(one, where) for one in value), key=canonical)}
        if isinstance(value, np.ndarray) and not value.dtype.hasobject:
            return {"array": f"{value.dtype} {value.shape}", "sha256": hashlib.sha256(value.tobytes()).hexdigest()}
        if isinstance(value, type):
            return self._class(value, where)
        if isinstance(value, nn.Module):
            return self._network(value, where)
        if isinstance(value, types.FunctionType):
            return self._function(value, where)
        if isinstance(value, types.MethodType):
            return {"method": value.__name__, "of": self.told(value.__self__, where)}
        if isinstance(value, _BUILTIN):
            owner = getattr(value, "__self__", None)
            bound = owner is not None and not isinstance(owner, types.ModuleType | type)
            of = {"of": self.told(owner, where)} if bound else {}
            return {"function": f"{getattr(value, '__module__', None)}.{value.__qualname__}", **of}
        if isinstance(value, functools.partial):
            return {"partial": self.told([value.func, value.args, value.keywords], where)}
        if is_dataclass(value):
            kept = (one.name for one in fields(value) if one.metadata.get("identity", True))
            return {"is": self.told(type(value), where)} | {
                name: self.told(getattr(value, name), f"{where}.{name}") for name in kept
            }
        return self._object(value, where)

    def _class(self, kind: type, where: str) -> Plain:
        """By name; one's own also by its code and values, for the name may stand for something else tomorrow."""
        if _installed(kind.__module__):
            return {"class": f"{kind.__module__}.{kind.__qualname__}"}
        inside = _Walk(True, self.above, self.known)
        body: dict[str, Plain] = {}
        for base in reversed(kind.__mro__):
            for key, one in {} if _installed(base.__module__) else vars(base).items():
                one = getattr(one, "__func__", getattr(one, "fget", getattr(one, "func", one)))
                if isinstance(one, types.FunctionType) or not key.startswith("__"):
                    body[key] = inside.told(one, f"{where}.{key}")
        return {"class": kind.__qualname__, "body": digest(body)}

    def _function(self, made: types.FunctionType, where: str) -> Plain:
        if _installed(made.__module__) and "<" not in made.__qualname__:
            return {"function": f"{made.__module__}.{made.__qualname__}"}
        held: dict[str, Any] = {"defaults": made.__defaults__, "keywords": made.__kwdefaults__}
        for name, cell in zip(made.__code__.co_freevars, made.__closure__ or (), strict=True):
            try:
                held[f"closure {name}"] = cell.cell_contents
            except ValueError:  # it is not filled yet
                held[f"closure {name}"] = None
        held |= {f"global {path}": one for path, one in _globals(made).items()}
        parts = {name: self.told(one, f"{where}, {name}") for name, one in held.items() if one is not None}
        return {"function": made.__qualname__, "code": _code(made.__code__), **parts}

    def _network(self, net: nn.Module, where: str) -> Plain:
        """Its tensors by one hash; of every module the class, and what it keeps besides modules and tensors."""
        if isinstance(inner := getattr(net, "_orig_mod", None), nn.Module):
            return self.told(inner, where)  # torch.compile changes how it runs, not what it says
        state = {name: one for name, one in net.state_dict().items() if isinstance(one, Tensor)}
        others = {name: self.told(one, where) for name, one in net.named_buffers() if name not in state}
        inside = _Walk(True, self.above, self.known)
        return {
            "network": type(net).__name__,
            "sha256": hash_tensors(sorted(state.items())),
            "buffers": others,
            "modules": {name: inside._module(one, f"{where}.{name}") for name, one in net.named_modules()},
        }

    def _module(self, module: nn.Module, where: str) -> Plain:
        if isinstance(module, torch.jit.ScriptModule | torch.fx.GraphModule):
            return {"code": hashlib.sha256(str(getattr(module, "code", "")).encode()).hexdigest()}
        told = {"class": self.told(type(module), where)} | {
            key: self.told(one, f"{where}.{key}")
            for key, one in vars(module).items()
            if key not in _OF_EVERY_MODULE and not isinstance(one, nn.Module)
        }
        # One on the way back changes no answer, but what an attack is told.
        hooks = {key: list(found.values()) for key in _HOOKS if (found := getattr(module, key, None))}
        told |= self.told(hooks, where) if hooks else {}
        torchs = type(module).__module__.startswith("torch.")  # of which there may be hundreds: a word for each
        return f"{type(module).__name__} {digest(told)[:12]}" if torchs else told

    def _object(self, value: Any, where: str) -> Plain:
        """By its class and what pickle would keep of it."""
        kind = type(value)
        told = {"is": self.told(kind, where)}
        if self.lenient and _installed(kind.__module__) and not kind.__module__.startswith("sparring"):
            return told
        try:
            known = copyreg.dispatch_table.get(kind)
            reduced = known(value) if known else value.__reduce_ex__(2)
        except Exception as error:  # an object that is no value may raise anything
            if self.lenient:
                return told
            raise InputError(
                f"{where} holds a {kind.__qualname__}, which cannot be told from another of its kind, so nobody could "
                "say what a result is of; use plain data, a function or a dataclass instead"
            ) from error
        if isinstance(reduced, str):
            return {**told, "global": reduced}
        made, arguments, *state = reduced
        parts = [made, [one for one in arguments if one is not kind]]
        parts += [list(one) if isinstance(one, Iterator) else one for one in state]
        return {**told, "state": self.told(parts, where)}


def _code(code: types.CodeType) -> str:
    """What a function does: its compiled code, which neither comments nor its place in a file change."""
    return hashlib.sha256(repr(_compiled(code)).encode("utf-8", "surrogatepass")).hexdigest()


def _compiled(value: Any) -> Any:
    if isinstance(value, types.CodeType):
        names = value.co_names, value.co_varnames, value.co_freevars
        counts = value.co_argcount, value.co_posonlyargcount, value.co_kwonlyargcount, value.co_flags
        return value.co_code, names, counts, tuple(map(_compiled, value.co_consts))
    if isinstance(value, frozenset):  # whose order is another one in every process
        return "frozenset", sorted(map(repr, value))
    return tuple(map(_compiled, value)) if isinstance(value, tuple) else value


def _globals(made: types.FunctionType) -> dict[str, Any]:
    """The globals that a function reads, and functions in it; by "name", of one's own modules by "name.one"."""
    found: dict[str, Any] = {}
    codes = [made.__code__]
    while codes:
        code = codes.pop()
        codes += [one for one in code.co_consts if isinstance(one, types.CodeType)]
        path, value = "", None
        for step in dis.get_instructions(code):
            if step.opname in ("LOAD_GLOBAL", "LOAD_NAME") and step.argval in made.__globals__:
                path, value = str(step.argval), made.__globals__[step.argval]
            elif path and step.opname in ("LOAD_ATTR", "LOAD_METHOD") and _own_module(value):
                path, value = f"{path}.{step.argval}", getattr(value, step.argval, None)
            else:
                path = ""
            if path and not _own_module(value):
                found[path], path = value, ""
    return found


def _own_module(value: object) -> bool:
    return isinstance(value, types.ModuleType) and not _installed(value.__name__)


@functools.cache
def _installed(module: str | None) -> bool:
    """Whether a module comes with Python, was installed, or is ours: who has its version has the same."""
    top = (module or "").partition(".")[0]
    if top in ("sparring", "builtins") or top in sys.stdlib_module_names:
        return True
    file = getattr(sys.modules.get(module or ""), "__file__", None)
    return file is not None and installed(Path(file))


def installed(file: Path) -> bool:
    """Whether a file of code comes with Python, was installed, or is ours."""
    return any(file.resolve().is_relative_to(folder) for folder in _INSTALLED)
