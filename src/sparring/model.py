"""A network plus all a caller should not have to remember: bounds, preprocessing, eval mode, frozen weights.

The caller's network is left as it was found, whatever happens in between.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, Literal

import torch
from torch import Tensor, nn

from sparring.blame import mark
from sparring.errors import InputError, ModelError, SparringError
from sparring.gradients import Estimator
from sparring.substitution import named, substituted
from sparring.values import check_whole

Network = nn.Module | Callable[[Tensor], Any]


class Model(nn.Module):
    """A classifier from inputs in `bounds` to logits (N, K).

    Args:
        net: a module or a callable that returns logits, an object with `.logits`, a mapping with "logits",
            a tuple that begins with logits, or one logit an example (two classes: p(class 1) = sigmoid).
        bounds: the lowest and highest valid input value, the same for every input feature.
        mean, std: normalisation applied before `net`: one number, or one a channel (axis 1).
        mode: "eval" runs `net` in evaluation mode and restores every training flag; "as-is" leaves it.
        eot: draws a look at a randomised network takes (expectation over transformation, Athalye et al. 2018): its
            logits are the log of the mean probability, its gradient the mean gradient.
        bpda: what stands in, backward, for submodules of `net` by name: "identity", a smooth callable, or "estimate",
            which estimates the layer's slope from random differences.
        gradients: where attacks take their gradient from; None is the network's own. See sparring.gradients.

    Raises:
        InputError: bounds are not two increasing numbers, std has a zero, or bpda names no submodule.
        ModelError: `net` returns something other than finite logits of shape (N, K) with K >= 2.
    """

    mean: Tensor | None
    std: Tensor | None

    def __init__(
        self,
        net: Network,
        bounds: tuple[float, float] = (0.0, 1.0),
        mean: float | Sequence[float] | Tensor | None = None,
        std: float | Sequence[float] | Tensor | None = None,
        mode: Literal["eval", "as-is"] = "eval",
        eot: int = 1,
        *,
        bpda: Mapping[str, Any] | None = None,
        gradients: Estimator | None = None,
    ) -> None:
        super().__init__()
        if not callable(net):
            raise InputError(f"net is a {type(net).__name__}; pass a torch.nn.Module or a callable")
        if isinstance(net, type):
            raise InputError(f"net is the class {net.__name__}; make one: {net.__name__}(...)")
        low, high = _edges(bounds)
        if mode not in ("eval", "as-is"):
            raise InputError(f'mode is {mode!r}; use "eval" or "as-is"')
        eot = check_whole("eot", eot)
        if bpda and not isinstance(net, nn.Module):
            raise InputError(f"bpda names submodules, and net is a {type(net).__name__}; pass a torch.nn.Module")
        self.net = net
        self.bounds = (low, high)
        self.mode = mode
        self.eot = eot
        self.bpda = named(net, bpda) if isinstance(net, nn.Module) and bpda else {}
        self.gradients = gradients
        self.register_buffer("mean", _buffer("mean", mean), persistent=False)
        self.register_buffer("std", _buffer("std", std), persistent=False)
        if self.std is not None and not bool((self.std > 0).all()):
            raise InputError(f"std is {self.std.tolist()}; every entry must be above 0")
        self._quiet = 0

    @classmethod
    def of(cls, model: Network) -> Model:
        """`model` itself if it is one already, else a Model around it with inputs in [0, 1]."""
        return model if isinstance(model, Model) else cls(model)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, K) of inputs (N, …); one logit becomes two classes."""
        if self.eot == 1:
            return self.once(x)
        return mean_logits([self.once(x) for _ in range(self.eot)])

    def once(self, x: Tensor) -> Tensor:
        """Logits (N, K) of a single draw of a randomised network."""
        with nullcontext() if self._quiet else self._flags():
            return self._logits(x)

    def seen_by(self, **changes: Any) -> Model:
        """The same network as another attacker sees it: with another eot, bpda or gradients."""
        return self.around(self.net, **changes)

    def around(self, net: Network, **changes: Any) -> Model:
        """The same view of another network: a copy of this one's, say, in a faster form."""
        view = {"mode": self.mode, "eot": self.eot, "bpda": self.bpda, "gradients": self.gradients, **changes}
        return Model(net, self.bounds, self.mean, self.std, **view)

    def adaptive(self, eot: int = 20) -> Model:
        """The same network as an attacker sees it who knows the defenses in it.

        Every submodule that says what to differentiate instead (`surrogate`) is replaced by that, backward; where one
        says that it is `random`, a look takes `eot` draws. All of `sp.defenses`' transforms say so.
        """
        modules = dict(self.net.named_modules()) if isinstance(self.net, nn.Module) else {}
        known = {name: module.surrogate for name, module in modules.items() if hasattr(module, "surrogate")}
        random = any(getattr(module, "random", False) is True for module in modules.values())
        return self.seen_by(eot=max(self.eot, eot if random else 1), bpda={**known, **self.bpda})

    def attacked_with(self) -> str:
        """How an attacker sees this network, as the arguments of sp.Model; nothing for a plain look."""
        surrogates = {name: getattr(one, "__qualname__", _printed(one)) for name, one in self.bpda.items()}
        told = {"eot": self.eot != 1 and f"{self.eot}", "bpda": surrogates and f"{surrogates}"}
        told["gradients"] = self.gradients is not None and _printed(self.gradients)
        return ", ".join(f"{name}={value}" for name, value in told.items() if value)

    @property
    def device(self) -> torch.device | None:
        """Where the weights are; None without any, when inputs may be anywhere."""
        return next((p.device for p in self.parameters()), None)

    @property
    def dtype(self) -> torch.dtype | None:
        """What the network computes in, the dtype of its first floating weight; None without any: as its inputs."""
        return next((p.dtype for p in self.parameters() if p.is_floating_point()), None)

    def check_device(self, x: Tensor) -> None:
        """Raises InputError where x is on another device than the weights."""
        device = self.device or x.device
        if device != x.device:
            raise InputError(f"x is on {x.device} and the network on {device}; move one: x.to({str(device)!r})")

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Evaluation mode and frozen weights inside; every flag as it was, mixed ones too, after."""
        parameters = [p for p in self.parameters() if p.requires_grad]
        # A BatchNorm left in training mode counts what it sees; what an attack shows it must not stay.
        counting = self.mode == "as-is" and any(module.training for module in self.modules() if module is not self)
        buffers = [(buffer, buffer.clone()) for buffer in self.buffers()] if counting else []
        with self._flags(), substituted(self.net, self.bpda) if isinstance(self.net, nn.Module) else nullcontext():
            self._quiet += 1
            try:
                for parameter in parameters:
                    parameter.requires_grad_(False)
                yield
            finally:
                self._quiet -= 1
                for parameter in parameters:
                    parameter.requires_grad_(True)
                with torch.no_grad():
                    for buffer, before in buffers:
                        buffer.copy_(before)

    @contextmanager
    def _flags(self) -> Iterator[None]:
        training = [m for m in self.modules() if m.training and m is not self] if self.mode == "eval" else []
        try:
            for module in training:
                # The flag, not .eval(): exported programs refuse the method, and some modules override it.
                module.training = False
            yield
        finally:
            for module in training:
                module.training = True

    def _logits(self, x: Tensor) -> Tensor:
        inputs = x.to(self.dtype or x.dtype)
        if self.mean is not None:
            inputs = inputs - _channels(self.mean, inputs)
        if self.std is not None:
            inputs = inputs / _channels(self.std, inputs)
        if inputs is x:
            inputs = x.clone()  # a network may work in place on its input; the caller's tensor must not move
        try:
            output = self.net(inputs)
        except (SparringError, KeyboardInterrupt):
            raise
        except BaseException as error:
            mark(error, self.called(inputs))
            raise
        return logits_of(output, len(x))

    def called(self, x: Tensor) -> str:
        """The network and what it was given, in words."""
        name = getattr(self.net, "__name__", type(self.net).__name__)
        return f"the network {name}, given {tuple(x.shape)} {str(x.dtype).removeprefix('torch.')},"


def logits_of(output: Any, rows: int) -> Tensor:
    """The logits (N, K) in whatever a network returned.

    Raises:
        ModelError: there is no floating (N, K) tensor in it; the message names what came instead.
    """
    if isinstance(output, Mapping) and "logits" in output:
        output = output["logits"]
    elif hasattr(output, "logits"):
        output = output.logits
    elif isinstance(output, tuple | list) and output:
        output = output[0]
    if not isinstance(output, Tensor):
        raise ModelError(
            f"the network returned a {type(output).__name__}; it must return logits (N, K), an object with "
            ".logits, or a tuple that begins with logits"
        )
    if output.shape in ((rows,), (rows, 1)):
        one = output.reshape(rows)
        output = torch.stack([torch.zeros_like(one), one], dim=1)
    if output.ndim != 2 or len(output) != rows or output.shape[1] < 2 or not output.is_floating_point():
        raise ModelError(
            f"the network returned {output.dtype} of shape {tuple(output.shape)} for {rows} inputs; "
            f"it must return floating logits of shape ({rows}, classes)"
        )
    logits: Tensor = output
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits


def mean_logits(draws: Sequence[Tensor]) -> Tensor:
    """The log of the mean probability over several draws of logits (N, K)."""
    if len(draws) == 1:
        return draws[0]
    return torch.stack([logits.log_softmax(1) for logits in draws]).logsumexp(0) - math.log(len(draws))


def _edges(bounds: object) -> tuple[float, float]:
    """Raises InputError where the bounds are no two increasing numbers; they may be of torch or NumPy."""
    try:
        edges = [edge.item() if hasattr(edge, "item") else edge for edge in bounds]  # type: ignore[attr-defined]
        low, high = (float(edge) for edge in edges if not isinstance(edge, bool | str))
    except (TypeError, ValueError, RuntimeError):
        low = high = math.nan
    if not low < high:
        raise InputError(
            f"bounds are {bounds!r}; give the lowest and the highest valid input value, two numbers that hold for all "
            "features, such as (0, 255)"
        )
    return low, high


def _printed(value: object) -> str:
    """What a value prints, or its name where that would tell an address, which is another one in every process."""
    return type(value).__qualname__ if " at 0x" in repr(value) else repr(value)


def _buffer(name: str, value: float | Sequence[float] | Tensor | None) -> Tensor | None:
    """Raises InputError where the value is no finite numbers."""
    if value is None:
        return None
    try:
        given = torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError):
        given = torch.tensor([])
    if given.dtype == torch.bool or given.is_complex() or not given.numel() or not bool(given.isfinite().all()):
        raise InputError(f"{name} is {value!r}; give a finite number, or one a channel")
    return given.to(torch.float32).flatten().clone()


def _channels(value: Tensor, x: Tensor) -> Tensor:
    if len(value) not in (1, x.shape[1]):
        raise InputError(
            f"mean or std has {len(value)} entries for inputs {tuple(x.shape)} with {x.shape[1]}"
            " channels on axis 1; give one number, or one a channel"
        )
    return value.to(x).reshape(1, -1, *[1] * (x.ndim - 2))
