"""Areas against brute force: every position of the window, at every fraction of a pixel that matters."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparring.flash.analysis.areas import Extent
from sparring.flash.analysis.sampling import POINTS, grid
from sparring.flash.standards import Screen, Window

WINDOW = Window(341, 256)


def brute(mask: np.ndarray, wide: float, high: float) -> float:
    """The largest weighted sum over windows whose left or right, top or bottom side lies on the edge of a pixel."""

    def weights(count: int, length: float) -> np.ndarray:
        if length >= count:
            return np.ones((1, count))
        starts = {float(i) for i in range(count + 1)} | {i - length for i in range(count + 1)}
        starts = sorted(start for start in starts if -1e-9 <= start <= count - length + 1e-9)
        cells = np.arange(count)
        return np.array([np.clip(np.minimum(cells + 1, s + length) - np.maximum(cells, s), 0, 1) for s in starts])

    return float((weights(mask.shape[0], high) @ mask @ weights(mask.shape[1], wide).T).max())


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 40), st.integers(2, 40), st.floats(0.0, 1.0), st.integers(0, 10_000))
def test_the_share_of_a_window_is_the_largest_over_all_its_positions(
    height: int, width: int, density: float, seed: int
) -> None:
    mask = np.random.default_rng(seed).random((height, width)) < density
    extent = Extent(WINDOW, grid((width, height)))
    pixel = min(1920 / width, 1080 / height)
    wide, high = 341 / pixel, 256 / pixel
    assert extent.share(np.flatnonzero(mask)) * wide * high == pytest.approx(
        brute(mask, wide, high), rel=1e-5, abs=1e-5
    )


@settings(max_examples=60, deadline=None)
@given(st.integers(8, 40), st.integers(8, 40), st.floats(0.05, 0.6), st.integers(0, 10_000))
def test_crowded_points_are_those_within_a_window_that_has_too_many(
    height: int, width: int, density: float, seed: int
) -> None:
    mask = np.random.default_rng(seed).random((height, width)) < density
    points = np.flatnonzero(mask)
    extent = Extent(Window(0, 0, of_frame=(0.25, 0.25)), grid((width, height)))
    (kept,) = extent.crowded(points, (1.0,))
    high, wide = height / 4, width / 4
    expected = np.zeros_like(mask)
    offsets = [
        sorted({float(i) for i in range(n + 1)} | {i - size for i in range(n + 1)})
        for n, size in ((height, high), (width, wide))
    ]
    for top in (y for y in offsets[0] if -1e-9 <= y <= height - high + 1e-9):
        for left in (x for x in offsets[1] if -1e-9 <= x <= width - wide + 1e-9):
            down = np.clip(np.minimum(np.arange(height) + 1, top + high) - np.maximum(np.arange(height), top), 0, 1)
            right = np.clip(np.minimum(np.arange(width) + 1, left + wide) - np.maximum(np.arange(width), left), 0, 1)
            if down @ mask @ right > 0.25 * wide * high * (1 + 1e-5):
                expected |= np.outer(down > 1e-9, right > 1e-9)
    assert set(kept) == set(np.flatnonzero(mask & expected))


def test_a_screen_share_is_the_share_of_points() -> None:
    extent = Extent(Screen(0.25), grid((100, 40)))
    points = np.arange(1000)
    assert extent.share(points) == 0.25
    assert not len(extent.crowded(points, (1.0,))[0])  # more than a quarter is asked for
    assert len(extent.crowded(np.arange(1001), (1.0,))[0]) == 1001
    assert len(Extent(Screen(0.25, at_least=True), grid((100, 40))).crowded(points, (1.0,))[0]) == 1000


def test_a_picture_of_another_shape_is_shown_as_large_as_the_display_allows() -> None:
    # 1080 × 1920 upright: one pixel is 1080 / 1920 CSS pixels, so the window is 606 × 455 pixels.
    extent = Extent(WINDOW, grid((1080, 1920)))
    everything = np.arange(len(extent.grid))
    assert extent.share(everything) == 1
    assert extent.cells / len(everything) == pytest.approx(341 * 256 / (1080 * 1080 / 1920 * 1080), rel=0.02)


def test_pixels_that_are_not_square_are_measured_as_shown() -> None:
    # 720 × 576 shown at 16:9: a pixel is 64/45 as wide as high; 1080 / 576 CSS pixels high.
    extent = Extent(Window(400, 300), grid((720, 576), None), aspect=64 / 45)
    assert extent.cells == pytest.approx(400 / (1080 / 576 * 64 / 45) * 300 / (1080 / 576))


@pytest.mark.parametrize("size", [(1920, 1080), (3840, 2160), (640, 360), (1001, 77), (7680, 4320)])
def test_one_point_lies_in_each_cell_and_cells_are_equal(size: tuple[int, int]) -> None:
    points = grid(size)
    assert len(points) <= 1.05 * POINTS
    rows, columns = points.shape
    down, across = np.divmod(np.arange(len(points)), columns)
    # Cell i of n over a length spans [i * length // n, (i + 1) * length // n).
    for cell, place, count, length in (
        (down, points.rows, rows, size[1]),
        (across, points.columns, columns, size[0]),
    ):
        assert np.all(cell * length // count <= place)
        assert np.all(place < (cell + 1) * length // count)


def test_areas_are_estimated_to_a_hundredth_of_a_window() -> None:
    points = grid((1920, 1080))
    extent = Extent(WINDOW, points)
    random = np.random.default_rng(3)
    for _ in range(20):
        high, wide = random.integers(80, 256), random.integers(80, 341)
        top, left = random.integers(0, 1080 - high), random.integers(0, 1920 - wide)
        inside = (points.rows >= top) & (points.rows < top + high) & (points.columns >= left)
        inside &= points.columns < left + wide
        assert extent.share(np.flatnonzero(inside)) == pytest.approx(high * wide / (341 * 256), abs=0.02)
