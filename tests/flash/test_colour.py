"""Light of code values: published points of every transfer function, and double precision as the reference."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from sparring.flash.reading.colour import Colour, luminance, tagged, uv

LUMA = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722), "bt2020": (0.2627, 0.0593)}
BT2020_TO_709 = [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]]  # BT.2087-0
P3_TO_709 = [[1.2249, -0.2249, 0.0], [-0.0420, 1.0420, 0.0], [-0.0197, -0.0786, 1.0983]]
WEIGHTS = np.array([0.2126, 0.7152, 0.0722])


def curve(signal, transfer, sdr):
    """ST 2084, BT.1886, IEC 61966-2-1 and BT.2100 as printed, 1.0 = 200 cd/m²; HLG before its OOTF."""
    if transfer == "pq":
        root = signal ** (1 / 78.84375)
        return 50 * (np.maximum(root - 0.8359375, 0) / (18.8515625 - 18.6875 * root)) ** (1 / 0.1593017578125)
    if transfer == "hlg":
        bright = (np.exp((signal - 0.55991073) / 0.17883277) + 0.28466892) / 12
        return np.where(signal <= 0.5, signal * signal / 3, bright)
    if transfer == "linear":
        return signal
    if sdr == "bt1886":
        return signal**2.4
    return np.where(signal <= 0.04045, signal / 12.92, ((signal + 0.055) / 1.055) ** 2.4)


def reference(colour, codes, sdr):
    """Luminance in double precision."""
    scale = 1 << (colour.bits - 8)
    peak = (1 << colour.bits) - 1
    black, span, swing = (0, peak, peak) if colour.full else (16 * scale, 219 * scale, 224 * scale)
    if colour.model == "yuv":
        kr, kb = LUMA[colour.matrix]
        y, cb, cr = (c.astype(np.float64) for c in codes)
        y, cb, cr = (y - black) / span, (cb - 128 * scale) / swing, (cr - 128 * scale) / swing
        red, blue = y + 2 * (1 - kr) * cr, y + 2 * (1 - kb) * cb
        rgb = np.stack([red, (y - kr * red - kb * blue) / (1 - kr - kb), blue])
    else:
        rgb = np.stack([(c.astype(np.float64) - black) / span for c in codes])
    rgb = curve(np.clip(rgb, 0, 1), colour.transfer, sdr)
    if colour.transfer == "hlg":
        rgb = 5 * rgb * (np.array([0.2627, 0.6780, 0.0593]) @ rgb) ** 0.2
    if colour.primaries == "bt2020":
        rgb = np.array(BT2020_TO_709) @ rgb
    return WEIGHTS @ rgb


@pytest.mark.parametrize("model", ["rgb", "yuv"])
@pytest.mark.parametrize("full", [True, False])
@pytest.mark.parametrize(("matrix", "bits"), [("bt601", 8), ("bt709", 8), ("bt709", 10), ("bt2020", 12)])
@pytest.mark.parametrize("sdr", ["srgb", "bt1886"])
def test_light_is_right_within_3e_5(model, full, matrix, bits, sdr):
    colour = Colour(model, bits, full, matrix)
    draw = np.random.default_rng(0)
    codes = [draw.integers(0, 1 << bits, 20_000).astype(np.uint8 if bits == 8 else np.uint16) for _ in range(3)]
    got = luminance(*colour.light(codes, sdr))
    assert got.dtype == np.float32
    assert np.abs(got - reference(colour, codes, sdr)).max() <= 3e-5


@pytest.mark.parametrize("transfer", ["pq", "hlg", "sdr"])
def test_wide_and_high_dynamic_range_light_is_right(transfer):
    colour = Colour("yuv", 10, False, "bt2020", "bt2020", transfer)
    codes = [np.random.default_rng(1).integers(0, 1024, 20_000).astype(np.uint16) for _ in range(3)]
    want = reference(colour, codes, "srgb")
    error = np.abs(luminance(*colour.light(codes)) - want)
    # BT.2087 prints its matrix to four places: 2e-4 of the largest term
    assert (error <= 3e-5 + 3e-4 * np.maximum(np.abs(want), 0.1 if transfer == "sdr" else 1)).all()


@pytest.mark.parametrize("sdr", ["srgb", "bt1886"])
def test_greys_in_rgb_are_exact_and_rise(sdr):
    codes = np.arange(256, dtype=np.uint8)
    got = luminance(*Colour().light([codes] * 3, sdr))
    assert np.abs(got - curve(codes / 255.0, "sdr", sdr)).max() <= 1e-6
    assert (np.diff(got) > 0).all()
    deep = np.arange(1 << 16, dtype=np.uint16)
    assert (np.diff(luminance(*Colour(bits=16).light([deep] * 3, sdr))) >= 0).all()


def test_greys_in_yuv_have_three_equal_channels_and_rise():
    for bits in (8, 10):
        codes = np.arange(16 << (bits - 8), (235 << (bits - 8)) + 1).astype(np.uint8 if bits == 8 else np.uint16)
        middle = np.full_like(codes, 128 << (bits - 8))
        red, green, blue = Colour("yuv", bits, False).light([codes, middle, middle])
        assert np.array_equal(red, green)
        assert np.array_equal(green, blue)
        assert (np.diff(red) > 0).all()
        assert (red[0], red[-1]) == (0.0, 1.0)


def test_bt1702_table_1():
    """ITU-R BT.1702-3, annex 2: 10-bit codes to cd/m² under BT.1886 with white at 200."""
    codes = np.array([64, 400, 863, 940], np.uint16)
    light = Colour("gray", 10, False).light([codes], "bt1886")
    assert np.allclose(200 * luminance(*light), [0, 20.05, 160.4, 200], atol=0.05)


def test_pq_points():
    """ST 2084: signal 0.5081 is 100 cd/m²; BT.2408: 58 % is 203; full scale 10,000."""
    signal = np.array([0.0, 0.5081, 0.5807, 0.7518, 1.0])
    codes = np.round(signal * 65535).astype(np.uint16)
    light = Colour("rgb", 16, primaries="bt2020", transfer="pq").light([codes] * 3)
    assert np.allclose(200 * luminance(*light), [0, 100, 203, 1000, 10000], rtol=2e-3)
    assert Colour(transfer="pq").hdr


def test_hlg_points():
    """BT.2408: on a display of 1,000 cd/m², 75 % is 203 cd/m² and 38 % is 26; full scale is the peak."""
    codes = np.round(np.array([0.0, 0.38, 0.75, 1.0]) * 65535).astype(np.uint16)
    light = Colour("rgb", 16, primaries="bt2020", transfer="hlg").light([codes] * 3)
    assert np.allclose(200 * luminance(*light), [0, 26, 203, 1000], rtol=0.01)
    assert np.allclose(light[0], light[2], rtol=1e-5)


@pytest.mark.parametrize(("primaries", "matrix"), [("bt2020", BT2020_TO_709), ("p3", P3_TO_709)])
def test_wider_primaries_become_bt709_unclipped(primaries, matrix):
    colour = Colour(primaries=primaries)
    pure = np.eye(3, dtype=np.uint8) * 255
    assert np.allclose(np.stack(colour.light(list(pure))), matrix, atol=2e-4)
    white = np.array([255], np.uint8)
    assert np.allclose(np.stack(colour.light([white] * 3)), 1, atol=1e-6)


@pytest.mark.parametrize(
    ("matrix", "red", "green"),
    [("bt709", (63, 102, 240), (173, 42, 26)), ("bt601", (81, 90, 240), (145, 54, 34))],
)
def test_pure_colours_by_their_published_codes(matrix, red, green):
    codes = [np.array(pair, np.uint8) for pair in zip(red, green, strict=True)]
    want = [[1, 0], [0, 1], [0, 0]]
    assert np.allclose(np.stack(Colour("yuv", 8, False, matrix).light(codes)), want, atol=0.012)
    other = "bt601" if matrix == "bt709" else "bt709"
    assert not np.allclose(np.stack(Colour("yuv", 8, False, other).light(codes)), want, atol=0.05)


def test_range_matters():
    code = [np.array([16, 235], np.uint8), *(np.array([128, 128], np.uint8) for _ in range(2))]
    assert np.allclose(Colour("yuv", 8, False).light(code)[0], [0, 1], atol=2e-5)
    full = curve(np.array([16, 235]) / 255, "sdr", "srgb")
    assert np.allclose(Colour("yuv", 8, True).light(code)[0], full, atol=2e-5)


def test_chromaticities_are_those_of_srgb():
    points = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1], [0, 0, 0]], np.float32)
    u, v = uv(*points.T)
    assert np.allclose(u, [0.4507, 0.1250, 0.1754, 0.1978, 0.1978], atol=2e-4)
    assert np.allclose(v, [0.5229, 0.5625, 0.1579, 0.4683, 0.4683], atol=2e-4)
    assert (u[3], v[3]) == pytest.approx((u[4], v[4]), abs=1e-6)  # black is given white's


@pytest.mark.parametrize(
    "colour",
    [
        *(Colour(model, bits, full) for model, bits, full in itertools.product(("rgb", "yuv"), (8, 10), (True, False))),
        Colour("yuv", 8, False, "bt601"),
        Colour("yuv", 10, False, "bt2020", "bt2020", "pq"),
        Colour("yuv", 10, False, "bt2020", "bt2020", "hlg"),
        Colour("rgb", 16, True, transfer="linear"),
    ],
    ids=str,
)
@pytest.mark.parametrize("sdr", ["srgb", "bt1886"])
def test_codes_are_the_inverse_of_light(colour, sdr):
    """Codes of R'G'B' well inside the gamut come back."""
    draw = np.random.default_rng(2)
    scale = 1 << (colour.bits - 8)
    low, high = ((70, 180), (118, 138)) if colour.model == "yuv" else ((20, 230), (20, 230))
    dtype = np.uint8 if colour.bits == 8 else np.uint16
    codes = [draw.integers(a * scale, b * scale, 5000).astype(dtype) for a, b in (low, high, high)]
    back = colour.codes(*colour.light(codes, sdr), sdr)
    step = 0.02 * scale if colour.bits > 8 else 0.02
    assert max(np.abs(one - other).max() for one, other in zip(back, codes, strict=True)) < step


