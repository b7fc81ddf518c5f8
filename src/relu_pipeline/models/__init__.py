"""Plain `torch.nn.Module` networks, one file each. Shapes: B batch, H height, W width, C channel, L token, D feature."""
