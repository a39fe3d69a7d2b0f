"""The demo, made small: what it writes is what it found."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

import sparring as sp
from sparring.cli.demo import HEADINGS, Demo
from sparring.data import load
from sparring.evaluation import Rung
from sparring.loading import load_network


def test_a_small_demo_writes_what_it_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    demo = Demo(
        tmp_path / "demo",
        epochs=dict.fromkeys(HEADINGS, 4) | {"distilled": 8},
        plan=[Rung("FGSM", sp.FGSM()), Rung("PGD", sp.PGD(steps=5))],
        digits=60,
        nearest=4,
        audited=20,
        carlini_wagner={"searches": 2, "steps": 20, "initial_c": 10.0, "learning_rate": 0.1},
        rows=3,
    )
    state = torch.random.get_rng_state()
    found = demo.run()
    assert torch.equal(state, torch.random.get_rng_state())
    assert sorted(path.name for path in demo.out.iterdir()) == [
        "adversarial.safetensors",
        "demo.png",
        "distilled.safetensors",
        "input_gradient.safetensors",
        "natural.safetensors",
        "results.json",
        "trades.safetensors",
    ]
    assert json.loads((demo.out / "results.json").read_text()) == found
    examples = load("digits", limit=60)
    for name, records in found["models"].items():
        net = load_network("zoo:digits-cnn", demo.out / f"{name}.safetensors")
        with torch.no_grad():
            right = (net(examples.x).argmax(1) == examples.y).double().mean()
        assert records["clean_accuracy"] == float(right) > 0.2
        after = {row["name"]: row["robust_accuracy"] for row in records["table"]}
        assert list(after) == ["clean", "first look", "FGSM", "PGD", "checks"][: len(after)]
        assert records["robust_accuracy"] <= after["FGSM"] <= records["clean_accuracy"]
    assert found["carlini_wagner"]["natural"]["fell"] > 0
    for audit in found["audits"].values():
        assert audit["examples"] == 20
        assert audit["adaptive"] <= audit["naive"] <= 1
        assert audit["verdict"] in ("suspect", "unreliable")  # 20 examples are too few to call anything reliable
    with Image.open(demo.out / "demo.png") as drawn:
        assert drawn.width > drawn.height > 200
    told = capsys.readouterr()
    assert "AT MOST" in told.out
    assert "Next: sparring evaluate" in told.out
    assert "training TRADES: 100%" in told.err
