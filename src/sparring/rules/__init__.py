"""How it moves: a rule turns what was seen at x into the next x. Pure tensor algebra, no model."""

from __future__ import annotations

from sparring.rules.adam import Adam
from sparring.rules.adaptive import Adaptive, AdaptiveSparse
from sparring.rules.cosine import Cosine
from sparring.rules.momentum import Momentum
from sparring.rules.rule import Rule
from sparring.rules.steepest import Steepest

__all__ = ["Adam", "Adaptive", "AdaptiveSparse", "Cosine", "Momentum", "Rule", "Steepest"]
