"""The limiter: what comes out meets the rules, what goes in is changed no more than it must be."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from flash.hazards import Clip, clips
from flash.stimuli import STANDARDS, TRAPS
from sparring import flash
from sparring.errors import InputError
from sparring.flash.mitigation.regulator import Regulator
from sparring.flash.reading.colour import Colour
from sparring.flash.reading.pictures import Picture, Plane
from sparring.flash.standards import Standard

QUICK = settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


def plain(name: str) -> Standard:
    """A standard without its rules for patterns, which the limiter does not know."""
    standard = flash.available()[name]
    return replace(standard, rules=standard.flashes)


FLASHES = tuple(plain(name) for name in STANDARDS)


def live(clip: Clip, standard: Standard | tuple[Standard, ...]) -> NDArray[np.uint8]:
    limiter = flash.Limiter(standard)
    return np.stack([limiter.push(frame, time) for frame, time in zip(*clip, strict=True)])


def strobe(codes: tuple[int, int], count: int = 90, size: tuple[int, int] = (18, 32), hold: int = 2) -> Clip:
    """Two greys in turn, `hold` frames each at 30 a second."""
    states = np.array(codes, np.uint8)[np.arange(count) // hold % 2]
    return np.broadcast_to(states[:, None, None, None], (count, *size, 3)).copy(), np.arange(count) / 30


@QUICK
@given(clips(), st.sampled_from([(one,) for one in FLASHES] + [FLASHES]))
def test_what_comes_out_meets_the_rules(clip: Clip, standards: tuple[Standard, ...]) -> None:
    made = live(clip, standards)
    assert flash.analyse((made, clip[1]), standards).passed is True
    # what met them already comes out as it went in, and so does what was limited once
    if flash.analyse(clip, standards).passed:
        np.testing.assert_array_equal(made, clip[0])
    np.testing.assert_array_equal(live((made, clip[1]), standards), made)


@QUICK
@given(clips())
def test_a_pixel_lies_between_what_it_showed_last_and_what_is_given(clip: Clip) -> None:
    made, given_ = live(clip, plain("wcag2.2")).astype(int), clip[0].astype(int)
    low, high = (bound(made[:-1], given_[1:]) for bound in (np.minimum, np.maximum))
    assert np.all((made[1:] >= low) & (made[1:] <= high))
    np.testing.assert_array_equal(made[0], given_[0])


@pytest.mark.parametrize("name", ["checkerboard_reversing", "red_blue", "wobbling_flash", "bright_flicker"])
def test_traps_that_do_not_pass_do_so_afterwards(name: str) -> None:
    clip = TRAPS[name].clip()
    made = live(clip, FLASHES)
    assert flash.analyse((made, clip[1]), FLASHES).passed is True
    assert not np.array_equal(made, clip[0])


@pytest.mark.parametrize("name", ["three_hertz", "film_grain", "scrolling_credits", "three_camera_flashes"])
def test_traps_that_pass_are_not_touched(name: str) -> None:
    frames, seconds = TRAPS[name].clip()
    limiter = flash.Limiter(FLASHES)
    assert all(limiter.push(frame, time) is frame for frame, time in zip(frames[:45], seconds, strict=False))


def test_a_strobe_keeps_six_transitions_a_second_and_the_seventh_is_held() -> None:
    frames, seconds = strobe((0, 255))  # a transition every other frame, the first at frame 2
    made = live((frames, seconds), plain("wcag2.2"))
    np.testing.assert_array_equal(made[:14], frames[:14])  # six transitions: frames 2, 4 … 12
    held = made[14, 0, 0, 0] / 255
    level = ((held + 0.055) / 1.055) ** 2.4
    assert 0.07 < level < 0.1  # from black towards white as far as is no transition
    # from frame 32 on, the first transition is a second ago
    np.testing.assert_array_equal(made[32:34], frames[32:34])


def test_only_what_flashes_is_held() -> None:
    frames, seconds = strobe((0, 255), 60, (36, 64))
    frames[:, :, 40:] = np.random.default_rng(0).integers(100, 120, (60, 36, 24, 3))
    made = live((frames, seconds), plain("wcag2.2"))
    np.testing.assert_array_equal(made[:, :, 40:], frames[:, :, 40:])
    assert not np.array_equal(made, frames)


def test_with_any_ramp_counted_nothing_creeps() -> None:
    """Where slow changes count as well, what is held goes less than a transition in all."""
    standard = replace(plain("wcag2.2"), ramp=None)
    frames, seconds = strobe((0, 255), 60)
    made = live((frames, seconds), standard)
    assert flash.analyse((made, seconds), standard).passed is True
    held = ((made[14:32, 0, 0, 0] / 255 + 0.055) / 1.055) ** 2.4
    assert np.ptp(held) < 0.1


def yuv(luma: NDArray[np.uint8], chroma: int, seconds: float) -> Picture:
    """A 4:2:0 picture of BT.709 in limited range, its two chroma planes of one code."""
    height, width = luma.shape
    small = np.full((height // 2, width // 2), chroma, np.uint8)
    planes = tuple(Plane(part.reshape(-1), part.shape[1], *part.shape) for part in (luma, small, small.copy()))
    return Picture(planes, Colour("yuv", 8, False), seconds, (width, height), (1, 1))


def test_points_that_share_a_chroma_sample_are_held_together() -> None:
    regulator = Regulator([(plain("wcag2.2"), lambda _: True)])
    shown = []
    for t in range(40):
        luma = np.full((36, 64), 100, np.uint8)
        luma[:, :31] = (20, 230)[t // 2 % 2]  # the last column of it shares its chroma with the next
        given_ = yuv(luma, (110, 140)[t // 2 % 2], t / 30)
        shown.append((given_, regulator.push(given_)))
    changed = [(one, other) for one, other in shown if other is not one]
    assert len(changed) > 5
    for one, other in changed:
        moved = [a.array() != b.array() for a, b in zip(one.planes, other.planes, strict=True)]
        assert moved[1][:, :15].all()
        assert not moved[0][:, 32:].any()  # beyond that cell nothing is touched
        assert not moved[1][:, 16:].any()


def test_what_cannot_be_pushed_is_said() -> None:
    limiter = flash.Limiter()
    limiter.push(np.zeros((18, 32, 3), np.uint8), 0.0)
    with pytest.raises(InputError, match="those before it 32 × 18"):
        limiter.push(np.zeros((20, 32, 3), np.uint8), 0.1)
    with pytest.raises(InputError, match="not after the frame before"):
        limiter.push(np.zeros((18, 32, 3), np.uint8), 0.0)
    with pytest.raises(InputError, match="not known"):
        flash.Limiter("wcag3")
