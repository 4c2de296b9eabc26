"""Writing a prepared cache: python -m tinynet prepare. It is read by stores/cache.py."""
