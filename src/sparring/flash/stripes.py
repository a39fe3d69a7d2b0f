"""Where one picture has a regular pattern: stripes, checks or rings. Spectra of overlapping tiles, then demodulation.

The spectrum of a small tile says whether one frequency (two, for checks) explains what is in it; neighbouring tiles
that agree make a pattern. How far the pattern reaches is finer than a tile: demodulated by its own frequency, a
pattern has half its amplitude exactly at its edge.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import scipy.fft
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, maximum_filter
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

Floats = NDArray[np.float32]

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
AGREE = 0.25  # how far the frequencies of neighbouring tiles may differ, as a share
TURN = 0.5  # and how far with their directions, as a share: 29°
SMALLEST = 0.05  # share of the screen under which tiles that agree are not looked at further


Ints = NDArray[np.intp]
_Peak = tuple[Ints, Ints, Floats]  # row, column and the powers around it, of each tile


@dataclass(frozen=True)
class Stripes:
    """One pattern of one picture. Rasters are (ceil(h/4), ceil(w/4)), a point for each 4 × 4 pixels of the map."""

    mask: NDArray[np.bool_]  # where it is
    waves: Floats  # (C, 2) cycles per map pixel, down and right: the frequencies it is made of
    signals: NDArray[np.complex64]  # (C, rows, columns) the pattern as an analytic signal, one per frequency
    pairs: float  # light-dark pairs from one end to the other, across the stripes
    light: float  # luminance of the lightest stripes
    dark: float


@dataclass(frozen=True)
class _Layout:
    """Which tiles a map of one size has."""

    rows: tuple[Ints, ...]  # per scale: first row of each tile
    columns: tuple[Ints, ...]
    nearest: Ints  # (scales, cells down, cells across) the tile of that scale nearest to the cell
    pixel: Floats  # (tiles, 2) map pixels per pixel of the tile, down and across


@lru_cache(maxsize=8)
def _layout(height: int, width: int) -> _Layout:
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
    return _Layout(tuple(rows), tuple(columns), np.stack(nearest), np.array(pixel, np.float32))


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


def _cut(levels: list[Floats], layout: _Layout) -> Floats:
    """Every tile of every scale, (T, 1024)."""
    cut = []
    for level, rows, columns in zip(levels, layout.rows, layout.columns, strict=True):
        cut.append(sliding_window_view(level, (TILE, TILE))[np.ix_(rows, columns)].reshape(-1, TILE * TILE))
    return np.concatenate(cut)


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
class _Tiles:
    """What the spectra of a picture's tiles say."""

    regular: NDArray[np.bool_]  # (T,)
    share: Floats  # (T,)
    waves: Floats  # (T, 2, 2) cycles per map pixel of the first and second frequency; nan: no second one
    light: Floats  # (T,) 0 where not regular
    dark: Floats
    range: Floats  # (T,) light minus dark, what slopes away across the tile taken out
    swing: Floats  # (T,) peak to peak of the fundamental


