"""What can be proved of a small network, in NumPy and double precision: where it cannot err, and where it first does.

Linear networks, networks of few ReLUs and, in the plane, of many are solved exactly; larger ones are bounded from one
side by linear relaxation (CROWN: Zhang et al. 2018). An input counts as flat, (N, D), with its channels first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import pairwise, product

import numpy as np
import torch
from scipy.optimize import linprog, nnls
from torch import Tensor, nn

from reference import Array

Layers = list[tuple[Array, Array]]  # weight (M, D) and bias (M,) of each, a ReLU between any two


@dataclass(frozen=True)
class Box:
    """The input range, and how many channels a pixel has."""

    low: float = 0.0
    high: float = 1.0
    channels: int = 1

    def room(self, slope: Array, x: Array) -> Array:
        """How far each coordinate of x (…, D) may move the way `slope` points."""
        return np.where(slope > 0, self.high - x, x - self.low)


def flat(x: Tensor) -> Array:
    return x.detach().double().flatten(1).numpy()


def layers(net: nn.Module, shape: Sequence[int]) -> Layers:
    """The affine maps of a sequence of Linear, Conv2d, Flatten and ReLU, for inputs of that shape."""
    net = deepcopy(net).double()
    maps: Layers = []
    point: Tensor = torch.zeros(1, *shape, dtype=torch.float64)
    for module in net.modules():
        if not isinstance(module, nn.Linear | nn.Conv2d):
            continue
        if isinstance(module, nn.Linear):
            point = point.flatten(1)
        basis = torch.eye(point.numel(), dtype=torch.float64).reshape(-1, *point.shape[1:])
        with torch.no_grad():
            bias = module(torch.zeros_like(point))
            weight = (module(basis) - bias).flatten(1).T
        maps.append((weight.numpy(), bias.flatten().numpy()))
        point = torch.zeros_like(bias)
    return maps


def logits(maps: Layers, x: Array) -> Array:
    """(N, K)."""
    for weight, bias in maps[:-1]:
        x = np.maximum(x @ weight.T + bias, 0)
    return x @ maps[-1][0].T + maps[-1][1]


# --- a linear function over ball ∩ box ---


def crossing(slope: Array, knot: Array, level: Array) -> Array:
    """(…,) the t at which the sum of slope · min(t, knot) over the last axis meets `level`; inf where it never does."""
    order = np.where(slope > 0, knot, np.inf).argsort(-1)
    slope, knot = (np.take_along_axis(part, order, -1) for part in (slope, knot))
    full = np.where(slope > 0, slope * np.where(slope > 0, knot, 0), 0)
    before = np.concatenate([np.zeros_like(full[..., :1]), full.cumsum(-1)[..., :-1]], -1)
    left = slope[..., ::-1].cumsum(-1)[..., ::-1]
    t = np.where(left > 0, (level[..., None] - before) / np.where(left > 0, left, 1), np.inf)
    meets = t <= knot
    first = meets.argmax(-1)[..., None]
    return np.where(meets.any(-1), np.take_along_axis(t, first, -1)[..., 0], np.inf)


def most(norm: str, slope: Array, x: Array, eps: Array, box: Box) -> Array:
    """(N, M) the largest <slope, d> with x + d in the box and ||d|| <= eps; slope (N, M, D), x (N, D), eps (N,)."""
    room, size, radius = box.room(slope, x[:, None]), np.abs(slope), eps[:, None]
    if norm == "linf":
        return (size * np.minimum(room, radius[..., None])).sum(-1)
    if norm == "l0":
        pixels = np.sort(by_pixel(size * room, box), -1)[..., ::-1]
        return np.where(np.arange(pixels.shape[-1]) < radius[..., None], pixels, 0).sum(-1)
    if norm == "l1":
        order = (-size).argsort(-1)
        size, room = (np.take_along_axis(part, order, -1) for part in (size, room))
        before = np.concatenate([np.zeros_like(room[..., :1]), room.cumsum(-1)[..., :-1]], -1)
        return (size * np.clip(radius[..., None] - before, 0, room)).sum(-1)
    # Lagrange's bound for the multiplier 1 / t: above the maximum for any t, and equal to it for the right one.
    knot = room / np.where(size > 0, size, 1)
    t = np.sqrt(crossing(size**2, knot**2, np.broadcast_to(radius**2, size.shape[:2])))[..., None]
    move = np.minimum(np.where(size > 0, t * np.where(size > 0, size, 1), 0), room)
    over = ((move**2).sum(-1) - radius**2) / (2 * t[..., 0])
    return (size * move).sum(-1) - np.where(np.isfinite(t[..., 0]), over, 0)


def by_pixel(values: Array, box: Box) -> Array:
    """(N, M, D) -> (N, M, D / channels)."""
    return np.asarray(values.reshape(*values.shape[:2], box.channels, -1).sum(2))


def to_classes(norm: str, maps: Layers, x: Array, y: Array, box: Box) -> Array:
    """(N, K) of a linear network: from each x the exact distance to where each wrong class draws level with y; inf
    where it nowhere does in the box, and for y itself. In L0, the fewest pixels with which it overtakes."""
    ((weight, bias),) = maps
    rows = np.arange(len(x))
    said = x @ weight.T + bias
    gap = said[rows, y][:, None] - said
    slope = weight[None] - weight[y][:, None]
    room, size = box.room(slope, x[:, None]), np.abs(slope)
    if norm == "linf":
        found = crossing(size, room, gap)
    elif norm == "l2":
        t = crossing(size**2, room / np.where(size > 0, size, 1), gap)[..., None]
        move = np.minimum(np.where(size > 0, t * np.where(size > 0, size, 1), 0), room)
        found = np.where(np.isfinite(t[..., 0]), np.sqrt((move**2).sum(-1)), np.inf)
    elif norm == "l1":  # the steepest coordinates first, each to the end of its room
        order = (-size).argsort(-1)
        size, room = (np.take_along_axis(part, order, -1) for part in (size, room))
        gain = np.where(size > 0, size * np.where(size > 0, room, 0), 0)
        enough = gain.cumsum(-1) > gap[..., None]
        last = np.arange(size.shape[-1]) == enough.argmax(-1)[..., None]
        ahead = last[..., ::-1].cumsum(-1)[..., ::-1].astype(bool) & ~last
        rest = gap - np.where(ahead, gain, 0).sum(-1)
        spent = np.where(ahead, room, 0).sum(-1) + rest / np.where(last, size, 0).sum(-1).clip(1e-300)
        found = np.where(enough.any(-1), spent, np.inf)
    else:
        gain = np.sort(by_pixel(size * room, box), -1)[..., ::-1].cumsum(-1)
        enough = gain > gap[..., None]
        found = np.where(enough.any(-1), 1.0 + enough.argmax(-1), np.inf)
    found[rows, y] = np.inf
    return found


# --- a network of ReLUs from below: linear relaxation ---


def ceiling(
    maps: Layers, edges: list[tuple[Array, Array]], slope: Array, norm: str, x: Array, eps: Array, box: Box
) -> Array:
    """(N, M) no less than slope (N, M, H) times the last layer's output, wherever in ball ∩ box.

    edges: the least and the largest input (N, H) of each ReLU. A ReLU that may switch lies below the chord, and above
    0 or the identity, whichever is closer.
    """
    constant = np.zeros(slope.shape[:2])
    for number in reversed(range(len(maps))):
        weight, bias = maps[number]
        constant, slope = constant + slope @ bias, slope @ weight
        if number:
            low, high = (edge[:, None] for edge in edges[number - 1])
            switches = (low < 0) & (high > 0)
            chord = np.where(switches, high / np.where(switches, high - low, 1), high > 0)
            floor = np.where(switches, high > -low, high > 0)
            constant = constant + (slope.clip(min=0) * np.where(switches, -low * chord, 0)).sum(-1)
            slope = slope.clip(min=0) * chord + slope.clip(max=0) * floor
    return constant + (slope * x[:, None]).sum(-1) + most(norm, slope, x, eps, box)


def safe(norm: str, maps: Layers, x: Array, y: Array, eps: Array, box: Box) -> Array:
    """(N,) bool: proved that nothing within eps (N,) is taken for another class, in float32 and with the slack that
    `contains` allows a radius."""
    eps = eps * (1 + 2e-6) + 1e-6 * np.abs(x).max() if norm != "l0" else eps
    edges: list[tuple[Array, Array]] = []
    for number in range(1, len(maps)):
        units = np.broadcast_to(
            np.eye(len(maps[number - 1][1])), (len(x), len(maps[number - 1][1]), len(maps[number - 1][1]))
        )
        high, low = (sign * ceiling(maps[:number], edges, sign * units, norm, x, eps, box) for sign in (1, -1))
        edges.append((low - 1e-9, high + 1e-9))
    units = np.eye(len(maps[-1][1]))
    lead = ceiling(maps, edges, units[None] - units[y][:, None], norm, x, eps, box)
    lead[np.arange(len(x)), y] = -np.inf
    return np.asarray(lead.max(1) < -1e-5 * (1 + np.abs(logits(maps, x)).max(1)))


def certified(norm: str, maps: Layers, x: Array, y: Array, box: Box) -> Array:
    """(N,) a radius within which nothing is taken for another class; -1 where nothing at all is proved."""
    whole = norm == "l0"
    low, high = np.full(len(x), -1.0), np.full(len(x), float(x.shape[1]))
    found = np.where(safe(norm, maps, x, y, np.zeros(len(x)), box), 0.0, -1.0)
    low = found.copy()
    for _ in range(30):
        middle = np.floor((low + high) / 2) if whole else (low + high) / 2
        proved = safe(norm, maps, x, y, middle.clip(min=0), box) & (found >= 0)
        low, high = np.where(proved, middle, low), np.where(proved, high, middle)
    return low


# --- a network of ReLUs exactly ---


def cells(maps: Layers, box: Box) -> Iterator[tuple[Array, Array, Array]]:
    """The polygons (V, 2) into which the ReLUs of a network of two inputs cut the box, with the affine map on each."""
    square = np.array(list(product((box.low, box.high), repeat=2)))[[0, 1, 3, 2]]
    pieces = [(square, np.eye(2), np.zeros(2))]
    for weight, bias in maps[:-1]:
        after = []
        for polygon, slope, constant in pieces:
            slope, constant = weight @ slope, weight @ constant + bias
            parts = [polygon]
            for line, offset in zip(slope, constant, strict=True):
                halves = (cut(part, sign * line, sign * offset) for part in parts for sign in (1, -1))
                parts = [half for half in halves if len(half) > 2]
            for part in parts:
                on = slope @ part.mean(0) + constant > 0
                after.append((part, slope * on[:, None], constant * on))
        pieces = after
    weight, bias = maps[-1]
    for polygon, slope, constant in pieces:
        yield polygon, weight @ slope, weight @ constant + bias


def cut(polygon: Array, line: Array, offset: float) -> Array:
    """The part (V, 2) of a convex polygon where line · p + offset >= 0."""
    if not len(polygon):
        return polygon
    height = polygon @ line + offset
    kept = []
    for here, there in pairwise([*range(len(polygon)), 0]):
        if height[here] >= 0:
            kept.append(polygon[here])
        if height[here] * height[there] < 0:
            share = height[here] / (height[here] - height[there])
            kept.append(polygon[here] + share * (polygon[there] - polygon[here]))
    return np.array(kept).reshape(-1, 2)


def in_the_plane(norm: str, maps: Layers, x: Array, y: Array, box: Box) -> Array:
    """(N,) of a network of two inputs, the exact distance from each x to the nearest point of another class; inf where
    there is none. Along an edge every norm is least at an end, at a foot, or where coordinates are 0 or tie."""
    least = np.full(len(x), np.inf)
    turns = np.array([[1, 0], [0, 1], [1, 1], [1, -1]])
    for polygon, slope, constant in cells(maps, box):
        for label in set(y.tolist()):
            rows = np.flatnonzero(y == label)
            for other in set(range(len(constant))) - {label}:
                part = cut(polygon, slope[other] - slope[label], constant[other] - constant[label])
                if not len(part):
                    continue
                start, along = part[None] - x[rows, None], np.roll(part, -1, 0) - part  # (N, V, 2), (V, 2)
                speeds = np.concatenate([np.broadcast_to(turns, (len(part), 4, 2)), along[:, None]], 1)  # (V, 5, 2)
                rate = (speeds * along[:, None]).sum(-1)
                share = -(speeds * start[:, :, None]).sum(-1) / np.where(rate == 0, 1, rate)
                share = np.concatenate([share.clip(0, 1), np.zeros((*share.shape[:2], 1))], -1)
                change = start[:, :, None] + share[..., None] * along[:, None]  # (N, V, 6, 2)
                if norm == "l0":
                    size = np.where(np.abs(change) > 1e-12, 1.0, 0.0).sum(-1)
                else:
                    size = np.linalg.norm(change, ord={"linf": np.inf, "l2": 2, "l1": 1}[norm], axis=-1)
                least[rows] = np.minimum(least[rows], size.reshape(len(rows), -1).min(1))
    return least


def by_patterns(norm: str, maps: Layers, x: Array, y: Array, box: Box) -> Array:
    """(N,) the same of a network of one hidden layer with few ReLUs: the best over all patterns of what is on, each a
    linear program (L∞, L1) or a least-distance problem (L2: Lawson & Hanson 1974, chapter 23)."""
    (hidden, offset), (last, bias) = maps
    least = np.full(len(x), np.inf)
    for pattern in product((0.0, 1.0), repeat=len(offset)):
        sign = 2 * np.array(pattern) - 1
        slope, constant = last * pattern @ hidden, last * pattern @ offset + bias
        for row, (point, label) in enumerate(zip(x, y, strict=True)):
            for other in set(range(len(bias))) - {int(label)}:
                # above · change >= below: on the pattern's side of every ReLU, and no less than the label's logit
                above = np.vstack([sign[:, None] * hidden, slope[other] - slope[label]])
                below = -np.concatenate(
                    [sign * (hidden @ point + offset), [above[-1] @ point + constant[other] - constant[label]]]
                )
                room = box.low - point, box.high - point
                if (above.clip(min=0) @ room[1] + above.clip(max=0) @ room[0] < below).any():
                    continue
                least[row] = min(least[row], _program(norm, above, below, *room))
    return least


def _program(norm: str, above: Array, below: Array, low: Array, high: Array) -> float:
    """The least norm of a change between `low` and `high` with above · change >= below; inf where there is none."""
    count = len(low)
    eye = np.eye(count)
    if norm == "l2":
        above, below = np.vstack([above, eye, -eye]), np.concatenate([below, low, -high])
        system, wanted = np.vstack([above.T, below]), np.eye(count + 1)[-1]
        weights, left = nnls(system, wanted)
        rest = system @ weights - wanted
        return float(np.linalg.norm(rest[:-1] / rest[-1])) if left > 1e-9 else np.inf
    sizes = np.ones((count, 1)) if norm == "linf" else eye  # one bound on all changes, or one each
    matrix = np.vstack(
        [
            np.hstack([-above, np.zeros((len(above), sizes.shape[1]))]),
            np.hstack([eye, -sizes]),
            np.hstack([-eye, -sizes]),
        ]
    )
    limits = np.concatenate([-below, np.zeros(2 * count)])
    cost = np.concatenate([np.zeros(count), np.ones(sizes.shape[1])])
    ranges = [*zip(low, high, strict=True), *[(0, None)] * sizes.shape[1]]
    solved = linprog(cost, matrix, limits, bounds=ranges)
    return float(solved.fun) if solved.status == 0 else np.inf
