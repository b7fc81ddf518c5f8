"""Plain `torch.nn.Module` networks, a file each. Shapes: B batch, H height, W width, C channel, L token, D feature."""
