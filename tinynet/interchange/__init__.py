"""Networks' parameters in files that other programs read."""
