"""Measurements of us and of what people would use instead, both sides in one run: `python -m benchmarks.NAME`.

A side runs in a process of its own and prints its figures as a line of JSON. Results and pictures go to
benchmarks/results/. Hyper-parameters were chosen on the validation split; the test split is read once, at the end.
"""
