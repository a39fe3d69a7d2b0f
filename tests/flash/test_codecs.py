"""Verdicts survive being encoded: a few traps through every encoder. `benchmarks/flash_codecs.py` does all of them."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flash.encoders import ENCODERS
from flash.stimuli import TRAPS, field_of, grey, held, scene, shown
from sparring import flash

av = pytest.importorskip("av")
LOSSLESS = ENCODERS["FFV1, lossless, Matroska"]
# One that is dark, one of equal luminance, one that only windows see, and one that just passes.
FEW = ("dim_third", "red_teal_clear", "noisy_seventh", "three_hertz")
ASKED = ("wcag2.2", "itu-r-bt.1702")  # a window and a screen


def verdicts(path: Path) -> dict[str, bool | None]:
    return {name: said.passed for name, said in flash.analyse(path, ASKED).verdicts.items()}


@pytest.mark.parametrize("encoder", ENCODERS)
def test_the_verdicts_of_the_traps_survive(encoder: str, tmp_path: Path) -> None:
    for name in FEW:
        path = ENCODERS[encoder].write(tmp_path / name, TRAPS[name].make()[:36], 30)
        assert verdicts(path) == {key: TRAPS[name].expected[key].passed for key in ASKED}, name


def test_the_lossless_one_is(tmp_path: Path) -> None:
    frames = TRAPS["noisy_seventh"].make()[:5]
    with av.open(str(LOSSLESS.write(tmp_path / "noise", frames, 30))) as container:
        np.testing.assert_array_equal([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)], frames)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_what_is_written_is_tagged_and_comes_back_in_its_colours(encoder: str, tmp_path: Path) -> None:
    """Otherwise the test above would measure how colours are guessed."""
    path = ENCODERS[encoder].write(tmp_path / "red", field_of((200, 40, 30), 64, 48).repeat(6, axis=0), 30)
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    assert len(frames) in (1, 6)  # Pillow joins equal pictures of a GIF
    if ENCODERS[encoder].pixels.startswith("yuv") and ENCODERS[encoder].codec != "gif":
        assert (frames[0].colorspace, frames[0].color_range) == (1, 1)
    pixels = frames[0].reformat(format="rgb24", src_colorspace="itu709" if frames[0].colorspace == 1 else None)
    np.testing.assert_allclose(pixels.to_ndarray().mean(axis=(0, 1)), (200, 40, 30), atol=4)


@pytest.mark.parametrize("rate", [24, 30, Fraction(30000, 1001), 60])
@pytest.mark.parametrize("encoder", ["FFV1, lossless, Matroska", "H.264 CRF 18", "VP9"])
def test_containers_that_round_times_do_not_move_the_second(encoder: str, rate: Fraction | int, tmp_path: Path) -> None:
    """Matroska and WebM keep whole milliseconds: seven transitions within N - 1 frames fail, within N pass."""
    second = int(np.ceil(rate))
    for frames, passed in ((second, True), (second - 1, False)):
        at = 2 + np.linspace(0, frames, 7).round().astype(int)
        index = np.searchsorted(at, np.arange(at[-1] + 3), side="right") % 2
        clip = np.concatenate([field_of(0, 64, 36), field_of(255, 64, 36)])[index]
        path = ENCODERS[encoder].write(tmp_path / f"{frames}", clip, rate)
        assert set(verdicts(path).values()) == {passed}


def test_a_ramp_of_two_frames_is_one_of_67_milliseconds_in_matroska_too(tmp_path: Path) -> None:
    """Its rounded times read 66 or 67; a transition must be complete within 66."""
    levels = [field_of(grey(level), 64, 36) for level in (0, 0.07, 0.14, 0.14, 0.07, 0)]
    clip = held(levels, 1)
    for encoder in ("FFV1, lossless, Matroska", "H.264 CRF 18"):
        assert set(verdicts(ENCODERS[encoder].write(tmp_path / "ramps", clip, 30)).values()) == {True}


@pytest.mark.parametrize(("loops", "passed"), [(None, True), (0, False), (3, False)])
def test_an_animation_that_loops_is_analysed_while_looping(loops: int | None, passed: bool, tmp_path: Path) -> None:
    """Three flashes in 0.8 s are allowed once; when they come again, there are six transitions in 0.8 s."""
    clip = shown(scene(), field_of(255), [4, 12, 20], frames=24)
    pictures = [Image.fromarray(pixels) for pixels in clip]
    path, extra = tmp_path / "loop.gif", {} if loops is None else {"loop": loops}
    durations = [30, 30, 40] * 8
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=durations, optimize=False, **extra)
    assert set(verdicts(path).values()) == {passed}
    assert flash.analyse(path).partial is None


@pytest.mark.parametrize(("centiseconds", "passed"), [(20, True), (17, True), (14, False), (10, False), (8, False)])
def test_a_strobe_in_a_gif_has_its_own_timing(centiseconds: int, passed: bool, tmp_path: Path) -> None:
    """White and black in turn: 5, 5.9, 7.1, 10 and 12.5 changes a second."""
    pictures = [Image.fromarray(field_of(255 * (n % 2), 48, 27)[0]) for n in range(30)]
    path = tmp_path / "strobe.gif"
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=10 * centiseconds)
    assert set(verdicts(path).values()) == {passed}


def test_an_encoder_that_drops_frames_leaves_the_times_of_the_others(tmp_path: Path) -> None:
    """A variable rate: every still frame but the first of a run is left out, as phones and screen recorders do."""
    for name in ("four_hertz", "three_hertz"):
        frames = TRAPS[name].make()
        kept = np.flatnonzero(np.r_[True, np.any(np.diff(frames.astype(int), axis=0), axis=(1, 2, 3))])
        path = tmp_path / f"{name}.mkv"
        with av.open(str(path), "w") as container:
            stream = container.add_stream("ffv1", rate=30)
            stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv444p"
            for number in kept:
                frame = av.VideoFrame.from_ndarray(frames[number], format="rgb24").reformat(format="yuv444p")
                frame.pts, frame.time_base = int(number), Fraction(1, 30)
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        assert verdicts(path) == {key: TRAPS[name].expected[key].passed for key in ASKED}


@pytest.mark.parametrize(("centiseconds", "passed"), [(10, False), (20, True)])
def test_a_loop_of_two_pictures_flashes_for_ever(centiseconds: int, passed: bool, tmp_path: Path) -> None:
    """Black and white, a tenth or a fifth of a second each: one transition in the file, ten or five a second shown."""
    pictures = [Image.fromarray(field_of(code, 64, 36)[0]) for code in (0, 255)]
    path = tmp_path / "two.gif"
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=10 * centiseconds, loop=0)
    found = flash.analyse(path, (*ASKED, "nab-j"))
    assert found.passed is passed
    assert found.seconds >= 6
    # Five a second are allowed; that they last for more than five seconds is told.
    assert {one.rule for one in found.advisories} == {"extended flash"}
