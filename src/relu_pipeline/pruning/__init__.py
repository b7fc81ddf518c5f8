"""Dead units are cut out of an ONNX graph, and what is left is proved to answer alike."""
