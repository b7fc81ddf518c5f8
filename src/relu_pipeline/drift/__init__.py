"""Measure how well the drift monitor of the service detects shift."""
