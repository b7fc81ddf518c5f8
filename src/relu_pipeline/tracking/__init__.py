"""Experiment tracking: `run` is what the library sees, the others write to MLflow by way of an outbox."""
