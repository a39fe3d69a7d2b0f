"""sparring demo: train a natural and four defended networks on the embedded digits, attack and audit them. Offline."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import sparring as sp
from sparring.cli.exits import PASS, guarded
from sparring.cli.running import command, fresh
from sparring.cli.terminal import Terminal
from sparring.files import check_unused, sweep, written
from sparring.report.table import compare, percent
from sparring.values import SEED, check_whole

if TYPE_CHECKING:
    from PIL import Image
    from torch import nn

    from sparring.data import Examples
    from sparring.evaluation import Progress, Result
    from sparring.report.fitting import Fitting

EPSILON = 0.2
HEADINGS = {
    "natural": "natural",
    "adversarial": "AT",
    "trades": "TRADES",
    "input_gradient": "input grad.",
    "distilled": "distilled",
}
WIDTH = len("training input grad.")
NATURAL, ROBUST = "natural", "trades"


@guarded
def demo(
    out: Annotated[str, typer.Option(metavar="FOLDER", help="Where weights, results and a picture go.")] = "runs/demo",
    seed: Annotated[int, typer.Option(help="Determines every random number.")] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no tables.")] = False,
) -> int:
    """Train five networks on small digits, four of them defended, attack and audit them. Offline, two minutes."""
    import torch

    check_whole("--seed", seed, SEED)
    folder = fresh(out, no_save=False) or Path()
    # A second thread gains little on images this small, and loses much where the cores are shared.
    torch.set_num_threads(1)
    Demo(folder, Terminal(quiet=quiet), seed).run()
    return PASS


@dataclass(frozen=True)
class Demo:
    """What it does and how much of it; the defaults are sized for a minute."""

    out: Path
    terminal: Terminal = field(default_factory=Terminal)
    seed: int = 0
    epochs: Mapping[str, int] = field(
        default_factory=lambda: {"natural": 12, "adversarial": 20, "trades": 20, "input_gradient": 20, "distilled": 40}
    )
    plan: Any = "quick"
    digits: int = 500
    nearest: int = 32
    audited: int = 100
    carlini_wagner: Mapping[str, Any] = field(
        default_factory=lambda: {"searches": 5, "steps": 100, "initial_c": 1.0, "learning_rate": 0.05}
    )
    rows: int = 6

    def run(self) -> dict[str, Any]:
        """The whole demo; returns what results.json holds."""
        from sparring.data import load
        from sparring.sealed import FORMAT

        files = ("results.json", "demo.png", *(f"{name}.safetensors" for name in HEADINGS))
        check_unused(self.out, files, None if self._earlier() else "results.json of an earlier demo")
        sweep(self.out, *files)
        begun = time.monotonic()
        examples = load("digits", limit=self.digits)
        self.terminal.show(f"Handwritten digits, 8 × 8: 1,297 to learn from, {len(examples.x)} others to attack.\n")
        nets = {name: self._train(name, defense) for name, defense in self.defenses().items()}
        records = {name: self._evaluate(name, net, examples).records() for name, net in nets.items()}
        nearest = {name: self._nearest(name, net, examples) for name, net in nets.items()}
        audits = {name: self._audit(name, net, examples) for name, net in nets.items()}
        seconds = round(time.monotonic() - begun, 1)
        found = {"format": FORMAT, "models": records, "carlini_wagner": nearest, "audits": audits, "seconds": seconds}
        self._save(nets, found, examples)
        self._tell(found)
        return found

    def _earlier(self) -> bool:
        """Whether a demo has run in the folder, which the next one may replace."""
        try:
            told = json.loads((self.out / "results.json").read_bytes())
            return {"models", "carlini_wagner", "audits"} <= set(told)
        except (OSError, ValueError, TypeError):
            return False

    def defenses(self) -> dict[str, Any]:
        """What each network learns with."""
        from sparring.defenses import TRADES, AdversarialTraining, Distillation, InputGradient, Standard

        return {
            "natural": Standard(),
            "adversarial": AdversarialTraining(sp.PGD(steps=7)),
            "trades": TRADES(attack=sp.PGD(steps=7, objective="kl")),
            "input_gradient": InputGradient(),
            "distilled": Distillation(temperature=100.0),
        }

    def _train(self, name: str, defense: Any) -> nn.Module:
        import torch

        from sparring.draws import isolated
        from sparring.training import OneCycle
        from sparring.zoo import SmallCNN

        with isolated(self.seed, torch.device("cpu")):
            net = SmallCNN()
        epochs = self.epochs[name]
        make: Any = partial(torch.optim.SGD, lr=0.08, momentum=0.9, nesterov=True)
        if name in ("input_gradient", "distilled"):  # SGD overshoots a penalty, and a high temperature
            make = partial(torch.optim.Adam, lr=0.004 if name == "input_gradient" else 0.01)
        with self.terminal.progress(f"training {HEADINGS[name]}".ljust(WIDTH), epochs) as update:

            def told(step: Mapping[str, Any]) -> None:
                done = step["epoch"] - 1 + step["batch"] / step["batches"]
                who = "teacher: " if step.get("teacher") else ""
                update(done, f"{who}{percent(step['accuracy'])} right while learning")

            return sp.train(
                net,
                "digits",
                defense,
                sp.Linf(EPSILON),
                epochs=epochs,
                optimizer=make,
                schedule=OneCycle(),
                seed=self.seed,
                progress=told,
            ).model

    def _evaluate(self, name: str, net: nn.Module, examples: Examples) -> Result:
        from sparring.evaluation import evaluate

        with self.terminal.progress(f"attacking {HEADINGS[name]}".ljust(WIDTH), len(examples.x)) as update:

            def told(step: Progress) -> None:
                update(step.done, f"worst case so far {percent(step.standing / step.total)}")

            return evaluate(
                net, examples, sp.Linf(EPSILON), self.plan, seed=self.seed, progress=told, command=command()
            )

    def _nearest(self, name: str, net: nn.Module, examples: Examples) -> dict[str, Any]:
        """Carlini & Wagner: how far away is the nearest adversarial example it finds?"""
        attack = sp.CarliniWagner(**self.carlini_wagner)
        with self.terminal.progress(f"C&W on {HEADINGS[name]}".ljust(WIDTH), 1) as update:
            found = attack(net, examples.x[: self.nearest], examples.y[: self.nearest], sp.L2(), seed=self.seed)
            attacked = found.backwards > 0  # the rest were wrong from the start
            fell = attacked & found.success
            update(1, f"{int(fell.sum())} of {int(attacked.sum())} fell")
        return {
            "attack": repr(attack),
            "attacked": int(attacked.sum()),
            "fell": int(fell.sum()),
            "mean_distance": float(found.distance[fell].mean()) if bool(fell.any()) else None,
        }

    def _audit(self, name: str, net: nn.Module, examples: Examples) -> dict[str, Any]:
        """What plain PGD says of a network: may it be believed?"""
        with self.terminal.progress(f"auditing {HEADINGS[name]}".ljust(WIDTH), 1) as update:
            found = sp.audit(net, examples, sp.Linf(EPSILON), examples=self.audited, seed=self.seed)
            update(1, found.verdict)
        kept = found.records()
        kept.pop("seconds")  # the rest is the same on every run
        return kept

    def _save(self, nets: Mapping[str, nn.Module], found: Mapping[str, Any], examples: Examples) -> None:
        from sparring.evaluation.export import save_png
        from sparring.sealed import seal_tensors

        for name, net in nets.items():
            written(self.out / f"{name}.safetensors", seal_tensors(net.state_dict(), {"kind": "weights"}))
        written(self.out / "results.json", f"{json.dumps(found, indent=2)}\n".encode())
        save_png(self._picture(nets, examples), self.out / "demo.png")

    def _picture(self, nets: Mapping[str, nn.Module], examples: Examples) -> Image.Image:
        """The first digits that all networks read right, pushed as far as an attack can for each."""
        import torch

        from sparring.cli.gallery import readings
        from sparring.report.picture import Row, lineup

        with torch.no_grad():
            right = torch.stack([net(examples.x).argmax(1) == examples.y for net in nets.values()]).all(0)
        x, y = (column[right][: self.rows] for column in (examples.x, examples.y))
        attack = push()
        pushed = [attack(net, x, y, sp.Linf(EPSILON), seed=self.seed, seek="strongest").x for net in nets.values()]
        read = [readings(net, moved, y) for net, moved in zip(nets.values(), pushed, strict=True)]
        rows = [
            Row(clean.numpy(), [moved[row].numpy() for moved in pushed], [said[row] for said in read])
            for row, clean in enumerate(x)
        ]
        words = f"{caption()}\nBelow each image: what the network reads, and how sure it is."
        return lineup(list(HEADINGS.values()), rows, "What an adversary does to networks that read digits", words)

    def _tell(self, found: Mapping[str, Any]) -> None:
        self.terminal.show("")
        self.terminal.show(table(found))
        for line in reading(found):
            self.terminal.say(line)
        self.terminal.say(f"{self.out}/: demo.png, results.json and the weights, *.safetensors ({found['seconds']} s)")
        weights = self.out / f"{ROBUST}.safetensors"
        self.terminal.say(f"Next: sparring evaluate --model zoo:digits-cnn --weights {weights} --threat l2:1 --images")


def push() -> Any:
    """The attack of the picture, on the margin: cross-entropy has no gradient where a distilled network is sure."""
    return sp.PGD(objective="margin")


def caption() -> str:
    """What the picture shows."""
    attack = push()
    return (
        f"The first digits that all of them read right, under PGD-{attack.steps} on the {attack.objective}; "
        f"no pixel moves by more than {EPSILON}."
    )


def table(found: Mapping[str, Any]) -> Fitting:
    """What results.json holds, a column a network."""
    nearest, audits = found["carlini_wagner"].values(), found["audits"].values()
    fell = ["C&W: fell", *(f"{n['fell']} of {n['attacked']}" for n in nearest)]
    far = ["C&W: mean L2", *("–" if n["fell"] == 0 else f"{n['mean_distance']:.2f}" for n in nearest)]
    plain = ["audit: PGD-20", *(percent(a["naive"] * a["correct"] / a["examples"]) for a in audits)]
    true = ["audit: all tried", *(percent(a["adaptive"] * a["correct"] / a["examples"]) for a in audits)]
    believe = {"reliable": "yes", "suspect": "suspect", "unreliable": "no"}
    verdict = ["believe PGD-20?", *(believe[a["verdict"]] for a in audits)]
    columns = {HEADINGS[name]: records for name, records in found["models"].items()}
    return compare(columns, [fell, far, plain, true, verdict])


def reading(found: Mapping[str, Any]) -> list[str]:
    """What the table says, in sentences."""
    models, audit = found["models"], found["audits"]["distilled"]
    natural, robust, masked = (percent(models[name]["robust_accuracy"]) for name in (NATURAL, ROBUST, "distilled"))
    after = next(row["robust_accuracy"] for row in models["distilled"]["table"] if "PGD" in row["name"])
    plain = "" if after is None else f"{percent(after)} after PGD on cross-entropy, "
    why = f"; {audit['reasons'][0]}" if audit["reasons"] else ""
    return [
        f"Read as: against L∞ ≤ {EPSILON} the natural network gets AT MOST {natural} right, TRADES' {robust}.",
        f"Distillation hides its gradients: {plain}{masked} in the worst case.",
        f"The audit calls that {audit['verdict']}{why}.",
    ]
