"""Claim: analysing 1080p H.264 costs a fraction of decoding it, and memory does not grow with the stream.

Clips made here, one noisy (a moving texture under film noise, a box that flashes), one clean (flat areas, a box that
flashes), one that is nearly a regular pattern. In each round, interleaved: decoding alone (the limit), and a whole
analysis with one standard and with all. Then the analysis alone on pictures that are decoded already, and a stream of
half an hour.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice, pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import numpy as np
from numpy.typing import NDArray

import sparring as sp
from benchmarks.figures import table_of
from sparring.flash.analysis.clip import SLACK
from sparring.flash.profiles import STANDARDS
from sparring.flash.reading import opened

ONE, ALL = "wcag2.2", tuple(STANDARDS)
RATE, WIDTH, HEIGHT = 30, 1920, 1080
# What the page calls them.
DRAWN = {
    "noisy": "noisy: a natural texture that drifts under film noise",
    "clean": "clean: flat areas",
    "waves": "waves: nearly a regular pattern, under film noise",
}


def noisy(frames: int) -> Iterator[NDArray[np.uint8]]:
    """A texture like those of nature (1/f) that drifts under film noise of eight codes; the box flashes."""
    rng = np.random.default_rng(0)
    across = np.hypot(np.fft.fftfreq(HEIGHT)[:, None], np.fft.rfftfreq(WIDTH))
    across[0, 0] = np.inf
    phases = np.exp(2j * np.pi * rng.random(across.shape))
    texture = np.fft.irfft2(phases / across, (HEIGHT, WIDTH)).astype(np.float32)
    yield from _grainy(frames, rng, lambda n: 120 + 45 * np.roll(texture / texture.std(), (2 * n, 5 * n), (0, 1)))


def waves(frames: int) -> Iterator[NDArray[np.uint8]]:
    """The same with crossed waves for a texture, which are all but a regular pattern and are followed as one."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)

    def texture(n: int) -> NDArray[np.float32]:
        return 120 + 50 * np.sin((x + 3 * n) / 61 + np.sin((y - 2 * n) / 83)) + 25 * np.cos((x - y) / 23)

    yield from _grainy(frames, np.random.default_rng(0), texture)


def _grainy(
    frames: int, rng: np.random.Generator, texture: Callable[[int], NDArray[np.float32]]
) -> Iterator[NDArray[np.uint8]]:
    noise = [rng.normal(0, 8, (HEIGHT, WIDTH)).astype(np.float32) for _ in range(4)]
    for n in range(frames):
        grey = texture(n) + np.roll(noise[n % 4], (37 * n % HEIGHT, 61 * n % WIDTH), (0, 1))
        frame = np.stack([grey, 0.9 * grey + 12, 0.8 * grey + 25], -1).clip(0, 255).astype(np.uint8)
        frame[100:400, 100:500] = 230 if n // 2 % 2 else 20
        yield frame


