"""What small tiles of a picture hold: their spectra say where one frequency, or two, explain all there is.

Tiles of eight scales overlap; those of every scale meet on a raster of cells.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import scipy.fft
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.intp]
_Peak = tuple[Ints, Ints, Floats]  # row, column and the powers around it, of each tile


TILE = 32  # pixels of each scale
# Map pixels down and across per pixel of a scale, and the hop of its tiles. Oblong ones are for short, wide stripes.
SCALES = ((1, 1, 32), (2, 2, 20), (4, 4, 10), (8, 8, 4), (4, 2, 16), (2, 4, 16), (8, 2, 16), (2, 8, 16))
CELL = 16  # map pixels: the raster on which tiles of all scales meet
STEP = 4  # map pixels: the raster of the demodulated pattern
SLOW, FAST, FASTEST = 2.6, 5.6, 14.0  # cycles in a tile: least, most, most at the finest scale
SINGLE = (
    0.40  # share of a tile's variance in one frequency: stripes; lines thinner than a sixth of their period hold less
)
DOUBLE = 0.50  # in two frequencies together: checks hold 0.66
PURE = 0.68  # in those and their harmonics: text, bricks and foliage hold less
SMALLEST = 0.05  # share of the screen under which tiles that agree are not looked at further


@dataclass(frozen=True)
class Layout:
    """Which tiles a map of one size has."""

    rows: tuple[Ints, ...]  # per scale: first row of each tile
    columns: tuple[Ints, ...]
    nearest: Ints  # (scales, cells down, cells across) the tile of that scale nearest to the cell
    pixel: Floats  # (tiles, 2) map pixels per pixel of the tile, down and across


@lru_cache(maxsize=8)
def layout_of(height: int, width: int) -> Layout:
    down, across = -(-height // CELL), -(-width // CELL)
    rows, columns, nearest, pixel = [], [], [], []
    first = 0
    for *pixels, hop in SCALES:
        starts, indices = [], []
        for size, cells, step in zip((height, width), (down, across), pixels, strict=True):
            room = max(-(-size // step) - TILE, 0)
            start = np.unique(np.linspace(0, room, -(-room // hop) + 1).astype(np.intp))
            middle = (np.arange(cells) + 0.5) * CELL
            starts.append(start)
            indices.append(np.abs(middle[:, None] - (start + TILE / 2) * step).argmin(axis=1))
        rows.append(starts[0])
        columns.append(starts[1])
        nearest.append(first + indices[0][:, None] * len(starts[1]) + indices[1])
        tiles = len(starts[0]) * len(starts[1])
        pixel += [pixels] * tiles
        first += tiles
    return Layout(tuple(rows), tuple(columns), np.stack(nearest), np.array(pixel, np.float32))


@lru_cache(maxsize=1)
def _window() -> tuple[Floats, Floats]:
    """Hann window (1024,) and an orthonormal basis of planes under it (1024, 3)."""
    hann = np.hanning(TILE + 1)[:-1]
    y, x = np.mgrid[:TILE, :TILE] - TILE / 2
    window = np.outer(hann, hann).ravel()
    planes, _ = np.linalg.qr(np.stack([np.ones(TILE * TILE), x.ravel(), y.ravel()], axis=1))
    return window.astype(np.float32), planes.astype(np.float32)


def _pyramid(luminance: Floats) -> list[Floats]:
    """The map at each of `SCALES`, at least a tile large."""
    levels: dict[tuple[int, int], Floats] = {(1, 1): luminance}
    for down, across in ((2, 2), (4, 4), (8, 8), (4, 2), (8, 2), (2, 4), (2, 8)):
        before = (
            (down // 2, across // 2) if down == across else (down, across // 2) if down == 2 else (down // 2, across)
        )
        levels[down, across] = _halved(levels[before], down > before[0], across > before[1])
    out = []
    for down, across, _ in SCALES:
        level = levels[down, across]
        short = [(0, max(0, TILE - size)) for size in level.shape]
        out.append(np.pad(level, short, mode="edge") if any(after for _, after in short) else level)
    return out


def _halved(level: Floats, down: bool, across: bool) -> Floats:
    if down:
        level = np.concatenate([level, level[-1:]]) if len(level) % 2 else level
        level = 0.5 * (level[::2] + level[1::2])
    if across:
        level = np.concatenate([level, level[:, -1:]], axis=1) if level.shape[1] % 2 else level
        level = 0.5 * (level[:, ::2] + level[:, 1::2])
    return level


def _cut(levels: list[Floats], layout: Layout) -> Floats:
    """Every tile of every scale, (T, 1024)."""
    cut = []
    for level, rows, columns in zip(levels, layout.rows, layout.columns, strict=True):
        cut.append(sliding_window_view(level, (TILE, TILE))[np.ix_(rows, columns)].reshape(-1, TILE * TILE))
    return np.concatenate(cut)


@lru_cache(maxsize=8)
def _sums(height: int, width: int) -> list[tuple[Floats, Floats]]:
    """Per scale, what turns a level (h, w) into its tiles' sums under the squared window: (tiles, h), (w, tiles)."""
    tiles, out = layout_of(height, width), []
    hann = np.square(np.hanning(TILE + 1)[:-1]).astype(np.float32)
    for (down, across, _), rows, columns in zip(SCALES, tiles.rows, tiles.columns, strict=True):
        sides = []
        for size, step, starts in ((height, down, rows), (width, across, columns)):
            side = np.zeros((len(starts), max(TILE, -(-size // step))), np.float32)
            side[np.arange(len(starts))[:, None], starts[:, None] + np.arange(TILE)] = hann
            sides.append(side)
        out.append((sides[0], np.ascontiguousarray(sides[1].T)))
    return out


def _too_few(tiles: Ints, layout: Layout) -> bool:
    """Whether these tiles are the nearest to hardly any cell."""
    maybe = np.zeros(len(layout.pixel), np.bool_)
    maybe[tiles] = True
    return bool(maybe[layout.nearest].any(axis=0).mean() < SMALLEST)


def _near(power: Floats, tile: Ints, row: Ints, column: Ints) -> NDArray[np.float32]:
    """Power at (row, column) of the tiles' half spectra and in the eight bins around it: (tiles, 3, 3)."""
    step = np.arange(-1, 2)
    r = row[:, None, None] + step[:, None]
    c = column[:, None, None] + step
    r, c = np.where(c < 0, -r, r) % TILE, np.abs(c)
    fold = c > TILE // 2
    r, c = np.where(fold, -r % TILE, r), np.where(fold, TILE - c, c)
    out: Floats = power[tile[:, None, None], r, c]
    return out


def _peak(power: Floats, search: Floats) -> _Peak:
    best = search.reshape(len(search), TILE * (TILE // 2 + 1)).argmax(axis=1)
    row, column = np.divmod(best, TILE // 2 + 1)
    return row, column, _near(power, np.arange(len(power)), row, column)


@dataclass(frozen=True)
class Tiles:
    """What the spectra of a picture's tiles say."""

    regular: NDArray[np.bool_]  # (T,)
    share: Floats  # (T,)
    waves: Floats  # (T, 2, 2) cycles per map pixel of the first and second frequency; nan: no second one
    light: Floats  # (T,) 0 where not regular
    dark: Floats
    range: Floats  # (T,) light minus dark, what slopes away across the tile taken out
    swing: Floats  # (T,) peak to peak of the fundamental


def tiles_of(luminance: Floats, layout: Layout, contrast: float, points: Callable[[], Floats] | None) -> Tiles:
    window, planes = _window()
    levels = _pyramid(luminance)
    tiles = _cut(levels, layout)
    count = len(tiles)
    nothing = np.zeros(count, np.float32)
    out = Tiles(
        np.zeros(count, np.bool_), np.zeros(count, np.float32), np.full((count, 2, 2), np.nan, np.float32),
        nothing, nothing.copy(), nothing.copy(), nothing.copy(),
    )  # fmt: skip
    slopes = tiles @ planes
    left = np.einsum("ij,ij->i", tiles, tiles) - np.einsum("ij,ij->i", slopes, slopes)
    busy = np.flatnonzero(left > TILE * TILE * (0.15 * contrast) ** 2)
    if _too_few(busy, layout):
        return out
    flat = tiles[busy] - slopes[busy] @ planes.T
    spectrum = scipy.fft.rfft2((flat * window).reshape(-1, TILE, TILE))
    power = np.square(spectrum.real) + np.square(spectrum.imag)
    power[:, TILE // 2 :, 0] = 0  # mirrors of the rows above
    power[:, 0, 0] = 0
    total = power.sum(axis=(1, 2))
    y = np.fft.fftfreq(TILE, 1 / TILE).astype(np.float32)[:, None]
    x = np.arange(TILE // 2 + 1, dtype=np.float32)
    frequency = np.hypot(y, x)
    bands = np.stack([(frequency >= SLOW - 0.5) & (frequency <= most + 0.5) for most in (FASTEST, FAST)])
    search = power * bands.astype(np.float32)[(layout.pixel[busy].max(axis=1) > 1).astype(np.intp)]
    first = _peak(power, search)
    likely = np.flatnonzero(first[2].sum(axis=(1, 2)) > 0.5 * DOUBLE * total)  # nothing regular has less in its first
    busy, power, search, total, flat = busy[likely], power[likely], search[likely], total[likely], flat[likely]
    row, column, near = first[0][likely], first[1][likely], first[2][likely]
    if _too_few(busy, layout):
        return out
    # What is averaged away counts too: lines of text would be clean stripes without their letters.
    fine = luminance if points is None else points()
    squares = _pyramid(np.square(luminance) + np.square(fine - luminance))
    detail = [
        down @ (square - level * level) @ across
        for square, level, (down, across) in zip(squares, levels, _sums(*luminance.shape), strict=True)
    ]
    total = total + 0.5 * TILE * TILE * np.concatenate([each.ravel() for each in detail])[busy]
    # A second frequency within 40° of the first would be a harmonic of it; within two bins, its foot.
    signed, across = np.where(row > TILE // 2, row - TILE, row).astype(np.float32), column.astype(np.float32)
    along = np.abs(signed[:, None, None] * y + across[:, None, None] * x)
    foot = np.zeros(search.shape, np.bool_)
    for sign in (1, -1):
        foot |= (np.abs(y - sign * signed[:, None, None]) <= 2) & (np.abs(x - sign * across[:, None, None]) <= 2)
    search[foot | (along > 0.77 * np.hypot(signed, across)[:, None, None] * frequency)] = 0
    peaks = [(row, column, near), _peak(power, search)]
    waves = np.stack([_wave(near, row, column) for row, column, near in peaks], axis=1)
    cycles = np.hypot(waves[:, 0, 0], waves[:, 0, 1])
    pixel = layout.pixel[busy]
    # Averaging to the map took from a fine pattern what it did not take from `points`.
    kept = (
        np.ones((len(busy), 2)) if points is None else np.square(np.sinc(waves / (TILE * pixel[:, None]))).prod(axis=2)
    )
    energy = [near.sum(axis=(1, 2)) / np.maximum(total * kept[:, i], 1e-12) for i, (_, _, near) in enumerate(peaks)]
    second = energy[1] > 0.4 * energy[0]
    pure = energy[0] + np.where(second, energy[1], 0)
    regular = (energy[0] > SINGLE) | (second & (pure > DOUBLE))
    regular &= cycles >= SLOW
    pure = pure + _harmonics(power, np.flatnonzero(regular), peaks, second) / np.maximum(total, 1e-12)
    regular &= pure > PURE
    waves[~second, 1] = np.nan
    # An oblong tile resolves only what runs along it, and yields to a square one.
    oblong = pixel[:, 0] != pixel[:, 1]
    regular &= ~oblong | (
        ~second & (np.where(pixel[:, 0] > pixel[:, 1], np.abs(waves[:, 0, 1]), np.abs(waves[:, 0, 0])) <= 0.6)
    )
    pure = np.where(oblong, 0.1, 1) * np.minimum(pure, 1)
    keep = busy[regular]
    out.regular[keep] = True
    out.share[keep] = pure[regular]
    out.waves[keep] = waves[regular] / (TILE * layout.pixel[keep])[:, None]
    # A sine of amplitude a puts (a/2)² · 1024 · Σ window² into its half of the spectrum.
    unit = TILE * TILE * float(np.square(window).sum())
    both = peaks[0][2].sum(axis=(1, 2)) + np.where(second, peaks[1][2].sum(axis=(1, 2)), 0)
    out.swing[keep] = 4 * np.sqrt(both / unit)[regular]
    if len(keep):
        out.dark[keep], out.light[keep] = _ends(tiles[keep])
        out.range[keep] = np.subtract(*_ends(flat[regular])[::-1])
    return out


def _ends(tiles: Floats) -> tuple[Floats, Floats]:
    """Dark and light of tiles (T, 1024): the fourth part in a hundred from either end, of the middle."""
    middle = tiles.reshape(-1, TILE, TILE)[:, 6:-6, 6:-6].reshape(len(tiles), -1)
    ends = np.partition(middle, (16, middle.shape[1] - 17), axis=1)
    return ends[:, 16], ends[:, -17]


def _harmonics(power: Floats, index: Ints, peaks: list[_Peak], second: NDArray[np.bool_]) -> Floats:
    """Power at the multiples of the first frequency and, where there is a second, at their sums, of the tiles at
    `index`: (tiles,)."""
    (r1, c1, _), (r2, c2, _) = peaks
    r1, c1, r2, c2, second = r1[index], c1[index], r2[index], c2[index], second[index]
    s1, s2 = (np.where(r > TILE // 2, r - TILE, r) for r in (r1, r2))
    total = np.zeros(len(power), np.float32)
    wanted = [(2, 0), (3, 0), (1, 1), (1, -1), (2, 1), (2, -1), (1, 2), (1, -2)]
    for m, n in wanted:
        row, column = m * s1 + n * s2, m * c1 + n * c2
        inside = (np.abs(row) < TILE // 2) & (np.abs(column) < TILE // 2) & (second | (n == 0))
        row, column = np.where(column < 0, -row, row), np.abs(column)
        at = np.flatnonzero(inside)
        total[index[at]] += _near(power, index[at], row[at] % TILE, column[at]).sum(axis=(1, 2))
    return total


def _wave(near: Floats, row: Ints, column: Ints) -> Floats:
    """Cycles per tile (tiles, 2) from the powers around a peak: exact for a sine under a Hann window."""
    out = []
    magnitude = np.sqrt(near)
    for low, high, at in (
        (magnitude[:, 0, 1], magnitude[:, 2, 1], np.where(row > TILE // 2, row - TILE, row)),
        (magnitude[:, 1, 0], magnitude[:, 1, 2], column),
    ):
        ratio = np.maximum(low, high) / np.maximum(magnitude[:, 1, 1], 1e-12)
        shift = np.clip((2 * ratio - 1) / (1 + ratio), 0, 0.5)
        out.append(at + np.where(high > low, shift, -shift))
    return np.stack(out, axis=1).astype(np.float32)
