"""The timeline picture does no harm itself, and its words and marks are where they belong."""

from __future__ import annotations

import time as clock
from collections.abc import Callable, Iterator
from dataclasses import replace
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from PIL import Image

from flash.byhand import analysis, profiles
from sparring.errors import InputError
from sparring.flash import analyse
from sparring.flash.profiles import STANDARDS
from sparring.flash.records import Analysis
from sparring.flash.report import pen, stills, strips, timeline

LONG = "An episode with a very long name, numbers 1997-12-16 and brackets [1080p] (final cut, take 2) " * 3 + "E38.mkv"
Pixels = NDArray[Any]


def light(page: Image.Image | Pixels) -> Pixels:
    """(H, W, 3) linear RGB."""
    codes = np.asarray(page, dtype=float) / 255
    linear: Pixels = np.where(codes <= 0.04045, codes / 12.92, ((codes + 0.055) / 1.055) ** 2.4)
    return linear


def luminance(page: Image.Image | Pixels) -> Pixels:
    found: Pixels = light(page) @ np.array([0.2126, 0.7152, 0.0722])
    return found


def striped(page: Image.Image | Pixels) -> float:
    """The share of the area that is regular stripes: a tile with at least three pairs of one frequency (five in a large
    one), which hold half of the power, at a contrast (deviation over mean) of at least a tenth."""
    bright = luminance(page)
    return max(_striped(bright, *tile) for tile in ((64, 64, 3), (128, 128, 5), (32, 128, 5)))


