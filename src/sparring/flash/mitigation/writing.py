"""Writing a video: the codec by the file's name, times, colours and turns kept, audio and subtitles copied.

A file is written beside its target under another name, and takes its place only when it is complete.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sparring.errors import InputError
from sparring.flash.mitigation.shots import Shot, writable
from sparring.flash.reading.clips import Clip
from sparring.flash.reading.pictures import of_frame, pixel_format

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import InputContainer, OutputContainer
    from av.stream import Stream
    from av.video.stream import VideoStream

_H264 = "libx264", {"preset": "medium"}
_VP9 = "libvpx-vp9", {"b:v": "0", "row-mt": "1", "cpu-used": "2"}
_CODECS = {".mp4": _H264, ".m4v": _H264, ".mov": _H264, ".mkv": _H264, ".webm": _VP9}
SUFFIXES = (*_CODECS, ".gif")
_COPIED = ("audio", "subtitle")
_TAGS = ("colorspace", "color_range", "color_trc", "color_primaries")


@dataclass(frozen=True)
class Encoding:
    """How pictures are coded."""

    codec: str
    options: dict[str, str]
    formats: tuple[str, ...]  # pixel formats that it takes
    lossless: bool = False

    @classmethod
    def of(cls, target: Path, crf: int, lossless: bool, square: bool = True) -> Encoding:
        """By the name of the file to write. Raises InputError for names whose codec is not known.

        `square`: pixels are shown as wide as high; that they are not cannot be said with FFV1 here.
        """
        import av

        suffix = target.suffix.lower()
        if suffix not in SUFFIXES:
            raise InputError(f"target {target} ends in {suffix or 'nothing'}: name a file in {', '.join(SUFFIXES)}.")
        if suffix == ".gif":
            if lossless:
                raise InputError(f"target {target}: GIF has 256 colours, which is not lossless; name a .mkv file.")
            return cls("gif", {}, ("rgb24",))
        codec, options = _CODECS[suffix]
        if lossless and suffix == ".mkv" and square:
            codec, options = "ffv1", {"level": "3", "slicecrc": "1"}
        elif lossless:
            options = options | ({"qp": "0"} if codec == "libx264" else {"lossless": "1"})
        else:
            options = options | {"crf": str(crf)}
        formats = av.Codec(codec, "w").video_formats or []
        return cls(codec, options, tuple(one.name for one in formats), lossless)

    def format(self, name: str, width: int, height: int) -> str:
        """The pixel format to code pictures of this format in: the same where possible."""
        layout = pixel_format(name)
        plain = name.replace("yuvj", "yuv")
        if layout.model == "yuv":
            sampling = {(1, 1): "420", (1, 0): "422", (0, 0): "444"}.get(layout.shift, "444")
            depth = "" if layout.bits == 8 else f"{layout.bits}le"
            wanted = [name, plain, f"yuv{sampling}p{depth}"]
        else:
            depth = "" if layout.bits == 8 else "10le"
            wanted = [name, "bgr0", "rgb48le", f"gray{depth}"] if self.lossless else [name]
            wanted = [one for one in wanted if pixel_format(one).model == layout.model]
            sampling = "420"
        if self.codec == "libx264" and sampling == "420" and (width % 2 or height % 2):
            wanted, sampling = [], "444"  # 4:2:0 is of even sizes only
        deep = "10le" if layout.bits > 8 else ""
        wanted += [] if self.lossless else [f"yuv{sampling}p{deep}", f"yuv420p{deep}", "yuv420p"]
        for one in wanted:
            if one in self.formats:
                return one
        raise InputError(
            f"{self.codec} does not take pictures of the format {name} "
            f"{'without loss' if self.lossless else f'and {width} × {height} pixels'}: name a .mkv file as the target."
        )


def checked(source: Path, target: Path) -> Path:
    """The target, if a file can be written there that is not the source."""
    if target.is_dir():
        raise InputError(f"target {target} is a folder: name a file in it.")
    if target.exists() and source.exists() and target.samefile(source):
        raise InputError(f"target {target} is the source, which would be lost: name another file.")
    if not target.parent.is_dir():
        raise InputError(f"target {target}: its folder does not exist; make it, or name another.")
    return target


@contextmanager
def beside(target: Path) -> Iterator[Path]:
    """A path beside the target to write to, moved there in the end; nothing is left of it if that fails."""
    part = target.with_name(f".{target.stem}.{os.getpid()}.part{target.suffix}")
    try:
        yield part
        os.replace(part, target)
    except OSError as error:  # those of PyAV are, too
        raise InputError(f"target {target} cannot be written: {error.strerror or error}.") from error
    finally:
        with suppress(OSError):
            part.unlink()


def writer(source: Path, target: Path, encoding: Encoding, clip: Clip) -> Writer | GifWriter:
    """What writes a clip's shots in this encoding."""
    if encoding.codec == "gif":
        return GifWriter(target, 1 / clip.rate if clip.rate else 0.1)
    return Writer(source, target, encoding, clip)


