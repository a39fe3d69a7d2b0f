"""One script a claim; peers run side by side in the same process. `python -m benchmarks` runs them all."""
