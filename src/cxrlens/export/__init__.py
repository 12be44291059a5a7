"""A run as a bundle that needs no PyTorch."""
