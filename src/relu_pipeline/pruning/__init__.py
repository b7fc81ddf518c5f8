"""Remove dead units from an ONNX graph, and check that no prediction changes."""
