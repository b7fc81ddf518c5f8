"""Empirical study of textbook claims about ReLU: one network, data, data order and budget for all activations."""
