"""Partial convolution (Liu et al. 2018, "Image Inpainting for Irregular Holes Using Partial Convolutions", ECCV, eq. 1 and 2).

With x the features, m = 1 where they are known, sums over a window of size k x k and all input channels,

    x' = W (x m) · sum(1) / sum(m) + b    where sum(m) > 0, else 0
    m' = 1                                where sum(m) > 0, else 0

as NVIDIA/partialconv @main `models/partialconv2d.py` computes it: the zero padding around the image counts as unknown, and the
bias is neither scaled nor added in holes. sum(m) is computed in one channel, from the number of known channels at each pixel,
instead of by a second convolution as large as the first.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad


class PartialConv2d(nn.Module):
    """Convolve known features only, and update the mask of known features.

    Args:
        in_channels: channels of the features.
        out_channels: channels of the output.
        kernel_size: side of the square window.
        stride: step of the window.
        padding: rows and columns of unknown zeros added on each side.
        dilation: distance between neighbors in the window.
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
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, dilation, bias=False)
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        self.kernel_size, self.stride, self.padding, self.dilation = kernel_size, stride, padding, dilation

    def forward(self, x: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        """Apply eq. 1 and 2.

        Args:
            x: (B, C, H, W); unknown features are ignored.
            known: exactly 0 or 1, 1 = known: (B, C, H, W), or (B, 1, H, W) for all channels.

        Returns:
            The output (B, C', H', W'), 0 where nothing was known, and the mask of known outputs (B, 1, H', W').
        """
        num_known = known * self.conv.in_channels if known.shape[1] == 1 else known.sum(1, keepdim=True)
        return self.convolve(x * known.to(x.dtype), num_known)

    def convolve(self, emptied: Tensor, num_known: Tensor, deeper: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Apply eq. 1 and 2 to features that are already 0 where unknown.

        Args:
            emptied: (B, C, H, W).
            num_known: (B, 1, H, W), number of known channels at each pixel: 0 to C.
            deeper: (B, C", ceil(H / 2), ceil(W / 2)), features of the next deeper level, 0 where unknown. They are upsampled
                by 2 (nearest neighbor) and concatenated before `emptied`, which then has C - C" channels.

        Returns:
            As `forward`.
        """
        # Exact in float32, which counts to 2^24; half precision could not count to 1,024 channels times nine pixels.
        num_known = num_known.detach().to(torch.promote_types(num_known.dtype, torch.float32))
        count = self._sum_over_windows(num_known)
        known = count.clamp(max=1)
        scale = known.div(count.clamp_(min=1)).mul_(self.conv.in_channels * self.kernel_size**2)
        output = self._convolve(emptied, deeper)
        # On a CPU a product of two precisions takes ten times as long. In place: the unscaled output is not needed again.
        precision = scale.dtype if output.device.type == "cpu" else output.dtype
        output = output.to(precision).mul_(scale).to(output.dtype)
        if self.bias is not None:
            output = output.addcmul_(self.bias.to(output.dtype).view(-1, 1, 1), known.to(output.dtype))
        return output, known

    def _convolve(self, emptied: Tensor, deeper: Tensor | None) -> Tensor:
        if deeper is not None:
            height, width = emptied.shape[-2:]
            upsampled = interpolate(deeper, size=(height, width))  # nearest neighbor: i // 2 for odd sides, too
            emptied = torch.cat([upsampled, emptied], dim=1)
        output: Tensor = self.conv(emptied)
        return output

    def _sum_over_windows(self, x: Tensor) -> Tensor:
        """Sum (B, 1, H, W) over the windows of the convolution, along columns, then rows: (B, 1, H', W')."""
        x = pad(x, (self.padding,) * 4)
        reach = self.dilation * (self.kernel_size - 1) + 1
        for dim in (-2, -1):
            x = x.unfold(dim, reach, self.stride)[..., :: self.dilation].sum(-1)
        return x

    def extra_repr(self) -> str:
        """Show whether there is a bias; the child `conv` shows the rest."""
        return f"bias={self.bias is not None}"
