"""What is said about ReLU, measured: the same network, data, order and budget for each activation."""
