"""Video files as clips, decoded by PyAV (FFmpeg).

A decoder conceals what it cannot read, so that reading stops at the first fault: `Clip.problem` then says where. A file
that ends early without a fault is told from what its header promised.
"""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from sparring.errors import InputError, MissingExtra
from sparring.flash.reading.animations import WebP, damage, loops
from sparring.flash.reading.clips import LARGEST_PICTURE, Clip, Source, by, check_size, from_arrays
from sparring.flash.reading.clock import Clock, TimeFault, frame_rate
from sparring.flash.reading.colour import Colour
from sparring.flash.reading.pictures import SRGB, Picture, Turn, of_frame

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import InputContainer
    from av.video.stream import VideoStream

_SCANNED = 200, 24, 16 << 20  # packets whose times are looked at first; only so many beyond this number of bytes
_TIMED = {"mov", "matroska", "avi", "flv", "gif", "asf", "nut"}  # containers that say how long they are
_BOTTOM_FIRST = {3, 4}  # FFmpeg's field orders in which the bottom field is shown first
_RATES = Fraction(1, 10), Fraction(1000)  # rates that a container may claim and be believed


def opened(source: str | os.PathLike[str] | Source, colour: Colour | None = None) -> Clip:
    """A clip from a path, or from `(frames, seconds)`, whose codes are sRGB unless `colour` says otherwise."""
    if isinstance(source, str | os.PathLike):
        if colour is not None:
            raise InputError("colour= is for arrays; a file says itself what its code values are: leave it out.")
        return open_clip(source)
    if not isinstance(source, tuple | list) or len(source) != 2:
        raise InputError(
            f"source is {type(source).__name__}: pass the path of a video, or (frames, seconds), "
            "with frames (T, H, W, 3) uint8 and seconds (T,)."
        )
    return from_arrays(source[0], source[1], colour or SRGB)


def open_clip(path: str | os.PathLike[str]) -> Clip:
    """A clip from a video file, an animated GIF, PNG or WebP, or a still.

    Its first frame is decoded at once. Raises InputError where there is no file, no video or no frame that can be
    decoded, or where a frame has more than 2^27 pixels; MissingExtra without PyAV.
    """
    file = Path(path)
    if not file.exists():
        raise InputError(f"path {file} does not exist: check its spelling and the folder it is in.")
    if file.is_dir():
        raise InputError(f"path {file} is a folder: pass one of the files in it.")
    if file.stat().st_size == 0:
        raise InputError(f"path {file} is empty (0 bytes): it was not written; export or copy it again.")
    with file.open("rb") as opening:
        start = opening.read(12)
    if start[:4] == b"RIFF" and start[8:] == b"WEBP":
        return WebP(file)
    return File(file)


def _av() -> Any:
    try:
        import av
    except ImportError as error:
        raise MissingExtra("av", "video", "reading video files") from error
    return av


class _Unreadable(Exception):
    """The rest of a clip cannot be read; the message says why."""


