"""Regular patterns: both sides of every limit, every kind of movement, and what looks regular and is not."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from sparring.errors import InputError
from sparring.flash.patterns import stripes
from sparring.flash.patterns.following import Look, Patterns
from sparring.flash.standards import Pattern

HEIGHT, WIDTH, FINE = 270, 480, 2
Map = NDArray[np.float32]
RULE = Pattern()


def average(fine: NDArray[np.generic], by: int = FINE) -> Map:
    h, w = fine.shape
    return fine.reshape(h // by, by, w // by, by).mean((1, 3), dtype=np.float32)


Y, X = (np.mgrid[: HEIGHT * FINE, : WIDTH * FINE].astype(np.float32) + 0.5) / FINE


def bars(
    period: float, angle: float = 0, wave: str = "square", low: float = 0, high: float = 1, duty: float = 0.5
) -> Map:
    a = np.deg2rad(angle)
    u = (X * np.float32(np.cos(a)) + Y * np.float32(np.sin(a))) / period
    return average(low + (high - low) * (u % 1 < duty if wave == "square" else 0.5 + 0.5 * np.sin(2 * np.pi * u)))


def checks(side: float, angle: float = 0) -> Map:
    a = np.deg2rad(angle)
    u, v = X * np.cos(a) + Y * np.sin(a), Y * np.cos(a) - X * np.sin(a)
    return average((np.floor(u / side) + np.floor(v / side)) % 2)


def rings(period: float, turns: int = 0) -> Map:
    y, x = Y - HEIGHT / 2, X - WIDTH / 2
    return average((np.hypot(x, y) / period + turns * np.arctan2(y, x) / (2 * np.pi)) % 1 < 0.5)


def upright(period: float, phase: float = 0, low: float = 0, high: float = 1, wave: str = "square") -> Map:
    """Upright stripes `phase` periods to the left, on a map of a quarter of the size: for what moves."""
    u = (np.arange(WIDTH * 4) + 0.5) / 8 / period + phase
    row = (u % 1 < 0.5) if wave == "square" else 0.5 + 0.5 * np.sin(2 * np.pi * u)
    return np.tile((low + (high - low) * row).reshape(-1, 8).mean(1), (HEIGHT // 2, 1)).astype(np.float32)


def within(picture: Map, share: float, around: float | Map = 0.5, place: str = "centre") -> Map:
    """The picture over a share of the screen, `around` elsewhere."""
    out = np.array(np.broadcast_to(np.float32(around), picture.shape))
    height, width = picture.shape
    h, w = {"left": (1.0, share), "top": (share, 1.0), "centre": (share**0.5, share**0.5)}[place]
    h = round(h * height)
    w = round(share * height * width / h)
    top, left = ((height - h) // 2, (width - w) // 2) if place == "centre" else (0, 0)
    out[top : top + h, left : left + w] = picture[top : top + h, left : left + w]
    return out


def natural(slope: float, seed: int, deviation: float = 0.2) -> Map:
    """Noise with the amplitude spectrum of photographs, 1/f^slope."""
    f = np.hypot(np.fft.fftfreq(HEIGHT)[:, None], np.fft.rfftfreq(WIDTH))
    f[0, 0] = 1
    white = np.random.default_rng(seed).standard_normal((HEIGHT, WIDTH))
    noise = np.fft.irfft2(np.fft.rfft2(white) / f**slope, (HEIGHT, WIDTH))
    return np.clip(0.4 + deviation * (noise - noise.mean()) / noise.std(), 0, 1).astype(np.float32)


def linear(code: NDArray[np.uint8]) -> NDArray[np.float64]:
    c = code / 255
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def page(size: int, pitch: float, ink: int, paper: int) -> tuple[Map, Map]:
    """A page of words at 1920 × 1080: averaged to the map, and single pixels of it."""
    rng = np.random.default_rng(size)
    image = Image.new("L", (1920, 1080), paper)
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(size)
    for y in range(40, 1080 - size, int(size * pitch)):
        words = ["".join(chr(c) for c in rng.integers(97, 123, rng.integers(2, 10))) for _ in range(150)]
        line = " ".join(words)[: int(1920 / size * rng.choice([1.7, 1.8, 0.6], p=[0.45, 0.45, 0.1]))]
        draw.text((80, y), line, fill=ink, font=font)
    light = linear(np.asarray(image))
    return average(light, 4), light[1::4, 2::4].astype(np.float32)


def wall(height: int, width: int, mortar: int, spread: float, seed: int = 0) -> Map:
    rng = np.random.default_rng(seed)
    out = np.full((HEIGHT * FINE, WIDTH * FINE), 0.4)
    for j, y in enumerate(range(0, HEIGHT * FINE, height)):
        for x in range(-(width // 2) * (j % 2), WIDTH * FINE, width):
            brick = max(0.02, 0.14 + spread * rng.standard_normal())
            out[y : y + height - mortar, max(x, 0) : x + width - mortar] = brick
    return average(np.clip(out * (1 + 0.15 * rng.standard_normal(out.shape)), 0, 1))


def foliage(size: int, count: int, seed: int) -> Map:
    rng = np.random.default_rng(seed)
    image = Image.new("L", (WIDTH * FINE, HEIGHT * FINE), 40)
    draw = ImageDraw.Draw(image)
    for _ in range(count):
        x, y = rng.integers(0, WIDTH * FINE), rng.integers(0, HEIGHT * FINE)
        a, b = rng.integers(size // 4, size, 2)
        draw.ellipse((x - a, y - b, x + a, y + b), fill=int(rng.integers(20, 220)))
    return average(linear(np.asarray(image)))


def play(frames: Iterable[Map], rate: float = 30, rule: Pattern = RULE) -> list[Look]:
    """Every frame looked at."""
    patterns = Patterns([rule])
    looks = []
    for n, frame in enumerate(frames):
        patterns.due(n / rate)
        looks.append(patterns.push(frame, n / rate)[0])
    return looks


def still(picture: Map) -> Look:
    """What is said of a picture shown for two thirds of a second, looked at four times."""
    return play([picture] * 4, 6)[-1]


def hazards(looks: list[Look]) -> list[str]:
    return [str(look.kind) for look in looks if look.hazardous]


# What must be found


@pytest.mark.parametrize("angle", range(0, 180, 15))
def test_twenty_stripes_at_any_angle_are_a_hazard(angle: int) -> None:
    across = WIDTH * abs(np.cos(np.deg2rad(angle))) + HEIGHT * abs(np.sin(np.deg2rad(angle)))
    look = still(bars(across / 20, angle, "square" if angle % 2 else "sine"))
    assert (look.kind, look.hazardous) == ("stationary", True)
    assert abs(look.pairs - 20) <= 1
    assert look.area > 0.97
    assert look.boxes == ((0, 0, WIDTH, HEIGHT),)


@pytest.mark.parametrize("period", [3, 5, 8, 13, 21, 34, 55, 76])
@pytest.mark.parametrize("wave", ["square", "sine"])
def test_any_fineness_is_a_hazard(period: float, wave: str) -> None:
    (found,) = stripes.find(bars(period, 7, wave))
    across = WIDTH * np.cos(np.deg2rad(7)) + HEIGHT * np.sin(np.deg2rad(7))
    assert found.pairs == pytest.approx(across / period, rel=0.07)
    assert found.mask.mean() > 0.96


@pytest.mark.parametrize(
    ("name", "picture", "pairs"),
    [
        ("checks", checks(10), 24),
        ("checks askew", checks(12, 20), 0),
        ("large checks", checks(32), 7.5),
        ("rings", rings(12), 46),
        ("wide rings", rings(24), 23),
        ("a spiral", rings(14, 2), 39),
        ("in perspective", average(X / 20 * (1 + 0.3 * (Y / HEIGHT - 0.5)) % 1 < 0.5), 27.6),
        ("uneven stripes", bars(20, 30, duty=0.25), 0),
        ("through grain", bars(20, 20, low=0.3, high=0.5) + natural(0, 1, 0.03) - np.float32(0.4), 0),
        ("on a slope of light", bars(20, 20, high=0.25) + np.linspace(0, 0.7, WIDTH, dtype=np.float32), 0),
    ],
)  # fmt: skip
def test_other_regular_patterns_are_a_hazard(name: str, picture: Map, pairs: float) -> None:
    look = still(picture)
    assert (look.kind, look.hazardous) == ("stationary", True), name
    assert look.area > 0.95
    if pairs:
        assert look.pairs == pytest.approx(pairs, rel=0.15)


# What must not


@pytest.mark.parametrize("ink", [(0, 255), (255, 0)])
@pytest.mark.parametrize("size", [12, 16, 24, 44])
def test_text_is_no_pattern(size: int, ink: tuple[int, int]) -> None:
    for pitch in (1.4, 2.0):
        luminance, points = page(size, pitch, *ink)
        assert stripes.find(luminance, points=lambda points=points: points) == []


def test_single_points_tell_small_text_from_stripes() -> None:
    luminance, points = page(14, 2, 0, 255)
    assert stripes.find(luminance) != []  # averaged, lines of 14 pixels are grey bars
    assert stripes.find(luminance, points=lambda: points) == []
    fine = bars(4, 10)
    ((found,), (again,)) = stripes.find(fine), stripes.find(fine, points=lambda: (bars(4, 10) > 0.5).astype(np.float32))
    assert found.mask.mean() == again.mask.mean() > 0.99


@pytest.mark.parametrize("slope", [0, 0.5, 1, 1.5, 2])
def test_noise_and_photographs_are_no_pattern(slope: float) -> None:
    for seed in range(4):
        assert all(found.pairs < 5 for found in stripes.find(natural(slope, seed)))


def test_walls_foliage_edges_and_slopes_are_no_pattern() -> None:
    ladder = np.full((HEIGHT, WIDTH), 0.6, np.float32)
    for rung in range(4):
        ladder[40 + 55 * rung : 50 + 55 * rung, 190:290] = 0.05
    stairs = np.repeat(np.linspace(0, 1, 16, dtype=np.float32), 30)[None].repeat(HEIGHT, 0)
    pictures = {
        "wall": wall(60, 160, 10, 0.04),
        "large wall": wall(100, 240, 14, 0.03),
        "leaves": foliage(40, 4000, 0),
        "large leaves": foliage(110, 900, 1),
        "an edge": within(np.ones((HEIGHT, WIDTH), np.float32), 0.5, 0, "left"),
        "a slope": np.tile(np.linspace(0, 1, WIDTH, dtype=np.float32), (HEIGHT, 1)),
        "steps of grey": stairs,
        "a ladder": ladder,
        "four slats": average(0.1 + 0.7 * (Y / HEIGHT * 4 % 1 < 0.5)),
        "a chessboard": within(checks(HEIGHT / 8), 0.56, 0.1),
        "black": np.zeros((HEIGHT, WIDTH), np.float32),
    }
    for name, picture in pictures.items():
        look = still(picture)
        assert not look.hazardous, name
        assert look.kind is None, (name, look)


# Irregular


def row_of_bars(rng: np.random.Generator, size: int) -> tuple[Map, NDArray[np.int64]]:
    """Dark bars a sixtieth of the screen wide, 1 to 5 such widths apart: a row, and the distances from bar to bar."""
    unit = size // 60
    starts = unit * np.cumsum(rng.integers(2, 7, 30))
    share = rng.choice([0.45, 0.6, 1.0])
    starts = starts[starts < share * size]
    row = np.ones(size, np.float32)
    for start in starts:
        row[start : start + unit] = 0
    return row, np.diff(starts) // unit


def counted(picture: Map) -> float:
    """Share of the screen in patterns of more than five pairs."""
    masks = [found.mask for found in stripes.find(picture) if round(found.pairs) > 5]
    return float(np.logical_or.reduce(masks).mean()) if masks else 0.0


def evenly(gaps: NDArray[np.int64]) -> bool:
    """Whether six bars in a row or more are at distances of which none is a quarter more than the one before it."""
    alike = np.abs(np.diff(np.log(gaps))) <= np.log(1.25) + 1e-9
    return any(alike[n : n + 4].all() for n in range(len(alike) - 3))


@pytest.mark.parametrize("upright", [True, False])
def test_bars_at_random_distances_are_no_pattern(upright: bool) -> None:
    rng, found, irregular = np.random.default_rng(0), 0, 0
    for _ in range(100):
        row, gaps = row_of_bars(rng, WIDTH if upright else HEIGHT)
        low, high = ((0.73, 0.85), (0.05, 0.17), (0.0, 0.3), (0.1, 0.7))[rng.integers(4)]
        picture = np.broadcast_to(low + (high - low) * (row if upright else row[:, None]), (HEIGHT, WIDTH))
        if not evenly(gaps):
            irregular += 1
            found += counted(picture.astype(np.float32)) > 0.25
    assert irregular > 80
    assert found == 0


def test_seven_bars_of_a_labelled_harmless_clip_are_no_pattern() -> None:
    row = np.ones(WIDTH, np.float32)
    for left in (24, 48, 96, 128, 152, 192, 224):
        row[left : left + 8] = 0
    for low, high in ((0.73, 0.82), (0.05, 0.155), (0.0, 1.0)):
        assert counted(np.tile(low + (high - low) * row, (HEIGHT, 1)).astype(np.float32)) == 0


def test_random_dots_and_oblongs_are_no_pattern() -> None:
    rng = np.random.default_rng(1)
    for n in range(80):
        side = (5, 10, 15, 30)[n % 4]
        dots = rng.random((HEIGHT // side, WIDTH // side)) < (0.2, 0.35, 0.5, 0.7)[n // 4 % 4]
        if n % 3 == 0:  # oblong ones
            dots = np.repeat(dots[:, ::3], 3, axis=1)[:, : WIDTH // side]
        picture = 0.05 + 0.6 * np.kron(dots, np.ones((side, side)))
        assert counted(picture.astype(np.float32)) < 0.25


def jittered(period: float, jitter: float, seed: int) -> Map:
    """Square stripes whose periods deviate by `jitter` (a standard deviation, as a share), at most twice as far."""
    rng = np.random.default_rng(seed)
    ends = np.cumsum(period * (1 + jitter * rng.standard_normal(int(1.5 * WIDTH / period) + 20).clip(-2, 2)))
    x = (np.arange(WIDTH * 8) + 0.5) / 8 + ends[2]
    place = np.searchsorted(ends, x)
    row = (x - ends[place - 1]) / (ends[place] - ends[place - 1]) < 0.5
    return np.tile(0.1 + 0.6 * row.reshape(-1, 8).mean(1), (HEIGHT, 1)).astype(np.float32)


@pytest.mark.parametrize("period", [5, 9, 14, 24, 36])
def test_periods_may_vary_by_a_twentieth_but_not_by_three_tenths(period: float) -> None:
    assert min(counted(jittered(period, 0.05, seed)) for seed in range(5)) > 0.4
    assert sum(counted(jittered(period, 0.3, seed)) > 0.4 for seed in range(10)) <= 1
    assert sum(counted(jittered(period, 0.5, seed)) > 0.25 for seed in range(5)) == 0


@pytest.mark.parametrize(
    "picture",
    [
        average(X / 20 * (1 + 0.6 * (Y / HEIGHT - 0.5)) % 1 < 0.5),
        average(np.hypot(X - 240, Y - 135) ** 1.3 / 40 % 1 < 0.5),
        average((X + 30 * np.sin(Y / 40)) / 18 % 1 < 0.5),
        average((np.floor(X / 14 * (1 + 0.3 * (Y / HEIGHT - 0.5))) + np.floor(Y / 14)) % 2),
        average(np.hypot(X - 60, Y - 60) / 16 % 1 < 0.5),
    ],
    ids=["a steep perspective", "a lens", "waves", "checks in perspective", "rings around a corner"],
)
def test_what_changes_evenly_is_regular(picture: Map) -> None:
    assert counted(picture) > 0.9


# The rhythm


@pytest.mark.parametrize("movement", ["rest", "flow", "noise"])
def test_searches_are_rarer_than_looks(movement: str, monkeypatch: pytest.MonkeyPatch) -> None:
    searches, find = [], stripes.find
    monkeypatch.setattr(stripes, "find", lambda *args: searches.append(1) or find(*args))
    patterns, looks, rng = Patterns([RULE]), 0, np.random.default_rng(0)
    for n in range(60):
        frame = upright(10, n / 12 if movement == "flow" else 0)
        if movement == "noise":
            frame = rng.random(frame.shape, np.float32)
        if patterns.due(n / 30, frame[::5, ::5].ravel()):
            looks += 1
            found = patterns.push(frame, n / 30)[0]
    assert len(searches) <= (18 if movement == "noise" else 12)
    assert looks <= {"rest": 34, "flow": 60, "noise": 18}[movement]
    assert found.kind == {"rest": "stationary", "flow": "flowing", "noise": None}[movement]


# Limits


@pytest.mark.parametrize("around", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("angle", [0, 90])
@pytest.mark.parametrize("share", [0.45, 1.0])
def test_five_pairs_are_allowed_and_six_are_not(around: float, angle: int, share: float) -> None:
    size, place = (WIDTH, "left") if angle == 0 else (HEIGHT, "top")
    for pairs in (5, 6, 7):
        picture = within(bars(size * share / pairs, angle), share, around, place)
        found = max(stripes.find(picture), key=lambda pattern: pattern.pairs)
        assert round(found.pairs) == pairs
    if share == 1:
        assert [still(bars(size / pairs, angle)).hazardous for pairs in (5, 6)] == [False, True]


@pytest.mark.parametrize("place", ["left", "top", "centre"])
@pytest.mark.parametrize("period", [6, 16])
def test_areas_are_measured_within_two_hundredths(place: str, period: float) -> None:
    pattern, photograph = bars(period, 0 if place != "left" else 90), natural(1, 5)
    for around in (0.0, 0.5, photograph):
        for share in (0.23, 0.27, 0.38, 0.42):
            area = np.logical_or.reduce([f.mask for f in stripes.find(within(pattern, share, around, place))]).mean()
            assert area == pytest.approx(share, abs=0.02)


def test_stationary_patterns_may_cover_two_fifths() -> None:
    for share, hazard in ((0.38, False), (0.42, True)):
        look = still(within(bars(14, 30), share))
        assert (look.kind, look.limit, look.hazardous) == ("stationary", 0.40, hazard)


@pytest.mark.parametrize("wave", ["square", "sine"])
def test_levels_have_their_limits(wave: str) -> None:
    for light, hazard in ((0.24, False), (0.26, True)):
        assert still(bars(20, 10, wave, 0.05, light)).hazardous is hazard
    for contrast, hazard in ((0.09, False), (0.11, True)):
        assert still(bars(20, 10, wave, 0.3, 0.3 + contrast)).hazardous is hazard
    for dark, hazard in ((0.78, True), (0.83, False)):
        assert still(bars(20, 10, wave, dark, 1)).hazardous is hazard


@pytest.mark.parametrize(("seconds", "hazard"), [(0.45, False), (0.55, True)])
@pytest.mark.parametrize("rate", [24, 30, 60])
@pytest.mark.parametrize("onset", [0.0, 1.03])
def test_half_a_second_is_the_limit(seconds: float, hazard: bool, rate: float, onset: float) -> None:
    """With points of every frame at hand, at `due`'s own rhythm."""
    patterns, found = Patterns([RULE]), []
    pattern, blank = upright(10), np.full((HEIGHT // 2, WIDTH // 2), 0.2, np.float32)
    for n in range(int(rate * (onset + seconds + 0.5))):
        time = n / rate
        frame = pattern if onset - 1e-9 <= time < onset + seconds - 1e-9 else blank
        if patterns.due(time, frame[::7, ::7].ravel()):
            found.append(patterns.push(frame, time)[0])
    assert any(look.hazardous for look in found) is hazard
    assert all(look.since == pytest.approx(onset, abs=1.01 / rate) for look in found if look.hazardous)


# Movement


def reversing(share: float, rate: float, seconds: float, fps: float = 30, wave: str = "square") -> list[Map]:
    """Contrast that reverses with `rate` whole cycles a second, suddenly or by the sine."""
    plain = upright(10, low=0.05, high=0.85) - np.float32(0.45)
    frames = []
    for n in range(round(seconds * fps)):
        phase = np.sin(2 * np.pi * rate * (n + 0.5) / fps)
        frames.append(within(0.45 + plain * np.float32(np.sign(phase) if wave == "square" else phase), share, 0.45))
    return frames


@pytest.mark.parametrize(("rate", "wave"), [(2, "square"), (3, "sine"), (5, "square"), (8, "sine"), (8, "square")])
def test_contrast_reversal_over_a_quarter_is_a_hazard(rate: float, wave: str) -> None:
    assert hazards(play(reversing(0.23, rate, 1.2, wave=wave))) == []
    found = play(reversing(0.27, rate, 1.2, wave=wave))
    assert set(hazards(found)) == {"changing"}
    assert max(look.area for look in found) == pytest.approx(0.27, abs=0.02)


@pytest.mark.parametrize(("seconds", "hazard"), [(0.45, False), (0.55, True)])
def test_reversal_needs_half_a_second_too(seconds: float, hazard: bool) -> None:
    blank = np.full((HEIGHT // 2, WIDTH // 2), 0.45, np.float32)
    found = play([blank] * 5 + reversing(0.35, 5, seconds, 60) + [blank] * 20, 60)
    assert bool(hazards(found)) is hazard


@pytest.mark.parametrize(
    ("speed", "wave"), [(0.5, "square"), (1, "sine"), (3, "square"), (-6, "square"), (11, "sine"), (14.5, "square")]
)
def test_drift_in_one_direction_is_exempt(speed: float, wave: str) -> None:
    """Periods a second at 30 frames a second: at 14.5 the stripes are 0.48 of a period on at each frame."""
    found = play(upright(10, speed * n / 30, wave=wave) for n in range(26))
    if abs(speed) < 14:
        assert hazards(found) == []
        assert found[-1].kind == "flowing"
        assert (found[-1].area, found[-1].pairs) == (0, 24)
        assert found[-1].shown > 0.97
    else:  # within a twentieth of half a period: nobody can tell it from a reversal
        assert set(hazards(found)) == {"changing"}


def test_drift_of_checks_and_rings_is_exempt() -> None:
    grid = checks(10)[:135, :240]
    for way in ((1, -1), (1, 0)):  # the first lies along one of its two frequencies, which do not see it
        assert hazards(play(np.roll(grid, (way[0] * n, way[1] * n), (0, 1)) for n in range(30))) == []
    y, x = np.mgrid[:135, :240] - np.array([67, 120])[:, None, None]
    found = play((0.5 + 0.5 * np.sin(2 * np.pi * (np.hypot(y, x) / 9 - n / 12))).astype(np.float32) for n in range(30))
    assert hazards(found) == []
    assert found[-1].kind == "flowing"


def test_a_pan_that_starts_and_stops_keeps_one_direction() -> None:
    where = np.concatenate([np.zeros(12), np.arange(20) * 0.1, np.full(13, 1.9)])
    found = play(within(upright(10, u), 0.35) for u in where)
    assert hazards(found) == []
    assert "changing" not in [look.kind for look in found]


@pytest.mark.parametrize(("rate", "reach"), [(1, 0.4), (1, 1.5), (2, 1.0), (4, 0.4)])
def test_oscillation_over_a_quarter_is_a_hazard(rate: float, reach: float) -> None:
    """A drift to and fro over `reach` periods, `rate` times a second."""
    where = [reach / 2 * np.sin(2 * np.pi * rate * n / 30) for n in range(45)]
    assert all(abs(b - a) < 0.4 for a, b in pairwise(where))
    assert set(hazards(play(within(upright(10, u), 0.27) for u in where))) == {"changing"}
    assert hazards(play(within(upright(10, u), 0.23) for u in where)) == []


@pytest.mark.parametrize("other", ["grey", "turned"])
def test_flashing_patterns_over_a_quarter_are_a_hazard(other: str) -> None:
    one = upright(10)
    two = np.full_like(one, 0.5) if other == "grey" else bars(10, 90)[:135, :240]
    for share, hazard in ((0.23, set()), (0.27, {"changing"})):
        found = play(within(one if n // 4 % 2 == 0 else two, share) for n in range(40))
        assert set(hazards(found)) == hazard, share


def test_cuts_between_patterns_are_no_flashes() -> None:
    a, b, c, d = (picture[:135, :240] for picture in (bars(10), natural(1, 1), bars(12, 60), natural(1, 2)))
    shots = [within(a, 0.3), b, within(c, 0.3), d, within(a, 0.3), within(c, 0.3)]
    assert hazards(play((shots[n // 9] for n in range(54)), 15)) == []


# The class


def test_rules_share_one_look_and_keep_their_own_limits() -> None:
    rules = [Pattern(), Pattern(stationary=0.2), Pattern(pairs=40), Pattern(light=0.9)]
    patterns = Patterns(rules)
    looks = [patterns.push(within(upright(10, high=0.7), 0.3), n / 30) for n in range(20)][-1]
    assert [look.hazardous for look in looks] == [False, True, False, False]
    assert [look.pairs for look in looks[:2]] == [13, 13]
    assert looks[2].kind is None
    assert looks[3].kind is None


def test_looks_are_rare_until_something_is_like_a_pattern() -> None:
    def asked(picture: Map, rate: float) -> int:
        patterns, count = Patterns([RULE]), 0
        for n in range(int(2 * rate)):
            if patterns.due(n / rate):
                count += 1
                patterns.push(picture, n / rate)
        return count

    assert asked(natural(1, 0)[:135, :240], 24) <= 17
    assert asked(upright(10), 24) == 48
    assert 96 <= asked(upright(10), 240) <= 132


def test_a_map_of_another_shape_is_refused() -> None:
    with pytest.raises(InputError, match="got shape"):
        Patterns([RULE]).push(np.zeros((3, 4, 3), np.float32), 0.0)


@pytest.mark.parametrize("shape", [(1, 1), (8, 12), (40, 600), (31, 33), (270, 152)])
def test_maps_of_any_size_are_read(shape: tuple[int, int]) -> None:
    (look,) = Patterns([RULE]).push(np.tile(np.arange(shape[1]) // 3 % 2, (shape[0], 1)).astype(np.float32), 0.0)
    assert look.hazardous is False
    assert bool(look.pairs > 5) is (min(shape) > 33)
