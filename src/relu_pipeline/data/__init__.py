"""Data sets: download, adapters for the file formats, splits, preparation, augmentation and batches."""
