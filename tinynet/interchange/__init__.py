"""Networks from elsewhere and for elsewhere: ONNX, torchvision's and Caffe's files."""

from tinynet.interchange.caffe import read_caffe, read_mean
from tinynet.interchange.caffe_writing import write_caffe
from tinynet.interchange.foreign import load_network, write_network
from tinynet.interchange.onnx_reading import read_onnx
from tinynet.interchange.onnx_writing import write_onnx
from tinynet.interchange.pth import read_pth
from tinynet.interchange.torchvision import read_torchvision, write_torchvision

__all__ = [
    "load_network",
    "read_caffe",
    "read_mean",
    "read_onnx",
    "read_pth",
    "read_torchvision",
    "write_caffe",
    "write_network",
    "write_onnx",
    "write_torchvision",
]
