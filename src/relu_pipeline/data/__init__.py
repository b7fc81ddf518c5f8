"""From the publishers' files to batches of tensors: download -> cifar10 | ag_news | demo -> prepare -> batches."""
