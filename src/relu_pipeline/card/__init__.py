"""The model card: what a model is for, its data, recipe, measurements and limits, as Markdown and as one HTML page."""
