"""Writes arrays as files the way the world does: lossy, subsampled, ten bits, rounded times, another size.

Colours are converted with the matrix of BT.709 to limited range and tagged so; nothing is left to be guessed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace
from numpy.typing import NDArray
from PIL import Image

_BT709 = 1  # the number of BT.709 in ITU-T H.273, for primaries, transfer and matrix alike
_RGB = 0  # of no matrix


@dataclass(frozen=True)
class Encoder:
    codec: str
    suffix: str
    pixels: str = "yuv420p"
    options: dict[str, str] = field(default_factory=dict)
    scale: Fraction = Fraction(1)

    def write(self, stem: Path, frames: NDArray[np.uint8], fps: Fraction | int) -> Path:
        """Encode sRGB frames (T, H, W, 3) to `stem` with the codec's suffix; returns the path of the file."""
        path = stem.with_suffix(self.suffix)
        if self.codec == "gif":
            return _gif(path, frames, float(fps))
        height, width = (2 * round(float(side * self.scale) / 2) for side in frames.shape[1:3])
        with av.open(str(path), "w") as container:
            stream = container.add_stream(self.codec, rate=Fraction(fps), options=self.options)
            stream.width, stream.height, stream.pix_fmt = width, height, self.pixels
            rgb, context = self.pixels == "bgr0", stream.codec_context
            context.color_primaries = context.color_trc = _BT709
            context.colorspace = _RGB if rgb else _BT709
            context.color_range = ColorRange.JPEG if rgb else ColorRange.MPEG
            for number, pixels in enumerate(frames):
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24").reformat(
                    width=width,
                    height=height,
                    format=self.pixels,
                    dst_colorspace=None if rgb else Colorspace.ITU709,
                    dst_color_range=None if rgb else ColorRange.MPEG,
                    interpolation="AREA" if self.scale < 1 else "BILINEAR",
                )
                frame.pts, frame.time_base = number, 1 / Fraction(fps)
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        return path


def _gif(path: Path, frames: NDArray[np.uint8], fps: float) -> Path:
    """Durations in hundredths of a second, as GIF counts them, so that 30 a second become 3, 4 and 3; played once."""
    edges = (np.arange(len(frames) + 1) / fps * 100 + 0.5).astype(int)
    pictures = [Image.fromarray(pixels).quantize(256, dither=Image.Dither.NONE) for pixels in frames]
    durations = (10 * np.diff(edges)).tolist()
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=durations, optimize=False, disposal=1)
    return path


_FAST = {"preset": "veryfast", "threads": "1"}
_X265 = {"preset": "ultrafast", "x265-params": "log-level=none:pools=1:frame-threads=1"}
ENCODERS: dict[str, Encoder] = {
    "FFV1, lossless, Matroska": Encoder("ffv1", ".mkv", "bgr0"),
    "FFV1, 4:4:4 limited range": Encoder("ffv1", ".mkv", "yuv444p"),
    "H.264 CRF 18": Encoder("libx264", ".mp4", options=_FAST | {"crf": "18"}),
    "H.264 CRF 28": Encoder("libx264", ".mp4", options=_FAST | {"crf": "28"}),
    "VP9": Encoder("libvpx-vp9", ".webm", options={"crf": "31", "b": "0", "deadline": "realtime", "cpu-used": "8"}),
    "HEVC 10 bits": Encoder("libx265", ".mp4", "yuv420p10le", _X265 | {"crf": "22"}),
    "GIF": Encoder("gif", ".gif"),
    "H.264 CRF 18, half size": Encoder("libx264", ".mp4", options=_FAST | {"crf": "18"}, scale=Fraction(1, 2)),
    "H.264 CRF 18, double size": Encoder("libx264", ".mp4", options=_FAST | {"crf": "18"}, scale=Fraction(2)),
}
