"""Whether stripes follow each other at nearly equal distances: bars at random distances are no regular pattern.

The phase of a pattern, in a band wide enough to follow uneven distances, is read along lines across the stripes. Where
it has gone on by whole periods lie the ends of light-dark pairs, and the widths of neighbouring pairs are compared.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from sparring.flash.patterns.spectrum import Signal, Spectrum
from sparring.flash.patterns.tiles import STEP, Floats

Mask = NDArray[np.bool_]

UNEVEN = 0.05  # standard deviation of the logarithm of the ratio of neighbouring widths: 0.5 of their own deviation
SLOPE = 0.2  # and its mean: widths that grow or shrink evenly, as in perspective, are regular
ALIKE = 0.97  # cosine of the angle between waves that are read along the same lines
SHORT = 3  # comparisons from which a line that ends early is judged


def regular(spectrum: Spectrum, mask: Mask, waves: Floats, signals: Signal, pairs: float) -> Mask:
    """The points of `mask` that lie in runs of nearly equal light-dark pairs, at least `pairs` where there is room."""
    power = np.square(signals.real) + np.square(signals.imag)
    ways = waves / np.hypot(waves[:, 0], waves[:, 1])[:, None]
    alike = np.abs(ways @ ways.T) > ALIKE
    best = power.argmax(axis=0)
    known, even = np.zeros(mask.shape, np.float32), np.zeros(mask.shape, np.float32)
    half = max(round(2 * pairs), SHORT + 3)
    for c in np.argsort(-(power * mask).sum(axis=(1, 2))):
        own = mask & alike[c][best]
        if (own & (known == 0)).sum() < 0.02 * mask.sum():
            continue
        low, steps = spectrum.wide(waves[c])
        if abs(waves[c][1]) >= abs(waves[c][0]):
            judged, good = _lines(own, low, steps[1], half)
        else:
            judged, good = (side.T for side in _lines(own.T, low.T, steps[0], half))
        known += judged
        even += good
    # A line is one witness: those within a period have a say.
    size = 2 * int(np.ceil(0.5 / STEP / float(np.median(np.hypot(*waves.T))))) + 1
    known, even = (uniform_filter(votes, size, mode="constant") for votes in (known, even))
    out: Mask = mask & (even >= 0.5 * known - 1e-6)
    return out


def _lines(own: Mask, low: Signal, step: float, half: int) -> tuple[Mask, Mask]:
    """Points (lines, n) on lines long enough to be judged, and those within an even run of `half` half periods or a
    fourth of the line.

    `step`: phase of the carrier from point to point.
    """
    judged, good = np.zeros(own.size, np.bool_), np.zeros(own.size, np.bool_)
    at = np.flatnonzero(own)
    if len(at) < 2:
        return judged.reshape(own.shape), good.reshape(own.shape)
    flat = low.ravel()[at] if own.flags.c_contiguous else low.flatten()[at]
    phase = np.sign(step) * (step + np.angle(flat[1:] * flat[:-1].conj()).astype(np.float64))
    beside = (np.diff(at) == 1) & (at[1:] % own.shape[1] != 0)
    on = beside & (phase > 0.15 * abs(step))  # it must go on, and one way
    # Pieces of lines, laid end to end.
    first = np.flatnonzero(np.concatenate([[True], ~on]))
    last = np.append(first[1:], len(at)) - 1
    slipped = np.concatenate([[False], beside & ~on, [False]])
    slipped = slipped[first] | slipped[last + 1]
    phase = np.concatenate([[0], np.cumsum(np.where(on, phase, 1))])
    ends = np.floor((phase[last] - phase[first]) / np.pi).astype(np.intp) + 1  # of half periods, in each piece
    piece = np.repeat(np.arange(len(first)), ends)
    number = np.arange(len(piece)) - np.repeat(np.cumsum(ends) - ends, ends)
    where = np.interp(phase[first][piece] + np.pi * number, phase, np.arange(len(at)))
    room = ends - 1
    whole = room >= half
    short = ~whole & (room - 3 >= SHORT)
    ratio = np.zeros(max(len(where) - 4, 0))  # of a width to the one before it
    if len(ratio):
        ratio = np.log((where[4:] - where[2:-2]) / (where[2:-2] - where[:-4]))
    sums, squares = (np.concatenate([[0], np.cumsum(each)]) for each in (ratio, np.square(ratio)))
    reach = np.where(whole, np.maximum(half, room // 4), room)[piece]
    start = np.flatnonzero((whole | short)[piece] & (number + reach <= room[piece]))
    stop = start + reach[start]
    count = stop - start - 3
    mean, square = ((each[stop - 3] - each[start]) / count for each in (sums, squares))
    even = (square - np.square(mean) < UNEVEN**2) & (np.abs(mean) < SLOPE)
    start, stop = start[even], stop[even]
    pad = (where[start + 1] - where[start]), (where[stop] - where[stop - 1])
    marks = np.zeros(len(at) + 1, np.intp)
    np.add.at(marks, np.maximum(np.ceil(where[start] - pad[0]).astype(np.intp), first[piece[start]]), 1)
    np.add.at(marks, np.minimum(np.floor(where[stop] + pad[1]).astype(np.intp), last[piece[start]]) + 1, -1)
    of = np.repeat(np.arange(len(first)), last - first + 1)
    judged[at] = (whole | short | (slipped & ~whole))[of]
    good[at] = np.cumsum(marks[:-1]) > 0
    return judged.reshape(own.shape), good.reshape(own.shape)
