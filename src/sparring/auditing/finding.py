"""What a check found, and what an audit concludes."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter

from sparring.errors import ResumeError
from sparring.files import written

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
        plain: dict[str, Any] = TypeAdapter(type(self)).dump_python(self, mode="json")
        return plain

    def save(self, folder: str | Path) -> None:
        """Write audit.json."""
        written(Path(folder) / "audit.json", json.dumps(self.records(), indent=2).encode())

    @classmethod
    def load(cls, folder: str | Path) -> Audit | None:
        """The audit kept in a folder, or None."""
        path = Path(folder) / "audit.json"
        if not path.exists():
            return None
        try:
            return TypeAdapter(cls).validate_json(path.read_text())
        except ValueError as error:
            raise ResumeError(f"{path} cannot be read ({error}); remove this file to audit again") from error

    def __str__(self) -> str:
        lines = [
            f"{'!' if one.flagged else ' '} {one.name:<24} {_number(one.statistic):>8}  {one.meaning}"
            for one in self.findings
        ]
        head = (
            f"{self.verdict}: naive {self.naive:.1%}, adaptive {self.adaptive:.1%} of {self.correct} correct examples"
        )
        return "\n".join([*lines, head, *self.reasons])


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"
