"""Every limit of every standard, from both sides, at every frame rate: the nearest codes, pixels and frames.

Codes are searched here, in float64, by the published formulas: IEC 61966-2-1 and ITU-R BT.1886 for light, the note of
WCAG 2.2 for saturated red. Whatever is not being tested stays far from its limit. Transitions are steps of one frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from flash.stimuli import SCREEN, STANDARDS, raster, steps
from sparring import flash
from sparring.flash.reading.colour import Colour

RATES = (24.0, 25.0, 30000 / 1001, 30.0, 50.0, 60.0, 120.0, None)
CONSTANT = RATES[:-1]
SIZE = (48, 27)
every_rate = pytest.mark.parametrize("rate", RATES, ids=lambda rate: f"{rate:.5g}" if rate else "variable")
every_constant_rate = pytest.mark.parametrize("rate", CONSTANT, ids=lambda rate: f"{rate:.5g}")
either_depth = pytest.mark.parametrize("bits", [8, 10])

Codes = tuple[tuple[int, int, int], tuple[int, int, int]]


# ----------------------------------------------------------------------------------------------------- clips and said


def times(frames: int, rate: float | None) -> NDArray[np.float64]:
    """Presentation times; without a rate, of frames that last between 1/60 and 1/24 s."""
    if rate is not None:
        return np.arange(frames) / rate
    return np.random.default_rng(7).uniform(1 / 60, 1 / 24, frames).cumsum()


def hold(rate: float | None) -> int:
    """Frames for which a state stands: about 45 ms, so that eleven changes fit into half a second."""
    return max(1, int((rate or 30) * 0.045))


@dataclass(frozen=True)
class Clip:
    frames: NDArray[np.generic]
    seconds: NDArray[np.float64]
    bits: int = 8

    def passes(self, *standards: str) -> dict[str, bool | None]:
        colour = None if self.bits == 8 else Colour(bits=self.bits)
        analysis = flash.analyse((self.frames, self.seconds), standards, colour=colour)
        return {name: analysis.verdicts[name].passed for name in standards}


def between(
    one: NDArray[np.generic], other: NDArray[np.generic], count: int, rate: float | None, bits: int = 8
) -> Clip:
    """A clip that changes `count` times between two pictures."""
    frames = steps(np.stack([one, other]), count, hold(rate), before=3, after=3)
    return Clip(frames, times(len(frames), rate), bits)


def flat(codes: Codes, count: int, rate: float | None, bits: int = 8) -> Clip:
    """A clip that changes `count` times between two colours all over."""
    kind = np.uint8 if bits == 8 else np.uint16
    one, other = (np.broadcast_to(np.array(code, kind), (SIZE[1], SIZE[0], 3)) for code in codes)
    return between(one, other, count, rate, bits)


def black_and_white(
    count: int, rate: float | None, mask: NDArray[np.bool_] | None = None, background: int = 40
) -> Clip:
    """A clip whose points under the mask change `count` times between white and the background."""
    mask = np.ones(SIZE[::-1], dtype=bool) if mask is None else mask
    return between(
        np.full(mask.shape, background, np.uint8), np.where(mask, 255, background).astype(np.uint8), count, rate
    )


def all_of(names: tuple[str, ...], passed: bool) -> dict[str, bool | None]:
    return dict.fromkeys(names, passed)


def by_light(*without: str) -> list[tuple[str, tuple[str, ...]]]:
    """The standards that read codes as light in the same way."""
    reads = {name: flash.available()[name].sdr for name in STANDARDS if name not in without}
    return [(sdr, tuple(name for name in reads if reads[name] == sdr)) for sdr in sorted(set(reads.values()))]


# ------------------------------------------------------------------------------------------------------------ colours


def light(codes: NDArray[np.generic], bits: int, sdr: str) -> NDArray[np.float64]:
    c = np.asarray(codes, np.float64) / (2**bits - 1)
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4) if sdr == "srgb" else c**2.4


def luminance(rgb: NDArray[np.float64]) -> NDArray[np.float64]:
    return rgb @ np.array([0.2126, 0.7152, 0.0722])


def ratio(rgb: NDArray[np.float64]) -> NDArray[np.float64]:
    return rgb[..., 0] / rgb.sum(axis=-1)


def uv(rgb: NDArray[np.float64]) -> NDArray[np.float64]:
    rows = ((0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.0721750), (0.0193339, 0.1191920, 0.9503041))
    x, y, z = np.moveaxis(rgb @ np.array(rows).T, -1, 0)
    return np.stack([4 * x, 9 * y], axis=-1) / (x + 15 * y + 3 * z)[..., None]


@cache
def greys(bits: int, sdr: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Luminance of every pair of greys: of the darker state, of the brighter one; (codes, codes)."""
    level = light(np.arange(2**bits), bits, sdr)
    dark, bright = np.meshgrid(level, level, indexing="ij")
    return dark, bright


