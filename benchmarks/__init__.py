"""Benchmarks of the project against alternatives, measured in one run: `python -m benchmarks.NAME`.

Each side runs in its own process and prints its results as a line of JSON. Results and figures are written to
benchmarks/results/. Hyper-parameters were chosen on the validation split; the test split is read once, at the end.
"""
