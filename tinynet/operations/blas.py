"""The one product that NumPy does not offer: out += left @ right, added up by BLAS while it multiplies.

The function is looked up in the OpenBLAS library that NumPy has loaded. Where NumPy runs on another BLAS there is none:
`can_accumulate` is False, and callers take a way that needs no more than NumPy.
"""

import ctypes
from collections.abc import Callable

import numpy as np
import threadpoolctl

_ROW_MAJOR, _AS_IS, _TRANSPOSED = 101, 111, 112  # cblas.h


def _find_gemm() -> dict[str, Callable[..., None]]:
    """{dtype.char: cblas_sgemm or cblas_dgemm}, or nothing where no OpenBLAS has them."""
    for library in threadpoolctl.ThreadpoolController().select(internal_api="openblas").lib_controllers:
        for prefix in ("scipy_", ""):  # NumPy's wheels, and everyone else's
            for suffix in ("64_", ""):
                names = [f"{prefix}{name}{suffix}" for name in ("cblas_sgemm", "cblas_dgemm", "openblas_get_config")]
                if all(hasattr(library.dynlib, name) for name in names):
                    single, double, config = (getattr(library.dynlib, name) for name in names)
                    config.restype = ctypes.c_char_p
                    size = ctypes.c_int64 if b"USE64BITINT" in config() else ctypes.c_int32
                    return {"f": _declare(single, ctypes.c_float, size), "d": _declare(double, ctypes.c_double, size)}
    return {}


def _declare(gemm, real, size):
    matrix = [ctypes.c_void_p, size]  # where it begins, and its leading dimension
    gemm.argtypes = [ctypes.c_int] * 3 + [size] * 3 + [real, *matrix, *matrix, real, *matrix]
    gemm.restype = None
    return gemm


_gemm = _find_gemm()
can_accumulate = bool(_gemm)


def _layout(matrix) -> tuple[int, int]:
    """How BLAS is to read a matrix: (order, leading dimension); one of its axes must be contiguous."""
    for order, along, across in ((_AS_IS, 1, 0), (_TRANSPOSED, 0, 1)):
        if matrix.strides[along] == matrix.itemsize:
            step = matrix.strides[across] // matrix.itemsize
            if matrix.shape[across] == 1:  # there is no second line to step to, and the stride may be anything
                return order, max(step, matrix.shape[along], 1)
            if step >= matrix.shape[along]:
                return order, step
    raise ValueError(f"expected a matrix with a contiguous axis, got the strides {matrix.strides} in bytes")


def accumulate(left: np.ndarray, right: np.ndarray, out: np.ndarray) -> None:
    """out (A, C) += left (A, B) @ right (B, C), all float32 or all float64; the rows of `out` are contiguous.

    `left` and `right` may be parts of larger arrays, or transposed. BLAS reads and writes by address: what does not fit
    is a ValueError here. Other threads of Python run meanwhile.
    """
    (left_order, left_step), (right_order, right_step), (order, step) = map(_layout, (left, right, out))
    height, depth = left.shape
    width = right.shape[1]
    if right.shape[0] != depth or out.shape != (height, width) or order != _AS_IS or not out.flags.writeable:
        raise ValueError(f"expected (A, B), (B, C) and (A, C), got {left.shape}, {right.shape} and {out.shape}")
    if not left.dtype == right.dtype == out.dtype:
        raise ValueError(f"expected arrays of one dtype, got {left.dtype}, {right.dtype} and {out.dtype}")
    _gemm[out.dtype.char](
        *(_ROW_MAJOR, left_order, right_order, height, width, depth),
        *(1.0, left.ctypes.data, left_step, right.ctypes.data, right_step, 1.0, out.ctypes.data, step),
    )
