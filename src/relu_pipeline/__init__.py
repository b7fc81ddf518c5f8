"""From CIFAR-10 and AG News to ReLU models that are trained, measured, exported and served."""
