"""One image: its file's format, decoding, colours, crops and views. Pure functions."""