def test_codes_are_clipped_to_their_range():
    beyond = [np.array([value], np.float32) for value in (7.0, -2.0, 0.5)]
    luma, cb, cr = Colour("yuv", 8, False).codes(*beyond)
    assert 16 <= luma[0] <= 235
    assert 16 <= cb[0] <= 240
    assert 16 <= cr[0] <= 240
    red, green, _ = Colour().codes(*beyond)
    assert (red[0], green[0]) == (255, 0)


def test_tags_are_honoured_and_missing_ones_said():
    assert tagged("yuv", 8, matrix=1, limits=1, primaries=1, transfer=1) == Colour("yuv", 8, False)
    sd = tagged("yuv", 8, lines=576)
    assert (sd.matrix, sd.full) == ("bt601", False)
    assert sd.notes == (
        "untagged, so assumed: matrix BT.601 (for 576 lines), limited range, primaries BT.709, transfer SDR",
    )
    assert tagged("yuv", 8, lines=720).matrix == "bt709"
    assert tagged("yuv", 8, jpeg=True).full
    assert tagged("rgb", 8) == Colour()  # untagged RGB is sRGB: nothing is assumed
    hdr = tagged("yuv", 10, matrix=9, limits=1, primaries=9, transfer=16)
    assert hdr == Colour("yuv", 10, False, "bt2020", "bt2020", "pq")
    assert tagged("yuv", 10, matrix=9, limits=1, primaries=9, transfer=18).transfer == "hlg"
    assert tagged("yuv", 8, matrix=1, limits=2, primaries=12, transfer=13).primaries == "p3"
    odd = tagged("yuv", 8, matrix=8, limits=1, primaries=1, transfer=10)
    assert odd.notes == (
        "matrix 8 of ITU-T H.273 is not supported: read as BT.709",
        "transfer 10 of ITU-T H.273 is not supported: read as SDR",
    )
