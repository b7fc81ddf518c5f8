"""Networks as plain `torch.nn.Module`s, one per file, and their checkpoints.

Shape suffixes: B batch, H height, W width, C channel, L token, D feature. A network must provide `fit_input`, which is
called once before training to fit statistics of the data, and `head`, the linear layer that returns the logits.
"""
