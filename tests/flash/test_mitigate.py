"""Mitigation of whole clips: what is written meets the standards, and is the source wherever that did."""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from flash.hazards import Clip, clips
from flash.stimuli import STANDARDS, TRAPS
from sparring import flash
from sparring.errors import InputError
from sparring.flash.mitigation import writing
from sparring.flash.mitigation.quality import Quality, ssim, ssim_map
from sparring.flash.mitigation.spans import LEVELS, Span, spans
from sparring.flash.reading import opened
from sparring.flash.reading.pictures import of_array
from sparring.flash.records import Analysis, Violation

QUICK = settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
RATE, COUNT = 30, 75
FLASHING = slice(20, 60)


def inside(seconds: NDArray[np.float64], analysis: Analysis) -> NDArray[np.bool_]:
    """Which of these times lie in an incident."""
    found = [(seconds >= one.start - 1e-6) & (seconds <= one.end + 1e-6) for one in analysis.violations]
    return np.logical_or.reduce(found) if found else np.zeros(len(seconds), bool)


def pictures(size: tuple[int, int] = (72, 128), low: int = 10, high: int = 250) -> NDArray[np.uint8]:
    """A still of soft noise whose left half flashes from frame 20 to 60, at 7.5 Hz."""
    height, width = size
    frames = np.random.default_rng(0).integers(60, 120, (1, height, width, 1)).repeat(COUNT, 0).repeat(3, 3)
    for t in range(COUNT)[FLASHING]:
        frames[t, :, : width // 2] = high if t // 2 % 2 else low
    return frames.astype(np.uint8)


def write(
    path: Path,
    frames: NDArray[np.uint8],
    codec: str = "libx264",
    pixels: str = "yuv420p",
    options: dict[str, str] | None = None,
    *,
    sound: bool = False,
    turned: int = 0,
    aspect: Fraction | None = None,
    stamps: list[int] | None = None,
) -> Path:
    """A file of these frames at 30 a second, or at `stamps` in milliseconds."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=RATE, options=options or {})
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = pixels
        unit = Fraction(1, 1000) if stamps else Fraction(1, RATE)
        stream.codec_context.time_base = unit
        if turned:
            stream.set_display_rotation(turned)
        if aspect:
            stream.codec_context.sample_aspect_ratio = aspect
        tone = container.add_stream("aac", rate=48000) if sound else None
        for number, codes in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(codes, "rgb24").reformat(format=pixels)
            frame.pts, frame.time_base = stamps[number] if stamps else number, unit
            container.mux(stream.encode(frame))
            if tone is not None:
                wave = np.sin((np.arange(1600) + 1600 * number) / 20).astype(np.float32)[None]
                piece = av.AudioFrame.from_ndarray(wave, "fltp", "mono")
                piece.sample_rate, piece.pts = 48000, 1600 * number
                container.mux(tone.encode(piece))
        container.mux(stream.encode())
        if tone is not None:
            container.mux(tone.encode())
    return path


def packets(path: Path, kind: str) -> list[tuple[float, bytes]]:
    with av.open(str(path)) as container:
        (stream,) = [one for one in container.streams if one.type == kind]
        return [(float(one.pts * one.time_base), bytes(one)) for one in container.demux(stream) if one.size]


def planes(path: Path) -> Iterator[list[NDArray[Any]]]:
    for picture in opened(path).pictures():
        yield [plane.array().copy() for plane in picture.planes]


def seconds(path: Path) -> NDArray[np.float64]:
    return np.array([picture.seconds for picture in opened(path).pictures()])


# ----------------------------------------------------------------------------------------------------------- arrays


@QUICK
@given(clips(), st.sampled_from([(one,) for one in STANDARDS] + [STANDARDS]))
def test_the_result_passes_and_nothing_changed_outside_the_incidents(clip: Clip, standards: tuple[str, ...]) -> None:
    made = flash.mitigate(clip, standard=standards)
    assert made.passed is True
    assert made.after.standards == standards
    assert made.copied is made.before.passed
    assert made.frames is not None
    same = (made.frames[0] == clip[0]).all(axis=(1, 2, 3))
    assert same[~inside(clip[1], made.before)].all()
    assert made.changed == np.sum(~same)
    again = flash.mitigate(made.frames, standard=standards)
    assert again.copied
    np.testing.assert_array_equal(again.frames[0], made.frames[0])  # type: ignore[index]


def test_a_clip_that_passes_comes_back_as_it_is() -> None:
    frames, times = TRAPS["three_camera_flashes"].clip()
    made = flash.mitigate((iter(frames), iter(times)), standard=STANDARDS)
    assert (made.passed, made.copied, made.changed, made.rounds) == (True, True, 0, 0)
    assert (made.psnr, made.ssim) == (math.inf, 1.0)
    np.testing.assert_array_equal(made.frames[0], frames)  # type: ignore[index]


def test_the_end_of_an_incident_is_seen_coming() -> None:
    """A strobe that ends just when its budget is spent: live, the last change comes late; else it is kept free."""
    frames = np.zeros((120, 18, 32, 3), np.uint8)
    state = np.arange(120) // 2 % 2 * 255
    for last in range(40, 60):
        frames[:] = np.where(np.arange(120) < last, state, 128)[:, None, None, None]
        clip = frames, np.arange(120) / 30
        causal, ahead = (flash.mitigate(clip, causal=causal) for causal in (True, False))
        assert causal.passed
        assert ahead.passed
        late = [(one.frames[0] != frames).any(axis=(1, 2, 3))[~inside(clip[1], one.before)] for one in (causal, ahead)]  # type: ignore[index]
        assert not late[1].any()
        if late[0].any():
            return
    pytest.fail("no strobe whose end came late")


def test_stripes_become_faint_where_they_are_and_only_there() -> None:
    y, x = np.mgrid[:180, :320]
    frame = np.full((180, 320), 90, np.uint8)
    stripes = np.where(np.sin(2 * np.pi * (x + 0.3 * y) / 16) > 0, 200, 30)
    frame[:, :200] = stripes[:, :200]
    clip = frame[None, ..., None].repeat(45, 0).repeat(3, 3), np.arange(45) / 30
    made = flash.mitigate(clip, standard="ofcom")
    assert [one.rule for one in made.before.violations] == ["pattern"]
    assert made.passed is True
    result = made.frames[0][20, :, :, 0].astype(int)  # type: ignore[index]
    assert np.ptp(result[60:120, 40:140]) < 0.6 * 170  # the stripes are still there, at less than their contrast
    assert np.ptp(result[60:120, 40:140]) > 10
    np.testing.assert_array_equal(result[:, 260:], 90)


# ------------------------------------------------------------------------------------------------------------ files


def test_a_written_file_passes_and_keeps_sound_times_turn_and_shape(tmp_path: Path) -> None:
    source = write(tmp_path / "in.mp4", pictures(), sound=True, turned=90, aspect=Fraction(4, 3))
    target = tmp_path / "out.mp4"
    told: list[float] = []
    made = flash.mitigate(source, target, STANDARDS, progress=lambda share, note: told.append(share))
    assert (made.passed, made.before.passed, made.codec) == (True, False, "libx264")
    assert flash.analyse(target, STANDARDS).passed is True
    assert 5 < made.changed < 40
    assert 10 < made.psnr < 40
    assert 0.5 < made.ssim < 1
    assert packets(target, "audio") == packets(source, "audio")
    assert [time for time, _ in packets(target, "video")] == [time for time, _ in packets(source, "video")]
    clip, other = opened(source), opened(target)
    assert (other.size, other.sample_aspect, other.colour) == (clip.size, clip.sample_aspect, clip.colour)
    assert clip.size == (72, 128)
    assert told == sorted(told)
    assert told[-1] == pytest.approx(1, abs=0.03)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mp4", "out.mp4"]


FORMATS = {
    "h264": ("in.mp4", "libx264", "yuv420p", {}, (72, 128)),
    "ten bits": ("in.mkv", "libx264", "yuv420p10le", {}, (72, 128)),
    "odd size": ("in.mkv", "ffv1", "yuv420p", {}, (55, 101)),
    "rgb": ("in.mkv", "ffv1", "bgr0", {}, (54, 96)),
    "full range": ("in.mp4", "libx264", "yuvj420p", {}, (54, 96)),
    "4:2:2": ("in.mkv", "ffv1", "yuv422p", {}, (54, 96)),
    "interlaced": ("in.mp4", "libx264", "yuv420p", {"flags": "+ildct+ilme", "x264-params": "tff=1"}, (72, 128)),
}


@pytest.mark.parametrize("name", FORMATS)
def test_written_without_loss_all_outside_the_incidents_is_bit_identical(name: str, tmp_path: Path) -> None:
    file, codec, pixels, options, size = FORMATS[name]
    source, target = write(tmp_path / file, pictures(size), codec, pixels, options), tmp_path / "out.mkv"
    made = flash.mitigate(source, target, lossless=True)
    assert (made.passed, made.codec, made.rounds) == (True, "ffv1", 1)
    assert flash.analyse(target).passed is True
    times = seconds(source)
    np.testing.assert_allclose(seconds(target), times, atol=1e-9)
    same = [
        all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
        for one, other in zip(planes(source), planes(target), strict=True)
    ]
    assert len(same) == COUNT * (2 if name == "interlaced" else 1)
    assert all(np.array(same)[~inside(times, made.before)])
    # a frame whose one field changed counts once
    assert made.changed <= np.sum(~np.array(same)) <= made.changed * (2 if name == "interlaced" else 1)
    assert made.changed > 5


@pytest.mark.parametrize("target", ["out.mp4", "out.mov", "out.webm", "out.gif"])
def test_the_name_of_the_target_says_how_it_is_written(target: str, tmp_path: Path) -> None:
    source = write(tmp_path / "in.mkv", pictures((36, 64)), "ffv1", "bgr0")
    made = flash.mitigate(source, tmp_path / target, "wcag2.2")
    assert made.passed is True
    assert made.codec == {"webm": "libvpx-vp9", "gif": "gif"}.get(target[4:], "libx264")
    assert flash.analyse(tmp_path / target).passed is True
    assert made.psnr > 10


def test_a_loop_that_flashes_across_its_seam_is_mitigated(tmp_path: Path) -> None:
    """Four transitions at the end of the loop and four at its start."""
    frames = np.zeros((30, 36, 64, 3), np.uint8)
    frames[[1, 2, 5, 6, 23, 24, 27, 28]] = 255
    source = tmp_path / "in.gif"
    images = [writing._palettised(frame) for frame in frames]
    images[0].save(source, save_all=True, append_images=images[1:], duration=50, loop=0)
    made = flash.mitigate(source, tmp_path / "out.gif")
    assert made.before.passed is False
    assert made.passed is True
    assert opened(tmp_path / "out.gif").loops


def test_uneven_times_are_kept(tmp_path: Path) -> None:
    steps = np.random.default_rng(0).integers(20, 50, COUNT)
    stamps = np.cumsum(steps).tolist()
    source = write(tmp_path / "in.mkv", pictures((36, 64)), stamps=stamps)
    for name in ("out.mkv", "out.mp4"):
        made = flash.mitigate(source, tmp_path / name)
        assert made.passed is True
        np.testing.assert_allclose(seconds(tmp_path / name), seconds(source), atol=1e-9)


def test_a_file_that_passes_is_copied_bit_for_bit(tmp_path: Path) -> None:
    source = write(tmp_path / "in.mp4", pictures((36, 64), 100, 110), sound=True)
    made = flash.mitigate(source, tmp_path / "out.mp4", STANDARDS, crf=40)
    assert (made.copied, made.passed, made.codec, made.psnr) == (True, True, None, math.inf)
    assert (tmp_path / "out.mp4").read_bytes() == source.read_bytes()


def test_a_clip_that_can_be_read_in_part_only_is_refused(tmp_path: Path) -> None:
    source = write(tmp_path / "in.mkv", pictures((36, 64)))
    data = source.read_bytes()
    source.write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match="in part only"):
        flash.mitigate(source, tmp_path / "out.mkv")
    assert [path.name for path in tmp_path.iterdir()] == ["in.mkv"]


def test_what_cannot_be_written_is_said_before_anything_is_done(tmp_path: Path) -> None:
    source = write(tmp_path / "in.mkv", pictures((36, 64))[:30])
    for target, words in (
        (None, "target is missing"),
        (source, "is the source"),
        (tmp_path, "is a folder"),
        (tmp_path / "none" / "out.mkv", "folder does not exist"),
        (tmp_path / "out.txt", "name a file in .mp4"),
    ):
        with pytest.raises(InputError, match=words):
            flash.mitigate(source, target)
    with pytest.raises(InputError, match="not lossless"):
        flash.mitigate(source, tmp_path / "out.gif", lossless=True)
    with pytest.raises(InputError, match="crf=99"):
        flash.mitigate(source, tmp_path / "out.mp4", crf=99)
    with pytest.raises(InputError, match="is for files"):
        flash.mitigate(TRAPS["camera_flash"].clip(), tmp_path / "out.mp4")


def test_a_full_disk_leaves_the_old_target_and_no_half_of_a_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = write(tmp_path / "in.mkv", pictures((36, 64))), tmp_path / "out.mkv"
    target.write_text("what was there")

    def full(self: object, shot: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writing.Writer, "write", full)
    with pytest.raises(InputError, match="cannot be written: No space left"):
        flash.mitigate(source, target)
    assert target.read_text() == "what was there"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mkv", "out.mkv"]


def test_pixels_that_are_not_square_stay_so_without_loss_too(tmp_path: Path) -> None:
    source = write(tmp_path / "in.mp4", pictures((36, 64)), aspect=Fraction(4, 3))
    made = flash.mitigate(source, tmp_path / "out.mkv", lossless=True)
    assert (made.passed, made.codec) == (True, "libx264")  # FFV1 cannot say it
    assert opened(tmp_path / "out.mkv").sample_aspect == Fraction(4, 3)
    same = [np.array_equal(a[0], b[0]) for a, b in zip(planes(source), planes(tmp_path / "out.mkv"), strict=True)]
    assert all(np.array(same)[~inside(seconds(source), made.before)])


def test_where_the_encoder_undoes_it_the_next_round_is_stricter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An encoder that shows every change a third larger than it is: the first result fails, a later one passes."""
    from sparring.flash.mitigation.shots import Shot, writable

    def enlarged(self: Any, shot: Shot) -> None:
        for plane in shot.pictures[0].planes[:1]:
            codes = plane.array().astype(float)
            writable(plane)[:] = np.clip(128 + (codes - 128) * 1.35, 16, 235).round()
        honest(self, shot)

    honest = writing.Writer.write
    monkeypatch.setattr(writing.Writer, "write", enlarged)
    source = write(tmp_path / "in.mkv", pictures((36, 64), 90, 150), "ffv1")
    made = flash.mitigate(source, tmp_path / "out.mkv", lossless=True)
    assert made.before.passed is False
    assert made.rounds > 1
    assert made.passed is True


# ------------------------------------------------------------------------------------------------------- the pieces


def violation(start: float, end: float, rule: str = "general flash") -> Violation:
    return Violation("wcag2.2", rule, start, end, 1.0, 9, -3.0, ((0, 0, 1, 1),), "")


def test_only_the_spans_that_fail_again_are_made_stricter() -> None:
    first = spans([violation(1, 2), violation(5, 6), violation(1, 2, "red flash")])
    assert [one.level for one in first] == [0, 0, 0]
    second = spans([violation(5.5, 6.1)], first)
    assert [one.level for one in second] == [0, 1, 0]
    third = spans([violation(9, 10)], second)
    assert [(one.start, one.level) for one in third] == [(1, 0), (5, 1), (1, 0), (9, 1)]
    for _ in range(2 * len(LEVELS)):
        third = spans([violation(9, 10)], third)
    assert [one.level for one in third] == [0, 1, 0, len(LEVELS) - 1]
    assert isinstance(third[0], Span)


def test_psnr_and_ssim_are_what_their_authors_say() -> None:
    rng = np.random.default_rng(0)
    one = rng.integers(0, 256, (40, 50, 3), np.uint8)
    other = np.clip(one + rng.integers(-9, 10, one.shape), 0, 255).astype(np.uint8)
    quality = Quality()
    quality.push(of_array(one, 0.0), of_array(other, 0.0))
    error = np.mean((one.astype(float) - other) ** 2)
    assert quality.psnr == pytest.approx(10 * math.log10(255**2 / error), abs=1e-3)
    # one window by hand: the middle of an 11 × 11 picture, with weights that sum to one
    x, y = (rng.random((11, 11)).astype(np.float32) for _ in range(2))
    d = np.arange(-5, 6)
    window = np.exp(-(d[:, None] ** 2 + d**2) / (2 * 1.5**2))
    window /= window.sum()
    mx, my = (np.sum(window * side) for side in (x, y))
    vx, vy = np.sum(window * x**2) - mx**2, np.sum(window * y**2) - my**2
    cov = np.sum(window * x * y) - mx * my
    expected = (2 * mx * my + 1e-4) * (2 * cov + 9e-4) / ((mx**2 + my**2 + 1e-4) * (vx + vy + 9e-4))
    assert ssim_map(x, y)[5, 5] == pytest.approx(expected, abs=1e-4)
    assert ssim(x, x) == pytest.approx(1, abs=1e-5)
