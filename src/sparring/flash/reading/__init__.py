"""Clips as pictures with times: files by PyAV, arrays, colours turned into light."""

from __future__ import annotations

from sparring.flash.reading.clips import Clip, Source, from_arrays, picture_of
from sparring.flash.reading.colour import Colour
from sparring.flash.reading.files import open_clip, opened
from sparring.flash.reading.pictures import Picture, Plane

__all__ = ["Clip", "Colour", "Picture", "Plane", "Source", "from_arrays", "open_clip", "opened", "picture_of"]
