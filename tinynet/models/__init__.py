"""Networks as their papers give them."""

from tinynet.models.alexnet import alexnet

__all__ = ["alexnet"]
