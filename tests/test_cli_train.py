"""sparring train as it is typed: recipes, options over them, going on, and clear errors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sparring.defenses import available
from sparring.training import Recipe, recipes
from typed import Type

SMALL = "--recipe digits-trades --set attack.steps=2 --epochs 2 --limit 64"


def test_a_recipe_is_trained_into_a_folder_that_can_be_evaluated(type_: Type) -> None:
    said = type_(f"train {SMALL} --out runs/t")
    assert said.code == 0, said.err
    assert "runs/t/: checkpoint.pt, metrics.jsonl, model.safetensors, recipe.toml" in said.out
    assert all(word in said.out for word in ("right while learning", "PGD-10", "kept"))
    assert "training: 100% · epoch 2/2, loss" in said.err
    assert ", clean" in said.err
    following = said.out.split("Next: sparring ")[1]
    assert following == ("evaluate --model zoo:digits-cnn --weights runs/t/model.safetensors --threat linf:0.2\n")
    assert type_(f"{following} --limit 10 --no-save").code == 0


def test_json_is_the_history_and_the_folder_keeps_the_recipe(type_: Type) -> None:
    told = json.loads(type_(f"train {SMALL} --lr 0.05 --seed 3 --out runs/t --json").out)
    lines = Path("runs/t/metrics.jsonl").read_text().splitlines()
    assert [{"format": 2, **record} for record in told["history"]] == [json.loads(line) for line in lines]
    assert (told["folder"], told["epoch"], len(lines)) == ("runs/t", 2, 2)
    kept = Recipe.read("runs/t/recipe.toml")
    assert told["recipe"] == json.loads(json.dumps(kept.tables()))
    assert (kept.seed, kept.limit, kept.optimizer["lr"]) == (3, 64, 0.05)
    assert kept.defense["attack"]["steps"] == 2
    assert Path("runs/t/recipe.toml").read_text().startswith("# Trained with: sparring train --recipe digits-trades")


def test_a_finished_run_is_known_again_from_its_folder_alone(type_: Type) -> None:
    first = json.loads(type_(f"train {SMALL} --out runs/t --json").out)
    again = json.loads(type_("train --out runs/t --json").out)
    assert again["history"] == first["history"]  # the seconds too: nothing was trained again


def test_ctrl_c_says_how_to_go_on_and_going_on_changes_nothing(type_: Type, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = json.loads(type_(f"train {SMALL} --out runs/whole --json").out)
    with monkeypatch.context() as patched:
        patched.setattr("sparring.cli.meter.Meter.__call__", interrupt)
        stopped = type_(f"train {SMALL}")
    assert stopped.code == 130
    again = stopped.err.split("go on with: sparring ")[1].strip()
    resumed = json.loads(type_(f"{again} --json").out)
    for one, other in zip(whole["history"], resumed["history"], strict=True):
        assert {**one, "seconds": 0} == {**other, "seconds": 0}
    weights = [Path(told["folder"], "model.safetensors").read_bytes() for told in (whole, resumed)]
    assert weights[0] == weights[1]


def interrupt(meter: object, record: dict[str, float]) -> None:
    if record["epoch"] == 2:
        raise KeyboardInterrupt


def test_another_runs_folder_is_refused_and_left_alone(type_: Type) -> None:
    type_(f"train {SMALL} --out runs/t")
    before = {path: path.read_bytes() for path in Path("runs/t").iterdir() if path.is_file()}
    for change, told in (("--seed 1", "seed"), ("--defense standard", "defense"), ("--no-resume", "--out")):
        said = type_(f"train {SMALL} {change} --out runs/t".replace("--set attack.steps=2", "") + " -q")
        assert said.code == 2, told
        assert said.err.startswith("error: runs/t ")
    assert {path: path.read_bytes() for path in before} == before


def test_without_a_recipe_options_say_everything(type_: Type) -> None:
    line = "train --model zoo:digits-mlp --data digits --defense standard --epochs 1 --limit 64 --mean 0.5 --std 0.3"
    said = type_(f"{line} --batch-size 16 --out runs/t --quiet")
    assert said.code == 0
    assert "--mean=0.5 --std=0.3" in said.out
    assert said.err == ""
    kept = Recipe.read("runs/t/recipe.toml")
    assert (kept.defense, kept.optimizer, kept.batch_size, kept.threat) == ({"name": "standard"}, None, 16, None)
    assert kept.preprocessing.mean == [0.5]


def test_a_recipe_of_ones_own_with_a_teacher_trained_first(type_: Type) -> None:
    Path("my.toml").write_text(
        'model = "zoo:digits-mlp"\ndata = "digits"\nlimit = 32\nepochs = 2\ndefense = { name = "distillation" }'
    )
    said = type_("train --recipe my.toml --out runs/t")
    assert said.code == 0, said.err
    assert said.err.count("training: 100%") == 1
    assert "teacher/" in said.out


def test_an_alarm_is_a_note_not_a_python_warning(type_: Type) -> None:
    blind = "--model zoo:digits-mlp --mean 1000 --lr 0"  # it sees one and the same everywhere
    said = type_(f"train {blind} --data digits --limit 64 --defense standard --threat linf:0.1 --epochs 4")
    assert said.code == 0, said.err
    assert said.err.count("note: epoch 3: collapsed") == 1
    assert said.err.count("collapsed") == 1
    assert "TrainingAlarm" not in said.err


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("", "give --recipe (sparring list recipes), or --model"),
        ("--recipe digits-trads", "Did you mean digits-trades?"),
        ("--recipe absent.toml", "check the path"),
        ("--model zoo:digits-cnn", "data is missing: give --data"),
        ("--recipe mnist-trades", "data is missing: give --data"),
        ("--model zoo:digits-cnn --data digits", "defense is missing: give --defense"),
        ("--model zoo:digits-cnn --data digits --defense trades", "TRADES has threat=None"),
        ("--recipe digits-at --defense tardes", "Did you mean trades?"),
        ("--recipe digits-at --set step=3", "adversarial_training has no parameter 'step'"),
        ("--recipe digits-at --set attack.step=3", "Did you mean steps? It has: steps"),
        ("--recipe digits-at --set attack.steps=ten", "defense.attack.steps is 'ten'; it should be a valid integer"),
        ("--recipe digits-at --set attack", "--set key=value"),
        ("--recipe digits-at --set attack=pgd --set attack.steps=3", "set attack.name to choose one"),
        ("--model zoo:digits-cnn --data digits --set beta=3", "no --defense that it is a parameter of"),
        ("--recipe two.toml --set beta=3", "several defenses"),
        ("--recipe digits-at --threat lnf:0.1", "Did you mean linf?"),
        ("--recipe digits-at --threat linf:200", "Linf(200/255)"),
        ("--recipe digits-at --epochs 0", "epochs is 0; give a whole number of at least 1"),
        ("--recipe digits-at --lr -1", "SGD has lr=-1.0"),
        ("--recipe digits-at --device warp", "device 'warp' cannot be used"),
        ("--recipe digits-at --bounds 0", "2 numbers"),
        ("--recipe digits-at --out two.toml", "two.toml"),
    ],
)
def test_wrong_use_is_one_clear_line(type_: Type, line: str, hint: str) -> None:
    Path("two.toml").write_text('[[defense]]\nname = "standard"\n[[defense]]\nname = "input_gradient"')
    said = type_(f"train {line}")
    assert said.code == 2
    assert said.out == ""
    assert len(said.err.splitlines()) == 1
    assert hint in said.err
    assert "Traceback" not in said.err


def test_of_several_processes_only_the_first_one_speaks(type_: Type, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setenv("WORLD_SIZE", "2")
        assert "the processes of torchrun share a folder" in type_(f"train {SMALL}").err
    monkeypatch.setenv("RANK", "1")
    said = type_(f"train {SMALL} --out runs/t --json")
    assert (said.code, said.out, said.err) == (0, "", "")
    assert not Path("runs/t/recipe.toml").exists()


def test_the_list_of_defenses_says_what_each_promises_and_what_breaks_it(type_: Type) -> None:
    entries = json.loads(type_("list defenses --json").out)
    told = type_("list defenses").out
    assert list(entries) == list(available())
    for entry in entries.values():
        assert f"promises: {entry['promise']}\n" in told
        assert f"broken by: {entry['broken_by']}\n" in told
    assert entries["trades"]["parameters"] == {"beta": "6.0", "attack": "PGD(steps=10, objective=kl)"}
    assert entries["awp"]["parameters"]["defense"] == "AdversarialTraining()"
    assert entries["ard"]["parameters"]["teacher"] == "none"


def test_the_list_of_recipes_says_what_they_are(type_: Type) -> None:
    entries = json.loads(type_("list recipes --json").out)
    assert {name: entry["summary"] for name, entry in entries.items()} == {n: r.about for n, r in recipes().items()}


def test_lists_line_up(type_: Type) -> None:
    for section in ("models", "recipes"):
        lines = type_(f"list {section}").out.splitlines()[1:]
        names = json.loads(type_(f"list {section} --json").out)
        width = max(map(len, names))
        assert all(line[: width + 3].rstrip()[2:] in names for line in lines)


def test_what_is_refused_leaves_no_folder_behind(type_: Type) -> None:
    refused = type_("train --recipe digits-trades --threat linf:51 --out runs/t")
    assert refused.code == 2
    assert "51" in refused.err
    assert not Path("runs/t/recipe.toml").exists()
    done = type_("train --model zoo:digits-cnn --data digits --defense standard --limit 64 --epochs 1 --out runs/t")
    assert done.code == 0, done.err
    before = Path("runs/t/recipe.toml").read_bytes()
    assert type_("train --out runs/t --defense trades").code == 2
    assert Path("runs/t/recipe.toml").read_bytes() == before


def test_a_changed_recipe_does_not_boast_of_what_the_unchanged_one_found(type_: Type) -> None:
    type_(f"train {SMALL} --out runs/t")
    assert Recipe.read("runs/t/recipe.toml").about == ""


def test_a_folder_without_a_run_and_no_folder_at_all(type_: Type) -> None:
    lost = type_("train --out runs/misspelt")
    assert (lost.code, "runs/misspelt keeps no run to go on with" in lost.err) == (2, True)
    empty = type_("train --recipe digits-at --out ''")
    assert (empty.code, "--out is empty" in empty.err) == (2, True)
