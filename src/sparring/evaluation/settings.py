"""How a run uses its machine: examples a pass, and the form of the network in which it searches."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self, get_args

import torch
from torch import nn

from sparring.errors import InputError
from sparring.evaluation.folding import fold
from sparring.model import Model
from sparring.values import check_whole

Format = Literal["as-is", "channels_last"]
Dtype = Literal["as-is", "bfloat16"]

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


@dataclass(frozen=True)
class Settings:
    """Settled once a run; resuming and every shard read them from its header.

    batch_size: examples a pass. memory_format, folded, dtype: the form in which the network is searched, "as-is" being
    the caller's own. measured: plain data, the milliseconds that led here; no difference between two runs.

    Raises InputError where a value is none of these.
    """

    batch_size: int
    memory_format: Format = "as-is"
    folded: bool = False
    dtype: Dtype = "as-is"
    measured: Mapping[str, Any] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        check_whole("batch_size", self.batch_size)
        for name, allowed in {"memory_format": Format, "dtype": Dtype}.items():
            if getattr(self, name) not in get_args(allowed):
                words = " or ".join(map(repr, get_args(allowed)))
                raise InputError(f"{name} is {getattr(self, name)!r}; use {words}")

    def records(self) -> dict[str, dict[str, Any]]:
        """Plain data in two parts: "settled", which results depend on, and "measured", which says why."""
        settled = {name: getattr(self, name) for name in ("batch_size", "memory_format", "folded", "dtype")}
        return {"settled": settled, "measured": dict(self.measured)}

    @classmethod
    def read(cls, records: Mapping[str, Any]) -> Self:
        """What `records` wrote.

        Raises:
            InputError: something is missing, unknown, or has a value that cannot be.
        """
        try:
            return cls(**records["settled"], measured=records.get("measured", {}))
        except (KeyError, TypeError) as error:
            raise InputError(f"the settings of the run cannot be read ({error}); begin it in a new folder") from error

    @property
    def plain(self) -> bool:
        """Whether the search uses the caller's own network."""
        return self.memory_format == "as-is" and not self.folded and self.dtype == "as-is"

    def view(self, model: Model) -> Model:
        """The network as the search sees it: `model` itself, or a frozen copy in another form; `model` is not touched.

        Raises:
            ModelError: the network has no such form (settings of another one).
        """
        if self.plain or fixed(model):
            return model
        net = copied(model.net)
        for module in net.modules():
            module.training = False
        if self.folded:
            net = fold(net)
        if self.memory_format == "channels_last":
            net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if self.dtype == "bfloat16":
            net = net.to(torch.bfloat16)
        return model.around(net)


def copied(net: Any) -> nn.Module:
    """A deep copy with frozen weights and no gradients."""
    twin: nn.Module = copy.deepcopy(net)
    for parameter in twin.parameters():
        parameter.grad = None
        parameter.requires_grad_(False)
    return twin


def private(model: Model) -> str:
    """Why no copy of the network may run behind the caller's back; empty where one may."""
    if not isinstance(model.net, nn.Module):
        return f"the network is a {type(model.net).__name__}, of which there is no copy"
    for module in model.modules():
        if any(getattr(module, name, None) for name in _HOOKS):
            return f"hooks on {type(module).__name__} would see passes that are none of the attack's"
        if isinstance(module, torch.jit.ScriptModule) or hasattr(module, "_orig_mod"):
            return f"{type(module).__name__} is compiled"
    return ""


def fixed(model: Model) -> str:
    """Why the search must use the network as it is; empty where a copy in another form says the same."""
    if why := private(model):
        return why
    if model.mode != "eval":
        return 'mode "as-is" may run it in training mode'
    if model.bpda or model.gradients is not None:
        return "its gradients are not its own"
    if model.eot > 1 or any(getattr(module, "random", False) is True for module in model.modules()):
        return "it is randomised"
    if any(p.dtype not in (torch.float32, torch.float64) for p in model.parameters() if p.is_floating_point()):
        return "its weights are in a reduced precision already"
    return ""
