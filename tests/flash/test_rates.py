"""Any frame rate gives the same answer: strobes, sines and square waves, held against a counter in plain Python.

The counter is the definition written down for one point that stands for the whole screen: nothing of the product is
used in it. A transition is a change of at least a tenth (the darker state below 0.8) from a state at most 66 ms ago,
or from the frame before however long ago that was; what counts is a change of direction; seven of those less than a
second apart are too many.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from flash.stimuli import STANDARDS, TRAPS, field_of, grey, held, patch
from sparring import flash
from sparring.flash.records import Analysis, Violation

Codes = NDArray[np.int64] | list[int]
Movie = tuple[NDArray[np.uint8], NDArray[np.float64]]

RATES = (24.0, 25.0, 30000 / 1001, 30.0, 50.0, 60.0, 120.0)
LEVELS = [float(((c / 255 + 0.055) / 1.055) ** 2.4) if c > 10 else c / 255 / 12.92 for c in range(256)]
every_rate = pytest.mark.parametrize("rate", RATES, ids=lambda rate: f"{rate:.5g}")


def counted(codes: list[int], seconds: list[float], delta: float = 0.1, ramp: float = 0.066) -> list[int]:
    """For each frame, the transitions within the last second, of a screen that shows one grey at a time."""
    level = [LEVELS[code] for code in codes]
    since, kept, counts = 0, [], []
    for now, time in enumerate(seconds):
        direction = 0
        for then in range(since, now):
            if then == now - 1 or time - seconds[then] <= ramp + 1e-6:
                change = level[now] - level[then]
                if abs(change) >= delta and min(level[now], level[then]) < 0.8:
                    direction = 1 if change > 0 else -1
        if direction:
            since = now
        kept = [one for one in kept if time - one[0] < 1 - 1e-6]
        if direction and (not kept or kept[-1][1] != direction):
            kept.append((time, direction))
        counts.append(len(kept))
    return counts


def clip(codes: Codes, seconds: NDArray[np.float64]) -> Movie:
    frames = np.asarray(codes, np.uint8)[:, None, None].repeat(9, axis=1).repeat(16, axis=2)
    return frames, seconds


def meets(codes: Codes, seconds: NDArray[np.float64], *standards: str) -> set[bool | None]:
    """The verdicts of the standards, as a set: of one element where they agree."""
    analysis = flash.analyse(clip(codes, seconds), standards or STANDARDS)
    return {verdict.passed for verdict in analysis.verdicts.values()}


def square(frequency: float, rate: float, seconds: float = 3.0) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Black and white, one of each in a period."""
    times = np.arange(round(seconds * rate)) / rate
    return np.where(np.floor(2 * frequency * times + 1e-9) % 2, 255, 0), times


# ------------------------------------------------------------------------------------------------- strobes and waves


@pytest.mark.parametrize(("rate", "passed"), [(5, True), (6, True), (7, False), (8, False), (10, False), (12, False)])
def test_a_strobe_that_changes_with_every_frame(rate: int, passed: bool) -> None:
    """At 5 frames a second there are five transitions in any second; from seven on there are more than six."""
    times = np.arange(3 * rate) / rate
    codes = np.arange(3 * rate) % 2 * 255
    assert max(counted(list(codes), list(times))) == rate
    assert meets(codes, times) == {passed}


@every_rate
def test_a_sine_of_5_hertz_fails_at_every_rate(rate: float) -> None:
    times = np.arange(round(2 * rate)) / rate
    codes = np.array([grey(level) for level in 0.5 - 0.5 * np.cos(2 * np.pi * 5 * times)])
    assert max(counted(list(codes), list(times), delta=0.2)) in (9, 10)
    assert meets(codes, times) == {False}


@every_rate
@pytest.mark.parametrize("frequency", [1, 2, 3])
def test_square_waves_up_to_3_hertz_pass(frequency: float, rate: float) -> None:
    codes, times = square(frequency, rate)
    assert max(counted(list(codes), list(times))) <= 6
    assert meets(codes, times) == {True}


@every_rate
@pytest.mark.parametrize("frequency", [3.1, 3.4, 3.5, 4, 5, 10, 12])
def test_square_waves_above_3_hertz_fail(frequency: float, rate: float) -> None:
    """Seven transitions span three periods: above 3 Hz that is less than a second, and less than N frames of it.

    At 3.1 Hz they span 0.968 s, which is 23.2 frames at 24 frames a second: 23 of them somewhere, and 23 are enough.
    """
    codes, times = square(frequency, rate)
    assert max(counted(list(codes), list(times))) > 6
    assert meets(codes, times) == {False}