def _tiles(luminance: Floats, layout: _Layout, contrast: float, points: Callable[[], Floats] | None) -> _Tiles:
    window, planes = _window()
    levels = _pyramid(luminance)
    tiles = _cut(levels, layout)
    count = len(tiles)
    nothing = np.zeros(count, np.float32)
    out = _Tiles(
        np.zeros(count, np.bool_), np.zeros(count, np.float32), np.full((count, 2, 2), np.nan, np.float32),
        nothing, nothing.copy(), nothing.copy(), nothing.copy(),
    )  # fmt: skip
    flat = tiles - (tiles @ planes) @ planes.T
    busy = np.flatnonzero(np.einsum("ij,ij->i", flat, flat) > TILE * TILE * (0.15 * contrast) ** 2)
    if not len(busy):
        return out
    spectrum = scipy.fft.rfft2((flat[busy] * window).reshape(-1, TILE, TILE))
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
    busy, power, search, total = busy[likely], power[likely], search[likely], total[likely]
    row, column, near = first[0][likely], first[1][likely], first[2][likely]
    maybe = np.zeros(count, np.bool_)
    maybe[busy] = True
    if maybe[layout.nearest].any(axis=0).mean() < SMALLEST:
        return out
    # What is averaged away counts too: lines of text would be clean stripes without their letters.
    fine = luminance if points is None else points()
    squares = _pyramid(np.square(luminance) + np.square(fine - luminance))
    detail = _cut([square - level * level for square, level in zip(squares, levels, strict=True)], layout)[busy]
    total = total + 0.5 * TILE * TILE * (detail @ np.square(window))
    # A second frequency within 40° of the first would be a harmonic of it; within two bins, its foot.
    signed, across = np.where(row > TILE // 2, row - TILE, row).astype(np.float32), column.astype(np.float32)
    along = np.abs(signed[:, None, None] * y + across[:, None, None] * x)
    foot = np.zeros(search.shape, np.bool_)
    for sign in (1, -1):
        foot |= (np.abs(y - sign * signed[:, None, None]) <= 2) & (np.abs(x - sign * across[:, None, None]) <= 2)
    search[foot | (along > 0.77 * np.hypot(signed, across)[:, None, None] * frequency)] = 0
    peaks = [(row, column, near), _peak(power, search)]
    index = np.arange(len(busy))
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
    pure = pure + _harmonics(power, index, peaks, second) / np.maximum(total, 1e-12)
    regular &= pure > PURE
    regular &= cycles >= SLOW
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
        out.range[keep] = np.subtract(*_ends(flat[keep])[::-1])
    return out


def _ends(tiles: Floats) -> tuple[Floats, Floats]:
    """Dark and light of tiles (T, 1024): the fourth part in a hundred from either end, of the middle."""
    middle = tiles.reshape(-1, TILE, TILE)[:, 6:-6, 6:-6].reshape(len(tiles), -1)
    ends = np.partition(middle, (16, middle.shape[1] - 17), axis=1)
    return ends[:, 16], ends[:, -17]


def _harmonics(power: Floats, index: Ints, peaks: list[_Peak], second: NDArray[np.bool_]) -> Floats:
    """Power at the multiples of the first frequency and, where there is a second, at their sums: (tiles,)."""
    (r1, c1, _), (r2, c2, _) = peaks
    s1, s2 = (np.where(r > TILE // 2, r - TILE, r) for r in (r1, r2))
    total = np.zeros(len(index), np.float32)
    wanted = [(2, 0), (3, 0), (1, 1), (1, -1), (2, 1), (2, -1), (1, 2), (1, -2)]
    for m, n in wanted:
        row, column = m * s1 + n * s2, m * c1 + n * c2
        inside = (np.abs(row) < TILE // 2) & (np.abs(column) < TILE // 2) & (second | (n == 0))
        row, column = np.where(column < 0, -row, row), np.abs(column)
        at = np.flatnonzero(inside)
        total[at] += _near(power, index[at], row[at] % TILE, column[at]).sum(axis=(1, 2))
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


def find(
    luminance: Floats, contrast: float = 0.1, dark_below: float = 0.8, points: Callable[[], Floats] | None = None
) -> list[Stripes]:
    """The regular patterns of a picture (h, w) of linear relative luminance whose light and dark differ by `contrast`.

    `points` gives, when asked, a map (h, w) of single points of the picture, one in the place of each average: what
    was averaged away tells small text from fine stripes. Areas, pairs and levels are measured; which of them are too
    many is for the caller to say.
    """
    height, width = luminance.shape
    layout = _layout(height, width)
    tiles = _tiles(luminance, layout, contrast, points)
    best = np.where(tiles.regular, tiles.share, 0)[layout.nearest]
    tile = np.take_along_axis(layout.nearest, best.argmax(axis=0)[None], axis=0)[0]  # (down, across)
    found = tiles.regular[tile]
    if found.mean() < SMALLEST:
        return []
    waves = tiles.waves[tile]
    groups = _groups(found, waves)
    spectrum = None
    out = []
    for group in range(groups.max() + 1):
        cells = groups == group
        if cells.mean() < SMALLEST:
            continue
        if spectrum is None:
            spectrum = _Spectrum(luminance, float(luminance.mean()))
        stripes = _stripes(spectrum, cells, waves, tiles, tile, contrast, dark_below)
        if stripes is not None:
            out.append(stripes)
    return out


def again(luminance: Floats, before: Stripes) -> Stripes:
    """A pattern of an earlier picture where it is still there in this one, even if it would not be found afresh."""
    spectrum = _Spectrum(luminance, float(luminance.mean()))
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


class _Spectrum:
    """A picture's spectrum, demodulated on demand at single frequencies on the raster of `STEP`."""

    def __init__(self, luminance: Floats, mean: float) -> None:
        self.rows, self.columns = (-(-size // STEP) for size in luminance.shape)
        # Beyond the border is the mean, wide enough that the far side does not come round.
        self.down, self.across = (scipy.fft.next_fast_len(n + max(12, n // 5)) for n in (self.rows, self.columns))
        self._spectrum = scipy.fft.rfft2(luminance - np.float32(mean), (self.down * STEP, self.across * STEP))

    def at(self, wave: Floats) -> NDArray[np.complex64]:
        """The analytic signal of what is near one frequency (cycles per map pixel), (rows, columns)."""
        height, width = self.down * STEP, self.across * STEP
        centre = np.rint(wave * (height, width)).astype(np.intp)
        y = np.arange(self.down) - self.down // 2
        x = np.arange(self.across) - self.across // 2
        row, column = (centre[0] + y)[:, None], (centre[1] + x)[None]
        mirrored = column < 0
        r, c = np.where(mirrored, -row, row) % height, np.abs(column)
        fold = c > width // 2
        r, c = np.where(fold, -r % height, r), np.where(fold, width - c, c)
        patch = self._spectrum[r, c]
        patch = np.where(mirrored ^ fold, patch.conj(), patch)
        # Across the stripes a narrow band keeps other frequencies out; along them a wide one shows where they end.
        length = np.hypot(*wave)
        y, x = row / height - wave[0], column / width - wave[1]
        across = (y * wave[0] + x * wave[1]) / length / min(length / 4, 1 / (6 * STEP))
        along = (y * wave[1] - x * wave[0]) / length / min(length / 2, 1 / (5 * STEP))
        patch *= np.exp(-0.5 * (across**2 + along**2))
        # Points lie in the middle of their 4 × 4 pixels, and the carrier is put back: phases of any two looks compare.
        patch *= np.exp(2j * np.pi * (STEP - 1) / 2 * (row / height + column / width))
        low = scipy.fft.ifft2(scipy.fft.ifftshift(patch))[: self.rows, : self.columns] / STEP**2
        carrier = np.exp(2j * np.pi * (
            centre[0] / self.down * np.arange(self.rows)[:, None] + centre[1] / self.across * np.arange(self.columns)
        ))  # fmt: skip
        return np.asarray(low * carrier, np.complex64)


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
    spectrum: _Spectrum,
    cells: NDArray[np.bool_],
    waves: Floats,
    tiles: _Tiles,
    tile: Ints,
    contrast: float,
    dark_below: float,
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
    return Stripes(
        mask, carriers, signals, _pairs(mask, carriers, signals), float(np.percentile(tiles.light[inside], 75)), dark
    )


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
