"""From a trained network to figures and pictures: pure functions."""
