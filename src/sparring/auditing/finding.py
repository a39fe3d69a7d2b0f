"""What a check found, and what an audit concludes."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter

from sparring.errors import ResumeError, SparringWarning
from sparring.files import written
from sparring.report.printable import clean
from sparring.sealed import FORMAT, Broken, check_format, seal, unseal

Verdict = Literal["reliable", "suspect", "unreliable"]
VERDICTS: tuple[Verdict, ...] = ("reliable", "suspect", "unreliable")

NEXT = "an attack that follows the other findings"


@dataclass(frozen=True)
class Finding:
    """One check.

    name: its letter and words, such as "G2 dead gradient". statistic: what was measured; None where it does not apply.
    threshold: where it is flagged. says: what a flag makes of the verdict; "reliable" is a note that changes nothing.
    meaning: what it proves, with its figures. attack: what to run next, "" for nothing.
    """

    name: str
    statistic: float | None
    threshold: float
    flagged: bool
    says: Verdict
    meaning: str
    attack: str = ""


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The least favourable of them; without any, "reliable"."""
    return max(verdicts, key=VERDICTS.index, default="reliable")


@dataclass(frozen=True)
class Audit:
    """Whether the robust accuracy that gradient attacks measure on a model may be believed.

    Shares are of the `correct` examples audited. naive: what stands after plain PGD on cross-entropy. adaptive: what
    stands after every attack that the audit ran. recommended: the attack its findings call for, as one writes it.
    """

    verdict: Verdict
    reasons: tuple[str, ...]
    findings: tuple[Finding, ...]
    examples: int
    correct: int
    naive: float
    naive_interval: tuple[float, float]
    adaptive: float
    adaptive_interval: tuple[float, float]
    recommended: str
    forwards: int
    backwards: int
    seconds: float

    def records(self) -> dict[str, Any]:
        """Plain data: what audit.json holds."""
        return {"format": FORMAT, **TypeAdapter(type(self)).dump_python(self, mode="json")}

    def save(self, folder: str | Path, run: str | None = None) -> None:
        """Write audit.json; with a run, sealed as a part of it."""
        content = json.dumps(self.records(), indent=2).encode() if run is None else seal({**self.records(), "run": run})
        written(Path(folder) / "audit.json", content)

    @classmethod
    def load(cls, folder: str | Path, run: str | None = None) -> Audit | None:
        """The audit kept in a folder; None where there is none. Of a run, None with a warning where it is not its own.

        Raises:
            ResumeError: it cannot be read, and no run was given that could make it again.
        """
        path = Path(folder) / "audit.json"
        try:
            return cls.read(folder, run)
        except FileNotFoundError:
            return None
        except Broken as why:
            if run is None:
                raise ResumeError(f"{path} cannot be read ({why}); remove this file to audit again") from why
            warnings.warn(f"{path} is not used: {why}. The audit is run again", SparringWarning, stacklevel=2)
            return None

    @classmethod
    def read(cls, folder: str | Path, run: str | None = None) -> Audit:
        """The audit kept in a folder, with a run as a part of it.

        Raises:
            FileNotFoundError: there is none.
            Broken: it is damaged, of another format, or of another run.
        """
        content = (Path(folder) / "audit.json").read_bytes()
        try:
            told = dict(json.loads(content)) if run is None else unseal(content)
            check_format(told.get("format"))
            if run is not None and told.get("run") != run:
                raise Broken("it is of another run")
            told = {name: value for name, value in told.items() if name not in ("format", "run", "sha256")}
            return TypeAdapter(cls).validate_python(told)
        except (ValueError, TypeError) as why:
            raise Broken(str(why)) from why

    def __str__(self) -> str:
        lines = [
            f"{'!' if one.flagged else ' '} {one.name:<24} {_number(one.statistic):>8}  {one.meaning}"
            for one in self.findings
        ]
        head = (
            f"{self.verdict}: naive {self.naive:.1%}, adaptive {self.adaptive:.1%} of {self.correct} correct examples"
        )
        return clean("\n".join([*lines, head, *self.reasons]))


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"
