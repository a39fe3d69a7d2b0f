"""Tables say what the records say, pictures show what the pixels are, and neither needs torch."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from sparring.report.picture import (
    INK,
    PAPER,
    WRONG,
    Example,
    Panel,
    Reading,
    fitting_factor,
    image,
    picture,
)
from sparring.report.table import compare, interval, number, percent, sentence, table, text, threat


def line(name: str, accuracy: float, attack: str | None = "PGD()") -> dict[str, Any]:
    return {
        "name": name,
        "attack": attack,
        "robust_accuracy": accuracy,
        "interval": [accuracy - 0.01, accuracy + 0.02],
        "broke": 1234,
        "forwards": 5000,
        "backwards": 4000,
        "seconds": 1.25,
    }


RECORDS = {
    **line("", 0.402),
    "examples": 2500,
    "threat": {"norm": "linf", "radius": 8 / 255, "mask": None},
    "table": [line("clean", 0.9, None), line("carlini_wagner", 0.402)],
}


def example(clean: np.ndarray, adversarial: np.ndarray, right: bool) -> Example:
    return Example(clean, adversarial, Reading("7", 0.987, True), Reading("1", 0.6, right))


def colours(panels: list[Panel], **options: Any) -> set[tuple[int, ...]]:
    page = np.asarray(picture(panels, "Title", "Caption", **options))
    return set(map(tuple, np.unique(page.reshape(-1, 3), axis=0).tolist()))


def test_the_table_fits_eighty_columns_and_tells_every_figure() -> None:
    told = text(table(RECORDS), width=80)
    assert max(map(len, told.splitlines())) <= 80
    assert "…" not in told
    clean, attacked = (next(row for row in told.splitlines() if name in row) for name in ("clean", "carlini"))
    assert clean.split() == ["clean", "90.0", "%", "89.0–92.0", "5,000", "4,000", "1.2", "s"]
    assert attacked.split() == ["carlini_wagner", "40.2", "%", "39.2–42.2", "1,234", "5,000", "4,000", "1.2", "s"]
    assert "worst case" in told


def test_models_stand_side_by_side() -> None:
    told = text(compare({"plain": RECORDS, "robust": RECORDS}, [("C&W", "0.7", "0.9")]))
    rows = {row.split("  ")[0].strip(): row.split() for row in told.splitlines()}
    assert rows["after carlini_wagner"][-4:] == ["40.2", "%", "40.2", "%"]
    assert rows["95 % interval"][-2:] == ["39.2–42.2", "39.2–42.2"]
    assert rows["C&W"][-2:] == ["0.7", "0.9"]


def test_the_sentence_names_the_number_as_an_upper_bound() -> None:
    assert sentence(RECORDS).startswith(
        "Read as: robust accuracy is AT MOST 40.2 % on these 2,500 examples under L∞ ≤ 8/255"
    )


@pytest.mark.parametrize(
    ("value", "written"),
    [(8 / 255, "8/255"), (0.5 / 255, "0.001961"), (0.2, "0.2"), (0.3, "0.3"), (12, "12"), (0, "0")],
)
def test_radii_are_written_as_people_write_them(value: float, written: str) -> None:
    assert number(value) == written


def test_threats_of_every_kind_are_written() -> None:
    assert threat({"threat": {"norm": "l2", "radius": None}}) == "L2 of any size"
    assert threat({"threat": {"norm": "l0", "radius": [3, 10], "mask": "ab"}}) == "L0 ≤ 3 to 10 on a mask"
    assert (percent(1 / 3), interval((0, 0.0366))) == ("33.3 %", "0.0–3.7")


def test_small_images_are_enlarged_without_blurring() -> None:
    pixels = np.random.default_rng(0).random((3, 8, 8), dtype=np.float32)
    shown = np.asarray(image(pixels))
    scale = shown.shape[0] // 8
    assert shown.shape == (8 * scale, 8 * scale, 3)
    expected = (pixels * 255).round().astype(np.uint8).transpose(1, 2, 0)
    assert np.array_equal(shown[scale // 2 :: scale, scale // 2 :: scale], expected)


@pytest.mark.parametrize(
    "shape", [(8, 8), (1, 28, 28), (3, 32, 32), (3, 1, 1), (1, 3, 90), (3, 300, 400), (1, 900, 20)]
)
def test_any_size_and_one_or_three_channels_are_drawn(shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(0).random(shape)
    page = picture([Panel("A network", [example(pixels, pixels, False)] * 2)], "Title", "Two\nlines")
    assert page.mode == "RGB"
    assert 0 < page.width < 1200
    assert page.getpixel((0, 0)) == page.getpixel((page.width - 1, page.height - 1)) == PAPER


def test_no_change_is_grey_and_only_the_fooled_are_framed_in_red() -> None:
    white = np.ones((1, 8, 8))
    kept, fooled = Panel("", [example(white, white, True)]), Panel("", [example(white, white, False)])
    assert (128, 128, 128) in colours([kept])
    assert WRONG not in colours([kept])
    assert {WRONG, INK} <= colours([fooled])


def test_the_stated_factor_magnifies_exactly_and_never_saturates() -> None:
    clean = np.full((1, 8, 8), 0.4)
    moved = clean + 0.03
    assert fitting_factor([moved - clean, clean - moved], (0, 1)) == 10
    assert fitting_factor([np.zeros(3)], (0, 1)) == 1
    assert {(204,) * 3, (102,) * 3} <= colours([Panel("", [example(clean, moved, True)])])
    assert (143,) * 3 in colours([Panel("", [example(clean, moved, True)])], magnify=2)


def test_bounds_other_than_zero_to_one_are_honoured() -> None:
    assert np.asarray(image(np.array([[-1.0, 1.0]]), (-1, 1)))[0, [0, -1]].tolist() == [[0] * 3, [255] * 3]


def test_reports_never_import_torch() -> None:
    code = "import sys, sparring.report.table, sparring.report.picture; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
