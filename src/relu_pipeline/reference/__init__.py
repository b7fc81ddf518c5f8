"""Reference implementation in NumPy; the tests compare PyTorch and ONNX Runtime with it."""
