"""The fields of Caffe's caffe.proto that a network's file has, as messages that the protobuf package reads and writes.

Only what caffe.py looks at; protobuf passes over all other fields.
"""

from functools import cache
from typing import Any

# message: {field: (number, type)}; a type is a message's name or protobuf's, with * for repeated and ! for packed
MESSAGES: dict[str, dict[str, tuple[int, str]]] = {
    "BlobShape": {"dim": (1, "int64!")},
    "BlobProto": {
        "num": (1, "int32"), "channels": (2, "int32"), "height": (3, "int32"), "width": (4, "int32"),
        "data": (5, "float!"), "shape": (7, "BlobShape"), "double_data": (8, "double!"),
    },
    "ConvolutionParameter": {
        "num_output": (1, "uint32"), "bias_term": (2, "bool"), "pad": (3, "uint32*"), "kernel_size": (4, "uint32*"),
        "group": (5, "uint32"), "stride": (6, "uint32*"), "pad_h": (9, "uint32"), "pad_w": (10, "uint32"),
        "kernel_h": (11, "uint32"), "kernel_w": (12, "uint32"), "stride_h": (13, "uint32"), "stride_w": (14, "uint32"),
        "dilation": (18, "uint32*"),
    },
    "PoolingParameter": {
        "pool": (1, "int32"), "kernel_size": (2, "uint32"), "stride": (3, "uint32"), "pad": (4, "uint32"),
        "kernel_h": (5, "uint32"), "kernel_w": (6, "uint32"), "stride_h": (7, "uint32"), "stride_w": (8, "uint32"),
        "pad_h": (9, "uint32"), "pad_w": (10, "uint32"), "global_pooling": (12, "bool"),
    },
    "LRNParameter": {
        "local_size": (1, "uint32"), "alpha": (2, "float"), "beta": (3, "float"), "norm_region": (4, "int32"),
        "k": (5, "float"),
    },
    "InnerProductParameter": {"num_output": (1, "uint32"), "bias_term": (2, "bool"), "transpose": (6, "bool")},
    "DropoutParameter": {"dropout_ratio": (1, "float")},
    "TransformationParameter": {"crop_size": (3, "uint32")},
    "LayerParameter": {
        "name": (1, "string"), "type": (2, "string"), "bottom": (3, "string*"), "top": (4, "string*"),
        "blobs": (7, "BlobProto*"), "transform_param": (100, "TransformationParameter"),
        "convolution_param": (106, "ConvolutionParameter"), "dropout_param": (108, "DropoutParameter"),
        "inner_product_param": (117, "InnerProductParameter"), "lrn_param": (118, "LRNParameter"),
        "pooling_param": (121, "PoolingParameter"),
    },
    "V1LayerParameter": {
        "bottom": (2, "string*"), "top": (3, "string*"), "name": (4, "string"), "type": (5, "int32"),
        "blobs": (6, "BlobProto*"), "convolution_param": (10, "ConvolutionParameter"),
        "dropout_param": (12, "DropoutParameter"), "inner_product_param": (17, "InnerProductParameter"),
        "lrn_param": (18, "LRNParameter"), "pooling_param": (19, "PoolingParameter"),
        "transform_param": (36, "TransformationParameter"),
    },
    "NetParameter": {
        "name": (1, "string"), "layers": (2, "V1LayerParameter*"), "input": (3, "string*"), "input_dim": (4, "int32*"),
        "layer": (100, "LayerParameter*"),
    },
}  # fmt: skip
# of the layers of before 2014, which have a number for a type
V1_TYPES = {
    1: "Accuracy", 4: "Convolution", 5: "Data", 6: "Dropout", 8: "Flatten", 12: "ImageData", 14: "InnerProduct",
    15: "LRN", 17: "Pooling", 18: "ReLU", 19: "Sigmoid", 20: "Softmax", 21: "SoftmaxWithLoss", 22: "Split", 23: "TanH",
}  # fmt: skip


@cache
def messages() -> dict[str, Any]:
    """The classes of the messages by name. ImportError without the package protobuf."""
    try:
        from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
    except ImportError as error:
        raise ImportError(f"Caffe's files need a package: pip install 'tinynet[onnx]' ({error})") from error
    file = descriptor_pb2.FileDescriptorProto(name="caffe.proto", package="caffe", syntax="proto2")
    kinds = descriptor_pb2.FieldDescriptorProto
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, (number, kind) in fields.items():
            base = kind.rstrip("*!")
            label = kinds.LABEL_OPTIONAL if base == kind else kinds.LABEL_REPEATED
            added = message.field.add(name=field, number=number, label=label)
            if base in MESSAGES:
                added.type, added.type_name = kinds.TYPE_MESSAGE, f".caffe.{base}"
            else:
                added.type = getattr(kinds, f"TYPE_{base.upper()}")
            added.options.packed = kind.endswith("!")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    found = {name: pool.FindMessageTypeByName(f"caffe.{name}") for name in MESSAGES}
    return {name: message_factory.GetMessageClass(descriptor) for name, descriptor in found.items()}