@pytest.mark.parametrize("frequency", [2, 2.8, 3.3, 4, 10])
def test_square_waves_at_a_variable_rate(frequency: float) -> None:
    """Frames last 1/120 to 1/20 s. Near 3 Hz the frame grid decides, so the counter does."""
    times = np.random.default_rng(3).uniform(1 / 120, 1 / 20, 120).cumsum()
    codes = np.where(np.floor(2 * frequency * times) % 2, 255, 0)
    most = max(counted(list(codes), list(times)))
    assert (most > 6) == (frequency > 3)
    assert meets(codes, times) == {most <= 6}


@every_rate
def test_flicker_that_alternates_with_every_frame_is_no_exemption(rate: float) -> None:
    """Not even at 120 frames a second: 60 Hz is below what TRACE24 calls fused (65 Hz)."""
    times = np.arange(round(rate)) / rate
    assert meets(np.arange(len(times)) % 2 * 255, times) == {False}


def test_a_long_pause_between_two_frames_is_no_flash_and_forgets_what_was_before() -> None:
    changes = [0.0, 0.1, 0.2, 0.3, 0.4, 5.0, 5.1, 5.2, 5.3, 5.4]  # 4 transitions, a pause, then 5 more
    codes = [0, 255] * 5
    assert max(counted(codes, changes)) == 5
    assert meets(codes, np.array(changes)) == {True}


# -------------------------------------------------------------------------------------------------------- properties

# Codes whose luminances are 0, 0.03, 0.07, 0.16, 0.35, 0.6, 0.76, 0.84 and 1: no two are 0.1 or 0.2 apart.
GRID = tuple(grey(level) for level in (0, 0.03, 0.07, 0.16, 0.35, 0.6, 0.76, 0.84, 1))
sequences = st.lists(st.tuples(st.sampled_from(GRID), st.integers(1, 9)), min_size=2, max_size=40)


def played(states: list[tuple[int, int]]) -> list[int]:
    return [code for code, frames in states for _ in range(frames)]


@given(states=sequences, rate=st.sampled_from([*RATES, 7.5, 15.0]))
@settings(max_examples=60)
def test_any_sequence_of_greys_counts_as_the_definition_says(states: list[tuple[int, int]], rate: float) -> None:
    codes = played(states)
    times = np.arange(len(codes)) / rate
    counts = counted(codes, list(times))
    analysis = flash.analyse(clip(codes, times), ("wcag2.2", "iso9241-391"))
    for name in ("wcag2.2", "iso9241-391"):
        assert analysis.verdicts[name].passed is (max(counts) <= 6)
    np.testing.assert_array_equal(analysis.series.count["wcag2.2: general flash"], counts)


@given(states=sequences, seed=st.integers(0, 2**16))
@settings(max_examples=40)
def test_at_variable_rates_too(states: list[tuple[int, int]], seed: int) -> None:
    codes = played(states)
    times = np.random.default_rng(seed).uniform(1 / 120, 1 / 10, len(codes)).cumsum()
    gaps = np.abs(np.subtract.outer(times, times))
    assume(not np.any(np.abs(gaps - 0.066) < 1e-4) and not np.any(np.abs(gaps - 1) < 1e-3))
    counts = counted(codes, list(times))
    analysis = flash.analyse(clip(codes, times))
    np.testing.assert_array_equal(analysis.series.count["wcag2.2: general flash"], counts)
    assert analysis.passed is (max(counts) <= 6)


