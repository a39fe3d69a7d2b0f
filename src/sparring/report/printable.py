"""Text that a terminal shows as it is: a name from a file may hold what a terminal would obey."""

from __future__ import annotations


def clean(text: str) -> str:
    """A text without what a terminal would obey instead of show; lines stay lines."""
    return "\n".join(map(escaped, text.split("\n")))


def escaped(name: str) -> str:
    """A name on one line, with escapes for what cannot be shown."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in name)
