"""The data room: where images come from and what becomes of them before the first layer.

All of it runs on the host, with NumPy and Pillow, but for the last step, Prepare, which runs on the device.
"""

from tinynet.data.bad_images import BadImages
from tinynet.data.class_names import class_names
from tinynet.data.dataset import Dataset, ImageSplit, Split, Store
from tinynet.data.errors import DataError
from tinynet.data.folders import FolderSplit
from tinynet.data.layouts import open_dataset
from tinynet.data.loader import Batch, Loader
from tinynet.data.prepare import Prepare
from tinynet.data.preprocessing import colour_shift, decode, middle_crop, random_crop, shorter_side_crop, to_rgb
from tinynet.data.statistics import Statistics, Sums, measure
from tinynet.data.synthetic import make_dataset
from tinynet.data.views import crops, view_count

__all__ = [
    "BadImages",
    "Batch",
    "DataError",
    "Dataset",
    "FolderSplit",
    "ImageSplit",
    "Loader",
    "Prepare",
    "Split",
    "Statistics",
    "Store",
    "Sums",
    "class_names",
    "colour_shift",
    "crops",
    "decode",
    "make_dataset",
    "measure",
    "middle_crop",
    "open_dataset",
    "random_crop",
    "shorter_side_crop",
    "to_rgb",
    "view_count",
]