class Writer:
    """Writes the shots of a clip, and what else its file holds, to another file."""

    def __init__(self, source: Path, target: Path, encoding: Encoding, clip: Clip) -> None:
        import av

        self.clip, self.encoding = clip, encoding
        self.notes: dict[str, None] = {}
        self.output: OutputContainer = av.open(f"file:{target}", "w")
        self.input: InputContainer = av.open(f"file:{source}", options={"protocol_whitelist": "file"})
        self.video: VideoStream | None = None
        self.origin: VideoStream | None = next(
            (one for one in self.input.streams.video if not one.disposition & av.stream.Disposition.attached_pic), None
        )
        self.copies: dict[int, Stream] = {}
        self.waiting: Iterator[Any] = iter(())
        self.packet: Any = None
        self.last = -(1 << 62)
        self.zero: int | None = None

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None and self.video is not None:
                self.output.mux(self.video.encode())
                self._copy(float("inf"))
        finally:
            self.input.close()
            if kind is None:
                self.output.close()
            else:
                with suppress(Exception):  # the first fault is the one to tell
                    self.output.close()

    def write(self, shot: Shot) -> None:
        if self.video is None:
            self._begin(shot.frame)
        assert self.video is not None
        frame = _coded(shot.frame, str(self.video.pix_fmt), self.tags)
        frame.time_base = self.tick
        frame.pts = self._stamp(shot)
        self._copy(float(frame.pts * self.tick))
        self.output.mux(self.video.encode(frame))

    def _begin(self, frame: VideoFrame) -> None:
        origin = self.origin
        self.tick, self.exact = _tick(self.clip, origin)
        rate = Fraction(self.clip.rate or 25).limit_denominator(1001)
        if frame.interlaced_frame:
            rate /= 2
        options = dict(self.encoding.options)
        bottom = getattr(self.clip, "_bottom", False)
        if frame.interlaced_frame and self.encoding.codec == "libx264":
            options |= {"flags": "+ildct+ilme", "x264-params": "bff=1" if bottom else "tff=1"}
        if frame.interlaced_frame:
            options |= {"field_order": "bb" if bottom else "tt"}
        video = cast("VideoStream", self.output.add_stream(self.encoding.codec, rate=rate, options=options))
        name = self.encoding.format(frame.format.name, frame.width, frame.height)
        video.width, video.height, video.pix_fmt = frame.width, frame.height, name
        video.codec_context.time_base = self.tick
        self.tags = {tag: int(getattr(frame, tag)) for tag in _TAGS}
        if pixel_format(frame.format.name).model != "yuv" and pixel_format(name).model == "yuv":
            self.tags |= {"colorspace": 6 if frame.height < 720 else 1, "color_range": 1}
        elif frame.format.name.startswith("yuvj"):
            self.tags["color_range"] = 2
        for tag, value in self.tags.items():
            setattr(video.codec_context, tag, value)
        if origin is not None:
            aspect = origin.sample_aspect_ratio or origin.codec_context.sample_aspect_ratio
            if aspect:
                video.sample_aspect_ratio = aspect
                video.codec_context.sample_aspect_ratio = aspect
            video.metadata.update({key: text for key, text in origin.metadata.items() if key in ("language", "title")})
        matrix = _matrix(frame)
        if matrix is not None:
            video.set_display_matrix(matrix)
        self.video = video
        self._begin_copies()

    def _begin_copies(self) -> None:
        for stream in self.input.streams:
            if stream.type not in _COPIED:
                continue
            try:
                self.copies[stream.index] = self.output.add_stream_from_template(stream)
            except (ValueError, RuntimeError) as error:
                self._refused(stream, error)
        self.output.metadata.update(self.input.metadata)
        if self.copies:
            self.waiting = self.input.demux([self.input.streams[index] for index in self.copies])
        self.output.start_encoding()
        self._next()

    def _refused(self, stream: Stream, error: Exception) -> None:
        what = f"{stream.type} {stream.codec_context.name}"
        if stream.type == "audio":
            raise InputError(f"target {self.output.name} cannot hold the {what}: name a .mkv file.") from error
        self.notes[f"{what} left out, as the file written cannot hold it"] = None

    def _next(self) -> None:
        self.packet = next((one for one in self.waiting if one.dts is not None), None)

    def _copy(self, until: float) -> None:
        """Pass on what is to be copied of the other streams up to a time in seconds."""
        while (packet := self.packet) is not None:
            if float(packet.dts * packet.time_base) > until:
                return
            packet.stream = self.copies[packet.stream.index]
            self.output.mux(packet)
            self._next()

    def _stamp(self, shot: Shot) -> int:
        """The frame's own timestamp, or, where it has none that can be, its time."""
        own = shot.frame.pts
        if own is not None and shot.frame.time_base is not None:
            own = round(own * shot.frame.time_base / self.tick)
        if self.zero is None:
            self.zero = own or 0
        if own is None or own <= self.last or not self.exact:
            own = max(self.last + 1, self.zero + round(shot.seconds / self.tick))
        self.last = own
        return own


