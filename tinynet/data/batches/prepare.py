"""The last step before the first layer, on the device: bytes as they were decoded become the net's input."""

from collections.abc import Sequence

import numpy as np

from tinynet.backend import Array, PerDevice, Upload, on_gpu, to_device, xp
from tinynet.data.batches.loader import Batch
from tinynet.data.images.crops import middle_crop
from tinynet.data.statistics import Statistics
from tinynet.execution import Memory, run, tiles


class Prepare:
    """prepare(batch): (pixels - mean image + colour shift) * scale, float32 (N * views, C, crop, crop), batch-last.

    Without statistics no mean is subtracted. The middle crop of the mean image is, whatever crop an image was cut to,
    as in the 2012 program. The paper (section 2) leaves pixels at their scale, 1.0; He's initial weights want inputs
    of unit variance, a scale of 1 / statistics.pixel_deviation; networks from elsewhere may want one for each channel.
    net: the network whose devices the images are for; on several GPUs each of them gets the pixels from the host and
    prepares them itself. The result is valid until the next call.
    """

    def __init__(self, statistics: Statistics | None, crop: int, scale: float | Sequence[float] = 1.0, net=None):
        self._devices = net.devices if net is not None and on_gpu else 1
        self._on_devices = net.on_devices if self._devices > 1 else lambda task: [task(0)]
        mean = np.zeros((1, crop, 1), np.float32)  # of any row
        if statistics is not None:
            middle = middle_crop(statistics.mean_image.transpose(1, 2, 0), crop).transpose(2, 0, 1)  # (C, crop, crop)
            mean = np.ascontiguousarray(middle).reshape(-1, crop, 1)
        scales = np.asarray(scale, np.float32).reshape(-1, 1, 1)
        if len(scales) > 1:
            scales = scales.repeat(crop, axis=0)  # (C*rows, 1, 1)
        self._inputs = self._on_devices(lambda device: _DeviceInput(to_device(mean), crop, scales))

    def send(self, batch: Batch) -> None:
        """Starts copying the batch's bytes to the devices, while they still compute; the host needs no such start."""
        self._on_devices(lambda device: self._inputs[device].images.send(batch.images))

    def __call__(self, batch: Batch) -> Array:
        prepared = self._on_devices(lambda device: self._inputs[device].prepare(batch))
        return PerDevice(prepared) if self._devices > 1 else prepared[0]


class _DeviceInput:
    """One device's memory for images, and its copies of the mean and the scale."""

    def __init__(self, mean, crop: int, scales: np.ndarray):
        self._mean, self._crop = mean, crop
        self._scale = to_device(scales) if (scales != 1).any() else None
        self._memory = Memory()
        self.images = Upload()

    def prepare(self, batch: Batch) -> Array:
        (count, channels), crop = batch.images.shape[:2], self._crop
        images = self.images.receive(batch.images).reshape(count, channels * crop, crop)  # (N, C*rows, columns)
        x = self._memory.array("x", (channels * crop, crop, count), xp.float32)
        if len(self._mean) not in (1, channels * crop):
            of = len(self._mean) // crop
            raise ValueError(f"Prepare: expected images of {of} channels, as the mean image has, got {channels}")
        mean = xp.broadcast_to(self._mean, (channels * crop, crop, 1))
        shifts = None
        if batch.shifts is not None:
            shifts = to_device(batch.shifts).T.repeat(crop, axis=0)[:, None, :]  # (C*rows, 1, N)

        scale = self._scale
        if scale is not None:
            if len(scale) not in (1, channels * crop):
                of = len(scale) // crop
                raise ValueError(f"Prepare: expected images of {of} channels, as scale has, got {channels}")
            scale = xp.broadcast_to(scale, (channels * crop, 1, 1))

        def task(rows: slice) -> None:
            xp.subtract(images[:, rows].transpose(1, 2, 0), mean[rows], out=x[rows])
            if shifts is not None:
                x[rows] += shifts[rows]
            if scale is not None:
                x[rows] *= scale[rows]

        run(task, tiles(channels * crop, x[0].nbytes))
        self.images.release()
        return x.reshape(channels, crop, crop, count).transpose(3, 0, 1, 2)  # (N, C, crop, crop)
