"""Regular patterns: found in a map of a picture (`stripes.py`), followed through time (`following.py`)."""
