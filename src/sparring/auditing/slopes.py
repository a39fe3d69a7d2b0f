"""Does the gradient describe the model? G1 graph, G2 dead gradient, G4 differences, G5 randomness, G6 adjoint."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from sparring.auditing.finding import Finding
from sparring.auditing.subject import Subject
from sparring.errors import NoGradient
from sparring.objectives import cross_entropy, margin
from sparring.oracle import Oracle
from sparring.problem import Problem, Seen
from sparring.rows import column

Score = Callable[[Tensor], Tensor]
SHARES = (0.25, 1.0)  # of the radius, where differences are taken; a straight-through gradient holds at the larger
DEAD = 0.05  # of the correct examples, with a gradient of zero
STEADY = 0.99  # the least cosine of two gradients at equal logits
EXACT = 0.5  # the least correlation of the gradient with tiny differences
TRUE = 0.3  # and with those at the attack's size, at the better of the two
USEFUL = 0.5  # of the examples, along whose gradient the margin must move as it says


@dataclass(frozen=True)
class Slopes:
    """What single gradients say; each finding, and what later checks go by."""

    findings: tuple[Finding, ...]
    usable: bool  # there is a gradient, and it is finite
    flat: bool  # the margin's is zero, or absent, on most examples: there is nothing to follow
    misleading: bool  # it does not describe the loss at the size of an attack


def slopes(subject: Subject) -> Slopes:
    """G1 to G6 on the first few examples."""
    rows = subject.sample
    try:
        steep = subject.gradient("gradient", rows, margin)
        cross = subject.gradient("gradient", rows, cross_entropy)
    except NoGradient as error:
        return Slopes((graph(f"gradients cannot be used: {error}"),), False, True, True)
    whole = Finding("G1 graph", 0.0, 0.5, False, "unreliable", "the logits depend differentiably on the input")
    dead = _dead(steep, cross)
    noise = _noise(subject, rows, steep)
    truth = _differences(subject, rows, steep)
    found = (whole, dead, *truth, noise, _adjoint(subject, rows))
    flat = float((largest(steep.gradient) == 0).double().mean()) > 0.5
    return Slopes(found, True, flat, any(one.flagged for one in (*truth[1:], noise)))


def differ(one: Tensor, other: Tensor) -> Tensor:
    """(N,) bool: logits (N, K) differ by more than rounding explains."""
    return (one - other).abs().amax(1) > 1e-4 * one.abs().amax(1).clamp_min(1e-12)


def graph(meaning: str) -> Finding:
    return Finding("G1 graph", 1.0, 0.5, True, "unreliable", meaning, "BPDA, or an attack without gradients")


def _dead(steep: Seen, cross: Seen) -> Finding:
    zero = largest(cross.gradient) == 0
    share, alive = float(zero.double().mean()), float((zero & (largest(steep.gradient) > 0)).double().mean())
    cause = "; the margin's is alive: the softmax is saturated" if share and alive > share / 2 else ""
    return Finding(
        "G2 dead gradient",
        share,
        DEAD,
        share > DEAD,
        "suspect",
        f"cross-entropy's gradient is exactly zero on {share:.1%} of the examples{cause}",
        "PGD(objective='margin')" if cause else "BPDA, or an attack without gradients",
    )


def _noise(subject: Subject, rows: Problem, first: Seen) -> Finding:
    again = subject.gradient("gradient again", rows, margin)
    equal = ~differ(first.logits, again.logits)
    both = (largest(first.gradient) > 0) & (largest(again.gradient) > 0)
    estimated = subject.model.gradients is not None
    if subject.random or estimated or not bool((equal & both).any()):
        meaning = (
            "the logits themselves are random: attacks must average over draws"
            if subject.random
            else "the gradient is an estimate, random by intent"
            if estimated
            else "no gradient to compare"
        )
        return Finding("G5 randomness", None, STEADY, False, "suspect", meaning, "sp.Model(…, eot=20)" * subject.random)
    alike = float(cosine(first.gradient, again.gradient)[equal & both].median())
    return Finding(
        "G5 randomness",
        alike,
        STEADY,
        alike < STEADY,
        "suspect",
        f"two gradients at equal logits have cosine {alike:.3f}"
        + ("; the backward pass is noisy" if alike < STEADY else ""),
        "BPDA through the noisy layer, or a mean over many gradients",
    )


def _differences(subject: Subject, rows: Problem, seen: Seen) -> tuple[Finding, Finding, Finding]:
    """Along random signs, with a tiny step and at the attack's size, and along the gradient itself."""

    def score(x: Tensor) -> Tensor:
        return margin(subject.logits("difference", rows, x), rows.goal)

    low, high = subject.model.bounds
    tiny = torch.full_like(rows.region.radius, 1e-3 * (high - low))
    signs = _signs(rows)
    exact = correlated(_dot(seen.gradient, signs), _rise(rows, signs, tiny, score))
    apart = max(correlated(*foretold(rows, seen.gradient, score, share)) for share in SHARES)
    useful = used(gain(rows, seen.gradient, score))
    substitute = "; a straight-through or substituted gradient" if exact < EXACT else ""
    return (
        Finding(
            "G4 tiny differences",
            exact,
            EXACT,
            exact < EXACT,
            "reliable",
            f"tiny differences and the gradient correlate at {exact:.2f}{substitute}",
        ),
        Finding(
            "G4 differences",
            apart,
            TRUE,
            apart < TRUE and not subject.random,
            "reliable",
            f"at the attack's size, along random signs, differences and the gradient correlate at {apart:.2f}",
            "a smoothed gradient, or an attack without gradients",
        ),
        Finding(
            "G4 gain",
            useful,
            USEFUL,
            useful < USEFUL and not subject.random,
            "suspect",
            f"over a quarter of the radius the margin rises along the gradient on {useful:.1%} of the examples",
            "a smoothed gradient, or an attack without gradients",
        ),
    )