def clean(frames: int) -> Iterator[NDArray[np.uint8]]:
    """A slope, a card that moves over it, and a box that flashes 7.5 times a second."""
    slope = np.broadcast_to((np.arange(WIDTH) // 12)[None, :, None], (HEIGHT, WIDTH, 3)).astype(np.uint8)
    for n in range(frames):
        frame = slope.copy()
        left = 7 * n % (WIDTH - 400)
        frame[500:900, left : left + 400] = (210, 170, 60)
        frame[100:400, 100:500] = 230 if n // 2 % 2 else 20
        yield frame


def written(path: Path, frames: Iterator[NDArray[np.uint8]]) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"crf": "23", "preset": "medium"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path


def decoded(path: Path) -> None:
    """The limit: every frame decoded by PyAV, and nothing done with it."""
    with av.open(str(path)) as container:
        container.streams.video[0].thread_type = "AUTO"
        for _ in container.decode(video=0):
            pass


def timed(job: Callable[[], object]) -> tuple[float, float]:
    """Wall seconds and processor seconds."""
    wall, processor = time.perf_counter(), time.process_time()
    job()
    return time.perf_counter() - wall, time.process_time() - processor


def whole(path: Path, frames: int, rounds: int) -> list[str]:
    """Decoding and analysing, over decoding alone: processor milliseconds a frame, as the page shows them."""
    jobs: dict[str, Callable[[], object]] = {
        "decode alone": lambda: decoded(path),
        "one standard": lambda: sp.flash.analyse(path, ONE),
        "six standards": lambda: sp.flash.analyse(path, ALL),
    }
    took: dict[str, list[tuple[float, float]]] = {name: [] for name in jobs}
    for _ in range(rounds):
        for name, job in jobs.items():
            took[name].append(timed(job))
    limit = took["decode alone"]
    shown = []
    for name, times in took.items():
        wall, processor = (statistics.median(part) for part in zip(*times, strict=True))
        ratios = [
            statistics.median(one[kind] / other[kind] for one, other in zip(times, limit, strict=True))
            for kind in (0, 1)
        ]
        least = min(one[1] for one in times) / min(one[1] for one in limit)
        print(
            f"  {name:14s} {1000 * wall / frames:6.2f} ms a frame = {frames / wall:4.0f} frames a second; "
            f"processor {1000 * processor / frames:6.2f} ms; over decoding: wall {ratios[0]:.2f}, "
            f"processor {ratios[1]:.2f} [least over least {least:.2f}]"
        )
        shown.append(f"{1000 * processor / frames:.1f}" + f" ({ratios[1]:.2f} ×)" * (name != "decode alone"))
    return shown


def alone(path: Path, frames: int) -> str:
    """The analysis of pictures that are decoded already, in milliseconds of the processor a frame."""
    shown = []
    for name, standard in (("one standard", ONE), ("six standards", ALL)):
        slacks = (1 - SLACK, 1 + SLACK)
        analyser = sp.flash.Analyser(standard, slacks=slacks)
        spent = [timed(partial(analyser.push, picture))[1] for picture in islice(opened(path).pictures(), frames)]
        print(f"  {name:14s} {1000 * statistics.mean(spent):.2f} ms a frame for the analysis alone")
        shown.append(f"{1000 * statistics.mean(spent):.1f}")
    return " / ".join(shown)


def resident() -> float:
    """MiB in memory now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def stream(minutes: int) -> None:
    """Memory over a stream of 1080p at 30 frames a second, pictures of the noisy kind over and over."""
    pictures = list(noisy(8))
    analyser = sp.flash.Analyser(ALL, series=False)
    seen = {}
    for n in range(minutes * 60 * RATE):
        analyser.push(pictures[n % 8], n / RATE)
        if n % (60 * RATE) == 0:
            seen[n // (60 * RATE)] = resident()
    told = [minute for minute in (1, 2, 5, 10, 20, minutes - 1) if minute in seen]
    print(f"stream of {minutes} minutes: " + ", ".join(f"minute {one}: {seen[one]:.0f} MiB" for one in told))
    grown = [later - earlier for earlier, later in pairwise(seen[one] for one in told)]
    print(f"  largest growth between two of them: {max(grown, default=0.0):.1f} MiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--minutes", type=int, default=30)
    options = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    rows: list[tuple[str, ...]] = []
    with TemporaryDirectory() as folder:
        clips = {
            kind.__name__: written(Path(folder) / f"{kind.__name__}.mp4", kind(options.frames))
            for kind in (noisy, clean, waves)
        }
        for use in (cores[:1], cores[:2]):
            os.sched_setaffinity(0, use)
            for name, path in clips.items():
                rate = path.stat().st_size * 8 / options.frames * RATE / 1e6
                print(f"{name} clip, {rate:.1f} Mb/s, {len(use)} core{'s' * (len(use) > 1)}")
                shown = whole(path, options.frames, options.rounds)
                if len(use) == 1:
                    rows.append((DRAWN[name], *shown, alone(path, options.frames)))
        os.sched_setaffinity(0, cores)
    header = ("clip", "decoding", "with one standard", "with six", "analysis alone, one / six")
    table_of("flash-speed", header, rows, ("text", *("time",) * 4))
    if options.minutes:
        stream(options.minutes)


if __name__ == "__main__":
    main()
