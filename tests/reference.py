"""The same mathematics once more, in NumPy and double precision, written without looking at the library."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

Array = npt.NDArray[np.float64]

DUAL = {"linf": 1, "l2": 2, "l1": np.inf}


def double(x: Tensor) -> Array:
    return x.detach().numpy().astype(np.float64)


def distances(norm: str, x: Tensor, centre: Tensor) -> Array:
    """(N,) how far x is from the centre; a pixel of an image (N, C, H, W) is all its channels."""
    change = double(x) - double(centre)
    if norm == "l0":
        change = (change != 0).any(axis=1) if change.ndim == 4 else change != 0
        return change.reshape(len(change), -1).sum(1).astype(np.float64)
    flat = change.reshape(len(change), -1)
    return np.linalg.norm(flat, ord={"linf": np.inf, "l2": 2, "l1": 1}[norm], axis=1)


def nearest(norm: str, x: Array, centre: Array, radius: float, low: float, high: float) -> Array:
    """The point of ball ∩ box nearest to x (both flat), by bisection of the multiplier of the ball."""

    def point(pull: float) -> Array:
        change = x - centre
        if norm == "l2":
            change = change * (1 - pull)
        elif norm == "l1":
            change = np.sign(change) * np.maximum(np.abs(change) - pull * np.abs(change).max(), 0)
        else:
            change = np.clip(change, -radius, radius)
        return np.clip(centre + change, low, high)

    def outside(pull: float) -> bool:
        order = {"linf": np.inf, "l2": 2, "l1": 1}[norm]
        return bool(np.linalg.norm(point(pull) - centre, ord=order) > radius)

    if norm == "linf" or not outside(0):
        return point(0)
    inner, outer = 1.0, 0.0
    for _ in range(200):
        middle = (inner + outer) / 2
        inner, outer = (inner, middle) if outside(middle) else (middle, outer)
    return point(inner)


def nearest_sparse(x: Array, centre: Array, pixels: int, low: float, high: float) -> float:
    """The least squared distance from x (channels, positions) to a box point with `pixels` positions changed."""
    inside = np.clip(x, low, high)
    positions = x.shape[1]
    costs = []
    for chosen in combinations(range(positions), min(pixels, positions)):
        point = centre.copy()
        point[:, list(chosen)] = inside[:, list(chosen)]
        costs.append(((point - x) ** 2).sum())
    return float(min(costs))


def layer(net: nn.Module) -> tuple[Array, Array]:
    """Weight (K, D) and bias (K,) of a network that ends in its only linear layer."""
    last = [module for module in net.modules() if isinstance(module, nn.Linear)][-1]
    return double(last.weight), double(last.bias)


def to_boundary(norm: str, net: nn.Module, x: Tensor) -> Array:
    """(N,) the exact distance from each x to the nearest decision boundary of a linear net, without a box."""
    weight, bias = layer(net)
    logits = double(x).reshape(len(x), -1) @ weight.T + bias
    own = logits.argmax(1)
    least = np.full(len(x), np.inf)
    for row, label in enumerate(own):
        for other in set(range(len(bias))) - {int(label)}:
            length = np.linalg.norm(weight[label] - weight[other], ord=DUAL[norm])
            least[row] = min(least[row], (logits[row, label] - logits[row, other]) / length)
    return least


def fewest_features(net: nn.Module, x: Tensor, low: float, high: float) -> Array:
    """(N,) the fewest features whose change, inside the box, carries x over a boundary of a linear net.

    The features with the largest |difference of weights| × room go first.
    """
    weight, bias = layer(net)
    flat = double(x).reshape(len(x), -1)
    logits = flat @ weight.T + bias
    least = np.full(len(x), np.inf)
    for row, label in enumerate(logits.argmax(1)):
        for other in set(range(len(bias))) - {int(label)}:
            slope = weight[other] - weight[label]
            room = np.where(slope > 0, high - flat[row], flat[row] - low)
            gains = np.cumsum(np.sort(np.abs(slope) * room)[::-1])
            enough = np.flatnonzero(gains > logits[row, label] - logits[row, other])
            if len(enough):
                least[row] = min(least[row], enough[0] + 1)
    return least
