"""Points, transitions, areas, counts, incidents; read `clip.py` first, then `analyser.py`."""
