"""sparring flash: check clips against the standards for flashing images, and take out what goes beyond them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from sparring.cli.clips import apart, beside, clips, file
from sparring.cli.exits import GATE, PASS, UNRELIABLE, USAGE, guarded
from sparring.cli.terminal import Terminal
from sparring.errors import InputError, closest
from sparring.report.printable import escaped

if TYPE_CHECKING:
    from sparring.flash.records import Analysis
    from sparring.flash.report.export import Entry
    from sparring.flash.standards import Standard

DEFAULT = "wcag2.2"

app = typer.Typer(
    no_args_is_help=True,
    help="Check video for flashes and patterns that can harm, show where they are, and take them out.",
)


class LooseJson(TyperCommand):
    """--json may stand without a file, and is then "-": `--json clip.mp4` does not take the clip for its value."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        after = [*args, ""][1:]
        alone = (one == "--json" and not (n == "-" or n.endswith(".json")) for one, n in zip(args, after, strict=True))
        return super().parse_args(ctx, ["--json=-" if bare else one for one, bare in zip(args, alone, strict=True)])


Standards = Annotated[
    list[str] | None,
    typer.Option(
        "--standard",
        "-s",
        metavar="NAME",
        show_default=DEFAULT,
        help="One of: sparring flash standards; several with commas or by repeating; all.",
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no tables, only the outcome.")]


@app.command(cls=LooseJson)
@guarded
def check(
    paths: Annotated[list[str], typer.Argument(metavar="PATH...", help="Files, folders, or patterns in quotes.")],
    standard: Standards = None,
    json: Annotated[
        str | None, typer.Option("--json", metavar="[FILE]", help="Everything found, as JSON; - or nothing: stdout.")
    ] = None,
    csv: Annotated[
        str | None, typer.Option(metavar="FILE|FOLDER", help="A row per frame: count, area, margin of every rule.")
    ] = None,
    junit: Annotated[str | None, typer.Option(metavar="FILE", help="JUnit XML: a case per standard, for CI.")] = None,
    picture: Annotated[
        str | None, typer.Option(metavar="FILE|FOLDER", help="The timeline as PNG, with dimmed stills.")
    ] = None,
    quiet: Quiet = False,
) -> int:
    """Say whether clips meet the standards, and where and why they do not.

    Example: sparring flash check clips/ --standard wcag2.2,ofcom --junit flash.xml

    Exit codes: 0 all standards are met, 1 one is not, 2 wrong usage or unreadable, 3 undecided (only a part was read).
    """
    asked, found = _standards(standard), clips(paths)
    job = Check(
        asked,
        found,
        None if json in (None, "-") else file("--json", json, ".json", found),
        file("--junit", junit, ".xml", found),
        beside("--csv", csv, ".csv", found),
        beside("--picture", picture, ".png", found),
        Terminal(json == "-", quiet),
    )
    return job.carry_out()


@dataclass(frozen=True)
class Check:
    """A check as it was asked for."""

    standards: tuple[Standard, ...]
    clips: Sequence[str]
    json: Path | None
    junit: Path | None
    csv: Sequence[Path] | None
    pictures: Sequence[Path] | None
    terminal: Terminal

    def carry_out(self) -> int:
        """The exit code."""
        from sparring.flash.report import export
        from sparring.flash.report.wording import DISCLAIMER, tally

        entries: list[Entry] = []
        with self.terminal.progress("checking", len(self.clips)) as update:
            for number, path in enumerate(self.clips):
                which = f"{number + 1} of {len(self.clips)} · " if len(self.clips) > 1 else ""

                def told(share: float, note: str, number: int = number, which: str = which) -> None:
                    update(min(number + share, len(self.clips) - 1e-6), f"{which}{note}")

                entries.append(self._one(number, path, told))
            update(len(self.clips), "")
        if self.json is not None:
            export.save_json(self.json, entries, self.standards)
        if self.junit is not None:
            export.save_junit(self.junit, entries, self.standards)
        if len(entries) > 1:
            self.terminal.say(f"{len(entries)} clips: {tally([one.passed for one in entries])}")
        self._wrote()
        self.terminal.show(DISCLAIMER)
        if self.terminal.json:
            sys.stdout.write(export.as_json(entries, self.standards))
        return _code(entries)

    def _one(self, number: int, path: str, told: Any) -> Entry:
        """What is found in one clip; its files are written at once, and its series is let go of."""
        from sparring import flash
        from sparring.flash.records import Series
        from sparring.flash.report import export, timeline

        hashed = self.terminal.json or self.json is not None or self.junit is not None
        try:
            analysis = flash.analyse(path, self.standards, progress=told)
        except (InputError, OSError) as error:
            typer.echo(f"error: {escaped(str(error))}", err=True)
            return export.Entry(path, error=str(error), sha256=export.digest(path) if hashed else None)
        if self.csv is not None:
            export.save_csv(self.csv[number], analysis)
        if self.pictures is not None:
            from sparring.flash.report.stills import frames_at

            told(1.0, "drawing")
            timeline.save(self.pictures[number], analysis, self.standards, frames_at(path, timeline.moments(analysis)))
        self._tell(analysis)
        kept = replace(analysis, series=Series(analysis.series.seconds[:0]))
        return replace(export.entry(kept) if hashed else export.Entry(path, kept), source=path)

    def _tell(self, analysis: Analysis) -> None:
        from sparring.flash.report.table import clauses, incidents
        from sparring.flash.report.wording import shape, verdicts

        terminal, name = self.terminal, escaped(analysis.source)
        terminal.show(f"\n{name} · {shape(analysis)}")
        terminal.show(incidents(analysis, self.standards))
        if analysis.violations or analysis.advisories:
            terminal.show(clauses(analysis))
        if not terminal.quiet:
            for note in analysis.notes:
                terminal.warn(note)
        if analysis.partial:
            terminal.warn(f"{name}: only a part could be analysed: {analysis.partial}")
        terminal.say(f"{name}: {verdicts(analysis)}")

    def _wrote(self) -> None:
        single = [path for path in (self.json, self.junit) if path is not None]
        several = [path for paths in (self.csv, self.pictures) if paths for path in paths if path.exists()]
        for path in [*single, *several]:
            self.terminal.show(f"wrote {escaped(str(path))}")


@app.command()
@guarded
def fix(
    source: Annotated[str, typer.Argument(metavar="IN", help="The clip.")],
    target: Annotated[str, typer.Argument(metavar="OUT", help="The file to write.")],
    standard: Standards = None,
    causal: Annotated[bool, typer.Option("--causal", help="Look only back, as live use must; else ahead too.")] = False,
    crf: Annotated[
        int | None, typer.Option(min=0, max=51, metavar="N", show_default="18", help="Quality: lower is better.")
    ] = None,
    lossless: Annotated[bool, typer.Option("--lossless", help="Write every frame exactly.")] = False,
    quiet: Quiet = False,
) -> int:
    """Write a copy that meets the standards, changed as little as possible, and check the file written.

    Example: sparring flash fix clip.mp4 milder.mp4 --standard wcag2.2

    A clip that meets them already is copied bit for bit. Exit codes: 0 met, 1 still not met, 3 undecided.
    """
    from sparring import flash
    from sparring.flash.report.table import before_and_after
    from sparring.flash.report.wording import DISCLAIMER, verdicts

    asked, terminal = _standards(standard), Terminal(quiet=quiet)
    if lossless and crf is not None:
        raise InputError(f"--crf {crf} and --lossless contradict each other: leave one out")
    if not Path(source).is_file():
        raise InputError(f"{source} is not a file: name the clip to change")
    if Path(target).is_dir():
        raise InputError(f"{target} is a folder: name the file to write in it")
    apart("OUT", Path(target), [source])
    with terminal.progress("fixing", 1.0) as update:
        made = flash.mitigate(
            source, target, standard=asked, causal=causal, crf=18 if crf is None else crf, lossless=lossless,
            progress=lambda share, note: update(min(share, 1 - 1e-6), note),
        )  # fmt: skip
        update(1.0, "")
    terminal.show(before_and_after(made.before, made.after))
    if made.copied:
        terminal.say(f"{escaped(target)}: {verdicts(made.after)}; copied bit for bit")
    else:
        share = f"{made.changed:,} of {made.before.frames:,} frames changed"
        near = f"PSNR {made.psnr:.1f} dB, SSIM {made.ssim:.4f}"
        terminal.say(f"{escaped(target)}: {verdicts(made.after)}; {share}, {near}")
    if made.after.partial:
        terminal.warn(f"only a part could be analysed: {made.after.partial}")
    terminal.show(DISCLAIMER)
    return {True: PASS, False: GATE, None: UNRELIABLE}[made.after.passed]


@app.command()
@guarded
def standards(
    standard: Annotated[
        str | None, typer.Option("--standard", "-s", metavar="NAME", help="Every number of this one, with its clause.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="As JSON on stdout.")] = False,
) -> int:
    """List the standards, or every number of one of them with the clause it comes from."""
    import json as jsons

    from sparring.flash.report.export import document
    from sparring.flash.report.table import profiles, readings

    chosen = _standards(["all" if standard is None else standard])
    terminal = Terminal()
    if json:
        print(jsons.dumps(document((), chosen)["standards"], indent=2))
    elif standard is None:
        terminal.show(profiles(chosen))
        terminal.say("Every number of one, with its clause: sparring flash standards --standard NAME")
    else:
        for one in chosen:
            terminal.say(f"{one.name}: {one.title}", style="bold")
            terminal.show(readings(one))
    return PASS


def _standards(words: Sequence[str] | None) -> tuple[Standard, ...]:
    """The standards meant by what was typed: names with commas between, repeated, or "all"."""
    from sparring.flash.profiles import STANDARDS as known

    names = [name.strip().lower() for word in words or [DEFAULT] for name in word.split(",") if name.strip()]
    names = [name for one in names for name in (known if one == "all" else [one])]
    for name in names:
        if name not in known:
            raise InputError(
                f"--standard {name!r} is not known; it is one of {', '.join(known)}.{closest(name, known)}"
            )
    if not names:
        raise InputError(f"--standard names none; it is one of {', '.join(known)}, or several with commas between")
    return tuple(known[name] for name in dict.fromkeys(names))


def _code(entries: Sequence[Entry]) -> int:
    """What does not meet goes before what could not be read at all, and that before what was read in part."""
    from sparring.flash.report.export import overall

    if any(one.passed is False for one in entries):
        return GATE
    if any(one.error is not None for one in entries):
        return USAGE
    return PASS if overall(entries) else UNRELIABLE