def nearest(
    found: NDArray[np.float64], target: float, limit: float, allowed: NDArray[np.bool_], within: float = 0.0006
) -> tuple[int, ...]:
    """Where the value nearest to the target is, on the target's side of the limit."""
    side = found < limit if target < limit else found > limit
    error = np.where(side & allowed & (np.abs(found - limit) > 1e-5), np.abs(found - target), np.inf)
    index = np.unravel_index(int(error.argmin()), error.shape)
    assert error[index] < within, "no codes are that near"
    return tuple(int(i) for i in index)


def grey_pair(bits: int, sdr: str, target: float, limit: float) -> Codes:
    """Two greys whose luminance differs by the target, the darker far below 0.8."""
    dark, bright = greys(bits, sdr)
    one, other = nearest(bright - dark, target, limit, (dark < 0.6) & (bright > dark))
    return (one,) * 3, (other,) * 3


def dark_pair(bits: int, sdr: str, target: float) -> Codes:
    """A grey of the target's luminance, and white."""
    level = light(np.arange(2**bits), bits, sdr)
    side = level < 0.8 if target < 0.8 else level > 0.8
    one = int(np.where(side, np.abs(level - target), np.inf).argmin())
    assert abs(level[one] - target) < (0.006 if bits == 8 else 0.0015)
    return (one,) * 3, (2**bits - 1,) * 3


def michelson_pair(bits: int, sdr: str, target: float) -> Codes:
    """Two greys above 0.81 of the target's Michelson contrast."""
    dark, bright = greys(bits, sdr)
    contrast = (bright - dark) / np.maximum(bright + dark, 1e-9)
    one, other = nearest(contrast, target, 1 / 17, dark > 0.81, within=0.003)
    return (one,) * 3, (other,) * 3


@cache
def colours(bits: int, sdr: str) -> tuple[NDArray[np.int64], NDArray[np.int64], dict[str, NDArray[np.float64]]]:
    """Pairs of a reddish colour and another one of about its luminance: codes (N, 3) twice, and what they measure."""
    rng = np.random.default_rng(11)
    top = 2**bits
    red, other = rng.integers(0, top, (400_000, 3)), rng.integers(0, top, (400_000, 3))
    red[:, 1:] = red[:, 1:] // 2
    lit, dim = light(red, bits, sdr), light(other, bits, sdr)
    keep = np.abs(luminance(lit) - luminance(dim)) < 0.04
    keep &= (lit[:, 0] > 0.1) & (ratio(np.maximum(dim, 1e-9)) < 0.5) & (ratio(np.maximum(lit, 1e-9)) > 0.7)
    red, other, lit, dim = red[keep], other[keep], lit[keep], dim[keep]
    measured = {"ratio": ratio(lit), "distance": np.hypot(*(uv(lit) - uv(dim)).T)}
    return red, other, measured


def coloured(bits: int, sdr: str, what: str, target: float) -> Codes:
    """A red and another colour, one measure at the target, the other far beyond its limit."""
    red, other, measured = colours(bits, sdr)
    allowed = measured["distance"] > 0.24 if what == "ratio" else measured["ratio"] > 0.88
    (index,) = nearest(measured[what], target, {"ratio": 0.8, "distance": 0.2}[what], allowed)
    r, g, b = (int(c) for c in red[index])
    r2, g2, b2 = (int(c) for c in other[index])
    return (r, g, b), (r2, g2, b2)


# ---------------------------------------------------------------------------------------------- what a transition is


@either_depth
@every_rate
@pytest.mark.parametrize("target", [0.099, 0.0999, 0.1001, 0.101])
def test_a_tenth_of_reference_white_is_a_transition(target: float, rate: float | None, bits: int) -> None:
    for sdr, names in by_light("nab-j"):
        assert flat(grey_pair(bits, sdr, target, 0.1), 7, rate, bits).passes(*names) == all_of(names, target < 0.1)
    sdr = flash.available()["nab-j"].sdr  # which allows five flashes a second up to 20 %
    codes = grey_pair(bits, sdr, target, 0.1)
    assert flat(codes, 10, rate, bits).passes("nab-j") == {"nab-j": True}
    assert flat(codes, 11, rate, bits).passes("nab-j") == {"nab-j": target < 0.1}


