"""Training: a small loop of its own, whatever defense it learns with. `sp.train` is the door."""

from __future__ import annotations

from sparring.training.augmentation import Augmentation, Cutout, Flip, PadCrop
from sparring.training.loop import Trained, train
from sparring.training.optimizers import SGD, Adam, AdamW
from sparring.training.recipe import Recipe, recipes
from sparring.training.run import TrainingAlarm
from sparring.training.schedules import Cosine, Linear, Milestones, OneCycle, Schedule

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "Augmentation",
    "Cosine",
    "Cutout",
    "Flip",
    "Linear",
    "Milestones",
    "OneCycle",
    "PadCrop",
    "Recipe",
    "Schedule",
    "Trained",
    "TrainingAlarm",
    "recipes",
    "train",
]
