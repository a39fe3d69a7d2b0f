"""Augmentation: exact laws of each kind, and every row a function of its own address alone."""

from __future__ import annotations

import pytest
import torch
from scipy import stats
from torch import Tensor

from sparring.draws import Draws
from sparring.errors import InputError
from sparring.training.augmentation import Augmentation, Cutout, Flip, PadCrop, augmented

DRAWS = Draws(7)
KINDS = pytest.mark.parametrize("kind", [Flip(), PadCrop(2), Cutout(3), PadCrop(0), Cutout(50, fill=0.5)], ids=repr)


def images(count: int, height: int = 6, width: int = 5) -> Tensor:
    """(count, 2, height, width) in [0.1, 1], no two values of an image alike."""
    values = torch.arange(2 * height * width) / (2.3 * height * width) + 0.1
    order = torch.stack([torch.randperm(len(values)) for _ in range(count)])
    return values[order].reshape(count, 2, height, width)


def windows(x: Tensor, padding: int, fill: float = 0.0) -> Tensor:
    """(offsets, C, H, W): every crop of one image that PadCrop may give."""
    channels, height, width = x.shape
    padded = torch.full((channels, height + 2 * padding, width + 2 * padding), fill)
    padded[:, padding : padding + height, padding : padding + width] = x
    reach = range(2 * padding + 1)
    return torch.stack([padded[:, i : i + height, j : j + width] for i in reach for j in reach])


# What all of them promise.


@KINDS
def test_a_row_is_a_function_of_its_own_address(kind: Augmentation) -> None:
    x, index = images(40), torch.randperm(1000)[:40]
    whole, order = kind(x, DRAWS, index, 3), torch.randperm(40)
    assert torch.equal(kind(x[order], DRAWS, index[order], 3), whole[order])
    for size in (1, 7):
        parts = zip(x.split(size), index.split(size), strict=True)
        assert torch.equal(torch.cat([kind(one, DRAWS, at, 3) for one, at in parts]), whole)


@pytest.mark.parametrize("kind", [Flip(), PadCrop(2), Cutout(3)], ids=repr)
def test_steps_examples_and_streams_differ(kind: Augmentation) -> None:
    x, index = images(1).expand(40, -1, -1, -1), torch.arange(40)
    here = kind(x, DRAWS, index, 0)
    assert len(here.unique(dim=0)) > 1
    for other in (kind(x, DRAWS, index, 1), kind(x, DRAWS, index + 40, 0), kind(x, DRAWS.at(1), index, 0)):
        assert not torch.equal(other, here)


@KINDS
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_shape_dtype_and_input_are_kept(kind: Augmentation, dtype: torch.dtype) -> None:
    x = images(9).to(dtype)
    before = x.clone()
    out = kind(x, DRAWS, torch.arange(9), 0)
    assert (out.shape, out.dtype, out.device) == (x.shape, dtype, x.device)
    assert torch.equal(out, kind(x.double(), DRAWS, torch.arange(9), 0).to(dtype))
    out.fill_(-1)
    assert torch.equal(x, before)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("where", ["cpu", "cuda"])
@KINDS
def test_a_gpu_gives_the_same(kind: Augmentation, where: str) -> None:
    x, index = images(40), torch.arange(40)
    out = kind(x.cuda(), DRAWS, index.to(where), 3)
    assert out.device.type == "cuda"
    assert torch.equal(out.cpu(), kind(x, DRAWS, index, 3))


@KINDS
def test_an_empty_batch_stays_empty(kind: Augmentation) -> None:
    assert kind(images(2)[:0], DRAWS, torch.arange(0), 0).shape == (0, 2, 6, 5)


@KINDS
def test_what_are_no_images_is_refused(kind: Augmentation) -> None:
    with pytest.raises(InputError, match=r"x has the shape \(3, 64\): augmentation takes images .*use none"):
        kind(torch.rand(3, 64), DRAWS, torch.arange(3), 0)
    for index in (torch.arange(1), torch.zeros(3, 1, dtype=torch.int64)):
        with pytest.raises(InputError, match=r"index has the shape .*\(3, 2, 6, 5\): give each row one index"):
            kind(images(3), DRAWS, index, 0)


# Flip.


def test_a_flip_mirrors_left_and_right_and_is_its_own_inverse() -> None:
    x, index = images(60), torch.arange(60)
    once = Flip()(x, DRAWS, index, 0)
    mirrored = torch.stack([x[..., 4 - column] for column in range(5)], dim=-1)
    flipped = (once != x).flatten(1).any(1)
    assert torch.equal(once[flipped], mirrored[flipped])
    assert torch.equal(once[~flipped], x[~flipped])
    assert torch.equal(Flip()(once, DRAWS, index, 0), x)
    assert torch.equal(Flip(1.0)(x, DRAWS, index, 0), mirrored)
    assert torch.equal(Flip(0.0)(x, DRAWS, index, 0), x)


