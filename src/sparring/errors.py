"""Every error sparring raises on purpose. Each message names the argument, the value found, and the remedy.

SparringError
├── InputError     the caller's data or arguments cannot be used as they are
├── ModelError     the network misbehaves: logits that are not finite, a wrong shape
│   └── NoGradient there is no input gradient to follow, or it is not finite
├── ResumeError    a run folder belongs to another run, or is damaged
└── MissingExtra   an optional dependency is not installed

Failing to fool a model is an outcome, not an error.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class SparringError(Exception):
    """The root: catch this to catch everything sparring raises on purpose."""


class InputError(SparringError, ValueError):
    """The caller's data or arguments cannot be used as they are."""


class ModelError(SparringError, RuntimeError):
    """The network misbehaves: logits that are not finite, a wrong shape, no gradient."""


class NoGradient(ModelError):
    """There is no input gradient to follow, or it is not finite; the logits themselves are fine."""


class ResumeError(SparringError, RuntimeError):
    """A run folder belongs to another run, or is damaged."""


class SparringWarning(UserWarning):
    """Something that the user should know, and that stops nothing: a file that is not used, say."""


class MissingExtra(SparringError, ImportError):
    """An optional dependency is not installed."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs {package}. Install it with: pip install 'sparring[{extra}]'")


def closest(word: str, known: Iterable[str]) -> str:
    """The question whether the nearest known word was meant, to go into a message, or nothing when none is near."""
    near = get_close_matches(word.lower(), list(known), n=1, cutoff=0.5)
    return f" Did you mean {near[0]}?" if near else ""
