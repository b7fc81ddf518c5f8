"""Preprocessing of images and texts to network inputs, shared by data preparation, prediction and serving."""
