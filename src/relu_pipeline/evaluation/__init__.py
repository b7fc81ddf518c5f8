"""Evaluation of a trained network: predictions, metrics and figures."""
