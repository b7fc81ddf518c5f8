"""From a checkpoint to an ONNX graph that is proved to answer alike, with a manifest that says what it is."""