class File(Clip):
    def __init__(self, file: Path) -> None:
        self._file = file
        self._unreferred: set[int] = set()  # packets before the first frame that cannot be decoded
        with self._container() as container:
            stream = self._stream(container)
            context = stream.codec_context
            check_size(str(file), context.width, context.height)
            frame, stamps = self._look(container, stream)
            check_size(str(file), frame.width, frame.height)
            self._turn = _turn(frame)
            self._stored = frame.width, frame.height
            picture, _ = of_frame(frame, 0.0)
            super().__init__(str(file), picture.turned(self._turn).size, picture.colour)
            self._interlaced = bool(frame.interlaced_frame) and frame.height >= 4
            self._bottom = int(getattr(context, "field_order", 0)) in _BOTTOM_FIRST
            self._describe(container, stream, stamps)

    def _describe(self, container: InputContainer, stream: VideoStream, stamps: list[int]) -> None:
        self._tick = stream.time_base or Fraction(1, 1000)
        claimed = [
            rate
            for rate in (stream.guessed_rate, stream.average_rate, stream.base_rate)
            if rate and _RATES[0] <= rate <= _RATES[1]
        ]
        self._animation = animation = container.format.name in ("gif", "apng")  # every frame has its own delay
        self._grid = None if animation else frame_rate(stamps, self._tick, claimed)
        self._nominal = self._grid or (claimed[-1] if animation and claimed else next(iter(claimed), None))
        rate = self._grid or stream.average_rate or self._nominal
        self.rate = float(rate) * (2 if self._interlaced else 1) if rate else None
        self.loops = animation and loops(self)
        self.duration = _promised(container, stream)
        self.frames_expected = stream.frames or None
        aspect = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio or Fraction(1)
        self._aspect = float(aspect)  # of pixels as stored
        self.sample_aspect = 1 / aspect if self._turn.swap else aspect
        if aspect != 1:
            self.note(f"pixels are shown {float(self.sample_aspect):.4g} times as wide as high")
        if self._turn:
            self.note(f"turned as the file says, to {by(self.size)}")
        if self._unreferred:
            self.note("the file begins between two key frames: what comes before the first was left out")
        if self._interlaced:
            self.note(f"interlaced: fields analysed one by one, {'bottom' if self._bottom else 'top'} field first")

    def _container(self) -> InputContainer:
        av = _av()
        try:  # the prefix keeps names with a colon from being read as addresses, the list keeps playlists from the net
            container: InputContainer = av.open(f"file:{self._file}", options={"protocol_whitelist": "file"})
        except (av.FFmpegError, ValueError) as error:
            raise InputError(
                f"path {self._file} cannot be read as a video ({_reason(error)}): "
                "check that it plays, and that it was copied or downloaded to its end."
            ) from error
        return container

    def _stream(self, container: InputContainer) -> VideoStream:
        av = _av()
        cover = av.stream.Disposition.attached_pic
        for stream in container.streams.video:
            if not stream.disposition & cover:
                if stream.codec_context is None:
                    raise InputError(f"path {self._file}: FFmpeg has no decoder for its video: convert it to H.264.")
                stream.codec_context.options = {"err_detect": "explode", "max_pixels": str(LARGEST_PICTURE)}
                return stream
        kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "none"
        raise InputError(
            f"path {self._file} has no video, only these streams: {kinds}. Pass a file with moving pictures."
        )

    def _look(self, container: InputContainer, stream: VideoStream) -> tuple[VideoFrame, list[int]]:
        """The first frame, and the timestamps of the first packets."""
        av = _av()
        frame: VideoFrame | None = None
        stamps: list[int] = []
        count = size = 0
        error: Exception | None = None
        amid = False  # a recording may begin between two key frames, with what refers to a picture before it
        try:
            for packet in container.demux(stream):
                if frame is not None and (count > _SCANNED[0] or (count > _SCANNED[1] and size > _SCANNED[2])):
                    break
                if count == 0:
                    amid = not packet.is_keyframe
                if frame is None:
                    try:
                        frame = next(iter(packet.decode()), None)
                    except av.FFmpegError as fault:
                        if not amid or packet.is_keyframe or not packet.size:
                            raise
                        error = fault
                        self._unreferred.add(count)
                if packet.pts is not None and not packet.is_discard and count not in self._unreferred:
                    stamps.append(packet.pts)
                count, size = count + 1, size + packet.size
        except av.FFmpegError as fault:
            error = fault
        if frame is None:
            why = f" ({_reason(error)})" if error else ""
            raise InputError(
                f"path {self._file}: not one frame can be decoded{why}: check that it plays, and that it is complete."
            ) from error
        return frame, stamps

    def pictures(self) -> Iterator[Picture]:
        self.problem, shown = None, False
        try:
            for picture in self._read():
                yield picture
                shown = True
        except _Unreadable as stop:
            if not shown:
                raise InputError(f"path {self._file}: not one frame can be decoded: {stop}.") from stop
            self.problem = str(stop)

    def _read(self) -> Iterator[Picture]:
        av = _av()
        clock = Clock(self._tick, self._grid, self._nominal)
        number = packets = 0
        seconds, lasts = 0.0, 1 / self.rate if self.rate else 0.0
        first, furthest = 0.0, 0.0  # as the container counts
        with self._container() as container:
            stream = self._stream(container)
            stream.thread_type = "AUTO"
            # AVI has no presentation times: as many decoding times, in order, are those of the frames in order
            queue: deque[int | None] | None = deque() if container.format.name == "avi" else None
            source = iter(enumerate(container.demux(stream)))
            while True:
                where = f"after frame {number} at {seconds:.3f} s"
                try:
                    place, packet = next(source, (0, None))
                    if packet is None:
                        break
                    if place in self._unreferred:
                        continue
                    if packet.is_corrupt:
                        raise _Unreadable(f"the file is damaged {where}")
                    frames = packet.decode()
                except av.FFmpegError as error:
                    raise _Unreadable(f"the file cannot be decoded {where} ({_reason(error)})") from error
                packets += packet.size > 0
                if queue is not None and packet.size > 0:
                    queue.append(packet.dts)
                if packet.pts is not None:
                    furthest = max(furthest, float((packet.pts + (packet.duration or 0)) * self._tick))
                for frame in frames:
                    if frame.is_corrupt:
                        raise _Unreadable(f"the decoder could not read a part of a frame {where}")
                    if (frame.width, frame.height) != self._stored:
                        size = by((frame.width, frame.height))
                        raise _Unreadable(f"frames change from {by(self._stored)} to {size} pixels {where}")
                    stamp = frame.pts if queue is None else queue.popleft() if queue else None
                    try:
                        seconds = clock.at(stamp)
                    except TimeFault as fault:
                        raise _Unreadable(f"{fault} (frame {number})") from fault
                    if number == 0 and stamp is not None:
                        first = float(stamp * self._tick)
                    number += 1
                    lasts = float((frame.duration or 0) * self._tick) or float(clock.step)
                    yield from self._shown(frame, seconds, float(clock.step))
        if clock.missing:
            self.note(
                f"{clock.missing} of {number} frames without a timestamp: counted on at {float(1 / clock.step):g} fps"
            )
        if clock.shared:
            self.note(f"{clock.shared} of {number} frames share a timestamp with the frame before")
        self._complete(number, packets, seconds + lasts, max(furthest, first + seconds + lasts), lasts)

    def _shown(self, frame: VideoFrame, seconds: float, step: float) -> Iterator[Picture]:
        picture, transparent = of_frame(frame, seconds, self._aspect)
        if transparent:
            self.note("transparent pixels are shown over white")
        if picture.colour != self.colour:
            for note in ("colour tags change within the clip", *picture.colour.notes):
                self.note(note)
        fields = bool(frame.interlaced_frame) and frame.height >= 4
        if not fields and not self._interlaced:
            yield picture.turned(self._turn)
            return
        doubled = not self._interlaced
        if doubled:
            self.note(f"interlaced from {seconds:.3f} s on: fields analysed one by one")
        order = (1, 0) if self._bottom else (0, 1)
        for parity, later in zip(order, (0.0, step / 2), strict=True):
            yield picture.field(parity, seconds + later, doubled=doubled).turned(self._turn)

    def _complete(self, number: int, packets: int, end: float, reached: float, lasts: float) -> None:
        """Hold what came against what the header promised; without a promise, what came is the duration."""
        promised = self.duration
        if promised is None or self.loops:
            self.duration = end
        if self._animation and (fault := damage(self._file)):
            raise _Unreadable(fault)
        if promised is not None:
            if promised - reached > max(lasts, 0.02 * promised):
                raise _Unreadable(f"the file ends at {end:.3f} s, but says that it lasts {promised:.3f} s")
        elif self.frames_expected and self.frames_expected - packets > max(1, 0.02 * self.frames_expected):
            raise _Unreadable(f"the file ends after {number} frames, but says that it has {self.frames_expected}")


def _promised(container: InputContainer, stream: VideoStream) -> float | None:
    """How long the video lasts by the file's own header, in seconds; audio may last longer."""
    if not _TIMED & set(container.format.name.split(",")):
        return None
    whole = container.duration / 1_000_000 if container.duration else None
    if stream.duration and stream.time_base:
        own = float(stream.duration * stream.time_base)
        return min(own, whole) if whole else own  # an edit list may show less than is there
    if found := re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", stream.metadata.get("DURATION", "")):
        return int(found[1]) * 3600 + int(found[2]) * 60 + float(found[3])
    return whole if len(container.streams) == 1 else None


def _turn(frame: VideoFrame) -> Turn:
    for entry in cast("list[Any]", frame.side_data):
        if entry.type.name == "DISPLAYMATRIX":
            return Turn.of(np.frombuffer(bytes(entry)[:36], np.int32).reshape(3, 3))
    return Turn()


def _reason(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error)