@either_depth
@every_rate
@pytest.mark.parametrize("target", [0.199, 0.1999, 0.2001, 0.201])
def test_nab_allows_more_than_three_a_second_up_to_a_fifth(target: float, rate: float | None, bits: int) -> None:
    codes = grey_pair(bits, flash.available()["nab-j"].sdr, target, 0.2)
    assert flat(codes, 6, rate, bits).passes("nab-j") == {"nab-j": True}
    assert flat(codes, 7, rate, bits).passes("nab-j") == {"nab-j": target < 0.2}


@either_depth
@every_rate
@pytest.mark.parametrize("target", [0.79, 0.81])
def test_the_darker_state_is_below_four_fifths(target: float, rate: float | None, bits: int) -> None:
    """Above it only TRACE24 compares, by Michelson contrast (0.10 here); NAB-J names no such limit."""
    for sdr, names in by_light():
        clip = flat(dark_pair(bits, sdr, target), 11, rate, bits)
        assert clip.passes(*names) == {name: target > 0.8 and name not in ("trace24", "nab-j") for name in names}


@either_depth
@every_rate
@pytest.mark.parametrize("target", [0.0583, 0.0593])
def test_above_four_fifths_trace24_asks_for_a_michelson_contrast_of_a_seventeenth(
    target: float, rate: float | None, bits: int
) -> None:
    for sdr, names in by_light("nab-j"):
        clip = flat(michelson_pair(bits, sdr, target), 7, rate, bits)
        assert clip.passes(*names) == {name: name != "trace24" or target < 1 / 17 for name in names}


@either_depth
@every_rate
@pytest.mark.parametrize("target", [0.199, 0.201])
def test_a_red_transition_goes_farther_than_a_fifth_in_uv(target: float, rate: float | None, bits: int) -> None:
    for sdr, names in by_light():
        clip = flat(coloured(bits, sdr, "distance", target), 7, rate, bits)
        assert clip.passes(*names) == all_of(names, target < 0.2)


@either_depth
@every_rate
@pytest.mark.parametrize("target", [0.799, 0.801])
def test_a_saturated_red_has_four_fifths_of_the_light(target: float, rate: float | None, bits: int) -> None:
    for sdr, names in by_light():
        clip = flat(coloured(bits, sdr, "ratio", target), 7, rate, bits)
        assert clip.passes(*names) == all_of(names, target < 0.8)


@pytest.mark.parametrize("black", [(0, 0, 0), (1, 0, 0), (3, 0, 0), (0, 0, 3), (2, 1, 1)])
def test_black_is_black_whatever_a_codec_leaves_in_it(black: tuple[int, int, int]) -> None:
    """(170, 0, 0) and black: a code or three of noise has a chromaticity, that of red for instance, but no colour."""
    clip = flat(((170, 0, 0), black), 7, 30.0)
    assert clip.passes(*STANDARDS) == all_of(STANDARDS, False)


@every_constant_rate
def test_a_transition_is_complete_within_66_milliseconds(rate: float) -> None:
    """Ramps of equal steps from 0 to 0.11: in as many frames as 66 ms hold they count, in one more they do not.

    A step between two consecutive frames always counts.
    """
    frames = max(1, int(0.066 * rate))
    level = light(np.arange(1024), 10, "srgb")
    for length, passed in ((frames, False), (frames + 1, True)):
        ramp = [int(np.abs(level - share * 0.11).argmin()) for share in np.linspace(0, 1, length + 1)]
        codes = np.array([*(ramp + ramp[::-1]) * 4], np.uint16)  # each end stands for two frames
        clip = np.broadcast_to(codes[:, None, None], (len(codes), 9, 16))
        assert (7 * (length + 1) - 1) / rate < 1
        assert Clip(clip, times(len(clip), rate), bits=10).passes("wcag2.2", "trace24") == {
            "wcag2.2": passed,
            "trace24": passed,
        }


# -------------------------------------------------------------------------------------------------------- how many


@every_rate
def test_six_transitions_in_a_second_are_allowed_and_seven_are_not(rate: float | None) -> None:
    assert black_and_white(6, rate).passes(*STANDARDS) == all_of(STANDARDS, True)
    assert black_and_white(7, rate).passes(*STANDARDS) == all_of(STANDARDS, False)


@pytest.mark.parametrize("standard", STANDARDS)
def test_what_a_standard_says_does_not_depend_on_what_else_is_asked(standard: str) -> None:
    for count, passed in ((6, True), (7, False)):
        assert black_and_white(count, 30.0).passes(standard) == {standard: passed}
        assert flat(((200, 0, 0), (0, 60, 255)), count, 30.0).passes(standard) == {standard: passed}


