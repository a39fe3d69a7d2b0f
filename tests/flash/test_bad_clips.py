"""Nothing that could not be read whole is ever said to meet a standard, and sizes and rates of any kind are read."""

from __future__ import annotations

import wave
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import sparring as sp
from flash.encoders import ENCODERS
from sparring.errors import InputError

av = pytest.importorskip("av")
EVERY = tuple(sp.flash.available())


def blinking(frames: int, every: int, width: int = 64, height: int = 36) -> NDArray[np.uint8]:
    """Noise, and black or white over it for the upper two thirds."""
    clip = np.random.default_rng(0).integers(90, 160, (frames, height, width, 3), np.uint8)
    clip[np.arange(frames) // every % 2 == 1, : 2 * height // 3] = 250
    clip[np.arange(frames) // every % 2 == 0, : 2 * height // 3] = 5
    return clip


def written(path: Path, clip: NDArray[np.uint8], rate: Fraction | int = 30) -> Path:
    return ENCODERS["H.264 CRF 18"].write(path, clip, rate)


@pytest.mark.parametrize(("every", "violated"), [(20, False), (3, True)])
def test_a_clip_without_its_end_is_partial_and_never_passed(every: int, violated: bool, tmp_path: Path) -> None:
    clip = blinking(120, every)
    path = tmp_path / "whole.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"g": "15", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 64, 36, "yuv420p"
        for pixels in clip:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    whole = sp.flash.analyse(path, "ofcom")
    assert (whole.passed, whole.partial, whole.frames) == (not violated, None, 120)
    content = path.read_bytes()
    for share in (0.9, 0.6, 0.3):
        short = tmp_path / f"{share}.mkv"
        short.write_bytes(content[: int(len(content) * share)])
        found = sp.flash.analyse(short, ("ofcom", "wcag2.2"))
        assert found.passed is None
        assert all(verdict.passed is None for verdict in found.verdicts.values())
        assert found.partial
        assert 0 < found.frames < 120
        assert bool(found.violations) is (violated and found.frames > 30)


def test_a_fault_in_the_middle_is_partial(tmp_path: Path) -> None:
    path = written(tmp_path / "clip", blinking(90, 20))
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 600] = np.random.default_rng(1).bytes(600)
    path.write_bytes(content)
    found = sp.flash.analyse(path)
    assert found.passed is None
    assert found.partial


def test_what_holds_no_pictures_is_refused_with_a_reason(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "words.mp4").write_text("not a film" * 100)
    with wave.open(str(tmp_path / "sound.wav"), "wb") as sound:
        sound.setnchannels(1), sound.setsampwidth(2), sound.setframerate(8000)
        sound.writeframes(bytes(8000))
    for name in ("empty.mp4", "words.mp4", "sound.wav", "missing.mp4", "."):
        with pytest.raises(InputError, match=r"\S+ \S+ \S+"):
            sp.flash.analyse(tmp_path / name)
    with pytest.raises(InputError, match="audio"):
        sp.flash.analyse(tmp_path / "sound.wav")
    for frames in (np.zeros((0, 4, 4, 3), np.uint8), np.zeros((2, 4, 4, 3), np.float32), np.zeros((2, 4), np.uint8)):
        with pytest.raises(InputError):
            sp.flash.analyse((frames, np.arange(len(frames)) / 30))
    with pytest.raises(InputError):
        sp.flash.analyse((np.zeros((2, 4, 4, 3), np.uint8), np.array([0.1, 0.0])))
    with pytest.raises(InputError):
        sp.flash.analyse((np.zeros((2, 4, 4, 3), np.uint8), np.array([0.0, np.nan])))


@pytest.mark.parametrize("size", [(1, 1), (3, 1), (1, 77), (101, 67), (640, 2), (2, 640)])
def test_any_size_is_analysed(size: tuple[int, int]) -> None:
    width, height = size
    for every, passed in ((20, True), (3, False)):
        frames = np.zeros((60, height, width, 3), np.uint8)
        frames[np.arange(60) // every % 2 == 1] = 255
        found = sp.flash.analyse((frames, np.arange(60) / 30), EVERY)
        assert found.size == size
        said = {name: verdict.passed for name, verdict in found.verdicts.items()}
        # A strip of 14 CSS pixels on the display is less than a quarter of any window.
        thin = min(size) * min(1920 / width, 1080 / height) < 64
        assert said == {name: passed or (thin and name in ("wcag2.2", "trace24")) for name in EVERY}


def test_8k_is_analysed() -> None:
    grey = np.full((1, 1, 1), 90, np.uint8)
    frames = [np.broadcast_to(grey + (n % 2) * 150, (4320, 7680, 3)) for n in range(9)]
    found = sp.flash.analyse((frames, np.arange(9) / 10), ("wcag2.2", "ofcom"))
    assert found.size == (7680, 4320)
    assert not found.passed
    assert found.violations[0].count == 8


@pytest.mark.parametrize(
    ("rate", "every", "passed"), [(1, 1, True), (6, 1, True), (7, 1, False), (1000, 1, False), (1000, 167, True)]
)
def test_rates_from_one_to_a_thousand(rate: int, every: int, passed: bool) -> None:
    frames = max(3 * rate // 2, 12)
    clip = np.zeros((frames, 9, 16, 3), np.uint8)
    clip[np.arange(frames) // every % 2 == 1] = 255
    assert sp.flash.analyse((clip, np.arange(frames) / rate), EVERY).passed is passed
