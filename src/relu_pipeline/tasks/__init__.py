"""The tasks: each is one implementation of `relu_pipeline.task.Task`."""