@every_rate
def test_six_red_transitions_in_a_second_are_allowed_and_seven_are_not(rate: float | None) -> None:
    codes = (200, 0, 0), (0, 60, 255)
    assert flat(codes, 6, rate).passes(*STANDARDS) == all_of(STANDARDS, True)
    assert flat(codes, 7, rate).passes(*STANDARDS) == all_of(STANDARDS, False)


def test_six_of_luminance_and_six_of_red_are_allowed() -> None:
    """General and red flashes are counted apart (WCAG: "no more than three general flashes and/or … red flashes")."""
    index = [0, 1] * 3 + [0] + [2, 0] * 3
    states = np.array([(0, 60, 255), (180, 240, 255), (200, 0, 0)], np.uint8)
    clip = np.broadcast_to(states[index][:, None, None], (len(index), 27, 48, 3))
    assert Clip(clip, times(len(clip), 30.0)).passes("wcag2.2", "trace24") == {"wcag2.2": True, "trace24": True}


@pytest.mark.parametrize(("span", "passed"), [(0.999, False), (1.0, True), (1.001, True)])
def test_the_second_is_half_open(span: float, passed: bool) -> None:
    changes = 0.35 + np.arange(7) * span / 6
    seconds = np.array([0.0, 0.2, *changes, changes[-1] + 0.2])
    frames = np.zeros((len(seconds), 27, 48), np.uint8)
    frames[[2, 4, 6, 8]] = 255
    frames[9] = 255
    assert Clip(frames, seconds).passes(*STANDARDS) == all_of(STANDARDS, passed)


@every_constant_rate
@pytest.mark.parametrize("start", [1, 8, 1000])
def test_the_second_in_frames(rate: float, start: int) -> None:
    """Seven transitions from a frame to one a second later pass; a frame less and they do not."""
    second = int(np.ceil(rate - 1e-9))
    for frames, passed in ((second, True), (second - 1, False)):
        at = start + np.linspace(0, frames, 7).round().astype(int)
        index = np.searchsorted(at, np.arange(max(start - 2, 0), at[-1] + 3), side="right") % 2
        clip = np.where(index, 255, 0).astype(np.uint8)[:, None, None].repeat(9, axis=1).repeat(16, axis=2)
        seconds = np.arange(max(start - 2, 0), at[-1] + 3) / rate
        assert Clip(clip, seconds).passes(*STANDARDS) == all_of(STANDARDS, passed)


def test_flashes_keep_apart_by_their_leading_edges_not_by_their_trailing_ones() -> None:
    """Rises 0.3 s apart, falls 0.36 s: seven changes in 0.98 s on a dark ground, and no isolated flashes."""
    seconds = np.array([0, 0.5, 0.65, 0.80, 1.01, 1.10, 1.37, 1.48, 1.9])
    frames = np.zeros((9, 27, 48), np.uint8)
    frames[[1, 3, 5, 7, 8]] = 255
    assert Clip(frames, seconds).passes(*STANDARDS) == all_of(STANDARDS, False)


@every_constant_rate
def test_nab_allows_them_for_two_seconds(rate: float) -> None:
    """Changes of 15 %, nine a second: for a second and a half, then for three seconds."""
    codes = grey_pair(8, flash.available()["nab-j"].sdr, 0.15, 0.1)
    for seconds, passed in ((1.5, True), (3.0, False)):
        index = np.floor(np.arange(int(seconds * rate)) / rate * 9).astype(int) % 2
        clip = np.broadcast_to(np.array(codes, np.uint8)[index][:, None, None], (len(index), 9, 16, 3))
        assert Clip(clip, times(len(clip), rate)).passes("nab-j") == {"nab-j": passed}


# ------------------------------------------------------------------------------------------------------ how large

FRAMES = [(160, 90), (320, 180), (426, 240), (250, 141), (160, 120), (90, 160), (640, 360)]
CSS = {"wcag2.2": (341, 256), "trace24": (416, 416)}


def window(standard: str, size: tuple[int, int]) -> tuple[float, float]:
    """The window in pixels: of a picture shown as large as a display of 1920 × 1080 allows."""
    scale = min(1920 / size[0], 1080 / size[1])
    return CSS[standard][0] / scale, CSS[standard][1] / scale


