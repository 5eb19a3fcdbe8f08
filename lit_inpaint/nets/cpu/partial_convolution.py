"""Partial convolution of upsampled features without upsampling them first."""

from __future__ import annotations

from torch import Tensor

from lit_inpaint.nets.cpu.convolution import conv2d
from lit_inpaint.nets.cpu.upsampled_convolution import conv2d_of_upsampled
from lit_inpaint.nets.partial_conv import PartialConv2d

_MIN_PIXELS = 1024  # of a batch's output map; on smaller ones the summed kernels cost more than they save


class CPUPartialConv2d(PartialConv2d):
    """`PartialConv2d` that convolves upsampled features at their own resolution."""

    def _convolve(self, emptied: Tensor, deeper: Tensor | None) -> Tensor:
        if deeper is None or not self._splits(emptied, deeper):
            return super()._convolve(emptied, deeper)
        weight, channels = self.conv.weight, deeper.shape[1]
        skipped = conv2d(emptied, weight[:, channels:], padding=1)
        return skipped.add_(conv2d_of_upsampled(deeper, weight[:, :channels]))

    def _splits(self, emptied: Tensor, deeper: Tensor) -> bool:
        """Return whether two convolutions, one at each resolution, are possible and faster."""
        batch, _, height, width = emptied.shape
        return (
            deeper.device.type == "cpu"
            and (self.kernel_size, self.stride, self.padding, self.dilation) == (3, 1, 1, 1)
            and (2 * deeper.shape[2], 2 * deeper.shape[3]) == (height, width)
            and batch * height * width >= _MIN_PIXELS
        )
