"""What is fastest here: batch size, folded normalisation, memory format and precision, found by a short measurement.

Other forms of the network only search; what they find counts where the caller's own network confirms it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from sparring.attacks.attack import fitting
from sparring.draws import isolated
from sparring.evaluation.bench import Bench, Clock, computes_bfloat16, usual_clock
from sparring.evaluation.settings import Settings, copied, fixed, private
from sparring.model import Model
from sparring.problem import Seen

# Measuring may take a hundredth of an evaluation of about so many looks an example. Less than the shortest, in seconds,
# is not worth beginning; more than the longest would find nothing new.
LOOKS, SHARE, SHORTEST, LONGEST = 100, 0.01, 0.2, 10.0
TOO_SHORT = "the evaluation is too short for measuring to pay"
FEW = 128  # where one pass takes all examples, and they are no more, nothing is tried: there is little to gain
TURNS = 3  # the fastest of so many counts, so that none does that another program held up; a first, cold one never
TIE, SLOWER = 1.05, 1.25  # batch sizes whose times differ by less are equally fast; by more, not worth another turn
GAIN, COARSE_GAIN = 0.05, 0.2  # by how much another form must be faster; claims in bfloat16 cost looks of the judge
# In roundings of the largest difference between two logits of a row. A sum of n products in another order differs by
# about √n of them: a thousand are those of the widest layers, over some hundred layers.
ROUNDINGS = 1000
SLOPE = 0.01  # of the gradient's length: a ReLU within rounding of zero may switch, and moves it by a path or two
SAME_WAY = 0.95  # of a useful search, the least mean cosine with the exact gradient, and the share of equal classes


def settle(
    model: Model, x: Tensor, *, coarse: bool = False, clock: Clock | None = None, longest: float = LONGEST
) -> Settings:
    """What is fastest for attacking the inputs x (N, …), here and now.

    The batch size is the smallest power of two whose time an example is within 5 % of the best. Another form of the
    network is kept where it is faster by 5 % and says the same but for rounding. The caller's network is neither
    touched nor seen to run: copies are. Where there can be none, or where x is so little that measuring would not pay
    (it takes a hundredth of what an evaluation of x may), the rule of thumb holds, `fitting`; `measured` says so.

    coarse: also try bfloat16, kept where it is faster by 20 % and its gradient points the same way. It never makes a
    false success, but passes over some true ones: those that lie closest to the boundary, as FAB's do.
    clock: tells seconds; None is the machine's. longest: the most of them, but for what one look takes.
    """
    device = model.device or x.device
    rule = Settings(fitting(x[:1].to(device)))
    why = TOO_SHORT if len(x) <= min(FEW, rule.batch_size) else private(model)
    if not why:
        try:
            with isolated(0, device):
                bench = Bench(model.around(copied(model.net)), x, device, clock or usual_clock(device))
                return _settled(bench, rule, coarse, longest)
        except Exception as error:  # what is wrong with a network is told by the evaluation, on the examples it counts
            why = f"{type(error).__name__}: {error}"
    return replace(rule, measured={"refrained": why})


def _settled(bench: Bench, rule: Settings, coarse: bool, longest: float) -> Settings:
    most = bench.most()  # also the first look of all, which loads what later ones have
    began = bench.clock()

    def worth(each: float) -> float:
        """How long measuring may take where a step on an example takes so long."""
        return min(longest, SHARE * LOOKS * len(bench.x) * each)

    passes, late = _sizes(bench, most, lambda each: began + worth(each) / 2)
    budget = worth(min(passed / size for size, passed in passes.items()))
    if budget < SHORTEST:
        return replace(rule, measured={"refrained": TOO_SHORT})
    each = {size: passed / size for size, passed in passes.items()}
    best = min(size for size in each if each[size] <= TIE * min(each.values()))
    # Where the largest that there was time for is the best, larger ones might be better yet.
    settings = Settings(max(best, min(rule.batch_size, most)) if late and best == max(each) else best)
    tried: dict[str, Any] = {}
    options = _options(bench, coarse)
    for place, (name, change, gain) in enumerate(options):
        now = bench.clock()
        until = now + (began + budget - now) / (len(options) - place)
        # Each form is looked through once to compare what it says, and in two turns at least.
        affordable = [size for size in passes if size <= best and now + 6 * passes[size] <= until]
        if affordable:
            new = replace(settings, **change)
            tried[name] = _tried(bench, settings, new, gain, max(affordable), until)
            settings = new if tried[name]["kept"] else settings
        else:
            tried[name] = _no("no time was left to try it")
    told = {str(size): round(1e3 * seconds, 4) for size, seconds in each.items()}
    return replace(settings, measured={"milliseconds": told, "tried": tried})


def _sizes(bench: Bench, most: int, until: Callable[[float], float]) -> tuple[dict[int, float], bool]:
    """Seconds a pass by batch size, and whether time ran out before larger ones could be worth trying. In turns, so
    that what holds the machine up for a moment falls on all sizes.

    until: when to end, by the seconds an example takes. That it takes less in larger batches is found on the way.
    """
    passes: dict[int, float] = {}
    size, late, end = 1, False, 0.0
    while size <= most and not late and not _declining(passes):
        try:
            problem = bench.posed(size)
            passes[size] = min(bench.seconds(bench.model, problem) for _ in range(2))  # the first of a size is cold
        except RuntimeError as error:
            if size == 1 or "memory" not in str(error):
                raise
            break
        end = until(min(passed / size for size, passed in passes.items()))
        size *= 2
        late = size <= most and bench.clock() + (TURNS + 1) * 2 * passes[size // 2] > end
    for _ in range(TURNS - 1):
        best = min(passed / size for size, passed in passes.items())
        for size, passed in passes.items():
            if passed <= SLOWER * best * size and bench.clock() + passed <= end:
                passes[size] = min(passed, bench.seconds(bench.model, bench.posed(size)))
    return passes, late and not _declining(passes)


def _declining(passes: dict[int, float]) -> bool:
    """Whether the two largest sizes were slower an example than a smaller one: caches overflow."""
    each = [passed / size for size, passed in passes.items()]
    return len(each) > 2 and min(each[-2:]) > min(each)


def _options(bench: Bench, coarse: bool) -> list[tuple[str, dict[str, Any], float]]:
    """The other forms that this network may have: name, what it changes, and how much faster it must be."""
    if fixed(bench.model):
        return []
    options: list[tuple[str, dict[str, Any], float]] = [("folded", {"folded": True}, GAIN)]
    if bench.x.ndim == 4:
        options.append(("channels_last", {"memory_format": "channels_last"}, GAIN))
    if coarse and bench.model.dtype == torch.float32 and computes_bfloat16(bench.device):
        options.append(("bfloat16", {"dtype": "bfloat16"}, COARSE_GAIN))
    return options


def _tried(bench: Bench, old: Settings, new: Settings, gain: float, size: int, until: float) -> dict[str, Any]:
    """Whether `new` is to be kept instead of `old`, and why; each on `size` examples, in turns."""
    problem = bench.posed(size)
    try:
        forms = old.view(bench.model), new.view(bench.model)
        exact, seen = bench.seen(bench.model, problem), bench.seen(forms[1], problem)
    except Exception as error:  # a form that this network does not have
        return _no(f"{type(error).__name__}: {error}")
    if why := astray(exact, seen) if new.dtype == "bfloat16" else differs(exact, seen):
        return _no(why)
    before = after = float("inf")
    for turn in range(TURNS + 1):
        if turn < 2 or bench.clock() + before + after <= until:
            before = min(before, bench.seconds(forms[0], problem))
            after = min(after, bench.seconds(forms[1], problem))
    kept = after <= (1 - gain) * before
    figures = {"before": round(1e3 * before / size, 4), "after": round(1e3 * after / size, 4)}
    return {"kept": True, **figures} if kept else {**_no(f"it is not {gain:.0%} faster"), **figures}


def _no(why: str) -> dict[str, Any]:
    return {"kept": False, "why": why}


def differs(exact: Seen, seen: Seen) -> str:
    """How two looks at the same points differ by more than rounding; empty where they do not."""
    spread = exact.logits.amax(1) - exact.logits.amin(1)
    apart = (seen.logits - exact.logits).abs().amax(1)
    if not bool((apart <= ROUNDINGS * torch.finfo(exact.logits.dtype).eps * spread).all()):
        return f"its logits differ by up to {float((apart / spread).max()):.1e} of their spread"
    if not torch.equal(seen.logits.argmax(1), exact.logits.argmax(1)):
        return "it says other classes"
    slope = exact.gradient.flatten(1).norm(dim=1)
    turned = (seen.gradient - exact.gradient).flatten(1).norm(dim=1)
    if not bool((turned <= SLOPE * slope).all()):
        return f"its input gradients differ by up to {float((turned / slope).max()):.1e} of their length"
    return ""


def astray(exact: Seen, seen: Seen) -> str:
    """Why a search that saw this would lose its way; empty where it would not."""
    if float((seen.logits.argmax(1) == exact.logits.argmax(1)).double().mean()) < SAME_WAY:
        return "it says other classes"
    same = float(cosine_similarity(seen.gradient.flatten(1), exact.gradient.flatten(1)).mean())
    return "" if same >= SAME_WAY else f"its input gradients have a mean cosine of {same:.2f} with the exact ones"