def _striped(bright: Pixels, high: int, wide: int, pairs: int) -> float:
    tiles = sliding_window_view(bright, (high, wide))[:: high // 2, :: wide // 2].reshape(-1, high, wide)
    mean, contrast = tiles.mean((1, 2)), tiles.std((1, 2))
    busy = np.flatnonzero(contrast >= 0.1 * mean)
    across, down = np.meshgrid(np.fft.rfftfreq(wide, 1 / wide), np.fft.fftfreq(high, 1 / high))
    taper = np.outer(np.hanning(high), np.hanning(wide))
    found = 0
    for tile, level in zip(tiles[busy], mean[busy], strict=True):
        power = np.abs(np.fft.rfft2((tile - level) * taper)) ** 2
        peak = np.unravel_index(np.argmax(power), power.shape)
        if np.hypot(across[peak], down[peak]) >= pairs:
            here, mirrored = (np.hypot(across - s * across[peak], down - s * down[peak]) for s in (1, -1))
            found += bool(power[np.minimum(here, mirrored) <= 1.5].sum() >= 0.5 * power.sum())
    return found / len(tiles)


def bars(
    period: int, colours: tuple[tuple[int, int, int], tuple[int, int, int]] = ((0, 0, 0), (255, 255, 255))
) -> Pixels:
    """Vertical stripes, 480 × 270."""
    columns = (np.arange(480) // (period // 2)) % 2
    row = np.array(colours, np.uint8)[columns]
    return np.broadcast_to(row, (270, 480, 3)).copy()


HARMFUL = {
    "black and white stripes": bars(40),
    "fine stripes": bars(4),
    "broad stripes": bars(120),
    "red and blue stripes": bars(40, ((255, 0, 0), (0, 0, 255))),
    "red": np.full((270, 480, 3), (255, 0, 0), np.uint8),
    "white": np.full((270, 480, 3), 255, np.uint8),
    "checkerboard": np.where((np.indices((270, 480)) // 30).sum(0)[..., None] % 2, 255, 0)
    .astype(np.uint8)
    .repeat(3, 2),
}

LINES = [(float(start), start + 9.0) for start in range(20, 1780, 18)]  # one after the other, all half an hour
CASES: dict[str, Callable[[], Analysis]] = {
    "one incident": analysis,
    "met": lambda: analysis(incidents=()),
    "one frame": lambda: analysis(frames=1, incidents=()),
    "no frame": lambda: analysis(frames=0, incidents=(), partial="the file is empty"),
    "six standards, half an hour, 98 incidents": lambda: analysis(
        tuple(STANDARDS), LINES, 54_000, source=f"/videos/{LONG}", partial="decoder error " * 40, notes=(LONG,) * 7
    ),
    "portrait": lambda: analysis(size=(1080, 1920), boxes=((0, 0, 1080, 1920),)),
    "a single pixel": lambda: analysis(size=(1, 1), boxes=((0, 0, 1, 1),)),
    "sixty a second": lambda: analysis(("wcag2.2", "nab-j"), count=119, rate=120.0),
    "advice only": lambda: replace(
        analysis(("ofcom",)),
        violations=(),
        verdicts={"ofcom": replace(analysis(("ofcom",)).verdicts["ofcom"], passed=True)},
    ),
    "long names": lambda: analysis(
        [replace(STANDARDS["wcag2.2"], name=f"{number} {LONG}") for number in range(4)], source="日本語 é ß.mp4"
    ),
    "at once": lambda: analysis(incidents=[(1.0 + n / 1000, 3.0 - n / 1000) for n in range(3)] + [(7.9, 8.0)] * 3),
    "alternating by the frame": lambda: flicker(),
}


def flicker() -> Analysis:
    """The counts and areas themselves as a comb, frame by frame."""
    found = analysis(tuple(STANDARDS), [(0.0, 8.0)], rate=30.0)
    for rows in (found.series.count, found.series.area):
        for values in rows.values():
            values[::8] = values[1::8] = values[2::8] = values[3::8] = 0
    return found


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Analysis:
    return CASES[request.param]()


def drawn(found: Analysis, still: Pixels | None = None) -> Image.Image:
    shown = [] if still is None else [(moment, still) for moment in timeline.moments(found)]
    known = [STANDARDS[name] for name in found.standards if name in STANDARDS]
    return timeline.timeline(found, known, shown)


# ------------------------------------------------------------------------------------------------------- does no harm


def test_the_measure_of_stripes_knows_stripes_from_words() -> None:
    assert striped(bars(16)) > 0.9
    assert striped(bars(8).transpose(1, 0, 2)) > 0.9
    assert striped(np.full((256, 256, 3), 200, np.uint8)) == 0


@pytest.mark.parametrize(
    ("name", "still"),
    [
        *((name, "black and white stripes") for name in CASES),
        *(("one incident", still) for still in HARMFUL if "black" not in still),
    ],
)
def test_the_picture_is_no_hazard_whatever_it_shows(name: str, still: str) -> None:
    page = drawn(CASES[name](), HARMFUL[still])
    red, green, blue = np.moveaxis(light(page), 2, 0)
    assert (red / (red + green + blue)).max() < 0.78  # a saturated red begins at 0.8
    assert striped(page) < 0.02


@pytest.mark.parametrize("period", [12, 20, 24, 30, 40, 60])
def test_stripes_of_any_width_are_lost_or_too_few_and_dark(period: int) -> None:
    assert striped(drawn(analysis(), bars(period))) < 0.01


def test_our_own_analysis_meets_every_standard_with_it() -> None:
    page = drawn(CASES["six standards, half an hour, 98 incidents"](), HARMFUL["black and white stripes"])
    frames = np.asarray(page.crop((0, 0, page.width, 1400)))[::2, ::2]
    blank = np.full_like(frames, 255)
    clip = np.stack([blank, *[frames] * 11, blank])  # it comes, stays for a second and goes
    found = analyse((clip, np.arange(len(clip)) / 11), tuple(STANDARDS))
    assert found.passed, found.violations
    assert not found.advisories


@pytest.mark.parametrize("still", HARMFUL, ids=str)
def test_stills_are_dark_flat_and_nearly_grey(still: str) -> None:
    made = stills.harmless(HARMFUL[still], (368, 207))
    bright = luminance(made)
    assert bright.max() < 0.25  # where stripes begin to count
    assert bright.max() - bright.min() < 0.18
    codes = np.asarray(made, dtype=int)
    assert (codes.max(axis=2) - codes.min(axis=2)).max() <= 8
    outlined = stills.outlined(made, ((0, 0, 100, 100),), (480, 270))
    assert luminance(outlined).max() < 0.35


def test_blurring_takes_fine_detail_away() -> None:
    assert luminance(stills.harmless(bars(4), (368, 207))).std() < 0.01
    assert luminance(stills.harmless(bars(120), (368, 207))).std() > 0.04  # what it shows can still be made out


# --------------------------------------------------------------------------------------------------------- the layout


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, tuple[float, ...], str]]:
    """Every text drawn: the page it is on, its box there, and the words."""
    texts: list[tuple[int, tuple[float, ...], str]] = []
    kept: list[Image.Image] = []
    write = pen.Pen.write

    def noted(
        self: pen.Pen, where: tuple[float, float], words: str, size: int, colour: Any = pen.INK, anchor: str = "la"
    ) -> None:
        kept.append(self.page)  # so that no other page takes its id
        box = self.draw.textbbox(where, pen.spelt(words), font=pen.font(size), anchor=anchor)
        texts.append((id(self.page), box, words))
        write(self, where, words, size, colour, anchor)
        if words:
            assert box[0] >= -3 - timeline.MARGIN
            assert box[2] <= self.page.width + timeline.MARGIN - 3
            assert box[1] >= -5
            assert box[3] <= self.page.height

    monkeypatch.setattr(pen.Pen, "write", noted)
    return texts


def test_no_words_overlap_or_leave_the_page(case: Analysis, written: list[tuple[int, tuple[float, ...], str]]) -> None:
    page = drawn(case, HARMFUL["white"])
    assert page.width == timeline.WIDTH
    assert len(written) >= 3
    for number, (sheet, box, words) in enumerate(written):
        for other_sheet, other, other_words in written[:number]:
            if sheet == other_sheet:
                apart = box[2] <= other[0] or other[2] <= box[0] or box[3] <= other[1] or other[3] <= box[1]
                assert apart, (words, other_words)


def test_the_header_says_what_was_found(written: list[tuple[int, tuple[float, ...], str]]) -> None:
    drawn(analysis(("wcag2.2", "ofcom"), silent=("ofcom",), notes=("untagged matrix",), source="a/b/clip.mp4"))
    words = [text for _, _, text in written]
    assert words[:4] == [
        "clip.mp4",
        "1920 × 1080 · 30 frames a second · 240 frames · 8.00 s",
        "does not meet wcag2.2",
        "meets ofcom",
    ]
    assert "untagged matrix" in words
    assert "1.00–3.00 s" in words
    assert "9 transitions in a second, 31.4 % of the window" in words
    assert any(text.startswith("WCAG 2.2 SC 2.3.1") for text in words)
    assert any("Not a medical device" in text for text in words)
    assert not any(bad in text.lower() for text in words for bad in ("safe", "certif"))


def test_a_part_is_said_to_be_one(written: list[tuple[int, tuple[float, ...], str]]) -> None:
    drawn(analysis(incidents=(), partial="it ends early"))
    words = [text for _, _, text in written]
    assert "wcag2.2 could not be decided" in words
    assert "Only a part could be analysed: it ends early" in words
    assert not any(text.startswith("meets") for text in words)


def test_an_incident_is_marked_where_it_is() -> None:
    found = analysis(incidents=((2.0, 4.0),))
    (strip, _) = strips.strips(found, profiles("wcag2.2"))
    axis = strips.axis(found, timeline.ROOM)
    page = np.asarray(strips.drawn(strip, found.series.seconds, axis, timeline.ROOM))
    marked = (page[3] == pen.WARN).all(axis=1).nonzero()[0]
    assert marked.min() == pytest.approx(axis.x(2.0), abs=1)
    assert marked.max() == pytest.approx(axis.x(4.0), abs=1)
    assert axis.x(0) == strips.LABELS
    assert axis.x(8) == timeline.ROOM - strips.LIMITS
    filled = (page[strips.COUNTS - 3] == pen.WARN_FILL).all(axis=1).nonzero()[0]
    assert filled.min() == pytest.approx(axis.x(2.0), abs=1)


def test_standards_with_the_same_numbers_share_a_strip() -> None:
    found = analysis(("itu-r-bt.1702", "ofcom", "wcag2.2"))
    made = [(strip.rule, strip.standards) for strip in strips.strips(found, profiles())]
    assert ("general flash", ("itu-r-bt.1702", "ofcom")) in made
    assert ("general flash", ("wcag2.2",)) in made  # of the window, not of the screen
    found.series.count["ofcom: general flash"][0] = 1
    made = [(strip.rule, strip.standards) for strip in strips.strips(found, profiles())]
    assert ("general flash", ("ofcom",)) in made


def test_every_frame_reaches_its_pixel() -> None:
    rng = np.random.default_rng(0)
    for frames, rate in ((1, 30.0), (7, 5.0), (500, 60.0), (54_000, 30.0)):
        found = analysis(incidents=(), frames=frames, rate=rate)
        seconds = np.sort(found.series.seconds + rng.uniform(0, 0.3 / rate, frames))
        values = rng.integers(0, 60, frames)
        axis = strips.axis(replace(found, series=replace(found.series, seconds=seconds)), timeline.ROOM)
        held = strips.held(values, seconds, axis)
        edges = axis.start + np.arange(axis.width + 1) * (axis.end - axis.start) / axis.width
        ends = [*seconds[1:], axis.end]
        assert held.max() == values.max()
        for column in range(0, axis.width, 37):
            begun = values[(seconds >= edges[column] - 1e-9) & (seconds < edges[column + 1] - 1e-9)]
            during = [
                v for v, a, b in zip(values, seconds, ends, strict=True) if a < edges[column + 1] and b > edges[column]
            ]
            assert held[column] in during
            assert len(begun) == 0 or held[column] >= begun.max()


@pytest.mark.parametrize("length", [0.001, 0.04, 0.9, 1.4, 8, 59, 61, 600, 1800, 7200, 40_000, 400_000])
@pytest.mark.parametrize("start", [0.0, -1.7, 12.3, 3600.0])
def test_ticks_are_few_and_their_labels_apart(length: float, start: float) -> None:
    axis = strips.Axis(start, start + length, strips.LABELS, timeline.ROOM - strips.LABELS - strips.LIMITS)
    ticks = axis.ticks()
    assert 1 <= len(ticks) <= strips.TICKS + 1 or length < 0.01
    for (x, label), (y, other) in pairwise(ticks):
        assert y - x > (pen.length(label, 14) + pen.length(other, 14)) / 2 + 4
        assert label != other


# ------------------------------------------------------------------------------------------------------ the incidents


def test_one_incident_of_several_standards_is_told_once() -> None:
    found = analysis(("wcag2.2", "itu-r-bt.1702", "nab-j"), ((1.0, 3.0), (5.0, 6.0)))
    cards, more = timeline.cards(found, most=20)
    general = [card for card in cards if card.worst.rule == "general flash"]
    assert [card.worst.start for card in general] == [1.0, 5.0]
    assert all(card.standards == ("wcag2.2", "itu-r-bt.1702", "nab-j") for card in general)
    told = timeline.cards(found, most=100)[0]
    assert [card.worst.rule for card in told if card.worst.advisory] == ["extended flash"] * 2
    assert more == 0
    cards, more = timeline.cards(found, most=1)
    assert (len(cards), more) == (1, len(told) - 1)


def test_the_worst_are_shown_in_the_order_of_time() -> None:
    found = analysis(incidents=[(float(start), start + 0.5) for start in range(0, 30, 3)], frames=900)
    cards, more = timeline.cards(found)
    assert [card.worst.start for card in cards] == [12.0, 15.0, 18.0, 21.0, 24.0, 27.0]  # each goes farther than before
    assert more == 4
    assert timeline.moments(found) == [12.0, 15.0, 18.0, 21.0, 24.0, 27.0]


def test_a_still_is_used_only_near_its_incident() -> None:
    found = analysis(boxes=())
    known, white = profiles("wcag2.2"), HARMFUL["white"]
    without = np.asarray(timeline.timeline(found, known))
    far = np.asarray(timeline.timeline(found, known, [(1.6, white)]))
    near = np.asarray(timeline.timeline(found, known, [(7.0, HARMFUL["red"]), (1.02, white)]))
    shade = np.array((stills.LIGHTEST,) * 3)
    assert (near == shade).all(axis=2).sum() > 70_000  # a card of 368 × 207
    assert not (far == shade).all(axis=2).any()
    assert far.shape[1] == without.shape[1]


def test_boxes_are_where_they_were_found() -> None:
    ground = Image.new("RGB", (368, 207))
    made = np.asarray(stills.outlined(ground, ((480, 270, 960, 540),), (1920, 1080)))
    rows, columns = (made == stills.OUTLINE).all(axis=2).nonzero()
    assert (columns.min(), rows.min()) == (92, 51)
    assert columns.max() == pytest.approx(368 / 2, abs=1)
    assert rows.max() == pytest.approx(207 / 2, abs=1)
    whole = np.asarray(stills.outlined(ground, ((-5, 0, 5000, 1080),), (1920, 1080)))
    rows, columns = (whole == stills.OUTLINE).all(axis=2).nonzero()
    assert (columns.min(), rows.min(), columns.max(), rows.max()) == (0, 0, 367, 206)


# ------------------------------------------------------------------------------------------------------------- pieces


@pytest.mark.parametrize("words", [LONG, "short", "", "x", "日本語" * 80, "no-space-" * 60])
@pytest.mark.parametrize("room", [30, 200, 900])
def test_words_are_cut_to_their_room(words: str, room: float) -> None:
    for middle in (False, True):
        cut = pen.elided(words, 17, room, middle)
        assert pen.length(cut, 17) <= room
        assert cut == words or "…" in cut
    lines = pen.wrapped(words, 15, room, 3)
    assert len(lines) <= 3
    assert all(pen.length(line, 15) <= room for line in lines)
    if not any("…" in line for line in lines):
        assert " ".join(lines).split() == words.split()


def test_the_end_of_a_name_is_kept() -> None:
    assert pen.elided(LONG, 27, 600, middle=True).endswith("E38.mkv")


def test_letters_that_the_font_lacks_are_spelt_or_asked_for() -> None:
    assert pen.spelt("1920 × 1080, 0–1 s, é ü ß ł") == "1920 x 1080, 0-1 s, e u ss ?"
    assert pen.spelt("日本.mp4") == "??.mp4"
    assert pen.spelt("a\u202eb") == "a?b"


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((4, 4, 3), float),
    ],
)
def test_a_still_of_another_kind_is_refused(wrong: Pixels) -> None:
    with pytest.raises(InputError, match=r"give \(H, W, 3\) of uint8"):
        stills.harmless(wrong, (368, 207))


def test_half_an_hour_is_drawn_at_once_and_saved_as_png(tmp_path: Path) -> None:
    found = CASES["six standards, half an hour, 98 incidents"]()
    begun = clock.monotonic()
    timeline.save(tmp_path / "deep" / "page.png", found, profiles())
    assert clock.monotonic() - begun < 10
    with Image.open(BytesIO((tmp_path / "deep" / "page.png").read_bytes())) as page:
        assert page.format == "PNG"
        assert page.width == timeline.WIDTH
        assert page.height < 4000


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    yield
    pen.spelt.cache_clear()
