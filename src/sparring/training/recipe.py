"""Recipes: everything that says how to train, as a TOML file that can be read, kept and run again."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import fields
from functools import cache, partial
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from tomli_w import dumps
from torch import nn

from sparring.attacks import Attack
from sparring.attacks import available as attacks
from sparring.data import load
from sparring.defenses import Defense
from sparring.defenses import available as defenses
from sparring.draws import isolated
from sparring.errors import InputError, closest
from sparring.loading import load_network, placed
from sparring.model import Model
from sparring.named import Make, Makers, family, wanted
from sparring.threats import parse
from sparring.training.augmentation import AUGMENTATIONS
from sparring.training.optimizers import OPTIMIZERS
from sparring.training.schedules import SCHEDULES
from sparring.training.settings import Settings


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Preprocessing(_Table):
    """What a network expects: the valid range of inputs, and the normalisation before it, by channel."""

    bounds: list[float] = Field(default=[0.0, 1.0], min_length=2, max_length=2)
    mean: list[float] | None = None
    std: list[float] | None = None

    def around(self, net: nn.Module) -> Model:
        """The network with it."""
        return Model(net, (self.bounds[0], self.bounds[1]), self.mean, self.std)


class Network(Preprocessing):
    """A trained network, to learn from."""

    model: str
    weights: str | None = None


class Recipe(_Table):
    """How to train: what `sparring.train` is asked, in words, numbers and tables.

    A table with a `name` is the attack, defense, optimizer, schedule or augmentation registered under it, and its
    other keys are that one's parameters; a table without a name changes the default. Several `[[defense]]` are
    added, each times its `factor`. Paths are relative to the current folder.
    """

    about: str = ""
    model: str | None = None
    weights: str | None = None
    data: str | None = None
    limit: int | None = Field(default=None, ge=1)
    threat: str | None = None
    epochs: int = 30
    batch_size: int = 64
    label_smoothing: float = 0.0
    ema: float | None = None
    clip: float | None = None
    precision: Literal["float32", "bfloat16"] = "float32"
    channels_last: bool = False
    compile: bool = False
    validation: float = 0
    patience: int | None = None
    seed: int = 0
    defense: Any = None
    optimizer: Any = None
    schedule: Any = None
    radius: Any = None
    effort: Any = None
    augment: list[Any] = Field(default_factory=list)
    preprocessing: Preprocessing = Preprocessing()
    kept: dict[str, Any] | None = Field(default=None, exclude=True)  # what the folder of a training says beside it

    @classmethod
    def read(cls, source: str | Path) -> Recipe:
        """The built-in recipe of that name, or the one in a file, whose name ends in .toml.

        Raises:
            InputError: there is none, or it cannot be used; the message names file, key, value and remedy.
        """
        path = Path(source)
        if path.suffix != ".toml":
            known = recipes()
            if str(source) not in known:
                hint = f"{closest(str(source), known)} There are: {', '.join(known)}; or name a file that ends in .toml"
                raise InputError(f"recipe {str(source)!r} is unknown.{hint}")
            return known[str(source)]
        try:
            return cls.of(tomllib.loads(path.read_text("utf-8")))
        except FileNotFoundError:
            raise InputError(f"recipe {str(source)!r} is not a file: check the path") from None
        except (OSError, ValueError) as error:  # what is no TOML, or no recipe, is a ValueError
            raise InputError(f"recipe {source}: {error}") from None

    @classmethod
    def of(cls, tables: Mapping[str, Any]) -> Recipe:
        """The recipe that tables stand for, as they are in the file.

        Raises:
            InputError: a key, a name or a value cannot be used.
        """
        try:
            return cls.model_validate(dict(tables))
        except ValidationError as error:
            raise InputError(_told(error)) from None

    def changed(self, **values: Any) -> Recipe:
        """The same with other values, as they would be in the file."""
        return self.of({**self.tables(), **values})

    def tables(self) -> dict[str, Any]:
        """What the file would hold."""
        return self.model_dump(exclude_none=True)

    def toml(self) -> str:
        """The file."""
        return dumps(self.tables())

    def arguments(self, device: str = "cpu", *, trust: bool = False, code: bool = False) -> dict[str, Any]:
        """The arguments of `sparring.train`, which runs the recipe: train(**recipe.arguments(), out="runs/t").

        trust: read weights that could run code, and import the code that `model` or a teacher's model names.
        code: import that of `model`, because the caller named it and not a file.

        Raises:
            InputError: the recipe names no model, data or defense, or one that cannot be used, or not without trust.
        """
        for key, example in (("model", "zoo:digits-cnn"), ("data", "digits"), ("defense", "trades")):
            if getattr(self, key) is None:
                shown = f'{{ name = "{example}" }}' if key == "defense" else f'"{example}"'
                raise InputError(f"{key} is missing: give --{key} {example}, or write {key} = {shown} in the recipe")
        assert self.data is not None
        _trusted("model", self.model, trust or code)
        with isolated(self.seed, torch.device("cpu")):  # the weights it starts from
            net = load_network(self.model, self.weights, trust=trust)
            defense = self._defense(device, trust)
        return {
            "net": placed(self.preprocessing.around(net), device),
            "data": load(self.data, split="train", limit=self.limit),
            "defense": defense,
            "threat": None if self.threat is None else parse(self.threat),
            **self._settings(),
        }

    @model_validator(mode="after")
    def _check(self) -> Recipe:
        """Everything is made once, apart from networks and data, so that mistakes are told at once."""
        if self.threat is not None:
            parse(self.threat)
        if self.defense is not None:
            self._defense(None, trust=False)
        Settings(**self._settings())
        return self

    def _defense(self, device: str | None, trust: bool) -> Defense:
        defense: Defense = _makers(device, trust)[Defense](self.defense, "defense", None)
        return defense

    def _settings(self) -> dict[str, Any]:
        made: dict[str, Any] = {
            key: None if (table := getattr(self, key)) is None else _one_of(known, table, key)
            for key, known in _KINDS.items()
        }
        made["augment"] = tuple(
            _one_of(AUGMENTATIONS, table, f"augment[{at}]") for at, table in enumerate(self.augment)
        )
        return made | {key: getattr(self, key) for key in _AS_THEY_ARE}


_KINDS: dict[str, Mapping[str, type[Any]]] = {
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
    "radius": SCHEDULES,
    "effort": SCHEDULES,
}
_AS_THEY_ARE = tuple(field.name for field in fields(Settings) if field.name not in (*_KINDS, "augment", "lr"))


@cache
def recipes() -> dict[str, Recipe]:
    """The built-in recipes by name."""
    folder = resources.files("sparring.training") / "recipes"
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".toml")), key=lambda file: file.name)
    return {file.name.removesuffix(".toml"): Recipe.of(tomllib.loads(file.read_text("utf-8"))) for file in files}


def _one_of(known: Mapping[str, type[Any]], written: object, where: str) -> Any:
    return family(lambda: known)(written, where, None)


def _makers(device: str | None, trust: bool) -> Makers:
    """What makes the values inside of a defense. A teacher is read where there is a device for it."""
    makers: dict[type, Make] = {Attack: family(attacks), nn.Module: partial(_teacher, device, trust)}
    one = family(defenses, makers)

    def defense(written: Any, where: str, default: Defense | None) -> Defense:
        if isinstance(written, list) and written:
            first, *others = (defense(table, f"{where}[{at}]", None) for at, table in enumerate(written))
            for other in others:
                first = first + other
            return first
        if not isinstance(written, Mapping) or "factor" not in written:
            whole: Defense = one(written, where, default)
            return whole
        factor = written["factor"]
        if isinstance(factor, bool) or not isinstance(factor, int | float):
            raise InputError(f"{where}.factor is {factor!r}; it should be a valid number")
        part: Defense = one({key: value for key, value in written.items() if key != "factor"}, where, default)
        return factor * part

    makers[Defense] = defense
    return makers


def _trusted(where: str, model: str | None, trust: bool) -> None:
    """Raises InputError for a model that is code: a file with a recipe in it must not run it by itself."""
    if model is not None and not model.startswith("zoo:") and not trust:
        raise InputError(
            f"{where} {model!r} in the recipe is code that would run; if you trust it, pass trust=True (--trust)"
        )


def _teacher(device: str | None, trust: bool, written: Any, where: str, default: object) -> nn.Module | None:
    if not isinstance(written, Mapping):
        raise InputError(f'{where} is {written!r}; write {{ model = "zoo:digits-cnn", weights = "file.safetensors" }}')
    try:
        guide = Network.model_validate(dict(written))
    except ValidationError as error:
        raise InputError(f"{where}.{_told(error, Network)}") from None
    if guide.model.startswith("zoo:") and guide.weights is None:
        raise InputError(f"{where}.model {guide.model!r} is untrained without weights: name its file, or no teacher")
    if device is None:
        return None
    _trusted(f"{where}.model", guide.model, trust)
    return placed(guide.around(load_network(guide.model, guide.weights, trust=trust)), device)


def _told(error: ValidationError, kind: type[BaseModel] = Recipe) -> str:
    """The first thing that is wrong, in the words of other errors."""
    first = error.errors()[0]
    if isinstance(cause := first.get("ctx", {}).get("error"), InputError):
        return str(cause)
    *outer, key = map(str, first["loc"])
    where = ".".join([*outer, key])
    if first["type"] == "extra_forbidden":
        known = (Preprocessing if outer else kind).model_fields
        return f"{where} is unknown.{closest(key, known)} There are: {', '.join(known)}"
    if first["type"] == "missing":
        return f"{where} is missing"
    return f"{where} is {first['input']!r}; it should be {wanted(first['msg'])}"
