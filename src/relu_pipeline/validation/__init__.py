"""Validation of the raw data before training: statistics, problems, and a report on both."""