@st.composite
def pictures(draw: st.DrawFn) -> Movie:
    """Coarse mosaics of greys and reds that change at random, 48 × 27."""
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    palette = np.array([(0, 0, 0), (90, 90, 90), (255, 255, 255), (220, 0, 0), (0, 60, 220)], np.uint8)
    tiles = draw(st.integers(1, 3))
    frames = draw(st.integers(8, 30))
    mosaic = rng.integers(0, draw(st.integers(2, 5)), (frames, tiles, tiles))
    clip = palette[mosaic].repeat(27 // tiles, axis=1).repeat(48 // tiles, axis=2)
    return clip, np.arange(frames) / draw(st.sampled_from([10.0, 25.0, 60.0]))


def verdicts(analysis: Analysis, later: float = 0.0) -> dict[str, list[object]]:
    """What every standard says but for places, told `later` seconds later."""

    def row(one: Violation) -> tuple[object, ...]:
        return one.rule, round(one.start + later, 4), round(one.end + later, 4), one.count, round(one.area, 4)

    return {name: [one.passed, *map(row, one.violations)] for name, one in analysis.verdicts.items()}


@pytest.mark.parametrize(
    "turn",
    [lambda f: f[:, ::-1], lambda f: f[:, :, ::-1], lambda f: f[:, ::-1, ::-1]],
    ids=["upside down", "mirrored", "both"],
)
@given(movie=pictures())
@settings(max_examples=15)
def test_turning_the_picture_over_changes_nothing(
    turn: Callable[[NDArray[np.uint8]], NDArray[np.uint8]], movie: Movie
) -> None:
    frames, seconds = movie
    turned = flash.analyse((np.ascontiguousarray(turn(frames)), seconds), STANDARDS)
    assert verdicts(turned) == verdicts(flash.analyse(movie, STANDARDS))


@given(movie=pictures(), shift=st.sampled_from([0.25, 3.0, 1000.5]))
@settings(max_examples=15)
def test_a_clip_that_begins_later_says_the_same_later(movie: Movie, shift: float) -> None:
    frames, seconds = movie
    now, later = flash.analyse(movie, STANDARDS), flash.analyse((frames, seconds + shift), STANDARDS)
    assert verdicts(later) == verdicts(now, shift)


@given(movie=pictures(), more=st.integers(1, 40))
@settings(max_examples=15)
def test_a_picture_that_stays_adds_nothing(movie: Movie, more: int) -> None:
    frames, seconds = movie
    step = seconds[1] - seconds[0]
    longer = np.concatenate([frames, frames[-1:].repeat(more, axis=0)])
    times = np.arange(len(longer)) * step
    assert verdicts(flash.analyse((longer, times), STANDARDS)) == verdicts(flash.analyse(movie, STANDARDS))


@given(movie=pictures())
@settings(max_examples=15)
def test_repeating_every_frame_within_its_time_changes_nothing_but_the_rate(
    movie: Movie,
) -> None:
    """A 10 frames a second clip told at 20: the same states at the same times."""
    frames, seconds = movie
    step = seconds[1] - seconds[0]
    assume(step > 0.07)  # two states of the original are then never compared but with the one before
    twice = flash.analyse((frames.repeat(2, axis=0), np.arange(2 * len(frames)) * step / 2), STANDARDS)
    assert verdicts(twice) == verdicts(flash.analyse(movie, STANDARDS))


@given(movie=pictures())
@settings(max_examples=15)
def test_pushing_frame_by_frame_says_the_same(movie: Movie) -> None:
    whole = flash.analyse(movie, STANDARDS)
    stream = flash.Analyser(STANDARDS)
    moments = [stream.push(frame, float(second)) for frame, second in zip(*movie, strict=True)]
    said = stream.finish()
    assert verdicts(said) == verdicts(whole)
    for key, margin in whole.series.margin.items():
        if "pattern" not in key:
            np.testing.assert_allclose([moment.margins[key] for moment in moments], margin, atol=1e-6)


@pytest.mark.parametrize("name", ["dim_third", "red_blue", "noisy_seventh", "three_hertz", "wandering_flash"])
def test_a_trap_says_the_same_upside_down_and_later(name: str) -> None:
    frames, seconds = TRAPS[name].clip()
    turned = flash.analyse((np.ascontiguousarray(frames[:, ::-1, ::-1]), seconds + 7), STANDARDS)
    assert {key: said.passed for key, said in turned.verdicts.items()} == {
        key: said.passed for key, said in TRAPS[name].expected.items()
    }


def test_what_happens_elsewhere_does_not_matter() -> None:
    """A still half, or a half that flashes slowly, beside a half that flashes too often."""
    still, black, white = field_of(90, 64, 36), field_of(0, 64, 36), field_of(255, 64, 36)
    box = (0, 0, 32, 36)
    alone = held([patch(still, box, 0), patch(still, box, 255)], 2)
    beside = alone.copy()
    beside[:, :, 32:] = held([black, white], 15)[:, :, 32:]
    seconds = np.arange(60) / 30
    for clip in (alone, beside):
        found = flash.analyse((clip, seconds), "itu-r-bt.1702").violations
        assert [(one.count, round(one.area, 3)) for one in found] == [(15, 0.5)]
