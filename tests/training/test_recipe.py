"""Recipes: what a file says is what is trained, and what it cannot mean is told with key, value and remedy."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
import torch
from tomli_w import dumps
from torch import nn

from sparring.attacks import PGD
from sparring.defenses import AWP, HAT, TRADES, AdversarialTraining, Distillation, InputGradient, Standard
from sparring.errors import InputError
from sparring.training import SGD, Adam, AdamW, Flip, Linear, Milestones, PadCrop, Recipe, recipes, train
from sparring.training.settings import Settings
from sparring.zoo import AVAILABLE, SmallCNN

TINY = """
about = "a plain word"
model = "zoo:digits-cnn"
data = "digits"
limit = 40
threat = "linf:0.2"
epochs = 1
augment = [{ name = "pad-crop", padding = 1 }, { name = "flip", probability = 0.25 }]

[defense]
name = "trades"
beta = 3
attack = { name = "pgd", steps = 2, step_size = "2/255", objective = "kl" }

[optimizer]
name = "sgd"
lr = 0.05
nesterov = true

[schedule]
name = "milestones"
at = [0.5, 0.9]

[radius]
name = "linear"
until = 0.5
"""


def read(folder: Path, text: str) -> Recipe:
    (folder / "my.toml").write_text(text)
    return Recipe.read(folder / "my.toml")


@pytest.mark.parametrize("name", recipes())
def test_a_built_in_recipe_says_what_it_is_and_can_be_made(name: str) -> None:
    recipe = Recipe.read(name)
    assert recipe.about
    data = name.split("-")[0]
    assert recipe.model is not None
    made = AVAILABLE[recipe.model.removeprefix("zoo:")]
    with torch.device("meta"):
        net = made()
    assert sum(weight.numel() for weight in net.parameters()) > 1000
    assert (recipe.data is not None) == (data == "digits")  # the only data that is embedded
    if data != "digits":
        assert "%" not in recipe.about  # figures stand in the pages, where a command makes them
    # All but network and data, which are not here.
    arguments = recipe.changed(model="zoo:digits-cnn", data="digits").arguments()
    assert set(arguments) == {"net", "data", "defense", "threat"} | {f.name for f in fields(Settings)} - {"lr"}


def test_the_recipes_asked_for_are_there() -> None:
    asked = ["standard", "at", "trades", "input-gradient", "distillation"]
    assert {f"digits-{name}" for name in asked} <= set(recipes())
    assert {"mnist-trades", "mnist-n-fgsm", "cifar10-preactresnet18-at", "cifar10-wrn28-10-at"} <= set(recipes())


def test_tables_become_values(tmp_path: Path) -> None:
    found = read(tmp_path, TINY).arguments()
    assert found["defense"] == TRADES(3.0, PGD(2, step_size=2 / 255, objective="kl"))
    assert found["optimizer"] == SGD(0.05, nesterov=True)
    assert (found["schedule"], found["radius"], found["effort"]) == (Milestones((0.5, 0.9)), Linear(until=0.5), None)
    assert found["augment"] == (PadCrop(1), Flip(0.25))
    assert len(found["data"].x) == 40
    assert found["data"].name == "digits:train"


def test_a_recipe_is_trained_by_train(tmp_path: Path) -> None:
    recipe = read(tmp_path, TINY)
    first, again = (train(**recipe.arguments()).model for _ in range(2))
    assert all(map(torch.equal, first.state_dict().values(), again.state_dict().values()))
    other = train(**recipe.changed(seed=1).arguments()).model
    assert not torch.equal(first.net.head[1].weight, other.net.head[1].weight)


@pytest.mark.parametrize(
    ("written", "defense"),
    [
        ({"name": "awp", "gamma": 0.005, "defense": {"name": "trades"}}, AWP(TRADES(), 0.005)),
        ([{"name": "standard"}, {"name": "input_gradient", "factor": 0.1}], Standard() + 0.1 * InputGradient()),
        ({"name": "trades", "attack": {"steps": 3}}, TRADES(attack=PGD(3, objective="kl"))),
        ({"name": "awp", "defense": {"attack": {"steps": 3}}}, AWP(AdversarialTraining(PGD(3)))),
        ({"name": "hat", "teacher": "none", "attack": {"step_size": "none"}}, HAT()),
    ],
)
def test_defenses_nest_add_and_change_their_defaults(written: object, defense: object) -> None:
    recipe = Recipe.of({"model": "zoo:digits-mlp", "data": "digits", "threat": "linf:0.1", "defense": written})
    assert recipe.arguments()["defense"] == defense
    assert repr(recipe.arguments()["defense"]) == repr(defense)


def test_a_teacher_is_a_network_with_weights(tmp_path: Path) -> None:
    net = SmallCNN()
    torch.save(net.state_dict(), tmp_path / "teacher.pt")
    teacher = {"model": "zoo:digits-cnn", "weights": str(tmp_path / "teacher.pt"), "mean": [0.5]}
    recipe = Recipe.of({"defense": {"name": "distillation", "temperature": 5, "teacher": teacher}})
    defense = recipe.changed(model="zoo:digits-mlp", data="digits").arguments()["defense"]
    assert isinstance(defense, Distillation)
    assert torch.equal(defense.teacher.net.head[1].weight, net.head[1].weight)
    assert defense.teacher.mean.tolist() == [0.5]
    with pytest.raises(InputError, match=r"defense.teacher.wieghts is unknown. Did you mean weights\?"):
        Recipe.of({"defense": {"name": "ard", "teacher": {"model": "zoo:digits-cnn", "wieghts": "a.pt"}}})
    with pytest.raises(InputError, match=r"defense.teacher.model is missing"):
        Recipe.of({"defense": {"name": "ard", "teacher": {"weights": "a.pt"}}})


@pytest.mark.parametrize("name", recipes())
def test_what_is_written_reads_the_same(name: str, tmp_path: Path) -> None:
    recipe = recipes()[name]
    assert read(tmp_path, recipe.toml()) == recipe


def test_toml_is_written_as_it_is_read(tmp_path: Path) -> None:
    recipe = read(tmp_path, TINY)
    assert read(tmp_path, recipe.toml()) == recipe
    assert read(tmp_path, dumps({"about": 'L∞ "8"\n\\ end', "defense": [{"name": "standard"}]})).tables()["about"] == (
        'L∞ "8"\n\\ end'
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("epoch = 3", r"my.toml: epoch is unknown. Did you mean epochs\? There are: about, model"),
        ('epochs = "ten"', r"my.toml: epochs is 'ten'; it should be a valid integer"),
        ("epochs = 0", r"epochs is 0; give a whole number of at least 1"),
        ("limit = 0", r"limit is 0; it should be greater than or equal to 1"),
        ("precision = 'half'", r"precision is 'half'; it should be 'float32' or 'bfloat16'"),
        ("label_smoothing = 2.0", r"label_smoothing is 2.0; give a number in \[0, 1\)"),
        ("threat = 'linv:0.1'", r"threat 'linv:0.1' is unknown. Did you mean linf\?"),
        ("defense = 'trades'", r'defense is \'trades\'; write a table such as \{ name = "standard" \}'),
        ("defense = {}", r"defense has no name. There are: standard, adversarial_training"),
        ("defense = []", r"defense is \[\]; write a table"),
        ("defense = { name = 'tardes' }", r"defense.name 'tardes' is unknown. Did you mean trades\? There are: "),
        ("defense = { name = 3 }", r"defense.name 3 is unknown. There are: "),
        ("defense = { name = 'trades', bta = 3 }", r"defense: trades has no parameter 'bta'. Did you mean beta\?"),
        ("defense = { name = 'trades', beta = '3x' }", r"defense.beta is '3x'; it should be a valid number"),
        ("defense = { name = 'trades', beta = true }", r"defense.beta is True; it should be a valid number"),
        ("defense = { name = 'trades', beta = -1 }", r"defense: TRADES has beta=-1.0; give a finite number"),
        ("defense = { name = 'trades', factor = 'x' }", r"defense.factor is 'x'; it should be a valid number"),
        (
            "defense = { name = 'trades', attack = 'pgd' }",
            r"defense.attack is \'pgd\'; write a table such as \{ name =",
        ),
        ("defense = { name = 'trades', attack = { steps = 1.5 } }", r"defense.attack.steps is 1.5; .* a valid integer"),
        ("defense = { name = 'trades', attack = { steps = 0 } }", r"defense.attack: PGD has steps=0; give a whole"),
        ("defense = { name = 'trades', attack = { objective = 'kll' } }", r"'kll' is unknown. Did you mean kl\?"),
        (
            "defense = { name = 'trades', attack = { name = 'pdg' } }",
            r"defense.attack.name 'pdg' .* Did you mean pgd\?",
        ),
        ("defense = [{ name = 'trades' }, { name = 'jacobean' }]", r"defense\[1\].name 'jacobean' .*jacobian\?"),
        ("defense = [{ name = 'trades' }, { name = 'awp' }]", r"AWP.* cannot be added to another"),
        ("defense = { name = 'ard', teacher = 'a.pt' }", r"defense.teacher is 'a.pt'; write \{ model = "),
        ("optimizer = { name = 'sdg' }", r"optimizer.name 'sdg' is unknown. Did you mean sgd\? There are: sgd, adam, "),
        ("optimizer = { name = 'sgd', lr = -1.0 }", r"optimizer: SGD has lr=-1.0; give a finite number of at least 0"),
        ("optimizer = { name = 'sgd', nesterov = true, momentum = 0 }", r"optimizer: SGD has nesterov=True"),
        ("schedule = { name = 'cosinus' }", r"schedule.name 'cosinus' is unknown. Did you mean cosine\?"),
        ("schedule = { name = 'milestones', at = [0.5, 'x'] }", r"schedule.at is \[0.5, 'x'\]; it should be a valid"),
        ("augment = [{ name = 'flop' }]", r"augment\[0\].name 'flop' is unknown. Did you mean flip\?"),
        ("preprocessing = { maen = [0.5] }", r"preprocessing.maen is unknown. Did you mean mean\? There are: bounds"),
        ("preprocessing = { bounds = [0] }", r"preprocessing.bounds is \[0\]; it should"),
        ("epochs = ", r"my.toml: Invalid value \(at "),
    ],
)
def test_what_cannot_be_meant_is_told(change: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read(tmp_path, change)
    assert str(caught.value).startswith(f"recipe {tmp_path / 'my.toml'}: ")
    assert "\n" not in str(caught.value)


def test_a_recipe_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"'digits-trade' is unknown. Did you mean digits-trades\? There are: .*\.toml"
    ):
        Recipe.read("digits-trade")
    with pytest.raises(InputError, match=r"absent.toml' is not a file: check the path"):
        Recipe.read(tmp_path / "absent.toml")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match=r"bytes.toml: "):
        Recipe.read(tmp_path / "bytes.toml")


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("model", r"model is missing: give --model zoo:digits-cnn, or write model = \"zoo:digits-cnn\""),
        ("data", r"data is missing: give --data digits"),
        ("defense", r"defense is missing: give --defense trades, or write defense = \{ name = \"trades\" \}"),
    ],
)
def test_what_a_recipe_leaves_out_is_asked_for(missing: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        read(tmp_path, TINY).changed(**{missing: None}).arguments()


@pytest.mark.parametrize("optimizer", [SGD(weight_decay=0.1), Adam(weight_decay=0.1), AdamW(weight_decay=0.1)])
def test_weight_decay_spares_biases_and_norms(optimizer: SGD | Adam | AdamW) -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))
    made = optimizer(net.parameters())
    decays = {id(weight): group["weight_decay"] for group in made.param_groups for weight in group["params"]}
    assert {weight.ndim: decays[id(weight)] for weight in net.parameters()} == {4: 0.1, 2: 0.1, 1: 0.0}
    assert len(decays) == len(list(net.parameters()))


def test_an_optimizer_of_weights_of_one_kind() -> None:
    assert len(SGD()(nn.Linear(3, 2, bias=False).parameters()).param_groups) == 1


def test_a_file_does_not_run_code_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text("open('ran', 'w')\nfrom sparring.zoo import SmallCNN as make\n")
    monkeypatch.chdir(tmp_path)
    model = "mine.py:make"
    recipe = Recipe.of({"model": model, "data": "digits", "limit": 20, "defense": {"name": "standard"}})
    teacher = {"model": model}
    taught = recipe.changed(model="zoo:digits-cnn", defense={"name": "distillation", "teacher": teacher})
    for refused in (recipe, taught):
        with pytest.raises(InputError, match=r"'mine.py:make' in the recipe is code that would run; if you trust it"):
            refused.arguments()
    with pytest.raises(InputError, match=r"defense.teacher.model 'mine.py:make'"):
        taught.arguments(code=True)  # the model was typed, the teacher was not
    assert not (tmp_path / "ran").exists()
    assert isinstance(recipe.arguments(code=True)["net"].net, SmallCNN)
    assert isinstance(taught.arguments(trust=True)["defense"].teacher.net, SmallCNN)
    assert (tmp_path / "ran").exists()


def test_an_untrained_teacher_is_refused() -> None:
    with pytest.raises(InputError, match="is untrained without weights: name its file"):
        Recipe.of({"defense": {"name": "ard", "teacher": {"model": "zoo:digits-cnn"}}})


def test_a_recipe_leaves_the_global_random_state_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text("from sparring.zoo import SmallCNN as make\n")
    monkeypatch.chdir(tmp_path)
    defense = {"name": "distillation", "teacher": {"model": "mine.py:make"}}
    recipe = Recipe.of({"model": "zoo:digits-cnn", "data": "digits", "limit": 20, "defense": defense})
    before = torch.get_rng_state()
    one, other = (recipe.arguments(trust=True)["defense"].teacher.net for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one.head[1].weight, other.head[1].weight)
