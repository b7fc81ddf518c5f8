"""The tasks: implementations of `relu_pipeline.task.Task`."""
