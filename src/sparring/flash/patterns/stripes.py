"""Where one picture has a regular pattern: stripes, checks or rings. Spectra of overlapping tiles, then demodulation.

The spectrum of a small tile says whether one frequency (two, for checks) explains what is in it; neighbouring tiles
that agree make a pattern. How far the pattern reaches is finer than a tile: demodulated by its own frequency, a
pattern has half its amplitude exactly at its edge.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, label, maximum_filter
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from sparring.flash.patterns.regularity import regular
from sparring.flash.patterns.spectrum import Spectrum
from sparring.flash.patterns.tiles import CELL, SMALLEST, STEP, Floats, Ints, Tiles, layout_of, tiles_of

__all__ = ["STEP", "Floats", "Spectrum", "Stripes", "again", "find"]

AGREE = 0.25  # how far the frequencies of neighbouring tiles may differ, as a share
TURN = 0.5  # and how far with their directions, as a share: 29°


@dataclass(frozen=True)
class Stripes:
    """One pattern of one picture. Rasters are (ceil(h/4), ceil(w/4)), a point for each 4 × 4 pixels of the map."""

    mask: NDArray[np.bool_]  # where it is
    waves: Floats  # (C, 2) cycles per map pixel, down and right: the frequencies it is made of
    signals: NDArray[np.complex64]  # (C, rows, columns) the pattern as an analytic signal, one per frequency
    pairs: float  # light-dark pairs from one end to the other, across the stripes
    light: float  # luminance of the lightest stripes
    dark: float


def find(
    luminance: Floats,
    contrast: float = 0.1,
    dark_below: float = 0.8,
    points: Callable[[], Floats] | None = None,
    pairs: float = 5,
    spectrum: Spectrum | None = None,
) -> list[Stripes]:
    """The regular patterns of a picture (h, w) of linear relative luminance whose light and dark differ by `contrast`.

    `points` gives, when asked, a map (h, w) of single points of the picture, one in the place of each average: what
    was averaged away tells small text from fine stripes. Areas, pairs and levels are measured; which of them are too
    many is for the caller to say: fewer than `pairs`, give or take a half, are not reported.
    """
    height, width = luminance.shape
    layout = layout_of(height, width)
    tiles = tiles_of(luminance, layout, contrast, points)
    best = np.where(tiles.regular, tiles.share, 0)[layout.nearest]
    tile = np.take_along_axis(layout.nearest, best.argmax(axis=0)[None], axis=0)[0]  # (down, across)
    found = tiles.regular[tile]
    if found.mean() < SMALLEST:
        return []
    waves = tiles.waves[tile]
    groups = _groups(found, waves)
    out = []
    for group in range(groups.max() + 1):
        cells = groups == group
        if cells.mean() < SMALLEST:
            continue
        if spectrum is None:
            spectrum = Spectrum(luminance)
        stripes = _stripes(spectrum, cells, waves, tiles, tile, contrast, dark_below, pairs)
        if stripes is not None:
            out.append(stripes)
    return out


def again(spectrum: Spectrum, before: Stripes) -> Stripes:
    """A pattern of an earlier picture where it is still there in this one, even if it would not be found afresh."""
    signals = np.stack([spectrum.at(wave) for wave in before.waves])
    signals *= before.signals != 0
    mask = before.mask & (_strength(signals) > 0.5 * _strength(before.signals))
    return replace(before, mask=mask, signals=signals)


def _strength(signals: NDArray[np.complex64]) -> Floats:
    power: Floats = (np.square(signals.real) + np.square(signals.imag)).sum(axis=0)
    return np.sqrt(power)


def _groups(found: NDArray[np.bool_], waves: Floats) -> Ints:
    """Cells joined with neighbours whose frequencies agree: (down, across) numbers, -1 where nothing was found."""
    number = np.arange(found.size).reshape(found.shape)
    links = []
    height, width = found.shape
    for down, across in ((0, 1), (1, 0), (1, 1), (1, -1), (0, 2), (2, 0)):
        one = np.s_[: height - down, max(0, -across) : width - max(0, across)]
        other = np.s_[down:, max(0, across) : width + min(0, across)]
        same = (found[one] & found[other]) & _agree(waves[one], waves[other])
        links.append(np.stack([number[one][same], number[other][same]]))
    link = np.concatenate(links, axis=1)
    graph = coo_array((np.ones(link.shape[1], np.bool_), (link[0], link[1])), shape=(found.size, found.size))
    _, label = connected_components(graph, directed=False)
    return np.where(found, label.reshape(found.shape), -1)


def _agree(one: Floats, other: Floats) -> NDArray[np.bool_]:
    """Whether any frequency of one cell (..., 2, 2) is nearly one of the other, either way round."""
    a, b = one[..., :, None, :], other[..., None, :, :]
    apart = np.sqrt(np.minimum(np.square(a - b).sum(-1), np.square(a + b).sum(-1)))
    length = np.hypot(a[..., 0], a[..., 1]), np.hypot(b[..., 0], b[..., 1])
    longer = np.maximum(*length)
    near = (apart <= TURN * longer) & (np.abs(length[0] - length[1]) <= AGREE * longer)
    return np.asarray(near.any(axis=(-2, -1)))


def _carriers(waves: Floats, share: Floats) -> Floats:
    """Few frequencies (C, 2) that stand for those of many cells (N, 2, 2): each within a fifth of one of them."""
    waves, share = waves.reshape(-1, 2), np.repeat(share, 2)
    waves, share = waves[np.isfinite(waves[:, 0])], share[np.isfinite(waves[:, 0])]
    waves = np.where((waves[:, 1] < 0) | ((waves[:, 1] == 0) & (waves[:, 0] < 0)), -1, 1)[:, None] * waves
    out: list[Floats] = []
    while len(waves) and len(out) < 24:
        centre = waves[share.argmax()]
        for _ in range(2):
            sign = np.where((waves * centre).sum(1) < 0, -1, 1)[:, None]
            near = np.square(sign * waves - centre).sum(1) <= 0.04 * np.square(centre).sum()
            if near.any():
                centre = (sign * waves)[near].mean(0)
        if not near.any():
            near[share.argmax()] = True
        out.append(centre)
        waves, share = waves[~near], share[~near]
    return np.array(out)


def _stripes(
    spectrum: Spectrum,
    cells: NDArray[np.bool_],
    waves: Floats,
    tiles: Tiles,
    tile: Ints,
    contrast: float,
    dark_below: float,
    pairs: float,
) -> Stripes | None:
    """The pattern of a group of cells, with its true outline; None where it is too faint or too light."""
    inside = tile[cells]
    carriers = _carriers(waves[cells], tiles.share[inside])
    period = 1 / float(np.median(np.hypot(*waves[cells][:, 0].T)))
    # What a tile missed because it lies half outside is within its reach: two periods or so.
    reach = int(np.ceil(2 * period / CELL))
    zoom = np.ones((CELL // STEP, CELL // STEP), np.bool_)
    signals = np.stack([spectrum.at(wave) for wave in carriers])
    rows, columns = signals.shape[1:]
    for wave, signal in zip(carriers, signals, strict=True):
        own = cells & _agree(waves, np.broadcast_to(wave, waves.shape))
        signal *= np.kron(binary_dilation(own, iterations=reach), zoom)[:rows, :columns]
    strength = _strength(signals)
    # The amplitude inside is what half an amplitude at the edge, and any outside, is measured by.
    full = np.where(np.kron(cells, zoom)[:rows, :columns], strength, 0)
    full = maximum_filter(full, size=2 * int(np.ceil((reach * CELL + period) / STEP)) + 1)
    near = np.kron(binary_dilation(cells, iterations=reach), zoom)[:rows, :columns]
    # Light minus dark over the swing of the fundamental: 1 for a sine, π/4 for a square wave, more for thin lines.
    form = float(np.median(tiles.range[inside] / tiles.swing[inside]))
    mask = near & (strength > 0.47 * full) & (4 * form * full >= contrast)
    dark = float(np.percentile(tiles.dark[inside], 25))
    if not mask.any() or dark >= dark_below:
        return None
    # Each part of it that is unbroken is a pattern of its own.
    parts, count = label(regular(spectrum, mask, carriers, signals, pairs))
    sizes = np.bincount(parts.ravel(), minlength=count + 1)
    most, mask = 0.0, np.zeros_like(mask)
    for part in range(1, count + 1):
        if sizes[part] >= 0.002 * mask.size:
            own = parts == part
            across = _pairs(own, carriers, signals)
            if across >= pairs - 0.5:
                mask |= own
                most = max(most, across)
    if not most:
        return None
    return Stripes(mask, carriers, signals, most, float(np.percentile(tiles.light[inside], 75)), dark)


def _pairs(mask: NDArray[np.bool_], waves: Floats, signals: NDArray[np.complex64]) -> float:
    """Light-dark pairs counted from one end of the pattern to the other, the way where there are most."""
    size = np.abs(signals[:, mask])  # (C, N)
    local = waves[size.argmax(axis=0)]
    ways = waves / np.hypot(waves[:, 0], waves[:, 1])[:, None]
    first = size.sum(axis=1).argmax()
    crossing = np.flatnonzero(np.abs(ways @ ways[first]) < 0.77)
    if len(crossing):
        second = crossing[size[crossing].sum(axis=1).argmax()]
        if (size[second] > 0.5 * size[first]).mean() > 0.5:
            # Checks are counted along their rows, which lie between their two frequencies.
            ways = np.stack([waves[first] + waves[second], waves[first] - waves[second]])
            ways /= np.hypot(ways[:, 0], ways[:, 1])[:, None]
            local = np.broadcast_to(waves[first], local.shape)
    y, x = np.nonzero(mask)
    most = 0.0
    for way in ways:
        slab = np.floor(y * way[0] + x * way[1]).astype(np.intp)
        best = np.zeros(slab.max() - slab.min() + 1, np.float32)
        np.maximum.at(best, slab - slab.min(), np.abs(local @ way))
        most = max(most, float(best.sum()) * STEP)
    return most
