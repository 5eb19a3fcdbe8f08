"""Self-attention over a feature map: the embedded-Gaussian non-local block (Wang et al. 2018, arXiv 1711.07971).

As in DeepGIN's public code, without subsampling, batch norm or a division of the scores by the square root of their width.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import linear, scaled_dot_product_attention


class SelfAttention(nn.Module):
    """x + W softmax(theta(x) phi(x)) g(x), where theta, phi, g and W are 1x1 convolutions.

    A map of n = h w positions has n x n attention weights for each sample, 64 MiB at 64x64 in float32; the fused kernel holds a
    part of them at a time. The 1x1 convolutions are computed as matrix products over positions, in the kernel's layout.

    Args:
        width: channels in and out.
        hidden: channels of theta, phi and g; None: half of them.
    """

    def __init__(self, width: int, hidden: int | None = None) -> None:
        super().__init__()
        hidden = hidden or width // 2
        self.theta = nn.Conv2d(width, hidden, 1)
        self.phi = nn.Conv2d(width, hidden, 1)
        self.g = nn.Conv2d(width, hidden, 1)
        self.out = nn.Conv2d(hidden, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) to the same shape."""
        tokens = x.flatten(2).transpose(1, 2)  # (B, n, C)
        query, key, value = (
            linear(tokens, layer.weight.flatten(1), layer.bias)[:, None] for layer in (self.theta, self.phi, self.g)
        )
        attended = scaled_dot_product_attention(query, key, value, scale=1.0)[:, 0]
        out = linear(attended, self.out.weight.flatten(1), self.out.bias)
        return x + out.transpose(1, 2).view(x.shape)
