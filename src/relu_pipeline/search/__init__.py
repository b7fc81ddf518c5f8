"""Hyper-parameter search on the validation split. The only package that knows Optuna."""
