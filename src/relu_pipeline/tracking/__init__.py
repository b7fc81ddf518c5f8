"""Experiment tracking: the interface `Run`, and its MLflow implementation, which writes through an outbox."""
