"""Export of a checkpoint to ONNX: graph, parity check, pruning, quantisation and manifest."""
