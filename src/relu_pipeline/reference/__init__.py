"""The maths in NumPy alone: the oracle that the tests hold PyTorch and ONNX Runtime against."""
