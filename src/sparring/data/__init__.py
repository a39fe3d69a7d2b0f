"""Turning anything into images and labels, and naming what was read by its fingerprint."""

from __future__ import annotations

from sparring.data.examples import Examples, fingerprint
from sparring.data.images import IMAGE_FORMATS, IMAGE_SUFFIXES, MAX_PIXELS
from sparring.data.sources import load
from sparring.provenance import hash_tensors

__all__ = ["IMAGE_FORMATS", "IMAGE_SUFFIXES", "MAX_PIXELS", "Examples", "fingerprint", "hash_tensors", "load"]
