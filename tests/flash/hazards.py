"""Random clips of rectangles that change colour at random rates: hazards often, and harmless ones among them."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

Clip = tuple[NDArray[np.uint8], NDArray[np.float64]]

_REDS = st.tuples(st.integers(120, 255), st.integers(0, 40), st.integers(0, 40))
_COLOURS = st.one_of(st.tuples(*[st.integers(0, 255)] * 3), st.sampled_from([(0, 0, 0), (255, 255, 255)]), _REDS)


@st.composite
def clips(draw: st.DrawFn) -> Clip:
    """Frames (T, H, W, 3) of 24 to 60 a second, for one to two seconds; sometimes at uneven times."""
    rate = draw(st.sampled_from([24.0, 25.0, 30000 / 1001, 30.0, 50.0, 60.0]))
    width, height = draw(st.integers(16, 32)) * 2, draw(st.integers(9, 18)) * 2
    count = round(rate * draw(st.floats(1.0, 2.0)))
    frames = np.full((count, height, width, 3), draw(_COLOURS), np.uint8)
    for _ in range(draw(st.integers(1, 3))):
        whole = draw(st.booleans())
        left, right = (0, width) if whole else sorted(draw(st.tuples(*[st.integers(0, width)] * 2)))
        top, bottom = (0, height) if whole else sorted(draw(st.tuples(*[st.integers(0, height)] * 2)))
        colours = draw(st.lists(_COLOURS, min_size=2, max_size=3))
        period = rate / draw(st.floats(5, 30))
        start = draw(st.integers(0, count // 3))
        for t in range(start, draw(st.integers(2 * count // 3, count))):
            frames[t, top:bottom, left:right] = colours[int((t - start) / period) % len(colours)]
    if draw(st.booleans()):
        grain = np.random.default_rng(draw(st.integers(0, 99))).integers(-6, 7, frames.shape)
        frames = np.clip(frames + grain, 0, 255).astype(np.uint8)
    steps = np.full(count, 1 / rate)
    if draw(st.integers(0, 3)) == 0:
        steps *= np.random.default_rng(count).uniform(0.5, 1.5, count)
    return frames, np.cumsum(steps)
