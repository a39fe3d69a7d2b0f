"""The demo as anyone runs it: what it writes is what it found, and README shows just that."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from benchmarks import demo as figures
from benchmarks.figures import Figure, differences, read
from sparring.cli.demo import HEADINGS, Demo, caption, push, reading
from sparring.data import load
from sparring.loading import load_network

README = (Path(__file__).parent.parent / "README.md").read_text()


def test_a_fresh_demo_writes_what_it_found_and_readme_shows_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    demo = Demo(tmp_path / "demo")
    state = torch.random.get_rng_state()
    found = demo.run()
    assert torch.equal(state, torch.random.get_rng_state())
    weights = [f"{name}.safetensors" for name in HEADINGS]
    assert sorted(path.name for path in demo.out.iterdir()) == sorted([*weights, "demo.png", "results.json"])
    assert json.loads((demo.out / "results.json").read_text()) == found
    examples = load("digits", limit=500)
    for name, records in found["models"].items():
        net = load_network("zoo:digits-cnn", demo.out / f"{name}.safetensors")
        with torch.no_grad():
            right = (net(examples.x).argmax(1) == examples.y).double().mean()
        assert records["clean_accuracy"] == float(right)
        after = [row["robust_accuracy"] for row in records["table"] if row["kind"] == "attack"]
        assert sorted(after, reverse=True) == after
        assert records["robust_accuracy"] == after[-1] <= records["clean_accuracy"]
        for what in ("forwards", "backwards"):
            assert sum(row[what] for row in records["table"]) == records[what]
    with Image.open(demo.out / "demo.png") as drawn:
        assert min(drawn.size) > 800
    told = capsys.readouterr()
    assert all(line in told.out for line in reading(found))
    assert "training TRADES: 100%" in told.err

    kept = read("demo")
    assert kept is not None
    assert differences(kept, Figure("demo", "", figures.HEADER, tuple(figures.rows(found)), figures.KINDS)) == []
    # Distillation stands against cross-entropy and falls to the margin: the plan ran its last attack.
    masked = {row["name"]: row["robust_accuracy"] for row in found["models"]["distilled"]["table"]}
    assert masked["PGD-40"] > 0.9
    assert masked["APGD-DLR-T"] < 0.05
    assert found["audits"]["distilled"]["verdict"] == "unreliable"


def test_the_caption_of_the_picture_names_the_attack_that_made_it() -> None:
    assert f"PGD-{push().steps} on the {push().objective}" in caption()
    assert f"-->{caption()}<!--" in README
