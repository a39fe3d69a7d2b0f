"""From findings to a verdict, and the thresholds that decide it.

Tuned on the tuning seeds of a labelled set of models; see docs/audit.md for the set and the figures on the other seeds.
"""

from __future__ import annotations

from torch import Tensor

from sparring.auditing.finding import Audit, Finding, Verdict, worst
from sparring.auditing.probe import Evidence
from sparring.auditing.slopes import DEAD, STEADY, TRUE, USEFUL, correlated, used

GAP = 0.09  # the share of the examples that other attacks break after plain PGD, before its number is a fiction
LOSS, WIDE = 0.105, 0.2  # where the sound gradient of another loss found it: suspect from here, as above from there
NOTES = ("G4 tiny differences", "G4 differences")  # what a straight-through gradient is flagged by
OF_THE_LOSS = (*NOTES, "G3 scale", "B6 loss", "B5 convergence", "B9 overfitting", "adaptive attack")
NEGLIGIBLE = 0.02  # so few standing that nothing can be overstated
BLIND = 0.5  # of those standing
WITHSTOOD = 0.1  # of those standing, under a short attack without a radius
HANDFUL = 7  # examples, fewer than which may be chance
BATCHED, SWAYED = (
    1e-3,
    5e-2,
)  # of the logits' spread: how a row alone may differ from itself in a batch; swayed from there
FEWEST = 50  # correct examples, below which nothing can be shown


def concluded(
    findings: tuple[Finding, ...], naive: int, adaptive: int, correct: int, examples: int
) -> tuple[Verdict, tuple[str, ...]]:
    """The verdict and why, from the findings and the examples that plain PGD and everything together left standing."""
    reasons: list[tuple[Verdict, str]] = []
    broken = naive - adaptive
    told = f"other attacks leave {adaptive} of {correct} correct examples where plain PGD leaves {naive}"
    if all(one.name in OF_THE_LOSS for one in findings if one.flagged) and broken < WIDE * examples:
        if broken >= LOSS * max(1, examples):
            reasons.append(("suspect", f"{told}: cross-entropy is the wrong loss here, though its gradient is sound"))
    elif broken >= GAP * max(1, examples):
        reasons.append(("unreliable" if broken >= HANDFUL else "suspect", told))
    if correct < FEWEST:
        reasons.append(("suspect", _few(correct)))
    reasons += [(one.says, f"{one.name}: {one.meaning}") for one in findings if one.flagged and one.says != "reliable"]
    return worst(says for says, _ in reasons), tuple(told for _, told in reasons)


def _few(correct: int) -> str:
    return f"only {correct} examples are classified rightly; at least {FEWEST} are needed to check"


def believed(
    correct: Tensor,
    robust: Tensor,
    dead: Tensor,
    blind: Tensor,
    evidence: Evidence,
    averaged: bool,
    attacks: int,
    alone: float = 0.0,
) -> tuple[Verdict, tuple[str, ...]]:
    """What an evaluation may claim, from what its own attacks met and what its checks found; and why.

    correct, robust: (N,) bool. dead: (N,) bool, the first gradient was zero. blind: (N,) bool, every gradient was.
    averaged: the attacks took the mean over draws. attacks: how many there were. alone: of the logits' spread, by how
    much a row alone differs from itself in its batch, where that is more than rounding explains.
    """
    standing, right = int(robust.sum()), max(1, int(correct.sum()))
    reasons: list[tuple[Verdict, str]] = []
    if alone:
        told = f"The answer of the network depends on the batch: alone, an example moves by {alone:.1%} of the spread"
        told = f"{told} of its logits. The number holds for these batches alone; use evaluation mode, or batch_size=1."
        reasons.append(("unreliable" if alone > SWAYED else "suspect", told))
    if int(correct.sum()) < FEWEST:
        reasons.append(("suspect", _few(int(correct.sum()))))
    if standing > NEGLIGIBLE * right:  # else an adversarial example is known for nearly all: nothing is overstated
        reasons += _doubts(right, standing, int((dead & correct).sum()), int((blind & robust).sum()), evidence)
        if attacks == 1:
            reasons.append(("suspect", "One attack alone says little: sparring evaluate takes several."))
        if _count(evidence.random) and not averaged:
            reasons.append(("suspect", "The logits are random: attack the mean over draws, sp.Model(net, eot=20)."))
    return worst(says for says, _ in reasons), tuple(told for _, told in reasons)


def audited(
    own: tuple[Verdict, tuple[str, ...]], audit: Audit, correct: Tensor, robust: Tensor
) -> tuple[Verdict, tuple[str, ...]]:
    """The same, with a full audit of the first examples: did it leave fewer of them standing than the evaluation?"""
    verdict, reasons = own
    among = correct.nonzero().squeeze(1)[: audit.correct]
    claimed = float(robust[among].double().mean()) if len(among) else 0.0
    if (claimed - audit.adaptive) * audit.correct >= max(GAP * audit.examples, HANDFUL):
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
    if unlike := _count(evidence.cosine < STEADY):
        told = f"Two gradients at equal logits differ on {unlike} of the robust examples: the backward pass is noisy."
        found.append((_weight(unlike, standing), told))
    steady = evidence.random == 0
    if int(steady.sum()) >= HANDFUL:
        useful = used(evidence.gain[steady])
        true = max(correlated(evidence.slope[steady], one[steady]) for one in (evidence.near, evidence.far))
        if min(useful - USEFUL, true - TRUE) < 0:
            told = f"on only {useful:.0%} of the robust examples; along random signs the two correlate at {true:.2f}."
            found.append(("suspect", f"The margin rises along its gradient {told}"))
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
