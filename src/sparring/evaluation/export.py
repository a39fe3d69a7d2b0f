"""Adversarial examples for people and other tools: npz as they are, PNG rounded to 8 bits and looked at again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from sparring.attacks.attack import fitting
from sparring.files import check_link
from sparring.model import Model
from sparring.problem import Problem
from sparring.sealed import FORMAT


def export(folder: Path, model: Model, problem: Problem, x: Tensor) -> dict[str, Any]:
    """Write the adversarial examples x of the rows of `problem` into `folder`; tell what 8 bits do to them.

    Returns how many `images` there are, how many are `still_adversarial` and how many are still `inside` the
    threat once rounded, the largest change by `rounding` in units of the input, and the `folder`. PNGs are
    written for inputs (N, 1 or 3, H, W); rounding is checked for every input.

    Raises:
        InputError: what would be written is a link.
    """
    check_link(folder)
    folder.mkdir(parents=True, exist_ok=True)
    low, high = model.bounds
    region = problem.region
    assert problem.label is not None
    labels = problem.label
    check_link(folder / "adversarial.npz")
    np.savez_compressed(
        folder / "adversarial.npz",
        format=FORMAT,
        x=x.numpy(),
        y=labels.numpy(),
        index=problem.index.numpy(),
        distance=region.distance(x).numpy(),
    )
    levels = ((x - low) / (high - low) * 255).round().clamp(0, 255)
    rounded = low + levels / 255 * (high - low)
    said = _said(model, rounded)
    if x.ndim == 4 and x.shape[1] in (1, 3):
        for level, number, label, now in zip(
            levels, problem.index.tolist(), labels.tolist(), said.tolist(), strict=True
        ):
            pixels = level.to(torch.uint8).permute(1, 2, 0).squeeze(2).numpy()
            save_png(Image.fromarray(pixels), folder / f"{number:06d}_is_{label}_said_{now}.png")
    return {
        "images": len(x),
        "still_adversarial": int((said == problem.goal.label if problem.goal.targeted else said != labels).sum()),
        "inside": int(region.contains(rounded).sum()),
        "rounding": float((rounded - x).abs().amax()) if len(x) else 0.0,
        "folder": str(folder),
    }


def save_png(image: Image.Image, path: Path) -> None:
    """Write a picture that says which format of a run's files it is of; not through a link."""
    check_link(path)
    told = PngInfo()
    told.add_text("sparring", f"format {FORMAT}")
    image.save(path, pnginfo=told)


def _said(model: Model, x: Tensor) -> Tensor:
    device = model.device or x.device
    said = torch.zeros(len(x), dtype=torch.int64)
    with torch.no_grad():
        for first in range(0, len(x), fitting(x)):
            part = slice(first, first + fitting(x))
            said[part] = model(x[part].to(device)).argmax(1).cpu()
    return said
