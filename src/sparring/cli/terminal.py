"""Where words go: what was found to stdout, how it is going to stderr."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from sparring.report.printable import clean, escaped

Update = Callable[[float, str], None]  # (done, note)
PAUSE = 5.0  # seconds between two plain lines


@dataclass(frozen=True)
class Terminal:
    """json: keep stdout for one JSON document. quiet: no progress and no tables, only the outcome."""

    json: bool = False
    quiet: bool = False
    errors: Console = field(default_factory=lambda: Console(stderr=True, highlight=False, soft_wrap=True))
    words: Console = field(init=False)

    def __post_init__(self) -> None:
        words = self.errors if self.json else Console(highlight=False, soft_wrap=True)
        object.__setattr__(self, "words", words)

    def say(self, text: str, style: str | None = None) -> None:
        """One line of the outcome."""
        self.words.print(clean(text), style=style, markup=False)

    def show(self, content: RenderableType) -> None:
        """A table or a heading, unless quiet."""
        if not self.quiet:
            shown = clean(content) if isinstance(content, str) else content
            self.words.print(shown, markup=False, soft_wrap=False)

    def warn(self, text: str) -> None:
        """A line on stderr, quiet or not."""
        self.errors.print(f"note: {clean(text)}", style="yellow", markup=False)

    @contextmanager
    def progress(self, label: str, total: float) -> Iterator[Update]:
        """A live line with an estimate; without a terminal, a plain line now and then."""
        if self.quiet:
            yield lambda done, note: None
        elif self.errors.is_terminal:
            with self._live(label, total) as update:
                yield update
        else:
            yield self._plain(label, total)

    @contextmanager
    def _live(self, label: str, total: float) -> Iterator[Update]:
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(10),
            TaskProgressColumn(),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True),
            TextColumn("{task.fields[note]}", style="dim", markup=False),
        )
        with Progress(*columns, console=self.errors) as bar:
            task = bar.add_task(label, total=total, note="")

            def update(done: float, note: str) -> None:
                bar.update(task, completed=done, total=total if done else None, note=escaped(note))  # None: a pulse

            yield update

    def _plain(self, label: str, total: float) -> Update:
        begun = time.monotonic()
        told = begun

        def update(done: float, note: str) -> None:
            nonlocal told
            now = time.monotonic()
            if done < total and now - told < PAUSE:
                return
            told = now
            left = f", about {(now - begun) * (total - done) / done:.0f} s left" if 0 < done < total else ""
            self.say_aside(f"{label.strip()}: {done / total:.0%}{left}{f' · {note}' if note else ''}")

        return update

    def say_aside(self, text: str) -> None:
        """One line on stderr."""
        self.errors.print(clean(text), markup=False)
