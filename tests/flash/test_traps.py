"""What analysers fall into: the table of `stimuli`, written from the texts before there was an analysis."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from flash.stimuli import CLAUSES, FPS, OPEN, STANDARDS, TRAPS, Frames, linear
from sparring import flash
from sparring.flash.records import Analysis


def luminance(frames: Frames, sdr: str = "srgb") -> NDArray[np.float64]:
    return linear(np.arange(256) / 255, sdr)[frames] @ np.array([0.2126, 0.7152, 0.0722])


def chromaticity(colour: tuple[int, int, int]) -> NDArray[np.float64]:
    """u′v′ of an sRGB colour, by the matrix of WCAG 2.2."""
    rows = ((0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.0721750), (0.0193339, 0.1191920, 0.9503041))
    x, y, z = np.array(rows) @ linear(np.array(colour) / 255)
    return np.array([4 * x, 9 * y]) / (x + 15 * y + 3 * z)


# --------------------------------------------------------------------------------- the stimuli are what they claim


def test_every_trap_says_something_of_every_standard_and_names_the_clause() -> None:
    for trap in [*TRAPS.values(), *OPEN.values()]:
        assert set(trap.expected) == set(STANDARDS)
        assert all(trap.clause(standard) for standard in STANDARDS)
    assert set(CLAUSES) == set(STANDARDS)
    assert len(TRAPS) > 40


@pytest.mark.parametrize("name", ["checkerboard_reversing", "rows_reversing", "antiphase_halves", "antiphase_pair"])
def test_the_mean_of_the_frame_does_not_show_it(name: str) -> None:
    means = luminance(TRAPS[name].make()).mean(axis=(1, 2))
    assert np.ptp(means) < 1e-12


@pytest.mark.parametrize("sdr", ["srgb", "bt1886"])
@pytest.mark.parametrize(
    "name", ["red_blue", "red_teal", "red_teal_clear", "red_brightness", "red_black", "pale_red_teal", "green_blue"]
)
def test_the_coloured_flashes_do_not_flash_in_luminance(name: str, sdr: str) -> None:
    assert np.ptp(luminance(TRAPS[name].make(), sdr)) < 0.095


def test_the_reds_are_saturated_and_the_others_are_not() -> None:
    def ratio(colour: tuple[int, int, int]) -> float:
        light = linear(np.array(colour) / 255)
        return float(light[0] / light.sum())

    def distance(one: tuple[int, int, int], other: tuple[int, int, int]) -> float:
        return float(np.hypot(*(chromaticity(one) - chromaticity(other))))

    assert ratio((139, 50, 50)) == pytest.approx(0.802, abs=5e-4)
    assert ratio((150, 30, 30)) > 0.92
    assert ratio((120, 60, 60)) == pytest.approx(0.675, abs=5e-4)
    assert distance((139, 50, 50), (30, 90, 90)) == pytest.approx(0.2003, abs=5e-5)
    assert distance((150, 30, 30), (20, 88, 88)) > 0.26
    assert distance((200, 0, 0), (0, 60, 255)) > 0.3
    assert distance((255, 0, 0), (200, 0, 0)) < 1e-12
    assert distance((0, 90, 0), (0, 0, 255)) > 0.4


def test_the_third_of_the_screen_is_diluted_below_every_limit() -> None:
    level = luminance(TRAPS["dim_third"].make()[[0, 2]])
    assert level[1, 0, 0] - level[0, 0, 0] == pytest.approx(0.25, abs=0.003)
    assert level[1].mean() - level[0].mean() == pytest.approx(0.075, abs=0.001)
    assert np.mean(level[0] != level[1]) == 0.30


def test_what_moves_changes_no_quarter_of_a_window_at_once_but_the_whip_pan_does() -> None:
    """Rises of a tenth in one step, as a share of the best 57 × 43 pixels; the mean over all points for the pan."""
    for name in ("scrolling_credits", "bouncing_ball", "heavy_grain", "picket_fence", "pan_over_stripes"):
        rises = np.diff(luminance(TRAPS[name].make()[:12]), axis=0) >= 0.1
        sums = np.zeros((len(rises), 181, 321))
        sums[:, 1:, 1:] = rises.cumsum(1).cumsum(2)
        share = (sums[:, 43:, 57:] - sums[:, :-43, 57:] - sums[:, 43:, :-57] + sums[:, :-43, :-57]) / (57 * 43)
        assert 0.01 < share.max() < 0.16, name
    assert np.mean(np.diff(luminance(TRAPS["whip_pan"].make()[:2]), axis=0) >= 0.1) == 0.375


# ------------------------------------------------------------------------------------------- what the analysis says


def said(analysis: Analysis) -> dict[str, str]:
    """Standard -> "passed", or which kinds of rule it does not meet."""
    kinds = {
        name: {"red" if "red" in one.rule else "pattern" if "pattern" in one.rule else "general" for one in found}
        for name, verdict in analysis.verdicts.items()
        for found in [verdict.violations]
    }
    for name, verdict in analysis.verdicts.items():
        assert verdict.passed is (not kinds[name])
    return {name: " and ".join(sorted(kind)) or "passed" for name, kind in kinds.items()}


def expected(name: str) -> dict[str, str]:
    table = (TRAPS | OPEN)[name].expected
    return {standard: "passed" if one.passed else "red" if one.red else "general" for standard, one in table.items()}


@pytest.mark.parametrize("name", TRAPS)
def test_trap(name: str) -> None:
    """Verdicts under all six, and for some of them where and when it is."""
    analysis = flash.analyse(TRAPS[name].clip(), STANDARDS)
    assert said(analysis) == expected(name), TRAPS[name].about
    assert all(one.margin < 0 and one.clause for one in analysis.violations)
    assert analysis.passed is (not analysis.violations)
    for place in TRAPS[name].places:
        (found,) = (one for one in analysis.violations if one.standard == place.standard)
        assert (found.start, found.end) == (pytest.approx(place.start, abs=1e-6), pytest.approx(place.end, abs=1e-6))
        assert found.count == place.count
        boxes = np.array(found.boxes)
        whole = (*boxes[:, :2].min(axis=0), *boxes[:, 2:].max(axis=0))
        np.testing.assert_allclose(whole, place.box, atol=4)  # a grid may round a box outwards


@pytest.mark.parametrize(
    "name", ["noisy_seventh", "tiny_flash", "letterboxed_part", "staggered_patches", "lattice_flash", "lattice_still"]
)
def test_a_picture_too_large_to_look_at_every_pixel_gets_the_same_verdicts(name: str) -> None:
    """Three times as large each way, eight frames in turn as before: 960 × 540."""
    frames, seconds = TRAPS[name].clip()
    large = frames[:24, ..., 0].repeat(3, axis=1).repeat(3, axis=2)
    assert said(flash.analyse((large, seconds[:24]), STANDARDS)) == expected(name)


def test_where_any_ramp_counts_the_slow_ramps_are_flashes() -> None:
    standard = flash.available()["wcag2.2"]
    clip = TRAPS["slow_ramps"].clip()
    assert flash.analyse(clip, standard).passed is True
    (found,) = flash.analyse(clip, replace(standard, ramp=None)).violations
    assert found.rule == "general flash"
    assert found.count in (7, 8)  # 7.5 a second


def test_a_count_of_changes_without_concurrency_would_fail_the_credits() -> None:
    """What the area rule keeps out: single points of the credits do change more than six times a second."""
    level = luminance(TRAPS["scrolling_credits"].make()[:30])
    assert np.sum(np.abs(np.diff(level, axis=0)) >= 0.1, axis=0).max() > 6


@pytest.mark.xfail(reason="the exception for fine balanced patterns is a matter of their size in degrees", strict=False)
def test_snow_is_excepted_by_wcag() -> None:
    assert said(flash.analyse(OPEN["snow"].clip(), "wcag2.2"))["wcag2.2"] == "passed"


def test_a_violation_ends_before_the_flashing_starts_again() -> None:
    """Two bursts of four flashes, two seconds apart, are two incidents."""
    frames = np.zeros((4 * FPS, 27, 48), np.uint8)
    for start in (10, 85):
        frames[start : start + 16 : 4] = 255
    found = flash.analyse((frames, np.arange(len(frames)) / FPS), "wcag2.2").violations
    assert [round(one.start * FPS) for one in found] == [10, 85]
    assert [round(one.end * FPS) for one in found] == [23, 98]
    assert [one.count for one in found] == [8, 8]


def test_the_page_says_of_every_trap_what_the_table_says() -> None:
    page = (Path(__file__).parents[2] / "docs" / "flash.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \| (.) \| ", page, re.MULTILINE))
    marks = dict(re.findall(r"^\| `(\w+)` \| (. \| . \| . \| .) \| ", page, re.MULTILINE))
    assert set(rows) == set(TRAPS)
    for name, trap in TRAPS.items():
        told = [trap.expected[one].passed for one in ("wcag2.2", "trace24", "ofcom", "nab-j")]
        assert marks[name] == " | ".join("✓" if passed else "✗" for passed in told), name
        assert trap.about in page