def _tick(clip: Clip, origin: VideoStream | None) -> tuple[Fraction, bool]:
    """The unit of the timestamps to write, and whether the file's own can be kept: not those rounded off their grid."""
    own = (origin and origin.time_base) or Fraction(1, 1000)
    rate: Fraction | None = getattr(clip, "_grid", None)
    if rate is not None and (1 / rate / own).denominator > 1:
        return 1 / rate / 512, False
    return own, origin is not None and origin.container.format.name != "avi"


def _matrix(frame: VideoFrame) -> list[int] | None:
    for entry in cast("list[Any]", frame.side_data):
        if entry.type.name == "DISPLAYMATRIX":
            return [int(value) for value in np.frombuffer(bytes(entry)[:36], np.int32)]
    return None


def _coded(frame: VideoFrame, name: str, tags: dict[str, int]) -> VideoFrame:
    """The frame in another pixel format: converted only where it is not the same values under another name."""
    from av import VideoFrame

    if frame.format.name == name:
        return frame
    here, there = pixel_format(frame.format.name), pixel_format(name)
    if (here.model, here.bits, here.shift) == (there.model, there.bits, there.shift):
        copy = VideoFrame(frame.width, frame.height, name)
        for plane, codes in zip(of_frame(copy, 0.0)[0].planes, of_frame(frame, 0.0)[0].planes, strict=True):
            writable(plane)[:] = codes.array()
        for tag, value in tags.items():
            setattr(copy, tag, value)
        return copy
    if here.model == "yuv":
        return frame.reformat(format=name)
    return frame.reformat(
        format=name, dst_colorspace="ITU709" if tags["colorspace"] == 1 else "ITU601", dst_color_range="MPEG"
    )


@dataclass
class GifWriter:
    """Collects frames for a GIF, with its own palette for each and the delays in hundredths of a second."""

    target: Path
    lasts: float  # seconds that the last frame is shown
    notes: dict[str, None] = field(default_factory=dict)
    images: list[Image.Image] = field(default_factory=list)
    times: list[float] = field(default_factory=list)

    def __enter__(self) -> GifWriter:
        return self

    def write(self, shot: Shot) -> None:
        self.images.append(_palettised(shot.frame.to_ndarray(format="rgb24")))
        self.times.append(shot.seconds)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            stamps = [round(100 * time) for time in (*self.times, self.times[-1] + self.lasts)]
            delays = [10 * max(1, later - time) for time, later in pairwise(stamps)]
            self.images[0].save(
                self.target,
                "GIF",
                save_all=True,
                append_images=self.images[1:],
                duration=delays,
                loop=0,
                optimize=False,
            )


def _palettised(codes: NDArray[Any]) -> Image.Image:
    """With a palette of exactly its colours where they are at most 256, else of those nearest."""
    flat = (codes.astype(np.uint32) @ np.array([65536, 256, 1], np.uint32)).ravel()
    colours, index = np.unique(flat, return_inverse=True)
    if len(colours) > 256:
        return Image.fromarray(codes).quantize(256, dither=Image.Dither.NONE)
    image = Image.fromarray(index.reshape(codes.shape[:2]).astype(np.uint8), "P")
    image.putpalette(b"".join(bytes([colour >> 16, colour >> 8 & 255, colour & 255]) for colour in colours.tolist()))
    return image
