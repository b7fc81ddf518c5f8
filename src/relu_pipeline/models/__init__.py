"""Plain `torch.nn.Module` networks, a file each. Shapes: B batch, H height, W width, C channel, L token, D feature.

Each has `fit_input`, called once before the first step, and `head`, the linear layer that gives the logits.
"""
