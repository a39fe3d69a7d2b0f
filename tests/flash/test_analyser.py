"""The streaming analysis from the inside: what is concurrent, what is isolated, what lasts, and the two looks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

import sparring as sp
from sparring.errors import InputError
from sparring.flash.analysis import clip as analysis
from sparring.flash.analysis.analyser import Analyser
from sparring.flash.profiles import STANDARDS

BROADCAST = ("itu-r-bt.1702", "ofcom")


def movie(states: list[list[int]], width: int = 16, height: int = 9) -> NDArray[np.uint8]:
    """Grey frames of vertical strips, one code each."""
    strips = np.array(states, np.uint8)
    across = np.arange(width) * strips.shape[1] // width
    return np.broadcast_to(strips[:, None, across, None], (len(strips), height, width, 3)).copy()


def square(hertz: float, rate: float, seconds: float) -> list[list[int]]:
    times = np.arange(round(seconds * rate)) / rate
    return [[255 * (int(2 * hertz * time + 1e-9) % 2)] for time in times]


def test_changes_at_two_places_within_20_milliseconds_are_one_flash() -> None:
    # A fifth of the screen on the left and a fifth on the right, the right one a frame later: 40 % together.
    left = [255 * ((t // 8) % 2) for t in range(240)]
    for later, rate, passed in ((1, 120, False), (2, 120, False), (3, 120, True), (1, 60, False), (1, 50, True)):
        right = [0] * later + left[:-later]
        frames = movie([[a, 0, 0, 0, b] for a, b in zip(left, right, strict=True)], width=20)
        result = sp.flash.analyse((frames, np.arange(240) / rate), "itu-r-bt.1702")
        assert result.passed is passed, (later, rate)


def test_flashes_whose_leading_edges_keep_apart_are_acceptable_in_broadcast() -> None:
    # Rises 0.34 s apart, from a dark ground; seven changes from 0.80 to 1.54 s.
    rises, falls = np.array([0.5, 0.84, 1.18, 1.52]), np.array([0.80, 0.88, 1.48, 1.54])
    times = np.arange(90) / 50
    states = [[255 * int((rises <= t + 1e-9).sum() > (falls <= t + 1e-9).sum())] for t in times]
    found = sp.flash.analyse((movie(states), times), (*BROADCAST, "iso9241-391"))
    assert {name: verdict.passed for name, verdict in found.verdicts.items()} == {
        "itu-r-bt.1702": False,  # 50 pictures a second: 360 ms are asked for
        "ofcom": False,
        "iso9241-391": False,
    }
    times = np.arange(130) / 60
    states = [[255 * int((rises <= t + 1e-9).sum() > (falls <= t + 1e-9).sum())] for t in times]
    found = sp.flash.analyse((movie(states), times), (*BROADCAST, "iso9241-391"))
    assert {name: verdict.passed for name, verdict in found.verdicts.items()} == {
        "itu-r-bt.1702": True,  # 334 ms at 60
        "ofcom": True,
        "iso9241-391": False,  # knows no such exception
    }


@pytest.mark.parametrize(
    ("hertz", "seconds", "advised", "passed"), [(2, 5, False, True), (2, 6, True, True), (4, 6, True, False)]
)
def test_a_sequence_of_more_than_five_seconds_is_told(hertz: float, seconds: int, advised: bool, passed: bool) -> None:
    times = np.arange(25 * seconds) / 25
    found = sp.flash.analyse((movie(square(hertz, 25, seconds)), times), BROADCAST)
    assert found.passed is passed
    assert {one.rule for one in found.advisories} == ({"extended flash"} if advised else set())
    assert all(one.end - one.start > 5 for one in found.advisories)


def test_peaks_and_valleys_count_ramps_of_any_length() -> None:
    # 0 to 0.12 and back in three steps of two frames: no step of 66 ms reaches a tenth.
    levels = [0, 50, 80, 98, 80, 50] * 8
    states = [[code] for code in levels for _ in range(2)]
    clip = movie(states), np.arange(len(states)) / 60
    standard = STANDARDS["itu-r-bt.1702"]
    assert sp.flash.analyse(clip, standard).passed
    literal = sp.flash.analyse(clip, replace(standard, ramp=None))
    assert not literal.passed
    assert literal.violations[0].count == 10  # 60 frames hold ten of the ramps of six frames


def strobe(area: float, size: tuple[int, int], shape: tuple[float, float], rate: int = 30) -> NDArray[np.uint8]:
    """A rectangle of `area` of a rectangle of the relative `shape` blinks in every second frame."""
    width, height = size
    high = round(height * shape[1] * area**0.5)
    wide = round(width * shape[0] * height * shape[1] * area / high)
    frames = np.full((rate, height, width, 3), 20, np.uint8)
    frames[::2, 7 : 7 + high, 11 : 11 + wide] = 230
    return frames


@pytest.mark.parametrize("standard", ["wcag2.2", "trace24", "ofcom"])
def test_areas_near_the_limit_are_looked_at_pixel_by_pixel(standard: str, monkeypatch: pytest.MonkeyPatch) -> None:
    size = 960, 540
    shape = {"wcag2.2": (341 / 1920, 256 / 1080), "trace24": (416 / 1920, 416 / 1080), "ofcom": (1.0, 1.0)}[standard]
    looks: list[int | None] = []

    class Counting(Analyser):
        def __init__(self, *args: object, points: int | None = None, **more: object) -> None:
            looks.append(points)
            super().__init__(*args, points=points, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(analysis, "Analyser", Counting)
    for area, passed, exact in ((0.15, True, False), (0.245, True, True), (0.255, False, True), (0.40, False, False)):
        looks.clear()
        clip = strobe(area, size, shape), np.arange(30) / 30
        found = sp.flash.analyse(clip, standard)
        assert found.passed is passed, area
        assert (None in looks) is exact, area
        if exact and not passed:
            every = sp.flash.analyse(clip, standard, exact=True)
            assert found.violations == every.violations
            # The last transition is exact, and so are the rows of the incident.
            key = f"{standard}: general flash"
            start, end = (round(one * 30) for one in (every.violations[0].start, every.violations[0].end))
            inside = slice(start, end + 1)
            assert np.array_equal(found.series.area[key][inside], every.series.area[key][inside])


def test_one_decode_for_all_says_what_each_says_alone() -> None:
    rng = np.random.default_rng(5)
    seconds = np.cumsum(rng.choice([1 / 60, 1 / 30, 1 / 24], 90))
    for seed in range(2):
        rng = np.random.default_rng(seed)
        states = rng.choice(np.array([[0, 0, 0], [255, 0, 0], [120, 120, 120], [255, 255, 255]], np.uint8), (90, 4))
        frames = np.repeat(states[:, None], 9, 1).repeat(4, 2)
        together = sp.flash.analyse((frames, seconds), tuple(STANDARDS))
        for name in STANDARDS:
            alone = sp.flash.analyse((frames, seconds), name)
            assert together.verdicts[name] == alone.verdicts[name]


def test_margins_are_negative_exactly_where_a_rule_is_broken() -> None:
    found = sp.flash.analyse((movie(square(5, 30, 2)), np.arange(60) / 30), "wcag2.2")
    (violation,) = found.violations
    margin, count = found.series.margin["wcag2.2: general flash"], found.series.count["wcag2.2: general flash"]
    assert np.array_equal(margin < 0, count > 6)
    broken = found.series.seconds[margin < 0]
    # Seven transitions are complete three frames times six after the first.
    assert violation.start == pytest.approx(3 / 30)
    assert broken[0] == pytest.approx(violation.start + 18 / 30)
    assert violation.end <= broken[-1]
    assert violation.count == 10
    assert np.all(found.series.margin["wcag2.2: red flash"] == 1)


def test_bars_around_the_picture_are_told() -> None:
    frames = np.zeros((3, 90, 160, 3), np.uint8)
    frames[:, 11:79] = 100
    (note,) = sp.flash.analyse((frames, np.arange(3) / 25), "ofcom").notes
    assert "the picture fills 76% of the display" in note
    assert not sp.flash.analyse((frames[:, 11:79], np.arange(3) / 25), "ofcom").notes


def test_a_stream_knows_at_every_moment_what_was_found() -> None:
    analyser = sp.flash.Analyser("wcag2.2", series=False)
    known = [analyser.push(frame, n / 30).passed for n, frame in enumerate(movie(square(5, 30, 2)))]
    assert known.index(False) == 21  # the frame that completes the seventh transition
    assert not any(known[21:])
    result = analyser.finish()
    assert not result.passed
    assert not len(result.series.seconds)


def test_wrong_use_of_a_stream() -> None:
    analyser = sp.flash.Analyser()
    with pytest.raises(InputError, match="no frame was pushed"):
        analyser.finish()
    frame = np.zeros((9, 16, 3), np.uint8)
    analyser.push(frame, 0.0)
    with pytest.raises(InputError, match=r"not after the one before it at 0\.000000 s"):
        analyser.push(frame, 0.0)
    with pytest.raises(InputError, match="is 8 × 9 pixels, those before it 16 × 9"):
        analyser.push(frame[:, :8], 0.1)
    with pytest.raises(InputError, match=r"Did you mean wcag2\.2"):
        sp.flash.Analyser("wcag22")
    with pytest.raises(InputError, match="names none"):
        sp.flash.Analyser(())


def test_the_leading_edges_of_dark_flashes_on_a_bright_ground_are_falls() -> None:
    falls, rises = np.array([0.5, 0.84, 1.18, 1.52]), np.array([0.80, 0.88, 1.48, 1.54])
    times = np.arange(130) / 60
    states = [[255 * int((falls <= t + 1e-9).sum() == (rises <= t + 1e-9).sum())] for t in times]
    assert sp.flash.analyse((movie(states), times), "ofcom").passed
    # Falls that keep apart are no excuse where rises lead and do not.
    rises, falls = np.array([0.5, 0.80, 1.10, 1.48]), np.array([0.76, 1.08, 1.46, 1.9])
    states = [[255 * int((rises <= t + 1e-9).sum() > (falls <= t + 1e-9).sum())] for t in times]
    assert sp.flash.analyse((movie(states), times), "ofcom").passed is False


def test_an_incident_that_is_over_keeps_its_boxes_only() -> None:
    analyser = sp.flash.Analyser("ofcom", series=False)
    still = [[20, 20]] * 60
    for n, frame in enumerate(movie([*([[0, 0], [255, 0]] * 20), *still, *([[0, 0], [0, 255]] * 20), *still])):
        analyser.push(frame, n / 30)
    first, second = next(watches[0].found for _, watches in analyser.rules if watches[0].found)
    assert first.mask is None
    assert second.mask is not None
    assert [one.boxes for one in analyser.finish().violations] == [((0, 0, 8, 9),), ((8, 0, 16, 9),)]