def foretold(rows: Problem, gradient: Tensor, score: Score, share: float) -> tuple[Tensor, Tensor]:
    """(N,) each, along random signs: how the gradient says the score rises; how it does, `share` of the radius away."""
    signs = _signs(rows)
    way = rows.region.steepest(signs, rows.x)
    return _dot(gradient, way), _rise(rows, way, share * rows.region.reach, score)


def _signs(rows: Problem) -> Tensor:
    return (rows.draws.at("sign").uniform(rows.index, 0, rows.x.shape[1:], rows.x.dtype) < 0.5).to(rows.x) * 2 - 1


def gain(rows: Problem, gradient: Tensor, score: Score) -> Tensor:
    """(N,) how the score rises along the gradient at the attack's size, as a share of what it promises, or NaN."""
    uphill = rows.region.steepest(gradient, rows.x)
    promised = _dot(gradient, uphill)
    kept = _rise(rows, uphill, rows.region.reach / 4, score) / promised.clamp_min(1e-30)
    return torch.where((largest(gradient) > 0) & (rows.region.reach > 0), kept, torch.nan)


def used(gains: Tensor) -> float:
    """The share of the rows, of those with a gradient, whose score rises by a tenth of what is promised, or more."""
    told = gains[~gains.isnan()]
    return float((told > 0.1).double().mean()) if len(told) else 0.0


def _rise(rows: Problem, direction: Tensor, size: Tensor, score: Score) -> Tensor:
    """(N,) the slope of the score between the points `size` (N,) away along `direction`, as far as the range allows."""
    far = column(size, rows.x) * direction
    region = rows.region.unbounded()
    ahead, behind = region.project(rows.x + far), region.project(rows.x - far)
    reach = _dot(ahead - behind, direction) / _dot(direction, direction).clamp_min(1e-30)
    return (score(ahead) - score(behind)) / reach.clamp_min(1e-12)


def _adjoint(subject: Subject, rows: Problem) -> Finding:
    """<u, Jv> by forward differentiation against <Jᵀu, v> by backward: equal, unless the backward pass was changed."""
    if subject.random:
        return Finding("G6 adjoint", None, 0.01, False, "reliable", "the network is random: no two passes to compare")
    gaps: list[Tensor] = []

    def compare(oracle: Oracle, part: Problem) -> Tensor:
        at = rows.draws.at("v").normal(part.index, 0, part.x.shape[1:], part.x.dtype)
        with torch.no_grad(), forward_ad.dual_level():
            dual: Any = oracle._answer(part, forward_ad.make_dual(part.x, at))  # type: ignore[no-untyped-call]
            tangent: Tensor = forward_ad.unpack_dual(dual).tangent  # type: ignore[no-untyped-call]
        u = torch.ones(tangent.shape[1], dtype=tangent.dtype, device=tangent.device)
        u[::2] = -1
        back = oracle.gradient(part, part.x, lambda logits, goal: logits @ u).gradient
        forward, backward = tangent @ u, _dot(back, at)
        gaps.append((forward - backward).abs() / (forward.abs() + backward.abs()).clamp_min(1e-12))
        return part.slot

    try:
        subject.ask("adjoint", subject.first(16), subject.model, compare)
        gap = float(torch.cat(gaps).median())
    except (RuntimeError, NotImplementedError, AttributeError):
        return Finding(
            "G6 adjoint", None, 0.01, False, "reliable", "the network has no forward derivative to compare with"
        )
    told = "the backward pass is not the forward's derivative: a hook or a custom function" if gap > 0.01 else "agree"
    return Finding("G6 adjoint", gap, 0.01, gap > 0.01, "reliable", f"forward and backward derivatives: {told}")


def largest(gradient: Tensor) -> Tensor:
    """(N,) the largest entry of each gradient."""
    return gradient.flatten(1).abs().amax(1)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).flatten(1).sum(1)


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """(N,) of two gradients."""
    return torch.cosine_similarity(a.flatten(1).double(), b.flatten(1).double(), dim=1)


def correlated(a: Tensor, b: Tensor) -> float:
    """Pearson's; 0 where one of them does not vary."""
    pair = torch.stack([a, b]).double()
    pair = pair - pair.mean(1, keepdim=True)
    return float((pair[0] * pair[1]).sum() / (pair.norm(dim=1).prod()).clamp_min(1e-300))
