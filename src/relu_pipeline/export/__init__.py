"""From a checkpoint to an ONNX graph that gives the same predictions, with a manifest that says what it is."""
