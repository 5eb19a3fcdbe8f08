"""Partial convolution (Liu et al. 2018, "Image Inpainting for Irregular Holes Using Partial Convolutions", ECCV, eq. 1 and 2).

With x the features, m = 1 where they are known, sums over a window of size k x k and all input channels,

    x' = W (x m) · sum(1) / sum(m) + b    where sum(m) > 0, else 0
    m' = 1                                where sum(m) > 0, else 0

as NVIDIA/partialconv @main `models/partialconv2d.py` computes it: the zero padding around the image is unknown as well, and the
bias is neither scaled nor let into holes. sum(m) is counted in one channel, from the number of channels that are known at each
pixel, instead of by a second convolution as large as the first.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad

from lit_inpaint.nets.cpu.convolution import Conv2d, conv2d


class PartialConv2d(nn.Module):
    """Convolution over known features only, and where its output is known.

    Args:
        in_channels: channels of the features.
        out_channels: channels of the output.
        kernel_size: side of the square window.
        stride: step of the window.
        padding: rows and columns of unknown zeros added on each side.
        dilation: distance between neighbours in the window.
        bias: add one.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        dilation: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.conv = Conv2d(in_channels, out_channels, kernel_size, stride, padding, dilation, bias=False)
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        self.kernel_size, self.stride, self.padding, self.dilation = kernel_size, stride, padding, dilation

    def forward(self, x: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        """Eq. 1 and 2.

        Args:
            x: (B, C, H, W); what it holds where it is not known is ignored.
            known: exactly 0 or 1, 1 = known: (B, C, H, W), or (B, 1, H, W) for all channels.

        Returns:
            The output (B, C', H', W'), 0 where nothing was known, and where it is known (B, 1, H', W').
        """
        channels = known * self.conv.in_channels if known.shape[1] == 1 else known.sum(1, keepdim=True)
        return self.convolve(x * known.to(x.dtype), channels)

    def convolve(self, emptied: Tensor, channels: Tensor, below: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The same for features that are 0 already where they are not known.

        Args:
            emptied: (B, C, H, W).
            channels: (B, 1, H, W), how many channels are known at each pixel: 0 to C.
            below: (B, C", ceil(H / 2), ceil(W / 2)), empty likewise, to be doubled (nearest neighbour) and put before the
                channels of `emptied`, of which there are so many less.

        Returns:
            As `forward`.
        """
        # Exact in float32, which counts to 2^24; half precision could not count to 1,024 channels times nine pixels.
        channels = channels.detach().to(torch.promote_types(channels.dtype, torch.float32))
        count = self._sum_over_windows(channels)
        known = count.clamp(max=1)
        scale = known.div(count.clamp_(min=1)).mul_(self.conv.in_channels * self.kernel_size**2)
        output = self.conv(emptied) if below is None else self._with_doubled(below, emptied)
        output = output.mul_(scale)  # in place: nothing needs the unscaled one again
        if self.bias is not None:
            output = output.addcmul_(self.bias.to(output.dtype).view(-1, 1, 1), known.to(output.dtype))
        return output, known

    def _with_doubled(self, below: Tensor, emptied: Tensor) -> Tensor:
        """The convolution of both, where it pays as two: from a thousand pixels on, where the kernels' sums weigh little."""
        batch, _, height, width = emptied.shape
        doubled_shape = (2 * below.shape[2], 2 * below.shape[3])
        plain = (self.kernel_size, self.stride, self.padding, self.dilation) == (3, 1, 1, 1)
        if plain and doubled_shape == (height, width) and batch * height * width >= 1024 and below.device.type == "cpu":
            weight, width = self.conv.weight, below.shape[1]
            return conv2d(emptied, weight[:, width:], padding=1).add_(conv2d_of_doubled(below, weight[:, :width]))
        doubled = interpolate(below, scale_factor=2.0)[..., :height, :width]
        output: Tensor = self.conv(torch.cat([doubled, emptied], dim=1))
        return output

    def _sum_over_windows(self, x: Tensor) -> Tensor:
        """(B, 1, H, W) to the sums over the windows of the convolution, (B, 1, H', W'): over columns of windows, then rows."""
        x = pad(x, (self.padding,) * 4)
        reach = self.dilation * (self.kernel_size - 1) + 1
        for dim in (-2, -1):
            x = x.unfold(dim, reach, self.stride)[..., :: self.dilation].sum(-1)
        return x

    def extra_repr(self) -> str:
        """Say whether there is a bias; the rest stands with the convolution."""
        return f"bias={self.bias is not None}"


def conv2d_of_doubled(x: Tensor, weight: Tensor) -> Tensor:
    """`conv2d(x, weight, padding=1)` of the map that has each pixel of `x` four times, as one convolution of `x` itself.

    A 3x3 window over doubled pixels sees 2x2 different ones: each of four kinds of places has a 2x2 kernel of sums of weights,
    which makes 16 products out of 36.

    Args:
        x: (B, C, H, W).
        weight: (C', C, 3, 3).

    Returns:
        (B, C', 2 H, 2 W).
    """
    height, width = x.shape[-2:]
    kernels = _summed(_summed(weight, dim=3), dim=3).flatten(0, 2)  # (row, column, C'), C, 2, 2
    if weight.shape[1] > 1 and weight.stride(1) == 1:
        kernels = kernels.contiguous(memory_format=torch.channels_last)
    y = conv2d(x, kernels, padding=1).permute(0, 2, 3, 1).reshape(len(x), height + 1, width + 1, 2, 2, len(weight))
    rows = [torch.stack([y[:, i : i + height, j : j + width, i, j] for j in (0, 1)], dim=3) for i in (0, 1)]
    return torch.stack(rows, dim=2).flatten(1, 2).flatten(2, 3).permute(0, 3, 1, 2)


def _summed(weight: Tensor, dim: int) -> Tensor:
    """Three taps along `dim` as two, for the first of two equal pixels and for the second, stacked in front."""
    a, b, c = weight.unbind(dim)
    return torch.stack([torch.stack([a, b + c], dim), torch.stack([a + b, c], dim)])