@pytest.mark.parametrize("probability", [0.1, 0.5, 0.8])
def test_flips_are_as_frequent_as_asked(probability: float) -> None:
    x = torch.tensor([0.0, 1.0]).expand(500, 1, 1, 2)
    out = torch.cat([Flip(probability)(x, DRAWS, torch.arange(500), step) for step in range(10)])
    flips = int((out[..., 0] == 1).sum())
    assert stats.binomtest(flips, 5000, probability).pvalue > 1e-4


# PadCrop.


@pytest.mark.parametrize(("padding", "fill"), [(1, 0.0), (2, 0.0), (2, 0.05), (7, 0.0)])
def test_a_crop_is_a_window_of_the_padded_image(padding: int, fill: float) -> None:
    x, index = images(30), torch.arange(30)
    for image, crop in zip(x, PadCrop(padding, fill)(x, DRAWS, index, 0), strict=True):
        assert (windows(image, padding, fill) == crop).flatten(1).all(1).any()


def test_every_window_occurs_about_equally_often() -> None:
    x = images(1)
    crops = PadCrop(2)(x.expand(5000, -1, -1, -1), DRAWS, torch.arange(5000), 0)
    hits = (windows(x[0], 2)[None] == crops[:, None]).flatten(2).all(2)
    assert torch.equal(hits.sum(1), torch.ones(5000, dtype=torch.int64))
    assert stats.chisquare(hits.sum(0).numpy()).pvalue > 1e-4


# Cutout.


@pytest.mark.parametrize(("size", "fill"), [(1, 0.0), (2, 0.0), (3, 0.0), (4, 1.5), (30, 0.0)])
def test_a_cutout_is_one_square_and_the_rest_is_untouched(size: int, fill: float) -> None:
    x = images(1).expand(400, -1, -1, -1)
    out = Cutout(size, fill)(x, DRAWS, torch.arange(400), 0)
    cut = out != x
    assert (out[cut] == fill).all()
    assert torch.equal(cut[:, 0], cut[:, 1])
    areas = cut[:, 0].flatten(1).sum(1)
    assert areas.min() >= 1
    assert areas.max() == min(size, 6) * min(size, 5)
    # A product of an interval of rows and one of columns: all that a square leaves inside the image.
    rows, columns = cut[:, 0].any(2), cut[:, 0].any(1)
    assert torch.equal(cut[:, 0], rows[:, :, None] & columns[:, None, :])
    for covered in (rows, columns):
        assert covered.sum(1).max() <= size
        assert covered.int().diff(dim=1).abs().sum(1).max() <= 2


def test_a_cutout_is_around_any_pixel() -> None:
    x = images(1).expand(3000, -1, -1, -1)
    cut = (Cutout(1)(x, DRAWS, torch.arange(3000), 0) == 0)[:, 0]
    assert stats.chisquare(cut.sum(0).flatten().numpy()).pvalue > 1e-4
    # One of size 5 around a pixel of a 5 x 5 image covers 3, 4, 5, 4 or 3 of its rows, so all of it 1 time in 25.
    whole = Cutout(5)(images(1, 5, 5).expand(3000, -1, -1, -1), DRAWS, torch.arange(3000), 0).flatten(1) == 0
    assert stats.binomtest(int(whole.all(1).sum()), 3000, 1 / 25).pvalue > 1e-4


# In turn.


def test_augmentations_follow_each_other_on_streams_of_their_own() -> None:
    x, index = images(50), torch.arange(50)
    expected = Flip()(x, DRAWS.at("Flip", 0), index, 2)
    expected = PadCrop(2)(expected, DRAWS.at("PadCrop", 1), index, 2)
    expected = Flip()(expected, DRAWS.at("Flip", 2), index, 2)
    assert torch.equal(augmented(x, [Flip(), PadCrop(2), Flip()], DRAWS, index, 2), expected)
    # On one stream the second flip would undo the first.
    assert not torch.equal(augmented(x, [Flip(), Flip()], DRAWS, index, 2), x)
    assert torch.equal(augmented(x, (), DRAWS, index, 2), x)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Flip(1.5), r"probability=1.5 .*from 0 to 1"),
        (lambda: Flip(float("nan")), r"probability=nan"),
        (lambda: PadCrop(-1), r"padding=-1 .*0 or more"),
        (lambda: Cutout(0), r"size=0 .*positive"),
    ],
)
def test_wrong_arguments_are_refused(make: object, told: str) -> None:
    assert callable(make)
    with pytest.raises(InputError, match=told):
        make()
