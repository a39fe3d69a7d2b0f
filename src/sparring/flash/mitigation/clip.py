"""Mitigating a whole clip: limit the stretches around its incidents, write, read back, analyse, and be stricter if needed."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from sparring.errors import InputError
from sparring.flash.analysis import Progress, analyse
from sparring.flash.clips import Clip, Source, from_arrays
from sparring.flash.mitigation.limiter import array_of
from sparring.flash.mitigation.outlook import Outlook
from sparring.flash.mitigation.quality import Quality
from sparring.flash.mitigation.shots import Shot, shots
from sparring.flash.mitigation.spans import Span, limited, spans
from sparring.flash.mitigation.writing import Encoding, GifWriter, Writer, beside
from sparring.flash.pictures import Picture
from sparring.flash.reading import opened
from sparring.flash.records import Analysis
from sparring.flash.standards import Standard, named

ROUNDS = 6  # times that a clip is limited and analysed at most

Frames: TypeAlias = "NDArray[Any]"
Times: TypeAlias = "NDArray[np.float64]"


@dataclass(frozen=True, eq=False)
class Mitigation:
    """What was changed, and the analysis of the result. `passed` is False where no round met all the standards."""

    before: Analysis
    after: Analysis  # of the file as written, or of the new frames
    psnr: float  # dB, of all code values of all frames; infinite where nothing differs
    ssim: float  # mean over the frames, of the luma; 1 where nothing differs
    changed: int  # frames whose pictures were changed before they were coded
    copied: bool  # True: it met the standards already, and is the same bit for bit
    rounds: int  # times it was limited
    codec: str | None  # None where nothing was coded
    frames: tuple[Frames, Times] | None = None  # for arrays: the new frames and their times
    notes: tuple[str, ...] = ()

    @property
    def passed(self) -> bool | None:
        return self.after.passed


def mitigate(
    source: str | PathLike[str] | Source,
    target: str | PathLike[str] | None = None,
    standard: str | Standard | Iterable[str | Standard] = "wcag2.2",
    *,
    causal: bool = False,
    crf: int = 18,
    lossless: bool = False,
    progress: Progress | None = None,
) -> Mitigation:
    """A clip that meets the standards, changed as little as possible: outside the incidents not at all.

    `source`: the path of a video, with `target`, the file to write: .mp4, .mov, .mkv (H.264 of quality `crf`, or
    `lossless`), .webm (VP9) or .gif. Or `(frames, seconds)` as for `analyse`; the new frames are then in `frames`.
    `causal` holds back by what was shown so far only, as live use must; by default what comes next is known too. What
    is written is read again and analysed; `passed` is False where even the strictest round did not help. A clip that
    meets the standards is copied. Raises InputError where only a part can be read or the target cannot be written.
    """
    standards = named(standard)
    if not 0 <= crf <= 51:
        raise InputError(f"crf={crf} is not in 0 … 51; 18 is hardly told from the source, larger is coarser.")
    if isinstance(source, str | PathLike):
        return _File(Path(source), target, standards, causal, crf, lossless, progress).carry_out()
    if target is not None:
        raise InputError(f"target={target!r} is for files; of arrays the new frames are in the result: leave it out.")
    return _arrays(source, standards, causal, progress)


def _part(progress: Progress | None, start: float, end: float) -> Progress | None:
    """A progress that covers a part of the whole."""
    if progress is None:
        return None
    return lambda share, note: progress(start + (end - start) * share, note)


def _before(source: Any, standards: tuple[Standard, ...], progress: Progress | None) -> Analysis:
    before = analyse(source, standards, progress=_part(progress, 0.0, 0.25))
    if before.partial:
        raise InputError(
            f"{before.source} can be read in part only ({before.partial}), so that nothing can be said of the rest: "
            "copy it again, or cut it before that place."
        )
    return before


def _aspect(clip: Clip) -> float:
    return clip.size[0] / clip.size[1] * float(clip.sample_aspect)


# ----------------------------------------------------------------------------------------------------------- arrays


def _arrays(source: Source, standards: tuple[Standard, ...], causal: bool, progress: Progress | None) -> Mitigation:
    frames = [np.asarray(frame) for frame in source[0]]
    seconds = np.array(list(source[1]), np.float64)
    opened((frames, seconds))  # for its checks
    before = after = _before((frames, seconds), standards, progress)
    found: tuple[Span, ...] = ()
    made, rounds = frames, 0
    while not after.passed and rounds < ROUNDS:
        rounds += 1
        found = spans(after.violations, found)
        made = list(_limited_arrays(frames, seconds, standards, found, causal, _part(progress, 0.25, 0.75)))
        after = analyse((made, seconds), standards, progress=_part(progress, 0.75, 1.0))
    quality = Quality()
    for one, other in zip(_pictures(frames, seconds), _pictures(made, seconds), strict=True):
        quality.push(one, other)
    changed = sum(one is not other for one, other in zip(frames, made, strict=True))
    whole = np.stack(made), seconds
    return Mitigation(before, after, quality.psnr, quality.ssim, changed, not rounds, rounds, None, whole)


def _pictures(frames: list[Frames], seconds: Times) -> Iterator[Picture]:
    return from_arrays(frames, seconds).pictures()


def _limited_arrays(
    frames: list[Frames],
    seconds: Times,
    standards: tuple[Standard, ...],
    found: tuple[Span, ...],
    causal: bool,
    progress: Progress | None,
) -> Iterator[Frames]:
    clip = from_arrays(frames, seconds)
    outlook = Outlook(zip(clip.pictures(), frames, strict=True))
    for number, (given, shown, frame) in enumerate(limited(outlook, standards, found, _aspect(clip), causal=causal)):
        if progress is not None:
            progress(number / len(frames), "limiting")
        yield frame if shown is given else array_of(shown)


# ------------------------------------------------------------------------------------------------------------ files


@dataclass(frozen=True)
class _File:
    """A file to be mitigated."""

    source: Path
    given: str | PathLike[str] | None
    standards: tuple[Standard, ...]
    causal: bool
    crf: int
    lossless: bool
    progress: Progress | None

    def carry_out(self) -> Mitigation:
        target = self._target()
        before = _before(self.source, self.standards, self.progress)
        if before.passed:
            with beside(target) as part:
                shutil.copyfile(self.source, part)
            after = replace(before, source=str(target))
            return Mitigation(before, after, math.inf, 1.0, 0, True, 0, None)
        encoding = Encoding.of(target, self.crf, self.lossless)
        after, found, rounds, changed, notes = before, cast("tuple[Span, ...]", ()), 0, 0, cast("tuple[str, ...]", ())
        with beside(target) as part:
            while not after.passed and rounds < ROUNDS:
                rounds += 1
                found = spans(after.violations, found)
                which = f", round {rounds}" if rounds > 1 else ""
                changed, notes = self._write(part, encoding, found, _part(self.progress, 0.25, 0.7), which)
                after = analyse(part, self.standards, progress=_part(self.progress, 0.7, 0.9))
            quality = self._quality(part)
        after = replace(after, source=str(target))
        return Mitigation(
            before, after, quality.psnr, quality.ssim, changed, False, rounds, encoding.codec, None, notes
        )

    def _target(self) -> Path:
        if self.given is None:
            raise InputError("target is missing: name the file to write, or pass (frames, seconds) to get frames.")
        target = Path(self.given)
        if target.exists() and self.source.exists() and target.samefile(self.source):
            raise InputError(f"target {target} is the source, which would be lost: name another file.")
        if target.is_dir():
            raise InputError(f"target {target} is a folder: name a file in it.")
        if not target.parent.is_dir():
            raise InputError(f"target {target}: its folder does not exist; make it, or name another.")
        Encoding.of(target, self.crf, self.lossless)  # what cannot be written is known before the long work
        return target

    def _write(
        self, part: Path, encoding: Encoding, found: tuple[Span, ...], progress: Progress | None, which: str
    ) -> tuple[int, tuple[str, ...]]:
        """Write the clip as limited; how many frames were changed, and what is to be said of it."""
        clip, frames = shots(self.source)
        first = 0.0
        if clip.loops:  # what is shown last also comes before what is shown first
            clip, frames = _twice(self.source)
            first = clip.duration or 0.0
        outlook = Outlook(_each(frames))
        changed = 0
        writer: Any = (
            GifWriter(part, 1 / clip.rate if clip.rate else 0.1)
            if encoding.codec == "gif"
            else Writer(self.source, part, encoding, clip, self.lossless)
        )
        with writer:
            for given, shown, (shot, number) in limited(
                outlook, self.standards, found, _aspect(clip), causal=self.causal
            ):
                if progress is not None and clip.duration:
                    progress(min(1.0, given.seconds / (clip.duration + first)), f"writing{which}")
                if shown is not given:
                    shot.put(number, shown)
                if number == len(shot.pictures) - 1 and given.seconds >= first - 1e-6:
                    writer.write(shot)
                    changed += shot.changed
        return changed, tuple(getattr(writer, "notes", ()))

    def _quality(self, part: Path) -> Quality:
        quality = Quality()
        clip, written = opened(self.source), opened(part)
        for one, other in zip(clip.pictures(), written.pictures(), strict=False):
            if self.progress is not None and clip.duration:
                self.progress(0.9 + 0.1 * min(1.0, one.seconds / clip.duration), "comparing")
            quality.push(one, other)
        return quality


def _each(frames: Iterator[Shot]) -> Iterator[tuple[Picture, tuple[Shot, int]]]:
    for shot in frames:
        for number, picture in enumerate(shot.pictures):
            yield picture, (shot, number)


def _twice(path: Path) -> tuple[Clip, Iterator[Shot]]:
    """A clip that loops, and its frames two times over."""
    clip, once = shots(path)

    def both() -> Iterator[Shot]:
        yield from once
        offset = clip.duration or 0.0
        for shot in shots(path)[1]:
            yield Shot(shot.frame, [replace(one, seconds=one.seconds + offset) for one in shot.pictures])

    return clip, both()
