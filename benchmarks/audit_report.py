"""What the audit is worth, from its rows: confusion matrices, what was wrong, and the range of every statistic."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks.figures import table_of
from benchmarks.labelled import Entry
from benchmarks.labelled.labels import COLLAPSE, GAP
from benchmarks.labelled.store import LABELS, rows
from benchmarks.measure import table

Rows = Mapping[tuple[str, int], dict[str, Any]]
VERDICTS = ("reliable", "suspect", "unreliable")
SILENT = ("silent", "flagged")
TUNING, REPORTING = (0, 1), (2, 3)
CLOSE = 0.03  # a gap that close to the border of the label might fall on the other side with other random numbers


def report(entries: Mapping[str, Entry], audits: Rows, warnings: Rows, seeds: Sequence[int]) -> None:
    """Prints everything, tuning seeds and reporting seeds apart."""
    labels = rows(LABELS)
    for title, part in (("tuning", TUNING), ("reporting", REPORTING)):
        pairs = [(name, seed) for name in entries for seed in part if seed in seeds and (name, seed) in labels]
        heard = [pair for pair in pairs if pair in warnings]
        if heard:
            _confusion(f"AutoAttack's warnings, {title} seeds", heard, labels, lambda pair: _warned(warnings[pair]))
            _rules(heard, labels, warnings)
        asked = [pair for pair in pairs if pair in audits]
        if asked:
            _confusion(f"sp.audit, {title} seeds", asked, labels, lambda pair: str(audits[pair]["verdict"]))
            clear = [pair for pair in asked if not _close(entries[pair[0]], labels[pair])]
            words = f"sp.audit, {title} seeds, without labels within {CLOSE} of the border"
            _confusion(words, clear, labels, lambda pair: str(audits[pair]["verdict"]))
            _wrong(asked, labels, audits)
            _findings(asked, labels, audits)
            _cost(asked, audits)
        if seeds != [*TUNING, *REPORTING]:
            continue
        if asked and heard:
            _give(f"audit-{title}", asked, labels, lambda pair: str(audits[pair]["verdict"]), VERDICTS)
            _give(f"audit-warnings-{title}", heard, labels, lambda pair: _warned(warnings[pair]), SILENT)


def _close(entry: Entry, label: Mapping[str, Any]) -> bool:
    return abs(float(label["gap"]) - (COLLAPSE if entry.collapsed else GAP)) < CLOSE


def _warned(row: Mapping[str, Any]) -> str:
    return "flagged" if any(row["warnings"].values()) else "silent"


def _confusion(
    title: str, pairs: Sequence[tuple[str, int]], labels: Rows, said: Callable[[tuple[str, int]], str]
) -> None:
    words = SILENT if "AutoAttack" in title else VERDICTS
    lines = _counted(pairs, labels, said, words)
    shares = {label: 1 - silent / models if models else 0.0 for label, models, silent, *_ in lines}
    table(
        f"{title}: recall {100 * shares['masked']:.1f} %, false flags {100 * shares['honest']:.1f} %",
        ("measured label", "models", *words),
        lines,
    )
    for label, word in (("masked", words[0]), ("honest", None)):
        wrong = [
            f"{name} ({seed})"
            for name, seed in pairs
            if labels[name, seed]["label"] == label
            and (said((name, seed)) == word if word else said((name, seed)) != words[0])
        ]
        print(f"{label} and {'believed' if label == 'masked' else 'flagged'}: {'; '.join(wrong) or 'none'}")


def _counted(
    pairs: Sequence[tuple[str, int]], labels: Rows, said: Callable[[tuple[str, int]], str], words: Sequence[str]
) -> list[tuple[str, int, *tuple[int, ...]]]:
    """Of the masked and of the honest models: how many there are, and of how many each word was said."""
    lines = []
    for label in ("masked", "honest"):
        of = [said(pair) for pair in pairs if labels[pair]["label"] == label]
        lines.append((label, len(of), *(of.count(word) for word in words)))
    return lines


def _give(
    name: str,
    pairs: Sequence[tuple[str, int]],
    labels: Rows,
    said: Callable[[tuple[str, int]], str],
    words: Sequence[str],
) -> None:
    """The table of a page."""
    lines = _counted(pairs, labels, said, words)
    table_of(name, ("", "models", *words), lines, ("text", *("accuracy",) * (1 + len(words))))


def _rules(pairs: Sequence[tuple[str, int]], labels: Rows, warnings: Rows) -> None:
    names = list(dict.fromkeys(rule for pair in pairs for rule in warnings[pair]["warnings"]))
    lines = []
    for rule in names:
        fired = [labels[pair]["label"] for pair in pairs if warnings[pair]["warnings"][rule]]
        lines.append((rule, fired.count("masked"), fired.count("honest")))
    table("Which rules fire (Square is asked where no other fires)", ("rule", "masked", "honest"), lines)


def _wrong(pairs: Sequence[tuple[str, int]], labels: Rows, audits: Rows) -> None:
    lines = []
    for pair in pairs:
        label, audit = labels[pair], audits[pair]
        if (label["label"] == "masked") == (audit["verdict"] == "reliable"):
            flags = ", ".join(f["name"] for f in audit["findings"] if f["flagged"])
            measured = f"{label['naive']:.3f} {label['best']:.3f}"
            own = f"{audit['naive']:.3f} {audit['adaptive']:.3f}"
            lines.append((*pair, label["label"], audit["verdict"], measured, own, flags))
    header = ("model", "seed", "label", "verdict", "naive, best", "the audit's naive, adaptive", "flags")
    table("What the audit got wrong", header, lines)


def _findings(pairs: Sequence[tuple[str, int]], labels: Rows, audits: Rows) -> None:
    seen: dict[str, dict[str, list[tuple[float | None, bool]]]] = {}
    limits: dict[str, Any] = {}
    for pair in pairs:
        for finding in audits[pair]["findings"]:
            of = seen.setdefault(finding["name"], {"masked": [], "honest": []})
            of[labels[pair]["label"]].append((finding["statistic"], finding["flagged"]))
            limits[finding["name"]] = finding["threshold"]
    lines = []
    for name, of in seen.items():
        cells: list[object] = [name, limits[name]]
        for label in ("masked", "honest"):
            flagged = sum(flag for _, flag in of[label])
            cells += [_range([value for value, _ in of[label]]), f"{flagged} of {len(of[label])}"]
        lines.append(cells)
    header = ("finding", "threshold", "masked: range", "flagged", "honest: range", "flagged")
    table("Every finding: least, quartiles and most of its statistic", header, lines)


def _range(values: Sequence[float | None]) -> str:
    known = sorted(float(value) for value in values if value is not None)
    if len(known) < 2:
        return " ".join(f"{value:.3g}" for value in known)
    return " ".join(f"{value:.3g}" for value in (known[0], *statistics.quantiles(known, n=4), known[-1]))


def _cost(pairs: Sequence[tuple[str, int]], audits: Rows) -> None:
    ratios = {pair: audits[pair]["seconds"] / audits[pair]["quick"] for pair in pairs if audits[pair]["quick"]}
    if ratios:
        most = max(ratios, key=lambda pair: ratios[pair])
        middle = statistics.median(ratios.values())
        print(
            f"\naudit over quick evaluation, processor seconds: median {middle:.2f}, "
            f"most {ratios[most]:.2f} ({most[0]}, seed {most[1]}); "
            f"{sum(audits[pair]['seconds'] for pair in pairs):.0f} s in all"
        )