@every_rate
@pytest.mark.parametrize("share", [0.249, 0.251])
def test_a_quarter_of_the_screen(share: float, rate: float | None) -> None:
    size = (160, 90)
    pixels = round(share * 160 * 90)
    scattered = np.random.default_rng(13).permutation(160 * 90).reshape(size[::-1]) < pixels
    for mask in (raster(pixels, 160, size), raster(pixels, 60, size, (20, 10)), scattered):
        assert black_and_white(7, rate, mask).passes(*SCREEN) == all_of(SCREEN, share < 0.25)


def test_exactly_a_quarter_of_the_screen_is_allowed_and_a_pixel_more_is_not() -> None:
    for pixels, passed in ((3600, True), (3601, False)):
        mask = raster(pixels, 160, (160, 90))
        assert black_and_white(7, 30.0, mask).passes(*SCREEN) == all_of(SCREEN, passed)


def in_window(standard: str, size: tuple[int, int], share: float) -> NDArray[np.bool_]:
    """A mask of the nearest number of pixels beyond that share of the window, away from the edges of the picture."""
    width, height = window(standard, size)
    pixels = int((np.floor if share < 0.25 else np.ceil)(share * width * height))
    columns = int(width * 0.6)
    assert pixels / columns + 1 < height
    return raster(pixels, columns, size, (size[0] // 5 + 1, size[1] // 7 + 1))


@every_rate
@pytest.mark.parametrize("share", [0.249, 0.251])
@pytest.mark.parametrize("standard", CSS)
def test_a_quarter_of_a_window_at_every_rate(standard: str, share: float, rate: float | None) -> None:
    mask = in_window(standard, (160, 90), share)
    assert black_and_white(7, rate, mask).passes(standard) == {standard: share < 0.25}


@pytest.mark.parametrize("size", FRAMES, ids=lambda size: "×".join(map(str, size)))
@pytest.mark.parametrize("share", [0.249, 0.251])
@pytest.mark.parametrize("standard", CSS)
def test_a_quarter_of_a_window_that_is_no_whole_number_of_pixels(
    standard: str, share: float, size: tuple[int, int]
) -> None:
    mask = in_window(standard, size, share)
    for turned in (mask, mask[:, ::-1], mask[::-1]):
        assert black_and_white(7, 30.0, turned).passes(standard) == {standard: share < 0.25}


@pytest.mark.parametrize("standard", CSS)
@pytest.mark.parametrize("axis", [0, 1])
def test_a_band_across_the_picture_fills_its_height_of_the_window(standard: str, axis: int) -> None:
    """Bands of whole rows or columns: the most that a quarter of the window's side allows, and one more."""
    quarter = window(standard, (320, 180))[1 - axis] / 4
    for lines, passed in ((int(quarter), True), (int(quarter) + 1, False)):
        mask = np.zeros((180, 320), dtype=bool)
        mask[(slice(None),) * axis + (slice(31, 31 + lines),)] = True
        assert black_and_white(7, 30.0, mask).passes(standard) == {standard: passed}


@pytest.mark.parametrize("share", [0.249, 0.251])
def test_a_picture_of_1920_by_1080_is_looked_at_as_closely_as_its_area_needs(share: float) -> None:
    """The same quarters of the screen and of the windows, where a sample is not enough."""
    size = (1920, 1080)
    for standard in CSS:
        assert black_and_white(7, 24.0, in_window(standard, size, share)).passes(standard) == {standard: share < 0.25}
    mask = raster(round(share * 1920 * 1080), 1000, size, (300, 40))
    assert black_and_white(7, 24.0, mask).passes(*SCREEN) == all_of(SCREEN, share < 0.25)


@pytest.mark.parametrize(
    ("rate", "lag", "passed"),
    [(24.0, 1, True), (30.0, 1, True), (60.0, 1, False), (60.0, 2, True), (120.0, 2, False), (120.0, 3, True)],
)
def test_changes_within_20_milliseconds_are_one_flash(rate: float, lag: int, passed: bool) -> None:
    """Two fifths of the screen in step, but for a lag in frames; each alone is below a quarter."""
    stand = lag + max(2, hold(rate))
    late = np.arange(7 * stand + 8)
    left, right = (np.clip((late - start) // stand + 1, 0, 7) % 2 for start in (2, 2 + lag))
    frames = np.full((len(late), 90, 160), 40, np.uint8)
    frames[:, :, :32] = np.where(left, 255, 40)[:, None, None]
    frames[:, :, -32:] = np.where(right, 255, 40)[:, None, None]
    assert Clip(frames, times(len(frames), rate)).passes(*SCREEN) == all_of(SCREEN, passed)
