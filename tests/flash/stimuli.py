"""The only place that makes flashing pictures: small synthetic arrays, and what each standard must say about them.

The table was written from the texts before there was an analysis. A trap is something that analysers are known to get
wrong: those that look at the mean of the frame, at a grid of block means, at whole seconds, at any change at all, or at
the whole screen where the standard asks about a window. All of them are 320 × 180, 30 frames a second, two seconds
long unless their text says otherwise; a pixel is 6 CSS pixels (0.128°) on the 1920 × 1080 display that the window
standards assume, so that 341 × 256 CSS pixels are 56.8 × 42.7 pixels (2425 in all, a quarter of it 606) and
416 × 416 are 69.3 × 69.3 (4807, a quarter of it 1202).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Frames = NDArray[np.uint8]  # (T, H, W, 3), sRGB
Seconds = NDArray[np.float64]  # (T,)

FPS = 30
WIDTH, HEIGHT = 320, 180
SCREEN = ("itu-r-bt.1702", "ofcom", "iso9241-391", "nab-j")
WINDOW = ("wcag2.2", "trace24")
STANDARDS = (*WINDOW, *SCREEN)

_BROADCAST = {
    "general": "more than three flashes (six changes in luminance) within any one-second period, over more than 25 % "
    "of the displayed screen area, each of 20 cd/m² or more with the darker image below 160 cd/m²",
    "red": "irrespective of luminance, a transition to or from a saturated red is also potentially harmful",
    "rate": "not more than three flashes, that is six changes in luminance, within any one-second period",
    "area": "not more than 25 % of the displayed screen area at a time",
    "amplitude": "a difference of less than 20 cd/m²",
    "dark": "the darker image at 160 cd/m² or more, and no HDR programme",
    "colour": "no transition to or from a saturated red, and less than 20 cd/m²",
    "ramp": "read as changes that are complete within 66 ms",
}
CLAUSES: dict[str, dict[str, str]] = {
    "wcag2.2": {
        "general": "SC 2.3.1, general flash: more than three within one second over more than 25 % of a 10° field",
        "red": "SC 2.3.1, red flash: to or from R/(R+G+B) ≥ 0.8, the states more than 0.2 apart in u′v′",
        "rate": "SC 2.3.1: no more than three general and no more than three red flashes within one second",
        "area": "SC 2.3.1: no more than 25 % of any 10° field (341 × 256 CSS pixels) concurrently",
        "amplitude": "general flash: changes below 10 % of the maximum relative luminance are none",
        "dark": "general flash: the relative luminance of the darker image is not below 0.80",
        "colour": "red flash: no state is saturated, or the states are not more than 0.2 apart; and below 10 %",
        "ramp": "read as changes that are complete within 66 ms",
        "fine": "exception: fine, balanced patterns such as white noise with squares below 0.1°",
    },
    "trace24": {
        "general": "more than 6 luminance transitions of at least the critical difference in a second, over at least "
        "25 % of any 416 × 416 CSS pixels",
        "red": "more than 6 red transitions in a second: to or from R/(R+G+B) ≥ 0.8, at least 0.2 apart in u′v′",
        "rate": "not more than 6 transitions in any one-second span",
        "area": "less than 25 % of any 416 × 416 CSS pixels within 20 ms",
        "amplitude": "below the critical difference of 10 % of the reference",
        "michelson": "the lower state at 80 % of the reference or more, the Michelson contrast 1/17 or more",
        "dark": "the lower state at 80 % of the reference or more, the Michelson contrast below 1/17",
        "colour": "no red state of at least 0.8, or less than 0.2 apart; and below the critical difference",
        "ramp": "transitions take no longer than 66 ms",
    },
    "itu-r-bt.1702": {key: f"BT.1702-3 Guideline 1: {text}" for key, text in _BROADCAST.items()},
    "ofcom": {key: f"Ofcom Section 2 Annex 1: {text}" for key, text in _BROADCAST.items()},
    "iso9241-391": {key: f"ISO 9241-391 (secondary sources): {text}" for key, text in _BROADCAST.items()},
    "nab-j": {
        "general": "1(2), 1(3): more than three a second, over more than 1/4 of the picture, and a luminance change of "
        "more than 20 % or more than five a second",
        "red": "1(1): vivid red needs special care; nothing above three a second is granted to it",
        "rate": "1: not more than three a second",
        "area": "1(2): a simultaneous area of not more than 1/4",
        "amplitude": "1(2): a luminance change below 10 %",
        # The text sets no limit on the darker state: a change of 10 % is one wherever it happens.
        "bright": "1(2), 1(3): a luminance change of 10 % or more, more than five times a second",
        "few": "1(3): up to five a second at up to 20 % for up to 2 s",
        "dark": "1(2): a luminance change below 10 %",
        "colour": "1(1): no vivid red comes or goes, and the luminance changes by less than 10 %",
        "ramp": "read as changes that are complete within 66 ms",
    },
}


@dataclass(frozen=True)
class Expected:
    """What a standard says, and the key of the clause in `CLAUSES` that decides."""

    passed: bool
    key: str

    @property
    def red(self) -> bool:
        return self.key == "red"


@dataclass(frozen=True)
class Place:
    """Where and when a violation is, under one standard."""

    standard: str
    start: float  # seconds
    end: float
    count: int  # the most transitions in a second
    box: tuple[int, int, int, int]  # left, top, right, bottom


@dataclass(frozen=True)
class Trap:
    make: Callable[[], Frames]
    about: str  # what it is, and why the table says what it says
    expected: dict[str, Expected]
    fps: float = FPS
    places: tuple[Place, ...] = ()
    # True: what matters is a pixel wide, or within 5 % of a limit, and another size or a lossy codec may change it
    fragile: bool = False
    name: str = field(default="", compare=False)

    def clip(self) -> tuple[Frames, Seconds]:
        frames = self.make()
        return frames, np.arange(len(frames)) / self.fps

    def clause(self, standard: str) -> str:
        return CLAUSES[standard][self.expected[standard].key]


# ---------------------------------------------------------------------------------------------------------- brushes


def linear(codes: NDArray[np.float64] | float, sdr: str = "srgb") -> NDArray[np.float64]:
    """Codes in [0, 1] to linear light, by IEC 61966-2-1 or by ITU-R BT.1886 with black at 0."""
    c = np.asarray(codes, dtype=np.float64)
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4) if sdr == "srgb" else c**2.4


def grey(level: float) -> int:
    """The sRGB code whose luminance is nearest to `level`."""
    return int(np.abs(linear(np.arange(256) / 255) - level).argmin())


def field_of(colour: int | tuple[int, int, int], width: int = WIDTH, height: int = HEIGHT) -> Frames:
    """A picture (1, H, W, 3) of one colour."""
    return np.broadcast_to(np.uint8(colour), (1, height, width, 3)).copy()


def scene(low: int = 40, high: int = 120) -> Frames:
    """A picture (1, H, W, 3) with a horizontal ramp of greys, dark enough for a flash to show."""
    row = np.linspace(low, high, WIDTH).round().astype(np.uint8)
    return np.broadcast_to(row[None, None, :, None], (1, HEIGHT, WIDTH, 3)).copy()


def patch(background: Frames, box: tuple[int, int, int, int], colour: int | tuple[int, int, int]) -> Frames:
    """The picture with a rectangle (left, top, right, bottom) of one colour."""
    left, top, right, bottom = box
    picture = background.copy()
    picture[:, top:bottom, left:right] = np.uint8(colour)
    return picture


def held(states: list[Frames], hold: int, frames: int = 2 * FPS) -> Frames:
    """The states in turn, `hold` frames each."""
    return np.concatenate(states)[np.arange(frames) // hold % len(states)]


def shown(base: Frames, other: Frames, at: list[int], frames: int = 2 * FPS) -> Frames:
    """`base` throughout, but `other` in the frames `at`."""
    index = np.zeros(frames, dtype=int)
    index[at] = 1
    return np.concatenate([base, other])[index]


def steps(states: NDArray[np.generic], count: int, hold: int, before: int = 1, after: int = 1) -> NDArray[np.generic]:
    """Two pictures `states` (2, …) to a clip with exactly `count` changes of one frame each, `hold` frames apart.

    The first state stands for `before` frames, the last for `after`.
    """
    index = np.repeat(np.arange(count + 1) % 2, [before, *[hold] * (count - 1), after])
    return states[index]


def raster(pixels: int, width: int, frame: tuple[int, int], corner: tuple[int, int] = (0, 0)) -> NDArray[np.bool_]:
    """A mask (H, W) of exactly so many pixels: full rows of `width`, and a last one that may be shorter."""
    mask = np.zeros((frame[1], frame[0]), dtype=bool)
    rows, rest = divmod(pixels, width)
    left, top = corner
    mask[top : top + rows, left : left + width] = True
    mask[top + rows, left : left + rest] = True
    assert mask.sum() == pixels
    return mask


def _random(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


# ------------------------------------------------------------------------------------------------------------ traps


def checkerboard_reversing() -> Frames:
    y, x = np.indices((HEIGHT, WIDTH))
    board = np.uint8(255 * ((x // 40 + y // 30) % 2))[None, ..., None].repeat(3, axis=3)
    return held([board, 255 - board], 2)


def rows_reversing() -> Frames:
    rows = np.zeros((1, HEIGHT, WIDTH, 3), np.uint8)
    rows[:, ::2] = 255
    return held([rows, 255 - rows], 2)


def antiphase_halves() -> Frames:
    left = patch(field_of(0), (0, 0, 160, HEIGHT), 255)
    return held([left, 255 - left], 3)


def dim_third() -> Frames:
    background, box = field_of(grey(0.2)), (0, 0, 96, HEIGHT)
    return held([patch(background, box, grey(0.10)), patch(background, box, grey(0.35))], 2)


def noisy_seventh() -> Frames:
    clip = held([patch(field_of(128), (110, 45, 206, 135), 0), patch(field_of(128), (110, 45, 206, 135), 255)], 2)
    noise = _random(1).integers(-1, 2, clip.shape[:3])[..., None]
    return np.clip(clip.astype(np.int16) + noise, 0, 255).astype(np.uint8)


def red_blue() -> Frames:
    return held([field_of((200, 0, 0)), field_of((0, 60, 255))], 1)


def red_teal() -> Frames:
    return held([field_of((139, 50, 50)), field_of((30, 90, 90))], 2)


def red_teal_clear() -> Frames:
    return held([field_of((150, 30, 30)), field_of((20, 88, 88))], 2)


def pan_over_stripes() -> Frames:
    t, x = np.arange(60)[:, None], np.arange(WIDTH)[None]
    line = np.where((x + t) // 40 % 2, grey(0.05), grey(0.8)).astype(np.uint8)
    return np.broadcast_to(line[:, None, :, None], (60, HEIGHT, WIDTH, 3)).copy()


def picket_fence() -> Frames:
    t, x = np.arange(60)[:, None], np.arange(WIDTH)[None]
    line = np.where((x + t) // 8 % 2, grey(0.05), grey(0.8)).astype(np.uint8)
    clip = field_of(grey(0.4)).repeat(60, axis=0)
    clip[:, 110:173] = line[:, None, :, None]
    return clip


def whip_pan() -> Frames:
    t, x = np.arange(60)[:, None], np.arange(WIDTH)[None]
    line = np.where((x + 15 * t) // 20 % 2, 0, 255).astype(np.uint8)
    return np.broadcast_to(line[:, None, :, None], (60, HEIGHT, WIDTH, 3)).copy()


def film_grain() -> Frames:
    grain = _random(2).normal(0, 4, (60, HEIGHT, WIDTH, 1))
    return np.clip(scene(60, 180) + grain, 0, 255).round().astype(np.uint8)


def heavy_grain() -> Frames:
    grain = _random(3).normal(0, 12, (60, HEIGHT // 2, WIDTH // 2)).repeat(2, axis=1).repeat(2, axis=2)
    return np.clip(128 + grain, 0, 255).round().astype(np.uint8)[..., None].repeat(3, axis=3)


def snow() -> Frames:
    """640 × 360: a pixel is 3 CSS pixels, 0.064°."""
    return _random(4).integers(0, 256, (30, 360, 640), dtype=np.uint8)[..., None].repeat(3, axis=3)


def fade() -> Frames:
    gain = np.abs(np.linspace(-1, 1, 60))[:, None, None, None]
    return (scene(80, 220) * gain).round().astype(np.uint8)


def camera_flash() -> Frames:
    return shown(scene(), field_of(255), [20])


def three_camera_flashes() -> Frames:
    return shown(scene(), field_of(255), [10, 18, 26])


def four_camera_flashes() -> Frames:
    return shown(scene(), field_of(255), [10, 18, 26, 34])


def burst_of_three() -> Frames:
    return shown(scene(), field_of(255), [20, 22, 24])


def across_the_second() -> Frames:
    return shown(scene(), field_of(255), [24, 27, 31, 34])


def lightning() -> Frames:
    states = [scene(), *(np.maximum(scene(), field_of(code)) for code in (255, 190, 140, 100))]
    index = np.zeros(60, dtype=int)
    index[15:19] = index[24:28] = [1, 2, 3, 4]
    return np.concatenate(states)[index]


def _glyphs(rng: np.random.Generator, rows: int, columns: int) -> NDArray[np.bool_]:
    """Lines of writing: 10 rows of strokes two pixels wide, then 8 empty rows."""
    strokes = (rng.random((rows // 2 + 1, columns // 2 + 1)) < 0.4).repeat(2, axis=0).repeat(2, axis=1)
    strokes[np.arange(len(strokes)) % 18 >= 10] = False
    return strokes[:rows, :columns]


def scrolling_credits() -> Frames:
    paper = _glyphs(_random(5), HEIGHT + 60, 112)
    clip = np.zeros((60, HEIGHT, WIDTH, 3), np.uint8)
    for t in range(60):
        clip[t, :, 104:216] = np.where(paper[t : t + HEIGHT, :, None], 235, 0)
    return clip


def page_cuts() -> Frames:
    rng = _random(6)
    pages = [np.where(_glyphs(rng, HEIGHT, WIDTH), 20, 245).astype(np.uint8) for _ in range(4)]
    return held([page[None, ..., None].repeat(3, axis=3) for page in pages], 15)


def tiny_flash() -> Frames:
    background, box = field_of(60), (150, 80, 170, 100)
    return held([patch(background, box, 0), patch(background, box, 255)], 2)


def red_led() -> Frames:
    background, box = field_of(12), (200, 40, 212, 52)
    return held([patch(background, box, (255, 0, 0)), patch(background, box, (30, 0, 0))], 2)


def three_hertz() -> Frames:
    return held([field_of(0), field_of(255)], 5, 90)


def four_hertz() -> Frames:
    return held([field_of(0), field_of(255)], 4)


def bright_flicker() -> Frames:
    return held([field_of(235), field_of(255)], 2)


def pale_flicker() -> Frames:
    return held([field_of(246), field_of(255)], 2)


def dim_flicker() -> Frames:
    return held([field_of(0), field_of(84)], 2)


def antiphase_pair() -> Frames:
    background, left, right = field_of(100), (0, 0, 64, HEIGHT), (256, 0, WIDTH, HEIGHT)
    one, other = (patch(patch(background, left, a), right, 255 - a) for a in (0, 255))
    return held([one, other], 2)


def _staggered(left: tuple[int, int, int, int], right: tuple[int, int, int, int]) -> Frames:
    background = field_of(100)
    phases = ((0, 0), (0, 255), (255, 255), (255, 0))  # each changes every fourth frame, the other one two frames later
    return held([patch(patch(background, left, a), right, b) for a, b in phases], 2)


def staggered_pair() -> Frames:
    return _staggered((0, 0, 64, HEIGHT), (256, 0, WIDTH, HEIGHT))


def staggered_patches() -> Frames:
    return _staggered((140, 80, 160, 100), (160, 80, 180, 100))


def wandering_flash() -> Frames:
    background = field_of(40)
    flashes = [patch(background, (left, 0, left + 96, HEIGHT), 255) for left in (0, 112, 224)]
    return held([state for flash in flashes for state in (flash, background)], 2)


def wobbling_flash() -> Frames:
    background = field_of(40)
    flashes = [patch(background, (left, 0, left + 176, HEIGHT), 255) for left in (0, 64)]
    return held([state for flash in flashes for state in (flash, background)], 3)


def sunrise() -> Frames:
    ramp = np.linspace(0, 205, 150)[:, None] + np.linspace(0, 50, 160)[None]
    return np.broadcast_to(ramp.astype(np.uint8)[:, None, :, None], (150, 90, 160, 3)).copy()


def letterboxed_part() -> Frames:
    picture, box = patch(field_of(0), (0, 22, WIDTH, 158), 90), (0, 22, 92, 158)
    return held([patch(picture, box, 30), patch(picture, box, 220)], 2)


def letterboxed_whole() -> Frames:
    box = (0, 22, WIDTH, 158)
    return held([patch(field_of(0), box, 30), patch(field_of(0), box, 220)], 2)


def bouncing_ball() -> Frames:
    y, x = np.indices((HEIGHT, WIDTH))
    clip = field_of(20).repeat(60, axis=0)
    for t in range(60):
        left, top = (abs((6 * t + d) % (2 * d) - d) + 20 for d in (WIDTH - 40, HEIGHT - 40))
        clip[t, (x - left) ** 2 + (y - top) ** 2 < 400] = 255
    return clip


def red_brightness() -> Frames:
    return held([field_of((255, 0, 0)), field_of((200, 0, 0))], 2)


def red_black() -> Frames:
    return held([field_of((170, 0, 0)), field_of(0)], 2)


def pale_red_teal() -> Frames:
    return held([field_of((120, 60, 60)), field_of((50, 84, 84))], 2)


def green_blue() -> Frames:
    return held([field_of((0, 90, 0)), field_of((0, 0, 255))], 2)


def lattice_flash() -> Frames:
    other = field_of(40)
    other[:, ::4, ::4] = 255
    return held([field_of(40), other], 2)


def lattice_still() -> Frames:
    other = field_of(255)
    other[:, ::4, ::4] = 40
    return held([field_of(40), other], 2)


def slow_ramps() -> Frames:
    levels = [field_of(grey(level)) for level in (0, 0.047, 0.093, 0.14, 0.14, 0.093, 0.047, 0)]
    return held(levels, 1)


def _all(passed: bool, key: str, **other: tuple[bool, str]) -> dict[str, Expected]:
    """The same for every standard, but for those of a group (`window`, `screen`) or a name written as a keyword."""
    table = {name: Expected(passed, key) for name in STANDARDS}
    for group, said in other.items():
        named = {"window": WINDOW, "screen": SCREEN, "wcag": ("wcag2.2",), "nabj": ("nab-j",), "trace": ("trace24",)}
        table.update({name: Expected(*said) for name in named[group]})
    return table


def _seen(start: int, end: int, count: int, box: tuple[int, int, int, int], *standards: str) -> tuple[Place, ...]:
    """The same place under several standards, times given in frames."""
    return tuple(Place(name, start / FPS, end / FPS, count, box) for name in standards)


_WHOLE = (0, 0, WIDTH, HEIGHT)
_BOTH = ("wcag2.2", "itu-r-bt.1702", "trace24")

_TRAPS = (
    Trap(
        checkerboard_reversing,
        "Squares a quarter of the height wide reverse at 7.5 Hz: the mean of the frame never changes, but half of the "
        "points rise and half fall every other frame. Four pairs of squares across are no pattern (more than five).",
        _all(False, "general"),
        places=_seen(2, 58, 15, _WHOLE, *_BOTH),
    ),
    Trap(
        rows_reversing,
        "Single rows reverse at 7.5 Hz: block means never change. A row is 0.128° high on the assumed display, so the "
        "exception for fine patterns (below 0.1°) does not apply.",
        _all(False, "general"),
        fragile=True,
    ),
    Trap(
        antiphase_halves,
        "Left and right half, black and white, in antiphase at 5 Hz: ten transitions a second of half the screen each.",
        _all(False, "general"),
        places=_seen(3, 57, 10, _WHOLE, *_BOTH),
    ),
    Trap(
        dim_third,
        "30 % of the screen between L = 0.10 and 0.35 at 7.5 Hz: diluted over the frame, 0.075 is below every limit; "
        "where it happens, 0.25 is above 0.1 (and above the 20 % of NAB-J).",
        _all(False, "general"),
        places=_seen(2, 58, 15, (0, 0, 96, HEIGHT), *_BOTH),
    ),
    Trap(
        noisy_seventh,
        "15 % of the screen, black and white at 7.5 Hz, and a level of noise everywhere: too small for the screen "
        "standards however much else changes by a code, but it fills a 10° window.",
        _all(False, "general", screen=(True, "area")),
        places=_seen(2, 58, 15, (110, 45, 206, 135), *WINDOW),
    ),
    Trap(
        red_blue,
        "Red (200, 0, 0) and blue (0, 60, 255) in turn, 15 Hz, as in Pokémon of 1997: 0.02 apart in luminance.",
        _all(False, "red"),
        places=_seen(1, 59, 30, _WHOLE, *_BOTH),
    ),
    Trap(
        red_teal,
        "(139, 50, 50) and (30, 90, 90), 7.5 Hz: equal in luminance; R/(R+G+B) is 0.802 in linear light, just "
        "saturated, though 0.58 in codes; and 0.2003 apart in u′v′, just far enough.",
        _all(False, "red"),
        fragile=True,
    ),
    Trap(
        red_teal_clear,
        "(150, 30, 30) and (20, 88, 88), 7.5 Hz: the same, farther from the limit (0.92).",
        _all(False, "red"),
    ),
    Trap(
        pan_over_stripes,
        "Four pairs of wide stripes drift by a pixel a frame: every point changes once in 1.3 s, and a window sees its "
        "points change one column at a time.",
        _all(True, "rate"),
    ),
    Trap(
        picket_fence,
        "Twenty pairs of narrow stripes over 35 % of the screen drift smoothly: 3.75 transitions a second at a point, "
        "a 16th of the fence at a time; as a pattern below the 40 % of one at rest, and exempt because it flows.",
        _all(True, "rate"),
    ),
    Trap(
        whip_pan,
        "Stripes 20 wide pass by 15 a frame: 37.5 % of all points rise in every frame, each of them 11 times a second. "
        "No text exempts luminance that changes because something moves.",
        _all(False, "general"),
    ),
    Trap(
        film_grain,
        "Grain with a deviation of 4 codes: nothing reaches a tenth.",
        _all(True, "amplitude"),
    ),
    Trap(
        heavy_grain,
        "Grain two pixels coarse with a deviation of 12 codes: points do change by a tenth, and often, but never a "
        "quarter of a window in the same direction at once.",
        _all(True, "area"),
    ),
    Trap(
        fade,
        "A fade to black and back in two seconds: one fall and one rise.",
        _all(True, "rate"),
    ),
    Trap(
        sunrise,
        "From black to white in five seconds (160 × 90): the sum of changes is large, but there is no opposing one.",
        _all(True, "rate"),
    ),
    Trap(
        camera_flash,
        "One white frame: two transitions.",
        _all(True, "rate"),
    ),
    Trap(
        three_camera_flashes,
        "Three white frames within a second: six transitions are allowed.",
        _all(True, "rate"),
    ),
    Trap(
        burst_of_three,
        "Three white frames at 15 Hz and nothing else: fast, but three flashes.",
        _all(True, "rate"),
    ),
    Trap(
        four_camera_flashes,
        "Four white frames within a second: eight transitions.",
        _all(False, "general"),
        places=_seen(10, 35, 8, _WHOLE, *_BOTH),
    ),
    Trap(
        across_the_second,
        "Two flashes at the end of the first second and two at the start of the next: whole seconds see two each.",
        _all(False, "general"),
        places=_seen(24, 35, 8, _WHOLE, *_BOTH),
    ),
    Trap(
        lightning,
        "Two strokes of lightning that fade over four frames: two rises, two falls, whatever the number of steps.",
        _all(True, "rate"),
    ),
    Trap(
        scrolling_credits,
        "White writing that scrolls: points inside a line change up to 15 times a second, but about a tenth of a "
        "window in the same direction at once.",
        _all(True, "area"),
    ),
    Trap(
        page_cuts,
        "A cut between dense pages of writing every half second.",
        _all(True, "rate"),
    ),
    Trap(
        tiny_flash,
        "20 × 20 pixels, black and white at 7.5 Hz: 400 pixels of the 606 that are a quarter of the smaller window.",
        _all(True, "area"),
    ),
    Trap(
        red_led,
        "A red light of 12 × 12 pixels that blinks.",
        _all(True, "area"),
    ),
    Trap(
        three_hertz,
        "Black and white at exactly 3 Hz for three seconds: seven transitions span exactly a second, which is not "
        "within it.",
        _all(True, "rate"),
    ),
    Trap(
        four_hertz,
        "Black and white at 3.75 Hz: seven transitions in 0.8 s.",
        _all(False, "general"),
        places=_seen(4, 56, 8, _WHOLE, *_BOTH),
    ),
    Trap(
        bright_flicker,
        "Codes 235 and 255 at 7.5 Hz, L = 0.83 and 1: a change of 0.17 whose darker state is above 0.8. Only TRACE24 "
        "compares bright states (Michelson 0.09 > 1/17), and NAB-J has no limit on the darker one.",
        _all(True, "dark", trace=(False, "michelson"), nabj=(False, "bright")),
    ),
    Trap(
        pale_flicker,
        "Codes 246 and 255 at 7.5 Hz: Michelson 0.04, a change of 0.08.",
        _all(True, "dark"),
    ),
    Trap(
        dim_flicker,
        "Codes 0 and 84 at 7.5 Hz: infinite contrast, but L changes by 0.089.",
        _all(True, "amplitude"),
    ),
    Trap(
        antiphase_pair,
        "The left and the right fifth in antiphase at 7.5 Hz: never more than 20 % rises at once. Read as in the "
        "notes to TRACE24: what is summed is one transition, so rises with rises. Each fifth fills a window by itself.",
        _all(False, "general", screen=(True, "area")),
    ),
    Trap(
        staggered_pair,
        "The left and the right fifth a quarter of a period apart at 3.75 Hz: 67 ms between their changes, so the two "
        "are not concurrent. Each fills a window by itself.",
        _all(False, "general", screen=(True, "area")),
    ),
    Trap(
        staggered_patches,
        "Two adjoining patches of 20 × 20 pixels a quarter of a period apart: together 33 % of the smaller window, but "
        "never at once.",
        _all(True, "area"),
    ),
    Trap(
        wandering_flash,
        "A flash of 30 % of the screen visits three places in turn at 7.5 Hz: no point sees more than three a second.",
        _all(True, "rate"),
    ),
    Trap(
        wobbling_flash,
        "A flash of 55 % of the screen jumps between two places at 5 Hz: the 35 % that both share see every one, the "
        "rest three a second at most.",
        _all(False, "general"),
        places=_seen(3, 57, 10, (64, 0, 176, HEIGHT), *_BOTH),
    ),
    Trap(
        letterboxed_part,
        "Between bars, a flash of 29 % of the picture: 21.7 % of the displayed area, which is what counts.",
        _all(False, "general", screen=(True, "area")),
        places=_seen(2, 58, 15, (0, 22, 92, 158), *WINDOW),
    ),
    Trap(
        letterboxed_whole,
        "The whole picture between bars flashes.",
        _all(False, "general"),
        places=_seen(2, 58, 15, (0, 22, WIDTH, 158), *_BOTH),
    ),
    Trap(
        bouncing_ball,
        "A white ball on black crosses the picture: about 12 % of a window changes in a frame.",
        _all(True, "area"),
    ),
    Trap(
        red_brightness,
        "(255, 0, 0) and (200, 0, 0) at 7.5 Hz: both are saturated, of one chromaticity, and 0.09 apart in luminance. "
        "The red rule of WCAG 2.0 would count it.",
        _all(True, "colour"),
    ),
    Trap(
        red_black,
        "(170, 0, 0) and black at 7.5 Hz: 0.085 apart in luminance, but to and from a saturated red. Black, which has "
        "no chromaticity, is read as the white point.",
        _all(False, "red"),
        places=_seen(2, 58, 15, _WHOLE, *_BOTH),
    ),
    Trap(
        pale_red_teal,
        "(120, 60, 60) and (50, 84, 84) at 7.5 Hz: R/(R+G+B) is 0.68, no saturated red.",
        _all(True, "colour"),
    ),
    Trap(
        green_blue,
        "(0, 90, 0) and (0, 0, 255) at 7.5 Hz: equal in luminance, 0.5 apart in u′v′, and no red.",
        _all(True, "colour"),
    ),
    Trap(
        lattice_flash,
        "Every fourth pixel of every fourth row flashes: 6 % of the area, all of it for who looks at that lattice.",
        _all(True, "area"),
        fragile=True,
    ),
    Trap(
        lattice_still,
        "Everything but every fourth pixel of every fourth row flashes.",
        _all(False, "general"),
        fragile=True,
    ),
    Trap(
        slow_ramps,
        "0 to 0.14 and back in ramps of three frames (100 ms), 3.75 Hz: no flash where a transition must be complete "
        "within 66 ms, the reading under which the labelled clips are right; one where any ramp counts.",
        _all(True, "ramp"),
    ),
)
TRAPS: dict[str, Trap] = {trap.make.__name__: trap for trap in _TRAPS}

# What the texts do not settle, or what needs more than they say about points: told, not asserted.
OPEN: dict[str, Trap] = {
    "snow": Trap(
        snow,
        "Television snow, 0.064° fine, full swing: WCAG excepts fine balanced patterns; by the other texts 38 % of all "
        "points rise by a tenth in every frame.",
        _all(False, "general", wcag=(True, "fine")),
        fragile=True,
    ),
}
