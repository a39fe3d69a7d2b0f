"""From findings to a verdict, and the thresholds that decide it.

Tuned on the tuning seeds of a labelled set of models; see docs/audit.md for the set and the figures on the other seeds.
"""

from __future__ import annotations

from torch import Tensor

from sparring.auditing.finding import Audit, Finding, Verdict, worst
from sparring.auditing.probe import Evidence
from sparring.auditing.slopes import USEFUL, used

GAP = 0.09  # what other attacks break of the examples that plain PGD leaves standing, before the number is a fiction
NEGLIGIBLE = 0.02  # so few standing that nothing can be overstated
DEAD = 0.05  # of the correct examples, with a gradient of zero
BLIND = 0.5  # of those standing
WITHSTOOD = 0.1  # of those standing, under a short attack without a radius
STEADY = 0.99  # the cosine of two gradients at equal logits
HANDFUL = 7  # examples, fewer than which may be chance
FEWEST = 50  # correct examples, below which nothing can be shown


def concluded(
    findings: tuple[Finding, ...], naive: float, adaptive: float, correct: int
) -> tuple[Verdict, tuple[str, ...]]:
    """The verdict and why."""
    reasons: list[tuple[Verdict, str]] = []
    if naive - adaptive >= GAP:
        told = (
            f"other attacks leave {adaptive:.1%} standing where plain PGD leaves {naive:.1%}: the gradients are masked"
        )
        reasons.append(("unreliable", told))
    if correct < FEWEST:
        reasons.append(("suspect", f"only {correct} examples are classified rightly; give at least {FEWEST}"))
    for one in findings:
        if one.flagged and one.says != "reliable":
            reasons.append((one.says, f"{one.name}: {one.meaning}"))
    verdict = worst(says for says, _ in reasons)
    return verdict, tuple(told for says, told in reasons)


def believed(
    correct: Tensor, robust: Tensor, dead: Tensor, blind: Tensor, evidence: Evidence
) -> tuple[Verdict, tuple[str, ...]]:
    """What an evaluation may claim, from what its own attacks met and what its checks found; and why.

    correct, robust: (N,) bool. dead: (N,) bool, the first gradient was zero. blind: (N,) bool, every gradient was.
    """
    standing, right = int(robust.sum()), max(1, int(correct.sum()))
    reasons: list[tuple[Verdict, str]] = []
    if int(correct.sum()) < FEWEST:
        told = f"only {int(correct.sum())} examples are classified rightly; at least {FEWEST} are needed to check"
        reasons.append(("suspect", told))
    if standing > NEGLIGIBLE * right:  # else an adversarial example is known for nearly all: nothing is overstated
        reasons += _doubts(right, standing, int((dead & correct).sum()), int((blind & robust).sum()), evidence)
    return worst(says for says, _ in reasons), tuple(told for _, told in reasons)


def audited(
    own: tuple[Verdict, tuple[str, ...]], audit: Audit, correct: Tensor, robust: Tensor
) -> tuple[Verdict, tuple[str, ...]]:
    """The same, with a full audit of the first examples: did it leave fewer of them standing than the evaluation?"""
    verdict, reasons = own
    among = correct.nonzero().squeeze(1)[: audit.correct]
    claimed = float(robust[among].double().mean()) if len(among) else 0.0
    if claimed - audit.adaptive >= GAP:
        told = f"The audit's attacks leave {audit.adaptive:.1%} of {audit.correct} examples, this plan {claimed:.1%}."
        return "unreliable", (told, *reasons)
    if audit.verdict != "reliable":
        # What hides from plain PGD did not hide from this plan; another plan may fare worse.
        told = "; ".join(audit.reasons)
        return worst((verdict, "suspect")), (*reasons, f"The audit calls plain PGD's number {audit.verdict}: {told}.")
    return verdict, reasons


def _doubts(right: int, standing: int, dead: int, blind: int, evidence: Evidence) -> list[tuple[Verdict, str]]:
    found: list[tuple[Verdict, str]] = []
    if blind:
        told = f"Every input gradient of {blind} of the robust examples was exactly zero"
        weight = _weight(blind, standing)
        found.append((weight, f"{told}: gradient attacks were blind there, so this number says little about them."))
    elif dead > DEAD * right:
        found.append(("suspect", f"The first input gradient of {dead} of {right} examples was exactly zero."))
    if absent := _count(evidence.absent):
        found.append((_weight(absent, standing), "There is no input gradient: gradient attacks see nothing."))
    if _count(evidence.random):
        found.append(("suspect", "The logits are random: attack the mean over draws, sp.Model(net, eot=20)."))
    if unlike := _count(evidence.cosine < STEADY):
        told = f"Two gradients at equal logits differ on {unlike} of the robust examples: the backward pass is noisy."
        found.append((_weight(unlike, standing), told))
    useful = used(evidence.gain)
    if not bool(evidence.gain.isnan().all()) and useful < USEFUL:
        found.append(("suspect", f"The margin moves as its gradient says on only {useful:.0%} of the robust examples."))
    if (withstood := _count(evidence.withstood)) > WITHSTOOD * standing:
        told = f"With the whole input range to move in, {withstood} of the robust examples withstood a short attack."
        found.append((_weight(withstood, standing), told))
    return found


def _weight(count: int, standing: int) -> Verdict:
    """Most of those standing, and more than a handful."""
    return "unreliable" if count > BLIND * standing and count >= HANDFUL else "suspect"


def _count(column: Tensor) -> int:
    """The rows that answered yes; NaN is none."""
    return int((column == 1).sum())
