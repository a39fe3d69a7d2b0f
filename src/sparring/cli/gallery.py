"""A few examples of a result as a picture, with what the model says before and after."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from sparring.model import Model, Network
from sparring.report.picture import Example, Panel, Reading, picture

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from sparring.evaluation import Result

ROWS = 6


def gallery(result: Result, threat: str) -> Image.Image | None:
    """The first fooled examples; None when there are none, or they are not images."""
    fooled = (~result.robust & (result.distance > 0)).nonzero().squeeze(1)[:ROWS]
    x = result.problem.x[fooled]
    if not len(fooled) or x.ndim != 4 or x.shape[1] not in (1, 3):
        return None
    rows = examples(result.model, x, result.x[fooled], result.y[fooled])
    network = result.header["model"]["network"]
    caption = "Below each image: what the model says, and how sure it is."
    return picture([Panel(network, rows)], f"Fooled within {threat}", caption, result.model.bounds)


def examples(net: Network, clean: Tensor, adversarial: Tensor, y: Tensor) -> list[Example]:
    """Rows of the picture."""
    before, after = readings(net, clean, y), readings(net, adversarial, y)
    images = zip(clean.numpy(), adversarial.numpy(), before, after, strict=True)
    return [Example(*row) for row in images]


def readings(net: Network, x: Tensor, y: Tensor) -> list[Reading]:
    """What the model says of each image."""
    model = Model.of(net)
    device = model.device or x.device
    with torch.no_grad():
        sure, said = model(x.to(device)).softmax(1).max(1)
    rows = zip(said.tolist(), sure.tolist(), y.tolist(), strict=True)
    return [Reading(str(guess), confidence, guess == label) for guess, confidence, label in rows]
