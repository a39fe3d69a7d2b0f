"""Frozen batch normalisation folded into the layer before it: the same function in fewer passes over memory.

In evaluation mode BatchNorm (Ioffe & Szegedy 2015) is an affine map of each channel, and so part of the convolution
or linear layer that alone feeds it: W' = (γ/σ) W, b' = (γ/σ)(b - μ) + β.
"""

from __future__ import annotations

import copy

import torch
from torch import fx, nn

from sparring.errors import ModelError

_NORMS = {
    nn.Conv1d: nn.BatchNorm1d,
    nn.Conv2d: nn.BatchNorm2d,
    nn.Conv3d: nn.BatchNorm3d,
    nn.Linear: nn.BatchNorm1d,
}


def fold(net: nn.Module) -> fx.GraphModule:
    """`net`, in evaluation mode, with every BatchNorm folded that can be; it shares the weights of all other layers.

    Each folded pair is a new layer in the graph, so that a layer called elsewhere too stays there what it was. A
    linear layer's output is taken to be (N, C): of any other the result is another function, and must be compared.

    Raises:
        ModelError: torch.fx cannot follow the network, or there is no BatchNorm to fold.
    """
    try:
        traced = fx.symbolic_trace(net)
    except Exception as error:  # whatever the network's own code raises when it meets a symbol
        raise ModelError(f"torch.fx cannot follow the network ({error}); leave its batch normalisation") from error
    folded = 0
    for node in list(traced.graph.nodes):
        before = node.args[0] if node.op == "call_module" and node.args else None
        # Who else reads what the layer says needs it as it was; folding would then only compute it twice.
        if not isinstance(before, fx.Node) or before.op != "call_module" or len(before.users) > 1:
            continue
        pair = _folded(traced.get_submodule(str(before.target)), traced.get_submodule(node.target))
        if pair is None:
            continue
        folded += 1
        traced.add_submodule(f"folded_{folded}", pair)
        with traced.graph.inserting_before(before):
            both = traced.graph.call_module(f"folded_{folded}", before.args, before.kwargs)
        node.replace_all_uses_with(both)
        traced.graph.erase_node(node)
        traced.graph.erase_node(before)
    if not folded:
        raise ModelError("no BatchNorm follows a convolution or linear layer; there is nothing to fold")
    traced.delete_all_unused_submodules()
    traced.recompile()
    return traced


def _folded(layer: nn.Module, norm: nn.Module) -> nn.Module | None:
    """Both in one, or None where they are no such pair. Subclasses may compute anything and are left alone."""
    if _NORMS.get(type(layer)) is not type(norm):
        return None
    assert isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear)
    assert isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d)
    if norm.training or norm.running_mean is None or norm.running_var is None:
        return None  # it would normalise by the batch
    if len(norm.running_mean) != len(layer.weight):
        return None
    with torch.no_grad():  # in double precision, so that only the last rounding is new
        mean, variance = norm.running_mean.double(), norm.running_var.double()
        scale = (variance + norm.eps).rsqrt() * (1 if norm.weight is None else norm.weight.double())
        weight = layer.weight.double() * scale.reshape(-1, *[1] * (layer.weight.ndim - 1))
        bias = scale * ((0 if layer.bias is None else layer.bias.double()) - mean)
        bias = bias + (0 if norm.bias is None else norm.bias.double())
        pair = copy.deepcopy(layer)
        pair.weight = nn.Parameter(weight.to(layer.weight.dtype), requires_grad=False)
        pair.bias = nn.Parameter(bias.to(layer.weight.dtype), requires_grad=False)
    return pair
