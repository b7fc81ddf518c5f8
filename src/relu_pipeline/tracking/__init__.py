"""Experiment tracking: `run` is what the library sees, `mlflow_run` alone knows MLflow."""
