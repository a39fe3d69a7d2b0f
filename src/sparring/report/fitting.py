"""Tables that fit where they are shown: columns that matter less are left out before one that matters is cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

NARROWEST = 10  # letters of a name before it is broken


def clean(text: str) -> str:
    """A text without what a terminal would obey instead of show; lines stay lines."""
    return "".join(one if one.isprintable() or one == "\n" else f"\\x{ord(one):02x}" for one in text)


@dataclass
class Fitting:
    """Rows of text below headings, the first of them names that may be broken.

    rank: of each column but the first how much it matters; those of the lowest rank go first where there is no room.
    flexible: headings of columns that may be broken too.
    """

    headings: Sequence[str]
    rank: Sequence[int] = ()
    flexible: Sequence[str] = ()
    note: str = ""
    rows: list[tuple[tuple[str, ...], str | None]] = field(default_factory=list)

    def add(self, *cells: str, style: str | None = None) -> None:
        """One row more; "" leaves a cell empty."""
        self.rows.append((tuple(map(clean, cells)), style))

    def line(self) -> None:
        """A line between the rows so far and those to come."""
        self.rows.append(((), None))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        kept = list(range(len(self.headings)))
        wide = options.update(max_width=10_000)
        while Measurement.get(console, wide, self._made(kept, True)).minimum > options.max_width:
            droppable = [at for at in kept[1:] if self._rank(at) < max(map(self._rank, kept[1:]))]
            if not droppable:
                break
            kept.remove(min(droppable, key=lambda at: (self._rank(at), -at)))
        yield self._made(kept)
        if self.note:
            yield Text(clean(self.note), style="dim")

    def _rank(self, at: int) -> int:
        return self.rank[at - 1] if at and len(self.rank) >= at else 0

    def _made(self, kept: Sequence[int], narrow: bool = False) -> Table:
        """The table of these columns; narrow: without rows, and what may be broken as narrow as it may become."""
        made = Table(box=SIMPLE_HEAD, pad_edge=False)
        for at in kept:
            if at and self.headings[at] not in self.flexible:
                made.add_column(self.headings[at], justify="right", no_wrap=True, min_width=self._widest(at))
            else:
                least = min(NARROWEST, self._widest(at))
                made.add_column("" if narrow else self.headings[at], overflow="fold", min_width=least)
        for cells, style in () if narrow else self.rows:
            if cells:
                made.add_row(*(Text(cells[at]) for at in kept), style=style)
            else:
                made.add_section()
        return made

    def _widest(self, at: int) -> int:
        return max(len(self.headings[at]), *(len(cells[at]) for cells, _ in self.rows if cells), 1)
