"""The error of the data room: something about the images on disk is not as it should be.

It has its own file because finding the images, decoding them and drawing synthetic ones all raise it.
"""


class DataError(RuntimeError):
    """A data set or an image that cannot be used; the message names the file or folder."""
