"""The data room: where images come from and what becomes of them before the first layer.

All of it runs on the host, with NumPy and Pillow, but for the last step, Prepare, which runs on the device.
"""

from tinynet.data.batches.bad_images import BadImages
from tinynet.data.batches.loader import Batch, Loader
from tinynet.data.batches.measuring import measure
from tinynet.data.batches.prepare import Prepare
from tinynet.data.dataset import Dataset, Split
from tinynet.data.images.colours import colour_shift, to_rgb
from tinynet.data.images.crops import middle_crop, random_crop, shorter_side_crop
from tinynet.data.images.decoding import decode
from tinynet.data.images.views import crops, view_count
from tinynet.data.labels.class_names import class_names
from tinynet.data.sets.cifar10 import cifar10, cifar100
from tinynet.data.sets.mnist import mnist
from tinynet.data.sets.synthetic import make_dataset
from tinynet.data.statistics import Statistics, Sums
from tinynet.data.stores.arrays import ArrayDataset
from tinynet.data.stores.folders import FolderSplit
from tinynet.data.stores.image_split import ImageSplit, Store
from tinynet.data.stores.layouts import open_dataset
from tinynet.errors import DataError

__all__ = [
    "ArrayDataset",
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
    "cifar10",
    "cifar100",
    "class_names",
    "colour_shift",
    "crops",
    "decode",
    "make_dataset",
    "measure",
    "middle_crop",
    "mnist",
    "open_dataset",
    "random_crop",
    "shorter_side_crop",
    "to_rgb",
    "view_count",
]
