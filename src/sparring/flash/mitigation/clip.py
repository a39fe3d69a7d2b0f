"""Mitigating a whole clip: limit it around its incidents, write, read back, analyse, be stricter where needed."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Any, Protocol, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from sparring.errors import InputError
from sparring.flash.analysis.clip import Progress, analyse
from sparring.flash.analysis.transitions import TICK
from sparring.flash.mitigation.limiter import array_of
from sparring.flash.mitigation.quality import Quality
from sparring.flash.mitigation.shots import Shot, shots
from sparring.flash.mitigation.spans import Span, limited, spans, sparing
from sparring.flash.mitigation.writing import Encoding, beside, checked, writer
from sparring.flash.reading import opened
from sparring.flash.reading.clips import Clip, Source, from_arrays
from sparring.flash.reading.pictures import Picture
from sparring.flash.records import Analysis
from sparring.flash.standards import Standard, named

ROUNDS = 6  # times that a clip is limited and analysed at most
ROUNDED = 0.0051  # seconds by which GIF's hundredths may be off

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
    `causal` holds back by what was shown so far only, as live use must, so that it may have to catch up after an
    incident; by default the end is seen coming, and transitions are kept for it. What is written is read again and
    analysed; `passed` is False where even the strictest of several rounds did not help. A clip that meets the standards
    is copied. Raises InputError where only a part can be read or the target cannot be written.
    """
    standards = named(standard)
    if not 0 <= crf <= 51:
        raise InputError(f"crf={crf} is not in 0 … 51; 18 is hardly told from the source, larger is coarser.")
    if isinstance(source, str | PathLike):
        return _of_file(Path(source), target, standards, causal, crf, lossless, progress)
    if target is not None:
        raise InputError(f"target={target!r} is for files; of arrays the new frames are in the result: leave it out.")
    return _of_arrays(source, standards, causal, progress)


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


class _Task(Protocol):
    """A clip that can be limited as often as it takes."""

    def limit(self, found: tuple[Span, ...], note: str) -> tuple[int, list[float]]:
        """Limit these spans; how many frames were changed, and when something was changed outside all of them."""
        ...

    def look(self) -> Analysis:
        """Analyse what came out."""
        ...


def _rounds(task: _Task, before: Analysis, causal: bool) -> tuple[Analysis, int, int]:
    """Limit until it passes: the analysis after that, the frames changed, the rounds."""
    after, found, rounds, changed = before, cast("tuple[Span, ...]", ()), 0, 0
    while not after.passed and rounds < ROUNDS:
        rounds += 1
        found = spans(after.violations, found)
        note = f", round {rounds}" if rounds > 1 else ""
        changed, late = task.limit(found, note)
        if late and not causal and (spared := sparing(found, late)) != found:
            found = spared
            changed, _ = task.limit(found, f"{note}, with the end in view")
        after = task.look()
    return after, changed, rounds


def _late(seconds: float, found: tuple[Span, ...]) -> bool:
    return not any(span.start - TICK <= seconds <= span.end + TICK for span in found)


# ----------------------------------------------------------------------------------------------------------- arrays


@dataclass
class _Arrays:
    """Frames in memory."""

    frames: list[Frames]
    seconds: Times
    standards: tuple[Standard, ...]
    progress: Progress | None
    made: list[Frames] = field(default_factory=list)

    def limit(self, found: tuple[Span, ...], note: str) -> tuple[int, list[float]]:
        clip = from_arrays(self.frames, self.seconds)
        pairs = zip(clip.pictures(), self.frames, strict=True)
        self.made, times = [], []
        told = _part(self.progress, 0.25, 0.75)
        for number, (given, shown, frame) in enumerate(limited(pairs, self.standards, found, _aspect(clip))):
            if told is not None:
                told(number / len(self.frames), f"limiting{note}")
            self.made.append(frame if shown is given else array_of(shown))
            if shown is not given:
                times.append(given.seconds)
        return len(times), [time for time in times if _late(time, found)]

    def look(self) -> Analysis:
        return analyse((self.made, self.seconds), self.standards, progress=_part(self.progress, 0.75, 1.0))


def _of_arrays(source: Source, standards: tuple[Standard, ...], causal: bool, progress: Progress | None) -> Mitigation:
    if not isinstance(source, tuple | list) or len(source) != 2:
        opened(source)  # which says what is wrong
    frames = [np.asarray(frame) for frame in source[0]]
    seconds = np.array(list(source[1]), np.float64)
    before = _before((frames, seconds), standards, progress)
    task = _Arrays(frames, seconds, standards, progress, frames)
    after, changed, rounds = _rounds(task, before, causal)
    quality = Quality()
    clips = (from_arrays(part, seconds).pictures() for part in (frames, task.made))
    for one, other in zip(*clips, strict=True):
        quality.push(one, other)
    made = np.stack(task.made), seconds
    return Mitigation(before, after, quality.psnr, quality.ssim, changed, not rounds, rounds, None, made)


