"""Hyper-parameter search on the validation split with Optuna, which only this package imports."""
