"""From a file or a text to the input of a network: the same code when data are prepared, predicted and served."""