# ------------------------------------------------------------------------------------------------------------ files


@dataclass
class _File:
    """A file that is written to another."""

    source: Path
    part: Path  # what is written to
    standards: tuple[Standard, ...]
    encoding: Encoding
    progress: Progress | None
    notes: tuple[str, ...] = ()

    def limit(self, found: tuple[Span, ...], note: str) -> tuple[int, list[float]]:
        clip, frames, first = _repeated(self.source)
        told = _part(self.progress, 0.25, 0.7)
        changed, late = 0, []
        with writer(self.source, self.part, self.encoding, clip) as written:
            for given, shown, (shot, number) in limited(_each(frames), self.standards, found, _aspect(clip)):
                if told is not None and clip.duration:
                    told(min(1.0, given.seconds / (clip.duration + first)), f"writing{note}")
                if shown is not given:
                    shot.put(number, shown)
                    if _late(given.seconds, found):
                        late.append(given.seconds)
                if number == len(shot.pictures) - 1 and given.seconds >= first - TICK:
                    written.write(shot)
                    changed += shot.changed
        self.notes = tuple(written.notes)
        return changed, late

    def look(self) -> Analysis:
        return analyse(self.part, self.standards, progress=_part(self.progress, 0.7, 0.9))

    def quality(self, aligned: bool) -> Quality:
        """Of what is written; `aligned`: frame by frame, else at every frame of the source what is shown then."""
        quality, told = Quality(), _part(self.progress, 0.9, 1.0)
        clip, written = opened(self.source), opened(self.part)
        pairs = zip(clip.pictures(), written.pictures(), strict=False) if aligned else _at_once(clip, written)
        for one, other in pairs:
            if told is not None and clip.duration:
                told(min(1.0, one.seconds / clip.duration), "comparing")
            quality.push(one, other)
        return quality


def _at_once(clip: Clip, other: Clip) -> Iterator[tuple[Picture, Picture]]:
    """Each picture of a clip with that of the other which is shown at the same time."""
    pictures = other.pictures()
    shown, coming = next(pictures), next(pictures, None)
    for picture in clip.pictures():
        while coming is not None and coming.seconds <= picture.seconds + ROUNDED:
            shown, coming = coming, next(pictures, None)
        yield picture, shown


def _of_file(
    source: Path,
    given: str | PathLike[str] | None,
    standards: tuple[Standard, ...],
    causal: bool,
    crf: int,
    lossless: bool,
    progress: Progress | None,
) -> Mitigation:
    if given is None:
        raise InputError("target is missing: name the file to write, or pass (frames, seconds) to get frames.")
    target = checked(source, Path(given))
    # what cannot be written is known before the long work
    encoding = Encoding.of(target, crf, lossless, square=opened(source).sample_aspect == 1)
    before = _before(source, standards, progress)
    with beside(target) as part:
        if before.passed:
            shutil.copyfile(source, part)
            return Mitigation(before, replace(before, source=str(target)), math.inf, 1.0, 0, True, 0, None)
        task = _File(source, part, standards, encoding, progress)
        after, changed, rounds = _rounds(task, before, causal)
        quality = task.quality(before.frames == after.frames)
    after = replace(after, source=str(target))
    return Mitigation(
        before, after, quality.psnr, quality.ssim, changed, False, rounds, encoding.codec, None, task.notes
    )


def _each(frames: Iterator[Shot]) -> Iterator[tuple[Picture, tuple[Shot, int]]]:
    for shot in frames:
        for number, picture in enumerate(shot.pictures):
            yield picture, (shot, number)


def _repeated(path: Path) -> tuple[Clip, Iterator[Shot], float]:
    """A clip, its frames, and from when on they count: those of a loop come twice, as its end precedes its start."""
    clip, once = shots(path)
    if not clip.loops:
        return clip, once, 0.0
    for _ in clip.pictures():  # only then is the length of an animation known
        pass
    offset = clip.duration or 0.0

    def both() -> Iterator[Shot]:
        yield from once
        for shot in shots(path)[1]:
            yield Shot(shot.frame, [replace(one, seconds=one.seconds + offset) for one in shot.pictures])

    return clip, both(), offset
