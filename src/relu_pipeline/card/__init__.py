"""The model card: intended use, data, training, evaluation and limitations, as Markdown and as one HTML page."""
