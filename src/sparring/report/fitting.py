"""Tables that fit where they are shown: columns that matter less are left out before one that matters is cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, JustifyMethod, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from sparring.report.printable import clean, escaped

NARROWEST = 10  # letters of a name before it is broken
HEADING = 20  # letters of a heading before it is broken


@dataclass
class Fitting:
    """Rows of text below headings, the first of them names that may be broken.

    rank: of each column but the first how much it matters; those of the lowest rank go first where there is no room.
    Where even those of the highest have none beside each other they are shown in tables below each other.
    flexible: headings of columns that may be broken too. left: headings of columns of words, which begin at the left.
    """

    headings: Sequence[str]
    rank: Sequence[int] = ()
    flexible: Sequence[str] = ()
    left: Sequence[str] = ()
    note: str = ""
    rows: list[tuple[tuple[str, ...], str | None]] = field(default_factory=list)

    def add(self, *cells: str, style: str | None = None) -> None:
        """One row more; "" leaves a cell empty."""
        self.rows.append((tuple(map(escaped, cells)), style))

    def line(self) -> None:
        """A line between the rows so far and those to come."""
        self.rows.append(((), None))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        wide = options.update(max_width=10_000)

        def fits(columns: Sequence[int]) -> bool:
            return Measurement.get(console, wide, self._made(console, columns, True)).minimum <= options.max_width

        kept = list(range(len(self.headings)))
        while not fits(kept):
            droppable = [at for at in kept[1:] if self._rank(at) < max(map(self._rank, kept[1:]))]
            if not droppable:
                break
            kept.remove(min(droppable, key=lambda at: (self._rank(at), -at)))
        parts = [[0]]
        for at in kept[1:]:
            if len(parts[-1]) > 1 and not fits([*parts[-1], at]):
                parts.append([0])
            parts[-1].append(at)
        for part in parts:
            yield self._made(console, part)
        if self.note:
            yield Text(clean(self.note), style="dim")

    def _rank(self, at: int) -> int:
        return self.rank[at - 1] if at and len(self.rank) >= at else 0

    def _made(self, console: Console, columns: Sequence[int], narrow: bool = False) -> Table:
        """The table of these columns; narrow: without rows, and what may be broken as narrow as it may become."""
        made = Table(box=SIMPLE_HEAD, pad_edge=False)
        for at in columns:
            heading = Text("\n").join(Text(escaped(self.headings[at])).wrap(console, HEADING))
            if at and self.headings[at] not in self.flexible:
                side: JustifyMethod = "left" if self.headings[at] in self.left else "right"
                made.add_column(heading, justify=side, no_wrap=True, min_width=self._widest(at, heading))
            else:
                least = min(NARROWEST, self._widest(at, heading))
                made.add_column("" if narrow else heading, overflow="fold", min_width=least)
        for cells, style in () if narrow else self.rows:
            if cells:
                made.add_row(*(Text(cells[at]) for at in columns), style=style)
            else:
                made.add_section()
        return made

    def _widest(self, at: int, heading: Text) -> int:
        lines = heading.plain.split("\n")
        return max(1, *map(cell_len, lines), *(cell_len(cells[at]) for cells, _ in self.rows if cells))
